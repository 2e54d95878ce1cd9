//! Says a parsed pattern in the words of the linear-time engine.
//!
//! Nothing is left to the engine's own flags, shorthands or folding: a set of characters is written out as ranges, and
//! an assertion in terms whose meaning is the same in Java.

use std::fmt::Write as _;

use regex_syntax::hir::ClassUnicode;

use super::ast::{Greed, Node, Times};
use super::parse::Parsed;

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
}

impl Use {
    /// Whether anyone asks for the groups.
    pub(super) fn wants_groups(self) -> bool {
        matches!(self, Use::Full | Use::Find)
    }
}

/// For which text it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Any text.
    Any,
    /// Text of ASCII alone, where more can be said.
    Ascii,
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
    if usage.wants_groups() && parsed.node.has_odd_groups() {
        return Err(Unsayable);
    }
    let mut writer = Writer {
        out: String::new(),
        usage,
        dialect,
        group_count: parsed.group_count,
    };
    let is_search = matches!(usage, Use::Search | Use::Find);
    let place = Place {
        at_start: !is_search,
        at_end: !is_search,
        followed: false,
    };
    let (before, after) = match usage {
        Use::Full => (r"\A(?:", r")\z"),
        Use::Prefix => (r"\A(?:", ")"),
        Use::Search | Use::Find => ("(?:", ")"),
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
                // Groups are counted only where someone asks for them.
                self.out.push_str(match self.usage.wants_groups() {
                    true => "(",
                    false => "(?:",
                });
                self.node(node, place)?;
                self.out.push(')');
            }
            Node::Repeat { node, times, greed } => self.repeat(node, *times, *greed, place)?,
            // It never matches.
            Node::BackReference { group, .. } if *group > self.group_count => {
                self.set(&ClassUnicode::empty());
            }
            Node::Atomic(_) | Node::Look { .. } | Node::BackReference { .. } => {
                return Err(Unsayable);
            }
            Node::Assertion(assertion) => self.assertion(*assertion, place)?,
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

    fn repeat(
        &mut self,
        node: &Node,
        times: Times,
        greed: Greed,
        place: Place,
    ) -> Result<(), Unsayable> {
        if times.max == Some(0) {
            // Never reached, and written all the same because its groups count.
            self.out.push_str("(?:");
            self.set(&ClassUnicode::empty());
            self.in_group(node, NOWHERE)?;
            self.out.push_str("|)");
            return Ok(());
        }
        // Java doesn't go back from `\r\n` to `\r` in a repetition.
        if greed == Greed::Possessive || node.contains(&|node| *node == Node::LineBreak) {
            return Err(Unsayable);
        }
        if node.is_zero_width() {
            return self.repeat_zero_width(node, times, greed, place);
        }
        let inside = match times.max {
            Some(1) => place,
            _ => NOWHERE,
        };
        let (open, close) = match node {
            Node::Set(_) | Node::Capture(..) => ("", ""),
            _ => ("(?:", ")"),
        };
        self.out.push_str(open);
        self.node(node, inside)?;
        self.out.push_str(close);
        self.times(times);
        if greed == Greed::Lazy {
            self.out.push('?');
        }
        Ok(())
    }

    /// Turns that take nothing: one is as good as many.
    fn repeat_zero_width(
        &mut self,
        node: &Node,
        times: Times,
        greed: Greed,
        place: Place,
    ) -> Result<(), Unsayable> {
        let (before, after) = match (times.min, greed) {
            (0, Greed::Lazy) => ("(?:|(?:", "))"),
            (0, _) => ("(?:(?:", ")|)"),
            _ => ("(?:", ")"),
        };
        self.out.push_str(before);
        self.node(node, place)?;
        self.out.push_str(after);
        Ok(())
    }

    fn times(&mut self, times: Times) {
        match (times.min, times.max) {
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

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(text)
            .expect("writing to a string can't fail");
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
