//! When each call goes and what its answer means: a synchronous state machine over events, for all flows together.
//!
//! ```text
//!  batch ─▶ queue of its flow ─▶ slot ─▶ call ─▶ answer ─┬─ all accepted ─▶ watermark ─▶ advance
//!                 ▲                                      ├─ some failed ─▶ those alone wait for the batch's own back-off ─┐
//!                 └──────────────────────────────────────┴─ call failed ─▶ all of it waits for the flow's back-off ──────┘
//! ```
//!
//! A call that failed as a whole stops its flow for the back-off, and then one call at a time probes until one gets
//! through, so a dead stream holds one slot at most. Failures of calls that were already in flight when the back-off
//! began count once. Records that fail one by one hold up nobody but themselves; where they are throttled, the flow
//! keeps fewer calls in flight until fewer come back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Failures;
use super::failure::{self, CallFailure, FailureKind};
use super::sink::{Call, CallResult};
use super::watermark::Watermark;
use super::wire::{Answer, RecordError};
use crate::config::Backoff;
use crate::record::{Batch, CursorId, FlowIndex};

/// The number of a call, never used again within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

/// What the machine wants done.
#[derive(Debug)]
pub enum Command {
    /// Carry this call and report its [`CallResult`] to [`Publisher::answered`].
    Send {
        id: CallId,
        flow: FlowIndex,
        call: Call,
    },
    /// Everything below `offset` of the file is acknowledged.
    Advance {
        flow: FlowIndex,
        cursor: CursorId,
        offset: u64,
    },
    /// A batch is done with: its bytes go back to the budget.
    Release {
        flow: FlowIndex,
        bytes: usize,
        batch: Arc<Batch>,
    },
    /// For the log and the metrics.
    Report { flow: FlowIndex, event: Reported },
}

/// What became of a call, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// A call got an answer: so many records and data bytes accepted, so many not.
    Answered {
        n_sent: usize,
        n_accepted: usize,
        bytes_accepted: usize,
        n_throttled: usize,
        latency: Duration,
        first_error: Option<RecordError>,
    },
    /// A call failed as a whole and is tried again after `delay`.
    Failed {
        n_sent: usize,
        failure: CallFailure,
        delay: Duration,
        latency: Duration,
    },
    /// Calls get through again after so many failures in a row.
    Recovered { n_failures: u32 },
}

/// The machine. Time and chance come in as arguments.
pub struct Publisher {
    flows: Vec<FlowState>,
    slots_max: usize,
    calls: HashMap<CallId, InFlight>,
    next_call: u64,
    next_batch: u64,
    /// Where the next search for a flow that can send starts: flows take turns.
    turn: usize,
    /// The time of the last search. Whatever became due later still has to be looked for.
    searched_at: Option<Instant>,
    random: fastrand::Rng,
}

struct FlowState {
    backoff: Backoff,
    /// Batches that were never tried, oldest first.
    fresh: VecDeque<Pending>,
    /// Batches that wait for their own back-off, by when it ends.
    waiting: BTreeMap<(Instant, u64), Pending>,
    failures: Failures,
    blocked_until: Option<Instant>,
    /// Raised with each back-off of the flow: tells failures of calls that were sent before it from those after.
    epoch: u64,
    n_in_flight: usize,
    /// How many calls may be in flight, while records are throttled: halved then, and one more with each good call.
    window: f64,
    watermarks: HashMap<CursorId, Watermark>,
    /// The last failure of a whole call, until one gets through.
    n_failures_said: u32,
}

struct Pending {
    number: u64,
    batch: Arc<Batch>,
    /// Records that are not accepted yet.
    left: Vec<u16>,
    failures: Failures,
}

struct InFlight {
    flow: FlowIndex,
    pending: Pending,
    epoch: u64,
    sent_at: Instant,
}

impl Publisher {
    /// A machine with `slots_max` calls in flight at most, for flows with these back-offs.
    pub fn new(
        backoffs: impl IntoIterator<Item = Backoff>,
        slots_max: usize,
        seed: u64,
    ) -> Publisher {
        let flow = |backoff| FlowState {
            backoff,
            fresh: VecDeque::new(),
            waiting: BTreeMap::new(),
            failures: Failures::default(),
            blocked_until: None,
            epoch: 0,
            n_in_flight: 0,
            window: slots_max as f64,
            watermarks: HashMap::new(),
            n_failures_said: 0,
        };
        Publisher {
            flows: backoffs.into_iter().map(flow).collect(),
            slots_max: slots_max.max(1),
            calls: HashMap::new(),
            next_call: 0,
            next_batch: 0,
            turn: 0,
            searched_at: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// A flow closed a batch.
    pub fn batch(
        &mut self,
        flow: FlowIndex,
        batch: Batch,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        let number = self.next_batch;
        self.next_batch += 1;
        let state = &mut self.flows[flow.0];
        for span in &batch.spans {
            state
                .watermarks
                .entry(span.cursor)
                .or_default()
                .register(number, span.end);
        }
        let left = (0..batch.records.len() as u16).collect::<Vec<_>>();
        let pending = Pending {
            number,
            batch: Arc::new(batch),
            left,
            failures: Failures::default(),
        };
        if pending.left.is_empty() {
            state.settle(flow, pending, commands);
        } else {
            state.fresh.push_back(pending);
        }
        self.dispatch(now, commands);
    }

    /// A call came back.
    pub fn answered(
        &mut self,
        id: CallId,
        result: CallResult,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        let Some(in_flight) = self.calls.remove(&id) else {
            return;
        };
        let flow = in_flight.flow;
        let chance = self.random.f64();
        let state = &mut self.flows[flow.0];
        state.n_in_flight -= 1;
        match result {
            Ok(Answer::AllAccepted) => {
                state.all_accepted(flow, in_flight, self.slots_max, now, commands)
            }
            Ok(Answer::Partly(outcomes)) => {
                state.partly_accepted(flow, in_flight, outcomes, now, chance, commands)
            }
            Err(failure) => state.call_failed(flow, in_flight, failure, now, chance, commands),
        }
        self.dispatch(now, commands);
    }

    /// Time went by: calls whose back-off has ended go out.
    pub fn wake(&mut self, now: Instant, commands: &mut Vec<Command>) {
        self.dispatch(now, commands);
    }

    /// When [`Publisher::wake`] is due, perhaps in the past; `None` while only answers or new batches can change
    /// anything.
    ///
    /// What was due at the last search waits for a slot and needs no timer. What became due since, if only while an
    /// event was being handled, does.
    pub fn next_wake(&self) -> Option<Instant> {
        self.flows
            .iter()
            .filter_map(FlowState::next_wake)
            .filter(|at| self.searched_at.is_none_or(|searched| *at > searched))
            .min()
    }

    /// Whether nothing is left to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self
                .flows
                .iter()
                .all(|flow| flow.fresh.is_empty() && flow.waiting.is_empty())
    }

    /// Batches of `flow` that wait for a slot or a back-off.
    pub fn n_waiting(&self, flow: FlowIndex) -> usize {
        self.flows[flow.0].fresh.len() + self.flows[flow.0].waiting.len()
    }

    /// Calls in flight now.
    pub fn n_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Fills free slots, one flow after the other.
    fn dispatch(&mut self, now: Instant, commands: &mut Vec<Command>) {
        self.searched_at = Some(now);
        let n_flows = self.flows.len();
        // A flow never holds more than half of the slots while there are others.
        let flow_slots_max = if n_flows > 1 {
            (self.slots_max / 2).max(1)
        } else {
            self.slots_max
        };
        let mut n_passed_over = 0;
        while self.calls.len() < self.slots_max && n_passed_over < n_flows {
            let flow = FlowIndex(self.turn);
            self.turn = (self.turn + 1) % n_flows;
            let Some(pending) = self.flows[flow.0].next_to_send(now, flow_slots_max) else {
                n_passed_over += 1;
                continue;
            };
            n_passed_over = 0;
            let id = CallId(self.next_call);
            self.next_call += 1;
            let state = &mut self.flows[flow.0];
            state.n_in_flight += 1;
            let call = Call {
                batch: Arc::clone(&pending.batch),
                chosen: pending.left.clone(),
            };
            self.calls.insert(
                id,
                InFlight {
                    flow,
                    pending,
                    epoch: state.epoch,
                    sent_at: now,
                },
            );
            commands.push(Command::Send { id, flow, call });
        }
    }
}

impl FlowState {
    fn next_to_send(&mut self, now: Instant, slots_max: usize) -> Option<Pending> {
        if self.blocked_until.is_some_and(|until| now < until) {
            return None;
        }
        let is_probing = self.failures.count() > 0;
        let in_flight_max = if is_probing {
            1
        } else {
            (self.window as usize).clamp(1, slots_max)
        };
        if self.n_in_flight >= in_flight_max {
            return None;
        }
        match self.waiting.first_entry() {
            Some(first) if first.key().0 <= now => Some(first.remove()),
            _ => self.fresh.pop_front(),
        }
    }

    /// When a back-off ends, or ended, that holds something up.
    fn next_wake(&self) -> Option<Instant> {
        let first_waiting = self.waiting.keys().next().map(|(until, _)| *until);
        match (self.blocked_until, first_waiting) {
            (Some(blocked), _) if !self.fresh.is_empty() => Some(blocked),
            (Some(blocked), Some(waiting)) => Some(blocked.max(waiting)),
            (None, Some(waiting)) => Some(waiting),
            (_, None) => None,
        }
    }

    fn all_accepted(
        &mut self,
        flow: FlowIndex,
        in_flight: InFlight,
        slots_max: usize,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        let InFlight {
            pending, sent_at, ..
        } = in_flight;
        let n_sent = pending.left.len();
        let event = Reported::Answered {
            n_sent,
            n_accepted: n_sent,
            bytes_accepted: bytes_of(&pending.batch, &pending.left),
            n_throttled: 0,
            latency: now.saturating_duration_since(sent_at),
            first_error: None,
        };
        commands.push(Command::Report { flow, event });
        self.window = (self.window + 1.0).min(slots_max as f64);
        self.got_through(flow, commands);
        self.settle(flow, pending, commands);
    }

    /// Some records were accepted, or at least each was judged by itself: the others wait for the batch's back-off.
    fn partly_accepted(
        &mut self,
        flow: FlowIndex,
        in_flight: InFlight,
        outcomes: Vec<Option<RecordError>>,
        now: Instant,
        chance: f64,
        commands: &mut Vec<Command>,
    ) {
        let InFlight {
            mut pending,
            sent_at,
            epoch,
            ..
        } = in_flight;
        let sent = std::mem::take(&mut pending.left);
        let (accepted, failed): (Vec<_>, Vec<_>) = sent
            .iter()
            .zip(&outcomes)
            .partition(|(_, outcome)| outcome.is_none());
        let accepted: Vec<u16> = accepted.into_iter().map(|(index, _)| *index).collect();
        pending.left = failed.iter().map(|(index, _)| **index).collect();
        let is_throttled =
            |error: &RecordError| failure::classify(&error.code, 0) == FailureKind::Throttled;
        let n_throttled = outcomes
            .iter()
            .flatten()
            .filter(|error| is_throttled(error))
            .count();
        let event = Reported::Answered {
            n_sent: sent.len(),
            n_accepted: accepted.len(),
            bytes_accepted: bytes_of(&pending.batch, &accepted),
            n_throttled,
            latency: now.saturating_duration_since(sent_at),
            first_error: outcomes.iter().flatten().next().cloned(),
        };
        commands.push(Command::Report { flow, event });
        if n_throttled > 0 {
            self.window = (self.window / 2.0).clamp(1.0, (self.n_in_flight + 1) as f64);
        }
        if accepted.is_empty() {
            pending.failures.failed();
            if pending.left.len() == pending.batch.records.len() {
                // Not one record of a whole batch: that isn't about single records or one shard.
                self.back_off(epoch, now, chance);
            }
        } else {
            self.got_through(flow, commands);
            pending.failures.succeeded();
            pending.failures.failed();
        }
        let until = now + pending.failures.delay(self.backoff, chance);
        self.waiting.insert((until, pending.number), pending);
    }

    fn call_failed(
        &mut self,
        flow: FlowIndex,
        in_flight: InFlight,
        failure: CallFailure,
        now: Instant,
        chance: f64,
        commands: &mut Vec<Command>,
    ) {
        let InFlight {
            pending,
            epoch,
            sent_at,
            ..
        } = in_flight;
        let n_sent = pending.left.len();
        let latency = now.saturating_duration_since(sent_at);
        self.back_off(epoch, now, chance);
        let delay = self
            .blocked_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        self.n_failures_said = self.n_failures_said.saturating_add(1);
        commands.push(Command::Report {
            flow,
            event: Reported::Failed {
                n_sent,
                failure,
                delay,
                latency,
            },
        });
        self.waiting.insert((now, pending.number), pending);
    }

    /// Stops the flow for its back-off, unless the call was sent before the back-off that is under way.
    fn back_off(&mut self, epoch: u64, now: Instant, chance: f64) {
        if epoch == self.epoch {
            self.epoch += 1;
            self.failures.failed();
            self.blocked_until = Some(now + self.failures.delay(self.backoff, chance));
        }
    }

    fn got_through(&mut self, flow: FlowIndex, commands: &mut Vec<Command>) {
        self.blocked_until = None;
        self.failures.succeeded();
        if self.n_failures_said > 0 {
            let event = Reported::Recovered {
                n_failures: std::mem::take(&mut self.n_failures_said),
            };
            commands.push(Command::Report { flow, event });
        }
    }

    /// Every record of the batch has its final outcome.
    fn settle(&mut self, flow: FlowIndex, pending: Pending, commands: &mut Vec<Command>) {
        for span in &pending.batch.spans {
            let Some(watermark) = self.watermarks.get_mut(&span.cursor) else {
                continue;
            };
            if let Some(offset) = watermark.acknowledge(pending.number) {
                commands.push(Command::Advance {
                    flow,
                    cursor: span.cursor,
                    offset,
                });
            }
            if watermark.is_settled() {
                self.watermarks.remove(&span.cursor);
            }
        }
        commands.push(Command::Release {
            flow,
            bytes: pending.batch.budget_bytes,
            batch: pending.batch,
        });
    }
}

fn bytes_of(batch: &Batch, records: &[u16]) -> usize {
    records
        .iter()
        .map(|index| batch.records[usize::from(*index)].data_len())
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Destination;
    use crate::publish::batch::tests::batch_of;
    use crate::record::Span;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };
    const FLOW: FlowIndex = FlowIndex(0);

    fn batch(n_records: usize, cursor: u64, start: u64, end: u64) -> Batch {
        let data: Vec<&[u8]> = vec![b"x"; n_records];
        let mut batch = batch_of(&Destination::Kinesis("s".into()), &data);
        batch.spans = vec![Span {
            cursor: CursorId(cursor),
            start,
            end,
        }];
        batch.budget_bytes = n_records;
        batch
    }

    fn down() -> CallResult {
        Err(CallFailure {
            kind: FailureKind::Connection,
            code: "connect".into(),
            message: String::new(),
        })
    }

    fn error(code: &str) -> Option<RecordError> {
        Some(RecordError {
            code: code.into(),
            message: String::new(),
        })
    }

    /// The calls among the commands, which are taken.
    fn sends(commands: &mut Vec<Command>) -> Vec<(CallId, FlowIndex, Vec<u16>)> {
        let sent = |command| match command {
            Command::Send { id, flow, call } => Some((id, flow, call.chosen)),
            _ => None,
        };
        std::mem::take(commands)
            .into_iter()
            .filter_map(sent)
            .collect()
    }

    fn advances(commands: &[Command]) -> Vec<(u64, u64)> {
        let advance = |command: &Command| match command {
            Command::Advance { cursor, offset, .. } => Some((cursor.0, *offset)),
            _ => None,
        };
        commands.iter().filter_map(advance).collect()
    }

    #[test]
    fn failed_records_alone_are_sent_again_after_the_back_off() {
        let now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 4, 1), Vec::new());
        machine.batch(FLOW, batch(3, 1, 0, 30), now, &mut commands);
        let (id, _, chosen) = sends(&mut commands).pop().unwrap();
        assert_eq!(chosen, [0, 1, 2]);
        machine.answered(
            id,
            Ok(Answer::Partly(vec![None, error("InternalFailure"), None])),
            now,
            &mut commands,
        );
        assert!(
            advances(&commands).is_empty(),
            "an unacknowledged record holds the watermark"
        );
        assert!(sends(&mut commands).is_empty());
        let wake = machine.next_wake().unwrap();
        let delay = wake - now;
        assert!(
            (Duration::from_millis(70)..=Duration::from_millis(130)).contains(&delay),
            "{delay:?}"
        );
        machine.wake(wake, &mut commands);
        let (id, _, chosen) = sends(&mut commands).pop().unwrap();
        assert_eq!(chosen, [1]);
        machine.answered(id, Ok(Answer::AllAccepted), wake, &mut commands);
        assert_eq!(advances(&commands), [(1, 30)]);
        assert!(machine.is_idle());
    }

    #[test]
    fn an_outage_is_probed_by_one_call_at_a_time_with_growing_delays_for_ever() {
        let mut now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 8, 1), Vec::new());
        (0..20).for_each(|n| machine.batch(FLOW, batch(1, 1, n, n + 1), now, &mut commands));
        let first = sends(&mut commands);
        assert_eq!(first.len(), 8);
        for (id, ..) in first {
            machine.answered(id, down(), now, &mut commands);
        }
        assert!(
            sends(&mut commands).is_empty(),
            "nothing goes during the back-off"
        );
        for failures in 1..200 {
            let wake = machine.next_wake().unwrap();
            let expected = (0.1 * 2f64.powi(failures - 1)).min(10.0);
            let delay = (wake - now).as_secs_f64() / expected;
            assert!(
                (0.69..1.31).contains(&delay),
                "after {failures} failures: {delay}"
            );
            now = wake;
            machine.wake(now, &mut commands);
            let probes = sends(&mut commands);
            assert_eq!(probes.len(), 1, "one probe");
            machine.answered(probes[0].0, down(), now, &mut commands);
        }
        while !machine.is_idle() {
            now = machine.next_wake().unwrap_or(now);
            machine.wake(now, &mut commands);
            let calls: Vec<_> = sends(&mut commands);
            assert!(!calls.is_empty());
            let mut queue = VecDeque::from(calls);
            while let Some((id, ..)) = queue.pop_front() {
                machine.answered(id, Ok(Answer::AllAccepted), now, &mut commands);
                queue.extend(sends(&mut commands));
            }
        }
    }

    #[test]
    fn a_dead_flow_takes_no_slot_from_the_others() {
        let mut now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF; 3], 4, 1), Vec::new());
        (0..50).for_each(|n| machine.batch(FLOW, batch(1, 1, n, n + 1), now, &mut commands));
        let dead = sends(&mut commands);
        assert_eq!(dead.len(), 2, "half of the slots at most");
        for (id, ..) in dead {
            machine.answered(id, down(), now, &mut commands);
        }
        commands.clear();
        for n in 0..100 {
            now += Duration::from_millis(50);
            machine.wake(now, &mut commands);
            machine.batch(FlowIndex(1), batch(1, 2, n, n + 1), now, &mut commands);
            let calls = sends(&mut commands);
            assert!(
                calls.iter().any(|(_, flow, _)| *flow == FlowIndex(1)),
                "sent at once"
            );
            for (id, flow, _) in calls {
                let result = if flow == FLOW {
                    down()
                } else {
                    Ok(Answer::AllAccepted)
                };
                machine.answered(id, result, now, &mut commands);
            }
            commands.clear();
        }
    }

    #[test]
    fn throttled_records_shrink_the_window_and_good_calls_widen_it() {
        let now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 16, 1), Vec::new());
        (0..64).for_each(|n| machine.batch(FLOW, batch(2, 1, n, n + 1), now, &mut commands));
        let calls = sends(&mut commands);
        assert_eq!(calls.len(), 16);
        for (id, ..) in calls {
            let outcome = vec![None, error("ProvisionedThroughputExceededException")];
            machine.answered(id, Ok(Answer::Partly(outcome)), now, &mut commands);
        }
        let after = sends(&mut commands).len();
        assert!(after <= 2, "{after} calls although all were throttled");
    }

    #[test]
    fn a_batch_without_records_is_acknowledged_in_its_turn() {
        let now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 4, 1), Vec::new());
        machine.batch(FLOW, batch(1, 1, 0, 10), now, &mut commands);
        machine.batch(FLOW, batch(0, 1, 10, 20), now, &mut commands);
        assert!(advances(&commands).is_empty());
        let (id, ..) = sends(&mut commands).pop().unwrap();
        machine.answered(id, Ok(Answer::AllAccepted), now, &mut commands);
        assert_eq!(advances(&commands), [(1, 20)]);
    }

    /// A back-off that ended between two readings of the clock, in the middle of an event, was never woken for.
    #[test]
    fn a_back_off_that_ends_while_an_event_is_handled_is_still_woken_for() {
        let start = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 4, 1), Vec::new());
        machine.batch(FLOW, batch(1, 1, 0, 1), start, &mut commands);
        let (id, ..) = sends(&mut commands).pop().unwrap();
        machine.answered(id, down(), start, &mut commands);
        let ends = machine.next_wake().unwrap();
        machine.batch(
            FLOW,
            batch(1, 1, 1, 2),
            ends - Duration::from_nanos(1),
            &mut commands,
        );
        assert!(sends(&mut commands).is_empty());
        assert_eq!(machine.next_wake(), Some(ends), "however late it is asked");
        machine.wake(ends, &mut commands);
        assert_eq!(sends(&mut commands).len(), 1);
        assert_eq!(machine.next_wake(), None, "the answer needs no timer");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Batch { flow: usize, n_records: usize },
        Answer { pick: usize, fate: u8 },
        Wait { ms: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3usize, 0..4usize).prop_map(|(flow, n_records)| Step::Batch { flow, n_records }),
            (any::<usize>(), any::<u8>()).prop_map(|(pick, fate)| Step::Answer { pick, fate }),
            (0..3000u64).prop_map(|ms| Step::Wait { ms }),
        ];
        proptest::collection::vec(step, 1..120)
    }

    proptest! {
        /// Whatever fails in whatever order: every record is accepted once, no watermark passes an unaccepted one, and
        /// in the end everything is acknowledged and given back.
        #[test]
        fn every_record_is_accepted_once_and_watermarks_follow(script in steps()) {
            let (mut machine, mut commands) = (Publisher::new([BACKOFF; 3], 4, 9), Vec::new());
            let mut now = Instant::now();
            let mut open: Vec<(CallId, FlowIndex, Vec<u16>, Vec<u64>)> = Vec::new();
            // Per flow: one offset a record, handed out in order; accepted offsets; the watermark.
            let (mut next, mut marks) = ([0u64; 3], [0u64; 3]);
            let mut accepted: [Vec<u64>; 3] = Default::default();
            let mut held: i64 = 0;
            let finish = (0..600).flat_map(|_| [Step::Wait { ms: 11_000 }, Step::Answer { pick: 0, fate: 0 }]);
            for step in script.into_iter().chain(finish) {
                match step {
                    Step::Batch { flow, n_records } => {
                        let start = next[flow];
                        next[flow] += n_records as u64;
                        held += n_records as i64;
                        machine.batch(FlowIndex(flow), batch(n_records, flow as u64, start, next[flow]), now, &mut commands);
                    }
                    Step::Wait { ms } => {
                        now += Duration::from_millis(ms);
                        machine.wake(now, &mut commands);
                    }
                    Step::Answer { .. } if open.is_empty() => {}
                    Step::Answer { pick, fate } => {
                        let (id, flow, chosen, offsets) = open.swap_remove(pick % open.len());
                        let failed: Vec<bool> = chosen.iter().map(|n| fate % 4 == 1 && ((u16::from(fate) >> 2) + n) & 1 == 1).collect();
                        let result = match fate % 4 {
                            2 => down(),
                            1 => Ok(Answer::Partly(failed.iter().map(|failed| if *failed { error("InternalFailure") } else { None }).collect())),
                            _ => Ok(Answer::AllAccepted),
                        };
                        if result.is_ok() {
                            let took = offsets.iter().zip(&failed).filter(|(_, failed)| !**failed).map(|(offset, _)| *offset);
                            accepted[flow.0].extend(took);
                        }
                        machine.answered(id, result, now, &mut commands);
                    }
                }
                for command in commands.drain(..) {
                    match command {
                        Command::Send { id, flow, call } => {
                            let start = call.batch.spans[0].start;
                            let offsets = call.chosen.iter().map(|index| start + u64::from(*index)).collect();
                            open.push((id, flow, call.chosen, offsets));
                        }
                        Command::Advance { flow, offset, .. } => {
                            prop_assert!(offset >= marks[flow.0]);
                            marks[flow.0] = offset;
                            let below = accepted[flow.0].iter().filter(|taken| **taken < offset).count() as u64;
                            prop_assert_eq!(below, offset, "everything below the watermark is accepted");
                        }
                        Command::Release { bytes, .. } => held -= bytes as i64,
                        Command::Report { .. } => {}
                    }
                }
                prop_assert!(open.len() <= 4);
                for flow in 0..3 {
                    prop_assert!(open.iter().filter(|call| call.1.0 == flow).count() <= 2);
                }
            }
            prop_assert!(machine.is_idle());
            prop_assert_eq!(marks, next);
            prop_assert_eq!(held, 0);
            for flow in 0..3 {
                accepted[flow].sort_unstable();
                prop_assert_eq!(&accepted[flow], &(0..next[flow]).collect::<Vec<_>>());
            }
        }
    }
}
