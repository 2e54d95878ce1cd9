//! Records of one turn on their way into batches: mended, processed, added, counted.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Instant;

use super::culprits::{Culprit, Culprits};
use super::inbox::Inbox;
use super::machine::Around;
use super::outbox::Outbox;
use crate::config::Flow;
use crate::planted;
use crate::process::{self, Chain, Context, Verdict};
use crate::publish::batch::{self, OpenBatch};
use crate::record::Span;
use crate::tail::Intake;
use crate::tail::split::RecordKind;
use crate::telemetry::counters::{FlowCounters, RawReason, SkipReason};
use crate::telemetry::events;

/// How much of a record is shown in the log.
const SHOWN_BYTES: usize = 120;

/// Records of one turn on their way into batches.
pub(super) struct FlowIntake<'a, A> {
    pub flow: &'a Flow,
    pub open: &'a mut OpenBatch,
    pub chain: &'a mut Chain,
    pub context: Context<'a>,
    pub inbox: &'a Inbox,
    pub outbox: &'a mut Outbox,
    pub around: &'a mut A,
    pub counters: &'a FlowCounters,
    pub scratch: &'a mut Vec<u8>,
    pub now: Instant,
    pub done: events::Turn,
    /// Records sent as they are, with what the first of them was.
    pub raw: Vec<Tally<RawReason>>,
    pub skipped: Vec<Tally<SkipReason>>,
    /// Records that gave no partition key.
    pub keyless: Vec<Tally<()>>,
    pub is_short_of_bytes: bool,
    pub culprits: &'a Culprits,
    /// The record in the work on which a defect showed.
    pub struck: &'a mut Option<Culprit>,
}

impl<A: Around> Intake for FlowIntake<'_, A> {
    fn has_room(&mut self, data_bytes: usize) -> bool {
        if !self.inbox.has_queue_room() {
            return false;
        }
        self.is_short_of_bytes = !self.open.has_room(data_bytes);
        !self.is_short_of_bytes
    }

    fn record(&mut self, span: Span, data: &[u8], kind: RecordKind, path: &Path) {
        if self.culprits.are_over(span, data) {
            self.leave_out(span, data, path);
            return;
        }
        let take = AssertUnwindSafe(|| self.take(span, data, kind, path));
        if let Err(defect) = panic::catch_unwind(take) {
            *self.struck = Some(Culprit::of(span, data));
            panic::resume_unwind(defect);
        }
    }

    fn nothing(&mut self, span: Span) {
        self.open.cover(span, self.now);
    }

    fn skipped(&mut self, span: Span, line: &[u8], path: &Path) {
        self.done.records_parsed += 1;
        self.done.bytes_parsed += line.len() as u64;
        self.done.records_skipped += 1;
        tally(&mut self.skipped, SkipReason::Line, || {
            shown(path, span.start, line)
        });
        self.nothing(span);
    }

    fn header(&mut self, line: &[u8]) {
        self.chain.set_header(line);
    }

    fn spare_buffer(&mut self) -> Vec<u8> {
        self.open.budget().spare_buffer()
    }

    fn give_back_buffer(&mut self, buffer: Vec<u8>) {
        self.open.budget().give_back_buffer(buffer);
    }
}

/// Makes a whole record of one that isn't, into `mended`: one that is too long to be converted is cut before it is, and
/// an unterminated one gets its newline. `false`: it is taken as it is.
pub fn mend(flow: &Flow, data: &[u8], kind: RecordKind, mended: &mut Vec<u8>) -> bool {
    mended.clear();
    match kind {
        RecordKind::Whole => return false,
        // The batch cuts it, so that data and key fit exactly.
        RecordKind::TooLong if flow.processing.is_empty() => return false,
        RecordKind::TooLong => {
            let terminator = &flow.split.truncated_terminator;
            let end = (flow.destination.record_bytes_max() - terminator.len()).min(data.len() - 1);
            mended.extend_from_slice(&data[..batch::character_boundary(data, end)]);
            mended.extend_from_slice(terminator);
        }
        RecordKind::Unterminated => {
            mended.extend_from_slice(data);
            mended.push(b'\n');
        }
    }
    true
}

impl<A: Around> FlowIntake<'_, A> {
    fn take(&mut self, span: Span, data: &[u8], kind: RecordKind, path: &Path) {
        planted::defect_in(data, planted::IN_FLOW);
        self.done.records_parsed += 1;
        self.done.bytes_parsed += data.len() as u64;
        let mut mended = std::mem::take(self.scratch);
        if mend(self.flow, data, kind, &mut mended) {
            if kind == RecordKind::TooLong {
                events::record_truncated(
                    self.counters,
                    path,
                    span.start,
                    span.end - span.start,
                    mended.len() as u64,
                    &beginning(data),
                );
            }
            self.add(span, &mended, path);
        } else {
            self.add(span, data, path);
        }
        *self.scratch = mended;
    }

    /// It is neither tried again nor sent.
    fn leave_out(&mut self, span: Span, data: &[u8], path: &Path) {
        self.done.records_parsed += 1;
        self.done.bytes_parsed += data.len() as u64;
        self.done.records_skipped += 1;
        tally(&mut self.skipped, SkipReason::Defect, || {
            shown(path, span.start, data)
        });
        self.nothing(span);
    }

    fn add(&mut self, span: Span, data: &[u8], path: &Path) {
        let (chain, context) = (&mut *self.chain, &self.context);
        self.open.note_file(span.cursor, path);
        let added = self.open.add(span, data, self.now, |body| {
            if chain.is_empty() {
                body.extend_from_slice(data);
                return (true, None);
            }
            let verdict = chain.run(data, context, body);
            if let Verdict::Raw(_) = verdict {
                body.extend_from_slice(data);
            }
            (!matches!(verdict, Verdict::Skipped(_)), Some(verdict))
        });
        for batch in added.closed {
            self.outbox.put(batch, |batch| self.around.send(batch));
        }
        if added.cut {
            let sent = self.flow.destination.record_bytes_max() as u64;
            let n_bytes = span.end - span.start;
            let beginning = beginning(data);
            events::record_truncated(self.counters, path, span.start, n_bytes, sent, &beginning);
        }
        if added.keyless {
            let first = || shown(path, span.start, data);
            tally(&mut self.keyless, (), first);
        }
        let Some(verdict) = added.told else { return };
        let shown = || shown(path, span.start, data);
        match verdict {
            Verdict::Converted => self.done.records_transformed += 1,
            Verdict::WithoutEc2Metadata => {
                self.done.records_transformed += 1;
                tally(&mut self.raw, RawReason::NoInstanceMetadata, shown);
            }
            Verdict::Skipped(reason) => {
                self.done.records_skipped += 1;
                let reason = match reason {
                    process::SkipReason::LogNoMatch => SkipReason::NoMatch,
                    process::SkipReason::LogGroupCount => SkipReason::GroupCount,
                };
                tally(&mut self.skipped, reason, shown);
            }
            Verdict::Raw(why) => {
                let reason = match why {
                    process::RawReason::CsvDelimiter => RawReason::BadOption,
                    process::RawReason::CsvStepLimit | process::RawReason::LogStepLimit => {
                        RawReason::PatternTooCostly
                    }
                    process::RawReason::CsvNotOneRecord => RawReason::NotConvertible,
                    process::RawReason::Ec2NotAnObject => RawReason::NotAnObject,
                    process::RawReason::Defect => RawReason::Defect,
                };
                tally(&mut self.raw, reason, || format!("{why}; {}", shown()));
            }
        }
    }

    /// Counts and says what the turn did.
    pub fn tell(self) {
        if self.done != events::Turn::default() {
            events::turn_done(self.counters, &self.done);
        }
        for (reason, n_records, first) in self.raw {
            events::records_raw(self.counters, reason, n_records, &first);
        }
        for (reason, n_records, first) in self.skipped {
            events::records_skipped(self.counters, reason, n_records, &first);
        }
        for ((), n_records, first) in self.keyless {
            events::records_keyless(self.counters, n_records, &first);
        }
    }
}

/// Records of one turn that had the same fate: why, how many, and what the first of them was.
type Tally<R> = (R, u64, String);

fn tally<R: PartialEq>(tallies: &mut Vec<Tally<R>>, reason: R, first: impl FnOnce() -> String) {
    match tallies.iter_mut().find(|(known, ..)| *known == reason) {
        Some((_, n, _)) => *n += 1,
        None => tallies.push((reason, 1, first())),
    }
}

/// Where a record stands and how it begins.
fn shown(path: &Path, offset: u64, data: &[u8]) -> String {
    let (path, beginning) = (path.display(), beginning(data));
    format!("the first at offset {offset} of {path}: {beginning}")
}

/// The beginning of a record without its newline, on one line.
fn beginning(data: &[u8]) -> String {
    let line = data.strip_suffix(b"\n").unwrap_or(data);
    let (shown, more) = match line.len() <= SHOWN_BYTES {
        true => (line, ""),
        false => (&line[..batch::character_boundary(line, SHOWN_BYTES)], "…"),
    };
    let text = String::from_utf8_lossy(shown);
    format!("\"{}{more}\"", text.escape_debug())
}
