//! Whether two file patterns can match the same path.

use super::pattern;

/// Alternatives that the braces of a pattern may come to; beyond it nothing is said of it.
const ALTERNATIVES_MAX: usize = 128;
/// Pairs of places in two patterns that are looked at; beyond it nothing is said of them.
const PLACES_MAX: usize = 1 << 20;

/// Whether some path matches both patterns, each in the form of [`pattern::compile`].
///
/// `false` too where that can't be told with reasonable effort. Characters beyond ASCII that stand in a class count as
/// any of them.
pub fn overlap(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Some(ones), Some(others)) = (alternatives(one), alternatives(other)) else {
        return false;
    };
    ones.iter()
        .any(|one| others.iter().any(|other| have_common_text(one, other)))
}

/// What stands in a pattern without braces.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// One of these characters.
    One(Characters),
    /// Any number of characters, slashes only where it stands for folders.
    Many { crosses_folders: bool },
}

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Characters {
    /// A bit for each.
    ascii: u128,
    beyond: Beyond,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Beyond {
    None,
    Only(char),
    Any,
}

impl Characters {
    /// All but the slash.
    const OF_A_NAME: Characters = Characters {
        ascii: !(1 << b'/'),
        beyond: Beyond::Any,
    };

    fn of(c: char) -> Characters {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => Characters {
                ascii: 1 << byte,
                beyond: Beyond::None,
            },
            _ => Characters {
                ascii: 0,
                beyond: Beyond::Only(c),
            },
        }
    }

    fn meets(self, other: Characters) -> bool {
        let meet_beyond = match (self.beyond, other.beyond) {
            (Beyond::None, _) | (_, Beyond::None) => false,
            (Beyond::Only(one), Beyond::Only(other)) => one == other,
            (Beyond::Any, _) | (_, Beyond::Any) => true,
        };
        self.ascii & other.ascii != 0 || meet_beyond
    }
}

impl Token {
    fn takes(&self, characters: Characters) -> bool {
        match self {
            Token::One(own) => own.meets(characters),
            Token::Many {
                crosses_folders: true,
            } => true,
            Token::Many {
                crosses_folders: false,
            } => Characters::OF_A_NAME.meets(characters),
        }
    }
}

/// The pattern with each of its braces resolved in every way; `None`: too many, or no pattern.
fn alternatives(text: &str) -> Option<Vec<Vec<Token>>> {
    pattern::compile(text).ok()?;
    let chars: Vec<char> = text.chars().collect();
    let mut parser = Parser {
        chars: &chars,
        at: 0,
    };
    parser.sequence(false)
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
}

impl Parser<'_> {
    /// What goes on to the end, or within a group to its next comma or its end.
    fn sequence(&mut self, is_in_group: bool) -> Option<Vec<Vec<Token>>> {
        let mut found: Vec<Vec<Token>> = vec![Vec::new()];
        while let Some(&c) = self.chars.get(self.at) {
            if is_in_group && matches!(c, ',' | '}') {
                break;
            }
            let next = self.next(c)?;
            found = found
                .iter()
                .flat_map(|before| next.iter().map(|after| [&before[..], after].concat()))
                .collect();
            if found.len() > ALTERNATIVES_MAX {
                return None;
            }
        }
        Some(found)
    }

    /// The ways in which what begins here can be read.
    fn next(&mut self, c: char) -> Option<Vec<Vec<Token>>> {
        if self.chars[self.at..].starts_with(&['/', '*', '*', '/']) {
            // The second slash may begin the next of these.
            self.at += 3;
            let deep = Token::Many {
                crosses_folders: true,
            };
            let slash = Token::One(Characters::of('/'));
            return Some(vec![vec![], vec![slash, deep]]);
        }
        self.at += 1;
        let token = match c {
            '*' => Token::Many {
                crosses_folders: false,
            },
            '?' => Token::One(Characters::OF_A_NAME),
            '[' => Token::One(self.class()?),
            '{' => return self.group(),
            '\\' => {
                let escaped = *self.chars.get(self.at)?;
                self.at += 1;
                Token::One(Characters::of(escaped))
            }
            c => Token::One(Characters::of(c)),
        };
        Some(vec![vec![token]])
    }

    fn group(&mut self) -> Option<Vec<Vec<Token>>> {
        let mut found = Vec::new();
        loop {
            found.extend(self.sequence(true)?);
            let end = *self.chars.get(self.at)?;
            self.at += 1;
            if end == '}' {
                return Some(found);
            }
        }
    }

    /// The rest of a class, after its bracket.
    fn class(&mut self) -> Option<Characters> {
        let is_negated = matches!(self.chars.get(self.at)?, '!' | '^');
        self.at += usize::from(is_negated);
        let first = self.at;
        let length = self.chars[first..]
            .iter()
            .enumerate()
            .position(|(n, c)| *c == ']' && n > 0)?;
        let inside = &self.chars[first..first + length];
        self.at = first + length + 1;
        let mut set = Characters {
            ascii: 0,
            beyond: Beyond::None,
        };
        let mut n = 0;
        while let Some(&from) = inside.get(n) {
            let to = match inside.get(n + 1..n + 3) {
                Some(['-', to]) => *to,
                _ => from,
            };
            n += if to == from { 1 } else { 3 };
            for ascii in 0..128_u8 {
                let is_in = (from..=to).contains(&char::from(ascii));
                set.ascii |= u128::from(is_in) << ascii;
            }
            if !to.is_ascii() {
                set.beyond = Beyond::Any;
            }
        }
        if is_negated {
            set.ascii = !set.ascii;
            set.beyond = Beyond::Any;
        }
        set.ascii &= Characters::OF_A_NAME.ascii;
        Some(set)
    }
}

/// Whether there is a text that both take.
fn have_common_text(one: &[Token], other: &[Token]) -> bool {
    let width = other.len() + 1;
    if (one.len() + 1).saturating_mul(width) > PLACES_MAX {
        return false;
    }
    // Whether the rests behind a pair of places have a common text; rows from the end on.
    let mut after = vec![false; width];
    let mut row = vec![false; width];
    for at_one in (0..=one.len()).rev() {
        for at_other in (0..width).rev() {
            let below = |n: usize| after.get(n).copied().unwrap_or(false);
            row[at_other] = match (one.get(at_one), other.get(at_other)) {
                (None, None) => true,
                (Some(Token::Many { .. }), None) => below(at_other),
                (None, Some(Token::Many { .. })) => row[at_other + 1],
                (None, Some(_)) | (Some(_), None) => false,
                // Either may be empty, or take one character more.
                (Some(many @ Token::Many { .. }), Some(token)) => {
                    let goes_on = match token {
                        Token::One(characters) => many.takes(*characters),
                        Token::Many { .. } => true,
                    };
                    below(at_other) || goes_on && row[at_other + 1]
                }
                (Some(Token::One(characters)), Some(many @ Token::Many { .. })) => {
                    row[at_other + 1] || many.takes(*characters) && below(at_other)
                }
                (Some(Token::One(one)), Some(Token::One(other))) => {
                    one.meets(*other) && below(at_other + 1)
                }
            };
        }
        std::mem::swap(&mut after, &mut row);
    }
    after[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_overlap_if_a_path_matches_both() {
        for (one, other, expected) in [
            ("/l/a.log", "/l/a.log", true),
            ("/l/a.log", "/l/b.log", false),
            ("/l/*.log", "/l/app*", true),
            ("/l/*.log", "/l/*.txt", false),
            ("/l/*", "/m/*", false),
            ("/l/*", "/l/x/*", false),
            ("/l/**/*.log", "/l/x/y/a.log", true),
            ("/l/**/*.log", "/l/a.log", true),
            ("/l/**/*.log", "/m/a.log", false),
            ("/**/a", "/x/**/b", false),
            ("/*/a", "/x/?", true),
            ("/l/app.log*", "/l/app.log", true),
            ("/l/app[0-9]", "/l/appx", false),
            ("/l/app[!0-9]", "/l/appx", true),
            ("/l/app[a-f]", "/l/app[f-k]", true),
            ("/l/app[a-f]", "/l/app[g-k]", false),
            ("/l/{a,b}.log", "/l/{b,c}.log", true),
            ("/l/{a,b}.log", "/l/{c,d}.log", false),
            ("/l/app{,.1}", "/l/app", true),
            ("/l/\\*", "/l/x", false),
            ("/l/\\*", "/l/*", true),
            ("/l/é*", "/l/è*", false),
            ("/l/[à-ü]*", "/l/è*", true),
            ("/l/?", "/l/é", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn what_would_take_too_long_is_not_said() {
        let many = format!("/l/{}", "{a,b}".repeat(30));
        assert!(!overlap(&many, "/l/*"));
    }

    /// `/a`, `/b/ab` and the like.
    fn short_paths() -> Vec<String> {
        let names = ["a", "b", "aa", "ab", "ba", "aba", "bab"];
        let deep = |folder: &str| names.map(|name| format!("/{folder}/{name}"));
        let deeper = names.iter().flat_map(|folder| deep(folder));
        let flat = names.iter().map(|name| format!("/{name}"));
        flat.chain(deeper).chain(deep("a/b")).collect()
    }

    proptest! {
        /// A path that matches both patterns shows that they overlap.
        #[test]
        fn no_common_path_is_missed(
            one in "(/\\*\\*)?(/(a|b|\\*|\\?|\\[ab\\]|\\{a,b,\\}){1,2}){1,2}",
            other in "(/\\*\\*)?(/(a|b|\\*|\\?|\\[ab\\]|\\{a,b,\\}){1,2}){1,2}",
        ) {
            // Two stars in a name, or as the last part, mean something else to globset than to the walk.
            let is_ours = |pattern: &str| {
                let mut parts = pattern.split('/').rev();
                parts.next().is_some_and(|name| !name.contains("**"))
                    && parts.all(|part| part == "**" || !part.contains("**"))
            };
            // Of what has too many alternatives nothing is said.
            let is_said = |pattern: &str| is_ours(pattern) && alternatives(pattern).is_some();
            if !(is_said(&one) && is_said(&other)) {
                return Ok(());
            }
            let [first, second] = [&one, &other].map(|pattern| pattern::compile(pattern).expect("a glob").compile_matcher());
            let common = short_paths().into_iter().find(|path| first.is_match(path) && second.is_match(path));
            if let Some(path) = common {
                prop_assert!(overlap(&one, &other), "{one} {other} {path}");
            }
        }
    }
}
