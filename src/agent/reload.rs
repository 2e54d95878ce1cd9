//! Another configuration while the agent runs.
//!
//! ```text
//! new ones get their place ─▶ what goes or changes reads no more and sends what is open ─▶ saves its places, ends ─▶
//! places of the new ones are read ─▶ they start
//! ```
//!
//! A flow whose configuration says what it said isn't touched: its thread, its handles, its calls stay as they are. One that
//! changed is drained and started anew from its checkpoints. Keys of the agent as a whole are as they were at its start.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::flows::{Reserved, Running, end};
use super::places::places_of;
use super::{Agent, FLOWS_END_WAIT, dead_letters, instance_metadata, tell_addresses, watchdog};
use crate::checkpoint::{FlowPlaces, Reader};
use crate::config::{Config, Destination, Flow, FlowId};
use crate::publish::run::Inbound;
use crate::telemetry::counters::Reload;
use crate::telemetry::events;

/// Whether a configuration is in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// It is.
    Done,
    /// The agent is to stop, so nothing new was started.
    Stopping,
}

/// What another configuration makes of a flow.
struct Plan {
    /// Those that it says nothing new of.
    kept: Vec<Running>,
    /// Those that it has no more, and those that it has otherwise.
    leaving: Vec<Running>,
    /// Those that it has otherwise, and those that are new.
    coming: Vec<Arc<Flow>>,
    n_changed: usize,
}

impl Agent {
    /// Takes the flows of `new`, and goes on with what they have in common with the present ones. If `stopped` comes while
    /// flows are drained, the rest is left to [`Agent::stop`].
    pub async fn reload(&mut self, new: &Config, stopped: impl Future<Output = ()>) -> Reloaded {
        let after_restart = self.config.keys_changed(new);
        let plan = self.plan(new);
        let (n_changed, n_coming) = (plan.n_changed, plan.coming.len());
        let (n_kept, n_removed) = (plan.kept.len(), plan.leaving.len() - n_changed);
        self.flows.running = plan.kept;
        let had = Services::of(
            self.flows
                .running
                .iter()
                .chain(&plan.leaving)
                .map(|r| &r.flow),
        );
        self.prepare(&plan.coming).await;
        let coming: Vec<Reserved> = plan
            .coming
            .iter()
            .map(|flow| self.flows.reserve(flow))
            .collect();
        if let Reloaded::Stopping = self.drain(&plan.leaving, stopped).await {
            for reserved in &coming {
                self.flows.release(reserved);
            }
            self.flows.running.extend(plan.leaving);
            return Reloaded::Stopping;
        }
        let places = self.end_and_read(plan.leaving, &coming, new).await;
        self.start_all(coming, places);
        self.in_order_of(new);
        self.tell_new_services(had, new);
        events::configuration_reloaded(n_coming - n_changed, n_removed, n_changed, n_kept);
        if !after_restart.is_empty() {
            events::after_restart(&after_restart);
        }
        self.counters.set_reload(Reload {
            at: Timestamp::now(),
            refused: Vec::new(),
            after_restart,
        });
        Reloaded::Done
    }

    /// Another configuration was refused, for these reasons: the present one goes on.
    pub fn refused(&self, findings: Vec<String>) {
        events::configuration_refused(&findings);
        self.counters.set_reload(Reload {
            at: Timestamp::now(),
            refused: findings,
            after_restart: Vec::new(),
        });
    }

    fn plan(&mut self, new: &Config) -> Plan {
        let wanted: HashMap<&FlowId, &Arc<Flow>> =
            new.flows.iter().map(|flow| (&flow.id, flow)).collect();
        let running = std::mem::take(&mut self.flows.running);
        let is_kept = |running: &Running| {
            let flow = wanted.get(&running.flow.id);
            flow.is_some_and(|flow| flow.written == running.flow.written)
        };
        let (kept, leaving): (Vec<_>, Vec<_>) = running.into_iter().partition(is_kept);
        let has = |running: &[Running], flow: &Flow| {
            running.iter().any(|running| running.flow.id == flow.id)
        };
        let coming: Vec<_> = new
            .flows
            .iter()
            .filter(|flow| !has(&kept, flow))
            .cloned()
            .collect();
        Plan {
            n_changed: coming.iter().filter(|flow| has(&leaving, flow)).count(),
            kept,
            leaving,
            coming,
        }
    }

    /// What flows need that none has needed so far.
    async fn prepare(&mut self, coming: &[Arc<Flow>]) {
        let common = &mut self.flows.common;
        if !common.has_ec2
            && let Some(metadata) = instance_metadata(coming, &common.clients).await
        {
            common.ec2 = metadata;
            common.has_ec2 = true;
        }
        if !common.relay.keeps() {
            let (config, publisher) = (&common.config, &common.publisher);
            let troubles = &self.counters.troubles;
            match dead_letters(coming, config, common.memory, publisher, troubles) {
                Ok(writer) => _ = writer.map(|writer| common.relay.keep_with(writer)),
                Err(error) => events::flow_not_started("dead letters", &error),
            }
        }
    }

    /// Has these flows send what they have read, within the time that a stop has for it.
    async fn drain(&self, leaving: &[Running], stopped: impl Future<Output = ()>) -> Reloaded {
        let mut gone: Vec<_> = leaving
            .iter()
            .map(|running| self.flows.leave(running))
            .collect();
        let all_gone = async {
            for gone in &mut gone {
                let _ = gone.await;
            }
        };
        tokio::select! {
            () = stopped => return Reloaded::Stopping,
            // What wasn't answered by then is sent again from the checkpoint.
            _ = tokio::time::timeout(self.config.shutdown_timeout, all_gone) => {}
        }
        for (running, gone) in leaving.iter().zip(&mut gone) {
            if gone.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                let _ = self
                    .flows
                    .common
                    .publisher
                    .send(Inbound::GivenUp(running.index));
            }
        }
        Reloaded::Done
    }

    /// Ends the flows that leave, and reads from where the coming ones go on; `None` if that can't be read.
    async fn end_and_read(
        &self,
        leaving: Vec<Running>,
        coming: &[Reserved],
        new: &Config,
    ) -> Option<Vec<FlowPlaces>> {
        let indexes: Vec<_> = leaving.iter().map(|running| running.index).collect();
        let writer = self.flows.common.checkpoints.clone();
        let checkpoints = self.config.checkpoints.clone();
        let coming: Vec<_> = coming
            .iter()
            .map(|reserved| Arc::clone(&reserved.flow))
            .collect();
        let configured: BTreeSet<FlowId> = new.flows.iter().map(|flow| flow.id.clone()).collect();
        let read = tokio::task::spawn_blocking(move || {
            end(leaving, Instant::now() + FLOWS_END_WAIT);
            let Some(writer) = writer else {
                return Ok(coming.iter().map(|_| FlowPlaces::default()).collect());
            };
            writer.flush()?;
            let reader = Reader::open(&checkpoints)?;
            let configured = configured.iter().collect();
            let places = coming
                .iter()
                .map(|flow| places_of(flow, &configured, &reader));
            Ok::<_, anyhow::Error>(places.collect::<Result<Vec<_>, _>>()?)
        });
        let read = read.await;
        for index in indexes {
            self.flows.common.budget.retire(index);
            self.flows.common.relay.remove(index);
        }
        match read {
            Ok(Ok(places)) => Some(places),
            Ok(Err(error)) => {
                events::flow_not_started("the new flows", &error);
                None
            }
            // It panicked, and has said so.
            Err(_) => None,
        }
    }

    fn start_all(&mut self, coming: Vec<Reserved>, places: Option<Vec<FlowPlaces>>) {
        let Some(places) = places else {
            coming
                .iter()
                .for_each(|reserved| self.flows.release(reserved));
            return;
        };
        for (reserved, places) in coming.iter().zip(places) {
            if let Err(error) = self.flows.start_reserved(reserved, places) {
                events::flow_not_started(&reserved.flow.id.0, &error);
                self.flows.release(reserved);
            }
        }
    }

    /// The flows stand as the new configuration has them, for whoever looks at them.
    fn in_order_of(&mut self, new: &Config) {
        let place: HashMap<&FlowId, usize> = new
            .flows
            .iter()
            .enumerate()
            .map(|(place, flow)| (&flow.id, place))
            .collect();
        self.flows
            .running
            .sort_by_key(|running| place.get(&running.flow.id).copied());
        self.counters.replace(self.flows.counters());
        self.watchdog.abort();
        self.watchdog = tokio::spawn(watchdog::watch(
            self.flows.at_work(),
            Arc::clone(&self.counters),
        ));
    }

    /// Where calls go to a service that no flow has used so far.
    fn tell_new_services(&self, had: Services, new: &Config) {
        let has = Services::of(&new.flows);
        let flows: Vec<Arc<Flow>> = new
            .flows
            .iter()
            .filter(|flow| match flow.destination {
                Destination::Kinesis(_) => has.kinesis && !had.kinesis,
                Destination::Firehose(_) => has.firehose && !had.firehose,
            })
            .cloned()
            .collect();
        if !flows.is_empty() {
            let config = Config {
                flows,
                ..Config::clone(&self.config)
            };
            let clients = Arc::clone(&self.flows.common.clients);
            tokio::spawn(tell_addresses(clients, Arc::new(config)));
        }
    }
}

/// Which services flows send to.
#[derive(Debug, Clone, Copy)]
struct Services {
    kinesis: bool,
    firehose: bool,
}

impl Services {
    fn of<'f>(flows: impl IntoIterator<Item = &'f Arc<Flow>>) -> Services {
        let mut services = Services {
            kinesis: false,
            firehose: false,
        };
        for flow in flows {
            match flow.destination {
                Destination::Kinesis(_) => services.kinesis = true,
                Destination::Firehose(_) => services.firehose = true,
            }
        }
        services
    }
}
