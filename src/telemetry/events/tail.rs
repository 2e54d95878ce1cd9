//! Events of the reading side: turns, records, the flow's thread.

use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::{counted, say_once_a_minute, say_records_once_a_minute, tailer_says, trouble_begins};
use crate::telemetry::counters::{FlowCounters, IS_STUCK, RawReason, SkipReason};
use crate::telemetry::status::{FileLook, Followed};
use crate::telemetry::troubles::Concern;

/// What one turn of a tailer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Records read and split.
    pub records_parsed: u64,
    /// Their bytes in the file.
    pub bytes_parsed: u64,
    /// Records that processing changed.
    pub records_transformed: u64,
    /// Records that processing dropped.
    pub records_skipped: u64,
}

/// Where a flow stands with its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Bytes of followed files not yet read.
    pub bytes_behind: u64,
    /// Files followed.
    pub files_followed: u64,
    /// Files that match and are newer than those being read.
    pub files_newer: u64,
}

/// A turn is done. Counted alone.
pub fn turn_done(flow: &FlowCounters, turn: &Turn) {
    flow.records_parsed.add(turn.records_parsed);
    flow.bytes_parsed.add(turn.bytes_parsed);
    flow.records_transformed.add(turn.records_transformed);
    flow.records_skipped.add(turn.records_skipped);
    if flow.processing_errors_in_a_row.get() > 0 {
        flow.processing_errors_in_a_row.set(0);
        flow.troubles().end("turn_failed", "");
    }
    if flow.restarts.get() > 0 {
        flow.troubles().end("flow_died", "");
    }
}

/// Where the flow stands, after a look at all its files. Set alone.
pub fn stands_at(flow: &FlowCounters, standing: &Standing) {
    flow.bytes_behind.set(standing.bytes_behind);
    flow.files_followed.set(standing.files_followed);
    flow.files_newer.set(standing.files_newer);
}

/// How each followed file stands, at this time in ms since 1970. Kept for the status.
pub fn files_stand(flow: &FlowCounters, now_ms: i64, files: impl Iterator<Item = FileLook>) {
    let mut followed = flow.followed();
    followed.look(now_ms, files);
    flow.unsent_bytes.set(followed.behind_bytes());
}

/// A turn failed as a whole and is taken again. ERROR: until it succeeds nothing of this flow is read.
pub fn turn_failed(flow: &FlowCounters, error: &dyn std::fmt::Display) {
    flow.processing_errors_in_a_row.add(1);
    let problem = format!("can't go on reading: {error}");
    let remedy = "nothing is lost, it is tried again";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(
        flow,
        "turn_failed",
        "",
        Concern::Reading,
        (&problem, remedy),
    );
    say_once_a_minute(
        &flow.flow().0,
        "turn_failed",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow's thread ended by a defect and is started anew. ERROR: should it stay so, nothing of this flow is read.
pub fn flow_died(flow: &FlowCounters, what: &str, next_start_in: Duration) {
    flow.restarts.add(1);
    // Its next life knows its files under other numbers.
    *flow.followed() = Followed::default();
    let problem = format!("ended by a defect of the agent: {what}");
    let remedy = format!(
        "it is started again in {} ms at its last checkpoint; nothing is lost, records may be sent twice; please report it",
        next_start_in.as_millis()
    );
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(flow, "flow_died", "", Concern::Reading, (&problem, &remedy));
    say_once_a_minute(
        &flow.flow().0,
        "flow_died",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow's thread has been at one thing for too long, such as a read of a file system that hangs. ERROR: until it
/// comes back nothing of this flow is read.
pub fn flow_stands_still(flow: &FlowCounters, since: Duration) {
    let problem = format!(
        "stands still for {} s in one look at its files: nothing of it is read",
        since.as_secs()
    );
    let remedy = "check whether the file system of its filePattern answers (a network share may hang), and restart the \
                  agent if it does";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(
        flow,
        "flow_stands_still",
        "",
        Concern::Reading,
        (&problem, remedy),
    );
    say_once_a_minute(
        &flow.flow().0,
        "flow_stands_still",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow's thread goes on after it stood still. INFO.
pub fn flow_goes_on(flow: &FlowCounters, stood_still: Duration) {
    flow.clear_last_error();
    flow.troubles().end("flow_stands_still", "");
    let text = format!(
        "goes on after it stood still for {} s",
        stood_still.as_secs()
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// Bytes of the flow wait, and neither a read nor a call has moved anything for too long, for no reason that is known.
/// ERROR: nothing of them arrives.
pub fn flow_is_stuck(flow: &FlowCounters, waiting_bytes: u64, since: Duration) {
    let problem = format!(
        "{} wait to be sent and nothing of the flow has moved for {} s, though nothing is known to be wrong",
        counted(waiting_bytes, "byte"),
        since.as_secs()
    );
    let remedy = "restart the agent, which goes on where it was acknowledged, and please report it with what `status` says";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(flow, IS_STUCK, "", Concern::Reading, (&problem, remedy));
    say_once_a_minute(
        &flow.flow().0,
        IS_STUCK,
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow moves again, or has nothing left to move. INFO.
pub fn flow_moves_on(flow: &FlowCounters, stood_still: Duration) {
    flow.clear_last_error();
    flow.troubles().end(IS_STUCK, "");
    let text = format!("gets on after {} s without a move", stood_still.as_secs());
    tailer_says(flow, Level::INFO, &text).emit();
}

/// Records were left out, for a reason of their own each. INFO: users filter with it. `first` shows the first of them.
pub fn records_skipped(flow: &FlowCounters, reason: SkipReason, n_records: u64, first: &str) {
    flow.add_skipped(reason, n_records);
    let (kind, why, remedy) = match reason {
        SkipReason::Line => (
            "skipped_line",
            "skipLinesMatching: the line matches",
            "correct it if they should be sent",
        ),
        SkipReason::NoMatch => (
            "skipped_no_match",
            "dataProcessingOptions: LOGTOJSON does not match",
            "`kinesis-agent try` shows where the pattern stops matching",
        ),
        SkipReason::GroupCount => (
            "skipped_group_count",
            "dataProcessingOptions: matchPattern of LOGTOJSON has another number of groups than customFieldNames has names",
            "write as many names as there are groups",
        ),
        SkipReason::Defect => (
            "skipped_defect",
            "a defect of the agent, which ended the flow each time",
            "please report it, with such a record",
        ),
    };
    let text = format!(
        "{} left out by {why}; {first}; {remedy}",
        counted(n_records, "record")
    );
    // Those alone were to be sent.
    let level = match reason {
        SkipReason::Defect => Level::ERROR,
        _ => Level::INFO,
    };
    let entry = tailer_says(flow, level, &text);
    say_records_once_a_minute(&flow.flow().0, kind, entry, n_records);
}

/// Records gave no partition key. WARN: they are sent, on any shard. `first` shows the first of them.
pub fn records_keyless(flow: &FlowCounters, n_records: u64, first: &str) {
    flow.records_keyless.add(n_records);
    let text = format!(
        "{} without the partition key that partitionKeyField or partitionKeyPattern names, sent with a random one; \
         {first}; correct the key's place if they should have one",
        counted(n_records, "record")
    );
    let entry = tailer_says(flow, Level::WARN, &text);
    say_records_once_a_minute(&flow.flow().0, "records_keyless", entry, n_records);
}

/// A record was longer than the service takes and was cut. WARN, as in the reference.
///
/// `record_bytes` is what was read of it so far: nobody waits for its end.
pub fn record_truncated(
    flow: &FlowCounters,
    path: &Path,
    offset: u64,
    record_bytes: u64,
    sent_bytes: u64,
    beginning: &str,
) {
    flow.records_truncated.add(1);
    let text = format!(
        "the record at offset {offset} of {} has at least {record_bytes} bytes, more than {} takes; it is cut to \
         {sent_bytes} bytes (any partition key included), truncatedRecordTerminator at its end, and the rest is dropped; \
         it begins with {beginning}",
        path.display(),
        flow.destination()
    );
    let entry = tailer_says(flow, Level::WARN, &text);
    say_records_once_a_minute(&flow.flow().0, "record_truncated", entry, 1);
}

/// Records were sent as they are, although they should have been processed. WARN: they arrive, in another form.
///
/// `detail` is what the option says of the newest of them.
pub fn records_raw(flow: &FlowCounters, reason: RawReason, n_records: u64, detail: &str) {
    if n_records == 0 {
        return;
    }
    flow.add_raw(reason, n_records);
    let (kind, why, remedy) = match reason {
        RawReason::NotConvertible => (
            "raw_not_convertible",
            "dataProcessingOptions can't convert them",
            "check the options against the file's lines",
        ),
        RawReason::NotAnObject => (
            "raw_not_an_object",
            "ADDEC2METADATA takes JSON objects alone",
            "convert them first, with CSVTOJSON or LOGTOJSON before it",
        ),
        RawReason::NoInstanceMetadata => (
            "raw_no_instance_metadata",
            "the EC2 instance metadata can't be had",
            "allow IMDSv2 for this instance, with a hop limit of 2 in a container",
        ),
        RawReason::BadOption => (
            "raw_bad_option",
            "an option can't work as it is written",
            "run `check` and correct it",
        ),
        RawReason::PatternTooCostly => (
            "raw_pattern_too_costly",
            "a pattern gave up at its step limit",
            "write it without nested repetitions",
        ),
        RawReason::Defect => (
            "raw_defect",
            "a defect of the agent showed",
            "please report it, with such a record",
        ),
    };
    let text = format!(
        "{} sent unprocessed: {why} ({detail}); {remedy}",
        counted(n_records, "record")
    );
    let entry = tailer_says(flow, Level::WARN, &text);
    say_records_once_a_minute(&flow.flow().0, kind, entry, n_records);
}
