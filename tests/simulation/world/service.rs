//! What becomes of calls, and how the service, the disk and the database are.

use kinesis_agent::publish::failure::FailureKind;
use kinesis_agent::publish::wire::Answer;
use kinesis_agent::tail::testing::Refusals;

use super::World;
use crate::simulation::Planted;
use crate::simulation::weather::{Fate, Weather, failure};

impl World {
    pub(super) fn answer(&mut self) -> Result<bool, String> {
        let n_calls = self.process.calls.len();
        if n_calls == 0 {
            return Ok(false);
        }
        let wire = self.process.calls.swap_remove(self.rng.usize(..n_calls));
        let are_bad: Vec<bool> = wire
            .lines
            .iter()
            .map(|line| self.ledger.is_bad(*line))
            .collect();
        let fate = match are_bad.contains(&true) {
            true => self.weather.fate_of_bad(&are_bad, &mut self.rng),
            false => self.weather.fate(wire.lines.len(), &mut self.rng),
        };
        let id = wire.id;
        let text = self.story.is_some().then(|| format!("{fate:?}"));
        self.tell(|| format!("{id:?}: {}", text.unwrap_or_default()));
        let result = match fate {
            Fate::Failed(failure) => Err(failure),
            Fate::Late => {
                self.strays.push(wire.lines.clone());
                Err(failure(FailureKind::Unanswered))
            }
            Fate::Unanswered => {
                wire.lines
                    .iter()
                    .for_each(|line| self.ledger.accepted(*line));
                Err(failure(FailureKind::Unanswered))
            }
            Fate::Answered(outcomes) => {
                for (line, outcome) in wire.lines.iter().zip(&outcomes) {
                    if outcome.is_none() {
                        self.ledger.accepted(*line);
                        self.ledger.acknowledged(*line, wire.life);
                    }
                }
                let is_accepted = outcomes.iter().all(Option::is_none);
                if is_accepted && self.planted == Planted::WatermarkIgnored {
                    for span in &wire.call.batch.spans {
                        self.process.flows[wire.flow.0]
                            .inbox
                            .advanced(span.cursor, span.end);
                    }
                }
                match is_accepted || self.planted == Planted::RetryDropped {
                    true => Ok(Answer::AllAccepted),
                    false => Ok(Answer::Partly(outcomes)),
                }
            }
        };
        drop(wire);
        self.process
            .publisher
            .answered(id, result, self.now, &mut self.commands);
        self.obey(None)?;
        self.check_budget().map(|()| true)
    }

    pub(super) fn late(&mut self) -> bool {
        if self.strays.is_empty() {
            return false;
        }
        let stray = self.strays.swap_remove(self.rng.usize(..self.strays.len()));
        if self.rng.u8(..3) > 0 {
            stray.iter().for_each(|line| self.ledger.accepted(*line));
        }
        true
    }

    pub(super) fn change_weather(&mut self) -> bool {
        self.weather = Weather::any(&mut self.rng);
        self.database_works = self.rng.u8(..5) > 0;
        self.letters_have_room = self.rng.u8(..4) > 0;
        self.disk.borrow_mut().refusals = match self.rng.u8(..5) {
            0 => Refusals {
                names: self.rng.bool(),
                opens: self.rng.bool(),
                reads: self.rng.bool(),
            },
            _ => Refusals::default(),
        };
        let weather = self.weather;
        self.tell(|| format!("{weather:?}"));
        true
    }
}
