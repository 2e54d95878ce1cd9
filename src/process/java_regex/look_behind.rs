//! Which look-behinds Java accepts: those whose longest match it can tell, by its own way of telling.

use super::ast::{Greed, Node};
use super::program::Bounds;

const NO_MAXIMUM: &str = "a look-behind has no obvious maximum length: Java can't repeat in it without end what is longer \
                          than a character, repeat what has several ways to match, or refer back to a group";

/// What Java knows of the matches of a part.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Length of the longest match. Java counts it in 32 bits and goes on where they wrap, so that it takes some
    /// patterns without a maximum and refuses others; to say the same, this wraps too.
    chars_max: i32,
    /// Likewise, from behind the last branch on: where Java begins to add up anew, and what it looks at for a wrap.
    since_branch: i32,
    /// Whether there is one way only to match, so that Java may repeat it without trying others.
    one_way: bool,
}

const NOTHING: Extent = Extent {
    chars_max: 0,
    since_branch: 0,
    one_way: true,
};

/// What becomes of a look-behind in Java.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    /// Java takes it, but its maximum has wrapped to less than the minimum, so that it tries no place at all:
    /// `(?<=\d+.+)`.
    NeverMatches,
}

/// Checks what stands in a look-behind; `Err` says why Java would not take it.
pub(super) fn fate(inside: &Node) -> Result<Fate, &'static str> {
    let chars_max = i64::from(extent(inside, NOTHING).ok_or(NO_MAXIMUM)?.chars_max);
    let chars_min = i64::try_from(inside.chars_min()).unwrap_or(i64::MAX);
    // A maximum close to the least number makes the place to start at wrap as well, and so all places are tried.
    let all_places = chars_max < i64::from(i32::MIN / 2);
    Ok(match chars_max < chars_min && !all_places {
        true => Fate::NeverMatches,
        false => Fate::Works,
    })
}

/// How many characters back a look-behind that Java accepts may begin.
pub(super) fn reach(inside: &Node) -> Bounds {
    let min = u32::try_from(inside.chars_min()).unwrap_or(u32::MAX);
    let known = extent(inside, NOTHING).and_then(|extent| u32::try_from(extent.chars_max).ok());
    Bounds {
        min,
        max: known.unwrap_or(u32::MAX).max(min),
    }
}

/// Whether Java repeats it as a group.
pub(super) fn is_group(node: &Node) -> bool {
    matches!(
        node,
        Node::Capture(..)
            | Node::Concat(_)
            | Node::Alternate(_)
            | Node::Repeat { .. }
            | Node::Empty
    )
}

/// The extent of `before` and `node` together; `None` if Java can't tell.
fn extent(node: &Node, before: Extent) -> Option<Extent> {
    let longer = |chars| Extent {
        chars_max: before.chars_max.wrapping_add(chars),
        since_branch: before.since_branch.wrapping_add(chars),
        ..before
    };
    Some(match node {
        Node::Empty | Node::Look { .. } | Node::Assertion(_) => before,
        Node::Set(_) => longer(1),
        Node::LineBreak => longer(2),
        Node::BackReference { .. } => return None,
        Node::Capture(_, node) => extent(node, before)?,
        Node::Atomic(node) => Extent {
            one_way: before.one_way,
            ..extent(node, before)?
        },
        Node::Concat(nodes) => nodes
            .iter()
            .try_fold(before, |before, node| extent(node, before))?,
        Node::Alternate(nodes) => {
            let mut chars = 0;
            for node in nodes {
                chars = extent(node, NOTHING)?.chars_max.max(chars);
            }
            Extent {
                one_way: false,
                since_branch: 0,
                ..longer(chars)
            }
        }
        Node::Repeat { node, times, greed } => {
            let is_character = matches!(**node, Node::Set(_));
            let once = extent(node, NOTHING)?;
            let is_optional = times.min == 0 && times.max == Some(1);
            if !once.one_way && !is_optional && *greed != Greed::Possessive {
                return None;
            }
            let times_max = times
                .max
                .map_or(i32::MAX, |max| i32::try_from(max).unwrap_or(i32::MAX));
            let extent = Extent {
                one_way: before.one_way && once.one_way && times.max == Some(times.min),
                ..longer(once.chars_max.wrapping_mul(times_max))
            };
            let is_unchecked =
                is_optional || is_character && times.max.is_none() && *greed == Greed::Greedy;
            if !is_unchecked && extent.since_branch < before.since_branch {
                return None;
            }
            let is_branch = is_optional && is_group(node) && *greed != Greed::Possessive;
            Extent {
                since_branch: if is_branch { 0 } else { extent.since_branch },
                ..extent
            }
        }
    })
}
