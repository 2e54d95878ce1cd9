//! Whether a condition holds at a place of a text.

use std::sync::OnceLock;

use super::ast::{Assertion, Folding, Lines, Words};
use super::charset::CharSet;
use super::property::{self, Shorthand};

/// Marks on one letter that are looked through: Unicode's Stream-Safe Text Format has no more.
const MARKS_MAX: usize = 30;

/// Whether it holds at `at`; `previous_end` is where the match before this one ended.
pub(super) fn holds(assertion: Assertion, text: &str, at: usize, previous_end: usize) -> bool {
    match assertion {
        Assertion::TextStart => at == 0,
        Assertion::TextEnd => at == text.len(),
        Assertion::PreviousEnd => at == previous_end,
        Assertion::LastLineEnd(lines) => is_last_line_end(lines, text, at),
        Assertion::LineStart(lines) => is_line_start(lines, text, at),
        Assertion::LineEnd(lines) => is_line_end(lines, text, at),
        Assertion::WordBoundary(words) => is_word_boundary(words, text, at),
        Assertion::NoWordBoundary(words) => !is_word_boundary(words, text, at),
    }
}

/// Whether `\R` matches this character by itself.
pub(super) fn is_line_break(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the character ends a line.
fn ends_line(lines: Lines, c: char) -> bool {
    match lines {
        Lines::Any => matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'),
        Lines::Unix => c == '\n',
    }
}

/// Between the two characters of `\r\n`.
fn is_inside_break(lines: Lines, text: &str, at: usize) -> bool {
    lines == Lines::Any && text[..at].ends_with('\r') && text[at..].starts_with('\n')
}

fn is_last_line_end(lines: Lines, text: &str, at: usize) -> bool {
    let rest = &text[at..];
    let mut chars = rest.chars();
    match chars.next() {
        None => true,
        Some(_) if is_inside_break(lines, text, at) => false,
        Some('\r') if rest == "\r\n" => lines == Lines::Any,
        Some(c) => ends_line(lines, c) && chars.as_str().is_empty(),
    }
}

fn is_line_start(lines: Lines, text: &str, at: usize) -> bool {
    if at == text.len() {
        return false;
    }
    match text[..at].chars().next_back() {
        None => true,
        Some(c) => ends_line(lines, c) && !is_inside_break(lines, text, at),
    }
}

fn is_line_end(lines: Lines, text: &str, at: usize) -> bool {
    match text[at..].chars().next() {
        None => true,
        Some(c) => ends_line(lines, c) && !is_inside_break(lines, text, at),
    }
}

/// A place between a character of a word and one that is none.
fn is_word_boundary(words: Words, text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let is_word = |c: Option<char>| match c {
        None => false,
        Some(c) if c.is_ascii() => c.is_ascii_alphanumeric() || c == '_',
        Some(c) => match words {
            Words::Unicode => tables().words.contains(c),
            Words::Java => tables().letters_and_digits.contains(c),
        },
    };
    let after = text[at..].chars().next();
    // A mark is of a word if a letter or digit comes before it and its fellow marks.
    let is_mark = |c: Option<char>| {
        words == Words::Java && c.is_some_and(|c| !c.is_ascii() && tables().marks.contains(c))
    };
    let is_based = || {
        let mut before = text[..at].chars().rev().take(MARKS_MAX + 1);
        let base = before.find(|&c| !is_mark(Some(c)));
        base.is_some_and(|c| c != '_' && is_word(Some(c)))
    };
    let left = is_word(before) || is_mark(before) && is_based();
    let right = is_word(after) || is_mark(after) && is_based();
    left != right
}

struct Tables {
    /// What `Character.isLetterOrDigit` says.
    letters_and_digits: CharSet,
    /// Non-spacing marks.
    marks: CharSet,
    /// `\w` under `(?U)`.
    words: CharSet,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let none = regex_syntax::hir::ClassUnicode::empty;
        let category = |name| property::lookup(name, false, Folding::Exact).unwrap_or_else(none);
        let mut letters_and_digits = category("L");
        letters_and_digits.union(&category("Nd"));
        Tables {
            letters_and_digits: CharSet::new(&letters_and_digits),
            marks: CharSet::new(&category("Mn")),
            words: CharSet::new(&Shorthand::Word.set(true)),
        }
    })
}
