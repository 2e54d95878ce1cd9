//! A stream, such as standard error, for a writer that must not wait.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long one piece may wait for a reader that is slow, in ms. Once it waited in vain the next ones don't wait at
/// all, until the reader is back.
const PATIENCE_MS: i64 = 100;

/// Most bytes written at once: what a pipe takes without waiting once it says that it can be written to (`PIPE_BUF`).
const PIECE_BYTES_MAX: usize = 4096;

/// A stream of which a terminal that is stopped or a pipe that nobody reads costs lines and hardly any time.
///
/// Its descriptor may be shared with other programs, so it isn't made non-blocking: it is asked before each write.
#[derive(Debug)]
pub(super) struct Unhurried<W> {
    stream: W,
    is_stuck: bool,
}

impl<W: Write + AsFd> Unhurried<W> {
    pub(super) fn new(stream: W) -> Unhurried<W> {
        Unhurried {
            stream,
            is_stuck: false,
        }
    }
}

impl<W: Write + AsFd> Write for Unhurried<W> {
    /// Writes a piece of `bytes`; [`io::ErrorKind::WouldBlock`] if the stream doesn't take it soon.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience_ms = if self.is_stuck { 0 } else { PATIENCE_MS };
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: patience_ms * 1_000_000,
        };
        let asked = PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::OUT);
        let n_ready = poll(&mut [asked], Some(&patience))?;
        self.is_stuck = n_ready == 0;
        if self.is_stuck {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream
            .write(&bytes[..bytes.len().min(PIECE_BYTES_MAX)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_refuses_and_takes_again_when_it_is_read() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut stream = Unhurried::new(writer);
        let mut n_bytes = 0;
        let refusal = loop {
            match stream.write(&[b'x'; 10_000]) {
                Ok(n) => n_bytes += n,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(refusal, io::ErrorKind::WouldBlock);
        assert_eq!(
            stream.write(b"x").map_err(|e| e.kind()),
            Err(io::ErrorKind::WouldBlock)
        );
        reader
            .read_exact(&mut vec![0; n_bytes])
            .expect("what was written");
        assert_eq!(stream.write(b"again").map_err(|e| e.kind()), Ok(5));
        drop(reader);
        assert_eq!(
            stream.write(b"x").map_err(|e| e.kind()),
            Err(io::ErrorKind::BrokenPipe)
        );
    }
}
