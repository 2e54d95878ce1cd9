//! What waits to be saved, and when that is due: the pure part of the writer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use super::place::{Change, FileIdentity};
use crate::config::FlowId;

/// Shortest time between two saves: what a crash may send twice, against two small transactions a second.
pub const SAVE_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Longest time between two tries while saving fails.
pub const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The last change of each file that isn't saved; at most one a followed file, so it needs no other bound.
#[derive(Debug, Default)]
pub struct Pending {
    changes: BTreeMap<(FlowId, FileIdentity), Change>,
    tried_at: Option<Instant>,
    /// In a row.
    n_failures: u32,
}

/// When there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    At(Instant),
    /// Not before a change is submitted.
    Idle,
}

impl Pending {
    /// Replaces what waits of the same files.
    pub fn submit(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.changes.insert(key(&change), change);
        }
    }

    /// When to save: at once after a pause, then no more often than every [`SAVE_INTERVAL_MIN`], twice as long after
    /// each failure up to [`RETRY_INTERVAL_MAX`].
    pub fn due(&self, now: Instant) -> Due {
        if self.changes.is_empty() {
            return Due::Idle;
        }
        let at = self
            .tried_at
            .and_then(|tried_at| tried_at.checked_add(self.interval()));
        match at {
            Some(at) if at > now => Due::At(at),
            _ => Due::Now,
        }
    }

    fn interval(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.n_failures).unwrap_or(u32::MAX);
        SAVE_INTERVAL_MIN
            .saturating_mul(factor)
            .min(RETRY_INTERVAL_MAX)
    }

    /// Hands all of it out to be saved; [`Pending::saved`] or [`Pending::failed`] follows.
    pub fn take(&mut self, now: Instant) -> Vec<Change> {
        self.tried_at = Some(now);
        std::mem::take(&mut self.changes).into_values().collect()
    }

    /// What was taken is saved. Answers with how many tries in a row had failed before.
    pub fn saved(&mut self) -> u32 {
        std::mem::take(&mut self.n_failures)
    }

    /// What was taken isn't saved and waits again, but for what was submitted since of the same files. Answers with
    /// how many tries in a row have failed.
    pub fn failed(&mut self, taken: Vec<Change>) -> u32 {
        for change in taken {
            if let Entry::Vacant(place) = self.changes.entry(key(&change)) {
                place.insert(change);
            }
        }
        self.n_failures = self.n_failures.saturating_add(1);
        self.n_failures
    }
}

fn key(change: &Change) -> (FlowId, FileIdentity) {
    (change.flow().clone(), change.identity())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{flow, place, remove, upsert};
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn last_change_of_a_file_wins_and_flows_are_apart() {
        let (a, b) = (flow("a"), flow("b"));
        let mut pending = Pending::default();
        pending.submit([
            upsert(&a, place("x", 1, 1, 9)),
            upsert(&b, place("x", 1, 1, 9)),
            remove(&a, 2),
        ]);
        pending.submit([
            upsert(&a, place("x", 1, 2, 9)),
            upsert(&a, place("y", 2, 3, 9)),
            remove(&b, 1),
        ]);
        let taken = pending.take(Instant::now());
        assert_eq!(
            taken,
            [
                upsert(&a, place("x", 1, 2, 9)),
                upsert(&a, place("y", 2, 3, 9)),
                remove(&b, 1)
            ]
        );
        assert_eq!(pending.take(Instant::now()), []);
    }

    #[test]
    fn first_change_is_saved_at_once_and_the_next_after_the_interval() {
        let start = Instant::now();
        let change = || [upsert(&flow("a"), place("x", 1, 1, 9))];
        let mut pending = Pending::default();
        assert_eq!(pending.due(start), Due::Idle);
        pending.submit(change());
        assert_eq!(pending.due(start), Due::Now);
        pending.take(start);
        pending.saved();
        assert_eq!(pending.due(start), Due::Idle);
        pending.submit(change());
        assert_eq!(
            pending.due(start + ms(1)),
            Due::At(start + SAVE_INTERVAL_MIN)
        );
        assert_eq!(
            pending.due(start + ms(499)),
            Due::At(start + SAVE_INTERVAL_MIN)
        );
        assert_eq!(pending.due(start + ms(500)), Due::Now);
        assert_eq!(pending.due(start + ms(50_000)), Due::Now);
    }

    #[test]
    fn tries_get_rarer_while_they_fail_and_are_counted() {
        let start = Instant::now();
        let mut pending = Pending::default();
        pending.submit([remove(&flow("a"), 1)]);
        for (i, wait_ms) in [1000, 2000, 4000, 8000, 10_000, 10_000]
            .into_iter()
            .enumerate()
        {
            let taken = pending.take(start);
            assert_eq!(pending.failed(taken), i as u32 + 1);
            assert_eq!(pending.due(start), Due::At(start + ms(wait_ms)));
        }
        pending.n_failures = u32::MAX;
        assert_eq!(pending.due(start), Due::At(start + RETRY_INTERVAL_MAX));
        let taken = pending.take(start);
        assert_eq!(pending.failed(taken), u32::MAX);
        assert_eq!(pending.saved(), u32::MAX);
        assert_eq!(pending.saved(), 0);
        assert_eq!(pending.due(start), Due::At(start + SAVE_INTERVAL_MIN));
    }

    proptest! {
        /// Whatever is submitted while a save runs, and whether it fails: the last word on each file gets out.
        #[test]
        fn nothing_is_forgotten_and_nothing_old_comes_back(
            steps in proptest::collection::vec(
                (proptest::collection::vec(0..4_u64, 0..4), proptest::collection::vec(0..4_u64, 0..4), any::<bool>()),
                1..20,
            ),
        ) {
            let flow = flow("a");
            let mut n = 0;
            let mut last = BTreeMap::new();
            let mut saved = BTreeMap::new();
            let mut pending = Pending::default();
            let mut submit = |pending: &mut Pending, files: Vec<u64>| {
                for file in files {
                    n += 1;
                    last.insert(file, n);
                    pending.submit([upsert(&flow, place("x", file, n, n))]);
                }
            };
            let mut save = |taken: Vec<Change>| {
                for change in taken {
                    let Change::Upsert { place, .. } = change else { panic!("only upserts were submitted") };
                    let before = saved.insert(place.identity.inode, place.offset);
                    assert!(before < Some(place.offset), "an older change came back");
                }
            };
            for (before, during, works) in steps {
                submit(&mut pending, before);
                let taken = pending.take(Instant::now());
                submit(&mut pending, during);
                if works {
                    save(taken);
                    pending.saved();
                } else {
                    pending.failed(taken);
                }
            }
            save(pending.take(Instant::now()));
            prop_assert_eq!(saved, last);
        }
    }
}
