//! What the publisher has to tell, passed on: acknowledgements to the flows, the rest to the log and the counters.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;

use crate::aws::Clients;
use crate::config::Destination;
use crate::dead_letters::DeadLetterWriter;
use crate::flow::Inbox;
use crate::publish::publisher::{Queue, Refused, RefusedId, Reported};
use crate::publish::run::Listener;
use crate::record::{CursorId, FlowIndex};
use crate::telemetry::counters::{AgentCounters, FlowCounters};
use crate::telemetry::events;

/// Where news of one flow go.
#[derive(Clone)]
pub(super) struct Relayed {
    pub inbox: Arc<Inbox>,
    pub counters: Arc<FlowCounters>,
    pub destination: Destination,
}

/// Passes the publisher's news on: acknowledgements to the flows, the rest to the log and the counters.
pub(super) struct Relay {
    flows: RwLock<HashMap<FlowIndex, Relayed>>,
    clients: Arc<Clients>,
    counters: Arc<AgentCounters>,
    /// Unset: no flow keeps any.
    dead_letters: OnceLock<DeadLetterWriter>,
}

impl Relay {
    /// For no flow yet.
    pub fn new(
        clients: Arc<Clients>,
        counters: Arc<AgentCounters>,
        dead_letters: Option<DeadLetterWriter>,
    ) -> Relay {
        Relay {
            flows: RwLock::default(),
            clients,
            counters,
            dead_letters: dead_letters.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// News of this flow go there.
    pub fn add(&self, flow: FlowIndex, relayed: Relayed) {
        let mut flows = self.flows.write().unwrap_or_else(PoisonError::into_inner);
        flows.insert(flow, relayed);
    }

    /// News of this flow go nowhere any more.
    pub fn remove(&self, flow: FlowIndex) {
        let mut flows = self.flows.write().unwrap_or_else(PoisonError::into_inner);
        flows.remove(&flow);
    }

    /// Whether refused records are kept already.
    pub fn keeps(&self) -> bool {
        self.dead_letters.get().is_some()
    }

    /// Refused records are kept by this one, unless they are already.
    pub fn keep_with(&self, writer: DeadLetterWriter) {
        let _ = self.dead_letters.set(writer);
    }

    fn of(&self, flow: FlowIndex) -> Option<Relayed> {
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        flows.get(&flow).cloned()
    }

    fn inbox(&self, flow: FlowIndex) -> Option<Arc<Inbox>> {
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        flows.get(&flow).map(|relayed| Arc::clone(&relayed.inbox))
    }
}

impl Listener for Relay {
    fn turns(&self, now: Instant) {
        self.counters.sending.turns(now);
    }

    fn advanced(&self, flow: FlowIndex, cursor: CursorId, offset: u64) {
        if let Some(inbox) = self.inbox(flow) {
            inbox.advanced(cursor, offset);
        }
    }

    fn queued(&self, flow: FlowIndex, queue: Queue, n_arrived: usize) {
        if let Some(inbox) = self.inbox(flow) {
            inbox.queued(queue, n_arrived);
        }
    }

    fn refused(&self, id: RefusedId, flow: FlowIndex, refused: Refused) {
        if let (Some(dead_letters), Some(of)) = (self.dead_letters.get(), self.of(flow)) {
            events::record_isolated(&of.counters);
            dead_letters.keep(id, &refused, &of.counters, Timestamp::now());
        }
    }

    fn reported(&self, flow: FlowIndex, event: &Reported) {
        let Some(Relayed {
            counters,
            destination,
            ..
        }) = self.of(flow)
        else {
            return;
        };
        let counters = &counters;
        match event {
            Reported::Answered {
                n_sent,
                n_accepted,
                bytes_accepted,
                n_throttled,
                latency,
                first_error,
            } => {
                let error = first_error
                    .as_ref()
                    .map(|error| format!("{}: {}", error.code, error.message));
                let sent = events::BatchSent {
                    records: *n_sent as u64,
                    records_failed: (n_sent - n_accepted) as u64,
                    records_throttled: *n_throttled as u64,
                    bytes: *bytes_accepted as u64,
                    latency: *latency,
                    error: error.as_deref(),
                };
                events::batch_sent(counters, &sent);
            }
            Reported::Failed {
                n_sent,
                failure,
                delay,
                latency,
            } => {
                let endpoint = self.clients.endpoint_text(&destination);
                events::call_failed(
                    counters,
                    *n_sent as u64,
                    failure,
                    &endpoint,
                    *latency,
                    *delay,
                );
            }
            Reported::Recovered { n_failures } => events::recovered(counters, *n_failures),
            Reported::GivenUp { error } => {
                let text = format!("{}: {}", error.code, error.message);
                events::records_refused(counters, 1, &text);
            }
        }
    }
}
