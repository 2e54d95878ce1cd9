//! Every key of agent.json, in one table: where it stands, what it takes, what it does.
//!
//! Reading takes ranges and defaults from here, so a key that isn't in the table can't be read, and one that is can't be
//! unknown. A key without an effect carries the reason in writing; `check` prints it.

use std::ops::RangeInclusive;

use super::limits::*;

/// One key of agent.json.
#[derive(Debug)]
pub struct Key {
    pub scope: Scope,
    /// As written.
    pub name: &'static str,
    pub kind: Kind,
    pub effect: Effect,
    /// What it means to an operator, in one line.
    pub doc: &'static str,
}

/// The objects in which a key has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The file's outermost object.
    Top,
    /// Every entry of `flows`.
    Flow,
    /// Entries of `flows` with a `kinesisStream`.
    KinesisFlow,
    /// Entries of `flows` with a `deliveryStream`.
    FirehoseFlow,
    /// Entries of `dataProcessingOptions` with one of these names.
    Options(&'static [OptionName]),
}

/// The object that a key was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Top,
    KinesisFlow,
    FirehoseFlow,
    Option(OptionName),
}

/// `optionName`, in the order in which the reference lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionName {
    AddMetadata,
    AddEc2Metadata,
    SingleLine,
    CsvToJson,
    LogToJson,
    AddBrackets,
    UsingPluggin,
}

/// What a key takes.
#[derive(Debug)]
pub enum Kind {
    Text,
    Flag {
        default: bool,
    },
    Number {
        unit: Unit,
        range: RangeInclusive<i64>,
        default: Option<i64>,
        outside: Outside,
    },
    Choice {
        legal: &'static [&'static str],
        default: Option<&'static str>,
    },
    /// A list of texts.
    Texts,
    /// A text, or a list of texts.
    TextOrTexts,
    /// A list of objects.
    Objects,
    /// Any JSON value.
    Any,
}

/// What a number counts. Times may have a fraction, which is kept to the millisecond.
///
/// [`Unit::Spelled`] is for keys that the reference doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Millis,
    Seconds,
    Days,
    /// Seconds, or a text with its unit: `90s`, `15m`, `36h`, `7d`.
    Spelled,
}

/// What becomes of a number outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// An error, as in the reference.
    Refuse,
    /// A warning, and the nearest legal number: the reference checks nothing and starts.
    Nearest,
    /// A warning, and the default: the nearest legal number would mean the opposite.
    Default,
}

/// What a key does.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// It decides this field of [`super::Config`] (of [`super::Flow`] or an option for keys that stand there).
    Sets(&'static str),
    /// It is read and checked and does nothing, for this reason.
    Nothing(&'static str),
    /// The agent can't do what it asks for; the text names the substitutes.
    Refused(&'static str),
}

impl Scope {
    fn covers(self, place: Place) -> bool {
        match (self, place) {
            (Scope::Top, Place::Top)
            | (Scope::Flow | Scope::KinesisFlow, Place::KinesisFlow)
            | (Scope::Flow | Scope::FirehoseFlow, Place::FirehoseFlow) => true,
            (Scope::Options(names), Place::Option(name)) => names.contains(&name),
            _ => false,
        }
    }
}

impl OptionName {
    const ALL: [OptionName; 7] = {
        use OptionName::*;
        [
            AddMetadata,
            AddEc2Metadata,
            SingleLine,
            CsvToJson,
            LogToJson,
            AddBrackets,
            UsingPluggin,
        ]
    };

    /// The option whose name is written so.
    pub fn from_text(text: &str) -> Option<OptionName> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            OptionName::AddMetadata => "ADDMETADATA",
            OptionName::AddEc2Metadata => "ADDEC2METADATA",
            OptionName::SingleLine => "SINGLELINE",
            OptionName::CsvToJson => "CSVTOJSON",
            OptionName::LogToJson => "LOGTOJSON",
            OptionName::AddBrackets => "ADDBRACKETS",
            OptionName::UsingPluggin => "USINGPLUGGIN",
        }
    }
}

impl Unit {
    /// Milliseconds in one, for times.
    pub fn ms(self) -> Option<i64> {
        match self {
            Unit::Count | Unit::Bytes => None,
            Unit::Millis => Some(1),
            Unit::Seconds | Unit::Spelled => Some(1000),
            Unit::Days => Some(86_400_000),
        }
    }

    /// The name of the unit after a number; empty for counts.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => " bytes",
            Unit::Millis => " ms",
            Unit::Seconds | Unit::Spelled => " s",
            Unit::Days => " days",
        }
    }
}

/// The key of that name which has a meaning at that place.
pub fn get(place: Place, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.name == name && key.scope.covers(place))
}

/// Any key of that name, wherever it belongs.
pub fn anywhere(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key at that place which a misspelt name most likely means, if one is close enough.
pub fn nearest(place: Place, name: &str) -> Option<&'static Key> {
    const NAME_CHARS_MAX: usize = 64;
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        return None;
    }
    let simple = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
    let wanted = simple(name);
    KEYS.iter()
        .filter(|key| key.scope.covers(place))
        .map(|key| (strsim::damerau_levenshtein(&wanted, &simple(key.name)), key))
        // A quarter of the letters may differ: `kinesisSteam` finds its key, `nonsense` finds none.
        .filter(|(distance, key)| *distance <= 1.max(key.name.len() / 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// Whether what stands under a name must not be shown.
pub fn is_secret(name: &str) -> bool {
    let says_so = |name: &str| {
        let lower = name.to_lowercase();
        let mut words = ["secret", "password", "token", "externalid"].iter();
        words.any(|word| lower.contains(word))
    };
    says_so(name) || nearest(Place::Top, name).is_some_and(|key| says_so(key.name))
}

const fn key(
    scope: Scope,
    name: &'static str,
    kind: Kind,
    effect: Effect,
    doc: &'static str,
) -> Key {
    Key {
        scope,
        name,
        kind,
        effect,
        doc,
    }
}

const fn flag(default: bool) -> Kind {
    Kind::Flag { default }
}

const fn number(
    unit: Unit,
    range: RangeInclusive<i64>,
    default: Option<i64>,
    outside: Outside,
) -> Kind {
    Kind::Number {
        unit,
        range,
        default,
        outside,
    }
}

const fn choice(legal: &'static [&'static str], default: Option<&'static str>) -> Kind {
    Kind::Choice { legal, default }
}

const NOT_THREADS: &str =
    "sends are asynchronous tasks, which are not kept and have no queue of their own";
const ON_TIME: &str = "reading goes on as soon as a batch has gone, and a batch is sent as soon as it is due: nothing waits by the clock";
const CANT_LOAD_JAVA: &str = "use a profile with credential_process, assumeRoleARN, or the environment's credentials instead";

use Effect::{Nothing, Refused, Sets};
use Kind::{Any, Objects, Text, TextOrTexts, Texts};
use OptionName::*;
use Outside::{Default as UseDefault, Nearest, Refuse};
use Scope::*;
use Unit::*;

/// The names of options, as errors list them.
pub const OPTION_NAMES: &[&str] = &[
    "ADDMETADATA",
    "ADDEC2METADATA",
    "SINGLELINE",
    "CSVTOJSON",
    "LOGTOJSON",
    "ADDBRACKETS",
    "USINGPLUGGIN",
];
/// The log formats, as errors list them.
pub const LOG_FORMATS: &[&str] = &[
    "COMMONAPACHELOG",
    "COMBINEDAPACHELOG",
    "APACHEERRORLOG",
    "SYSLOG",
    "RFC3339SYSLOG",
];

/// The table.
#[rustfmt::skip] // a table reads better as one
pub static KEYS: &[Key] = &[
    // What is sent, and where from
    key(Top, "flows", Objects, Sets("flows"), "which files go to which streams"),

    // Where calls go and as whom
    key(Top, "kinesis.endpoint", Text, Sets("aws.kinesis.endpoint"), "the Kinesis endpoint; without a scheme https"),
    key(Top, "kinesis.region", Text, Sets("aws.kinesis.region"), "the Kinesis region; else the endpoint's, else the host's"),
    key(Top, "kinesis.wire", choice(&["AUTO", "JSON", "CBOR"], Some("AUTO")),
        Sets("publish.kinesis_wire"), "how bodies to Kinesis are written; AUTO is CBOR, and JSON where an endpoint refuses it"),
    key(Top, "firehose.endpoint", Text, Sets("aws.firehose.endpoint"), "the Firehose endpoint; without a scheme https"),
    key(Top, "firehose.region", Text, Sets("aws.firehose.region"), "the Firehose region; else the endpoint's, else us-east-1"),
    key(Top, "cloudwatch.endpoint", Text, Sets("aws.cloudwatch.endpoint"), "the CloudWatch endpoint; without a scheme https"),
    key(Top, "cloudwatch.region", Text, Sets("aws.cloudwatch.region"), "the CloudWatch region; else the endpoint's, else us-east-1"),
    key(Top, "sts.endpoint", Text, Sets("aws.sts.endpoint"), "the STS endpoint for assumeRoleARN; without a scheme https"),
    key(Top, "sts.region", Text, Sets("aws.sts.region"), "the STS region for assumeRoleARN; else the endpoint's, else the host's"),
    key(Top, "awsAccessKeyId", Text, Sets("aws.static_keys"), "an access key, with awsSecretAccessKey"),
    key(Top, "awsSecretAccessKey", Text, Sets("aws.static_keys"), "the secret of awsAccessKeyId"),
    key(Top, "assumeRoleARN", Text, Sets("aws.assume_role"), "a role taken on top of whatever credentials are found"),
    key(Top, "assumeRoleExternalId", Text, Sets("aws.assume_role"), "the external id that the role demands"),
    key(Top, "userDefinedCredentialsProvider.classname", Text, Refused(CANT_LOAD_JAVA), "a Java class that gives credentials"),
    key(Top, "userDefinedCredentialsProvider.location", Text, Refused(CANT_LOAD_JAVA), "the jar of that class"),
    key(Top, "userAgent", Text, Sets("aws.user_agent"), "text before the agent's own user agent"),
    key(Top, "userAgentOverride", Text, Sets("aws.user_agent"), "text instead of the agent's own user agent"),

    // Sending
    key(Top, "maxSendingThreads", number(Count, AT_LEAST_ONE, None, Refuse),
        Sets("publish.slots"), "calls in flight at once, over all flows"),
    key(Top, "maxSendingThreadsPerCore", number(Count, AT_LEAST_ONE, None, Refuse),
        Sets("publish.slots"), "calls in flight at once per core, where maxSendingThreads is not set"),
    key(Top, "maxConnections", number(Count, AT_LEAST_ONE, None, Refuse),
        Sets("publish.connections_max"), "connections kept open; else 50, or the calls in flight if they are more"),
    key(Top, "connectionTimeoutMillis", number(Millis, CONNECT_TIMEOUT_MS, Some(10_000), UseDefault),
        Sets("publish.connect_timeout"), "longest wait for a connection"),
    key(Top, "socketTimeoutMillis", number(Millis, ANSWER_TIMEOUT_MS, Some(50_000), UseDefault),
        Sets("publish.answer_timeout"), "longest wait for an answer; 0 is no limit"),
    key(Top, "connectionTTLMillis", number(Millis, CONNECTION_TTL_MS, Some(-1), Nearest),
        Sets("publish.connection_ttl"), "longest life of an idle connection; 0 and -1 are no limit"),
    key(Top, "shutdownTimeoutMillis", number(Millis, SHUTDOWN_MS, Some(10_000), Nearest),
        Sets("shutdown_timeout"), "how long sends in flight may take after a stop signal"),
    key(Top, "sendingThreadsKeepAliveMillis", number(Millis, 0..=i64::MAX, Some(60_000), Nearest),
        Nothing(NOT_THREADS), "how long the reference keeps an idle sending thread"),
    key(Top, "sendingThreadsMaxQueueSize", number(Count, AT_LEAST_ONE, Some(100), Nearest),
        Nothing(NOT_THREADS), "how many sends may wait for a thread in the reference"),
    key(Top, "useTcpKeepAlive", flag(false),
        Nothing("a dead connection is noticed by socketTimeoutMillis, and its batch is sent again"), "TCP keep-alive probes"),
    key(Top, "useHttpGzip", flag(false),
        Nothing("the services take no compressed calls, and their answers are read only where records failed"), "compressed answers"),

    // Checkpoints
    key(Top, "checkpointFile", Text, Sets("checkpoints.path"), "the checkpoint database"),
    key(Top, "checkpointTimeToLiveDays", number(Days, CHECKPOINT_TTL_DAYS, Some(7), Nearest),
        Sets("checkpoints.ttl"), "how long a checkpoint outlives its file; -1 is for ever"),
    key(Top, "checkpoints.queryTimeoutSeconds", number(Seconds, DATABASE_TIMEOUT_SECONDS, Some(30), UseDefault),
        Sets("checkpoints.query_timeout"), "how long a statement waits for a lock"),
    key(Top, "checkpoints.connectionTimeoutSeconds", number(Seconds, DATABASE_TIMEOUT_SECONDS, Some(5), UseDefault),
        Sets("checkpoints.open_timeout"), "how long opening the database waits for a lock"),

    // Records that the service refuses
    key(Top, "deadLetters.file", Text, Sets("dead_letters.path"), "where refused records are kept; dead-letters beside checkpointFile"),
    key(Top, "deadLetters.maxSizeBytes", number(Bytes, DEAD_LETTERS_BYTES, Some(DEAD_LETTERS_BYTES_DEFAULT), Refuse),
        Sets("dead_letters.bytes_max"), "the largest that the file of refused records gets; what has no room waits"),

    // Metrics and log
    key(Top, "cloudwatch.emitMetrics", flag(true), Sets("cloudwatch.emit"), "metrics go to CloudWatch"),
    key(Top, "cloudwatch.namespace", Text, Sets("cloudwatch.namespace"), "the namespace of the metrics; AWSKinesisAgent"),
    key(Top, "cloudwatch.metricsBufferTimeMillis", number(Millis, METRICS_BUFFER_MS, Some(30_000), Nearest),
        Sets("cloudwatch.buffer_time"), "how long metrics are collected before they are sent"),
    key(Top, "cloudwatch.metricsQueueSize", number(Count, AT_LEAST_ONE, Some(10_000), Nearest),
        Sets("cloudwatch.queue_size"), "metrics waiting to be sent before new ones are dropped"),
    key(Top, "cloudwatch.tagInstance", flag(false), Sets("cloudwatch.tag_instance"), "metrics carry the dimension Instance"),
    key(Top, "cloudwatch.extendedMetrics", flag(false), Sets("cloudwatch.extended"), "more metrics than the reference's: how far behind, skipped, throttled, latency"),
    key(Top, "metrics.prometheus.listen", Text, Sets("listening.port"), "the address and port of the metrics for Prometheus and of the status page"),
    key(Top, "metrics.prometheus.hosts", Texts, Sets("listening.hosts"), "names under which that port may be called, beside addresses and localhost"),
    key(Top, "metrics.prometheus.token", Text, Sets("listening.token"), "what whoever asks there must send: Authorization: Bearer TOKEN"),
    key(Top, "status.socket", Text, Sets("listening.socket"), "the socket of kinesis-agent status; the checkpoint database's name and .sock"),
    key(Top, "log.format", choice(&["text", "json"], Some("text")), Sets("log.format"), "the form of the log's lines; json is an object a line"),
    key(Top, "log.emitMetrics", flag(false), Sets("log.emit_metrics"), "metrics are logged with the progress lines"),
    key(Top, "log.emitInternalMetrics", flag(false), Sets("log.emit_internal_metrics"), "internal metrics are logged too"),
    key(Top, "log.statusReportingPeriodSeconds", number(Seconds, STATUS_PERIOD_SECONDS, Some(30), Nearest),
        Sets("log.status_period"), "time between progress lines; 0 is only at the end"),
    key(Top, "log.honourKeys", flag(false), Sets("log"), "log.level, log.file, log.maxFileSize and log.maxBackupIndex have an effect"),
    key(Top, "log.level", choice(&["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], None), Sets("log.level"), "the least level logged"),
    key(Top, "log.file", Text, Sets("log.file"), "the log file"),
    key(Top, "log.maxFileSize", number(Bytes, LOG_FILE_BYTES, None, Nearest), Sets("log.max_file_bytes"), "size at which a new log file begins"),
    key(Top, "log.maxBackupIndex", number(Count, LOG_BACKUPS, None, Nearest), Sets("log.max_backups"), "finished log files kept"),

    // A flow: which files, and where to
    key(Flow, "filePattern", TextOrTexts, Sets("patterns"), "the files: a directory and a glob, or a list of such"),
    key(Flow, "id", Text, Sets("id"), "the name of the flow, under which its checkpoints are kept; else its stream and filePattern"),
    key(Flow, "exclude", TextOrTexts, Sets("excluded"), "globs of file names, or of whole paths, that are left out although filePattern matches"),
    key(Flow, "ignoreOlder", number(Spelled, IGNORE_OLDER_SECONDS, None, Refuse),
        Sets("ignore_older"), "files not changed for so long (seconds, or 36h, 7d) are not opened until they change"),
    key(Flow, "deletedFiles.maxBytes", number(Bytes, DELETED_BYTES, Some(DELETED_BYTES_DEFAULT), Refuse),
        Sets("deleted_files.bytes_max"), "what deleted files that aren't wholly sent may hold of the disk; 0 is no bound"),
    key(Flow, "deletedFiles.maxAge", number(Spelled, DELETED_AGE_SECONDS, Some(DELETED_AGE_SECONDS_DEFAULT), Refuse),
        Sets("deleted_files.age_max"), "how long a deleted file is held that isn't wholly sent (seconds, or 7d); 0 is no bound"),
    key(Flow, "kinesisStream", Text, Sets("destination"), "the Kinesis stream that receives the records"),
    key(Flow, "deliveryStream", Text, Sets("destination"), "the Firehose delivery stream that receives the records"),
    key(KinesisFlow, "partitionKeyOption", choice(&["RANDOM", "DETERMINISTIC"], Some("RANDOM")),
        Sets("partition_key"), "how partition keys are made"),
    key(KinesisFlow, "partitionKeyField", Text, Sets("partition_key"), "the partition key's place in the JSON sent, such as /data/order_id"),
    key(KinesisFlow, "partitionKeyPattern", Text, Sets("partition_key"), "a Java regex; its first group in the record read is the partition key"),
    key(KinesisFlow, "partitionKeyConstant", Text, Sets("partition_key"), "one partition key for all records"),
    key(Flow, "ordering", choice(&["NONE", "PER_KEY", "PER_FILE"], Some("NONE")),
        Sets("ordering"), "which records are accepted in order: one at a time of each partition key, or of each file"),
    key(Flow, "initialPosition", choice(&["START_OF_FILE", "END_OF_FILE"], Some("END_OF_FILE")),
        Sets("initial_position"), "where files start that were there before the flow's first start"),

    // A flow: batches
    key(Flow, "maxBufferAgeMillis", number(Millis, BUFFER_AGE_MS, Some(60_000), Refuse),
        Sets("batch.age_max"), "the oldest that a record gets before its batch is sent"),
    key(Flow, "maxBufferSizeRecords", number(Count, BUFFER_RECORDS, Some(CALL_RECORDS_MAX as i64), Refuse),
        Sets("batch.records_max"), "records in a batch"),
    key(KinesisFlow, "maxBufferSizeBytes", number(Bytes, KINESIS_BUFFER_BYTES, Some(KINESIS_BUFFER_BYTES_DEFAULT), Refuse),
        Sets("batch.bytes_max"), "bytes in a batch"),
    key(FirehoseFlow, "maxBufferSizeBytes", number(Bytes, FIREHOSE_BUFFER_BYTES, Some(FIREHOSE_CALL_BYTES_MAX as i64), Refuse),
        Sets("batch.bytes_max"), "bytes in a batch"),
    key(Flow, "publishQueueCapacity", number(Count, QUEUE_BATCHES, Some(100), Nearest),
        Sets("queue_capacity_batches"), "batches that wait before reading stops; 16 at most of those that were never sent"),
    key(Flow, "waitOnFullPublishQueueMillis", number(Millis, QUEUE_WAIT_MS, Some(60_000), Refuse),
        Nothing(ON_TIME), "how long the reference waits while its queue is full"),
    key(Flow, "waitOnEmptyPublishQueueMillis", number(Millis, QUEUE_WAIT_MS, Some(60_000), Refuse),
        Nothing(ON_TIME), "how long the reference waits while its queue is empty"),
    key(Flow, "retryInitialBackoffMillis", number(Millis, BACKOFF_MS, Some(100), Nearest),
        Sets("backoff.initial"), "the wait after a first failure"),
    key(Flow, "retryMaxBackoffMillis", number(Millis, BACKOFF_MS, Some(10_000), Nearest),
        Sets("backoff.max"), "the longest wait after failures"),
    key(Flow, "refusedRecords", choice(&["DEAD_LETTER", "SKIP", "RETRY"], Some("DEAD_LETTER")),
        Sets("refused_records"), "what becomes of a record that the service refuses for its content"),

    // A flow: files and records
    key(Flow, "minTimeBetweenFilePollsMillis", number(Millis, POLL_MS, Some(100), Nearest),
        Sets("poll_interval_min"), "the shortest time between two looks at one file"),
    key(Flow, "maxTimeBetweenFileTrackerRefreshMillis", number(Millis, POLL_MS, Some(10_000), Nearest),
        Sets("rescan_interval_max"), "the longest time between two looks for new files"),
    key(Flow, "skipHeaderLines", number(Count, HEADER_LINES, Some(0), Nearest),
        Sets("split.skip_header_lines"), "lines left out at the start of each file"),
    key(Flow, "skipLinesMatching", Text, Sets("split.skip_lines"), "a Java regex: a line that matches wholly is left out"),
    key(Flow, "multiLineStartPattern", Text, Sets("split.multi_line_start"), "a Java regex: a record starts at a line whose beginning matches"),
    key(Flow, "multiLineIdleMillis", number(Millis, MULTI_LINE_IDLE_MS, Some(1000), Refuse),
        Sets("split.multi_line_idle"), "how long a file is quiet before its last multi-line record is closed"),
    key(Flow, "fileFooterPattern", Text, Sets("split.footer"), "a Java regex: a record that matches ends its file"),
    key(Flow, "truncatedRecordTerminator", Text, Sets("split.truncated_terminator"), "the end of a record that was cut; a newline"),
    key(FirehoseFlow, "aggregatedRecordSizeBytes", number(Bytes, AGGREGATED_RECORD_BYTES, Some(0), Refuse),
        Sets("split.aggregate_bytes_max"), "lines are packed into records up to this size; 0 is off"),
    key(Flow, "dataProcessingOptions", Objects, Sets("processing"), "conversions, applied in order"),
    key(Flow, "log.emitInternalMetrics", flag(false), Sets("emit_internal_metrics"), "internal metrics of this flow are logged too"),

    // An entry of dataProcessingOptions
    key(Options(&OptionName::ALL), "optionName", choice(OPTION_NAMES, None), Sets("the option"), "which conversion"),
    key(Options(&[CsvToJson, LogToJson, AddMetadata, AddEc2Metadata]), "jsonFormat", choice(&["COMPACT", "PRETTYPRINT"], Some("COMPACT")),
        Sets("format"), "the layout of the JSON"),
    key(Options(&[SingleLine]), "parseOptions", Texts, Sets("no_trim, escape_new_line"), "NO_TRIM, ESCAPE_NEW_LINE"),
    key(Options(&[CsvToJson, LogToJson]), "customFieldNames", Texts, Sets("field_names"), "the names of the columns or groups"),
    key(Options(&[CsvToJson]), "delimiter", Text, Sets("delimiter"), "a Java regex between columns; a comma"),
    key(Options(&[CsvToJson]), "quoting", choice(&["NONE", "RFC4180"], Some("NONE")),
        Sets("delimiter"), "RFC4180: columns may stand in double quotes, with delimiters and newlines in them"),
    key(Options(&[CsvToJson]), "header", flag(false), Sets("field_names"), "the first line of each file names the columns"),
    key(Options(&[CsvToJson]), "types", Any, Sets("types"), "auto, or column names with string, number, boolean or auto"),
    key(Options(&[LogToJson]), "logFormat", choice(LOG_FORMATS, None), Sets("log_format"), "the format of the records"),
    key(Options(&[AddEc2Metadata]), "logFormat", choice(LOG_FORMATS, None),
        Nothing("the reference demands it and reads every record as JSON all the same"), "demanded, whatever it says"),
    key(Options(&[LogToJson]), "matchPattern", Text, Sets("match_pattern"), "a Java regex for the whole record, instead of the format's"),
    key(Options(&[AddMetadata]), "metadata", Any, Sets("metadata"), "any JSON value, added to each record"),
    key(Options(&[AddMetadata]), "timestamp", flag(false), Sets("timestamp"), "whether the time is added to each record"),
    key(Options(&[AddEc2Metadata]), "metadataTTL", number(Seconds, METADATA_TTL_SECONDS, Some(3600), Nearest),
        Sets("ttl"), "how long the instance's metadata is used before it is read again"),
    key(Options(&[UsingPluggin]), "className", Text,
        Refused("use CSVTOJSON, LOGTOJSON or ADDMETADATA, or convert the records behind the stream (a Firehose transformation)"),
        "a Java class that converts records"),
];

#[cfg(test)]
mod tests {
    use super::super::test_support::{accepted, file_with, file_with_option, findings};
    use super::super::{Finding, Severity};
    use super::*;

    const PLACES: [Place; 10] = [
        Place::Top,
        Place::KinesisFlow,
        Place::FirehoseFlow,
        Place::Option(AddMetadata),
        Place::Option(AddEc2Metadata),
        Place::Option(SingleLine),
        Place::Option(CsvToJson),
        Place::Option(LogToJson),
        Place::Option(AddBrackets),
        Place::Option(UsingPluggin),
    ];

    /// A file that holds a key with a value, in its place.
    fn file_with_key(place: Place, name: &str, value: &str) -> String {
        let member = format!("\"{name}\": {value}");
        match place {
            Place::Top if name == "flows" => format!("{{{member}}}"),
            Place::Top if name.starts_with("log.") => file_with(
                &format!("\"log.honourKeys\": true, {member}"),
                "\"kinesisStream\": \"s\"",
            ),
            Place::Top => file_with(&member, "\"kinesisStream\": \"s\""),
            Place::KinesisFlow => file_with("", &format!("\"kinesisStream\": \"s\", {member}")),
            Place::FirehoseFlow => file_with("", &format!("\"deliveryStream\": \"s\", {member}")),
            Place::Option(option) => file_with_option(&format!(
                "\"optionName\": \"{}\", {member}",
                option.as_str()
            )),
        }
    }

    fn keys_and_places() -> impl Iterator<Item = (&'static Key, Place)> {
        KEYS.iter().flat_map(|key| {
            PLACES
                .into_iter()
                .filter(|place| key.scope.covers(*place))
                .map(move |place| (key, place))
        })
    }

    #[test]
    fn every_key_says_what_it_does_or_why_it_does_nothing() {
        for key in KEYS {
            let (Sets(text) | Nothing(text) | Refused(text)) = key.effect;
            assert!(!text.is_empty() && !key.doc.is_empty(), "{}", key.name);
            assert!(
                !key.doc.contains('\n') && key.doc.chars().count() <= 100,
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn a_place_has_each_key_once_and_each_key_a_place() {
        for place in PLACES {
            for key in KEYS.iter().filter(|key| key.scope.covers(place)) {
                let same = KEYS
                    .iter()
                    .filter(|other| other.name == key.name && other.scope.covers(place))
                    .count();
                assert_eq!(same, 1, "{} in {place:?}", key.name);
            }
        }
        assert!(
            KEYS.iter()
                .all(|key| PLACES.into_iter().any(|place| key.scope.covers(place)))
        );
    }

    #[test]
    fn defaults_lie_within_their_ranges_and_choices() {
        for key in KEYS {
            match &key.kind {
                Kind::Number {
                    range,
                    default,
                    outside,
                    ..
                } => {
                    assert!(
                        default.is_none_or(|default| range.contains(&default)),
                        "{}",
                        key.name
                    );
                    assert!(default.is_some() || *outside != UseDefault, "{}", key.name);
                }
                Kind::Choice { legal, default } => {
                    assert!(
                        default.is_none_or(|default| legal.contains(&default)),
                        "{}",
                        key.name
                    );
                }
                Kind::Flag { .. } | Text | Texts | TextOrTexts | Objects | Any => {}
            }
        }
    }

    /// A key of the table that nobody reads would swallow any value without a word.
    #[test]
    fn no_key_takes_a_value_of_a_wrong_type_in_silence() {
        for (key, place) in keys_and_places() {
            // Every value is right for `metadata`; what `className` holds is never looked at, as its option is refused.
            if matches!(key.kind, Any)
                || matches!(key.effect, Refused(_)) && key.name == "className"
            {
                continue;
            }
            let text = file_with_key(place, key.name, "[[]]");
            let report = findings(&text);
            let about_key = |finding: &Finding| {
                finding.severity != Severity::Note
                    && finding.key.trim_end_matches("[0]").ends_with(key.name)
            };
            assert!(report.findings().iter().any(about_key), "{text}: {report}");
        }
    }

    #[test]
    fn numbers_outside_their_range_are_never_taken_in_silence() {
        for (key, place) in keys_and_places() {
            let Kind::Number { range, outside, .. } = &key.kind else {
                continue;
            };
            for number in [range.start().checked_sub(1), range.end().checked_add(1)]
                .into_iter()
                .flatten()
            {
                let text = file_with_key(place, key.name, &number.to_string());
                let report = findings(&text);
                let finding = report
                    .findings()
                    .iter()
                    .find(|finding| finding.problem.contains("outside its range"));
                assert!(
                    finding.is_some_and(
                        |finding| finding.legal.is_some() && finding.key.ends_with(key.name)
                    ),
                    "{text}: {report}"
                );
                // An EC2 option without a log format is refused for that.
                assert_eq!(
                    report.has_errors(),
                    *outside == Refuse || place == Place::Option(AddEc2Metadata),
                    "{text}: {report}"
                );
            }
        }
    }

    #[test]
    fn keys_without_an_effect_are_noted_with_the_reason() {
        for (key, place) in keys_and_places() {
            let Nothing(reason) = key.effect else {
                continue;
            };
            let value = match key.kind {
                Kind::Number { default, .. } => default
                    .expect("keys without an effect have a default")
                    .to_string(),
                Kind::Flag { default } => default.to_string(),
                _ => "\"SYSLOG\"".to_owned(),
            };
            let text = file_with_key(place, key.name, &value);
            let loaded = accepted(&text);
            let notes: Vec<_> = loaded
                .report
                .findings()
                .iter()
                .map(|finding| (finding.severity, &finding.problem))
                .collect();
            assert_eq!(
                notes,
                [(Severity::Note, &format!("has no effect here: {reason}"))],
                "{text}"
            );
            assert_eq!(
                loaded.report.to_string(),
                "",
                "notes are not said at an ordinary start"
            );
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_nearest_and_nonsense_finds_none() {
        let cases = [
            (Place::KinesisFlow, "kinesisSteam", Some("kinesisStream")),
            (Place::KinesisFlow, "KinesisStream", Some("kinesisStream")),
            (Place::KinesisFlow, "file_pattern", Some("filePattern")),
            (
                Place::KinesisFlow,
                "maxBufferSizeByte",
                Some("maxBufferSizeBytes"),
            ),
            (Place::Top, "flow", Some("flows")),
            (
                Place::Top,
                "cloudwatch.emitMetric",
                Some("cloudwatch.emitMetrics"),
            ),
            (Place::Option(CsvToJson), "optoinName", Some("optionName")),
            (Place::Top, "nonsense", None),
            (Place::Top, "", None),
            (Place::Top, "comment", None),
        ];
        for (place, name, expected) in cases {
            assert_eq!(nearest(place, name).map(|key| key.name), expected, "{name}");
        }
        assert!(nearest(Place::Top, &"x".repeat(1_000_000)).is_none());
    }

    #[test]
    fn secrets_are_known_by_name_even_misspelt() {
        for (name, expected) in [
            ("awsSecretAccessKey", true),
            ("awsSercetAccessKey", true),
            ("aws_secret", true),
            ("sessionToken", true),
            ("awsAccessKeyId", false),
            ("kinesisStream", false),
        ] {
            assert_eq!(is_secret(name), expected, "{name}");
        }
    }
}
