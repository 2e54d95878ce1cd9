//! Look-ups against the embedded endpoint, and the background task against scripted look-ups on a paused clock.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::PathBuf;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_credential_types::provider::ProvideCredentials as _;
use jiff::Zoned;
use tokio::time::Instant;

use super::look_up::Settings;
use super::metadata::Identity;
use super::*;
use crate::config::{Environment, load_text};
use crate::local;
use crate::local::{Endpoint, Keys};

fn clients(keys: &Keys) -> Arc<Clients> {
    let text = serde_json::json!({
        "awsAccessKeyId": keys.access_key_id,
        "awsSecretAccessKey": keys.secret_access_key,
        "flows": [{ "filePattern": "/logs/a.log", "kinesisStream": "s" }],
    });
    let environment = Environment {
        cores: 1,
        cbor_disabled: false,
        cwd: PathBuf::from("/"),
    };
    let loaded = load_text(text.to_string().as_bytes(), "agent.json", &environment).unwrap();
    Clients::new(&loaded.config).unwrap()
}

async fn endpoint(instance: Option<local::Instance>, faults: &str) -> Endpoint {
    let options = local::Options {
        instance,
        faults: faults.parse().unwrap(),
        ..local::Options::default()
    };
    Endpoint::start(options).await.unwrap()
}

fn sources(endpoint: &Endpoint, keys: &Keys) -> Sources {
    let settings = Settings {
        is_disabled: false,
        metadata_endpoint: Some(endpoint.url()),
        ec2_endpoint: Some(endpoint.url()),
    };
    Sources::new(settings, clients(keys), 5).unwrap().unwrap()
}

async fn look_up(endpoint: &Endpoint) -> Result<Seen, MetadataError> {
    sources(endpoint, &Keys::test()).look_up().await
}

fn tags(n_tags: usize) -> BTreeMap<String, String> {
    let tag = |number| (format!("key {number:02}"), format!("<{number}> & \"more\""));
    (0..n_tags).map(tag).collect()
}

fn instance(n_tags: usize) -> local::Instance {
    local::Instance {
        tags: tags(n_tags),
        ..local::Instance::default()
    }
}

fn found(n_tags: usize) -> Tags {
    Tags::Found(tags(n_tags).into_iter().collect())
}

#[tokio::test]
async fn an_instance_is_described_by_its_metadata_and_by_ec2() {
    let endpoint = endpoint(Some(instance(3)), "").await;
    let seen = look_up(&endpoint).await.unwrap();
    assert_eq!(seen.tags, found(3));
    let at = Zoned::new(
        "2026-01-02T03:04:05Z".parse().unwrap(),
        jiff::tz::TimeZone::fixed(jiff::tz::offset(-3)),
    );
    let metadata = Seen { at, ..seen }.into_metadata(None);
    let text = |text: &str| Some(text.to_owned());
    let expected = Ec2Metadata {
        private_ip: text("10.0.0.12"),
        availability_zone: text("eu-central-1a"),
        instance_id: text("i-0123456789abcdef0"),
        instance_type: text("t3.micro"),
        account_id: text(local::ACCOUNT_ID),
        ami_id: text("ami-0123456789abcdef0"),
        region: text("eu-central-1"),
        timestamp: "2026-01-02T00:04:05-0300".to_owned(),
        tags: tags(3).into_iter().collect(),
    };
    assert_eq!(metadata, expected);
}

#[tokio::test]
async fn many_tags_come_in_pages() {
    for n_tags in [0, 5, 6, 12] {
        let endpoint = endpoint(Some(instance(n_tags)), "").await;
        assert_eq!(
            look_up(&endpoint).await.unwrap().tags,
            found(n_tags),
            "{n_tags}"
        );
    }
}

#[tokio::test]
async fn tags_in_the_metadata_need_no_call_to_ec2() {
    let instance = local::Instance {
        tags_in_metadata: true,
        ..instance(12)
    };
    let endpoint = endpoint(Some(instance), "reset-before service=ec2").await;
    assert_eq!(look_up(&endpoint).await.unwrap().tags, found(12));
}

#[tokio::test]
async fn metadata_without_tokens_will_do() {
    let instance = local::Instance {
        metadata_without_token: true,
        tags_in_metadata: true,
        ..instance(1)
    };
    // The first call is the one for a token.
    for faults in [
        "status=404 service=imds calls=1",
        "status=405 service=imds calls=1",
    ] {
        let endpoint = endpoint(Some(instance.clone()), faults).await;
        let seen = look_up(&endpoint).await.unwrap();
        assert_eq!(seen.instance_id(), "i-0123456789abcdef0", "{faults}");
        assert_eq!(seen.tags, found(1), "{faults}");
    }
}

#[tokio::test]
async fn credentials_of_the_instance_s_role_come_without_tokens_too() {
    for (metadata_without_token, faults) in [(false, ""), (true, "status=404 service=imds calls=1")]
    {
        let instance = local::Instance {
            metadata_without_token,
            role_name: Some("writer".to_owned()),
            ..instance(2)
        };
        let endpoint = endpoint(Some(instance), faults).await;
        let clients = clients(&Keys::test());
        let client = aws_config::imds::client::Client::builder()
            .configure(&clients.provider)
            .endpoint(endpoint.url())
            .unwrap()
            .build();
        let provider = ImdsCredentialsProvider::builder()
            .configure(&clients.provider)
            .imds_client(client)
            .build();
        let credentials = provider.provide_credentials().await.unwrap();
        assert!(
            credentials.access_key_id().starts_with("ASIALOCAL"),
            "{credentials:?}"
        );
    }
}

#[tokio::test]
async fn tags_that_are_refused_leave_the_rest() {
    let wrong = Keys::new(Keys::TEST_ACCESS_KEY_ID, "a wrong secret");
    let rows = [
        (wrong, "", true),
        (
            Keys::test(),
            "error=UnauthorizedOperation:403 service=ec2",
            true,
        ),
        (
            Keys::test(),
            "error=RequestLimitExceeded:503 service=ec2",
            false,
        ),
        (Keys::test(), "status=502 service=ec2", false),
        (Keys::test(), "reset-before service=ec2", false),
        (Keys::test(), "garble service=ec2", false),
        (
            Keys::test(),
            "error=RequestLimitExceeded:503 service=ec2 calls=2",
            false,
        ),
    ];
    for (keys, faults, is_refused) in rows {
        let endpoint = endpoint(Some(instance(12)), faults).await;
        let seen = sources(&endpoint, &keys).look_up().await.unwrap();
        assert_eq!(seen.instance_id(), "i-0123456789abcdef0");
        let Tags::Missing(error) = seen.tags else {
            panic!("{faults}: {:?}", seen.tags);
        };
        assert_eq!(
            matches!(error, TagsError::Refused { .. }),
            is_refused,
            "{faults}: {error}"
        );
    }
}

#[tokio::test]
async fn where_there_is_no_instance_there_is_no_metadata() {
    let nowhere = endpoint(None, "").await;
    assert!(matches!(
        look_up(&nowhere).await,
        Err(MetadataError::NoInstance)
    ));
    let out_of_order = endpoint(Some(instance(0)), "status=500 service=imds").await;
    assert!(look_up(&out_of_order).await.is_err());
    let keys = Keys::test();
    assert_eq!(sources(&nowhere, &keys).instance_id().await, None);
    let somewhere = endpoint(Some(instance(0)), "").await;
    let id = sources(&somewhere, &keys).instance_id().await;
    assert_eq!(id.as_deref(), Some("i-0123456789abcdef0"));
}

#[test]
fn the_environment_says_whether_and_where_to_ask() {
    let rows: [(&[(&str, &str)], bool, Option<&str>); 5] = [
        (&[], false, None),
        (&[("AWS_EC2_METADATA_DISABLED", "TRUE")], true, None),
        (&[("AWS_EC2_METADATA_DISABLED", "false")], false, None),
        (
            &[("AWS_ENDPOINT_URL_EC2", "http://h:1/")],
            false,
            Some("http://h:1"),
        ),
        (&[("AWS_ENDPOINT_URL_EC2", "")], false, None),
    ];
    for (variables, is_disabled, ec2_endpoint) in rows {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let settings = Settings::read(|name| variables.get(name).map(|text| (*text).to_owned()));
        assert_eq!(settings.is_disabled, is_disabled, "{variables:?}");
        assert_eq!(
            settings.ec2_endpoint.as_deref(),
            ec2_endpoint,
            "{variables:?}"
        );
        let sources = Sources::new(settings, clients(&Keys::test()), 5).unwrap();
        assert_eq!(sources.is_none(), is_disabled, "{variables:?}");
    }
}

/// Look-ups that are written down; after the last one they never end.
struct Scripted {
    results: VecDeque<Result<Seen, MetadataError>>,
    started: Instant,
    /// When each was asked for, in seconds of the paused clock.
    asked_s: Arc<std::sync::Mutex<Vec<u64>>>,
}

impl LookUp for Scripted {
    async fn look_up(&mut self) -> Result<Seen, MetadataError> {
        self.asked_s
            .lock()
            .unwrap()
            .push(self.started.elapsed().as_secs());
        match self.results.pop_front() {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

fn seen(id: &str, tags: Result<&str, TagsError>) -> Result<Seen, MetadataError> {
    let tags = match tags {
        Ok(value) => Tags::Found(vec![("Name".to_owned(), value.to_owned())]),
        Err(error) => Tags::Missing(error),
    };
    Ok(Seen {
        identity: Identity {
            instance_id: Some(id.to_owned()),
            ..Identity::default()
        },
        tags,
        at: Zoned::now(),
    })
}

fn no_answer() -> Result<Seen, MetadataError> {
    Err(MetadataError::NoInstance)
}

fn failed() -> TagsError {
    TagsError::Failed("no way to EC2".to_owned())
}

fn refused() -> TagsError {
    TagsError::Refused {
        code: "UnauthorizedOperation".to_owned(),
        message: String::new(),
    }
}

/// Runs scripted look-ups; gives the times at which they were asked for, and the handle.
async fn run(ttl_s: u64, results: Vec<Result<Seen, MetadataError>>) -> (Vec<u64>, Instance) {
    let instance = Instance::new();
    let asked_s = Arc::default();
    let n_results = results.len();
    let scripted = Scripted {
        results: results.into(),
        started: Instant::now(),
        asked_s: Arc::clone(&asked_s),
    };
    let task = instance
        .clone()
        .refresh(Duration::from_secs(ttl_s), scripted, || 0.0);
    // Far beyond all waits of the scripts.
    let result = tokio::time::timeout(Duration::from_secs(1_000_000), task).await;
    assert!(result.is_err(), "the task ended");
    let asked_s = asked_s.lock().unwrap().clone();
    assert_eq!(asked_s.len(), n_results + 1);
    (asked_s, instance)
}

#[tokio::test(start_paused = true)]
async fn look_ups_follow_each_other_by_ttl_and_back_off() {
    let rows = [
        (
            3600,
            vec![seen("i-1", Ok("a")), seen("i-1", Ok("a"))],
            vec![0, 3600, 7200],
        ),
        (
            3600,
            (0..9)
                .map(|_| no_answer())
                .chain([seen("i-1", Ok("a")), no_answer()])
                .collect(),
            vec![0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 3843, 3844],
        ),
        (
            3600,
            vec![seen("i-1", Err(failed())), seen("i-1", Err(failed()))],
            vec![0, 1, 3],
        ),
        (
            3600,
            vec![seen("i-1", Err(refused())), seen("i-1", Err(refused()))],
            vec![0, 600, 1200],
        ),
        (60, vec![seen("i-1", Err(refused()))], vec![0, 60]),
        (
            2,
            vec![no_answer(), no_answer(), no_answer()],
            vec![0, 1, 3, 5],
        ),
    ];
    for (ttl_s, results, expected) in rows {
        assert_eq!(run(ttl_s, results).await.0, expected, "ttl {ttl_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_in_use() {
    let name = |instance: &Instance| {
        let metadata = instance.current()?;
        let tag = metadata.tags.first().map(|(_, value)| value.clone());
        Some((
            metadata.instance_id.clone().unwrap_or_default(),
            tag.unwrap_or_default(),
        ))
    };
    let rows = [
        (vec![no_answer()], None),
        (vec![seen("i-1", Ok("a")), no_answer()], Some(("i-1", "a"))),
        (
            vec![seen("i-1", Ok("a")), seen("i-1", Ok("b"))],
            Some(("i-1", "b")),
        ),
        (
            vec![seen("i-1", Ok("a")), seen("i-1", Err(failed()))],
            Some(("i-1", "a")),
        ),
        (
            vec![seen("i-1", Ok("a")), seen("i-2", Err(failed()))],
            Some(("i-2", "")),
        ),
        (vec![seen("i-1", Err(refused()))], Some(("i-1", ""))),
    ];
    for (index, (results, expected)) in rows.into_iter().enumerate() {
        let expected = expected.map(|(id, tag)| (id.to_owned(), tag.to_owned()));
        assert_eq!(name(&run(3600, results).await.1), expected, "row {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_waited_for_within_bounds() {
    let at_most = Duration::from_secs(5);
    let elapsed_s = |start: Instant| start.elapsed().as_secs();

    let instance = Instance::new();
    let start = Instant::now();
    assert_eq!(instance.first_answer(at_most).await, None);
    assert_eq!(elapsed_s(start), 5);

    let scripted = Scripted {
        results: vec![no_answer(), seen("i-1", Ok("a"))].into(),
        started: Instant::now(),
        asked_s: Arc::default(),
    };
    let start = Instant::now();
    let task = tokio::spawn(
        instance
            .clone()
            .refresh(Duration::from_secs(3600), scripted, || 0.0),
    );
    let first = instance.first_answer(at_most).await.unwrap();
    assert_eq!(
        (first.instance_id.as_deref(), elapsed_s(start)),
        (Some("i-1"), 1)
    );
    assert_eq!(instance.current(), Some(first));
    task.abort();

    let never = Instance::new();
    never.known.send_replace(Known::Never);
    let start = Instant::now();
    assert_eq!(never.first_answer(at_most).await, None);
    assert_eq!(elapsed_s(start), 0);
}

#[test]
fn jitter_only_shortens_waits() {
    for (n_failures, chance, expected_ms) in [
        (1, 0.0, 1000),
        (1, 1.0, 700),
        (2, 0.5, 1700),
        (u32::MAX, 0.0, 60_000),
    ] {
        assert_eq!(
            retry_delay(n_failures, chance).as_millis(),
            expected_ms,
            "{n_failures} {chance}"
        );
    }
}

#[test]
fn only_changes_are_said() {
    let standings = [
        no_answer(),
        no_answer(),
        seen("i-1", Ok("a")),
        seen("i-1", Ok("b")),
        seen("i-1", Err(failed())),
        seen("i-1", Err(refused())),
        no_answer(),
    ];
    let standings: Vec<Standing> = standings.iter().map(Standing::of).collect();
    use Standing::{Complete, WithoutMetadata, WithoutTags};
    let expected = [
        WithoutMetadata,
        WithoutMetadata,
        Complete,
        Complete,
        WithoutTags,
        WithoutTags,
        WithoutMetadata,
    ];
    assert_eq!(standings, expected);
}

#[test]
fn the_task_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let clients = clients(&Keys::test());
    is_send(&Instance::new().keep_fresh(Duration::from_secs(1), Arc::clone(&clients)));
    is_send(&instance_id(clients));
}
