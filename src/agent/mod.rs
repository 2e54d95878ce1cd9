//! Starts the flows, waits for the stop signal, drains in the order of the data under one deadline.
//!
//! ```text
//! stop ─▶ flows read no more and send what is open ─▶ publisher: answers, watermarks ─▶ flows save their places ─▶
//! checkpoints are written, handed back and closed ─▶ the last progress line
//! ```

mod addresses;
mod flows;
mod places;
mod relay;
mod reload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::aws::Clients;
use crate::aws::instance::Instance;
use crate::checkpoint::{self, CheckpointWriter, FlowPlaces, OpenError};
use crate::config::{Config, Destination, Flow, ProcessingOption, RefusedRecords, limits};
use crate::contained::tell_contained;
use crate::dead_letters::{DeadLetterFile, DeadLetterWriter};
use crate::flow::watchdog;
use crate::process::Ec2Metadata;
use crate::publish::budget::{BUDGET_BYTES, Budget};
use crate::publish::firehose::FirehoseSink;
use crate::publish::kinesis::{KinesisSink, WireChoice};
use crate::publish::publisher::{FlowRules, Publisher};
use crate::publish::run::{self, Inbound};
use crate::publish::sink::Sink;
use crate::publish::wire::Layout;
use crate::record::FlowIndex;
use crate::tail::handles::{self, Handles};
use crate::tail::wake::Watch;
use crate::telemetry::counters::AgentCounters;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress::{self, MetricLines};
use crate::telemetry::status::Sampler;
use crate::telemetry::troubles::AgentTroubles;
use crate::telemetry::web::Asked;
use crate::telemetry::{cloudwatch, events};
use addresses::tell_addresses;
use flows::{Common, Flows};
use places::{open_checkpoints, raise_open_files_limit};
use relay::Relay;
pub use reload::Reloaded;

/// Calls that are begun within a moment for each sending thread: enough that none is ever idle.
const CALLS_BEGUN_PER_THREAD: usize = 8;
/// On a single core a distant service would get too few otherwise.
const SENDING_THREADS_MIN: usize = 2;
/// How long the start waits for the instance metadata, where `ADDEC2METADATA` asks for it.
const FIRST_METADATA_WAIT: Duration = Duration::from_secs(1);
/// How long flows may take to save their places at the end; one whose thread hangs is left behind.
const FLOWS_END_WAIT: Duration = Duration::from_secs(5);

/// Whether progress outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Checkpoints are read at start and kept.
    Kept,
    /// `--local`: nothing saved is touched; every file is read as `initialPosition` says.
    None,
}

/// An agent at work. Must be made and used within a tokio runtime.
pub struct Agent {
    config: Arc<Config>,
    flows: Flows,
    /// `None`: it has ended by a defect.
    publisher: Option<JoinHandle<()>>,
    checkpoints: Option<CheckpointWriter>,
    counters: Arc<AgentCounters>,
    budget: Budget,
    started_at: Instant,
    stop_metrics: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
    status: JoinHandle<()>,
    watchdog: JoinHandle<()>,
    /// Whoever asks how the agent is doing.
    asked: Asked,
}

/// Why the agent couldn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Checkpoints(#[from] OpenError),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl StartError {
    /// Whether a later start may do better although nobody did anything: another program lets go of the checkpoints, a
    /// volume has room again. What a newer program wrote stays what it is, and so does what the environment says.
    pub fn can_pass(&self) -> bool {
        match self {
            StartError::Checkpoints(error) => {
                !matches!(error, OpenError::Newer { .. } | OpenError::Foreign { .. })
            }
            StartError::Other(error) => error.chain().any(|cause| cause.is::<checkpoint::Error>()),
        }
    }
}

impl Agent {
    /// Opens the checkpoints and starts every flow. `troubles` has what is wrong with the agent as a whole, such as with
    /// its log.
    ///
    /// Neither a missing region nor missing credentials keep it from starting: a flow that can't send says so and goes
    /// on once it can.
    pub async fn start(
        config: Config,
        memory: Memory,
        troubles: AgentTroubles,
    ) -> Result<Agent, StartError> {
        let started_at = Instant::now();
        tell_contained(events::defect_contained);
        let config = Arc::new(config);
        let n_files_max = raise_open_files_limit();
        let clients = Clients::new(&config)?;
        let slots = slots_of(&config);
        let handles = Handles::new(handles::limit(n_files_max, slots));
        progress::sending_threads(slots).emit();
        let (checkpoints, places) = match memory {
            Memory::Kept => {
                let (writer, places) = open_checkpoints(&config, &troubles)?;
                (Some(writer), places)
            }
            Memory::None => (
                None,
                config.flows.iter().map(|_| FlowPlaces::default()).collect(),
            ),
        };
        progress::starting().emit();
        let metrics = config
            .cloudwatch
            .emit
            .then(|| Arc::new(Metrics::new(config.cloudwatch.extended)));
        let counters = Arc::new(AgentCounters::new(
            &config,
            metrics.as_ref(),
            troubles.clone(),
        ));
        let budget = Budget::new(BUDGET_BYTES, config.flows.len());
        let ec2 = instance_metadata(&config.flows, &clients).await;
        let (batches, inbox) = mpsc::unbounded_channel();
        let dead_letters = dead_letters(&config.flows, &config, memory, &batches, &troubles)?;
        let watch = Watch::start()
            .inspect_err(|error| events::no_change_events(&troubles, error))
            .ok();
        let relay = Arc::new(Relay::new(
            Arc::clone(&clients),
            Arc::clone(&counters),
            dead_letters,
        ));
        let mut flows = Flows::new(Common {
            config: Arc::clone(&config),
            memory,
            sinks: Sinks::new(&config, &clients, &budget),
            budget: budget.clone(),
            publisher: batches,
            checkpoints: checkpoints.as_ref().map(CheckpointWriter::handle),
            watch,
            handles,
            metrics: metrics.clone(),
            has_ec2: ec2.is_some(),
            ec2: ec2.unwrap_or_else(|| Arc::new(|| None)),
            relay: Arc::clone(&relay),
            clients: Arc::clone(&clients),
        });
        for ((flow, places), (_, counters)) in
            config.flows.iter().zip(places).zip(counters.flows().iter())
        {
            flows.start(flow, Arc::clone(counters), places)?;
        }
        let watchdog = tokio::spawn(watchdog::watch(flows.at_work(), Arc::clone(&counters)));
        let machine = Publisher::new(
            config.flows.iter().map(|flow| rules_of(flow, memory)),
            slots,
            fastrand::u64(..),
        );
        // Whoever says how many calls are in flight has so many.
        let machine = match config.publish.slots {
            Some(_) => machine,
            None => {
                let n_threads = tokio::runtime::Handle::current().metrics().num_workers();
                machine.paced(CALLS_BEGUN_PER_THREAD * n_threads.max(SENDING_THREADS_MIN))
            }
        };
        let publisher = tokio::spawn(run::run(
            machine,
            flows.sinks(),
            inbox,
            budget.clone(),
            relay,
        ));
        let sampler = Sampler::new(Arc::clone(&counters), started_at, {
            let budget = budget.clone();
            move || budget.held_bytes()
        });
        let asked = Asked::start(&config.listening, sampler, memory == Memory::Kept).await;
        progress::started(started_at.elapsed()).emit();
        tokio::spawn(tell_addresses(Arc::clone(&clients), Arc::clone(&config)));
        let stop_metrics =
            metrics.map(|metrics| publish_metrics(&config, &clients, metrics, troubles));
        let status = tokio::spawn(report_status(
            Arc::clone(&config),
            Arc::clone(&counters),
            started_at,
        ));
        Ok(Agent {
            config,
            flows,
            publisher: Some(publisher),
            checkpoints,
            counters,
            budget,
            started_at,
            stop_metrics,
            status,
            asked,
            watchdog,
        })
    }

    /// What every flow has done so far.
    pub fn counters(&self) -> &Arc<AgentCounters> {
        &self.counters
    }

    /// How it goes, for a service manager's status line.
    pub fn in_one_line(&self) -> String {
        progress::in_one_line(&self.counters.snapshot())
    }

    /// Bytes of the byte budget that are held now.
    pub fn held_bytes(&self) -> usize {
        self.budget.held_bytes()
    }

    /// Returns if the sending side ends although nobody asked it to: a defect, after which nothing is sent any more.
    pub async fn sending_died(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            let words = publisher.await.err().map(|error| error.to_string());
            self.publisher = None;
            events::sending_died(&words.unwrap_or_default());
        }
    }

    /// Stops: reading at once, sends in flight within `shutdownTimeoutMillis`, then the checkpoints.
    pub async fn stop(mut self) {
        progress::stopping().emit();
        let asked_at = Instant::now();
        self.flows.stop();
        let mut is_drained = false;
        if let Some(mut publisher) = self.publisher.take() {
            let drained = tokio::time::timeout(self.config.shutdown_timeout, &mut publisher);
            is_drained = drained.await.is_ok();
            if !is_drained {
                publisher.abort();
            }
        }
        let ended = tokio::task::spawn_blocking(move || {
            let hand_back = self.flows.ended(Instant::now() + FLOWS_END_WAIT);
            let saved = self
                .checkpoints
                .map_or(Ok(()), |writer| writer.stop(hand_back));
            (saved, self.counters, self.config)
        });
        self.status.abort();
        self.watchdog.abort();
        let Ok((saved, counters, config)) = ended.await else {
            return;
        };
        if let Err(error) = saved {
            events::checkpoints_unwritable(&counters.troubles, &error);
        }
        self.asked.last_sample();
        if let Some((stop, task)) = self.stop_metrics {
            let _ = stop.send(());
            let _ = task.await;
        }
        if !is_drained {
            let total = counters.snapshot().total();
            let unsent = total
                .records_parsed
                .saturating_sub(total.records_sent + total.records_skipped);
            events::stopped_with_unsent(unsent, asked_at.elapsed());
        }
        events::status(&counters, self.started_at.elapsed(), metric_lines(&config));
        drop(self.asked);
    }
}

/// The thread that keeps refused records, where a flow may need it.
fn dead_letters(
    flows: &[Arc<Flow>],
    config: &Config,
    memory: Memory,
    publisher: &mpsc::UnboundedSender<Inbound>,
    troubles: &AgentTroubles,
) -> anyhow::Result<Option<DeadLetterWriter>> {
    let are_kept =
        |flow: &Arc<Flow>| rules_of(flow, memory).refused_records == RefusedRecords::DeadLetter;
    if !flows.iter().any(are_kept) {
        return Ok(None);
    }
    let file = DeadLetterFile::new(
        config.dead_letters.path.clone(),
        config.dead_letters.bytes_max,
    );
    let publisher = publisher.downgrade();
    let kept = move |id| {
        // Where the publisher is gone nobody waits for it.
        if let Some(publisher) = publisher.upgrade() {
            let _ = publisher.send(Inbound::Kept(id));
        }
    };
    let writer = DeadLetterWriter::start(file, troubles.clone(), kept)
        .context("starting the dead letters' writer")?;
    Ok(Some(writer))
}

/// What a flow's configuration says about sending. An agent that remembers nothing keeps no dead letters.
fn rules_of(flow: &Flow, memory: Memory) -> FlowRules {
    let refused_records = match (memory, flow.refused_records) {
        (Memory::None, RefusedRecords::DeadLetter) => RefusedRecords::Skip,
        (_, refused_records) => refused_records,
    };
    FlowRules {
        backoff: flow.backoff,
        refused_records,
    }
}

/// Calls that may be in flight at once.
pub fn slots_of(config: &Config) -> usize {
    let wanted = config
        .publish
        .slots
        .map_or(limits::SEND_SLOTS_MAX, usize::from);
    wanted.min(config.publish.connections_max.max(1))
}

fn metric_lines(config: &Config) -> MetricLines {
    MetricLines {
        metrics: config.log.emit_metrics,
        internal: config.log.emit_internal_metrics,
    }
}

/// Makes what carries calls.
struct Sinks {
    clients: Arc<Clients>,
    wire: Arc<WireChoice>,
    budget: Budget,
}

impl Sinks {
    fn new(config: &Config, clients: &Arc<Clients>, budget: &Budget) -> Sinks {
        Sinks {
            clients: Arc::clone(clients),
            wire: Arc::new(WireChoice::new(config.publish.kinesis_wire)),
            budget: budget.clone(),
        }
    }

    /// The one of this flow.
    fn sink(&self, flow: FlowIndex, destination: &Destination) -> Arc<dyn Sink> {
        let (clients, layout) = (Arc::clone(&self.clients), Layout::new(destination));
        match destination {
            Destination::Kinesis(stream) => Arc::new(KinesisSink::new(
                clients,
                stream.clone(),
                layout,
                Arc::clone(&self.wire),
                flow,
                self.budget.clone(),
            )),
            Destination::Firehose(_) => Arc::new(FirehoseSink::new(clients, layout)),
        }
    }
}

/// What carries calls to these destinations, one for each; the flows of `budget` are in the same order.
pub fn sinks<'d>(
    destinations: impl IntoIterator<Item = &'d Destination>,
    config: &Config,
    clients: &Arc<Clients>,
    budget: &Budget,
) -> Vec<Arc<dyn Sink>> {
    let sinks = Sinks::new(config, clients, budget);
    let sink = |(place, destination)| sinks.sink(FlowIndex(place), destination);
    destinations.into_iter().enumerate().map(sink).collect()
}

type CurrentMetadata = Arc<dyn Fn() -> Option<Arc<Ec2Metadata>> + Send + Sync>;

/// What `ADDEC2METADATA` adds, kept fresh beside the data's way. The first answer is waited for a moment, so that the
/// first records have it where it is to be had; a slow metadata service never stops reading. `None`: no flow asks for it.
async fn instance_metadata(flows: &[Arc<Flow>], clients: &Arc<Clients>) -> Option<CurrentMetadata> {
    let ttl = |option: &ProcessingOption| match option {
        ProcessingOption::AddEc2Metadata(options) => Some(options.ttl),
        _ => None,
    };
    let ttls = flows
        .iter()
        .flat_map(|flow| flow.processing.iter().filter_map(ttl));
    let ttl = ttls.min()?;
    let instance = Instance::new();
    tokio::spawn(instance.clone().keep_fresh(ttl, Arc::clone(clients)));
    instance.first_answer(FIRST_METADATA_WAIT).await;
    Some(Arc::new(move || instance.current()))
}

type StopMetrics = (tokio::sync::oneshot::Sender<()>, JoinHandle<()>);

fn publish_metrics(
    config: &Arc<Config>,
    clients: &Arc<Clients>,
    metrics: Arc<Metrics>,
    troubles: AgentTroubles,
) -> StopMetrics {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (clients, config) = (Arc::clone(clients), Arc::clone(config));
    let task = tokio::spawn(async move {
        let instance = match config.cloudwatch.tag_instance {
            true => Some(clients.instance_name().await),
            false => None,
        };
        // CloudWatch always has a region: us-east-1, if nothing says otherwise.
        let Ok(client) = clients.cloudwatch().await else {
            return;
        };
        let settings = cloudwatch::Settings::new(&config.cloudwatch, instance);
        let stopped = async { _ = stopped.await };
        cloudwatch::run(client.clone(), metrics, settings, troubles, stopped).await;
    });
    (stop, task)
}

async fn report_status(config: Arc<Config>, counters: Arc<AgentCounters>, started_at: Instant) {
    let Some(period) = config.log.status_period else {
        return;
    };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        events::status(&counters, started_at.elapsed(), metric_lines(&config));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_support::{accepted, file_with};

    #[tokio::test]
    async fn a_sending_side_that_dies_is_noticed_and_the_agent_can_still_stop() {
        // Nothing listens there, and nothing is followed.
        let top = "\"kinesis.endpoint\": \"http://127.0.0.1:1\", \"kinesis.region\": \"us-east-1\", \
                   \"cloudwatch.emitMetrics\": false";
        let config = accepted(&file_with(top, "\"kinesisStream\": \"s\"")).config;
        let mut agent = Agent::start(config, Memory::None, AgentTroubles::default())
            .await
            .unwrap();
        agent.publisher.as_ref().unwrap().abort();
        agent.sending_died().await;
        agent.stop().await;
    }
}
