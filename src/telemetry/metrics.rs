//! What is measured for CloudWatch: names and units in one table, statistic sets, and what waits to be published.
//!
//! Pure: the task that calls the service is in [`cloudwatch`](crate::telemetry::cloudwatch).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Destination;

/// Data in one PutMetricData call (API reference).
pub const CALL_DATA_MAX: usize = 1000;
/// Bytes in one PutMetricData call (API reference: 1 MB), less what the envelope takes.
pub const CALL_BYTES_MAX: usize = 1_000_000 - 4096;
/// Calls that a datum may be part of before it is dropped: a datum that spoils its call must not stay for ever.
pub const ATTEMPTS_MAX: u32 = 5;
/// Statistic sets kept between two flushes. There are at most a dozen a flow, so only a defect gets here; what is beyond isn't
/// recorded.
pub const SETS_MAX: usize = 100_000;

/// The metrics of the reference, in its words, and with `cloudwatch.extendedMetrics` those of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Records in a call.
    RecordSendAttempts,
    /// Records in a call that were not accepted.
    RecordSendErrors,
    /// Records in a call that were accepted.
    RecordsSent,
    /// Bytes of data of the records in a call that were accepted.
    BytesSent,
    /// 1 for a call that failed as a whole, else 0.
    ServiceErrors,
    /// Turns of the tailer that failed since the last one that didn't, once a status period.
    ConsecutiveProcessingErrors,
    /// Bytes of a flow's files that are not acknowledged, once a second; this and the rest are ours.
    BytesBehind,
    /// Age of the oldest of them, once a second.
    SecondsBehind,
    /// Files that a flow follows, once a second.
    FilesFollowed,
    /// Records that were left out in a second.
    RecordsSkipped,
    /// Records that were cut in a second.
    RecordsTruncated,
    /// Records that were kept as dead letters in a second.
    RecordsDeadLettered,
    /// Records in a call that were not accepted because the stream was over its limits.
    ThrottledRecords,
    /// Time from a call to its answer.
    SendLatency,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
    Milliseconds,
}

impl Metric {
    pub const ALL: [Metric; 14] = [
        Metric::RecordSendAttempts,
        Metric::RecordSendErrors,
        Metric::RecordsSent,
        Metric::BytesSent,
        Metric::ServiceErrors,
        Metric::ConsecutiveProcessingErrors,
        Metric::BytesBehind,
        Metric::SecondsBehind,
        Metric::FilesFollowed,
        Metric::RecordsSkipped,
        Metric::RecordsTruncated,
        Metric::RecordsDeadLettered,
        Metric::ThrottledRecords,
        Metric::SendLatency,
    ];

    /// The metric's name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Metric::RecordSendAttempts => "RecordSendAttempts",
            Metric::RecordSendErrors => "RecordSendErrors",
            Metric::RecordsSent => "RecordsSent",
            Metric::BytesSent => "BytesSent",
            Metric::ServiceErrors => "ServiceErrors",
            Metric::ConsecutiveProcessingErrors => "ConsecutiveProcessingErrors",
            Metric::BytesBehind => "BytesBehind",
            Metric::SecondsBehind => "SecondsBehind",
            Metric::FilesFollowed => "FilesFollowed",
            Metric::RecordsSkipped => "RecordsSkipped",
            Metric::RecordsTruncated => "RecordsTruncated",
            Metric::RecordsDeadLettered => "RecordsDeadLettered",
            Metric::ThrottledRecords => "ThrottledRecords",
            Metric::SendLatency => "SendLatency",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Metric::BytesSent | Metric::BytesBehind => Unit::Bytes,
            Metric::SecondsBehind => Unit::Seconds,
            Metric::SendLatency => Unit::Milliseconds,
            Metric::RecordSendAttempts
            | Metric::RecordSendErrors
            | Metric::RecordsSent
            | Metric::ServiceErrors
            | Metric::ConsecutiveProcessingErrors
            | Metric::FilesFollowed
            | Metric::RecordsSkipped
            | Metric::RecordsTruncated
            | Metric::RecordsDeadLettered
            | Metric::ThrottledRecords => Unit::Count,
        }
    }

    /// The value of the dimension `Destination`: `KinesisStream:NAME` or `DeliveryStream:NAME`, and the bare name for
    /// [`Metric::ConsecutiveProcessingErrors`].
    pub fn destination(self, destination: &Destination) -> String {
        match (self, destination) {
            (Metric::ConsecutiveProcessingErrors, destination) => destination.name().to_owned(),
            (_, Destination::Kinesis(name)) => format!("KinesisStream:{name}"),
            (_, Destination::Firehose(name)) => format!("DeliveryStream:{name}"),
        }
    }
}

/// Many values as CloudWatch takes them: the smallest, the largest, their sum and their number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatisticSet {
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    pub n_samples: u64,
}

impl StatisticSet {
    pub fn of(value: f64) -> StatisticSet {
        StatisticSet {
            min: value,
            max: value,
            sum: value,
            n_samples: 1,
        }
    }

    /// As if the values of both had been recorded in one.
    pub fn merged(self, other: StatisticSet) -> StatisticSet {
        StatisticSet {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            n_samples: self.n_samples + other.n_samples,
        }
    }
}

/// A statistic set as it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub metric: Metric,
    /// The value of the dimension `Destination`.
    pub destination: String,
    /// The end of the time in which its values were recorded.
    pub at: Timestamp,
    pub values: StatisticSet,
}

impl Datum {
    /// An upper bound of its size in a call, for an `Instance` dimension of this length.
    fn size_bytes_max(&self, instance_bytes: usize) -> usize {
        // Names of members, numbers, the timestamp and the unit take less than 300 bytes in CBOR.
        300 + self.metric.name().len() + self.destination.len() + instance_bytes
    }
}

/// What was recorded since the last time it was taken.
#[derive(Debug, Default)]
struct Accumulator {
    sets: BTreeMap<(Metric, String), StatisticSet>,
}

impl Accumulator {
    fn record(&mut self, metric: Metric, destination: String, value: f64) {
        let n_sets = self.sets.len();
        let key = (metric, destination);
        if let Some(set) = self.sets.get_mut(&key) {
            *set = set.merged(StatisticSet::of(value));
        } else if n_sets < SETS_MAX {
            self.sets.insert(key, StatisticSet::of(value));
        }
    }

    fn take(&mut self, at: Timestamp) -> Vec<Datum> {
        std::mem::take(&mut self.sets)
            .into_iter()
            .map(|((metric, destination), values)| Datum {
                metric,
                destination,
                at,
                values,
            })
            .collect()
    }
}

/// What happened in one call to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Call {
    pub records: u64,
    pub records_failed: u64,
    /// Bytes of data of the records that were accepted.
    pub bytes_sent: u64,
    /// The call failed as a whole.
    pub is_service_error: bool,
    /// Records that were not accepted because the stream was over its limits.
    pub records_throttled: u64,
    pub latency: Duration,
}

/// Where all flows record. Recording is once a call, so one lock for all is never waited for.
#[derive(Debug, Default)]
pub struct Metrics {
    is_extended: bool,
    accumulator: Mutex<Accumulator>,
}

impl Metrics {
    /// The reference's metrics; extended: ours too.
    pub fn new(is_extended: bool) -> Metrics {
        Metrics {
            is_extended,
            accumulator: Mutex::default(),
        }
    }

    /// Whether metrics are recorded that the reference doesn't have.
    pub fn is_extended(&self) -> bool {
        self.is_extended
    }

    /// Records one value.
    pub fn record(&self, metric: Metric, destination: &Destination, value: f64) {
        let dimension = metric.destination(destination);
        self.lock().record(metric, dimension, value);
    }

    /// Records one call.
    pub fn record_call(&self, destination: &Destination, call: Call) {
        let mut accumulator = self.lock();
        let values = [
            (Metric::RecordSendAttempts, call.records as f64),
            (Metric::RecordSendErrors, call.records_failed as f64),
            (
                Metric::RecordsSent,
                call.records.saturating_sub(call.records_failed) as f64,
            ),
            (Metric::BytesSent, call.bytes_sent as f64),
            (
                Metric::ServiceErrors,
                f64::from(u8::from(call.is_service_error)),
            ),
            (Metric::ThrottledRecords, call.records_throttled as f64),
            (Metric::SendLatency, call.latency.as_secs_f64() * 1000.0),
        ];
        let n_wanted = if self.is_extended { values.len() } else { 5 };
        for (metric, value) in values.into_iter().take(n_wanted) {
            accumulator.record(metric, metric.destination(destination), value);
        }
    }

    /// Everything recorded since the last call of this, one datum a name and dimensions.
    pub fn take(&self, at: Timestamp) -> Vec<Datum> {
        self.lock().take(at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Accumulator> {
        self.accumulator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Data that wait to be published, oldest first, in calls of a size that the service takes.
#[derive(Debug)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    /// Data that may wait (`cloudwatch.metricsQueueSize`); the oldest are dropped beyond it.
    capacity: usize,
    instance_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    datum: Arc<Datum>,
    attempts: u32,
}

impl Outbox {
    /// `instance_bytes` is the length of the `Instance` dimension's value, 0 where there is none.
    pub fn new(capacity: usize, instance_bytes: usize) -> Outbox {
        Outbox {
            waiting: VecDeque::new(),
            capacity,
            instance_bytes,
        }
    }

    /// Data that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds data; returns how many old ones had to go for them.
    pub fn push(&mut self, data: Vec<Datum>) -> usize {
        self.waiting.extend(data.into_iter().map(|datum| Waiting {
            datum: Arc::new(datum),
            attempts: 0,
        }));
        let n_dropped = self.waiting.len().saturating_sub(self.capacity);
        self.waiting.drain(..n_dropped);
        n_dropped
    }

    /// The data of the next call, which stay until [`Outbox::accepted`] or [`Outbox::failed`] says what became of it;
    /// empty: nothing waits.
    pub fn next_call(&self) -> Vec<Arc<Datum>> {
        let mut call = Vec::new();
        let mut size_bytes = 0;
        for Waiting { datum, .. } in self.waiting.iter().take(CALL_DATA_MAX) {
            size_bytes += datum.size_bytes_max(self.instance_bytes);
            if size_bytes > CALL_BYTES_MAX && !call.is_empty() {
                break;
            }
            call.push(Arc::clone(datum));
        }
        call
    }

    /// The service took the first `n_data`.
    pub fn accepted(&mut self, n_data: usize) {
        self.waiting.drain(..n_data.min(self.waiting.len()));
    }

    /// The call with the first `n_data` failed; returns how many of them are given up.
    pub fn failed(&mut self, n_data: usize) -> usize {
        let n_before = self.waiting.len();
        for waiting in self.waiting.iter_mut().take(n_data) {
            waiting.attempts += 1;
        }
        self.waiting
            .retain(|waiting| waiting.attempts < ATTEMPTS_MAX);
        n_before - self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinesis() -> Destination {
        Destination::Kinesis("s".into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn data(n: usize) -> Vec<Datum> {
        (0..n)
            .map(|i| Datum {
                metric: Metric::RecordsSent,
                destination: format!("KinesisStream:{i}"),
                at: at(0),
                values: StatisticSet::of(i as f64),
            })
            .collect()
    }

    #[test]
    fn names_units_and_dimensions_are_the_references() {
        let firehose = Destination::Firehose("d".into());
        let table: Vec<_> = Metric::ALL
            .into_iter()
            .map(|m| {
                (
                    m.name(),
                    m.unit(),
                    m.destination(&kinesis()),
                    m.destination(&firehose),
                )
            })
            .collect();
        let row = |name, unit, kinesis: &str, firehose: &str| {
            (name, unit, kinesis.to_owned(), firehose.to_owned())
        };
        let ours = |name, unit| row(name, unit, "KinesisStream:s", "DeliveryStream:d");
        assert_eq!(
            table,
            [
                row(
                    "RecordSendAttempts",
                    Unit::Count,
                    "KinesisStream:s",
                    "DeliveryStream:d"
                ),
                row(
                    "RecordSendErrors",
                    Unit::Count,
                    "KinesisStream:s",
                    "DeliveryStream:d"
                ),
                row(
                    "RecordsSent",
                    Unit::Count,
                    "KinesisStream:s",
                    "DeliveryStream:d"
                ),
                row(
                    "BytesSent",
                    Unit::Bytes,
                    "KinesisStream:s",
                    "DeliveryStream:d"
                ),
                row(
                    "ServiceErrors",
                    Unit::Count,
                    "KinesisStream:s",
                    "DeliveryStream:d"
                ),
                row("ConsecutiveProcessingErrors", Unit::Count, "s", "d"),
                ours("BytesBehind", Unit::Bytes),
                ours("SecondsBehind", Unit::Seconds),
                ours("FilesFollowed", Unit::Count),
                ours("RecordsSkipped", Unit::Count),
                ours("RecordsTruncated", Unit::Count),
                ours("RecordsDeadLettered", Unit::Count),
                ours("ThrottledRecords", Unit::Count),
                ours("SendLatency", Unit::Milliseconds),
            ]
        );
    }

    #[test]
    fn calls_are_merged_per_metric_and_destination() {
        let metrics = Metrics::default();
        let other = Destination::Firehose("s".into());
        metrics.record_call(
            &kinesis(),
            Call {
                records: 500,
                records_failed: 20,
                bytes_sent: 9000,
                records_throttled: 7,
                latency: Duration::from_millis(30),
                ..Call::default()
            },
        );
        metrics.record_call(
            &kinesis(),
            Call {
                records: 20,
                records_failed: 20,
                is_service_error: true,
                ..Call::default()
            },
        );
        metrics.record_call(
            &other,
            Call {
                records: 1,
                bytes_sent: 7,
                ..Call::default()
            },
        );
        let taken = metrics.take(at(30));
        assert_eq!(taken.len(), 10);
        assert!(taken.iter().all(|datum| datum.at == at(30)));
        let values = |metric, destination: &str| {
            let datum = taken
                .iter()
                .find(|d| d.metric == metric && d.destination == destination);
            let set = datum.expect("a datum").values;
            (set.min, set.max, set.sum, set.n_samples)
        };
        for (metric, expected) in [
            (Metric::RecordSendAttempts, (20.0, 500.0, 520.0, 2)),
            (Metric::RecordSendErrors, (20.0, 20.0, 40.0, 2)),
            (Metric::RecordsSent, (0.0, 480.0, 480.0, 2)),
            (Metric::BytesSent, (0.0, 9000.0, 9000.0, 2)),
            (Metric::ServiceErrors, (0.0, 1.0, 1.0, 2)),
        ] {
            assert_eq!(values(metric, "KinesisStream:s"), expected, "{metric:?}");
        }
        assert_eq!(
            values(Metric::BytesSent, "DeliveryStream:s"),
            (7.0, 7.0, 7.0, 1)
        );
        assert_eq!(
            metrics.take(at(60)),
            [],
            "what was taken is not taken again"
        );
    }

    #[test]
    fn more_is_recorded_of_a_call_where_it_is_asked_for() {
        let metrics = Metrics::new(true);
        let call = Call {
            records: 10,
            records_failed: 4,
            records_throttled: 3,
            latency: Duration::from_millis(30),
            ..Call::default()
        };
        metrics.record_call(&kinesis(), call);
        let taken = metrics.take(at(30));
        assert_eq!(taken.len(), 7);
        for (metric, expected) in [(Metric::ThrottledRecords, 3.0), (Metric::SendLatency, 30.0)] {
            let datum = taken.iter().find(|datum| datum.metric == metric);
            assert_eq!(
                datum.map(|datum| datum.values.sum),
                Some(expected),
                "{metric:?}"
            );
        }
    }

    #[test]
    fn a_call_holds_at_most_a_thousand_data() {
        let mut outbox = Outbox::new(10_000, 0);
        assert_eq!(outbox.push(data(2500)), 0);
        let mut calls = Vec::new();
        loop {
            let call = outbox.next_call();
            if call.is_empty() {
                break;
            }
            outbox.accepted(call.len());
            calls.push(call.len());
        }
        assert_eq!(calls, [1000, 1000, 500]);
    }

    #[test]
    fn a_call_holds_at_most_a_megabyte() {
        let mut outbox = Outbox::new(10_000, 2_000);
        outbox.push(data(1000));
        let call = outbox.next_call();
        let size_bytes: usize = call.iter().map(|datum| datum.size_bytes_max(2_000)).sum();
        assert!(
            size_bytes <= CALL_BYTES_MAX && call.len() > 400,
            "{} data, {size_bytes} bytes",
            call.len()
        );
    }

    #[test]
    fn the_oldest_data_go_when_too_many_wait() {
        let mut outbox = Outbox::new(3, 0);
        assert_eq!(outbox.push(data(5)), 2);
        let left: Vec<f64> = outbox.next_call().iter().map(|d| d.values.sum).collect();
        assert_eq!(left, [2.0, 3.0, 4.0]);
        assert_eq!(outbox.push(data(1)), 1);
        assert_eq!(outbox.len(), 3);
    }

    #[test]
    fn data_are_given_up_after_as_many_calls_as_they_may_fail_with() {
        let mut outbox = Outbox::new(10, 0);
        outbox.push(data(2));
        let given_up: Vec<usize> = (0..ATTEMPTS_MAX).map(|_| outbox.failed(1)).collect();
        assert_eq!(given_up, [0, 0, 0, 0, 1]);
        assert_eq!(outbox.next_call()[0].values.sum, 1.0);
    }

    #[test]
    fn a_set_beyond_the_bound_is_not_recorded() {
        let mut accumulator = Accumulator::default();
        for n in 0..=SETS_MAX {
            accumulator.record(Metric::BytesSent, n.to_string(), 1.0);
        }
        accumulator.record(Metric::BytesSent, "0".into(), 1.0);
        let taken = accumulator.take(at(0));
        assert_eq!(taken.len(), SETS_MAX);
        assert_eq!(taken[0].values.sum, 2.0);
    }

    proptest! {
        #[test]
        fn a_set_says_the_same_however_its_values_are_grouped(values in prop::collection::vec(0u32..1_000_000, 1..50), cut in any::<prop::sample::Index>()) {
            let set = |values: &[u32]| {
                values.iter().map(|&v| StatisticSet::of(f64::from(v))).reduce(StatisticSet::merged)
            };
            let (left, right) = values.split_at(cut.index(values.len()));
            let merged = match (set(left), set(right)) {
                (Some(left), Some(right)) => left.merged(right),
                (left, right) => left.or(right).expect("one value at least"),
            };
            let min = values.iter().min().copied().expect("one value at least");
            let max = values.iter().max().copied().expect("one value at least");
            prop_assert_eq!(merged, StatisticSet {
                min: f64::from(min),
                max: f64::from(max),
                sum: values.iter().map(|&v| f64::from(v)).sum(),
                n_samples: values.len() as u64,
            });
        }
    }
}
