//! Every bound of the configuration and of the services: a named constant with its unit, its range and what zero means.

use std::ops::RangeInclusive;

// The services

/// Longest Kinesis record in bytes, data and partition key together (PutRecords API reference: 1 MiB by default).
pub const KINESIS_RECORD_BYTES_MAX: usize = 1_048_576;
/// Longest Firehose record in bytes of data (PutRecordBatch API reference: 1,000 KiB).
pub const FIREHOSE_RECORD_BYTES_MAX: usize = 1_024_000;
/// Longest Kinesis call in bytes of data and partition keys (PutRecords API reference: 10 MiB).
pub const KINESIS_CALL_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest Firehose call in bytes of data (PutRecordBatch API reference: 4 MiB).
pub const FIREHOSE_CALL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most records in a call, of either service.
pub const CALL_RECORDS_MAX: usize = 500;
/// Longest name of a Kinesis stream in characters.
pub const KINESIS_STREAM_NAME_CHARS_MAX: usize = 128;
/// Longest name of a Firehose delivery stream in characters.
pub const FIREHOSE_STREAM_NAME_CHARS_MAX: usize = 64;
/// Longest partition key in characters, as the service counts them (PutRecords API reference). Those beyond U+FFFF
/// count twice here, as they do in Java.
pub const PARTITION_KEY_CHARS_MAX: usize = 256;
/// Longest partition key in bytes.
pub const PARTITION_KEY_BYTES_MAX: usize = 3 * PARTITION_KEY_CHARS_MAX;

// The sending side

/// Calls in flight at once where `maxSendingThreads` is not set.
pub const SEND_SLOTS_MAX: usize = 256;
/// Fewest calls in flight that `maxSendingThreadsPerCore` gives, on a host with one core.
pub const SEND_SLOTS_MIN: usize = 2;
/// Connections kept open where `maxConnections` is not set and fewer calls are allowed in flight.
pub const CONNECTIONS_DEFAULT: usize = 50;

// agent.json

/// Longest configuration file in bytes; more is refused unread.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most entries in the folder agent.d; more is refused unread. Each file may hold any number of flows.
pub const AGENT_D_FILES_MAX: usize = 10_000;
/// Deepest nesting of lists and objects; the reader recurses, so this bounds its stack.
pub const JSON_DEPTH_MAX: usize = 128;
/// Most values in one file; a few bytes of text can cost a hundred in memory.
pub const JSON_VALUES_MAX: usize = 250_000;

/// Longest file pattern in bytes: what the system takes for a path. It also bounds the regex that a glob becomes.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Most patterns that the groups of one may stand for, where they reach over slashes: each is walked by itself.
pub const PATTERN_CHOICES_MAX: usize = 100;
/// Most patterns in `filePattern`, and in `exclude`.
pub const PATTERNS_MAX: usize = 100;
/// Longest `id` of a flow in bytes: it stands in every line of the log and every row of the checkpoints.
pub const FLOW_ID_BYTES_MAX: usize = 512;
/// Unknown keys of one object that are named; the rest is counted.
pub const UNKNOWN_KEYS_SHOWN_MAX: usize = 100;

/// Where the agent keeps its checkpoints unless `checkpointFile` says otherwise.
pub const CHECKPOINT_FILE_DEFAULT: &str = "/var/lib/aws-kinesis-agent/checkpoints";
/// Where the reference keeps its checkpoints by default, from which what it has sent since ours were written is taken over.
pub const REFERENCE_CHECKPOINT_FILE: &str = "/var/run/aws-kinesis-agent/checkpoints";

/// The name of the dead-letter file, beside the checkpoints unless `deadLetters.file` says otherwise.
pub const DEAD_LETTERS_NAME_DEFAULT: &str = "dead-letters";

/// An hour in milliseconds: the longest sensible pause between two looks at anything.
pub const HOUR_MS: i64 = 3_600_000;
/// The largest number that the reference can hold for a count.
pub const COUNT_MAX: i64 = i32::MAX as i64;

/// `maxBufferAgeMillis`, ms; the reference begins at 1000.
pub const BUFFER_AGE_MS: RangeInclusive<i64> = 10..=900_000;
/// `maxBufferSizeRecords`, records.
pub const BUFFER_RECORDS: RangeInclusive<i64> = 1..=CALL_RECORDS_MAX as i64;
/// `maxBufferSizeBytes` of a Kinesis flow, bytes; the reference ends at 5 MiB.
pub const KINESIS_BUFFER_BYTES: RangeInclusive<i64> = 1..=KINESIS_CALL_BYTES_MAX as i64;
/// `maxBufferSizeBytes` of a Kinesis flow where it is not set, bytes.
pub const KINESIS_BUFFER_BYTES_DEFAULT: i64 = 5 * 1024 * 1024;
/// `maxBufferSizeBytes` of a Firehose flow, bytes.
pub const FIREHOSE_BUFFER_BYTES: RangeInclusive<i64> = 1..=FIREHOSE_CALL_BYTES_MAX as i64;
/// `aggregatedRecordSizeBytes`, bytes; 0 is off.
pub const AGGREGATED_RECORD_BYTES: RangeInclusive<i64> = 0..=FIREHOSE_RECORD_BYTES_MAX as i64;
/// `multiLineIdleMillis`, ms.
pub const MULTI_LINE_IDLE_MS: RangeInclusive<i64> = 10..=HOUR_MS;
/// `waitOnFullPublishQueueMillis` and `waitOnEmptyPublishQueueMillis`, ms.
pub const QUEUE_WAIT_MS: RangeInclusive<i64> = 1000..=900_000;
/// `minTimeBetweenFilePollsMillis` and `maxTimeBetweenFileTrackerRefreshMillis`, ms; 0 would be a loop without a pause.
pub const POLL_MS: RangeInclusive<i64> = 1..=HOUR_MS;
/// `ignoreOlder`, seconds; less than a second is no age for a file.
pub const IGNORE_OLDER_SECONDS: RangeInclusive<i64> = 1..=100 * 365 * 86_400;
/// `deletedFiles.maxBytes`, bytes; 0 is no bound.
pub const DELETED_BYTES: RangeInclusive<i64> = 0..=i64::MAX;
/// `deletedFiles.maxBytes` where it is not set, bytes.
pub const DELETED_BYTES_DEFAULT: i64 = 64 * 1024 * 1024 * 1024;
/// `deletedFiles.maxAge`, seconds; 0 is no bound.
pub const DELETED_AGE_SECONDS: RangeInclusive<i64> = 0..=100 * 365 * 86_400;
/// `deletedFiles.maxAge` where it is not set, seconds.
pub const DELETED_AGE_SECONDS_DEFAULT: i64 = 7 * 86_400;
/// `retryInitialBackoffMillis` and `retryMaxBackoffMillis`, ms; 0 would be a loop without a pause.
pub const BACKOFF_MS: RangeInclusive<i64> = 1..=HOUR_MS;
/// `publishQueueCapacity`, batches; with 0 nothing could ever be sent.
pub const QUEUE_BATCHES: RangeInclusive<i64> = 1..=COUNT_MAX;
/// `skipHeaderLines`, lines.
pub const HEADER_LINES: RangeInclusive<i64> = 0..=COUNT_MAX;
/// `maxSendingThreads`, `maxSendingThreadsPerCore` and `maxConnections`.
pub const AT_LEAST_ONE: RangeInclusive<i64> = 1..=COUNT_MAX;
/// `connectionTimeoutMillis`, ms.
pub const CONNECT_TIMEOUT_MS: RangeInclusive<i64> = 1..=HOUR_MS;
/// `socketTimeoutMillis`, ms; 0 is no limit.
pub const ANSWER_TIMEOUT_MS: RangeInclusive<i64> = 0..=HOUR_MS;
/// `connectionTTLMillis`, ms; 0 and less is no limit.
pub const CONNECTION_TTL_MS: RangeInclusive<i64> = -1..=24 * HOUR_MS;
/// `shutdownTimeoutMillis`, ms; 0 gives up what is in flight at once.
pub const SHUTDOWN_MS: RangeInclusive<i64> = 0..=HOUR_MS;
/// `checkpointTimeToLiveDays`, days; 0 forgets a file as soon as it is gone, -1 never does.
pub const CHECKPOINT_TTL_DAYS: RangeInclusive<i64> = -1..=36_500;
/// `checkpoints.queryTimeoutSeconds` and `checkpoints.connectionTimeoutSeconds`, seconds.
pub const DATABASE_TIMEOUT_SECONDS: RangeInclusive<i64> = 1..=3600;
/// `deadLetters.maxSizeBytes`, bytes; the least has room for the longest record.
pub const DEAD_LETTERS_BYTES: RangeInclusive<i64> = 16 * 1024 * 1024..=1024 * 1024 * 1024 * 1024;
/// `deadLetters.maxSizeBytes` where it is not set, bytes.
pub const DEAD_LETTERS_BYTES_DEFAULT: i64 = 256 * 1024 * 1024;
/// `cloudwatch.metricsBufferTimeMillis`, ms.
pub const METRICS_BUFFER_MS: RangeInclusive<i64> = 1..=HOUR_MS;
/// `log.statusReportingPeriodSeconds`, seconds; 0 is never.
pub const STATUS_PERIOD_SECONDS: RangeInclusive<i64> = 0..=86_400;
/// `metadataTTL` of `ADDEC2METADATA`, seconds.
pub const METADATA_TTL_SECONDS: RangeInclusive<i64> = 1..=365 * 86_400;
/// `log.maxFileSize`, bytes.
pub const LOG_FILE_BYTES: RangeInclusive<i64> = 1024..=1024 * 1024 * 1024 * 1024;
/// `log.maxBackupIndex`, files; 0 keeps none.
pub const LOG_BACKUPS: RangeInclusive<i64> = 0..=10_000;
