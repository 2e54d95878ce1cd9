//! One entry of `flows`.

use std::path::Path;
use std::sync::Arc;

use crate::process::java_regex::{Flags, JavaRegex};

use super::json::Value;
use super::keys::Place;
use super::limits::{
    FIREHOSE_STREAM_NAME_CHARS_MAX, KINESIS_STREAM_NAME_CHARS_MAX, PARTITION_KEY_BYTES_MAX,
};
use super::options;
use super::pattern::{self, DirectoryPart, PatternError};
use super::raw::Section;
use super::report::Severity;
use super::{
    Backoff, BatchLimits, Destination, Flow, FlowId, InitialPosition, PartitionKey, Split,
};

/// Reads a flow, whose section is taken for a Kinesis one until its destination is known; `None` if it has no
/// destination or no pattern. `cwd` is what relative patterns are relative to.
pub fn read(flow: &mut Section, cwd: &Path) -> Option<Flow> {
    let destination = destination(flow);
    flow.place = match destination {
        Some(Destination::Kinesis(_)) => Place::KinesisFlow,
        Some(Destination::Firehose(_)) => Place::FirehoseFlow,
        None if flow.has("deliveryStream") => Place::FirehoseFlow,
        None => Place::KinesisFlow,
    };
    flow.check_names();
    let patterns = file_pattern(flow, cwd);
    let batch = BatchLimits {
        age_max: flow.duration("maxBufferAgeMillis"),
        records_max: flow.count("maxBufferSizeRecords"),
        bytes_max: flow.count("maxBufferSizeBytes"),
    };
    flow.number("waitOnFullPublishQueueMillis");
    flow.number("waitOnEmptyPublishQueueMillis");
    let split = split(flow);
    let processing = options::read(flow);
    let partition_key = partition_key(flow);
    let initial_position = match flow.choice("initialPosition") {
        Some("START_OF_FILE") => InitialPosition::StartOfFile,
        _ => InitialPosition::EndOfFile,
    };
    let backoff = backoff(flow);
    let queue_capacity_batches = flow.count("publishQueueCapacity");
    let poll_interval_min = flow.duration("minTimeBetweenFilePollsMillis");
    let rescan_interval_max = flow.duration("maxTimeBetweenFileTrackerRefreshMillis");
    let emit_internal_metrics = flow.flag("log.emitInternalMetrics");
    let (destination, (written, absolute)) = (destination?, patterns?);
    Some(Flow {
        id: id(&destination, &written),
        patterns: vec![absolute],
        destination,
        partition_key,
        initial_position,
        batch,
        split,
        processing,
        backoff,
        queue_capacity_batches,
        poll_interval_min,
        rescan_interval_max,
        emit_internal_metrics,
    })
}

/// The pattern stands in it as written, so that checkpoints are found again whatever directory the agent starts in.
fn id(destination: &Destination, pattern: &str) -> FlowId {
    let service = match destination {
        Destination::Kinesis(_) => "kinesis",
        Destination::Firehose(_) => "fh",
    };
    FlowId(Arc::from(format!(
        "{service}:{}:{pattern}",
        destination.name()
    )))
}

fn destination(flow: &mut Section) -> Option<Destination> {
    let (kinesis_key, firehose_key) = ("kinesisStream", "deliveryStream");
    let (has_kinesis, has_firehose) = (flow.has(kinesis_key), flow.has(firehose_key));
    if !has_kinesis && !has_firehose {
        let remedy = "add kinesisStream, or deliveryStream for Firehose";
        flow.error(kinesis_key, "missing: the flow has no destination", remedy);
        return None;
    }
    let kinesis = flow.filled_text(kinesis_key);
    let firehose = flow.filled_text(firehose_key);
    for (key, stream, other) in [
        (kinesis_key, &kinesis, &firehose),
        (firehose_key, &firehose, &kinesis),
    ] {
        let is_empty = match flow.object.get(key).map(|member| &member.node.value) {
            Some(Value::Null) => true,
            Some(Value::Text(text)) => text.is_empty(),
            _ => false,
        };
        if is_empty && other.is_some() {
            flow.warn(key, "names no stream, so it is ignored", "remove it");
        } else if is_empty {
            flow.error(key, "names no stream", "write the name of the stream");
        }
        if let Some(name) = stream {
            check_stream_name(flow, key, name);
        }
    }
    match (kinesis, firehose) {
        (kinesis, Some(name)) => {
            if kinesis.is_some() {
                let problem = "ignored, since deliveryStream stands beside it and wins";
                flow.warn(
                    kinesis_key,
                    problem,
                    "remove one of the two, or write two flows",
                );
            }
            Some(Destination::Firehose(name))
        }
        (Some(name), None) => Some(Destination::Kinesis(name)),
        (None, None) => None,
    }
}

fn check_stream_name(flow: &mut Section, key: &str, name: &str) {
    let chars_max = if key == "kinesisStream" {
        KINESIS_STREAM_NAME_CHARS_MAX
    } else {
        FIREHOSE_STREAM_NAME_CHARS_MAX
    };
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.len() > chars_max || !name.bytes().all(is_legal) {
        let legal = format!("1 to {chars_max} of the characters a-z A-Z 0-9 _ . -");
        let problem = "not a name that AWS gives a stream, so every call will fail";
        flow.finding(
            Severity::Warning,
            key,
            problem,
            Some(legal),
            "write the stream's name, not its ARN",
        );
    }
}

/// The pattern as written and as it is followed.
fn file_pattern(flow: &mut Section, cwd: &Path) -> Option<(String, String)> {
    let key = "filePattern";
    if flow.node(key).is_none() {
        flow.error(
            key,
            "missing",
            "write a directory and a glob, such as /var/log/app.log*",
        );
        return None;
    }
    let written = flow.text(key)?;
    let parsed = match pattern::parse(&written, cwd) {
        Ok(parsed) => parsed,
        Err(error) => {
            let remedy = match error {
                PatternError::NoDirectory => "write the directory too, such as /var/log/app.log*",
                PatternError::NoFileName => {
                    "write a file name or a glob after the slash, such as *"
                }
                PatternError::NotAGlob { .. } | PatternError::Refused(_) => {
                    "close it, or write a backslash (\\\\ in JSON) before a character that is meant literally"
                }
            };
            flow.error(key, error.to_string(), remedy);
            return None;
        }
    };
    if written.starts_with('~') {
        flow.warn(
            key,
            "~ is not a home directory here, but a directory of that name",
            "write the directory in full",
        );
    } else if parsed.is_relative {
        let problem = format!(
            "relative, so it depends on where the agent starts; now {}",
            parsed.absolute
        );
        flow.warn(key, problem, "write it with a leading slash");
    }
    match parsed.directory {
        DirectoryPart::Plain => {}
        DirectoryPart::Globs => {
            let problem = "the directory part holds glob characters and is matched as a glob; the reference takes it literally";
            flow.finding(
                Severity::Note,
                key,
                problem,
                None,
                "write a backslash (\\\\ in JSON) before what is literal",
            );
        }
        DirectoryPart::Literal => {
            let problem =
                "the directory part holds glob characters but is no glob, so it is taken literally";
            flow.finding(
                Severity::Note,
                key,
                problem,
                None,
                "complete the glob, if it is meant as one",
            );
        }
    }
    Some((written, parsed.absolute))
}

fn partition_key(flow: &mut Section) -> PartitionKey {
    // For a Firehose flow the key has no effect, which `check_names` has said.
    if flow.place != Place::KinesisFlow {
        return PartitionKey::Random;
    }
    match flow.choice("partitionKeyOption") {
        Some("DETERMINISTIC") => PartitionKey::Deterministic,
        _ => PartitionKey::Random,
    }
}

fn backoff(flow: &mut Section) -> Backoff {
    let initial = flow.duration("retryInitialBackoffMillis");
    let max = flow.duration("retryMaxBackoffMillis");
    if initial > max {
        let key = if flow.has("retryMaxBackoffMillis") {
            "retryMaxBackoffMillis"
        } else {
            "retryInitialBackoffMillis"
        };
        let problem = format!(
            "the longest wait is shorter than the first, so every wait is {} ms",
            max.as_millis()
        );
        flow.warn(
            key,
            problem,
            "write retryMaxBackoffMillis at least as long as retryInitialBackoffMillis",
        );
    }
    Backoff {
        initial: initial.min(max),
        max,
    }
}

fn split(flow: &mut Section) -> Split {
    let multi_line_start = java_regex(flow, "multiLineStartPattern", Flags::default());
    let aggregate_bytes_max = aggregate_bytes_max(flow, multi_line_start.is_some());
    Split {
        skip_header_lines: u32::try_from(flow.count("skipHeaderLines")).unwrap_or(u32::MAX),
        multi_line_start,
        multi_line_idle: flow.duration("multiLineIdleMillis"),
        footer: java_regex(
            flow,
            "fileFooterPattern",
            Flags {
                multiline: true,
                ..Flags::default()
            },
        ),
        truncated_terminator: truncated_terminator(flow),
        aggregate_bytes_max,
    }
}

/// The pattern under that name. An empty one matches everywhere, which no one means: it reads as absent.
fn java_regex(flow: &mut Section, name: &str, flags: Flags) -> Option<JavaRegex> {
    let text = flow.text(name)?;
    if text.is_empty() {
        flow.warn(
            name,
            "empty, so it is taken for absent",
            "write a Java regular expression, or remove it",
        );
        return None;
    }
    JavaRegex::with_flags(&text, flags)
        .map_err(|error| refuse_regex(flow, name, &error))
        .ok()
}

/// Says why a pattern is none.
pub fn refuse_regex(section: &mut Section, name: &str, error: &impl ToString) {
    section.error(
        name,
        regex_problem(error),
        "correct the pattern; every backslash of it is written \\\\ in JSON",
    );
}

/// Why a pattern is none, in one line: what follows the first draws the place.
pub fn regex_problem(error: &impl ToString) -> String {
    format!(
        "not a Java regular expression: {}",
        error.to_string().lines().next().unwrap_or_default()
    )
}

fn truncated_terminator(flow: &mut Section) -> Vec<u8> {
    const KEY: &str = "truncatedRecordTerminator";
    const DEFAULT: &[u8] = b"\n";
    let (service, record_bytes_max, key_bytes_max) = match flow.place {
        Place::FirehoseFlow => ("Firehose", super::limits::FIREHOSE_RECORD_BYTES_MAX, 0),
        _ => (
            "Kinesis",
            super::limits::KINESIS_RECORD_BYTES_MAX,
            PARTITION_KEY_BYTES_MAX,
        ),
    };
    if flow.has(KEY) && flow.node(KEY).is_none() {
        flow.error(
            KEY,
            "null is not a text",
            "write a text, which may be empty, or leave the key out for a newline",
        );
        return DEFAULT.to_vec();
    }
    let Some(text) = flow.text(KEY) else {
        return DEFAULT.to_vec();
    };
    if text.len() >= record_bytes_max {
        let legal = format!("fewer than {record_bytes_max} bytes");
        let problem = format!("longer than a record of {service} can be");
        flow.finding(
            Severity::Error,
            KEY,
            problem,
            Some(legal),
            "write a shorter text",
        );
    } else if text.len() + key_bytes_max >= record_bytes_max {
        flow.warn(
            KEY,
            "leaves no room for a record's data, so a newline is used",
            "write a shorter text",
        );
        return DEFAULT.to_vec();
    }
    text.into_bytes()
}

fn aggregate_bytes_max(flow: &mut Section, is_multi_line: bool) -> Option<usize> {
    const KEY: &str = "aggregatedRecordSizeBytes";
    // For a Kinesis flow the key has no effect, which `check_names` has said.
    if flow.place != Place::FirehoseFlow {
        return None;
    }
    let bytes = flow.count(KEY);
    if bytes > 0 && is_multi_line {
        flow.warn(
            KEY,
            "has no effect beside multiLineStartPattern",
            "remove one of the two",
        );
        return None;
    }
    (bytes > 0).then_some(bytes)
}
