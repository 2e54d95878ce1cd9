//! The keys of the top level: everything but the flows.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::endpoint::{self, EndpointError, is_region, region_of_host};
use super::environment::Environment;
use super::limits::{
    CHECKPOINT_FILE_DEFAULT, CONNECTIONS_DEFAULT, DEAD_LETTERS_NAME_DEFAULT, SEND_SLOTS_MAX,
    SEND_SLOTS_MIN,
};
use super::listening::{self, Listening};
use super::raw::Section;
use super::report::Severity;
use super::{
    AssumeRole, Aws, Checkpoints, CloudWatch, DeadLetters, Log, LogLevel, LogLines, Publish,
    Service, StaticKeys, UserAgent, WirePreference,
};

const CLOUDWATCH_NAMESPACE: &str = "AWSKinesisAgent";

/// Everything that is the same for all flows.
pub struct Settings {
    pub aws: Aws,
    pub publish: Publish,
    pub checkpoints: Checkpoints,
    pub dead_letters: DeadLetters,
    pub cloudwatch: CloudWatch,
    pub log: Log,
    pub listening: Listening,
    pub shutdown_timeout: Duration,
}

impl Settings {
    /// Reads the file's outermost object.
    pub fn read(top: &mut Section, env: &Environment) -> Settings {
        top.check_names();
        let checkpoints = checkpoints(top, env);
        Settings {
            listening: listening::read(top, env, &checkpoints.path),
            aws: aws(top),
            publish: publish(top, env),
            dead_letters: dead_letters(top, env, &checkpoints.path),
            checkpoints,
            cloudwatch: cloudwatch(top),
            log: log(top, env),
            shutdown_timeout: top.duration("shutdownTimeoutMillis"),
        }
    }
}

fn aws(top: &mut Section) -> Aws {
    refuse_java_provider(top);
    Aws {
        kinesis: service(top, "kinesis.endpoint", "kinesis.region"),
        firehose: service(top, "firehose.endpoint", "firehose.region"),
        cloudwatch: service(top, "cloudwatch.endpoint", "cloudwatch.region"),
        sts: service(top, "sts.endpoint", "sts.region"),
        static_keys: static_keys(top),
        assume_role: assume_role(top),
        user_agent: user_agent(top),
    }
}

fn service(top: &mut Section, endpoint_key: &str, region_key: &str) -> Service {
    let endpoint = top.filled_text(endpoint_key).and_then(|text| {
        endpoint::parse(&text)
            .map_err(|error| {
                let remedy = match error {
                    EndpointError::Credentials => "write it without them; see awsAccessKeyId",
                    _ => "write host or https://host:port, or leave it empty for AWS's own",
                };
                top.error(endpoint_key, error.to_string(), remedy);
            })
            .ok()
    });
    let of_host = endpoint
        .as_ref()
        .and_then(|endpoint| region_of_host(&endpoint.host));
    let region = top.filled_text(region_key);
    if let Some(region) = &region {
        if !is_region(region) {
            top.warn(
                region_key,
                "doesn't look like the name of a region",
                "write a name such as eu-west-1",
            );
        } else if let Some(of_host) = of_host.as_ref().filter(|of_host| *of_host != region) {
            let problem =
                format!("calls are signed for this region, but {endpoint_key} is in {of_host}");
            top.warn(
                region_key,
                problem,
                format!("write {of_host}, or remove one of the two keys"),
            );
        }
    }
    Service {
        endpoint: endpoint.map(|endpoint| endpoint.url),
        region: region.or(of_host),
    }
}

fn refuse_java_provider(top: &mut Section) {
    let (class, location) = (
        "userDefinedCredentialsProvider.classname",
        "userDefinedCredentialsProvider.location",
    );
    let has_class = top.filled_text(class).is_some();
    if has_class {
        let remedy = "use a profile with credential_process, assumeRoleARN, or the environment's credentials instead";
        top.error(class, "a Java class can't be loaded by this agent", remedy);
    }
    if top.filled_text(location).is_some() && !has_class {
        top.warn(
            location,
            "has no effect without a class name, and a Java class can't be loaded",
            "remove it",
        );
    }
}

fn static_keys(top: &mut Section) -> Option<StaticKeys> {
    let (id_key, secret_key) = ("awsAccessKeyId", "awsSecretAccessKey");
    match (top.filled_text(id_key), top.filled_text(secret_key)) {
        (Some(access_key_id), Some(secret_access_key)) => Some(StaticKeys {
            access_key_id,
            secret_access_key,
        }),
        (Some(_), None) => {
            top.warn(
                id_key,
                format!("has no effect without {secret_key}"),
                "write both, or remove it",
            );
            None
        }
        (None, Some(_)) => {
            top.warn(
                secret_key,
                format!("has no effect without {id_key}"),
                "write both, or remove it",
            );
            None
        }
        (None, None) => None,
    }
}

fn assume_role(top: &mut Section) -> Option<AssumeRole> {
    let external_id = top.filled_text("assumeRoleExternalId");
    let Some(arn) = top.filled_text("assumeRoleARN") else {
        if external_id.is_some() {
            top.warn(
                "assumeRoleExternalId",
                "has no effect without assumeRoleARN",
                "write both, or remove it",
            );
        }
        return None;
    };
    if !arn.starts_with("arn:") {
        let remedy = "write it as arn:aws:iam::123456789012:role/NAME";
        top.warn(
            "assumeRoleARN",
            "doesn't look like the ARN of a role",
            remedy,
        );
    }
    Some(AssumeRole { arn, external_id })
}

fn user_agent(top: &mut Section) -> UserAgent {
    match (
        top.filled_text("userAgent"),
        top.filled_text("userAgentOverride"),
    ) {
        (prefix, Some(all)) => {
            if prefix.is_some() {
                top.warn(
                    "userAgent",
                    "has no effect beside userAgentOverride",
                    "remove one of the two",
                );
            }
            UserAgent::Override(all)
        }
        (Some(prefix), None) => UserAgent::Prefix(prefix),
        (None, None) => UserAgent::Default,
    }
}

fn publish(top: &mut Section, env: &Environment) -> Publish {
    let to_count = |number: i64| usize::try_from(number).unwrap_or_default();
    let per_core = top.number("maxSendingThreadsPerCore").map(to_count);
    let slots = top.number("maxSendingThreads").map(to_count);
    if slots.is_some() && per_core.is_some() {
        let problem = "has no effect beside maxSendingThreads";
        top.finding(
            Severity::Note,
            "maxSendingThreadsPerCore",
            problem,
            None,
            "remove one of the two",
        );
    }
    let slots = slots.or_else(|| per_core.map(|n| n.saturating_mul(env.cores).max(SEND_SLOTS_MIN)));
    let connections = top.number("maxConnections").map(to_count);
    top.number("sendingThreadsKeepAliveMillis");
    top.number("sendingThreadsMaxQueueSize");
    top.flag("useTcpKeepAlive");
    top.flag("useHttpGzip");
    Publish {
        slots: slots.and_then(NonZeroUsize::new),
        connections_max: connections
            .unwrap_or_else(|| slots.unwrap_or(SEND_SLOTS_MAX).max(CONNECTIONS_DEFAULT)),
        connect_timeout: top.duration("connectionTimeoutMillis"),
        answer_timeout: top
            .time("socketTimeoutMillis")
            .filter(|timeout| !timeout.is_zero()),
        connection_ttl: top.time("connectionTTLMillis").filter(|ttl| !ttl.is_zero()),
        kinesis_wire: match top.choice("kinesis.wire") {
            Some("JSON") => WirePreference::Json,
            Some("CBOR") => WirePreference::Cbor,
            _ if env.cbor_disabled => WirePreference::Json,
            _ => WirePreference::Auto,
        },
    }
}

fn checkpoints(top: &mut Section, env: &Environment) -> Checkpoints {
    let path = top
        .filled_text("checkpointFile")
        .map_or(PathBuf::from(CHECKPOINT_FILE_DEFAULT), PathBuf::from);
    Checkpoints {
        path: env.cwd.join(path),
        ttl: top.time("checkpointTimeToLiveDays"),
        query_timeout: top.duration("checkpoints.queryTimeoutSeconds"),
        open_timeout: top.duration("checkpoints.connectionTimeoutSeconds"),
    }
}

fn dead_letters(top: &mut Section, env: &Environment, checkpoints: &Path) -> DeadLetters {
    let path = match top.filled_text("deadLetters.file") {
        Some(path) => env.cwd.join(path),
        None => checkpoints.with_file_name(DEAD_LETTERS_NAME_DEFAULT),
    };
    DeadLetters {
        path,
        bytes_max: u64::try_from(top.count("deadLetters.maxSizeBytes")).unwrap_or(u64::MAX),
    }
}

fn cloudwatch(top: &mut Section) -> CloudWatch {
    CloudWatch {
        emit: top.flag("cloudwatch.emitMetrics"),
        namespace: top
            .filled_text("cloudwatch.namespace")
            .unwrap_or_else(|| CLOUDWATCH_NAMESPACE.to_owned()),
        buffer_time: top.duration("cloudwatch.metricsBufferTimeMillis"),
        queue_size: top.count("cloudwatch.metricsQueueSize"),
        tag_instance: top.flag("cloudwatch.tagInstance"),
        extended: top.flag("cloudwatch.extendedMetrics"),
    }
}

fn log(top: &mut Section, env: &Environment) -> Log {
    let status_period = top
        .time("log.statusReportingPeriodSeconds")
        .filter(|period| !period.is_zero());
    if status_period.is_none() && top.has("log.statusReportingPeriodSeconds") {
        let problem = "progress is reported only when the agent stops";
        top.warn(
            "log.statusReportingPeriodSeconds",
            problem,
            "write the seconds between two reports, such as 30",
        );
    }
    let mut log = Log {
        status_period,
        emit_metrics: top.flag("log.emitMetrics"),
        emit_internal_metrics: top.flag("log.emitInternalMetrics"),
        format: match top.choice("log.format") {
            Some("json") => LogLines::Json,
            _ => LogLines::Text,
        },
        level: None,
        file: None,
        max_file_bytes: None,
        max_backups: None,
    };
    if top.flag("log.honourKeys") {
        log.level = top.choice("log.level").and_then(LogLevel::from_text);
        log.file = top.filled_text("log.file").map(|path| env.cwd.join(path));
        log.max_file_bytes = top
            .number("log.maxFileSize")
            .and_then(|bytes| u64::try_from(bytes).ok());
        log.max_backups = top
            .number("log.maxBackupIndex")
            .and_then(|files| u32::try_from(files).ok());
        return log;
    }
    for name in [
        "log.level",
        "log.file",
        "log.maxFileSize",
        "log.maxBackupIndex",
    ] {
        if top.has(name) {
            let remedy = "remove it, or write \"log.honourKeys\": true";
            top.warn(
                name,
                "has no effect without log.honourKeys, as in the reference",
                remedy,
            );
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{
        accepted, environment, file_with, refused, summary, warnings,
    };
    use super::super::{Config, load_text};
    use super::*;

    const S: &str = "\"kinesisStream\": \"s\"";

    fn config(top: &str) -> Config {
        accepted(&file_with(top, S)).config
    }

    #[test]
    fn an_empty_top_level_gives_the_defaults_of_the_reference() {
        let config = config("");
        let (publish, cloudwatch, log) = (&config.publish, &config.cloudwatch, &config.log);
        assert_eq!(
            (publish.slots, publish.connections_max),
            (None, SEND_SLOTS_MAX)
        );
        assert_eq!(publish.connect_timeout, Duration::from_secs(10));
        assert_eq!(
            (publish.answer_timeout, publish.connection_ttl),
            (Some(Duration::from_secs(50)), None)
        );
        assert_eq!(publish.kinesis_wire, WirePreference::Auto);
        assert_eq!(
            config.checkpoints.path,
            PathBuf::from("/var/lib/aws-kinesis-agent/checkpoints")
        );
        assert_eq!(
            config.checkpoints.ttl,
            Some(Duration::from_secs(7 * 86_400))
        );
        assert_eq!(config.checkpoints.query_timeout, Duration::from_secs(30));
        assert_eq!(config.checkpoints.open_timeout, Duration::from_secs(5));
        assert!(cloudwatch.emit && !cloudwatch.tag_instance);
        assert_eq!(
            (cloudwatch.namespace.as_str(), cloudwatch.queue_size),
            ("AWSKinesisAgent", 10_000)
        );
        assert_eq!(cloudwatch.buffer_time, Duration::from_secs(30));
        assert_eq!(log.status_period, Some(Duration::from_secs(30)));
        assert!(!log.emit_metrics && !log.emit_internal_metrics);
        assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
        assert_eq!(config.aws.kinesis, Service::default());
        assert!(config.aws.static_keys.is_none() && config.aws.assume_role.is_none());
        assert_eq!(config.aws.user_agent, UserAgent::Default);
    }

    #[test]
    fn threads_are_slots_and_connections_follow_them() {
        let cases = [
            ("\"maxSendingThreads\": \"4\"", Some(4), 50),
            ("\"maxSendingThreads\": 80", Some(80), 80),
            ("\"maxSendingThreadsPerCore\": 3", Some(6), 50),
            (
                "\"maxSendingThreads\": 4, \"maxSendingThreadsPerCore\": 3",
                Some(4),
                50,
            ),
            (
                "\"maxSendingThreadsPerCore\": 3, \"maxConnections\": 7",
                Some(6),
                7,
            ),
        ];
        for (top, slots, connections) in cases {
            let publish = config(top).publish;
            assert_eq!(
                (
                    publish.slots.map(NonZeroUsize::get),
                    publish.connections_max
                ),
                (slots, connections),
                "{top}"
            );
        }
    }

    #[test]
    fn a_timeout_of_zero_is_none() {
        let publish = config("\"socketTimeoutMillis\": 0, \"connectionTTLMillis\": 0").publish;
        assert_eq!(
            (publish.answer_timeout, publish.connection_ttl),
            (None, None)
        );
        let publish = config("\"connectionTTLMillis\": 60000").publish;
        assert_eq!(publish.connection_ttl, Some(Duration::from_secs(60)));
        assert_eq!(
            config("\"checkpointTimeToLiveDays\": -1").checkpoints.ttl,
            None
        );
        assert_eq!(
            config("\"checkpointTimeToLiveDays\": 0").checkpoints.ttl,
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn an_endpoint_tells_its_region_unless_one_is_written() {
        let host = "kinesis.eu-west-1.amazonaws.com";
        let cases = [
            ("\"kinesis.endpoint\": \"\"".to_owned(), None, None, 0),
            (
                format!("\"kinesis.endpoint\": \"{host}\""),
                Some("https://kinesis.eu-west-1.amazonaws.com"),
                Some("eu-west-1"),
                0,
            ),
            (
                "\"kinesis.endpoint\": \"http://127.0.0.1:4566/\"".to_owned(),
                Some("http://127.0.0.1:4566"),
                None,
                0,
            ),
            (
                "\"kinesis.region\": \"eu-west-2\"".to_owned(),
                None,
                Some("eu-west-2"),
                0,
            ),
            (
                format!("\"kinesis.endpoint\": \"{host}\", \"kinesis.region\": \"eu-west-2\""),
                Some("https://kinesis.eu-west-1.amazonaws.com"),
                Some("eu-west-2"),
                1,
            ),
            (
                "\"kinesis.region\": \"Ireland\"".to_owned(),
                None,
                Some("Ireland"),
                1,
            ),
        ];
        for (top, endpoint, region, n_warnings) in cases {
            let service = config(&top).aws.kinesis;
            assert_eq!(
                (service.endpoint.as_deref(), service.region.as_deref()),
                (endpoint, region),
                "{top}"
            );
            assert_eq!(warnings(&file_with(&top, S)).len(), n_warnings, "{top}");
        }
    }

    #[test]
    fn dead_letters_are_beside_the_checkpoints_unless_it_is_said_where() {
        for (top, path, bytes_max) in [
            ("", "/var/lib/aws-kinesis-agent/dead-letters", 268_435_456),
            (
                "\"checkpointFile\": \"/c/x\"",
                "/c/dead-letters",
                268_435_456,
            ),
            (
                "\"deadLetters.file\": \"/d/letters\", \"deadLetters.maxSizeBytes\": 16777216",
                "/d/letters",
                16_777_216,
            ),
            (
                "\"deadLetters.file\": \"l\"",
                "/start/[here]/l",
                268_435_456,
            ),
        ] {
            let dead_letters = config(top).dead_letters;
            assert_eq!(
                (dead_letters.path.to_str(), dead_letters.bytes_max),
                (Some(path), bytes_max),
                "{top}"
            );
        }
    }

    #[test]
    fn each_service_has_its_own_endpoint_and_region() {
        let names = ["kinesis", "firehose", "cloudwatch", "sts"];
        let members = names.map(|name| {
            format!("\"{name}.endpoint\": \"{name}.example\", \"{name}.region\": \"eu-{name}-1\"")
        });
        let aws = config(&members.join(", ")).aws;
        for (name, service) in
            names
                .iter()
                .zip([&aws.kinesis, &aws.firehose, &aws.cloudwatch, &aws.sts])
        {
            assert_eq!(service.endpoint, Some(format!("https://{name}.example")));
            assert_eq!(service.region, Some(format!("eu-{name}-1")));
        }
    }

    #[test]
    fn credentials_need_both_halves() {
        let keys = config("\"awsAccessKeyId\": \"A\", \"awsSecretAccessKey\": \"B\"")
            .aws
            .static_keys;
        assert_eq!(
            keys,
            Some(StaticKeys {
                access_key_id: "A".into(),
                secret_access_key: "B".into()
            })
        );
        for half in [
            "\"awsAccessKeyId\": \"A\"",
            "\"awsSecretAccessKey\": \"B\"",
            "\"assumeRoleExternalId\": \"x\"",
        ] {
            let aws = config(half).aws;
            assert!(aws.static_keys.is_none() && aws.assume_role.is_none());
            assert_eq!(warnings(&file_with(half, S)).len(), 1, "{half}");
        }
        assert!(
            config("\"awsAccessKeyId\": \"\", \"awsSecretAccessKey\": \"\"")
                .aws
                .static_keys
                .is_none()
        );
        let role =
            config("\"assumeRoleARN\": \"arn:aws:iam::1:role/x\", \"assumeRoleExternalId\": \"e\"")
                .aws
                .assume_role;
        assert_eq!(
            role,
            Some(AssumeRole {
                arn: "arn:aws:iam::1:role/x".into(),
                external_id: Some("e".into())
            })
        );
    }

    #[test]
    fn a_java_credentials_provider_is_refused_with_its_substitutes() {
        let top = "\"userDefinedCredentialsProvider.classname\": \"com.x.P\", \"userDefinedCredentialsProvider.location\": \"/x.jar\"";
        let report = refused(&file_with(top, S));
        let [finding] = report.findings() else {
            panic!("{report}")
        };
        for substitute in ["credential_process", "assumeRoleARN", "environment"] {
            assert!(finding.remedy.contains(substitute), "{finding}");
        }
        assert!(
            summary(
                &accepted(&file_with(
                    "\"userDefinedCredentialsProvider.classname\": \"\"",
                    S
                ))
                .report
            )
            .is_empty()
        );
    }

    #[test]
    fn the_user_agent_is_prefixed_or_replaced() {
        assert_eq!(
            config("\"userAgent\": \"a\"").aws.user_agent,
            UserAgent::Prefix("a".into())
        );
        let both = "\"userAgent\": \"a\", \"userAgentOverride\": \"b\"";
        assert_eq!(config(both).aws.user_agent, UserAgent::Override("b".into()));
        assert_eq!(warnings(&file_with(both, S)).len(), 1);
    }

    #[test]
    fn the_wire_is_what_is_written_else_what_the_environment_says() {
        let cases = [
            ("", false, WirePreference::Auto),
            ("", true, WirePreference::Json),
            ("\"kinesis.wire\": \"AUTO\"", true, WirePreference::Json),
            ("\"kinesis.wire\": \"CBOR\"", true, WirePreference::Cbor),
            ("\"kinesis.wire\": \"JSON\"", false, WirePreference::Json),
        ];
        for (top, cbor_disabled, expected) in cases {
            let env = Environment {
                cbor_disabled,
                ..environment()
            };
            let loaded =
                load_text(file_with(top, S).as_bytes(), "agent.json", &env).expect("accepted");
            assert_eq!(
                loaded.config.publish.kinesis_wire, expected,
                "{top} {cbor_disabled}"
            );
        }
    }

    #[test]
    fn old_log_keys_count_only_when_they_are_honoured() {
        let keys = "\"log.level\": \"DEBUG\", \"log.file\": \"x.log\", \"log.maxFileSize\": 1048576, \"log.maxBackupIndex\": 5";
        let log = config(keys).log;
        assert!(
            log.level.is_none()
                && log.file.is_none()
                && log.max_file_bytes.is_none()
                && log.max_backups.is_none()
        );
        assert_eq!(warnings(&file_with(keys, S)).len(), 4);
        let honoured = format!("{keys}, \"log.honourKeys\": true");
        let log = config(&honoured).log;
        assert_eq!(
            (log.level, log.file),
            (
                Some(LogLevel::Debug),
                Some(PathBuf::from("/start/[here]/x.log"))
            )
        );
        assert_eq!(
            (log.max_file_bytes, log.max_backups),
            (Some(1_048_576), Some(5))
        );
        assert!(warnings(&file_with(&honoured, S)).is_empty());
    }
}
