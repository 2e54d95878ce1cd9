//! Finished log files: their names, their compression and how long they stay.
//!
//! The writer only renames; everything that takes time happens here, in a thread of its own. One [`Archive::sweep`]
//! looks at the folder as it is and brings it into shape, so what a crash left behind is finished by the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::Clock;

const SECONDS_AN_HOUR: i64 = 3600;

/// An hour of the log, counted from the epoch in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour(i64);

impl Hour {
    pub(super) fn of(at: Timestamp) -> Hour {
        Hour(at.as_second().div_euclid(SECONDS_AN_HOUR))
    }

    /// Whether the hour ended more than `age` before `now`.
    fn is_older_than(self, age: Duration, now: Timestamp) -> bool {
        let ended_s = (self.0 + 1) * SECONDS_AN_HOUR;
        let age_s = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        now.as_second() - ended_s > age_s
    }

    /// `yyyy-MM-dd-HH`
    fn to_text(self) -> String {
        let start =
            Timestamp::from_second(self.0 * SECONDS_AN_HOUR).unwrap_or(Timestamp::UNIX_EPOCH);
        let civil = Offset::UTC.to_datetime(start);
        format!(
            "{:04}-{:02}-{:02}-{:02}",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour()
        )
    }

    fn parse(text: &str) -> Option<Hour> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<i16>().ok())?
        };
        let (year, month, day, hour) = (number(4)?, number(2)?, number(2)?, number(2)?);
        if parts.next().is_some() {
            return None;
        }
        let narrow = |n: i16| i8::try_from(n).ok();
        let civil =
            DateTime::new(year, narrow(month)?, narrow(day)?, narrow(hour)?, 0, 0, 0).ok()?;
        Some(Hour::of(Offset::UTC.to_timestamp(civil).ok()?))
    }
}

/// A finished file, as its name tells: `STEM-yyyy-MM-dd-HH.log`, or with `.N` before the suffix where an hour has more
/// than one; `.gz` at the end once it is compressed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finished {
    hour: Hour,
    number: u32,
    compressed: bool,
}

/// The names that belong to one log.
#[derive(Debug, Clone)]
pub(super) struct Names {
    folder: PathBuf,
    /// `aws-kinesis-agent`
    stem: String,
    /// `.log`, or nothing
    suffix: String,
}

impl Names {
    /// The names of the log at `path`.
    pub(super) fn of(path: &Path) -> Names {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Names {
            folder,
            stem: text(path.file_stem()).unwrap_or_default(),
            suffix: text(path.extension())
                .map(|e| format!(".{e}"))
                .unwrap_or_default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name for the file that holds `hour`, which no finished file has yet, compressed or not.
    pub(super) fn free(&self, hour: Hour) -> PathBuf {
        let taken = |number| {
            [false, true].into_iter().any(|compressed| {
                fs::symlink_metadata(self.path(&Finished {
                    hour,
                    number,
                    compressed,
                }))
                .is_ok()
            })
        };
        let number = (0..u32::MAX)
            .find(|&number| !taken(number))
            .unwrap_or(u32::MAX);
        self.path(&Finished {
            hour,
            number,
            compressed: false,
        })
    }

    fn path(&self, finished: &Finished) -> PathBuf {
        let number = if finished.number == 0 {
            String::new()
        } else {
            format!(".{}", finished.number)
        };
        let gz = if finished.compressed { ".gz" } else { "" };
        self.folder.join(format!(
            "{}-{}{number}{}{gz}",
            self.stem,
            finished.hour.to_text(),
            self.suffix
        ))
    }

    fn parse(&self, name: &str) -> Option<Finished> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let (rest, compressed) = match rest.strip_suffix(".gz") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let rest = rest.strip_suffix(&self.suffix)?;
        let (hour, number) = match rest.split_once('.') {
            Some((hour, number)) => (hour, number.parse().ok().filter(|&n| n > 0)?),
            None => (rest, 0),
        };
        Some(Finished {
            hour: Hour::parse(hour)?,
            number,
            compressed,
        })
    }
}

/// How many finished files stay, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Files whose hour ended longer ago are deleted.
    pub age_max: Duration,
    /// Size of all finished files together; the oldest are deleted beyond it.
    pub total_bytes_max: u64,
    /// Number of finished files; `None`: no limit.
    pub files_max: Option<usize>,
}

/// What a sweep could not do: which file and why.
#[derive(Debug)]
pub(super) struct SweepFailure {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// The finished files of one log.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    pub(super) names: Names,
    pub(super) limits: ArchiveLimits,
}

impl Archive {
    /// Compresses what is finished and deletes what is too old or too much. Goes on after a failure and returns all.
    pub(super) fn sweep(&self, now: Timestamp) -> Vec<SweepFailure> {
        let mut failures = Vec::new();
        let mut fail = |path: &Path, error| {
            failures.push(SweepFailure {
                path: path.to_path_buf(),
                error,
            })
        };

        let mut finished = match self.list() {
            Ok(finished) => finished,
            // No folder, no finished files; whether the log can be written is not asked here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return failures,
            Err(error) => {
                fail(self.names.folder(), error);
                return failures;
            }
        };
        finished.retain(|(file, path)| {
            if !file.hour.is_older_than(self.limits.age_max, now) {
                return true;
            }
            if let Err(error) = fs::remove_file(path) {
                fail(path, error);
            }
            false
        });
        for (file, path) in finished.iter_mut().filter(|(file, _)| !file.compressed) {
            let compressed = Finished {
                compressed: true,
                ..file.clone()
            };
            let target = self.names.path(&compressed);
            match compress(path, &target) {
                Ok(()) => (*file, *path) = (compressed, target),
                Err(error) => fail(path, error),
            }
        }
        // A file that a crash left both plain and compressed now stands in the list twice.
        finished.sort();
        finished.dedup();
        self.enforce_totals(&finished, &mut fail);
        failures
    }

    /// Deletes the oldest of `finished` (oldest first) until number and size hold.
    fn enforce_totals(
        &self,
        finished: &[(Finished, PathBuf)],
        fail: &mut impl FnMut(&Path, io::Error),
    ) {
        let files_max = self.limits.files_max.unwrap_or(usize::MAX);
        let mut total_bytes = 0u64;
        for (n_kept, (_, path)) in finished.iter().rev().enumerate() {
            let size_bytes = fs::symlink_metadata(path).map_or(0, |m| m.len());
            total_bytes = total_bytes.saturating_add(size_bytes);
            if n_kept < files_max && total_bytes <= self.limits.total_bytes_max {
                continue;
            }
            if let Err(error) = fs::remove_file(path) {
                fail(path, error);
            }
        }
    }

    /// The finished files in the folder, oldest first; half-written compressed files are deleted on the way.
    fn list(&self) -> io::Result<Vec<(Finished, PathBuf)>> {
        let mut finished = Vec::new();
        for entry in fs::read_dir(&self.names.folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(half_written) = name.strip_suffix(PARTIAL)
                && self.names.parse(half_written).is_some()
            {
                fs::remove_file(entry.path())?;
            } else if let Some(file) = self.names.parse(name) {
                finished.push((file, entry.path()));
            }
        }
        finished.sort();
        Ok(finished)
    }
}

/// What stands behind the name of a compressed file that isn't complete.
const PARTIAL: &str = ".tmp";

/// Writes `source` compressed to `target`, then deletes `source`. At every moment one of them is complete.
fn compress(source: &Path, target: &Path) -> io::Result<()> {
    let partial = PathBuf::from(format!("{}{PARTIAL}", target.display()));
    let written = write_compressed(source, &partial).and_then(|()| fs::rename(&partial, target));
    match written {
        Ok(()) => fs::remove_file(source),
        Err(error) => {
            // The next sweep deletes it if this fails.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

fn write_compressed(source: &Path, partial: &Path) -> io::Result<()> {
    let plain = File::open(source)?;
    let mode = plain.metadata()?.permissions().mode() & 0o777;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(partial)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let mut encoder = GzEncoder::new(BufWriter::new(file), Compression::fast());
    io::copy(
        &mut BufReader::with_capacity(128 * 1024, plain),
        &mut encoder,
    )?;
    let mut buffered = encoder.finish()?;
    buffered.flush()?;
    // The plain file is deleted next; after a power cut one of the two must be whole.
    buffered.get_ref().sync_all()
}

/// A way to tell the archive's thread that a file is finished; never blocks.
#[derive(Debug, Clone)]
pub(super) struct Archivist(SyncSender<()>);

impl Archivist {
    /// Starts the thread, which sweeps once at once and then whenever it is told to. It ends with its last sender.
    pub(super) fn start(archive: Archive, clock: Clock) -> io::Result<Archivist> {
        let (sender, receiver) = sync_channel(1);
        std::thread::Builder::new()
            .name("log-archive".into())
            .spawn(move || run(&archive, &clock, &receiver))?;
        let archivist = Archivist(sender);
        archivist.wake();
        Ok(archivist)
    }

    /// Asks for a sweep. One that is already asked for sees this file too, so a full channel is as good.
    pub(super) fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

fn run(archive: &Archive, clock: &Clock, wakes: &Receiver<()>) {
    while wakes.recv().is_ok() {
        for SweepFailure { path, error } in archive.sweep(clock()) {
            tracing::warn!(
                "can't tidy up the finished log file {}: {error}; it is tried again with the next one",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NO_LIMITS: ArchiveLimits = ArchiveLimits {
        age_max: Duration::from_secs(u64::MAX / 4),
        total_bytes_max: u64::MAX,
        files_max: None,
    };

    fn archive(folder: &Path, limits: ArchiveLimits) -> Archive {
        Archive {
            names: Names::of(&folder.join("aws-kinesis-agent.log")),
            limits,
        }
    }

    fn listing(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the test's folder");
        let mut names: Vec<String> = entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    fn gunzipped(path: &Path) -> String {
        let mut text = String::new();
        GzDecoder::new(File::open(path).expect("a compressed file"))
            .read_to_string(&mut text)
            .expect("gzip");
        text
    }

    #[test]
    fn names_of_finished_files_are_read_back() {
        let names = Names::of(Path::new("/l/aws-kinesis-agent.log"));
        let at = |text: &str| Hour::of(text.parse().expect("a time"));
        for (name, expected) in [
            (
                "aws-kinesis-agent-2026-11-21-05.log",
                Some((at("2026-11-21T05:59:59Z"), 0, false)),
            ),
            (
                "aws-kinesis-agent-2026-11-21-05.log.gz",
                Some((at("2026-11-21T05:00:00Z"), 0, true)),
            ),
            (
                "aws-kinesis-agent-2026-11-21-05.12.log.gz",
                Some((at("2026-11-21T05:00:00Z"), 12, true)),
            ),
            ("aws-kinesis-agent.log", None),
            ("aws-kinesis-agent-2026-11-21.log.gz", None),
            ("aws-kinesis-agent-2026-11-21-24.log.gz", None),
            ("aws-kinesis-agent-2026-13-21-05.log.gz", None),
            ("aws-kinesis-agent-2026-11-21-05.0.log.gz", None),
            ("aws-kinesis-agent-2026-11-21-05.x.log.gz", None),
            ("aws-kinesis-agent-2026-11-21-05-06.log.gz", None),
            ("aws-kinesis-agent-2026-11-21-05.log.gz.tmp", None),
            ("other-2026-11-21-05.log.gz", None),
        ] {
            let parsed = names.parse(name);
            let expected = expected.map(|(hour, number, compressed)| Finished {
                hour,
                number,
                compressed,
            });
            assert_eq!(parsed, expected, "{name}");
            if let Some(finished) = parsed {
                assert_eq!(names.path(&finished), Path::new("/l").join(name));
            }
        }
    }

    #[test]
    fn a_log_without_suffix_or_folder_has_names_too() {
        let names = Names::of(Path::new("agent"));
        let hour = Hour::of("2026-11-21T05:00:00Z".parse().expect("a time"));
        assert_eq!(
            names.path(&Finished {
                hour,
                number: 0,
                compressed: true
            }),
            Path::new("./agent-2026-11-21-05.gz")
        );
        assert_eq!(
            names.parse("agent-2026-11-21-05.1.gz"),
            Some(Finished {
                hour,
                number: 1,
                compressed: true
            })
        );
    }

    #[test]
    fn a_sweep_finishes_what_a_crash_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write("aws-kinesis-agent.log", "now");
        write("aws-kinesis-agent-2026-11-21-05.log", "five");
        write("aws-kinesis-agent-2026-11-21-05.1.log", "five again");
        write("aws-kinesis-agent-2026-11-21-04.log", "four, whole");
        write(
            "aws-kinesis-agent-2026-11-21-04.log.gz",
            "four, an older attempt",
        );
        write("aws-kinesis-agent-2026-11-21-03.log.gz.tmp", "half");
        write("notes.txt", "not ours");

        // The hour from 04:00 is there in both forms and is one file all the same.
        let three_files = ArchiveLimits {
            files_max: Some(3),
            ..NO_LIMITS
        };
        let failures = archive(folder.path(), three_files)
            .sweep("2026-11-21T06:00:00Z".parse().expect("a time"));

        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(
            listing(folder.path()),
            [
                "aws-kinesis-agent-2026-11-21-04.log.gz",
                "aws-kinesis-agent-2026-11-21-05.1.log.gz",
                "aws-kinesis-agent-2026-11-21-05.log.gz",
                "aws-kinesis-agent.log",
                "notes.txt",
            ]
        );
        let text = |name: &str| gunzipped(&folder.path().join(name));
        assert_eq!(text("aws-kinesis-agent-2026-11-21-05.log.gz"), "five");
        assert_eq!(
            text("aws-kinesis-agent-2026-11-21-05.1.log.gz"),
            "five again"
        );
        assert_eq!(
            text("aws-kinesis-agent-2026-11-21-04.log.gz"),
            "four, whole"
        );
    }

    #[test]
    fn files_go_when_they_are_older_than_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "aws-kinesis-agent-2026-11-13-23.log.gz",
            "aws-kinesis-agent-2026-11-14-04.log",
            "aws-kinesis-agent-2026-11-14-05.log.gz",
            "other-2020-01-01-00.log.gz",
        ] {
            fs::write(folder.path().join(name), "x").expect("a file");
        }
        let limits = ArchiveLimits {
            age_max: 7 * DAY,
            ..NO_LIMITS
        };
        // The hour from 05:00 ended at 06:00, seven days ago to the second: it stays.
        let failures =
            archive(folder.path(), limits).sweep("2026-11-21T06:00:00Z".parse().expect("a time"));
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(
            listing(folder.path()),
            [
                "aws-kinesis-agent-2026-11-14-05.log.gz",
                "other-2020-01-01-00.log.gz"
            ]
        );
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many_or_too_many_bytes() {
        for (limits, kept) in [
            (
                ArchiveLimits {
                    total_bytes_max: 25,
                    ..NO_LIMITS
                },
                vec!["02", "03"],
            ),
            (
                ArchiveLimits {
                    total_bytes_max: 30,
                    ..NO_LIMITS
                },
                vec!["01", "02", "03"],
            ),
            (
                ArchiveLimits {
                    total_bytes_max: 9,
                    ..NO_LIMITS
                },
                vec![],
            ),
            (
                ArchiveLimits {
                    files_max: Some(1),
                    ..NO_LIMITS
                },
                vec!["03"],
            ),
            (
                ArchiveLimits {
                    files_max: Some(0),
                    ..NO_LIMITS
                },
                vec![],
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            for hour in ["01", "02", "03"] {
                let name = format!("aws-kinesis-agent-2026-11-21-{hour}.log.gz");
                fs::write(folder.path().join(name), "0123456789").expect("a file");
            }
            let failures = archive(folder.path(), limits)
                .sweep("2026-11-21T06:00:00Z".parse().expect("a time"));
            assert!(failures.is_empty(), "{failures:?}");
            let expected: Vec<String> = kept
                .iter()
                .map(|hour| format!("aws-kinesis-agent-2026-11-21-{hour}.log.gz"))
                .collect();
            assert_eq!(listing(folder.path()), expected, "{limits:?}");
        }
    }

    #[test]
    fn a_folder_that_is_gone_holds_nothing_and_one_that_cannot_be_listed_is_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = archive(&folder.path().join("gone"), NO_LIMITS);
        assert!(gone.sweep(Timestamp::UNIX_EPOCH).is_empty());
        fs::write(folder.path().join("file"), "").expect("a file");
        let failures = archive(&folder.path().join("file"), NO_LIMITS).sweep(Timestamp::UNIX_EPOCH);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_file_that_cannot_be_compressed_stays_and_the_others_are_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let stays = "aws-kinesis-agent-2026-11-21-04.log";
        fs::write(folder.path().join(stays), "four").expect("a file");
        fs::write(
            folder.path().join("aws-kinesis-agent-2026-11-21-05.log"),
            "five",
        )
        .expect("a file");
        // A folder where the compressed file should go.
        fs::create_dir(folder.path().join("aws-kinesis-agent-2026-11-21-04.log.gz"))
            .expect("a folder");
        let failures = archive(folder.path(), NO_LIMITS)
            .sweep("2026-11-21T06:00:00Z".parse().expect("a time"));
        assert_eq!(
            failures.iter().map(|f| f.path.clone()).collect::<Vec<_>>(),
            [folder.path().join(stays)]
        );
        assert_eq!(
            listing(folder.path()),
            [
                stays,
                "aws-kinesis-agent-2026-11-21-04.log.gz",
                "aws-kinesis-agent-2026-11-21-05.log.gz"
            ]
        );
    }

    #[test]
    fn a_free_name_is_one_that_neither_form_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::of(&folder.path().join("aws-kinesis-agent.log"));
        let hour = Hour::of("2026-11-21T05:30:00Z".parse().expect("a time"));
        let mut seen = Vec::new();
        for suffix in ["", ".gz", ""] {
            let free = names.free(hour);
            fs::write(format!("{}{suffix}", free.display()), "x").expect("a file");
            seen.push(
                free.file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        assert_eq!(
            seen,
            [
                "aws-kinesis-agent-2026-11-21-05.log",
                "aws-kinesis-agent-2026-11-21-05.1.log",
                "aws-kinesis-agent-2026-11-21-05.2.log"
            ]
        );
    }
}
