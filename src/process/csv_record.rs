//! One record of CSV as RFC 4180 has it: columns may stand in double quotes, a quote in them is written twice, and
//! delimiters and newlines in them are text. A quote anywhere but at a column's beginning is a character like others.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use csv::{ByteRecord, Position, Reader, ReaderBuilder, Terminator};

/// What a record's columns are. One reader of the `csv` crate lives as long as this and is given a record at a time, so
/// that none costs an allocation.
#[derive(Debug)]
pub struct CsvRecord {
    reader: Reader<Source>,
    columns: ByteRecord,
}

/// The record ends inside quotes, or goes on behind a newline outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOneRecord;

/// The one record that the reader is to see. Reading on behind it is an error rather than the end of a file, at which
/// the reader would close a quote by itself.
#[derive(Debug, Default)]
struct Source(Cursor<Vec<u8>>);

impl Source {
    /// Holds a line and a newline from now on.
    fn hold(&mut self, line: &[u8]) {
        let bytes = self.0.get_mut();
        bytes.clear();
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        self.0.set_position(0);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl CsvRecord {
    /// A reader of columns that this byte, which is ASCII, stands between.
    pub fn new(delimiter: u8) -> CsvRecord {
        // Only a newline ends a record; the `\r` before it is taken off here, and others are text.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .has_headers(false)
            .flexible(true)
            .from_reader(Source::default());
        let mut record = CsvRecord {
            reader,
            columns: ByteRecord::new(),
        };
        record.pass_first_line();
        record
    }

    /// Cuts a record without its newline (a `\r` before it goes too); the columns are ranges of the text that is
    /// returned.
    ///
    /// # Errors
    /// [`NotOneRecord`]; the next record is read as if this one had not been.
    pub fn read(
        &mut self,
        record: &[u8],
        columns: &mut Vec<Range<usize>>,
    ) -> Result<&[u8], NotOneRecord> {
        columns.clear();
        let line = record.strip_suffix(b"\r").unwrap_or(record);
        if line.is_empty() {
            // The reader passes over empty lines; one empty column is what `String.split` makes of them.
            columns.push(0..0);
            return Ok(&[]);
        }
        // That an empty line comes first is for a splitter to see: the reader would pass over it here, too.
        if line.starts_with(b"\n") || !self.is_read_whole(line) {
            self.start_anew();
            return Err(NotOneRecord);
        }
        let places = 0..self.columns.len();
        columns.extend(places.filter_map(|place| self.columns.range(place)));
        Ok(self.columns.as_slice())
    }

    /// Reads a line's columns; whether the line and its newline are exactly one record.
    fn is_read_whole(&mut self, line: &[u8]) -> bool {
        self.reader.get_mut().hold(line);
        let start = self.reader.position().byte();
        let is_read = self.reader.read_byte_record(&mut self.columns);
        let n_read = self.reader.position().byte() - start;
        matches!(is_read, Ok(true)) && n_read == line.len() as u64 + 1
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.columns = ByteRecord::new();
        *self.reader.get_mut() = Source::default();
    }

    /// Forgets the record that was begun.
    fn start_anew(&mut self) {
        // The source is memory: there is nothing to fail in going to its beginning.
        let _ = self.reader.seek_raw(SeekFrom::Start(0), Position::new());
        self.pass_first_line();
    }

    /// The reader takes a byte order mark off the very first bytes it sees, which is for a file to decide: it is shown
    /// a line without one first.
    fn pass_first_line(&mut self) {
        let _is_read = self.is_read_whole(b"-");
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
            ("\na\n", Err(NotOneRecord)),
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

    /// The columns of a record by the rules at the top of this file, a character at a time.
    fn model(record: &str) -> Result<Vec<String>, NotOneRecord> {
        let record = record.strip_suffix('\r').unwrap_or(record);
        let mut columns = vec![String::new()];
        let mut is_quoted = false;
        let mut is_at_start = true;
        let mut rest = record.chars().peekable();
        while let Some(c) = rest.next() {
            let column = columns.last_mut().unwrap();
            match c {
                '"' if is_quoted && rest.peek() == Some(&'"') => column.extend(rest.next()),
                '"' if is_quoted => is_quoted = false,
                _ if is_quoted => column.push(c),
                '"' if is_at_start => is_quoted = true,
                '\n' => return Err(NotOneRecord),
                ',' => {
                    columns.push(String::new());
                    is_at_start = true;
                    continue;
                }
                _ => column.push(c),
            }
            is_at_start = false;
        }
        if is_quoted {
            Err(NotOneRecord)
        } else {
            Ok(columns)
        }
    }

    fn quoted(columns: &[String], delimiter: char) -> String {
        let column = |column: &String| format!("\"{}\"", column.replace('"', "\"\""));
        let columns: Vec<String> = columns.iter().map(column).collect();
        columns.join(&delimiter.to_string())
    }

    proptest! {
        #[test]
        fn records_one_after_another_are_each_cut_by_the_rules(
            records in prop::collection::vec("[a\",\r\né\u{feff}]{0,12}", 1..8),
        ) {
            let mut reader = CsvRecord::new(b',');
            for record in records {
                let line = record.strip_suffix('\n').unwrap_or(&record);
                prop_assert_eq!(read(&mut reader, record.as_bytes()), model(line), "{:?}", record);
            }
        }

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
