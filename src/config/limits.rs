//! Every bound of the configuration and of the services: a named constant with its unit, its range and what zero means.

/// Longest Kinesis record in bytes, data and partition key together (PutRecords API reference: 1 MiB by default).
pub const KINESIS_RECORD_BYTES_MAX: usize = 1_048_576;
/// Longest Firehose record in bytes of data (PutRecordBatch API reference: 1,000 KiB).
pub const FIREHOSE_RECORD_BYTES_MAX: usize = 1_024_000;
/// Calls in flight at once where `maxSendingThreads` is not set.
pub const SEND_SLOTS_MAX: usize = 256;
