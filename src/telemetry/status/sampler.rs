//! Gathers the status: samples each second, and the whole of it when it is asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::rates::{Rate, Rates, SHOWN, Sample};
use super::{Behind, FilesShown, FlowStatus, Moment, Status, Totals};
use crate::config::FlowId;
use crate::telemetry::counters::{AgentCounters, FlowCounters};
use crate::telemetry::metrics::Metric;

/// The time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// So long samples of single flows are kept: as much as a rate needs.
const FLOW_SAMPLES: Duration = super::rates::RATE_WINDOW;

/// Knows how fast the agent went lately, and all that its flows have counted.
pub struct Sampler {
    counters: Arc<AgentCounters>,
    started_at: Instant,
    /// Bytes of the memory budget that are held now.
    held_bytes: Box<dyn Fn() -> usize + Send + Sync>,
    samples: Mutex<Samples>,
}

struct Samples {
    agent: Rates,
    flows: HashMap<FlowId, FlowSamples>,
}

/// What is remembered of a flow.
struct FlowSamples {
    /// Of which life of the flow this is.
    counters: Arc<FlowCounters>,
    rates: Rates,
    /// At the last sample.
    records_skipped: u64,
    records_truncated: u64,
    records_dead_lettered: u64,
}

/// How fast a flow goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlowSample {
    pub rate: Rate,
    pub caught_up_in: Option<Duration>,
}

impl Sampler {
    /// Without any sample yet.
    pub fn new(
        counters: Arc<AgentCounters>,
        started_at: Instant,
        held_bytes: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Sampler {
        Sampler {
            counters,
            started_at,
            held_bytes: Box::new(held_bytes),
            samples: Mutex::new(Samples {
                agent: Rates::new(SHOWN),
                flows: HashMap::new(),
            }),
        }
    }

    /// The counters that are sampled.
    pub fn counters(&self) -> &AgentCounters {
        &self.counters
    }

    /// Takes a sample of every flow; called each [`SAMPLE_INTERVAL`].
    pub fn sample(&self, at: Instant, now: Timestamp) {
        let mut samples = self.samples();
        let flows = self.counters.flows();
        let retired = self.counters.retired();
        let mut total = Sample {
            at,
            records_sent: retired.records_sent,
            bytes_sent: retired.bytes_sent,
            behind_bytes: 0,
        };
        let is_one_of = |known: &FlowSamples| {
            let mut flows = flows.iter();
            flows.any(|(_, flow)| Arc::ptr_eq(flow, &known.counters))
        };
        samples.flows.retain(|_, known| is_one_of(known));
        for (id, flow) in flows.iter() {
            let sample = sample_of(flow, at);
            total.records_sent += sample.records_sent;
            total.bytes_sent += sample.bytes_sent;
            total.behind_bytes += sample.behind_bytes;
            let known = samples
                .flows
                .entry(id.clone())
                .or_insert_with(|| FlowSamples {
                    counters: Arc::clone(flow),
                    rates: Rates::new(FLOW_SAMPLES),
                    records_skipped: 0,
                    records_truncated: 0,
                    records_dead_lettered: 0,
                });
            known.rates.add(sample);
            known.record(flow, now.as_millisecond());
        }
        samples.agent.add(total);
    }

    /// How the agent is doing at this moment.
    pub fn status(&self, shown: FilesShown, at: Instant, now: Timestamp) -> Status {
        let samples = self.samples();
        let flows: Vec<FlowStatus> = self
            .counters
            .flows()
            .iter()
            .map(|(id, flow)| {
                let sample = samples.flows.get(id).map(|known| FlowSample {
                    rate: known.rates.rate(),
                    caught_up_in: known.rates.caught_up_in(),
                });
                FlowStatus::of(flow, &sample.unwrap_or_default(), shown, (at, now))
            })
            .collect();
        let totals = self.totals(&samples.agent, &flows);
        let moment = |(age, rate, behind_bytes): (Duration, Rate, u64)| Moment {
            seconds_ago: age.as_secs_f64(),
            records_per_second: rate.records_per_second,
            bytes_per_second: rate.bytes_per_second,
            behind_bytes,
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now,
            uptime_seconds: at.saturating_duration_since(self.started_at).as_secs(),
            is_delivering: self.counters.sending.is_turning(at)
                && flows.iter().all(FlowStatus::is_delivering),
            troubles: self.counters.troubles.now(),
            totals,
            history: samples.agent.steps().map(moment).collect(),
            flows,
            reload: self.counters.reload(),
        }
    }

    fn totals(&self, rates: &Rates, flows: &[FlowStatus]) -> Totals {
        let rate = rates.rate();
        let retired = self.counters.retired();
        let bytes = flows.iter().map(|flow| flow.behind.bytes).sum();
        let seconds = flows.iter().map(|flow| flow.behind.seconds);
        Totals {
            records_parsed: retired.records_parsed
                + flows.iter().map(|flow| flow.records.parsed).sum::<u64>(),
            records_sent: retired.records_sent
                + flows.iter().map(|flow| flow.records.sent).sum::<u64>(),
            bytes_sent: retired.bytes_sent + flows.iter().map(|flow| flow.bytes.sent).sum::<u64>(),
            records_per_second: rate.records_per_second,
            bytes_per_second: rate.bytes_per_second,
            behind: Behind {
                bytes,
                seconds: seconds.fold(0.0, f64::max),
                caught_up_in_seconds: rates
                    .caught_up_in()
                    .filter(|_| bytes > 0)
                    .map(|time| time.as_secs()),
            },
            files_followed: flows.iter().map(|flow| flow.files_followed).sum(),
            memory_held_bytes: (self.held_bytes)() as u64,
        }
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowSamples {
    /// Records for CloudWatch what nobody else does, if that is asked for.
    fn record(&mut self, flow: &FlowCounters, now_ms: i64) {
        let Some(metrics) = flow.metrics().filter(|metrics| metrics.is_extended()) else {
            return;
        };
        let (skipped, truncated) = (flow.records_skipped.get(), flow.records_truncated.get());
        let dead_lettered = flow.records_dead_lettered.get();
        let since = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let values = [
            (Metric::BytesBehind, flow.unsent_bytes.get() as f64),
            (
                Metric::SecondsBehind,
                flow.followed().behind_seconds(now_ms),
            ),
            (Metric::FilesFollowed, flow.files_followed.get() as f64),
            (Metric::RecordsSkipped, since(skipped, self.records_skipped)),
            (
                Metric::RecordsTruncated,
                since(truncated, self.records_truncated),
            ),
        ];
        let dead_letters = since(dead_lettered, self.records_dead_lettered);
        let values = values
            .into_iter()
            .chain([(Metric::RecordsDeadLettered, dead_letters)]);
        for (metric, value) in values {
            metrics.record(metric, flow.destination(), value);
        }
        (self.records_skipped, self.records_truncated) = (skipped, truncated);
        self.records_dead_lettered = dead_lettered;
    }
}

fn sample_of(flow: &FlowCounters, at: Instant) -> Sample {
    Sample {
        at,
        records_sent: flow.records_sent.get(),
        bytes_sent: flow.bytes_sent.get(),
        behind_bytes: flow.unsent_bytes.get(),
    }
}
