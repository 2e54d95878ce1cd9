//! The keys of the top level: everything but the flows.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::{self, EndpointError, is_region, region_of_host};
use super::limits::{CHECKPOINT_FILE_DEFAULT, CONNECTIONS_DEFAULT, SEND_SLOTS_MAX, SEND_SLOTS_MIN};
use super::load::Environment;
use super::raw::Section;
use super::report::Severity;
use super::{
    AssumeRole, Aws, Checkpoints, CloudWatch, Log, LogLevel, Publish, Service, StaticKeys,
    UserAgent, WirePreference,
};

const CLOUDWATCH_NAMESPACE: &str = "AWSKinesisAgent";

/// Everything that is the same for all flows.
pub struct Settings {
    pub aws: Aws,
    pub publish: Publish,
    pub checkpoints: Checkpoints,
    pub cloudwatch: CloudWatch,
    pub log: Log,
    pub shutdown_timeout: Duration,
}

impl Settings {
    /// Reads the file's outermost object.
    pub fn read(top: &mut Section, env: &Environment) -> Settings {
        top.check_names();
        Settings {
            aws: aws(top),
            publish: publish(top, env),
            checkpoints: checkpoints(top, env),
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

fn cloudwatch(top: &mut Section) -> CloudWatch {
    CloudWatch {
        emit: top.flag("cloudwatch.emitMetrics"),
        namespace: top
            .filled_text("cloudwatch.namespace")
            .unwrap_or_else(|| CLOUDWATCH_NAMESPACE.to_owned()),
        buffer_time: top.duration("cloudwatch.metricsBufferTimeMillis"),
        queue_size: top.count("cloudwatch.metricsQueueSize"),
        tag_instance: top.flag("cloudwatch.tagInstance"),
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
