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
//! keeps fewer calls in flight until fewer come back. Batches whose records keep an order are sent in parts, as
//! [`ordering`](super::ordering) picks them; there a record that fails holds up its lane.
//!
//! A call that is refused for its content is halved until a record stands alone, and what the others were refused for
//! is found out without them: see [`refused`].

mod flow_state;
mod pace;
mod refused;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Failures;
use super::failure::CallFailure;
use super::sink::{Call, CallResult};
use super::wire::{Answer, RecordError};
use crate::config::{Backoff, RefusedRecords};
use crate::record::{Batch, CursorId, FlowIndex};
use flow_state::{FlowState, InFlight, Pending, Unsettled};
use pace::Pace;
pub use refused::{Refused, RefusedId};

/// The number of a call, never used again within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

/// Batches of a flow that aren't done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Those that wait for a slot or a back-off, or keep an order and aren't wholly accepted.
    pub n_batches: usize,
    /// Those among them that nothing but a slot is wanting for.
    pub n_unsent: usize,
}

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
    /// The service will never take this record: keep it as a dead letter and report so to [`Publisher::kept`]. Until
    /// then the watermark stands before it.
    Keep {
        id: RefusedId,
        flow: FlowIndex,
        refused: Refused,
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
    /// A record was given up, since the service will never take it and the configuration says to go on without it.
    GivenUp { error: RecordError },
}

/// What a flow's configuration says about sending.
#[derive(Debug, Clone, Copy)]
pub struct FlowRules {
    pub backoff: Backoff,
    pub refused_records: RefusedRecords,
}

/// What the service refuses is tried for ever.
impl From<Backoff> for FlowRules {
    fn from(backoff: Backoff) -> FlowRules {
        FlowRules {
            backoff,
            refused_records: RefusedRecords::Retry,
        }
    }
}

/// The machine. Time and chance come in as arguments.
pub struct Publisher {
    /// By their index, also those that were forgotten: an index is never another flow's.
    flows: Vec<FlowState>,
    /// Those that take turns.
    live: Vec<FlowIndex>,
    slots_max: usize,
    pace: Pace,
    calls: HashMap<CallId, InFlight>,
    next_call: u64,
    next_batch: u64,
    /// Where in `live` the next search for a flow that can send starts.
    turn: usize,
    /// The time of the last search. Whatever became due later still has to be looked for.
    searched_at: Option<Instant>,
    random: fastrand::Rng,
}

impl Publisher {
    /// A machine with `slots_max` calls in flight at most, for flows with these rules.
    pub fn new<R: Into<FlowRules>>(
        flows: impl IntoIterator<Item = R>,
        slots_max: usize,
        seed: u64,
    ) -> Publisher {
        let mut publisher = Publisher {
            flows: Vec::new(),
            live: Vec::new(),
            slots_max: slots_max.max(1),
            pace: Pace::new(usize::MAX),
            calls: HashMap::new(),
            next_call: 0,
            next_batch: 0,
            turn: 0,
            searched_at: None,
            random: fastrand::Rng::with_seed(seed),
        };
        for rules in flows {
            publisher.add(rules);
        }
        publisher
    }

    /// The same, but that no more than `calls_max` calls are begun within a moment: see [`pace`].
    pub fn paced(mut self, calls_max: usize) -> Publisher {
        self.pace = Pace::new(calls_max);
        self
    }

    /// Another flow takes part from now on; its index is the number of those there were so far.
    pub fn add(&mut self, rules: impl Into<FlowRules>) -> FlowIndex {
        let flow = FlowIndex(self.flows.len());
        self.flows
            .push(FlowState::new(rules.into(), self.slots_max));
        self.live.push(flow);
        flow
    }

    /// Forgets a flow. What it has not been acknowledged is dropped, and calls of it that are in flight move nothing any
    /// more; what it sends from now on is dropped too.
    pub fn forget(&mut self, flow: FlowIndex, now: Instant, commands: &mut Vec<Command>) {
        self.leave(flow);
        self.restarted(flow, now, commands);
    }

    /// A flow of which nothing waits or is in flight takes no turns any more.
    pub fn leave(&mut self, flow: FlowIndex) {
        self.live.retain(|live| *live != flow);
        self.turn = 0;
    }

    /// Whether nothing of the flow waits or is in flight.
    pub fn is_settled(&self, flow: FlowIndex) -> bool {
        let state = &self.flows[flow.0];
        state.n_waiting() == 0 && state.n_in_flight == 0
    }

    /// A flow closed a batch.
    pub fn batch(
        &mut self,
        flow: FlowIndex,
        batch: Batch,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        if !self.live.contains(&flow) {
            commands.push(Command::Release {
                flow,
                bytes: batch.budget_bytes,
                batch: Arc::new(batch),
            });
            return;
        }
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
            state.settle(flow, number, pending.batch, commands);
        } else if pending.is_ordered() {
            state.lanes.add(number, pending.batch);
        } else {
            let unsettled = Unsettled {
                batch: Arc::clone(&pending.batch),
                n_left: pending.left.len(),
            };
            state.unsettled.insert(number, unsettled);
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
        self.pace.ended(id);
        let flow = in_flight.flow;
        let chance = self.random.f64();
        let state = &mut self.flows[flow.0];
        state.n_in_flight -= 1;
        if in_flight.life != state.life {
            // Its records are read again.
            self.dispatch(now, commands);
            return;
        }
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

    /// The dead letter of a refused record is safe: the record has its final outcome.
    pub fn kept(&mut self, id: RefusedId, now: Instant, commands: &mut Vec<Command>) {
        let Some(state) = self.flows.get_mut(id.flow.0) else {
            return;
        };
        if let Some(pending) = state.keeping.kept(id) {
            let Pending {
                number,
                batch,
                left,
                ..
            } = pending;
            state.settled(id.flow, number, &left, batch, commands);
        }
        self.dispatch(now, commands);
    }

    /// The flow starts anew at its last acknowledged places: what it sent before is dropped, as it is read again, and
    /// what is in flight of it moves nothing any more.
    pub fn restarted(&mut self, flow: FlowIndex, now: Instant, commands: &mut Vec<Command>) {
        let batches = self.flows[flow.0].start_anew();
        commands.extend(batches.map(|batch| Command::Release {
            flow,
            bytes: batch.budget_bytes,
            batch,
        }));
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
        let due = self.flows.iter().filter_map(FlowState::next_wake);
        let due = due.filter(|at| self.searched_at.is_none_or(|searched| *at > searched));
        due.chain(self.pace.next()).min()
    }

    /// Whether nothing is left to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.flows.iter().all(|flow| flow.n_waiting() == 0)
    }

    /// What of `flow` waits here.
    pub fn queue(&self, flow: FlowIndex) -> Queue {
        let state = &self.flows[flow.0];
        Queue {
            n_batches: state.n_waiting(),
            n_unsent: state.fresh.len(),
        }
    }

    /// Whether [`Publisher::kept`] is waited for.
    pub fn is_keeping(&self) -> bool {
        self.flows.iter().any(|flow| !flow.keeping.is_empty())
    }

    /// Calls in flight now.
    pub fn n_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Fills free slots, one flow after the other.
    fn dispatch(&mut self, now: Instant, commands: &mut Vec<Command>) {
        self.searched_at = Some(now);
        let n_flows = self.live.len();
        // A flow never holds more than half of the slots while there are others.
        let flow_slots_max = if n_flows > 1 {
            (self.slots_max / 2).max(1)
        } else {
            self.slots_max
        };
        let mut n_passed_over = 0;
        while self.pace.allows(now) && self.calls.len() < self.slots_max && n_passed_over < n_flows
        {
            let flow = self.live[self.turn];
            self.turn = (self.turn + 1) % n_flows;
            let Some(pending) = self.flows[flow.0].next_to_send(now, flow_slots_max) else {
                n_passed_over += 1;
                continue;
            };
            n_passed_over = 0;
            let id = CallId(self.next_call);
            self.next_call += 1;
            self.pace.begun(id, now);
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
                    life: state.life,
                    sent_at: now,
                },
            );
            commands.push(Command::Send { id, flow, call });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Destination;
    use crate::publish::batch::tests::batch_of;
    use crate::publish::failure::FailureKind;
    use crate::record::{Lane, Span};

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };
    const FLOW: FlowIndex = FlowIndex(0);

    pub(super) fn batch(n_records: usize, cursor: u64, start: u64, end: u64) -> Batch {
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
    fn an_outage_of_hours_costs_a_call_each_back_off_and_is_over_within_one() {
        const HOURS: u64 = 12;
        let start = Instant::now();
        let mut now = start;
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 8, 1), Vec::new());
        (0..100).for_each(|n| machine.batch(FLOW, batch(5, 1, n, n + 1), now, &mut commands));
        let mut calls = VecDeque::from(sends(&mut commands));
        let mut n_calls = 0;
        while now < start + Duration::from_secs(HOURS * 3_600) {
            while let Some((id, ..)) = calls.pop_front() {
                n_calls += 1;
                machine.answered(id, down(), now, &mut commands);
                calls.extend(sends(&mut commands));
            }
            assert_eq!(
                machine.queue(FLOW).n_batches,
                100,
                "nothing is added to what waits"
            );
            let wake = machine.next_wake().expect("it is tried again");
            assert!(wake > now, "time passes between tries");
            now = wake;
            machine.wake(now, &mut commands);
            calls.extend(sends(&mut commands));
        }
        // 10 s at the longest, less three tenths.
        assert!(
            n_calls < HOURS * 3_600 / 7,
            "{n_calls} calls in {HOURS} hours"
        );
        // It is over right after a try that failed.
        let over = now;
        calls.clear();
        let in_flight: Vec<CallId> = machine.calls.keys().copied().collect();
        for id in in_flight {
            machine.answered(id, down(), now, &mut commands);
        }
        commands.clear();
        now = machine.next_wake().expect("it is tried again");
        machine.wake(now, &mut commands);
        let mut first = VecDeque::from(sends(&mut commands));
        while let Some((id, ..)) = first.pop_front() {
            machine.answered(id, Ok(Answer::AllAccepted), now, &mut commands);
            first.extend(sends(&mut commands));
        }
        assert!(now - over <= BACKOFF.max.mul_f64(1.3), "{:?}", now - over);
        assert!(machine.is_idle(), "all of it is sent at once then");
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

    /// A service that answers at once has few calls, one that takes its time as many as there are slots.
    #[test]
    fn calls_that_were_begun_a_moment_ago_are_few() {
        let start = Instant::now();
        let mut machine = Publisher::new([BACKOFF], 16, 1).paced(4);
        let mut commands = Vec::new();
        (0..64).for_each(|n| machine.batch(FLOW, batch(1, 1, n, n + 1), start, &mut commands));
        let calls = sends(&mut commands);
        assert_eq!(calls.len(), 4);
        let (id, ..) = calls[0];
        machine.answered(id, Ok(Answer::AllAccepted), start, &mut commands);
        assert_eq!(sends(&mut commands).len(), 1);
        for n_in_flight in [8, 12, 16] {
            let due = machine.next_wake().unwrap();
            machine.wake(due, &mut commands);
            sends(&mut commands);
            assert_eq!(machine.n_in_flight(), n_in_flight);
        }
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

    /// A batch with these lanes, covering one byte a record from `start`.
    fn ordered_batch(lanes: &[u64], start: u64) -> Batch {
        let n_records = lanes.len();
        let mut batch = batch(n_records, 0, start, start + n_records as u64);
        batch.lanes = lanes.iter().copied().map(Lane).collect();
        batch
    }

    #[test]
    fn a_key_that_always_fails_holds_up_no_other() {
        let mut now = Instant::now();
        let (mut machine, mut commands) = (Publisher::new([BACKOFF], 4, 1), Vec::new());
        let lanes: Vec<u64> = (0..50).map(|n| n % 5).collect();
        for n in 0..4 {
            machine.batch(FLOW, ordered_batch(&lanes, n * 50), now, &mut commands);
        }
        // A batch of the failing key alone stops nobody either.
        machine.batch(FLOW, ordered_batch(&[0], 200), now, &mut commands);
        machine.batch(FLOW, ordered_batch(&[1], 201), now, &mut commands);
        let mut accepted = HashMap::<u64, Vec<u64>>::new();
        for _ in 0..400 {
            let mut calls = VecDeque::new();
            machine.wake(now, &mut commands);
            loop {
                for command in commands.drain(..) {
                    if let Command::Send { id, call, .. } = command {
                        calls.push_back((id, call));
                    }
                }
                let Some((id, call)) = calls.pop_front() else {
                    break;
                };
                let outcome = |place: &u16| {
                    let lane = call.batch.lanes[usize::from(*place)].0;
                    let offset = call.batch.spans[0].start + u64::from(*place);
                    match lane {
                        0 => error("InternalFailure"),
                        _ => {
                            accepted.entry(lane).or_default().push(offset);
                            None
                        }
                    }
                };
                let outcomes = call.chosen.iter().map(outcome).collect();
                machine.answered(id, Ok(Answer::Partly(outcomes)), now, &mut commands);
            }
            now += Duration::from_millis(50);
        }
        for lane in 1..5 {
            let expected = (0..200).filter(|offset| offset % 5 == lane);
            let expected: Vec<u64> = expected.chain((lane == 1).then_some(201)).collect();
            assert_eq!(accepted[&lane], expected, "lane {lane}");
        }
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

    /// What became of a call, as the script has it.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Accepted,
        /// Records whose bit is set fail, throttled or not.
        Partly {
            failing: u64,
            is_throttled: bool,
        },
        /// Nothing came through.
        Lost,
        /// The service took these records, and the answer never came.
        Unanswered {
            failing: u64,
        },
    }

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Accepted),
            (any::<u64>(), any::<bool>()).prop_map(|(failing, is_throttled)| Fate::Partly {
                failing,
                is_throttled
            }),
            Just(Fate::Lost),
            any::<u64>().prop_map(|failing| Fate::Unanswered { failing }),
        ]
    }

    #[derive(Debug, Clone)]
    enum OrderedStep {
        Batch { lanes: Vec<u64> },
        Answer { pick: usize, fate: Fate },
        Wait { ms: u64 },
    }

    fn ordered_steps() -> impl Strategy<Value = Vec<OrderedStep>> {
        let step = prop_oneof![
            2 => proptest::collection::vec(0..4u64, 1..8).prop_map(|lanes| OrderedStep::Batch { lanes }),
            4 => (any::<usize>(), fates()).prop_map(|(pick, fate)| OrderedStep::Answer { pick, fate }),
            1 => (0..3000u64).prop_map(|ms| OrderedStep::Wait { ms }),
        ];
        proptest::collection::vec(step, 1..120)
    }

    proptest! {
        /// Partial failures, throttles, calls that fail and calls whose acceptance nobody hears of: of each lane the
        /// service accepts the records in the order in which they were read, again only ones it accepted just before.
        #[test]
        fn each_lane_is_accepted_in_order_and_nothing_is_lost(script in ordered_steps()) {
            let (mut machine, mut commands) = (Publisher::new([BACKOFF], 4, 9), Vec::new());
            let mut now = Instant::now();
            let mut open: Vec<(CallId, Call)> = Vec::new();
            let mut next = 0;
            let mut mark = 0;
            let mut read: HashMap<u64, Vec<u64>> = HashMap::new();
            let mut accepted: HashMap<u64, Vec<u64>> = HashMap::new();
            let finish = (0..1000).flat_map(|_| {
                let answer = OrderedStep::Answer { pick: 0, fate: Fate::Accepted };
                [OrderedStep::Wait { ms: 11_000 }, answer]
            });
            for step in script.into_iter().chain(finish) {
                match step {
                    OrderedStep::Batch { lanes } => {
                        for (offset, lane) in (next..).zip(&lanes) {
                            read.entry(*lane).or_default().push(offset);
                        }
                        machine.batch(FLOW, ordered_batch(&lanes, next), now, &mut commands);
                        next += lanes.len() as u64;
                    }
                    OrderedStep::Wait { ms } => {
                        now += Duration::from_millis(ms);
                        machine.wake(now, &mut commands);
                    }
                    OrderedStep::Answer { .. } if open.is_empty() => {}
                    OrderedStep::Answer { pick, fate } => {
                        let (id, call) = open.swap_remove(pick % open.len());
                        let failing = match fate {
                            Fate::Accepted => 0,
                            Fate::Partly { failing, .. } | Fate::Unanswered { failing } => failing,
                            Fate::Lost => u64::MAX,
                        };
                        let fails = |place: &u16| failing >> (place % 64) & 1 == 1;
                        for place in call.chosen.iter().filter(|place| !fails(place)) {
                            let lane = call.batch.lanes[usize::from(*place)].0;
                            let offset = call.batch.spans[0].start + u64::from(*place);
                            accepted.entry(lane).or_default().push(offset);
                        }
                        let code = match fate {
                            Fate::Partly { is_throttled: true, .. } => "ProvisionedThroughputExceededException",
                            _ => "InternalFailure",
                        };
                        let outcome = |place: &u16| if fails(place) { error(code) } else { None };
                        let result = match fate {
                            Fate::Accepted => Ok(Answer::AllAccepted),
                            Fate::Partly { .. } => Ok(Answer::Partly(call.chosen.iter().map(outcome).collect())),
                            Fate::Lost | Fate::Unanswered { .. } => down(),
                        };
                        machine.answered(id, result, now, &mut commands);
                    }
                }
                for command in commands.drain(..) {
                    match command {
                        Command::Send { id, call, .. } => open.push((id, call)),
                        Command::Advance { offset, .. } => mark = offset,
                        Command::Keep { .. } | Command::Release { .. } | Command::Report { .. } => {}
                    }
                }
                let on_their_way: Vec<Lane> = open
                    .iter()
                    .flat_map(|(_, call)| call.chosen.iter().map(|place| call.batch.lanes[usize::from(*place)]))
                    .collect();
                let lanes: std::collections::HashSet<_> = on_their_way.iter().collect();
                prop_assert_eq!(lanes.len(), on_their_way.len(), "two records of one lane on their way");
            }
            prop_assert!(machine.is_idle());
            prop_assert_eq!(mark, next);
            for (lane, mut accepted) in accepted {
                accepted.dedup();
                prop_assert_eq!(Some(accepted), read.remove(&lane));
            }
            prop_assert!(read.is_empty());
        }

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
                        Command::Keep { .. } | Command::Report { .. } => {}
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
