//! Kills, stops, starts, and the end of all of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kinesis_agent::record::FlowIndex;
use kinesis_agent::tail::testing::{ContentId, Refusals};

use super::World;
use crate::simulation::ledger::Verdict;
use crate::simulation::process::{FlowSide, Process};
use crate::simulation::weather::Weather;

/// Once all is well, everything arrives and everything ends within this: the longest back-off, the longest time between
/// two walks, and as much again.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long an orderly stop waits for what is in flight.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// More steps than any end needs.
const END_STEPS_MAX: u64 = 500_000;

impl World {
    /// What is in flight may be accepted, now or later, or not at all; nobody will know.
    pub(super) fn abandon_calls(&mut self) {
        for wire in std::mem::take(&mut self.process.calls) {
            if wire.lines.iter().any(|line| self.ledger.is_bad(*line)) {
                continue;
            }
            match self.rng.u8(..3) {
                0 => wire
                    .lines
                    .iter()
                    .for_each(|line| self.ledger.accepted(*line)),
                1 => self.strays.push(wire.lines),
                _ => {}
            }
        }
    }

    pub(super) fn kill(&mut self) -> bool {
        self.tell(|| "KILL".to_owned());
        self.life.n_kills += 1;
        self.abandon_calls();
        self.start_again();
        true
    }

    pub(super) fn start_again(&mut self) {
        self.n_runs += 1;
        let seed = self.rng.u64(..);
        // The old one's handles go first: its inode numbers may be used again.
        self.process.flows.clear();
        self.process = Process::start(
            self.n_lives,
            &self.setting,
            &self.database,
            &self.disk,
            seed,
            self.now,
        );
        self.n_lives += self.setting.flows.len() as u32;
        let disk = self.disk.borrow();
        let now: HashMap<u64, ContentId> = disk
            .files()
            .map(|(_, node)| (node.inode, node.content.get()))
            .collect();
        for flow in (0..self.folders.len()).map(FlowIndex) {
            for place in self.database.places(flow).ours {
                let content = now.get(&place.identity.inode).copied();
                self.ledger.begins_at(flow, &place, content);
            }
        }
        drop(disk);
        let run = self.n_runs;
        self.tell(|| format!("run {run} begins"));
    }

    /// An orderly stop: what is in flight has until `until`. Whether all of it was answered.
    pub(super) fn stop(&mut self, until: Instant) -> Result<bool, String> {
        self.tell(|| "an orderly stop".to_owned());
        self.life.n_stops += 1;
        self.process.flows.iter().for_each(|side| side.inbox.stop());
        let n_flows = self.folders.len();
        let is_drained = |process: &Process| {
            process.n_finished == n_flows
                && process.to_publisher.is_empty()
                && process.publisher.is_idle()
        };
        while !is_drained(&self.process) && self.now < until {
            self.agent_step()?;
        }
        let is_drained = is_drained(&self.process);
        if is_drained && self.process.budget.held_bytes() > 0 {
            let held = self.process.budget.held_bytes();
            return Err(format!("{held} bytes are held of the budget by nobody"));
        }
        self.abandon_calls();
        self.process.flows.iter().for_each(|side| side.inbox.end());
        while self.process.flows.iter().any(|side| !side.has_ended()) {
            if !self.flow()? {
                return Err("a flow doesn't end".to_owned());
            }
        }
        // The writer saves what it has before it ends.
        let writing = self.process.writing.take().unwrap_or_default();
        let rest = self.process.pending.take(self.now);
        if self.database_works {
            self.save(&writing);
            self.save(&rest);
        }
        Ok(is_drained)
    }

    /// All is well from now on: everything arrives, everything ends, and nothing is sent twice then.
    pub(super) fn end(&mut self) -> Verdict {
        self.tell(|| "all is well".to_owned());
        self.weather = Weather::CLEAR;
        (self.database_works, self.letters_have_room) = (true, true);
        self.disk.borrow_mut().refusals = Refusals::default();
        for flow in 0..self.folders.len() {
            self.finish_line(flow);
        }
        while self.late() {}
        let until = self.now + PATIENCE;
        let steps_max = self.life.n_steps + END_STEPS_MAX;
        while !self.ledger.is_all_done() {
            self.agent_step()?;
            if self.now > until || self.life.n_steps > steps_max {
                let missing = self.ledger.first_missing();
                return Err(format!(
                    "stuck or lost: {missing:?} is neither accepted nor kept"
                ));
            }
        }
        // What a flow that rests doesn't know of it reads again once it goes on.
        let until = self.now + PATIENCE;
        while self.process.flows.iter().any(FlowSide::is_behind) && self.now < until {
            self.agent_step()?;
        }
        if !self.stop(self.now + PATIENCE)? {
            return Err("a stop doesn't end though everything was accepted or kept".to_owned());
        }
        self.start_again();
        let files: Vec<ContentId> = self
            .disk
            .borrow()
            .files()
            .map(|(_, node)| node.content.get())
            .collect();
        if let Some(line) = self.ledger.first_unsettled(&files) {
            return Err(format!(
                "an orderly stop left no checkpoint beyond {line:?}"
            ));
        }
        let until = self.now + PATIENCE;
        while self.now < until {
            self.agent_step()?;
        }
        Ok(())
    }
}
