//! The services' bounds as this endpoint enforces them, and its own.

use std::time::Duration;

/// Records in one PutRecords or PutRecordBatch call (API references of both services).
pub const CALL_RECORDS_MAX: usize = 500;

/// Data and partition keys in one PutRecords call (PutRecords API reference: 10 MiB).
pub const KINESIS_CALL_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Data and partition key of one Kinesis record where a stream's setting was never raised (1 MiB).
pub const KINESIS_RECORD_BYTES_MAX: usize = 1024 * 1024;

/// The highest that a stream's record size can be raised to (10 MiB).
pub const KINESIS_RECORD_BYTES_CEILING: usize = 10 * 1024 * 1024;

/// Data in one PutRecordBatch call (API reference: 4 MiB).
pub const FIREHOSE_CALL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Data of one Firehose record (API reference: 1,000 KiB).
pub const FIREHOSE_RECORD_BYTES_MAX: usize = 1000 * 1024;

/// Partition key in Unicode characters; the least is 1.
pub const PARTITION_KEY_CHARS_MAX: usize = 256;

/// Kinesis stream name in characters.
pub const KINESIS_STREAM_NAME_CHARS_MAX: usize = 128;

/// Firehose delivery stream name in characters.
pub const FIREHOSE_STREAM_NAME_CHARS_MAX: usize = 64;

/// Data and partition keys that one shard takes in a second.
pub const SHARD_BYTES_PER_SECOND: usize = 1024 * 1024;

/// Records that one shard takes in a second.
pub const SHARD_RECORDS_PER_SECOND: usize = 1000;

/// Shards of a stream; 0 isn't legal. The bound only keeps the table of windows small.
pub const SHARDS_MAX: u32 = 10_000;

/// The longest body that is read; beyond it the call is refused with 413. Ten MiB of data are 13.4 MiB in base64.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Metrics in one PutMetricData call (API reference: 1,000).
pub const CALL_METRICS_MAX: usize = 1000;

/// The uncompressed body of one PutMetricData call (API reference: 1 MB).
pub const METRICS_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Dimensions of one metric (API reference: 30).
pub const METRIC_DIMENSIONS_MAX: usize = 30;

/// Nested arrays and maps in CBOR; the deepest legal call has four.
pub const CBOR_DEPTH_MAX: usize = 32;

/// How far a request's date may lie from the endpoint's clock, either way.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// Connections served at once; further ones wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 1024;

/// How long `stop` waits for calls in flight before it closes their connections.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long nothing is accepted after accepting has failed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
