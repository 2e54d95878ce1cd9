//! Reads under TLS by large pieces.
//!
//! rustls asks for 4 KiB at a time, and an answer about 500 records has some 40: nearly ten system calls for each call that
//! is made. What is read beyond what was asked for is kept until it is, which is at once.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// What is read at once: most answers in two pieces.
const READ_BYTES: usize = 32 * 1024;

thread_local! {
    /// What is read into: hundreds of connections may wait for their answers, and none of them needs room until it has one.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Connects as another does, to what is read by large pieces.
#[derive(Clone)]
pub struct ByLargeReads<C>(pub C);

impl<C> Service<Uri> for ByLargeReads<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = ReadAhead<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            Ok(ReadAhead {
                io: connecting.await?,
                kept: Bytes::new(),
            })
        })
    }
}

/// A connection of which more is read than is asked for.
pub struct ReadAhead<T> {
    io: T,
    /// What wasn't asked for yet.
    kept: Bytes,
}

impl<T: Read + Unpin> Read for ReadAhead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut wanted: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.kept.is_empty() {
            let n = self.kept.len().min(wanted.remaining());
            wanted.put_slice(&self.kept[..n]);
            self.kept.advance(n);
            return Poll::Ready(Ok(()));
        }
        if wanted.remaining() >= READ_BYTES {
            return Pin::new(&mut self.io).poll_read(cx, wanted);
        }
        let mut room = ROOM.take();
        room.resize(READ_BYTES, 0);
        let mut read = ReadBuf::new(&mut room);
        let polled = Pin::new(&mut self.io).poll_read(cx, read.unfilled());
        let (now, later) = read
            .filled()
            .split_at(read.filled().len().min(wanted.remaining()));
        wanted.put_slice(now);
        self.kept = Bytes::copy_from_slice(later);
        ROOM.set(room);
        polled
    }
}

impl<T: Write + Unpin> Write for ReadAhead<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: Connection> Connection for ReadAhead<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// What comes in, piece by piece; `None` is a moment in which nothing is there yet.
    struct Coming {
        pieces: VecDeque<Option<Vec<u8>>>,
        n_reads: usize,
    }

    impl Read for Coming {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut wanted: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            self.n_reads += 1;
            match self.pieces.pop_front() {
                Some(None) => Poll::Pending,
                Some(Some(mut piece)) => {
                    let n = piece.len().min(wanted.remaining());
                    wanted.put_slice(&piece[..n]);
                    if n < piece.len() {
                        self.pieces.push_front(Some(piece.split_off(n)));
                    }
                    Poll::Ready(Ok(()))
                }
                None => Poll::Ready(Ok(())),
            }
        }
    }

    fn of(pieces: Vec<Option<Vec<u8>>>) -> ReadAhead<Coming> {
        ReadAhead {
            io: Coming {
                pieces: pieces.into(),
                n_reads: 0,
            },
            kept: Bytes::new(),
        }
    }

    /// All that comes, asked for in portions of these sizes, one after the other and again.
    fn read_all(from: &mut ReadAhead<Coming>, portions: &[usize]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for portion in portions.iter().cycle() {
            let mut room = vec![0; *portion];
            let mut read = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut *from).poll_read(&mut cx, read.unfilled());
            match polled {
                Poll::Pending => assert_eq!(read.filled(), b""),
                Poll::Ready(_) if read.filled().is_empty() => break,
                Poll::Ready(_) => all.extend_from_slice(read.filled()),
            }
        }
        all
    }

    #[test]
    fn an_answer_takes_few_reads_however_little_is_asked_for_at_once() {
        let answer = vec![b'x'; 40_000];
        let mut from = of(vec![Some(answer.clone())]);
        assert_eq!(read_all(&mut from, &[4096]), answer);
        assert_eq!(from.io.n_reads, 3, "two, and one that finds the end");
    }

    proptest! {
        #[test]
        fn what_comes_is_what_is_read(
            pieces in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 1..3 * READ_BYTES)), 0..6),
            portions in prop::collection::vec(prop_oneof![1_usize..9000, Just(READ_BYTES), Just(2 * READ_BYTES)], 1..5),
        ) {
            let expected: Vec<u8> = pieces.iter().flatten().flatten().copied().collect();
            prop_assert_eq!(read_all(&mut of(pieces), &portions), expected);
        }
    }
}
