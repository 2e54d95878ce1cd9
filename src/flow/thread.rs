//! The thread around a flow's [`Machine`]: it never waits but for its inbox.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::inbox::{Inbox, Inward};
use super::machine::{Around, Machine, Next, Parts};
use crate::checkpoint::{Change, FlowPlaces, HandBack, WriterHandle};
use crate::config::Flow;
use crate::process::Ec2Metadata;
use crate::publish::budget::{Budget, Wake};
use crate::publish::run::Inbound;
use crate::record::{Batch, FlowIndex};
use crate::tail::handles::Handles;
use crate::tail::wake::{Hints, Watch, Watched};
use crate::tail::{Hint, Rules};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;

/// Stack of a flow's thread: matchers that backtrack are bounded by steps, not by depth.
const STACK_BYTES: usize = 1024 * 1024;

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
    thread: JoinHandle<Option<HandBack>>,
}

impl FlowThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system has no thread left, or the patterns are no globs.
    pub fn start(around: Surroundings) -> anyhow::Result<FlowThread> {
        let rules = Rules::new(&around.flow)?;
        let (inbox, receiver) = Inbox::new(around.flow.queue_capacity_batches);
        around
            .budget
            .register(around.index, Arc::clone(&inbox) as Arc<dyn Wake>);
        let name = format!("FileTailer[{}]", around.flow.id);
        let to_self = Arc::clone(&inbox);
        let thread = thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || follow(around, rules, to_self, &receiver))?;
        Ok(FlowThread { inbox, thread })
    }

    /// The way in.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Reading stops; what is open is sent.
    pub fn stop(&self) {
        self.inbox.stop();
    }

    /// Saves the places and waits for the thread's end; the file at which the reference would have to go on.
    pub fn end(self) -> Option<HandBack> {
        self.inbox.end();
        self.thread.join().unwrap_or(None)
    }
}

/// Drives the machine until it ends.
fn follow(
    surroundings: Surroundings,
    rules: Rules,
    inbox: Arc<Inbox>,
    receiver: &mpsc::Receiver<Inward>,
) -> Option<HandBack> {
    let to_self = Arc::clone(&inbox);
    let mut around = Threads {
        index: surroundings.index,
        publisher: surroundings.publisher,
        checkpoints: surroundings.checkpoints,
        watch: surroundings.watch,
        hints: Hints::new(move || to_self.wake()),
        has_told_limit: false,
        ec2: surroundings.ec2,
    };
    let to_self = Arc::clone(&inbox);
    let disk = surroundings.handles.share(move || to_self.wake());
    let goodbye = Goodbye {
        publisher: around.publisher.clone(),
        index: around.index,
    };
    let parts = Parts {
        index: surroundings.index,
        flow: surroundings.flow,
        rules,
        places: surroundings.places,
        budget: surroundings.budget,
        inbox,
        counters: surroundings.counters,
        seed: fastrand::u64(..),
    };
    let mut wake_at = Instant::now();
    let mut machine = Machine::new(parts, disk, wake_at);
    loop {
        let news = next_news(receiver, wake_at);
        match machine.on(news, Instant::now(), &mut around) {
            Next::At(at) => wake_at = at,
            Next::Ended => break,
        }
    }
    drop(goodbye);
    machine.hand_back()
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
        let _ = self.publisher.send(Inbound::Finished(self.index));
    }

    fn save(&mut self, changes: Vec<Change>) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.submit(changes);
        }
    }
}

/// Says that the flow has finished even if its thread ends by a panic, so that the agent can stop.
struct Goodbye {
    publisher: UnboundedSender<Inbound>,
    index: FlowIndex,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.publisher.send(Inbound::Finished(self.index));
        }
    }
}
