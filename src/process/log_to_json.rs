//! `LOGTOJSON`: the groups of a pattern that the whole record matches become a JSON object of strings.

use std::ops::Range;

use crate::config::{self, LogFormat};

use super::chain::{RawReason, SkipReason, Verdict};
use super::java_regex::JavaRegex;
use super::json::{self, Layout};
use super::log_format;
use super::text;

/// The option, ready to run.
#[derive(Debug)]
pub struct LogToJson {
    layout: Layout,
    matcher: Matcher,
    /// As many names as groups; if not, every record is skipped.
    is_complete: bool,
    dash_is_null: bool,
    /// The record's text where its bytes are no UTF-8.
    text: String,
    groups: Vec<Option<Range<usize>>>,
}

#[derive(Debug)]
enum Matcher {
    Format(LogFormat),
    /// `matchPattern`
    Pattern(Box<JavaRegex>),
}

impl LogToJson {
    pub fn new(options: &config::LogToJson) -> LogToJson {
        let (matcher, n_groups) = match &options.match_pattern {
            Some(pattern) => (
                Matcher::Pattern(Box::new(pattern.clone())),
                pattern.group_count(),
            ),
            None => (
                Matcher::Format(options.log_format),
                options.log_format.field_names().len(),
            ),
        };
        let (layout, n_names) = match &options.field_names {
            Some(names) => (Layout::new(names, options.format), names.len()),
            None => {
                let names = options.log_format.field_names();
                (Layout::new(names, options.format), names.len())
            }
        };
        LogToJson {
            layout,
            is_complete: n_groups == n_names,
            matcher,
            dash_is_null: options.log_format.dash_is_null(),
            text: String::new(),
            groups: Vec::new(),
        }
    }

    /// Appends the record's groups as an object; a group that took no part is null.
    pub fn convert(&mut self, record: &[u8], out: &mut Vec<u8>) -> Verdict {
        let text = text::decode(text::without_newline(record), &mut self.text);
        let is_match = match &self.matcher {
            Matcher::Format(format) => log_format::matches(*format, text, &mut self.groups),
            Matcher::Pattern(pattern) => match pattern.matches(text, &mut self.groups) {
                Ok(is_match) => is_match,
                Err(_) => return Verdict::Raw(RawReason::LogStepLimit),
            },
        };
        if !is_match {
            return Verdict::Skipped(SkipReason::LogNoMatch);
        }
        if !self.is_complete {
            return Verdict::Skipped(SkipReason::LogGroupCount);
        }
        for field in self.layout.fields() {
            out.extend_from_slice(&field.lead);
            let value = self
                .groups
                .get(field.source)
                .cloned()
                .flatten()
                .map(|group| &text[group]);
            match value {
                None => out.extend_from_slice(b"null"),
                Some("-") if self.dash_is_null => out.extend_from_slice(b"null"),
                Some(value) => json::append_string(value, out),
            }
        }
        out.extend_from_slice(self.layout.end());
        Verdict::Converted
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.text = String::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JsonFormat;

    const FORMATS: [LogFormat; 5] = [
        LogFormat::CommonApacheLog,
        LogFormat::CombinedApacheLog,
        LogFormat::ApacheErrorLog,
        LogFormat::Syslog,
        LogFormat::Rfc3339Syslog,
    ];

    fn step(log_format: LogFormat, own: Option<(&str, &[&str])>) -> LogToJson {
        LogToJson::new(&config::LogToJson {
            log_format,
            match_pattern: own.map(|(pattern, _)| JavaRegex::new(pattern).unwrap()),
            field_names: own
                .map(|(_, names)| names.iter().map(|name| (*name).to_owned()).collect()),
            format: JsonFormat::Compact,
        })
    }

    /// The values of the object, or `None` if the record is skipped.
    fn values(step: &mut LogToJson, record: &str) -> Option<Vec<Option<String>>> {
        let mut out = Vec::new();
        match step.convert(record.as_bytes(), &mut out) {
            Verdict::Converted => {}
            verdict => {
                assert_eq!(
                    verdict,
                    Verdict::Skipped(SkipReason::LogNoMatch),
                    "{record}"
                );
                return None;
            }
        }
        assert_eq!(out.last(), Some(&b'\n'));
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&out).unwrap();
        Some(
            object
                .values()
                .map(|value| value.as_str().map(str::to_owned))
                .collect(),
        )
    }

    fn assert_values(format: LogFormat, rows: &[(&str, Option<&[&str]>)]) {
        let mut step = step(format, None);
        for (record, expected) in rows {
            let expected: Option<Vec<_>> = expected.map(|values| {
                values
                    .iter()
                    .map(|&v| (v != "null").then(|| v.to_owned()))
                    .collect()
            });
            assert_eq!(values(&mut step, record), expected, "{record}");
        }
    }

    #[test]
    fn each_format_has_as_many_groups_as_fields() {
        for format in FORMATS {
            let pattern = JavaRegex::new(format.pattern()).unwrap();
            assert_eq!(
                pattern.group_count(),
                format.field_names().len(),
                "{format:?}"
            );
        }
    }

    #[test]
    fn common_apache_lines_are_read_and_others_skipped() {
        const TIME: &str = "1/Oct/2000:13:55:36 -0700";
        let line = |rest: &str| format!("h - - [{TIME}] {rest}");
        let rows = [
            (line(r#""GET /" 200 12"#), Some(["200", "12"])),
            (line(r#""GET /" 200 12 and "more""#), Some(["200", "12"])),
            (line(r#""GET /" 200 1.5"#), Some(["200", "1"])),
            (line(r#""GET /" - -"#), Some(["null", "null"])),
            (line(r#""GET /" 200 "#), None),
            (line(r#""GET /" 200"#), None),
            (line(r#""GET /" x 1"#), None),
            (line(r#""" 200 1"#), None),
            (line(r#""a\"b" 200 1"#), None),
            (line("\"GET /\" 200 1\r"), None),
            (line("\"GET /\" 200 1 \u{2028}"), None),
            (" ".to_owned() + &line(r#""GET /" 200 1"#), None),
        ];
        for (record, expected) in rows {
            let expected = expected
                .map(|[response, bytes]| ["h", "null", "null", TIME, "GET /", response, bytes]);
            assert_values(
                LogFormat::CommonApacheLog,
                &[(&record, expected.as_ref().map(|values| &values[..]))],
            );
        }
    }

    #[test]
    fn syslog_lines_need_a_possible_time_and_a_space_before_the_message() {
        let values = |time, pid, message| [time, "host", "app", pid, message];
        assert_values(
            LogFormat::Syslog,
            &[
                (
                    "Mar 12 12:00:08 host app[1]: m\n",
                    Some(&values("Mar 12 12:00:08", "1", "m")),
                ),
                (
                    "Mar  1 12:00:08 host app: \n",
                    Some(&values("Mar  1 12:00:08", "null", "")),
                ),
                (
                    "March 1 12:00:60 host app: a: b",
                    Some(&values("March 1 12:00:60", "null", "a: b")),
                ),
                ("Mar 12 12:00:08 host app:m", None),
                ("Mar 12 12:00:08 host app:", None),
                ("Mar 12 12:00:08 host app[x]: m", None),
                ("Mar 12 12:00:08 host app[]: m", None),
                ("Mar 12 12:00:08 host a b: m", None),
                ("Mar 12 12:00:08 ho:st app: m", None),
                ("Mar 12 12:00 host app: m", None),
                ("Mar 32 12:00:08 host app: m", None),
                ("Mar 12 25:00:08 host app: m", None),
                ("Mar 12 12:60:08 host app: m", None),
                ("Mai 12 12:00:08 host app: m", None),
                ("<13>Mar 12 12:00:08 host app: m", None),
                ("Mar 12 12:00:08 host app: m\r\n", None),
                ("Mar 12 12:00:08 host app: m\nn\n", None),
            ],
        );
        assert_values(
            LogFormat::Rfc3339Syslog,
            &[
                (
                    "2026-13-40T99:99:99Z host app: m",
                    Some(&values("2026-13-40T99:99:99Z", "null", "m")),
                ),
                (
                    "2026-01-01T00:00:00.5+01:00 host app[1]: ",
                    Some(&values("2026-01-01T00:00:00.5+01:00", "1", "")),
                ),
                ("2026-01-01T00:00:00 host app: m", None),
                ("2026-01-01T00:00:00-0130 host app: m", None),
                ("2026-01-01T00:00:00,1Z host app: m", None),
                ("2026-01-01t00:00:00z host app: m", None),
                ("2026-01-01 00:00:00Z host app: m", None),
            ],
        );
    }

    #[test]
    fn error_lines_need_process_and_client() {
        const TIME: &str = "Fri Sep  9 10:42:29.902022 2011";
        let line = |rest: &str| format!("[{TIME}] {rest}");
        let rows = [
            (
                line("[core:error] [pid 1:tid 2] [client 1.2.3.4:99] m"),
                Some(["core", "error", "1", "2", "1.2.3.4:99", "m"]),
            ),
            (
                line("[error] [pid 1] [client h] "),
                Some(["null", "error", "1", "null", "h", ""]),
            ),
            (line("[error] [pid 1] [client h]"), None),
            (line("[:error] [pid 1] [client h] m"), None),
            (line("[a:b:c] [pid 1] [client h] m"), None),
            (line("[error] [pid 1:tid -1] [client h] m"), None),
            (line("[error] [pid 1] [client ::1] m"), None),
            (line("[error] [pid 1] [remote h] m"), None),
            (line("[error] [pid 1] m"), None),
            (line("[error] [client h] m"), None),
        ];
        for (record, expected) in rows {
            let expected = expected.map(|values| [&[TIME], &values[..]].concat());
            assert_values(LogFormat::ApacheErrorLog, &[(&record, expected.as_deref())]);
        }
    }

    #[test]
    fn a_dash_is_null_in_the_apache_formats_only() {
        for format in FORMATS {
            let mut step = step(format, Some((r"a=(\S+) b=(\S+)", &["x", "y"])));
            let expected = if format.dash_is_null() {
                None
            } else {
                Some("-".to_owned())
            };
            assert_eq!(
                values(&mut step, "a=- b=--\n"),
                Some(vec![expected, Some("--".to_owned())]),
                "{format:?}"
            );
        }
    }

    #[test]
    fn another_number_of_groups_than_names_skips_the_record() {
        let mut step = step(
            LogFormat::Syslog,
            Some((r"a=(\d) b=(\d)", &["x", "y", "z"])),
        );
        let mut out = Vec::new();
        assert_eq!(
            step.convert(b"a=1 b=2\n", &mut out),
            Verdict::Skipped(SkipReason::LogGroupCount)
        );
        assert_eq!(
            step.convert(b"else\n", &mut out),
            Verdict::Skipped(SkipReason::LogNoMatch)
        );
    }

    #[test]
    fn a_name_given_twice_takes_its_last_group() {
        let mut step = step(LogFormat::Syslog, Some((r"(\d)(\d)(\d)", &["x", "y", "x"])));
        let mut out = Vec::new();
        assert_eq!(step.convert(b"123\n", &mut out), Verdict::Converted);
        assert_eq!(out, b"{\"x\":\"3\",\"y\":\"2\"}\n");
    }
}
