//! `ADDMETADATA`: the record's text within an object that has configured values beside it.

use crate::config::{self, JsonFormat};

use super::json::{self, Layout, Rewriter};
use super::text;

/// The option, ready to run. All but the time and the record is laid out beforehand.
#[derive(Debug)]
pub struct AddMetadata {
    timestamp: bool,
    /// `{"ts":"`, or all up to the data if there is no time.
    head: Vec<u8>,
    /// From behind the time up to the data.
    middle: Vec<u8>,
    end: &'static [u8],
}

impl AddMetadata {
    /// Metadata that is absent is null, as it is in the reference's map.
    pub fn new(options: &config::AddMetadata) -> AddMetadata {
        let names: &[&str] = if options.timestamp {
            &["ts", "metadata", "data"]
        } else {
            &["metadata", "data"]
        };
        let layout = Layout::new(names, options.format);
        let mut leads = layout.fields().iter().map(|field| &*field.lead);
        let mut head = Vec::new();
        let mut middle = Vec::new();
        if options.timestamp {
            head.extend(leads.next().unwrap_or_default());
            head.push(b'"');
            middle.push(b'"');
        }
        middle.extend(leads.next().unwrap_or_default());
        append_value(
            options.metadata.as_deref().unwrap_or("null"),
            options.format,
            &mut middle,
        );
        middle.extend(leads.next().unwrap_or_default());
        AddMetadata {
            timestamp: options.timestamp,
            head,
            middle,
            end: layout.end(),
        }
    }

    /// Appends the object; `data` is the record's text without one trailing newline.
    pub fn convert(&self, record: &[u8], now: jiff::Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        if self.timestamp {
            append_timestamp(now, out);
        }
        out.extend_from_slice(&self.middle);
        json::append_bytes(text::without_newline(record), out);
        out.extend_from_slice(self.end);
    }
}

fn append_value(text: &str, format: JsonFormat, out: &mut Vec<u8>) {
    let start = out.len();
    if Rewriter::default().value(text, format, 1, out).is_err() {
        // nested deeper than the rewriter goes; it is JSON all the same
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
}

/// UTC with milliseconds, `2026-11-21T05:06:05.704Z`.
fn append_timestamp(now: jiff::Timestamp, out: &mut Vec<u8>) {
    let at = jiff::tz::Offset::UTC.to_datetime(now);
    append_digits(u32::from(at.year().unsigned_abs()), 4, out);
    let parts = [
        (b'-', at.month()),
        (b'-', at.day()),
        (b'T', at.hour()),
        (b':', at.minute()),
        (b':', at.second()),
    ];
    for (separator, part) in parts {
        out.push(separator);
        append_digits(u32::from(part.unsigned_abs()), 2, out);
    }
    out.push(b'.');
    append_digits(u32::from(at.millisecond().unsigned_abs()), 3, out);
    out.push(b'Z');
}

/// Appends `value` with leading zeros.
fn append_digits(value: u32, n_digits: u32, out: &mut Vec<u8>) {
    for place in (0..n_digits).rev() {
        let digit = value / 10_u32.pow(place) % 10;
        out.push(b'0' + digit as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(options: &config::AddMetadata, record: &[u8]) -> String {
        let mut out = Vec::new();
        let now = "2026-01-02T03:04:05.006789Z".parse().unwrap();
        AddMetadata::new(options).convert(record, now, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn options(metadata: &str, timestamp: bool, format: JsonFormat) -> config::AddMetadata {
        config::AddMetadata {
            metadata: (metadata != "absent").then(|| metadata.to_owned()),
            timestamp,
            format,
        }
    }

    #[test]
    fn the_record_stands_beside_time_and_metadata() {
        use JsonFormat::{Compact, PrettyPrint};
        let rows = [
            (
                options(r#"{"k":"v"}"#, false, Compact),
                "{\"metadata\":{\"k\":\"v\"},\"data\":\"a\\r\"}\n",
            ),
            (
                options(
                    "[1.0,1e5,1e10,18446744073709551616,-0,-0.0,\"é/\"]",
                    false,
                    Compact,
                ),
                "{\"metadata\":[1.0,100000.0,1.0E10,18446744073709551616,0,-0.0,\"é/\"],\"data\":\"a\\r\"}\n",
            ),
            (
                options("\"text\"", false, Compact),
                "{\"metadata\":\"text\",\"data\":\"a\\r\"}\n",
            ),
            (
                options("absent", false, Compact),
                "{\"metadata\":null,\"data\":\"a\\r\"}\n",
            ),
            (
                options("{}", true, Compact),
                "{\"ts\":\"2026-01-02T03:04:05.006Z\",\"metadata\":{},\"data\":\"a\\r\"}\n",
            ),
            (
                options(r#"{"k":{"l":[1,{"m":2}]}}"#, true, PrettyPrint),
                "{\n  \"ts\" : \"2026-01-02T03:04:05.006Z\",\n  \"metadata\" : {\n    \"k\" : {\n      \"l\" : [ 1, \
                 {\n        \"m\" : 2\n      } ]\n    }\n  },\n  \"data\" : \"a\\r\"\n}\n",
            ),
        ];
        for (options, expected) in rows {
            assert_eq!(converted(&options, b"a\r\n"), expected);
        }
    }

    #[test]
    fn one_newline_of_the_record_goes() {
        let options = options("1", false, JsonFormat::Compact);
        for (record, data) in [("a\n\n", "a\\n"), ("a", "a"), ("", ""), ("\"", "\\\"")] {
            let expected = format!("{{\"metadata\":1,\"data\":\"{data}\"}}\n");
            assert_eq!(converted(&options, record.as_bytes()), expected);
        }
    }

    proptest! {
        #[test]
        fn the_text_reads_back(record: Vec<u8>) {
            let object = converted(&options("null", true, JsonFormat::Compact), &record);
            prop_assert_eq!(object.find('\n'), Some(object.len() - 1));
            let read: serde_json::Value = serde_json::from_str(&object).unwrap();
            let mut scratch = String::new();
            let text = text::decode(&record, &mut scratch);
            prop_assert_eq!(read["data"].as_str(), Some(text.strip_suffix('\n').unwrap_or(text)));
        }
    }
}
