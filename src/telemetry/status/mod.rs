//! How the agent is doing at one moment: one value, from which the terminal, the status page, the metrics and the
//! checks of monitors are made.
//!
//! - [`growth`]: when a file had grown to an offset
//! - [`followed`]: how far each file of a flow is
//! - [`rates`]: how fast it goes
//!
//! Nothing here is on the data's way: a flow's thread says once a second how its files stand, calls are counted as they
//! are answered, and a task samples the totals each second.
//!
//! **Seconds behind** are the age of the oldest byte that isn't acknowledged: now, less the time at which the file had
//! grown to it. An unfinished line at a file's end doesn't count. Of what was there when the agent first saw a file, the
//! age is that of the file's last write, so it may be older than is said.

pub mod followed;
pub mod growth;
pub mod rates;
mod sampler;

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use followed::{FileLook, FileStanding, Followed};
pub use sampler::{SAMPLE_INTERVAL, Sampler};

use crate::config::Destination;
use crate::telemetry::counters::{FlowCounters, FlowSnapshot, Reload};
use crate::telemetry::troubles::{Concern, Trouble};

/// Files of a flow that are listed unless all are asked for: those that are behind or can't be read first.
pub const FILES_SHOWN_MAX: usize = 500;

/// How the agent is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub at: Timestamp,
    pub uptime_seconds: u64,
    /// Whether what is to be sent is being accepted, in all flows.
    pub is_delivering: bool,
    pub totals: Totals,
    /// What is wrong with the agent as a whole; the flows' own troubles are theirs.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    pub flows: Vec<FlowStatus>,
    /// The last minutes, oldest first.
    pub history: Vec<Moment>,
    /// What came of the last request to read the configuration anew; `None`: there was none.
    #[serde(default)]
    pub reload: Option<Reload>,
}

/// All flows together, with those that aren't configured any more.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Totals {
    pub records_parsed: u64,
    pub records_sent: u64,
    pub bytes_sent: u64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    pub behind: Behind,
    pub files_followed: u64,
    /// Bytes of the memory budget that are held.
    pub memory_held_bytes: u64,
}

/// How much waits, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Behind {
    pub bytes: u64,
    pub seconds: f64,
    /// At the present rate; `None`: nothing waits, or it becomes more.
    pub caught_up_in_seconds: Option<u64>,
}

/// One second of the last minutes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Moment {
    pub seconds_ago: f64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    pub behind_bytes: u64,
}

/// What a flow is doing, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// Nothing waits.
    CaughtUp,
    /// Something waits, and is on its way.
    Delivering,
    /// Calls don't succeed, or files can't be read.
    Failing,
    /// Its thread has ended or stands still.
    Stuck,
}

/// How a flow is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowStatus {
    pub flow: String,
    pub destination: DestinationStatus,
    pub state: FlowState,
    pub records: Records,
    pub bytes: Bytes,
    pub calls: Calls,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    pub behind: Behind,
    /// Times that the flow was started anew after a defect.
    pub restarts: u64,
    pub files_followed: u64,
    pub files: Vec<FileStatus>,
    /// Files that aren't listed.
    pub files_left_out: usize,
    pub troubles: Vec<Trouble>,
}

/// The stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DestinationStatus {
    pub service: String,
    pub stream: String,
}

/// What became of records.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Records {
    pub parsed: u64,
    pub transformed: u64,
    pub skipped: u64,
    pub truncated: u64,
    pub sent_unprocessed: u64,
    pub sent: u64,
    pub refused: u64,
    /// Refused, and kept as dead letters.
    pub dead_lettered: u64,
}

/// What became of bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Bytes {
    pub parsed: u64,
    pub sent: u64,
    pub lost: u64,
}

/// What became of calls.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Calls {
    pub made: u64,
    pub failed: u64,
    pub records_throttled: u64,
    /// Of the last ones.
    pub latency_ms: u64,
}

/// How a file is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileStatus {
    pub path: String,
    /// `(dev=HEX,ino=DEC)`
    pub id: String,
    pub size: u64,
    pub read: u64,
    /// What is acknowledged.
    pub sent: u64,
    pub behind_bytes: u64,
    pub behind_seconds: f64,
    /// Bytes at its end that are no whole record yet.
    pub unfinished_bytes: u64,
    /// A footer ended it: nothing more is read of it.
    pub is_over: bool,
    /// Why it can't be read, if it can't.
    pub problem: Option<String>,
}

/// How many files of a flow are listed: those that can't be read first, then those that are furthest behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesShown {
    All,
    AtMost(usize),
}

impl FilesShown {
    /// As many as a person looks at.
    pub const MOST: FilesShown = FilesShown::AtMost(FILES_SHOWN_MAX);

    fn max(self) -> usize {
        match self {
            FilesShown::All => usize::MAX,
            FilesShown::AtMost(n) => n,
        }
    }
}

impl FlowStatus {
    /// A flow at this moment.
    pub(super) fn of(
        flow: &FlowCounters,
        sample: &sampler::FlowSample,
        shown: FilesShown,
        (at, now): (Instant, Timestamp),
    ) -> FlowStatus {
        let counted = flow.snapshot();
        let now_ms = now.as_millisecond();
        let (n_files, files, behind_bytes, behind_seconds) = {
            let followed = flow.followed();
            let files = shown_files(followed.files(), shown, now_ms);
            let behind_seconds = followed.behind_seconds(now_ms);
            (
                followed.files().len(),
                files,
                followed.behind_bytes(),
                behind_seconds,
            )
        };
        let troubles = flow.troubles().now();
        let fails = troubles
            .iter()
            .any(|trouble| matches!(trouble.concern, Concern::Sending | Concern::Reading));
        let state = match (flow.turning.is_turning(at), fails, behind_bytes) {
            (false, ..) => FlowState::Stuck,
            (true, true, _) => FlowState::Failing,
            (true, false, 0) => FlowState::CaughtUp,
            (true, false, _) => FlowState::Delivering,
        };
        FlowStatus {
            flow: flow.flow().to_string(),
            destination: DestinationStatus::of(flow.destination()),
            state,
            records: Records::of(&counted),
            bytes: Bytes {
                parsed: counted.bytes_parsed,
                sent: counted.bytes_sent,
                lost: counted.bytes_lost,
            },
            calls: Calls {
                made: counted.calls,
                failed: counted.service_errors,
                records_throttled: counted.throttled_records,
                latency_ms: flow.latency_ms.get(),
            },
            records_per_second: sample.rate.records_per_second,
            bytes_per_second: sample.rate.bytes_per_second,
            behind: Behind {
                bytes: behind_bytes,
                seconds: behind_seconds,
                caught_up_in_seconds: sample
                    .caught_up_in
                    .filter(|_| behind_bytes > 0)
                    .map(|time| time.as_secs()),
            },
            restarts: counted.restarts,
            files_followed: n_files as u64,
            files_left_out: n_files - files.len(),
            files,
            troubles,
        }
    }

    /// Whether its records are being accepted, as far as there are any.
    pub fn is_delivering(&self) -> bool {
        let is_refused = |trouble: &Trouble| trouble.concern == Concern::Sending;
        self.state != FlowState::Stuck && !self.troubles.iter().any(is_refused)
    }
}

/// The files that are listed, in their order. Of thousands only those are put in order.
fn shown_files(files: &[FileStanding], shown: FilesShown, now_ms: i64) -> Vec<FileStatus> {
    let urgency = |file: &FileStanding| {
        let waits = u64::MAX - file.behind_bytes;
        (file.look.problem.is_none(), waits)
    };
    let compare = |one: &&FileStanding, other: &&FileStanding| {
        let by_path = || one.look.path.cmp(&other.look.path);
        urgency(one).cmp(&urgency(other)).then_with(by_path)
    };
    let mut listed: Vec<&FileStanding> = files.iter().collect();
    let n_shown = shown.max();
    if n_shown < listed.len() {
        listed.select_nth_unstable_by(n_shown, compare);
        listed.truncate(n_shown);
    }
    listed.sort_unstable_by(compare);
    let to_status = |file: &&FileStanding| FileStatus::of(file, now_ms);
    listed.iter().map(to_status).collect()
}

impl DestinationStatus {
    fn of(destination: &Destination) -> DestinationStatus {
        let service = match destination {
            Destination::Kinesis(_) => "kinesis",
            Destination::Firehose(_) => "firehose",
        };
        DestinationStatus {
            service: service.to_owned(),
            stream: destination.name().to_owned(),
        }
    }
}

impl Records {
    fn of(counted: &FlowSnapshot) -> Records {
        Records {
            parsed: counted.records_parsed,
            transformed: counted.records_transformed,
            skipped: counted.records_skipped,
            truncated: counted.records_truncated,
            sent_unprocessed: counted.records_raw_total(),
            sent: counted.records_sent,
            refused: counted.records_refused,
            dead_lettered: counted.records_dead_lettered,
        }
    }
}

impl FileStatus {
    fn of(file: &FileStanding, now_ms: i64) -> FileStatus {
        let look = &file.look;
        FileStatus {
            path: look.path.display().to_string(),
            id: look.identity.to_string(),
            size: look.size,
            read: look.read,
            sent: look.acknowledged,
            behind_bytes: file.behind_bytes,
            behind_seconds: file.behind_seconds(now_ms),
            unfinished_bytes: look.unfinished_bytes,
            is_over: look.is_over,
            problem: look.problem.map(|kind| kind.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::FileIdentity;
    use crate::record::CursorId;

    fn file(n: u64, behind_bytes: u64, is_readable: bool) -> FileStanding {
        let look = FileLook {
            id: CursorId(n),
            path: Path::new(&format!("/l/{n:05}")).into(),
            identity: FileIdentity {
                device: 1,
                inode: n,
            },
            read: 0,
            acknowledged: 0,
            size: behind_bytes,
            modified_ms: 0,
            unfinished_bytes: 0,
            is_over: false,
            problem: (!is_readable).then_some(std::io::ErrorKind::PermissionDenied),
        };
        FileStanding {
            look,
            behind_bytes,
            waiting_since_ms: (behind_bytes > 0).then_some(0),
        }
    }

    #[test]
    fn of_many_files_those_are_listed_that_need_to_be_seen() {
        let mut files: Vec<FileStanding> = (0..10_000).map(|n| file(n, n % 7, true)).collect();
        files[5000] = file(5000, 0, false);
        let listed = shown_files(&files, FilesShown::AtMost(3), 1000);
        let paths: Vec<&str> = listed.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/l/05000", "/l/00006", "/l/00013"]);
        assert_eq!(shown_files(&files, FilesShown::AtMost(0), 1000).len(), 0);
        assert_eq!(shown_files(&files, FilesShown::All, 1000).len(), 10_000);
    }
}
