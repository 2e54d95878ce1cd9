//! The flows at work, and all that another one needs to join them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::relay::{Relay, Relayed};
use super::{CurrentMetadata, Memory, Sinks, rules_of};
use crate::aws::Clients;
use crate::checkpoint::{FlowPlaces, HandBack, WriterHandle};
use crate::config::{Config, Flow};
use crate::flow::watchdog::AtWork;
use crate::flow::{FlowThread, Surroundings};
use crate::publish::budget::Budget;
use crate::publish::run::{Inbound, Joining};
use crate::publish::sink::Sink;
use crate::record::FlowIndex;
use crate::tail::handles::Handles;
use crate::tail::wake::Watch;
use crate::telemetry::counters::{FlowCounters, NamedCounters};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress;

/// What all flows share.
pub(super) struct Common {
    /// Of the agent as a whole, as it was at the start.
    pub config: Arc<Config>,
    pub memory: Memory,
    pub sinks: Sinks,
    pub budget: Budget,
    pub publisher: UnboundedSender<Inbound>,
    pub checkpoints: Option<WriterHandle>,
    pub watch: Option<Arc<Watch>>,
    pub handles: Arc<Handles>,
    pub metrics: Option<Arc<Metrics>>,
    pub ec2: CurrentMetadata,
    /// Whether somebody looks for the instance metadata.
    pub has_ec2: bool,
    pub relay: Arc<Relay>,
    pub clients: Arc<Clients>,
}

/// A flow at work.
pub(super) struct Running {
    pub flow: Arc<Flow>,
    pub index: FlowIndex,
    pub counters: Arc<FlowCounters>,
    pub thread: FlowThread,
}

/// A flow that has its place with the publisher and in the budget, and no thread yet.
pub(super) struct Reserved {
    pub flow: Arc<Flow>,
    index: FlowIndex,
}

/// The flows at work, in the order of the configuration.
pub(super) struct Flows {
    pub common: Common,
    pub running: Vec<Running>,
    /// Flows that there ever were: an index is never used again, so that what a flow of former times sends late, a thread
    /// that hung, is nobody else's.
    n_ever: usize,
}

impl Flows {
    /// None yet.
    pub fn new(common: Common) -> Flows {
        Flows {
            common,
            running: Vec::new(),
            n_ever: 0,
        }
    }

    /// Starts a flow that the publisher and the budget know from the beginning, in this order.
    pub fn start(
        &mut self,
        flow: &Arc<Flow>,
        counters: Arc<FlowCounters>,
        places: FlowPlaces,
    ) -> anyhow::Result<()> {
        let index = self.next_index();
        self.start_at(index, flow, counters, places)
    }

    /// Makes room for a flow among those that send, without reading anything yet.
    pub fn reserve(&mut self, flow: &Arc<Flow>) -> Reserved {
        let index = self.next_index();
        self.common.budget.admit();
        let joining = Joining {
            rules: rules_of(flow, self.common.memory),
            sink: self.common.sinks.sink(index, &flow.destination),
        };
        // The publisher ends last.
        let _ = self.common.publisher.send(Inbound::Added(joining));
        Reserved {
            flow: Arc::clone(flow),
            index,
        }
    }

    /// Starts the flow of a reserved place.
    pub fn start_reserved(
        &mut self,
        reserved: &Reserved,
        places: FlowPlaces,
    ) -> anyhow::Result<()> {
        let counters = FlowCounters::of(&reserved.flow, self.common.metrics.as_ref());
        self.start_at(reserved.index, &reserved.flow, counters, places)
    }

    /// Gives a reserved place up.
    pub fn release(&mut self, reserved: &Reserved) {
        self.common.budget.retire(reserved.index);
        let _ = self.common.publisher.send(Inbound::GivenUp(reserved.index));
    }

    fn next_index(&mut self) -> FlowIndex {
        self.n_ever += 1;
        FlowIndex(self.n_ever - 1)
    }

    fn start_at(
        &mut self,
        index: FlowIndex,
        flow: &Arc<Flow>,
        counters: Arc<FlowCounters>,
        places: FlowPlaces,
    ) -> anyhow::Result<()> {
        progress::starting_tailer(&flow.id).emit();
        let common = &self.common;
        let around = Surroundings {
            index,
            flow: Arc::clone(flow),
            places,
            budget: common.budget.clone(),
            publisher: common.publisher.clone(),
            checkpoints: common.checkpoints.clone(),
            watch: common.watch.clone(),
            handles: Arc::clone(&common.handles),
            counters: Arc::clone(&counters),
            ec2: Arc::clone(&common.ec2),
        };
        let thread = FlowThread::start(around, |inbox| {
            // Before there is anything to be told of it.
            let relayed = Relayed {
                inbox,
                counters: Arc::clone(&counters),
                destination: flow.destination.clone(),
            };
            common.relay.add(index, relayed);
        })
        .with_context(|| format!("starting flow {}", flow.id))?;
        self.running.push(Running {
            flow: Arc::clone(flow),
            index,
            counters,
            thread,
        });
        Ok(())
    }

    /// What carries the calls of each.
    pub fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        let sink = |running: &Running| {
            let destination = &running.flow.destination;
            self.common.sinks.sink(running.index, destination)
        };
        self.running.iter().map(sink).collect()
    }

    /// What the watchdog looks at.
    pub fn at_work(&self) -> Vec<AtWork> {
        let at_work = |running: &Running| AtWork {
            flow: Arc::clone(&running.flow),
            inbox: running.thread.inbox(),
            counters: Arc::clone(&running.counters),
        };
        self.running.iter().map(at_work).collect()
    }

    /// The counters of each, by its id.
    pub fn counters(&self) -> Vec<NamedCounters> {
        let named = |running: &Running| (running.flow.id.clone(), Arc::clone(&running.counters));
        self.running.iter().map(named).collect()
    }

    /// All read no more, and send what is open.
    pub fn stop(&self) {
        self.running
            .iter()
            .for_each(|running| running.thread.stop());
    }

    /// The flow reads no more and sends what is open; it is said when all of that is acknowledged.
    pub fn leave(&self, running: &Running) -> oneshot::Receiver<()> {
        let (gone, is_gone) = oneshot::channel();
        running.thread.stop();
        let _ = self
            .common
            .publisher
            .send(Inbound::Leaving(running.index, gone));
        is_gone
    }

    /// All save their places and end, until the deadline; where the reference would have to go on.
    pub fn ended(self, deadline: Instant) -> Vec<HandBack> {
        end(self.running, deadline)
    }
}

/// These flows save their places and end, until the deadline; where the reference would have to go on.
pub(super) fn end(flows: Vec<Running>, deadline: Instant) -> Vec<HandBack> {
    flows.iter().for_each(|running| running.thread.end());
    let flows = flows.into_iter();
    flows
        .filter_map(|running| running.thread.ended(deadline))
        .collect()
}
