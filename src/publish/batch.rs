//! Open batches: one call's worth of records, written in wire form as they come.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Budget, Wanted};
use super::key::{Key, KeyMaker};
use super::wire::{self, Layout};
use crate::config::{BatchLimits, Flow, Ordering};
use crate::record::{Batch, CursorId, FlowIndex, Lane, Origin, RecordRef, Span};

/// What an open batch grows by, and the least that one starts with.
const GROWTH_BYTES: usize = 32 * 1024;
/// A batch begins with room for as much as the last one had, up to this part of the budget.
const USUAL_DIVISOR: usize = 8;
/// The age at which an open batch goes if others are short of bytes: by then one that is being filled is full, also where
/// a hundred flows fill theirs at once.
const AGE_MAX_WHEN_SHORT: Duration = Duration::from_millis(500);
/// The same for one to which nothing is to be added now.
const AGE_MAX_AT_REST: Duration = Duration::from_millis(100);
/// What a call in flight holds beside its body: the connection's buffers, the answer, the places of its records.
/// Measured: 60 KB a call, and half as much again with TLS.
const CALL_BYTES: usize = 64 * 1024;

/// A flow's open batch, and what is needed to fill it.
pub struct OpenBatch {
    flow: FlowIndex,
    budget: Budget,
    layout: Layout,
    limits: BatchLimits,
    keys: KeyMaker,
    ordering: Ordering,
    truncated_terminator: Vec<u8>,
    record_bytes_max: usize,

    body: Vec<u8>,
    records: Vec<RecordRef>,
    lanes: Vec<Lane>,
    origins: Vec<Origin>,
    files: Vec<(CursorId, Arc<Path>)>,
    spans: Vec<Span>,
    /// Data and partition keys: what the limit of a call counts.
    counted_bytes: usize,
    opened_at: Option<Instant>,
    /// Held of the budget for this batch.
    budget_bytes: usize,
    /// The size of a body that they pay for.
    paid_bytes: usize,
    /// Bytes of the budget for the batch that the next record opens if this one turns out to be full.
    next_budget_bytes: usize,
    /// The size of the last batch, or what it would have been had there been room: the next one starts with as much.
    usual_bytes: usize,
    /// Records of the last batch: the next one starts with room for as many.
    usual_records: usize,
    /// The most that a batch begins with.
    usual_bytes_max: usize,
    /// It waited for room for a whole batch, in vain.
    is_impatient: bool,
    /// How old this batch may become: less than what is configured where others are short of bytes.
    age_max: Duration,
}

/// What happened to a record that was added.
#[derive(Debug)]
pub struct Added<T> {
    /// Batches that became full, in order: none most of the time, two if one record fills the next one too.
    pub closed: Vec<Batch>,
    /// The record was longer than the service takes and lost its end.
    pub cut: bool,
    /// The record gave no partition key: it has a random one.
    pub keyless: bool,
    /// What the writer said.
    pub told: T,
}

impl OpenBatch {
    /// An empty batch of `flow`; `seed` makes its random partition keys.
    pub fn new(index: FlowIndex, flow: &Flow, budget: Budget, seed: u64) -> OpenBatch {
        OpenBatch {
            usual_bytes_max: budget.total_bytes() / USUAL_DIVISOR,
            flow: index,
            budget,
            layout: Layout::new(&flow.destination),
            limits: flow.batch,
            keys: KeyMaker::new(&flow.partition_key, seed),
            ordering: flow.ordering,
            truncated_terminator: flow.split.truncated_terminator.clone(),
            record_bytes_max: flow.destination.record_bytes_max(),
            body: Vec::new(),
            records: Vec::new(),
            lanes: Vec::new(),
            origins: Vec::new(),
            files: Vec::new(),
            spans: Vec::new(),
            counted_bytes: 0,
            opened_at: None,
            budget_bytes: 0,
            paid_bytes: 0,
            next_budget_bytes: 0,
            usual_bytes: 0,
            usual_records: 0,
            is_impatient: false,
            age_max: flow.batch.age_max,
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the batch's bytes are taken of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// When the open batch must go at the latest; `None` while it covers nothing.
    pub fn deadline(&self) -> Option<Instant> {
        self.opened_at.map(|opened| opened + self.age_max)
    }

    /// Others are short of bytes: this batch is due early.
    pub fn hurry(&mut self) {
        self.hurry_to(AGE_MAX_WHEN_SHORT);
    }

    fn hurry_to(&mut self, age_max: Duration) {
        if self.opened_at.is_some() {
            self.age_max = self.age_max.min(age_max);
        }
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub fn is_empty(&self) -> bool {
        self.opened_at.is_none()
    }

    /// Whether the byte budget lets a record of `data_bytes` in; if not, the flow is woken when it may.
    pub fn has_room(&mut self, data_bytes: usize) -> bool {
        self.has_room_here(data_bytes) && self.has_room_in_next(data_bytes)
    }

    /// Where a record may be too much for this batch it opens the next one, which needs bytes of its own.
    fn has_room_in_next(&mut self, data_bytes: usize) -> bool {
        let is_full = self.counted_bytes + data_bytes + wire::KEY_BYTES_MAX > self.limits.bytes_max;
        if !is_full || self.records.is_empty() {
            return true;
        }
        let need = self.layout.prefix().len()
            + data_bytes
            + wire::ENTRY_OVERHEAD_BYTES
            + wire::KEY_BYTES_MAX;
        let price = self.price(need.max(GROWTH_BYTES));
        let step = price.saturating_sub(self.next_budget_bytes);
        if step > 0 && !self.budget.take(self.flow, self.more()(step)) {
            return false;
        }
        self.next_budget_bytes += step;
        true
    }

    fn has_room_here(&mut self, data_bytes: usize) -> bool {
        let entry_bytes = data_bytes + wire::ENTRY_OVERHEAD_BYTES + wire::KEY_BYTES_MAX;
        let is_first = self.body.capacity() == 0;
        let prefix_bytes = if is_first {
            self.layout.prefix().len()
        } else {
            0
        };
        let need = self.body.len() + prefix_bytes + entry_bytes;
        if need <= self.paid_bytes {
            return true;
        }
        let growth = GROWTH_BYTES.max(self.paid_bytes / 4);
        let mut paid_bytes = need.max(self.paid_bytes + growth);
        if is_first {
            let usual_bytes = (need + self.usual_bytes).min(self.usual_bytes_max);
            let is_usual = self.buy(usual_bytes.max(paid_bytes), Wanted::Usual);
            match (is_usual, self.is_impatient) {
                (true, _) => {
                    self.is_impatient = self.is_impatient && !self.budget.has_plenty();
                    paid_bytes = self.paid_bytes;
                }
                (false, true) if self.buy(paid_bytes, Wanted::Least) => {}
                (false, _) => return false,
            }
            self.body = self.budget.spare_body(paid_bytes);
        } else if !self.buy(paid_bytes, self.more()) {
            return false;
        }
        let room = paid_bytes.max(self.body.capacity()) - self.body.len();
        self.body.reserve_exact(room);
        self.account_growth();
        true
    }

    /// Pays for a body of so many bytes, if the budget lets it.
    fn buy(&mut self, paid_bytes: usize, wanted: fn(usize) -> Wanted) -> bool {
        let step = self.price(paid_bytes).saturating_sub(self.budget_bytes);
        if !self.budget.take(self.flow, wanted(step)) {
            return false;
        }
        self.budget_bytes += step;
        self.paid_bytes = paid_bytes;
        true
    }

    /// A turn is over, which `is_short` of bytes or isn't.
    pub fn settle(&self, is_short: bool) {
        self.budget.settle(self.flow, is_short);
    }

    /// There is nothing to be added now: this batch is due soon if others could go on with its bytes.
    pub fn rest(&mut self) {
        let open_bytes = self.budget_bytes + self.next_budget_bytes;
        if self.budget.needs_batch_of(self.flow, open_bytes) {
            self.hurry_to(AGE_MAX_AT_REST);
        }
    }

    /// How more is asked for: who makes do with little is woken as soon as what it holds is given back.
    fn more(&self) -> fn(usize) -> Wanted {
        match self.is_impatient {
            true => Wanted::Least,
            false => Wanted::Usual,
        }
    }

    /// After a wait that led to nothing batches make do with room for little, until there is plenty again. Whether that
    /// is new.
    pub fn lose_patience(&mut self) -> bool {
        let is_in_vain = self.budget.waits_in_vain(self.flow);
        is_in_vain && !std::mem::replace(&mut self.is_impatient, true)
    }

    /// What a body of so many bytes takes of the budget until its call is answered.
    fn price(&self, body_bytes: usize) -> usize {
        CALL_BYTES + self.layout.bytes_in_flight(body_bytes)
    }

    /// The record that is added next is of this file. Its name is for those who are told of a record that the service
    /// refuses, and is taken once a batch.
    pub fn note_file(&mut self, cursor: CursorId, path: &Path) {
        if self.files.last().is_none_or(|(last, _)| *last != cursor)
            && self.files.iter().all(|(known, _)| *known != cursor)
        {
            self.files.push((cursor, path.into()));
        }
    }

    /// Adds one record, whose data `write` appends; it was read as `raw` and covers the file up to `span.end`.
    ///
    /// `write` answers `false` if there is nothing to send for these bytes after all; they are covered all the same.
    pub fn add<T>(
        &mut self,
        span: Span,
        raw: &[u8],
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>) -> (bool, T),
    ) -> Added<T> {
        if self.body.is_empty() {
            self.body.extend_from_slice(self.layout.prefix());
        }
        let entry_start = self.body.len();
        wire::begin_entry(&self.layout, &mut self.body);
        let data_start = self.body.len();
        let (written, told) = write(&mut self.body);
        if !written {
            self.body.truncate(entry_start);
            self.cover(span, now);
            return Added {
                closed: Vec::new(),
                cut: false,
                keyless: false,
                told,
            };
        }
        let (mut key_len, mut keyless) = (0, false);
        if self.layout.is_keyed() {
            keyless = self.keys.make(raw, &self.body[data_start..]) == Key::RandomInstead;
            key_len = self.keys.key().len();
        }
        let cut = self.cut_to_limit(data_start, key_len);
        if cut && self.layout.is_keyed() {
            self.keys.make_again_cut(&self.body[data_start..]);
        }
        let key = match self.layout.is_keyed() {
            true => self.keys.key(),
            false => &[],
        };
        let record = wire::end_entry(&self.layout, &mut self.body, entry_start, key);
        self.account_growth();
        let mut closed = Vec::new();
        if !self.records.is_empty()
            && self.counted_bytes + counted_bytes(record) > self.limits.bytes_max
        {
            closed.extend(self.close_before(record, span, now));
        } else {
            self.push(record, span);
            self.counted_bytes += counted_bytes(record);
            self.cover(span, now);
        }
        match self.ordering {
            Ordering::None => {}
            Ordering::PerKey => self.lanes.push(lane_of(self.keys.key())),
            Ordering::PerFile => self.lanes.push(Lane(span.cursor.0)),
        }
        if self.records.len() >= self.limits.records_max
            || self.counted_bytes >= self.limits.bytes_max
        {
            closed.extend(self.close());
        }
        Added {
            closed,
            cut,
            keyless,
            told,
        }
    }

    /// Notes that bytes were read which give nothing to send.
    pub fn cover(&mut self, span: Span, now: Instant) {
        if self.opened_at.is_none() {
            self.opened_at = Some(now);
            self.budget.note_open(self.flow, self.opened_at);
        }
        match self
            .spans
            .iter_mut()
            .rev()
            .find(|known| known.cursor == span.cursor)
        {
            Some(known) => known.end = span.end,
            None => self.spans.push(span),
        }
    }

    /// Closes the batch for want of bytes, at whatever size it has. The next one asks for a full one's bytes before it
    /// begins: a flow that was short once would send small calls for ever.
    pub fn close_short(&mut self) -> Option<Batch> {
        let n_records = self.records.len();
        let batch = self.close();
        if let Some(bytes_each) = self.usual_bytes.checked_div(n_records) {
            let full_bytes = bytes_each * self.limits.records_max;
            self.usual_bytes = full_bytes.clamp(self.usual_bytes, self.limits.bytes_max);
        }
        batch
    }

    /// Closes the batch; `None` if it covers nothing.
    pub fn close(&mut self) -> Option<Batch> {
        let opened_at = self.opened_at.take()?;
        self.age_max = self.limits.age_max;
        self.budget.note_open(self.flow, None);
        let for_next = std::mem::take(&mut self.next_budget_bytes);
        if for_next > 0 {
            self.budget.release(self.flow, for_next);
        }
        let mut body = std::mem::take(&mut self.body);
        if self.records.is_empty() {
            body = Vec::new();
        } else {
            self.layout.patch_count(&mut body, self.records.len());
            self.usual_records = self.records.len();
            self.usual_bytes = body.len().next_multiple_of(4096).min(self.limits.bytes_max);
        }
        (self.counted_bytes, self.paid_bytes) = (0, 0);
        Some(Batch {
            body: body.into(),
            digest: None,
            records: std::mem::take(&mut self.records),
            lanes: std::mem::take(&mut self.lanes),
            origins: std::mem::take(&mut self.origins),
            files: std::mem::take(&mut self.files),
            spans: std::mem::take(&mut self.spans),
            opened_at,
            budget_bytes: std::mem::take(&mut self.budget_bytes),
        })
    }

    /// Closes the batch without the record that was written last, which opens the next one.
    fn close_before(&mut self, last: RecordRef, span: Span, now: Instant) -> Option<Batch> {
        let entry = self.body.split_off(last.entry_start as usize);
        let its_file = self.files.iter().find(|(cursor, _)| *cursor == span.cursor);
        let its_file = its_file.cloned();
        let taken = std::mem::take(&mut self.next_budget_bytes);
        let closed = self.close();
        self.files.extend(its_file);
        self.budget_bytes = taken;
        self.body
            .reserve_exact((self.layout.prefix().len() + entry.len()).max(GROWTH_BYTES));
        self.account_growth();
        self.body.extend_from_slice(self.layout.prefix());
        let shift = last.entry_start - self.body.len() as u32;
        self.body.extend_from_slice(&entry);
        let record = RecordRef {
            entry_start: last.entry_start - shift,
            data_start: last.data_start - shift,
            data_end: last.data_end - shift,
            entry_end: last.entry_end - shift,
            key_len: last.key_len,
        };
        self.push(record, span);
        self.counted_bytes = counted_bytes(last);
        self.cover(span, now);
        closed
    }

    // Inlined for the same reason as `wire::end_entry`.
    #[inline(always)]
    fn push(&mut self, record: RecordRef, span: Span) {
        if self.records.capacity() == 0 {
            self.records.reserve_exact(self.usual_records);
            self.origins.reserve_exact(self.usual_records);
        }
        self.records.push(record);
        self.origins.push(Origin {
            cursor: span.cursor,
            offset: span.start,
        });
    }

    /// Takes from the budget what a record grew the body by beyond what was asked for.
    fn account_growth(&mut self) {
        let capacity = self.body.capacity();
        if capacity > self.paid_bytes {
            let beyond = self.price(capacity).saturating_sub(self.budget_bytes);
            self.budget.take_anyway(self.flow, beyond);
            self.budget_bytes += beyond;
            self.paid_bytes = capacity;
        }
    }

    /// Cuts the data that starts at `data_start` if it is longer than the service takes, so that it ends with the
    /// terminator and fits exactly; UTF-8 is cut between characters.
    fn cut_to_limit(&mut self, data_start: usize, key_len: usize) -> bool {
        let data_bytes_max = self.record_bytes_max - key_len;
        let data = &self.body[data_start..];
        if data.len() <= data_bytes_max {
            return false;
        }
        let end = character_boundary(data, data_bytes_max - self.truncated_terminator.len());
        self.body.truncate(data_start + end);
        self.body.extend_from_slice(&self.truncated_terminator);
        true
    }
}

/// What a flow that ended by a panic had taken for its open batch goes back.
impl Drop for OpenBatch {
    fn drop(&mut self) {
        if self.opened_at.is_some() {
            self.budget.note_open(self.flow, None);
        }
        self.budget.settle(self.flow, false);
        let held_bytes = self.budget_bytes + self.next_budget_bytes;
        if held_bytes > 0 {
            self.budget.release(self.flow, held_bytes);
        }
    }
}

/// What a record counts for in a call's limit: its data and its partition key.
fn counted_bytes(record: RecordRef) -> usize {
    record.data_len() + usize::from(record.key_len)
}

/// A partition key's lane.
fn lane_of(key: &[u8]) -> Lane {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    Lane(hasher.finish())
}

/// Bytes in a UTF-8 character at most.
const UTF8_BYTES_MAX: usize = 4;

/// The last place at or before `at` where no UTF-8 character is cut; `at` itself where the data isn't UTF-8 there.
pub fn character_boundary(data: &[u8], at: usize) -> usize {
    let is_continuation = |byte: u8| byte & 0xc0 == 0x80;
    let Some(start) = (at.saturating_sub(UTF8_BYTES_MAX - 1)..=at)
        .rev()
        .find(|place| !is_continuation(data[*place]))
    else {
        return at;
    };
    let character = &data[start..(start + UTF8_BYTES_MAX).min(data.len())];
    let valid = match std::str::from_utf8(character) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&character[..error.valid_up_to()]).unwrap_or_default(),
    };
    let end = start + valid.chars().next().map_or(0, char::len_utf8);
    if end > at { start } else { at }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::config::{Destination, PartitionKey};
    use crate::record::CursorId;

    /// A batch of the given data with the keys `0`, `1`, … covering one byte a record of cursor 0.
    pub fn batch_of(destination: &Destination, data: &[&[u8]]) -> Batch {
        let layout = Layout::new(destination);
        let mut body = layout.prefix().to_vec();
        let mut records = Vec::new();
        for (place, data) in data.iter().enumerate() {
            let start = body.len();
            wire::begin_entry(&layout, &mut body);
            body.extend_from_slice(data);
            records.push(wire::end_entry(
                &layout,
                &mut body,
                start,
                place.to_string().as_bytes(),
            ));
        }
        layout.patch_count(&mut body, records.len());
        let spans = vec![Span {
            cursor: CursorId(0),
            start: 0,
            end: records.len() as u64,
        }];
        Batch {
            digest: None,
            body: body.into(),
            records,
            lanes: Vec::new(),
            origins: Vec::new(),
            files: Vec::new(),
            spans,
            opened_at: Instant::now(),
            budget_bytes: 0,
        }
    }

    fn open(limits: BatchLimits, destination: Destination, key: PartitionKey) -> OpenBatch {
        OpenBatch {
            flow: FlowIndex(0),
            budget: Budget::new(64 * 1024 * 1024, 1),
            layout: Layout::new(&destination),
            limits,
            keys: KeyMaker::new(&key, 7),
            ordering: Ordering::None,
            truncated_terminator: b"\n".to_vec(),
            record_bytes_max: destination.record_bytes_max(),
            body: Vec::new(),
            records: Vec::new(),
            lanes: Vec::new(),
            origins: Vec::new(),
            files: Vec::new(),
            spans: Vec::new(),
            counted_bytes: 0,
            opened_at: None,
            budget_bytes: 0,
            paid_bytes: 0,
            next_budget_bytes: 0,
            usual_bytes: 0,
            usual_records: 0,
            usual_bytes_max: usize::MAX,
            is_impatient: false,
            age_max: limits.age_max,
        }
    }

    /// One to a stream, with random keys.
    fn open_to_stream(limits: BatchLimits) -> OpenBatch {
        open(
            limits,
            Destination::Kinesis("s".into()),
            PartitionKey::Random,
        )
    }

    fn limits(records_max: usize, bytes_max: usize) -> BatchLimits {
        BatchLimits {
            age_max: Duration::from_millis(1500),
            records_max,
            bytes_max,
        }
    }

    fn span(end: u64) -> Span {
        Span {
            cursor: CursorId(0),
            start: 0,
            end,
        }
    }

    fn add(open: &mut OpenBatch, data: &[u8], end: u64, now: Instant) -> Added<()> {
        assert!(open.has_room(data.len()));
        let write = |body: &mut Vec<u8>| {
            body.extend_from_slice(data);
            (true, ())
        };
        open.add(
            Span {
                cursor: CursorId(0),
                start: end - 1,
                end,
            },
            data,
            now,
            write,
        )
    }

    fn data(batch: &Batch) -> Vec<&[u8]> {
        batch
            .records
            .iter()
            .map(|record| wire::data_of(batch, record))
            .collect()
    }

    #[test]
    fn it_is_full_at_its_count_of_records() {
        let mut open = open_to_stream(limits(2, 1000));
        let now = Instant::now();
        assert!(add(&mut open, b"a", 1, now).closed.is_empty());
        let batch = add(&mut open, b"b", 2, now).closed.pop().unwrap();
        assert_eq!(data(&batch), [b"a", b"b"]);
        assert_eq!(batch.spans, [span(2)]);
        assert!(open.is_empty() && open.close().is_none());
    }

    #[test]
    fn the_record_that_does_not_fit_starts_the_next_batch() {
        let destination = Destination::Firehose("d".into());
        let mut open = open(limits(500, 10), destination, PartitionKey::Random);
        let now = Instant::now();
        assert!(add(&mut open, b"123456", 1, now).closed.is_empty());
        let first = add(&mut open, b"78901", 2, now).closed.pop().unwrap();
        assert_eq!(
            (data(&first), first.spans[0].end),
            (vec![&b"123456"[..]], 1)
        );
        let second = open.close().unwrap();
        let expected = Span {
            cursor: CursorId(0),
            start: 1,
            end: 2,
        };
        assert_eq!(
            (data(&second), second.spans[0]),
            (vec![&b"78901"[..]], expected)
        );
        open.budget
            .release(FlowIndex(0), first.budget_bytes + second.budget_bytes);
        assert_eq!(
            open.budget.held_bytes(),
            0,
            "all that was taken goes along with the batches"
        );
    }

    /// Each batch is closed before its second record: what opens the next one was asked for too.
    #[test]
    fn batches_that_one_record_fills_stay_within_the_budget() {
        let total_bytes = 512 * 1024;
        let mut open = open_to_stream(limits(500, 100));
        open.budget = Budget::new(total_bytes, 1);
        let now = Instant::now();
        let mut batches = Vec::new();
        while open.has_room(90) {
            batches.extend(add(&mut open, &[b'x'; 90], 1, now).closed);
            assert!(open.budget.held_bytes() <= total_bytes);
            assert!(batches.len() < 1000, "the budget never ends");
        }
        batches.extend(open.close());
        for batch in batches {
            open.budget.release(FlowIndex(0), batch.budget_bytes);
        }
        assert_eq!(open.budget.held_bytes(), 0);
        assert!(open.has_room(90), "it goes on once there is room");
    }

    #[test]
    fn its_deadline_is_its_first_records_age_to_the_millisecond() {
        let mut open = open_to_stream(limits(500, 1000));
        let now = Instant::now();
        assert_eq!(open.deadline(), None);
        add(&mut open, b"a", 1, now);
        add(&mut open, b"b", 2, now + Duration::from_millis(400));
        assert_eq!(open.deadline(), Some(now + Duration::from_millis(1500)));
    }

    #[test]
    fn when_others_are_short_it_goes_as_soon_as_it_would_be_full_and_the_next_one_isnt_meant() {
        let mut open = open_to_stream(limits(500, 1000));
        let now = Instant::now();
        open.hurry();
        add(&mut open, b"a", 1, now);
        assert_eq!(
            open.deadline(),
            Some(now + open.limits.age_max),
            "there was nothing to hurry"
        );
        open.hurry();
        assert_eq!(open.deadline(), Some(now + AGE_MAX_WHEN_SHORT));
        assert!(open.close().is_some());
        add(&mut open, b"b", 2, now);
        assert_eq!(open.deadline(), Some(now + open.limits.age_max));
    }

    /// What is there is shared out in whole batches: a flow that was short once would else send a part of one each time.
    #[test]
    fn after_a_batch_that_went_for_want_of_bytes_the_next_one_begins_with_room_for_a_full_one() {
        let mut open = open_to_stream(limits(500, 1_000_000));
        let now = Instant::now();
        for n in 1..=50 {
            assert!(open.has_room(1_000));
            add(&mut open, &[b'x'; 1_000], n, now);
        }
        assert_eq!(open.close_short().unwrap().records.len(), 50);
        assert!(open.has_room(1_000));
        let taken = open.budget_bytes;
        for n in 1..500 {
            assert!(open.has_room(1_000));
            add(&mut open, &[b'x'; 1_000], n, now);
        }
        assert_eq!(open.budget_bytes, taken, "nothing more was asked for");
    }

    #[test]
    fn bytes_that_give_no_record_are_covered() {
        let mut open = open_to_stream(limits(500, 1000));
        let now = Instant::now();
        assert!(open.has_room(10));
        open.add(span(10), b"x", now, |_| (false, ()));
        let batch = open.close().unwrap();
        assert_eq!(
            (batch.records.len(), batch.body.len(), batch.spans),
            (0, 0, vec![span(10)])
        );
    }

    #[test]
    fn keys_are_fractions_below_a_million_or_the_md5_of_the_data() {
        let now = Instant::now();
        let mut random = open_to_stream(limits(500, 100_000));
        (1..=100).for_each(|n| drop(add(&mut random, b"a", n, now)));
        let batch = random.close().unwrap();
        for record in &batch.records {
            let key = std::str::from_utf8(wire::key_of(&batch, record)).unwrap();
            let value: f64 = key.parse().unwrap();
            assert!((0.0..1_000_000.0).contains(&value), "{key}");
        }
        let mut fixed = open(
            limits(500, 1000),
            Destination::Kinesis("s".into()),
            PartitionKey::Deterministic,
        );
        add(&mut fixed, b"hello", 1, now);
        let batch = fixed.close().unwrap();
        assert_eq!(
            wire::key_of(&batch, &batch.records[0]),
            b"5d41402abc4b2a76b9719d911017c592"
        );
    }

    #[test]
    fn an_orders_lanes_are_keys_or_files() {
        let now = Instant::now();
        let pattern = crate::process::java_regex::GroupFinder::new("^.").unwrap();
        for (ordering, expected) in [
            (Ordering::None, None),
            (Ordering::PerKey, Some([true, false])),
            (Ordering::PerFile, Some([true, true])),
        ] {
            let mut open = open(
                limits(3, 1000),
                Destination::Kinesis("s".into()),
                PartitionKey::Pattern(pattern.clone()),
            );
            open.ordering = ordering;
            add(&mut open, b"a1", 1, now);
            add(&mut open, b"a2", 2, now);
            let batch = add(&mut open, b"b1", 3, now).closed.pop().unwrap();
            let same_as_first = |place: usize| batch.lanes[0] == batch.lanes[place];
            match expected {
                None => assert!(batch.lanes.is_empty()),
                Some(expected) => assert_eq!([1, 2].map(same_as_first), expected),
            }
            assert!(open.lanes.is_empty());
        }
    }

    #[test]
    fn a_key_as_long_as_the_service_takes_arrives_whole() {
        let now = Instant::now();
        for constant in ["é".repeat(256), "k".repeat(255), "k".repeat(256)] {
            let mut open = open(
                limits(500, 5 << 20),
                Destination::Kinesis("s".into()),
                PartitionKey::Constant(constant.clone()),
            );
            add(&mut open, &vec![b'x'; 1_048_576], 1, now);
            add(&mut open, b"y", 2, now);
            let batch = open.close().unwrap();
            let body: ciborium::Value = ciborium::from_reader(&batch.body[..]).unwrap();
            let records = body.as_map().unwrap()[1].1.as_array().unwrap();
            for record in records {
                let members = record.as_map().unwrap();
                assert_eq!(members[1].1.as_text(), Some(constant.as_str()));
            }
            assert_eq!(data(&batch)[0].len() + constant.len(), 1_048_576);
            assert_eq!(wire::key_of(&batch, &batch.records[1]), constant.as_bytes());
        }
    }

    #[test]
    fn a_record_is_cut_so_that_data_and_key_fit_exactly() {
        let now = Instant::now();
        for (destination, max) in [
            (Destination::Kinesis("s".into()), 1_048_576),
            (Destination::Firehose("d".into()), 1_024_000),
        ] {
            let mut open = open(limits(500, 5 << 20), destination, PartitionKey::Random);
            for (extra, is_cut) in [(0usize, false), (1, true), (70_000, true)] {
                let key_len = if open.layout.is_keyed() { 9 } else { 0 };
                let line = vec![b'x'; max - key_len + extra];
                assert_eq!(
                    add(&mut open, &line, 1, now).cut,
                    is_cut,
                    "{extra} too many"
                );
            }
            let batch = open.close().unwrap();
            for record in &batch.records {
                assert_eq!(record.data_len() + usize::from(record.key_len), max);
            }
            assert!(data(&batch)[1].ends_with(b"x\n"));
        }
    }

    #[test]
    fn utf8_is_cut_between_characters_and_other_bytes_where_they_are() {
        let text = "aé中😀b".as_bytes();
        for (at, expected) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 3),
            (4, 3),
            (5, 3),
            (6, 6),
            (7, 6),
            (9, 6),
            (10, 10),
        ] {
            assert_eq!(character_boundary(text, at), expected, "at {at}");
        }
        assert_eq!(character_boundary(&[0x80; 9], 5), 5);
        assert_eq!(character_boundary(&[b'a', 0xc3, 0x28, 0x80, 0x80], 3), 3);
    }
}
