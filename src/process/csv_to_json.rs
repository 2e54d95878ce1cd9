//! `CSVTOJSON`: columns become a JSON object of strings.
//!
//! Columns are cut as Java's `String.split` cuts: there is no quoting, empty columns at the end vanish, and a record of
//! nothing but delimiters has no column at all, while an empty record has one empty column.

use std::ops::Range;

use crate::config;

use super::chain::{RawReason, Verdict};
use super::java_regex::JavaRegex;
use super::json::{self, Layout};
use super::text;

/// The option, ready to run.
#[derive(Debug)]
pub struct CsvToJson {
    layout: Layout,
    delimiter: Delimiter,
    /// No name is given twice: the n-th value is the n-th column.
    is_in_order: bool,
    /// The record's text where its bytes are no UTF-8.
    text: String,
    columns: Vec<Range<usize>>,
}

#[derive(Debug)]
enum Delimiter {
    /// One ASCII byte, which is nearly all of the use: no regex is run, and the bytes need not be decoded first, as no
    /// ill-formed part of UTF-8 contains an ASCII byte.
    Byte(u8),
    Pattern(Box<JavaRegex>),
    /// Not a regular expression. The reference finds out with each record.
    Invalid,
}

impl CsvToJson {
    pub fn new(options: &config::CsvToJson) -> CsvToJson {
        let layout = Layout::new(&options.field_names, options.format);
        let delimiter = match &options.delimiter {
            None => Delimiter::Invalid,
            Some(regex) => match regex.literal_byte() {
                Some(byte) if byte.is_ascii() => Delimiter::Byte(byte),
                _ => Delimiter::Pattern(Box::new(regex.clone())),
            },
        };
        CsvToJson {
            is_in_order: layout.fields().len() == options.field_names.len(),
            layout,
            delimiter,
            text: String::new(),
            columns: Vec::new(),
        }
    }

    /// Appends the record as an object. Columns short of the names are `null`, columns beyond them are dropped.
    pub fn convert(&mut self, record: &[u8], out: &mut Vec<u8>) -> Verdict {
        let line = text::without_newline(record);
        match &self.delimiter {
            Delimiter::Byte(byte) if self.is_in_order => {
                append_in_order(&self.layout, *byte, line, out)
            }
            Delimiter::Byte(byte) => {
                split(*byte, line, &mut self.columns);
                append_picked(&self.layout, &self.columns, line, out);
            }
            Delimiter::Pattern(regex) => {
                let text = text::decode(line, &mut self.text);
                if regex.split(text, &mut self.columns).is_err() {
                    return Verdict::Raw(RawReason::CsvStepLimit);
                }
                append_picked(&self.layout, &self.columns, text.as_bytes(), out);
            }
            Delimiter::Invalid => return Verdict::Raw(RawReason::CsvDelimiter),
        }
        Verdict::Converted
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.text = String::new();
        self.columns = Vec::new();
    }
}

/// The line up to its last column that isn't empty; `None` if there is no column.
fn without_empty_end(delimiter: u8, line: &[u8]) -> Option<&[u8]> {
    let columns = match line {
        [.., last] if *last == delimiter => {
            let end = line.iter().rposition(|&byte| byte != delimiter)?;
            &line[..=end]
        }
        _ => line,
    };
    Some(columns)
}

/// Writes the columns as they come, cut at one byte.
fn append_in_order(layout: &Layout, delimiter: u8, line: &[u8], out: &mut Vec<u8>) {
    let is_plain = json::is_plain_but_for(delimiter, line);
    let is_text = is_plain || str::from_utf8(line).is_ok();
    // enough for values without escapes, with their quotes or `null`
    out.reserve(layout.frame_bytes() + line.len() + 4 * layout.fields().len());

    let mut rest = without_empty_end(delimiter, line);
    for field in layout.fields() {
        out.extend_from_slice(&field.lead);
        let Some(columns) = rest else {
            out.extend_from_slice(b"null");
            continue;
        };
        let column = match memchr::memchr(delimiter, columns) {
            Some(end) => {
                rest = Some(&columns[end + 1..]);
                &columns[..end]
            }
            None => {
                rest = None;
                columns
            }
        };
        if !is_text {
            json::append_bytes(column, out);
            continue;
        }
        out.push(b'"');
        if is_plain {
            out.extend_from_slice(column);
        } else {
            json::append_escaped(column, out);
        }
        out.push(b'"');
    }
    out.extend_from_slice(layout.end());
}

/// Notes where the columns are.
fn split(delimiter: u8, line: &[u8], columns: &mut Vec<Range<usize>>) {
    columns.clear();
    let Some(line) = without_empty_end(delimiter, line) else {
        return;
    };
    let mut start = 0;
    for end in memchr::memchr_iter(delimiter, line).chain([line.len()]) {
        columns.push(start..end);
        start = end + 1;
    }
}

/// Writes the columns that the names ask for.
fn append_picked(layout: &Layout, columns: &[Range<usize>], line: &[u8], out: &mut Vec<u8>) {
    for field in layout.fields() {
        out.extend_from_slice(&field.lead);
        match columns.get(field.source) {
            Some(column) => json::append_bytes(&line[column.clone()], out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(layout.end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JsonFormat;
    use proptest::prelude::*;

    fn step(names: &[&str], delimiter: Option<&str>) -> CsvToJson {
        CsvToJson::new(&config::CsvToJson {
            field_names: names.iter().map(|name| (*name).to_owned()).collect(),
            delimiter: delimiter.map(|pattern| JavaRegex::new(pattern).unwrap()),
            format: JsonFormat::Compact,
        })
    }

    fn converted(step: &mut CsvToJson, record: &[u8]) -> String {
        let mut out = Vec::new();
        assert_eq!(step.convert(record, &mut out), Verdict::Converted);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_cut_as_java_splits() {
        // (record, object), the names being a, b, c
        let rows: &[(&[u8], &str)] = &[
            (b"1,2,3\n", r#"{"a":"1","b":"2","c":"3"}"#),
            (b"1,2,3,4,5", r#"{"a":"1","b":"2","c":"3"}"#),
            (b"1\n", r#"{"a":"1","b":null,"c":null}"#),
            (b"1,,\n", r#"{"a":"1","b":null,"c":null}"#),
            (b",2,", r#"{"a":"","b":"2","c":null}"#),
            (b",,3", r#"{"a":"","b":"","c":"3"}"#),
            (b",,,,4", r#"{"a":"","b":"","c":""}"#),
            (b",,\n", r#"{"a":null,"b":null,"c":null}"#),
            (b"\n", r#"{"a":"","b":null,"c":null}"#),
            (b"", r#"{"a":"","b":null,"c":null}"#),
            (b",,\r\n", r#"{"a":"","b":"","c":"\r"}"#),
            (b" 1 , 2,3 \n", r#"{"a":" 1 ","b":" 2","c":"3 "}"#),
            (b"\"1,2\",\\\n", r#"{"a":"\"1","b":"2\"","c":"\\"}"#),
            (
                b"\xff,\xc3(,\xe2\x82\n",
                "{\"a\":\"\u{FFFD}\",\"b\":\"\u{FFFD}(\",\"c\":\"\u{FFFD}\"}",
            ),
            ("é,中,😀\n".as_bytes(), r#"{"a":"é","b":"中","c":"😀"}"#),
        ];
        for (record, expected) in rows {
            let expected = format!("{expected}\n");
            assert_eq!(
                converted(&mut step(&["a", "b", "c"], Some(",")), record),
                expected
            );
            assert_eq!(
                converted(&mut step(&["a", "b", "c"], Some("(?:,|,)")), record),
                expected
            );
        }
    }

    #[test]
    fn a_name_given_twice_takes_its_last_column() {
        for delimiter in [",", "(?:,|,)"] {
            let mut step = step(&["a", "b", "a"], Some(delimiter));
            assert_eq!(
                converted(&mut step, b"1,2,3\n"),
                "{\"a\":\"3\",\"b\":\"2\"}\n"
            );
            assert_eq!(converted(&mut step, b"1\n"), "{\"a\":null,\"b\":null}\n");
            assert_eq!(converted(&mut step, b",,,\n"), "{\"a\":null,\"b\":null}\n");
        }
    }

    #[test]
    fn a_delimiter_that_is_no_regex_leaves_the_record_raw() {
        let mut out = b"before".to_vec();
        assert_eq!(
            step(&["a"], None).convert(b"1,2\n", &mut out),
            Verdict::Raw(RawReason::CsvDelimiter)
        );
    }

    #[test]
    fn no_names_give_an_empty_object() {
        assert_eq!(converted(&mut step(&[], Some(",")), b"1,2\n"), "{}\n");
    }

    /// Bytes among which delimiters, escapes and broken UTF-8 are frequent.
    fn any_record() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => prop::sample::select(&b",\t|\"\\\n\r\x08\x1f"[..]),
            2 => any::<u8>(),
            2 => prop::sample::select(&b"\xf0\x9f\x98\x80\xe4\xb8\xad\xc3\xa9"[..]),
            2 => b'a'..=b'z',
        ];
        prop::collection::vec(byte, 0..80)
    }

    const NAMES: &[&[&str]] = &[&["a", "b", "c"], &["a", "b", "a", "c"], &["a"]];

    proptest! {
        #[test]
        fn one_byte_delimiters_cut_as_the_pattern_does(
            record in any_record(),
            delimiter in prop::sample::select(&[",", "\t", "a"][..]),
            names in prop::sample::select(NAMES),
        ) {
            let mut by_byte = step(names, Some(delimiter));
            prop_assert!(matches!(by_byte.delimiter, Delimiter::Byte(_)));
            let mut by_pattern = step(names, Some(&format!("(?:{delimiter}|{delimiter})")));
            prop_assert!(matches!(by_pattern.delimiter, Delimiter::Pattern(_)));
            let object = converted(&mut by_byte, &record);
            prop_assert_eq!(&object, &converted(&mut by_pattern, &record));

            prop_assert_eq!(object.find('\n'), Some(object.len() - 1));
            let read: serde_json::Value = serde_json::from_str(&object).unwrap();
            let mut scratch = String::new();
            let line = text::decode(text::without_newline(&record), &mut scratch);
            if names.len() == 3 && !line.is_empty() {
                let first = line.split(delimiter).next().unwrap();
                let has_columns = line.chars().any(|c| !delimiter.contains(c));
                prop_assert_eq!(read["a"].as_str(), has_columns.then_some(first));
            }
        }
    }
}
