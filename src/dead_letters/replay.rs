//! Letters to batches, and which of them arrived.
//!
//! Each letter is a file of one byte to the publisher: its cursor is its number. So what is told of a cursor is told of a
//! letter, whatever became of the others in its call.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::letter::Letter;
use crate::config::{BatchLimits, Destination};
use crate::publish::publisher::{Queue, Refused, RefusedId, Reported};
use crate::publish::run::{Inbound, Listener};
use crate::publish::wire::{self, Layout};
use crate::record::{Batch, CursorId, FlowIndex, Origin, RecordRef, Span};

/// Makes batches of the letters that go to one destination, in their order.
pub struct Batcher {
    layout: Layout,
    limits: BatchLimits,
    open: Open,
}

impl Batcher {
    pub fn new(destination: &Destination, limits: BatchLimits) -> Batcher {
        Batcher {
            layout: Layout::new(destination),
            limits,
            open: Open::default(),
        }
    }

    /// Adds a letter, which has this number; the batch that was full without it. `random_key` gives a key for a letter
    /// that has none where the destination wants one.
    pub fn add(
        &mut self,
        number: usize,
        letter: &Letter,
        random_key: impl FnOnce() -> String,
    ) -> Option<Batch> {
        let key = match (&letter.partition_key, self.layout.is_keyed()) {
            (_, false) => String::new(),
            (Some(key), true) => key.clone(),
            (None, true) => random_key(),
        };
        let counted_bytes = letter.data.len() + key.len();
        let is_full = self.open.records.len() >= self.limits.records_max
            || self.open.counted_bytes + counted_bytes > self.limits.bytes_max;
        let full = if is_full { self.close() } else { None };
        self.open.add(&self.layout, number, letter, &key);
        full
    }

    /// The open batch; `None` if it is empty.
    pub fn close(&mut self) -> Option<Batch> {
        let open = std::mem::take(&mut self.open);
        (!open.records.is_empty()).then(|| open.close(&self.layout))
    }
}

#[derive(Default)]
struct Open {
    body: Vec<u8>,
    records: Vec<RecordRef>,
    origins: Vec<Origin>,
    counted_bytes: usize,
}

impl Open {
    fn add(&mut self, layout: &Layout, number: usize, letter: &Letter, key: &str) {
        if self.body.is_empty() {
            self.body.extend_from_slice(layout.prefix());
        }
        let start = self.body.len();
        wire::begin_entry(layout, &mut self.body);
        self.body.extend_from_slice(&letter.data);
        let record = wire::end_entry(layout, &mut self.body, start, key.as_bytes());
        self.records.push(record);
        self.origins.push(Origin {
            cursor: CursorId(number as u64),
            offset: 0,
        });
        self.counted_bytes += letter.data.len() + key.len();
    }

    fn close(mut self, layout: &Layout) -> Batch {
        layout.patch_count(&mut self.body, self.records.len());
        let span = |origin: &Origin| Span {
            cursor: origin.cursor,
            start: 0,
            end: 1,
        };
        Batch {
            body: self.body.into(),
            digest: None,
            records: self.records,
            lanes: Vec::new(),
            spans: self.origins.iter().map(span).collect(),
            files: Vec::new(),
            origins: self.origins,
            opened_at: Instant::now(),
            budget_bytes: 0,
        }
    }
}

/// Notes which letters arrived, and which were refused again.
#[derive(Debug)]
pub struct Outcomes {
    inbound: UnboundedSender<Inbound>,
    told: Mutex<Told>,
    /// Letters were told of.
    change: Notify,
}

/// Letters by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Their calls are over.
    pub done: HashSet<u64>,
    /// Of those, the ones that were refused again.
    pub refused: HashSet<u64>,
    /// The last failure of a call.
    pub last_failure: Option<String>,
    /// The bytes of letters whose calls aren't over.
    in_flight: HashMap<u64, usize>,
    in_flight_bytes: usize,
}

impl Told {
    /// How many letters arrived.
    pub fn n_accepted(&self) -> usize {
        self.done.difference(&self.refused).count()
    }

    /// Whether a letter arrived.
    pub fn is_accepted(&self, number: usize) -> bool {
        let number = number as u64;
        self.done.contains(&number) && !self.refused.contains(&number)
    }
}

impl Outcomes {
    /// `inbound` leads to the publisher that is listened to.
    pub fn new(inbound: UnboundedSender<Inbound>) -> Outcomes {
        Outcomes {
            inbound,
            told: Mutex::default(),
            change: Notify::new(),
        }
    }

    /// What is known now.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    /// The last failure of a call.
    pub fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.clone()
    }

    /// A letter of so many bytes is on its way.
    pub fn sends(&self, number: usize, n_bytes: usize) {
        let mut told = self.lock();
        told.in_flight.insert(number as u64, n_bytes);
        told.in_flight_bytes += n_bytes;
    }

    /// Bytes of letters on their way.
    pub fn in_flight_bytes(&self) -> usize {
        self.lock().in_flight_bytes
    }

    /// Waits until there may be less on its way than there was.
    pub async fn changed(&self) {
        self.change.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Outcomes {
    fn advanced(&self, _flow: FlowIndex, cursor: CursorId, _offset: u64) {
        let mut told = self.lock();
        told.done.insert(cursor.0);
        if let Some(n_bytes) = told.in_flight.remove(&cursor.0) {
            told.in_flight_bytes -= n_bytes;
        }
        drop(told);
        self.change.notify_one();
    }

    fn queued(&self, _flow: FlowIndex, _queue: Queue, _n_arrived: usize) {}

    fn refused(&self, id: RefusedId, _flow: FlowIndex, refused: Refused) {
        if let Some(origin) = refused.batch.origins.get(usize::from(refused.place)) {
            self.lock().refused.insert(origin.cursor.0);
        }
        // It still is in its file.
        let _ = self.inbound.send(Inbound::Kept(id));
    }

    fn reported(&self, _flow: FlowIndex, event: &Reported) {
        let failure = match event {
            Reported::Failed { failure, .. } => Some(failure.to_string()),
            Reported::Answered { first_error, .. } => first_error
                .as_ref()
                .map(|error| format!("{}: {}", error.code, error.message)),
            Reported::Recovered { .. } | Reported::GivenUp { .. } => None,
        };
        if failure.is_some() {
            self.lock().last_failure = failure;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::letter::tests::letter;
    use super::*;
    use crate::publish::wire::{data_of, key_of};

    #[test]
    fn letters_are_sent_in_order_within_the_limits_of_a_call() {
        let letters: Vec<Letter> = (0..5).map(|n| letter("f", &[b'0' + n; 4])).collect();
        let limits = BatchLimits {
            age_max: Duration::ZERO,
            records_max: 2,
            bytes_max: 9,
        };
        for (destination, expected) in [
            // Four bytes and a key of one: two would be ten.
            (Destination::Kinesis("s".into()), vec![1; 5]),
            (Destination::Firehose("d".into()), vec![2, 2, 1]),
        ] {
            let mut batcher = Batcher::new(&destination, limits);
            let mut batches = Vec::new();
            for (number, letter) in letters.iter().enumerate() {
                batches.extend(batcher.add(number, letter, String::new));
            }
            batches.extend(batcher.close());
            assert!(batcher.close().is_none());
            let sizes: Vec<usize> = batches.iter().map(|batch| batch.records.len()).collect();
            assert_eq!(sizes, expected);
            let mut number = 0;
            for batch in &batches {
                for (record, span) in batch.records.iter().zip(&batch.spans) {
                    assert_eq!(data_of(batch, record), &letters[number].data[..]);
                    assert_eq!(span.cursor, CursorId(number as u64));
                    number += 1;
                }
            }
        }
    }

    #[test]
    fn a_letter_without_a_key_gets_one_where_it_is_wanted() {
        let mut letter = letter("f", b"x");
        letter.partition_key = None;
        let limits = BatchLimits {
            age_max: Duration::ZERO,
            records_max: 500,
            bytes_max: 1_000,
        };
        let destination = Destination::Kinesis("s".into());
        let mut batcher = Batcher::new(&destination, limits);
        assert!(batcher.add(0, &letter, || "made".to_owned()).is_none());
        let batch = batcher.close().unwrap();
        assert_eq!(key_of(&batch, &batch.records[0]), b"made");
    }
}
