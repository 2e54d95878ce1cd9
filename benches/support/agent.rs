//! The program as a benchmark runs it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

/// The program, built with the benchmark.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kinesis-agent");
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
const SECRET_ACCESS_KEY: &str = "secret";

/// A running agent, killed at the end: what it would do when told to stop isn't measured.
pub struct Agent(pub Child);

impl Agent {
    /// An agent with these flows, which keeps its files in `folder`; `members` are more of its configuration.
    pub fn start(url: &str, flows: &Value, members: &Value, folder: &Path) -> Agent {
        let at = |name: &str| folder.join(name);
        let mut configuration = json!({
            "cloudwatch.emitMetrics": false,
            "kinesis.endpoint": url,
            "firehose.endpoint": url,
            "awsAccessKeyId": ACCESS_KEY_ID,
            "awsSecretAccessKey": SECRET_ACCESS_KEY,
            "checkpointFile": at("checkpoints"),
            "flows": flows,
        });
        extend(&mut configuration, members);
        let written = at("agent.json");
        fs::write(&written, configuration.to_string()).expect("room for the configuration");
        let mut command = Command::new(PROGRAM);
        if at("ca.pem").exists() {
            command.env("AWS_CA_BUNDLE", at("ca.pem"));
        }
        let child = command
            .arg("-c")
            .arg(written)
            .arg("--agent-d")
            .arg(at("none"))
            .arg("--log")
            .arg(at("agent.log"))
            .spawn()
            .expect("the agent starts");
        Agent(child)
    }

    /// CPU time so far, from `/proc/PID/stat` (proc_pid_stat(5), fields 14 and 15).
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        let ticks = fields[11..13]
            .iter()
            .filter_map(|field| field.parse::<u64>().ok());
        // Linux reports in hundredths of a second on every platform that we build for.
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// A line of `/proc/PID/status` in MB (10⁶ bytes): `VmHWM` is the most that was ever resident, `VmRSS` what is.
    pub fn memory_mb(&self, name: &str) -> f64 {
        let status = self.proc("status");
        let mut values = status
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = values
            .next()
            .and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).expect("the process is there")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A flow from the beginning of the files that match.
pub fn flow_of(pattern: &Path, members: &Value) -> Value {
    let mut flow = json!({
        "filePattern": pattern,
        "initialPosition": "START_OF_FILE",
        "maxBufferAgeMillis": 1000,
    });
    extend(&mut flow, members);
    flow
}

fn extend(object: &mut Value, members: &Value) {
    let (Some(object), Some(members)) = (object.as_object_mut(), members.as_object()) else {
        unreachable!("both are objects");
    };
    object.extend(members.clone());
}
