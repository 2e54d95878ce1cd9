//! Records that end their flow by a defect of the agent, each time that it comes to them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use crate::record::Span;

/// A record that ended its flow so often isn't tried any more.
pub const DEATHS_MAX: u32 = 3;

/// A record, known again by its place and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Culprit {
    offset: u64,
    hash: u64,
}

impl Culprit {
    /// The record that stands there.
    pub fn of(span: Span, data: &[u8]) -> Culprit {
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        Culprit {
            offset: span.start,
            hash: hasher.finish(),
        }
    }
}

/// Which records ended a flow, and how often, over all its lives.
#[derive(Debug, Clone, Default)]
pub struct Culprits(HashMap<Culprit, u32>);

impl Culprits {
    /// The flow ended over this record.
    pub fn blame(&mut self, culprit: Culprit) {
        *self.0.entry(culprit).or_default() += 1;
    }

    /// Whether the record isn't to be tried any more.
    pub fn are_over(&self, span: Span, data: &[u8]) -> bool {
        // Nobody pays for this but a flow that ended so.
        !self.0.is_empty()
            && self
                .0
                .get(&Culprit::of(span, data))
                .is_some_and(|n_deaths| *n_deaths >= DEATHS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::config::Flow;
    use crate::config::test_support::accepted;
    use crate::flow::machine::{Machine, Next, Parts};
    use crate::flow::testing::{Sent, counters_of, parts};
    use crate::planted;
    use crate::tail::testing::MemoryDisk;
    use crate::telemetry::counters::FlowCounters;

    fn flow() -> Arc<Flow> {
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s",
            "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 10}]}"#;
        Arc::clone(&accepted(text).config.flows[0])
    }

    /// A file with a bad record among others.
    fn disk() -> MemoryDisk {
        let mut disk = MemoryDisk::default();
        let bad = [b"bad: ", planted::IN_FLOW, b"\n"].concat();
        for line in [&b"one\n"[..], &bad, b"two\n"] {
            disk.append("/l/a.log", line);
        }
        disk
    }

    /// One life, up to its end by a defect or its first rest.
    fn live(
        life: u32,
        culprits: &Culprits,
        counters: &Arc<FlowCounters>,
    ) -> Result<Vec<String>, Option<Culprit>> {
        let parts = Parts {
            life,
            culprits: culprits.clone(),
            ..parts(flow(), counters)
        };
        let now = Instant::now();
        let mut machine = Machine::new(parts, disk(), now);
        let mut sent = Sent::default();
        let turns = panic::catch_unwind(AssertUnwindSafe(|| {
            let Next::At(next) = machine.on(None, now, &mut sent) else {
                return;
            };
            machine.on(None, next + std::time::Duration::from_millis(10), &mut sent);
        }));
        turns.map(|()| sent.0).map_err(|_| machine.struck())
    }

    #[test]
    fn a_record_that_ends_its_flow_each_time_is_left_out_in_the_end() {
        let counters = counters_of(&flow());
        let mut culprits = Culprits::default();
        for life in 0..DEATHS_MAX {
            let struck = live(life, &culprits, &counters).unwrap_err();
            culprits.blame(struck.expect("the record is known"));
        }
        let sent = live(DEATHS_MAX, &culprits, &counters);
        assert_eq!(sent, Ok(vec!["one\n".to_owned(), "two\n".to_owned()]));
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.records_skipped, 1);
        assert_eq!(snapshot.records_skipped_by.last(), Some(&1));
        assert_eq!(DEATHS_MAX, 3, "as SEMANTICS.md says");
    }

    #[test]
    fn a_record_is_known_by_place_and_bytes() {
        let span = |start| Span {
            cursor: crate::record::CursorId(7),
            start,
            end: start + 2,
        };
        let mut culprits = Culprits::default();
        for _ in 0..DEATHS_MAX {
            assert!(!culprits.are_over(span(4), b"x\n"));
            culprits.blame(Culprit::of(span(4), b"x\n"));
        }
        assert!(culprits.are_over(span(4), b"x\n"));
        assert!(!culprits.are_over(span(4), b"y\n"));
        assert!(!culprits.are_over(span(5), b"x\n"));
    }
}
