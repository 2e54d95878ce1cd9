//! What every flow has done since the start, as plain numbers that any thread may add to.
//!
//! Added to once a turn or once a call, never per record. No number orders another one: a snapshot taken while a call
//! is counted may hold its records and not yet its bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Destination, Flow, FlowId};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Followed;
use crate::telemetry::troubles::{AgentTroubles, Troubles};
use crate::telemetry::turning::Turning;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is what it was last set to.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a record was sent as it is, although it should have been processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawReason {
    /// The record isn't what the option takes.
    NotConvertible,
    /// `ADDEC2METADATA` on something that isn't a JSON object.
    NotAnObject,
    /// `ADDEC2METADATA` where the instance metadata can't be had.
    NoInstanceMetadata,
    /// The option itself can't work, such as a delimiter that is no pattern.
    BadOption,
    /// A pattern gave up at its step limit.
    PatternTooCostly,
    /// A defect of the agent showed.
    Defect,
}

impl RawReason {
    pub const ALL: [RawReason; 6] = [
        RawReason::NotConvertible,
        RawReason::NotAnObject,
        RawReason::NoInstanceMetadata,
        RawReason::BadOption,
        RawReason::PatternTooCostly,
        RawReason::Defect,
    ];

    /// A word for names of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RawReason::NotConvertible => "not_convertible",
            RawReason::NotAnObject => "not_an_object",
            RawReason::NoInstanceMetadata => "no_instance_metadata",
            RawReason::BadOption => "bad_option",
            RawReason::PatternTooCostly => "pattern_too_costly",
            RawReason::Defect => "defect",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why a record wasn't sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// It is a line that `skipLinesMatching` matches.
    Line,
    /// `LOGTOJSON`: it doesn't match.
    NoMatch,
    /// `LOGTOJSON`: the pattern has another number of groups than there are names.
    GroupCount,
    /// It ended the flow by a defect of the agent, each time.
    Defect,
}

impl SkipReason {
    pub const ALL: [SkipReason; 4] = [
        SkipReason::Line,
        SkipReason::NoMatch,
        SkipReason::GroupCount,
        SkipReason::Defect,
    ];

    /// A word for names of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Line => "line",
            SkipReason::NoMatch => "no_match",
            SkipReason::GroupCount => "group_count",
            SkipReason::Defect => "defect",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The trouble of a flow in which bytes wait and nothing moves.
pub const IS_STUCK: &str = "flow_is_stuck";

/// What one flow has done.
#[derive(Debug)]
pub struct FlowCounters {
    flow: FlowId,
    destination: Destination,
    /// Where calls are recorded for CloudWatch; `None`: metrics are off.
    metrics: Option<Arc<Metrics>>,
    /// Records read and split.
    pub records_parsed: Counter,
    /// Their bytes in the file.
    pub bytes_parsed: Counter,
    /// Records that processing changed.
    pub records_transformed: Counter,
    /// Records that processing dropped.
    pub records_skipped: Counter,
    /// Records cut to the longest that the service takes.
    pub records_truncated: Counter,
    records_raw: [Counter; RawReason::ALL.len()],
    records_skipped_by: [Counter; SkipReason::ALL.len()],
    /// Records that gave no partition key and have a random one.
    pub records_keyless: Counter,
    /// Bytes known to be lost before they were read.
    pub bytes_lost: Counter,
    /// Records that the service accepted.
    pub records_sent: Counter,
    /// Their bytes of data.
    pub bytes_sent: Counter,
    /// Records that were given up because the service will never take them.
    pub records_refused: Counter,
    /// Records that the service will never take and that are kept as dead letters.
    pub records_dead_lettered: Counter,
    /// Times that the flow was started anew after a defect.
    pub restarts: Counter,
    /// Calls made.
    pub calls: Counter,
    /// Records in those calls, each as often as it was tried.
    pub send_attempts: Counter,
    /// Records in those calls that were not accepted.
    pub send_errors: Counter,
    /// Calls that failed as a whole.
    pub service_errors: Counter,
    /// Records that were not accepted because the stream was over its limits.
    pub throttled_records: Counter,
    /// Bytes of followed files not yet read.
    pub bytes_behind: Gauge,
    /// Files followed.
    pub files_followed: Gauge,
    /// Files that match and are newer than those being read.
    pub files_newer: Gauge,
    /// Turns of the tailer that failed, since the last one that didn't.
    pub processing_errors_in_a_row: Gauge,
    /// Bytes of followed files that are not acknowledged, but for those of unfinished records.
    pub unsent_bytes: Gauge,
    /// How long the last call took.
    pub latency_ms: Gauge,
    /// Where latencies are recorded for Prometheus; unset: nowhere.
    latencies: OnceLock<metrics::Histogram>,
    last_error: Mutex<Option<Arc<str>>>,
    troubles: Mutex<Troubles>,
    followed: Mutex<Followed>,
    /// The flow's thread.
    pub turning: Turning,
}

impl FlowCounters {
    /// `metrics` is where calls are recorded for CloudWatch; `None`: nowhere.
    pub fn new(
        flow: FlowId,
        destination: Destination,
        metrics: Option<Arc<Metrics>>,
    ) -> FlowCounters {
        FlowCounters {
            flow,
            destination,
            metrics,
            records_parsed: Counter::default(),
            bytes_parsed: Counter::default(),
            records_transformed: Counter::default(),
            records_skipped: Counter::default(),
            records_truncated: Counter::default(),
            records_raw: Default::default(),
            records_skipped_by: Default::default(),
            records_keyless: Counter::default(),
            bytes_lost: Counter::default(),
            records_sent: Counter::default(),
            bytes_sent: Counter::default(),
            records_refused: Counter::default(),
            records_dead_lettered: Counter::default(),
            restarts: Counter::default(),
            calls: Counter::default(),
            send_attempts: Counter::default(),
            send_errors: Counter::default(),
            service_errors: Counter::default(),
            throttled_records: Counter::default(),
            bytes_behind: Gauge::default(),
            files_followed: Gauge::default(),
            files_newer: Gauge::default(),
            processing_errors_in_a_row: Gauge::default(),
            unsent_bytes: Gauge::default(),
            latency_ms: Gauge::default(),
            latencies: OnceLock::new(),
            last_error: Mutex::new(None),
            troubles: Mutex::default(),
            followed: Mutex::default(),
            turning: Turning::new(Duration::ZERO),
        }
    }

    /// Those of a flow that is configured so.
    pub fn of(flow: &Flow, metrics: Option<&Arc<Metrics>>) -> Arc<FlowCounters> {
        let counters =
            FlowCounters::new(flow.id.clone(), flow.destination.clone(), metrics.cloned());
        Arc::new(counters.with_longest_pause(flow.rescan_interval_max))
    }

    /// The flow's thread may pause for so long while nothing happens.
    pub fn with_longest_pause(mut self, longest_pause: Duration) -> FlowCounters {
        self.turning = Turning::new(longest_pause);
        self
    }

    pub fn flow(&self) -> &FlowId {
        &self.flow
    }

    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_deref()
    }

    /// Counts records that were sent as they are for `reason`.
    pub fn add_raw(&self, reason: RawReason, n_records: u64) {
        self.records_raw[reason.index()].add(n_records);
    }

    /// Counts records that were left out for `reason`; the turn counts them too, all together.
    pub fn add_skipped(&self, reason: SkipReason, n_records: u64) {
        self.records_skipped_by[reason.index()].add(n_records);
    }

    /// Latencies are recorded there from now on, if they are recorded nowhere yet: there is one agent in a process, and one
    /// listener.
    pub fn record_latency_in(&self, histogram: impl FnOnce() -> metrics::Histogram) {
        self.latencies.get_or_init(histogram);
    }

    /// A call took so long.
    pub fn record_latency(&self, latency: Duration) {
        self.latency_ms
            .set(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        if let Some(histogram) = self.latencies.get() {
            histogram.record(latency);
        }
    }

    /// What is wrong now.
    pub fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that wait to be read or accepted while nothing is known to be wrong that would explain it: neither with
    /// their file nor with the flow.
    pub fn unexplained_bytes(&self) -> u64 {
        if self.troubles().has_other_error(IS_STUCK) {
            return 0;
        }
        let followed = self.followed();
        let readable = followed.files().iter();
        let readable = readable.filter(|file| file.look.problem.is_none());
        readable.map(|file| file.behind_bytes).sum()
    }

    /// All that moved so far: what was read, tried and told. The number says nothing but that it grew.
    pub fn n_moved(&self) -> u64 {
        let counters = [
            &self.bytes_parsed,
            &self.calls,
            &self.send_attempts,
            &self.service_errors,
            &self.records_sent,
            &self.records_refused,
            &self.records_dead_lettered,
        ];
        counters.into_iter().map(Counter::get).sum()
    }

    /// The followed files.
    pub fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the newest error, for the status page.
    pub fn set_last_error(&self, text: &str) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(text));
    }

    /// What the newest error was about is over.
    pub fn clear_last_error(&self) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The numbers as they are now.
    pub fn snapshot(&self) -> FlowSnapshot {
        FlowSnapshot {
            records_parsed: self.records_parsed.get(),
            bytes_parsed: self.bytes_parsed.get(),
            records_transformed: self.records_transformed.get(),
            records_skipped: self.records_skipped.get(),
            records_truncated: self.records_truncated.get(),
            records_raw: std::array::from_fn(|i| self.records_raw[i].get()),
            records_skipped_by: std::array::from_fn(|i| self.records_skipped_by[i].get()),
            records_keyless: self.records_keyless.get(),
            bytes_lost: self.bytes_lost.get(),
            records_sent: self.records_sent.get(),
            bytes_sent: self.bytes_sent.get(),
            records_refused: self.records_refused.get(),
            records_dead_lettered: self.records_dead_lettered.get(),
            restarts: self.restarts.get(),
            calls: self.calls.get(),
            send_attempts: self.send_attempts.get(),
            send_errors: self.send_errors.get(),
            service_errors: self.service_errors.get(),
            throttled_records: self.throttled_records.get(),
            bytes_behind: self.bytes_behind.get(),
            files_followed: self.files_followed.get(),
            files_newer: self.files_newer.get(),
            processing_errors_in_a_row: self.processing_errors_in_a_row.get(),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// [`FlowCounters`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowSnapshot {
    pub records_parsed: u64,
    pub bytes_parsed: u64,
    pub records_transformed: u64,
    pub records_skipped: u64,
    pub records_truncated: u64,
    /// In the order of [`RawReason::ALL`].
    pub records_raw: [u64; RawReason::ALL.len()],
    /// In the order of [`SkipReason::ALL`].
    pub records_skipped_by: [u64; SkipReason::ALL.len()],
    pub records_keyless: u64,
    pub bytes_lost: u64,
    pub records_sent: u64,
    pub bytes_sent: u64,
    pub records_refused: u64,
    pub records_dead_lettered: u64,
    pub restarts: u64,
    pub calls: u64,
    pub send_attempts: u64,
    pub send_errors: u64,
    pub service_errors: u64,
    pub throttled_records: u64,
    pub bytes_behind: u64,
    pub files_followed: u64,
    pub files_newer: u64,
    pub processing_errors_in_a_row: u64,
    pub last_error: Option<Arc<str>>,
}

impl FlowSnapshot {
    /// Records sent as they are, for whatever reason.
    pub fn records_raw_total(&self) -> u64 {
        self.records_raw.iter().sum()
    }

    /// Without what is true of a flow only as long as it runs.
    fn without_the_present(self) -> FlowSnapshot {
        FlowSnapshot {
            bytes_behind: 0,
            files_followed: 0,
            files_newer: 0,
            processing_errors_in_a_row: 0,
            last_error: None,
            ..self
        }
    }

    /// Adds another flow's numbers; the error of the first flow that has one stays.
    fn add(&mut self, other: &FlowSnapshot) {
        self.records_parsed += other.records_parsed;
        self.bytes_parsed += other.bytes_parsed;
        self.records_transformed += other.records_transformed;
        self.records_skipped += other.records_skipped;
        self.records_truncated += other.records_truncated;
        let raw = self.records_raw.iter_mut().zip(other.records_raw);
        let skipped = self
            .records_skipped_by
            .iter_mut()
            .zip(other.records_skipped_by);
        for (ours, theirs) in raw.chain(skipped) {
            *ours += theirs;
        }
        self.records_keyless += other.records_keyless;
        self.bytes_lost += other.bytes_lost;
        self.records_sent += other.records_sent;
        self.bytes_sent += other.bytes_sent;
        self.records_refused += other.records_refused;
        self.records_dead_lettered += other.records_dead_lettered;
        self.restarts += other.restarts;
        self.calls += other.calls;
        self.send_attempts += other.send_attempts;
        self.send_errors += other.send_errors;
        self.service_errors += other.service_errors;
        self.throttled_records += other.throttled_records;
        self.bytes_behind += other.bytes_behind;
        self.files_followed += other.files_followed;
        self.files_newer += other.files_newer;
        self.processing_errors_in_a_row += other.processing_errors_in_a_row;
        if self.last_error.is_none() {
            self.last_error.clone_from(&other.last_error);
        }
    }
}

/// A flow's id and its counters.
pub type NamedCounters = (FlowId, Arc<FlowCounters>);

/// What all flows have done, and how the rest of the agent is.
#[derive(Debug)]
pub struct AgentCounters {
    /// In the order of the configuration; another list after it was read anew.
    flows: RwLock<Arc<[NamedCounters]>>,
    /// What flows had done that aren't there any more, or were started anew by another configuration.
    retired: Mutex<FlowSnapshot>,
    reload: Mutex<Option<Reload>>,
    /// The task that sends for all of them.
    pub sending: Turning,
    /// What is wrong with none of them in particular.
    pub troubles: AgentTroubles,
}

/// What came of the last request to read the configuration anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    pub at: Timestamp,
    /// What is wrong with the new one, if it was refused: the old one goes on.
    pub refused: Vec<String>,
    /// Keys whose new values take effect after a restart.
    pub after_restart: Vec<String>,
}

impl AgentCounters {
    /// Counters at zero for every flow of a configuration.
    pub fn new(
        config: &Config,
        metrics: Option<&Arc<Metrics>>,
        troubles: AgentTroubles,
    ) -> AgentCounters {
        let of = |flow: &Arc<Flow>| (flow.id.clone(), FlowCounters::of(flow, metrics));
        AgentCounters {
            troubles,
            ..AgentCounters::of(config.flows.iter().map(of).collect())
        }
    }

    /// These counters.
    pub fn of(flows: Vec<NamedCounters>) -> AgentCounters {
        AgentCounters {
            flows: RwLock::new(flows.into()),
            retired: Mutex::default(),
            reload: Mutex::default(),
            sending: Turning::default(),
            troubles: AgentTroubles::default(),
        }
    }

    /// Those of the flows that there are now, in the order of the configuration.
    pub fn flows(&self) -> Arc<[NamedCounters]> {
        Arc::clone(&self.flows.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// These are the flows from now on. What the others have done stays in the agent's sums.
    pub fn replace(&self, flows: Vec<NamedCounters>) {
        let mut present = self.flows.write().unwrap_or_else(PoisonError::into_inner);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |old: &Arc<FlowCounters>| flows.iter().any(|(_, new)| Arc::ptr_eq(new, old));
        for (_, gone) in present.iter().filter(|(_, old)| !stays(old)) {
            retired.add(&gone.snapshot().without_the_present());
        }
        *present = flows.into();
    }

    /// What flows had done that aren't there any more.
    pub fn retired(&self) -> FlowSnapshot {
        let retired = self.retired.lock();
        retired.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came of the last request to read the configuration anew; `None`: there was none.
    pub fn reload(&self) -> Option<Reload> {
        let reload = self.reload.lock();
        reload.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of what came of it.
    pub fn set_reload(&self, reload: Reload) {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
    }

    /// What hasn't turned lately; `None`: all of it does, whatever the services do.
    pub fn standing_still(&self, now: Instant) -> Option<String> {
        if !self.sending.is_turning(now) {
            return Some("sending stands still".to_owned());
        }
        let flows = self.flows();
        let stands = |(_, flow): &&NamedCounters| !flow.turning.is_turning(now);
        match flows.iter().filter(stands).count() {
            0 => None,
            n => Some(format!("{n} of {} flows stand still", flows.len())),
        }
    }

    /// The numbers as they are now.
    pub fn snapshot(&self) -> AgentSnapshot {
        let snapshot = |(id, flow): &NamedCounters| (id.clone(), flow.snapshot());
        // In this order, so that a flow that goes meanwhile is counted twice for a moment rather than not at all.
        let flows = self.flows().iter().map(snapshot).collect();
        AgentSnapshot {
            flows,
            retired: self.retired(),
        }
    }
}

/// [`AgentCounters`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSnapshot {
    pub flows: Vec<(FlowId, FlowSnapshot)>,
    /// What flows had done that aren't there any more.
    pub retired: FlowSnapshot,
}

impl AgentSnapshot {
    /// All flows together.
    pub fn total(&self) -> FlowSnapshot {
        let mut total = self.retired.clone();
        for (_, flow) in &self.flows {
            total.add(flow);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(id: &str) -> Arc<FlowCounters> {
        let destination = Destination::Kinesis("s".into());
        Arc::new(FlowCounters::new(FlowId(id.into()), destination, None))
    }

    #[test]
    fn the_agents_numbers_are_the_sums_of_its_flows() {
        let (a, b) = (counters("a"), counters("b"));
        for (flow, n) in [(&a, 1), (&b, 10)] {
            for (counter, times) in [
                (&flow.records_parsed, 1),
                (&flow.bytes_parsed, 2),
                (&flow.records_transformed, 3),
                (&flow.records_skipped, 4),
                (&flow.records_truncated, 5),
                (&flow.bytes_lost, 6),
                (&flow.records_sent, 7),
                (&flow.bytes_sent, 8),
                (&flow.records_refused, 9),
                (&flow.calls, 10),
                (&flow.send_attempts, 11),
                (&flow.send_errors, 12),
                (&flow.service_errors, 13),
                (&flow.throttled_records, 14),
                (&flow.records_dead_lettered, 50),
                (&flow.restarts, 51),
            ] {
                counter.add(n * times);
            }
            flow.bytes_behind.set(n * 15);
            flow.files_followed.set(n * 16);
            flow.files_newer.set(n * 17);
            flow.processing_errors_in_a_row.add(n * 18);
            for (i, reason) in RawReason::ALL.into_iter().enumerate() {
                flow.add_raw(reason, n * (20 + i as u64));
            }
            for (i, reason) in SkipReason::ALL.into_iter().enumerate() {
                flow.add_skipped(reason, n * (30 + i as u64));
            }
            flow.records_keyless.add(n * 40);
        }
        b.set_last_error("why");
        let agent = AgentCounters::of(vec![
            (a.flow().clone(), Arc::clone(&a)),
            (b.flow().clone(), Arc::clone(&b)),
        ]);
        let snapshot = agent.snapshot();
        assert_eq!(snapshot.flows[0].1.records_sent, 7);
        assert_eq!(
            snapshot.total(),
            FlowSnapshot {
                records_parsed: 11,
                bytes_parsed: 22,
                records_transformed: 33,
                records_skipped: 44,
                records_truncated: 55,
                records_raw: [220, 231, 242, 253, 264, 275],
                records_skipped_by: [330, 341, 352, 363],
                records_keyless: 440,
                bytes_lost: 66,
                records_sent: 77,
                bytes_sent: 88,
                records_refused: 99,
                records_dead_lettered: 550,
                restarts: 561,
                calls: 110,
                send_attempts: 121,
                send_errors: 132,
                service_errors: 143,
                throttled_records: 154,
                bytes_behind: 165,
                files_followed: 176,
                files_newer: 187,
                processing_errors_in_a_row: 198,
                last_error: Some("why".into()),
            }
        );
        assert_eq!(snapshot.total().records_raw_total(), 1485);
    }

    #[test]
    fn what_a_flow_has_done_that_goes_stays_in_the_sums() {
        let (a, b, c) = (counters("a"), counters("b"), counters("c"));
        for (flow, n) in [(&a, 1), (&b, 10), (&c, 100)] {
            flow.records_sent.add(n);
            flow.bytes_behind.set(n);
            flow.set_last_error("why");
        }
        let named = |flow: &Arc<FlowCounters>| (flow.flow().clone(), Arc::clone(flow));
        let agent = AgentCounters::of(vec![named(&a), named(&b)]);
        agent.replace(vec![named(&c), named(&a)]);
        a.records_sent.add(1000);
        let total = agent.snapshot().total();
        assert_eq!((total.records_sent, total.bytes_behind), (1111, 101));
        agent.replace(vec![]);
        let total = agent.snapshot().total();
        assert_eq!((total.records_sent, total.bytes_behind), (1111, 0));
        assert_eq!(total.last_error, None);
    }

    #[test]
    fn a_gauge_is_what_it_was_last_set_to() {
        let flow = counters("a");
        flow.bytes_behind.set(5);
        flow.bytes_behind.set(3);
        assert_eq!(flow.snapshot().bytes_behind, 3);
    }

    #[test]
    fn the_newest_error_is_remembered() {
        let flow = counters("a");
        assert_eq!(flow.snapshot().last_error, None);
        flow.set_last_error("one");
        flow.set_last_error("two");
        assert_eq!(flow.snapshot().last_error.as_deref(), Some("two"));
    }
}
