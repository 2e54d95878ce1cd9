//! What a kill takes with it: the flows' machines, the publisher, the budget, calls, and what isn't saved.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use jiff::Timestamp;
use kinesis_agent::checkpoint::pending::Pending;
use kinesis_agent::checkpoint::{Change, FileIdentity, FlowPlaces, Place};
use kinesis_agent::config::Flow;
use kinesis_agent::flow::Inbox;
use kinesis_agent::flow::culprits::Culprits;
use kinesis_agent::flow::inbox::Inward;
use kinesis_agent::flow::machine::{Around, Machine, Parts};
use kinesis_agent::process::Ec2Metadata;
use kinesis_agent::publish::budget::Budget;
use kinesis_agent::publish::publisher::{CallId, Publisher};
use kinesis_agent::publish::run::Inbound;
use kinesis_agent::publish::sink::Call;
use kinesis_agent::record::{Batch, FlowIndex};
use kinesis_agent::tail::testing::MemoryDisk;
use kinesis_agent::tail::{Hint, Rules};
use kinesis_agent::telemetry::counters::FlowCounters;

use super::ledger::LineId;

/// What all of a life's processes have in common.
pub struct Setting {
    pub flows: Vec<(Arc<Flow>, Rules)>,
    pub n_slots: usize,
    pub budget_bytes: usize,
}

/// The disk, which outlives every process.
pub type SharedDisk = Rc<RefCell<MemoryDisk>>;

/// The database, which outlives every process too. A save is one transaction.
#[derive(Default)]
pub struct Database(HashMap<FlowIndex, HashMap<FileIdentity, Place>>);

impl Database {
    pub fn commit(&mut self, flow_of: impl Fn(&Change) -> FlowIndex, changes: &[Change]) {
        for change in changes {
            let places = self.0.entry(flow_of(change)).or_default();
            match change {
                Change::Upsert { place, .. } => drop(places.insert(place.identity, place.clone())),
                Change::Remove { identity, .. } => drop(places.remove(identity)),
            }
        }
    }

    pub fn places(&self, flow: FlowIndex) -> FlowPlaces {
        let places = self.0.get(&flow);
        FlowPlaces {
            ours: places
                .into_iter()
                .flat_map(HashMap::values)
                .cloned()
                .collect(),
            saved_before: places.is_some(),
            ..FlowPlaces::default()
        }
    }
}

/// A flow and what waits for it.
pub struct FlowSide {
    pub machine: Machine<SharedDisk>,
    pub inbox: Arc<Inbox>,
    pub news: mpsc::Receiver<Inward>,
    pub wake_at: Instant,
    pub hints: Vec<Hint>,
    pub has_ended: bool,
    /// Times in a row that it was due at once, and did nothing.
    pub n_idle: u32,
}

/// A call on its way.
pub struct OnTheWire {
    pub id: CallId,
    pub flow: FlowIndex,
    pub call: Call,
    pub lines: Vec<LineId>,
}

/// The process.
pub struct Process {
    /// Counts from 1.
    pub run: u32,
    pub flows: Vec<FlowSide>,
    pub publisher: Publisher,
    pub to_publisher: VecDeque<Inbound>,
    pub budget: Budget,
    /// Bytes of batches that the publisher or the way to it holds.
    pub sent_bytes: usize,
    pub pending: Pending,
    /// What the checkpoint writer is about to save.
    pub writing: Option<Vec<Change>>,
    pub calls: Vec<OnTheWire>,
    pub n_finished: usize,
}

impl Process {
    /// Starts with what the database says.
    pub fn start(
        run: u32,
        setting: &Setting,
        database: &Database,
        disk: &SharedDisk,
        seed: u64,
        now: Instant,
    ) -> Process {
        let budget = Budget::new(setting.budget_bytes, setting.flows.len());
        let side = |(place, (flow, rules)): (usize, &(Arc<Flow>, Rules))| {
            let index = FlowIndex(place);
            let (inbox, news) = Inbox::new(flow.queue_capacity_batches);
            budget.register(index, inbox.clone());
            let parts = Parts {
                index,
                flow: Arc::clone(flow),
                rules: rules.clone(),
                places: database.places(index),
                budget: budget.clone(),
                inbox: Arc::clone(&inbox),
                counters: Arc::new(FlowCounters::new(
                    flow.id.clone(),
                    flow.destination.clone(),
                    None,
                )),
                seed,
                life: 0,
                culprits: Culprits::default(),
            };
            FlowSide {
                machine: Machine::new(parts, Rc::clone(disk), now),
                inbox,
                news,
                wake_at: now,
                hints: Vec::new(),
                has_ended: false,
                n_idle: 0,
            }
        };
        let backoffs = setting.flows.iter().map(|(flow, _)| flow.backoff);
        Process {
            run,
            flows: setting.flows.iter().enumerate().map(side).collect(),
            publisher: Publisher::new(backoffs, setting.n_slots, seed),
            to_publisher: VecDeque::new(),
            budget: budget.clone(),
            sent_bytes: 0,
            pending: Pending::default(),
            writing: None,
            calls: Vec::new(),
            n_finished: 0,
        }
    }

    /// Something of the disk changed that the system tells of.
    pub fn hint(&mut self, flow: FlowIndex, hint: Hint) {
        let side = &mut self.flows[flow.0];
        side.hints.push(hint);
        side.inbox.wake();
    }
}

/// A flow's surroundings in one step.
pub struct Surroundings<'a> {
    pub index: FlowIndex,
    pub hints: &'a mut Vec<Hint>,
    pub hints_work: bool,
    pub to_publisher: &'a mut VecDeque<Inbound>,
    pub sent_bytes: &'a mut usize,
    pub saved: Vec<Change>,
    /// It did something that others see.
    pub has_acted: bool,
}

impl Around for Surroundings<'_> {
    fn timestamp(&mut self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn ec2(&mut self) -> Option<Arc<Ec2Metadata>> {
        None
    }
    fn hints(&mut self) -> Vec<Hint> {
        std::mem::take(self.hints)
    }
    fn watch(&mut self, folders: &[PathBuf]) -> bool {
        self.hints_work && !folders.is_empty()
    }
    fn send(&mut self, batch: Batch) {
        self.has_acted = true;
        *self.sent_bytes += batch.budget_bytes;
        self.to_publisher
            .push_back(Inbound::Batch(self.index, batch));
    }
    fn finished(&mut self) {
        self.has_acted = true;
        self.to_publisher.push_back(Inbound::Finished(self.index));
    }
    fn save(&mut self, changes: Vec<Change>) {
        self.has_acted = true;
        self.saved.extend(changes);
    }
}
