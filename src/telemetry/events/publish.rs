//! Events of calls.

use std::time::Duration;

use tracing::Level;

use super::{counted, publisher_says, say_once_a_minute, trouble_begins};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::metrics::Call;
use crate::telemetry::troubles::Concern;

/// Calls fail for no cause that is known better.
pub(super) const BATCH_FAILED: &str = "batch_failed";

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
    /// The cause is said by one of [`destination_missing`](super::destination_missing) and those beside it: here it is
    /// counted alone.
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
/// Where the cause is known the caller says it, with [`destination_missing`](super::destination_missing) and those beside it.
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
    trouble_begins(flow, BATCH_FAILED, "", Concern::Sending, (&problem, remedy));
    say_once_a_minute(
        &flow.flow().0,
        BATCH_FAILED,
        publisher_says(flow, Level::WARN, &text),
    );
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

fn record_call(flow: &FlowCounters, call: Call) {
    if let Some(metrics) = flow.metrics() {
        metrics.record_call(flow.destination(), call);
    }
}
