//! An agent that sends what there is to `kinesis-agent endpoint`, a process of its own, so that only the agent's CPU time
//! and memory count.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, PROGRAM, flow_of};

/// A run that takes longer has hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// An endpoint in a process of its own, which only counts.
pub struct EndpointProcess {
    child: Child,
    errors: BufReader<ChildStderr>,
    pub url: String,
}

impl EndpointProcess {
    /// It ends once it has `n_records`; `faults` in the words of `kinesis-agent endpoint --faults`.
    pub fn start(transport: Transport, n_records: usize, faults: &str, folder: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args([
            "endpoint",
            "--listen",
            "127.0.0.1:0",
            "--sink",
            "--no-signatures",
        ]);
        command.args([
            "--until-records",
            &n_records.to_string(),
            "--faults",
            faults,
        ]);
        if transport == Transport::Tls {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
                .expect("a certificate");
            let at = |name: &str| folder.join(name);
            fs::write(at("ca.pem"), made.cert.pem()).expect("room for the certificate");
            fs::write(at("key.pem"), made.signing_key.serialize_pem()).expect("room for its key");
            command.arg("--tls-certificate").arg(at("ca.pem"));
            command.arg("--tls-key").arg(at("key.pem"));
        }
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the endpoint starts");
        let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        errors
            .read_line(&mut said)
            .expect("the endpoint says where it is");
        let url = said.trim().trim_start_matches("listening on ").to_owned();
        EndpointProcess { child, errors, url }
    }

    /// Waits until it has all records.
    fn wait(&mut self) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("it is a child") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// What it said at its end.
    fn summary(&mut self) -> String {
        std::io::read_to_string(&mut self.errors).expect("it is piped")
    }
}

impl Drop for EndpointProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Input, how it is followed, and where it goes.
pub struct Scenario {
    pub transport: Transport,
    /// In the words of `kinesis-agent endpoint --faults`.
    pub faults: &'static str,
    /// Members of each flow beside its files and where they start.
    pub flow: Value,
    /// Members of the agent's configuration.
    pub agent: Value,
    pub n_flows: usize,
    pub n_files_each: usize,
    pub input_bytes: usize,
}

impl Scenario {
    pub fn new(transport: Transport, flow: Value) -> Scenario {
        Scenario {
            transport,
            faults: "",
            flow,
            agent: json!({}),
            n_flows: 1,
            n_files_each: 1,
            input_bytes: 128_000_000,
        }
    }
}

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub mb: f64,
    pub cpu: Duration,
    pub wall: Duration,
    pub peak_mb: f64,
    pub n_calls: u64,
}

impl Run {
    pub fn mb_per_s(&self) -> f64 {
        self.mb / self.wall.as_secs_f64()
    }

    pub fn cpu_ms_per_mb(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.mb
    }
}

/// A scenario's files, on the disk and in the page cache.
pub struct Input {
    folder: TempDir,
    n_bytes: usize,
    n_records: usize,
    /// In the order of the flows.
    patterns: Vec<PathBuf>,
}

impl Input {
    /// Writes them.
    pub fn of(scenario: &Scenario, line: &dyn Fn(usize) -> String) -> Input {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let n_files = scenario.n_flows * scenario.n_files_each;
        let n_lines = scenario.input_bytes / line(0).len() / n_files;
        let mut n_bytes = 0;
        let mut patterns = Vec::new();
        for flow in 0..scenario.n_flows {
            let of_flow = folder.path().join(format!("flow{flow}"));
            fs::create_dir(&of_flow).expect("room for the input");
            for file in 0..scenario.n_files_each {
                let first = (flow * scenario.n_files_each + file) * n_lines;
                let content: String = (first..first + n_lines).map(line).collect();
                n_bytes += content.len();
                fs::write(of_flow.join(format!("{file}.log")), content)
                    .expect("room for the input");
            }
            patterns.push(of_flow.join("*.log"));
        }
        write_back(folder.path());
        Input {
            folder,
            n_bytes,
            n_records: n_lines * n_files,
            patterns,
        }
    }

    /// Reads all of it once, so that it is in the page cache whatever was done meanwhile.
    fn warm(&self) {
        let mut buffer = vec![0; 1024 * 1024];
        for of_flow in fs::read_dir(self.folder.path()).expect("it was made") {
            let of_flow = of_flow.expect("it was made").path();
            for file in fs::read_dir(of_flow).expect("it was made") {
                let path = file.expect("it was made").path();
                let mut file = File::open(path).expect("it was written");
                while file.read(&mut buffer).expect("it was written") > 0 {}
            }
        }
    }
}

/// Sends all of the input.
pub fn run(scenario: &Scenario, input: &Input) -> Run {
    input.warm();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let patterns = input.patterns.iter();
    let flows = patterns.map(|pattern| flow_of(pattern, &scenario.flow));
    let mut endpoint = EndpointProcess::start(
        scenario.transport,
        input.n_records,
        scenario.faults,
        folder.path(),
    );
    let started = Instant::now();
    let agent = Agent::start(
        &endpoint.url,
        &Value::Array(flows.collect()),
        &scenario.agent,
        folder.path(),
    );
    let ended = endpoint.wait();
    let wall = started.elapsed();
    let (cpu, peak_mb) = (agent.cpu(), agent.memory_mb("VmHWM"));
    drop(agent);
    if ended.is_none() {
        panic!(
            "records are missing: the agent's log is in {}",
            folder.keep().display()
        );
    }
    let n_calls = numbers(&endpoint.summary(), "calls=");
    Run {
        mb: input.n_bytes as f64 / 1e6,
        cpu,
        wall,
        peak_mb,
        n_calls,
    }
}

/// Waits until a folder's file system has on the disk what was written: the kernel would do it during a run, beside the
/// agent.
fn write_back(folder: &Path) {
    let written = Command::new("sync")
        .arg("--file-system")
        .arg(folder)
        .status();
    assert!(
        written.expect("sync, of the coreutils").success(),
        "the input is on the disk"
    );
}

/// The sum of the numbers after `name` in a text.
fn numbers(text: &str, name: &str) -> u64 {
    let words = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(name));
    words.filter_map(|number| number.parse::<u64>().ok()).sum()
}
