//! The agent's own log, in the reference's line format.
//!
//! [`install`] makes a [`LogLayer`] the program's subscriber. Every event of this crate at the chosen level becomes one
//! [line](mod@line); other crates (the SDK, HTTP) may only say warnings, and these count as DEBUG: what matters in them an event
//! of ours says in the operator's words. Lines go to a file that is finished each hour and compressed in the background,
//! or where that can't be to what stands in for it.
//!
//! An event names its `thread` and its `logger` as fields, or has those of the operating system's thread and of its
//! module; further fields stand behind the message.

mod archive;
mod entry;
mod file;
pub mod line;
mod output;
mod unhurried;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use self::archive::{Archive, Archivist, Names};
pub use self::line::Format;
use self::line::{Line, push_field};
use self::output::{OnFinished, Output, Places};
use self::unhurried::Unhurried;
use super::names;
use super::troubles::AgentTroubles;

pub use self::archive::ArchiveLimits;
pub use self::entry::Entry;

/// The reference's log file, where configuration of other programs (log shippers, support scripts) expects it.
pub const FILE: &str = "/var/log/aws-kinesis-agent/aws-kinesis-agent.log";
/// Where the log goes if its folder can't be written.
pub const FALLBACK: &str = "/tmp/fallback-aws-kinesis-agent.log";
/// The environment variable that chooses the level.
pub const LEVEL_VARIABLE: &str = "AGENT_LOG_LEVEL";
/// Size at which a file is finished before its hour is over; a DEBUG log of a busy agent is far below it.
pub const FILE_BYTES_MAX: u64 = 200 * 1024 * 1024;
/// Size of all finished files together.
pub const TOTAL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long finished files stay.
pub const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, finished each hour.
    File(PathBuf),
    /// Standard error, for an agent started by hand.
    Terminal,
}

/// How the log is kept.
#[derive(Clone)]
pub struct LogOptions {
    /// Where lines go (`log.file`).
    pub destination: Destination,
    /// The form of lines (`log.format`).
    pub format: Format,
    /// The least important level that is written (`log.level`).
    pub level: Level,
    /// Size at which a file is finished before its hour is over (`log.maxFileSize`).
    pub file_bytes_max: u64,
    /// How many finished files stay and for how long (`log.maxBackupIndex` is `files_max`).
    pub archive: ArchiveLimits,
    /// Where lines go if the file can't be written.
    pub fallback: PathBuf,
    /// What tells the time of lines and of rotation.
    pub clock: Clock,
    /// Where it is told that lines go elsewhere, or nowhere.
    pub troubles: AgentTroubles,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            destination: Destination::File(PathBuf::from(FILE)),
            format: Format::default(),
            level: Level::INFO,
            file_bytes_max: FILE_BYTES_MAX,
            archive: ArchiveLimits {
                age_max: AGE_MAX,
                total_bytes_max: TOTAL_BYTES_MAX,
                files_max: None,
            },
            fallback: PathBuf::from(FALLBACK),
            clock: Arc::new(Timestamp::now),
            troubles: AgentTroubles::default(),
        }
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("destination", &self.destination)
            .field("format", &self.format)
            .field("level", &self.level)
            .field("file_bytes_max", &self.file_bytes_max)
            .field("archive", &self.archive)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

/// A text that is no log level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is no log level; write one of TRACE, DEBUG, INFO, WARN, ERROR")]
pub struct UnknownLevel(pub String);

/// The level of a name, in any case: `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`.
pub fn level_named(name: &str) -> Result<Level, UnknownLevel> {
    [
        Level::TRACE,
        Level::DEBUG,
        Level::INFO,
        Level::WARN,
        Level::ERROR,
    ]
    .into_iter()
    .find(|level| level.as_str().eq_ignore_ascii_case(name.trim()))
    .ok_or_else(|| UnknownLevel(name.to_owned()))
}

/// The program has a log already.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the log is installed already; a program has one")]
pub struct AlreadyInstalled;

/// Makes the log the program's; from here on every event goes there.
///
/// `environment_level` is the value of [`LEVEL_VARIABLE`]: set and not empty it wins over `options.level`, and a text
/// that is no level is said in the log and has no effect. A file that can't be written is no error: see [`FALLBACK`].
pub fn install(
    options: LogOptions,
    environment_level: Option<&str>,
) -> Result<(), AlreadyInstalled> {
    let (level, unknown) = choose_level(options.level, environment_level);
    let layer = LogLayer::open(LogOptions { level, ..options });
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|_| AlreadyInstalled)?;
    if let Some(error) = unknown {
        tracing::warn!("{LEVEL_VARIABLE}: {error}; {level} is used");
    }
    Ok(())
}

fn choose_level(configured: Level, environment: Option<&str>) -> (Level, Option<UnknownLevel>) {
    match environment
        .filter(|name| !name.trim().is_empty())
        .map(level_named)
    {
        None => (configured, None),
        Some(Ok(level)) => (level, None),
        Some(Err(unknown)) => (configured, Some(unknown)),
    }
}

/// The layer that turns events into lines.
pub struct LogLayer {
    level: Level,
    format: Format,
    clock: Clock,
    output: Mutex<Output>,
}

impl LogLayer {
    /// Opens the log and starts the thread that looks after finished files.
    pub fn open(options: LogOptions) -> LogLayer {
        let archivist = match &options.destination {
            Destination::Terminal => None,
            Destination::File(path) => {
                let archive = Archive {
                    names: Names::of(path),
                    limits: options.archive,
                };
                // Without a thread to spare files stay as they are; the next start finishes them.
                Archivist::start(archive, Arc::clone(&options.clock)).ok()
            }
        };
        let on_finished: OnFinished = Box::new(move || {
            if let Some(archivist) = &archivist {
                archivist.wake();
            }
        });
        LogLayer::with(
            options,
            Box::new(Unhurried::new(std::io::stderr())),
            on_finished,
        )
    }

    fn with(
        options: LogOptions,
        stderr: Box<dyn std::io::Write + Send>,
        on_finished: OnFinished,
    ) -> LogLayer {
        let places = Places {
            file: match options.destination {
                Destination::File(path) => Some(path),
                Destination::Terminal => None,
            },
            file_bytes_max: options.file_bytes_max,
            fallback: options.fallback,
            format: options.format,
            troubles: options.troubles,
        };
        let now = (options.clock)();
        LogLayer {
            level: options.level,
            format: options.format,
            output: Mutex::new(Output::open(places, stderr, on_finished, now)),
            clock: options.clock,
        }
    }

    /// The level that an event has in the log; `None`: it isn't said at all.
    fn level_of(metadata: &Metadata<'_>) -> Option<Level> {
        match (names::is_ours(metadata.target()), *metadata.level()) {
            (true, level) => Some(level),
            (false, Level::ERROR | Level::WARN) => Some(Level::DEBUG),
            (false, _) => None,
        }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        LogLayer::level_of(metadata).is_some_and(|level| level <= self.level)
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(level) = LogLayer::level_of(metadata) else {
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let os_thread = std::thread::current();
        let message = fields.message + &fields.others;
        let now = (self.clock)();
        let line = Line {
            at: now,
            thread: fields
                .thread
                .as_deref()
                .or(os_thread.name())
                .unwrap_or("unnamed"),
            logger: fields
                .logger
                .as_deref()
                .unwrap_or_else(|| names::logger_of(metadata.target())),
            level,
            message: &message,
        };
        // A panic while a line was written leaves at worst a torn line.
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_line(now, &line.written(self.format));
    }
}

/// The fields of an event, sorted by what becomes of them.
#[derive(Default)]
struct Fields {
    message: String,
    thread: Option<String>,
    logger: Option<String>,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            "thread" => self.thread = Some(value.to_owned()),
            "logger" => self.logger = Some(value.to_owned()),
            name => push_field(&mut self.others, name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
