//! The listener of `metrics.prometheus.listen`: metrics, status, health, and who may ask.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use kinesis_agent::local::Endpoint;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::support::asking::{address_in, get, get_with, send};
use crate::support::aws::{ClosedPort, endpoint, received};
use crate::support::host::{Host, Running};
use crate::support::project;
use crate::support::wait::until_done;

async fn listening(host: &mut Host) -> (Running, SocketAddr) {
    host.set("metrics.prometheus.listen", "127.0.0.1:0");
    let mut agent = host.start();
    let line = agent.says("metrics and the status page are at").await;
    (agent, address_in(&line))
}

/// An agent whose two records have arrived and are acknowledged.
async fn two_records_on(endpoint: &Endpoint) -> (Host, Running, SocketAddr) {
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\ntwo\n");
    let (agent, address) = listening(&mut host).await;
    received(endpoint, 2).await;
    until_done("the acknowledgement", async || {
        let told = get(address, "/status").await.json();
        (told["flows"][0]["files"][0]["sent"] == 8).then_some(())
    })
    .await;
    (host, agent, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_in_prometheus_words() {
    let endpoint = endpoint("").await;
    let (host, _agent, address) = two_records_on(&endpoint).await;
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let file = host.path("logs/a.log");
    let labels = format!("{{flow=\"kinesis:a:{}\",destination=\"a\"", file.display());
    for series in [
        format!("kinesis_agent_records_parsed_total{labels}}} 2"),
        format!("kinesis_agent_records_sent_total{labels}}} 2"),
        format!("kinesis_agent_bytes_sent_total{labels}}} 8"),
        format!("kinesis_agent_behind_bytes{labels}}} 0"),
        format!("kinesis_agent_behind_seconds{labels}}} 0"),
        format!("kinesis_agent_files_followed{labels}}} 1"),
        format!("kinesis_agent_delivering{labels}}} 1"),
        format!(
            "kinesis_agent_file_behind_bytes{labels},file=\"{}\"}} 0",
            file.display()
        ),
        "# TYPE kinesis_agent_send_latency_seconds histogram".to_owned(),
        "# HELP kinesis_agent_records_sent_total Records that the service accepted.".to_owned(),
    ] {
        assert!(
            answer.body.contains(&series),
            "{series} is not in\n{}",
            answer.body
        );
    }
    let count = format!("kinesis_agent_send_latency_seconds_count{labels}}} ");
    let n_calls = answer
        .body
        .split_once(&count)
        .and_then(|(_, rest)| rest.lines().next());
    assert!(
        n_calls.and_then(|n| n.parse::<u64>().ok()) > Some(0),
        "{}",
        answer.body
    );
    promtool_is_content_with(&answer.body);
}

/// Debian's `prometheus` has it; where it isn't installed this says so and nothing else.
fn promtool_is_content_with(metrics: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        eprintln!("SKIPPED: promtool isn't installed (Debian: prometheus), so it isn't asked");
        return;
    };
    tool.stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "", "promtool has something to say");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_about_the_agent_and_readiness_about_delivery() {
    let closed = ClosedPort::new();
    let mut host = Host::sending_to(&format!("http://127.0.0.1:{}", closed.number()));
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    let (mut agent, address) = listening(&mut host).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            get(address, path).await.status,
            200,
            "{path}: nothing is to be sent yet"
        );
    }
    host.write("logs/a.log", "one\n");
    agent.says("can't connect to").await;
    let answer = get(address, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("can't connect to") && answer.body.contains("check the endpoint"),
        "{}",
        answer.body
    );
    assert_eq!(
        get(address, "/healthz").await.status,
        200,
        "an outage must not restart a fleet"
    );
    let metrics = get(address, "/metrics").await.body;
    assert!(
        metrics.contains("kinesis_agent_delivering{") && metrics.contains("destination=\"a\"} 0"),
        "{metrics}"
    );
    let endpoint = closed.open(kinesis_agent::local::Options::default()).await;
    received(&endpoint, 1).await;
    until_done("delivery to be told", async || {
        (get(address, "/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused() {
    let endpoint = endpoint("").await;
    let (_host, _agent, address) = two_records_on(&endpoint).await;
    let request = |first: &str, headers: &str| format!("{first}\r\n{headers}\r\n");
    let host = format!("Host: {address}\r\n");
    let cases = [
        (
            request("GET /status HTTP/1.1", "Host: evil.example\r\n"),
            403,
        ),
        (request("GET /status HTTP/1.1", ""), 403),
        (
            request("GET /status HTTP/1.1", "Host: localhost\r\nHost: evil\r\n"),
            403,
        ),
        (
            request(
                "POST /status HTTP/1.1",
                &format!("{host}Content-Length: 0\r\n"),
            ),
            405,
        ),
        (request("DELETE / HTTP/1.1", &host), 405),
        (request("GET http://evil/status HTTP/1.1", &host), 403),
        (
            request(
                "GET /status HTTP/1.1",
                &format!("{host}Content-Length: 5\r\n"),
            ) + "hello",
            413,
        ),
        (request("GET /etc/passwd HTTP/1.1", &host), 404),
        (request("GET /../status HTTP/1.1", &host), 404),
        (
            request(
                "GET / HTTP/1.1",
                &format!("{host}X: {}\r\n", "x".repeat(100_000)),
            ),
            431,
        ),
        (request("nonsense", ""), 400),
        (request("GET / HTTP/1.1", &host), 200),
        (request("HEAD /status HTTP/1.1", &host), 200),
    ];
    for (asked, status) in cases {
        let shown: String = asked.chars().take(80).collect();
        // Where not all that was asked is read, its answer may be lost with the connection, so it is asked again.
        let answer = until_done("an answer", async || send(address, &asked).await).await;
        assert_eq!(answer.status, status, "{shown}");
    }
    let page = get(address, "/").await;
    for header in [
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
}

/// P-ASKING: What the agent says of itself changes nothing and shows no secret.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_change_is_refused_and_nothing_changes() {
    let endpoint = endpoint("").await;
    let (host, mut agent, address) = two_records_on(&endpoint).await;
    let saved = || {
        let database =
            Connection::open_with_flags(host.path("checkpoints"), OpenFlags::SQLITE_OPEN_READ_ONLY)
                .ok()?;
        let mut rows = database
            .prepare("SELECT path, offset FROM FILE_CHECKPOINTS")
            .ok()?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.ok()?.collect::<Result<Vec<(String, i64)>, _>>().ok()
    };
    let path = host.path("logs/a.log").display().to_string();
    let whole = Some(vec![(path, 8)]);
    agent.until("the checkpoint", |_| saved() == whole).await;
    let before = get(address, "/status").await.json()["flows"][0]["files"].clone();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/status", "/metrics", "/healthz", "/readyz"] {
            let asked =
                format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
            let answer = send(address, &asked).await.expect("an answer");
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let after = get(address, "/status").await.json()["flows"][0]["files"].clone();
    assert_eq!(after, before);
    assert_eq!(saved(), whole);
    assert_eq!(endpoint.received().n_records(), 2);
    host.append("logs/a.log", "three\n");
    received(&endpoint, 3).await;
    let (status, _) = agent.stop().await;
    assert!(status.success(), "{status}");
}

/// P-ASKING: What the agent says of itself changes nothing and shows no secret.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_those_who_know_it_learn_anything() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("metrics.prometheus.token", "the-token");
    host.set("metrics.prometheus.hosts", json!(["agent.example"]));
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a-secret-stream" }));
    let (agent, address) = listening(&mut host).await;
    for (path, headers, status) in [
        ("/status", "", 401),
        ("/metrics", "", 401),
        ("/status", "Authorization: Bearer wrong\r\n", 401),
        ("/status", "Authorization: Bearer the-token\r\n", 200),
        ("/metrics", "Authorization: Bearer the-token\r\n", 200),
        ("/", "", 200),
        ("/healthz", "", 200),
        ("/readyz", "", 200),
    ] {
        let answer = get_with(address, path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers}");
        assert!(
            headers.contains("the-token") || !answer.body.contains("a-secret-stream"),
            "{path}"
        );
        let keys = crate::support::aws::user();
        for secret in [
            "the-token",
            keys.secret_access_key.as_str(),
            keys.access_key_id.as_str(),
        ] {
            assert!(!answer.body.contains(secret), "{path} shows a secret");
        }
    }
    let named = "GET /healthz HTTP/1.1\r\nHost: agent.example:80\r\n\r\n";
    assert_eq!(send(address, named).await.unwrap().status, 200);
    assert!(!agent.log().contains("the-token"));
}

/// Every metric that the alerts and the dashboard speak of is there, and Prometheus can read the alerts.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_speak_of_metrics_that_there_are() {
    let endpoint = endpoint("").await;
    let (_host, _agent, address) = two_records_on(&endpoint).await;
    let metrics = get(address, "/metrics").await.body;
    let name = regex::Regex::new("kinesis_agent_[a-z_]+").unwrap();
    let rules = "packaging/prometheus/kinesis-agent.rules.yml";
    let dashboard = "packaging/grafana/kinesis-agent.json";
    for file in [rules, dashboard] {
        let text = project::read(file);
        let named: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
        assert!(named.len() > 5, "{file}: {named:?}");
        let unknown: Vec<_> = named
            .into_iter()
            .filter(|name| {
                !metrics.lines().any(|line| {
                    line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))
                })
            })
            .collect();
        assert!(unknown.is_empty(), "{file} speaks of {unknown:?}");
    }
    let read: serde_json::Value = serde_json::from_str(&project::read(dashboard)).unwrap();
    assert!(
        read["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
    let asked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(project::root().join(rules))
        .output();
    let Ok(asked) = asked else {
        eprintln!(
            "SKIPPED: promtool isn't installed (Debian: prometheus), so the rules aren't checked"
        );
        return;
    };
    let said = String::from_utf8_lossy(&asked.stdout) + String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{said}");
}
