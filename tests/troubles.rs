//! One table: what can be wrong × who tells of it. Each names it, and what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use kinesis_agent::local::{Options, Streams};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::asking::{address_in, get};
use crate::support::aws::{ClosedPort, start};
use crate::support::host::{Host, PATIENCE, Running};
use crate::support::users;
use crate::support::wait::until_done;

/// The longest record that the endpoint takes, in bytes.
const RECORD_BYTES_MAX: usize = 100;

/// What is in trouble.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Flow,
    Agent,
}

/// One thing that is wrong.
struct Trouble {
    name: &'static str,
    whose: Whose,
    /// How it is called, and what to do about it.
    problem: &'static str,
    remedy: &'static str,
    /// Whether records are kept from being accepted, not only from being read.
    keeps_from_sending: bool,
    /// What `check` says of it, if it can know.
    checked: Option<(&'static str, &'static str)>,
}

const TROUBLES: [Trouble; 8] = [
    Trouble {
        name: "a stopped endpoint",
        whose: Whose::Flow,
        problem: "can't connect to http://127.0.0.1:",
        remedy: "check the endpoint, the host's name service, routes, security groups and proxy",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "wrong credentials",
        whose: Whose::Flow,
        problem: "the credentials are refused: InvalidSignatureException",
        remedy: "renew them, and check that the host's clock is right",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "a missing stream",
        whose: Whose::Flow,
        problem: "Kinesis stream a does not exist at http://127.0.0.1:",
        remedy: "create it, or correct its name, its region or the account",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "an unreadable file",
        whose: Whose::Flow,
        problem: "/logs/a.log: Permission denied (os error 13)",
        remedy: "let the agent's user read it and enter the directories above it",
        keeps_from_sending: false,
        checked: Some(("can't read", "setfacl -m u:")),
    },
    Trouble {
        name: "a pattern without files",
        whose: Whose::Flow,
        problem: "no file matches filePattern",
        remedy: "check the pattern, and that names do not end in .gz, .bz2 or .zip",
        keeps_from_sending: false,
        checked: Some(("matches no file", "try the pattern with ls")),
    },
    Trouble {
        name: "checkpoints that can't be saved",
        whose: Whose::Agent,
        problem: "cannot save checkpoints in",
        remedy: "let the agent's user write there, or make room",
        keeps_from_sending: false,
        checked: None,
    },
    Trouble {
        name: "dead letters that can't be kept",
        whose: Whose::Agent,
        problem: "/dead-letters: Is a directory (os error 21)",
        remedy: "refused records wait until they can be kept",
        keeps_from_sending: false,
        checked: None,
    },
    Trouble {
        name: "a failing CloudWatch",
        whose: Whose::Agent,
        problem: "could not publish",
        remedy: "allow cloudwatch:PutMetricData, check cloudwatch.endpoint",
        keeps_from_sending: false,
        checked: None,
    },
];

/// A writer of its own that keeps everybody else from writing to a database.
fn hold(database: &Path) -> Connection {
    let held = Connection::open(database).unwrap();
    held.busy_timeout(PATIENCE).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    held
}

/// An agent in trouble; what else it needs to stay there is kept beside it. `None`: such trouble can't be had here.
async fn in_trouble(name: &str) -> Option<(Host, Running, Box<dyn Send>)> {
    let streams = match name {
        "a missing stream" => Streams::Only(["another".to_owned()].into()),
        _ => Options::default().streams,
    };
    let faults = match name {
        "a failing CloudWatch" => "status=500 service=cloudwatch",
        _ => "",
    };
    let endpoint = start(Options {
        streams,
        faults: faults.parse().unwrap(),
        record_bytes_max: RECORD_BYTES_MAX,
        ..Options::default()
    })
    .await;
    let mut host = Host::sending_to(&endpoint.url());
    let url = endpoint.url();
    let mut kept: Box<dyn Send> = Box::new(endpoint);
    host.set("metrics.prometheus.listen", "127.0.0.1:0");
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    if name != "a pattern without files" {
        host.write("logs/a.log", "one\n");
    }
    match name {
        "a stopped endpoint" => {
            let closed = ClosedPort::new();
            host.set(
                "kinesis.endpoint",
                format!("http://127.0.0.1:{}", closed.number()),
            );
            kept = Box::new((kept, closed));
        }
        "wrong credentials" => host.set("awsSecretAccessKey", "not-the-secret"),
        "an unreadable file" => {
            if !host.run_unprivileged() {
                return None;
            }
            fs::set_permissions(host.path("logs/a.log"), Permissions::from_mode(0o000)).unwrap();
        }
        "checkpoints that can't be saved" => host.set("checkpoints.queryTimeoutSeconds", 1),
        "dead letters that can't be kept" => {
            fs::create_dir(host.path("dead-letters")).unwrap();
            let long = "x".repeat(RECORD_BYTES_MAX);
            host.append("logs/a.log", format!("{long}\ntwo\n"));
        }
        "a failing CloudWatch" => {
            host.set("cloudwatch.emitMetrics", true);
            host.set("cloudwatch.endpoint", url);
            host.set("cloudwatch.metricsBufferTimeMillis", 100);
        }
        _ => {}
    }
    let mut agent = host.start();
    if name == "checkpoints that can't be saved" {
        agent.says("Startup completed").await;
        kept = Box::new((kept, hold(&host.path("checkpoints"))));
        host.append("logs/a.log", "two\n");
    }
    Some((host, agent, kept))
}

fn told_by(host: &Host, command: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg(command)
        .arg("-c")
        .arg(host.path("agent.json"))
        .args(["--agent-d", "/nonexistent"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_is_told_with_its_remedy_by_log_status_page_and_check() {
    for trouble in TROUBLES {
        let name = trouble.name;
        let Some((host, mut agent, kept)) = in_trouble(name).await else {
            eprintln!("skipped: {name}: other users may not enter the temporary folder");
            continue;
        };
        let is_named = |text: &str| text.contains(trouble.problem) && text.contains(trouble.remedy);

        let line = agent.says(trouble.problem).await;
        assert!(is_named(&line), "{name}, the log: {line}");
        assert!(
            line.contains("[ERROR]") || line.contains("[WARN]"),
            "{line}"
        );

        let address = address_in(&agent.says("the status page are at").await);
        let place = match trouble.whose {
            Whose::Flow => "/flows/0/troubles/0",
            Whose::Agent => "/troubles/0",
        };
        let told: Value = until_done(name, async || {
            let told = get(address, "/status").await.json();
            told.pointer(place).is_some().then_some(told)
        })
        .await;
        let first = &told.pointer(place).unwrap();
        let part = |key: &str| first[key].as_str().unwrap_or_default();
        assert!(
            part("problem").contains(trouble.problem),
            "{name}, the page: {first}"
        );
        assert!(
            part("remedy").contains(trouble.remedy),
            "{name}, the page: {first}"
        );
        assert_eq!(told["is_delivering"], !trouble.keeps_from_sending, "{name}");
        let ready = get(address, "/readyz").await;
        assert_eq!(
            ready.status,
            if trouble.keeps_from_sending { 503 } else { 200 },
            "{name}"
        );

        let (code, said) = told_by(&host, "status", &[]);
        assert!(is_named(&said), "{name}, status: {said}");
        assert_eq!(
            code,
            Some(i32::from(trouble.keeps_from_sending)),
            "{name}: {said}"
        );

        // Who reads the configuration is not the question here.
        fs::set_permissions(host.path("agent.json"), Permissions::from_mode(0o644)).unwrap();
        let user = users::is_root().then_some(["--user", "nobody"]);
        let (_, said) = told_by(&host, "check", user.as_ref().map_or(&[], |args| args));
        match trouble.checked {
            Some((problem, remedy)) => {
                assert!(
                    said.contains(problem) && said.contains(remedy),
                    "{name}, check: {said}"
                );
            }
            None => assert!(
                !said.contains("error: "),
                "{name}, check can't know: {said}"
            ),
        }
        drop(kept);
    }
}
