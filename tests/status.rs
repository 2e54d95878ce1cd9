//! `kinesis-agent status`, the program itself, of an agent that runs.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::aws::{ClosedPort, endpoint, received};
use crate::support::host::Host;
use crate::support::wait::until;

fn status(host: &Host, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("status")
        .arg("-c")
        .arg(host.path("agent.json"))
        .args(["--agent-d", "/nonexistent"])
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code of `status --file`, and what it says.
fn about(host: &Host, file: &Path) -> (Option<i32>, String) {
    let output = status(host, &["--file", file.to_str().unwrap()]);
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_how_a_running_agent_is_doing() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\ntwo\n");
    let agent = host.start();
    received(&endpoint, 2).await;
    let file = host.path("logs/a.log");
    until("all to be acknowledged", || {
        (about(&host, &file).0 == Some(0)).then_some(())
    })
    .await;
    let socket = fs::metadata(host.path("checkpoints.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    let output = status(&host, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for words in [
        "everything is being delivered",
        "2 records sent (8 B)",
        "-> kinesis a: caught up",
        "[####################] 8 B of 8 B",
        file.to_str().unwrap(),
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    let output = status(&host, &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let flow = &told["flows"][0];
    assert_eq!(told["is_delivering"], true);
    assert_eq!(flow["records"]["sent"], 2);
    assert_eq!(
        flow["behind"],
        json!({"bytes": 0, "seconds": 0.0, "caught_up_in_seconds": null})
    );
    let told_file = &flow["files"][0];
    for (key, expected) in [("size", 8), ("read", 8), ("sent", 8), ("behind_bytes", 0)] {
        assert_eq!(told_file[key], expected, "{key}");
    }

    let (ended, _) = agent.stop().await;
    assert!(ended.success());
    assert!(!host.path("checkpoints.sock").exists());
    let output = status(&host, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no agent answers at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_done_once_all_of_it_is_acknowledged() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow("logs/*.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "whole\nunfinish");
    host.write("logs/b.txt", "not followed\n");
    let _agent = host.start();
    received(&endpoint, 1).await;
    let file = host.path("logs/a.log");
    let said = until("the whole line to be acknowledged", || {
        let (code, said) = about(&host, &file);
        assert_ne!(code, Some(0), "{said}");
        said.contains("6 of 14 bytes").then_some(said)
    })
    .await;
    assert!(
        said.contains("the other 8 are a line without its end"),
        "{said}"
    );
    host.append("logs/a.log", "ed\n");
    until("all to be acknowledged", || {
        (about(&host, &file).0 == Some(0)).then_some(())
    })
    .await;
    // What was written a moment ago counts, whether or not the agent has seen it.
    let (code, said) = about(&host, &host.path("logs/b.txt"));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("no flow follows"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_records_from_arriving_is_said_with_its_remedy() {
    let closed = ClosedPort::new();
    let mut host = Host::sending_to(&format!("http://127.0.0.1:{}", closed.number()));
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\n");
    let mut agent = host.start();
    agent.says("can't connect to").await;
    let output = until("the trouble to be told", || {
        let output = status(&host, &[]);
        (output.status.code() == Some(1)).then_some(output)
    })
    .await;
    let said = text(&output.stdout);
    for words in [
        "NOT everything is being delivered",
        "-> kinesis a: FAILING",
        "error: can't connect to http://127.0.0.1:",
        "check the endpoint, the host's name service",
        "4 B behind",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert_eq!(about(&host, &host.path("logs/a.log")).0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_may_ask_for_a_bound_on_the_age() {
    let closed = ClosedPort::new();
    let mut host = Host::sending_to(&format!("http://127.0.0.1:{}", closed.number()));
    host.add_flow(
        "logs/*",
        json!({ "kinesisStream": "a", "maxBufferAgeMillis": 60000 }),
    );
    host.write("logs/old.log", "one\n");
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = fs::File::options()
        .append(true)
        .open(host.path("logs/old.log"))
        .unwrap();
    file.set_modified(past).unwrap();
    let mut agent = host.start();
    agent.says("found, 4 bytes to be sent").await;
    // The batch is open for a minute: nothing has failed yet, and the byte is an hour old.
    until("the file to be seen", || {
        text(&status(&host, &[]).stdout)
            .contains("4 B behind")
            .then_some(())
    })
    .await;
    for (args, code) in [
        (&[][..], 0),
        (&["--max-behind", "7200"][..], 0),
        (&["--max-behind", "1800"][..], 1),
    ] {
        assert_eq!(status(&host, args).status.code(), Some(code), "{args:?}");
    }
}
