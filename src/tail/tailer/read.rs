//! A file's bytes to the intake, piece by piece.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Tailer;
use super::look::is_cut_off;
use crate::config::Split;
use crate::record::{CursorId, Span};
use crate::tail::cursor::{Cursor, CutRange};
use crate::tail::disk::Disk;
use crate::tail::gzip::WithGzip;
use crate::tail::mark::{MARK_BYTES, Mark};
use crate::tail::split::{End, Piece, RecordKind, header_line};
use crate::tail::{Event, Intake, Rules};

/// One read. Large enough that system calls don't show, small enough for a hundred flows.
const READ_BYTES: usize = 64 * 1024;
/// So much of what was read is read along with what follows.
const KNOWN_BYTES: usize = MARK_BYTES as usize;
/// A file's header, and what stands before it, is looked for in so much of the file's beginning.
const HEADER_BYTES_MAX: usize = 1024 * 1024;

impl<D: Disk> Tailer<D> {
    pub(super) fn read(
        &mut self,
        id: CursorId,
        at_end: End,
        bytes_max: usize,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
        intake: &mut impl Intake,
    ) -> Reading {
        if !self.unpark(id, now, disk) || self.must_wait(id, now, disk) {
            return Reading::Done { n_bytes: 0 };
        }
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return Reading::Done { n_bytes: 0 };
        };
        // What is left of a file that was cut off may be of another content from its beginning on.
        if let Some(Ok(stat)) = cursor.file.as_ref().map(|file| disk.look_at(file))
            && is_cut_off(cursor, &stat)
        {
            self.cut_off(id, &stat, now);
            return Reading::Replaced;
        }
        // Where nothing was read yet the first read itself begins with the beginning.
        let begins_alike = match cursor.read {
            0 => Ok(true),
            _ => cursor.begins_alike(disk),
        };
        match begins_alike {
            Ok(true) => {}
            Ok(false) => return self.is_replaced(id, now, disk),
            Err(error) => return self.is_unreadable(id, &error, now),
        }
        let offset = cursor.read;
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = intake.spare_buffer();
        }
        let file = cursor.file.take();
        let result = match &file {
            Some(file) => read_pieces(
                cursor,
                file,
                &self.rules,
                &mut buffer,
                at_end,
                bytes_max,
                disk,
                intake,
            ),
            None => Ok(Reading::Done { n_bytes: 0 }),
        };
        cursor.file = file;
        self.buffer = buffer;
        if !matches!(result, Ok(Reading::Replaced)) && !cursor.is_told {
            cursor.is_told = true;
            let (path, size) = (Arc::clone(&cursor.path), cursor.size);
            self.events.push(Event::Opened { path, offset, size });
        }
        let result = result.and_then(|reading| {
            // What waits for room, or for the end of its first line, may be written over meanwhile.
            match (&reading, cursor.read) {
                (Reading::Replaced, _) => {}
                (_, 0) => cursor.note_beginning(disk)?,
                _ => cursor.extend_fingerprint(disk)?,
            }
            Ok(reading)
        });
        match result {
            Ok(Reading::Replaced) => self.is_replaced(id, now, disk),
            Ok(reading) => {
                cursor.known_size = cursor.size;
                if cursor.problem.take().is_some() {
                    self.events.push(Event::Readable {
                        path: Arc::clone(&cursor.path),
                    });
                }
                reading
            }
            Err(error) => self.is_unreadable(id, &error, now),
        }
    }

    fn is_unreadable(&mut self, id: CursorId, error: &io::Error, now: Instant) -> Reading {
        if self.drop_stale(id, error, now) {
            self.poll_at(id, now);
        } else {
            self.tell_unreadable(id, error);
        }
        Reading::Done { n_bytes: 0 }
    }

    pub(super) fn is_replaced(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> Reading {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return Reading::Done { n_bytes: 0 };
        };
        cursor.forget_unread_size();
        if let Some(Ok(stat)) = cursor.file.as_ref().map(|file| disk.look_at(file)) {
            self.replace(id, &stat, now);
        }
        Reading::Done { n_bytes: 0 }
    }
}

/// What a read came to.
pub(super) enum Reading {
    /// Nothing more is to be had now.
    Done {
        n_bytes: usize,
    },
    /// Others have their turn first.
    More {
        n_bytes: usize,
    },
    Blocked,
    /// It isn't the file that was read.
    Replaced,
}

/// Reads from where the cursor stands and hands on every piece, until the end of what is there, `bytes_max`, or a full
/// intake. What is left of a piece that isn't all there is read again next time: nothing is held between turns.
#[expect(
    clippy::too_many_arguments,
    reason = "a loop over one cursor's state and the three worlds around it"
)]
fn read_pieces<D: Disk>(
    cursor: &mut Cursor<D::File>,
    file: &D::File,
    rules: &Rules,
    buffer: &mut Vec<u8>,
    at_end: End,
    bytes_max: usize,
    disk: &mut D,
    intake: &mut impl Intake,
) -> io::Result<Reading> {
    let started_at = cursor.read;
    // What stood before is read along, in the same call: nobody can put other bytes in between.
    let n_before = cursor.tail.map_or(0, |tail| usize::from(tail.len));
    buffer.resize(buffer.len().max(READ_BYTES), 0);
    let n = disk.read_at(file, started_at - n_before as u64, buffer)?;
    let is_same = |tail: Mark| n >= n_before && tail.is_of(&buffer[..n_before]);
    if !cursor.tail.is_none_or(is_same) || !cursor.may_begin_with(&buffer[..n]) {
        return Ok(Reading::Replaced);
    }
    // The buffer begins with what stands before the cursor, if only a little of it.
    let mut before = n_before;
    let mut filled = n - n_before;
    let mut is_over = filled == 0;
    if let Some(header) = &cursor.header {
        intake.header(header);
    }
    // A piece that isn't all there stays at the buffer's start while more is read behind it.
    cursor.split.forget_search();
    loop {
        let until = cursor.read + filled as u64;
        let end = match is_over || until >= cursor.size {
            false => End::More,
            // It isn't as the last look said: nothing is known of what follows.
            true if until != cursor.size => End::Now,
            true => at_end,
        };
        let pieces = &buffer[before..before + filled];
        let (at, stop) = hand_on(cursor, rules, pieces, end, intake);
        cursor.read += at as u64;
        if at > 0 {
            cursor.running.update(&pieces[..at]);
            cursor.moved_to(Mark::of(cursor.read, &buffer[..before + at]));
        }
        let n_bytes = (cursor.read - started_at) as usize;
        let mut header = None;
        match stop {
            Stop::Blocked => return Ok(Reading::Blocked),
            Stop::Over => return Ok(Reading::Done { n_bytes }),
            // `size` may be old: whoever wrote meanwhile is noticed by the next look.
            Stop::Incomplete if end != End::More => return Ok(Reading::Done { n_bytes }),
            Stop::Incomplete if n_bytes >= bytes_max => return Ok(Reading::More { n_bytes }),
            Stop::HeaderMissing => header = Some(read_header(disk, file, &rules.split)?),
            Stop::Incomplete => {}
        }
        let kept = (before + at).min(KNOWN_BYTES);
        buffer.copy_within(before + at - kept..before + filled, 0);
        (before, filled) = (kept, filled - at);
        match read_on(
            file,
            cursor.read - before as u64,
            before + filled,
            buffer,
            disk,
        )? {
            Some(n) => {
                filled += n;
                is_over = n == 0;
            }
            None => return Ok(Reading::Replaced),
        }
        // Only here: the bytes that wait for it stand in the file behind it still.
        if let Some(header) = header {
            intake.header(cursor.header.insert(header));
        }
    }
}

/// Reads behind the first `filled` bytes of the buffer, which stand at `offset` in the file; how many bytes there were.
/// `None`: the file has other bytes now than the buffer.
fn read_on<D: Disk>(
    file: &D::File,
    offset: u64,
    filled: usize,
    buffer: &mut Vec<u8>,
    disk: &mut D,
) -> io::Result<Option<usize>> {
    if buffer.len() < filled + READ_BYTES / 2 {
        buffer.resize(buffer.len() + READ_BYTES, 0);
    }
    // What is known is read along again: between two reads the file may have been emptied, and have grown to more.
    let known_from = filled.saturating_sub(KNOWN_BYTES);
    let known = buffer[known_from..filled].to_vec();
    let n = disk.read_at(file, offset + known_from as u64, &mut buffer[known_from..])?;
    let is_same = buffer[known_from..known_from + n].starts_with(&known);
    Ok(is_same.then(|| n - known.len()))
}

/// Why no more of a buffer was handed on.
enum Stop {
    /// What is left isn't all there.
    Incomplete,
    /// The intake is full.
    Blocked,
    /// Nothing more is wanted of the file.
    Over,
    /// A record waits for the line that names the file's columns.
    HeaderMissing,
}

/// Hands on the pieces of `buffer`, which begins where the cursor stands; how many bytes they were.
fn hand_on<F>(
    cursor: &mut Cursor<F>,
    rules: &Rules,
    buffer: &[u8],
    end: End,
    intake: &mut impl Intake,
) -> (usize, Stop) {
    let mut at = 0;
    loop {
        let before = cursor.split;
        match rules
            .splitter
            .next_sound(&mut cursor.split, buffer, at, end)
        {
            Piece::Record { .. } if rules.split.is_header_needed && cursor.header.is_none() => {
                cursor.split = before;
                return (at, Stop::HeaderMissing);
            }
            Piece::Skipped { line, next } => {
                intake.skipped(span_of(cursor, at, next), &buffer[line], &cursor.path);
                at = next;
            }
            Piece::Record { data, next, kind } => {
                if !intake.has_room(data.len()) {
                    cursor.split = before;
                    return (at, Stop::Blocked);
                }
                let span = span_of(cursor, at, next);
                intake.record(span, &buffer[data], kind, &cursor.path);
                if kind == RecordKind::TooLong {
                    let end = (!cursor.split.is_leaving_out()).then_some(span.end);
                    cursor.cut_ranges.push_back(CutRange {
                        start: span.start,
                        end,
                        is_header: false,
                    });
                }
                at = next;
            }
            Piece::Nothing { next } => {
                let is_header = before.header_lines_left > cursor.split.header_lines_left;
                note_left_out(cursor, at, next, is_header);
                intake.nothing(span_of(cursor, at, next));
                at = next;
            }
            Piece::Over { next } => {
                if next > at {
                    intake.nothing(span_of(cursor, at, next));
                }
                return (next, Stop::Over);
            }
            Piece::Incomplete => return (at, Stop::Incomplete),
        }
    }
}

/// The line that names the file's columns, from the file's beginning.
///
/// # Errors
///
/// It can't be read now, or the file isn't what it was any more: the next look tells.
fn read_header<D: Disk>(disk: &mut D, file: &D::File, split: &Split) -> io::Result<Box<[u8]>> {
    let mut beginning = Vec::new();
    loop {
        let filled = beginning.len();
        beginning.resize(filled + READ_BYTES, 0);
        let n = disk.read_at(file, filled as u64, &mut beginning[filled..])?;
        beginning.truncate(filled + n);
        if let Some(line) = header_line(&beginning, split.skip_header_lines) {
            return Ok(line.into());
        }
        if n == 0 || beginning.len() > HEADER_BYTES_MAX {
            let problem = format!(
                "its header isn't within its first {} bytes",
                beginning.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
    }
}

fn span_of<F>(cursor: &Cursor<F>, start: usize, end: usize) -> Span {
    Span {
        cursor: cursor.id,
        start: cursor.read + start as u64,
        end: cursor.read + end as u64,
    }
}

/// Remembers where a header line ends, or the open range of what is left out.
fn note_left_out<F>(cursor: &mut Cursor<F>, start: usize, end: usize, is_header: bool) {
    let span = span_of(cursor, start, end);
    let goes_on = cursor.split.is_leaving_out();
    let open = cursor.cut_ranges.back_mut();
    match open.filter(|range| range.end.is_none()) {
        Some(range) if !goes_on => {
            range.end = Some(span.end);
            if range.is_header {
                cursor.header_ends.push_back(span.end);
            }
        }
        Some(_) => {}
        None if goes_on => cursor.cut_ranges.push_back(CutRange {
            start: span.start,
            end: None,
            is_header,
        }),
        None if is_header => cursor.header_ends.push_back(span.end),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::tail::testing::{Lines, MemoryDisk, rules_of};

    fn rules() -> Rules {
        let text = r#"{"flows": [{"filePattern": "/l/a.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}]}"#;
        rules_of(text)
    }

    /// Lines of no common length, so many bytes of them at least.
    fn lines(name: &str, bytes: usize) -> Vec<String> {
        let line = |n: usize| format!("{name} {n} {:x<width$}", "", width = n * 7 % 61);
        (0..bytes / 32).map(line).collect()
    }

    fn text_of(lines: &[String]) -> Vec<u8> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        text.into_bytes()
    }

    /// Between any two operations, also those of one turn, a file may be emptied and have grown to more than was read.
    #[test]
    fn a_file_that_is_rewritten_between_two_operations_gives_no_torn_line() {
        let (old, new) = (lines("old", 4 * READ_BYTES), lines("new", 6 * READ_BYTES));
        let known: HashSet<&String> = old.iter().chain(&new).collect();
        let (mut n_of_both, mut n_before) = (0, 0);
        loop {
            let now = Instant::now();
            let mut disk = MemoryDisk::default();
            disk.append("/l/a.log", &text_of(&old));
            // A copy that no pattern matches has what wasn't read.
            disk.append("/l/a.log.1", &text_of(&old));
            let text = text_of(&new);
            disk.befall_after(n_before, move |disk| disk.truncate("/l/a.log", &text));
            let mut tailer = Tailer::new(rules(), FlowPlaces::default(), now);
            let mut heard = Lines::default();
            let mut n_left = 0;
            for second in 0..30 {
                tailer.turn(now + Duration::from_secs(second), &mut disk, &mut heard);
                if second == 10 {
                    n_left = disk.n_to_come();
                }
            }
            if n_left > 0 {
                break;
            }
            let is_opened = |event: &Event| matches!(event, Event::Opened { offset: 0, .. });
            let is_unread = |event: &Event| matches!(event, Event::Replaced { read: 0, .. });
            let mut events = tailer
                .take_events()
                .into_iter()
                .skip_while(|event| !is_opened(event));
            let unread = events.find(is_unread);
            assert_eq!(unread, None, "rewritten before operation {n_before}");
            let torn = heard.0.iter().find(|record| !known.contains(record));
            assert_eq!(torn, None, "rewritten before operation {n_before}");
            let heard: HashSet<&String> = heard.0.iter().collect();
            let missing = new.iter().find(|line| !heard.contains(line));
            assert_eq!(missing, None, "rewritten before operation {n_before}");
            if old.iter().any(|line| heard.contains(line)) {
                let lost = old.iter().find(|line| !heard.contains(line));
                assert_eq!(lost, None, "rewritten before operation {n_before}");
                n_of_both += 1;
            }
            n_before += 1;
        }
        assert!(n_of_both > 2, "it was rewritten while it was read");
    }

    /// Records under the line that named their columns.
    #[derive(Default)]
    struct Columns {
        header: String,
        records: Vec<(String, String)>,
    }

    impl Intake for Columns {
        fn has_room(&mut self, _data_bytes: usize) -> bool {
            true
        }

        fn record(&mut self, _: Span, data: &[u8], _: RecordKind, _: &Path) {
            let data = String::from_utf8_lossy(data).into_owned();
            self.records.push((self.header.clone(), data));
        }

        fn nothing(&mut self, _: Span) {}

        fn skipped(&mut self, _: Span, _: &[u8], _: &Path) {}

        fn header(&mut self, line: &[u8]) {
            self.header = String::from_utf8_lossy(line).into_owned();
        }
    }

    #[test]
    fn a_file_that_is_rewritten_between_two_operations_lends_no_columns_to_what_it_held() {
        let mut rules = rules();
        (rules.split.is_header_needed, rules.split.skip_header_lines) = (true, 1);
        let mut n_before = 0;
        loop {
            let now = Instant::now();
            let mut disk = MemoryDisk::default();
            disk.append("/l/a.log", b"old,columns\nold,1\nold,2\n");
            let text = b"new,columns,other\nnew,1,1\nnew,2,2\nnew,3,3\n";
            disk.befall_after(n_before, move |disk| disk.truncate("/l/a.log", text));
            let mut tailer = Tailer::new(rules.clone(), FlowPlaces::default(), now);
            let mut heard = Columns::default();
            for second in 0..30 {
                tailer.turn(now + Duration::from_secs(second), &mut disk, &mut heard);
                if second == 10 && disk.n_to_come() > 0 {
                    return assert!(n_before > 10, "it was rewritten while it was read");
                }
            }
            for (header, record) in &heard.records {
                let is_its_own = header.get(..3) == record.get(..3);
                assert!(
                    is_its_own,
                    "{record} under {header}, rewritten before operation {n_before}"
                );
            }
            n_before += 1;
        }
    }
}
