//! A flow's `dataProcessingOptions`, one after the other.

use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::config::{self, ProcessingOption};
use crate::contained::contained;

use super::add_brackets;
use super::add_ec2_metadata::{AddEc2Metadata, Ec2Metadata};
use super::add_metadata::AddMetadata;
use super::csv_to_json::CsvToJson;
use super::log_to_json::LogToJson;
use super::single_line;
use crate::planted;

/// A record longer than this, read or half converted, leaves no scratch space behind: it is rare, and what it needed
/// would be held for ever, by each flow.
const SCRATCH_BYTES_KEPT_MAX: usize = 256 << 10;

/// One flow's options ready to run, with their scratch buffers.
#[derive(Debug)]
pub struct Chain {
    options: Vec<ProcessingOption>,
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
    pub ec2: Option<&'a Arc<Ec2Metadata>>,
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
    /// `CSVTOJSON` with quoting: a quote isn't closed, or there are lines behind the record.
    CsvNotOneRecord,
    /// `LOGTOJSON`: the pattern took too many steps.
    LogStepLimit,
    /// `ADDEC2METADATA`: the record is no JSON object.
    Ec2NotAnObject,
    /// A defect of the agent showed.
    Defect,
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
            RawReason::CsvNotOneRecord => "CSVTOJSON: a double quote is not closed",
            RawReason::LogStepLimit => "LOGTOJSON: matchPattern took too many steps",
            RawReason::Ec2NotAnObject => "ADDEC2METADATA: the record is no JSON object",
            RawReason::Defect => "a defect of the agent",
        })
    }
}

impl Chain {
    pub fn new(options: &[ProcessingOption]) -> Chain {
        Chain {
            options: options.to_vec(),
            steps: options.iter().map(Step::new).collect(),
            between: [Vec::new(), Vec::new()],
        }
    }

    /// Whether there is nothing to do: records are sent as they are, and the caller copies them itself.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The records that follow are of a file with this header line.
    pub fn set_header(&mut self, line: &[u8]) {
        let Some(Step::CsvToJson(step)) = self.steps.first_mut() else {
            return;
        };
        if contained(|| step.set_header(line)).is_none() {
            *self = Chain::new(&mem::take(&mut self.options));
        }
    }

    /// Appends the converted record to `out`, which may hold other bytes before; if the record is skipped or to be
    /// sent raw, `out` is left as it was.
    pub fn run(&mut self, record: &[u8], context: &Context, out: &mut Vec<u8>) -> Verdict {
        let start = out.len();
        let verdict = contained(|| {
            planted::defect_in(record, planted::IN_CHAIN);
            self.run_steps(record, context, out)
        });
        let verdict = verdict.unwrap_or_else(|| {
            self.renew();
            Verdict::Raw(RawReason::Defect)
        });
        if matches!(verdict, Verdict::Skipped(_) | Verdict::Raw(_)) {
            out.truncate(start);
        }
        let n_bytes = self
            .between
            .iter()
            .map(Vec::capacity)
            .fold(record.len(), usize::max);
        if n_bytes > SCRATCH_BYTES_KEPT_MAX {
            self.between = [Vec::new(), Vec::new()];
            self.steps.iter_mut().for_each(Step::free_scratch);
        }
        verdict
    }

    /// Makes the steps anew: what a defect left in them may be half made.
    fn renew(&mut self) {
        let header = match self.steps.first() {
            Some(Step::CsvToJson(step)) => step.header().to_vec(),
            _ => Vec::new(),
        };
        *self = Chain::new(&mem::take(&mut self.options));
        self.set_header(&header);
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

    fn free_scratch(&mut self) {
        match self {
            Step::CsvToJson(step) => step.free_scratch(),
            Step::LogToJson(step) => step.free_scratch(),
            Step::AddEc2Metadata(step) => step.free_scratch(),
            Step::SingleLine(_) | Step::AddMetadata(_) | Step::AddBrackets => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        AddEc2Metadata, AddMetadata, CsvDelimiter, CsvToJson, CsvTypes, JsonFormat, LogFormat,
        LogToJson, SingleLine,
    };
    use crate::process::java_regex::JavaRegex;
    use proptest::prelude::*;

    const FORMAT: JsonFormat = JsonFormat::Compact;

    fn csv(delimiter: Option<&str>) -> ProcessingOption {
        ProcessingOption::CsvToJson(CsvToJson {
            field_names: Some(vec!["a".to_owned(), "b".to_owned()]),
            delimiter: delimiter.map_or(CsvDelimiter::Invalid, |pattern| {
                CsvDelimiter::Pattern(JavaRegex::new(pattern).unwrap())
            }),
            ..CsvToJson::default()
        })
    }

    fn log(pattern: &str) -> ProcessingOption {
        ProcessingOption::LogToJson(LogToJson {
            log_format: LogFormat::Syslog,
            match_pattern: Some(JavaRegex::new(pattern).unwrap()),
            field_names: Some(vec!["x".to_owned()]),
            format: FORMAT,
        })
    }

    fn metadata() -> ProcessingOption {
        ProcessingOption::AddMetadata(AddMetadata {
            metadata: None,
            timestamp: true,
            format: FORMAT,
        })
    }

    fn ec2() -> ProcessingOption {
        let ttl = std::time::Duration::from_secs(3600);
        ProcessingOption::AddEc2Metadata(AddEc2Metadata {
            ttl,
            format: FORMAT,
        })
    }

    fn single_line() -> ProcessingOption {
        ProcessingOption::SingleLine(SingleLine::default())
    }

    fn run(
        options: &[ProcessingOption],
        record: &[u8],
        ec2: Option<&Arc<Ec2Metadata>>,
    ) -> (Verdict, Vec<u8>) {
        let mut out = b"before".to_vec();
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            ec2,
        };
        let verdict = Chain::new(options).run(record, &context, &mut out);
        assert!(out.starts_with(b"before"));
        (verdict, out.split_off(b"before".len()))
    }

    /// P-DEFECT: A record in the splitting or conversion of which a defect of the agent shows is sent as it is, and costs
    /// no other record anything.
    #[test]
    fn a_record_over_which_a_defect_shows_is_raw_and_the_next_is_converted() {
        let options = [
            ProcessingOption::CsvToJson(CsvToJson {
                delimiter: CsvDelimiter::Pattern(JavaRegex::new(",").unwrap()),
                ..CsvToJson::default()
            }),
            metadata(),
        ];
        let mut chain = Chain::new(&options);
        chain.set_header(b"a,b\n");
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            ec2: None,
        };
        let mut out = b"before".to_vec();
        let bad = [planted::IN_CHAIN, b",2\n"].concat();
        for _ in 0..2 {
            let verdict = chain.run(&bad, &context, &mut out);
            assert_eq!(verdict, Verdict::Raw(RawReason::Defect));
            assert_eq!(out, b"before", "nothing of it is left");
        }
        assert_eq!(chain.run(b"1,2\n", &context, &mut out), Verdict::Converted);
        let text = String::from_utf8(out).unwrap();
        let end = r#""data":"{\"a\":\"1\",\"b\":\"2\"}"}"#;
        assert!(text.trim_end().ends_with(end), "{text}");
    }

    #[test]
    fn each_option_reads_what_the_one_before_it_made() {
        let rows: [(&[ProcessingOption], &str, &str); 5] = [
            (&[], "a,b\n", "a,b\n"),
            (
                &[single_line(), csv(Some(","))],
                " a,b \n",
                "{\"a\":\"a\",\"b\":\"b\"}\n",
            ),
            (
                &[csv(Some(",")), csv(Some(":"))],
                "1,2\n",
                "{\"a\":\"{\\\"a\\\"\",\"b\":\"\\\"1\\\",\\\"b\\\"\"}\n",
            ),
            (
                &[single_line(), single_line(), ProcessingOption::AddBrackets],
                " x \n",
                "{x\n}",
            ),
            (
                &[log("(.)"), log("(.*)"), single_line()],
                "1\n",
                "{\"x\":\"{\\\"x\\\":\\\"1\\\"}\"}\n",
            ),
        ];
        for (options, record, expected) in rows {
            let (verdict, out) = run(options, record.as_bytes(), None);
            assert_eq!(verdict, Verdict::Converted);
            assert_eq!(str::from_utf8(&out), Ok(expected), "{record:?}");
        }
    }

    #[test]
    fn a_skip_or_a_failure_anywhere_leaves_the_output_as_it_was() {
        let skipped = Verdict::Skipped(SkipReason::LogNoMatch);
        let raw = Verdict::Raw(RawReason::CsvDelimiter);
        let not_an_object = Verdict::Raw(RawReason::Ec2NotAnObject);
        let known = Arc::new(Ec2Metadata::default());
        let rows: [(&[ProcessingOption], Verdict); 6] = [
            (&[log("x")], skipped),
            (&[single_line(), log("x"), metadata()], skipped),
            (&[log("x"), csv(None)], skipped),
            (&[csv(None)], raw),
            (&[metadata(), csv(None), log("x")], raw),
            (&[ProcessingOption::AddBrackets, ec2()], not_an_object),
        ];
        for (options, expected) in rows {
            assert_eq!(
                run(options, b"record\n", Some(&known)),
                (expected, Vec::new())
            );
        }
    }

    #[test]
    fn missing_ec2_metadata_is_told_wherever_the_option_stands() {
        for options in [
            &[ec2()][..],
            &[single_line(), ec2()],
            &[ec2(), single_line()],
        ] {
            assert_eq!(
                run(options, b"{}\n", None),
                (Verdict::WithoutEc2Metadata, b"{}\n".to_vec())
            );
        }
        assert_eq!(
            run(&[ec2(), csv(None)], b"{}\n", None).0,
            Verdict::Raw(RawReason::CsvDelimiter)
        );
    }

    #[test]
    fn a_long_record_leaves_no_memory_behind() {
        let mut chain = Chain::new(&[single_line(), single_line()]);
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            ec2: None,
        };
        chain.run(
            &vec![b'x'; 2 * SCRATCH_BYTES_KEPT_MAX],
            &context,
            &mut Vec::new(),
        );
        assert!(
            chain
                .between
                .iter()
                .all(|scratch| scratch.capacity() <= SCRATCH_BYTES_KEPT_MAX)
        );
    }

    #[test]
    fn a_chain_can_go_to_its_flows_thread() {
        fn assert_send<T: Send>() {}
        assert_send::<Chain>();
    }

    fn any_option() -> impl Strategy<Value = ProcessingOption> {
        prop::sample::select(vec![
            single_line(),
            csv(Some(",")),
            csv(Some(r"\s+")),
            ProcessingOption::CsvToJson(CsvToJson {
                delimiter: CsvDelimiter::Quoted(b','),
                types: CsvTypes::Auto,
                field_names: Some(vec!["a".to_owned(), "b".to_owned()]),
                ..CsvToJson::default()
            }),
            log(r"(\S*).*"),
            metadata(),
            ec2(),
            ProcessingOption::AddBrackets,
        ])
    }

    fn any_record() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"{}\":, \n\\"[..])];
        prop::collection::vec(byte, 0..60)
    }

    proptest! {
        #[test]
        fn no_record_breaks_a_chain(options in prop::collection::vec(any_option(), 1..4), record in any_record()) {
            let known = Arc::new(Ec2Metadata::default());
            let (verdict, out) = run(&options, &record, Some(&known));
            let gives_json = !matches!(
                options.last(),
                Some(ProcessingOption::SingleLine(_) | ProcessingOption::AddBrackets)
            );
            match verdict {
                Verdict::Converted if gives_json => {
                    let object = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&out);
                    prop_assert!(object.is_ok());
                    prop_assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1));
                }
                Verdict::Converted => prop_assert!(!out.is_empty()),
                _ => prop_assert!(out.is_empty()),
            }
        }
    }
}
