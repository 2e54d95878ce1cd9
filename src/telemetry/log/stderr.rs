//! The standard error stream, for a writer that must not wait.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long one line may wait for a reader that is slow, in ms. Once it waited in vain the next ones don't wait at all,
/// until the reader is back.
const PATIENCE_MS: i64 = 100;

/// Most bytes written at once: what a pipe takes without waiting once it says that it can be written to (`PIPE_BUF`).
const PIECE_BYTES_MAX: usize = 4096;

/// Standard error; a terminal that is stopped or a pipe that nobody reads costs lines and no time.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    is_stuck: bool,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: if self.is_stuck {
                0
            } else {
                PATIENCE_MS * 1_000_000
            },
        };
        let n_ready = poll(
            &mut [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::OUT)],
            Some(&patience),
        )?;
        self.is_stuck = n_ready == 0;
        if self.is_stuck {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stderr
            .lock()
            .write(&bytes[..bytes.len().min(PIECE_BYTES_MAX)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
