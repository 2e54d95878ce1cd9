//! The lines that say how far the agent is, word for word the reference's: dashboards and scripts read them.
//!
//! All of it is formatting; the caller decides when, and says the entries. The words are those of section 8 of our page
//! on compatibility; threads and loggers those of lines that users of the reference published.

use std::path::Path;
use std::time::Duration;

use tracing::Level;

use crate::config::FlowId;
use crate::telemetry::counters::{AgentSnapshot, FlowSnapshot, RawReason, SkipReason};
use crate::telemetry::log::Entry;
use crate::telemetry::names;

const MIB: u64 = 1024 * 1024;

/// Bytes behind from which the line is a warning.
pub const BEHIND_WARN_BYTES: u64 = 40 * MIB;
/// Bytes behind from which the line is said at INFO; below it at DEBUG.
pub const BEHIND_INFO_BYTES: u64 = 20 * MIB;

/// Which of the reference's two metrics lines are wanted besides the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricLines {
    /// `log.emitMetrics`: what goes to CloudWatch.
    pub metrics: bool,
    /// `log.emitInternalMetrics`: everything else that is counted.
    pub internal: bool,
}

/// All that is said each status period and at the end: flow by flow, then the agent.
pub fn status(snapshot: &AgentSnapshot, uptime: Duration, lines: MetricLines) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (id, flow) in &snapshot.flows {
        entries.push(tailer_progress(id, flow));
        entries.extend(tailer_behind(id, flow.bytes_behind, flow.files_newer));
        if lines.metrics {
            entries.push(tailer_metrics(id, flow));
        }
        if lines.internal {
            entries.push(tailer_internal_metrics(id, flow));
        }
    }
    let total = snapshot.total();
    entries.push(agent_progress(&total, uptime));
    entries.extend(agent_behind(total.bytes_behind, total.files_newer));
    entries
}

/// How it goes, on the one line that a service manager shows.
pub fn in_one_line(snapshot: &AgentSnapshot) -> String {
    let total = snapshot.total();
    let n_flows = snapshot.flows.len();
    let plural = if n_flows == 1 { "" } else { "s" };
    format!(
        "{n_flows} flow{plural}, {} records sent, {} bytes behind",
        total.records_sent, total.bytes_behind
    )
}

/// What all flows together have done.
pub fn agent_progress(total: &FlowSnapshot, uptime: Duration) -> Entry {
    let message = format!(
        "Agent: Progress: {} records parsed ({} bytes), and {} records sent successfully to destinations. Uptime: {}ms",
        total.records_parsed,
        total.bytes_parsed,
        total.records_sent,
        uptime.as_millis()
    );
    Entry::new(
        Level::INFO,
        names::THREAD_AGENT_METRICS,
        names::AGENT,
        message,
    )
}

/// What one flow has done.
pub fn tailer_progress(id: &FlowId, flow: &FlowSnapshot) -> Entry {
    let message = format!(
        "FileTailer[{id}]: Tailer Progress: Tailer has parsed {} records ({} bytes), transformed {} records, skipped \
         {} records, and has successfully sent {} records to destination.",
        flow.records_parsed,
        flow.bytes_parsed,
        flow.records_transformed,
        flow.records_skipped,
        flow.records_sent
    );
    Entry::new(Level::INFO, tailer_thread(id), names::FILE_TAILER, message)
}

/// How far all flows together are behind; `None`: nothing is waiting.
pub fn agent_behind(bytes: u64, files_newer: u64) -> Option<Entry> {
    let behind = behind(bytes, files_newer)?;
    let message = format!("Agent: Tailing is {behind}");
    let level = behind_level(bytes);
    Some(Entry::new(
        level,
        names::THREAD_AGENT_METRICS,
        names::AGENT,
        message,
    ))
}

/// How far one flow is behind; `None`: nothing is waiting.
pub fn tailer_behind(id: &FlowId, bytes: u64, files_newer: u64) -> Option<Entry> {
    let behind = behind(bytes, files_newer)?;
    let message = format!("FileTailer[{id}]: Tailer is {behind}");
    let level = behind_level(bytes);
    Some(Entry::new(
        level,
        tailer_thread(id),
        names::FILE_TAILER,
        message,
    ))
}

/// What the flow's metrics in CloudWatch add up to since the start; the words are ours.
fn tailer_metrics(id: &FlowId, flow: &FlowSnapshot) -> Entry {
    let message = format!(
        "FileTailer[{id}]: Metrics: RecordSendAttempts={} RecordSendErrors={} RecordsSent={} BytesSent={} \
         ServiceErrors={} ConsecutiveProcessingErrors={}",
        flow.send_attempts,
        flow.send_errors,
        flow.records_sent,
        flow.bytes_sent,
        flow.service_errors,
        flow.processing_errors_in_a_row
    );
    Entry::new(Level::INFO, tailer_thread(id), names::FILE_TAILER, message)
}

/// What else is counted; the words are ours.
fn tailer_internal_metrics(id: &FlowId, flow: &FlowSnapshot) -> Entry {
    let mut message = format!(
        "FileTailer[{id}]: Internal metrics: files_followed={} bytes_behind={} calls={} throttled_records={} \
         records_refused={} records_dead_lettered={} records_truncated={} bytes_lost={} restarts={}",
        flow.files_followed,
        flow.bytes_behind,
        flow.calls,
        flow.throttled_records,
        flow.records_refused,
        flow.records_dead_lettered,
        flow.records_truncated,
        flow.bytes_lost,
        flow.restarts
    );
    for (reason, n_records) in RawReason::ALL.into_iter().zip(flow.records_raw) {
        message.push_str(&format!(" records_raw_{}={n_records}", reason.as_str()));
    }
    for (reason, n_records) in SkipReason::ALL.into_iter().zip(flow.records_skipped_by) {
        message.push_str(&format!(" records_skipped_{}={n_records}", reason.as_str()));
    }
    message.push_str(&format!(" records_keyless={}", flow.records_keyless));
    Entry::new(Level::INFO, tailer_thread(id), names::FILE_TAILER, message)
}

/// The agent reads its configuration.
pub fn reading_configuration(file: &Path) -> Entry {
    agent_says(
        names::THREAD_MAIN,
        format!("Reading configuration from file: {}", file.display()),
    )
}

/// How many flows the configuration has.
pub fn found_flows(n_flows: usize) -> Entry {
    agent_says(
        names::THREAD_MAIN,
        format!("Found {n_flows} configured flow(s)"),
    )
}

/// How many calls may be in flight; the reference's word for them is threads.
pub fn sending_threads(n_threads: usize) -> Entry {
    agent_says(
        names::THREAD_MAIN,
        format!("Agent will use up to {n_threads} threads for sending data."),
    )
}

/// How many old rows the checkpoint database lost.
pub fn deleted_checkpoints(n_checkpoints: usize) -> Entry {
    let message = format!("Deleted {n_checkpoints} old checkpoints.");
    Entry::new(Level::INFO, names::THREAD_MAIN, names::CHECKPOINTS, message)
}

/// The agent starts.
pub fn starting() -> Entry {
    agent_says(names::THREAD_STARTING, "Agent: Starting up...".to_owned())
}

/// A flow starts.
pub fn starting_tailer(id: &FlowId) -> Entry {
    agent_says(
        names::THREAD_STARTING,
        format!("Agent: Starting tailer for file {id}"),
    )
}

/// A file is read for the first time in this run.
pub fn opening(id: &FlowId, path: &Path) -> Entry {
    parser_says(id, format!("Opening {} for parsing.", path.display()))
}

/// A file that is being read goes on under this name.
pub fn continuing(id: &FlowId, path: &Path) -> Entry {
    parser_says(id, format!("Continuing to parse {}.", path.display()))
}

/// All flows run.
pub fn started(took: Duration) -> Entry {
    agent_says(
        names::THREAD_STARTING,
        format!("Agent: Startup completed in {} ms.", took.as_millis()),
    )
}

/// The agent stops.
pub fn stopping() -> Entry {
    agent_says(names::THREAD_STOPPING, "Agent: Shutting down...".to_owned())
}

fn agent_says(thread: &str, message: String) -> Entry {
    Entry::new(Level::INFO, thread, names::AGENT, message)
}

fn parser_says(id: &FlowId, message: String) -> Entry {
    let (parser, logger) = if id.0.starts_with("fh:") {
        ("FirehoseParser", names::FIREHOSE_PARSER)
    } else {
        ("KinesisParser", names::KINESIS_PARSER)
    };
    Entry::new(
        Level::INFO,
        names::tailer_thread(id),
        logger,
        format!("{parser}[{id}]: {message}"),
    )
}

fn tailer_thread(id: &FlowId) -> String {
    format!("FileTailer[{id}].MetricsEmitter RUNNING")
}

fn behind(bytes: u64, files_newer: u64) -> Option<String> {
    if bytes == 0 {
        return None;
    }
    let mut text = format!("{} MB ({bytes} bytes) behind.", Megabytes(bytes));
    if files_newer > 0 {
        text.push_str(&format!(
            " There are {files_newer} file(s) newer than current file(s) being tailed."
        ));
    }
    Some(text)
}

fn behind_level(bytes: u64) -> Level {
    match bytes {
        BEHIND_WARN_BYTES.. => Level::WARN,
        BEHIND_INFO_BYTES.. => Level::INFO,
        _ => Level::DEBUG,
    }
}

/// Bytes in the reference's megabytes: whole KiB, divided by 1024, six digits, half a unit rounded up. So
/// 170,588,298 bytes are `162.685547` in a line that one of its users published.
struct Megabytes(u64);

impl std::fmt::Display for Megabytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kib = self.0 / 1024;
        let millionths = (kib % 1024 * 1_000_000 + 512) / 1024;
        write!(f, "{}.{millionths:06}", kib / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "com.amazon.kinesis.streaming.agent";

    fn kinesis() -> FlowId {
        FlowId("kinesis:s:/logs/app.log*".into())
    }

    fn firehose() -> FlowId {
        FlowId("fh:d:/logs/*.log".into())
    }

    /// `(THREAD) LOGGER [LEVEL] MESSAGE`
    fn text(entry: &Entry) -> String {
        format!(
            "({}) {} [{}] {}",
            entry.thread, entry.logger, entry.level, entry.message
        )
    }

    #[test]
    fn start_and_stop_are_said_in_the_references_words() {
        let path = Path::new("/logs/app.log");
        for (entry, expected) in [
            (
                reading_configuration(Path::new("/etc/aws-kinesis/agent.json")),
                format!(
                    "(main) {SPACE}.Agent [INFO] Reading configuration from file: /etc/aws-kinesis/agent.json"
                ),
            ),
            (
                found_flows(2),
                format!("(main) {SPACE}.Agent [INFO] Found 2 configured flow(s)"),
            ),
            (
                sending_threads(24),
                format!(
                    "(main) {SPACE}.Agent [INFO] Agent will use up to 24 threads for sending data."
                ),
            ),
            (
                deleted_checkpoints(0),
                format!(
                    "(main) {SPACE}.tailing.checkpoints.SQLiteFileCheckpointStore [INFO] Deleted 0 old checkpoints."
                ),
            ),
            (
                starting(),
                format!("(Agent STARTING) {SPACE}.Agent [INFO] Agent: Starting up..."),
            ),
            (
                starting_tailer(&kinesis()),
                format!(
                    "(Agent STARTING) {SPACE}.Agent [INFO] Agent: Starting tailer for file kinesis:s:/logs/app.log*"
                ),
            ),
            (
                opening(&kinesis(), path),
                format!(
                    "(FileTailer[kinesis:s:/logs/app.log*]) {SPACE}.tailing.KinesisParser [INFO] \
                     KinesisParser[kinesis:s:/logs/app.log*]: Opening /logs/app.log for parsing."
                ),
            ),
            (
                opening(&firehose(), path),
                format!(
                    "(FileTailer[fh:d:/logs/*.log]) {SPACE}.tailing.FirehoseParser [INFO] \
                     FirehoseParser[fh:d:/logs/*.log]: Opening /logs/app.log for parsing."
                ),
            ),
            (
                continuing(&kinesis(), Path::new("/logs/app.log.1")),
                format!(
                    "(FileTailer[kinesis:s:/logs/app.log*]) {SPACE}.tailing.KinesisParser [INFO] \
                     KinesisParser[kinesis:s:/logs/app.log*]: Continuing to parse /logs/app.log.1."
                ),
            ),
            (
                started(Duration::from_micros(64_900)),
                format!("(Agent STARTING) {SPACE}.Agent [INFO] Agent: Startup completed in 64 ms."),
            ),
            (
                stopping(),
                format!("(Agent STOPPING) {SPACE}.Agent [INFO] Agent: Shutting down..."),
            ),
        ] {
            assert_eq!(text(&entry), expected);
        }
    }

    #[test]
    fn the_status_says_every_flow_and_then_the_agent() {
        let flow = FlowSnapshot {
            records_parsed: 5_750_745,
            bytes_parsed: 355_242_075,
            records_transformed: 3,
            records_skipped: 4,
            records_sent: 5_750_575,
            ..FlowSnapshot::default()
        };
        let late = FlowSnapshot {
            bytes_behind: 170_588_298,
            files_newer: 1,
            ..FlowSnapshot::default()
        };
        let snapshot = AgentSnapshot {
            flows: vec![(kinesis(), flow), (firehose(), late)],
            ..AgentSnapshot::default()
        };
        let said: Vec<String> = status(
            &snapshot,
            Duration::from_millis(236_670_045),
            MetricLines::default(),
        )
        .iter()
        .map(text)
        .collect();
        let kinesis_thread = "(FileTailer[kinesis:s:/logs/app.log*].MetricsEmitter RUNNING)";
        let firehose_thread = "(FileTailer[fh:d:/logs/*.log].MetricsEmitter RUNNING)";
        assert_eq!(
            said,
            [
                format!(
                    "{kinesis_thread} {SPACE}.tailing.FileTailer [INFO] FileTailer[kinesis:s:/logs/app.log*]: Tailer \
                     Progress: Tailer has parsed 5750745 records (355242075 bytes), transformed 3 records, skipped 4 \
                     records, and has successfully sent 5750575 records to destination."
                ),
                format!(
                    "{firehose_thread} {SPACE}.tailing.FileTailer [INFO] FileTailer[fh:d:/logs/*.log]: Tailer \
                     Progress: Tailer has parsed 0 records (0 bytes), transformed 0 records, skipped 0 records, and \
                     has successfully sent 0 records to destination."
                ),
                format!(
                    "{firehose_thread} {SPACE}.tailing.FileTailer [WARN] FileTailer[fh:d:/logs/*.log]: Tailer is \
                     162.685547 MB (170588298 bytes) behind. There are 1 file(s) newer than current file(s) being \
                     tailed."
                ),
                format!(
                    "(Agent.MetricsEmitter RUNNING) {SPACE}.Agent [INFO] Agent: Progress: 5750745 records parsed \
                     (355242075 bytes), and 5750575 records sent successfully to destinations. Uptime: 236670045ms"
                ),
                format!(
                    "(Agent.MetricsEmitter RUNNING) {SPACE}.Agent [WARN] Agent: Tailing is 162.685547 MB (170588298 \
                     bytes) behind. There are 1 file(s) newer than current file(s) being tailed."
                ),
            ]
        );
    }

    #[test]
    fn being_behind_is_louder_the_further() {
        for (bytes, level) in [
            (0, None),
            (1, Some(Level::DEBUG)),
            (20 * MIB - 1, Some(Level::DEBUG)),
            (20 * MIB, Some(Level::INFO)),
            (40 * MIB - 1, Some(Level::INFO)),
            (40 * MIB, Some(Level::WARN)),
            (u64::MAX, Some(Level::WARN)),
        ] {
            assert_eq!(agent_behind(bytes, 0).map(|e| e.level), level, "{bytes}");
            assert_eq!(
                tailer_behind(&kinesis(), bytes, 3).map(|e| e.level),
                level,
                "{bytes}"
            );
        }
    }

    #[test]
    fn newer_files_are_said_only_where_there_are_some() {
        for (files_newer, expected) in [
            (0, "Agent: Tailing is 0.001953 MB (2048 bytes) behind."),
            (
                2,
                "Agent: Tailing is 0.001953 MB (2048 bytes) behind. There are 2 file(s) newer than current file(s) \
                 being tailed.",
            ),
        ] {
            let entry = agent_behind(2048, files_newer).expect("something waits");
            assert_eq!(entry.message, expected);
        }
    }

    #[test]
    fn megabytes_are_whole_kib_rounded_half_up() {
        for (bytes, expected) in [
            (1, "0.000000"),
            (1023, "0.000000"),
            (1024, "0.000977"),
            (8 * 1024, "0.007813"),
            (MIB - 1, "0.999023"),
            (MIB, "1.000000"),
            (170_588_298, "162.685547"),
            (u64::MAX, "17592186044415.999023"),
        ] {
            assert_eq!(Megabytes(bytes).to_string(), expected, "{bytes}");
        }
    }

    #[test]
    fn metrics_are_said_where_they_are_asked_for() {
        let flow = FlowSnapshot {
            records_sent: 1,
            bytes_sent: 2,
            records_refused: 3,
            records_dead_lettered: 22,
            restarts: 23,
            records_truncated: 4,
            records_raw: [5, 6, 7, 8, 9, 24],
            records_skipped_by: [18, 19, 20, 25],
            records_keyless: 21,
            bytes_lost: 10,
            calls: 11,
            send_attempts: 12,
            send_errors: 13,
            service_errors: 14,
            throttled_records: 15,
            files_followed: 16,
            processing_errors_in_a_row: 17,
            ..FlowSnapshot::default()
        };
        let snapshot = AgentSnapshot {
            flows: vec![(kinesis(), flow)],
            ..AgentSnapshot::default()
        };
        let said = |metrics, internal| -> Vec<String> {
            status(&snapshot, Duration::ZERO, MetricLines { metrics, internal })
                .into_iter()
                .map(|entry| entry.message)
                .filter(|message| message.contains("etrics: "))
                .collect()
        };
        let metrics = "FileTailer[kinesis:s:/logs/app.log*]: Metrics: RecordSendAttempts=12 RecordSendErrors=13 \
                       RecordsSent=1 BytesSent=2 ServiceErrors=14 ConsecutiveProcessingErrors=17";
        let internal = "FileTailer[kinesis:s:/logs/app.log*]: Internal metrics: files_followed=16 bytes_behind=0 \
                        calls=11 throttled_records=15 records_refused=3 records_dead_lettered=22 records_truncated=4 \
                        bytes_lost=10 restarts=23 records_raw_not_convertible=5 records_raw_not_an_object=6 \
                        records_raw_no_instance_metadata=7 records_raw_bad_option=8 records_raw_pattern_too_costly=9 \
                        records_raw_defect=24 records_skipped_line=18 records_skipped_no_match=19 \
                        records_skipped_group_count=20 records_skipped_defect=25 records_keyless=21";
        assert_eq!(said(false, false), Vec::<String>::new());
        assert_eq!(said(true, false), [metrics]);
        assert_eq!(said(false, true), [internal]);
        assert_eq!(said(true, true), [metrics, internal]);
    }
}
