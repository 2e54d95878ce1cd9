//! The backtracking engine: goes through a text as Java's does, a bounded number of steps far.
//!
//! What it goes back to is on a stack of its own, never on the thread's. What Java leaves behind, it leaves behind too: a
//! group that was set inside a look-around, an atomic group or a possessive repetition keeps its value when the way on
//! from there fails.

use std::ops::Range;

use super::StepLimit;
use super::ast::{Folding, Side};
use super::folding;
use super::place;
use super::program::{Instruction, Look, Program};

/// Steps that any text is given, and as many more for each of its bytes. Sane patterns need a few a byte; so many take
/// a hundredth of a second, and half a second on the longest record that is held.
pub(super) const STEPS_MIN: u64 = 1_000_000;
pub(super) const STEPS_PER_BYTE: u64 = 20;

/// Places to go back to that are kept, which bounds the engine's memory to some 16 MiB. Java overflows its stack some
/// thousand deep.
const FRAMES_MAX: usize = 1 << 20;

/// Not a place: text is shorter than that.
const NOWHERE: u32 = u32::MAX;

/// Steps that are left.
#[derive(Debug)]
pub(super) struct Steps(u64);

impl Steps {
    /// What one question about a text may cost.
    pub(super) fn for_text(text: &str) -> Steps {
        Steps(STEPS_MIN + STEPS_PER_BYTE * text.len() as u64)
    }

    pub(super) fn take(&mut self, n: usize) -> Result<(), StepLimit> {
        self.0 = self.0.checked_sub(n as u64).ok_or(StepLimit)?;
        Ok(())
    }
}

/// How a match must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Anywhere at or behind the start.
    None,
    Start,
    /// From the start to the text's end.
    Both,
}

/// One text's search.
#[derive(Debug)]
pub(super) struct Search<'p, 't> {
    pub program: &'p Program,
    pub text: &'t str,
    anchor: Anchor,
    /// Where the match before this one ended, for `\G`.
    previous_end: usize,
    pub frames: Vec<Frame>,
    barriers: Vec<Barrier>,
    /// Begin and end of each group, from group 1.
    pub groups: Vec<(u32, u32)>,
    pub registers: Vec<u32>,
    /// Groups that are set once the match is found, the last one first.
    pub afterwards: Vec<(usize, (u32, u32))>,
    pub failed_turns: Vec<u64>,
}

/// What is done on the way back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame {
    /// Another way.
    Choice { instruction: u32, at: u32 },
    /// Behind a turn of a loop that ended here nothing matches.
    LoopFailed { start: u32, at: u32 },
    /// A run gives back a character, down to `floor`.
    RunBack { run: u32, floor: u32, at: u32 },
    /// A lazy run takes a character more, as often as is left.
    RunOn { run: u32, at: u32, left: u32 },
    /// A register had this value.
    Register { register: u32, value: u32 },
    /// A group had this value.
    Group { group: u32, begin: u32, end: u32 },
    /// A group isn't set afterwards.
    Afterwards,
    /// What is atomic, or looked ahead for, failed.
    Barrier { start: u32 },
    /// What is looked behind for failed from this place on.
    Behind { start: u32, at: u32, left: u32 },
}

/// Where something began that isn't gone back into once it has matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Barrier {
    n_frames: usize,
    n_afterwards: usize,
    pub at: usize,
}

/// The next instruction and its place; `None` goes back.
pub(super) type Next = Option<(usize, usize)>;

impl<'p, 't> Search<'p, 't> {
    pub(super) fn new(program: &'p Program, text: &'t str, anchor: Anchor) -> Search<'p, 't> {
        Search {
            program,
            text,
            anchor,
            previous_end: 0,
            frames: Vec::new(),
            barriers: Vec::new(),
            groups: Vec::new(),
            registers: vec![0; program.n_registers],
            afterwards: Vec::new(),
            failed_turns: Vec::new(),
        }
    }

    /// The first match at or behind `start`.
    pub(super) fn find(
        &mut self,
        start: usize,
        previous_end: usize,
        steps: &mut Steps,
    ) -> Result<Option<Range<usize>>, StepLimit> {
        if u32::try_from(self.text.len()).is_err() {
            return Err(StepLimit);
        }
        self.previous_end = previous_end;
        self.groups.clear();
        self.groups
            .resize(self.program.group_count, (NOWHERE, NOWHERE));
        let mut from = start;
        loop {
            if self.anchor == Anchor::None
                && let Some(first) = &self.program.first
            {
                let found = self.text[from..]
                    .char_indices()
                    .find(|(_, c)| first.contains(*c));
                let Some((skipped, _)) = found else {
                    return Ok(None);
                };
                steps.take(skipped)?;
                from += skipped;
            }
            if let Some(end) = self.run(from, steps)? {
                return Ok(Some(from..end));
            }
            let Some(c) = self.text[from..].chars().next() else {
                return Ok(None);
            };
            if self.anchor != Anchor::None {
                return Ok(None);
            }
            from += c.len_utf8();
        }
    }

    /// The groups of the match that was found, from group 1.
    pub(super) fn groups(&self) -> impl Iterator<Item = Option<Range<usize>>> {
        self.groups
            .iter()
            .map(|&(begin, end)| (begin != NOWHERE).then_some(begin as usize..end as usize))
    }

    /// Where the match ends that begins at `from`.
    fn run(&mut self, from: usize, steps: &mut Steps) -> Result<Option<usize>, StepLimit> {
        self.frames.clear();
        self.barriers.clear();
        self.afterwards.clear();
        let mut now = Some((0, from));
        loop {
            steps.take(1)?;
            if self.frames.len() > FRAMES_MAX {
                return Err(StepLimit);
            }
            now = match now {
                Some((at_instruction, at)) => match &self.program.instructions[at_instruction] {
                    Instruction::Match if self.anchor != Anchor::Both || at == self.text.len() => {
                        self.set_afterwards(0);
                        return Ok(Some(at));
                    }
                    instruction => self.step(instruction, at_instruction, at, steps)?,
                },
                None => match self.frames.pop() {
                    Some(frame) => self.back(frame),
                    None => return Ok(None),
                },
            };
        }
    }

    fn step(
        &mut self,
        instruction: &'p Instruction,
        here: usize,
        at: usize,
        steps: &mut Steps,
    ) -> Result<Next, StepLimit> {
        let next = here + 1;
        Ok(match instruction {
            Instruction::Char(c) => self.text[at..]
                .starts_with(*c)
                .then(|| (next, at + c.len_utf8())),
            Instruction::Set(set) => set.matched_len(self.text, at).map(|len| (next, at + len)),
            Instruction::Run(_) => self.take_run(here, at, steps)?.map(|at| (next, at)),
            Instruction::LineBreak => self.line_break(next, at),
            Instruction::BackReference { group, folding } => self
                .back_reference(*group, *folding, at, steps)?
                .map(|at| (next, at)),
            Instruction::Assertion(assertion) => {
                place::holds(*assertion, self.text, at, self.previous_end).then_some((next, at))
            }
            Instruction::Split { other } => {
                self.choice(*other, at);
                Some((next, at))
            }
            Instruction::Jump(to) => Some((*to, at)),
            Instruction::Open { register } => {
                self.set_register(*register, at);
                Some((next, at))
            }
            Instruction::Close { register, group } => {
                self.set_group(*group, self.registers[*register] as usize, at);
                Some((next, at))
            }
            Instruction::LoopStart(this) => self.loop_start(this, here, at),
            Instruction::LoopEnd { start } => self.loop_end(*start, at),
            Instruction::LoopMore { start } => self.loop_more(*start, at),
            Instruction::TurnsStart(turns) => {
                self.set_register(turns.count, 0);
                Some((next, at))
            }
            Instruction::Turn { start } => self.turn(*start, at),
            Instruction::TurnMore { start } => {
                self.barrier(*start, at);
                Some((next + 1, at))
            }
            Instruction::TurnLeave { start } => self.turn_leave(*start, at),
            Instruction::TurnEnd { start } => self.turn_end(*start, at),
            Instruction::LookStart(look) => self.look_start(look, here, at, steps)?,
            Instruction::LookEnd { start } => self.look_end(*start, at),
            Instruction::AtomicStart => {
                self.barrier(here, at);
                Some((next, at))
            }
            Instruction::AtomicEnd => {
                self.pass_barrier();
                Some((next, at))
            }
            Instruction::Match => None,
        })
    }

    /// Does what stands in a frame.
    fn back(&mut self, frame: Frame) -> Next {
        match frame {
            Frame::Choice { instruction, at } => Some((instruction as usize, at as usize)),
            Frame::LoopFailed { start, at } => {
                self.note_failed(self.loop_at(start as usize), at as usize);
                None
            }
            Frame::RunBack { run, floor, at } => {
                let c = self.text[..at as usize].chars().next_back()?;
                let at = at - c.len_utf8() as u32;
                if at > floor {
                    self.frames.push(Frame::RunBack { run, floor, at });
                }
                Some((run as usize + 1, at as usize))
            }
            Frame::RunOn { run, at, left } => {
                let Instruction::Run(this) = &self.program.instructions[run as usize] else {
                    return None;
                };
                let at = at as usize + this.set.matched_len(self.text, at as usize)?;
                self.run_on(run as usize, at, left - 1);
                Some((run as usize + 1, at))
            }
            Frame::Register { register, value } => {
                self.registers[register as usize] = value;
                None
            }
            Frame::Group { group, begin, end } => {
                self.groups[group as usize] = (begin, end);
                None
            }
            Frame::Afterwards => {
                self.afterwards.pop();
                None
            }
            Frame::Barrier { start } => {
                let barrier = self.barriers.pop()?;
                self.looked_in_vain(start as usize, barrier)
            }
            Frame::Behind { start, at, left } => self.look_further_back(start, at as usize, left),
        }
    }

    pub(super) fn choice(&mut self, instruction: usize, at: usize) {
        self.frames.push(Frame::Choice {
            instruction: instruction as u32,
            at: at as u32,
        });
    }

    pub(super) fn set_register(&mut self, register: usize, value: usize) {
        let was = std::mem::replace(&mut self.registers[register], value as u32);
        self.frames.push(Frame::Register {
            register: register as u32,
            value: was,
        });
    }

    pub(super) fn set_group(&mut self, group: usize, begin: usize, end: usize) {
        let is = (begin as u32, end as u32);
        let was = std::mem::replace(&mut self.groups[group - 1], is);
        self.frames.push(Frame::Group {
            group: group as u32 - 1,
            begin: was.0,
            end: was.1,
        });
    }

    pub(super) fn barrier(&mut self, start: usize, at: usize) {
        self.barriers.push(Barrier {
            n_frames: self.frames.len(),
            n_afterwards: self.afterwards.len(),
            at,
        });
        self.frames.push(Frame::Barrier {
            start: start as u32,
        });
    }

    /// What is behind the last barrier has matched, and isn't gone back into.
    pub(super) fn pass_barrier(&mut self) -> Option<Barrier> {
        let barrier = self.barriers.pop()?;
        self.frames.truncate(barrier.n_frames);
        self.set_afterwards(barrier.n_afterwards);
        Some(barrier)
    }

    fn set_afterwards(&mut self, n_kept: usize) {
        while self.afterwards.len() > n_kept
            && let Some((group, value)) = self.afterwards.pop()
        {
            self.groups[group] = value;
        }
    }
}

/// Line breaks and references.
impl Search<'_, '_> {
    /// `\r\n`, and only if the way on from there fails `\r` alone.
    fn line_break(&mut self, next: usize, at: usize) -> Next {
        let rest = &self.text[at..];
        if rest.starts_with("\r\n") {
            self.choice(next, at + 1);
            return Some((next, at + 2));
        }
        let c = rest.chars().next()?;
        place::is_line_break(c).then(|| (next, at + c.len_utf8()))
    }

    fn back_reference(
        &self,
        group: usize,
        folding: Folding,
        at: usize,
        steps: &mut Steps,
    ) -> Result<Option<usize>, StepLimit> {
        let Some(&(begin, end)) = self
            .groups
            .get(group - 1)
            .filter(|group| group.0 != NOWHERE)
        else {
            return Ok(None);
        };
        let wanted = &self.text[begin as usize..end as usize];
        steps.take(wanted.len())?;
        if folding == Folding::Exact {
            let is_there = self.text.as_bytes()[at..].starts_with(wanted.as_bytes());
            return Ok(is_there.then_some(at + wanted.len()));
        }
        let mut found = self.text[at..].chars();
        for c in wanted.chars() {
            if !found
                .next()
                .is_some_and(|other| folding::are_equal(c, other, folding))
            {
                return Ok(None);
            }
        }
        Ok(Some(self.text.len() - found.as_str().len()))
    }
}

/// Look-arounds.
impl<'p> Search<'p, '_> {
    fn look_at(&self, start: usize) -> Option<&'p Look> {
        match &self.program.instructions[start] {
            Instruction::LookStart(look) => Some(look),
            _ => None,
        }
    }

    fn look_start(
        &mut self,
        look: &Look,
        here: usize,
        at: usize,
        steps: &mut Steps,
    ) -> Result<Next, StepLimit> {
        if look.side == Side::Ahead {
            self.barrier(here, at);
            return Ok(Some((here + 1, at)));
        }
        let n_chars = look.reach.min as usize;
        steps.take(n_chars.min(at))?;
        let mut starts = self.text[..at].char_indices().rev().map(|(place, _)| place);
        let from = match n_chars.checked_sub(1) {
            None => Some(at),
            Some(skipped) => starts.nth(skipped),
        };
        let Some(from) = from else {
            return Ok(look.is_negated.then_some((look.exit, at)));
        };
        self.barriers.push(Barrier {
            n_frames: self.frames.len(),
            n_afterwards: self.afterwards.len(),
            at,
        });
        self.frames.push(Frame::Behind {
            start: here as u32,
            at: from as u32,
            left: look.reach.max - look.reach.min,
        });
        Ok(Some((here + 1, from)))
    }

    fn look_further_back(&mut self, start: u32, at: usize, left: u32) -> Next {
        if left > 0
            && let Some(c) = self.text[..at].chars().next_back()
        {
            let at = at - c.len_utf8();
            self.frames.push(Frame::Behind {
                start,
                at: at as u32,
                left: left - 1,
            });
            return Some((start as usize + 1, at));
        }
        let barrier = self.barriers.pop()?;
        self.looked_in_vain(start as usize, barrier)
    }

    /// What stands at a barrier doesn't match.
    fn looked_in_vain(&self, start: usize, barrier: Barrier) -> Next {
        let look = self.look_at(start)?;
        look.is_negated.then_some((look.exit, barrier.at))
    }

    fn look_end(&mut self, start: usize, at: usize) -> Next {
        let look = self.look_at(start)?;
        if look.side == Side::Behind && self.barriers.last()?.at != at {
            return None;
        }
        let barrier = self.pass_barrier()?;
        (!look.is_negated).then_some((look.exit, barrier.at))
    }
}
