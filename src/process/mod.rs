//! `dataProcessingOptions`: bytes in, bytes out, one file an option, in the words of agent.json; all pure.
//!
//! - [`chain`]: a flow's options, one after the other
//! - `single_line`, `csv_to_json`, `log_to_json` (with [`log_format`]), `add_metadata`, `add_ec2_metadata`,
//!   `add_brackets`: the options
//! - `csv_record`, `csv_types`: what `CSVTOJSON` does beyond the reference
//! - [`mismatch`]: why `LOGTOJSON` leaves a record out
//! - [`java_regex`]: the patterns that people write
//! - `json`: JSON as the reference prints it
//! - [`text`]: bytes as the reference decodes them

mod add_brackets;
mod add_ec2_metadata;
mod add_metadata;
pub mod chain;
mod csv_plain;
mod csv_record;
mod csv_to_json;
mod csv_types;
pub mod java_regex;
mod json;
pub mod log_format;
mod log_to_json;
pub mod mismatch;
mod single_line;
pub mod text;

#[cfg(test)]
mod golden_tests;

pub use add_ec2_metadata::Ec2Metadata;
pub use chain::{Chain, Context, RawReason, SkipReason, Verdict};
