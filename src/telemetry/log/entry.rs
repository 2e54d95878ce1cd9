//! Something to say: a line but for its time.

use tracing::Level;

/// What the log is to say, as a value: pure code makes it, [`Entry::emit`] says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub level: Level,
    pub thread: String,
    pub logger: &'static str,
    pub message: String,
}

impl Entry {
    pub fn new(
        level: Level,
        thread: impl Into<String>,
        logger: &'static str,
        message: impl Into<String>,
    ) -> Entry {
        Entry {
            level,
            thread: thread.into(),
            logger,
            message: message.into(),
        }
    }

    /// Says it, if the log wants this level.
    pub fn emit(&self) {
        let (thread, logger, message) = (self.thread.as_str(), self.logger, &self.message);
        match self.level {
            Level::ERROR => tracing::error!(thread, logger, "{message}"),
            Level::WARN => tracing::warn!(thread, logger, "{message}"),
            Level::INFO => tracing::info!(thread, logger, "{message}"),
            Level::DEBUG => tracing::debug!(thread, logger, "{message}"),
            Level::TRACE => tracing::trace!(thread, logger, "{message}"),
        }
    }
}
