//! One table: what can be wrong × who tells of it. Each names it, and what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kinesis_agent::local::{Options, Streams};
use serde_json::{Value, json};

use crate::support::asking::{address_in, get};
use crate::support::aws::{ClosedPort, start};
use crate::support::host::{Host, Running};
use crate::support::wait::until_done;

/// A user that isn't root and is on every Debian: files of others can be closed to it.
const NOBODY: u32 = 65_534;

/// One thing that is wrong.
struct Trouble {
    name: &'static str,
    /// How it is called, and what to do about it.
    problem: &'static str,
    remedy: &'static str,
    /// Whether records are kept from being accepted, not only from being read.
    keeps_from_sending: bool,
    /// What `check` says of it, if it can know.
    checked: Option<(&'static str, &'static str)>,
}

const TROUBLES: [Trouble; 5] = [
    Trouble {
        name: "a stopped endpoint",
        problem: "can't connect to http://127.0.0.1:",
        remedy: "check the endpoint, the host's name service, routes, security groups and proxy",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "wrong credentials",
        problem: "the credentials are refused: InvalidSignatureException",
        remedy: "renew them, and check that the host's clock is right",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "a missing stream",
        problem: "Kinesis stream a does not exist at http://127.0.0.1:",
        remedy: "create it, or correct its name, its region or the account",
        keeps_from_sending: true,
        checked: None,
    },
    Trouble {
        name: "an unreadable file",
        problem: "/logs/a.log: Permission denied (os error 13)",
        remedy: "let the agent's user read it and enter the directories above it",
        keeps_from_sending: false,
        checked: Some(("user nobody can't read", "setfacl -m u:nobody:r")),
    },
    Trouble {
        name: "a pattern without files",
        problem: "no file matches filePattern",
        remedy: "check the pattern, and that names do not end in .gz, .bz2 or .zip",
        keeps_from_sending: false,
        checked: Some(("matches no file", "try the pattern with ls")),
    },
];

/// An agent in trouble; what else it needs to stay there is kept beside it.
async fn in_trouble(name: &str) -> (Host, Running, Box<dyn Send>) {
    let streams = match name {
        "a missing stream" => Streams::Only(["another".to_owned()].into()),
        _ => Options::default().streams,
    };
    let endpoint = start(Options {
        streams,
        ..Options::default()
    })
    .await;
    let mut host = Host::sending_to(&endpoint.url());
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
            host.run_as(NOBODY);
            fs::set_permissions(host.path("logs/a.log"), Permissions::from_mode(0o000)).unwrap();
        }
        _ => {}
    }
    let agent = host.start();
    (host, agent, kept)
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
        let (host, mut agent, kept) = in_trouble(name).await;
        let is_named = |text: &str| text.contains(trouble.problem) && text.contains(trouble.remedy);

        let line = agent.says(trouble.problem).await;
        assert!(is_named(&line), "{name}, the log: {line}");
        assert!(
            line.contains("[ERROR]") || line.contains("[WARN]"),
            "{line}"
        );

        let address = address_in(&agent.says("the status page are at").await);
        let told: Value = until_done(name, async || {
            let told = get(address, "/status").await.json();
            let has_any = told["flows"][0]["troubles"]
                .as_array()
                .is_some_and(|all| !all.is_empty());
            has_any.then_some(told)
        })
        .await;
        let first = &told["flows"][0]["troubles"][0];
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
        let (_, said) = told_by(&host, "check", &["--user", "nobody"]);
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
