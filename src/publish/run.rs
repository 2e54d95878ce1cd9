//! The tokio task around the [`Publisher`]: batches and answers in, calls and acknowledgements out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::budget::Budget;
use super::publisher::{CallId, Command, Publisher, Reported};
use super::sink::{CallResult, Sink};
use crate::record::{Batch, CursorId, FlowIndex};

/// What reaches the task.
#[derive(Debug)]
pub enum Inbound {
    Batch(FlowIndex, Batch),
    /// A flow sends no more: once all have said so, the task ends when everything is acknowledged.
    Finished(FlowIndex),
}

/// Where the task's news go. Called from the task: must not block.
pub trait Listener: Send + Sync + 'static {
    /// Everything of the file below `offset` is acknowledged.
    fn advanced(&self, flow: FlowIndex, cursor: CursorId, offset: u64);
    /// A batch left the queue for good, or joined it: so many wait now.
    fn queued(&self, flow: FlowIndex, n_batches: usize);
    /// What became of a call.
    fn reported(&self, flow: FlowIndex, event: &Reported);
}

/// Runs until every flow has finished and everything they sent is acknowledged; dropping the future gives up what is
/// in flight.
pub async fn run(
    mut publisher: Publisher,
    sinks: Vec<Arc<dyn Sink>>,
    mut inbox: mpsc::UnboundedReceiver<Inbound>,
    budget: Budget,
    listener: Arc<dyn Listener>,
) {
    let mut calls: JoinSet<(CallId, CallResult)> = JoinSet::new();
    let mut commands = Vec::new();
    let mut n_running = sinks.len();
    let mut touched = Vec::new();
    while n_running > 0 || !publisher.is_idle() {
        let now = Instant::now();
        let wake_at = publisher.next_wake(now).map(tokio::time::Instant::from_std);
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            inbound = inbox.recv(), if n_running > 0 => match inbound {
                Some(Inbound::Batch(flow, batch)) => {
                    publisher.batch(flow, batch, Instant::now(), &mut commands);
                    touched.push(flow);
                }
                Some(Inbound::Finished(_)) => n_running -= 1,
                None => n_running = 0,
            },
            Some(done) = calls.join_next() => match done {
                Ok((id, result)) => publisher.answered(id, result, Instant::now(), &mut commands),
                // A call's task is aborted only along with this one; a panic in it is a defect that mustn't hide.
                Err(error) => if error.is_panic() { std::panic::resume_unwind(error.into_panic()) },
            },
            () = timer => publisher.wake(Instant::now(), &mut commands),
        }
        for command in commands.drain(..) {
            match command {
                Command::Send { id, flow, call } => {
                    let sink = Arc::clone(&sinks[flow.0]);
                    calls.spawn(async move { (id, sink.put(call).await) });
                    touched.push(flow);
                }
                Command::Advance {
                    flow,
                    cursor,
                    offset,
                } => listener.advanced(flow, cursor, offset),
                Command::Release { flow, bytes, batch } => {
                    budget.release(flow, bytes);
                    // Nobody else holds it any more, but for a connection that hasn't let go of its last write.
                    if let Some(Ok(body)) =
                        Arc::into_inner(batch).map(|batch| batch.body.try_into_mut())
                    {
                        budget.give_back_body(body.into());
                    }
                }
                Command::Report { flow, event } => listener.reported(flow, &event),
            }
        }
        for flow in touched.drain(..) {
            listener.queued(flow, publisher.n_waiting(flow));
        }
    }
}
