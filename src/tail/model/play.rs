//! The agent's side of a script: the real tailer in its [`World`], with a service and a database.

use std::collections::HashMap;
use std::time::Instant;

use super::sending::Sending;
use super::stage::Stage;
use super::world::{Verdict, World, demand};
use super::{Kind, Planted, Step};
use crate::checkpoint::{FileIdentity, Fingerprint, FlowPlaces};
use crate::tail::tailer::ROTATED_GRACE;
use crate::tail::testing::ContentId;
use crate::tail::{Hint, Tailer, Turn};

/// A script as far as it was played.
pub struct Play<S: Stage> {
    world: World<S>,
    tailer: Tailer<World<S>>,
    sending: Sending,
    /// What the tailer says is printed.
    pub is_told: bool,
}

impl<S: Stage> Play<S> {
    pub fn new(stage: S, kind: Kind, planted: Planted, hints_work: bool) -> Play<S> {
        let start = Instant::now();
        let world = World::new(stage, kind, planted, start);
        let mut tailer = Tailer::new(world.rules.clone(), FlowPlaces::default(), start);
        tailer.set_hints_work(hints_work);
        Play {
            world,
            tailer,
            sending: Sending::default(),
            is_told: false,
        }
    }

    pub fn step(&mut self, step: Step) -> Verdict {
        let now = self.world.now();
        match step {
            Step::Turn(room) => return self.turn(usize::from(room)).map(drop),
            Step::HintWritten(file) => {
                let hint = Hint::Written(self.world.path(file).into());
                self.tailer.hint(&hint, now);
            }
            Step::HintRenamed => self.tailer.hint(&Hint::Renamed, now),
            Step::Accept(pick) => self.accept(usize::from(pick)),
            Step::Save => return self.save(),
            Step::Kill => self.start_again(),
            Step::Restart => {
                self.sending.close();
                while !self.sending.out.is_empty() {
                    self.accept(0);
                }
                self.save()?;
                self.start_again();
            }
            deed => self.world.befall_soon(deed),
        }
        Ok(())
    }

    fn turn(&mut self, room: usize) -> Result<Turn, String> {
        self.world.begin_turn();
        self.sending.room = room;
        let now = self.world.now();
        let turn = self.tailer.turn(now, &mut self.world, &mut self.sending);
        let events = self.tailer.take_events();
        // Shown of a test that fails, or with `--nocapture`.
        if self.is_told {
            let n_operations = self.world.n_operations();
            println!(
                "{:?}: {n_operations} operations, {events:?}",
                self.world.now_ms()
            );
        }
        self.world.see(&self.tailer);
        demand!(
            self.tailer.knows_its_oldest(),
            "a file is followed for longer than is known, and may be copied unseen"
        );
        for (span, data, kind) in std::mem::take(&mut self.sending.records) {
            self.world.check(span, &data, kind)?;
        }
        self.world.end_turn();
        Ok(turn)
    }

    /// The service accepts one of the batches in flight.
    fn accept(&mut self, pick: usize) {
        if self.sending.out.is_empty() {
            self.sending.close();
        }
        let n = self.sending.out.len();
        if n == 0 {
            return;
        }
        let Some(batch) = self.sending.out.remove(pick % n) else {
            return;
        };
        self.world.accepted.extend(batch.lines);
        for span in batch.spans {
            let Some(watermark) = self.sending.watermarks.get_mut(&span.cursor) else {
                continue;
            };
            let moved = watermark.acknowledge(batch.number);
            let moved = match self.world.planted {
                Planted::NoWatermark => Some(span.end),
                _ => moved,
            };
            if let Some(offset) = moved {
                self.tailer.acknowledge(span.cursor, offset);
            }
        }
    }

    fn save(&mut self) -> Verdict {
        // Nor does the agent save anything before it has looked.
        if !self.tailer.has_looked() {
            return Ok(());
        }
        let reading: HashMap<(FileIdentity, Fingerprint), (ContentId, u64)> = self
            .tailer
            .cursors()
            .filter_map(|cursor| {
                let content = self.world.content_read_by(cursor.id)?;
                Some((
                    (cursor.identity, cursor.fingerprint),
                    (content, cursor.read),
                ))
            })
            .collect();
        let (places, removed) = self.tailer.take_changes();
        self.world.save(places, &removed, &reading)
    }

    fn start_again(&mut self) {
        let (places, now) = (self.world.start_again(), self.world.now());
        self.tailer = Tailer::new(self.world.rules.clone(), places, now);
        self.sending = Sending::default();
    }

    /// All is well from now on: after a while everything has been sent that can be.
    pub fn settle(&mut self) -> Verdict {
        self.world.heal();
        let until_ms = self.world.now_ms() + 5 * ROTATED_GRACE.as_millis() as u64;
        let (mut n_turns, mut n_idle) = (0, 0);
        while self.world.now_ms() < until_ms {
            let turn = self.turn(usize::MAX)?;
            self.sending.close();
            while !self.sending.out.is_empty() {
                self.accept(0);
            }
            self.save()?;
            n_turns += 1;
            n_idle = if turn.has_more || turn.wake_at > self.world.now() {
                0
            } else {
                n_idle + 1
            };
            demand!(
                n_idle < 5,
                "turn after turn is due at once though there is nothing to do"
            );
            if !turn.has_more {
                let wait = turn.wake_at.saturating_duration_since(self.world.now());
                // On time at first; then late, as on a busy host, which costs less.
                let least_ms = if n_turns < 20 { 1 } else { 10_000 };
                self.world.pass((wait.as_millis() as u64).max(least_ms));
            }
        }
        self.world.check_end()
    }
}
