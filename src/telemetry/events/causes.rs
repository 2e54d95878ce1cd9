//! Why calls fail, where that is known: each cause in words of its own, with what to do about it.

use std::time::Duration;

use tracing::Level;

use super::{BatchFailed, batch_failed, publisher_says, say_once_a_minute, trouble_begins};
use crate::config::Destination;
use crate::publish::failure::{CallFailure, FailureKind};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::troubles::Concern;

/// A call failed as a whole: counted, and said in the words of its cause.
pub fn call_failed(
    flow: &FlowCounters,
    n_records: u64,
    failure: &CallFailure,
    endpoint: &str,
    latency: Duration,
    next_try_in: Duration,
) {
    let text = failure.to_string();
    let is_own_cause = !matches!(
        failure.kind,
        FailureKind::Throttled
            | FailureKind::Service
            | FailureKind::Unanswered
            | FailureKind::Content
    );
    let failed = BatchFailed {
        records: n_records,
        latency,
        error: &text,
        throttled: failure.kind == FailureKind::Throttled,
        next_try_in,
        may_repeat: failure.may_be_accepted(),
        has_known_cause: is_own_cause,
    };
    batch_failed(flow, &failed);
    match failure.kind {
        FailureKind::DestinationMissing => destination_missing(flow, endpoint, &text),
        FailureKind::Access if is_about_keys(&failure.code) => credentials_refused(flow, &text),
        FailureKind::Access => access_denied(flow, &text),
        FailureKind::NoCredentials => no_credentials(flow, &failure.message),
        FailureKind::NoRegion => region_missing(flow, &failure.message),
        FailureKind::Connection if text.contains("certificate") => {
            certificate_refused(flow, endpoint, &text)
        }
        FailureKind::Connection => connection_refused(flow, endpoint, &text),
        FailureKind::Throttled
        | FailureKind::Service
        | FailureKind::Unanswered
        | FailureKind::Content => {}
    }
}

/// Whether an error code blames the keys or their signature rather than what they may do.
fn is_about_keys(code: &str) -> bool {
    const PARTS: [&str; 8] = [
        "Unrecognized",
        "Signature",
        "Token",
        "ClientId",
        "AccessKeyId",
        "Expired",
        "Skewed",
        "AuthFailure",
    ];
    PARTS.iter().any(|part| code.contains(part))
}

/// No region is found for the flow's service. ERROR: somebody must act; records wait.
pub fn region_missing(flow: &FlowCounters, error: &str) {
    let remedy = "set kinesis.region or kinesis.endpoint in agent.json, or AWS_REGION for the service; records wait";
    must_act(flow, "region_missing", error, remedy);
}

/// The stream doesn't exist. ERROR: somebody must act; records wait.
pub fn destination_missing(flow: &FlowCounters, endpoint: &str, error: &str) {
    let problem = format!(
        "{} does not exist at {endpoint} for this account ({error})",
        flow.destination()
    );
    let remedy =
        "create it, or correct its name, its region or the account; records wait until it is there";
    must_act(flow, "destination_missing", &problem, remedy);
}

/// The credentials are good and not enough. ERROR: somebody must act; records wait.
pub fn access_denied(flow: &FlowCounters, error: &str) {
    let action = match flow.destination() {
        Destination::Kinesis(_) => "kinesis:PutRecords",
        Destination::Firehose(_) => "firehose:PutRecordBatch",
    };
    let problem = format!("no permission to send to {}: {error}", flow.destination());
    let remedy = format!("allow {action} on it for the agent's role or user; records wait");
    must_act(flow, "access_denied", &problem, &remedy);
}

/// No credentials can be had. ERROR: somebody must act; records wait.
///
/// `error` says what to do too: it depends on where they were looked for.
pub fn no_credentials(flow: &FlowCounters, error: &str) {
    let (error, remedy) = match error.rsplit_once("; ") {
        Some((error, remedy)) => (error, format!("{remedy}; records wait")),
        None => (error, "records wait".to_owned()),
    };
    let problem = format!(
        "no AWS credentials to send to {} with: {error}",
        flow.destination()
    );
    must_act(flow, "no_credentials", &problem, &remedy);
}

/// The service doesn't know the credentials or their signature. ERROR: somebody must act; records wait.
pub fn credentials_refused(flow: &FlowCounters, error: &str) {
    let problem = format!("the credentials are refused: {error}");
    let remedy = "renew them, and check that the host's clock is right and that they belong to the region's partition; \
                  records wait";
    must_act(flow, "credentials_refused", &problem, remedy);
}

/// Nothing answers at the endpoint. ERROR: somebody must act if it stays so; records wait.
pub fn connection_refused(flow: &FlowCounters, endpoint: &str, error: &str) {
    let problem = format!("can't connect to {endpoint}: {error}");
    let remedy = "check the endpoint, the host's name service, routes, security groups and proxy; records wait";
    must_act(flow, "connection_refused", &problem, remedy);
}

/// A certificate isn't trusted. ERROR: somebody must act; records wait.
pub fn certificate_refused(flow: &FlowCounters, endpoint: &str, error: &str) {
    let problem = format!("the certificate of {endpoint} is not trusted: {error}");
    let remedy = "add its authority to the host's certificates or name its file in AWS_CA_BUNDLE, or correct the \
                  endpoint; records wait";
    must_act(flow, "certificate_refused", &problem, remedy);
}

fn must_act(flow: &FlowCounters, kind: &'static str, problem: &str, remedy: &str) {
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    // A call has one cause: what kept an earlier one from succeeding may be over.
    flow.troubles().end_others(Concern::Sending, kind);
    trouble_begins(flow, kind, "", Concern::Sending, (problem, remedy));
    say_once_a_minute(
        &flow.flow().0,
        kind,
        publisher_says(flow, Level::ERROR, &text),
    );
}
