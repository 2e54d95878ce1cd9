//! Facts from outside that a configuration depends on.

use std::io;
use std::path::PathBuf;

/// What a configuration depends on beside its files.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Cores that the agent may use, for `maxSendingThreadsPerCore`.
    pub cores: usize,
    /// `AWS_CBOR_DISABLE` is set.
    pub cbor_disabled: bool,
    /// The working directory, absolute: what relative paths are relative to.
    pub cwd: PathBuf,
}

impl Environment {
    /// That of this process.
    ///
    /// # Errors
    ///
    /// The working directory no longer exists or can't be seen.
    pub fn of_process() -> io::Result<Environment> {
        let cbor_disabled = std::env::var("AWS_CBOR_DISABLE")
            .is_ok_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false"));
        Ok(Environment {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cbor_disabled,
            cwd: std::env::current_dir()?,
        })
    }
}
