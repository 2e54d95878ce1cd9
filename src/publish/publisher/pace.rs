//! How many calls are begun within a moment: a few for each thread that works on them.
//!
//! ```text
//!  begun ─▶ signed, encrypted, written ─▶ the service has it ─▶ answer
//!           └────── a moment ──────┘
//! ```
//!
//! More calls at once than threads can work on only wait for each other, with their bodies, their connections' buffers and
//! their sockets', and none of it is in the processor's caches when its turn comes. A call that the service takes its time
//! over counts no longer after a moment: one that is far away, or hangs, gets as many calls as there are slots.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::CallId;

/// How long a call counts as being worked on here.
const MOMENT: Duration = Duration::from_millis(20);

/// Calls that were begun a moment ago.
pub(super) struct Pace {
    calls_max: usize,
    /// In the order in which they were begun.
    calls: VecDeque<(Instant, CallId)>,
}

impl Pace {
    /// At most `calls_max` calls are begun within a moment.
    pub(super) fn new(calls_max: usize) -> Pace {
        Pace {
            calls_max: calls_max.max(1),
            calls: VecDeque::new(),
        }
    }

    /// Whether another call may be begun.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        while self
            .calls
            .front()
            .is_some_and(|(at, _)| *at + MOMENT <= now)
        {
            self.calls.pop_front();
        }
        self.calls.len() < self.calls_max
    }

    pub(super) fn begun(&mut self, call: CallId, now: Instant) {
        self.calls.push_back((now, call));
    }

    pub(super) fn ended(&mut self, call: CallId) {
        self.calls.retain(|(_, begun)| *begun != call);
    }

    /// When another call may be begun even if none of these ends before; `None` if one may be now.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = self.calls.front().map(|(at, _)| *at + MOMENT);
        first.filter(|_| self.calls.len() >= self.calls_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_begun_within_a_moment_and_the_next_when_one_ends_or_it_is_over() {
        let start = Instant::now();
        let mut pace = Pace::new(2);
        for call in [1, 2] {
            assert!(pace.allows(start));
            assert_eq!(pace.next(), None);
            pace.begun(CallId(call), start + call as u32 * MOMENT / 10);
        }
        let soon = start + MOMENT / 2;
        assert!(!pace.allows(soon));
        assert_eq!(pace.next(), Some(start + MOMENT / 10 + MOMENT));
        pace.ended(CallId(1));
        assert!(pace.allows(soon));
        pace.begun(CallId(3), soon);
        assert!(!pace.allows(soon));
        assert!(
            pace.allows(start + MOMENT / 5 + MOMENT),
            "the second is old"
        );
        pace.ended(CallId(2));
        assert_eq!(pace.calls.len(), 1);
    }
}
