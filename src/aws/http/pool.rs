//! Connections, and those that rest between two requests.
//!
//! A connection is driven by whoever uses it, in the same task: nobody else has to be woken for a request to go out or
//! an answer to come in. Whether one that rests still stands shows when it is taken again, and is seen to now and then.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::time::Instant;

use super::route::Line;

/// What a connection reads at once, and the most its heads may take. A good answer is some 60 KB, of which nothing is
/// kept; the default grows to 400 KB a connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// How often connections that rest are looked at: who was called may have closed them.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// A host, and how it is spoken to.
pub type Host = (Scheme, Authority);

/// A connection that speaks HTTP/1.1: one request at a time.
pub struct Connection {
    requests: http1::SendRequest<SdkBody>,
    /// `None`: it is over. Only when this is dropped does a request that waits in it come back.
    wire: Option<http1::Connection<Line, SdkBody>>,
    /// A proxy reads the requests, which name the host therefore.
    pub is_forwarded: bool,
}

impl Connection {
    /// A connection over a line on which nothing was said yet.
    pub async fn over(line: Line) -> hyper::Result<Connection> {
        let is_forwarded = line.is_forwarded;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES);
        let (requests, wire) = builder.handshake(line).await?;
        Ok(Connection {
            requests,
            wire: Some(wire),
            is_forwarded,
        })
    }

    /// Sends a request; the head of its answer.
    ///
    /// # Errors
    ///
    /// What happened to the connection, with the request if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<SdkBody>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<SdkBody>>>> {
        let sent = self.requests.try_send_request(request);
        self.drive(sent).await.map_err(Box::new)
    }

    /// Waits for something that comes over the connection, which goes on meanwhile.
    pub async fn drive<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            self.go_on(context);
            wanted.as_mut().poll(context)
        })
        .await
    }

    fn go_on(&mut self, context: &mut Context<'_>) {
        if let Some(wire) = &mut self.wire
            && Pin::new(wire).poll(context).is_ready()
        {
            self.wire = None;
        }
    }

    /// Whether it can carry a request now, as far as is known.
    fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        self.go_on(context);
        self.wire.is_some() && self.requests.is_ready()
    }

    /// The same, from within a task.
    async fn can_carry(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.is_ready(context))).await
    }
}

/// The connections that rest.
pub struct Pool {
    idle_timeout: Option<Duration>,
    idle_max: usize,
    resting: Mutex<Resting>,
}

#[derive(Default)]
struct Resting {
    /// Those that were used last are at the end.
    by_host: HashMap<Host, Vec<(Instant, Connection)>>,
    /// Somebody closes those that have rested for too long.
    is_swept: bool,
}

impl Pool {
    /// Keeps `idle_max` connections a host, for `idle_timeout` after their last answer.
    pub fn new(idle_timeout: Option<Duration>, idle_max: usize) -> Arc<Pool> {
        Arc::new(Pool {
            idle_timeout,
            idle_max,
            resting: Mutex::default(),
        })
    }

    /// A connection that rests and still stands.
    pub async fn take(&self, host: &Host) -> Option<Connection> {
        loop {
            let mut connection = self.resting().by_host.get_mut(host)?.pop()?.1;
            if connection.can_carry().await {
                return Some(connection);
            }
        }
    }

    /// Lays a connection to rest, if it can be used again and there is room.
    pub async fn give_back(self: &Arc<Pool>, host: Host, mut connection: Connection) {
        if !connection.can_carry().await {
            return;
        }
        let mut resting = self.resting();
        let to_host = resting.by_host.entry(host).or_default();
        if to_host.len() >= self.idle_max {
            return;
        }
        to_host.push((Instant::now(), connection));
        if !std::mem::replace(&mut resting.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes those that have rested for too long, and drops those that were closed; when to look again.
    fn close_idle(&self, now: Instant, context: &mut Context<'_>) -> Option<Instant> {
        let mut resting = self.resting();
        let end = |since: Instant| self.idle_timeout.map(|timeout| since + timeout);
        resting.by_host.retain(|_, connections| {
            connections.retain_mut(|(since, connection)| {
                end(*since).is_none_or(|end| end > now) && connection.is_ready(context)
            });
            !connections.is_empty()
        });
        let all = resting.by_host.values().flatten();
        let next = all.map(|(since, _)| {
            let look = now + LOOK_INTERVAL;
            end(*since).map_or(look, |end| end.min(look))
        });
        let next = next.min();
        resting.is_swept = next.is_some();
        next
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as connections rest, and the pool is there.
async fn sweep(pool: Weak<Pool>) {
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let look = poll_fn(|context| Poll::Ready(pool.close_idle(Instant::now(), context)));
        let Some(next) = look.await else { return };
        drop(pool);
        tokio::time::sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn request() -> Request<SdkBody> {
        Request::post("/").body(SdkBody::from("body")).unwrap()
    }

    /// A connection that has had an answer, and its other end.
    async fn used() -> (Connection, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(4096);
        let line = Line::to_host(TokioIo::new(near));
        let mut connection = Connection::over(line).await.unwrap();
        let answer = async {
            let mut request = [0; 4096];
            assert!(far.read(&mut request).await.unwrap() > 0);
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
        };
        let (head, answered) = tokio::join!(connection.send(request()), answer);
        assert!(head.is_ok() && answered.is_ok());
        assert!(connection.can_carry().await);
        (connection, far)
    }

    /// It ends between the last look at it and the request.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_a_connection_ends_under_comes_back_unsent() {
        let (mut connection, far) = used().await;
        drop(far);
        let sent = tokio::time::timeout(Duration::from_secs(60), connection.send(request()));
        let mut refused = sent.await.expect("it must not wait").unwrap_err();
        assert!(refused.take_message().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_were_closed_do_not_rest_for_long() {
        let host = || (Scheme::HTTP, Authority::from_static("h"));
        let pool = Pool::new(None, 8);
        let (connection, far) = used().await;
        pool.give_back(host(), connection).await;
        let (connection, closed) = used().await;
        pool.give_back(host(), connection).await;
        tokio::time::sleep(LOOK_INTERVAL * 3).await;
        assert_eq!(pool.resting().by_host.values().flatten().count(), 2);
        drop(closed);
        tokio::time::sleep(LOOK_INTERVAL * 2).await;
        assert_eq!(pool.resting().by_host.values().flatten().count(), 1);
        drop(far);
        tokio::time::sleep(LOOK_INTERVAL * 2).await;
        let resting = pool.resting();
        assert!(resting.by_host.is_empty() && !resting.is_swept);
    }
}
