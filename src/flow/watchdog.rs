//! Notices flows whose thread hangs, as in a read of a network share that went away.
//!
//! A flow that waits for news is at rest, however long; one that has been at work on one piece of news for longer than
//! [`AT_WORK_MAX`] hangs: a turn reads a mebibyte at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;

/// Longer than any turn takes, on a slow disk and with the costliest patterns.
pub const AT_WORK_MAX: Duration = Duration::from_secs(30);
/// Between two looks at all flows.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is to be said of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Sound,
    /// It has been at one piece of work for so long.
    StandsStill(Duration),
    /// It goes on after so long.
    GoesOn(Duration),
}

/// What is known of one flow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched {
    /// The piece of work that it was at, and since when that is known.
    at_work: Option<(u64, Instant)>,
    stands_still: bool,
}

impl Watched {
    /// A look at the flow: `piece` is the number of the piece of work that it is at, if it is at any.
    pub fn look(&mut self, piece: Option<u64>, now: Instant) -> Verdict {
        let since = match (self.at_work, piece) {
            (Some((known, since)), Some(piece)) if known == piece => {
                let stood = now.saturating_duration_since(since);
                if stood < AT_WORK_MAX {
                    return Verdict::Sound;
                }
                self.stands_still = true;
                return Verdict::StandsStill(stood);
            }
            (known, _) => known.map(|(_, since)| since),
        };
        self.at_work = piece.map(|piece| (piece, now));
        match (std::mem::take(&mut self.stands_still), since) {
            (true, Some(since)) => Verdict::GoesOn(now.saturating_duration_since(since)),
            _ => Verdict::Sound,
        }
    }
}

/// Looks at these flows until it is aborted.
pub async fn watch(at_work: Vec<(Arc<Inbox>, Arc<FlowCounters>)>) {
    let mut flows = vec![Watched::default(); at_work.len()];
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await.into_std();
        for (flow, (inbox, counters)) in flows.iter_mut().zip(&at_work) {
            match flow.look(inbox.piece_of_work(), now) {
                Verdict::Sound => {}
                Verdict::StandsStill(since) => events::flow_stands_still(counters, since),
                Verdict::GoesOn(stood) => events::flow_goes_on(counters, stood),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_of_work_for_too_long_is_told_until_it_is_over() {
        let start = Instant::now();
        let mut flow = Watched::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        let stands = |seconds| Verdict::StandsStill(Duration::from_secs(seconds));
        for (piece, seconds, expected) in [
            (None, 0, Verdict::Sound),
            (None, 1_000, Verdict::Sound),
            (Some(1), 1_005, Verdict::Sound),
            (Some(2), 1_010, Verdict::Sound),
            (Some(2), 1_035, Verdict::Sound),
            (Some(2), 1_040, stands(30)),
            (Some(2), 1_045, stands(35)),
            (Some(3), 1_050, Verdict::GoesOn(Duration::from_secs(40))),
            (None, 1_055, Verdict::Sound),
            (Some(9), 1_060, Verdict::Sound),
            (Some(9), 1_100, stands(40)),
            (None, 1_105, Verdict::GoesOn(Duration::from_secs(45))),
        ] {
            assert_eq!(flow.look(piece, at(seconds)), expected, "at {seconds} s");
        }
    }
}
