//! Each trouble of the way to AWS gives one clear line (what, which flow, what to do), leaves the other flows alone, and
//! is over by itself when its cause is.

use kinesis_agent::local::faults::Faults;
use kinesis_agent::local::{Endpoint, Instance, Options, Streams};
use serde_json::json;
use std::sync::Arc;

use crate::support::aws::{Authority, ClosedPort, Proxy, endpoint, received, start, texts, user};
use crate::support::host::{Host, Running};

/// A flow to a Kinesis stream and one to a Firehose stream, with a line for each.
fn add_flows(host: &mut Host) {
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.add_flow("logs/b.log", json!({ "deliveryStream": "b" }));
    host.write("logs/a.log", "a 1\n");
    host.write("logs/b.log", "b 1\n");
}

fn flow_id(host: &Host, kind: &str, stream: &str) -> String {
    format!(
        "{kind}:{stream}:{}",
        host.path(format!("logs/{stream}.log")).display()
    )
}

/// The trouble's line has all parts, is the only one, and comes from the flow's publisher.
async fn assert_says(agent: &mut Running, flow: &str, parts: &[&str]) {
    let who = format!("[ERROR] Publisher[{flow}]: ");
    let line = agent.says(&format!("{who}{}", parts[0])).await;
    for part in parts {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    // What people read must be words, not the insides of a program.
    for inside in [
        "SdkError",
        "Error {",
        "Error(",
        "Some(",
        "DispatchFailure",
        "dispatch failure",
        "{ ",
    ] {
        assert!(!line.contains(inside), "{inside:?} is in {line}");
    }
    assert!(line.len() < 1_100, "{} bytes: {line}", line.len());
    let complaints = agent.lines_with(&who);
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_created_later() {
    let endpoint = start(Options {
        streams: Streams::Only(["b".to_owned()].into()),
        ..Options::default()
    })
    .await;
    let mut host = Host::sending_to(&endpoint.url());
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    received(&endpoint, 1).await;
    agent
        .until("ten tries", |_| endpoint.received().calls().len() > 10)
        .await;
    let what = format!(
        "Kinesis stream a does not exist at {} for this account (ResourceNotFoundException: Stream a under account \
         000000000000 not found.); create it, or correct its name, its region or the account; records wait",
        endpoint.url()
    );
    assert_says(&mut agent, &flow, &[&what]).await;
    host.append("logs/a.log", "a 2\n");
    host.append("logs/b.log", "b 2\n");
    received(&endpoint, 2).await;
    assert_eq!(texts(&endpoint, "b"), ["b 1\n", "b 2\n"]);
    endpoint.create_stream("a");
    received(&endpoint, 4).await;
    assert_eq!(texts(&endpoint, "a"), ["a 1\n", "a 2\n"]);
    agent.says("Kinesis stream a get through again").await;
    let (status, log) = agent.stop().await;
    assert!(status.success(), "{status}");
    assert_eq!(log.matches("stream a does not exist").count(), 1, "{log}");
}

/// Troubles that the service names, by the fault script: each is over when the script is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_said_and_sent_once_it_is_taken() {
    let cases: &[(&str, &[&str])] = &[
        (
            "error=ResourceNotFoundException stream=a",
            &[
                "Kinesis stream a does not exist at",
                "create it, or correct its name",
                "records wait",
            ],
        ),
        (
            "error=AccessDeniedException stream=a",
            &[
                "no permission to send to Kinesis stream a: AccessDeniedException",
                "allow kinesis:PutRecords on it",
                "records wait",
            ],
        ),
        (
            "error=KMSAccessDeniedException stream=a",
            &[
                "no permission to send to Kinesis stream a: KMSAccessDeniedException",
                "records wait",
            ],
        ),
        (
            "error=UnrecognizedClientException stream=a",
            &[
                "the credentials are refused: UnrecognizedClientException",
                "renew them",
                "records wait",
            ],
        ),
        (
            "error=ExpiredTokenException stream=a",
            &[
                "the credentials are refused: ExpiredTokenException",
                "clock is right",
                "records wait",
            ],
        ),
    ];
    for (script, parts) in cases {
        let endpoint = endpoint(script).await;
        let mut host = Host::sending_to(&endpoint.url());
        add_flows(&mut host);
        let flow = flow_id(&host, "kinesis", "a");
        let mut agent = host.start();
        received(&endpoint, 1).await;
        agent
            .until("ten tries", |_| endpoint.received().calls().len() > 10)
            .await;
        assert_says(&mut agent, &flow, parts).await;
        endpoint.set_faults(Faults::default());
        received(&endpoint, 2).await;
        assert_eq!(texts(&endpoint, "a"), ["a 1\n"], "{script}");
        let over = agent.says("Kinesis stream a get through again").await;
        assert!(over.contains("[INFO]"), "{over}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("awsSecretAccessKey", "not-the-secret");
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    let parts = [
        "the credentials are refused: InvalidSignatureException: ",
        "renew them",
        "records wait",
    ];
    assert_says(&mut agent, &flow, &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection() {
    let alive = endpoint("").await;
    let closed = ClosedPort::new();
    let port = closed.number();
    let mut host = Host::sending_to(&alive.url());
    host.set("kinesis.endpoint", format!("http://127.0.0.1:{port}"));
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    let parts = [
        &*format!("can't connect to http://127.0.0.1:{port}: "),
        "Connection refused (os error 111)",
        "check the endpoint, the host's name service, routes, security groups and proxy",
        "records wait",
    ];
    assert_says(&mut agent, &flow, &parts).await;
    host.append("logs/b.log", "b 2\n");
    received(&alive, 2).await;
    let endpoint = closed.open(Options::default()).await;
    received(&endpoint, 1).await;
    assert_eq!(texts(&endpoint, "a"), ["a 1\n"]);
    agent.says("Kinesis stream a get through again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_address() {
    let alive = endpoint("").await;
    let mut host = Host::sending_to(&alive.url());
    host.set("kinesis.endpoint", "http://kinesis.invalid:1");
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    assert_says(
        &mut agent,
        &flow,
        &[
            "can't connect to http://kinesis.invalid:1: ",
            "name service",
        ],
    )
    .await;
    received(&alive, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.unset("awsAccessKeyId");
    host.unset("awsSecretAccessKey");
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    let parts = [
        "no AWS credentials to send to Kinesis stream a with: none found (environment: ",
        "web identity: ",
        "container: ",
        "profile: ",
        "instance metadata: IMDS disabled by AWS_EC2_METADATA_DISABLED",
        "give the instance or container a role, or set AWS_ACCESS_KEY_ID",
        "records wait",
    ];
    assert_says(&mut agent, &flow, &parts).await;
    let keys = user();
    host.write(
        "aws-credentials",
        format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            keys.access_key_id, keys.secret_access_key
        ),
    );
    received(&endpoint, 2).await;
    agent.says("Kinesis stream a get through again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_metadata_service_that_does_not_answer_is_asked_again() {
    let closed = ClosedPort::new();
    let port = closed.number();
    let aws = endpoint("").await;
    let mut host = Host::sending_to(&aws.url());
    host.unset("awsAccessKeyId");
    host.unset("awsSecretAccessKey");
    host.unset_env("AWS_EC2_METADATA_DISABLED");
    host.set_env(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        format!("http://127.0.0.1:{port}"),
    );
    add_flows(&mut host);
    let flow = flow_id(&host, "kinesis", "a");
    let mut agent = host.start();
    let parts = [
        "no AWS credentials to send to Kinesis stream a with: none found (environment: ",
        "Connection refused (os error 111)",
        "records wait",
    ];
    assert_says(&mut agent, &flow, &parts).await;
    // Its keys are known where they were given out, so calls go there too from now on: to this port alone.
    let metadata = closed
        .open(Options {
            instance: Some(Instance {
                role_name: Some("agent".into()),
                ..Instance::default()
            }),
            ..Options::default()
        })
        .await;
    let line = agent.says("the credentials are refused").await;
    assert!(line.contains("UnrecognizedClientException"), "{line}");
    drop(metadata);
}

/// The region appears in the profile or in the instance metadata; the calls then go to that region's host.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_can_not_be_found() {
    for appears_in in ["profile", "instance metadata"] {
        let aws: Arc<Endpoint> = Arc::new(endpoint("").await);
        let authority = Authority::new("region test");
        let proxy = Proxy::start(Arc::clone(&aws), &authority).await;
        let closed = ClosedPort::new();
        let port = closed.number();
        let mut host = Host::sending_to(&aws.url());
        host.unset("kinesis.endpoint");
        host.write("ca.pem", authority.pem());
        host.set_env("AWS_CA_BUNDLE", host.path("ca.pem"));
        host.set_env("HTTPS_PROXY", proxy.url());
        host.unset_env("AWS_EC2_METADATA_DISABLED");
        host.set_env(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            format!("http://127.0.0.1:{port}"),
        );
        add_flows(&mut host);
        let flow = flow_id(&host, "kinesis", "a");
        let mut agent = host.start();
        received(&aws, 1).await;
        let parts = [
            "no region for Kinesis: neither in agent.json nor in AWS_REGION, the profile or the instance metadata",
            "set kinesis.region or kinesis.endpoint in agent.json, or AWS_REGION for the service",
            "records wait",
        ];
        assert_says(&mut agent, &flow, &parts).await;
        let _metadata = match appears_in {
            "profile" => {
                host.write("aws-config", "[default]\nregion = eu-west-1\n");
                None
            }
            _ => Some(
                closed
                    .open(Options {
                        instance: Some(Instance {
                            region: "eu-west-1".into(),
                            ..Instance::default()
                        }),
                        ..Options::default()
                    })
                    .await,
            ),
        };
        received(&aws, 2).await;
        assert_eq!(texts(&aws, "a"), ["a 1\n"]);
        assert_eq!(
            proxy.hosts(),
            ["kinesis.eu-west-1.amazonaws.com:443"],
            "{appears_in}"
        );
        agent.says("Kinesis stream a get through again").await;
    }
}

/// Nothing has to be sent for it to be said.
#[tokio::test(flavor = "multi_thread")]
async fn what_calls_need_is_missed_before_there_is_anything_to_send() {
    let mut host = Host::new();
    host.unset("kinesis.endpoint");
    host.unset("awsAccessKeyId");
    host.unset("awsSecretAccessKey");
    host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
    let mut agent = host.start();
    for what in ["no region for Kinesis: ", "no AWS credentials: "] {
        let line = agent.says(what).await;
        for part in ["[WARN]", "records wait in their files", "looked for again"] {
            assert!(line.contains(part), "{part:?} isn't in {line}");
        }
    }
}
