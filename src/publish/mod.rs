//! Batches to AWS: what a call carries ([`batch`], [`key`], [`wire`]), when it goes and what its answer means ([`publisher`], a
//! synchronous state machine with [`backoff`] and [`watermark`]), who carries it ([`sink`], [`kinesis`], [`firehose`]),
//! and the tokio task around them ([`run`]). What all of it may hold is bounded by the [`budget`].

mod accepted;
mod answer;
pub mod backoff;
pub mod batch;
pub mod budget;
pub mod failure;
pub mod firehose;
pub mod key;
pub mod kinesis;
pub mod ordering;
pub mod publisher;
pub mod run;
pub mod sink;
pub mod watermark;
pub mod wire;
