//! A host with one agent on it: a folder, an environment of its own, the real program as a child, and its log.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::memory::own_kib_peak;
use super::users;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for anything to happen on a busy machine, so that a defect fails a test instead of hanging it.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// A user namespace of its own for what follows: util-linux's unshare(1).
const OWN_LIMITS: [&str; 3] = ["/usr/bin/unshare", "--user", "--map-root-user"];
/// What a shell says to have whoever it becomes leave a core file.
pub const ALLOW_CORES: &str = "ulimit -S -c $(ulimit -H -c)";
/// Between two looks at something that nobody tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What an agent finds where it runs. The environment is empty but for what a test sets: no keys, no region, no profile,
/// no instance metadata.
pub struct Host {
    folder: TempDir,
    environment: BTreeMap<OsString, OsString>,
    settings: serde_json::Map<String, Value>,
    flows: Vec<Value>,
    user: Option<u32>,
    /// What a shell does before it becomes the agent.
    before: Vec<String>,
    /// The agent has a user namespace of its own, and with it limits of its own.
    has_own_limits: bool,
}

impl Host {
    pub fn new() -> Host {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["agent.d", "home", "logs"] {
            fs::create_dir(folder.path().join(name)).expect("the folder is new");
        }
        let mut host = Host {
            environment: BTreeMap::new(),
            settings: serde_json::Map::new(),
            flows: Vec::new(),
            folder,
            user: None,
            before: Vec::new(),
            has_own_limits: false,
        };
        host.set_env("HOME", host.path("home"));
        host.set_env("AWS_CONFIG_FILE", host.path("aws-config"));
        host.set_env("AWS_SHARED_CREDENTIALS_FILE", host.path("aws-credentials"));
        host.set_env("AWS_EC2_METADATA_DISABLED", "true");
        host.set("cloudwatch.emitMetrics", false);
        host.set("checkpointFile", host.path("checkpoints").to_str());
        host
    }

    /// One whose calls go to `url`, signed by [`user`](super::aws::user).
    pub fn sending_to(url: &str) -> Host {
        let keys = super::aws::user();
        let mut host = Host::new();
        host.set("kinesis.endpoint", url);
        host.set("firehose.endpoint", url);
        host.set("sts.endpoint", url);
        host.set("awsAccessKeyId", keys.access_key_id);
        host.set("awsSecretAccessKey", keys.secret_access_key);
        host
    }

    /// A place in the host's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a key of agent.json.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Takes a key of agent.json away.
    pub fn unset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    pub fn unset_env(&mut self, name: &str) {
        self.environment.remove(&OsString::from(name));
    }

    /// Runs the agent as a user whom files' modes bind. Where the tests run as root that is another one, and the folder
    /// becomes that user's. `false`: that user can't come here, so that there is nothing to be tested.
    #[must_use]
    pub fn run_unprivileged(&mut self) -> bool {
        if users::is_root() {
            self.user = Some(users::NOBODY);
            give_to(self.folder.path(), users::NOBODY);
        }
        self.user.is_none()
            || self
                .folder
                .path()
                .parent()
                .is_some_and(users::may_all_enter)
    }

    /// Runs the agent with so many open files at most.
    pub fn limit_open_files(&mut self, n_files: u32) {
        self.before.push(format!("ulimit -n {n_files}"));
    }

    /// Runs the agent with so many open files at most, which it may raise itself.
    pub fn limit_open_files_softly(&mut self, n_files: u32) {
        self.before.push(format!("ulimit -S -n {n_files}"));
    }

    /// Runs the agent where whoever crashes may leave a core file.
    pub fn allow_cores(&mut self) {
        self.before.push(ALLOW_CORES.to_owned());
    }

    /// Runs the agent where the system has no inotify instance for anybody. `false`: that can't be had here.
    #[must_use]
    pub fn without_change_events(&mut self) -> bool {
        let none = "echo 0 > /proc/sys/user/max_inotify_instances";
        self.before.push(none.to_owned());
        self.has_own_limits = true;
        let mut probe = Command::new(OWN_LIMITS[0]);
        probe.args(&OWN_LIMITS[1..]).args(["/bin/sh", "-c", none]);
        probe.stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }

    /// Adds a flow that reads files from their beginning and sends and retries fast, with these options beside.
    pub fn add_flow(&mut self, pattern: impl AsRef<Path>, options: Value) {
        let mut flow = json!({
            "filePattern": self.path(pattern).to_str(),
            "initialPosition": "START_OF_FILE",
            "maxBufferAgeMillis": 20,
            "retryInitialBackoffMillis": 20,
            "retryMaxBackoffMillis": 200,
            "maxTimeBetweenFileTrackerRefreshMillis": 100,
        });
        let (Value::Object(flow_keys), Value::Object(options)) = (&mut flow, options) else {
            panic!("options are an object");
        };
        flow_keys.extend(options);
        self.flows.push(flow);
    }

    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder of the test's own");
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub fn append(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(content.as_ref()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Puts another flow in the place of all, as [`Host::add_flow`] adds it, with this as its `filePattern`.
    pub fn replace_flow(&mut self, patterns: Value, options: Value) {
        self.flows.clear();
        self.add_flow("", options);
        if let Some(flow) = self.flows.last_mut() {
            flow["filePattern"] = patterns;
        }
    }

    /// Renames a file.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (self.path(from), self.path(to));
        fs::rename(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }

    /// Starts the agent.
    pub fn start(&self) -> Running {
        let mut config = self.settings.clone();
        config.insert("flows".to_owned(), self.flows.clone().into());
        self.write("agent.json", Value::Object(config).to_string());
        // It holds a secret, of which the agent warns otherwise.
        fs::set_permissions(self.path("agent.json"), fs::Permissions::from_mode(0o600))
            .expect("it was just written");
        let log = self.path("agent.log");
        let built = Path::new(env!("CARGO_BIN_EXE_kinesis-agent"));
        let opened = self
            .user
            .map(|_| fs::File::open(built).expect("the program was built"));
        // Another user may not come where it was built: what is open can be started all the same.
        let program = opened.as_ref().map_or(built.to_owned(), |file| {
            format!("/proc/self/fd/{}", file.as_raw_fd()).into()
        });
        let mut words: Vec<OsString> = Vec::new();
        if self.has_own_limits {
            words.extend(OWN_LIMITS.map(OsString::from));
        }
        if !self.before.is_empty() {
            let becomes = format!("{} && exec \"$0\" \"$@\"", self.before.join(" && "));
            words.extend(["/bin/sh".into(), "-c".into(), becomes.into()]);
        }
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("-c")
            .arg(self.path("agent.json"))
            .arg("--agent-d")
            .arg(self.path("agent.d"))
            .arg("--log")
            .arg(&log)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("stderr")).expect("a file of the test's own"));
        if let Some(user) = self.user {
            give_to(self.folder.path(), user);
            command.uid(user).gid(user);
        }
        let child = command.spawn().expect("the program was built");
        Running {
            child,
            log,
            stderr: self.path("stderr"),
        }
    }
}

fn give_to(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).expect("root may give files away");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a folder of the test's own") {
            give_to(&entry.expect("it can be listed").path(), user);
        }
    }
}

/// A running agent; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Its limit of this name in the words of `/proc/PID/limits`: what holds, and as far as it may be raised.
    pub fn limit(&self, name: &str) -> [String; 2] {
        let path = format!("/proc/{}/limits", self.child.id());
        let limits = fs::read_to_string(path).expect("it runs");
        let mut lines = limits.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name));
        let rest = rest.unwrap_or_else(|| panic!("no {name} in {limits}"));
        let mut words = rest.split_whitespace().map(str::to_owned);
        [(); 2].map(|()| words.next().expect("two limits"))
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines of its log that hold `part`.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let log = self.log();
        let lines = log
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .filter(|line| line.contains(part))
            .map(|line| line.trim_end_matches('\n').to_owned())
            .collect()
    }

    /// Waits until the log has a line that holds `part`; that line.
    pub async fn says(&mut self, part: &str) -> String {
        let mut found = String::new();
        let what = format!("a log line with {part:?}");
        let is_said = |agent: &mut Running| match agent.lines_with(part).into_iter().next() {
            Some(line) => {
                found = line;
                true
            }
            None => false,
        };
        self.until(&what, is_said).await;
        found
    }

    /// Waits until `is_so`; panics with the log when it takes too long or the agent ends.
    pub async fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Running) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let ended = self.child.try_wait().expect("it is this process's child");
            if ended.is_some() || Instant::now() > deadline {
                let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
                panic!(
                    "waited for {what} in vain ({ended:?})\n{}\n{stderr}",
                    self.log()
                );
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The most memory of its own that it has had so far.
    pub fn memory_kib_peak(&self) -> u64 {
        own_kib_peak(self.child.id())
    }

    /// Processor time that it has used so far, in ms.
    pub fn cpu_ms(&self) -> u64 {
        const MS_PER_TICK: u64 = 10;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the agent runs");
        // Behind the name, which may hold anything, user and system time are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        ticks * MS_PER_TICK
    }

    /// Which process it is.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// SIGTERM, then its end; how it ended and all it logged.
    pub async fn stop(self) -> (ExitStatus, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it still runs");
        let log = self.log.clone();
        let (status, _) = self.ended().await;
        (status, fs::read_to_string(log).unwrap_or_default())
    }

    /// Waits for its end; how it ended and what it said on standard error.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is this process's child") {
                let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
                return (status, stderr);
            }
            assert!(Instant::now() < deadline, "it doesn't end:\n{}", self.log());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
