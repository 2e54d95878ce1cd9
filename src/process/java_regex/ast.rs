//! What a Java pattern says, with its flags resolved: nothing below depends on `(?i)` and its like any more.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    /// One character out of a set; a literal is a set of one, and the empty set never matches.
    Set(ClassUnicode),
    /// `\R`: `\r\n` or one character that ends a line.
    LineBreak,
    /// One part alone is a group that doesn't capture round one that does, which Java tells from that one when repeated.
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    /// A capturing group, counted from 1.
    Capture(usize, Box<Node>),
    Atomic(Box<Node>),
    Look {
        side: Side,
        negated: bool,
        node: Box<Node>,
    },
    Repeat {
        node: Box<Node>,
        times: Times,
        greed: Greed,
    },
    /// `\1` or `\k<name>`; the group may not exist, and then it never matches.
    BackReference {
        group: usize,
        folding: Folding,
    },
    Assertion(Assertion),
}

/// Where a look-around looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ahead,
    Behind,
}

/// How often a repetition may run; no `max` is without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub min: u32,
    pub max: Option<u32>,
}

impl Times {
    /// How often an engine that doesn't count writes the part down.
    pub(super) fn count(self) -> u32 {
        self.max.unwrap_or(self.min).max(1)
    }
}

/// In which order a repetition tries its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// Which letters count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    Exact,
    /// `(?i)`: a–z and A–Z.
    Ascii,
    /// `(?iu)`
    Unicode,
}

/// Which characters end a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// `\n`, `\r\n`, `\r`, U+0085, U+2028 and U+2029.
    Any,
    /// `(?d)`: `\n` alone.
    Unix,
}

/// Which characters make a word for `\b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Java 17 without `(?U)`: letters and decimal digits of all scripts, `_`, and non-spacing marks on a letter or digit.
    Java,
    /// `(?U)`: what `\w` says.
    Unicode,
}

/// A condition on a place of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertion {
    /// `\A`, and `^` without MULTILINE.
    TextStart,
    /// `\z`
    TextEnd,
    /// `\Z`, and `$` without MULTILINE: the end, or before the line terminator that ends the text.
    LastLineEnd(Lines),
    /// `^` under MULTILINE; never at the end of the text.
    LineStart(Lines),
    /// `$` under MULTILINE
    LineEnd(Lines),
    /// `\b`
    WordBoundary(Words),
    /// `\B`
    NoWordBoundary(Words),
    /// `\G`: where the previous match ended.
    PreviousEnd,
}

impl Node {
    /// The fewest characters that a match takes.
    pub(super) fn chars_min(&self) -> u64 {
        match self {
            Node::Empty | Node::Look { .. } | Node::BackReference { .. } | Node::Assertion(_) => 0,
            Node::Set(_) | Node::LineBreak => 1,
            Node::Concat(nodes) => nodes
                .iter()
                .fold(0, |sum, node| sum.saturating_add(node.chars_min())),
            Node::Alternate(nodes) => nodes.iter().map(Node::chars_min).min().unwrap_or(0),
            Node::Capture(_, node) | Node::Atomic(node) => node.chars_min(),
            Node::Repeat { node, times, .. } => node.chars_min().saturating_mul(times.min.into()),
        }
    }

    /// Whether every match is empty.
    pub(super) fn is_zero_width(&self) -> bool {
        match self {
            Node::Empty | Node::Look { .. } | Node::Assertion(_) => true,
            Node::Set(_) | Node::LineBreak | Node::BackReference { .. } => false,
            Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().all(Node::is_zero_width),
            Node::Capture(_, node) | Node::Atomic(node) => node.is_zero_width(),
            Node::Repeat { node, times, .. } => node.is_zero_width() || times.max == Some(0),
        }
    }

    /// Whether Java takes it for something that matches in one way only, which it doesn't go back into when it is
    /// repeated.
    pub(super) fn has_one_way(&self) -> bool {
        match self {
            Node::Alternate(_) => false,
            Node::Concat(nodes) => nodes.iter().all(Node::has_one_way),
            Node::Capture(_, node) => node.has_one_way(),
            Node::Repeat { node, times, .. } => times.max == Some(times.min) && node.has_one_way(),
            Node::Empty
            | Node::Set(_)
            | Node::LineBreak
            | Node::Atomic(_)
            | Node::Look { .. }
            | Node::BackReference { .. }
            | Node::Assertion(_) => true,
        }
    }

    /// Whether Java's own way of going back shows in what its groups hold: groups that were repeated without taking
    /// anything, groups in a repetition that has one way to match, and repeated groups within a repetition, which may
    /// hold what they took when it began.
    pub(super) fn has_odd_groups(&self) -> bool {
        let is_capture = |node: &Node| matches!(node, Node::Capture(..));
        let is_set_late = |node: &Node| match node {
            Node::Repeat { node, times, greed } => {
                is_capture(node)
                    && node.has_one_way()
                    && *greed == Greed::Greedy
                    && times.max != Some(times.min)
            }
            _ => false,
        };
        self.contains(&|node| {
            let Node::Repeat { node, times, .. } = node else {
                return false;
            };
            if times.max != Some(1) && node.contains(&is_set_late) {
                return true;
            }
            let inside = match &**node {
                Node::Capture(_, inside) => inside,
                other => other,
            };
            node.contains(&is_capture) && node.chars_min() == 0
                || node.has_one_way() && inside.contains(&is_capture)
        })
    }

    /// How much an engine has to build that writes repetitions out: the ranges of all sets, as often as they are counted.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Node::Set(set) => set.ranges().len() as u64,
            Node::Concat(nodes) | Node::Alternate(nodes) => nodes
                .iter()
                .fold(0, |sum, node| sum.saturating_add(node.weight())),
            Node::Capture(_, node) | Node::Atomic(node) | Node::Look { node, .. } => node.weight(),
            Node::Repeat { node, times, .. } => node.weight().saturating_mul(times.count().into()),
            Node::Empty | Node::LineBreak | Node::BackReference { .. } | Node::Assertion(_) => 1,
        }
    }

    /// Whether `test` holds for this part or one inside it.
    pub(super) fn contains(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self)
            || match self {
                Node::Concat(nodes) | Node::Alternate(nodes) => {
                    nodes.iter().any(|node| node.contains(test))
                }
                Node::Capture(_, node)
                | Node::Atomic(node)
                | Node::Look { node, .. }
                | Node::Repeat { node, .. } => node.contains(test),
                Node::Empty
                | Node::Set(_)
                | Node::LineBreak
                | Node::BackReference { .. }
                | Node::Assertion(_) => false,
            }
    }
}

/// The set of the code points from `first` to `last`. Surrogates are left out: no text of ours holds one.
pub(super) fn code_points(first: u32, last: u32) -> ClassUnicode {
    let below = (first, last.min(0xD7FF));
    let above = (first.max(0xE000), last);
    let ranges = [below, above].into_iter().filter(|(from, to)| from <= to);
    ClassUnicode::new(ranges.filter_map(|(from, to)| {
        Some(ClassUnicodeRange::new(
            char::from_u32(from)?,
            char::from_u32(to)?,
        ))
    }))
}

/// The set of the given ranges.
pub(super) fn set_of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(
        ranges
            .iter()
            .map(|&(first, last)| ClassUnicodeRange::new(first, last)),
    )
}

/// Whether the set holds the character.
pub(super) fn set_contains(set: &ClassUnicode, c: char) -> bool {
    let ranges = set.ranges();
    let after = ranges.partition_point(|range| range.start() <= c);
    after > 0 && c <= ranges[after - 1].end()
}
