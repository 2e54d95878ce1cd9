//! One question over the agent's socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::telemetry::status::{FilesShown, Status};

/// Longest wait for the agent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: some hundred thousand files.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("no agent answers at {}: {source}; see whether it runs, with this configuration, and as a user whose socket you may use", path.display())]
    Nobody { path: PathBuf, source: io::Error },
    #[error("the agent at {} broke off: {source}; ask again", path.display())]
    BrokenOff { path: PathBuf, source: io::Error },
    #[error("what answers at {} is no agent of this version: {told}", path.display())]
    Strange { path: PathBuf, told: String },
}

/// What the agent said.
pub struct Answer {
    pub json: String,
}

impl Answer {
    /// The status in it.
    pub fn read(&self) -> serde_json::Result<Status> {
        serde_json::from_str(&self.json)
    }
}

/// Asks for the status.
pub fn status(socket: &Path, shown: FilesShown) -> Result<Answer, Unanswered> {
    let nobody = |source| Unanswered::Nobody {
        path: socket.to_owned(),
        source,
    };
    let broken_off = |source| Unanswered::BrokenOff {
        path: socket.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(socket).map_err(nobody)?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(PATIENCE)).map_err(broken_off)?;
    }
    let query = match shown {
        FilesShown::AtMost(_) => "",
        FilesShown::All => "?files=all",
    };
    write!(
        stream,
        "GET /status{query} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    )
    .map_err(broken_off)?;
    let mut text = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(broken_off)?;
    let strange = |told: &str| Unanswered::Strange {
        path: socket.to_owned(),
        told: told.to_owned(),
    };
    let (head, json) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| strange("no HTTP"))?;
    let first = head.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some("200") => Ok(Answer {
            json: json.to_owned(),
        }),
        _ => Err(strange(first)),
    }
}
