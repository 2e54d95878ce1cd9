//! Reads what starts with `(`: groups of all kinds, and flags.

use regex_syntax::hir::ClassUnicode;

use super::PatternError;
use super::ast::{Node, Side};
use super::look_behind::{self, Fate};
use super::modes::Modes;
use super::parse::Parser;
use super::scan::CommentEnd;

impl Parser<'_> {
    /// Everything that starts with `(`.
    pub(super) fn group(&mut self) -> Result<Option<Node>, PatternError> {
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
            ':' => uncaptured(self.group_rest(outer)?),
            '>' => Node::Atomic(Box::new(self.group_rest(outer)?)),
            '=' | '!' => look(Side::Ahead, kind.is('!'), self.group_rest(outer)?),
            '<' => match self.scan.peek() {
                Some(token) if token.is('=') || token.is('!') => {
                    self.scan.next();
                    let inside = self.group_rest(outer)?;
                    let inside = match look_behind::fate(&inside) {
                        Ok(Fate::Works) => inside,
                        Ok(Fate::NeverMatches) => {
                            Node::Concat(vec![Node::Set(ClassUnicode::empty()), inside])
                        }
                        Err(what) => return Err(self.scan.error_at(at, what)),
                    };
                    look(Side::Behind, token.is('!'), inside)
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
                    return self.group_rest(outer).map(uncaptured).map(Some);
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

fn uncaptured(inside: Node) -> Node {
    match inside {
        Node::Capture(..) => Node::Concat(vec![inside]),
        _ => inside,
    }
}

fn look(side: Side, negated: bool, inside: Node) -> Node {
    Node::Look {
        side,
        negated,
        node: Box::new(inside),
    }
}
