//! Reads `[…]` by Java's rules: unions, ranges, `&&`.

use regex_syntax::hir::ClassUnicode;

use super::PatternError;
use super::ast::code_points;
use super::escape::Escaped;
use super::folding::{fold_char, fold_range};
use super::parse::Parser;

const NOT_CLOSED: &str =
    "a character class isn't closed by ']': escape '[' as \\[ to mean the character";

const VERTICAL_TAB: u32 = 0x0B;

/// How a run of items ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a `]` of its own.
    Own,
    /// Before the `]` of the class around it: the right side of `&&`.
    Outer,
}

impl Parser<'_> {
    /// A class, from its `[` to its `]`.
    pub(super) fn class(&mut self) -> Result<ClassUnicode, PatternError> {
        self.nested(|parser| {
            parser.scan.next();
            // Under COMMENTS too, nothing may stand before the `^`.
            let negated = parser.scan.peek_raw().is_some_and(|token| token.is('^'));
            if negated {
                parser.scan.next_raw();
            }
            let mut set = parser.class_items(End::Own)?;
            if negated {
                set.negate();
            }
            Ok(set)
        })
    }

    fn class_items(&mut self, end: End) -> Result<ClassUnicode, PatternError> {
        let mut items: Option<ClassUnicode> = None;
        loop {
            let Some(token) = self.scan.peek() else {
                return Err(self.scan.error(NOT_CLOSED));
            };
            // A `]` that comes first is itself.
            if token.is(']') && items.is_some() {
                if end == End::Own {
                    self.scan.next();
                }
                return Ok(items.unwrap_or_else(ClassUnicode::empty));
            }
            if token.is('&') && self.scan.peek_second().is_some_and(|token| token.is('&')) {
                self.scan.next();
                self.scan.next();
                items = Some(self.intersection(items)?);
                continue;
            }
            let item = match token.is('[') {
                true => self.class()?,
                false => self.class_range()?,
            };
            items = Some(united(items, item));
        }
    }

    /// The right side of `&&`, cut with the left one. A side that isn't there is no restriction.
    fn intersection(&mut self, left: Option<ClassUnicode>) -> Result<ClassUnicode, PatternError> {
        let mut right: Option<ClassUnicode> = None;
        loop {
            let item = match self.scan.peek() {
                None => return Err(self.scan.error(NOT_CLOSED)),
                Some(token) if token.is(']') || token.is('&') => break,
                Some(token) if token.is('[') => self.class()?,
                Some(_) => self.nested(|parser| parser.class_items(End::Outer))?,
            };
            right = Some(united(right, item));
        }
        match (left, right) {
            (Some(mut left), Some(right)) => {
                left.intersect(&right);
                Ok(left)
            }
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err(self
                .scan
                .error("'&&' in a character class has nothing on either side")),
        }
    }

    /// One character, a range of them, or an escape that stands for several.
    fn class_range(&mut self) -> Result<ClassUnicode, PatternError> {
        let is_tab = self.is_vertical_tab();
        let first = match self.class_char()? {
            Escaped::Char(c) => c,
            Escaped::Set(_) if is_tab && self.is_range() => VERTICAL_TAB,
            Escaped::Set(set) => return Ok(set),
        };
        let folding = self.modes.folding();
        if !self.is_range() {
            return Ok(fold_char(first, folding));
        }
        self.scan.next();
        let at = self.scan.at();
        let is_tab = self.is_vertical_tab();
        let last = match self.class_char()? {
            Escaped::Set(_) if is_tab => Escaped::Char(VERTICAL_TAB),
            last => last,
        };
        match last {
            Escaped::Char(last) if last >= first => {
                Ok(fold_range(code_points(first, last), folding))
            }
            Escaped::Char(_) => Err(self.scan.error_at(at, "a range ends below its start")),
            Escaped::Set(_) => Err(self
                .scan
                .error_at(at, "a range ends with one character, not with several")),
        }
    }

    /// A `-` is next that has an end after it.
    fn is_range(&mut self) -> bool {
        self.scan.peek().is_some_and(|token| token.is('-'))
            && self
                .scan
                .peek_second()
                .is_none_or(|token| !token.is(']') && !token.is('['))
    }

    /// `\v` is next, which at either end of a range is a character.
    fn is_vertical_tab(&mut self) -> bool {
        self.scan.peek().is_some_and(|token| token.is('\\'))
            && self
                .scan
                .peek_second_raw()
                .is_some_and(|token| token.c == 'v')
    }

    fn class_char(&mut self) -> Result<Escaped, PatternError> {
        match self.scan.peek() {
            None => Err(self.scan.error(NOT_CLOSED)),
            Some(token) if token.is('\\') => self.class_escape(),
            Some(token) => {
                self.scan.next();
                Ok(Escaped::Char(token.c.into()))
            }
        }
    }
}

fn united(items: Option<ClassUnicode>, item: ClassUnicode) -> ClassUnicode {
    match items {
        None => item,
        Some(mut items) => {
            items.union(&item);
            items
        }
    }
}
