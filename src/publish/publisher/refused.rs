//! Records that the service will never take: found by halving, and held until they are kept or given up.
//!
//! ```text
//!  call of n blamed for its content ─▶ two halves ─▶ … ─▶ call of 1 ─┬─ others of the flow are accepted ─▶ refused for good
//!                                                                     └─ none is ─▶ tried on beside the others
//! ```
//!
//! A service that refuses everything (a wrong destination, a proxy in the way) must not cost a flow its records: one
//! counts as refused for good only while others of its flow are accepted: by a call that was sent when that was known, as
//! an earlier one may have met the service just before it took anything. Where it is kept rather than dropped, a few
//! refusals by itself are enough too, so that a flow's only record doesn't wait for ever. What was refused while everything was is tried once more when
//! something is accepted again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::flow_state::{FlowState, Pending};
use super::{Command, Reported};
use crate::config::RefusedRecords;
use crate::publish::wire::RecordError;
use crate::record::{Batch, FlowIndex};

/// So many refusals of one record by itself are enough for a dead letter, though nothing else was accepted.
pub const ALONE_REFUSALS_MAX: u32 = 5;
/// After so many records were refused for good with none accepted among them, one has to be accepted first.
pub const REFUSED_IN_A_ROW_MAX: u32 = 100;

/// A record that was refused, until it is kept; never used again within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefusedId {
    pub flow: FlowIndex,
    number: u64,
}

/// A record that the service will never take.
#[derive(Debug, Clone)]
pub struct Refused {
    pub batch: Arc<Batch>,
    /// Its place in [`Batch::records`].
    pub place: u16,
    /// What the service says of it.
    pub error: RecordError,
}

/// Parts of calls that were refused for their content.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Halves that are to be tried, first half first.
    parts: VecDeque<Pending>,
    /// Records that were refused by themselves while no other was accepted.
    alone: VecDeque<Pending>,
    /// Since when records are accepted in this run; `None` if none was, or too many were refused since.
    others_are_taken_since: Option<Instant>,
    n_refused_in_a_row: u32,
}

impl Suspects {
    /// The next half to be tried.
    pub fn next_part(&mut self) -> Option<Pending> {
        self.parts.pop_front()
    }

    /// The next record to be tried again by itself.
    pub fn next_alone(&mut self) -> Option<Pending> {
        self.alone.pop_front()
    }

    pub fn len(&self) -> usize {
        self.parts.len() + self.alone.len()
    }

    fn count_refused(&mut self) {
        self.n_refused_in_a_row = self.n_refused_in_a_row.saturating_add(1);
        if self.n_refused_in_a_row >= REFUSED_IN_A_ROW_MAX {
            self.others_are_taken_since = None;
        }
    }

    /// What a record's refusal by itself, in this try, says of it.
    fn judge(&self, pending: &Pending, tried: Tried, rule: RefusedRecords) -> Judgement {
        let is_enough = pending.failures.count() + 1 >= ALONE_REFUSALS_MAX;
        match self.others_are_taken_since {
            _ if rule == RefusedRecords::DeadLetter && is_enough => Judgement::Proven,
            Some(since) if tried.at >= since => Judgement::Proven,
            Some(_) => Judgement::TooEarly,
            None => Judgement::AsAllOthers,
        }
    }
}

/// The call by which a record was tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) epoch: u64,
    /// When it was sent, or a later time at which the service is known to have taken others.
    pub(super) at: Instant,
}

/// What a refusal says of a record.
enum Judgement {
    /// It is the record's own.
    Proven,
    /// Others are accepted now, but perhaps weren't yet when it was tried.
    TooEarly,
    /// No other is accepted.
    AsAllOthers,
}

/// Refused records that are being kept.
#[derive(Debug, Default)]
pub struct Keeping {
    records: HashMap<RefusedId, Pending>,
}

impl Keeping {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record is safe; `None` if nobody waits for it any more.
    pub fn kept(&mut self, id: RefusedId) -> Option<Pending> {
        self.records.remove(&id)
    }
}

impl FlowState {
    /// A call was refused for its content: its halves are tried, or the one record that it had is refused.
    pub(super) fn blamed(
        &mut self,
        flow: FlowIndex,
        mut pending: Pending,
        error: RecordError,
        tried: Tried,
        at: (Instant, f64),
        commands: &mut Vec<Command>,
    ) {
        match pending.halve() {
            Some(second) => {
                self.suspects.parts.push_front(second);
                self.suspects.parts.push_front(pending);
            }
            None => self.refused_alone(flow, pending, error, tried, at, commands),
        }
    }

    /// One record was refused by itself. `at` is the time and a chance drawn evenly from [0, 1).
    pub(super) fn refused_alone(
        &mut self,
        flow: FlowIndex,
        mut pending: Pending,
        error: RecordError,
        tried: Tried,
        (now, chance): (Instant, f64),
        commands: &mut Vec<Command>,
    ) {
        if self.refused_records == RefusedRecords::Retry {
            self.suspects.count_refused();
            if self.suspects.others_are_taken_since.is_none() {
                self.back_off(tried.epoch, now, chance);
            }
            pending.failures.failed();
            self.wait_out(pending, now, chance);
            return;
        }
        match self.suspects.judge(&pending, tried, self.refused_records) {
            Judgement::Proven => self.refused_for_good(flow, pending, error, commands),
            Judgement::TooEarly => self.suspects.parts.push_back(pending),
            Judgement::AsAllOthers => {
                pending.failures.failed();
                self.back_off(tried.epoch, now, chance);
                self.suspects.alone.push_back(pending);
            }
        }
    }

    /// A record was accepted: those that were refused while none was are tried once more, and then judged.
    pub(super) fn others_are_taken(&mut self, now: Instant) {
        self.suspects.others_are_taken_since.get_or_insert(now);
        self.suspects.n_refused_in_a_row = 0;
        let alone = self.suspects.alone.drain(..);
        self.suspects.parts.extend(alone);
    }

    fn refused_for_good(
        &mut self,
        flow: FlowIndex,
        pending: Pending,
        error: RecordError,
        commands: &mut Vec<Command>,
    ) {
        self.suspects.count_refused();
        if self.refused_records == RefusedRecords::Skip {
            let event = Reported::GivenUp { error };
            commands.push(Command::Report { flow, event });
            let Pending {
                number,
                batch,
                left,
                ..
            } = pending;
            self.settled(flow, number, &left, batch, commands);
            return;
        }
        let id = RefusedId {
            flow,
            number: self.next_refused,
        };
        self.next_refused += 1;
        let refused = Refused {
            batch: Arc::clone(&pending.batch),
            place: pending.left.first().copied().unwrap_or_default(),
            error,
        };
        self.keeping.records.insert(id, pending);
        commands.push(Command::Keep { id, flow, refused });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::tests::batch;
    use super::super::{CallId, FlowRules, Publisher};
    use super::*;
    use crate::config::Backoff;
    use crate::publish::failure::{CallFailure, FailureKind};
    use crate::publish::sink::Call;
    use crate::publish::wire::Answer;
    use crate::record::{CursorId, Lane, Origin};

    const FLOW: FlowIndex = FlowIndex(0);
    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };

    /// A service that refuses every call with one of these records in it, by their offsets, and whoever sends to it.
    struct Play {
        machine: Publisher,
        poison: BTreeSet<u64>,
        is_down: bool,
        now: Instant,
        calls: Vec<(CallId, Call)>,
        n_calls: usize,
        accepted: Vec<u64>,
        kept: Vec<(RefusedId, u64)>,
        given_up: usize,
        watermark: u64,
        released: usize,
    }

    impl Play {
        fn new(rule: RefusedRecords, poison: impl IntoIterator<Item = u64>) -> Play {
            let rules = FlowRules {
                backoff: BACKOFF,
                refused_records: rule,
            };
            Play {
                machine: Publisher::new([rules], 4, 1),
                poison: poison.into_iter().collect(),
                is_down: false,
                now: Instant::now(),
                calls: Vec::new(),
                n_calls: 0,
                accepted: Vec::new(),
                kept: Vec::new(),
                given_up: 0,
                watermark: 0,
                released: 0,
            }
        }

        fn obey(&mut self, commands: Vec<Command>) {
            for command in commands {
                match command {
                    Command::Send { id, call, .. } => self.calls.push((id, call)),
                    Command::Advance { offset, .. } => self.watermark = offset,
                    Command::Keep { id, refused, .. } => {
                        let offset = refused.batch.origins[usize::from(refused.place)].offset;
                        self.kept.push((id, offset));
                    }
                    Command::Release { .. } => self.released += 1,
                    Command::Report {
                        event: Reported::GivenUp { .. },
                        ..
                    } => self.given_up += 1,
                    Command::Report { .. } => {}
                }
            }
        }

        /// A batch of records at these offsets, each of which is its lane in turn where there are lanes.
        fn send(&mut self, start: u64, n_records: u64, n_lanes: Option<u64>) {
            let mut batch = batch(n_records as usize, 1, start, start + n_records);
            let offsets = start..start + n_records;
            batch.origins = offsets
                .clone()
                .map(|offset| Origin {
                    cursor: CursorId(1),
                    offset,
                })
                .collect();
            if let Some(n_lanes) = n_lanes {
                batch.lanes = offsets.map(|offset| Lane(offset % n_lanes)).collect();
            }
            let mut commands = Vec::new();
            self.machine.batch(FLOW, batch, self.now, &mut commands);
            self.obey(commands);
        }

        /// Answers the oldest call; `false` if there is none.
        fn answer(&mut self) -> bool {
            if self.calls.is_empty() {
                return false;
            }
            let (id, call) = self.calls.remove(0);
            self.n_calls += 1;
            let offsets = call
                .chosen
                .iter()
                .map(|place| call.batch.origins[usize::from(*place)].offset);
            let offsets: Vec<u64> = offsets.collect();
            let result = if self.is_down {
                Err(failure(FailureKind::Service))
            } else if offsets.iter().any(|offset| self.poison.contains(offset)) {
                Err(failure(FailureKind::Content))
            } else {
                self.accepted.extend(offsets);
                Ok(Answer::AllAccepted)
            };
            let mut commands = Vec::new();
            self.machine.answered(id, result, self.now, &mut commands);
            self.obey(commands);
            true
        }

        fn keep_all(&mut self) {
            for (id, _) in std::mem::take(&mut self.kept) {
                let mut commands = Vec::new();
                self.machine.kept(id, self.now, &mut commands);
                self.obey(commands);
            }
        }

        /// Answers until nothing is in flight, without letting time pass.
        fn answer_all(&mut self) {
            while self.answer() {}
        }

        /// Answers, and lets back-offs pass, until nothing is left or so many have passed.
        fn run(&mut self, n_waits_max: usize) {
            for _ in 0..n_waits_max {
                self.answer_all();
                let Some(at) = self.machine.next_wake() else {
                    return;
                };
                self.now = self.now.max(at);
                let mut commands = Vec::new();
                self.machine.wake(self.now, &mut commands);
                self.obey(commands);
            }
        }
    }

    fn failure(kind: FailureKind) -> CallFailure {
        CallFailure {
            kind,
            code: "Code".to_owned(),
            message: "why".to_owned(),
        }
    }

    /// The service took nothing at first. Its answers come in another order than its judgements were made in.
    #[test]
    fn a_refusal_by_a_call_that_was_sent_before_anything_was_accepted_proves_nothing() {
        for rule in [RefusedRecords::Skip, RefusedRecords::DeadLetter] {
            for is_bad in [false, true] {
                let mut play = Play::new(rule, [0]);
                play.send(0, 1, None);
                play.send(1, 1, None);
                play.now += Duration::from_millis(1);
                play.calls.swap(0, 1);
                assert!(play.answer() && play.answer());
                assert_eq!(play.accepted, [1]);
                assert_eq!((play.given_up, play.kept.len()), (0, 0));
                if !is_bad {
                    play.poison.clear();
                }
                play.answer_all();
                let n_refused = play.given_up + play.kept.len();
                assert_eq!(
                    (play.accepted.len(), n_refused),
                    if is_bad { (1, 1) } else { (2, 0) }
                );
            }
        }
    }

    /// P-REFUSED: A record that the service refuses for its content is kept in the dead-letter file before a checkpoint
    /// passes it, and costs no other record anything.
    #[test]
    fn one_bad_record_among_five_hundred_is_found_in_few_calls_and_held_before_the_watermark() {
        let mut play = Play::new(RefusedRecords::DeadLetter, [321]);
        play.send(0, 500, None);
        play.send(500, 10, None);
        play.answer_all();
        assert!(play.n_calls <= 2 * 9 + 2, "{} calls", play.n_calls);
        let mut expected: Vec<u64> = (0..510).collect();
        expected.retain(|offset| *offset != 321);
        play.accepted.sort_unstable();
        assert_eq!(play.accepted, expected, "all others arrive, once each");
        let kept: Vec<u64> = play.kept.iter().map(|(_, offset)| *offset).collect();
        assert_eq!(kept, [321]);
        assert_eq!((play.watermark, play.released), (0, 1));
        assert!(!play.machine.is_idle() && play.machine.is_keeping());
        play.keep_all();
        assert_eq!((play.watermark, play.released), (510, 2));
        assert!(play.machine.is_idle());
    }

    #[test]
    fn what_is_refused_is_left_out_counted_or_tried_for_ever_as_the_rule_says() {
        let mut play = Play::new(RefusedRecords::Skip, [1, 2]);
        play.send(0, 4, None);
        play.run(5);
        assert_eq!((play.given_up, play.watermark), (2, 4));
        assert!(play.machine.is_idle());

        let mut play = Play::new(RefusedRecords::Retry, [1]);
        play.send(0, 4, None);
        play.run(200);
        assert_eq!((play.given_up, play.kept.len(), play.watermark), (0, 0, 0));
        play.accepted.sort_unstable();
        assert_eq!(play.accepted, [0, 2, 3]);
        play.poison.clear();
        play.run(1);
        play.run(1);
        assert_eq!(play.watermark, 4);
    }

    #[test]
    fn a_service_that_refuses_everything_costs_no_record() {
        let mut play = Play::new(RefusedRecords::Skip, 0..1_000);
        play.send(0, 20, None);
        play.send(20, 20, None);
        play.run(300);
        assert_eq!((play.given_up, play.watermark), (0, 0));
        assert!(play.n_calls < 500, "{} calls in 300 waits", play.n_calls);
        // One record was bad all along.
        play.poison = [5].into();
        play.run(200);
        assert_eq!((play.given_up, play.watermark), (1, 40));
        assert_eq!(play.accepted.len(), 39);
    }

    #[test]
    fn a_flows_only_record_is_kept_after_a_few_refusals() {
        let mut play = Play::new(RefusedRecords::DeadLetter, [0]);
        play.send(0, 1, None);
        play.run(20);
        assert_eq!((play.n_calls, play.kept.len()), (5, 1));
    }

    #[test]
    fn a_service_that_comes_to_refuse_everything_is_noticed() {
        let mut play = Play::new(RefusedRecords::Skip, 1..10_000);
        play.send(0, 1, None);
        play.answer_all();
        for n in 0..10 {
            play.send(1 + n * 50, 50, None);
        }
        play.run(300);
        assert_eq!(play.given_up, REFUSED_IN_A_ROW_MAX as usize);
        assert_eq!(play.accepted, [0]);
    }

    #[test]
    fn records_blamed_one_by_one_are_refused_without_another_call() {
        let mut play = Play::new(RefusedRecords::DeadLetter, []);
        play.send(0, 3, None);
        let (id, _) = play.calls.remove(0);
        let blamed = RecordError {
            code: "InvalidArgumentException".to_owned(),
            message: String::new(),
        };
        let mut commands = Vec::new();
        let answer = Answer::Partly(vec![None, Some(blamed), None]);
        play.machine
            .answered(id, Ok(answer), play.now, &mut commands);
        play.obey(commands);
        assert_eq!(play.kept.len(), 1);
        assert!(play.calls.is_empty() && play.machine.next_wake().is_none());
        play.keep_all();
        assert_eq!((play.watermark, play.released), (3, 1));
    }

    #[test]
    fn a_flow_that_starts_anew_forgets_what_it_sent_and_gives_its_bytes_back() {
        for n_lanes in [None, Some(2)] {
            let mut play = Play::new(RefusedRecords::DeadLetter, [1, 6]);
            for start in [0, 4, 8, 12, 16, 20] {
                play.send(start, 4, n_lanes);
            }
            for _ in 0..3 {
                play.answer();
            }
            let in_flight = play.calls.len();
            assert!(in_flight > 0);
            let (watermark, released) = (play.watermark, play.released);
            let mut commands = Vec::new();
            play.machine.restarted(FLOW, play.now, &mut commands);
            play.obey(commands);
            assert_eq!(play.released, 6, "{released} of them were before");
            play.answer_all();
            play.keep_all();
            assert_eq!((play.watermark, play.released), (watermark, 6));
            assert!(play.machine.is_idle());
            // The new life's cursors have numbers of their own.
            let mut again = batch(2, 1 << 40, 0, 2);
            again.lanes = n_lanes.map_or(Vec::new(), |_| vec![Lane(0), Lane(1)]);
            again.origins = vec![
                Origin {
                    cursor: CursorId(1 << 40),
                    offset: 30,
                };
                2
            ];
            let mut commands = Vec::new();
            play.machine.batch(FLOW, again, play.now, &mut commands);
            play.obey(commands);
            play.answer_all();
            assert_eq!((play.watermark, play.released), (2, 7));
        }
    }

    proptest! {
        /// Whatever is bad, whatever the order, and however often the service is down meanwhile.
        #[test]
        fn bad_records_are_kept_and_all_others_accepted_in_their_order(
            sizes in proptest::collection::vec(1_u64..12, 1..8),
            poison in proptest::collection::btree_set(0_u64..60, 0..6),
            n_lanes in proptest::option::of(1_u64..4),
            is_down in proptest::collection::vec(any::<bool>(), 0..20),
        ) {
            let mut play = Play::new(RefusedRecords::DeadLetter, poison.clone());
            let mut end = 0;
            for n_records in sizes {
                play.send(end, n_records, n_lanes);
                end += n_records;
            }
            let mut kept = BTreeSet::new();
            let mut outages = is_down.into_iter();
            for _ in 0..5_000 {
                play.is_down = outages.next().unwrap_or(false);
                if !play.answer() {
                    play.run(1);
                    kept.extend(play.kept.iter().map(|(_, offset)| *offset));
                    play.keep_all();
                }
                if play.machine.is_idle() {
                    break;
                }
            }
            prop_assert!(play.machine.is_idle(), "it comes to an end");
            prop_assert_eq!(play.watermark, end);
            let bad: BTreeSet<u64> = poison.into_iter().filter(|offset| *offset < end).collect();
            prop_assert_eq!(&kept, &bad);
            if let Some(n_lanes) = n_lanes {
                let mut lanes: BTreeMap<u64, u64> = BTreeMap::new();
                for offset in &play.accepted {
                    let before = lanes.insert(offset % n_lanes, *offset);
                    prop_assert!(before < Some(*offset), "lane {} went back to {}", offset % n_lanes, offset);
                }
            }
            play.accepted.sort_unstable();
            let good: Vec<u64> = (0..end).filter(|offset| !bad.contains(offset)).collect();
            prop_assert_eq!(play.accepted, good);
        }
    }
}
