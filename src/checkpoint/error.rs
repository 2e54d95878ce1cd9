//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// Who has the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// An agent like this one, with its process id if it could be read.
    Agent(Option<u32>),
    /// A Java process that has the file open: the reference.
    Java(u32),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Agent(Some(pid)) => write!(f, "another kinesis-agent (process {pid})"),
            Holder::Agent(None) => f.write_str("another kinesis-agent"),
            Holder::Java(pid) => write!(
                f,
                "a Java process, probably the AWS Kinesis Agent (process {pid})"
            ),
        }
    }
}

/// Why the checkpoint database couldn't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "checkpoint database {path} is in use by {holder}; stop that one, or set another checkpointFile"
    )]
    Locked { path: PathBuf, holder: Holder },
    #[error(
        "checkpoint database {path} was locked for {waited:?}; close the program that holds it, \
         or raise checkpoints.connectionTimeoutSeconds"
    )]
    Busy { path: PathBuf, waited: Duration },
    #[error(
        "checkpoint database {path} has schema version {found}, this program knows up to {known}; \
         start the newer program that wrote it, or export its checkpoints with that one"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("{path} is a database but not of checkpoints ({why}); set another checkpointFile")]
    Foreign { path: PathBuf, why: String },
    #[error("cannot {doing} {path}: {source}; the agent's user must own the folder and the file")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot open checkpoint database {path}: {source}; {}", remedy(source))]
    Database {
        path: PathBuf,
        source: rusqlite::Error,
    },
}

/// Why the open checkpoint database couldn't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} in {path}: {source}; {}", remedy(source))]
    Database {
        doing: &'static str,
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("cannot {doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "cannot take checkpoints over from {path}, which is damaged: {source}; move it away, and the agent goes on by what \
         it knows itself"
    )]
    DamagedOther {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("checkpoint database {path} is in use by {holder}; stop that one first")]
    InUse { path: PathBuf, holder: Holder },
    #[error("{path} exists already and may have a journal; name a new file")]
    Exists { path: PathBuf },
    #[error("the checkpoint writer has stopped; restart the agent")]
    WriterStopped,
}

impl Error {
    /// Whether another program has the database: once that has ended all may be well.
    pub fn is_in_use(&self) -> bool {
        match self {
            Error::InUse { .. } => true,
            Error::Database { source, .. } => is_busy(source),
            Error::DamagedOther { .. }
            | Error::Io { .. }
            | Error::Exists { .. }
            | Error::WriterStopped => false,
        }
    }

    /// For `map_err`: the database's refusal, with what was being done.
    pub(super) fn database(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(rusqlite::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Database {
            doing,
            path,
            source,
        }
    }

    /// For `map_err`: the system's refusal, with what was being done.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}

impl OpenError {
    /// For `map_err`: the system's refusal, with what was being done.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io {
            doing,
            path,
            source,
        }
    }
}

/// Whether the file's content is damaged, or never was a database.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Whether someone else held a lock for too long.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "close the program that holds it open"
        }
        Some(ErrorCode::DiskFull) => "make room on its volume",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "restart the agent: it sets the damaged file aside and sends from the start of files rather than lose"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "the agent's user must own the file and its folder"
        }
        _ => "see the system's log for trouble with its volume",
    }
}
