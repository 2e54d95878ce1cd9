//! The thread around a flow's [`Machine`]: it never waits but for its inbox.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::culprits::Culprits;
use super::inbox::{Inbox, Inward};
use super::machine::{Around, Machine, Next, Parts};
use super::survivor::Survivor;
use crate::checkpoint::{Change, FlowPlaces, HandBack, WriterHandle};
use crate::config::{Backoff, Flow, FlowId};
use crate::process::Ec2Metadata;
use crate::publish::backoff::Failures;
use crate::publish::budget::{Budget, Wake};
use crate::publish::run::Inbound;
use crate::record::{Batch, FlowIndex};
use crate::tail::handles::{BoundedDisk, Handles};
use crate::tail::wake::{Hints, Watch, Watched};
use crate::tail::{Hint, Rules};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;

/// Stack of a flow's thread: matchers that backtrack are bounded by steps, not by depth.
const STACK_BYTES: usize = 1024 * 1024;
/// Waits before a flow that ended by a defect is started anew.
const RESTART_WAITS: Backoff = Backoff {
    initial: Duration::from_secs(1),
    max: Duration::from_secs(60),
};
/// A flow that ran for so long without a defect starts its waits anew.
const SOUND_LIFE_MIN: Duration = Duration::from_secs(300);

/// What a flow needs of its surroundings.
pub struct Surroundings {
    pub index: FlowIndex,
    pub flow: Arc<Flow>,
    pub places: FlowPlaces,
    pub budget: Budget,
    pub publisher: UnboundedSender<Inbound>,
    /// `None`: nothing is remembered.
    pub checkpoints: Option<WriterHandle>,
    /// `None`: polling alone.
    pub watch: Option<Arc<Watch>>,
    /// How many files may be open, over all flows.
    pub handles: Arc<Handles>,
    pub counters: Arc<FlowCounters>,
    /// What `ADDEC2METADATA` adds, as it is now.
    pub ec2: Arc<dyn Fn() -> Option<Arc<Ec2Metadata>> + Send + Sync>,
}

/// A running flow.
pub struct FlowThread {
    inbox: Arc<Inbox>,
    /// Where the flow has to go on, once its thread has ended.
    ended: mpsc::Receiver<Option<HandBack>>,
}

impl FlowThread {
    /// Starts the thread. Before it has anything to tell, `reachable` learns its way in.
    ///
    /// # Errors
    ///
    /// The system has no thread left, or the patterns are no globs.
    pub fn start(
        around: Surroundings,
        reachable: impl FnOnce(Arc<Inbox>),
    ) -> anyhow::Result<FlowThread> {
        let rules = Rules::new(&around.flow)?;
        let (inbox, receiver) = Inbox::new(around.flow.queue_capacity_batches);
        reachable(Arc::clone(&inbox));
        around
            .budget
            .register(around.index, Arc::clone(&inbox) as Arc<dyn Wake>);
        let name = format!("FileTailer[{}]", around.flow.id);
        let to_self = Arc::clone(&inbox);
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let hand_back = follow(around, rules, to_self, &receiver);
                // Nobody may wait for it any more.
                let _ = end.send(hand_back);
            })?;
        Ok(FlowThread { inbox, ended })
    }

    /// The way in.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Reading stops; what is open is sent.
    pub fn stop(&self) {
        self.inbox.stop();
    }

    /// Nothing comes any more: the places are saved, and the thread ends.
    pub fn end(&self) {
        self.inbox.end();
    }

    /// Waits for the thread's end, until the deadline; the file at which the reference would have to go on.
    ///
    /// A thread that hangs doesn't keep the agent from ending: what it knew of its places was saved as they changed.
    pub fn ended(self, deadline: Instant) -> Option<HandBack> {
        let wait = deadline.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(wait).ok().flatten()
    }
}

/// Drives the flow's machine until it ends, and starts another one where a defect ended it.
fn follow(
    surroundings: Surroundings,
    rules: Rules,
    inbox: Arc<Inbox>,
    receiver: &mpsc::Receiver<Inward>,
) -> Option<HandBack> {
    let (to_self, pulse) = (Arc::clone(&inbox), Arc::clone(&inbox));
    let counters = Arc::clone(&surroundings.counters);
    let mut around = Threads {
        index: surroundings.index,
        publisher: surroundings.publisher,
        checkpoints: surroundings.checkpoints,
        watch: surroundings.watch,
        hints: Hints::new(move || to_self.wake()),
        has_told_limit: false,
        ec2: surroundings.ec2,
        survivor: Survivor::new(surroundings.places),
        has_finished: false,
    };
    let handles = surroundings.handles;
    let (index, flow, budget) = (surroundings.index, surroundings.flow, surroundings.budget);
    let mut culprits = Culprits::default();
    let parts = |life, places, culprits| Parts {
        index,
        flow: Arc::clone(&flow),
        rules: rules.clone(),
        places,
        budget: budget.clone(),
        inbox: Arc::clone(&inbox),
        counters: Arc::clone(&counters),
        seed: fastrand::u64(..),
        life,
        culprits,
    };
    let mut failures = Failures::default();
    for life in 0.. {
        let started_at = Instant::now();
        let places = around.survivor.places();
        let to_self = Arc::clone(&inbox);
        let disk = handles.share(move || to_self.wake());
        let mut machine = Machine::new(parts(life, places, culprits.clone()), disk, started_at);
        let Err(defect) = drive(&mut machine, receiver, &pulse, &mut around) else {
            return machine.hand_back();
        };
        if started_at.elapsed() >= SOUND_LIFE_MIN {
            failures = Failures::default();
        }
        failures.failed();
        if let Some(culprit) = machine.struck() {
            culprits.blame(culprit);
        }
        let wait = failures.delay(RESTART_WAITS, fastrand::f64());
        events::flow_died(&counters, &defect, wait);
        // What was read of the files and not acknowledged is read again; if even asking is a defect, what was saved is.
        let survivor = &mut around.survivor;
        let _ = panic::catch_unwind(AssertUnwindSafe(|| survivor.learn(machine.places())));
        let is_stopped = machine.is_stopped();
        drop(machine);
        if is_stopped || !rest(receiver, &pulse, wait) {
            // What isn't acknowledged is sent after the agent's next start.
            if !around.has_finished {
                around.finished();
            }
            around.save_all(&flow.id);
            wait_for_end(receiver);
            return None;
        }
        let _ = around.publisher.send(Inbound::Restarted(index));
    }
    None
}

/// Feeds the machine until it ends; the words of the defect if it panics.
fn drive(
    machine: &mut Machine<BoundedDisk>,
    receiver: &mpsc::Receiver<Inward>,
    pulse: &Inbox,
    around: &mut Threads,
) -> Result<(), String> {
    let mut wake_at = Instant::now();
    loop {
        let news = next_news(receiver, wake_at);
        pulse.is_at_work(true);
        // Nothing of the machine is used after a panic but what its files had acknowledged.
        let next = panic::catch_unwind(AssertUnwindSafe(|| {
            machine.on(news, Instant::now(), around)
        }));
        pulse.is_at_work(false);
        match next {
            Ok(Next::At(at)) => wake_at = at,
            Ok(Next::Ended) => return Ok(()),
            Err(panic) => return Err(words_of(&*panic)),
        }
    }
}

/// Waits before the next life; `false` if the flow is to stop instead.
fn rest(receiver: &mpsc::Receiver<Inward>, inbox: &Inbox, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        match next_news(receiver, until) {
            Some(Inward::Stop | Inward::End) => return false,
            // The next life looks at everything anyway, and has to be woken after that.
            Some(Inward::Woken) => _ = inbox.take_wake(),
            Some(Inward::Acknowledged) | None => {}
        }
    }
    true
}

fn wait_for_end(receiver: &mpsc::Receiver<Inward>) {
    while !matches!(receiver.recv(), Ok(Inward::End) | Err(_)) {}
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it said nothing").to_owned()
}

/// The next message, or `None` at the time given. If there is nobody left to hear from, that is the end.
fn next_news(receiver: &mpsc::Receiver<Inward>, wake_at: Instant) -> Option<Inward> {
    let wait = wake_at.saturating_duration_since(Instant::now());
    let received = match wait.is_zero() {
        true => receiver
            .try_recv()
            .map_err(|error| error == mpsc::TryRecvError::Disconnected),
        false => receiver
            .recv_timeout(wait)
            .map_err(|error| error == mpsc::RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(news) => Some(news),
        Err(is_over) => is_over.then_some(Inward::End),
    }
}

/// The other threads and tasks, as the machine sees them.
struct Threads {
    index: FlowIndex,
    publisher: UnboundedSender<Inbound>,
    checkpoints: Option<WriterHandle>,
    watch: Option<Arc<Watch>>,
    hints: Arc<Hints>,
    /// That no more folders can be watched was said.
    has_told_limit: bool,
    ec2: Arc<dyn Fn() -> Option<Arc<Ec2Metadata>> + Send + Sync>,
    survivor: Survivor,
    /// The publisher was told that no batch comes any more.
    has_finished: bool,
}

impl Threads {
    /// Everything that is known goes to the checkpoints.
    fn save_all(&self, flow: &FlowId) {
        if let Some(checkpoints) = &self.checkpoints {
            let upsert = |place| Change::Upsert {
                flow: flow.clone(),
                place,
            };
            checkpoints.submit(self.survivor.learnt().map(upsert).collect());
        }
    }
}

impl Around for Threads {
    fn timestamp(&mut self) -> Timestamp {
        Timestamp::now()
    }

    fn ec2(&mut self) -> Option<Arc<Ec2Metadata>> {
        (self.ec2)()
    }

    fn hints(&mut self) -> Vec<Hint> {
        self.hints.take()
    }

    fn watch(&mut self, folders: &[PathBuf]) -> bool {
        let Some(watch) = &self.watch else {
            return false;
        };
        let watched = watch.watch(folders, &self.hints);
        if watched == Watched::UpToTheLimit && !self.has_told_limit {
            self.has_told_limit = true;
            events::watches_exhausted(folders.len());
        }
        watched == Watched::Wholly
    }

    fn send(&mut self, batch: Batch) {
        // The publisher ends last; if it is gone the process is about to be.
        let _ = self.publisher.send(Inbound::Batch(self.index, batch));
    }

    fn finished(&mut self) {
        self.has_finished = true;
        let _ = self.publisher.send(Inbound::Finished(self.index));
    }

    fn save(&mut self, changes: Vec<Change>) {
        self.survivor.note(&changes);
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.submit(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_was_woken_while_it_rested_is_woken_again() {
        let (inbox, receiver) = Inbox::new(1);
        inbox.wake();
        assert!(rest(&receiver, &inbox, Duration::from_millis(1)));
        assert!(receiver.try_recv().is_err(), "it has heard of the first");
        inbox.wake();
        assert!(matches!(receiver.try_recv(), Ok(Inward::Woken)));
    }

    #[test]
    fn a_flow_that_rests_can_be_stopped() {
        for end in [Inbox::stop, Inbox::end] {
            let (inbox, receiver) = Inbox::new(1);
            inbox.wake();
            end(&inbox);
            assert!(!rest(&receiver, &inbox, Duration::from_secs(3_600)));
        }
    }
}
