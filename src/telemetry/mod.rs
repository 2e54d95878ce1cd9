//! What users see: the log, metrics, status.
//!
//! - [`events`]: one function an event, which counts and logs it; the other rooms call these and nothing else
//! - [`progress`]: the lines that say how far the agent is, in the reference's words
//! - [`counters`]: what every flow has done so far
//! - [`metrics`]: the metrics' names and units, statistic sets, and what waits to be published
//! - [`cloudwatch`]: the task that publishes them
//! - [`log`]: the reference's line format, its files and their rotation
//! - [`notices`]: warnings and errors kept for a screen instead of written
//! - [`repeats`]: a condition that repeats is said once and then counted
//! - [`troubles`]: what is wrong now, and what to do about it
//! - [`status`]: how the agent is doing at one moment, as one value
//! - [`turning`]: whether a loop still turns
//! - [`web`]: the same over HTTP: the status page, JSON, Prometheus, health
//! - [`names`]: threads and loggers, each spelled once

pub mod cloudwatch;
pub mod counters;
pub mod events;
pub mod log;
pub mod metrics;
pub mod names;
pub mod notices;
pub mod progress;
pub mod repeats;
pub mod status;
pub mod troubles;
pub mod turning;
pub mod web;
