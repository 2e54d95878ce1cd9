//! What the publisher has to tell, passed on: acknowledgements to the flows, the rest to the log and the counters.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::aws::Clients;
use crate::config::Config;
use crate::dead_letters::DeadLetterWriter;
use crate::flow::Inbox;
use crate::publish::publisher::{Refused, RefusedId, Reported};
use crate::publish::run::Listener;
use crate::record::{CursorId, FlowIndex};
use crate::telemetry::counters::AgentCounters;
use crate::telemetry::events;

/// Passes the publisher's news on: acknowledgements to the flows, the rest to the log and the counters.
pub(super) struct Relay {
    pub inboxes: Vec<Arc<Inbox>>,
    pub counters: Arc<AgentCounters>,
    pub clients: Arc<Clients>,
    pub config: Arc<Config>,
    /// `None`: no flow keeps any.
    pub dead_letters: Option<DeadLetterWriter>,
}

impl Listener for Relay {
    fn turns(&self, now: Instant) {
        self.counters.sending.turns(now);
    }

    fn advanced(&self, flow: FlowIndex, cursor: CursorId, offset: u64) {
        self.inboxes[flow.0].advanced(cursor, offset);
    }

    fn queued(&self, flow: FlowIndex, n_batches: usize, n_arrived: usize) {
        self.inboxes[flow.0].queued(n_batches, n_arrived);
    }

    fn refused(&self, id: RefusedId, flow: FlowIndex, refused: Refused) {
        if let Some(dead_letters) = &self.dead_letters {
            let counters = &self.counters.flows[flow.0].1;
            events::record_isolated(counters);
            dead_letters.keep(id, &refused, counters, Timestamp::now());
        }
    }

    fn reported(&self, flow: FlowIndex, event: &Reported) {
        let counters = &self.counters.flows[flow.0].1;
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
                let destination = &self.config.flows[flow.0].destination;
                let endpoint = self.clients.endpoint_text(destination);
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
