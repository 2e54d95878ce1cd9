//! Batches to AWS: what a call carries ([`batch`], [`wire`]), when it goes and what its answer means ([`publisher`], a
//! synchronous state machine with [`backoff`] and [`watermark`]), who carries it ([`sink`], [`kinesis`], [`firehose`]),
//! and the tokio task around them ([`run`]).

pub mod backoff;
pub mod batch;
pub mod budget;
pub mod watermark;
pub mod wire;
