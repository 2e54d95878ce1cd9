//! Java's regular expressions (`java.util.regex.Pattern` of Java 17).
//!
//! A pattern is read by Java's rules into a tree that no flag changes any more. That is said again for the linear-time
//! engine where it has words for it; what it hasn't is a program for a backtracking engine that goes Java's way and has a
//! bound on its steps. In reading order: `scan` → `parse`, `group`, `class`, `escape` with `modes`, `folding`,
//! `property`, `look_behind` → `ast` → `translate`, `assertion` and `program`, `backtrack` with `repetition`, `charset`,
//! `place` → `engine`.
//!
//! Known to differ from Java: text is UTF-8 here and UTF-16 there, so no empty match falls inside a character beyond
//! U+FFFF; the Unicode tables are newer than Java 17's Unicode 13; some slips of Java's in classes with a stray `&`,
//! and round groups that repeat nothing (`(()++)*`), aren't repeated. Refused here alone: `\X`, `\b{g}`, `\N{…}`,
//! `\p{javaMirrored}`, rare blocks, and what is too big or nested too deep.

mod assertion;
mod ast;
mod backtrack;
mod charset;
mod class;
mod engine;
mod escape;
mod folding;
mod group;
mod look_behind;
mod modes;
mod parse;
mod place;
mod program;
mod property;
mod repetition;
mod scan;
#[cfg(test)]
mod tests;
mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use ast::Node;
use backtrack::Steps;
use engine::Matcher;
use program::Program;
use translate::Use;

/// A pattern with the meaning that `java.util.regex.Pattern` gives it. Cloning is cheap.
#[derive(Clone)]
pub struct JavaRegex {
    inner: Arc<Inner>,
}

struct Inner {
    pattern: String,
    group_count: usize,
    literal: Option<u8>,
    full: Matcher,
    prefix: Matcher,
    search: Matcher,
}

/// Flags that are given beside a pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `Pattern.MULTILINE`: `^` and `$` match at every line.
    pub multiline: bool,
}

/// A pattern that Java would refuse, or that no engine here can say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// The place of the fault, in characters from 0; the pattern's length for its end.
    pub at: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

/// The backtracking engine gave up: the pattern has too many ways to match the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the pattern takes more than {} steps, and {} more a byte, over one text: make its repetitions possessive or more \
     exact",
    backtrack::STEPS_MIN,
    backtrack::STEPS_PER_BYTE
)]
pub struct StepLimit;

impl JavaRegex {
    /// Reads a pattern as `Pattern.compile(pattern)` does.
    ///
    /// # Errors
    /// What Java refuses, and the little that can't be said here (see the module).
    pub fn new(pattern: &str) -> Result<JavaRegex, PatternError> {
        JavaRegex::with_flags(pattern, Flags::default())
    }

    /// Reads a pattern with flags, as `Pattern.compile(pattern, flags)` does.
    ///
    /// # Errors
    /// As [`JavaRegex::new`].
    pub fn with_flags(pattern: &str, flags: Flags) -> Result<JavaRegex, PatternError> {
        let parsed = parse::parse(pattern, &flags)?;
        let program = Arc::new(Program::new(&parsed));
        let matcher = |usage| Matcher::new(&parsed, &program, usage);
        Ok(JavaRegex {
            inner: Arc::new(Inner {
                pattern: pattern.to_owned(),
                group_count: parsed.group_count,
                literal: literal(&parsed.node),
                full: matcher(Use::Full),
                prefix: matcher(Use::Prefix),
                search: matcher(Use::Search),
            }),
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.inner.pattern
    }

    /// Capturing groups, without the whole match.
    pub fn group_count(&self) -> usize {
        self.inner.group_count
    }

    /// The byte that the pattern stands for, if it is exactly one literal ASCII character: `,`, `\|`, `[,]`, `\x2c`.
    pub fn literal_byte(&self) -> Option<u8> {
        self.inner.literal
    }

    /// The pieces of `String.split(regex)`, as byte ranges of `text`, into `pieces`, which is cleared first.
    ///
    /// Trailing empty pieces are left out; a leading one is there unless the match before it is empty. Text without a
    /// match is one piece, and so is the empty text.
    ///
    /// # Errors
    /// [`StepLimit`], with what was found until then in `pieces`.
    pub fn split(&self, text: &str, pieces: &mut Vec<Range<usize>>) -> Result<(), StepLimit> {
        pieces.clear();
        let mut start = 0;
        match self.inner.literal {
            Some(byte) => {
                for at in memchr::memchr_iter(byte, text.as_bytes()) {
                    pieces.push(start..at);
                    start = at + 1;
                }
            }
            None => start = self.split_by_search(text, pieces)?,
        }
        pieces.push(start..text.len());
        if pieces.len() > 1 {
            let kept = pieces.iter().rposition(|piece| !piece.is_empty());
            pieces.truncate(kept.map_or(0, |last| last + 1));
        }
        Ok(())
    }

    /// All pieces but the last, whose start is returned.
    fn split_by_search(
        &self,
        text: &str,
        pieces: &mut Vec<Range<usize>>,
    ) -> Result<usize, StepLimit> {
        let search = &self.inner.search;
        let mut steps = Steps::for_text(text);
        let mut start = 0;
        let mut found = search.find_at(text, 0, 0, &mut steps)?;
        while let Some(matched) = found {
            if !(matched.is_empty() && matched.start == 0) {
                pieces.push(start..matched.start);
                start = matched.end;
            }
            let from = match matched.is_empty() {
                false => matched.end,
                true => match text[matched.end..].chars().next() {
                    Some(c) => matched.end + c.len_utf8(),
                    None => break,
                },
            };
            found = search.find_at(text, from, matched.end, &mut steps)?;
        }
        Ok(start)
    }

    /// Whether the whole text matches (`Matcher.matches()`); if so, `groups` holds the byte ranges of groups 1 to
    /// [`JavaRegex::group_count`], `None` for one that took no part. `groups` is cleared first.
    ///
    /// # Errors
    /// [`StepLimit`]
    pub fn matches(
        &self,
        text: &str,
        groups: &mut Vec<Option<Range<usize>>>,
    ) -> Result<bool, StepLimit> {
        let mut steps = Steps::for_text(text);
        self.inner.full.captures(text, groups, &mut steps)
    }

    /// Whether the whole text matches.
    ///
    /// # Errors
    /// [`StepLimit`]
    pub fn is_full_match(&self, text: &str) -> Result<bool, StepLimit> {
        self.inner.full.is_match(text, &mut Steps::for_text(text))
    }

    /// Whether the start of the text matches (`Matcher.lookingAt()`).
    ///
    /// # Errors
    /// [`StepLimit`]
    pub fn looking_at(&self, text: &str) -> Result<bool, StepLimit> {
        self.inner.prefix.is_match(text, &mut Steps::for_text(text))
    }
}

/// A pattern that is searched for its first group. Cloning is cheap.
#[derive(Clone)]
pub struct GroupFinder {
    inner: Arc<Finder>,
}

struct Finder {
    pattern: String,
    matcher: Matcher,
    has_groups: bool,
}

impl GroupFinder {
    /// Reads a pattern as `Pattern.compile(pattern)` does.
    ///
    /// # Errors
    /// As [`JavaRegex::new`].
    pub fn new(pattern: &str) -> Result<GroupFinder, PatternError> {
        let parsed = parse::parse(pattern, &Flags::default())?;
        let program = Arc::new(Program::new(&parsed));
        let matcher = Matcher::new(&parsed, &program, Use::Find);
        Ok(GroupFinder {
            inner: Arc::new(Finder {
                pattern: pattern.to_owned(),
                matcher,
                has_groups: parsed.group_count > 0,
            }),
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.inner.pattern
    }

    /// Where the pattern's first match is.
    ///
    /// # Errors
    /// [`StepLimit`]
    pub fn find_whole(&self, text: &str) -> Result<Option<Range<usize>>, StepLimit> {
        self.inner
            .matcher
            .find_at(text, 0, 0, &mut Steps::for_text(text))
    }

    /// What group 1 holds of the first match in the text (`Matcher.find()`), or all of the match if the pattern has no
    /// group; `None` if nothing matches or the group took no part.
    ///
    /// # Errors
    /// [`StepLimit`]
    pub fn find(&self, text: &str) -> Result<Option<Range<usize>>, StepLimit> {
        if !self.inner.has_groups {
            return self.find_whole(text);
        }
        let mut groups = Vec::new();
        let mut steps = Steps::for_text(text);
        self.inner.matcher.captures(text, &mut groups, &mut steps)?;
        Ok(groups.into_iter().next().flatten())
    }
}

impl fmt::Debug for GroupFinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupFinder").field(&self.as_str()).finish()
    }
}

impl fmt::Debug for JavaRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JavaRegex").field(&self.as_str()).finish()
    }
}

fn literal(node: &Node) -> Option<u8> {
    let Node::Set(set) = node else {
        return None;
    };
    match set.ranges() {
        [one] if one.start() == one.end() && one.start().is_ascii() => {
            u8::try_from(one.start()).ok()
        }
        _ => None,
    }
}

/// Characters of the pattern that an error shows on either side of its place.
const EXCERPT_CHARS: usize = 30;

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.at.saturating_sub(EXCERPT_CHARS);
        let shown = self.at - skipped + EXCERPT_CHARS;
        let excerpt: String = self
            .pattern
            .chars()
            .skip(skipped)
            .take(shown)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        writeln!(
            f,
            "{:?} is no regular expression that can be used: {} (character {})",
            self.pattern, self.what, self.at
        )?;
        writeln!(f, "    {excerpt}")?;
        write!(f, "    {:>width$}", "^", width = self.at - skipped + 1)
    }
}
