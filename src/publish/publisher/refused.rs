//! Records that the service will never take: found by halving, and held until they are kept or given up.
//!
//! ```text
//!  call of n blamed for its content ─▶ two halves ─▶ … ─▶ call of 1 ─┬─ others of the flow are accepted ─▶ refused for good
//!                                                                     └─ none is ─▶ tried on beside the others
//! ```
//!
//! A service that refuses everything (a wrong destination, a proxy in the way) must not cost a flow its records: one
//! counts as refused for good only while others of its flow are accepted. Where it is kept rather than dropped, a few
//! refusals by itself are enough too, so that a flow's only record doesn't wait for ever.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::{Command, FlowState, Pending, Reported};
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
    alone: VecDeque<(Pending, RecordError)>,
    /// A record was accepted in this run, and not too many were refused since.
    others_are_taken: bool,
    n_refused_in_a_row: u32,
}

impl Suspects {
    /// The next half to be tried.
    pub fn next_part(&mut self) -> Option<Pending> {
        self.parts.pop_front()
    }

    /// The next record to be tried again by itself.
    pub fn next_alone(&mut self) -> Option<Pending> {
        self.alone.pop_front().map(|(pending, _)| pending)
    }

    pub fn len(&self) -> usize {
        self.parts.len() + self.alone.len()
    }

    fn count_refused(&mut self) {
        self.n_refused_in_a_row = self.n_refused_in_a_row.saturating_add(1);
        if self.n_refused_in_a_row >= REFUSED_IN_A_ROW_MAX {
            self.others_are_taken = false;
        }
    }

    fn is_proven(&self, pending: &Pending, rule: RefusedRecords) -> bool {
        let is_enough = pending.failures.count() + 1 >= ALONE_REFUSALS_MAX;
        self.others_are_taken || rule == RefusedRecords::DeadLetter && is_enough
    }
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
        epoch: u64,
        at: (Instant, f64),
        commands: &mut Vec<Command>,
    ) {
        match pending.halve() {
            Some(second) => {
                self.suspects.parts.push_front(second);
                self.suspects.parts.push_front(pending);
            }
            None => self.refused_alone(flow, pending, error, epoch, at, commands),
        }
    }

    /// One record was refused by itself. `at` is the time and a chance drawn evenly from [0, 1).
    pub(super) fn refused_alone(
        &mut self,
        flow: FlowIndex,
        mut pending: Pending,
        error: RecordError,
        epoch: u64,
        (now, chance): (Instant, f64),
        commands: &mut Vec<Command>,
    ) {
        if self.refused_records == RefusedRecords::Retry {
            self.suspects.count_refused();
            if !self.suspects.others_are_taken {
                self.back_off(epoch, now, chance);
            }
            pending.failures.failed();
            self.wait_out(pending, now, chance);
        } else if self.suspects.is_proven(&pending, self.refused_records) {
            self.refused_for_good(flow, pending, error, commands);
        } else {
            pending.failures.failed();
            self.back_off(epoch, now, chance);
            self.suspects.alone.push_back((pending, error));
        }
    }

    /// A record was accepted: those refused beside it are refused for what they are.
    pub(super) fn others_are_taken(&mut self, flow: FlowIndex, commands: &mut Vec<Command>) {
        self.suspects.others_are_taken = true;
        self.suspects.n_refused_in_a_row = 0;
        while self.suspects.others_are_taken
            && let Some((pending, error)) = self.suspects.alone.pop_front()
        {
            self.refused_for_good(flow, pending, error, commands);
        }
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
