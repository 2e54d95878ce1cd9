//! A whole life of the agent in one thread: files → batches → calls → watermark → checkpoints, with a scheduler, a clock,
//! a disk, a database and a service of its own.
//!
//! ```text
//!   world      who does what next: writers, flows, publisher, service, checkpoint writer, letter writer, clock, defect, kill
//!   ├─ ledger   what was written, and what became of each line
//!   ├─ process  what a kill takes with it: the flows' machines, the publisher, the budget, calls, unsaved changes
//!   └─ weather  what the service does to calls
//! ```
//!
//! Everything that decides is the program's own: [`Machine`](kinesis_agent::flow::machine::Machine) with its tailer, its
//! open batch and its inbox, [`Publisher`](kinesis_agent::publish::publisher::Publisher),
//! [`Budget`](kinesis_agent::publish::budget::Budget), and
//! [`Pending`](kinesis_agent::checkpoint::pending::Pending). Played are threads, channels, sockets and SQLite.
//!
//! A seed is a life: [`play`] it again and the same happens. In it any two of these may follow each other, a kill among
//! them. Whatever the seed:
//!
//! - every line is accepted at least once, and nothing that isn't a line; those that the service refuses for their
//!   content are kept as dead letters, and no other is;
//! - a line goes again only if its call had no good answer, if a kill took its checkpoint, or if its flow ended by a
//!   defect before all that stood before it was acknowledged;
//! - no checkpoint stands beyond a byte that is neither accepted nor kept;
//! - the byte budget, the slots for sending and the queues hold;
//! - where an order is asked for, none overtakes;
//! - once all is well everything arrives within [`world::PATIENCE`], a stop ends, and nothing turns idly.

mod ledger;
mod process;
mod weather;
mod world;

use std::fmt;

use world::{Telling, World};

/// A defect planted on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// An accepted batch moves the checkpoint to its end, whatever lies before it.
    WatermarkIgnored,
    /// The checkpoint moves as soon as a batch is handed on.
    CheckpointEarly,
    /// Records that fail in a call that gets through are taken for accepted.
    RetryDropped,
    /// A batch that is done with gives all its bytes back but one.
    BudgetLeaks,
    /// A refused record counts as kept before it is.
    LetterUnwritten,
    /// A flow that starts anew after a defect does so where its files were read to.
    RestartAtRead,
}

/// What happened in a life.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Life {
    pub n_steps: u64,
    pub n_lines: u64,
    /// Lines that were accepted more than once, each time beyond the first.
    pub n_repeated: u64,
    pub n_kills: u64,
    pub n_stops: u64,
    /// Flows that ended by a defect.
    pub n_defects: u64,
    /// Dead letters.
    pub n_letters: u64,
    pub n_calls: u64,
    /// How long it took, on its own clock.
    pub simulated_ms: u64,
}

impl Life {
    /// Both lives together.
    pub fn and(self, other: Life) -> Life {
        Life {
            n_steps: self.n_steps + other.n_steps,
            n_lines: self.n_lines + other.n_lines,
            n_repeated: self.n_repeated + other.n_repeated,
            n_kills: self.n_kills + other.n_kills,
            n_stops: self.n_stops + other.n_stops,
            n_defects: self.n_defects + other.n_defects,
            n_letters: self.n_letters + other.n_letters,
            n_calls: self.n_calls + other.n_calls,
            simulated_ms: self.simulated_ms + other.simulated_ms,
        }
    }
}

/// What went wrong, and what happened before.
#[derive(Debug)]
pub struct Failed {
    pub seed: u64,
    pub n_steps: u64,
    pub said: String,
    /// The last steps, the newest last.
    pub story: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.story {
            writeln!(f, "  {step}")?;
        }
        let (seed, n_steps, said) = (self.seed, self.n_steps, &self.said);
        write!(f, "seed {seed}, step {n_steps}: {said}")
    }
}

/// Plays one life. Where it goes wrong it is played again, to be told.
///
/// # Errors
///
/// Something isn't as it must be.
pub fn play(seed: u64, planted: Planted) -> Result<Life, Failed> {
    let live = |telling| World::new(seed, planted, telling).live();
    live(Telling::Nothing).map_err(|failed| live(Telling::Everything).err().unwrap_or(failed))
}
