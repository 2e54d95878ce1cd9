//! Batches on their way out of a turn: two by two, as their bodies are hashed.

use std::sync::Arc;

use super::inbox::Inbox;
use crate::digest::Digest;
use crate::publish::budget::Budget;
use crate::record::{Batch, FlowIndex};

/// Holds a batch until there is another to be hashed with, or the turn ends.
pub(super) struct Outbox {
    flow: FlowIndex,
    budget: Budget,
    inbox: Arc<Inbox>,
    /// Whether calls carry bodies as they stand in batches.
    is_hashed: bool,
    waiting: Option<Batch>,
}

impl Outbox {
    pub(super) fn new(
        flow: FlowIndex,
        budget: Budget,
        inbox: Arc<Inbox>,
        is_hashed: bool,
    ) -> Outbox {
        Outbox {
            flow,
            budget,
            inbox,
            is_hashed,
            waiting: None,
        }
    }

    /// Takes a batch, and sends those that are hashed.
    pub(super) fn put(&mut self, mut batch: Batch, mut send: impl FnMut(Batch)) {
        self.inbox.sent();
        if !self.is_hashed || batch.records.is_empty() {
            self.flush(&mut send);
            send(batch);
            return;
        }
        let Some(mut earlier) = self.waiting.take() else {
            self.waiting = Some(batch);
            return;
        };
        let [first, second] = Digest::of_both(&earlier.body, &batch.body);
        (earlier.digest, batch.digest) = (Some(first), Some(second));
        send(earlier);
        send(batch);
    }

    /// Sends what waits: nothing else comes in this turn.
    pub(super) fn flush(&mut self, mut send: impl FnMut(Batch)) {
        if let Some(mut batch) = self.waiting.take() {
            batch.digest = Some(Digest::of(&batch.body));
            send(batch);
        }
    }
}

/// What waits when a defect ends the turn is read again.
impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(batch) = self.waiting.take() {
            self.inbox.not_sent();
            self.budget.release(self.flow, batch.budget_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Destination;
    use crate::publish::batch::tests::batch_of;
    use crate::publish::budget::Wanted;
    use crate::publish::publisher::Queue;
    use crate::publish::wire::data_of;

    fn outbox(destination: &Destination) -> (Outbox, Budget, Arc<Inbox>) {
        let budget = Budget::new(1 << 20, 1);
        let (inbox, _receiver) = Inbox::new(2);
        let is_hashed = matches!(destination, Destination::Kinesis(_));
        let outbox = Outbox::new(FlowIndex(0), budget.clone(), Arc::clone(&inbox), is_hashed);
        (outbox, budget, inbox)
    }

    #[test]
    fn batches_leave_in_their_order_at_the_turns_end_at_the_latest() {
        for (destination, n_waiting) in [
            (Destination::Kinesis("s".into()), 1),
            (Destination::Firehose("s".into()), 0),
        ] {
            let (mut outbox, _, _) = outbox(&destination);
            let mut sent = Vec::new();
            let data: [&[u8]; 5] = [b"1", b"2", b"3", b"4", b"5"];
            for record in data {
                outbox.put(batch_of(&destination, &[record]), |batch| sent.push(batch));
            }
            assert_eq!(sent.len(), data.len() - n_waiting);
            outbox.flush(|batch| sent.push(batch));
            let records: Vec<&[u8]> = sent
                .iter()
                .map(|batch| data_of(batch, &batch.records[0]))
                .collect();
            assert_eq!(records, data);
            for batch in &sent {
                let is_hashed = batch.digest == Some(Digest::of(&batch.body));
                assert_eq!(is_hashed, n_waiting > 0);
            }
        }
    }

    #[test]
    fn a_batch_without_records_overtakes_none() {
        let destination = Destination::Kinesis("s".into());
        let (mut outbox, _, _) = outbox(&destination);
        let mut sent = Vec::new();
        for data in [&[b"one".as_slice()][..], &[]] {
            outbox.put(batch_of(&destination, data), |batch| {
                sent.push(batch.records.len());
            });
        }
        assert_eq!(sent, [1, 0]);
    }

    #[test]
    fn what_a_defect_leaves_behind_takes_no_room() {
        const BATCH_BYTES: usize = 100;
        let destination = Destination::Kinesis("s".into());
        let (mut outbox, budget, inbox) = outbox(&destination);
        let mut n_sent = 0;
        for _ in 0..3 {
            let mut batch = batch_of(&destination, &[b"one"]);
            batch.budget_bytes = BATCH_BYTES;
            assert!(budget.take(FlowIndex(0), Wanted::Usual(BATCH_BYTES)));
            outbox.put(batch, |_| n_sent += 1);
        }
        assert_eq!(n_sent, 2);
        let queue = Queue {
            n_batches: 1,
            n_unsent: 1,
        };
        inbox.queued(queue, n_sent);
        assert!(!inbox.has_queue_room(), "one waits, one is on its way");
        drop(outbox);
        assert!(inbox.has_queue_room());
        assert_eq!(budget.held_bytes(), n_sent * BATCH_BYTES);
    }
}
