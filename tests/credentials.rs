//! As whom calls are made, and where they go.

use std::sync::Arc;

use kinesis_agent::local::{Call, Endpoint, Instance, Keys, Options, Role, Roles, Signer};
use serde_json::{Value, json};

use crate::support::aws::{Authority, Proxy, endpoint, json_server, received, start};
use crate::support::host::Host;

const ROLE: &str = "arn:aws:iam::000000000000:role/shipper";

fn signer_of(endpoint: &Endpoint) -> Signer {
    let calls = endpoint.received().calls();
    calls
        .iter()
        .find_map(|call: &Call| call.signer.clone())
        .expect("a call was signed")
}

fn own_keys() -> Vec<Keys> {
    let container = Keys {
        session_token: Some("container-token".into()),
        ..Keys::new("AKIDCONTAINER", "container-secret")
    };
    vec![
        Keys::new("AKIDAGENTJSON", "agent-json-secret"),
        Keys::new("AKIDENVIRONMENT", "environment-secret"),
        container,
        Keys::new("AKIDPROFILE", "profile-secret"),
    ]
}

/// A place of credentials: its name, how it is taken away, who signs as long as it is there, and what the log says.
type Place = (&'static str, fn(&mut Host), &'static str, &'static str);

/// Keys that STS and the instance metadata give out begin so.
const TEMPORARY: &str = "ASIALOCAL";

const PLACES: [Place; 6] = [
    (
        "agent.json",
        |host| {
            host.unset("awsAccessKeyId");
            host.unset("awsSecretAccessKey");
        },
        "AKIDAGENTJSON",
        "agent.json (access key AKIDAGENTJSON)",
    ),
    (
        "environment",
        |host| {
            host.unset_env("AWS_ACCESS_KEY_ID");
            host.unset_env("AWS_SECRET_ACCESS_KEY");
        },
        "AKIDENVIRONMENT",
        "environment (access key AKIDENVIRONMENT)",
    ),
    (
        "web identity",
        |host| host.unset_env("AWS_WEB_IDENTITY_TOKEN_FILE"),
        TEMPORARY,
        "web identity (access key ASIALOCAL",
    ),
    (
        "container",
        |host| host.unset_env("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        "AKIDCONTAINER",
        "container (access key AKIDCONTAINER)",
    ),
    (
        "profile",
        |host| host.write("aws-credentials", ""),
        "AKIDPROFILE",
        "profile (access key AKIDPROFILE)",
    ),
    (
        "instance metadata",
        |host| host.set_env("AWS_EC2_METADATA_DISABLED", "true"),
        TEMPORARY,
        "instance metadata (access key ASIALOCAL",
    ),
];

/// An endpoint and a host on which every place has credentials.
async fn everything_everywhere() -> (Endpoint, Host) {
    let endpoint = start(Options {
        credentials: own_keys(),
        instance: Some(Instance {
            role_name: Some("shipper".into()),
            ..Instance::default()
        }),
        ..Options::default()
    })
    .await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("kinesis.region", "eu-west-1");
    host.set("awsAccessKeyId", "AKIDAGENTJSON");
    host.set("awsSecretAccessKey", "agent-json-secret");
    host.set_env("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT");
    host.set_env("AWS_SECRET_ACCESS_KEY", "environment-secret");
    host.write("web-identity", "a token of any kind");
    host.set_env("AWS_WEB_IDENTITY_TOKEN_FILE", host.path("web-identity"));
    host.set_env("AWS_ROLE_ARN", ROLE);
    host.set_env("AWS_ENDPOINT_URL_STS", endpoint.url());
    let keys = json!({
        "AccessKeyId": "AKIDCONTAINER",
        "SecretAccessKey": "container-secret",
        "Token": "container-token",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    host.set_env(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        json_server(keys.to_string()).await,
    );
    host.write(
        "aws-credentials",
        "[default]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = profile-secret\n",
    );
    host.unset_env("AWS_EC2_METADATA_DISABLED");
    host.set_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.url());
    host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
    host.write("logs/app.log", "one\n");
    (endpoint, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_looked_for_in_the_order_of_the_reference() {
    for n_gone in 0..PLACES.len() {
        let (endpoint, mut host) = everything_everywhere().await;
        for (_, take_away, ..) in &PLACES[..n_gone] {
            take_away(&mut host);
        }
        let (place, _, signer, said) = PLACES[n_gone];
        let mut agent = host.start();
        received(&endpoint, 1).await;
        let signed = signer_of(&endpoint);
        assert!(
            signed.access_key_id.starts_with(signer),
            "{place}: {signed:?}"
        );
        assert_eq!(signed.region, "eu-west-1", "{place}");
        agent.says(said).await;
        let (_, log) = agent.stop().await;
        for secret in [
            "agent-json-secret",
            "environment-secret",
            "container-secret",
            "profile-secret",
            "local-temporary-secret",
            "container-token",
            "local-session-token",
        ] {
            assert!(!log.contains(secret), "{place}: {secret} is in the log");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_is_assumed_with_each_kind_of_credentials() {
    for n_gone in 0..PLACES.len() {
        let (endpoint, mut host) = everything_everywhere().await;
        for (_, take_away, ..) in &PLACES[..n_gone] {
            take_away(&mut host);
        }
        host.set("assumeRoleARN", ROLE);
        let mut agent = host.start();
        received(&endpoint, 1).await;
        let signed = signer_of(&endpoint);
        assert!(
            signed.access_key_id.starts_with(TEMPORARY),
            "{}: {signed:?}",
            PLACES[n_gone].0
        );
        let place = PLACES[n_gone].0;
        agent
            .says(&format!(
                "{place}, through the assumed role (access key ASIALOCAL"
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_external_id_must_be_the_role_s() {
    for (external_id, is_right) in [
        (Some("tenant-7"), true),
        (Some("tenant-8"), false),
        (None, false),
    ] {
        let endpoint = start(Options {
            roles: Roles::Only(vec![Role {
                arn: ROLE.into(),
                external_id: Some("tenant-7".into()),
            }]),
            ..Options::default()
        })
        .await;
        let mut host = Host::sending_to(&endpoint.url());
        host.set("assumeRoleARN", ROLE);
        if let Some(external_id) = external_id {
            host.set("assumeRoleExternalId", external_id);
        }
        host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
        host.write("logs/app.log", "one\n");
        let mut agent = host.start();
        if is_right {
            received(&endpoint, 1).await;
            assert!(signer_of(&endpoint).access_key_id.starts_with(TEMPORARY));
            continue;
        }
        let line = agent.says("[ERROR] Publisher[kinesis:s:").await;
        for part in [
            "no AWS credentials to send to Kinesis stream s with: the role arn:aws:iam::000000000000:role/shipper \
             (assumeRoleARN) can't be assumed: ",
            "AccessDenied",
            "is not authorized to perform: sts:AssumeRole on resource",
            "check its trust policy, assumeRoleExternalId, and that the agent's own credentials may call sts:AssumeRole",
            "records wait",
        ] {
            assert!(line.contains(part), "{part:?} isn't in {line}");
        }
        assert!(endpoint.received().calls().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_set_up_and_fails_is_named() {
    type SetUp = fn(&mut Host);
    let cases: [(SetUp, &[&str]); 2] = [
        (
            |host| {
                host.set_env("AWS_WEB_IDENTITY_TOKEN_FILE", host.path("nowhere"));
                host.set_env("AWS_ROLE_ARN", ROLE);
            },
            &[
                "web identity can't give them: ",
                "No such file or directory",
            ],
        ),
        (
            |host| host.write("aws-credentials", "[default\n"),
            &["profile can't give them: "],
        ),
    ];
    for (set_up, parts) in cases {
        let endpoint = endpoint("").await;
        let mut host = Host::sending_to(&endpoint.url());
        host.unset("awsAccessKeyId");
        host.unset("awsSecretAccessKey");
        set_up(&mut host);
        host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
        host.write("logs/app.log", "one\n");
        let mut agent = host.start();
        let line = agent.says("[ERROR] Publisher[kinesis:s:").await;
        for part in parts.iter().chain(&["records wait"]) {
            assert!(line.contains(part), "{part:?} isn't in {line}");
        }
    }
}

/// Where calls go and which region they are signed for.
struct Case {
    config: Value,
    environment: &'static [(&'static str, &'static str)],
    profile_region: Option<&'static str>,
    instance_region: Option<&'static str>,
    /// Kinesis, Firehose.
    regions: (&'static str, &'static str),
    hosts: &'static [&'static str],
    says: &'static [&'static str],
}

fn case(
    config: Value,
    regions: (&'static str, &'static str),
    hosts: &'static [&'static str],
) -> Case {
    Case {
        config,
        environment: &[],
        profile_region: None,
        instance_region: None,
        regions,
        hosts,
        says: &[],
    }
}

const DIFFERS: &str = "Firehose is called in us-east-1, as no endpoint is set, while this host is in eu-west-1; set firehose.region";

fn cases() -> Vec<Case> {
    let none = || json!({});
    vec![
        Case {
            environment: &[
                ("AWS_REGION", "eu-west-1"),
                ("AWS_DEFAULT_REGION", "eu-west-3"),
            ],
            profile_region: Some("eu-west-2"),
            instance_region: Some("eu-west-3"),
            says: &[DIFFERS],
            ..case(
                none(),
                ("eu-west-1", "us-east-1"),
                &["firehose.us-east-1", "kinesis.eu-west-1"],
            )
        },
        Case {
            environment: &[("AWS_DEFAULT_REGION", "eu-west-3")],
            profile_region: Some("eu-west-2"),
            instance_region: Some("eu-west-1"),
            ..case(
                none(),
                ("eu-west-2", "us-east-1"),
                &["firehose.us-east-1", "kinesis.eu-west-2"],
            )
        },
        Case {
            environment: &[("AWS_DEFAULT_REGION", "eu-west-2")],
            instance_region: Some("eu-west-1"),
            says: &[DIFFERS],
            ..case(
                none(),
                ("eu-west-1", "us-east-1"),
                &["firehose.us-east-1", "kinesis.eu-west-1"],
            )
        },
        Case {
            environment: &[("AWS_DEFAULT_REGION", "eu-west-2")],
            says: &[
                "[WARN] the region eu-west-2 is that of AWS_DEFAULT_REGION, which is asked last of all; set AWS_REGION",
            ],
            ..case(
                none(),
                ("eu-west-2", "us-east-1"),
                &["firehose.us-east-1", "kinesis.eu-west-2"],
            )
        },
        Case {
            environment: &[("AWS_REGION", "eu-west-2")],
            ..case(
                json!({ "kinesis.region": "eu-west-1", "firehose.region": "eu-west-3" }),
                ("eu-west-1", "eu-west-3"),
                &["firehose.eu-west-3", "kinesis.eu-west-1"],
            )
        },
        Case {
            environment: &[("AWS_REGION", "eu-west-1")],
            ..case(
                json!({ "kinesis.endpoint": "", "firehose.endpoint": "", "cloudwatch.endpoint": "", "cloudwatch.emitMetrics": true }),
                ("eu-west-1", "us-east-1"),
                &[
                    "firehose.us-east-1",
                    "kinesis.eu-west-1",
                    "monitoring.us-east-1",
                ],
            )
        },
        Case {
            environment: &[("AWS_REGION", "eu-west-1")],
            ..case(
                json!({ "cloudwatch.region": "eu-west-2", "cloudwatch.emitMetrics": true }),
                ("eu-west-1", "us-east-1"),
                &[
                    "firehose.us-east-1",
                    "kinesis.eu-west-1",
                    "monitoring.eu-west-2",
                ],
            )
        },
        // The region is that of the endpoint's name; with both, the endpoint says where and the region what is signed.
        Case {
            environment: &[("AWS_REGION", "eu-west-3")],
            ..case(
                json!({ "kinesis.endpoint": "kinesis.eu-west-1.amazonaws.com", "firehose.endpoint": "https://firehose.eu-west-2.amazonaws.com" }),
                ("eu-west-1", "eu-west-2"),
                &["firehose.eu-west-2", "kinesis.eu-west-1"],
            )
        },
        case(
            json!({ "kinesis.endpoint": "kinesis.eu-west-1.amazonaws.com", "kinesis.region": "eu-west-2" }),
            ("eu-west-2", "us-east-1"),
            &["firehose.us-east-1", "kinesis.eu-west-1"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_where_the_reference_sends_them() {
    let authority = Authority::new("region test");
    for case in cases() {
        let aws: Arc<Endpoint> = Arc::new(
            start(Options {
                instance: case.instance_region.map(|region| Instance {
                    region: region.into(),
                    ..Instance::default()
                }),
                ..Options::default()
            })
            .await,
        );
        let proxy = Proxy::start(Arc::clone(&aws), &authority).await;
        let mut host = Host::sending_to(&aws.url());
        host.unset("kinesis.endpoint");
        host.unset("firehose.endpoint");
        host.write("ca.pem", authority.pem());
        host.set_env("AWS_CA_BUNDLE", host.path("ca.pem"));
        host.set_env("HTTPS_PROXY", proxy.url());
        if case.instance_region.is_some() {
            host.unset_env("AWS_EC2_METADATA_DISABLED");
            host.set_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url());
        }
        if let Some(region) = case.profile_region {
            host.write("aws-config", format!("[default]\nregion = {region}\n"));
        }
        for (name, value) in case.environment {
            host.set_env(name, value);
        }
        for (key, value) in case.config.as_object().unwrap() {
            host.set(key, value.clone());
        }
        host.add_flow("logs/app.log", json!({ "kinesisStream": "k" }));
        host.add_flow("logs/app.log", json!({ "deliveryStream": "f" }));
        host.write("logs/app.log", "one\n");
        let what = format!("{} with {:?}", case.config, case.environment);
        let mut agent = host.start();
        received(&aws, 2).await;
        for said in case.says {
            agent.says(said).await;
        }
        // At its end at the latest the agent has published its metrics.
        let (_, log) = agent.stop().await;
        let region_of = |stream: &str| {
            let calls = aws.received().calls();
            let of_stream = calls
                .iter()
                .find(|call| call.stream.as_deref() == Some(stream));
            of_stream
                .and_then(|call| call.signer.clone())
                .expect("it was signed")
                .region
        };
        assert_eq!((&*region_of("k"), &*region_of("f")), case.regions, "{what}");
        let hosts: Vec<String> = case
            .hosts
            .iter()
            .map(|host| format!("{host}.amazonaws.com:443"))
            .collect();
        assert_eq!(proxy.hosts(), hosts, "{what}\n{log}");
    }
}

/// On loopback no name says a region: the host's is signed for, or us-east-1.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_region_in_its_name_is_signed_for_the_host_s() {
    for (environment, region) in [(Some("eu-west-2"), "eu-west-2"), (None, "us-east-1")] {
        let endpoint = endpoint("").await;
        let mut host = Host::sending_to(&endpoint.url());
        if let Some(region) = environment {
            host.set_env("AWS_REGION", region);
        }
        host.add_flow("logs/app.log", json!({ "kinesisStream": "s" }));
        host.write("logs/app.log", "one\n");
        let _agent = host.start();
        received(&endpoint, 1).await;
        assert_eq!(signer_of(&endpoint).region, region);
    }
}
