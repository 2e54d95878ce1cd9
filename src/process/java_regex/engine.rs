//! The two engines behind one face, with every bound on what a pattern may cost.

use std::ops::Range;
use std::sync::OnceLock;

use super::StepLimit;
use super::parse::Parsed;
use super::translate::{Dialect, Unsayable, Use, translate};

/// Times that the backtracking engine may go back in one search. Java has no such bound and may take for ever; sane
/// patterns go back less than once a character of the longest record (about a million), and so many steps take well
/// under a second.
pub(super) const BACKTRACKS_MAX: usize = 1_000_000;

/// Memory that one compiled pattern may take in the linear engine, in bytes; `.{1,5000}` comes to that.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// [`Node::weight`](super::ast::Node::weight) from which on the linear engine isn't even asked: it would refuse after a
/// second's work.
const LINEAR_WEIGHT_MAX: u64 = 100_000;

/// Instructions that the backtracking engine may have for one pattern.
const INSTRUCTIONS_MAX: usize = 1 << 18;

/// Nesting that the linear engine is to accept: more than any pattern of `DEPTH_MAX` comes to in its words.
const NEST_LIMIT: u32 = 1_000;

/// A pattern made ready for one use.
#[derive(Debug)]
pub(super) struct Matcher {
    any: Lazy,
    /// For text of ASCII alone, where that is faster.
    ascii: Option<Lazy>,
    group_count: usize,
}

/// An engine that is built at its first use; it has been built for a test before.
#[derive(Debug)]
struct Lazy {
    source: String,
    dialect: Dialect,
    engine: OnceLock<Engine>,
}

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Matcher {
    /// Translates and compiles; `Err` says what no engine could do.
    pub(super) fn new(parsed: &Parsed, usage: Use) -> Result<Matcher, String> {
        let group_count = match usage {
            Use::SearchPastEmpty => parsed.group_count + 1,
            Use::Full | Use::Prefix | Use::Search | Use::Find => parsed.group_count,
        };
        // What the linear engine has words for may still be too big for it; the other one counts repetitions.
        let is_light = parsed.node.weight() <= LINEAR_WEIGHT_MAX;
        let linear = |dialect| {
            if !is_light {
                return None;
            }
            let source = translate(parsed, usage, dialect).ok()?;
            Lazy::new(source, dialect).ok()
        };
        if let Some(any) = linear(Dialect::Linear) {
            return Ok(Matcher {
                any,
                ascii: None,
                group_count,
            });
        }
        let source = translate(parsed, usage, Dialect::Backtracking)
            .map_err(|Unsayable| "no engine has words for it".to_owned())?;
        Ok(Matcher {
            any: Lazy::new(source, Dialect::Backtracking)?,
            ascii: linear(Dialect::LinearAscii),
            group_count,
        })
    }

    /// Likewise, with the backtracking engine for everything.
    #[cfg(test)]
    pub(super) fn backtracking(parsed: &Parsed, usage: Use) -> Result<Matcher, String> {
        let source = translate(parsed, usage, Dialect::Backtracking)
            .map_err(|Unsayable| "not sayable".to_owned())?;
        Ok(Matcher {
            any: Lazy::new(source, Dialect::Backtracking)?,
            ascii: None,
            group_count: parsed.group_count,
        })
    }

    pub(super) fn is_match(&self, text: &str) -> Result<bool, StepLimit> {
        match self.engine(text) {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(step_limit),
        }
    }

    /// The first match at or after `start`. What stands before it is looked at by look-behinds and `\b`.
    pub(super) fn find_at(
        &self,
        text: &str,
        start: usize,
    ) -> Result<Option<Range<usize>>, StepLimit> {
        Ok(match self.engine(text) {
            Engine::Linear(regex) => regex.find_at(text, start).map(|found| found.range()),
            Engine::Backtracking(regex) => regex
                .find_from_pos(text, start)
                .map_err(step_limit)?
                .map(|found| found.range()),
        })
    }

    /// The groups of the first match at or after `start`, from group 1.
    pub(super) fn captures_at(
        &self,
        text: &str,
        start: usize,
        groups: &mut Vec<Option<Range<usize>>>,
    ) -> Result<bool, StepLimit> {
        groups.clear();
        let is_match = match self.engine(text) {
            Engine::Linear(regex) => {
                let mut places = regex.capture_locations();
                let found = regex.captures_read_at(&mut places, text, start).is_some();
                if found {
                    let range = |group| places.get(group).map(|(start, end)| start..end);
                    groups.extend((1..places.len()).map(range));
                }
                found
            }
            Engine::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, start).map_err(step_limit)?;
                if let Some(found) = &found {
                    let range = |group| found.get(group).map(|group| group.range());
                    groups.extend((1..found.len()).map(range));
                }
                found.is_some()
            }
        };
        if is_match {
            groups.resize(self.group_count, None);
        }
        Ok(is_match)
    }

    fn engine(&self, text: &str) -> &Engine {
        match &self.ascii {
            Some(lazy) if text.is_ascii() => lazy.engine(),
            _ => self.any.engine(),
        }
    }
}

impl Lazy {
    fn new(source: String, dialect: Dialect) -> Result<Lazy, String> {
        build(&source, dialect)?;
        Ok(Lazy {
            source,
            dialect,
            engine: OnceLock::new(),
        })
    }

    fn engine(&self) -> &Engine {
        self.engine.get_or_init(|| {
            build(&self.source, self.dialect).expect("what was built once can be built again")
        })
    }
}

fn build(source: &str, dialect: Dialect) -> Result<Engine, String> {
    match dialect {
        Dialect::Linear | Dialect::LinearAscii => regex::RegexBuilder::new(source)
            .size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NEST_LIMIT)
            .build()
            .map(Engine::Linear)
            .map_err(|error| error.to_string()),
        Dialect::Backtracking => fancy_regex::RegexBuilder::new(source)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .max_prog_size(INSTRUCTIONS_MAX)
            .build()
            .map(|regex| Engine::Backtracking(Box::new(regex)))
            .map_err(|error| {
                format!(
                    "it is too big or nested too deep ({error}): lower its counts, or take it apart"
                )
            }),
    }
}

/// The only thing that goes wrong at run time is that the search was too long.
fn step_limit(_: fancy_regex::Error) -> StepLimit {
    StepLimit
}
