//! A condition that repeats is said once, then counted, and said again at most once a minute with its count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::telemetry::log::Entry;

/// The shortest time between two lines on one condition.
pub const QUIET: Duration = Duration::from_secs(60);

/// Conditions remembered at once. Beyond it the one that was said longest ago is forgotten, so it may be said early.
pub const CONDITIONS_MAX: usize = 4096;

/// What was said lately, and how often it has happened since.
///
/// A condition is a scope (a flow's id, a path) and a kind. Time comes in as an argument.
#[derive(Debug, Default)]
pub struct Repeats {
    conditions: BTreeMap<(String, &'static str), Condition>,
}

#[derive(Debug)]
struct Condition {
    said_at: Instant,
    n_since: u64,
    noun: &'static str,
    /// The newest that was not said.
    last: Option<Entry>,
}

impl Repeats {
    pub const fn new() -> Repeats {
        Repeats {
            conditions: BTreeMap::new(),
        }
    }

    /// Takes note that the condition holds, `n` times of this `noun`; returns what is to be said about it now, if
    /// anything.
    pub fn note(
        &mut self,
        scope: &str,
        kind: &'static str,
        entry: Entry,
        (n, noun): (u64, &'static str),
        now: Instant,
    ) -> Option<Entry> {
        let key = (scope.to_owned(), kind);
        let Some(condition) = self.conditions.get_mut(&key) else {
            self.make_room();
            let condition = Condition {
                said_at: now,
                n_since: 0,
                noun,
                last: None,
            };
            self.conditions.insert(key, condition);
            return Some(entry);
        };
        condition.n_since += n;
        condition.last = Some(entry);
        condition.say(now)
    }

    /// What happened again and has not been said for a minute; forgets what has not happened again.
    ///
    /// Called with the progress lines, so that the end of a burst is said too.
    pub fn due(&mut self, now: Instant) -> Vec<Entry> {
        let mut due = Vec::new();
        self.conditions.retain(|_, condition| {
            if condition.is_quiet(now) && condition.n_since == 0 {
                return false;
            }
            due.extend(condition.say(now));
            true
        });
        due
    }

    fn make_room(&mut self) {
        if self.conditions.len() < CONDITIONS_MAX {
            return;
        }
        let oldest = self
            .conditions
            .iter()
            .min_by_key(|(_, c)| c.said_at)
            .map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.conditions.remove(&key);
        }
    }
}

impl Condition {
    fn is_quiet(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.said_at) >= QUIET
    }

    fn say(&mut self, now: Instant) -> Option<Entry> {
        if !self.is_quiet(now) {
            return None;
        }
        let mut entry = self.last.take()?;
        let n_minutes = now
            .saturating_duration_since(self.said_at)
            .as_secs()
            .div_ceil(60)
            .max(1);
        let plural = if self.n_since == 1 { "" } else { "s" };
        let window = if n_minutes == 1 {
            "minute".to_owned()
        } else {
            format!("{n_minutes} minutes")
        };
        entry.message.push_str(&format!(
            " ({} {}{plural} in the last {window})",
            self.n_since, self.noun
        ));
        self.said_at = now;
        self.n_since = 0;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn entry(message: &str) -> Entry {
        Entry::new(Level::WARN, "t", "l", message)
    }

    /// Runs `(second, flow, kind)` notes; the messages said, each with its second.
    fn said(notes: &[(u64, &str, &'static str)]) -> Vec<(u64, String)> {
        let start = Instant::now();
        let mut repeats = Repeats::new();
        let mut said = Vec::new();
        for &(second, flow, kind) in notes {
            let now = start + Duration::from_secs(second);
            let entry = entry(&format!("{flow} {kind} at {second}"));
            if let Some(entry) = repeats.note(flow, kind, entry, (1, "time"), now) {
                said.push((second, entry.message));
            }
        }
        said
    }

    #[test]
    fn a_condition_is_said_once_and_then_once_a_minute_with_its_count() {
        assert_eq!(
            said(&[
                (0, "a", "x"),
                (1, "a", "x"),
                (59, "a", "x"),
                (60, "a", "x"),
                (61, "a", "x"),
                (120, "a", "x"),
                (180, "a", "x")
            ]),
            [
                (0, "a x at 0".to_owned()),
                (60, "a x at 60 (3 times in the last minute)".to_owned()),
                (120, "a x at 120 (2 times in the last minute)".to_owned()),
                (180, "a x at 180 (1 time in the last minute)".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_counted_may_be_more_than_one_at_a_time() {
        let start = Instant::now();
        let mut repeats = Repeats::new();
        let mut note = |second, n| {
            let now = start + Duration::from_secs(second);
            repeats.note("a", "x", entry("e"), (n, "record"), now)
        };
        assert_eq!(note(0, 7).unwrap().message, "e");
        assert!(note(1, 500).is_none());
        assert_eq!(
            note(60, 20).unwrap().message,
            "e (520 records in the last minute)"
        );
    }

    #[test]
    fn a_count_over_more_than_a_minute_says_so() {
        assert_eq!(
            said(&[(0, "a", "x"), (30, "a", "x"), (150, "a", "x")])[1..],
            [(150, "a x at 150 (2 times in the last 3 minutes)".to_owned())]
        );
    }

    #[test]
    fn flows_and_kinds_are_counted_apart() {
        assert_eq!(
            said(&[(0, "a", "x"), (0, "b", "x"), (0, "a", "y"), (1, "b", "x")]).len(),
            3
        );
    }

    #[test]
    fn the_end_of_a_burst_is_said_when_its_minute_is_over() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut repeats = Repeats::new();
        for second in 0..5 {
            repeats.note(
                "a",
                "x",
                entry(&format!("at {second}")),
                (1, "time"),
                at(second),
            );
        }
        assert_eq!(repeats.due(at(59)), []);
        assert_eq!(
            repeats.due(at(60)),
            [entry("at 4 (4 times in the last minute)")]
        );
        assert_eq!(repeats.due(at(119)), []);
        assert_eq!(repeats.due(at(120)), []);
        // Forgotten by now: it is new again.
        assert_eq!(
            repeats.note("a", "x", entry("again"), (1, "time"), at(121)),
            Some(entry("again"))
        );
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_what_was_said_longest_ago() {
        let start = Instant::now();
        let mut repeats = Repeats::new();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..=CONDITIONS_MAX {
            assert!(
                repeats
                    .note(&n.to_string(), "x", entry("e"), (1, "time"), at(n))
                    .is_some()
            );
        }
        assert_eq!(repeats.conditions.len(), CONDITIONS_MAX);
        let now = at(CONDITIONS_MAX + 1);
        let once = (1, "time");
        assert!(repeats.note("1", "x", entry("e"), once, now).is_none());
        assert!(repeats.note("0", "x", entry("e"), once, now).is_some());
    }
}
