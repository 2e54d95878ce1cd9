//! HTTPS: whom the agent trusts, and what it says of those it doesn't.

use std::sync::Arc;

use kinesis_agent::local::Endpoint;
use serde_json::json;

use crate::support::aws::{Authority, Https, endpoint, texts};
use crate::support::host::Host;

struct Secured {
    aws: Arc<Endpoint>,
    https: Https,
    host: Host,
}

/// An agent's host and an endpoint behind TLS that `authority` vouches for under `name`. It would rather speak HTTP/2,
/// were it offered.
async fn secured(authority: &Authority, name: &str) -> Secured {
    let aws = Arc::new(endpoint("").await);
    let tls = authority.vouch_for(&[name], &["h2", "http/1.1"]);
    let https = Https::start(Arc::clone(&aws), tls).await;
    let mut host = Host::sending_to(&https.url());
    host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
    host.write("logs/app.log", "one\n");
    Secured { aws, https, host }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_is_trusted_by_either_variable_and_http_1_1_is_spoken() {
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let authority = Authority::new("private CA");
        let Secured {
            aws,
            https,
            mut host,
        } = secured(&authority, "localhost").await;
        host.write("ca.pem", authority.pem());
        host.set_env(variable, host.path("ca.pem"));
        let mut agent = host.start();
        agent
            .until("a record", |_| aws.received().n_records() == 1)
            .await;
        assert_eq!(texts(&aws, "s"), ["one\n"], "{variable}");
        assert_eq!(
            https.chosen_protocols(),
            [Some("http/1.1".to_owned())],
            "{variable}"
        );
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_gives_one_clear_line() {
    for (signed_by_known, name, reason) in [
        (false, "localhost", "UnknownIssuer"),
        (
            true,
            "elsewhere.example",
            "not valid for name \"localhost\"",
        ),
    ] {
        let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
        let authority = if signed_by_known { &known } else { &unknown };
        let Secured {
            https, mut host, ..
        } = secured(authority, name).await;
        host.write("ca.pem", known.pem());
        host.set_env("AWS_CA_BUNDLE", host.path("ca.pem"));
        let mut agent = host.start();
        let line = agent.says("is not trusted").await;
        let wanted = format!("the certificate of {} is not trusted: ", https.url());
        for part in [
            &wanted,
            reason,
            "[ERROR] Publisher[kinesis:s:",
            "AWS_CA_BUNDLE",
            "records wait",
        ] {
            assert!(line.contains(part), "{part:?} isn't in {line}");
        }
        let connected = agent.lines_with("can't connect");
        assert!(connected.is_empty(), "{connected:#?}");
        assert_eq!(agent.lines_with("is not trusted").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_does_not_speak_tls_gives_one_clear_line() {
    let aws = endpoint("").await;
    let mut host = Host::sending_to(&aws.url().replace("http://", "https://"));
    host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
    host.write("logs/app.log", "one\n");
    let mut agent = host.start();
    let line = agent.says("can't connect to https://127.0.0.1:").await;
    assert!(
        line.contains("[ERROR] Publisher[kinesis:s:") && line.contains("corrupt message"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_can_not_be_used_refuses_the_start() {
    for (content, reason) in [
        (None, "No such file"),
        (Some("no PEM"), "holds no certificate"),
    ] {
        let mut host = Host::new();
        host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
        host.set_env("AWS_CA_BUNDLE", host.path("ca.pem"));
        if let Some(content) = content {
            host.write("ca.pem", content);
        }
        let (status, said) = host.start().ended().await;
        assert_eq!(status.code(), Some(1));
        for part in [
            reason,
            "(AWS_CA_BUNDLE)",
            host.path("ca.pem").to_str().unwrap(),
        ] {
            assert!(said.contains(part), "{part:?} isn't in {said}");
        }
    }
}
