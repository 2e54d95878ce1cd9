//! What to do, valid by construction.
//!
//! ```text
//!  files ─ load ─▶ text ─ json ─▶ objects with lines ─ raw, by the table of keys ─▶ settings + flows ─▶ Config
//!                                                                └──────────────── findings ─────────▶ Report
//! ```
//!
//! Nobody else reads JSON. Every bound is a named constant in [`limits`], every key a row in [`keys`]; `settings` reads
//! the top level, `flows` an entry of `flows`, `options` one of `dataProcessingOptions`.

mod endpoint;
mod environment;
mod files;
mod flows;
#[cfg(test)]
mod golden_tests;
mod json;
pub mod keys;
pub mod limits;
mod listening;
mod load;
mod number;
mod options;
mod overlap;
pub mod pattern;
mod raw;
pub mod report;
mod settings;
#[cfg(test)]
pub mod test_support;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::process::java_regex::{GroupFinder, JavaRegex};

pub use endpoint::region_of_host;
pub use environment::Environment;
pub use files::leaves_out;
pub use flows::id_prefix;
pub use listening::{Listening, Token};
pub use load::{FlowPlace, Loaded, load, load_text};
pub use overlap::overlap;
pub use report::{Finding, Refused, Report, Severity};
pub use written::Written;

/// Everything the agent needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The flows, in the order of the files; never empty and never two with one id.
    pub flows: Vec<Arc<Flow>>,
    /// Where calls go and as whom.
    pub aws: Aws,
    /// Bounds and time-outs of the sending side.
    pub publish: Publish,
    /// Where progress is remembered.
    pub checkpoints: Checkpoints,
    /// Where records are kept that the service refuses.
    pub dead_letters: DeadLetters,
    /// CloudWatch metrics.
    pub cloudwatch: CloudWatch,
    /// The agent's own log.
    pub log: Log,
    /// Where the agent can be asked how it is doing.
    pub listening: Listening,
    /// How long sends in flight may take after a stop signal (`shutdownTimeoutMillis`).
    pub shutdown_timeout: Duration,
    /// What the main file says of the agent as a whole, by key.
    pub written: BTreeMap<String, Written>,
}

impl Config {
    /// Keys of the agent as a whole that `other` says otherwise, in their order.
    pub fn keys_changed(&self, other: &Config) -> Vec<String> {
        let (ours, theirs) = (&self.written, &other.written);
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key));
        changed.cloned().collect()
    }
}

/// The identity of a flow, the key of its checkpoints: `id`, or else `kinesis:STREAM:DIR/PATTERN` or
/// `fh:STREAM:DIR/PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub Arc<str>);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of `flows`: which files, how they become records, and where these go.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What the configuration says of it.
    pub written: Written,
    pub id: FlowId,
    /// Absolute globs in the syntax of [`pattern::compile`] (`filePattern`); they may stand in any part.
    pub patterns: Vec<String>,
    /// What is left out although the patterns match (`exclude`).
    pub excluded: Vec<Excluded>,
    /// Files not changed for so long aren't opened until they change (`ignoreOlder`).
    pub ignore_older: Option<Duration>,
    /// What deleted files that aren't wholly sent may cost.
    pub deleted_files: DeletedFiles,
    pub destination: Destination,
    pub partition_key: PartitionKey,
    pub ordering: Ordering,
    pub initial_position: InitialPosition,
    pub batch: BatchLimits,
    pub split: Split,
    /// `dataProcessingOptions`, applied in order; empty means that records are sent as they are.
    pub processing: Vec<ProcessingOption>,
    pub backoff: Backoff,
    pub refused_records: RefusedRecords,
    /// Batches of this flow that may wait before reading stops (`publishQueueCapacity`); of those that were never sent a
    /// few are enough.
    pub queue_capacity_batches: usize,
    /// The shortest time between two looks at one file (`minTimeBetweenFilePollsMillis`).
    pub poll_interval_min: Duration,
    /// The longest time between two looks for new files (`maxTimeBetweenFileTrackerRefreshMillis`).
    pub rescan_interval_max: Duration,
    /// Also log the internal metrics of this flow (`log.emitInternalMetrics`).
    pub emit_internal_metrics: bool,
}

/// What a flow leaves out, in the syntax of [`pattern::compile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excluded {
    /// Files of such a name, wherever they are.
    Name(String),
    /// The files and folders at such a path, and all that is in those folders.
    Path(String),
}

/// What deleted files that aren't wholly sent may cost; each `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedFiles {
    /// Bytes of the disk (`deletedFiles.maxBytes`).
    pub bytes_max: Option<u64>,
    /// Time since their deletion (`deletedFiles.maxAge`).
    pub age_max: Option<Duration>,
}

/// The stream that receives a flow's records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `kinesisStream`: PutRecords.
    Kinesis(String),
    /// `deliveryStream`: PutRecordBatch.
    Firehose(String),
}

impl Destination {
    /// The stream's name as configured.
    pub fn name(&self) -> &str {
        match self {
            Destination::Kinesis(name) | Destination::Firehose(name) => name,
        }
    }

    /// Longest record the service takes, in bytes of data; for Kinesis the partition key counts too.
    pub fn record_bytes_max(&self) -> usize {
        match self {
            Destination::Kinesis(_) => limits::KINESIS_RECORD_BYTES_MAX,
            Destination::Firehose(_) => limits::FIREHOSE_RECORD_BYTES_MAX,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Kinesis(name) => write!(f, "Kinesis stream {name}"),
            Destination::Firehose(name) => write!(f, "Firehose delivery stream {name}"),
        }
    }
}

/// How a record's partition key is made; Firehose has none.
///
/// A key that comes from the record is cut to the longest that the service takes. A record that gives none has a random
/// one, and is counted.
#[derive(Debug, Clone)]
pub enum PartitionKey {
    /// A decimal fraction drawn from [0, 1000000) (`partitionKeyOption` `RANDOM`).
    Random,
    /// Lower-case hex MD5 of the record's data as sent (`partitionKeyOption` `DETERMINISTIC`).
    Deterministic,
    /// The string, number or boolean there in the record as sent (`partitionKeyField`).
    Field(JsonPointer),
    /// The pattern's first group in the record as read, or the whole match where it has none (`partitionKeyPattern`).
    Pattern(GroupFinder),
    /// One key for all (`partitionKeyConstant`).
    Constant(String),
}

/// Which records are accepted in the order in which they were read (`ordering`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// None: calls are in flight side by side, and records that fail come later.
    #[default]
    None,
    /// Those of one partition key: never two of them in one call or in flight together.
    PerKey,
    /// Those of one file: never two of them in one call or in flight together.
    PerFile,
}

/// What becomes of a record that the service refuses for its content (`refusedRecords`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefusedRecords {
    /// It is kept in the dead-letter file.
    #[default]
    DeadLetter,
    /// It is left out, and counted.
    Skip,
    /// It is sent again for ever, by itself; no checkpoint passes it.
    Retry,
}

/// A place in a JSON document (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer {
    tokens: Vec<String>,
}

impl JsonPointer {
    /// Reads `/data/order_id` and the like; `None` if it doesn't begin with a slash or has a `~` without 0 or 1.
    pub fn from_text(text: &str) -> Option<JsonPointer> {
        let token = |written: &str| {
            let is_escaped = |rest: &str| rest.starts_with('0') || rest.starts_with('1');
            let is_legal = written.split('~').skip(1).all(is_escaped);
            is_legal.then(|| written.replace("~1", "/").replace("~0", "~"))
        };
        let tokens = text.strip_prefix('/')?.split('/').map(token);
        Some(JsonPointer {
            tokens: tokens.collect::<Option<_>>()?,
        })
    }

    /// The names and places on the way, from the outermost; never empty.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

/// Where a file starts that was there before the agent's first start (`initialPosition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPosition {
    StartOfFile,
    EndOfFile,
}

/// When an open batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Age of the oldest record (`maxBufferAgeMillis`).
    pub age_max: Duration,
    /// Records in a call (`maxBufferSizeRecords`), 1 … 500.
    pub records_max: usize,
    /// Data and partition keys in a call (`maxBufferSizeBytes`).
    pub bytes_max: usize,
}

/// How bytes become records.
#[derive(Debug, Clone)]
pub struct Split {
    /// Lines left out at the start of each file: `skipHeaderLines`, and one more with `header` of `CSVTOJSON`.
    pub skip_header_lines: u32,
    /// The last of these lines names the file's columns: whoever converts its records needs it.
    pub is_header_needed: bool,
    /// A line that matches wholly is no record (`skipLinesMatching`).
    pub skip_lines: Option<JavaRegex>,
    /// A record goes on over newlines while a quote is open, as RFC 4180 has it; columns are delimited by this byte.
    pub quoted_csv: Option<u8>,
    /// A record starts at a line whose beginning matches (`multiLineStartPattern`).
    pub multi_line_start: Option<JavaRegex>,
    /// How long a file must be quiet before its last multi-line record is closed (`multiLineIdleMillis`).
    pub multi_line_idle: Duration,
    /// A record that matches wholly, trimmed, ends its file (`fileFooterPattern`).
    pub footer: Option<JavaRegex>,
    /// The end of a record that was cut (`truncatedRecordTerminator`).
    pub truncated_terminator: Vec<u8>,
    /// Whole lines are packed into records up to this size (`aggregatedRecordSizeBytes`); `None` is off.
    pub aggregate_bytes_max: Option<usize>,
}

/// One entry of `dataProcessingOptions`.
#[derive(Debug, Clone)]
pub enum ProcessingOption {
    /// `SINGLELINE`
    SingleLine(SingleLine),
    /// `CSVTOJSON`
    CsvToJson(CsvToJson),
    /// `LOGTOJSON`
    LogToJson(LogToJson),
    /// `ADDMETADATA`
    AddMetadata(AddMetadata),
    /// `ADDEC2METADATA`
    AddEc2Metadata(AddEc2Metadata),
    /// `ADDBRACKETS`
    AddBrackets,
}

/// `parseOptions` of `SINGLELINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SingleLine {
    /// `NO_TRIM`: pieces keep their white space.
    pub no_trim: bool,
    /// `ESCAPE_NEW_LINE`: pieces are joined with two backslashes and an `n`.
    pub escape_new_line: bool,
}

/// How a JSON object is laid out (`jsonFormat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonFormat {
    #[default]
    Compact,
    PrettyPrint,
}

/// Options of `CSVTOJSON`.
#[derive(Debug, Clone, Default)]
pub struct CsvToJson {
    /// Column names, in order; a name given twice keeps its first place and its last value. `None`: those of the file's
    /// header.
    pub field_names: Option<Vec<String>>,
    pub delimiter: CsvDelimiter,
    pub types: CsvTypes,
    pub format: JsonFormat,
}

/// What stands between columns.
#[derive(Debug, Clone, Default)]
pub enum CsvDelimiter {
    /// A Java regex for `String.split`.
    Pattern(JavaRegex),
    /// `"quoting": "RFC4180"`: this byte, outside double quotes.
    Quoted(u8),
    /// A text that is no regex: every record is sent raw.
    #[default]
    Invalid,
}

/// Which columns are more than strings (`types`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CsvTypes {
    /// None, as in the reference.
    #[default]
    AllText,
    /// `"auto"`: what looks like a number, a boolean or null is one.
    Auto,
    /// The named columns; all others are strings.
    ByName(Vec<(String, ColumnType)>),
}

/// What the values of a column are. A value that isn't of its column's type stays a string; an empty one, and the word
/// null, are null in all but [`ColumnType::Text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `string`
    Text,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
    /// `auto`
    Auto,
}

impl ColumnType {
    /// The type whose name in agent.json is written so.
    pub fn from_text(text: &str) -> Option<ColumnType> {
        Some(match text {
            "string" => ColumnType::Text,
            "number" => ColumnType::Number,
            "boolean" => ColumnType::Boolean,
            "auto" => ColumnType::Auto,
            _ => return None,
        })
    }
}

/// Options of `LOGTOJSON`.
#[derive(Debug, Clone)]
pub struct LogToJson {
    pub log_format: LogFormat,
    /// A pattern of the user's own, instead of the format's.
    pub match_pattern: Option<JavaRegex>,
    /// Names instead of the format's; as many as the pattern has groups, or records are skipped.
    pub field_names: Option<Vec<String>>,
    pub format: JsonFormat,
}

/// The formats that `LOGTOJSON` knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    CommonApacheLog,
    CombinedApacheLog,
    ApacheErrorLog,
    Syslog,
    Rfc3339Syslog,
}

impl LogFormat {
    /// The format whose name in agent.json is written so.
    pub fn from_text(text: &str) -> Option<LogFormat> {
        Some(match text {
            "COMMONAPACHELOG" => LogFormat::CommonApacheLog,
            "COMBINEDAPACHELOG" => LogFormat::CombinedApacheLog,
            "APACHEERRORLOG" => LogFormat::ApacheErrorLog,
            "SYSLOG" => LogFormat::Syslog,
            "RFC3339SYSLOG" => LogFormat::Rfc3339Syslog,
            _ => return None,
        })
    }
}

/// Options of `ADDMETADATA`.
#[derive(Debug, Clone)]
pub struct AddMetadata {
    /// Any JSON value, as text, its numbers with the digits that were written; `None` when the key is absent.
    pub metadata: Option<String>,
    /// Whether `ts` is added.
    pub timestamp: bool,
    pub format: JsonFormat,
}

/// Options of `ADDEC2METADATA`.
#[derive(Debug, Clone)]
pub struct AddEc2Metadata {
    /// How long what the metadata service said is used (`metadataTTL`).
    pub ttl: Duration,
    pub format: JsonFormat,
}

/// How long a flow waits after its n-th failure in a row: initial × 2^(n−1), at most the maximum, ±30 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

/// Where calls go and as whom.
#[derive(Debug, Clone, Default)]
pub struct Aws {
    pub kinesis: Service,
    pub firehose: Service,
    pub cloudwatch: Service,
    pub sts: Service,
    /// `awsAccessKeyId` and `awsSecretAccessKey`.
    pub static_keys: Option<StaticKeys>,
    /// `assumeRoleARN` and `assumeRoleExternalId`, on top of whatever credentials were found.
    pub assume_role: Option<AssumeRole>,
    /// `userAgent` (a prefix) or `userAgentOverride` (all of it).
    pub user_agent: UserAgent,
}

/// One AWS service's address; both `None`: the region of the host decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// With scheme (`https://` where none was written) and without a trailing slash.
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

/// Keys written in agent.json. Its `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticKeys {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticKeys({}, …)", self.access_key_id)
    }
}

/// A role taken on top of the credentials found; session name `AWSKinesisAgent`, one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    pub arn: String,
    pub external_id: Option<String>,
}

/// What the `user-agent` header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UserAgent {
    /// `aws-kinesis-agent/VERSION …`
    #[default]
    Default,
    /// The text, a space, then the default.
    Prefix(String),
    /// The text alone.
    Override(String),
}

/// Bounds and time-outs of the sending side.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Calls in flight at once (`maxSendingThreads`, or `maxSendingThreadsPerCore` × cores); `None`: as many as the
    /// byte budget allows, at most [`limits::SEND_SLOTS_MAX`], of which few are begun within a moment.
    pub slots: Option<NonZeroUsize>,
    /// Connections kept open (`maxConnections`).
    pub connections_max: usize,
    /// `connectionTimeoutMillis`
    pub connect_timeout: Duration,
    /// Longest wait for an answer (`socketTimeoutMillis`); `None`: no limit.
    pub answer_timeout: Option<Duration>,
    /// Longest life of an idle connection (`connectionTTLMillis`); `None`: as long as the server keeps it.
    pub connection_ttl: Option<Duration>,
    /// `kinesis.wire`, or JSON where `AWS_CBOR_DISABLE` is set.
    pub kinesis_wire: WirePreference,
}

/// How bodies to Kinesis are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WirePreference {
    /// CBOR, and JSON where an endpoint doesn't take it.
    #[default]
    Auto,
    Json,
    Cbor,
}

/// Where progress is remembered.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// `checkpointFile`
    pub path: PathBuf,
    /// Rows not updated for so long are deleted at start, unless their file is still there
    /// (`checkpointTimeToLiveDays`); `None`: never.
    pub ttl: Option<Duration>,
    /// How long a statement waits for a lock (`checkpoints.queryTimeoutSeconds`).
    pub query_timeout: Duration,
    /// How long opening waits for a lock (`checkpoints.connectionTimeoutSeconds`).
    pub open_timeout: Duration,
}

/// Where records are kept that the service refuses.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// `deadLetters.file`
    pub path: PathBuf,
    /// The file never gets larger (`deadLetters.maxSizeBytes`): records that it has no room for wait.
    pub bytes_max: u64,
}

/// CloudWatch metrics.
#[derive(Debug, Clone)]
pub struct CloudWatch {
    /// `cloudwatch.emitMetrics`
    pub emit: bool,
    /// `cloudwatch.namespace`
    pub namespace: String,
    /// `cloudwatch.metricsBufferTimeMillis`
    pub buffer_time: Duration,
    /// Data waiting to be published (`cloudwatch.metricsQueueSize`).
    pub queue_size: usize,
    /// Adds the dimension `Instance` (`cloudwatch.tagInstance`).
    pub tag_instance: bool,
    /// More metrics than the reference's (`cloudwatch.extendedMetrics`).
    pub extended: bool,
}

/// The agent's own log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Progress lines every so often (`log.statusReportingPeriodSeconds`); `None`: only at shutdown.
    pub status_period: Option<Duration>,
    /// Also log metrics with the progress lines (`log.emitMetrics`).
    pub emit_metrics: bool,
    /// Also log internal metrics (`log.emitInternalMetrics`).
    pub emit_internal_metrics: bool,
    /// `log.format`
    pub format: LogLines,
    /// `log.level`; this and the next three are `None` unless `log.honourKeys` is true.
    pub level: Option<LogLevel>,
    /// `log.file`, absolute.
    pub file: Option<PathBuf>,
    /// `log.maxFileSize`
    pub max_file_bytes: Option<u64>,
    /// `log.maxBackupIndex`
    pub max_backups: Option<u32>,
}

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLines {
    /// As the reference writes them.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// The level whose name in agent.json is written so.
    pub fn from_text(text: &str) -> Option<LogLevel> {
        Some(match text {
            "TRACE" => LogLevel::Trace,
            "DEBUG" => LogLevel::Debug,
            "INFO" => LogLevel::Info,
            "WARN" => LogLevel::Warn,
            "ERROR" => LogLevel::Error,
            _ => return None,
        })
    }
}
