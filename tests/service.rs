//! The program as a service: in the background, as another user, with a pid file, and what systemd is told.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::scene::Scene;
use crate::support::supervisor::Supervisor;
use crate::support::users;
use crate::support::wait::until;

/// A user of every Unix that isn't root (Debian's and RedHat's `nobody`).
const USER: &str = "nobody";

fn config() -> Value {
    json!({"flows": [
        {"filePattern": "app.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE"},
    ]})
}

/// An agent in the background; killed at the end if it still runs.
struct InBackground {
    pid: Pid,
}

impl InBackground {
    /// The one that the pid file names.
    fn of(pid_file: &Path) -> InBackground {
        let text = fs::read_to_string(pid_file).expect("there is a pid file");
        let pid = text.strip_suffix('\n').expect("a whole line").parse();
        InBackground {
            pid: Pid::from_raw(pid.expect("a number")).expect("a process's"),
        }
    }

    /// A file of its `/proc`.
    fn proc(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid.as_raw_nonzero());
        fs::read_to_string(path).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        // A zombie's status is there until somebody has waited for it.
        let status = self.proc("status");
        !status.is_empty() && !status.contains("State:\tZ")
    }

    async fn stop(&self) {
        kill_process(self.pid, Signal::TERM).expect("it runs");
        until("the agent to end", || (!self.runs()).then_some(())).await;
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        if self.runs() && self.proc("comm").starts_with("kinesis-agent") {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// Runs the program with the scene's configuration until it ends, as `--daemon` soon does.
fn run(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .env_clear()
        .env("HOME", scene.folder())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(scene.folder())
        .stdin(Stdio::null())
        .args(["-c", "agent.json", "--agent-d", "agent.d"])
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn pid_file(scene: &Scene) -> PathBuf {
    scene.folder().join("agent.pid")
}

const DAEMON: [&str; 5] = ["--daemon", "--pid-file", "agent.pid", "--log", "agent.log"];

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_ready_when_its_start_returns_and_goes_with_its_pid_file() {
    let scene = Scene::new().await;
    scene.configure(config());
    scene.write("app.log", "one\n");
    fs::write(pid_file(&scene), "1\n").unwrap(); // of a process that is no agent
    let started = run(&scene, &DAEMON);
    assert!(started.status.success(), "{started:?}");
    assert!(started.stdout.is_empty() && started.stderr.is_empty());
    let log = fs::read_to_string(scene.log()).unwrap();
    assert!(log.contains("Startup completed"), "{log}");
    let agent = InBackground::of(&pid_file(&scene));
    assert!(agent.runs());
    scene.receives(1).await;
    agent.stop().await;
    assert!(!pid_file(&scene).exists());
    assert_eq!(scene.texts("s"), ["one\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_start_says_why_where_it_was_started() {
    let scene = Scene::new().await;
    for (written, code, word) in [
        ("{\"flows\": [", 1, "agent.json"),
        ("{\"flows\": []}", 6, "no flows"),
    ] {
        scene.configure_as_written(written);
        let ended = run(&scene, &DAEMON);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
        assert!(!pid_file(&scene).exists());
    }
    let no_log = run(&scene, &["--daemon", "--log", "-"]);
    assert_eq!(no_log.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_a_newer_program_are_left_alone_and_its_start_is_called_for() {
    let scene = Scene::new().await;
    scene.configure(config());
    assert!(run(&scene, &DAEMON).status.success());
    InBackground::of(&pid_file(&scene)).stop().await;
    let database = rusqlite::Connection::open(scene.database()).unwrap();
    let newer = "UPDATE KINESIS_AGENT_META SET value = 99 WHERE key = 'schema_version'";
    assert_eq!(database.execute(newer, []).unwrap(), 1);
    drop(database);
    let before = fs::read(scene.database()).unwrap();
    let refused = run(&scene, &DAEMON);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    // Not 75: to start it again and again would help nobody.
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("has schema version 99"), "{said}");
    assert!(said.contains("start the newer program"), "{said}");
    assert_eq!(fs::read(scene.database()).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_file_that_names_a_running_agent_keeps_another_from_starting() {
    let scene = Scene::new().await;
    scene.configure(config());
    assert!(run(&scene, &DAEMON).status.success());
    let agent = InBackground::of(&pid_file(&scene));
    let second = run(&scene, &DAEMON);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(
        said.contains("agent.pid names an agent that runs"),
        "{said}"
    );
    // Without it the checkpoints tell them apart.
    let third = run(&scene, &["--daemon", "--log", "other.log"]);
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(75), "{said}");
    assert!(
        said.contains("is in use by another kinesis-agent"),
        "{said}"
    );
    assert!(agent.runs());
    agent.stop().await;
}

/// The folder, and what the agent has to read in it, as the packages leave them.
fn let_user_in(scene: &Scene) {
    fs::set_permissions(scene.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = nix::unistd::User::from_name(USER).unwrap().expect(USER);
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    chown(scene.configuration(), Some(uid), Some(gid)).expect("root may give files away");
}

#[tokio::test(flavor = "multi_thread")]
async fn started_as_root_the_agent_becomes_its_user_for_good() {
    if !users::is_root() || !users::may_all_enter(&std::env::temp_dir()) {
        eprintln!(
            "skipped: root alone may become another user, who must come to the temporary folder"
        );
        return;
    }
    let scene = Scene::new().await;
    let mut config = config();
    config["checkpointFile"] = json!(scene.folder().join("state/deep/checkpoints"));
    config["deadLetters.file"] = json!(scene.folder().join("kept/dead-letters"));
    scene.configure(config);
    scene.write("app.log", "one\n");
    let_user_in(&scene);
    let arguments = [
        "--daemon",
        "--user",
        USER,
        "--pid-file",
        "agent.pid",
        "--log",
        "log/agent.log",
    ];
    let started = run(&scene, &arguments);
    assert!(started.status.success(), "{started:?}");
    let agent = InBackground::of(&pid_file(&scene));
    let uid = nix::unistd::User::from_name(USER)
        .unwrap()
        .unwrap()
        .uid
        .as_raw();
    let status = agent.proc("status");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
    let all_four = format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}");
    assert_eq!(line("Uid:"), all_four);
    assert_eq!(line("CapEff:"), "CapEff:\t0000000000000000");
    assert_eq!(line("CapPrm:"), "CapPrm:\t0000000000000000");
    for made in [
        "state",
        "state/deep",
        "state/deep/checkpoints",
        "log",
        "log/agent.log",
        "kept",
    ] {
        let owner = fs::metadata(scene.folder().join(made)).unwrap().uid();
        assert_eq!(owner, uid, "{made}");
    }
    // Nobody but root could say that it is another process.
    assert_eq!(fs::metadata(pid_file(&scene)).unwrap().uid(), 0);
    scene.receives(1).await;
    agent.stop().await;
    // It may not write the folder: the file that it leaves names nobody.
    assert_eq!(fs::read_to_string(pid_file(&scene)).unwrap(), "");
    assert!(
        run(&scene, &arguments).status.success(),
        "and is no obstacle"
    );
    InBackground::of(&pid_file(&scene)).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_user_is_assumed_by_the_process_itself() {
    if !users::is_root() || !users::may_all_enter(&std::env::temp_dir()) {
        eprintln!(
            "skipped: root alone may become another user, who must come to the temporary folder"
        );
        return;
    }
    let scene = Scene::new().await;
    scene.configure(config());
    let_user_in(&scene);
    fs::create_dir(scene.folder().join("own")).unwrap();
    let uid = nix::unistd::User::from_name(USER)
        .unwrap()
        .unwrap()
        .uid
        .as_raw();
    chown(scene.folder().join("own"), Some(uid), None).unwrap();
    let mut written: Value =
        serde_json::from_str(&fs::read_to_string(scene.configuration()).unwrap()).unwrap();
    written["checkpointFile"] = json!(scene.folder().join("own/checkpoints"));
    fs::write(scene.configuration(), written.to_string()).unwrap();
    fs::write(scene.log(), "").unwrap();
    chown(scene.log(), Some(uid), None).unwrap();
    let mut agent = scene.start_with(|command| {
        command.args(["--user", USER]);
    });
    agent.says("Startup completed").await;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}")));
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.id())).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let cores: Vec<&str> = cores.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(cores, ["0", "0"], "no core file, and no way to one");
    assert_eq!(agent.stop().await.code, Some(0));
    let unknown = run(&scene, &["--user", "nobody-of-that-name"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_readiness_life_and_the_end() {
    let scene = Scene::new().await;
    scene.configure(config());
    let supervisor = Supervisor::beside(&scene);
    let agent = scene.start_with(|command| {
        command
            .env("NOTIFY_SOCKET", supervisor.socket())
            .env("WATCHDOG_USEC", "60000");
    });
    let first = supervisor.hear();
    assert!(first.starts_with("READY=1\nSTATUS=1 flow, "), "{first}");
    let n_signs = supervisor
        .messages()
        .filter(|said| said == "WATCHDOG=1")
        .take(3)
        .count();
    assert_eq!(n_signs, 3);
    agent.terminate();
    let last = supervisor
        .messages()
        .find(|said| said.starts_with("STOPPING=1\n"))
        .unwrap();
    assert!(last.contains("EXTEND_TIMEOUT_USEC=25000000"), "{last}");
    assert_eq!(agent.ended().await.code, Some(0));
}
