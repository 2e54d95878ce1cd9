//! Ways to a flow, for whoever has news for it: the publisher, the budget, the system's change events.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::publish::budget::Wake;
use crate::record::CursorId;

/// What reaches a flow.
#[derive(Debug)]
pub enum Inward {
    /// Everything of the file below the offset is acknowledged.
    Advanced(CursorId, u64),
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
    is_woken: AtomicBool,
    must_flush: AtomicBool,
    n_queued: AtomicUsize,
    queue_capacity: usize,
    /// Counts the beginnings and ends of pieces of work: odd while the flow is at one.
    n_beats: AtomicU64,
}

impl Inbox {
    /// An inbox of a flow of which up to `queue_capacity` batches may wait for a send slot, and what comes out of it.
    pub fn new(queue_capacity: usize) -> (Arc<Inbox>, mpsc::Receiver<Inward>) {
        let (sender, receiver) = mpsc::channel();
        let inbox = Inbox {
            sender,
            is_woken: AtomicBool::new(false),
            must_flush: AtomicBool::new(false),
            n_queued: AtomicUsize::new(0),
            queue_capacity: queue_capacity.max(1),
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

    /// Everything of `cursor` below `offset` is acknowledged.
    pub fn advanced(&self, cursor: CursorId, offset: u64) {
        // A thread that is gone has saved what it knew.
        let _ = self.sender.send(Inward::Advanced(cursor, offset));
    }

    /// So many batches wait for a send slot now.
    pub fn queued(&self, n_batches: usize) {
        let before = self.n_queued.swap(n_batches, Ordering::Relaxed);
        if before >= self.queue_capacity && n_batches < self.queue_capacity {
            self.wake();
        }
    }

    /// Something changed that the thread waits for.
    pub fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.sender.send(Inward::Woken);
        }
    }

    /// A wake-up is followed: what changed from now on needs another one. Whether the open batch has to go now.
    pub(super) fn take_wake(&self) -> bool {
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

    /// Whether another batch may join those that wait.
    pub(super) fn has_queue_room(&self) -> bool {
        self.n_queued.load(Ordering::Relaxed) < self.queue_capacity
    }
}

impl Wake for Inbox {
    fn released(&self) {
        self.wake();
    }

    fn flush(&self) {
        self.must_flush.store(true, Ordering::Release);
        self.wake();
    }
}
