//! Lines whose columns need no escapes, which nearly all are, written in one pass: eight bytes of the line are looked at
//! together, and what is short is copied as a chunk of a fixed size.
//!
//! ```text
//!  line    7,Ann,x@y       the delimiters' places, a word at a time
//!  frames  {"id":"   ","name":"   ","mail":"   "}    what stands before each column, quotes included
//! ```

use super::json::{self, Layout};

/// What a frame is copied as where it is no longer; names of up to some twenty letters fit.
const FRAME_CHUNK: usize = 32;
/// The same for columns, and for the end of the object.
const COLUMN_CHUNK: usize = 16;
/// What stands for a column that is missing.
const NULL: &[u8] = b"null";

/// What stands round the columns of a layout.
#[derive(Debug)]
pub struct Frames {
    /// One after the other, and a chunk of nothing behind the last, so that each can be copied as one.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Frames {
    /// Of a layout whose fields are strings in the order of the columns.
    pub fn new(layout: &Layout) -> Frames {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (place, field) in layout.fields().iter().enumerate() {
            if place > 0 {
                bytes.push(b'"');
            }
            bytes.extend_from_slice(&field.lead);
            bytes.push(b'"');
            ends.push(bytes.len());
        }
        bytes.resize(bytes.len() + FRAME_CHUNK, 0);
        Frames { bytes, ends }
    }

    /// Appends the columns of a line as an object; those that are missing are `null`. `false`, and nothing is appended:
    /// some column needs more than to be copied.
    pub fn append(
        &self,
        layout: &Layout,
        delimiter: u8,
        columns: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if !json::is_plain_but_for(delimiter, columns) {
            return false;
        }
        let n_missing_bytes = NULL.len() * self.ends.len();
        let n_bytes = self.bytes.len() + columns.len() + n_missing_bytes + layout.end().len();
        let mut room = Room::new(out, n_bytes);
        let (mut start, mut frame_start) = (0, 0);
        let mut delimiters = json::Places::of(delimiter, columns);
        let mut missing = layout.fields();
        for &frame_end in &self.ends {
            if start > columns.len() {
                break;
            }
            let end = delimiters.next().unwrap_or(columns.len());
            let frame = &self.bytes[frame_start..];
            room.put::<FRAME_CHUNK>(frame, frame_end - frame_start);
            room.put::<COLUMN_CHUNK>(&columns[start..], end - start);
            (start, frame_start, missing) = (end + 1, frame_end, &missing[1..]);
        }
        if !self.ends.is_empty() {
            room.put::<COLUMN_CHUNK>(b"\"", 1);
        }
        for field in missing {
            room.put::<FRAME_CHUNK>(&field.lead, field.lead.len());
            room.put::<COLUMN_CHUNK>(NULL, NULL.len());
        }
        room.put::<COLUMN_CHUNK>(layout.end(), layout.end().len());
        room.finish();
        true
    }
}

/// Room at the end of a buffer, with a chunk to spare.
struct Room<'o> {
    out: &'o mut Vec<u8>,
    at: usize,
}

impl<'o> Room<'o> {
    fn new(out: &'o mut Vec<u8>, n_bytes: usize) -> Room<'o> {
        let at = out.len();
        out.resize(at + n_bytes + FRAME_CHUNK, 0);
        Room { out, at }
    }

    /// Appends the first `len` bytes of `text`; what follows them is of no interest, but makes a chunk whole.
    #[inline]
    fn put<const CHUNK: usize>(&mut self, text: &[u8], len: usize) {
        let to = &mut self.out[self.at..];
        match (text.first_chunk::<CHUNK>(), to.first_chunk_mut::<CHUNK>()) {
            (Some(text), Some(to)) if len <= CHUNK => *to = *text,
            _ => to[..len].copy_from_slice(&text[..len]),
        }
        self.at += len;
    }

    fn finish(self) {
        self.out.truncate(self.at);
    }
}
