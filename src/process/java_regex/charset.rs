//! A set of characters that is quick to ask.

use regex_syntax::hir::ClassUnicode;

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CharSet {
    /// A bit for each character of ASCII.
    ascii: u128,
    /// The others: rising, apart from each other, first and last inclusive.
    ranges: Box<[(char, char)]>,
}

impl CharSet {
    pub(super) fn new(set: &ClassUnicode) -> CharSet {
        let ascii = (0..128_u8)
            .filter(|&byte| {
                let c = char::from(byte);
                set.iter()
                    .any(|range| range.start() <= c && c <= range.end())
            })
            .fold(0, |bits, byte| bits | 1 << byte);
        let ranges = set
            .iter()
            .filter(|range| !range.end().is_ascii())
            .map(|range| (range.start(), range.end()))
            .collect();
        CharSet { ascii, ranges }
    }

    pub(super) fn contains(&self, c: char) -> bool {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => self.contains_ascii(byte),
            _ => {
                let after = self.ranges.partition_point(|&(first, _)| first <= c);
                after > 0 && c <= self.ranges[after - 1].1
            }
        }
    }

    /// Likewise, for a byte below 128.
    pub(super) fn contains_ascii(&self, byte: u8) -> bool {
        self.ascii & 1 << byte != 0
    }

    /// The length in bytes of the character at `at`, if it is one of the set.
    pub(super) fn matched_len(&self, text: &str, at: usize) -> Option<usize> {
        let byte = *text.as_bytes().get(at)?;
        if byte.is_ascii() {
            return self.contains_ascii(byte).then_some(1);
        }
        let c = text[at..].chars().next()?;
        self.contains(c).then_some(c.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ast::{set_contains, set_of};
    use super::*;

    #[test]
    fn a_set_holds_what_its_ranges_hold() {
        let mut negated = set_of(&[('a', 'c'), ('é', 'ü')]);
        negated.negate();
        for set in [
            set_of(&[]),
            set_of(&[('a', 'a')]),
            set_of(&[('\0', '\u{10FFFF}')]),
            set_of(&[('x', '\u{90}'), ('é', 'é'), ('中', '\u{20000}')]),
            negated,
        ] {
            let quick = CharSet::new(&set);
            for c in (0..0x25_000).filter_map(char::from_u32) {
                assert_eq!(quick.contains(c), set_contains(&set, c), "{set:?} {c:?}");
            }
        }
    }

    #[test]
    fn a_character_is_matched_where_it_stands() {
        let set = CharSet::new(&set_of(&[('a', 'b'), ('é', 'é'), ('😀', '😀')]));
        for (text, at, len) in [
            ("a", 0, Some(1)),
            ("xé", 1, Some(2)),
            ("😀", 0, Some(4)),
            ("è", 0, None),
            ("a", 1, None),
            ("", 0, None),
        ] {
            assert_eq!(set.matched_len(text, at), len, "{text:?}");
        }
    }
}
