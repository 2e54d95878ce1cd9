//! The flags of a pattern, which change from place to place.

use super::ast::{Folding, Lines, Words};

/// The flags in force at a place of the pattern.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Modes {
    /// `i`
    pub case_insensitive: bool,
    /// `u`
    pub unicode_case: bool,
    /// `d`
    pub unix_lines: bool,
    /// `m`
    pub multiline: bool,
    /// `s`
    pub dot_all: bool,
    /// `U`
    pub unicode_classes: bool,
    /// `x`
    pub comments: bool,
}

impl Modes {
    pub(super) fn folding(self) -> Folding {
        match (self.case_insensitive, self.unicode_case) {
            (false, _) => Folding::Exact,
            (true, false) => Folding::Ascii,
            (true, true) => Folding::Unicode,
        }
    }

    pub(super) fn lines(self) -> Lines {
        match self.unix_lines {
            false => Lines::Any,
            true => Lines::Unix,
        }
    }

    pub(super) fn words(self) -> Words {
        match self.unicode_classes {
            false => Words::Java,
            true => Words::Unicode,
        }
    }

    /// Sets the flag of this letter; `false` if there is none.
    pub(super) fn set(&mut self, letter: char, on: bool) -> bool {
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
