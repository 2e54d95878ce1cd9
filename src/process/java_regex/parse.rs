//! Reads a pattern by Java's rules: groups, repetitions, flags.

use std::collections::HashMap;

use super::ast::{Assertion, Folding, Greed, Lines, Node, Side, Times, Words, set_of};
use super::folding::fold_char;
use super::look_behind;
use super::scan::{CommentEnd, Scanner, Token};
use super::{Flags, PatternError};

/// How deep groups and classes may nest. Java overflows its stack some thousands deep; patterns that people write
/// stay below ten.
pub(super) const DEPTH_MAX: usize = 100;

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
        names: HashMap::new(),
        depth: 0,
    };
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
    pub(super) names: HashMap<String, usize>,
    depth: usize,
}

/// The flags in force at a place of the pattern.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Modes {
    /// `i`
    case_insensitive: bool,
    /// `u`
    unicode_case: bool,
    /// `d`
    unix_lines: bool,
    /// `m`
    multiline: bool,
    /// `s`
    dot_all: bool,
    /// `U`
    pub unicode_classes: bool,
    /// `x`
    comments: bool,
}

impl Modes {
    pub(super) fn folding(self) -> Folding {
        match (self.case_insensitive, self.unicode_case) {
            (false, _) => Folding::Exact,
            (true, false) => Folding::Ascii,
            (true, true) => Folding::Unicode,
        }
    }

    fn lines(self) -> Lines {
        match self.unix_lines {
            false => Lines::Any,
            true => Lines::Unix,
        }
    }

    fn words(self) -> Words {
        match self.unicode_classes {
            false => Words::Java,
            true => Words::Unicode,
        }
    }

    /// Sets the flag of this letter; `false` if there is none.
    fn set(&mut self, letter: char, on: bool) -> bool {
        match letter {
            'i' => self.case_insensitive = on,
            'd' => self.unix_lines = on,
            'm' => self.multiline = on,
            's' => self.dot_all = on,
            'u' => self.unicode_case = on,
            'x' => self.comments = on,
            'U' => {
                self.unicode_classes = on;
                self.unicode_case = on;
            }
            // CANON_EQ has no effect in Java either when it is written inside the pattern.
            'c' => {}
            _ => return false,
        }
        true
    }
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Result<Node, PatternError> {
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

    fn dot(&self) -> regex_syntax::hir::ClassUnicode {
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

    /// Everything that starts with `(`.
    fn group(&mut self) -> Result<Option<Node>, PatternError> {
        let outer = self.modes;
        let at = self.scan.at();
        self.scan.next();
        if !self.scan.take('?') {
            return self.capture(None, outer).map(Some);
        }
        let Some(kind) = self.scan.peek_raw().filter(|token| !token.quoted) else {
            return Err(self.unknown_group());
        };
        if matches!(kind.c, ':' | '=' | '!' | '>' | '<') {
            self.scan.next_raw();
        }
        Ok(Some(match kind.c {
            ':' => self.group_rest(outer)?,
            '>' => Node::Atomic(Box::new(self.group_rest(outer)?)),
            '=' | '!' => self.look(Side::Ahead, kind.is('!'), outer)?,
            '<' => match self.scan.peek() {
                Some(token) if token.is('=') || token.is('!') => {
                    self.scan.next();
                    let node = self.look(Side::Behind, token.is('!'), outer)?;
                    look_behind::check(&node).map_err(|what| self.scan.error_at(at, what))?;
                    node
                }
                _ => {
                    let name = self.group_name()?;
                    if self.names.contains_key(&name) {
                        return Err(self
                            .scan
                            .error(format!("a group named <{name}> is there already")));
                    }
                    self.capture(Some(name), outer)?
                }
            },
            _ => return self.flags(outer),
        }))
    }

    fn capture(&mut self, name: Option<String>, outer: Modes) -> Result<Node, PatternError> {
        self.group_count += 1;
        let index = self.group_count;
        if let Some(name) = name {
            self.names.insert(name, index);
        }
        let node = self.group_rest(outer)?;
        Ok(Node::Capture(index, Box::new(node)))
    }

    fn look(&mut self, side: Side, negated: bool, outer: Modes) -> Result<Node, PatternError> {
        Ok(Node::Look {
            side,
            negated,
            node: Box::new(self.group_rest(outer)?),
        })
    }

    /// The alternatives of a group and its `)`; flags that were set inside end with it.
    fn group_rest(&mut self, outer: Modes) -> Result<Node, PatternError> {
        let node = self.nested(Self::alternatives)?;
        if !self.scan.take(')') {
            return Err(self.scan.error("a group isn't closed by ')'"));
        }
        self.set_modes(outer);
        Ok(node)
    }

    /// `i-m)` or `i-m:…)`, after `(?`.
    fn flags(&mut self, outer: Modes) -> Result<Option<Node>, PatternError> {
        let mut on = true;
        loop {
            let Some(token) = self.scan.peek().filter(|token| !token.quoted) else {
                return Err(self.unknown_group());
            };
            let mut modes = self.modes;
            match token.c {
                ')' => {
                    self.scan.next();
                    return Ok(None);
                }
                ':' => {
                    self.scan.next();
                    return self.group_rest(outer).map(Some);
                }
                '-' if on => on = false,
                letter if modes.set(letter, on) => self.set_modes(modes),
                _ => return Err(self.unknown_group()),
            }
            self.scan.next();
        }
    }

    fn set_modes(&mut self, modes: Modes) {
        self.modes = modes;
        self.scan.comments = modes.comments.then_some(match modes.unix_lines {
            false => CommentEnd::AnyLineEnd,
            true => CommentEnd::LineFeed,
        });
    }

    fn unknown_group(&self) -> PatternError {
        self.scan.error(
            "unknown kind of group: '(?' goes on with ':', '=', '!', '>', '<=', '<!', '<name>' \
             or flags out of idmsuxU; escape '(' as \\( to mean the character",
        )
    }

    /// `name>`, after `<`.
    pub(super) fn group_name(&mut self) -> Result<String, PatternError> {
        let mut name = String::new();
        loop {
            match self.scan.peek() {
                Some(token) if token.is('>') && !name.is_empty() => {
                    self.scan.next();
                    return Ok(name);
                }
                Some(token) if token.c.is_ascii_alphabetic() => name.push(token.c),
                Some(token) if token.c.is_ascii_digit() && !name.is_empty() => name.push(token.c),
                _ if name.is_empty() => {
                    return Err(self
                        .scan
                        .error("the name of a group starts with an ASCII letter"));
                }
                _ => {
                    return Err(self.scan.error(
                        "the name of a group consists of ASCII letters and digits and ends with '>'",
                    ));
                }
            }
            self.scan.next();
        }
    }
}
