//! The agent's own log, as the real program writes it: the order of a run, its levels, and its forms.

use serde_json::{Value, json};

use crate::support::aws::{endpoint, received};
use crate::support::host::Host;

/// What the reference says of a run, in its order; dashboards and scripts match on these.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_in_the_references_words_and_order() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("maxSendingThreads", 24);
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.add_flow("logs/b.log", json!({ "deliveryStream": "b" }));
    host.write("logs/a.log", "one\n");
    host.write("logs/b.log", "two\n");
    let agent = host.start();
    received(&endpoint, 2).await;
    let (ended, log) = agent.stop().await;
    assert!(ended.success());
    let (config, a, b) = (
        host.path("agent.json"),
        host.path("logs/a.log"),
        host.path("logs/b.log"),
    );
    let (config, a, b) = (config.display(), a.display(), b.display());
    const SPACE: &str = r"com\.amazon\.kinesis\.streaming\.agent";
    let lines = [
        format!(r"\(main\) {SPACE}\.Agent \[INFO\] Reading configuration from file: {config}"),
        format!(r"\(main\) {SPACE}\.Agent \[INFO\] Found 2 configured flow\(s\)"),
        format!(
            r"\(main\) {SPACE}\.Agent \[INFO\] Agent will use up to 24 threads for sending data\."
        ),
        format!(
            r"\(main\) {SPACE}\.tailing\.checkpoints\.SQLiteFileCheckpointStore \[INFO\] Deleted 0 old checkpoints\."
        ),
        format!(r"\(Agent STARTING\) {SPACE}\.Agent \[INFO\] Agent: Starting up\.\.\."),
        format!(
            r"\(Agent STARTING\) {SPACE}\.Agent \[INFO\] Agent: Starting tailer for file kinesis:a:{a}"
        ),
        format!(
            r"\(Agent STARTING\) {SPACE}\.Agent \[INFO\] Agent: Starting tailer for file fh:b:{b}"
        ),
        format!(r"\(Agent STARTING\) {SPACE}\.Agent \[INFO\] Agent: Startup completed in \d+ ms\."),
        format!(r"\(Agent STOPPING\) {SPACE}\.Agent \[INFO\] Agent: Shutting down\.\.\."),
        format!(
            r"\(FileTailer\[kinesis:a:{a}\]\.MetricsEmitter RUNNING\) {SPACE}\.tailing\.FileTailer \[INFO\] FileTailer\[kinesis:a:{a}\]: Tailer Progress: Tailer has parsed 1 records \(4 bytes\), transformed 0 records, skipped 0 records, and has successfully sent 1 records to destination\."
        ),
        format!(
            r"\(FileTailer\[fh:b:{b}\]\.MetricsEmitter RUNNING\) {SPACE}\.tailing\.FileTailer \[INFO\] FileTailer\[fh:b:{b}\]: Tailer Progress: Tailer has parsed 1 records \(4 bytes\), transformed 0 records, skipped 0 records, and has successfully sent 1 records to destination\."
        ),
        format!(
            r"\(Agent\.MetricsEmitter RUNNING\) {SPACE}\.Agent \[INFO\] Agent: Progress: 2 records parsed \(8 bytes\), and 2 records sent successfully to destinations\. Uptime: \d+ms"
        ),
    ];
    let mut rest = log.as_str();
    for line in &lines {
        let line = format!(r"(?m)^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}\+0000  {line}$");
        let found = regex::Regex::new(&line).unwrap().find(rest);
        let found =
            found.unwrap_or_else(|| panic!("{line} is not, or not in its place, in\n{log}"));
        rest = &rest[found.end()..];
    }
    // These come from the flows' own threads, at any time after their tailers have started.
    for (id, path, parser) in [
        (format!("kinesis:a:{a}"), &a, "KinesisParser"),
        (format!("fh:b:{b}"), &b, "FirehoseParser"),
    ] {
        let line = format!(
            "(FileTailer[{id}]) com.amazon.kinesis.streaming.agent.tailing.{parser} [INFO] {parser}[{id}]: Opening {path} for parsing."
        );
        assert!(log.contains(&line), "{line} is not in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_an_object_a_line_with_the_same_words() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("log.format", "json");
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\n");
    let agent = host.start();
    received(&endpoint, 1).await;
    let (_, log) = agent.stop().await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        let keys: Vec<_> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["time", "level", "thread", "logger", "message"]);
    }
    let progress = lines.iter().rfind(|line| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("Agent: Progress: 1 records parsed")
    });
    let progress = progress.expect("a progress line");
    assert_eq!(progress["level"], "INFO");
    assert_eq!(progress["thread"], "Agent.MetricsEmitter RUNNING");
    assert_eq!(
        progress["logger"],
        "com.amazon.kinesis.streaming.agent.Agent"
    );
    let time = progress["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
}

/// The environment wins over agent.json, and old keys count only where they are honoured.
#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_the_environments_then_that_of_honoured_keys() {
    let endpoint = endpoint("").await;
    for (level, honour, variable, has_debug, has_info) in [
        (None, false, None, false, true),
        (Some("DEBUG"), false, None, false, true),
        (Some("DEBUG"), true, None, true, true),
        (Some("WARN"), true, None, false, false),
        (Some("WARN"), true, Some("DEBUG"), true, true),
        (None, false, Some("debug"), true, true),
        (None, false, Some("nonsense"), false, true),
    ] {
        let mut host = Host::sending_to(&endpoint.url());
        host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
        host.write("logs/a.log", "one\n");
        if let Some(level) = level {
            host.set("log.level", level);
        }
        if honour {
            host.set("log.honourKeys", true);
        }
        if let Some(variable) = variable {
            host.set_env("AGENT_LOG_LEVEL", variable);
        }
        let n_before = endpoint.received().n_records();
        let agent = host.start();
        received(&endpoint, n_before + 1).await;
        let (_, log) = agent.stop().await;
        let case = format!("{level:?} {honour} {variable:?}\n{log}");
        assert_eq!(log.contains("[DEBUG]"), has_debug, "{case}");
        assert_eq!(log.contains("[INFO]"), has_info, "{case}");
        let is_ignored = level.is_some() && !honour;
        assert_eq!(
            log.contains("has no effect without log.honourKeys"),
            is_ignored,
            "{case}"
        );
        assert_eq!(
            log.contains("is no log level"),
            variable == Some("nonsense"),
            "{case}"
        );
    }
}
