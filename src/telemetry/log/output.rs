//! Where lines go: the log file; if that can't be, a file in `/tmp`; if that can't be either, standard error.
//!
//! Nothing here waits and nothing here fails: a line that can't be written is counted, and the count is the first thing
//! said once writing works again.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use tracing::Level;

use super::file::{FALLBACK_BYTES_MAX, FallbackFile, LogFile, Prepared};
use super::line::{Format, Line};
use crate::telemetry::names;
use crate::telemetry::troubles::{AgentTroubles, Concern};

/// How long the log stays where it fell back to before its own file is tried again.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// What may be wrong with it.
const ELSEWHERE: &str = "log_elsewhere";
const LINES_LOST: &str = "log_lines_lost";

/// What [`Output`] tells of a file that was finished; must not block and must not log.
pub(super) type OnFinished = Box<dyn Fn() + Send>;

/// The log's own file and what stands in for it.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// `None`: standard error alone.
    pub(super) file: Option<PathBuf>,
    pub(super) file_bytes_max: u64,
    pub(super) fallback: PathBuf,
    pub(super) format: Format,
    /// Where it is told that lines go elsewhere, or nowhere.
    pub(super) troubles: AgentTroubles,
}

enum Target {
    File(Box<LogFile>),
    Fallback(FallbackFile),
    Stderr,
}

/// The open end of the log.
pub(super) struct Output {
    places: Places,
    target: Target,
    stderr: Box<dyn Write + Send>,
    on_finished: OnFinished,
    /// When the log's own file is tried again.
    retry_at: Timestamp,
    /// The last line was written in part: the next one begins with a newline.
    is_torn: bool,
    lost: Option<Lost>,
}

/// Lines that could not be written since the last one that was.
struct Lost {
    n_lines: u64,
    cause: io::Error,
}

impl Output {
    /// Opens the log, falling back as far as needed; says so in the first line and on standard error.
    pub(super) fn open(
        places: Places,
        stderr: Box<dyn Write + Send>,
        on_finished: OnFinished,
        now: Timestamp,
    ) -> Output {
        let mut output = Output {
            places,
            target: Target::Stderr,
            stderr,
            on_finished,
            retry_at: now,
            is_torn: false,
            lost: None,
        };
        if let Some(path) = &output.places.file {
            match LogFile::open(path, output.places.file_bytes_max, now) {
                Ok(file) => output.target = Target::File(Box::new(file)),
                Err(error) => output.fall_back(now, &error),
            }
        }
        output
    }

    /// Writes a whole line, newline included, or counts it as lost.
    pub(super) fn write_line(&mut self, now: Timestamp, line: &str) {
        self.prepare(now, line.len());
        if let Some(lost) = &self.lost {
            let message = format!(
                "{} log lines are lost, they could not be written: {}",
                lost.n_lines, lost.cause
            );
            let line = self.note(now, Level::WARN, &message);
            if let Err(error) = self.put(&line) {
                return self.lose(error);
            }
            self.lost = None;
            self.places.troubles.end(LINES_LOST);
        }
        if let Err(error) = self.put(line) {
            self.write_elsewhere(now, line, error);
        }
    }

    /// A line that the target did not take: lost if there is no room now, else to where the log falls back.
    fn write_elsewhere(&mut self, now: Timestamp, line: &str, error: io::Error) {
        let waits_for_room = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WouldBlock
        );
        if waits_for_room || !matches!(self.target, Target::File(_)) {
            return self.lose(error);
        }
        self.fall_back(now, &error);
        if let Err(error) = self.put(line) {
            self.lose(error);
        }
    }

    /// Rolls the file if it is time, goes back to it if it can be had again, and says either.
    fn prepare(&mut self, now: Timestamp, line_bytes: usize) {
        match &mut self.target {
            Target::File(file) => match file.prepare(now, line_bytes) {
                Ok(Prepared::Ready) => {}
                Ok(Prepared::Rolled) => {
                    self.is_torn = false;
                    (self.on_finished)();
                }
                Ok(Prepared::NotRolled(error)) => self.say_not_rolled(now, &error),
                Err(error) => self.fall_back(now, &error),
            },
            Target::Fallback(_) | Target::Stderr if now >= self.retry_at => self.go_back(now),
            Target::Fallback(_) | Target::Stderr => {}
        }
    }

    fn say_not_rolled(&mut self, now: Timestamp, error: &io::Error) {
        let message = format!(
            "can't rename the finished log file: {error}; lines go on in it and it is emptied at {} bytes; let the \
             agent's user write in its folder",
            self.places.file_bytes_max
        );
        self.put_note(now, Level::WARN, &message);
    }

    fn fall_back(&mut self, now: Timestamp, error: &io::Error) {
        let Some(path) = &self.places.file else {
            return;
        };
        let fallback = &self.places.fallback;
        let problem = format!("can't write the log {}: {error}", path.display());
        let (target, message, now_in) = match FallbackFile::open(fallback) {
            Ok(file) => (
                Target::Fallback(file),
                format!(
                    "{problem}; until it can be written lines go to {}, at most {FALLBACK_BYTES_MAX} bytes",
                    fallback.display()
                ),
                fallback.display().to_string(),
            ),
            Err(fallback_error) => (
                Target::Stderr,
                format!(
                    "{problem}; nor {}: {fallback_error}; until the log can be written lines go to standard error",
                    fallback.display()
                ),
                "standard error".to_owned(),
            ),
        };
        let remedy = format!(
            "let the agent's user write there; until it can be written lines go to {now_in}"
        );
        self.places
            .troubles
            .begin(ELSEWHERE, Concern::Keeping, (&problem, &remedy));
        self.target = target;
        self.is_torn = false;
        self.retry_at = now.saturating_add(RETRY_AFTER).unwrap_or(Timestamp::MAX);
        let line = self.note(now, Level::ERROR, &message);
        if let Target::Fallback(_) = self.target {
            let _ = self.put(&line);
        }
        // What standard error doesn't take is in the fallback file, or is lost with everything else.
        let _ = self.stderr.write_all(line.as_bytes());
    }

    fn go_back(&mut self, now: Timestamp) {
        let Some(path) = &self.places.file else {
            return;
        };
        match LogFile::open(path, self.places.file_bytes_max, now) {
            Ok(file) => {
                let was_in = match &self.target {
                    Target::Fallback(_) => self.places.fallback.display().to_string(),
                    Target::File(_) | Target::Stderr => "standard error".to_owned(),
                };
                self.target = Target::File(Box::new(file));
                self.is_torn = false;
                self.places.troubles.end(ELSEWHERE);
                let message =
                    format!("the log can be written again; lines before this one went to {was_in}");
                self.put_note(now, Level::WARN, &message);
            }
            Err(_) => self.retry_at = now.saturating_add(RETRY_AFTER).unwrap_or(Timestamp::MAX),
        }
    }

    /// Writes the bytes of one line.
    fn put(&mut self, line: &str) -> io::Result<()> {
        let writer: &mut dyn Write = match &mut self.target {
            Target::File(file) => file.as_mut(),
            Target::Fallback(file) => file,
            Target::Stderr => self.stderr.as_mut(),
        };
        if self.is_torn {
            write_whole(writer, b"\n").map_err(|torn| torn.error)?;
            self.is_torn = false;
        }
        write_whole(writer, line.as_bytes()).map_err(|torn| {
            self.is_torn = torn.n_bytes > 0;
            torn.error
        })
    }

    /// Writes a line of our own, which isn't counted if it is lost.
    fn note(&self, now: Timestamp, level: Level, message: &str) -> String {
        let line = Line {
            at: now,
            thread: names::THREAD_MAIN,
            logger: names::LOG,
            level,
            message,
        };
        line.written(self.places.format)
    }

    fn put_note(&mut self, now: Timestamp, level: Level, message: &str) {
        let line = self.note(now, level, message);
        let _ = self.put(&line);
    }

    fn lose(&mut self, cause: io::Error) {
        let n_lines = self.lost.as_ref().map_or(0, |lost| lost.n_lines) + 1;
        let problem = format!("{n_lines} log lines are lost, they could not be written: {cause}");
        let remedy = "make room for the log, or see that what it is written to is read";
        self.places
            .troubles
            .begin(LINES_LOST, Concern::Keeping, (&problem, remedy));
        self.lost = Some(Lost { n_lines, cause });
    }
}

/// A write that ended early, after `n_bytes`.
struct Torn {
    n_bytes: usize,
    error: io::Error,
}

fn write_whole(writer: &mut dyn Write, bytes: &[u8]) -> Result<(), Torn> {
    let mut n_bytes = 0;
    while n_bytes < bytes.len() {
        match writer.write(&bytes[n_bytes..]) {
            Ok(0) => {
                return Err(Torn {
                    n_bytes,
                    error: io::ErrorKind::WriteZero.into(),
                });
            }
            Ok(n) => n_bytes += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Torn { n_bytes, error }),
        }
    }
    Ok(())
}
