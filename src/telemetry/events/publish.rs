//! Events of the sending side.

use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::{
    counted, publisher_says, say_once_a_minute, say_records_once_a_minute, trouble_begins,
};
use crate::config::Destination;
use crate::publish::failure::{CallFailure, FailureKind};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::log::Entry;
use crate::telemetry::metrics::Call;
use crate::telemetry::names;
use crate::telemetry::troubles::Concern;

/// A call that the service answered, whatever it said of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSent<'a> {
    /// Records in the call.
    pub records: u64,
    /// Those that are to be tried again.
    pub records_failed: u64,
    /// Those of them for which the stream was over its limits.
    pub records_throttled: u64,
    /// Bytes of data of the accepted ones.
    pub bytes: u64,
    pub latency: Duration,
    /// What the service says of the first record that failed.
    pub error: Option<&'a str>,
}

/// A call that failed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFailed<'a> {
    /// Records in the call.
    pub records: u64,
    pub latency: Duration,
    /// The service's or the connection's words.
    pub error: &'a str,
    /// The stream or the account was over its limits: all records count as throttled.
    pub throttled: bool,
    /// When the flow tries again.
    pub next_try_in: Duration,
    /// The records may have been accepted all the same.
    pub may_repeat: bool,
    /// The cause is said by one of [`destination_missing`] and those beside it: here it is counted alone.
    pub has_known_cause: bool,
}

/// A call was answered. Counted; DEBUG, and WARN once a minute for records that failed: they are sent again.
pub fn batch_sent(flow: &FlowCounters, sent: &BatchSent<'_>) {
    let records_accepted = sent.records.saturating_sub(sent.records_failed);
    flow.calls.add(1);
    flow.send_attempts.add(sent.records);
    flow.send_errors.add(sent.records_failed);
    flow.throttled_records.add(sent.records_throttled);
    flow.records_sent.add(records_accepted);
    flow.bytes_sent.add(sent.bytes);
    flow.record_latency(sent.latency);
    record_call(
        flow,
        Call {
            records: sent.records,
            records_failed: sent.records_failed,
            bytes_sent: sent.bytes,
            is_service_error: false,
            records_throttled: sent.records_throttled,
            latency: sent.latency,
        },
    );
    if tracing::enabled!(Level::DEBUG) {
        let text = format!(
            "{records_accepted} of {} accepted ({} bytes, {} ms)",
            counted(sent.records, "record"),
            sent.bytes,
            sent.latency.as_millis()
        );
        publisher_says(flow, Level::DEBUG, &text).emit();
    }
    if records_accepted > 0 {
        flow.troubles().end_all(Concern::Sending);
    }
    if sent.records_failed == 0 {
        flow.troubles().end_all(Concern::Slowness);
    }
    if sent.records_throttled > 0 {
        let problem = format!(
            "{} is over its limits: {} of {} throttled",
            flow.destination(),
            sent.records_throttled,
            counted(sent.records, "record")
        );
        let remedy = "what failed is sent again, and reading slows down to what it takes; raise its capacity if it \
                      stays so";
        let text = format!("{problem}; {remedy}");
        trouble_begins(flow, "throttled", "", Concern::Slowness, (&problem, remedy));
        say_once_a_minute(
            &flow.flow().0,
            "throttled",
            publisher_says(flow, Level::WARN, &text),
        );
    } else if sent.records_failed > 0 {
        let problem = format!(
            "{} did not take {} of {}: {}",
            flow.destination(),
            sent.records_failed,
            counted(sent.records, "record"),
            sent.error.unwrap_or("without a reason")
        );
        let remedy = "what failed is sent again";
        let text = format!("{problem}; {remedy}");
        trouble_begins(
            flow,
            "records_failed",
            "",
            Concern::Slowness,
            (&problem, remedy),
        );
        flow.set_last_error(&text);
        say_once_a_minute(
            &flow.flow().0,
            "records_failed",
            publisher_says(flow, Level::WARN, &text),
        );
    }
}

/// A call failed as a whole and is made again. Counted; WARN: nothing is lost.
///
/// Where the cause is known the caller says it, with [`destination_missing`] and those beside it.
pub fn batch_failed(flow: &FlowCounters, failed: &BatchFailed<'_>) {
    flow.calls.add(1);
    flow.send_attempts.add(failed.records);
    flow.send_errors.add(failed.records);
    flow.service_errors.add(1);
    flow.record_latency(failed.latency);
    if failed.throttled {
        flow.throttled_records.add(failed.records);
    }
    record_call(
        flow,
        Call {
            records: failed.records,
            records_failed: failed.records,
            bytes_sent: 0,
            is_service_error: true,
            records_throttled: if failed.throttled { failed.records } else { 0 },
            latency: failed.latency,
        },
    );
    if failed.has_known_cause {
        return;
    }
    let text = format!(
        "a call with {} to {} failed: {}; it took {} ms, the next one is in {} ms; nothing is lost{}",
        counted(failed.records, "record"),
        flow.destination(),
        failed.error,
        failed.latency.as_millis(),
        failed.next_try_in.as_millis(),
        if failed.may_repeat {
            ", but these records may arrive twice"
        } else {
            ""
        }
    );
    flow.set_last_error(&text);
    let problem = format!("a call to {} failed: {}", flow.destination(), failed.error);
    let remedy = "it is made again until it succeeds; nothing is lost; if it stays so look at the service's health";
    trouble_begins(
        flow,
        "batch_failed",
        "",
        Concern::Sending,
        (&problem, remedy),
    );
    say_once_a_minute(
        &flow.flow().0,
        "batch_failed",
        publisher_says(flow, Level::WARN, &text),
    );
}

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

/// Calls get through again. INFO, once a minute: of a service that fails now and then nobody wants a line a call.
pub fn recovered(flow: &FlowCounters, n_failures: u32) {
    flow.clear_last_error();
    flow.troubles().end_all(Concern::Sending);
    let text = format!(
        "calls to {} get through again, after {} that failed",
        flow.destination(),
        counted(u64::from(n_failures), "call")
    );
    say_once_a_minute(
        &flow.flow().0,
        "recovered",
        publisher_says(flow, Level::INFO, &text),
    );
}

/// No region is found for the flow's service. ERROR: somebody must act; records wait.
pub fn region_missing(flow: &FlowCounters, error: &str) {
    let remedy = "set kinesis.region or kinesis.endpoint in agent.json, or AWS_REGION for the service; records wait";
    must_act(flow, "region_missing", error, remedy);
}

/// Records that the service will never take were given up. ERROR: this is lost data.
pub fn records_refused(flow: &FlowCounters, n_records: u64, error: &str) {
    flow.records_refused.add(n_records);
    let text = format!(
        "{} refused {} for good: {error}; dropped",
        flow.destination(),
        counted(n_records, "record")
    );
    flow.set_last_error(&text);
    let remedy =
        "see what the service says of them, and correct the flow's conversion or the stream";
    trouble_begins(flow, "records_refused", "", Concern::Loss, (&text, remedy));
    say_once_a_minute(
        &flow.flow().0,
        "records_refused",
        publisher_says(flow, Level::ERROR, &text),
    );
}

/// A record that the service will never take is kept as a dead letter. ERROR: it doesn't arrive unless somebody acts.
///
/// `file` and `offset` say where the record begins, as far as that is known.
pub fn record_dead_lettered(
    flow: &FlowCounters,
    file: Option<&Path>,
    offset: u64,
    error: &dyn std::fmt::Display,
    dead_letters: &Path,
) {
    flow.records_dead_lettered.add(1);
    let place = match file {
        Some(file) => format!("at offset {offset} of {}", file.display()),
        None => "of an unknown file".to_owned(),
    };
    let problem = format!(
        "{} refused the record {place} for good: {error}",
        flow.destination()
    );
    let remedy = format!(
        "it is kept in {}, and the others go on; see kinesis-agent dead-letters",
        dead_letters.display()
    );
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(
        flow,
        "dead_lettered",
        "",
        Concern::Loss,
        (&problem, &remedy),
    );
    say_records_once_a_minute(
        &flow.flow().0,
        "dead_lettered",
        publisher_says(flow, Level::ERROR, &text),
        1,
    );
}

/// Refused records can't be kept. ERROR: somebody must act; they wait, and with them the checkpoints of their files.
pub fn dead_letters_unwritable(error: &dyn std::fmt::Display) {
    let message = format!(
        "{error}; refused records wait until they can be kept, and so do the checkpoints of their files"
    );
    let entry = Entry::new(Level::ERROR, names::THREAD_MAIN, names::PUBLISHER, message);
    say_once_a_minute(&error.to_string(), "dead_letters_unwritable", entry);
}

/// Refused records can be kept again. INFO.
pub fn dead_letters_writable_again(dead_letters: &Path) {
    let message = format!(
        "refused records are kept in {} again",
        dead_letters.display()
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::PUBLISHER, message).emit();
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

fn record_call(flow: &FlowCounters, call: Call) {
    if let Some(metrics) = flow.metrics() {
        metrics.record_call(flow.destination(), call);
    }
}
