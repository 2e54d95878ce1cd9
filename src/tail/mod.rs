//! A flow's files: which there are ([`discover`]), what became of them ([`rotation`]), how far each was read
//! ([`cursor`]), and their bytes to records ([`split`]). [`Tailer`] is all of it as a synchronous state machine over a
//! [`disk`]; [`wake`] turns the system's change events into hints for it.

pub mod cursor;
pub mod discover;
pub mod disk;
pub mod gzip;
pub mod handles;
pub mod hash;
pub mod mark;
#[cfg(test)]
mod model;
pub mod owed;
mod place;
mod planted;
#[cfg(test)]
mod races;
pub mod rotation;
pub mod split;
mod tailer;
pub mod testing;
pub mod wake;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{DeletedFiles, Destination, Flow, InitialPosition, Split};
use crate::record::Span;
use discover::Patterns;
use split::{RecordKind, Splitter};

pub use place::end_of_last_line;
pub use tailer::Tailer;

/// What takes the records of a turn.
pub trait Intake {
    /// Whether a record of so many bytes can be taken now; if not, the turn ends.
    fn has_room(&mut self, data_bytes: usize) -> bool;
    /// A record, and the bytes of its file that it stands for.
    fn record(&mut self, span: Span, data: &[u8], kind: RecordKind, path: &Path);
    /// Bytes of a file that give no record.
    fn nothing(&mut self, span: Span);
    /// A line that is left out since it matches `skipLinesMatching`.
    fn skipped(&mut self, span: Span, _line: &[u8], _path: &Path) {
        self.nothing(span);
    }
    /// The records that follow are of a file whose columns this line names; said only where that matters.
    fn header(&mut self, _line: &[u8]) {}
    /// Room for what is read in this turn, if some is left over from another one.
    fn spare_buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes that room back at the turn's end.
    fn give_back_buffer(&mut self, _buffer: Vec<u8>) {}
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// There is more to be read at once.
    pub has_more: bool,
    /// The intake had no room.
    pub is_blocked: bool,
    /// When the next turn is due, if nothing happens before.
    pub wake_at: Instant,
}

/// A sign that something may have changed. Never needed: polling finds everything, only later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The file of this name was written to.
    Written(PathBuf),
    /// Names came or went.
    Renamed,
    /// So much happened that signs of it were dropped: everything may have changed.
    Missed,
}

/// What happened, for the log and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file is read from `offset`.
    Opened {
        path: Arc<Path>,
        offset: u64,
        size: u64,
    },
    /// Another name for a followed file.
    Renamed { from: Arc<Path>, to: Arc<Path> },
    /// A followed file has no name any more that the patterns match.
    Vanished { path: Arc<Path>, unread_bytes: u64 },
    /// A file can't be opened or read; it is tried again.
    Unreadable {
        path: Arc<Path>,
        kind: io::ErrorKind,
        error: String,
    },
    /// It can be read again.
    Readable { path: Arc<Path> },
    /// A file became shorter than what was read of it: it is read from its beginning.
    Truncated {
        path: Arc<Path>,
        read: u64,
        size: u64,
    },
    /// A file at its old place holds something else: it is read from its beginning.
    Replaced { path: Arc<Path>, read: u64 },
    /// What was cut off or is gone under its old name is read on from `offset` in a copy of it, or in its gzip.
    Continued {
        from: Arc<Path>,
        to: Arc<Path>,
        offset: u64,
    },
    /// A file is looked at again before it is read: so far it is as another followed file is, and may be its copy.
    Suspected { path: Arc<Path>, source: Arc<Path> },
    /// Bytes that were never read are gone.
    Lost {
        path: Arc<Path>,
        start: u64,
        end: Option<u64>,
    },
    /// What wasn't read of a deleted file is given up, as deleted files hold more of the disk, or hold it longer, than
    /// they may.
    GivenUp {
        path: Arc<Path>,
        start: u64,
        end: u64,
    },
    /// Not all followed files can be open at once: from now on some are closed while others are read.
    HandlesShort { n_files: usize },
    /// A followed file gave all it will.
    Finished { path: Arc<Path>, size: u64 },
    /// The patterns match no file that isn't left out.
    NoFiles {
        missing_folder: Option<PathBuf>,
        /// Names and folders that `exclude` leaves out.
        n_excluded: usize,
        /// Files that `ignoreOlder` leaves alone.
        n_old: usize,
    },
    /// Files were found after there were none.
    FilesFound { n_files: usize },
    /// A folder can't be listed or a name not looked at.
    Unlisted { path: PathBuf, error: String },
    /// It can be again, or is gone.
    Listed { path: PathBuf },
}

/// What a tailer goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    pub patterns: Patterns,
    pub splitter: Splitter,
    pub split: Split,
    pub initial_position: InitialPosition,
    pub poll_interval_min: Duration,
    pub rescan_interval_max: Duration,
    /// Files not changed for so long aren't followed until they change.
    pub ignore_older: Option<Duration>,
    /// What deleted files that aren't wholly sent may cost.
    pub deleted_files: DeletedFiles,
}

/// Longest record that is held in memory where it is processed before it is sent: the reference's read buffer.
const PROCESSED_BYTES_MAX_KINESIS: usize = 5 * 1024 * 1024;
const PROCESSED_BYTES_MAX_FIREHOSE: usize = 4 * 1024 * 1024;
/// So much of a record is held beyond what the service takes, where it is sent as it is: it shows that the record has
/// to be cut, and which character stands there.
const BEYOND_RECORD_BYTES: usize = 4;

impl Rules {
    /// Errors: a pattern that no glob can be made of; the configuration has refused those.
    pub fn new(flow: &Flow) -> Result<Rules, globset::Error> {
        Ok(Rules {
            patterns: Patterns::of(flow)?,
            splitter: Splitter::new(&flow.split, Rules::held_bytes_max(flow)),
            split: flow.split.clone(),
            initial_position: flow.initial_position,
            poll_interval_min: flow.poll_interval_min,
            rescan_interval_max: flow.rescan_interval_max,
            ignore_older: flow.ignore_older,
            deleted_files: flow.deleted_files,
        })
    }

    /// The longest record that is held in memory, in bytes.
    pub fn held_bytes_max(flow: &Flow) -> usize {
        match (&flow.destination, flow.processing.is_empty()) {
            (destination, true) => destination.record_bytes_max() + BEYOND_RECORD_BYTES,
            (Destination::Kinesis(_), false) => PROCESSED_BYTES_MAX_KINESIS,
            (Destination::Firehose(_), false) => PROCESSED_BYTES_MAX_FIREHOSE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split::{End, Piece, SplitState};
    use super::*;
    use crate::config::test_support::flow;

    /// A piece of just the length that the service takes isn't cut, and would be sent without the terminator.
    #[test]
    fn a_line_that_is_too_long_is_handed_on_longer_than_the_service_takes() {
        for destination in ["kinesisStream", "deliveryStream"] {
            let flow = flow(&format!(r#""{destination}": "s""#));
            let max = flow.destination.record_bytes_max();
            let splitter = Rules::new(&flow).unwrap().splitter;
            for n in [max, max + 1, 2 * max] {
                let line = [vec![b'x'; n], b"\n".to_vec()].concat();
                let piece = splitter.next(&mut SplitState::default(), &line, 0, End::Now);
                let Piece::Record { data, next, .. } = piece else {
                    panic!("{piece:?}");
                };
                assert!(data.len() > max && next == line.len(), "{destination} {n}");
            }
        }
    }
}
