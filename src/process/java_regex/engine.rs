//! The two engines behind one face, with every bound on what a pattern may cost.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::StepLimit;
use super::backtrack::{Anchor, Search, Steps};
use super::parse::Parsed;
use super::program::Program;
use super::translate::{Dialect, Use, translate};

/// Memory that one compiled pattern may take in the linear engine, in bytes; `.{1,5000}` comes to that.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// [`Node::weight`](super::ast::Node::weight) from which on the linear engine isn't even asked: it would refuse after a
/// second's work.
const LINEAR_WEIGHT_MAX: u64 = 100_000;

/// Linear in the text is still the text's length times the pattern's: a pattern of this weight and more, which high
/// counts give it, is left to the other engine, which counts, where the product is greater than `LINEAR_WORK_MAX`.
const HEAVY_WEIGHT: u64 = 300;
const LINEAR_WORK_MAX: u64 = 20_000_000;

/// Nesting that the linear engine is to accept: more than any pattern of `DEPTH_MAX` comes to in its words.
const NEST_LIMIT: u32 = 1_000;

/// A pattern made ready for one use.
#[derive(Debug)]
pub(super) struct Matcher {
    usage: Use,
    weight: u64,
    linear: Option<Lazy>,
    /// For text of ASCII alone, where only that can be said.
    linear_ascii: Option<Lazy>,
    program: Arc<Program>,
}

/// A linear engine that is built at its first use.
#[derive(Debug)]
struct Lazy {
    source: String,
    /// Nothing where it would be too big.
    engine: OnceLock<Option<regex::Regex>>,
}

impl Matcher {
    /// `program` is the same pattern.
    pub(super) fn new(parsed: &Parsed, program: &Arc<Program>, usage: Use) -> Matcher {
        let weight = parsed.node.weight();
        let linear = |dialect| translate(parsed, usage, dialect).ok().map(Lazy::new);
        let mut matcher = Matcher::backtracking(parsed, program, usage);
        if weight <= LINEAR_WEIGHT_MAX {
            matcher.linear = linear(Dialect::Any);
            if matcher.linear.is_none() {
                matcher.linear_ascii = linear(Dialect::Ascii);
            }
        }
        matcher
    }

    /// Likewise, with the backtracking engine for everything.
    pub(super) fn backtracking(parsed: &Parsed, program: &Arc<Program>, usage: Use) -> Matcher {
        Matcher {
            usage,
            weight: parsed.node.weight(),
            linear: None,
            linear_ascii: None,
            program: Arc::clone(program),
        }
    }

    pub(super) fn is_match(&self, text: &str, steps: &mut Steps) -> Result<bool, StepLimit> {
        match self.linear(text) {
            Some(regex) => Ok(regex.is_match(text)),
            None => Ok(self.search(text).find(0, 0, steps)?.is_some()),
        }
    }

    /// The first match at or after `start`; the one before it ended at `previous_end`. What stands before it is looked at
    /// by look-behinds and `\b`.
    pub(super) fn find_at(
        &self,
        text: &str,
        start: usize,
        previous_end: usize,
        steps: &mut Steps,
    ) -> Result<Option<Range<usize>>, StepLimit> {
        match self.linear(text) {
            Some(regex) => Ok(regex.find_at(text, start).map(|found| found.range())),
            None => self.search(text).find(start, previous_end, steps),
        }
    }

    /// The groups of the first match, from group 1.
    pub(super) fn captures(
        &self,
        text: &str,
        groups: &mut Vec<Option<Range<usize>>>,
        steps: &mut Steps,
    ) -> Result<bool, StepLimit> {
        groups.clear();
        let Some(regex) = self.linear(text) else {
            let mut search = self.search(text);
            let is_match = search.find(0, 0, steps)?.is_some();
            if is_match {
                groups.extend(search.groups());
            }
            return Ok(is_match);
        };
        let mut places = regex.capture_locations();
        let is_match = regex.captures_read(&mut places, text).is_some();
        if is_match {
            let range = |group| places.get(group).map(|(start, end)| start..end);
            groups.extend((1..places.len()).map(range));
        }
        Ok(is_match)
    }

    fn linear(&self, text: &str) -> Option<&regex::Regex> {
        let work = self.weight.saturating_mul(text.len() as u64);
        if self.weight >= HEAVY_WEIGHT && work > LINEAR_WORK_MAX {
            return None;
        }
        match (&self.linear, &self.linear_ascii) {
            (Some(any), _) => any.engine(),
            (None, Some(ascii)) if text.is_ascii() => ascii.engine(),
            _ => None,
        }
    }

    fn search<'t>(&self, text: &'t str) -> Search<'_, 't> {
        let anchor = match self.usage {
            Use::Full => Anchor::Both,
            Use::Prefix => Anchor::Start,
            Use::Search | Use::Find => Anchor::None,
        };
        Search::new(&self.program, text, anchor)
    }
}

impl Lazy {
    fn new(source: String) -> Lazy {
        Lazy {
            source,
            engine: OnceLock::new(),
        }
    }

    fn engine(&self) -> Option<&regex::Regex> {
        let build = || {
            regex::RegexBuilder::new(&self.source)
                .size_limit(COMPILED_BYTES_MAX)
                .nest_limit(NEST_LIMIT)
                .build()
                .ok()
        };
        self.engine.get_or_init(build).as_ref()
    }
}
