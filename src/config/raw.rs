//! agent.json as people write it: one object of it, read key by key.
//!
//! A [`Section`] gives every value the type, range and default that [`keys`] lists for it. What is wrong goes into the
//! report and the default stands in, so that reading goes on and finds the rest. Numbers may be written as text,
//! booleans as words, as the reference takes them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::json::{self, Member, Node, Object, Value};
use super::keys::{self, Effect, Key, Kind, Outside, Place};
use super::limits::UNKNOWN_KEYS_SHOWN_MAX;
use super::number::{NotANumber, Number, range_shown};
use super::report::{Finding, Report, Severity};

/// One object of a configuration file, and where its findings go.
pub struct Section<'doc, 'report> {
    pub file: &'doc Arc<Path>,
    /// Before its keys: empty, or as `flows[0]`.
    pub path: String,
    /// Where the object begins.
    pub line: usize,
    pub object: &'doc Object,
    pub place: Place,
    pub report: &'report mut Report,
}

impl<'doc> Section<'doc, '_> {
    /// The member of that name; a key that the table doesn't have at this place is a defect of the caller.
    fn lookup(&self, name: &str) -> (&'static Key, Option<&'doc Member>) {
        let key = keys::get(self.place, name).expect("only keys of the table are read");
        (key, self.object.get(name))
    }

    /// The value under that name, unless it is `null`, which reads as absent.
    pub fn node(&self, name: &str) -> Option<&'doc Node> {
        let (_, member) = self.lookup(name);
        member
            .map(|member| &member.node)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// Whether the key is written at all, be it with `null`.
    pub fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some()
    }

    /// Adds a finding about a key of this section, present or missing.
    pub fn finding(
        &mut self,
        severity: Severity,
        name: &str,
        problem: impl Into<String>,
        legal: Option<String>,
        remedy: impl Into<String>,
    ) {
        let member = self.object.get(name);
        let mut key = self.path.clone();
        json::push_key(&mut key, name);
        self.report.push(Finding {
            severity,
            file: Arc::clone(self.file),
            line: member.map_or(self.line, |member| member.line),
            key,
            value: member.map_or(String::new(), |member| {
                value_shown(name, &member.node.value)
            }),
            problem: problem.into(),
            legal,
            remedy: remedy.into(),
        });
    }

    /// An error without a list of legal values.
    pub fn error(&mut self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.finding(Severity::Error, name, problem, None, remedy);
    }

    /// A warning without a list of legal values.
    pub fn warn(&mut self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.finding(Severity::Warning, name, problem, None, remedy);
    }

    /// A mistake without a list of legal values.
    pub fn mistake(&mut self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.finding(Severity::Mistake, name, problem, None, remedy);
    }

    /// The text under that name, as written. Numbers and booleans are taken as text, with a warning.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match &self.node(name)?.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => {
                let text = scalar_text(&self.node(name)?.value)?;
                self.warn(
                    name,
                    "not a text, taken as one",
                    "put it between double quotes",
                );
                Some(text)
            }
            _ => {
                self.error(name, "not a text", "write one text between double quotes");
                None
            }
        }
    }

    /// Likewise; an empty text reads as absent.
    pub fn filled_text(&mut self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The boolean under that name. What is none reads as the default, with a warning, as in the reference.
    pub fn flag(&mut self, name: &str) -> bool {
        let (key, member) = self.lookup(name);
        let Kind::Flag { default } = key.kind else {
            unreachable!("{name} is a flag in the table")
        };
        let Some(member) = member else { return default };
        bool_of(&member.node.value).unwrap_or_else(|| {
            let legal = "true, false".to_owned();
            let problem = format!("not true or false, so the default holds: {default}");
            self.finding(
                Severity::Mistake,
                name,
                problem,
                Some(legal),
                "write true or false",
            );
            default
        })
    }

    /// One of the words that the table lists, exactly as written there.
    pub fn choice(&mut self, name: &str) -> Option<&'static str> {
        let (key, _) = self.lookup(name);
        let Kind::Choice { legal, default } = key.kind else {
            unreachable!("{name} is a choice in the table")
        };
        let Some(node) = self.node(name) else {
            return default;
        };
        let text = scalar_text(&node.value);
        if let Some(word) = legal.iter().find(|word| text.as_deref() == Some(word)) {
            return Some(word);
        }
        let same_letters =
            text.and_then(|text| legal.iter().find(|word| word.eq_ignore_ascii_case(&text)));
        let remedy = match same_letters {
            Some(word) => format!("write {word}: capitals matter"),
            None => "write one of the legal values".to_owned(),
        };
        self.finding(
            Severity::Error,
            name,
            "not a legal value",
            Some(legal.join(", ")),
            remedy,
        );
        default
    }

    /// A list of texts; numbers and booleans in it are taken as text. `None` if the key is absent or was refused.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let Value::List(items) = &self.node(name)?.value else {
            self.error(name, "not a list", "write a list of texts: [\"a\", \"b\"]");
            return None;
        };
        let texts: Option<Vec<String>> =
            items.iter().map(|item| scalar_text(&item.value)).collect();
        if texts.is_none() {
            self.error(
                name,
                "the list holds something that is no text",
                "write a list of texts: [\"a\", \"b\"]",
            );
        }
        texts
    }

    /// A text, or a list of texts; numbers and booleans are taken as text. `None` if the key is absent or was refused.
    pub fn text_or_texts(&mut self, name: &str) -> Option<Vec<String>> {
        match &self.node(name)?.value {
            Value::List(_) => self.texts(name),
            _ => self.text(name).map(|text| vec![text]),
        }
    }

    /// The number under that name in the key's own unit, or its default.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        self.measured(name).map(|(number, _)| number)
    }

    /// The number under that name as a count, or its default; for keys that have one and whose range begins at 0 or more.
    pub fn count(&mut self, name: &str) -> usize {
        let number = self
            .number(name)
            .expect("counts have a default in the table");
        usize::try_from(number).unwrap_or_default()
    }

    /// The time under that name, to the millisecond, or its default; `None` for less than zero.
    pub fn time(&mut self, name: &str) -> Option<Duration> {
        let (_, ms) = self.measured(name)?;
        u64::try_from(ms).ok().map(Duration::from_millis)
    }

    /// Likewise, for keys that have a default and whose range begins at 0 or more.
    pub fn duration(&mut self, name: &str) -> Duration {
        self.time(name).unwrap_or_default()
    }

    /// A number in the key's own unit and, for times, in milliseconds.
    fn measured(&mut self, name: &str) -> Option<(i64, i64)> {
        let (key, member) = self.lookup(name);
        let Kind::Number {
            unit,
            ref range,
            default,
            outside,
        } = key.kind
        else {
            unreachable!("{name} is a number in the table")
        };
        let both_units = |number: Number| (number.whole(), number.times(unit.ms().unwrap_or(1)));
        let default = default.map(|number| both_units(Number::Whole(number)));
        let Some(member) = member else { return default };
        let legal = range_shown(range, unit);
        let number = match Number::of(&member.node.value, unit) {
            Ok(number) if number.is_within(range) => return Some(both_units(number)),
            Ok(number) => number,
            Err(NotANumber { problem, remedy }) => {
                self.finding(Severity::Error, name, problem, Some(legal), remedy);
                return default;
            }
        };
        let remedy = "write a number within the range";
        let instead = match outside {
            Outside::Refuse => {
                self.finding(
                    Severity::Error,
                    name,
                    "outside its range",
                    Some(legal),
                    remedy,
                );
                return default;
            }
            Outside::Default => default,
            Outside::Nearest => Some(both_units(Number::Whole(number.nearest_in(range)))),
        };
        let used = instead.map_or("nothing".to_owned(), |(number, _)| {
            format!("{number}{}", unit.name())
        });
        let problem = format!("outside its range, so {used} is used");
        self.finding(Severity::Mistake, name, problem, Some(legal), remedy);
        instead
    }

    /// Says what is unknown, out of place, or without an effect among the keys of this section.
    pub fn check_names(&mut self) {
        let mut n_unknown = 0;
        for member in &self.object.members {
            let name = member.name.as_str();
            match keys::get(self.place, name).map(|key| key.effect) {
                Some(Effect::Nothing(reason)) => {
                    let problem = format!("has no effect here: {reason}");
                    let remedy = "leave it as it is, it does no harm";
                    self.finding(Severity::Note, name, problem, None, remedy);
                }
                Some(Effect::Sets(_) | Effect::Refused(_)) => {}
                None => {
                    n_unknown += 1;
                    if n_unknown <= UNKNOWN_KEYS_SHOWN_MAX {
                        let (problem, remedy) = self.explain_unknown(member);
                        self.warn(name, problem, remedy);
                    }
                }
            }
        }
        if n_unknown > UNKNOWN_KEYS_SHOWN_MAX {
            let n_more = n_unknown - UNKNOWN_KEYS_SHOWN_MAX;
            let problem = format!("the object holds {n_more} more unknown keys");
            self.warn("(other keys)", problem, "remove them");
        }
    }

    fn explain_unknown(&self, member: &Member) -> (String, String) {
        let name = member.name.as_str();
        if let Some(key) = keys::anywhere(name) {
            let remedy = match (self.place, key.scope) {
                (Place::Option(_), keys::Scope::Options(names)) => {
                    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                    format!("it belongs to {}; remove it", names.join(", "))
                }
                (Place::KinesisFlow, keys::Scope::FirehoseFlow) => {
                    "it is for a deliveryStream; remove it".to_owned()
                }
                (Place::FirehoseFlow, keys::Scope::KinesisFlow) => {
                    "it is for a kinesisStream; remove it".to_owned()
                }
                (_, keys::Scope::Top) => "move it to the top level of the file".to_owned(),
                (_, keys::Scope::Options(_)) => {
                    "move it into an entry of dataProcessingOptions".to_owned()
                }
                _ => "move it into an entry of flows".to_owned(),
            };
            return ("a key that has no effect in this place".to_owned(), remedy);
        }
        if let Value::Object(inner) = &member.node.value {
            let joined = inner
                .members
                .iter()
                .map(|inner| format!("{name}.{}", inner.name));
            if let Some(key) = joined
                .into_iter()
                .find_map(|joined| keys::get(self.place, &joined))
            {
                return (
                    "unknown key".to_owned(),
                    format!("write the keys in one piece: \"{}\"", key.name),
                );
            }
        }
        let remedy = match keys::nearest(self.place, name) {
            Some(key) => format!("did you mean {}?", key.name),
            None => "remove it".to_owned(),
        };
        ("unknown key".to_owned(), remedy)
    }
}

/// The booleans of the reference: words in any case, 1 and 0.
fn bool_of(value: &Value) -> Option<bool> {
    let word = match value {
        Value::Bool(value) => return Some(*value),
        Value::Number(text) => text.to_string(),
        Value::Text(text) => text.to_ascii_lowercase(),
        _ => return None,
    };
    match word.as_str() {
        "true" | "yes" | "t" | "y" | "1" => Some(true),
        "false" | "no" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// A text, number or boolean as text.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(text) => Some(text.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::List(_) | Value::Object(_) => None,
    }
}

/// A value for a message; what a secret key holds is masked, and so is what stands before `@` in a URL.
pub fn value_shown(name: &str, value: &Value) -> String {
    let is_filled =
        !matches!(value, Value::Null) && !matches!(value, Value::Text(text) if text.is_empty());
    if is_filled && keys::is_secret(name) {
        return "****".to_owned();
    }
    if let Value::Text(text) = value
        && let Some((scheme, rest)) = text.split_once("://")
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        return format!(
            "\"{}://****@{}\"",
            json::shortened(scheme),
            json::shortened(host)
        );
    }
    if let Value::Text(text) = value
        && name.ends_with("ndpoint")
        && let Some((_, host)) = text.rsplit_once('@')
    {
        return format!("\"****@{}\"", json::shortened(host));
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{
        accepted, file_with, findings, flow, refused, summary, warnings,
    };

    const S: &str = "\"kinesisStream\": \"s\"";

    #[test]
    fn booleans_are_words_in_any_case_or_1_and_0() {
        let cases = [
            ("true", false),
            ("\"TRUE\"", false),
            ("\"Yes\"", false),
            ("\"t\"", false),
            ("\"y\"", false),
            ("1", false),
            ("\"1\"", false),
            ("false", true),
            ("\"False\"", true),
            ("\"NO\"", true),
            ("\"f\"", true),
            ("\"n\"", true),
            ("0", true),
            ("\"0\"", true),
        ];
        for (value, is_false) in cases {
            let loaded = accepted(&file_with(
                &format!("\"cloudwatch.emitMetrics\": {value}"),
                S,
            ));
            assert_eq!(loaded.config.cloudwatch.emit, !is_false, "{value}");
            assert!(
                loaded.report.findings().is_empty(),
                "{value}: {}",
                loaded.report
            );
        }
    }

    #[test]
    fn what_is_no_boolean_reads_as_the_default_with_a_warning() {
        for value in [
            "\"maybe\"",
            "\"\"",
            "2",
            "1.0",
            "null",
            "[]",
            "{}",
            "\" true\"",
        ] {
            let text = file_with(
                &format!(
                    "\"cloudwatch.emitMetrics\": {value}, \"cloudwatch.tagInstance\": {value}"
                ),
                S,
            );
            let cloudwatch = accepted(&text).config.cloudwatch;
            assert!(cloudwatch.emit && !cloudwatch.tag_instance, "{value}");
            assert_eq!(warnings(&text).len(), 2, "{value}");
        }
    }

    #[test]
    fn null_reads_as_absent_but_for_numbers() {
        let text = file_with(
            "\"kinesis.endpoint\": null, \"assumeRoleARN\": null, \"kinesis.wire\": null",
            &format!(
                "{S}, \"initialPosition\": null, \"multiLineStartPattern\": null, \"dataProcessingOptions\": null"
            ),
        );
        assert_eq!(summary(&accepted(&text).report), [""; 0]);
        assert!(refused(&file_with("\"maxSendingThreads\": null", S)).has_errors());
    }

    #[test]
    fn numbers_outside_a_range_of_ours_become_the_nearest_or_the_default() {
        let loaded = accepted(&file_with(
            "\"shutdownTimeoutMillis\": -5, \"socketTimeoutMillis\": -1, \"checkpoints.queryTimeoutSeconds\": 0",
            &format!("{S}, \"publishQueueCapacity\": 0, \"skipHeaderLines\": -1"),
        ));
        let config = loaded.config;
        assert_eq!(config.shutdown_timeout.as_millis(), 0);
        assert_eq!(
            config
                .publish
                .answer_timeout
                .map(|timeout| timeout.as_millis()),
            Some(50_000)
        );
        assert_eq!(config.checkpoints.query_timeout.as_secs(), 30);
        assert_eq!(
            (
                config.flows[0].queue_capacity_batches,
                config.flows[0].split.skip_header_lines
            ),
            (1, 0)
        );
        let mut problems: Vec<_> = loaded
            .report
            .findings()
            .iter()
            .map(|finding| finding.problem.clone())
            .collect();
        problems.sort();
        let used = |used: &str| format!("outside its range, so {used} is used");
        assert_eq!(
            problems,
            [
                used("0"),
                used("0 ms"),
                used("1"),
                used("30 s"),
                used("50000 ms")
            ]
        );
    }

    #[test]
    fn times_keep_fractions_to_the_millisecond() {
        assert_eq!(
            flow(&format!("{S}, \"maxBufferAgeMillis\": 1000.5"))
                .batch
                .age_max
                .as_micros(),
            1_000_000
        );
        let loaded = accepted(&file_with(
            "\"log.statusReportingPeriodSeconds\": \"0.25\"",
            S,
        ));
        assert_eq!(
            loaded
                .config
                .log
                .status_period
                .map(|period| period.as_millis()),
            Some(250)
        );
    }

    #[test]
    fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
        let text = file_with(
            "\"kinesisStream\": \"s\", \"optionName\": 1, \"cloudwatch\": {\"emitMetrics\": false}",
            &format!(
                "{S}, \"checkpointFile\": \"/x\", \"jsonFormat\": 1, \"dataProcessingOptions\": [{{\"optionName\": \"ADDBRACKETS\", \"delimiter\": 1}}]"
            ),
        );
        let remedies: Vec<_> = accepted(&text)
            .report
            .findings()
            .iter()
            .map(|finding| finding.remedy.clone())
            .collect();
        assert_eq!(
            remedies,
            [
                "move it into an entry of flows",
                "move it into an entry of dataProcessingOptions",
                "write the keys in one piece: \"cloudwatch.emitMetrics\"",
                "move it to the top level of the file",
                "move it into an entry of dataProcessingOptions",
                "it belongs to CSVTOJSON; remove it",
            ]
        );
    }

    #[test]
    fn thousands_of_unknown_keys_are_counted_rather_than_listed() {
        let keys: Vec<String> = (0..1000).map(|n| format!("\"zzz{n}\": 0")).collect();
        let warnings = warnings(&file_with(&keys.join(","), S));
        assert_eq!(warnings.len(), 101);
        assert!(
            warnings[100].contains("900 more unknown keys"),
            "{}",
            warnings[100]
        );
    }

    #[test]
    fn secrets_never_appear() {
        let secret = "wJalrXUtnFEMI";
        let files = [
            file_with(&format!("\"awsSecretAccessKey\": \"{secret}\""), S),
            file_with(&format!("\"awsSecretAccessKey\": [\"{secret}\"]"), S),
            file_with(
                &format!(
                    "\"awsSercetAccessKey\": \"{secret}\", \"keys\": {{\"secret\": \"{secret}\"}}"
                ),
                S,
            ),
            file_with(
                "",
                &format!(
                    "{S}, \"awsSecretAccessKey\": \"{secret}\", \"x\": [{{\"a\": \"{secret}\"}}]"
                ),
            ),
            file_with(
                &format!("\"kinesis.endpoint\": \"https://me:{secret}@host\""),
                S,
            ),
            file_with(&format!("\"awsSecretAccessKey\": '{secret}'"), S),
            file_with(&format!("\"awsSecretAccessKey\": {secret}"), S),
            file_with(
                &format!("\"awsSecretAccessKey\": \"a\", \"awsSecretAccessKey\": \"{secret}\""),
                S,
            ),
        ];
        for text in files {
            let report = findings(&text);
            assert!(!report.findings().is_empty(), "{text}");
            assert!(!format!("{report}{report:?}").contains(secret), "{report}");
        }
    }
}
