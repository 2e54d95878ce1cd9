//! The real program is killed again and again, while files are rotated at speed and the service fails some of what it
//! is sent: nothing is lost, and no line is torn.
//!
//! Whoever writes, kills and answers goes by what has arrived: nothing here waits for a time.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use jiff::Timestamp;
use kinesis_agent::checkpoint::{Change, Place, Store};
use kinesis_agent::local::{Keep, Options, Record};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::checkpoints::Rows;
use crate::support::configuration::load;
use crate::support::scene::Scene;
use crate::support::wait::until;

/// How often the program is killed.
const N_KILLS: usize = 100;
/// Between two kills so many records are accepted, at most.
const RECORDS_A_RUN: usize = 500;
/// Lines of a file, from one rotation to the next.
const LINES_A_FILE: usize = 60;
/// Rotated files of one log that are there at once. The oldest is deleted once all of it has arrived.
const ROTATED_MAX: usize = 6;
/// One record in ten, one call in twenty, and the connection before or after one call in fifty each.
const FAULTS: &str =
    "fail-record p=0.1; status=500 p=0.05; reset-before p=0.02; reset-after p=0.02";

/// How a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    /// `app.log` → `app.log.1` → `app.log.2` …
    Chain,
    /// `app.log` → `app.log-17`
    Dated,
}

/// The line with this number.
fn line(log: usize, number: usize) -> String {
    let width = number * 7 % 61;
    format!("{log} {number:06} {:x<width$} end\n", "")
}

/// What has arrived: of each log, how often each line.
#[derive(Default)]
struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    n_times: Vec<Vec<u32>>,
    n_records: usize,
    /// Records that are no line.
    torn: Vec<String>,
    is_over: bool,
}

impl Arrivals {
    fn watch(mut records: mpsc::Receiver<Vec<Record>>, n_logs: usize) -> Arc<Arrivals> {
        let arrivals = Arc::new(Arrivals::default());
        arrivals.change(|state| state.n_times = vec![Vec::new(); n_logs]);
        let noted = Arc::clone(&arrivals);
        tokio::spawn(async move {
            while let Some(call) = records.recv().await {
                noted.change(|state| call.iter().for_each(|record| state.note(&record.data)));
            }
        });
        arrivals
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn ask<T>(&self, question: impl FnOnce(&State) -> T) -> T {
        question(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until it is so; `false` if all is over before.
    fn wait_until(&self, is_so: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_over && !is_so(&state) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_over
    }
}

impl State {
    fn note(&mut self, data: &[u8]) {
        self.n_records += 1;
        let text = String::from_utf8_lossy(data);
        let mut words = text.split(' ').map(str::parse::<usize>);
        match (words.next(), words.next()) {
            (Some(Ok(log)), Some(Ok(number)))
                if log < self.n_times.len() && line(log, number) == text =>
            {
                let lines = &mut self.n_times[log];
                lines.resize(lines.len().max(number + 1), 0);
                lines[number] += 1;
            }
            _ => self.torn.push(text.into_owned()),
        }
    }

    /// Those of these lines that haven't arrived.
    fn missing(&self, log: usize, lines: Range<usize>) -> impl Iterator<Item = usize> {
        let arrived = move |number: &usize| self.n_times[log].get(*number).is_some_and(|n| *n > 0);
        lines.filter(move |number| !arrived(number))
    }

    /// Whether all of these lines have arrived.
    fn has(&self, log: usize, lines: Range<usize>) -> bool {
        self.missing(log, lines).next().is_none()
    }
}

/// A rotated file, and which lines it has.
struct Rotated {
    path: PathBuf,
    lines: Range<usize>,
}

/// A program that logs, and rotates its log by itself.
struct Writer {
    log: usize,
    path: PathBuf,
    rotation: Rotation,
    /// The newest first.
    rotated: Vec<Rotated>,
    n_lines: usize,
    arrivals: Arc<Arrivals>,
    rng: Rng,
}

impl Writer {
    /// Writes and rotates until all is over; how many lines it wrote.
    fn run(mut self) -> usize {
        loop {
            let first = self.n_lines;
            let mut file = File::create_new(&self.path).unwrap();
            while self.n_lines < first + LINES_A_FILE {
                self.write_some(&mut file);
            }
            if !self.make_room() {
                return self.n_lines;
            }
            self.rotate(first);
            // The program writes on until it notices.
            self.write_some(&mut file);
            let last = self.rotated.first_mut().expect("one was just rotated");
            last.lines.end = self.n_lines;
        }
    }

    /// A few lines, now and then in two pieces.
    fn write_some(&mut self, file: &mut File) {
        let next = self.n_lines + self.rng.usize(1..12);
        let text: String = (self.n_lines..next).map(|n| line(self.log, n)).collect();
        let cut = self.rng.usize(..text.len());
        for piece in [&text[..cut], &text[cut..]] {
            file.write_all(piece.as_bytes()).unwrap();
            thread::yield_now();
        }
        self.n_lines = next;
    }

    /// The oldest file goes, but no line that hasn't arrived.
    fn make_room(&mut self) -> bool {
        let (log, is_full) = (self.log, self.rotated.len() == ROTATED_MAX);
        let Some(oldest) = self.rotated.last().filter(|_| is_full) else {
            return self.arrivals.ask(|state| !state.is_over);
        };
        let goes_on = self
            .arrivals
            .wait_until(|state| state.has(log, oldest.lines.clone()));
        if goes_on {
            fs::remove_file(&oldest.path).unwrap();
            self.rotated.pop();
        }
        goes_on
    }

    fn rotate(&mut self, first: usize) {
        let name = |suffix: String| {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        let to = match self.rotation {
            Rotation::Dated => name(format!("-{:06}", self.n_lines)),
            Rotation::Chain => {
                let n_rotated = self.rotated.len();
                let names: Vec<_> = (2..n_rotated + 2).map(|n| name(format!(".{n}"))).collect();
                for (rotated, to) in self.rotated.iter_mut().zip(names).rev() {
                    fs::rename(&rotated.path, &to).unwrap();
                    rotated.path = to;
                }
                name(".1".to_owned())
            }
        };
        fs::rename(&self.path, &to).unwrap();
        let lines = first..self.n_lines;
        self.rotated.insert(0, Rotated { path: to, lines });
    }
}

/// A scene with so many logs, each with a flow of its own, that sends fast; and what arrives.
async fn scene(n_logs: usize, faults: &str) -> (Scene, Arc<Arrivals>) {
    let (sender, records) = mpsc::channel(64);
    let arrivals = Arrivals::watch(records, n_logs);
    let scene = Scene::with(Options {
        keep: Keep::Send(sender),
        faults: faults.parse().unwrap(),
        ..Options::default()
    })
    .await;
    let flow = |log| {
        json!({
            "filePattern": format!("app{log}.log*"),
            "kinesisStream": "s",
            "initialPosition": "START_OF_FILE",
            "maxBufferAgeMillis": 20,
            "maxBufferSizeRecords": 50,
            "retryInitialBackoffMillis": 10,
            "retryMaxBackoffMillis": 100,
        })
    };
    let flows: Vec<_> = (0..n_logs).map(flow).collect();
    scene.configure(json!({ "flows": flows }));
    (scene, arrivals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_and_tear_nothing() {
    let started_at = Instant::now();
    let rotations = [Rotation::Chain, Rotation::Dated];
    let (scene, arrivals) = scene(rotations.len(), FAULTS).await;
    let writer = |(log, rotation): (usize, &Rotation)| {
        let writer = Writer {
            log,
            path: scene.path(&format!("app{log}.log")),
            rotation: *rotation,
            rotated: Vec::new(),
            n_lines: 0,
            arrivals: Arc::clone(&arrivals),
            rng: Rng::with_seed(log as u64),
        };
        thread::spawn(move || writer.run())
    };
    let writers: Vec<_> = rotations.iter().enumerate().map(writer).collect();
    let mut rng = Rng::with_seed(1);
    for _ in 0..N_KILLS {
        let agent = scene.start();
        let goal = arrivals.ask(|state| state.n_records) + rng.usize(1..RECORDS_A_RUN);
        let has_come_so_far = || arrivals.ask(|state| state.n_records >= goal).then_some(());
        until("more records", has_come_so_far).await;
        agent.kill().await;
    }
    arrivals.change(|state| state.is_over = true);
    let n_lines: Vec<usize> = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect();
    let agent = scene.start();
    until("all lines", || {
        let has_all = |state: &State| (0..).zip(&n_lines).all(|(log, n)| state.has(log, 0..*n));
        arrivals.ask(has_all).then_some(())
    })
    .await;
    assert_eq!(agent.stop().await.code, Some(0));
    arrivals.ask(|state| {
        let n_lines: usize = n_lines.iter().sum();
        let n_repeated = state.n_records - state.torn.len() - n_lines;
        println!(
            "{N_KILLS} kills in {:.1?}: {n_lines} lines, none lost, {} torn, {n_repeated} records more than once",
            started_at.elapsed(),
            state.torn.len(),
        );
        assert_eq!(state.torn, [] as [&str; 0]);
        // Runs that arrive where the one before did would prove little.
        assert!(n_repeated > 0 && n_lines > 10 * N_KILLS);
    });
}

/// The test above is worth nothing if it can't fail: here a checkpoint is ahead of what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_ahead_of_acknowledgements_would_be_seen() {
    let (scene, arrivals) = scene(1, "status=500").await;
    let text: String = (0..LINES_A_FILE).map(|number| line(0, number)).collect();
    scene.append("app0.log", text);
    let agent = scene.start();
    let path = scene.path("app0.log");
    Rows::until(&scene, |rows| rows.offset_of(&path).is_some()).await;
    agent.kill().await;
    move_checkpoints_ahead(&scene);
    scene.endpoint.set_faults("".parse().unwrap());
    scene.append("app0.log", line(0, LINES_A_FILE));
    let agent = scene.start();
    let last = || arrivals.ask(|state| state.has(0, LINES_A_FILE..LINES_A_FILE + 1));
    until("the line behind the checkpoint", || last().then_some(())).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let n_lost = arrivals.ask(|state| state.missing(0, 0..LINES_A_FILE).count());
    assert_eq!(n_lost, LINES_A_FILE);
}

/// Every checkpoint says that all of its file is sent.
fn move_checkpoints_ahead(scene: &Scene) {
    let text = fs::read_to_string(scene.configuration()).unwrap();
    let config = load(&text).unwrap().config;
    let now = Timestamp::now();
    let mut store = Store::open(&config.checkpoints, now).unwrap().store;
    let flow = &config.flows[0].id;
    let ahead = |place: Place| Change::Upsert {
        flow: flow.clone(),
        place: Place {
            offset: fs::metadata(&place.path).unwrap().len(),
            ..place
        },
    };
    let places = store.places(flow).unwrap().ours;
    let changes: Vec<_> = places.into_iter().map(ahead).collect();
    store.save(&changes, now).unwrap();
}
