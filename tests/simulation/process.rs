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
use kinesis_agent::flow::survivor::Survivor;
use kinesis_agent::process::Ec2Metadata;
use kinesis_agent::publish::budget::Budget;
use kinesis_agent::publish::publisher::{CallId, FlowRules, Publisher, RefusedId};
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
    /// Calls that are begun within a moment.
    pub n_begun: usize,
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

/// How a flow's thread is.
#[expect(clippy::large_enum_variant, reason = "there are three of them")]
pub enum Stage {
    Alive(Machine<SharedDisk>),
    /// A defect ended its machine; the next one starts then.
    Resting(Instant),
    /// It was stopped, and waits for its end.
    Stopped,
    Ended,
}

/// A flow and what waits for it.
pub struct FlowSide {
    pub stage: Stage,
    index: FlowIndex,
    flow: Arc<Flow>,
    rules: Rules,
    budget: Budget,
    /// Makes its partition keys.
    seed: u64,
    /// Which start of the flow in this run it is, from 0.
    n_lives: u32,
    /// The same over all runs and flows, from 1: the one that the publisher has heard of, then those that began since.
    pub lives: VecDeque<u32>,
    pub inbox: Arc<Inbox>,
    pub news: mpsc::Receiver<Inward>,
    pub wake_at: Instant,
    pub hints: Vec<Hint>,
    pub survivor: Survivor,
    /// The publisher was told that no batch comes any more.
    pub has_finished: bool,
    /// Times in a row that it was due at once, and did nothing.
    pub n_idle: u32,
}

impl FlowSide {
    /// A machine starts where the files were acknowledged.
    pub fn start_machine(&mut self, life: u32, disk: &SharedDisk, now: Instant) {
        let flow = &self.flow;
        let parts = Parts {
            index: self.index,
            flow: Arc::clone(flow),
            rules: self.rules.clone(),
            places: self.survivor.places(),
            budget: self.budget.clone(),
            inbox: Arc::clone(&self.inbox),
            counters: Arc::new(FlowCounters::new(
                flow.id.clone(),
                flow.destination.clone(),
                None,
            )),
            seed: self.seed,
            life: self.n_lives,
            culprits: Culprits::default(),
        };
        self.n_lives += 1;
        self.lives.push_back(life);
        (self.wake_at, self.n_idle) = (now, 0);
        self.stage = Stage::Alive(Machine::new(parts, Rc::clone(disk), now));
    }

    /// When its thread has something to do though it hears of nothing.
    pub fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Alive(_) => Some(self.wake_at),
            Stage::Resting(until) => Some(until),
            Stage::Stopped | Stage::Ended => None,
        }
    }

    /// Whether something of its files is still to be acknowledged to it.
    pub fn is_behind(&self) -> bool {
        match &self.stage {
            // One that hasn't looked yet follows nothing.
            Stage::Alive(machine) => {
                machine.cursors().next().is_none()
                    || machine.cursors().any(|cursor| cursor.behind_bytes() > 0)
            }
            Stage::Resting(_) => true,
            Stage::Stopped | Stage::Ended => false,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }
}

/// A record on its way to the dead-letter file.
pub struct Order {
    pub id: RefusedId,
    pub line: LineId,
}

/// A call on its way.
pub struct OnTheWire {
    pub id: CallId,
    pub flow: FlowIndex,
    pub call: Call,
    pub lines: Vec<LineId>,
    /// In which life its flow sent it.
    pub life: u32,
}

/// The process.
pub struct Process {
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
    /// Records that the letter writer was told of.
    pub orders: VecDeque<Order>,
    /// Those that are on disk, of which the publisher doesn't know yet.
    pub letters: VecDeque<RefusedId>,
    pub n_finished: usize,
}

impl Process {
    /// Starts with what the database says; `n_lives` flows have started before.
    pub fn start(
        n_lives: u32,
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
            let mut side = FlowSide {
                stage: Stage::Ended,
                index,
                flow: Arc::clone(flow),
                rules: rules.clone(),
                budget: budget.clone(),
                seed,
                n_lives: 0,
                lives: VecDeque::new(),
                inbox,
                news,
                wake_at: now,
                hints: Vec::new(),
                survivor: Survivor::new(database.places(index)),
                has_finished: false,
                n_idle: 0,
            };
            side.start_machine(n_lives + 1 + place as u32, disk, now);
            side
        };
        let rules = setting.flows.iter().map(|(flow, _)| FlowRules {
            backoff: flow.backoff,
            refused_records: flow.refused_records,
        });
        Process {
            flows: setting.flows.iter().enumerate().map(side).collect(),
            publisher: Publisher::new(rules, setting.n_slots, seed).paced(setting.n_begun),
            to_publisher: VecDeque::new(),
            budget: budget.clone(),
            sent_bytes: 0,
            pending: Pending::default(),
            writing: None,
            calls: Vec::new(),
            orders: VecDeque::new(),
            letters: VecDeque::new(),
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
    pub survivor: &'a mut Survivor,
    pub has_finished: &'a mut bool,
    pub clock_ms: i64,
    pub saved: Vec<Change>,
    /// It did something that others see.
    pub has_acted: bool,
}

impl Around for Surroundings<'_> {
    fn timestamp(&mut self) -> Timestamp {
        Timestamp::from_millisecond(self.clock_ms).unwrap_or_default()
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
        *self.has_finished = true;
        self.to_publisher.push_back(Inbound::Finished(self.index));
    }
    fn save(&mut self, changes: Vec<Change>) {
        self.has_acted = true;
        self.survivor.note(&changes);
        self.saved.extend(changes);
    }
}
