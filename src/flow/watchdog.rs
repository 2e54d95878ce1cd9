//! Notices flows that don't get on though they should, and a sending side that hangs.
//!
//! A flow that waits for news is at rest, however long; one that has been at work on one piece of news for longer than
//! [`AT_WORK_MAX`] hangs, as in a read of a network share that went away: a turn reads a mebibyte at most. And where bytes
//! wait, something of the flow must move, be it a call that fails: if nothing does for longer than [`patience`], and
//! nothing is known to be wrong that would explain it, it is stuck.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use crate::config::Flow;
use crate::telemetry::counters::{AgentCounters, FlowCounters};
use crate::telemetry::events;

/// Longer than any turn takes, on a slow disk and with the costliest patterns.
pub const AT_WORK_MAX: Duration = Duration::from_secs(30);
/// Bytes wait for so long with nothing moving beyond what the configuration asks for: a new file that may be a copy
/// waits for two minutes at most, a call that isn't answered for one.
const MOVELESS_MAX: Duration = Duration::from_secs(180);
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

/// How long nothing of a flow may move while bytes wait: they may wait for their batch's age, for the rest of their
/// record and for the longest back-off, one after the other.
pub fn patience(flow: &Flow) -> Duration {
    MOVELESS_MAX + flow.batch.age_max + flow.split.multi_line_idle + 2 * flow.backoff.max
}

/// What is known of a flow's getting on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moving {
    /// What had moved, and since when nothing more did.
    still: Option<(u64, Instant)>,
    is_stuck: bool,
}

impl Moving {
    /// A look at the flow: whether bytes wait that should move, and the sum of all that moved so far.
    pub fn look(
        &mut self,
        do_bytes_wait: bool,
        n_moved: u64,
        patience: Duration,
        now: Instant,
    ) -> Verdict {
        let since = match self.still {
            Some((known, since)) if do_bytes_wait && known == n_moved => {
                let stood = now.saturating_duration_since(since);
                if stood < patience {
                    return Verdict::Sound;
                }
                self.is_stuck = true;
                return Verdict::StandsStill(stood);
            }
            known => known.map(|(_, since)| since),
        };
        self.still = do_bytes_wait.then_some((n_moved, now));
        match (std::mem::take(&mut self.is_stuck), since) {
            (true, Some(since)) => Verdict::GoesOn(now.saturating_duration_since(since)),
            _ => Verdict::Sound,
        }
    }
}

/// One look at whether a flow gets on, told.
pub fn look_at_moves(
    moving: &mut Moving,
    counters: &FlowCounters,
    patience: Duration,
    now: Instant,
) {
    let waiting_bytes = counters.unexplained_bytes();
    match moving.look(waiting_bytes > 0, counters.n_moved(), patience, now) {
        Verdict::Sound => {}
        Verdict::StandsStill(since) => events::flow_is_stuck(counters, waiting_bytes, since),
        Verdict::GoesOn(stood) => events::flow_moves_on(counters, stood),
    }
}

/// A flow as the watchdog sees it.
pub struct AtWork {
    pub flow: Arc<Flow>,
    pub inbox: Arc<Inbox>,
    pub counters: Arc<FlowCounters>,
}

/// Looks at the sending side and these flows, until it is aborted.
pub async fn watch(at_work: Vec<AtWork>, counters: Arc<AgentCounters>) {
    let patience = at_work.iter().map(|at_work| patience(&at_work.flow));
    let mut moving: Vec<_> = patience
        .map(|patience| (Moving::default(), patience))
        .collect();
    let mut flows = vec![Watched::default(); at_work.len()];
    let mut is_sending = true;
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await.into_std();
        let sending = &counters.sending;
        let was_sending = std::mem::replace(&mut is_sending, sending.is_turning(now));
        match (was_sending, is_sending) {
            (_, false) => {
                events::sending_stands_still(&counters.troubles, sending.silent_for(now));
            }
            (false, true) => events::sending_goes_on(&counters.troubles),
            (true, true) => {}
        }
        for (
            flow,
            AtWork {
                inbox, counters, ..
            },
        ) in flows.iter_mut().zip(&at_work)
        {
            match flow.look(inbox.piece_of_work(), now) {
                Verdict::Sound => {}
                Verdict::StandsStill(since) => events::flow_stands_still(counters, since),
                Verdict::GoesOn(stood) => events::flow_goes_on(counters, stood),
            }
        }
        for ((moving, patience), AtWork { counters, .. }) in moving.iter_mut().zip(&at_work) {
            look_at_moves(moving, counters, *patience, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_wait_with_nothing_moving_are_told_until_something_does() {
        let start = Instant::now();
        let mut moving = Moving::default();
        let patience = Duration::from_secs(100);
        let stands = |seconds| Verdict::StandsStill(Duration::from_secs(seconds));
        for (do_bytes_wait, n_moved, seconds, expected) in [
            (false, 0, 0, Verdict::Sound),
            (false, 0, 1_000, Verdict::Sound),
            (true, 0, 1_010, Verdict::Sound),
            (true, 1, 1_020, Verdict::Sound),
            (true, 1, 1_119, Verdict::Sound),
            (true, 1, 1_120, stands(100)),
            (true, 1, 1_125, stands(105)),
            (true, 2, 1_130, Verdict::GoesOn(Duration::from_secs(110))),
            (true, 2, 1_140, Verdict::Sound),
            (false, 2, 1_240, Verdict::Sound),
            (true, 2, 1_250, Verdict::Sound),
            (true, 2, 1_350, stands(100)),
            (false, 2, 1_355, Verdict::GoesOn(Duration::from_secs(105))),
        ] {
            let now = start + Duration::from_secs(seconds);
            let verdict = moving.look(do_bytes_wait, n_moved, patience, now);
            assert_eq!(verdict, expected, "at {seconds} s");
        }
    }

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
