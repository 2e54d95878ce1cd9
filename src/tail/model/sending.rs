//! The service's side of the model, and the intake's.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use crate::publish::watermark::Watermark;
use crate::record::{CursorId, Span};
use crate::tail::Intake;
use crate::tail::split::RecordKind;

/// Records of a batch.
const BATCH_RECORDS: usize = 3;

/// A batch in flight.
pub struct OutBatch {
    pub number: u64,
    pub spans: Vec<Span>,
    pub lines: Vec<Vec<u8>>,
}

/// What was handed on, in batches.
#[derive(Default)]
pub struct Sending {
    /// Records that a turn may hand on.
    pub room: usize,
    /// Records of this turn.
    pub records: Vec<(Span, Vec<u8>, RecordKind)>,
    open: Vec<Span>,
    lines: Vec<Vec<u8>>,
    n_open: usize,
    number: u64,
    pub out: VecDeque<OutBatch>,
    pub watermarks: HashMap<CursorId, Watermark>,
}

impl Sending {
    fn cover(&mut self, span: Span) {
        let mut open = self.open.iter_mut();
        match open.find(|known| known.cursor == span.cursor) {
            Some(known) => known.end = span.end,
            None => self.open.push(span),
        }
    }

    pub fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (number, spans) = (self.number, std::mem::take(&mut self.open));
        (self.number, self.n_open) = (number + 1, 0);
        for span in &spans {
            let watermark = self.watermarks.entry(span.cursor).or_default();
            watermark.register(number, span.end);
        }
        let lines = std::mem::take(&mut self.lines);
        self.out.push_back(OutBatch {
            number,
            spans,
            lines,
        });
    }
}

/// The lines of a record.
pub fn lines_of(data: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    data.split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
}

impl Intake for Sending {
    fn has_room(&mut self, _: usize) -> bool {
        self.room > 0
    }

    fn record(&mut self, span: Span, data: &[u8], kind: RecordKind, _: &Path) {
        self.room -= 1;
        self.records.push((span, data.to_vec(), kind));
        self.lines.extend(lines_of(data));
        self.cover(span);
        self.n_open += 1;
        if self.n_open == BATCH_RECORDS {
            self.close();
        }
    }

    fn nothing(&mut self, span: Span) {
        self.cover(span);
    }
}
