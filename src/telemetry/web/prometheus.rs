//! The metrics in Prometheus' text format.
//!
//! Numbers are taken from the counters when they are asked for; latencies alone are recorded as they come, once a call.
//! Labels are the flow and its destination; the file only while there are at most [`FILE_SERIES_MAX`] of them.

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::telemetry::counters::{AgentCounters, FlowCounters, FlowSnapshot, NamedCounters};
use crate::telemetry::status::{FlowStatus, Status};

/// Followed files up to which each has series of its own.
pub const FILE_SERIES_MAX: usize = 100;
/// Bounds of the buckets for latencies, in seconds.
const LATENCY_BUCKETS_S: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const LATENCY: &str = "kinesis_agent_send_latency_seconds";
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// What a counter counts of a flow.
type Counted = fn(&FlowSnapshot) -> u64;
/// What a gauge shows of a flow.
type Shown = fn(&FlowStatus) -> f64;

/// Name, what is counted, and what that means.
#[rustfmt::skip] // a table reads better as one
const COUNTERS: [(&str, Counted, &str); 17] = [
    ("kinesis_agent_records_parsed_total", |flow| flow.records_parsed, "Records read from files."),
    ("kinesis_agent_bytes_parsed_total", |flow| flow.bytes_parsed, "Their bytes in the files."),
    ("kinesis_agent_records_transformed_total", |flow| flow.records_transformed, "Records that dataProcessingOptions changed."),
    ("kinesis_agent_records_skipped_total", |flow| flow.records_skipped, "Records that were left out by skipLinesMatching or LOGTOJSON."),
    ("kinesis_agent_records_truncated_total", |flow| flow.records_truncated, "Records cut to the longest that the service takes."),
    ("kinesis_agent_records_unprocessed_total", FlowSnapshot::records_raw_total, "Records sent as they are because an option could not convert them."),
    ("kinesis_agent_records_sent_total", |flow| flow.records_sent, "Records that the service accepted."),
    ("kinesis_agent_bytes_sent_total", |flow| flow.bytes_sent, "Their bytes of data."),
    ("kinesis_agent_records_refused_total", |flow| flow.records_refused, "Records that the service will never take."),
    ("kinesis_agent_records_dead_lettered_total", |flow| flow.records_dead_lettered, "Records that the service will never take, kept as dead letters."),
    ("kinesis_agent_flow_restarts_total", |flow| flow.restarts, "Times that the flow was started anew after a defect."),
    ("kinesis_agent_records_throttled_total", |flow| flow.throttled_records, "Records not accepted because the stream was over its limits, each time."),
    ("kinesis_agent_record_send_attempts_total", |flow| flow.send_attempts, "Records in calls, each as often as it was tried."),
    ("kinesis_agent_record_send_errors_total", |flow| flow.send_errors, "Records in calls that were not accepted."),
    ("kinesis_agent_calls_total", |flow| flow.calls, "Calls made."),
    ("kinesis_agent_service_errors_total", |flow| flow.service_errors, "Calls that failed as a whole."),
    ("kinesis_agent_bytes_lost_total", |flow| flow.bytes_lost, "Bytes known to be lost before they could be read."),
];

/// Likewise of gauges.
#[rustfmt::skip] // a table reads better as one
const GAUGES: [(&str, Shown, &str); 5] = [
    ("kinesis_agent_behind_bytes", |flow| flow.behind.bytes as f64, "Bytes of followed files that are not accepted yet."),
    ("kinesis_agent_behind_seconds", |flow| flow.behind.seconds, "Age of the oldest byte that is not accepted yet."),
    ("kinesis_agent_files_followed", |flow| flow.files_followed as f64, "Files that are followed."),
    ("kinesis_agent_delivering", |flow| f64::from(u8::from(flow.is_delivering())), "1 while records are being accepted, as far as there are any; else 0."),
    ("kinesis_agent_errors_now", |flow| flow.troubles.iter().filter(|trouble| trouble.concern.is_error()).count() as f64, "Things that are wrong now and need somebody to act."),
];

/// Gauges of single files.
const FILE_BYTES: &str = "kinesis_agent_file_behind_bytes";
const FILE_SECONDS: &str = "kinesis_agent_file_behind_seconds";
/// Of the agent.
const UPTIME: &str = "kinesis_agent_uptime_seconds";
const MEMORY: &str = "kinesis_agent_memory_held_bytes";
const OWN_ERRORS: &str = "kinesis_agent_own_errors_now";

/// The metrics of one agent. Flows come and go with the configuration, so their numbers are put down anew each time; what
/// was recorded of their latencies stays.
pub struct Prometheus {
    latencies: PrometheusRecorder,
}

impl Prometheus {
    /// The flows' latencies are recorded from here on.
    pub fn new(counters: &AgentCounters) -> Prometheus {
        let builder = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS_S);
        // It refuses an empty list alone.
        let latencies = builder.unwrap_or_default().build_recorder();
        latencies.describe_histogram(
            KeyName::from_const_str(LATENCY),
            Some(Unit::Seconds),
            told("Time from a call to its answer."),
        );
        let prometheus = Prometheus { latencies };
        prometheus.record_latencies(counters);
        prometheus
    }

    fn record_latencies(&self, counters: &AgentCounters) {
        for (_, flow) in counters.flows().iter() {
            flow.record_latency_in(|| {
                let key = Key::from_parts(LATENCY, labels(flow));
                self.latencies.register_histogram(&key, &METADATA)
            });
        }
    }

    /// Moves recorded latencies into their buckets; to be called every few seconds, whether or not somebody asks.
    pub fn upkeep(&self, counters: &AgentCounters) {
        self.record_latencies(counters);
        self.latencies.handle().run_upkeep();
    }

    /// The metrics as they are now.
    pub fn render(&self, status: &Status, counters: &AgentCounters) -> String {
        let mut text = render_flows(status, counters);
        text.push_str(&self.latencies.handle().render());
        if status.totals.files_followed <= FILE_SERIES_MAX as u64 {
            text.push_str(&render_files(status, counters));
        }
        text
    }
}

const fn told(text: &'static str) -> SharedString {
    SharedString::const_str(text)
}

fn render_flows(status: &Status, counters: &AgentCounters) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    for (name, _, help) in COUNTERS {
        recorder.describe_counter(KeyName::from_const_str(name), None, told(help));
    }
    for (name, _, help) in GAUGES {
        recorder.describe_gauge(KeyName::from_const_str(name), None, told(help));
    }
    let own_errors = status.troubles.iter().filter(|it| it.concern.is_error());
    for (name, help, value) in [
        (
            UPTIME,
            "Time since the agent started.",
            status.uptime_seconds as f64,
        ),
        (
            MEMORY,
            "Bytes of the memory budget that are held.",
            status.totals.memory_held_bytes as f64,
        ),
        (
            OWN_ERRORS,
            "Things that are wrong now with the agent as a whole, such as its checkpoints, and need somebody to act.",
            own_errors.count() as f64,
        ),
    ] {
        recorder.describe_gauge(KeyName::from_const_str(name), None, told(help));
        let gauge = recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        gauge.set(value);
    }
    for (status, flow) in paired(status, &counters.flows()) {
        let labels = labels(flow);
        let key = |name: &'static str| Key::from_parts(name, labels.clone());
        let counted = flow.snapshot();
        for (name, value, _) in COUNTERS {
            let counter = recorder.register_counter(&key(name), &METADATA);
            counter.absolute(value(&counted));
        }
        for (name, value, _) in GAUGES {
            let gauge = recorder.register_gauge(&key(name), &METADATA);
            gauge.set(value(status));
        }
    }
    recorder.handle().render()
}

/// Flows that are in both: they may have become others since the status was taken.
fn paired<'a>(
    status: &'a Status,
    counters: &'a [NamedCounters],
) -> impl Iterator<Item = (&'a FlowStatus, &'a FlowCounters)> {
    let pairs = status.flows.iter().zip(counters);
    pairs.filter_map(|(status, (id, flow))| (*status.flow == *id.0).then_some((status, &**flow)))
}

/// Series of files come and go with the files, so they are made anew each time.
fn render_files(status: &Status, counters: &AgentCounters) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    for (name, help) in [
        (FILE_BYTES, "Bytes of the file that are not accepted yet."),
        (
            FILE_SECONDS,
            "Age of the file's oldest byte that is not accepted yet.",
        ),
    ] {
        recorder.describe_gauge(KeyName::from_const_str(name), None, told(help));
    }
    for (flow, counters) in paired(status, &counters.flows()) {
        for file in &flow.files {
            let mut labels = labels(counters);
            labels.push(Label::new("file", file.path.clone()));
            let gauge = |name: &'static str| {
                recorder.register_gauge(&Key::from_parts(name, labels.clone()), &METADATA)
            };
            gauge(FILE_BYTES).set(file.behind_bytes as f64);
            gauge(FILE_SECONDS).set(file.behind_seconds);
        }
    }
    recorder.handle().render()
}

fn labels(flow: &FlowCounters) -> Vec<Label> {
    vec![
        Label::new("flow", flow.flow().to_string()),
        Label::new("destination", flow.destination().name().to_owned()),
    ]
}
