//! `CSVTOJSON`: columns become a JSON object of strings.
//!
//! Columns are cut as Java's `String.split` cuts: there is no quoting, empty columns at the end vanish, and a record of
//! nothing but delimiters has no column at all, while an empty record has one empty column. Beyond the reference, where
//! asked for: RFC 4180 quoting ([`super::csv_record`]), names from the file's header, and types ([`super::csv_types`]).

use std::ops::Range;

use crate::config::{self, ColumnType, CsvDelimiter, CsvTypes};

use super::chain::{RawReason, Verdict};
use super::csv_plain::Frames;
use super::csv_record::CsvRecord;
use super::csv_types;
use super::java_regex::JavaRegex;
use super::json::{self, Layout};
use super::text;

/// The option, ready to run.
#[derive(Debug)]
pub struct CsvToJson {
    options: config::CsvToJson,
    layout: Layout,
    frames: Frames,
    /// One a field of the layout; none where all are strings.
    types: Vec<ColumnType>,
    delimiter: Delimiter,
    /// No name is given twice: the n-th value is the n-th column.
    is_in_order: bool,
    /// The header that the names are from, if they are from one.
    header: Vec<u8>,
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
    Quoted(Box<CsvRecord>),
    /// Not a regular expression. The reference finds out with each record.
    Invalid,
}

impl CsvToJson {
    pub fn new(options: &config::CsvToJson) -> CsvToJson {
        let delimiter = match &options.delimiter {
            CsvDelimiter::Invalid => Delimiter::Invalid,
            CsvDelimiter::Quoted(byte) => Delimiter::Quoted(Box::new(CsvRecord::new(*byte))),
            CsvDelimiter::Pattern(regex) => match regex.literal_byte() {
                Some(byte) if byte.is_ascii() => Delimiter::Byte(byte),
                _ => Delimiter::Pattern(Box::new(regex.clone())),
            },
        };
        let layout = Layout::new(&[""; 0], options.format);
        let mut step = CsvToJson {
            options: options.clone(),
            frames: Frames::new(&layout),
            layout,
            types: Vec::new(),
            delimiter,
            is_in_order: true,
            header: Vec::new(),
            text: String::new(),
            columns: Vec::new(),
        };
        step.name_columns(options.field_names.as_deref().unwrap_or_default());
        step
    }

    fn name_columns(&mut self, names: &[String]) {
        self.layout = Layout::new(names, self.options.format);
        self.frames = Frames::new(&self.layout);
        self.is_in_order = self.layout.fields().len() == names.len();
        let kind = |name: &String| match &self.options.types {
            CsvTypes::AllText => ColumnType::Text,
            CsvTypes::Auto => ColumnType::Auto,
            CsvTypes::ByName(types) => types
                .iter()
                .rfind(|(typed, _)| typed == name)
                .map_or(ColumnType::Text, |(_, kind)| *kind),
        };
        let fields = self.layout.fields().iter();
        self.types = fields.map(|field| kind(&names[field.source])).collect();
        if self.types.iter().all(|kind| *kind == ColumnType::Text) {
            self.types.clear();
        }
    }

    /// The records that follow are of a file whose header is this line. Without effect where the names are configured.
    pub fn set_header(&mut self, line: &[u8]) {
        const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
        if self.options.field_names.is_some() || self.header == line {
            return;
        }
        self.header.clear();
        self.header.extend_from_slice(line);
        let names = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let names = text::without_newline(names);
        let names = names.strip_suffix(b"\r").unwrap_or(names);
        let texts = match self.cut(names) {
            Ok(texts) => texts,
            // A header that can't be cut is one name: its records keep their first column, under it.
            Err(_) => vec![String::from_utf8_lossy(names).into_owned()],
        };
        self.name_columns(&texts);
    }

    /// The header line that was set last; empty if there was none.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The texts of a line's columns.
    fn cut(&mut self, line: &[u8]) -> Result<Vec<String>, RawReason> {
        let cut = cut(&mut self.delimiter, line, &mut self.text, &mut self.columns)?;
        let columns = self.columns.iter().cloned();
        let mut scratch = String::new();
        let texts = columns.map(|column| text::decode(&cut[column], &mut scratch).to_owned());
        Ok(texts.collect())
    }

    /// Appends the record as an object. Columns short of the names are `null`, columns beyond them are dropped.
    pub fn convert(&mut self, record: &[u8], out: &mut Vec<u8>) -> Verdict {
        let line = text::without_newline(record);
        if let Delimiter::Byte(byte) = self.delimiter
            && self.is_in_order
            && self.types.is_empty()
        {
            append_in_order(&self.layout, &self.frames, byte, line, out);
            return Verdict::Converted;
        }
        let cut = cut(&mut self.delimiter, line, &mut self.text, &mut self.columns);
        match cut {
            Ok(text) => append_picked(&self.layout, &self.types, &self.columns, text, out),
            Err(reason) => return Verdict::Raw(reason),
        }
        Verdict::Converted
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.text = String::new();
        self.columns = Vec::new();
        if let Delimiter::Quoted(record) = &mut self.delimiter {
            record.free_scratch();
        }
    }
}

/// Cuts a line without its newline; the columns are ranges of the text that is returned.
fn cut<'a>(
    delimiter: &'a mut Delimiter,
    line: &'a [u8],
    text: &'a mut String,
    columns: &mut Vec<Range<usize>>,
) -> Result<&'a [u8], RawReason> {
    match delimiter {
        Delimiter::Byte(byte) => {
            split(*byte, line, columns);
            Ok(line)
        }
        Delimiter::Pattern(regex) => {
            let text = text::decode(line, text);
            match regex.split(text, columns) {
                Ok(()) => Ok(text.as_bytes()),
                Err(_) => Err(RawReason::CsvStepLimit),
            }
        }
        Delimiter::Quoted(record) => record
            .read(line, columns)
            .map_err(|_| RawReason::CsvNotOneRecord),
        Delimiter::Invalid => Err(RawReason::CsvDelimiter),
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
fn append_in_order(
    layout: &Layout,
    frames: &Frames,
    delimiter: u8,
    line: &[u8],
    out: &mut Vec<u8>,
) {
    let mut rest = without_empty_end(delimiter, line);
    if let Some(columns) = rest
        && frames.append(layout, delimiter, columns, out)
    {
        return;
    }
    let is_text = str::from_utf8(line).is_ok();
    // enough for values without escapes, with their quotes or `null`
    out.reserve(layout.frame_bytes() + line.len() + 4 * layout.fields().len());

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
        if is_text {
            out.push(b'"');
            json::append_escaped(column, out);
            out.push(b'"');
        } else {
            json::append_bytes(column, out);
        }
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
fn append_picked(
    layout: &Layout,
    types: &[ColumnType],
    columns: &[Range<usize>],
    line: &[u8],
    out: &mut Vec<u8>,
) {
    for (place, field) in layout.fields().iter().enumerate() {
        out.extend_from_slice(&field.lead);
        let kind = types.get(place).copied().unwrap_or(ColumnType::Text);
        match columns.get(field.source) {
            Some(column) => csv_types::append(kind, &line[column.clone()], out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(layout.end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(names: &[&str], delimiter: Option<&str>) -> CsvToJson {
        CsvToJson::new(&config::CsvToJson {
            field_names: Some(owned(names)),
            delimiter: delimiter.map_or(CsvDelimiter::Invalid, pattern),
            ..config::CsvToJson::default()
        })
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn pattern(pattern: &str) -> CsvDelimiter {
        CsvDelimiter::Pattern(JavaRegex::new(pattern).unwrap())
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

    #[test]
    fn quotes_hold_delimiters_and_newlines_where_asked_for() {
        let mut step = CsvToJson::new(&config::CsvToJson {
            field_names: Some(owned(&["a", "b"])),
            delimiter: CsvDelimiter::Quoted(b','),
            ..config::CsvToJson::default()
        });
        let rows = [
            ("\"1,2\",\"x\ny\"\r\n", r#"{"a":"1,2","b":"x\ny"}"#),
            ("1\n", r#"{"a":"1","b":null}"#),
            ("1,\r\n", r#"{"a":"1","b":""}"#),
            ("\n", r#"{"a":"","b":null}"#),
            ("1,2,3\n", r#"{"a":"1","b":"2"}"#),
        ];
        for (record, expected) in rows {
            assert_eq!(
                converted(&mut step, record.as_bytes()),
                format!("{expected}\n")
            );
        }
        assert_eq!(
            step.convert(b"\"1,2\n", &mut Vec::new()),
            Verdict::Raw(RawReason::CsvNotOneRecord)
        );
    }

    #[test]
    fn a_header_names_the_columns_of_the_records_after_it() {
        let with = |delimiter| config::CsvToJson {
            delimiter,
            types: CsvTypes::ByName(vec![("n".to_owned(), ColumnType::Number)]),
            ..config::CsvToJson::default()
        };
        for delimiter in [pattern(","), pattern("(?:,|,)"), CsvDelimiter::Quoted(b',')] {
            let mut step = CsvToJson::new(&with(delimiter));
            for (header, record, expected) in [
                ("a,n\r\n", "1,2\n", "{\"a\":\"1\",\"n\":2}\n"),
                ("n\n", "1,2\n", "{\"n\":1}\n"),
                ("\u{feff}a,n,a\n", "1,2,3\n", "{\"a\":\"3\",\"n\":2}\n"),
            ] {
                step.set_header(header.as_bytes());
                assert_eq!(
                    converted(&mut step, record.as_bytes()),
                    expected,
                    "{header:?}"
                );
            }
        }
        let mut quoted = CsvToJson::new(&with(CsvDelimiter::Quoted(b',')));
        quoted.set_header(b"\"a,b\",c\n");
        assert_eq!(
            converted(&mut quoted, b"1,2\n"),
            "{\"a,b\":\"1\",\"c\":\"2\"}\n"
        );
        quoted.set_header(b"\"a,b\n");
        assert_eq!(converted(&mut quoted, b"1,2\n"), "{\"\\\"a,b\":\"1\"}\n");
    }

    #[test]
    fn configured_names_stand_instead_of_the_headers() {
        let mut step = step(&["x"], Some(","));
        step.set_header(b"a,b\n");
        assert_eq!(converted(&mut step, b"1,2\n"), "{\"x\":\"1\"}\n");
    }

    #[test]
    fn types_are_by_name_or_by_looks() {
        let mut by_looks = CsvToJson::new(&config::CsvToJson {
            field_names: Some(owned(&["a", "b", "c", "d"])),
            delimiter: pattern(","),
            types: CsvTypes::Auto,
            ..config::CsvToJson::default()
        });
        assert_eq!(
            converted(&mut by_looks, b"1,true,x\n"),
            "{\"a\":1,\"b\":true,\"c\":\"x\",\"d\":null}\n"
        );
    }

    /// Bytes among which delimiters, escapes and broken UTF-8 are frequent, or columns that need no escapes.
    fn any_record() -> impl Strategy<Value = Vec<u8>> {
        let plain = prop_oneof![
            3 => prop::sample::select(&[",", "\t"][..]).prop_map(str::to_owned),
            6 => "[ -!#-\\[\\]-~]{0,24}",
            1 => "[é中😀]{1,8}",
        ];
        let plain = prop::collection::vec(plain, 0..12).prop_map(|parts| parts.concat().into());
        let byte = prop_oneof![
            3 => prop::sample::select(&b",\t|\"\\\n\r\x08\x1f"[..]),
            2 => any::<u8>(),
            2 => prop::sample::select(&b"\xf0\x9f\x98\x80\xe4\xb8\xad\xc3\xa9"[..]),
            2 => b'a'..=b'z',
        ];
        prop_oneof![prop::collection::vec(byte, 0..80), plain]
    }

    const NAMES: &[&[&str]] = &[
        &["a", "b", "c"],
        &["a", "b", "a", "c"],
        &["a"],
        &[
            "a",
            "a name of so many",
            "a name of many more letters than others",
            "b",
        ],
        &[],
    ];

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
