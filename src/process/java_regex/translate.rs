//! Says a parsed pattern in the words of an engine.
//!
//! Nothing is left to an engine's own flags, shorthands or folding: a set of characters is written out as ranges, and
//! an assertion in terms whose meaning is the same in Java.

use std::fmt::Write as _;

use regex_syntax::hir::ClassUnicode;

use super::ast::{Folding, Greed, Node, Side, Times};
use super::parse::Parsed;

/// A repetition that counts so far counts without end: no text of ours has as many characters (the longest is a read
/// buffer of 10 MiB).
const ENDLESS: u32 = 1 << 24;

/// [`Node::weight`] of a repetition from which on the backtracking engine is made to count instead of having it built.
const BUILT_WEIGHT_MAX: u64 = 5_000;

/// What a translation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// `Matcher.matches()`
    Full,
    /// `Matcher.lookingAt()`; only whether it matches is asked.
    Prefix,
    /// `Matcher.find()`; only where it matches is asked.
    Search,
    /// `Matcher.find()`, for its groups.
    Find,
    /// `Matcher.find()` after an empty match, for `\G`: looks from where that was, but past it. What it finds is group 1.
    SearchPastEmpty,
}

/// Who is to understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The linear-time engine, for any text.
    Linear,
    /// The linear-time engine, for text of ASCII alone, where more can be said.
    LinearAscii,
    /// The backtracking engine.
    Backtracking,
}

/// The dialect has no words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsayable;

/// The pattern for a use in a dialect.
pub(super) fn translate(
    parsed: &Parsed,
    usage: Use,
    dialect: Dialect,
) -> Result<String, Unsayable> {
    let mut writer = Writer {
        out: String::new(),
        usage,
        dialect,
        group_count: parsed.group_count,
    };
    let is_search = matches!(usage, Use::Search | Use::SearchPastEmpty | Use::Find);
    let place = Place {
        at_start: !is_search,
        at_end: !is_search,
        followed: false,
    };
    let (before, after) = match usage {
        Use::Full => (r"\A(?:", r")\z"),
        Use::Prefix => (r"\A(?:", ")"),
        Use::Search | Use::Find => ("(?:", ")"),
        Use::SearchPastEmpty => (r"\G(?s:.)+?(", ")"),
    };
    writer.out.push_str(before);
    writer.node(&parsed.node, place)?;
    writer.out.push_str(after);
    Ok(writer.out)
}

/// What is known of where a part stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// At the start of the text.
    pub at_start: bool,
    /// [`Use::Full`]: at the end of the text. [`Use::Prefix`]: at the end of the pattern.
    pub at_end: bool,
    /// What comes after it takes at least one character.
    pub followed: bool,
}

const NOWHERE: Place = Place {
    at_start: false,
    at_end: false,
    followed: false,
};

/// Writes a translation.
pub(super) struct Writer {
    pub out: String,
    pub usage: Use,
    pub dialect: Dialect,
    group_count: usize,
}

impl Writer {
    fn node(&mut self, node: &Node, place: Place) -> Result<(), Unsayable> {
        match node {
            Node::Empty => self.out.push_str("(?:)"),
            Node::Set(set) => self.set(set),
            Node::LineBreak => self.out.push_str(r"(?:\r\n|[\n-\r\x{85}\x{2028}\x{2029}])"),
            Node::Concat(nodes) => self.concat(nodes, place)?,
            Node::Alternate(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.out.push('|');
                    }
                    self.node(node, place)?;
                }
            }
            Node::Capture(_, node) => {
                self.out.push_str(self.capture_start());
                self.node(node, place)?;
                self.out.push(')');
            }
            Node::Atomic(node) => {
                self.backtracking_only()?;
                self.out.push_str("(?>");
                self.node(node, NOWHERE)?;
                self.out.push(')');
            }
            Node::Look {
                side,
                negated,
                node,
            } => {
                self.backtracking_only()?;
                self.out.push_str(match (side, negated) {
                    (Side::Ahead, false) => "(?=",
                    (Side::Ahead, true) => "(?!",
                    (Side::Behind, false) => "(?<=",
                    (Side::Behind, true) => "(?<!",
                });
                self.node(node, NOWHERE)?;
                self.out.push(')');
            }
            Node::Repeat { .. } => self.repeat(node, place)?,
            Node::BackReference { group, folding } => self.back_reference(*group, *folding)?,
            Node::Assertion(assertion) => self.assertion(*assertion, place)?,
        }
        Ok(())
    }

    pub(super) fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(text)
            .expect("writing to a string can't fail");
    }

    pub(super) fn backtracking_only(&self) -> Result<(), Unsayable> {
        match self.dialect {
            Dialect::Backtracking => Ok(()),
            Dialect::Linear | Dialect::LinearAscii => Err(Unsayable),
        }
    }

    /// Groups are counted only where someone asks for them.
    fn capture_start(&self) -> &'static str {
        match (self.usage, self.dialect) {
            (Use::Full | Use::Find, _) | (_, Dialect::Backtracking) => "(",
            _ => "(?:",
        }
    }

    fn back_reference(&mut self, group: usize, folding: Folding) -> Result<(), Unsayable> {
        if group > self.group_count {
            write_set(&mut self.out, &ClassUnicode::empty());
            return Ok(());
        }
        self.backtracking_only()?;
        let group = match self.usage {
            Use::SearchPastEmpty => group + 1,
            Use::Full | Use::Prefix | Use::Search | Use::Find => group,
        };
        match folding {
            Folding::Exact => self.push(format_args!(r"(?:\{group})")),
            Folding::Ascii | Folding::Unicode => self.push(format_args!(r"(?i:\{group})")),
        }
        Ok(())
    }

    fn concat(&mut self, nodes: &[Node], place: Place) -> Result<(), Unsayable> {
        for (index, node) in nodes.iter().enumerate() {
            let (before, after) = (&nodes[..index], &nodes[index + 1..]);
            let ends = match self.usage {
                Use::Full => after.iter().all(Node::is_zero_width),
                _ => after.is_empty(),
            };
            let place = Place {
                at_start: place.at_start && before.iter().all(Node::is_zero_width),
                at_end: place.at_end && ends,
                followed: after.iter().any(|node| node.chars_min() > 0) || place.followed,
            };
            self.in_group(node, place)?;
        }
        Ok(())
    }

    /// Writes alternatives in a group of their own, so that they end there.
    fn in_group(&mut self, node: &Node, place: Place) -> Result<(), Unsayable> {
        let needs_group = matches!(node, Node::Alternate(_));
        if needs_group {
            self.out.push_str("(?:");
        }
        self.node(node, place)?;
        if needs_group {
            self.out.push(')');
        }
        Ok(())
    }

    fn repeat(&mut self, repeat: &Node, place: Place) -> Result<(), Unsayable> {
        let Node::Repeat { node, times, greed } = repeat else {
            return self.node(repeat, place);
        };
        if times.min >= ENDLESS {
            return self.never(node);
        }
        if times.max == Some(0) {
            self.out.push_str("(?:");
            self.never(node)?;
            self.out.push_str("|)");
            return Ok(());
        }
        if node.is_zero_width() {
            return self.repeat_zero_width(node, *times, *greed, place);
        }
        if self.ends_empty(node, *times, *greed) {
            return self.repeat_ending_empty(node, *times);
        }
        let inside = match times.max {
            Some(1) => place,
            _ => NOWHERE,
        };
        if *greed == Greed::Possessive {
            self.backtracking_only()?;
            self.out.push_str("(?>");
        }
        let (open, close) = self.turn(node, *times, *greed)?;
        self.out.push_str(open);
        self.node(node, inside)?;
        self.out.push_str(close);
        self.times(*times);
        self.out.push_str(match greed {
            Greed::Greedy => "",
            Greed::Lazy => "?",
            Greed::Possessive => ")",
        });
        Ok(())
    }

    /// What stands around the part that is repeated.
    fn turn(
        &self,
        node: &Node,
        times: Times,
        greed: Greed,
    ) -> Result<(&'static str, &'static str), Unsayable> {
        const PLAIN: (&str, &str) = ("", "");
        const GROUP: (&str, &str) = ("(?:", ")");
        const ATOMIC: (&str, &str) = ("(?>", ")");
        // The backtracking engine counts only what it runs itself; anything simpler it has the linear one build as often
        // as it is to be repeated, which may be too much. A condition that always holds keeps it from that.
        const COUNTED: (&str, &str) = ("(?:", "(?=))");
        let is_counted = self.dialect == Dialect::Backtracking
            && node.weight().saturating_mul(times.count().into()) > BUILT_WEIGHT_MAX;
        Ok(match node {
            Node::Set(_) if is_counted => ATOMIC,
            Node::Set(_) => PLAIN,
            // Java doesn't go back from `\r\n` to `\r` in a repetition.
            Node::LineBreak => {
                self.backtracking_only()?;
                ATOMIC
            }
            // Nor ever into a turn of a possessive one.
            _ if greed == Greed::Possessive => ATOMIC,
            _ if is_counted => COUNTED,
            Node::Capture(..) => PLAIN,
            _ => GROUP,
        })
    }

    /// Whether Java always ends the repetition with a turn that takes nothing, which is then what the group holds. The
    /// engines here leave that turn out.
    fn ends_empty(&self, node: &Node, times: Times, greed: Greed) -> bool {
        let Node::Capture(_, inside) = node else {
            return false;
        };
        times.max.is_none()
            && greed == Greed::Greedy
            && self.capture_start() == "("
            && inside.may_take_nothing()
            && !inside.contains(&|node| matches!(node, Node::Capture(..)))
    }

    fn repeat_ending_empty(&mut self, capture: &Node, times: Times) -> Result<(), Unsayable> {
        let Node::Capture(_, inside) = capture else {
            return self.node(capture, NOWHERE);
        };
        self.out.push_str("(?:(?:");
        self.node(inside, NOWHERE)?;
        self.out.push(')');
        self.times(times);
        self.out.push_str("())");
        Ok(())
    }

    /// A part that is never reached, written all the same because its groups count.
    fn never(&mut self, node: &Node) -> Result<(), Unsayable> {
        self.set(&ClassUnicode::empty());
        self.in_group(node, NOWHERE)
    }

    /// Turns that take nothing: one is as good as many.
    fn repeat_zero_width(
        &mut self,
        node: &Node,
        times: Times,
        greed: Greed,
        place: Place,
    ) -> Result<(), Unsayable> {
        let (before, after) = match (times.min, times.max, greed) {
            (0, _, Greed::Lazy) => ("(?:|(?:", "))"),
            (0, ..) => ("(?:(?:", ")|)"),
            _ => ("(?:", ")"),
        };
        self.out.push_str(before);
        self.node(node, place)?;
        self.out.push_str(after);
        Ok(())
    }

    fn times(&mut self, times: Times) {
        let max = times.max.filter(|&max| max < ENDLESS);
        match (times.min, max) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            (min, None) => self.push(format_args!("{{{min},}}")),
            (min, Some(max)) if min == max => self.push(format_args!("{{{min}}}")),
            (min, Some(max)) => self.push(format_args!("{{{min},{max}}}")),
        }
    }

    fn set(&mut self, set: &ClassUnicode) {
        write_set(&mut self.out, set);
    }
}

fn write_set(out: &mut String, set: &ClassUnicode) {
    match set.ranges() {
        [] => out.push_str(r"[^\x{0}-\x{10FFFF}]"),
        [one] if one.start() == one.end() => write_char(out, one.start()),
        ranges => {
            out.push('[');
            for range in ranges {
                write_char(out, range.start());
                if range.start() < range.end() {
                    out.push('-');
                    write_char(out, range.end());
                }
            }
            out.push(']');
        }
    }
}

fn write_char(out: &mut String, c: char) {
    match c.is_ascii_alphanumeric() {
        true => out.push(c),
        false => write!(out, r"\x{{{:X}}}", u32::from(c)).expect("writing to a string can't fail"),
    }
}
