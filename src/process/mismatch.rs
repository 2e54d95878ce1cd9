//! Why `LOGTOJSON` leaves a record out: how far into the record, and into the pattern, they go together. For people who
//! look for a mistake; nothing here is on the data's way.

use crate::config::{LogToJson, ProcessingOption};

use super::chain::{Chain, Context, SkipReason, Verdict};
use super::java_regex::GroupFinder;
use super::text;

/// The longest part of a pattern, from its beginning, that a text begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The text that was to match: the record as the option before made it, without its newline.
    pub text: String,
    pub pattern: String,
    /// Up to here, in bytes, the text matches what the pattern has up to `pattern_end`.
    pub text_end: usize,
    pub pattern_end: usize,
}

/// Finds the mismatches of one flow's records.
#[derive(Debug)]
pub struct Explainer {
    steps: Vec<Step>,
}

/// A `LOGTOJSON`, and what makes the records it reads.
#[derive(Debug)]
struct Step {
    before: Chain,
    this: Chain,
    pattern: String,
    prefixes: Vec<Prefix>,
}

/// A part of a pattern, from its beginning.
#[derive(Debug)]
struct Prefix {
    end: usize,
    source: String,
    /// `None` until it is asked for; then `Some(None)` if it is no pattern.
    finder: Option<Option<GroupFinder>>,
}

impl Explainer {
    pub fn new(options: &[ProcessingOption]) -> Explainer {
        let step = |(place, option): (usize, &ProcessingOption)| match option {
            ProcessingOption::LogToJson(log) => Some(Step::new(&options[..place], option, log)),
            _ => None,
        };
        Explainer {
            steps: options.iter().enumerate().filter_map(step).collect(),
        }
    }

    /// Where a record stops matching that a chain of these options left out as it doesn't match.
    pub fn explain(&mut self, record: &[u8], context: &Context) -> Option<Mismatch> {
        for step in &mut self.steps {
            let mut read = Vec::new();
            match step.before.run(record, context, &mut read) {
                Verdict::Converted | Verdict::WithoutEc2Metadata => {}
                Verdict::Skipped(_) | Verdict::Raw(_) => return None,
            }
            let verdict = step.this.run(&read, context, &mut Vec::new());
            if verdict == Verdict::Skipped(SkipReason::LogNoMatch) {
                return Some(step.mismatch(&read));
            }
        }
        None
    }
}

impl Step {
    fn new(before: &[ProcessingOption], this: &ProcessingOption, log: &LogToJson) -> Step {
        let pattern = match &log.match_pattern {
            Some(pattern) => pattern.as_str(),
            None => log.log_format.pattern(),
        };
        Step {
            before: Chain::new(before),
            this: Chain::new(std::slice::from_ref(this)),
            pattern: pattern.to_owned(),
            prefixes: prefixes(pattern),
        }
    }

    fn mismatch(&mut self, record: &[u8]) -> Mismatch {
        let mut scratch = String::new();
        let text = text::decode(text::without_newline(record), &mut scratch);
        let longest = self.prefixes.iter_mut().rev().find_map(|prefix| {
            let source = &prefix.source;
            let finder = prefix
                .finder
                .get_or_insert_with(|| GroupFinder::new(source).ok());
            let found = finder.as_ref()?.find_whole(text).ok().flatten()?;
            Some((found.end, prefix.end))
        });
        let (text_end, pattern_end) = longest.unwrap_or((0, 0));
        Mismatch {
            text: text.to_owned(),
            pattern: self.pattern.clone(),
            text_end,
            pattern_end,
        }
    }
}

/// The parts of a pattern, from its beginning, after which it could end: not within an escape, a class, a count or a
/// name, and not before what repeats. Groups that are open there are closed.
fn prefixes(pattern: &str) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let (mut n_open, mut n_class, mut is_quoted, mut is_in_count) =
        (0_usize, 0_usize, false, false);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let n_bytes = match c {
            '\\' if is_quoted => {
                is_quoted = !rest.starts_with("\\E");
                if is_quoted { 1 } else { 2 }
            }
            '\\' => escape_bytes(rest),
            _ => c.len_utf8(),
        };
        match c {
            '\\' if rest.starts_with("\\Q") => is_quoted = true,
            _ if is_quoted => {}
            '[' => n_class += 1,
            ']' => n_class = n_class.saturating_sub(1),
            _ if n_class > 0 => {}
            '(' => n_open += 1,
            ')' => n_open = n_open.saturating_sub(1),
            '{' => is_in_count = true,
            '}' => is_in_count = false,
            _ => {}
        }
        rest = &rest[n_bytes..];
        let end = pattern.len() - rest.len();
        let is_open = matches!(c, '(' | '|' | '?') && !rest.is_empty();
        let is_repeated = rest.starts_with(['*', '+', '?', '{']);
        if n_class == 0 && !is_quoted && !is_in_count && !is_repeated && !is_open {
            prefixes.push(Prefix {
                end,
                source: format!(r"\A(?:{}{})", &pattern[..end], ")".repeat(n_open)),
                finder: None,
            });
        }
    }
    prefixes
}

/// Bytes of the escape that the pattern goes on with: `\d`, `\p{Punct}`, `\u00E9`.
fn escape_bytes(rest: &str) -> usize {
    let braced = |rest: &str| rest.find('}').map_or(rest.len(), |end| end + 1);
    match rest[1..].chars().next() {
        None => 1,
        Some('p' | 'P' | 'x' | 'N') if rest[2..].starts_with('{') => braced(rest),
        Some('k') if rest[2..].starts_with('<') => rest.find('>').map_or(rest.len(), |end| end + 1),
        Some(c) => 1 + c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{JsonFormat, LogFormat};
    use crate::process::java_regex::JavaRegex;

    fn log(log_format: LogFormat, pattern: Option<&str>) -> ProcessingOption {
        ProcessingOption::LogToJson(LogToJson {
            log_format,
            match_pattern: pattern.map(|pattern| JavaRegex::new(pattern).unwrap()),
            field_names: pattern.map(|_| vec!["a".to_owned()]),
            format: JsonFormat::Compact,
        })
    }

    fn explain(options: &[ProcessingOption], record: &str) -> Option<Mismatch> {
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            ec2: None,
        };
        Explainer::new(options).explain(record.as_bytes(), &context)
    }

    #[test]
    fn a_mismatch_is_where_text_and_pattern_part() {
        for (pattern, record, text, matched) in [
            (r"(\d+) ms", "17 s\n", "17 ", r"(\d+) "),
            (r"(\d+) ms", "x", "", ""),
            (r"(a{2,3}b|c[\]d]+)e", "cd]x", "cd]", r"(a{2,3}b|c[\]d]+)"),
            (
                r"(?:x(y)\Q*(\E\p{Punct})z",
                "xy*(!",
                "xy*(!",
                r"(?:x(y)\Q*(\E\p{Punct})",
            ),
            (r"a(b)?", "abc", "ab", r"a(b)?"),
            (r"(é+)中x", "éé中y", "éé中", r"(é+)中"),
        ] {
            let mismatch = explain(&[log(LogFormat::Syslog, Some(pattern))], record).unwrap();
            assert_eq!(&mismatch.text[..mismatch.text_end], text, "{pattern}");
            assert_eq!(&pattern[..mismatch.pattern_end], matched, "{pattern}");
        }
    }

    #[test]
    fn a_format_is_explained_by_its_pattern_and_a_chain_by_what_it_made() {
        let record = "Mar 12 12:00 host app: m\n";
        let mismatch = explain(&[log(LogFormat::Syslog, None)], record).unwrap();
        assert_eq!(&mismatch.text[..mismatch.text_end], "Mar 12 12:00");
        assert!(mismatch.pattern[mismatch.pattern_end..].starts_with(':'));

        let chain = [
            ProcessingOption::SingleLine(Default::default()),
            log(LogFormat::Syslog, Some("(a)bc")),
        ];
        let mismatch = explain(&chain, "  a \n b  \n").unwrap();
        assert_eq!((mismatch.text.as_str(), mismatch.text_end), ("ab", 2));
        assert_eq!(explain(&chain, "a\nbc\n"), None, "a record that matches");
    }

    proptest! {
        #[test]
        fn no_pattern_and_no_record_breaks_it(pattern in "[ab()|\\[\\]\\\\QEdp{}?*+,1^$.-]{1,20}", record in "[ab1(]{0,8}") {
            if JavaRegex::new(&pattern).is_ok() {
                let mismatch = explain(&[log(LogFormat::Syslog, Some(&pattern))], &record);
                if let Some(mismatch) = mismatch {
                    prop_assert!(mismatch.text.is_char_boundary(mismatch.text_end));
                    prop_assert!(mismatch.pattern.is_char_boundary(mismatch.pattern_end));
                }
            }
        }
    }
}
