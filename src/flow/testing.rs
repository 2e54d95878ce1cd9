//! A machine's surroundings in tests.

use std::path::PathBuf;
use std::sync::Arc;

use super::culprits::Culprits;
use super::inbox::Inbox;
use super::machine::{Around, Parts};
use crate::checkpoint::{Change, FlowPlaces};
use crate::config::Flow;
use crate::process::Ec2Metadata;
use crate::publish::budget::Budget;
use crate::publish::wire::data_of;
use crate::record::{Batch, FlowIndex};
use crate::tail::{Hint, Rules};
use crate::telemetry::counters::FlowCounters;

/// What is sent.
#[derive(Default)]
pub struct Sent(pub Vec<String>, pub Vec<Batch>);

impl Around for Sent {
    fn timestamp(&mut self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
    fn ec2(&mut self) -> Option<Arc<Ec2Metadata>> {
        None
    }
    fn hints(&mut self) -> Vec<Hint> {
        Vec::new()
    }
    fn watch(&mut self, _folders: &[PathBuf]) -> bool {
        true
    }
    fn send(&mut self, batch: Batch) {
        let texts = batch.records.iter().map(|record| data_of(&batch, record));
        let texts = texts.map(|data| String::from_utf8_lossy(data).into_owned());
        self.0.extend(texts);
        self.1.push(batch);
    }
    fn finished(&mut self) {}
    fn save(&mut self, _changes: Vec<Change>) {}
}

/// A flow in its first life, of which nothing is known.
pub fn parts(flow: Arc<Flow>, counters: &Arc<FlowCounters>) -> Parts {
    let (inbox, _receiver) = Inbox::new(8);
    Parts {
        index: FlowIndex(0),
        rules: Rules::new(&flow).unwrap(),
        places: FlowPlaces::default(),
        budget: Budget::new(8 << 20, 1),
        inbox,
        counters: Arc::clone(counters),
        seed: 1,
        life: 0,
        culprits: Culprits::default(),
        flow,
    }
}

/// The counters of a flow.
pub fn counters_of(flow: &Flow) -> Arc<FlowCounters> {
    let destination = flow.destination.clone();
    Arc::new(FlowCounters::new(flow.id.clone(), destination, None))
}
