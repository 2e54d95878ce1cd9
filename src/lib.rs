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
//!
//! What a service refuses for good goes to [`dead_letters`] before the watermark passes it. A flow that ends by a defect
//! is started again by its own thread ([`flow`]); [`agent`] starts and stops all of it.
//!
//! # How it is proven
//!
//! What decides is synchronous: [`tail::Tailer`], [`flow::machine::Machine`] around it, [`publish::publisher::Publisher`],
//! [`checkpoint::pending::Pending`]. Time, chance and the disk reach them as arguments, so that tests can play all three:
//!
//! - `tail/model` plays what befalls files to the tailer alone, between its turns and in their midst, and knows what it must
//!   make of it; `tail/races.rs` plays rotations before each of its operations on the disk;
//! - `tests/simulation` plays whole lives of an agent, by seed: any two steps may follow each other, a kill among them;
//! - `tests/crash.rs` kills the real program, `tests/logrotate.rs` lets logrotate rotate its files;
//! - `tests/papers/promises.rs` quotes each promise of SEMANTICS.md above the test that holds it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod aws;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod contained;
pub mod dead_letters;
pub mod digest;
pub mod flow;
pub mod former;
pub mod local;
mod planted;
pub mod process;
pub mod publish;
pub mod record;
pub mod service;
pub mod tail;
pub mod telemetry;
