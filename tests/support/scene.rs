//! A folder of logs, an endpoint, a configuration and a database: everything that runs of one agent need.
//!
//! ```text
//! FOLDER/logs/          what the test writes; relative paths of a test and of its filePatterns start here
//! FOLDER/agent.json     the configuration, completed
//! FOLDER/checkpoints    the database
//! FOLDER/agent.log      the log of all runs
//! ```

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kinesis_agent::local::{Endpoint, Keys, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::AgentProcess;
use super::wait::DEADLINE;

/// How long a batch may stay open, unless a test says otherwise: tests don't wait.
const BUFFER_AGE_MS: u64 = 50;

/// Everything that runs of one agent need; it goes away with what is in it.
pub struct Scene {
    folder: TempDir,
    pub endpoint: Endpoint,
    keys: Keys,
}

impl Scene {
    /// An empty folder and an endpoint that takes everything.
    pub async fn new() -> Scene {
        Scene::with(Options::default()).await
    }

    /// An empty folder and an endpoint that behaves so, but for its credentials.
    ///
    /// Those are the scene's own: a port is soon another's, and nobody's calls may be taken for ours.
    pub async fn with(options: Options) -> Scene {
        let keys = Keys::new(
            format!("AKID{:016X}", fastrand::u64(..)),
            format!("{:032x}", fastrand::u64(..)),
        );
        let options = Options {
            credentials: vec![keys.clone()],
            ..options
        };
        let folder = TempDir::with_prefix("kinesis-agent-test-").unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        fs::create_dir(folder.path().join("agent.d")).unwrap();
        Scene {
            folder,
            endpoint: Endpoint::start(options).await.unwrap(),
            keys,
        }
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a file of the test lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join("logs").join(name)
    }

    /// Whose calls the endpoint takes.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The checkpoint database.
    pub fn database(&self) -> PathBuf {
        self.folder().join("checkpoints")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.folder().join("agent.log")
    }

    // ---- files

    /// Makes a file, or one anew, that holds `data`.
    pub fn write(&self, name: &str, data: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }

    /// Adds to a file, which is made if it isn't there.
    pub fn append(&self, name: &str, data: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(data.as_ref()).unwrap();
    }

    /// Gives a file another name.
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    // ---- the agent

    /// Writes agent.json. What it doesn't say is filled in: everything goes to the endpoint, as who it knows, without
    /// metrics and without waiting; relative file patterns start at the test's files.
    pub fn configure(&self, config: Value) {
        let mut config = config;
        let top = config.as_object_mut().unwrap();
        let defaults = [
            ("kinesis.endpoint", json!(self.endpoint.url())),
            ("kinesis.region", json!("us-east-1")),
            ("firehose.endpoint", json!(self.endpoint.url())),
            ("awsAccessKeyId", json!(self.keys.access_key_id)),
            ("awsSecretAccessKey", json!(self.keys.secret_access_key)),
            ("cloudwatch.emitMetrics", json!(false)),
            ("checkpointFile", json!(self.database())),
        ];
        for (key, value) in defaults {
            top.entry(key).or_insert(value);
        }
        for flow in top["flows"].as_array_mut().unwrap() {
            let flow = flow.as_object_mut().unwrap();
            let pattern = self.path(flow["filePattern"].as_str().unwrap());
            flow["filePattern"] = json!(pattern);
            flow.entry("maxBufferAgeMillis")
                .or_insert(json!(BUFFER_AGE_MS));
        }
        self.configure_as_written(&config.to_string());
    }

    /// Writes agent.json with nothing filled in. It may hold keys: nobody else may read it.
    pub fn configure_as_written(&self, config: &str) {
        fs::write(self.configuration(), config).unwrap();
        fs::set_permissions(self.configuration(), Permissions::from_mode(0o600)).unwrap();
    }

    /// Where agent.json is.
    pub fn configuration(&self) -> PathBuf {
        self.folder().join("agent.json")
    }

    /// Starts the agent.
    pub fn start(&self) -> AgentProcess {
        self.start_with(|_| {})
    }

    /// Starts the agent with something about its command changed.
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> AgentProcess {
        AgentProcess::start(self.folder(), &self.log(), |command| {
            command
                .arg("-c")
                .arg(self.configuration())
                .arg("--agent-d")
                .arg(self.folder().join("agent.d"))
                .arg("--log")
                .arg(self.log());
            change(command);
        })
    }

    // ---- what arrived

    /// Waits until so many records have arrived, over all streams and runs.
    pub async fn receives(&self, n_records: u64) {
        let received = self.endpoint.received();
        if let Err(error) = received.wait_for(n_records, DEADLINE).await {
            panic!("{error}");
        }
    }

    /// The records of a stream as text, in the order of their arrival.
    pub fn texts(&self, stream: &str) -> Vec<String> {
        let records = self.endpoint.received().records(stream);
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("the test sends text");
        records.iter().map(|record| text(&record.data)).collect()
    }

    /// The same in the order of their text: whatever order calls took.
    pub fn sorted_texts(&self, stream: &str) -> Vec<String> {
        let mut texts = self.texts(stream);
        texts.sort();
        texts
    }
}
