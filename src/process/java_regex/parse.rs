//! Reads a pattern by Java's rules: alternatives, sequences, repetitions.

use std::collections::HashMap;

use regex_syntax::hir::ClassUnicode;

use super::ast::{Assertion, Greed, Node, Times, set_of};
use super::folding::fold_char;
use super::modes::Modes;
use super::scan::{Scanner, Token};
use super::{Flags, PatternError};

/// How deep groups and classes may nest. Java overflows its stack some thousands deep; patterns that people write
/// stay below ten.
pub(super) const DEPTH_MAX: usize = 100;

/// Longest pattern, in characters; it keeps the tree small. Those seen in the field stay below a thousand.
const PATTERN_CHARS_MAX: usize = 1 << 15;

/// Ranges that the character sets of a pattern may have together, for the same reason: `\p{L}` has 650.
const RANGES_MAX: usize = 1 << 17;

/// Highest count of a repetition, as in Java.
const TIMES_MAX: u64 = i32::MAX as u64;

/// A pattern as read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub node: Node,
    /// Capturing groups without the whole match.
    pub group_count: usize,
}

/// Reads a pattern, or says where and why it is none.
pub(super) fn parse(pattern: &str, flags: &Flags) -> Result<Parsed, PatternError> {
    let mut parser = Parser {
        scan: Scanner::new(pattern),
        modes: Modes {
            multiline: flags.multiline,
            ..Modes::default()
        },
        group_count: 0,
        range_count: 0,
        names: HashMap::new(),
        depth: 0,
    };
    if parser.scan.len() > PATTERN_CHARS_MAX {
        return Err(parser.scan.error_at(
            PATTERN_CHARS_MAX,
            format!("a pattern may have {PATTERN_CHARS_MAX} characters at most"),
        ));
    }
    let node = parser.alternatives()?;
    match parser.scan.peek() {
        None => Ok(Parsed {
            node,
            group_count: parser.group_count,
        }),
        Some(_) => Err(parser
            .scan
            .error("unmatched closing ')': escape it as \\) to mean the character")),
    }
}

#[derive(Debug)]
pub(super) struct Parser<'p> {
    pub(super) scan: Scanner<'p>,
    pub(super) modes: Modes,
    pub(super) group_count: usize,
    range_count: usize,
    pub(super) names: HashMap<String, usize>,
    depth: usize,
}

impl Parser<'_> {
    pub(super) fn alternatives(&mut self) -> Result<Node, PatternError> {
        let mut branches = vec![self.sequence()?];
        while self.scan.take('|') {
            branches.push(self.sequence()?);
        }
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Node::Alternate(branches),
        })
    }

    fn sequence(&mut self) -> Result<Node, PatternError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.scan.peek() {
            if token.is('|') || token.is(')') {
                break;
            }
            if let Some(node) = self.atom(token)? {
                self.weigh(&node)?;
                let node = self.repeated(node)?;
                if node != Node::Empty {
                    nodes.push(node);
                }
            }
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        })
    }

    fn weigh(&mut self, node: &Node) -> Result<(), PatternError> {
        if let Node::Set(set) = node {
            self.range_count += set.ranges().len();
        }
        match self.range_count <= RANGES_MAX {
            true => Ok(()),
            false => Err(self.scan.error(
                "the character sets of the pattern are too many and too large together: take it apart",
            )),
        }
    }

    /// What may be repeated; `None` for flags that stand alone.
    fn atom(&mut self, token: Token) -> Result<Option<Node>, PatternError> {
        if token.quoted {
            self.scan.next();
            return Ok(Some(self.literal(token.c)));
        }
        Ok(Some(match token.c {
            '(' => return self.group(),
            '[' => Node::Set(self.class()?),
            '\\' => self.escape()?,
            '^' => self.assertion(match self.modes.multiline {
                true => Assertion::LineStart(self.modes.lines()),
                false => Assertion::TextStart,
            }),
            '$' => self.assertion(match self.modes.multiline {
                true => Assertion::LineEnd(self.modes.lines()),
                false => Assertion::LastLineEnd(self.modes.lines()),
            }),
            '.' => {
                self.scan.next();
                Node::Set(self.dot())
            }
            // As in Java, a count without anything before it repeats nothing.
            '{' => Node::Empty,
            c @ ('*' | '+' | '?') => {
                return Err(self.scan.error(format!(
                    "'{c}' has nothing to repeat: escape it as \\{c} to mean the character"
                )));
            }
            c => {
                self.scan.next();
                self.literal(c)
            }
        }))
    }

    fn literal(&self, c: char) -> Node {
        Node::Set(fold_char(c.into(), self.modes.folding()))
    }

    fn assertion(&mut self, assertion: Assertion) -> Node {
        self.scan.next();
        Node::Assertion(assertion)
    }

    fn dot(&self) -> ClassUnicode {
        let mut set = set_of(match (self.modes.dot_all, self.modes.unix_lines) {
            (true, _) => &[],
            (false, true) => &[('\n', '\n')],
            (false, false) => &[
                ('\n', '\n'),
                ('\r', '\r'),
                ('\u{85}', '\u{85}'),
                ('\u{2028}', '\u{2029}'),
            ],
        });
        set.negate();
        set
    }

    pub(super) fn line_end(&self) -> Node {
        Node::Assertion(Assertion::LastLineEnd(self.modes.lines()))
    }

    pub(super) fn word_boundary(&self, negated: bool) -> Node {
        let words = self.modes.words();
        Node::Assertion(match negated {
            false => Assertion::WordBoundary(words),
            true => Assertion::NoWordBoundary(words),
        })
    }

    /// Reads what repeats `node`, if anything does.
    fn repeated(&mut self, node: Node) -> Result<Node, PatternError> {
        let Some(token) = self.scan.peek().filter(|token| !token.quoted) else {
            return Ok(node);
        };
        let times = match token.c {
            '?' => Times {
                min: 0,
                max: Some(1),
            },
            '*' => Times { min: 0, max: None },
            '+' => Times { min: 1, max: None },
            '{' => self.times()?,
            _ => return Ok(node),
        };
        if token.c != '{' {
            self.scan.next();
        }
        let greed = if self.scan.take('?') {
            Greed::Lazy
        } else if self.scan.take('+') {
            Greed::Possessive
        } else {
            Greed::Greedy
        };
        if node == Node::Empty {
            return Ok(node);
        }
        Ok(Node::Repeat {
            node: Box::new(node),
            times,
            greed,
        })
    }

    /// `{n}`, `{n,}` or `{n,m}`.
    fn times(&mut self) -> Result<Times, PatternError> {
        let is_digit = |token: Token| token.c.is_ascii_digit() && !token.quoted;
        if !self.scan.peek_second_raw().is_some_and(is_digit) {
            return Err(self
                .scan
                .error("'{' without a count after it: escape it as \\{ to mean the character"));
        }
        self.scan.next();
        let min = self.count()?;
        let max = if !self.scan.take(',') {
            Some(min)
        } else if self.scan.peek().is_some_and(is_digit) {
            Some(self.count()?)
        } else {
            None
        };
        if !self.scan.take('}') {
            return Err(self
                .scan
                .error("the count of a repetition isn't closed by '}'"));
        }
        if max.is_some_and(|max| max < min) {
            return Err(self
                .scan
                .error("the range of a repetition ends below its start"));
        }
        Ok(Times { min, max })
    }

    fn count(&mut self) -> Result<u32, PatternError> {
        let mut count: u64 = 0;
        while let Some(digit) = self
            .scan
            .peek()
            .filter(|token| !token.quoted)
            .and_then(|token| token.c.to_digit(10))
        {
            self.scan.next();
            count = count * 10 + u64::from(digit);
            if count > TIMES_MAX {
                return Err(self
                    .scan
                    .error(format!("a repetition may count to {TIMES_MAX} at most")));
            }
        }
        Ok(u32::try_from(count).expect("at most TIMES_MAX"))
    }

    /// Runs `read` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, PatternError>,
    ) -> Result<T, PatternError> {
        if self.depth == DEPTH_MAX {
            return Err(self.scan.error(format!(
                "groups and classes may nest {DEPTH_MAX} deep at most"
            )));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }
}
