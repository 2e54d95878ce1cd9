//! Events of the reading side.

use std::io;
use std::ops::Range;
use std::path::Path;

use tracing::Level;

use super::{counted, say_once_a_minute, tailer_says};
use crate::telemetry::counters::{FlowCounters, RawReason};
use crate::telemetry::progress;

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

/// How a file came to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// From its beginning.
    AtStart,
    /// After its last complete line.
    AtEnd { offset: u64 },
    /// Where the checkpoint says.
    AtCheckpoint { offset: u64 },
    /// It was being read already, under another name.
    Renamed,
}

/// A turn is done. Counted alone.
pub fn turn_done(flow: &FlowCounters, turn: &Turn) {
    flow.records_parsed.add(turn.records_parsed);
    flow.bytes_parsed.add(turn.bytes_parsed);
    flow.records_transformed.add(turn.records_transformed);
    flow.records_skipped.add(turn.records_skipped);
    flow.processing_errors_in_a_row.set(0);
}

/// Where the flow stands, after a look at all its files. Set alone.
pub fn stands_at(flow: &FlowCounters, standing: &Standing) {
    flow.bytes_behind.set(standing.bytes_behind);
    flow.files_followed.set(standing.files_followed);
    flow.files_newer.set(standing.files_newer);
}

/// A turn failed as a whole and is taken again. ERROR: until it succeeds nothing of this flow is read.
pub fn turn_failed(flow: &FlowCounters, error: &dyn std::fmt::Display) {
    flow.processing_errors_in_a_row.add(1);
    let text = format!("can't go on reading: {error}; nothing is lost, it is tried again");
    flow.set_last_error(&text);
    say_once_a_minute(
        &flow.flow().0,
        "turn_failed",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// A file is read from now on. INFO, in the reference's words; where it begins at DEBUG.
pub fn file_opened(flow: &FlowCounters, path: &Path, opened: Opened) {
    let (entry, at) = match opened {
        Opened::AtStart => (
            progress::opening(flow.flow(), path),
            "its beginning".to_owned(),
        ),
        Opened::AtEnd { offset } => (
            progress::opening(flow.flow(), path),
            format!("offset {offset}, after its last complete line"),
        ),
        Opened::AtCheckpoint { offset } => (
            progress::opening(flow.flow(), path),
            format!("offset {offset}, as the checkpoint says"),
        ),
        Opened::Renamed => return progress::continuing(flow.flow(), path).emit(),
    };
    entry.emit();
    tailer_says(
        flow,
        Level::DEBUG,
        &format!("{} is read from {at}", path.display()),
    )
    .emit();
}

/// A file is read to its end and will not grow. DEBUG.
pub fn file_finished(flow: &FlowCounters, path: &Path, offset: u64) {
    tailer_says(
        flow,
        Level::DEBUG,
        &format!("{} is finished at offset {offset}", path.display()),
    )
    .emit();
}

/// A file shrank and is read from its beginning. INFO: that is how copytruncate works.
pub fn file_truncated(flow: &FlowCounters, path: &Path, size_before_bytes: u64, size_bytes: u64) {
    let text = format!(
        "{} was truncated from {size_before_bytes} to {size_bytes} bytes; it is read from its beginning",
        path.display()
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// A file can't be opened or read. ERROR: somebody must act, or its records are never sent; WARN for one that is gone,
/// which may have been renamed a moment ago.
pub fn file_unreadable(flow: &FlowCounters, path: &Path, error: &io::Error) {
    let (level, remedy) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            Level::ERROR,
            "let the agent's user read it and enter the directories above it",
        ),
        io::ErrorKind::NotFound => (
            Level::WARN,
            "if it was renamed it is read under its new name, as far as that matches filePattern",
        ),
        _ => (
            Level::ERROR,
            "it is tried again; if it stays so look at the disk",
        ),
    };
    let text = format!("can't read {}: {error}; {remedy}", path.display());
    flow.set_last_error(&text);
    let scope = format!("{} {}", flow.flow(), path.display());
    say_once_a_minute(&scope, "file_unreadable", tailer_says(flow, level, &text));
}

/// The pattern matches no file. WARN: perhaps there is none yet, perhaps the pattern is wrong.
pub fn pattern_matches_nothing(flow: &FlowCounters) {
    let text = "no file matches filePattern; if there should be one check the pattern, and that names do not end in \
                .gz, .bz2 or .zip; files that appear later are read from their beginning";
    say_once_a_minute(
        &flow.flow().0,
        "pattern_matches_nothing",
        tailer_says(flow, Level::WARN, text),
    );
}

/// The directory of the pattern isn't there. WARN: it may appear later.
pub fn directory_missing(flow: &FlowCounters, directory: &Path) {
    let text = format!(
        "the directory {} does not exist; create it or correct filePattern; until then there is nothing to read",
        directory.display()
    );
    let scope = format!("{} {}", flow.flow(), directory.display());
    say_once_a_minute(
        &scope,
        "directory_missing",
        tailer_says(flow, Level::WARN, &text),
    );
}

/// A directory can't be listed. ERROR: files in it are not found.
pub fn directory_unreadable(flow: &FlowCounters, directory: &Path, error: &io::Error) {
    let text = format!(
        "can't list the directory {}: {error}; let the agent's user read and enter it; files in it are not found",
        directory.display()
    );
    flow.set_last_error(&text);
    let scope = format!("{} {}", flow.flow(), directory.display());
    say_once_a_minute(
        &scope,
        "directory_unreadable",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// Bytes that were never read and can't be any more. ERROR: this is lost data.
pub fn bytes_lost(flow: &FlowCounters, path: &Path, range: &Range<u64>, why: &str) {
    let n_bytes = range.end.saturating_sub(range.start);
    flow.bytes_lost.add(n_bytes);
    let text = format!(
        "{} of {} are lost, from offset {} to {}: {why}",
        counted(n_bytes, "byte"),
        path.display(),
        range.start,
        range.end
    );
    flow.set_last_error(&text);
    tailer_says(flow, Level::ERROR, &text).emit();
}

/// A record was longer than the service takes and was cut. WARN, as in the reference.
pub fn record_truncated(
    flow: &FlowCounters,
    path: &Path,
    offset: u64,
    record_bytes: u64,
    sent_bytes: u64,
) {
    flow.records_truncated.add(1);
    let text = format!(
        "the record at offset {offset} of {} has {record_bytes} bytes, more than {} takes; its first {sent_bytes} \
         bytes are sent, truncatedRecordTerminator at their end, and the rest is dropped",
        path.display(),
        flow.destination()
    );
    say_once_a_minute(
        &flow.flow().0,
        "record_truncated",
        tailer_says(flow, Level::WARN, &text),
    );
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
    };
    let text = format!(
        "{} sent unprocessed: {why} ({detail}); {remedy}",
        counted(n_records, "record")
    );
    say_once_a_minute(&flow.flow().0, kind, tailer_says(flow, Level::WARN, &text));
}
