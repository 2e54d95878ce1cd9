//! Says the conditions on a place, which the linear-time engine hardly ever means quite as Java does.

use super::ast::{Assertion, Lines, Words};
use super::translate::{Dialect, Place, Unsayable, Use, Writer};

impl Writer {
    pub(super) fn assertion(
        &mut self,
        assertion: Assertion,
        place: Place,
    ) -> Result<(), Unsayable> {
        self.out.push_str(match assertion {
            Assertion::TextStart => r"\A",
            Assertion::TextEnd => r"\z",
            Assertion::LastLineEnd(lines) => self.last_line_end(lines, place)?,
            Assertion::LineStart(lines) => self.line_start(lines, place)?,
            Assertion::LineEnd(lines) => self.line_end(lines, place)?,
            Assertion::WordBoundary(words) => self.word_boundary(words, false)?,
            Assertion::NoWordBoundary(words) => self.word_boundary(words, true)?,
            Assertion::PreviousEnd => match self.usage {
                Use::Full | Use::Prefix | Use::Find => r"\A",
                Use::Search => return Err(Unsayable),
            },
        });
        Ok(())
    }

    fn last_line_end(&self, lines: Lines, place: Place) -> Result<&'static str, Unsayable> {
        match (self.usage, lines) {
            _ if !place.at_end => Err(Unsayable),
            (Use::Full, _) => Ok("(?:)"),
            (Use::Prefix, Lines::Unix) => Ok(r"(?:\n?\z)"),
            (Use::Prefix, Lines::Any) => {
                Ok(r"(?:(?:(?mR:$)(?:\r\n|\n|\r)?|[\x{85}\x{2028}\x{2029}])\z)")
            }
            (Use::Search | Use::Find, _) => Err(Unsayable),
        }
    }

    fn line_start(&self, lines: Lines, place: Place) -> Result<&'static str, Unsayable> {
        match (self.dialect, lines) {
            _ if !place.followed => Err(Unsayable),
            _ if place.at_start => Ok("(?:)"),
            (_, Lines::Unix) => Ok("(?m:^)"),
            (Dialect::Ascii, Lines::Any) => Ok("(?mR:^)"),
            (Dialect::Any, Lines::Any) => Err(Unsayable),
        }
    }

    fn line_end(&self, lines: Lines, place: Place) -> Result<&'static str, Unsayable> {
        match (self.dialect, lines) {
            _ if place.at_end && self.usage == Use::Full => Ok("(?:)"),
            (_, Lines::Unix) => Ok("(?m:$)"),
            (Dialect::Ascii, Lines::Any) => Ok("(?mR:$)"),
            (Dialect::Any, Lines::Any) => Err(Unsayable),
        }
    }

    fn word_boundary(&self, words: Words, is_negated: bool) -> Result<&'static str, Unsayable> {
        match (words, self.dialect, is_negated) {
            (Words::Unicode, _, false) => Ok(r"\b"),
            (Words::Unicode, _, true) => Ok(r"\B"),
            (Words::Java, Dialect::Ascii, false) => Ok(r"(?-u:\b)"),
            (Words::Java, Dialect::Ascii, true) => Ok(r"(?-u:\B)"),
            (Words::Java, Dialect::Any, _) => Err(Unsayable),
        }
    }
}
