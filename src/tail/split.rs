//! Bytes to records: pure, over whatever part of a file is in the buffer.
//!
//! What is a record depends on the flow: a line; lines from one that matches `multiLineStartPattern` to just before the
//! next; lines packed up to `aggregatedRecordSizeBytes`; lines of CSV up to one that ends outside quotes. Header lines,
//! lines that match `skipLinesMatching`, and what is left of a record that was too long, give nothing. The records are
//! the same however the file came in pieces, but for packed ones, which are sent as they stand where the data ends.

use std::ops::Range;

use crate::config::Split;
use crate::contained::contained;
use crate::process::java_regex::JavaRegex;
use crate::process::text;
use crate::tail::planted;

/// What follows the buffer's last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More of the file, to be read right now.
    More,
    /// Nothing yet.
    Now,
    /// Nothing for as long as a multi-line record waits for its next line.
    Quiet,
    /// Nothing any more.
    Final,
}

/// The next piece of the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A record; reading goes on at `next`.
    Record {
        data: Range<usize>,
        next: usize,
        kind: RecordKind,
    },
    /// Bytes that give no record, up to `next`.
    Nothing { next: usize },
    /// A line that is left out since it matches `skipLinesMatching`.
    Skipped { line: Range<usize>, next: usize },
    /// The rest of the buffer is the beginning of something: more must be read, or come.
    Incomplete,
    /// The file's footer was reached, which ends at `next`: the rest isn't read.
    Over { next: usize },
}

/// What stands at a record's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Whole,
    /// It is longer than is held: the rest of it is left out.
    TooLong,
    /// The file ended without the newline.
    Unterminated,
}

/// How far the splitting of one file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitState {
    pub header_lines_left: u32,
    pub is_over: bool,
    leaving_out: LeavingOut,
    /// Bytes of the pending record that hold no end of it: not to be searched again.
    searched_bytes: usize,
    /// Where among quotes the search stands.
    quotes: Quotes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum LeavingOut {
    #[default]
    Nothing,
    /// The rest of a line of a record.
    Line,
    /// The rest of a header line.
    HeaderLine,
    /// Lines up to the next start line.
    Lines,
}

impl SplitState {
    /// The state of a file that is read from its beginning.
    pub fn at_start(split: &Split) -> SplitState {
        SplitState {
            header_lines_left: split.skip_header_lines,
            ..SplitState::default()
        }
    }

    /// The state of a file that is read on from a record's beginning.
    pub fn resumed(header_lines_left: u32, is_over: bool) -> SplitState {
        SplitState {
            header_lines_left,
            is_over,
            ..SplitState::default()
        }
    }

    /// Whether the next byte is in the middle of something that is left out.
    pub fn is_leaving_out(&self) -> bool {
        self.leaving_out != LeavingOut::Nothing
    }

    /// Whether what comes is no header, and no rest of something.
    fn is_between_lines(&self) -> bool {
        self.header_lines_left == 0 && !self.is_over && !self.is_leaving_out()
    }

    /// The buffer is filled anew from the pending record's beginning.
    pub fn forget_search(&mut self) {
        self.searched_bytes = 0;
        self.quotes = Quotes::default();
    }
}

/// A flow's rules.
#[derive(Debug, Clone)]
pub struct Splitter {
    start: Option<JavaRegex>,
    footer: Option<JavaRegex>,
    skip_lines: Option<JavaRegex>,
    aggregate_bytes_max: Option<usize>,
    quoted_csv: Option<u8>,
    /// Each line is a record, whatever is in it.
    is_by_line: bool,
    /// The longest record that is held in memory; the rest of a longer one is left out.
    held_bytes_max: usize,
}

impl Splitter {
    pub fn new(split: &Split, held_bytes_max: usize) -> Splitter {
        let is_by_line = split.multi_line_start.is_none()
            && split.footer.is_none()
            && split.skip_lines.is_none()
            && split.quoted_csv.is_none()
            && split.aggregate_bytes_max.is_none();
        Splitter {
            is_by_line,
            start: split.multi_line_start.clone(),
            footer: split.footer.clone(),
            skip_lines: split.skip_lines.clone(),
            quoted_csv: split.quoted_csv,
            aggregate_bytes_max: split.aggregate_bytes_max,
            held_bytes_max,
        }
    }

    /// Whether a record's end shows only in what follows it.
    pub fn waits_for_quiet(&self) -> bool {
        self.start.is_some()
    }

    /// The piece that begins at `at`, also where a defect of ours shows in finding it: the line that stands there is a
    /// record then, whatever the rules say, so that no bytes end their flow again and again.
    #[inline]
    pub fn next_sound(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        // Most flows know no other records, and there is nothing in them that could show a defect.
        if self.is_by_line
            && state.is_between_lines()
            && let Some(newline) = find_newline(buffer, at + state.searched_bytes)
            && newline < at + self.held_bytes_max
            && !planted::is_defect_in_splitting(&buffer[at..])
        {
            state.searched_bytes = 0;
            return whole(at..newline + 1);
        }
        self.next_contained(state, buffer, at, end)
    }

    fn next_contained(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        let before = *state;
        if let Some(piece) = contained(|| self.next(state, buffer, at, end)) {
            return piece;
        }
        *state = SplitState::resumed(before.header_lines_left.saturating_sub(1), false);
        let piece = self.line(state, buffer, at, end);
        // What was searched by one rule says nothing to the others.
        state.forget_search();
        piece
    }

    /// The piece that begins at `at`.
    pub fn next(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        if state.is_over {
            return Piece::Over { next: at };
        }
        if at == buffer.len() {
            return Piece::Incomplete;
        }
        if planted::is_defect_in_splitting(&buffer[at..]) {
            std::panic::resume_unwind(Box::new("planted"));
        }
        if state.leaving_out != LeavingOut::Nothing {
            return self.leave_out(state, buffer, at, end);
        }
        if state.header_lines_left > 0 {
            return self.header_line(state, buffer, at, end);
        }
        let piece = match (&self.start, self.aggregate_bytes_max) {
            (Some(start), _) => self.lines_from(start, state, buffer, at, end),
            (None, Some(bytes_max)) => self.packed_lines(bytes_max, state, buffer, at, end),
            (None, None) => match self.quoted_csv {
                Some(delimiter) => self.quoted_record(delimiter, state, buffer, at, end),
                None => self.line(state, buffer, at, end),
            },
        };
        if let Piece::Record { data, next, kind } = &piece {
            state.forget_search();
            let is_line = *kind != RecordKind::TooLong && self.aggregate_bytes_max.is_none();
            if is_line && self.is_skipped(&buffer[data.clone()]) {
                return skipped(data.clone());
            }
            if self.is_footer(&buffer[data.clone()]) {
                state.is_over = true;
                return Piece::Over { next: *next };
            }
        }
        piece
    }

    fn line(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        match find_newline(buffer, at + state.searched_bytes) {
            Some(newline) if newline + 1 - at <= self.held_bytes_max => whole(at..newline + 1),
            Some(newline) => too_long(at..at + self.held_bytes_max, newline + 1),
            None => self.without_end(state, buffer, at, end, LeavingOut::Line),
        }
    }

    /// The buffer ends before the record that begins at `at` does.
    fn without_end(
        &self,
        state: &mut SplitState,
        buffer: &[u8],
        at: usize,
        end: End,
        leave_out: LeavingOut,
    ) -> Piece {
        if buffer.len() - at > self.held_bytes_max {
            state.leaving_out = leave_out;
            return too_long(at..at + self.held_bytes_max, buffer.len());
        }
        if end == End::Final {
            return Piece::Record {
                data: at..buffer.len(),
                next: buffer.len(),
                kind: RecordKind::Unterminated,
            };
        }
        state.searched_bytes = buffer.len() - at;
        Piece::Incomplete
    }

    /// Lines up to one whose end is outside quotes. A quote that isn't closed within the longest record that is held, or
    /// by the end of the file, opens nothing: its line is a record then.
    fn quoted_record(
        &self,
        delimiter: u8,
        state: &mut SplitState,
        buffer: &[u8],
        at: usize,
        end: End,
    ) -> Piece {
        let searched = at + state.searched_bytes;
        match state.quotes.line_end(delimiter, &buffer[searched..]) {
            Some(newline) if searched + newline + 1 - at <= self.held_bytes_max => {
                whole(at..searched + newline + 1)
            }
            None if buffer.len() - at <= self.held_bytes_max && end != End::Final => {
                state.searched_bytes = buffer.len() - at;
                Piece::Incomplete
            }
            _ => {
                state.forget_search();
                self.line(state, buffer, at, end)
            }
        }
    }

    fn lines_from(
        &self,
        start: &JavaRegex,
        state: &mut SplitState,
        buffer: &[u8],
        at: usize,
        end: End,
    ) -> Piece {
        // Up to `line` everything belongs to the record; a line's own beginning never has to be looked at twice.
        let mut line = at + state.searched_bytes;
        if line == at {
            match find_newline(buffer, at) {
                Some(newline) => line = newline + 1,
                None => return self.unfinished_line(state, buffer, at, end),
            }
        }
        loop {
            if line - at > self.held_bytes_max {
                state.leaving_out = LeavingOut::Lines;
                return too_long(at..at + self.held_bytes_max, line);
            }
            match find_newline(buffer, line) {
                Some(newline) if begins(start, &buffer[line..=newline]) => return whole(at..line),
                Some(newline) => line = newline + 1,
                None => break,
            }
        }
        state.searched_bytes = line - at;
        let ends_with_newline = line == buffer.len();
        match end {
            End::Quiet | End::Final if ends_with_newline => whole(at..line),
            // The last line is all there, or so much of it that its beginning tells.
            _ if end == End::Final || buffer.len() - line > self.held_bytes_max => {
                if begins(start, &buffer[line..]) {
                    whole(at..line)
                } else {
                    self.without_end(state, buffer, at, end, LeavingOut::Line)
                }
            }
            _ => Piece::Incomplete,
        }
    }

    /// Not even the record's first line is all there.
    fn unfinished_line(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        let piece = self.without_end(state, buffer, at, end, LeavingOut::Line);
        // The search for the first line's end starts over: `searched_bytes` speaks of whole lines here.
        state.searched_bytes = 0;
        piece
    }

    fn packed_lines(
        &self,
        bytes_max: usize,
        state: &mut SplitState,
        buffer: &[u8],
        at: usize,
        end: End,
    ) -> Piece {
        let mut packed = at;
        while let Some(newline) = find_newline(buffer, packed) {
            if self.is_skipped(&buffer[packed..=newline]) {
                return match packed == at {
                    true => skipped(at..newline + 1),
                    false => whole(at..packed),
                };
            }
            if newline + 1 - at > bytes_max {
                return match packed == at {
                    true => self.line(state, buffer, at, end),
                    false => whole(at..packed),
                };
            }
            packed = newline + 1;
        }
        match (packed > at, end) {
            (true, End::Now | End::Quiet | End::Final) => whole(at..packed),
            (true, End::More) if buffer.len() - at > bytes_max => whole(at..packed),
            (true, End::More) => Piece::Incomplete,
            (false, _) => self.without_end(state, buffer, at, end, LeavingOut::Line),
        }
    }

    fn header_line(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        match find_newline(buffer, at + state.searched_bytes) {
            Some(newline) => {
                state.header_lines_left -= 1;
                state.searched_bytes = 0;
                Piece::Nothing { next: newline + 1 }
            }
            None if buffer.len() - at > self.held_bytes_max => {
                state.header_lines_left -= 1;
                state.leaving_out = LeavingOut::HeaderLine;
                state.searched_bytes = 0;
                Piece::Nothing { next: buffer.len() }
            }
            None if end == End::Final => Piece::Nothing { next: buffer.len() },
            None => {
                state.searched_bytes = buffer.len() - at;
                Piece::Incomplete
            }
        }
    }

    fn leave_out(&self, state: &mut SplitState, buffer: &[u8], at: usize, end: End) -> Piece {
        let mut line = at;
        if matches!(state.leaving_out, LeavingOut::Line | LeavingOut::HeaderLine) {
            let Some(newline) = find_newline(buffer, at) else {
                return Piece::Nothing { next: buffer.len() };
            };
            line = newline + 1;
            let is_of_record = state.leaving_out == LeavingOut::Line;
            state.leaving_out = if is_of_record && self.start.is_some() {
                LeavingOut::Lines
            } else {
                LeavingOut::Nothing
            };
        }
        let Some(start) = self
            .start
            .as_ref()
            .filter(|_| state.leaving_out == LeavingOut::Lines)
        else {
            return Piece::Nothing { next: line };
        };
        while let Some(newline) = find_newline(buffer, line) {
            if begins(start, &buffer[line..=newline]) {
                state.leaving_out = LeavingOut::Nothing;
                break;
            }
            line = newline + 1;
        }
        if line > at {
            return Piece::Nothing { next: line };
        }
        // What is left is one line, or a part of one that will or must do.
        let tells = end == End::Final || buffer.len() - at > self.held_bytes_max;
        if state.leaving_out == LeavingOut::Nothing || (tells && begins(start, &buffer[at..])) {
            state.leaving_out = LeavingOut::Nothing;
            return self.next(state, buffer, at, end);
        }
        if !tells {
            return Piece::Incomplete;
        }
        state.leaving_out = LeavingOut::Line;
        Piece::Nothing { next: buffer.len() }
    }

    /// Whether `skipLinesMatching` matches the line without its end.
    fn is_skipped(&self, line: &[u8]) -> bool {
        self.skip_lines.as_ref().is_some_and(|pattern| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // Where it is no match the line is sent.
            matches(|| pattern.is_full_match(text::decode(line, &mut String::new())))
        })
    }

    fn is_footer(&self, record: &[u8]) -> bool {
        self.footer.as_ref().is_some_and(|footer| {
            let mut scratch = String::new();
            let text = text::decode(record, &mut scratch);
            // Where it is no match the file is read on.
            matches(|| footer.is_full_match(java_trim(text)))
        })
    }
}

/// Where a search for the end of a CSV record stands, by the rules of [`crate::process`]'s RFC 4180 reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Quotes {
    /// At a column's beginning: a quote opens.
    #[default]
    AtColumn,
    /// In a column without quotes, or behind the closing one: a quote is a character.
    Outside,
    /// Between quotes.
    Inside,
    /// Behind a quote that was inside: it closed, unless the next byte is one too.
    AtSecond,
}

impl Quotes {
    /// The first newline outside quotes; without one, where the search stands is kept.
    fn line_end(&mut self, delimiter: u8, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if *self == Quotes::Inside {
                // Everything up to the next quote is text.
                at += memchr::memchr(b'"', &bytes[at..])? + 1;
                *self = Quotes::AtSecond;
                continue;
            }
            let byte = bytes[at];
            *self = match (*self, byte) {
                (_, b'\n') => return Some(at),
                (Quotes::AtColumn | Quotes::AtSecond, b'"') => Quotes::Inside,
                (_, byte) if byte == delimiter => Quotes::AtColumn,
                _ => Quotes::Outside,
            };
            at += 1;
            if *self == Quotes::Outside {
                // Nothing opens before the next delimiter.
                match memchr::memchr2(b'\n', delimiter, &bytes[at..]) {
                    Some(n_bytes) => at += n_bytes,
                    None => return None,
                }
            }
        }
        None
    }
}

/// The line that names a file's columns: the last of its `n_header_lines`, as far as the file's beginning is given.
pub fn header_line(beginning: &[u8], n_header_lines: u32) -> Option<&[u8]> {
    let mut lines = beginning.split_inclusive(|byte| *byte == b'\n');
    let line = lines.nth((n_header_lines as usize).checked_sub(1)?)?;
    line.ends_with(b"\n").then_some(line)
}

/// `String.trim` of Java: characters up to U+0020 go at both ends.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

fn begins(start: &JavaRegex, line: &[u8]) -> bool {
    matches(|| start.looking_at(text::decode(line, &mut String::new())))
}

/// A pattern that gives up is no match, nor is one in which a defect shows.
fn matches<E>(search: impl FnOnce() -> Result<bool, E>) -> bool {
    matches!(contained(search), Some(Ok(true)))
}

fn whole(data: Range<usize>) -> Piece {
    let next = data.end;
    Piece::Record {
        data,
        next,
        kind: RecordKind::Whole,
    }
}

fn skipped(line: Range<usize>) -> Piece {
    let next = line.end;
    Piece::Skipped { line, next }
}

fn too_long(data: Range<usize>, next: usize) -> Piece {
    Piece::Record {
        data,
        next,
        kind: RecordKind::TooLong,
    }
}

fn find_newline(buffer: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', &buffer[from..]).map(|place| from + place)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn plain() -> Split {
        Split {
            skip_header_lines: 0,
            multi_line_start: None,
            multi_line_idle: Duration::from_secs(1),
            footer: None,
            truncated_terminator: b"\n".to_vec(),
            aggregate_bytes_max: None,
            is_header_needed: false,
            skip_lines: None,
            quoted_csv: None,
        }
    }

    fn quoted() -> Split {
        Split {
            quoted_csv: Some(b','),
            ..plain()
        }
    }

    fn skipping(pattern: &str) -> Split {
        Split {
            skip_lines: Some(JavaRegex::new(pattern).unwrap()),
            ..plain()
        }
    }

    fn from(pattern: &str) -> Split {
        Split {
            multi_line_start: Some(JavaRegex::new(pattern).unwrap()),
            ..plain()
        }
    }

    /// What a file gives that comes in pieces of these sizes and then ends as told.
    fn split_in_pieces(
        split: &Split,
        held_bytes_max: usize,
        text: &[u8],
        pieces: &[usize],
        last: End,
    ) -> Vec<(Vec<u8>, RecordKind)> {
        let splitter = Splitter::new(split, held_bytes_max);
        let mut state = SplitState::at_start(split);
        let (mut start, mut filled, mut records) = (0, 0_usize, Vec::new());
        for piece in pieces.iter().copied().chain([usize::MAX]) {
            filled = filled.saturating_add(piece).min(text.len());
            let end = if filled == text.len() {
                last
            } else {
                End::More
            };
            loop {
                match splitter.next_sound(&mut state, &text[start..filled], 0, end) {
                    Piece::Record { data, next, kind } => {
                        records.push((text[start + data.start..start + data.end].to_vec(), kind));
                        start += next;
                        assert!(next > 0, "no progress");
                    }
                    Piece::Nothing { next } | Piece::Skipped { next, .. } => {
                        assert!(next > 0, "no progress");
                        start += next;
                    }
                    Piece::Incomplete => break,
                    Piece::Over { .. } => return records,
                }
            }
        }
        records
    }

    fn texts(split: &Split, text: &str, last: End) -> Vec<String> {
        let records = split_in_pieces(split, 1 << 20, text.as_bytes(), &[], last);
        records
            .into_iter()
            .map(|(data, _)| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn a_pattern_in_which_a_defect_shows_is_no_match() {
        assert!(matches(|| Ok::<_, ()>(true)));
        assert!(!matches(|| Ok::<_, ()>(false)));
        assert!(!matches(|| Err(())));
        let defect = || -> Result<bool, ()> { std::panic::resume_unwind(Box::new("planted")) };
        assert!(!matches(defect));
    }

    /// P-DEFECT: A record in the splitting or conversion of which a defect of the agent shows is sent as it is, and costs
    /// no other record anything.
    #[test]
    fn a_line_that_can_not_be_split_is_a_record_and_those_behind_it_are_what_they_were() {
        let header = Split {
            skip_header_lines: 1,
            ..plain()
        };
        let packed = Split {
            aggregate_bytes_max: Some(8),
            ..plain()
        };
        let bad = format!("{} 1\n", String::from_utf8_lossy(planted::SPLITTING_DEFECT));
        let text = format!("{bad}x 2\n\"x\"\nx 3\n");
        for (split, behind) in [
            (plain(), &["x 2\n", "\"x\"\n", "x 3\n"][..]),
            (header, &["x 2\n", "\"x\"\n", "x 3\n"]),
            (quoted(), &["x 2\n", "\"x\"\n", "x 3\n"]),
            (skipping(".x."), &["x 2\n", "x 3\n"]),
            (from("^[nx]"), &["x 2\n\"x\"\n", "x 3\n"]),
            (packed, &["x 2\n\"x\"\n", "x 3\n"]),
        ] {
            let expected: Vec<&str> = [bad.as_str()]
                .into_iter()
                .chain(behind.iter().copied())
                .collect();
            assert_eq!(texts(&split, &text, End::Final), expected, "{split:?}");
        }
        // Byte by byte, from its first on that tells.
        let pieces = vec![1; text.len()];
        let records = split_in_pieces(
            &from("^[nx]"),
            1 << 20,
            text.as_bytes(),
            &pieces,
            End::Final,
        );
        assert_eq!(records.len(), 3);
        assert_eq!(records[0], (bad.into_bytes(), RecordKind::Whole));
    }

    #[test]
    fn lines_are_records_and_the_last_waits_for_its_newline() {
        assert_eq!(
            texts(&plain(), "a\n\nb\r\nc", End::Now),
            ["a\n", "\n", "b\r\n"]
        );
        assert_eq!(texts(&plain(), "a\nc", End::Quiet), ["a\n"]);
        assert_eq!(texts(&plain(), "a\nc", End::Final), ["a\n", "c"]);
        assert_eq!(texts(&plain(), "", End::Final), [""; 0]);
    }

    #[test]
    fn header_lines_are_left_out_once() {
        let split = Split {
            skip_header_lines: 2,
            ..plain()
        };
        assert_eq!(texts(&split, "h\nh\na\nb\n", End::Now), ["a\n", "b\n"]);
        assert_eq!(texts(&split, "h\n", End::Final), [""; 0]);
    }

    #[test]
    fn a_start_line_is_read_as_java_decodes_it() {
        // An encoded surrogate is one ill-formed part to Java, and three to Rust.
        let text = b"x\n\xed\xa0\x80S\n".as_slice();
        for (pattern, n_records) in [("^.S", 2), ("^...S", 1)] {
            let records = split_in_pieces(&from(pattern), 1 << 20, text, &[], End::Final);
            assert_eq!(records.len(), n_records, "{pattern}");
        }
    }

    /// What is behind it was taken for lines of the record before.
    #[test]
    fn a_header_line_longer_than_is_held_takes_nothing_with_it() {
        let split = Split {
            skip_header_lines: 1,
            ..from("S")
        };
        for pieces in [&[][..], &[10], &[30]] {
            let text = format!("{}\nno start\nS\n", "h".repeat(50));
            let records = split_in_pieces(&split, 20, text.as_bytes(), pieces, End::Final);
            let records: Vec<_> = records.iter().map(|(data, _)| &data[..]).collect();
            assert_eq!(records, [&b"no start\n"[..], b"S\n"], "{pieces:?}");
        }
    }

    #[test]
    fn a_multi_line_record_ends_before_the_next_start_line_or_when_the_file_is_quiet() {
        let text = "x\nS 1\n a\nS 2\n b\n";
        assert_eq!(texts(&from("S"), text, End::Now), ["x\n", "S 1\n a\n"]);
        assert_eq!(
            texts(&from("S"), text, End::Quiet),
            ["x\n", "S 1\n a\n", "S 2\n b\n"]
        );
        assert_eq!(
            texts(&from("S"), "S 1\n a\nS 2\n b", End::Quiet),
            ["S 1\n a\n"]
        );
        assert_eq!(
            texts(&from("S"), "S 1\n a\nS 2\n b", End::Final),
            ["S 1\n a\n", "S 2\n b"]
        );
        assert_eq!(texts(&from("x*"), "a\nb\n", End::Quiet), ["a\n", "b\n"]);
    }

    #[test]
    fn lines_are_packed_up_to_the_limit_and_what_is_there_goes_at_the_end() {
        let split = Split {
            aggregate_bytes_max: Some(6),
            ..plain()
        };
        assert_eq!(
            texts(&split, "a\nb\nc\nd\nlong line\ne\nf", End::Now),
            ["a\nb\nc\n", "d\n", "long line\n", "e\n"]
        );
        assert_eq!(texts(&split, "a\nf", End::Final), ["a\n", "f"]);
    }

    #[test]
    fn the_footer_ends_the_file_and_is_not_sent() {
        let split = Split {
            footer: Some(JavaRegex::new("END").unwrap()),
            ..plain()
        };
        assert_eq!(texts(&split, "a\n END \t\nb\n", End::Now), ["a\n"]);
        assert_eq!(
            texts(&split, "a\nEND x\nb\n", End::Now),
            ["a\n", "END x\n", "b\n"]
        );
    }

    #[test]
    fn the_rest_of_a_record_that_is_too_long_is_left_out() {
        let cut =
            |split: &Split, text: &str| split_in_pieces(split, 4, text.as_bytes(), &[], End::Quiet);
        let record = |text: &str, kind| (text.as_bytes().to_vec(), kind);
        assert_eq!(
            cut(&plain(), "abc\nabcd\na\n"),
            [
                record("abc\n", RecordKind::Whole),
                record("abcd", RecordKind::TooLong),
                record("a\n", RecordKind::Whole),
            ]
        );
        assert_eq!(
            cut(&from("S"), "S\na\nb\nc\nS\nd\n"),
            [
                record("S\na\n", RecordKind::TooLong),
                record("S\nd\n", RecordKind::Whole),
            ]
        );
    }

    #[test]
    fn a_csv_record_goes_on_while_a_quote_is_open() {
        let text = "a,b\n\"x\ny\",\"\"\"\n\"\n5\" pipe,\"z\"w\"\r\n\n\"\",\"open\nlast\n";
        assert_eq!(
            texts(&quoted(), text, End::Now),
            [
                "a,b\n",
                "\"x\ny\",\"\"\"\n\"\n",
                "5\" pipe,\"z\"w\"\r\n",
                "\n"
            ]
        );
        assert_eq!(
            texts(&quoted(), text, End::Final)[4..],
            ["\"\",\"open\n", "last\n"],
            "a quote that is never closed opens nothing"
        );
    }

    #[test]
    fn a_quote_that_is_open_for_longer_than_is_held_opens_nothing() {
        let text = "\"ab\ncd\nef\n\"gh\",i\n";
        let cut = |held| split_in_pieces(&quoted(), held, text.as_bytes(), &[], End::Now);
        let record = |text: &str, kind| (text.as_bytes().to_vec(), kind);
        assert_eq!(cut(100), [record(text, RecordKind::Whole)]);
        let whole = |text| record(text, RecordKind::Whole);
        assert_eq!(cut(8), ["\"ab\n", "cd\n", "ef\n", "\"gh\",i\n"].map(whole));
        assert_eq!(
            cut(3),
            [
                record("\"ab", RecordKind::TooLong),
                whole("cd\n"),
                whole("ef\n"),
                record("\"gh", RecordKind::TooLong),
            ]
        );
    }

    #[test]
    fn lines_that_match_wholly_are_left_out() {
        assert_eq!(
            texts(
                &skipping("id,.*|#.*|"),
                "id,a\n1,id,a\n#\r\n\nx#\n#",
                End::Final
            ),
            ["1,id,a\n", "x#\n"]
        );
        let packed = Split {
            aggregate_bytes_max: Some(100),
            ..skipping("#.*")
        };
        assert_eq!(
            texts(&packed, "#0\na\nb\n#1\nc\n#2\n", End::Now),
            ["a\nb\n", "c\n"]
        );
    }

    #[test]
    fn the_header_is_the_last_of_the_header_lines() {
        for (beginning, n_lines, expected) in [
            ("a\nb\nc", 1, Some("a\n")),
            ("a\nb\nc", 2, Some("b\n")),
            ("a\nb\nc", 3, None),
            ("", 1, None),
            ("a\n", 0, None),
        ] {
            let line = header_line(beginning.as_bytes(), n_lines);
            assert_eq!(line, expected.map(str::as_bytes), "{beginning:?} {n_lines}");
        }
    }

    /// Bytes of the record that a text begins with as the `csv` crate reads it; `None` if it goes on behind the text.
    fn csv_record_bytes(text: &[u8]) -> Option<usize> {
        struct GoesOn;
        impl io::Read for GoesOn {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let mut reader = csv::ReaderBuilder::new()
            .terminator(csv::Terminator::Any(b'\n'))
            .has_headers(false)
            .from_reader(text.chain(GoesOn));
        let is_read = reader.read_byte_record(&mut csv::ByteRecord::new());
        let is_whole = matches!(is_read, Ok(true));
        is_whole.then(|| reader.position().byte() as usize)
    }

    proptest! {
        /// The splitter and the reader of records agree on where a record ends.
        #[test]
        fn csv_records_are_those_of_the_csv_crate(text in "[a\",\n\r]{0,60}") {
            let mut expected = Vec::new();
            let mut rest = text.as_str();
            while !rest.is_empty() {
                // The reader passes over empty lines, which are records here.
                let n_bytes = match rest.starts_with('\n') {
                    true => Some(1),
                    false => csv_record_bytes(rest.as_bytes()),
                };
                let Some(n_bytes) = n_bytes else { break };
                expected.push(&rest[..n_bytes]);
                rest = &rest[n_bytes..];
            }
            let records = split_in_pieces(&quoted(), 1 << 20, text.as_bytes(), &[], End::Now);
            let records: Vec<_> = records
                .into_iter()
                .map(|(data, _)| String::from_utf8(data).unwrap())
                .collect();
            prop_assert_eq!(records, expected);
        }

        /// Where each line is a record it is found without the rules, and as they find it.
        #[test]
        fn a_line_alone_is_what_the_rules_make_of_it(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a')], 0..60),
            held in 1..20usize,
            header_lines in 0..3u32,
        ) {
            let split = Split { skip_header_lines: header_lines, ..plain() };
            let splitter = Splitter::new(&split, held);
            let mut state = SplitState::at_start(&split);
            let mut at = 0;
            loop {
                let mut by_rules = state;
                let expected = splitter.next(&mut by_rules, &text, at, End::More);
                let piece = splitter.next_sound(&mut state, &text, at, End::More);
                prop_assert_eq!(&piece, &expected);
                prop_assert_eq!(state, by_rules);
                at = match piece {
                    Piece::Record { next, .. } | Piece::Nothing { next } => next,
                    _ => break,
                };
            }
        }

        #[test]
        fn records_do_not_depend_on_how_the_file_came(
            text in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'S'), Just(b'a'), Just(b'"'), Just(b','), any::<u8>()],
                0..200,
            ),
            pieces in proptest::collection::vec(1..40usize, 0..20),
            held in 1..50usize,
            kind in 0..7,
        ) {
            let split = match kind {
                0 => plain(),
                1 => from("S"),
                2 => quoted(),
                3 => skipping("S.*"),
                4 => Split { skip_header_lines: 3, ..plain() },
                5 => Split { footer: Some(JavaRegex::new("S.*").unwrap()), ..plain() },
                _ => Split { skip_header_lines: 1, skip_lines: skipping("a*").skip_lines, ..from("S") },
            };
            let at_once = split_in_pieces(&split, held, &text, &[], End::Final);
            prop_assert_eq!(split_in_pieces(&split, held, &text, &pieces, End::Final), at_once);
        }

        #[test]
        fn no_byte_is_lost_added_or_moved(
            text in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'"'), Just(b','), any::<u8>()],
                0..300,
            ),
            pieces in proptest::collection::vec(1..40usize, 0..20),
            kind in 0..4,
        ) {
            let split = match kind {
                0 => plain(),
                3 => quoted(),
                1 => from("S"),
                _ => Split { aggregate_bytes_max: Some(20), ..plain() },
            };
            let records = split_in_pieces(&split, 1 << 20, &text, &pieces, End::Final);
            prop_assert_eq!(records.into_iter().flat_map(|(data, _)| data).collect::<Vec<_>>(), text);
        }
    }
}
