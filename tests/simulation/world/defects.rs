//! Flows that end by a defect, records that are refused for good, and clocks that are set.

use std::collections::HashMap;
use std::time::Duration;

use kinesis_agent::checkpoint::Change;
use kinesis_agent::flow::inbox::Inward;
use kinesis_agent::publish::run::Inbound;
use kinesis_agent::record::FlowIndex;
use kinesis_agent::tail::testing::ContentId;

use super::World;
use crate::simulation::Planted;
use crate::simulation::ledger::Verdict;
use crate::simulation::process::Stage;

/// A defect shows within so many operations on files, if at all.
const OPERATIONS_MAX: u32 = 12;
/// The longest rest before a flow starts anew.
const REST_MS_MAX: u64 = 3_000;
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

impl World {
    /// A flow is at work, and may panic in the middle of it.
    pub(super) fn defect(&mut self) -> Result<bool, String> {
        let place = self.rng.usize(..self.process.flows.len());
        let side = &self.process.flows[place];
        if !matches!(side.stage, Stage::Alive(_)) {
            return Ok(false);
        }
        // Where there is no news and nothing is due, no work is done in which a defect could show.
        let news = Some(side.news.try_recv().unwrap_or(Inward::Woken));
        let n_operations = self.rng.u32(..OPERATIONS_MAX);
        self.disk.borrow_mut().panics_in = Some(n_operations);
        self.flow_hears(place, news).map(|()| true)
    }

    /// What the flow's thread does when its machine panicked, as `flow::thread` has it.
    pub(super) fn flow_died(&mut self, place: usize) -> Verdict {
        self.life.n_defects += 1;
        let rest = Duration::from_millis(self.rng.u64(..REST_MS_MAX));
        self.tell(|| format!("flow {place} ends by a defect, and rests {rest:?}"));
        let side = &mut self.process.flows[place];
        let Stage::Alive(mut machine) = std::mem::replace(&mut side.stage, Stage::Stopped) else {
            return Ok(());
        };
        let mut places = machine.places();
        if self.planted == Planted::RestartAtRead {
            let read: HashMap<_, _> = machine
                .cursors()
                .map(|cursor| (cursor.identity, cursor.read))
                .collect();
            for place in &mut places {
                place.offset = read.get(&place.identity).copied().unwrap_or(place.offset);
            }
        }
        side.survivor.learn(places);
        let is_stopped = machine.is_stopped();
        drop(machine);
        match is_stopped {
            true => self.stop_dead_flow(place),
            false => {
                self.process.flows[place].stage = Stage::Resting(self.now + rest);
                self.check_budget()
            }
        }
    }

    /// A thread without a machine hears of something, or its rest is over.
    pub(super) fn thread_hears(&mut self, place: usize, news: Option<Inward>) -> Verdict {
        let side = &mut self.process.flows[place];
        match (&side.stage, news) {
            (Stage::Resting(_), Some(Inward::Stop)) => self.stop_dead_flow(place),
            (Stage::Resting(_), Some(Inward::End)) => {
                self.stop_dead_flow(place)?;
                self.process.flows[place].stage = Stage::Ended;
                Ok(())
            }
            (Stage::Resting(_), Some(Inward::Woken)) => {
                side.inbox.take_wake();
                Ok(())
            }
            (Stage::Resting(_), None) => self.start_flow_anew(place),
            (_, Some(Inward::End)) => {
                side.stage = Stage::Ended;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start_flow_anew(&mut self, place: usize) -> Verdict {
        self.n_lives += 1;
        let (life, now) = (self.n_lives, self.now);
        let index = FlowIndex(place);
        self.process
            .to_publisher
            .push_back(Inbound::Restarted(index));
        let side = &mut self.process.flows[place];
        side.start_machine(life, &self.disk, now);
        let disk = self.disk.borrow();
        let contents: HashMap<u64, ContentId> = disk
            .files()
            .map(|(_, node)| (node.inode, node.content.get()))
            .collect();
        for at in side.survivor.places().ours {
            let content = contents.get(&at.identity.inode).copied();
            self.ledger.goes_on_at(index, &at, content, life);
        }
        drop(disk);
        self.tell(|| format!("flow {place} starts anew"));
        Ok(())
    }

    /// What isn't acknowledged is sent after the agent's next start.
    fn stop_dead_flow(&mut self, place: usize) -> Verdict {
        let flow = self.setting.flows[place].0.id.clone();
        let side = &mut self.process.flows[place];
        side.stage = Stage::Stopped;
        if !side.has_finished {
            side.has_finished = true;
            let finished = Inbound::Finished(FlowIndex(place));
            self.process.to_publisher.push_back(finished);
        }
        let upsert = |place| Change::Upsert {
            flow: flow.clone(),
            place,
        };
        let learnt = side.survivor.learnt().map(upsert).collect();
        self.submit(place, learnt)
    }

    // ---- dead letters

    /// Written and synced; a full disk makes it wait.
    pub(super) fn write_letter(&mut self) -> Result<bool, String> {
        if !self.letters_have_room {
            return Ok(false);
        }
        let Some(order) = self.process.orders.pop_front() else {
            return Ok(false);
        };
        let line = order.line;
        self.tell(|| format!("line {line} is a dead letter"));
        self.ledger.kept(line)?;
        self.process.letters.push_back(order.id);
        Ok(true)
    }

    pub(super) fn tell_kept(&mut self) -> bool {
        let letter = self.process.letters.pop_front();
        let kept = letter.map(Inbound::Kept);
        let is_any = kept.is_some();
        self.process.to_publisher.extend(kept);
        is_any
    }

    // ---- the clock

    /// Files are stamped by it, and records may be.
    pub(super) fn set_clock(&mut self) -> bool {
        let span_ms = [HOUR_MS, YEAR_MS][self.rng.usize(..2)];
        let by_ms = self.rng.i64(-span_ms..span_ms);
        self.disk.borrow_mut().pass(by_ms);
        self.tell(|| format!("the clock is set by {by_ms} ms"));
        true
    }
}
