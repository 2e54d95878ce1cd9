//! Which look-behinds Java accepts: those whose longest match it can tell, by its own way of telling.

use super::ast::{Greed, Node, Times};

const NO_MAXIMUM: &str = "a look-behind has no obvious maximum length: inside it, Java can't repeat with + or * what is \
                          longer than a character, repeat by count what varies in length, or refer back to a group";

/// Longest match that Java can count with.
const CHARS_MAX: u64 = i32::MAX as u64;

/// What is known of the matches of a part.
#[derive(Clone, Copy)]
struct Extent {
    chars_max: Chars,
    /// Whether there is one way only to match, so that Java may repeat it without trying others.
    one_way: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Chars {
    UpTo(u64),
    /// A single character repeated without end: Java lets that pass, and looks behind up to the start of the text.
    NoEnd,
}

/// Checks a look-around; `Err` says why Java would not take it.
pub(super) fn check(look: &Node) -> Result<(), &'static str> {
    match look {
        Node::Look { node, .. } => extent(node).map(drop).ok_or(NO_MAXIMUM),
        _ => Ok(()),
    }
}

fn extent(node: &Node) -> Option<Extent> {
    let one_way = |chars| {
        Some(Extent {
            chars_max: Chars::UpTo(chars),
            one_way: true,
        })
    };
    match node {
        Node::Empty | Node::Look { .. } | Node::Assertion(_) => one_way(0),
        Node::Set(_) => one_way(1),
        Node::LineBreak => one_way(2),
        Node::BackReference { .. } => None,
        Node::Capture(_, node) => extent(node),
        Node::Atomic(node) => Some(Extent {
            one_way: true,
            ..extent(node)?
        }),
        Node::Concat(nodes) => nodes.iter().try_fold(one_way(0)?, |sum, node| {
            let next = extent(node)?;
            Some(Extent {
                chars_max: sum.chars_max.then(next.chars_max)?,
                one_way: sum.one_way && next.one_way,
            })
        }),
        Node::Alternate(nodes) => {
            let mut longest = Chars::UpTo(0);
            for node in nodes {
                longest = longest.max(extent(node)?.chars_max);
            }
            Some(Extent {
                chars_max: longest,
                one_way: false,
            })
        }
        Node::Repeat { node, times, greed } => repeated(extent(node)?, *times, *greed),
    }
}

fn repeated(once: Extent, times: Times, greed: Greed) -> Option<Extent> {
    let is_optional = times.min == 0 && times.max == Some(1);
    if !once.one_way && !is_optional && greed != Greed::Possessive {
        return None;
    }
    let chars_max = match (once.chars_max, times.max) {
        (Chars::UpTo(0), None) => Chars::UpTo(0),
        (Chars::UpTo(1), None) => Chars::NoEnd,
        (_, None) => return None,
        (Chars::NoEnd, Some(_)) => Chars::NoEnd,
        (Chars::UpTo(chars), Some(max)) => {
            let chars = chars.saturating_mul(max.into());
            Chars::UpTo(chars).then(Chars::UpTo(0))?
        }
    };
    Some(Extent {
        chars_max,
        one_way: once.one_way && times.max == Some(times.min),
    })
}

impl Chars {
    fn then(self, next: Chars) -> Option<Chars> {
        match (self, next) {
            (Chars::UpTo(a), Chars::UpTo(b)) => {
                let sum = a.checked_add(b).filter(|&sum| sum <= CHARS_MAX)?;
                Some(Chars::UpTo(sum))
            }
            _ => Some(Chars::NoEnd),
        }
    }
}
