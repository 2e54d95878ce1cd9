//! How the backtracking engine repeats: runs, loops and turns.

use super::StepLimit;
use super::ast::Greed;
use super::backtrack::{Frame, Next, Search, Steps};
use super::program::{Instruction, Loop, Turns};

/// Runs.
impl Search<'_, '_> {
    pub(super) fn take_run(
        &mut self,
        here: usize,
        start: usize,
        steps: &mut Steps,
    ) -> Result<Option<usize>, StepLimit> {
        let Instruction::Run(run) = &self.program.instructions[here] else {
            return Ok(None);
        };
        let (mut at, mut floor, mut n) = (start, start, 0);
        let wanted = match run.greed {
            Greed::Lazy => run.times.min,
            Greed::Greedy | Greed::Possessive => run.times.max,
        };
        while n < wanted {
            if n == run.times.min {
                floor = at;
            }
            let Some(len) = run.set.matched_len(self.text, at) else {
                break;
            };
            at += len;
            n += 1;
        }
        steps.take(n as usize)?;
        if n < run.times.min {
            return Ok(None);
        }
        match run.greed {
            Greed::Greedy if n > run.times.min => self.frames.push(Frame::RunBack {
                run: here as u32,
                floor: floor as u32,
                at: at as u32,
            }),
            Greed::Lazy => self.run_on(here, at, run.times.max - run.times.min),
            Greed::Greedy | Greed::Possessive => {}
        }
        Ok(Some(at))
    }

    pub(super) fn run_on(&mut self, run: usize, at: usize, left: u32) {
        if left > 0 {
            self.frames.push(Frame::RunOn {
                run: run as u32,
                at: at as u32,
                left,
            });
        }
    }
}

/// Loops.
impl<'p> Search<'p, '_> {
    pub(super) fn loop_at(&self, start: usize) -> &'p Loop {
        match &self.program.instructions[start] {
            Instruction::LoopStart(this) => this,
            _ => unreachable!("only the start of a loop is referred to as one"),
        }
    }

    pub(super) fn loop_start(&mut self, this: &Loop, here: usize, at: usize) -> Next {
        let body = here + 2;
        self.set_register(this.count, 1);
        Some(match (this.times.min, this.times.max, this.is_lazy) {
            (0, 0, _) => (this.exit, at),
            (0, _, true) => {
                self.choice(body, at);
                (this.exit, at)
            }
            (0, _, false) => {
                self.choice(this.exit, at);
                (body, at)
            }
            _ => (body, at),
        })
    }

    /// A turn that took nothing is the last one, as in Java even if there should be more.
    pub(super) fn loop_end(&mut self, start: usize, at: usize) -> Next {
        let this = self.loop_at(start);
        let count = self.registers[this.count];
        if at == self.registers[this.begin] as usize {
            return Some((this.exit, at));
        }
        if count < this.times.min {
            return self.loop_more(start, at);
        }
        if count >= this.times.max {
            return Some((this.exit, at));
        }
        if this.memo.is_some() {
            if self.has_failed(this, at) {
                return None;
            }
            self.frames.push(Frame::LoopFailed {
                start: start as u32,
                at: at as u32,
            });
        }
        if this.is_lazy {
            self.choice(start + 1, at);
            return Some((this.exit, at));
        }
        self.choice(this.exit, at);
        self.loop_more(start, at)
    }

    pub(super) fn loop_more(&mut self, start: usize, at: usize) -> Next {
        let this = self.loop_at(start);
        let count = self.registers[this.count] as usize;
        self.set_register(this.count, count + 1);
        Some((start + 2, at))
    }

    /// Whether nothing is known to match behind a turn that ends here.
    fn has_failed(&self, this: &Loop, at: usize) -> bool {
        this.memo.is_some_and(|memo| {
            let bit = self.memo_bit(memo, at);
            self.failed_turns
                .get(bit / 64)
                .is_some_and(|word| word & 1 << (bit % 64) != 0)
        })
    }

    pub(super) fn note_failed(&mut self, this: &Loop, at: usize) {
        let Some(memo) = this.memo else {
            return;
        };
        if self.failed_turns.is_empty() {
            let n_bits = self.memo_bit(self.program.n_memos, 0);
            self.failed_turns = vec![0; n_bits.div_ceil(64)];
        }
        let bit = self.memo_bit(memo, at);
        if let Some(word) = self.failed_turns.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    fn memo_bit(&self, memo: usize, at: usize) -> usize {
        memo * (self.text.len() + 1) + at
    }
}

/// Turns, which are matched in one way each.
impl<'p> Search<'p, '_> {
    fn turns_at(&self, start: usize) -> &'p Turns {
        match &self.program.instructions[start] {
            Instruction::TurnsStart(turns) => turns,
            _ => unreachable!("only the start of turns is referred to as one"),
        }
    }

    pub(super) fn turn(&mut self, start: usize, at: usize) -> Next {
        let turns = self.turns_at(start);
        let count = self.registers[turns.count];
        if count >= turns.times.min {
            if count >= turns.times.max {
                return self.turn_leave(start, at);
            }
            if turns.greed == Greed::Lazy {
                self.choice(start + 2, at);
                return Some((turns.exit, at));
            }
            self.choice(start + 3, at);
        }
        self.barrier(start, at);
        Some((start + 4, at))
    }

    /// With more turns than must be, Java sets the group once more when all of the match is found: where it is gone
    /// through several times, the first time is what it holds in the end.
    pub(super) fn turn_leave(&mut self, start: usize, at: usize) -> Next {
        let turns = self.turns_at(start);
        if let Some(group) = turns.group
            && turns.greed == Greed::Greedy
            && self.registers[turns.count] > turns.times.min
        {
            self.afterwards.push((group - 1, self.groups[group - 1]));
            self.frames.push(Frame::Afterwards);
        }
        Some((turns.exit, at))
    }

    pub(super) fn turn_end(&mut self, start: usize, at: usize) -> Next {
        let turns = self.turns_at(start);
        let barrier = self.pass_barrier()?;
        let count = self.registers[turns.count];
        let is_optional = count >= turns.times.min;
        let took_nothing = barrier.at == at;
        if is_optional && turns.greed == Greed::Possessive {
            // There is no way back to fewer turns.
            self.frames.pop();
        }
        match (took_nothing && is_optional, turns.greed) {
            (true, Greed::Possessive) => return Some((turns.exit, at)),
            (true, Greed::Greedy | Greed::Lazy) => return None,
            (false, _) => {}
        }
        if let Some(group) = turns.group {
            self.set_group(group, barrier.at, at);
        }
        // One turn of those that must be, and take nothing, is as good as all of them.
        let count = match took_nothing {
            true => turns.times.min,
            false => count + 1,
        };
        self.set_register(turns.count, count as usize);
        Some((start + 1, at))
    }
}
