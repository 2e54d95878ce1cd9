//! Ways to a flow, for whoever has news for it: the publisher, the budget, the system's change events.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::publish::budget::Wake;
use crate::publish::publisher::Queue;
use crate::record::CursorId;

/// Batches that may wait for nothing but a slot, whatever the queue may hold: enough that no slot stays empty while more is
/// read. What is read earlier than that only grows cold in memory.
const UNSENT_BATCHES_MAX: usize = 16;

/// What reaches a flow.
#[derive(Debug)]
pub enum Inward {
    /// There are acknowledgements to be collected, the first ones since the places were saved.
    Acknowledged,
    /// Something else changed: hints, the budget, the queue.
    Woken,
    /// Read no more; send what is open.
    Stop,
    /// Nothing comes any more: save the places and end.
    End,
}

/// A flow's news. The other end is the receiver that it was made with.
pub struct Inbox {
    sender: mpsc::Sender<Inward>,
    /// Acknowledgements that aren't collected yet.
    acknowledged: Mutex<Vec<(CursorId, u64)>>,
    /// The flow collects them by itself when it saves its places, which is soon.
    is_collecting: AtomicBool,
    is_woken: AtomicBool,
    must_flush: AtomicBool,
    /// Batches that wait at the publisher, by its last word.
    n_queued: AtomicUsize,
    /// Those among them that wait for nothing but a send slot.
    n_unsent: AtomicUsize,
    /// Those of which the publisher doesn't know yet.
    n_on_way: AtomicUsize,
    queue_capacity: usize,
    /// There was no room when the flow looked.
    is_refused: AtomicBool,
    /// Counts the beginnings and ends of pieces of work: odd while the flow is at one.
    n_beats: AtomicU64,
}

impl Inbox {
    /// An inbox of a flow of which up to `queue_capacity` batches may wait for a send slot, and what comes out of it.
    pub fn new(queue_capacity: usize) -> (Arc<Inbox>, mpsc::Receiver<Inward>) {
        let (sender, receiver) = mpsc::channel();
        let inbox = Inbox {
            sender,
            acknowledged: Mutex::default(),
            is_collecting: AtomicBool::new(false),
            is_woken: AtomicBool::new(false),
            must_flush: AtomicBool::new(false),
            n_queued: AtomicUsize::new(0),
            n_unsent: AtomicUsize::new(0),
            n_on_way: AtomicUsize::new(0),
            queue_capacity: queue_capacity.max(1),
            is_refused: AtomicBool::new(false),
            n_beats: AtomicU64::new(0),
        };
        (Arc::new(inbox), receiver)
    }

    /// Reading stops; what is open is sent.
    pub fn stop(&self) {
        let _ = self.sender.send(Inward::Stop);
    }

    /// The places are saved, and nothing is done any more.
    pub fn end(&self) {
        let _ = self.sender.send(Inward::End);
    }

    /// Everything of `cursor` below `offset` is acknowledged. The flow is told of the first one since its places were
    /// saved, and saves them, with all that came until then, a little later: waking it for each would cost more than what
    /// it does then.
    pub fn advanced(&self, cursor: CursorId, offset: u64) {
        self.acknowledgements().push((cursor, offset));
        if !self.is_collecting.swap(true, Ordering::SeqCst) {
            // A thread that is gone has saved what it knew.
            let _ = self.sender.send(Inward::Acknowledged);
        }
    }

    /// The acknowledgements that came since they were last collected.
    pub(super) fn collect(&self) -> Vec<(CursorId, u64)> {
        std::mem::take(&mut *self.acknowledgements())
    }

    /// The flow won't collect by itself any more: the next acknowledgement is to be told of.
    pub(super) fn collects_no_more(&self) {
        self.is_collecting.store(false, Ordering::SeqCst);
    }

    fn acknowledgements(&self) -> std::sync::MutexGuard<'_, Vec<(CursorId, u64)>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch is on its way to the publisher.
    pub(super) fn sent(&self) {
        self.n_on_way.fetch_add(1, Ordering::SeqCst);
    }

    /// A batch that was counted won't come.
    pub(super) fn not_sent(&self) {
        self.fewer_on_way(1);
    }

    /// This waits at the publisher now; `n_arrived` of those that were sent have arrived since the last word.
    pub fn queued(&self, queue: Queue, n_arrived: usize) {
        self.n_queued.store(queue.n_batches, Ordering::SeqCst);
        self.n_unsent.store(queue.n_unsent, Ordering::SeqCst);
        self.fewer_on_way(n_arrived);
        // It is woken for several batches rather than for each.
        let is_low = self.n_unsent_ahead() <= UNSENT_BATCHES_MAX / 2;
        if is_low && self.is_below_capacity() && self.is_refused.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn fewer_on_way(&self, n_batches: usize) {
        let less = |n_on_way: usize| Some(n_on_way.saturating_sub(n_batches));
        let _ = self
            .n_on_way
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Something changed that the thread waits for.
    pub fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.sender.send(Inward::Woken);
        }
    }

    /// A wake-up is followed: what changed from now on needs another one. Whether the open batch has to go soon.
    pub fn take_wake(&self) -> bool {
        // A swap and not a store: what was changed before a wake-up that found the flag still set must be seen from
        // here on, or it never is.
        self.is_woken.swap(false, Ordering::AcqRel);
        self.must_flush.swap(false, Ordering::AcqRel)
    }

    /// The flow begins, or ends, to follow one piece of news.
    pub(super) fn is_at_work(&self, is: bool) {
        let n_beats = self.n_beats.load(Ordering::Relaxed);
        if (n_beats % 2 == 1) != is {
            self.n_beats.store(n_beats + 1, Ordering::Relaxed);
        }
    }

    /// The number of the piece of work that the flow is at, if it is at any.
    pub fn piece_of_work(&self) -> Option<u64> {
        let n_beats = self.n_beats.load(Ordering::Relaxed);
        (n_beats % 2 == 1).then_some(n_beats)
    }

    /// Whether another batch may join those that wait; if not, the flow is woken when it may.
    pub(super) fn has_queue_room(&self) -> bool {
        if self.is_below_capacity() {
            return true;
        }
        self.is_refused.store(true, Ordering::SeqCst);
        // There may be room since the first look: whoever made it didn't know that it is waited for.
        self.is_below_capacity()
    }

    fn is_below_capacity(&self) -> bool {
        let n_ahead = self.n_queued.load(Ordering::SeqCst) + self.n_on_way.load(Ordering::SeqCst);
        n_ahead < self.queue_capacity && self.n_unsent_ahead() < UNSENT_BATCHES_MAX
    }

    fn n_unsent_ahead(&self) -> usize {
        self.n_unsent.load(Ordering::SeqCst) + self.n_on_way.load(Ordering::SeqCst)
    }
}

impl Wake for Inbox {
    fn released(&self) {
        self.wake();
    }

    fn flush(&self) {
        // A flow at work is about to fill its batch, or to be refused itself; if it does neither it is asked again.
        if self.piece_of_work().is_some() {
            return;
        }
        self.must_flush.store(true, Ordering::Release);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_on_its_way_counts_as_much_as_one_that_waits() {
        let (inbox, receiver) = Inbox::new(2);
        let waiting = Queue {
            n_batches: 1,
            n_unsent: 0,
        };
        assert!(inbox.has_queue_room());
        inbox.sent();
        assert!(inbox.has_queue_room());
        inbox.sent();
        assert!(
            !inbox.has_queue_room(),
            "before the publisher has heard of them"
        );
        inbox.queued(waiting, 1);
        assert!(!inbox.has_queue_room());
        assert!(
            receiver.try_recv().is_err(),
            "nothing has changed for the flow"
        );
        inbox.queued(waiting, 1);
        assert!(matches!(receiver.try_recv(), Ok(Inward::Woken)));
        assert!(inbox.has_queue_room());
    }

    #[test]
    fn no_more_is_read_ahead_than_slots_can_be_filled_with() {
        let (inbox, receiver) = Inbox::new(10 * UNSENT_BATCHES_MAX);
        let waiting = |n_unsent| Queue {
            n_batches: 5 * UNSENT_BATCHES_MAX,
            n_unsent,
        };
        inbox.queued(waiting(UNSENT_BATCHES_MAX), 0);
        assert!(!inbox.has_queue_room());
        inbox.queued(waiting(UNSENT_BATCHES_MAX / 2 + 1), 0);
        assert!(receiver.try_recv().is_err(), "it is woken for several");
        inbox.queued(waiting(UNSENT_BATCHES_MAX / 2), 0);
        assert!(matches!(receiver.try_recv(), Ok(Inward::Woken)));
        assert!(
            inbox.has_queue_room(),
            "those that are tried again don't count"
        );
    }

    #[test]
    fn a_flow_at_work_is_not_asked_to_hurry() {
        let (inbox, receiver) = Inbox::new(1);
        inbox.is_at_work(true);
        inbox.flush();
        assert!(receiver.try_recv().is_err());
        assert!(!inbox.take_wake());
        inbox.is_at_work(false);
        inbox.flush();
        assert!(matches!(receiver.try_recv(), Ok(Inward::Woken)));
        assert!(inbox.take_wake());
    }

    #[test]
    fn a_flow_is_told_of_acknowledgements_once_until_it_has_saved_its_places() {
        let (inbox, receiver) = Inbox::new(1);
        let cursor = CursorId(1);
        let is_told = || matches!(receiver.try_recv(), Ok(Inward::Acknowledged));
        inbox.advanced(cursor, 10);
        assert!(is_told());
        inbox.advanced(cursor, 20);
        assert_eq!(inbox.collect(), [(cursor, 10), (cursor, 20)]);
        inbox.advanced(cursor, 30);
        assert!(!is_told(), "it collects when it saves");
        inbox.collects_no_more();
        assert_eq!(inbox.collect(), [(cursor, 30)]);
        assert!(!is_told());
        inbox.advanced(cursor, 40);
        assert!(is_told());
    }
}
