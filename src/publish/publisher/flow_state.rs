//! One flow of the machine: what waits to be sent, what its answers mean, how far its files are acknowledged.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::refused::{Keeping, Suspects, Tried};
use super::{Command, FlowRules, Reported};
use crate::config::{Backoff, RefusedRecords};
use crate::publish::backoff::Failures;
use crate::publish::failure::{self, CallFailure, FailureKind};
use crate::publish::ordering::{Lanes, Picked};
use crate::publish::watermark::Watermark;
use crate::publish::wire::RecordError;
use crate::record::{Batch, CursorId, FlowIndex};

/// Where a flow stands.
pub(super) struct FlowState {
    pub(super) backoff: Backoff,
    pub(super) refused_records: RefusedRecords,
    /// Batches that were never tried, oldest first.
    pub(super) fresh: VecDeque<Pending>,
    /// Batches, or parts of them, that wait for their own back-off, by when it ends, the batch, and what came first.
    pub(super) waiting: BTreeMap<(Instant, u64, u64), Pending>,
    pub(super) next_waiting: u64,
    /// Records without their final outcome, of the batches that keep no order.
    pub(super) unsettled: HashMap<u64, Unsettled>,
    pub(super) suspects: Suspects,
    pub(super) keeping: Keeping,
    pub(super) next_refused: u64,
    /// Which life of the flow this is: what calls of an earlier one come to has no say.
    pub(super) life: u32,
    /// Batches whose records keep an order.
    pub(super) lanes: Lanes,
    pub(super) failures: Failures,
    pub(super) blocked_until: Option<Instant>,
    /// Raised with each back-off of the flow: tells failures of calls that were sent before it from those after.
    pub(super) epoch: u64,
    pub(super) n_in_flight: usize,
    /// How many calls may be in flight, while records are throttled: halved then, and one more with each good call.
    pub(super) window: f64,
    pub(super) watermarks: HashMap<CursorId, Watermark>,
    /// The last failure of a whole call, until one gets through.
    pub(super) n_failures_said: u32,
}

/// A batch that keeps no order, and how many of its records have no final outcome.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) batch: Arc<Batch>,
    pub(super) n_left: usize,
}

/// A batch, or a part of it, on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) batch: Arc<Batch>,
    /// Records that are not accepted yet.
    pub(super) left: Vec<u16>,
    pub(super) failures: Failures,
}

impl Pending {
    /// Takes the second half of its records away; `None` if it has one alone.
    pub(super) fn halve(&mut self) -> Option<Pending> {
        (self.left.len() > 1).then(|| Pending {
            number: self.number,
            batch: Arc::clone(&self.batch),
            left: self.left.split_off(self.left.len() / 2),
            failures: Failures::default(),
        })
    }

    /// One of its records, by itself.
    pub(super) fn one(&self, place: u16) -> Pending {
        Pending {
            number: self.number,
            batch: Arc::clone(&self.batch),
            left: vec![place],
            failures: self.failures,
        }
    }

    /// The part of an ordered batch that is in one call.
    pub(super) fn part_of(picked: Picked) -> Pending {
        Pending {
            number: picked.number,
            batch: picked.batch,
            left: picked.records,
            failures: Failures::default(),
        }
    }

    /// Whether its records keep an order: [`Lanes`] knows then what is left of it.
    pub(super) fn is_ordered(&self) -> bool {
        !self.batch.lanes.is_empty()
    }
}

/// A call that wasn't answered yet.
pub(super) struct InFlight {
    pub(super) flow: FlowIndex,
    pub(super) pending: Pending,
    pub(super) epoch: u64,
    pub(super) life: u32,
    pub(super) sent_at: Instant,
}

impl FlowState {
    /// A flow that has sent nothing yet.
    pub(super) fn new(rules: FlowRules, slots_max: usize) -> FlowState {
        FlowState {
            backoff: rules.backoff,
            refused_records: rules.refused_records,
            fresh: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_waiting: 0,
            unsettled: HashMap::new(),
            suspects: Suspects::default(),
            keeping: Keeping::default(),
            next_refused: 0,
            life: 0,
            lanes: Lanes::default(),
            failures: Failures::default(),
            blocked_until: None,
            epoch: 0,
            n_in_flight: 0,
            window: slots_max as f64,
            watermarks: HashMap::new(),
            n_failures_said: 0,
        }
    }

    /// The flow starts anew: what it sent is forgotten, and whatever its calls come to. Its batches are handed out.
    pub(super) fn start_anew(&mut self) -> impl Iterator<Item = Arc<Batch>> + use<> {
        self.life += 1;
        self.fresh.clear();
        self.waiting.clear();
        self.suspects = Suspects::default();
        self.keeping = Keeping::default();
        self.watermarks.clear();
        let unordered = std::mem::take(&mut self.unsettled).into_values();
        let ordered = std::mem::take(&mut self.lanes).into_batches();
        unordered.map(|unsettled| unsettled.batch).chain(ordered)
    }

    pub(super) fn next_to_send(&mut self, now: Instant, slots_max: usize) -> Option<Pending> {
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
            _ => self
                .suspects
                .next_part()
                .or_else(|| self.fresh.pop_front())
                .or_else(|| self.lanes.pick(now).map(Pending::part_of))
                .or_else(|| self.suspects.next_alone()),
        }
    }

    pub(super) fn n_waiting(&self) -> usize {
        self.fresh.len()
            + self.waiting.len()
            + self.lanes.n_batches()
            + self.suspects.len()
            + self.keeping.len()
    }

    /// When a back-off ends, or ended, that holds something up.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let first_batch = self.waiting.keys().next().map(|(until, ..)| *until);
        let first_waiting = [first_batch, self.lanes.next_due()]
            .into_iter()
            .flatten()
            .min();
        let can_send = !self.fresh.is_empty() || self.lanes.is_ready() || self.suspects.len() > 0;
        match (self.blocked_until, first_waiting) {
            (Some(blocked), _) if can_send => Some(blocked),
            (Some(blocked), Some(waiting)) => Some(blocked.max(waiting)),
            (None, Some(waiting)) => Some(waiting),
            (_, None) => None,
        }
    }

    pub(super) fn all_accepted(
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
        self.got_through(flow, now, commands);
        self.settled(flow, pending.number, &pending.left, pending.batch, commands);
    }

    /// These records of a batch have their final outcome.
    pub(super) fn settled(
        &mut self,
        flow: FlowIndex,
        number: u64,
        records: &[u16],
        batch: Arc<Batch>,
        commands: &mut Vec<Command>,
    ) {
        let is_done = if batch.lanes.is_empty() {
            let Some(unsettled) = self.unsettled.get_mut(&number) else {
                return;
            };
            unsettled.n_left -= records.len();
            let is_done = unsettled.n_left == 0;
            if is_done {
                self.unsettled.remove(&number);
            }
            is_done
        } else {
            self.lanes.accepted(number, records)
        };
        if is_done {
            self.settle(flow, number, batch, commands);
        }
    }

    pub(super) fn wait_until(&mut self, until: Instant, pending: Pending) {
        let key = (until, pending.number, self.next_waiting);
        self.waiting.insert(key, pending);
        self.next_waiting += 1;
    }

    /// Some records were accepted, or at least each was judged by itself: the others wait for the batch's back-off.
    pub(super) fn partly_accepted(
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
        let (blamed, failed): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .filter_map(|(index, outcome)| Some((*index, outcome.as_ref()?)))
            .partition(|(_, error)| {
                self.refused_records != RefusedRecords::Retry && is_of(error, FailureKind::Content)
            });
        pending.left = failed.iter().map(|(index, _)| *index).collect();
        let n_throttled = failed
            .iter()
            .filter(|(_, error)| is_of(error, FailureKind::Throttled))
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
        let blamed: Vec<_> = blamed
            .into_iter()
            .map(|(place, error)| (pending.one(place), error.clone()))
            .collect();
        if n_throttled > 0 {
            self.window = (self.window / 2.0).clamp(1.0, (self.n_in_flight + 1) as f64);
        }
        if accepted.is_empty() {
            pending.failures.failed();
            if pending.left.len() == pending.batch.records.len() && !pending.is_ordered() {
                // Not one record of a whole batch: that isn't about single records or one shard. Where an order is kept
                // a batch may be of one lane, which must not hold up the others.
                self.back_off(epoch, now, chance);
            }
        } else {
            self.got_through(flow, now, commands);
            pending.failures.succeeded();
            pending.failures.failed();
        }
        // What was accepted along with a record proves as much as what was before.
        let at = if accepted.is_empty() { sent_at } else { now };
        let tried = Tried { epoch, at };
        for (alone, error) in blamed {
            self.refused_alone(flow, alone, error, tried, (now, chance), commands);
        }
        if !accepted.is_empty() {
            let batch = Arc::clone(&pending.batch);
            self.settled(flow, pending.number, &accepted, batch, commands);
        }
        if !pending.left.is_empty() {
            self.wait_out(pending, now, chance);
        }
    }

    /// Records that failed by themselves wait for their own back-off.
    pub(super) fn wait_out(&mut self, pending: Pending, now: Instant, chance: f64) {
        if pending.is_ordered() {
            let (number, failed) = (pending.number, &pending.left);
            self.lanes.failed(number, failed, self.backoff, now, chance);
        } else {
            let until = now + pending.failures.delay(self.backoff, chance);
            self.wait_until(until, pending);
        }
    }

    pub(super) fn call_failed(
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
        if failure.kind == FailureKind::Content {
            let (error, at) = (RecordError::from(&failure), (now, chance));
            let event = Reported::Failed {
                n_sent,
                failure,
                delay: Duration::ZERO,
                latency,
            };
            commands.push(Command::Report { flow, event });
            let tried = Tried { epoch, at: sent_at };
            self.blamed(flow, pending, error, tried, at, commands);
            return;
        }
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
        if pending.is_ordered() {
            self.lanes.put_back(pending.number, pending.left);
        } else {
            self.wait_until(now, pending);
        }
    }

    /// Stops the flow for its back-off, unless the call was sent before the back-off that is under way.
    pub(super) fn back_off(&mut self, epoch: u64, now: Instant, chance: f64) {
        if epoch == self.epoch {
            self.epoch += 1;
            self.failures.failed();
            self.blocked_until = Some(now + self.failures.delay(self.backoff, chance));
        }
    }

    pub(super) fn got_through(
        &mut self,
        flow: FlowIndex,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        self.blocked_until = None;
        self.failures.succeeded();
        self.others_are_taken(now);
        if self.n_failures_said > 0 {
            let event = Reported::Recovered {
                n_failures: std::mem::take(&mut self.n_failures_said),
            };
            commands.push(Command::Report { flow, event });
        }
    }

    /// Every record of the batch has its final outcome.
    pub(super) fn settle(
        &mut self,
        flow: FlowIndex,
        number: u64,
        batch: Arc<Batch>,
        commands: &mut Vec<Command>,
    ) {
        for span in &batch.spans {
            let Some(watermark) = self.watermarks.get_mut(&span.cursor) else {
                continue;
            };
            if let Some(offset) = watermark.acknowledge(number) {
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
            bytes: batch.budget_bytes,
            batch,
        });
    }
}

fn is_of(error: &RecordError, kind: FailureKind) -> bool {
    failure::classify(&error.code, 0) == kind
}

fn bytes_of(batch: &Batch, records: &[u16]) -> usize {
    records
        .iter()
        .map(|index| batch.records[usize::from(*index)].data_len())
        .sum()
}
