//! What the agent's threads and tasks do in one step each, and what must hold then.

use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use kinesis_agent::checkpoint::pending::Due;
use kinesis_agent::checkpoint::{Change, FileIdentity, Fingerprint, Place};
use kinesis_agent::config::Ordering;
use kinesis_agent::flow::inbox::Inward;
use kinesis_agent::flow::machine::{Machine, Next};
use kinesis_agent::publish::publisher::Command;
use kinesis_agent::publish::run::Inbound;
use kinesis_agent::publish::wire::data_of;
use kinesis_agent::record::FlowIndex;
use kinesis_agent::tail::cursor::fingerprint_of;
use kinesis_agent::tail::disk::Disk as _;
use kinesis_agent::tail::testing::ContentId;

use super::World;
use crate::simulation::Planted;
use crate::simulation::ledger::Verdict;
use crate::simulation::process::{OnTheWire, Order, Stage, Surroundings};

/// Times in a row that a flow may be due at once and do nothing.
const IDLE_MAX: u32 = 20;
/// What a flow may hold beyond the budget: a record is written before its batch turns out to be full, and one is let in
/// where nothing is held.
const BEYOND_BUDGET_BYTES: usize = 128 * 1024;
/// However small the budget is, each flow is sure of so much.
const SHARE_BYTES_MIN: usize = 128 * 1024;

impl World {
    pub(super) fn flow(&mut self) -> Result<bool, String> {
        let n_flows = self.process.flows.len();
        let first = self.rng.usize(..n_flows);
        for place in (0..n_flows).map(|n| (first + n) % n_flows) {
            let side = &mut self.process.flows[place];
            let news = side.news.try_recv().ok();
            let is_due = side.due().is_some_and(|at| at <= self.now);
            if !side.has_ended() && (news.is_some() || is_due) {
                match side.stage {
                    Stage::Alive(_) => self.flow_hears(place, news)?,
                    _ => self.thread_hears(place, news)?,
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn flow_hears(&mut self, place: usize, news: Option<Inward>) -> Verdict {
        let heard = self.story.is_some().then(|| format!("{news:?}"));
        let has_news = news.is_some();
        let n_before = self.process.to_publisher.len();
        let clock_ms = self.disk.borrow_mut().clock_ms();
        let side = &mut self.process.flows[place];
        let Stage::Alive(machine) = &mut side.stage else {
            return Ok(());
        };
        let mut around = Surroundings {
            index: FlowIndex(place),
            hints: &mut side.hints,
            hints_work: self.hints_work,
            to_publisher: &mut self.process.to_publisher,
            sent_bytes: &mut self.process.sent_bytes,
            survivor: &mut side.survivor,
            has_finished: &mut side.has_finished,
            clock_ms,
            saved: Vec::new(),
            has_acted: false,
        };
        // Nothing of the machine is used after a panic but what its files had acknowledged.
        let next =
            panic::catch_unwind(AssertUnwindSafe(|| machine.on(news, self.now, &mut around)));
        let (saved, has_acted) = (around.saved, around.has_acted);
        self.disk.borrow_mut().panics_in = None;
        let Ok(next) = next else {
            self.submit(place, saved)?;
            return self.flow_died(place);
        };
        match next {
            Next::At(at) => side.wake_at = at,
            Next::Ended => {
                self.submit(place, saved)?;
                self.process.flows[place].stage = Stage::Ended;
                self.tell(|| format!("flow {place} ends"));
                return self.check_budget();
            }
        }
        let is_idle = !has_news && !has_acted && side.wake_at <= self.now;
        side.n_idle = if is_idle { side.n_idle + 1 } else { 0 };
        let n_idle = side.n_idle;
        let (heard, now) = (heard.unwrap_or_default(), self.now);
        let wait = self.process.flows[place]
            .wake_at
            .saturating_duration_since(now);
        self.tell(|| format!("flow {place} hears {heard}, and waits {wait:?}"));
        if n_idle > IDLE_MAX {
            return Err(format!(
                "flow {place} is due at once again and again, and does nothing"
            ));
        }
        if self.planted == Planted::CheckpointEarly {
            let new = self.process.to_publisher.range(n_before..);
            let batches = new.filter_map(|inbound| match inbound {
                Inbound::Batch(_, batch) => Some(batch),
                _ => None,
            });
            for span in batches.flat_map(|batch| &batch.spans) {
                self.process.flows[place]
                    .inbox
                    .advanced(span.cursor, span.end);
            }
        }
        self.submit(place, saved)?;
        self.check_budget()
    }

    pub(super) fn submit(&mut self, place: usize, changes: Vec<Change>) -> Verdict {
        let mut disk = self.disk.clone();
        let refusals = std::mem::take(&mut self.disk.borrow_mut().refusals);
        let machine = match &self.process.flows[place].stage {
            Stage::Alive(machine) => Some(machine),
            _ => None,
        };
        let cursors: HashMap<(FileIdentity, Fingerprint), ContentId> = machine
            .into_iter()
            .flat_map(Machine::cursors)
            .filter_map(|cursor| {
                let file = cursor.file.as_ref()?.plain()?;
                // A place may speak of what stood in a file before, or under its number.
                let known = cursor.fingerprint;
                let is_of_it = known.len == 0
                    || fingerprint_of(&mut disk, file, known.len).ok()? == Some(known);
                is_of_it.then(|| ((cursor.identity, known), file.content.get()))
            })
            .collect();
        // A flow that is dead has no cursors, and one may have closed its file: then its number and its beginning tell.
        let nodes: Vec<_> = disk
            .borrow()
            .files()
            .map(|(_, node)| node.clone())
            .collect();
        let mut content_of = |at: &Place| {
            let node = nodes.iter().find(|node| node.inode == at.identity.inode)?;
            let there = fingerprint_of(&mut disk, node, at.fingerprint.len).ok()?;
            (there == Some(at.fingerprint)).then(|| node.content.get())
        };
        let contents: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Upsert { place: at, .. } => cursors
                    .get(&(at.identity, at.fingerprint))
                    .copied()
                    .or_else(|| content_of(at)),
                Change::Remove { .. } => None,
            })
            .collect();
        self.disk.borrow_mut().refusals = refusals;
        for (change, content) in changes.iter().zip(contents) {
            if let Change::Upsert { place: at, .. } = change
                && let Some(content) = content
            {
                let (path, offset) = (&at.path, at.offset);
                self.ledger.submitted(FlowIndex(place), at, content)?;
                let text = self
                    .story
                    .is_some()
                    .then(|| format!("checkpoint of {} at {offset}", path.display()));
                self.tell(|| text.unwrap_or_default());
            }
        }
        self.process.pending.submit(changes);
        Ok(())
    }

    pub(super) fn check_budget(&self) -> Verdict {
        let (held, sent) = (self.process.budget.held_bytes(), self.process.sent_bytes);
        let n_flows = self.folders.len();
        let most = self.setting.budget_bytes.max(n_flows * SHARE_BYTES_MIN)
            + n_flows * BEYOND_BUDGET_BYTES;
        if held > most {
            return Err(format!("{held} bytes are held, of {most}"));
        }
        if held < sent {
            return Err(format!(
                "{sent} bytes are on their way, and {held} are held"
            ));
        }
        Ok(())
    }

    pub(super) fn publish(&mut self) -> Result<bool, String> {
        let Some(inbound) = self.process.to_publisher.pop_front() else {
            return Ok(false);
        };
        match inbound {
            Inbound::Batch(flow, batch) => {
                let n_records = batch.records.len();
                self.tell(|| format!("a batch of {n_records} of {flow:?}"));
                self.process
                    .publisher
                    .batch(flow, batch, self.now, &mut self.commands);
                self.obey(Some((flow, 1)))?;
            }
            Inbound::Finished(_) => self.process.n_finished += 1,
            Inbound::Kept(id) => {
                let publisher = &mut self.process.publisher;
                publisher.kept(id, self.now, &mut self.commands);
                self.obey(Some((id.flow, 0)))?;
            }
            Inbound::Restarted(flow) => {
                // What it sends before it has heard of it belongs to the life that is over.
                self.process.flows[flow.0].lives.pop_front();
                let publisher = &mut self.process.publisher;
                publisher.restarted(flow, self.now, &mut self.commands);
                self.obey(Some((flow, 0)))?;
            }
            _ => return Err(format!("{inbound:?} though no flow comes or goes")),
        }
        Ok(true)
    }

    pub(super) fn wake(&mut self) -> Result<bool, String> {
        let is_due = |at: Option<Instant>, now| at.is_some_and(|at| at <= now);
        if !is_due(self.process.publisher.next_wake(), self.now) {
            return Ok(false);
        }
        self.process.publisher.wake(self.now, &mut self.commands);
        self.obey(None)?;
        match is_due(self.process.publisher.next_wake(), self.now) {
            true => Err("the publisher is due at once after it was woken".to_owned()),
            false => Ok(true),
        }
    }

    /// Does what the publisher wants done, and tells those flows how many batches wait of which that may have changed,
    /// as `publish::run` does.
    pub(super) fn obey(&mut self, arrived: Option<(FlowIndex, usize)>) -> Verdict {
        let mut touched = Vec::from_iter(arrived);
        for command in std::mem::take(&mut self.commands) {
            match command {
                Command::Send { id, flow, call } => {
                    let keeps_order = self.setting.flows[flow.0].0.ordering == Ordering::PerFile;
                    let life = self.process.flows[flow.0].lives[0];
                    let mut lines = Vec::with_capacity(call.chosen.len());
                    for chosen in &call.chosen {
                        let record = &call.batch.records[usize::from(*chosen)];
                        let data = data_of(&call.batch, record);
                        let line = self.ledger.line_of(flow, data, &self.disk.borrow())?;
                        self.ledger.sends(line, life, keeps_order)?;
                        lines.push(line);
                    }
                    self.life.n_calls += 1;
                    let first = lines.first().copied();
                    let n_lines = lines.len();
                    self.tell(|| format!("{id:?} of {flow:?}: {n_lines} lines from {first:?}"));
                    self.process.calls.push(OnTheWire {
                        id,
                        flow,
                        call,
                        lines,
                        life,
                    });
                    self.check_slots(flow)?;
                    touched.push((flow, 0));
                }
                Command::Keep { id, flow, refused } => {
                    let record = &refused.batch.records[usize::from(refused.place)];
                    let data = data_of(&refused.batch, record);
                    let line = self.ledger.line_of(flow, data, &self.disk.borrow())?;
                    self.tell(|| format!("line {line} of {flow:?} is refused for good"));
                    match self.planted == Planted::LetterUnwritten {
                        true => self.process.letters.push_back(id),
                        false => self.process.orders.push_back(Order { id, line }),
                    }
                }
                Command::Advance {
                    flow,
                    cursor,
                    offset,
                } => self.process.flows[flow.0].inbox.advanced(cursor, offset),
                Command::Release { flow, bytes, batch } => {
                    self.process.sent_bytes -= bytes;
                    let kept = usize::from(self.planted == Planted::BudgetLeaks);
                    self.process
                        .budget
                        .release(flow, bytes.saturating_sub(kept));
                    if let Some(Ok(body)) =
                        Arc::into_inner(batch).map(|batch| batch.body.try_into_mut())
                    {
                        self.process.budget.give_back_body(body.into());
                    }
                    touched.push((flow, 0));
                }
                Command::Report { .. } => {}
            }
        }
        for (flow, n_arrived) in touched {
            let queue = self.process.publisher.queue(flow);
            self.process.flows[flow.0].inbox.queued(queue, n_arrived);
        }
        Ok(())
    }

    pub(super) fn check_slots(&self, flow: FlowIndex) -> Verdict {
        let (n_slots, n_flows) = (self.setting.n_slots, self.folders.len());
        let of_flow = if n_flows > 1 {
            (n_slots / 2).max(1)
        } else {
            n_slots
        };
        let calls = &self.process.calls;
        let n_of_flow = calls.iter().filter(|wire| wire.flow == flow).count();
        match calls.len() > n_slots || n_of_flow > of_flow {
            true => Err(format!(
                "{} calls in flight, {n_of_flow} of {flow:?}, with {n_slots} slots",
                calls.len()
            )),
            false => Ok(()),
        }
    }

    // ---- checkpoints

    pub(super) fn take_changes(&mut self) -> bool {
        let is_due = self.process.pending.due(self.now) == Due::Now;
        if self.process.writing.is_some() || !is_due {
            return false;
        }
        self.process.writing = Some(self.process.pending.take(self.now));
        true
    }

    pub(super) fn commit(&mut self) -> bool {
        let Some(changes) = self.process.writing.take() else {
            return false;
        };
        if !self.database_works {
            self.process.pending.failed(changes);
            return true;
        }
        let n_changes = changes.len();
        self.tell(|| format!("{n_changes} checkpoints are saved"));
        self.save(&changes);
        self.process.pending.saved();
        true
    }

    pub(super) fn save(&mut self, changes: &[Change]) {
        let flows = &self.setting.flows;
        let flow_of = |change: &Change| {
            let place = flows.iter().position(|(flow, _)| flow.id == *change.flow());
            FlowIndex(place.unwrap_or_default())
        };
        self.database.commit(flow_of, changes);
    }
}
