//! An AWS on loopback: the services that the agent calls, in one process and on one port, with a fault script.
//!
//! `demo`, `--local`, the tests and the benchmarks share it. It has no code in common with what the agent sends by:
//! signatures, CBOR and limits are checked by what stands here.
//!
//! ```text
//! server     one connection: requests in, answers out
//!   └─ calls      whose call it is, and whether its signature holds (sigv4, keys)
//!       ├─ kinesis, firehose    a call's form and limits (entries, cbor)
//!       │    └─ put             acceptance: faults, shards, received
//!       ├─ cloudwatch           metrics
//!       ├─ sts                  temporary keys
//!       └─ ec2, imds            tags and metadata of an instance
//! ```

mod answer;
mod calls;
mod cbor;
mod cloudwatch;
mod ec2;
mod entries;
pub mod faults;
mod firehose;
mod imds;
mod keys;
mod kinesis;
pub mod limits;
mod options;
mod percent;
mod put;
mod received;
mod server;
mod service;
mod shards;
mod sigv4;
mod state;
mod sts;
mod tls;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use faults::Faults;
use state::State;

pub use cloudwatch::{Metric, StatisticSet};
pub use keys::Keys;
pub use options::{Clock, Instance, Options, Role, Roles, Streams};
pub use put::{sequence_number, shard_id};
pub use received::{Call, CallOutcome, Counts, Keep, Received, Record, Signer, TooFew, Wire};
pub use service::Service;
pub use tls::{Tls, TlsError};

#[cfg(test)]
mod tests;

/// The account that owns everything here.
pub const ACCOUNT_ID: &str = "000000000000";

/// A running endpoint; dropping it closes its connections at once.
#[derive(Debug)]
pub struct Endpoint {
    state: Arc<State>,
    address: SocketAddr,
    has_tls: bool,
    acceptor: JoinHandle<()>,
}

impl Endpoint {
    /// Listens on 127.0.0.1 and serves. Must be called within a tokio runtime with I/O and time.
    pub async fn start(mut options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let tls = options.tls.take();
        let has_tls = tls.is_some();
        let state = Arc::new(State::new(options));
        let acceptor = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Ok(Self {
            state,
            address,
            has_tls,
            acceptor,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What it accepted.
    pub fn received(&self) -> &Received {
        &self.state.received
    }

    /// Bytes of the bodies of all calls so far.
    pub fn body_bytes(&self) -> u64 {
        self.state.body_bytes.load(Ordering::Relaxed)
    }

    /// Replaces the fault script; its counters begin anew.
    pub fn set_faults(&self, faults: Faults) {
        *self
            .state
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// From now on there is a Kinesis and a Firehose stream of this name.
    pub fn create_stream(&self, name: &str) {
        self.state
            .streams
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .create(name);
    }

    /// Serves one connection that was accepted elsewhere, e.g. behind TLS, until it ends or the endpoint stops.
    pub fn serve_connection<IO>(
        &self,
        io: IO,
    ) -> impl Future<Output = ()> + Send + 'static + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        server::serve(Arc::clone(&self.state), io)
    }

    /// Stops listening, answers the calls in flight (those that stall or are delayed are dropped), and closes.
    ///
    /// What is then still open after [`limits::STOP_GRACE`] is dropped.
    pub async fn stop(mut self) {
        self.state.stop.send_replace(true);
        // An error would say that the acceptor panicked; there's nothing left to stop then.
        let _ = (&mut self.acceptor).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.state.stop.send_replace(true);
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<Tls>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits::CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // Without it an answer may wait for the acknowledgement of the one before; failing it is harmless.
                    let _ = stream.set_nodelay(true);
                    let state = Arc::clone(&state);
                    match tls.clone() {
                        None => connections.spawn(server::serve(state, stream)),
                        Some(tls) => connections.spawn(async move {
                            // Who doesn't agree on TLS closes the connection.
                            if let Ok(stream) = tls.accept(stream).await {
                                server::serve(state, stream).await;
                            }
                        }),
                    };
                }
                // No descriptors left, most likely: some time must pass until others give theirs back.
                Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = state.stopped() => break,
        }
    }
    drop(listener);
    let all_closed = async { while connections.join_next().await.is_some() {} };
    // The set's end closes what is left.
    let _ = tokio::time::timeout(limits::STOP_GRACE, all_closed).await;
}
