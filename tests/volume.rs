//! Much at once: many files, many flows, and one of them dead.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kinesis_agent::local::{Keep, Options, Record};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use crate::support::agent::AgentProcess;
use crate::support::checkpoints::Rows;
use crate::support::memory::OWN_KIB_MAX;
use crate::support::scene::Scene;
use crate::support::wait::until;

fn assert_memory_is_bounded(agent: &AgentProcess) {
    let kib = agent.memory_kib_peak();
    println!("the agent had {} MiB at most", kib / 1024);
    assert!(kib <= OWN_KIB_MAX, "{kib} KiB");
}

// ---- many files under one pattern

const N_FILES: usize = 100;
const N_LINES: usize = 10_000;
/// Lines that are written to a file before the next file has its turn.
const LINES_A_ROUND: usize = 500;
/// After so many of them, files get other names.
const ROUNDS_A_ROTATION: usize = 5;

/// Which lines have arrived.
#[derive(Clone)]
struct Arrived(Arc<Mutex<Vec<Vec<bool>>>>);

impl Arrived {
    /// Nothing yet; what comes through the channel is noted.
    fn watch(mut records: mpsc::Receiver<Vec<Record>>) -> Arrived {
        let arrived = Arrived(Arc::new(Mutex::new(vec![vec![false; N_LINES]; N_FILES])));
        let noted = arrived.clone();
        tokio::spawn(async move {
            while let Some(call) = records.recv().await {
                let mut lines = noted.0.lock().unwrap();
                for record in call {
                    let (file, line) = read_line(&record.data);
                    let before = std::mem::replace(&mut lines[file][line], true);
                    assert!(!before, "line {line} of file {file} came twice");
                }
            }
        });
        arrived
    }

    fn has(&self, file: usize, line: usize) -> bool {
        self.0.lock().unwrap()[file][line]
    }

    /// The lines of all files that haven't come.
    fn missing(&self) -> Vec<(usize, usize)> {
        let lines = self.0.lock().unwrap();
        let of_file = |(file, lines): (usize, &Vec<bool>)| {
            let missing = lines.iter().enumerate().filter(|(_, came)| !**came);
            missing
                .map(move |(line, _)| (file, line))
                .collect::<Vec<_>>()
        };
        lines.iter().enumerate().flat_map(of_file).collect()
    }
}

fn line(file: usize, line: usize) -> String {
    format!("{file:02} {line:04}\n")
}

fn read_line(data: &[u8]) -> (usize, usize) {
    let text = std::str::from_utf8(data).unwrap();
    let whole = text
        .strip_suffix('\n')
        .and_then(|text| text.split_once(' '));
    let (file, line) = whole.unwrap_or_else(|| panic!("{text:?} is no line"));
    (file.parse().unwrap(), line.parse().unwrap())
}

/// One log as its program writes it: a handle that stays open, and a name that changes.
struct Log {
    number: usize,
    handle: File,
    /// The first line behind the last rotation.
    first_line: usize,
    n_rotations: usize,
}

impl Log {
    fn name(&self) -> String {
        format!("app-{}.log", self.number)
    }

    fn write(&mut self, lines: std::ops::Range<usize>) {
        let text: String = lines.map(|number| line(self.number, number)).collect();
        self.handle.write_all(text.as_bytes()).unwrap();
    }

    /// Every fourth log stays, or moves within the pattern, or out of it, or is renamed and written on.
    ///
    /// A file that is moved out of the pattern before it was ever seen can't be read by anyone: only those are moved of
    /// which something has come.
    async fn rotate(&mut self, scene: &Scene, arrived: &Arrived, next_line: usize) {
        let rotation = self.n_rotations;
        self.n_rotations += 1;
        let to = match self.number % 4 {
            0 => return,
            1 => format!("{}.{rotation}", self.name()),
            2 => format!("gone-{}.{rotation}", self.number),
            _ => {
                let other = format!("{}.other", self.name());
                return match rotation % 2 {
                    0 => scene.rename(&self.name(), &other),
                    _ => scene.rename(&other, &self.name()),
                };
            }
        };
        until("a line of the file", || {
            arrived.has(self.number, self.first_line).then_some(())
        })
        .await;
        scene.rename(&self.name(), &to);
        // The program notices a little later.
        let n_late = LINES_A_ROUND / 2;
        self.write(next_line..next_line + n_late);
        self.handle = File::create_new(scene.path(&self.name())).unwrap();
        self.first_line = next_line + n_late;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_files_that_move_are_read_line_by_line_once() {
    let (sender, records) = mpsc::channel(64);
    let arrived = Arrived::watch(records);
    let scene = Scene::with(Options {
        keep: Keep::Send(sender),
        ..Options::default()
    })
    .await;
    scene.configure(json!({"flows": [{
        "filePattern": "app-*.log*",
        "kinesisStream": "s",
        "maxBufferAgeMillis": 200,
    }]}));
    let mut agent = scene.start();
    agent.says("Agent: Startup completed").await;
    let started_at = Instant::now();
    let log = |number| Log {
        number,
        handle: File::create_new(scene.path(&format!("app-{number}.log"))).unwrap(),
        first_line: 0,
        n_rotations: 0,
    };
    let mut logs: Vec<_> = (0..N_FILES).map(log).collect();
    for round in 0..N_LINES / LINES_A_ROUND {
        let lines = round * LINES_A_ROUND..(round + 1) * LINES_A_ROUND;
        let is_rotation = round % ROUNDS_A_ROTATION == ROUNDS_A_ROTATION - 1;
        for log in &mut logs {
            if is_rotation {
                log.rotate(&scene, &arrived, lines.start).await;
            }
            log.write(log.first_line.max(lines.start)..lines.end);
        }
    }
    println!("all was written after {:?}", started_at.elapsed());
    scene.receives((N_FILES * N_LINES) as u64).await;
    println!("all had arrived after {:?}", started_at.elapsed());
    assert_memory_is_bounded(&agent);
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let n_lines = (N_FILES * N_LINES) as u64;
    assert_eq!(
        scene.endpoint.received().n_records(),
        n_lines,
        "and nothing twice"
    );
    until("the last records to be noted", || {
        arrived.missing().is_empty().then_some(())
    })
    .await;
}

// ---- one dead among many

const N_ALIVE: usize = 99;
/// More than the agent holds in memory.
const BACKLOG_BYTES_DEAD: usize = 48 * 1024 * 1024;
const BACKLOG_BYTES_ALIVE: usize = 256 * 1024;
const BACKLOG_LINE_BYTES: usize = 4096;
const N_ROUNDS: u64 = 20;

fn backlog(bytes: usize) -> Vec<u8> {
    let mut line = vec![b'x'; BACKLOG_LINE_BYTES];
    line[BACKLOG_LINE_BYTES - 1] = b'\n';
    line.repeat(bytes / BACKLOG_LINE_BYTES)
}

/// With one flow that can't send and has much to: the others get everything through, again and again, in bounded
/// memory; and nothing of the dead one is lost.
async fn the_others_go_on(dead_endpoint: &str) {
    let scene = Scene::with(Options {
        keep: Keep::Count,
        ..Options::default()
    })
    .await;
    scene.write("dead.log", backlog(BACKLOG_BYTES_DEAD));
    let alive: Vec<_> = (0..N_ALIVE)
        .map(|number| format!("alive-{number}.log"))
        .collect();
    for name in &alive {
        scene.write(name, backlog(BACKLOG_BYTES_ALIVE));
    }
    let start = "START_OF_FILE";
    let flow = |name: &String| json!({"filePattern": name, "kinesisStream": name, "initialPosition": start});
    let mut flows: Vec<_> = alive.iter().map(flow).collect();
    flows.push(
        json!({"filePattern": "dead.log", "deliveryStream": "dead", "initialPosition": start}),
    );
    let config = |firehose: &str| json!({"firehose.endpoint": firehose, "shutdownTimeoutMillis": 100, "flows": flows});
    scene.configure(config(dead_endpoint));
    let agent = scene.start();
    let mut n_expected = (N_ALIVE * BACKLOG_BYTES_ALIVE / BACKLOG_LINE_BYTES) as u64;
    scene.receives(n_expected).await;
    let mut slowest = std::time::Duration::ZERO;
    for round in 0..N_ROUNDS {
        let started_at = Instant::now();
        for name in &alive {
            scene.append(name, format!("round {round}\n"));
        }
        n_expected += N_ALIVE as u64;
        scene.receives(n_expected).await;
        slowest = slowest.max(started_at.elapsed());
    }
    println!("the slowest of {N_ROUNDS} rounds took {slowest:?}");
    assert_memory_is_bounded(&agent);
    // What was accepted and isn't saved as such would be sent again by the next run, which gives the dead flow up soon.
    let sizes: Vec<_> = alive
        .iter()
        .map(|name| scene.path(name))
        .map(|path| (fs::metadata(&path).unwrap().len(), path))
        .collect();
    Rows::until(&scene, |rows| {
        let is_saved = |(size, path): &(u64, PathBuf)| rows.offset_of(path) == Some(*size);
        sizes.iter().all(is_saved)
    })
    .await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        scene.endpoint.received().n_records(),
        n_expected,
        "nothing twice"
    );

    scene.configure(config(&scene.endpoint.url()));
    let agent = scene.start();
    n_expected += (BACKLOG_BYTES_DEAD / BACKLOG_LINE_BYTES) as u64;
    scene.receives(n_expected).await;
    assert_memory_is_bounded(&agent);
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        scene.endpoint.received().n_records(),
        n_expected,
        "nothing twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_whose_endpoint_refuses_connections_delays_nobody() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    the_others_go_on(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_whose_endpoint_never_answers_delays_nobody() {
    // Connections wait to be accepted.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    the_others_go_on(&format!("http://{}", listener.local_addr().unwrap())).await;
}
