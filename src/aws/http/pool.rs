//! Connections, and those that rest between two requests.
//!
//! A connection is driven by whoever uses it, in the same task: nobody else has to be woken for a request to go out or
//! an answer to come in. One that rests isn't looked at; whether it still stands shows when it is taken again.

use std::collections::HashMap;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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

/// A host, and how it is spoken to.
pub type Host = (Scheme, Authority);

/// A connection that speaks HTTP/1.1: one request at a time.
pub struct Connection {
    requests: http1::SendRequest<SdkBody>,
    wire: http1::Connection<Line, SdkBody>,
    is_over: bool,
    /// A proxy reads the requests, which name the host therefore.
    pub is_forwarded: bool,
}

impl Connection {
    pub async fn over(line: Line) -> hyper::Result<Connection> {
        let is_forwarded = line.is_forwarded;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES);
        let (requests, wire) = builder.handshake(line).await?;
        Ok(Connection {
            requests,
            wire,
            is_over: false,
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
            self.is_over = self.is_over || Pin::new(&mut self.wire).poll(context).is_ready();
            wanted.as_mut().poll(context)
        })
        .await
    }

    /// Whether it can carry a request now.
    async fn is_ready(&mut self) -> bool {
        self.drive(ready(())).await;
        !self.is_over && self.requests.is_ready()
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
            if connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    /// Lays a connection to rest, if it can be used again and there is room.
    pub async fn give_back(self: &Arc<Pool>, host: Host, mut connection: Connection) {
        if !connection.is_ready().await {
            return;
        }
        let mut resting = self.resting();
        let to_host = resting.by_host.entry(host).or_default();
        if to_host.len() >= self.idle_max {
            return;
        }
        to_host.push((Instant::now(), connection));
        if let Some(idle_timeout) = self.idle_timeout
            && !std::mem::replace(&mut resting.is_swept, true)
        {
            tokio::spawn(sweep(Arc::downgrade(self), idle_timeout));
        }
    }

    /// Closes those that have rested for so long; when the next one will have.
    fn close_idle(&self, idle_timeout: Duration, now: Instant) -> Option<Instant> {
        let mut resting = self.resting();
        resting.by_host.retain(|_, connections| {
            connections.retain(|(since, _)| *since + idle_timeout > now);
            !connections.is_empty()
        });
        let since = resting.by_host.values().flatten().map(|(since, _)| *since);
        let next = since.min().map(|since| since + idle_timeout);
        resting.is_swept = next.is_some();
        next
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as connections rest, and the pool is there.
async fn sweep(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut next = Some(Instant::now() + idle_timeout);
    while let Some(at) = next {
        tokio::time::sleep_until(at).await;
        let Some(pool) = pool.upgrade() else { return };
        next = pool.close_idle(idle_timeout, Instant::now());
    }
}
