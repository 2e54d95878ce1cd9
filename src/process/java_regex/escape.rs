//! Reads what starts with a backslash.

use regex_syntax::hir::ClassUnicode;

use super::PatternError;
use super::ast::{Assertion, Node};
use super::folding::fold_char;
use super::parse::Parser;
use super::property::{self, Shorthand};

/// What an escape may stand for inside a class.
pub(super) enum Escaped {
    /// A code point, which may be a surrogate.
    Char(u32),
    Set(ClassUnicode),
}

impl Parser<'_> {
    /// An escape outside a class, from its backslash.
    pub(super) fn escape(&mut self) -> Result<Node, PatternError> {
        let at = self.scan.at();
        self.scan.next();
        let Some(token) = self.scan.peek_raw() else {
            return Err(self.scan.error_at(
                at,
                "a backslash has nothing to escape: write \\\\ to mean the character",
            ));
        };
        let node = match token.c {
            'A' => Node::Assertion(Assertion::TextStart),
            'z' => Node::Assertion(Assertion::TextEnd),
            'Z' => self.line_end(),
            'G' => Node::Assertion(Assertion::PreviousEnd),
            'B' => self.word_boundary(true),
            'b' => self.boundary(at)?,
            'R' => Node::LineBreak,
            'X' => {
                return Err(self.scan.error_at(
                    at,
                    "\\X (a grapheme cluster) isn't supported: write a class of the characters you expect",
                ));
            }
            'k' => return self.named_reference(),
            '1'..='9' => return Ok(self.numbered_reference()),
            _ => {
                return Ok(Node::Set(match self.common_escape(at)? {
                    Escaped::Char(c) => fold_char(c, self.modes.folding()),
                    Escaped::Set(set) => set,
                }));
            }
        };
        self.scan.next_raw();
        Ok(node)
    }

    /// An escape inside a class, from its backslash.
    pub(super) fn class_escape(&mut self) -> Result<Escaped, PatternError> {
        let at = self.scan.at();
        self.scan.next();
        self.common_escape(at)
    }

    /// `\b`, which is next still; `\b{g}` is another thing.
    fn boundary(&mut self, at: usize) -> Result<Node, PatternError> {
        let here = self.scan.mark();
        self.scan.next_raw();
        let is_grapheme = self.scan.take('{') && self.scan.take('g');
        self.scan.reset(here);
        match is_grapheme {
            false => Ok(self.word_boundary(false)),
            true => Err(self.scan.error_at(
                at,
                "\\b{g} (a grapheme boundary) isn't supported: leave it out",
            )),
        }
    }

    /// What is legal both outside and inside a class; the backslash at `at` has been read.
    fn common_escape(&mut self, at: usize) -> Result<Escaped, PatternError> {
        let Some(token) = self.scan.next_raw() else {
            return Err(self.scan.error_at(at, "a backslash has nothing to escape"));
        };
        let unicode = self.modes.unicode_classes;
        let shorthand = |which: Shorthand| Ok(Escaped::Set(which.set(unicode)));
        let negated = |which: Shorthand| {
            let mut set = which.set(unicode);
            set.negate();
            Ok(Escaped::Set(set))
        };
        match token.c {
            'd' => shorthand(Shorthand::Digit),
            'D' => negated(Shorthand::Digit),
            'w' => shorthand(Shorthand::Word),
            'W' => negated(Shorthand::Word),
            's' => shorthand(Shorthand::Space),
            'S' => negated(Shorthand::Space),
            'h' => shorthand(Shorthand::HorizontalSpace),
            'H' => negated(Shorthand::HorizontalSpace),
            'v' => shorthand(Shorthand::VerticalSpace),
            'V' => negated(Shorthand::VerticalSpace),
            'p' => self.property(at, false).map(Escaped::Set),
            'P' => self.property(at, true).map(Escaped::Set),
            't' => Ok(Escaped::Char(0x09)),
            'n' => Ok(Escaped::Char(0x0A)),
            'f' => Ok(Escaped::Char(0x0C)),
            'r' => Ok(Escaped::Char(0x0D)),
            'a' => Ok(Escaped::Char(0x07)),
            'e' => Ok(Escaped::Char(0x1B)),
            '0' => self.octal(at),
            'x' => self.hexadecimal(at),
            'u' => self.utf16(at),
            'c' => match self.scan.next() {
                Some(token) => Ok(Escaped::Char(u32::from(token.c) ^ 0x40)),
                None => Err(self.scan.error_at(at, "\\c has no character after it")),
            },
            'N' => Err(self.scan.error_at(
                at,
                "\\N (a character by its name) isn't supported: write \\x{…} with its code point",
            )),
            c if c.is_ascii_alphanumeric() => Err(self.scan.error_at(
                at,
                format!("\\{c} is no escape here: write \\\\{c} to mean a backslash before it"),
            )),
            c => Ok(Escaped::Char(c.into())),
        }
    }

    /// `\0n`, `\0nn` or `\0mnn` up to `\0377`.
    fn octal(&mut self, at: usize) -> Result<Escaped, PatternError> {
        let mut value = None;
        for digits in 0..3 {
            let Some(digit) = self.peek_digit(8) else {
                break;
            };
            if digits == 2 && value > Some(0o37) {
                break;
            }
            self.scan.next();
            value = Some(value.unwrap_or(0) * 8 + digit);
        }
        match value {
            Some(value) => Ok(Escaped::Char(value)),
            None => Err(self.scan.error_at(at, "\\0 has no octal digits after it")),
        }
    }

    /// `\xhh` or `\x{h…}`.
    fn hexadecimal(&mut self, at: usize) -> Result<Escaped, PatternError> {
        let bad = |parser: &Self, what: &str| Err(parser.scan.error_at(at, what));
        if !self.scan.take('{') {
            return match self.hex_digits(2) {
                Some(value) => Ok(Escaped::Char(value)),
                None => bad(self, "\\x needs two hexadecimal digits, or some in braces"),
            };
        }
        let mut value: Option<u32> = None;
        while let Some(digit) = self.peek_digit(16) {
            self.scan.next();
            let next = value.unwrap_or(0) * 16 + digit;
            if next > u32::from(char::MAX) {
                return bad(self, "code points end at \\x{10FFFF}");
            }
            value = Some(next);
        }
        match value {
            Some(value) if self.scan.take('}') => Ok(Escaped::Char(value)),
            _ => bad(self, "\\x{ needs hexadecimal digits and '}'"),
        }
    }

    /// `\uhhhh`, or two of them that make one character.
    fn utf16(&mut self, at: usize) -> Result<Escaped, PatternError> {
        let what = "\\u needs four hexadecimal digits";
        let Some(high) = self.hex_digits(4) else {
            return Err(self.scan.error_at(at, what));
        };
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(Escaped::Char(high));
        }
        let here = self.scan.mark();
        if self.scan.take('\\') && self.scan.take('u') {
            match self.hex_digits(4) {
                Some(low @ 0xDC00..0xE000) => {
                    let value = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    return Ok(Escaped::Char(value));
                }
                Some(_) => {}
                None => return Err(self.scan.error(what)),
            }
        }
        self.scan.reset(here);
        Ok(Escaped::Char(high))
    }

    fn hex_digits(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value * 16 + self.peek_digit(16)?;
            self.scan.next();
        }
        Some(value)
    }

    fn peek_digit(&mut self, radix: u32) -> Option<u32> {
        let token = self.scan.peek()?;
        match token.quoted {
            true => None,
            false => token.c.to_digit(radix),
        }
    }

    /// `\1` and so on. A further digit belongs to the reference only if there are so many groups before it.
    fn numbered_reference(&mut self) -> Node {
        let mut group = 0;
        while let Some(digit) = self.peek_digit(10) {
            let next = group * 10 + digit as usize;
            if group != 0 && next > self.group_count {
                break;
            }
            group = next;
            self.scan.next();
        }
        self.reference(group)
    }

    fn reference(&self, group: usize) -> Node {
        Node::BackReference {
            group,
            folding: self.modes.folding(),
        }
    }

    fn named_reference(&mut self) -> Result<Node, PatternError> {
        self.scan.next_raw();
        if !self.scan.take('<') {
            return Err(self
                .scan
                .error("\\k goes on with '<' and the name of a group"));
        }
        let at = self.scan.at();
        let name = self.group_name()?;
        match self.names.get(&name) {
            Some(&group) => Ok(self.reference(group)),
            None => Err(self
                .scan
                .error_at(at, format!("no group named <{name}> stands before this"))),
        }
    }

    /// `\pL` or `\p{name}`, after the `p`.
    fn property(&mut self, at: usize, negated: bool) -> Result<ClassUnicode, PatternError> {
        let mut name = String::new();
        match self.scan.next() {
            Some(token) if token.is('{') => loop {
                match self.scan.next_raw() {
                    Some(token) if token.is('}') => break,
                    Some(token) => name.push(token.c),
                    None => {
                        return Err(self.scan.error_at(at, "\\p{ isn't closed by '}'"));
                    }
                }
            },
            Some(token) => name.push(token.c),
            None => return Err(self.scan.error_at(at, "\\p has no property after it")),
        }
        let mut set = property::lookup(&name, self.modes.unicode_classes, self.modes.folding())
            .ok_or_else(|| {
                self.scan.error_at(
                    at,
                    format!("{{{name}}} is no character property that is known here"),
                )
            })?;
        if negated {
            set.negate();
        }
        Ok(set)
    }
}
