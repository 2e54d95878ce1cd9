//! One record of CSV as RFC 4180 has it: columns may stand in double quotes, a quote in them is written twice, and
//! delimiters and newlines in them are text. A quote anywhere but at a column's beginning is a character like others.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

/// What a record's columns are, read by the `csv` crate's parser.
#[derive(Debug)]
pub struct CsvRecord {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// The record ends inside quotes, or goes on behind a newline outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOneRecord;

/// Columns that a record has room for at first.
const COLUMNS_AT_FIRST: usize = 32;

impl CsvRecord {
    /// A reader of columns that this byte, which is ASCII, stands between.
    pub fn new(delimiter: u8) -> CsvRecord {
        // Only a newline ends a record; the `\r` before it is taken off here, and others are text.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .build();
        let mut record = CsvRecord {
            reader,
            text: Vec::new(),
            ends: vec![0; COLUMNS_AT_FIRST],
        };
        record.start_anew();
        record
    }

    /// Cuts a record without its newline (a `\r` before it goes too); the columns are ranges of the text that is
    /// returned.
    pub fn read(
        &mut self,
        record: &[u8],
        columns: &mut Vec<Range<usize>>,
    ) -> Result<&[u8], NotOneRecord> {
        columns.clear();
        let line = record.strip_suffix(b"\r").unwrap_or(record);
        if line.is_empty() {
            // The parser passes over empty lines; one empty column is what `String.split` makes of them.
            columns.push(0..0);
            return Ok(&[]);
        }
        self.text.resize(line.len() + 1, 0);
        let (mut n_read, mut n_written, mut n_ends) = (0, 0, 0);
        loop {
            let input = match n_read < line.len() {
                true => &line[n_read..],
                false => b"\n",
            };
            let (result, read, written, ended) = self.reader.read_record(
                input,
                &mut self.text[n_written..],
                &mut self.ends[n_ends..],
            );
            n_written += written;
            n_ends += ended;
            let is_line_end = n_read >= line.len();
            n_read += read;
            match result {
                ReadRecordResult::InputEmpty if !is_line_end => {}
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
                ReadRecordResult::Record if is_line_end => break,
                ReadRecordResult::InputEmpty | ReadRecordResult::Record | ReadRecordResult::End => {
                    self.start_anew();
                    return Err(NotOneRecord);
                }
            }
        }
        let mut start = 0;
        columns.extend(self.ends[..n_ends].iter().map(|end| {
            let column = start..*end;
            start = *end;
            column
        }));
        Ok(&self.text[..n_written])
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.text = Vec::new();
        self.ends = vec![0; COLUMNS_AT_FIRST];
    }

    /// The parser takes a byte order mark off the very first bytes it sees, which is for a file to decide: it is shown
    /// an empty line first, which it passes over.
    fn start_anew(&mut self) {
        self.reader.reset();
        let _ = self.reader.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(reader: &mut CsvRecord, record: &[u8]) -> Result<Vec<String>, NotOneRecord> {
        let mut columns = Vec::new();
        let line = record.strip_suffix(b"\n").unwrap_or(record);
        let text = reader.read(line, &mut columns)?.to_vec();
        let column = |range: Range<usize>| String::from_utf8_lossy(&text[range]).into_owned();
        Ok(columns.into_iter().map(column).collect())
    }

    #[test]
    fn columns_are_cut_by_rfc_4180() {
        let rows: &[(&str, Result<&[&str], NotOneRecord>)] = &[
            ("a,b\n", Ok(&["a", "b"])),
            ("a,b\r\n", Ok(&["a", "b"])),
            ("a,b", Ok(&["a", "b"])),
            ("a,,\n", Ok(&["a", "", ""])),
            ("\n", Ok(&[""])),
            ("\r\n", Ok(&[""])),
            ("\"a,b\",c\n", Ok(&["a,b", "c"])),
            ("\"a\nb\r\nc\",d\r\n", Ok(&["a\nb\r\nc", "d"])),
            ("\"say \"\"x\"\"\",\"\"\n", Ok(&["say \"x\"", ""])),
            ("5\" pipe,a\"b\"\n", Ok(&["5\" pipe", "a\"b\""])),
            ("\"a\"b,c\n", Ok(&["ab", "c"])),
            ("a\rb\n", Ok(&["a\rb"])),
            ("\u{feff}a,b\n", Ok(&["\u{feff}a", "b"])),
            ("\"open,b\n", Err(NotOneRecord)),
            ("\"open", Err(NotOneRecord)),
            ("a\nb\n", Err(NotOneRecord)),
            (" \"a\" \n", Ok(&[" \"a\" "])),
        ];
        let mut reader = CsvRecord::new(b',');
        for (record, expected) in rows {
            let expected =
                expected.map(|columns| columns.iter().map(|column| column.to_string()).collect());
            assert_eq!(read(&mut reader, record.as_bytes()), expected, "{record:?}");
        }
    }

    #[test]
    fn a_record_may_have_any_number_of_columns() {
        let record = "x,".repeat(10_000);
        let columns = read(&mut CsvRecord::new(b','), record.as_bytes()).unwrap();
        assert_eq!(columns.len(), 10_001);
    }

    fn quoted(columns: &[String], delimiter: char) -> String {
        let column = |column: &String| format!("\"{}\"", column.replace('"', "\"\""));
        let columns: Vec<String> = columns.iter().map(column).collect();
        columns.join(&delimiter.to_string())
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(
            columns in prop::collection::vec("[a\",;\r\né]{0,8}", 1..6),
            others: Vec<u8>,
            end in prop::sample::select(&["\n", "\r\n", ""][..]),
        ) {
            let mut reader = CsvRecord::new(b';');
            // whatever came before leaves nothing behind
            let _ = reader.read(&others, &mut Vec::new());
            let record = quoted(&columns, ';') + end;
            prop_assert_eq!(read(&mut reader, record.as_bytes()), Ok(columns));
        }
    }
}
