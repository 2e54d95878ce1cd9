//! Says a parsed pattern in the words of an engine.
//!
//! Nothing is left to an engine's own flags, shorthands or folding: a set of characters is written out as ranges, and
//! an assertion in terms whose meaning is the same in Java.

use std::fmt::Write as _;

use regex_syntax::hir::ClassUnicode;

use super::ast::{Assertion, Folding, Greed, Lines, Node, Side, Times, Words};
use super::parse::Parsed;

/// What a translation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// `Matcher.matches()`
    Full,
    /// `Matcher.lookingAt()`; only whether it matches is asked.
    Prefix,
    /// `Matcher.find()`
    Search,
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
    let is_search = matches!(usage, Use::Search | Use::SearchPastEmpty);
    let place = Place {
        at_start: !is_search,
        at_end: !is_search,
        followed: false,
    };
    let (before, after) = match usage {
        Use::Full => (r"\A(?:", r")\z"),
        Use::Prefix => (r"\A(?:", ")"),
        Use::Search => ("(?:", ")"),
        Use::SearchPastEmpty => (r"\G(?s:.)+?(", ")"),
    };
    writer.out.push_str(before);
    writer.node(&parsed.node, place)?;
    writer.out.push_str(after);
    Ok(writer.out)
}

/// What is known of where a part stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// At the start of the text.
    at_start: bool,
    /// [`Use::Full`]: at the end of the text. [`Use::Prefix`]: at the end of the pattern.
    at_end: bool,
    /// What comes after it takes at least one character.
    followed: bool,
}

const NOWHERE: Place = Place {
    at_start: false,
    at_end: false,
    followed: false,
};

struct Writer {
    out: String,
    usage: Use,
    dialect: Dialect,
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

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(text)
            .expect("writing to a string can't fail");
    }

    fn backtracking_only(&self) -> Result<(), Unsayable> {
        match self.dialect {
            Dialect::Backtracking => Ok(()),
            Dialect::Linear | Dialect::LinearAscii => Err(Unsayable),
        }
    }

    /// Groups are counted only where someone asks for them.
    fn capture_start(&self) -> &'static str {
        match (self.usage, self.dialect) {
            (Use::Full, _) | (_, Dialect::Backtracking) => "(",
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
            Use::Full | Use::Prefix | Use::Search => group,
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
        if times.max == Some(0) {
            // Written all the same, because its groups count.
            self.out.push_str("(?:");
            self.set(&ClassUnicode::empty());
            self.in_group(node, NOWHERE)?;
            self.out.push_str("|)");
            return Ok(());
        }
        if node.is_zero_width() {
            return self.repeat_zero_width(node, *times, *greed, place);
        }
        let inside = match times.max {
            Some(0 | 1) => place,
            _ => NOWHERE,
        };
        // Java never goes back into a turn of a possessive repetition, so each turn is atomic too.
        let (open, close) = match greed {
            Greed::Possessive => {
                self.backtracking_only()?;
                self.out.push_str("(?>");
                match **node {
                    Node::Set(_) => ("", ""),
                    _ => ("(?>", ")"),
                }
            }
            Greed::Greedy | Greed::Lazy => match **node {
                Node::Set(_) | Node::Capture(..) => ("", ""),
                // Java doesn't go back from `\r\n` to `\r` in a repetition.
                Node::LineBreak => {
                    self.backtracking_only()?;
                    ("(?>", ")")
                }
                _ => ("(?:", ")"),
            },
        };
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
        match (times.min, times.max) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            (min, None) => self.push(format_args!("{{{min},}}")),
            (min, Some(max)) if min == max => self.push(format_args!("{{{min}}}")),
            (min, Some(max)) => self.push(format_args!("{{{min},{max}}}")),
        }
    }

    fn assertion(&mut self, assertion: Assertion, place: Place) -> Result<(), Unsayable> {
        match assertion {
            Assertion::TextStart => self.out.push_str(r"\A"),
            Assertion::TextEnd => self.out.push_str(r"\z"),
            Assertion::LastLineEnd(lines) => self.last_line_end(lines, place)?,
            Assertion::LineStart(lines) => self.line_start(lines, place)?,
            Assertion::LineEnd(lines) => self.line_end(lines, place)?,
            Assertion::WordBoundary(words) => self.word_boundary(words, false)?,
            Assertion::NoWordBoundary(words) => self.word_boundary(words, true)?,
            Assertion::PreviousEnd => match self.usage {
                Use::Full | Use::Prefix => self.out.push_str(r"\A"),
                Use::Search | Use::SearchPastEmpty => {
                    self.backtracking_only()?;
                    self.out.push_str(r"\G");
                }
            },
        }
        Ok(())
    }

    fn last_line_end(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let is_last = place.at_end && self.dialect != Dialect::Backtracking;
        self.out.push_str(match (self.usage, lines) {
            (Use::Full, _) if is_last => "(?:)",
            (Use::Prefix, Lines::Unix) if is_last => r"(?:\n?\z)",
            (Use::Prefix, Lines::Any) if is_last => {
                r"(?:(?:(?mR:$)(?:\r\n|\n|\r)?|[\x{85}\x{2028}\x{2029}])\z)"
            }
            _ => {
                self.backtracking_only()?;
                match lines {
                    Lines::Unix => r"(?=\n?\z)",
                    Lines::Any => {
                        r"(?:\z|(?=(?:\r\n|[\r\x{85}\x{2028}\x{2029}])\z)|(?<!\r)(?=\n\z))"
                    }
                }
            }
        });
        Ok(())
    }

    fn line_start(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let text = match (self.dialect, lines) {
            (Dialect::Linear | Dialect::LinearAscii, _) if !place.followed => {
                return Err(Unsayable);
            }
            (Dialect::Linear | Dialect::LinearAscii, _) if place.at_start => "(?:)",
            (Dialect::Linear | Dialect::LinearAscii, Lines::Unix) => "(?m:^)",
            (Dialect::LinearAscii, Lines::Any) => "(?mR:^)",
            (Dialect::Linear, Lines::Any) => return Err(Unsayable),
            (Dialect::Backtracking, Lines::Unix) => r"(?:(?!\z)(?:\A|(?<=\n)))",
            (Dialect::Backtracking, Lines::Any) => {
                r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))"
            }
        };
        self.out.push_str(text);
        Ok(())
    }

    fn line_end(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let is_last = place.at_end && self.usage == Use::Full;
        let text = match (self.dialect, lines) {
            (Dialect::Linear | Dialect::LinearAscii, _) if is_last => "(?:)",
            (Dialect::Linear | Dialect::LinearAscii, Lines::Unix) => "(?m:$)",
            (Dialect::LinearAscii, Lines::Any) => "(?mR:$)",
            (Dialect::Linear, Lines::Any) => return Err(Unsayable),
            (Dialect::Backtracking, Lines::Unix) => r"(?:\z|(?=\n))",
            (Dialect::Backtracking, Lines::Any) => {
                r"(?:\z|(?=[\r\x{85}\x{2028}\x{2029}])|(?<!\r)(?=\n))"
            }
        };
        self.out.push_str(text);
        Ok(())
    }

    fn word_boundary(&mut self, words: Words, negated: bool) -> Result<(), Unsayable> {
        match (words, self.dialect, negated) {
            (Words::Unicode, _, false) => self.out.push_str(r"\b"),
            (Words::Unicode, _, true) => self.out.push_str(r"\B"),
            (Words::Java, Dialect::LinearAscii, false) => self.out.push_str(r"(?-u:\b)"),
            (Words::Java, Dialect::LinearAscii, true) => self.out.push_str(r"(?-u:\B)"),
            (Words::Java, Dialect::Linear, _) => return Err(Unsayable),
            (Words::Java, Dialect::Backtracking, _) => self.java_word_boundary(negated),
        }
        Ok(())
    }

    /// A place between a character of a word and one that is none. A mark is of a word if a letter or digit comes before
    /// it and its fellow marks.
    fn java_word_boundary(&mut self, negated: bool) {
        const LEFT: &str = r"(?:(?<=[\p{L}\p{Nd}_])|(?<=[\p{L}\p{Nd}]\p{Mn}+))";
        const RIGHT: &str = r"(?:(?=[\p{L}\p{Nd}_])|(?=\p{Mn})(?<=[\p{L}\p{Nd}]\p{Mn}*))";
        match negated {
            false => self.push(format_args!("(?:{LEFT}(?!{RIGHT})|(?!{LEFT}){RIGHT})")),
            true => self.push(format_args!("(?:{LEFT}{RIGHT}|(?!{LEFT})(?!{RIGHT}))")),
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
