//! A pattern as the instructions of the backtracking engine, one construct of Java's after the other.
//!
//! Java has three kinds of repetition, which differ in where they go back to and in what their groups hold afterwards:
//! a *run* of one set of characters; *turns*, each of which is matched in one way only, for everything that is no group,
//! for groups with one way to match, and for possessive ones; and a *loop*, for the other groups.

use regex_syntax::hir::ClassUnicode;

use super::ast::{Assertion, Folding, Greed, Node, Side, Times};
use super::charset::CharSet;
use super::look_behind;
use super::parse::Parsed;

/// Loops whose failures are remembered, a bit each for each byte of the text.
const MEMOS_MAX: usize = 8;

/// One step. Where nothing else is said, the next instruction follows.
#[derive(Debug)]
pub(super) enum Instruction {
    Char(char),
    Set(CharSet),
    Run(Run),
    LineBreak,
    BackReference {
        group: usize,
        folding: Folding,
    },
    Assertion(Assertion),
    /// The next instruction, else the one at `other`.
    Split {
        other: usize,
    },
    Jump(usize),
    /// A group begins here.
    Open {
        register: usize,
    },
    /// A group that began where the register says ends here.
    Close {
        register: usize,
        group: usize,
    },
    LoopStart(Loop),
    /// The end of a turn; its loop's start is at this place.
    LoopEnd {
        start: usize,
    },
    /// One more turn of a lazy loop.
    LoopMore {
        start: usize,
    },
    TurnsStart(Turns),
    /// Before a turn.
    Turn {
        start: usize,
    },
    /// One more turn of lazy ones.
    TurnMore {
        start: usize,
    },
    /// No more turns.
    TurnLeave {
        start: usize,
    },
    TurnEnd {
        start: usize,
    },
    LookStart(Look),
    LookEnd {
        start: usize,
    },
    AtomicStart,
    AtomicEnd,
    Match,
}

/// A set of characters some times over.
#[derive(Debug)]
pub(super) struct Run {
    pub set: CharSet,
    pub times: Bounds,
    pub greed: Greed,
}

/// A group some times over, which may be gone back into.
#[derive(Debug)]
pub(super) struct Loop {
    /// Counts the turns.
    pub count: usize,
    /// Where the turn began.
    pub begin: usize,
    pub times: Bounds,
    pub is_lazy: bool,
    /// Numbers the loops whose failures at a place needn't be tried again there.
    pub memo: Option<usize>,
    pub exit: usize,
}

/// Something some times over, each time in the first way that it matches.
#[derive(Debug)]
pub(super) struct Turns {
    pub count: usize,
    pub times: Bounds,
    pub greed: Greed,
    /// The group that each turn is.
    pub group: Option<usize>,
    pub exit: usize,
}

/// A look-around; its end is before `exit`.
#[derive(Debug)]
pub(super) struct Look {
    pub side: Side,
    pub is_negated: bool,
    /// How far back a look-behind may begin, in characters.
    pub reach: Bounds,
    pub exit: usize,
}

/// A least and a greatest number; without end is `u32::MAX`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub min: u32,
    pub max: u32,
}

impl From<Times> for Bounds {
    fn from(times: Times) -> Bounds {
        Bounds {
            min: times.min,
            max: times.max.unwrap_or(u32::MAX),
        }
    }
}

/// A pattern for the backtracking engine.
#[derive(Debug)]
pub(super) struct Program {
    pub instructions: Vec<Instruction>,
    /// Capturing groups without the whole match.
    pub group_count: usize,
    pub n_registers: usize,
    pub n_memos: usize,
    /// The characters that a match may begin with; `None` if it may be empty or they aren't known.
    pub first: Option<CharSet>,
}

impl Program {
    pub(super) fn new(parsed: &Parsed) -> Program {
        let node = &parsed.node;
        let refers_back = |node: &Node| {
            matches!(
                node,
                Node::BackReference { .. } | Node::Assertion(Assertion::PreviousEnd)
            )
        };
        let mut writer = Writer {
            instructions: Vec::new(),
            n_registers: 0,
            n_memos: 0,
            may_memo: !node.contains(&refers_back),
        };
        writer.node(node);
        writer.push(Instruction::Match);
        let mut first = ClassUnicode::empty();
        let is_known = first_characters(node, &mut first) == Some(true);
        // What is tried in vain may leave groups behind.
        let is_left = |node: &Node| match node {
            Node::Look { node, .. } | Node::Atomic(node) => has_capture(node),
            Node::Repeat { node, greed, .. } => *greed == Greed::Possessive && has_capture(node),
            _ => false,
        };
        let may_skip = is_known && !node.contains(&is_left);
        Program {
            instructions: writer.instructions,
            group_count: parsed.group_count,
            n_registers: writer.n_registers,
            n_memos: writer.n_memos,
            first: may_skip.then(|| CharSet::new(&first)),
        }
    }
}

fn has_capture(node: &Node) -> bool {
    node.contains(&|node| matches!(node, Node::Capture(..)))
}

/// Adds the characters that `node` may begin with; whether it takes one for sure, `None` if they can't be told.
fn first_characters(node: &Node, first: &mut ClassUnicode) -> Option<bool> {
    match node {
        Node::Empty | Node::Look { .. } | Node::Assertion(_) => Some(false),
        Node::BackReference { .. } => None,
        Node::Set(set) => {
            first.union(set);
            Some(true)
        }
        Node::LineBreak => {
            let breaks =
                super::ast::set_of(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')]);
            first.union(&breaks);
            Some(true)
        }
        Node::Concat(nodes) => {
            for node in nodes {
                if first_characters(node, first)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        Node::Alternate(nodes) => {
            let mut all_take = true;
            for node in nodes {
                all_take &= first_characters(node, first)?;
            }
            Some(all_take)
        }
        Node::Capture(_, node) | Node::Atomic(node) => first_characters(node, first),
        Node::Repeat { node, times, .. } => Some(first_characters(node, first)? && times.min > 0),
    }
}

struct Writer {
    instructions: Vec<Instruction>,
    n_registers: usize,
    n_memos: usize,
    /// What becomes of a place doesn't depend on how it was come to.
    may_memo: bool,
}

impl Writer {
    fn push(&mut self, instruction: Instruction) -> usize {
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }

    fn register(&mut self) -> usize {
        self.n_registers += 1;
        self.n_registers - 1
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Set(set) => {
                self.push(match set.ranges() {
                    [one] if one.start() == one.end() => Instruction::Char(one.start()),
                    _ => Instruction::Set(CharSet::new(set)),
                });
            }
            Node::LineBreak => {
                self.push(Instruction::LineBreak);
            }
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.node(node)),
            Node::Alternate(nodes) => self.alternate(nodes),
            Node::Capture(group, node) => self.capture(*group, node),
            Node::Atomic(node) => {
                self.push(Instruction::AtomicStart);
                self.node(node);
                self.push(Instruction::AtomicEnd);
            }
            Node::Look {
                side,
                negated,
                node,
            } => self.look(*side, *negated, node),
            Node::Repeat { node, times, greed } => self.repeat(node, *times, *greed),
            Node::BackReference { group, folding } => {
                self.push(Instruction::BackReference {
                    group: *group,
                    folding: *folding,
                });
            }
            Node::Assertion(assertion) => {
                self.push(Instruction::Assertion(*assertion));
            }
        }
    }

    fn alternate(&mut self, nodes: &[Node]) {
        let mut ends = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let is_last = index + 1 == nodes.len();
            let split = (!is_last).then(|| self.push(Instruction::Split { other: 0 }));
            self.node(node);
            if let Some(split) = split {
                ends.push(self.push(Instruction::Jump(0)));
                let other = self.instructions.len();
                self.instructions[split] = Instruction::Split { other };
            }
        }
        let end = self.instructions.len();
        for jump in ends {
            self.instructions[jump] = Instruction::Jump(end);
        }
    }

    /// Returns the register that holds where it began.
    fn capture_from(&mut self, register: usize, group: usize, node: &Node) {
        self.push(Instruction::Open { register });
        self.node(node);
        self.push(Instruction::Close { register, group });
    }

    fn capture(&mut self, group: usize, node: &Node) {
        let register = self.register();
        self.capture_from(register, group, node);
    }

    fn look(&mut self, side: Side, is_negated: bool, node: &Node) {
        let start = self.push(Instruction::AtomicStart);
        let may_memo = self.may_memo;
        // A look-behind ends where it was asked, which is another place each time.
        self.may_memo &= side == Side::Ahead;
        self.node(node);
        self.may_memo = may_memo;
        self.push(Instruction::LookEnd { start });
        let reach = match side {
            Side::Ahead => Bounds { min: 0, max: 0 },
            Side::Behind => look_behind::reach(node),
        };
        self.instructions[start] = Instruction::LookStart(Look {
            side,
            is_negated,
            reach,
            exit: self.instructions.len(),
        });
    }

    fn repeat(&mut self, node: &Node, times: Times, greed: Greed) {
        let is_optional = times.min == 0 && times.max == Some(1);
        match node {
            Node::Set(set) => {
                self.push(Instruction::Run(Run {
                    set: CharSet::new(set),
                    times: times.into(),
                    greed,
                }));
            }
            _ if !look_behind::is_group(node) || greed == Greed::Possessive => {
                self.turns(node, None, times, greed)
            }
            _ if is_optional => self.optional(node, greed),
            _ if node.has_one_way() => match node {
                Node::Capture(group, inside) => self.turns(inside, Some(*group), times, greed),
                _ => self.turns(node, None, times, greed),
            },
            _ => self.repeat_loop(node, times, greed),
        }
    }

    fn optional(&mut self, node: &Node, greed: Greed) {
        let split = self.push(Instruction::Split { other: 0 });
        if greed == Greed::Lazy {
            // The next instruction is the way round, and the other one the way through.
            let jump = self.push(Instruction::Jump(0));
            self.instructions[split] = Instruction::Split { other: jump + 1 };
            self.node(node);
            self.instructions[jump] = Instruction::Jump(self.instructions.len());
        } else {
            self.node(node);
            let other = self.instructions.len();
            self.instructions[split] = Instruction::Split { other };
        }
    }

    fn turns(&mut self, node: &Node, group: Option<usize>, times: Times, greed: Greed) {
        let count = self.register();
        let start = self.push(Instruction::AtomicStart);
        self.push(Instruction::Turn { start });
        self.push(Instruction::TurnMore { start });
        self.push(Instruction::TurnLeave { start });
        let may_memo = self.may_memo;
        self.may_memo = false;
        self.node(node);
        self.may_memo = may_memo;
        self.push(Instruction::TurnEnd { start });
        self.instructions[start] = Instruction::TurnsStart(Turns {
            count,
            times: times.into(),
            greed,
            group,
            exit: self.instructions.len(),
        });
    }

    fn repeat_loop(&mut self, node: &Node, times: Times, greed: Greed) {
        let (count, begin) = (self.register(), self.register());
        let is_lazy = greed == Greed::Lazy;
        let is_endless = times.max.is_none();
        let may_memo = self.may_memo;
        let is_remembered = may_memo && is_endless && self.n_memos < MEMOS_MAX;
        let memo = is_remembered.then_some(self.n_memos);
        self.n_memos += usize::from(memo.is_some());
        // Inside a loop that counts, what becomes of a place depends on the count.
        self.may_memo &= is_endless && times.min <= 1;
        let start = self.push(Instruction::AtomicStart);
        self.push(Instruction::LoopMore { start });
        match node {
            Node::Capture(group, inside) => self.capture_from(begin, *group, inside),
            _ => {
                self.push(Instruction::Open { register: begin });
                self.node(node);
            }
        }
        self.may_memo = may_memo;
        self.push(Instruction::LoopEnd { start });
        self.instructions[start] = Instruction::LoopStart(Loop {
            count,
            begin,
            times: times.into(),
            is_lazy,
            memo,
            exit: self.instructions.len(),
        });
    }
}
