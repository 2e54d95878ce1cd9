//! A flow's `dataProcessingOptions`, one after the other.

use std::fmt;
use std::mem;

use crate::config::{self, ProcessingOption};

use super::add_brackets;
use super::add_ec2_metadata::{AddEc2Metadata, Ec2Metadata};
use super::add_metadata::AddMetadata;
use super::csv_to_json::CsvToJson;
use super::log_to_json::LogToJson;
use super::single_line;

/// Scratch space that is kept from one record to the next; what a longer record needed is given back.
const SCRATCH_BYTES_KEPT_MAX: usize = 1 << 20;

/// One flow's options ready to run, with their scratch buffers.
#[derive(Debug)]
pub struct Chain {
    steps: Vec<Step>,
    /// What the last option reads and what it is made from, in turns.
    between: [Vec<u8>; 2],
}

/// What changes from record to record without being in it.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time that `ADDMETADATA` writes as `ts`.
    pub now: jiff::Timestamp,
    /// What `ADDEC2METADATA` adds; `None` where it could not be had.
    pub ec2: Option<&'a Ec2Metadata>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every option did its work.
    Converted,
    /// Converted, but `ADDEC2METADATA` had no metadata and passed on what it got, as the reference does with a warning.
    WithoutEc2Metadata,
    /// Not to be sent.
    Skipped(SkipReason),
    /// To be sent as it was read, with a warning: an option could not make sense of it.
    Raw(RawReason),
}

/// Why a record isn't sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// `LOGTOJSON`: the record doesn't match; users filter with this.
    LogNoMatch,
    /// `LOGTOJSON`: the pattern hasn't as many groups as there are field names.
    LogGroupCount,
}

/// Why a record is sent as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawReason {
    /// `CSVTOJSON`: the delimiter is no regular expression.
    CsvDelimiter,
    /// `CSVTOJSON`: the delimiter's pattern took too many steps.
    CsvStepLimit,
    /// `LOGTOJSON`: the pattern took too many steps.
    LogStepLimit,
    /// `ADDEC2METADATA`: the record is no JSON object.
    Ec2NotAnObject,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::LogNoMatch => "LOGTOJSON: the record does not match",
            SkipReason::LogGroupCount => {
                "LOGTOJSON: matchPattern and customFieldNames differ in number"
            }
        })
    }
}

impl fmt::Display for RawReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RawReason::CsvDelimiter => "CSVTOJSON: the delimiter is no regular expression",
            RawReason::CsvStepLimit => "CSVTOJSON: the delimiter took too many steps",
            RawReason::LogStepLimit => "LOGTOJSON: matchPattern took too many steps",
            RawReason::Ec2NotAnObject => "ADDEC2METADATA: the record is no JSON object",
        })
    }
}

impl Chain {
    pub fn new(options: &[ProcessingOption]) -> Chain {
        Chain {
            steps: options.iter().map(Step::new).collect(),
            between: [Vec::new(), Vec::new()],
        }
    }

    /// Whether there is nothing to do: records are sent as they are, and the caller copies them itself.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Appends the converted record to `out`, which may hold other bytes before; if the record is skipped or to be
    /// sent raw, `out` is left as it was.
    pub fn run(&mut self, record: &[u8], context: &Context, out: &mut Vec<u8>) -> Verdict {
        let start = out.len();
        let verdict = self.run_steps(record, context, out);
        if matches!(verdict, Verdict::Skipped(_) | Verdict::Raw(_)) {
            out.truncate(start);
        }
        for scratch in &mut self.between {
            if scratch.capacity() > SCRATCH_BYTES_KEPT_MAX {
                *scratch = Vec::new();
            }
        }
        verdict
    }

    fn run_steps(&mut self, record: &[u8], context: &Context, out: &mut Vec<u8>) -> Verdict {
        let Some((last, others)) = self.steps.split_last_mut() else {
            out.extend_from_slice(record);
            return Verdict::Converted;
        };
        let mut chain_verdict = Verdict::Converted;
        let [input, output] = &mut self.between;
        let mut input_is_record = true;
        for step in others {
            output.clear();
            match step.run(
                if input_is_record { record } else { input },
                context,
                output,
            ) {
                Verdict::Converted => {}
                Verdict::WithoutEc2Metadata => chain_verdict = Verdict::WithoutEc2Metadata,
                stop => return stop,
            }
            mem::swap(input, output);
            input_is_record = false;
        }
        match last.run(if input_is_record { record } else { input }, context, out) {
            Verdict::Converted => chain_verdict,
            verdict => verdict,
        }
    }
}

/// One option, ready to run.
#[derive(Debug)]
enum Step {
    SingleLine(config::SingleLine),
    CsvToJson(CsvToJson),
    LogToJson(LogToJson),
    AddMetadata(AddMetadata),
    AddEc2Metadata(AddEc2Metadata),
    AddBrackets,
}

impl Step {
    fn new(option: &ProcessingOption) -> Step {
        match option {
            ProcessingOption::SingleLine(options) => Step::SingleLine(*options),
            ProcessingOption::CsvToJson(options) => Step::CsvToJson(CsvToJson::new(options)),
            ProcessingOption::LogToJson(options) => Step::LogToJson(LogToJson::new(options)),
            ProcessingOption::AddMetadata(options) => Step::AddMetadata(AddMetadata::new(options)),
            ProcessingOption::AddEc2Metadata(options) => {
                Step::AddEc2Metadata(AddEc2Metadata::new(options))
            }
            ProcessingOption::AddBrackets => Step::AddBrackets,
        }
    }

    /// Appends what the option makes of `record`; on anything but a conversion `out` may hold a part of it.
    fn run(&mut self, record: &[u8], context: &Context, out: &mut Vec<u8>) -> Verdict {
        match self {
            Step::SingleLine(options) => single_line::convert(*options, record, out),
            Step::CsvToJson(step) => return step.convert(record, out),
            Step::LogToJson(step) => return step.convert(record, out),
            Step::AddMetadata(step) => step.convert(record, context.now, out),
            Step::AddEc2Metadata(step) => return step.convert(record, context.ec2, out),
            Step::AddBrackets => add_brackets::convert(record, out),
        }
        Verdict::Converted
    }
}
