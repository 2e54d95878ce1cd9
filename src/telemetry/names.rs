//! Threads and loggers as they stand in log lines, each spelled once.
//!
//! Dashboards and alarms match on these texts, so they are the reference's where it has one: they were taken from log
//! lines that its users published. Modules without a counterpart there have a name in the same space.

use crate::config::FlowId;

/// The agent as a whole.
pub const AGENT: &str = "com.amazon.kinesis.streaming.agent.Agent";
/// A flow's tailer.
pub const FILE_TAILER: &str = "com.amazon.kinesis.streaming.agent.tailing.FileTailer";
/// What opens and splits the files of a flow to Kinesis.
pub const KINESIS_PARSER: &str = "com.amazon.kinesis.streaming.agent.tailing.KinesisParser";
/// What opens and splits the files of a flow to Firehose.
pub const FIREHOSE_PARSER: &str = "com.amazon.kinesis.streaming.agent.tailing.FirehoseParser";
/// The checkpoint database.
pub const CHECKPOINTS: &str =
    "com.amazon.kinesis.streaming.agent.tailing.checkpoints.SQLiteFileCheckpointStore";
/// What publishes metrics to CloudWatch.
pub const METRICS_PUBLISHER: &str =
    "com.amazon.kinesis.streaming.agent.metrics.CWPublisherRunnable";
/// The sending side; ours.
pub const PUBLISHER: &str = "com.amazon.kinesis.streaming.agent.tailing.Publisher";
/// `dataProcessingOptions`; ours.
pub const PROCESSING: &str = "com.amazon.kinesis.streaming.agent.processing.Processing";
/// agent.json; ours.
pub const CONFIG: &str = "com.amazon.kinesis.streaming.agent.config.Configuration";
/// Credentials, regions and endpoints; ours.
pub const AWS: &str = "com.amazon.kinesis.streaming.agent.aws.Aws";
/// The log itself; ours.
pub const LOG: &str = "com.amazon.kinesis.streaming.agent.Log";

/// The thread of what is said before the agent starts.
pub const THREAD_MAIN: &str = "main";
/// The thread of what is said while the agent starts.
pub const THREAD_STARTING: &str = "Agent STARTING";
/// The thread of what is said while the agent stops.
pub const THREAD_STOPPING: &str = "Agent STOPPING";
/// The thread of the agent's progress line.
pub const THREAD_AGENT_METRICS: &str = "Agent.MetricsEmitter RUNNING";
/// The thread of the metrics publisher.
pub const THREAD_METRICS_PUBLISHER: &str = "cw-metrics-publisher";

/// The thread that reads a flow's files.
pub fn tailer_thread(flow: &FlowId) -> String {
    format!("FileTailer[{flow}]")
}

/// What sends a flow's records.
pub fn publisher_thread(flow: &FlowId) -> String {
    format!("Publisher[{flow}]")
}

/// Modules of this crate and the logger that speaks for each; the longest prefix decides.
const LOGGERS: [(&str, &str); 10] = [
    ("kinesis_agent", AGENT),
    ("kinesis_agent::aws", AWS),
    ("kinesis_agent::checkpoint", CHECKPOINTS),
    ("kinesis_agent::config", CONFIG),
    ("kinesis_agent::flow", FILE_TAILER),
    ("kinesis_agent::process", PROCESSING),
    ("kinesis_agent::publish", PUBLISHER),
    ("kinesis_agent::tail", FILE_TAILER),
    ("kinesis_agent::telemetry::cloudwatch", METRICS_PUBLISHER),
    ("kinesis_agent::telemetry::log", LOG),
];

/// Whether a `tracing` target is a module of this crate.
pub fn is_ours(target: &str) -> bool {
    is_within(target, "kinesis_agent")
}

/// The logger that speaks for a `tracing` target; a target that isn't ours speaks for itself.
pub fn logger_of(target: &str) -> &str {
    LOGGERS
        .iter()
        .filter(|(module, _)| is_within(target, module))
        .max_by_key(|(module, _)| module.len())
        .map_or(target, |(_, logger)| logger)
}

fn is_within(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_speaks_under_the_name_of_its_longest_known_prefix() {
        for (target, logger) in [
            ("kinesis_agent", AGENT),
            ("kinesis_agent::agent", AGENT),
            ("kinesis_agent::tail", FILE_TAILER),
            ("kinesis_agent::tail::rotation", FILE_TAILER),
            ("kinesis_agent::tailor", AGENT),
            ("kinesis_agent::telemetry::log::file", LOG),
            ("kinesis_agent::telemetry::events", AGENT),
            ("kinesis_agent_extra", "kinesis_agent_extra"),
            ("aws_smithy_runtime::client", "aws_smithy_runtime::client"),
            ("", ""),
        ] {
            assert_eq!(logger_of(target), logger, "{target}");
        }
    }

    #[test]
    fn only_modules_of_this_crate_are_ours() {
        for (target, ours) in [
            ("kinesis_agent", true),
            ("kinesis_agent::publish::batch", true),
            ("kinesis_agent_extra::x", false),
            ("hyper", false),
        ] {
            assert_eq!(is_ours(target), ours, "{target}");
        }
    }
}
