//! Events of the reading side.

use std::io;
use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::{counted, say_once_a_minute, say_records_once_a_minute, tailer_says};
use crate::telemetry::counters::{FlowCounters, RawReason, SkipReason};
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
    /// Where the checkpoint says, or after its last complete line.
    AtOffset { offset: u64 },
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

/// The flow's thread ended by a defect and is started anew. ERROR: should it stay so, nothing of this flow is read.
pub fn flow_died(flow: &FlowCounters, what: &str, next_start_in: Duration) {
    flow.restarts.add(1);
    let text = format!(
        "ended by a defect of the agent: {what}; it is started again in {} ms at its last checkpoint; nothing is lost, \
         records may be sent twice; please report it",
        next_start_in.as_millis()
    );
    flow.set_last_error(&text);
    say_once_a_minute(
        &flow.flow().0,
        "flow_died",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow's thread has been at one thing for too long, such as a read of a file system that hangs. ERROR: until it
/// comes back nothing of this flow is read.
pub fn flow_stands_still(flow: &FlowCounters, since: Duration) {
    let text = format!(
        "stands still for {} s in one look at its files: nothing of it is read; check whether the file system of its \
         filePattern answers (a network share may hang), and restart the agent if it does",
        since.as_secs()
    );
    flow.set_last_error(&text);
    say_once_a_minute(
        &flow.flow().0,
        "flow_stands_still",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// The flow's thread goes on after it stood still. INFO.
pub fn flow_goes_on(flow: &FlowCounters, stood_still: Duration) {
    flow.clear_last_error();
    let text = format!(
        "goes on after it stood still for {} s",
        stood_still.as_secs()
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// A file is read from now on. INFO, in the reference's words; where it begins at DEBUG.
pub fn file_opened(flow: &FlowCounters, path: &Path, opened: Opened) {
    progress::opening(flow.flow(), path).emit();
    let at = match opened {
        Opened::AtStart => "its beginning".to_owned(),
        Opened::AtOffset { offset } => format!("offset {offset}"),
    };
    let text = format!("{} is read from {at}", path.display());
    tailer_says(flow, Level::DEBUG, &text).emit();
}

/// A file has another name and is read on. INFO, in the reference's words; the old name at DEBUG.
pub fn file_renamed(flow: &FlowCounters, from: &Path, to: &Path) {
    progress::continuing(flow.flow(), to).emit();
    let text = format!("{} is called {} now", from.display(), to.display());
    tailer_says(flow, Level::DEBUG, &text).emit();
}

/// No name that matches leads to a file any more. INFO: it is read to its end all the same.
pub fn file_vanished(flow: &FlowCounters, path: &Path, unread_bytes: u64) {
    let text = format!(
        "{} was deleted or renamed out of filePattern; it is held open and read to its end ({} to go)",
        path.display(),
        counted(unread_bytes, "byte")
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// Something else stands at a file's place. INFO: it is read from its beginning.
pub fn file_replaced(flow: &FlowCounters, path: &Path, read_bytes: u64) {
    let text = format!(
        "{} does not hold what was read of it before ({}); it is read from its beginning",
        path.display(),
        counted(read_bytes, "byte")
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// What was in a file that was cut off, overwritten or deleted is read on elsewhere. INFO: nothing is lost.
pub fn file_continued(flow: &FlowCounters, from: &Path, to: &Path, offset: u64) {
    let text = format!(
        "what was in {} is read on from offset {offset} in {}, which holds all that was read of it before",
        from.display(),
        to.display()
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// A new file is so far as another is. DEBUG: it waits a few seconds, as it may be a copy made for a truncation.
pub fn file_suspected(flow: &FlowCounters, path: &Path, source: &Path) {
    let text = format!(
        "{} is so far as {} is; if it is no copy made for a truncation it is read in a few seconds",
        path.display(),
        source.display()
    );
    tailer_says(flow, Level::DEBUG, &text).emit();
}

/// A file that couldn't be read can be. INFO.
pub fn file_readable(flow: &FlowCounters, path: &Path) {
    let text = format!("{} can be read again", path.display());
    tailer_says(flow, Level::INFO, &text).emit();
}

/// Files match after there were none. INFO.
pub fn files_found(flow: &FlowCounters, n_files: usize) {
    let text = format!(
        "filePattern matches {} now",
        counted(n_files as u64, "file")
    );
    tailer_says(flow, Level::INFO, &text).emit();
}

/// What the first look found: files, and bytes of them that wait to be sent. INFO.
pub fn first_look(flow: &FlowCounters, n_files: u64, bytes: u64) {
    let text = format!(
        "{} found, {} to be sent to {}",
        counted(n_files, "file"),
        counted(bytes, "byte"),
        flow.destination()
    );
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
    };
    let text = format!(
        "{} left out by {why}; {first}; {remedy}",
        counted(n_records, "record")
    );
    let entry = tailer_says(flow, Level::INFO, &text);
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
pub fn file_unreadable(flow: &FlowCounters, path: &Path, kind: io::ErrorKind, error: &str) {
    let (level, remedy) = match kind {
        io::ErrorKind::PermissionDenied => (
            Level::ERROR,
            "let the agent's user read it and enter the directories above it",
        ),
        io::ErrorKind::NotFound => (
            Level::WARN,
            "if it was renamed it is read under its new name, as far as that matches filePattern",
        ),
        _ if error.contains("Too many open files") => (
            Level::ERROR,
            "raise the limit of open files (LimitNOFILE= of the service, ulimit -n); it is tried again",
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

/// All that the pattern matches is left out. WARN: perhaps more is than was meant; INFO where files are only too old, which
/// is over by itself.
pub fn everything_left_out(flow: &FlowCounters, n_excluded: usize, n_old: usize) {
    let excluded = format!(
        "exclude leaves out what filePattern matches ({})",
        counted(n_excluded as u64, "name")
    );
    let old = format!(
        "{} that match were not changed for as long as ignoreOlder says",
        counted(n_old as u64, "file")
    );
    let (level, why, remedy) = match (n_excluded, n_old) {
        (_, 0) => (
            Level::WARN,
            excluded,
            "correct exclude if they should be sent",
        ),
        (0, _) => (Level::INFO, old, "they are followed when they change"),
        _ => (
            Level::INFO,
            format!("{old}, and {excluded}"),
            "the former are followed when they change",
        ),
    };
    let text = format!("no file is followed: {why}; {remedy}");
    say_once_a_minute(
        &flow.flow().0,
        "everything_left_out",
        tailer_says(flow, level, &text),
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
pub fn directory_unreadable(flow: &FlowCounters, directory: &Path, error: &str) {
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
///
/// `end` is `None` where nobody can know how many there were.
pub fn bytes_lost(flow: &FlowCounters, path: &Path, start: u64, end: Option<u64>) {
    let range = match end {
        Some(end) => {
            flow.bytes_lost.add(end.saturating_sub(start));
            format!(
                "{} from offset {start} to {end}",
                counted(end.saturating_sub(start), "byte")
            )
        }
        None => format!("an unknown number of bytes after offset {start}"),
    };
    let text = format!(
        "{range} of {} are lost: they were overwritten or cut off before they could be read; rotate by renaming, \
         or rotate less often than the agent needs to catch up",
        path.display()
    );
    flow.set_last_error(&text);
    tailer_says(flow, Level::ERROR, &text).emit();
}

/// What wasn't read of a deleted file is given up. ERROR: this is lost data, by a bound that the operator can move.
pub fn deleted_file_given_up(flow: &FlowCounters, path: &Path, start: u64, end: u64) {
    let n_bytes = end.saturating_sub(start);
    flow.bytes_lost.add(n_bytes);
    let text = format!(
        "{} of {} from offset {start} to {end} are given up: the file is deleted, and deleted files that aren't sent \
         hold more than deletedFiles.maxBytes or for longer than deletedFiles.maxAge; see why nothing is sent, or raise \
         these",
        counted(n_bytes, "byte"),
        path.display()
    );
    flow.set_last_error(&text);
    tailer_says(flow, Level::ERROR, &text).emit();
}

/// Not all followed files can be open at once. WARN: files are closed and opened again, which is slower; one that is
/// deleted meanwhile can't be read on.
pub fn handles_short(flow: &FlowCounters, n_files: usize) {
    let text = format!(
        "{} are more than the limit of open files leaves room for: those that were quiet longest are closed and opened \
         again when they change; raise the limit (LimitNOFILE= of the service, ulimit -n)",
        counted(n_files as u64, "followed file")
    );
    tailer_says(flow, Level::WARN, &text).emit();
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
    };
    let text = format!(
        "{} sent unprocessed: {why} ({detail}); {remedy}",
        counted(n_records, "record")
    );
    let entry = tailer_says(flow, Level::WARN, &text);
    say_records_once_a_minute(&flow.flow().0, kind, entry, n_records);
}
