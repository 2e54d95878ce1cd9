//! Who does what next: one step after the other, each drawn by chance.

mod agent;
mod defects;
mod ends;
mod files;
mod service;
mod setting;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kinesis_agent::checkpoint::pending::Due;
use kinesis_agent::publish::publisher::Command;
use kinesis_agent::tail::testing::MemoryDisk;

use super::ledger::{Ledger, LineId, Verdict};
use super::process::{Database, FlowSide, Process, Setting, SharedDisk};
use super::weather::Weather;
use super::{Failed, Life, Planted};
pub use ends::PATIENCE;
use ends::STOP_PATIENCE;
use files::Folder;
use setting::setting;

/// Steps that are told.
const STORY_STEPS: usize = 300;

/// What is kept of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Nothing,
    Everything,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Write,
    Rotate,
    CleanUp,
    /// A flow hears of something, or its time has come.
    Flow,
    /// The publisher takes a batch.
    Publish,
    /// The publisher's time has come.
    Wake,
    /// A call comes back.
    Answer,
    /// A call that was given up reaches the service after all.
    Late,
    TakeChanges,
    Commit,
    /// A refused record is written to the dead-letter file, and synced.
    WriteLetter,
    /// The publisher hears of it.
    TellKept,
    Pass,
    /// The clock of the host is set, back or ahead.
    SetClock,
    ChangeWeather,
    /// A defect of the agent ends a flow, at any place of its work.
    Defect,
    Kill,
    Stop,
}

use Act::*;

/// What happens, and how often, in ten thousand.
const CHANCES: &[(Act, u32)] = &[
    (Write, 1500),
    (Rotate, 40),
    (CleanUp, 20),
    (Flow, 2765),
    (Publish, 1500),
    (Wake, 500),
    (Answer, 1700),
    (Late, 50),
    (TakeChanges, 300),
    (Commit, 300),
    (WriteLetter, 100),
    (TellKept, 100),
    (Pass, 1000),
    (SetClock, 5),
    (ChangeWeather, 60),
    (Defect, 30),
    (Kill, 20),
    (Stop, 10),
];

/// What an agent does by itself.
const AGENT: &[Act] = &[
    Flow,
    Publish,
    Wake,
    Answer,
    TakeChanges,
    Commit,
    WriteLetter,
    TellKept,
];

/// The world.
pub struct World {
    rng: Rng,
    planted: Planted,
    setting: Setting,
    /// Rotation renames a chain of files rather than giving each a name for good.
    renames_chain: bool,
    hints_work: bool,
    now: Instant,
    start: Instant,
    disk: SharedDisk,
    folders: Vec<Folder>,
    database: Database,
    database_works: bool,
    /// Whether the dead-letter file's disk has room.
    letters_have_room: bool,
    /// Some lines are refused for their content.
    has_bad_lines: bool,
    /// Processes so far.
    n_runs: u32,
    /// Lives of flows so far, in all of them.
    n_lives: u32,
    ledger: Ledger,
    weather: Weather,
    /// Calls that nobody waits for, and that may be accepted.
    strays: Vec<Vec<LineId>>,
    process: Process,
    commands: Vec<Command>,
    life: Life,
    seed: u64,
    story: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, planted: Planted, telling: Telling) -> World {
        let mut rng = Rng::with_seed(seed);
        let setting = setting(&mut rng);
        let disk: SharedDisk = Rc::new(RefCell::new(MemoryDisk::default()));
        let (now, database) = (Instant::now(), Database::default());
        World {
            planted,
            renames_chain: rng.bool(),
            hints_work: rng.u8(..4) > 0,
            now,
            start: now,
            folders: setting.flows.iter().map(|_| Folder::default()).collect(),
            process: Process::start(0, &setting, &database, &disk, rng.u64(..), now),
            disk,
            database,
            database_works: true,
            letters_have_room: true,
            has_bad_lines: rng.u8(..3) == 0,
            n_runs: 1,
            n_lives: setting.flows.len() as u32,
            ledger: Ledger::default(),
            weather: Weather::CLEAR,
            strays: Vec::new(),
            commands: Vec::new(),
            life: Life::default(),
            seed,
            story: (telling == Telling::Everything).then(Vec::new),
            setting,
            rng,
        }
    }

    /// The whole life: what happens, happens; then all is well, and everything must have arrived.
    pub fn live(mut self) -> Result<Life, Failed> {
        let n_steps = self.rng.u64(300..3000);
        let lived = (0..n_steps)
            .try_for_each(|_| self.step())
            .and_then(|()| self.end());
        self.life.n_lines = self.ledger.n_lines() as u64;
        self.life.n_repeated = self.ledger.n_repeated;
        self.life.n_letters = self.ledger.n_letters;
        self.life.simulated_ms = (self.now - self.start).as_millis() as u64;
        match lived {
            Ok(()) => Ok(self.life),
            Err(said) => Err(Failed {
                seed: self.seed,
                n_steps: self.life.n_steps,
                said,
                story: self.story.unwrap_or_default(),
            }),
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        let at = self.now - self.start;
        if let Some(story) = &mut self.story {
            if story.len() >= STORY_STEPS {
                story.remove(0);
            }
            story.push(format!("{at:>12.3?} {}", what()));
        }
    }

    // ---- the scheduler

    fn step(&mut self) -> Verdict {
        let mut chance = self.rng.u32(..10_000);
        let drawn = CHANCES.iter().find(|(_, often)| {
            let is_it = chance < *often;
            chance = chance.saturating_sub(*often);
            is_it
        });
        match drawn {
            Some((act, _)) if self.act(*act)? => Ok(()),
            _ => self.agent_step().map(drop),
        }
    }

    /// The agent does something if there is anything to be done; else time goes by until there is.
    fn agent_step(&mut self) -> Result<bool, String> {
        let first = self.rng.usize(..AGENT.len());
        for n in 0..AGENT.len() {
            if self.act(AGENT[(first + n) % AGENT.len()])? {
                return Ok(true);
            }
        }
        let due = self.next_due();
        self.pass_to(due.max(self.now + Duration::from_micros(1)));
        Ok(false)
    }

    /// When the agent has something to do if it hears of nothing.
    fn next_due(&self) -> Instant {
        let saving = match self.process.pending.due(self.now) {
            Due::At(at) => Some(at),
            Due::Now | Due::Idle => None,
        };
        let dues = self.process.flows.iter().filter_map(FlowSide::due);
        let dues = dues.chain(self.process.publisher.next_wake()).chain(saving);
        dues.min().unwrap_or(self.now + PATIENCE)
    }

    fn pass_to(&mut self, to: Instant) {
        self.life.n_steps += 1;
        let passed = to - self.now;
        self.tell(|| format!("{passed:?} pass"));
        self.now = to;
        self.process
            .flows
            .iter_mut()
            .for_each(|side| side.n_idle = 0);
    }

    /// Does something, if it can be done now; whether it was.
    fn act(&mut self, act: Act) -> Result<bool, String> {
        let is_done = match act {
            Write => self.write(),
            Rotate => self.rotate(),
            CleanUp => self.clean_up(),
            Flow => self.flow()?,
            Publish => self.publish()?,
            Wake => self.wake()?,
            Answer => self.answer()?,
            Late => self.late(),
            TakeChanges => self.take_changes(),
            Commit => self.commit(),
            WriteLetter => self.write_letter()?,
            TellKept => self.tell_kept(),
            SetClock => self.set_clock(),
            Defect => self.defect()?,
            Pass => {
                let some = Duration::from_micros(self.rng.u64(..30_000));
                self.pass_to(self.now + some);
                return Ok(true);
            }
            ChangeWeather => self.change_weather(),
            Kill => self.kill(),
            Stop => {
                let until = self.now + STOP_PATIENCE;
                self.stop(until)?;
                self.start_again();
                true
            }
        };
        self.life.n_steps += u64::from(is_done);
        Ok(is_done)
    }
}
