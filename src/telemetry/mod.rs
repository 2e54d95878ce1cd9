//! What users see: the log, metrics, status.
//!
//! - [`events`]: one function an event, which counts and logs it; the other rooms call these and nothing else
//! - [`progress`]: the lines that say how far the agent is, in the reference's words
//! - [`counters`]: what every flow has done so far
//! - [`names`]: threads, loggers and metrics, each spelled once
//! - [`repeats`]: a condition that repeats is said once and then counted
//! - [`log`]: the reference's line format, its files and their rotation
//! - [`cloudwatch`]: statistic sets and the task that publishes them

pub mod log;
pub mod names;
