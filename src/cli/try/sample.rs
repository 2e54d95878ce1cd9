//! A sample through the very code that a flow's records go through: splitting, conversion, limits, partition keys.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Instant;

use anyhow::Context as _;

use crate::config::{Flow, PartitionKey};
use crate::flow::mend;
use crate::process::{Chain, Context, RawReason, SkipReason, Verdict};
use crate::publish::batch::OpenBatch;
use crate::publish::budget::Budget;
use crate::publish::wire;
use crate::record::{CursorId, FlowIndex, Span};
use crate::tail::Rules;
use crate::tail::split::{End, Piece, RecordKind, SplitState, Splitter, header_line};

/// Read at once.
const READ_BYTES: usize = 256 * 1024;
/// A budget that is never short: one record is held at a time.
const BUDGET_BYTES: usize = 1 << 30;

/// A record of the sample, or a line that is none.
#[derive(Debug)]
pub struct Record<'a> {
    /// Its first line, from 1.
    pub line: u64,
    /// Its bytes in the sample.
    pub data: &'a [u8],
    pub fate: Fate,
    /// What would be sent of it.
    pub sent: Option<Sent>,
}

/// What would become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sent as it was read, or converted.
    Sent,
    /// Sent unconverted.
    Raw(RawReason),
    /// Sent as it is, for want of an instance's metadata, which isn't looked for here.
    WithoutEc2Metadata,
    /// Not sent.
    Skipped(SkipReason),
    /// `skipLinesMatching`
    LineSkipped,
}

/// What the service would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub data: Vec<u8>,
    /// `None` where it is random, or there is none.
    pub partition_key: Option<String>,
    /// It lost its end.
    pub is_cut: bool,
    /// It gave no partition key.
    pub is_keyless: bool,
}

/// One flow at work on a sample, and what it came to.
pub struct Sample<'f> {
    flow: &'f Flow,
    splitter: Splitter,
    state: SplitState,
    chain: Chain,
    open: OpenBatch,
    budget: Budget,
    mended: Vec<u8>,
    /// The line that is next, from 1.
    line: u64,
    pub n_bytes: u64,
    pub n_records: u64,
    pub n_sent: u64,
    pub bytes_sent: u64,
    pub n_header_lines: u64,
    /// Bytes at the end that would wait for more.
    pub n_waiting_bytes: u64,
    /// The footer ended the file at this line: the rest isn't read.
    pub footer_line: Option<u64>,
    /// What happened to records beside being sent, in the order of first appearance.
    pub tallies: Vec<Tally>,
}

/// Records that had something happen to them, by what it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    pub what: String,
    pub n_records: u64,
    pub first_line: u64,
}

impl<'f> Sample<'f> {
    pub fn new(flow: &'f Flow) -> Sample<'f> {
        let held_bytes_max = Rules::held_bytes_max(flow);
        let budget = Budget::new(BUDGET_BYTES, 1);
        Sample {
            flow,
            splitter: Splitter::new(&flow.split, held_bytes_max),
            state: SplitState::at_start(&flow.split),
            chain: Chain::new(&flow.processing),
            open: OpenBatch::new(FlowIndex(0), flow, budget.clone(), fastrand::u64(..)),
            budget,
            mended: Vec::new(),
            line: 1,
            n_bytes: 0,
            n_records: 0,
            n_sent: 0,
            bytes_sent: 0,
            n_header_lines: 0,
            n_waiting_bytes: 0,
            footer_line: None,
            tallies: Vec::new(),
        }
    }

    /// Reads it all, as a file that nobody writes to any more: the last multi-line record is closed, a last line without
    /// its newline waits.
    pub fn read(
        &mut self,
        mut input: impl Read,
        mut with: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut filled = 0;
        // The beginning, until the header in it was found.
        let mut beginning = self.flow.split.is_header_needed.then(Vec::new);
        loop {
            buffer.resize(buffer.len().max(filled + READ_BYTES), 0);
            let n = match input.read(&mut buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.context("can't read the sample")?,
            };
            if let Some(bytes) = &mut beginning {
                bytes.extend_from_slice(&buffer[filled..filled + n]);
                if let Some(line) = header_line(bytes, self.flow.split.skip_header_lines) {
                    self.chain.set_header(line);
                    beginning = None;
                }
            }
            filled += n;
            self.n_bytes += n as u64;
            let end = if n == 0 { End::Quiet } else { End::More };
            let used = self.pieces(&buffer[..filled], end, &mut with)?;
            buffer.copy_within(used..filled, 0);
            filled -= used;
            if n == 0 || self.footer_line.is_some() {
                if self.footer_line.is_none() {
                    self.n_waiting_bytes = filled as u64;
                }
                return Ok(());
            }
        }
    }

    /// Takes all pieces that are whole; how many bytes they are.
    fn pieces(
        &mut self,
        buffer: &[u8],
        end: End,
        with: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut at = 0;
        loop {
            let line = self.line;
            let next = match self.splitter.next(&mut self.state, buffer, at, end) {
                Piece::Record { data, next, kind } => {
                    let record = self.record(&buffer[data], kind, line);
                    with(record)?;
                    next
                }
                Piece::Skipped { line: data, next } => {
                    self.n_records += 1;
                    self.tally("left out by skipLinesMatching", line);
                    with(Record {
                        line,
                        data: &buffer[data],
                        fate: Fate::LineSkipped,
                        sent: None,
                    })?;
                    next
                }
                Piece::Nothing { next } => {
                    self.n_header_lines += u64::from(self.n_records == 0);
                    next
                }
                Piece::Over { .. } => {
                    self.footer_line = Some(line);
                    return Ok(at);
                }
                Piece::Incomplete => return Ok(at),
            };
            self.line += memchr::memchr_iter(b'\n', &buffer[at..next]).count() as u64;
            at = next;
        }
    }

    fn record<'a>(&mut self, data: &'a [u8], kind: RecordKind, line: u64) -> Record<'a> {
        self.n_records += 1;
        let mut mended = std::mem::take(&mut self.mended);
        let is_mended = mend(self.flow, data, kind, &mut mended);
        let read = if is_mended { &mended[..] } else { data };
        let (fate, sent) = self.send(read, is_mended && kind == RecordKind::TooLong);
        self.mended = mended;
        match fate {
            Fate::Sent | Fate::LineSkipped => {}
            Fate::Raw(reason) => self.tally(&format!("sent as read: {reason}"), line),
            Fate::Skipped(reason) => self.tally(&format!("left out: {reason}"), line),
            Fate::WithoutEc2Metadata => {
                let what = "without instance metadata: ADDEC2METADATA is not tried here";
                self.tally(what, line);
            }
        }
        if let Some(sent) = &sent {
            self.n_sent += 1;
            self.bytes_sent += sent.data.len() as u64;
            if sent.is_cut {
                self.tally("cut: longer than the service takes", line);
            }
            if sent.is_keyless {
                self.tally("with a random partition key: they give none", line);
            }
        }
        Record {
            line,
            data,
            fate,
            sent,
        }
    }

    fn send(&mut self, read: &[u8], is_cut: bool) -> (Fate, Option<Sent>) {
        self.open.has_room(read.len());
        let context = context();
        let span = Span {
            cursor: CursorId(0),
            start: 0,
            end: 0,
        };
        let chain = &mut self.chain;
        let added = self.open.add(span, read, Instant::now(), |body| {
            if chain.is_empty() {
                body.extend_from_slice(read);
                return (true, Fate::Sent);
            }
            match chain.run(read, &context, body) {
                Verdict::Converted => (true, Fate::Sent),
                Verdict::WithoutEc2Metadata => (true, Fate::WithoutEc2Metadata),
                Verdict::Skipped(reason) => (false, Fate::Skipped(reason)),
                Verdict::Raw(reason) => {
                    body.extend_from_slice(read);
                    (true, Fate::Raw(reason))
                }
            }
        });
        let has_own_key = !matches!(self.flow.partition_key, PartitionKey::Random);
        let mut sent = None;
        for batch in added.closed.into_iter().chain(self.open.close()) {
            for record in &batch.records {
                let key = wire::key_of(&batch, record);
                let is_determined = has_own_key && !added.keyless && !key.is_empty();
                sent = Some(Sent {
                    data: wire::data_of(&batch, record).to_vec(),
                    partition_key: is_determined.then(|| String::from_utf8_lossy(key).into_owned()),
                    is_cut: is_cut || added.cut,
                    is_keyless: added.keyless,
                });
            }
            self.budget.release(FlowIndex(0), batch.budget_bytes);
        }
        (added.told, sent)
    }

    fn tally(&mut self, what: &str, line: u64) {
        match self.tallies.iter_mut().find(|tally| tally.what == what) {
            Some(tally) => tally.n_records += 1,
            None => self.tallies.push(Tally {
                what: what.to_owned(),
                n_records: 1,
                first_line: line,
            }),
        }
    }
}

/// Now, and no instance's metadata: nothing is asked of the network.
pub fn context() -> Context<'static> {
    Context {
        now: jiff::Timestamp::now(),
        ec2: None,
    }
}

/// A range of a text around a place, of whole characters, at most so many on either side.
pub fn around(text: &str, at: usize, chars_max: usize) -> Range<usize> {
    let before = text[..at].char_indices().rev().take(chars_max).last();
    let after = text[at..].char_indices().nth(chars_max);
    before.map_or(at, |(start, _)| start)..after.map_or(text.len(), |(end, _)| at + end)
}
