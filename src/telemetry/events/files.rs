//! Events of files and folders: found, opened, renamed, unreadable, lost.

use std::io;
use std::path::Path;

use tracing::Level;

use super::{counted, say_once_a_minute, tailer_says, trouble_begins};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::progress;
use crate::telemetry::troubles::Concern;

/// Why a flow may have no file; what ends with the first one.
const NO_FILES: [&str; 3] = [
    "pattern_matches_nothing",
    "everything_left_out",
    "directory_missing",
];

/// How a file came to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// From its beginning.
    AtStart,
    /// Where the checkpoint says, or after its last complete line.
    AtOffset { offset: u64 },
}

/// A file is read from now on. INFO, in the reference's words; where it begins at DEBUG.
pub fn file_opened(flow: &FlowCounters, path: &Path, opened: Opened) {
    progress::opening(flow.flow(), path).emit();
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
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
    flow.troubles()
        .end("file_unreadable", &path.display().to_string());
    let text = format!("{} can be read again", path.display());
    tailer_says(flow, Level::INFO, &text).emit();
}

/// Files match after there were none. INFO.
pub fn files_found(flow: &FlowCounters, n_files: usize) {
    for kind in NO_FILES {
        flow.troubles().end(kind, "");
    }
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
    let problem = format!("can't read {}: {error}", path.display());
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    // What is gone is no trouble: it has most likely another name by now.
    if level == Level::ERROR {
        let about = path.display().to_string();
        trouble_begins(
            flow,
            "file_unreadable",
            &about,
            Concern::Reading,
            (&problem, remedy),
        );
    }
    let scope = format!("{} {}", flow.flow(), path.display());
    say_once_a_minute(&scope, "file_unreadable", tailer_says(flow, level, &text));
}

/// There is no file, for this reason alone.
fn no_files(flow: &FlowCounters, kind: &'static str, text: (&str, &str)) {
    for other in NO_FILES.into_iter().filter(|other| *other != kind) {
        flow.troubles().end(other, "");
    }
    trouble_begins(flow, kind, "", Concern::Oddity, text);
}

/// The pattern matches no file. WARN: perhaps there is none yet, perhaps the pattern is wrong.
pub fn pattern_matches_nothing(flow: &FlowCounters) {
    let problem = "no file matches filePattern";
    let remedy = "if there should be one check the pattern, and that names do not end in .gz, .bz2 or .zip; files that \
                  appear later are read from their beginning";
    no_files(flow, "pattern_matches_nothing", (problem, remedy));
    say_once_a_minute(
        &flow.flow().0,
        "pattern_matches_nothing",
        tailer_says(flow, Level::WARN, &format!("{problem}; {remedy}")),
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
    let problem = format!("no file is followed: {why}");
    no_files(flow, "everything_left_out", (&problem, remedy));
    let text = format!("{problem}; {remedy}");
    say_once_a_minute(
        &flow.flow().0,
        "everything_left_out",
        tailer_says(flow, level, &text),
    );
}

/// The directory of the pattern isn't there. WARN: it may appear later.
pub fn directory_missing(flow: &FlowCounters, directory: &Path) {
    let problem = format!("the directory {} does not exist", directory.display());
    let remedy = "create it or correct filePattern; until then there is nothing to read";
    no_files(flow, "directory_missing", (&problem, remedy));
    let text = format!("{problem}; {remedy}");
    let scope = format!("{} {}", flow.flow(), directory.display());
    say_once_a_minute(
        &scope,
        "directory_missing",
        tailer_says(flow, Level::WARN, &text),
    );
}

/// A directory can't be listed. ERROR: files in it are not found.
pub fn directory_unreadable(flow: &FlowCounters, directory: &Path, error: &str) {
    let problem = format!("can't list the directory {}: {error}", directory.display());
    let remedy = "let the agent's user read and enter it; files in it are not found";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    let about = directory.display().to_string();
    trouble_begins(
        flow,
        "directory_unreadable",
        &about,
        Concern::Reading,
        (&problem, remedy),
    );
    let scope = format!("{} {}", flow.flow(), directory.display());
    say_once_a_minute(
        &scope,
        "directory_unreadable",
        tailer_says(flow, Level::ERROR, &text),
    );
}

/// A directory that couldn't be listed can be, or is gone. INFO.
pub fn directory_readable(flow: &FlowCounters, directory: &Path) {
    let about = directory.display().to_string();
    flow.troubles().end("directory_unreadable", &about);
    let text = format!("{about} no longer keeps files from being found");
    tailer_says(flow, Level::INFO, &text).emit();
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
        None => format!("an unknown number of bytes, maybe none, after offset {start}"),
    };
    let problem = format!(
        "{range} of {} are lost: they were overwritten or cut off before they could be read",
        path.display()
    );
    let remedy = "rotate by renaming, or rotate less often than the agent needs to catch up";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    let about = path.display().to_string();
    trouble_begins(
        flow,
        "bytes_lost",
        &about,
        Concern::Loss,
        (&problem, remedy),
    );
    tailer_says(flow, Level::ERROR, &text).emit();
}

/// What wasn't read of a deleted file is given up. ERROR: this is lost data, by a bound that the operator can move.
pub fn deleted_file_given_up(flow: &FlowCounters, path: &Path, start: u64, end: u64) {
    let n_bytes = end.saturating_sub(start);
    flow.bytes_lost.add(n_bytes);
    let problem = format!(
        "{} of {} from offset {start} to {end} are given up: the file is deleted, and deleted files that aren't sent \
         hold more than deletedFiles.maxBytes or for longer than deletedFiles.maxAge",
        counted(n_bytes, "byte"),
        path.display()
    );
    let remedy = "see why nothing is sent, or raise these";
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    let about = path.display().to_string();
    trouble_begins(flow, "given_up", &about, Concern::Loss, (&problem, remedy));
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
