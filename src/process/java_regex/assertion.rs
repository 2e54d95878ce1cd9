//! Says the conditions on a place, which no engine means quite as Java does.

use super::ast::{Assertion, Lines, Words};
use super::translate::{Dialect, Place, Unsayable, Use, Writer};

impl Writer {
    pub(super) fn assertion(
        &mut self,
        assertion: Assertion,
        place: Place,
    ) -> Result<(), Unsayable> {
        match assertion {
            Assertion::TextStart => self.out.push_str(r"\A"),
            Assertion::TextEnd => self.out.push_str(r"\z"),
            Assertion::LastLineEnd(lines) => self.last_line_end(lines, place)?,
            Assertion::LineStart(lines) => self.line_start(lines, place)?,
            Assertion::LineEnd(lines) => self.line_end(lines, place)?,
            Assertion::WordBoundary(words) => self.word_boundary(words, false)?,
            Assertion::NoWordBoundary(words) => self.word_boundary(words, true)?,
            Assertion::PreviousEnd => match self.usage {
                Use::Full | Use::Prefix | Use::Find => self.out.push_str(r"\A"),
                Use::Search | Use::SearchPastEmpty => {
                    self.backtracking_only()?;
                    self.out.push_str(r"\G");
                }
            },
        }
        Ok(())
    }

    fn last_line_end(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let is_last = place.at_end && self.dialect != Dialect::Backtracking;
        self.out.push_str(match (self.usage, lines) {
            (Use::Full, _) if is_last => "(?:)",
            (Use::Prefix, Lines::Unix) if is_last => r"(?:\n?\z)",
            (Use::Prefix, Lines::Any) if is_last => {
                r"(?:(?:(?mR:$)(?:\r\n|\n|\r)?|[\x{85}\x{2028}\x{2029}])\z)"
            }
            _ => {
                self.backtracking_only()?;
                match lines {
                    Lines::Unix => r"(?=\n?\z)",
                    Lines::Any => {
                        r"(?:\z|(?=(?:\r\n|[\r\x{85}\x{2028}\x{2029}])\z)|(?<!\r)(?=\n\z))"
                    }
                }
            }
        });
        Ok(())
    }

    fn line_start(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let text = match (self.dialect, lines) {
            (Dialect::Linear | Dialect::LinearAscii, _) if !place.followed => {
                return Err(Unsayable);
            }
            (Dialect::Linear | Dialect::LinearAscii, _) if place.at_start => "(?:)",
            (Dialect::Linear | Dialect::LinearAscii, Lines::Unix) => "(?m:^)",
            (Dialect::LinearAscii, Lines::Any) => "(?mR:^)",
            (Dialect::Linear, Lines::Any) => return Err(Unsayable),
            (Dialect::Backtracking, Lines::Unix) => r"(?:(?!\z)(?:\A|(?<=\n)))",
            (Dialect::Backtracking, Lines::Any) => {
                r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))"
            }
        };
        self.out.push_str(text);
        Ok(())
    }

    fn line_end(&mut self, lines: Lines, place: Place) -> Result<(), Unsayable> {
        let is_last = place.at_end && self.usage == Use::Full;
        let text = match (self.dialect, lines) {
            (Dialect::Linear | Dialect::LinearAscii, _) if is_last => "(?:)",
            (Dialect::Linear | Dialect::LinearAscii, Lines::Unix) => "(?m:$)",
            (Dialect::LinearAscii, Lines::Any) => "(?mR:$)",
            (Dialect::Linear, Lines::Any) => return Err(Unsayable),
            (Dialect::Backtracking, Lines::Unix) => r"(?:\z|(?=\n))",
            (Dialect::Backtracking, Lines::Any) => {
                r"(?:\z|(?=[\r\x{85}\x{2028}\x{2029}])|(?<!\r)(?=\n))"
            }
        };
        self.out.push_str(text);
        Ok(())
    }

    fn word_boundary(&mut self, words: Words, negated: bool) -> Result<(), Unsayable> {
        match (words, self.dialect, negated) {
            (Words::Unicode, _, false) => self.out.push_str(r"\b"),
            (Words::Unicode, _, true) => self.out.push_str(r"\B"),
            (Words::Java, Dialect::LinearAscii, false) => self.out.push_str(r"(?-u:\b)"),
            (Words::Java, Dialect::LinearAscii, true) => self.out.push_str(r"(?-u:\B)"),
            (Words::Java, Dialect::Linear, _) => return Err(Unsayable),
            (Words::Java, Dialect::Backtracking, _) => self.java_word_boundary(negated),
        }
        Ok(())
    }

    /// A place between a character of a word and one that is none. A mark is of a word if a letter or digit comes before
    /// it and its fellow marks.
    fn java_word_boundary(&mut self, negated: bool) {
        const LEFT: &str = r"(?:(?<=[\p{L}\p{Nd}_])|(?<=[\p{L}\p{Nd}]\p{Mn}+))";
        const RIGHT: &str = r"(?:(?=[\p{L}\p{Nd}_])|(?=\p{Mn})(?<=[\p{L}\p{Nd}]\p{Mn}*))";
        match negated {
            false => self.push(format_args!("(?:{LEFT}(?!{RIGHT})|(?!{LEFT}){RIGHT})")),
            true => self.push(format_args!("(?:{LEFT}{RIGHT}|(?!{LEFT})(?!{RIGHT}))")),
        }
    }
}
