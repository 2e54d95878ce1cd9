//! What the program costs while little happens, and how soon it does what is to be done: memory and CPU time over
//! quiet files and while nobody takes what there is, the time from its start to the first byte read, and from a line's
//! being written to its acceptance.
//!
//! `cargo bench --bench standing`; with words behind `--`, only rows whose name has one of them. It takes four minutes, most
//! of it waiting.

#[path = "support/agent.rs"]
mod agent;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::{Agent, flow_of};
use kinesis_agent::local::{Endpoint, Options};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use serde_json::{Value, json};

/// How long a quiet agent is looked at.
const IDLE: Duration = Duration::from_secs(30);
/// How long it has to settle before that.
const SETTLING: Duration = Duration::from_secs(10);
const N_STARTS: usize = 21;
/// What there is to be sent while nobody takes it.
const UNSENT_BYTES: usize = 100_000_000;
const N_LINES: usize = 1_000;
/// A wait that takes longer has hung.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let endpoint = runtime
        .block_on(Endpoint::start(Options {
            check_signatures: false,
            ..Options::default()
        }))
        .expect("a port");
    for (name, n_files, n_written) in [
        ("idle, 1 file", 1, 0),
        ("idle, 10,000 files, 10 written to each second", 10_000, 10),
    ] {
        if is_wanted(name) {
            let (cores, memory_mb) = idle(&endpoint, n_files, n_written);
            println!(
                "{name:<48} {:>6.2} % of a core, {memory_mb:.1} MB",
                cores * 100.0
            );
        }
    }
    for n_flows in [1, 100] {
        let name = format!("nobody listens, 100 MB in {n_flows} flows");
        if is_wanted(&name) {
            let (cores, memory_mb) = nobody_listens(n_flows);
            println!(
                "{name:<48} {:>6.2} % of a core, {memory_mb:.1} MB at most",
                cores * 100.0
            );
        }
    }
    let name = "start of the process to first byte read";
    if is_wanted(name) {
        let times = (0..N_STARTS).map(|_| start(&endpoint)).collect();
        println!("{name:<48} {}", quantiles(times));
    }
    for max_age_ms in [50, 1000] {
        let name = format!("append to accepted, maxBufferAgeMillis {max_age_ms}");
        if is_wanted(&name) {
            println!("{name:<48} {}", quantiles(latencies(&endpoint, max_age_ms)));
        }
    }
}

/// Share of a core, and MB resident, over files that are quiet but for `n_written` of them each second.
fn idle(endpoint: &Endpoint, n_files: usize, n_written: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Beside the agent's own files, whose coming and going would be looked into.
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("room for the files");
    let path = |n: usize| logs.join(format!("{n}.log"));
    (0..n_files).for_each(|n| fs::write(path(n), "a line\n").expect("room for the files"));
    let flow = flow_of(&logs.join("*.log"), &json!({ "kinesisStream": "idle" }));
    let before = endpoint.received().n_records() as usize;
    let agent = Agent::start(&endpoint.url(), &json!([flow]), &json!({}), folder.path());
    let until = Instant::now() + DEADLINE;
    while (endpoint.received().n_records() as usize) < before + n_files && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(SETTLING);
    let (began, cpu_before) = (Instant::now(), agent.cpu());
    let mut at = 0;
    while began.elapsed() < IDLE {
        for n in at..at + n_written {
            append(&path(n * 7 % n_files), "another line\n");
        }
        at += n_written;
        std::thread::sleep(Duration::from_secs(1));
    }
    let cpu = agent.cpu().saturating_sub(cpu_before);
    (
        cpu.as_secs_f64() / began.elapsed().as_secs_f64(),
        agent.memory_mb("VmRSS"),
    )
}

/// Share of a core, and the most MB that were resident, where all calls of so many flows fail.
fn nobody_listens(n_flows: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let content = format!("{}\n", "x".repeat(199)).repeat(UNSENT_BYTES / 200 / n_flows);
    // Beside the agent's own files, as above.
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("room for the files");
    let flows: Vec<Value> = (0..n_flows)
        .map(|n| {
            let log = logs.join(format!("{n}.log"));
            fs::write(&log, &content).expect("room for the file");
            flow_of(&log, &json!({ "kinesisStream": "unreachable" }))
        })
        .collect();
    let agent = Agent::start(&url, &Value::Array(flows), &json!({}), folder.path());
    std::thread::sleep(SETTLING);
    let (began, cpu_before) = (Instant::now(), agent.cpu());
    std::thread::sleep(IDLE);
    let cpu = agent.cpu().saturating_sub(cpu_before);
    (
        cpu.as_secs_f64() / began.elapsed().as_secs_f64(),
        agent.memory_mb("VmHWM"),
    )
}

/// Time from the start of a process to its first read of a file's bytes, as the kernel tells of it (inotify(7), `IN_ACCESS`).
fn start(endpoint: &Endpoint) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("app.log");
    fs::write(&log, "a line\n").expect("room for the file");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&watch, &log, inotify::WatchFlags::ACCESS).expect("a watch");
    let flow = flow_of(&log, &json!({ "kinesisStream": "start" }));
    let began = Instant::now();
    let agent = Agent::start(&endpoint.url(), &json!([flow]), &json!({}), folder.path());
    let within = DEADLINE.try_into().expect("it is short");
    let n_ready = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&within))
        .expect("it can be waited for");
    let took = began.elapsed();
    drop(agent);
    assert_eq!(n_ready, 1, "the file wasn't read");
    took
}

/// Times from a line's being written to the arrival of the call that brings it, for lines written 5 ms apart.
fn latencies(endpoint: &Endpoint, max_age_ms: u64) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("app.log");
    append(&log, "");
    let stream = format!("latency{max_age_ms}");
    let members = json!({ "kinesisStream": stream, "maxBufferAgeMillis": max_age_ms });
    let agent = Agent::start(
        &endpoint.url(),
        &json!([flow_of(&log, &members)]),
        &json!({}),
        folder.path(),
    );
    let before = endpoint.received().n_records() as usize;
    append(&log, "warm\n");
    wait_for(endpoint, before + 1);
    let mut written = Vec::with_capacity(N_LINES);
    for n in 0..N_LINES {
        append(&log, &format!("{n}\n"));
        written.push(Instant::now());
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_for(endpoint, before + 1 + N_LINES);
    drop(agent);
    let calls = endpoint.received().calls();
    let arrived = |number: u64| {
        calls
            .iter()
            .find(|call| call.number == number)
            .map(|call| call.arrived_at)
    };
    let records = endpoint.received().records(&stream);
    let times = records.iter().filter_map(|record| {
        let n: usize = std::str::from_utf8(&record.data)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(arrived(record.call)?.saturating_duration_since(written[n]))
    });
    times.collect()
}

fn wait_for(endpoint: &Endpoint, n_records: usize) {
    let until = Instant::now() + DEADLINE;
    while (endpoint.received().n_records() as usize) < n_records {
        assert!(Instant::now() < until, "records are missing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn append(path: &Path, text: &str) {
    let open = OpenOptions::new().append(true).create(true).open(path);
    let mut file: File = open.expect("the file can be written");
    file.write_all(text.as_bytes()).expect("room for a line");
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99))
}
