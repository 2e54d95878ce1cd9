//! kinesis-agent follows log files and ships their records to Amazon Kinesis Data Streams and Firehose.
//!
//! # The way of the data
//!
//! ```text
//!  files ─ discover ─▶ cursors ─ read ─▶ chunk ─ split ─▶ records ─ process ─▶ records ─ batch ─▶ batch ─ publish ─▶ AWS
//!  (tail, one thread a flow; blocking file I/O, no async)      (pure: bytes in, bytes out)      (tokio tasks, all flows share)
//!             ▲                                                                                            │
//!             └── checkpoint ◀── watermark: highest offset with nothing unacknowledged below it ◀── acks ──┘
//! ```

#![forbid(unsafe_code)]

pub mod agent;
pub mod aws;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod flow;
pub mod former;
pub mod local;
pub mod process;
pub mod publish;
pub mod record;
pub mod tail;
pub mod telemetry;
