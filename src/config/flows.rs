//! One entry of `flows`.

use std::path::Path;
use std::sync::Arc;

use crate::process::java_regex::{Flags, GroupFinder, JavaRegex, PatternError};

use super::json::Value;
use super::keys::Place;
use super::limits::{
    FIREHOSE_STREAM_NAME_CHARS_MAX, FLOW_ID_BYTES_MAX, KINESIS_STREAM_NAME_CHARS_MAX,
    PARTITION_KEY_BYTES_MAX, PARTITION_KEY_CHARS_MAX,
};
use super::raw::Section;
use super::report::Severity;
use super::{
    Backoff, BatchLimits, CsvDelimiter, Destination, Flow, FlowId, InitialPosition, JsonPointer,
    Ordering, PartitionKey, ProcessingOption, RefusedRecords, Split, Written,
};
use super::{files, options};

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
    let patterns = files::patterns(flow, cwd);
    let id = own_id(flow);
    let excluded = files::excluded(flow, cwd, patterns.as_ref());
    let ignore_older = flow.time("ignoreOlder");
    let deleted_files = files::deleted_files(flow);
    let batch = BatchLimits {
        age_max: flow.duration("maxBufferAgeMillis"),
        records_max: flow.count("maxBufferSizeRecords"),
        bytes_max: flow.count("maxBufferSizeBytes"),
    };
    flow.number("waitOnFullPublishQueueMillis");
    flow.number("waitOnEmptyPublishQueueMillis");
    let options = options::read(flow);
    let split = split(flow, &options);
    let processing = options.processing;
    let partition_key = partition_key(flow);
    let ordering = ordering(flow, &partition_key);
    let initial_position = match flow.choice("initialPosition") {
        Some("START_OF_FILE") => InitialPosition::StartOfFile,
        _ => InitialPosition::EndOfFile,
    };
    let backoff = backoff(flow);
    let refused_records = match flow.choice("refusedRecords") {
        Some("SKIP") => RefusedRecords::Skip,
        Some("RETRY") => RefusedRecords::Retry,
        _ => RefusedRecords::DeadLetter,
    };
    let queue_capacity_batches = flow.count("publishQueueCapacity");
    let poll_interval_min = flow.duration("minTimeBetweenFilePollsMillis");
    let rescan_interval_max = flow.duration("maxTimeBetweenFileTrackerRefreshMillis");
    let emit_internal_metrics = flow.flag("log.emitInternalMetrics");
    let (destination, patterns) = (destination?, patterns?);
    Some(Flow {
        written: Written::of_object(flow.object),
        id: id.unwrap_or_else(|| derived_id(&destination, &patterns.written)),
        patterns: patterns.absolute,
        excluded,
        ignore_older,
        deleted_files,
        destination,
        partition_key,
        ordering,
        initial_position,
        batch,
        split,
        processing,
        backoff,
        refused_records,
        queue_capacity_batches,
        poll_interval_min,
        rescan_interval_max,
        emit_internal_metrics,
    })
}

/// What stands before the pattern in the id of a flow that has none of its own.
pub fn id_prefix(destination: &Destination) -> String {
    let service = match destination {
        Destination::Kinesis(_) => "kinesis",
        Destination::Firehose(_) => "fh",
    };
    format!("{service}:{}:", destination.name())
}

/// The pattern stands in it as written, so that checkpoints are found again whatever directory the agent starts in.
fn derived_id(destination: &Destination, pattern: &str) -> FlowId {
    FlowId(Arc::from(id_prefix(destination) + pattern))
}

/// The flow's `id`.
fn own_id(flow: &mut Section) -> Option<FlowId> {
    const KEY: &str = "id";
    let is_list = matches!(
        flow.node("filePattern").map(|node| &node.value),
        Some(Value::List(_))
    );
    let Some(id) = flow.text(KEY) else {
        if is_list && flow.node(KEY).is_none() {
            let problem = "missing: a flow whose filePattern is a list needs one";
            let remedy =
                "write a name that stays when the list changes: checkpoints are kept under it";
            flow.error(KEY, problem, remedy);
        }
        return None;
    };
    if id.trim().is_empty() || id.len() > FLOW_ID_BYTES_MAX || id.contains(char::is_control) {
        let legal = format!("1 to {FLOW_ID_BYTES_MAX} bytes without control characters");
        let remedy = "write a short name, such as app-logs";
        flow.finding(
            Severity::Error,
            KEY,
            "not a name for a flow",
            Some(legal),
            remedy,
        );
        return None;
    }
    Some(FlowId(id.into()))
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
            Severity::Mistake,
            key,
            problem,
            Some(legal),
            "write the stream's name, not its ARN",
        );
    }
}

fn partition_key(flow: &mut Section) -> PartitionKey {
    const KEYS: [&str; 4] = [
        "partitionKeyOption",
        "partitionKeyField",
        "partitionKeyPattern",
        "partitionKeyConstant",
    ];
    // For a Firehose flow these have no effect, which `check_names` has said.
    if flow.place != Place::KinesisFlow {
        return PartitionKey::Random;
    }
    let by_option = match flow.choice(KEYS[0]) {
        Some("DETERMINISTIC") => PartitionKey::Deterministic,
        _ => PartitionKey::Random,
    };
    let field = partition_key_field(flow);
    let pattern = partition_key_pattern(flow);
    let constant = partition_key_constant(flow);
    let given: Vec<&str> = KEYS
        .into_iter()
        .filter(|key| flow.node(key).is_some())
        .collect();
    if let [first, second, ..] = given[..] {
        flow.error(
            second,
            format!("{first} says already how partition keys are made"),
            "keep one of the two",
        );
    }
    field.or(pattern).or(constant).unwrap_or(by_option)
}

fn partition_key_field(flow: &mut Section) -> Option<PartitionKey> {
    const KEY: &str = "partitionKeyField";
    let text = flow.text(KEY)?;
    let pointer = JsonPointer::from_text(&text);
    if pointer.is_none() {
        let problem = "not a JSON pointer (RFC 6901)";
        let remedy =
            "write a slash before each name, such as /data/order_id; ~ in a name is ~0, a slash ~1";
        flow.error(KEY, problem, remedy);
    }
    pointer.map(PartitionKey::Field)
}

fn partition_key_pattern(flow: &mut Section) -> Option<PartitionKey> {
    const KEY: &str = "partitionKeyPattern";
    let text = flow.text(KEY)?;
    if text.is_empty() {
        let remedy = "write a Java regular expression with a group, or remove it";
        flow.error(KEY, "empty, so it finds no key", remedy);
        return None;
    }
    GroupFinder::new(&text)
        .map_err(|error| refuse_regex(flow, KEY, &error))
        .map(PartitionKey::Pattern)
        .ok()
}

fn partition_key_constant(flow: &mut Section) -> Option<PartitionKey> {
    const KEY: &str = "partitionKeyConstant";
    let text = flow.text(KEY)?;
    let n_chars = text.encode_utf16().count();
    if !(1..=PARTITION_KEY_CHARS_MAX).contains(&n_chars) {
        let legal = format!("1 to {PARTITION_KEY_CHARS_MAX} characters");
        flow.finding(
            Severity::Error,
            KEY,
            "not a partition key that Kinesis takes",
            Some(legal),
            "write a shorter text, or remove the key",
        );
        return None;
    }
    Some(PartitionKey::Constant(text))
}

fn ordering(flow: &mut Section, partition_key: &PartitionKey) -> Ordering {
    const KEY: &str = "ordering";
    match flow.choice(KEY) {
        Some("PER_FILE") => Ordering::PerFile,
        Some("PER_KEY") if flow.place != Place::KinesisFlow => {
            let remedy = "write PER_FILE, or send to a kinesisStream";
            flow.error(KEY, "records of Firehose have no partition key", remedy);
            Ordering::None
        }
        Some("PER_KEY") => {
            if matches!(partition_key, PartitionKey::Random) {
                let problem = "partition keys are random, so no two records share one";
                let remedy = "say where keys come from, with partitionKeyField, or write PER_FILE";
                flow.error(KEY, problem, remedy);
            }
            Ordering::PerKey
        }
        _ => Ordering::None,
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

fn split(flow: &mut Section, options: &options::Options) -> Split {
    let multi_line_start = java_regex(flow, "multiLineStartPattern", Flags::default());
    let aggregate_bytes_max = aggregate_bytes_max(flow, multi_line_start.is_some());
    let skip_lines = java_regex(flow, "skipLinesMatching", Flags::default());
    if skip_lines.is_some() && multi_line_start.is_some() {
        flow.error(
            "skipLinesMatching",
            "leaves lines out, but records of this flow are made of several",
            "remove it or multiLineStartPattern",
        );
    }
    let first = match options.processing.first() {
        Some(ProcessingOption::CsvToJson(csv)) => Some(csv),
        _ => None,
    };
    let quoted_csv = match first.map(|csv| &csv.delimiter) {
        Some(CsvDelimiter::Quoted(delimiter)) => Some(*delimiter),
        _ => None,
    };
    for (key, is_given) in [
        ("multiLineStartPattern", multi_line_start.is_some()),
        ("aggregatedRecordSizeBytes", aggregate_bytes_max.is_some()),
    ] {
        if quoted_csv.is_some() && is_given {
            let problem =
                "says where records end, but RFC 4180 quoting of CSVTOJSON says so already";
            flow.error(key, problem, "remove it, or the quoting");
        }
    }
    let skip_header_lines = u32::try_from(flow.count("skipHeaderLines")).unwrap_or(u32::MAX);
    Split {
        skip_header_lines: skip_header_lines.saturating_add(u32::from(options.has_header)),
        is_header_needed: options.has_header && first.is_some_and(|csv| csv.field_names.is_none()),
        skip_lines,
        quoted_csv,
        multi_line_start,
        multi_line_idle: flow.duration("multiLineIdleMillis"),
        footer: java_regex(flow, "fileFooterPattern", Flags { multiline: true }),
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
pub fn refuse_regex(section: &mut Section, name: &str, error: &PatternError) {
    let remedy = "correct the pattern; every backslash of it is written \\\\ in JSON";
    section.error(name, regex_problem(error), remedy);
}

/// Why a pattern is none, in one line; the pattern itself is the finding's value.
pub fn regex_problem(error: &PatternError) -> String {
    let PatternError { at, what, .. } = error;
    format!(
        "not a Java regular expression: at character {}: {what}",
        at + 1
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_support::{file_with, findings, flow, refused, summary, warnings};
    use super::*;

    const S: &str = "\"kinesisStream\": \"s\"";
    const D: &str = "\"deliveryStream\": \"d\"";

    #[test]
    fn refused_records_are_kept_unless_it_is_said_otherwise() {
        for (members, expected) in [
            ("", RefusedRecords::DeadLetter),
            (
                ", \"refusedRecords\": \"DEAD_LETTER\"",
                RefusedRecords::DeadLetter,
            ),
            (", \"refusedRecords\": \"SKIP\"", RefusedRecords::Skip),
            (", \"refusedRecords\": \"RETRY\"", RefusedRecords::Retry),
        ] {
            let flow = flow(&format!("\"kinesisStream\": \"s\"{members}"));
            assert_eq!(flow.refused_records, expected, "{members}");
        }
    }

    #[test]
    fn a_flow_has_the_defaults_of_the_reference() {
        let flow = flow(S);
        assert_eq!(flow.id.to_string(), "kinesis:s:/logs/app.log*");
        assert_eq!(flow.patterns, ["/logs/app.log*"]);
        assert_eq!(flow.destination, Destination::Kinesis("s".into()));
        assert!(matches!(flow.partition_key, PartitionKey::Random));
        assert_eq!(flow.initial_position, InitialPosition::EndOfFile);
        let batch = BatchLimits {
            age_max: Duration::from_secs(60),
            records_max: 500,
            bytes_max: 5 * 1024 * 1024,
        };
        assert_eq!(flow.batch, batch);
        assert_eq!(
            flow.backoff,
            Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(10)
            }
        );
        assert_eq!(flow.queue_capacity_batches, 100);
        assert_eq!(
            (flow.poll_interval_min, flow.rescan_interval_max),
            (Duration::from_millis(100), Duration::from_secs(10))
        );
        assert!(flow.processing.is_empty() && !flow.emit_internal_metrics);
        let split = &flow.split;
        assert_eq!(
            (
                split.skip_header_lines,
                split.truncated_terminator.as_slice()
            ),
            (0, b"\n".as_slice())
        );
        assert_eq!(
            (split.multi_line_idle, split.aggregate_bytes_max),
            (Duration::from_secs(1), None)
        );
        assert!(split.multi_line_start.is_none() && split.footer.is_none());
    }

    #[test]
    fn every_key_of_a_flow_has_its_effect() {
        let flow = flow(
            r#""deliveryStream": "d", "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 10,
            "maxBufferSizeRecords": "21", "maxBufferSizeBytes": 4194304, "publishQueueCapacity": 7,
            "retryInitialBackoffMillis": 20, "retryMaxBackoffMillis": 30, "minTimeBetweenFilePollsMillis": 40,
            "maxTimeBetweenFileTrackerRefreshMillis": 50, "skipHeaderLines": 2, "multiLineIdleMillis": 60,
            "fileFooterPattern": "END", "truncatedRecordTerminator": "…", "aggregatedRecordSizeBytes": 1024000,
            "log.emitInternalMetrics": true"#,
        );
        assert_eq!(flow.id.to_string(), "fh:d:/logs/app.log*");
        assert_eq!(flow.initial_position, InitialPosition::StartOfFile);
        let batch = BatchLimits {
            age_max: Duration::from_millis(10),
            records_max: 21,
            bytes_max: 4_194_304,
        };
        assert_eq!(flow.batch, batch);
        assert_eq!(flow.queue_capacity_batches, 7);
        assert_eq!(
            flow.backoff,
            Backoff {
                initial: Duration::from_millis(20),
                max: Duration::from_millis(30)
            }
        );
        assert_eq!(
            (flow.poll_interval_min, flow.rescan_interval_max),
            (Duration::from_millis(40), Duration::from_millis(50))
        );
        assert_eq!(
            (flow.split.skip_header_lines, flow.split.multi_line_idle),
            (2, Duration::from_millis(60))
        );
        assert_eq!(
            flow.split.footer.as_ref().map(JavaRegex::as_str),
            Some("END")
        );
        assert_eq!(flow.split.truncated_terminator, "…".as_bytes());
        assert_eq!(flow.split.aggregate_bytes_max, Some(1_024_000));
        assert!(flow.emit_internal_metrics);
    }

    #[test]
    fn a_destination_is_one_of_two_and_firehose_wins() {
        let cases = [
            (D, "fh:d:/logs/app.log*", 0),
            (
                "\"kinesisStream\": \"s\", \"deliveryStream\": \"d\"",
                "fh:d:/logs/app.log*",
                1,
            ),
            (
                "\"kinesisStream\": \"s\", \"deliveryStream\": \"\"",
                "kinesis:s:/logs/app.log*",
                1,
            ),
            (
                "\"kinesisStream\": null, \"deliveryStream\": \"d\"",
                "fh:d:/logs/app.log*",
                1,
            ),
            ("\"kinesisStream\": 5", "kinesis:5:/logs/app.log*", 1),
            (
                "\"kinesisStream\": \"arn:aws:kinesis:x\"",
                "kinesis:arn:aws:kinesis:x:/logs/app.log*",
                1,
            ),
            ("\"deliveryStream\": \"a b\"", "fh:a b:/logs/app.log*", 1),
        ];
        for (members, id, n_warnings) in cases {
            assert_eq!(flow(members).id.to_string(), id);
            assert_eq!(
                warnings(&file_with("", members)).len(),
                n_warnings,
                "{members}"
            );
        }
        for members in [
            "\"x\": 1",
            "\"kinesisStream\": \"\"",
            "\"deliveryStream\": null",
            "\"kinesisStream\": [\"s\"]",
        ] {
            assert!(refused(&file_with("", members)).has_errors(), "{members}");
        }
        let long = |key: &str, chars: usize| {
            file_with("", &format!("\"{key}\": \"{}\"", "x".repeat(chars)))
        };
        for (key, chars_max) in [("kinesisStream", 128), ("deliveryStream", 64)] {
            assert!(
                warnings(&long(key, chars_max)).is_empty()
                    && warnings(&long(key, chars_max + 1)).len() == 1
            );
        }
    }

    #[test]
    fn partition_keys_are_for_kinesis() {
        let members = "\"kinesisStream\": \"s\", \"partitionKeyOption\": \"DETERMINISTIC\"";
        assert!(matches!(
            flow(members).partition_key,
            PartitionKey::Deterministic
        ));
        for key in [
            r#""partitionKeyOption": "DETERMINISTIC""#,
            r#""partitionKeyField": "/a""#,
            r#""partitionKeyPattern": "a""#,
            r#""partitionKeyConstant": "a""#,
        ] {
            let members = format!("{D}, {key}");
            assert!(matches!(flow(&members).partition_key, PartitionKey::Random));
            assert_eq!(warnings(&file_with("", &members)).len(), 1);
        }
    }

    #[test]
    fn an_order_needs_something_that_records_share() {
        let keyed = r#""partitionKeyField": "/id""#;
        for (members, expected) in [
            (S.to_owned(), Ordering::None),
            (
                format!("{S}, {keyed}, \"ordering\": \"PER_KEY\""),
                Ordering::PerKey,
            ),
            (
                format!("{S}, \"ordering\": \"PER_FILE\""),
                Ordering::PerFile,
            ),
            (
                format!("{D}, \"ordering\": \"PER_FILE\""),
                Ordering::PerFile,
            ),
        ] {
            assert_eq!(flow(&members).ordering, expected, "{members}");
        }
        for members in [S, D] {
            let members = format!("{members}, \"ordering\": \"PER_KEY\"");
            assert!(refused(&file_with("", &members)).has_errors(), "{members}");
        }
    }

    #[test]
    fn partition_keys_come_from_one_place() {
        let key = |members: &str| flow(&format!("{S}, {members}")).partition_key;
        let PartitionKey::Field(pointer) = key(r#""partitionKeyField": "/a~1b/m~0n//0""#) else {
            panic!("a field")
        };
        assert_eq!(pointer.tokens(), ["a/b", "m~n", "", "0"]);
        assert!(matches!(
            key(r#""partitionKeyPattern": "id=(\\d+)""#),
            PartitionKey::Pattern(pattern) if pattern.as_str() == r"id=(\d+)"
        ));
        let PartitionKey::Constant(constant) = key(r#""partitionKeyConstant": "one""#) else {
            panic!("a constant")
        };
        assert_eq!(constant, "one");
        let long = format!("\"partitionKeyConstant\": \"{}\"", "é".repeat(257));
        for members in [
            r#""partitionKeyField": "a""#,
            r#""partitionKeyField": """#,
            r#""partitionKeyField": "/a~2""#,
            r#""partitionKeyField": "/a~""#,
            r#""partitionKeyPattern": "(""#,
            r#""partitionKeyPattern": """#,
            r#""partitionKeyConstant": """#,
            &long,
            r#""partitionKeyConstant": "a", "partitionKeyField": "/a""#,
            r#""partitionKeyOption": "RANDOM", "partitionKeyPattern": "a""#,
        ] {
            let report = refused(&file_with("", &format!("{S}, {members}")));
            assert_eq!(report.findings().len(), 1, "{members}: {report}");
        }
    }

    #[test]
    fn csv_beyond_the_reference_says_where_records_begin_and_end() {
        let csv = |flow: &str, csv: &str| {
            format!(r#""dataProcessingOptions": [{{"optionName": "CSVTOJSON", {csv}}}], {S}{flow}"#)
        };
        let names = r#""customFieldNames": ["a"]"#;
        for (flow_members, csv_members, n_lines, is_needed, delimiter) in [
            ("", names.to_owned(), 0, false, None),
            ("", r#""header": true"#.to_owned(), 1, true, None),
            (
                ", \"skipHeaderLines\": 2",
                r#""header": true"#.to_owned(),
                3,
                true,
                None,
            ),
            ("", format!(r#""header": true, {names}"#), 1, false, None),
            (
                "",
                format!(r#""quoting": "RFC4180", "delimiter": "\t", {names}"#),
                0,
                false,
                Some(b'\t'),
            ),
        ] {
            let split = flow(&csv(flow_members, &csv_members)).split;
            assert_eq!(
                (
                    split.skip_header_lines,
                    split.is_header_needed,
                    split.quoted_csv
                ),
                (n_lines, is_needed, delimiter),
                "{flow_members} {csv_members}"
            );
        }
        let quoted = format!(r#""quoting": "RFC4180", {names}"#);
        let both = csv(", \"multiLineStartPattern\": \"x\"", &quoted);
        assert!(refused(&file_with("", &both)).has_errors());
        let members = format!("{S}, \"skipLinesMatching\": \"#.*\"");
        assert_eq!(
            flow(&members)
                .split
                .skip_lines
                .as_ref()
                .map(JavaRegex::as_str),
            Some("#.*")
        );
        let both = format!("{members}, \"multiLineStartPattern\": \"x\"");
        assert!(refused(&file_with("", &both)).has_errors());
    }

    #[test]
    fn a_back_off_whose_maximum_is_below_its_start_is_the_maximum() {
        let members = format!("{S}, \"retryInitialBackoffMillis\": 20000");
        let max = Duration::from_secs(10);
        assert_eq!(flow(&members).backoff, Backoff { initial: max, max });
        let warnings = warnings(&file_with("", &members));
        assert!(
            matches!(&warnings[..], [one] if one.contains("flows[0].retryInitialBackoffMillis")),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_pattern_that_is_no_java_regex_is_refused_with_the_place() {
        for (key, pattern, place) in [
            ("multiLineStartPattern", "a(b", "at character"),
            ("fileFooterPattern", "[", "at character"),
        ] {
            let report = refused(&file_with("", &format!("{S}, \"{key}\": \"{pattern}\"")));
            let [finding] = report.findings() else {
                panic!("{report}")
            };
            assert!(
                finding.problem.contains(place) && !finding.to_string().contains('\n'),
                "{finding}"
            );
        }
    }

    #[test]
    fn an_empty_pattern_reads_as_absent() {
        let members = format!("{S}, \"multiLineStartPattern\": \"\", \"fileFooterPattern\": \"\"");
        let split = flow(&members).split;
        assert!(split.multi_line_start.is_none() && split.footer.is_none());
        assert_eq!(warnings(&file_with("", &members)).len(), 2);
    }

    #[test]
    fn a_terminator_leaves_room_for_data() {
        let with = |stream: &str, n: usize| {
            file_with(
                "",
                &format!(
                    "{stream}, \"truncatedRecordTerminator\": \"{}\"",
                    "x".repeat(n)
                ),
            )
        };
        for (stream, record_bytes_max, key_bytes) in [(S, 1_048_576, 768), (D, 1_024_000, 0)] {
            assert!(warnings(&with(stream, record_bytes_max - key_bytes - 1)).is_empty());
            assert!(refused(&with(stream, record_bytes_max)).has_errors());
        }
        let tight = with(S, 1_048_575);
        assert_eq!(warnings(&tight).len(), 1);
        assert!(
            flow(&format!("{S}, \"truncatedRecordTerminator\": \"\""))
                .split
                .truncated_terminator
                .is_empty()
        );
        assert!(
            refused(&file_with(
                "",
                &format!("{S}, \"truncatedRecordTerminator\": null")
            ))
            .has_errors()
        );
    }

    #[test]
    fn aggregation_is_for_firehose_without_multi_line() {
        let cases = [
            (format!("{D}, \"aggregatedRecordSizeBytes\": 0"), None, 0),
            (format!("{D}, \"aggregatedRecordSizeBytes\": 1"), Some(1), 0),
            (
                format!("{D}, \"aggregatedRecordSizeBytes\": 1, \"multiLineStartPattern\": \"x\""),
                None,
                1,
            ),
            (format!("{S}, \"aggregatedRecordSizeBytes\": 1"), None, 1),
        ];
        for (members, expected, n_warnings) in cases {
            assert_eq!(
                flow(&members).split.aggregate_bytes_max,
                expected,
                "{members}"
            );
            assert_eq!(
                warnings(&file_with("", &members)).len(),
                n_warnings,
                "{members}"
            );
        }
    }

    #[test]
    fn a_relative_pattern_is_absolute_in_the_flow_and_as_written_in_its_id() {
        let text = "{\"flows\": [{\"filePattern\": \"x/app.log\", \"kinesisStream\": \"s\"}, {\"filePattern\": \"~/a\", \"kinesisStream\": \"s\"}]}";
        let loaded = super::super::test_support::accepted(text);
        let flow = &loaded.config.flows[0];
        assert_eq!(
            (flow.id.to_string().as_str(), flow.patterns[0].as_str()),
            ("kinesis:s:x/app.log", "/start/\\[here\\]/x/app.log")
        );
        let lines = summary(&loaded.report);
        assert!(
            lines[0].contains("relative") && lines[1].contains('~') && lines.len() == 2,
            "{lines:?}"
        );
    }

    #[test]
    fn five_mistakes_are_five_findings() {
        let report = findings(&file_with(
            "\"maxSendingThreads\": 0",
            "\"kinesisStream\": \"\", \"initialPosition\": \"end\", \"maxBufferAgeMillis\": 5, \"multiLineStartPattern\": \"(\"",
        ));
        let mut keys: Vec<_> = report
            .of(Severity::Error)
            .map(|finding| finding.key.as_str())
            .collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "flows[0].initialPosition",
                "flows[0].kinesisStream",
                "flows[0].maxBufferAgeMillis",
                "flows[0].multiLineStartPattern",
                "maxSendingThreads"
            ]
        );
    }
}
