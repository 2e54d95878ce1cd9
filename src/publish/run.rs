//! The tokio task around the [`Publisher`]: batches and answers in, calls and acknowledgements out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::budget::Budget;
use super::failure::CallFailure;
use super::publisher::{
    CallId, Command, FlowRules, Publisher, Queue, Refused, RefusedId, Reported,
};
use super::sink::{CallResult, Sink};
use crate::record::{Batch, CursorId, FlowIndex};

/// What reaches the task.
#[derive(Debug)]
pub enum Inbound {
    /// One more flow, the next by index: nothing of it may come before.
    Added(Joining),
    /// The flow is to be forgotten once it has finished and all of it is acknowledged; then it is said so.
    Leaving(FlowIndex, oneshot::Sender<()>),
    /// The flow is to be forgotten at once, whatever becomes of its calls.
    GivenUp(FlowIndex),
    Batch(FlowIndex, Batch),
    /// A refused record is kept.
    Kept(RefusedId),
    /// A flow starts anew at its acknowledged places; what it sent before is read again.
    Restarted(FlowIndex),
    /// A flow sends no more: once all have said so, the task ends when everything is acknowledged.
    Finished(FlowIndex),
}

/// A flow that joins those that send.
pub struct Joining {
    pub rules: FlowRules,
    pub sink: Arc<dyn Sink>,
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The task turns at least so often, so that it can be seen that it does.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Where the task's news go. Called from the task: must not block.
pub trait Listener: Send + Sync + 'static {
    /// Everything of the file below `offset` is acknowledged.
    fn advanced(&self, flow: FlowIndex, cursor: CursorId, offset: u64);
    /// A batch left the queue, or joined it: this waits now, and so many have arrived from the flow since the last word.
    fn queued(&self, flow: FlowIndex, queue: Queue, n_arrived: usize);
    /// The service will never take this record: it is to be kept, and [`Inbound::Kept`] to be sent once it is safe.
    fn refused(&self, id: RefusedId, flow: FlowIndex, refused: Refused);
    /// What became of a call.
    fn reported(&self, flow: FlowIndex, event: &Reported);
    /// The task turns: said each time round, and at least each [`PAUSE_MAX`].
    fn turns(&self, _now: Instant) {}
}

/// Runs until every flow has finished and everything they sent is acknowledged; dropping the future gives up what is
/// in flight.
pub async fn run(
    mut publisher: Publisher,
    mut sinks: Vec<Arc<dyn Sink>>,
    mut inbox: mpsc::UnboundedReceiver<Inbound>,
    budget: Budget,
    listener: Arc<dyn Listener>,
) {
    let mut calls: JoinSet<CallResult> = JoinSet::new();
    let mut ids: HashMap<tokio::task::Id, CallId> = HashMap::new();
    let mut commands = Vec::new();
    let mut running = vec![true; sinks.len()];
    let mut n_running = running.len();
    let mut leaving: Vec<(FlowIndex, oneshot::Sender<()>)> = Vec::new();
    let mut touched = Vec::new();
    let mut is_closed = false;
    while n_running > 0 || !publisher.is_idle() {
        listener.turns(Instant::now());
        let look_again = tokio::time::Instant::now() + PAUSE_MAX;
        let wake_at = publisher
            .next_wake()
            .map_or(look_again, |at| look_again.min(at.into()));
        let timer = tokio::time::sleep_until(wake_at);
        tokio::select! {
            inbound = inbox.recv(), if !is_closed && (n_running > 0 || publisher.is_keeping()) => match inbound {
                Some(Inbound::Batch(flow, batch)) => {
                    publisher.batch(flow, batch, Instant::now(), &mut commands);
                    touched.push((flow, 1));
                }
                Some(Inbound::Kept(id)) => {
                    publisher.kept(id, Instant::now(), &mut commands);
                    touched.push((id.flow, 0));
                }
                Some(Inbound::Restarted(flow)) => {
                    publisher.restarted(flow, Instant::now(), &mut commands);
                    touched.push((flow, 0));
                }
                Some(Inbound::Finished(flow)) => running[flow.0] = false,
                Some(Inbound::Added(joining)) => {
                    publisher.add(joining.rules);
                    sinks.push(joining.sink);
                    running.push(true);
                }
                Some(Inbound::Leaving(flow, gone)) => leaving.push((flow, gone)),
                Some(Inbound::GivenUp(flow)) => {
                    publisher.forget(flow, Instant::now(), &mut commands);
                    running[flow.0] = false;
                }
                None => {
                    running.fill(false);
                    is_closed = true;
                }
            },
            Some(done) = calls.join_next_with_id() => {
                let (task, result) = match done {
                    Ok((task, result)) => (task, result),
                    // Only a defect ends a call like this; its records are sent again as after any other failure.
                    Err(error) => (error.id(), Err(CallFailure::of_defect(&error))),
                };
                if let Some(id) = ids.remove(&task) {
                    publisher.answered(id, result, Instant::now(), &mut commands);
                }
            },
            () = timer => publisher.wake(Instant::now(), &mut commands),
        }
        for command in commands.drain(..) {
            match command {
                Command::Send { id, flow, call } => {
                    let sink = Arc::clone(&sinks[flow.0]);
                    let task = calls.spawn(async move { sink.put(call).await });
                    ids.insert(task.id(), id);
                    touched.push((flow, 0));
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
                    // Batches that keep an order wait until all of them is accepted: none may be sent after the last.
                    touched.push((flow, 0));
                }
                Command::Keep { id, flow, refused } => listener.refused(id, flow, refused),
                Command::Report { flow, event } => listener.reported(flow, &event),
            }
        }
        for (flow, n_arrived) in touched.drain(..) {
            listener.queued(flow, publisher.queue(flow), n_arrived);
        }
        n_running = running.iter().filter(|is_running| **is_running).count();
        // Only here: whoever is told that a flow is gone has heard of its last acknowledgement.
        let is_gone = |flow: FlowIndex| !running[flow.0] && publisher.is_settled(flow);
        let gone: Vec<_> = leaving.extract_if(.., |(flow, _)| is_gone(*flow)).collect();
        for (flow, gone) in gone {
            publisher.leave(flow);
            // Whoever asked may have given the flow up meanwhile.
            let _ = gone.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::sink::Call;
    use super::super::wire::Answer;
    use super::*;
    use crate::config::{Backoff, Destination};
    use crate::publish::batch::tests::batch_of;
    use crate::record::Lane;

    /// A sink whose first call panics.
    #[derive(Default)]
    struct Stumbling(AtomicUsize);

    impl Sink for Stumbling {
        fn put(&self, _call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>> {
            Box::pin(async {
                assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "a defect");
                Ok(Answer::AllAccepted)
            })
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>, Mutex<Vec<usize>>);

    impl Listener for Heard {
        fn advanced(&self, _flow: FlowIndex, _cursor: CursorId, offset: u64) {
            self.0.lock().unwrap().push(offset);
        }
        fn queued(&self, _flow: FlowIndex, queue: Queue, _n_arrived: usize) {
            self.1.lock().unwrap().push(queue.n_batches);
        }
        fn refused(&self, _id: RefusedId, _flow: FlowIndex, _refused: Refused) {}
        fn reported(&self, _flow: FlowIndex, _event: &Reported) {}
    }

    /// A sink that has stumbled already.
    fn accepting() -> Arc<dyn Sink> {
        Arc::new(Stumbling(AtomicUsize::new(1)))
    }

    /// A flow whose queue was full would wait for ever if it weren't told of the last batch.
    #[tokio::test]
    async fn a_flow_is_told_that_nothing_waits_any_more_also_where_order_is_kept() {
        let backoff = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        let (sender, inbox) = mpsc::unbounded_channel();
        let mut batch = batch_of(&Destination::Kinesis("s".into()), &[b"a", b"b"]);
        batch.lanes = vec![Lane(1), Lane(2)];
        sender.send(Inbound::Batch(FlowIndex(0), batch)).unwrap();
        sender.send(Inbound::Finished(FlowIndex(0))).unwrap();
        let heard = Arc::new(Heard::default());
        let publisher = Publisher::new([backoff], 4, 1);
        let sinks = vec![accepting()];
        let budget = Budget::new(1 << 20, 1);
        run(publisher, sinks, inbox, budget, heard.clone()).await;
        assert_eq!(heard.1.lock().unwrap().last(), Some(&0));
    }

    /// Counts how often the task turned.
    #[derive(Default)]
    struct Turns(AtomicUsize);

    impl Listener for Turns {
        fn advanced(&self, _flow: FlowIndex, _cursor: CursorId, _offset: u64) {}
        fn queued(&self, _flow: FlowIndex, _queue: Queue, _n_arrived: usize) {}
        fn refused(&self, _id: RefusedId, _flow: FlowIndex, _refused: Refused) {}
        fn reported(&self, _flow: FlowIndex, _event: &Reported) {}
        fn turns(&self, _now: Instant) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_turns_though_there_is_nothing_to_do() {
        let backoff = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        let (_sender, inbox) = mpsc::unbounded_channel();
        let turns = Arc::new(Turns::default());
        let publisher = Publisher::new([backoff], 4, 1);
        let budget = Budget::new(1 << 20, 1);
        let running = run(publisher, vec![accepting()], inbox, budget, turns.clone());
        // The clock moves on as soon as everybody waits.
        let ended = tokio::time::timeout(PAUSE_MAX * 5 / 2, running).await;
        assert!(ended.is_err(), "a flow is still there");
        assert_eq!(turns.0.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_call_that_ends_by_a_defect_is_made_again() {
        let backoff = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        let (sender, inbox) = mpsc::unbounded_channel();
        let batch = batch_of(&Destination::Kinesis("s".into()), &[b"a", b"b"]);
        sender.send(Inbound::Batch(FlowIndex(0), batch)).unwrap();
        sender.send(Inbound::Finished(FlowIndex(0))).unwrap();
        let heard = Arc::new(Heard::default());
        let listener: Arc<dyn Listener> = heard.clone();
        let publisher = Publisher::new([backoff], 4, 1);
        let sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(Stumbling::default())];
        run(publisher, sinks, inbox, Budget::new(1 << 20, 1), listener).await;
        assert_eq!(*heard.0.lock().unwrap(), [2]);
    }
}
