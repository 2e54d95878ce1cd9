//! The entries of `dataProcessingOptions`.

use crate::process::java_regex::JavaRegex;

use super::flows::{refuse_regex, regex_problem};
use super::json::{self, Value};
use super::keys::{self, LOG_FORMATS, OPTION_NAMES, OptionName, Place};
use super::raw::{Section, value_shown};
use super::report::{Finding, Severity};
use super::{
    AddEc2Metadata, AddMetadata, ColumnType, CsvDelimiter, CsvToJson, CsvTypes, JsonFormat,
    LogFormat, LogToJson, ProcessingOption, SingleLine,
};

const LIST: &str = "dataProcessingOptions";

/// What a flow's list says.
#[derive(Default)]
pub struct Options {
    pub processing: Vec<ProcessingOption>,
    /// The first line of each file is no record: `header` of `CSVTOJSON`.
    pub has_header: bool,
}

/// Reads the list of a flow. What is wrong in one entry doesn't keep the next from being read.
pub fn read(flow: &mut Section) -> Options {
    let Some(list) = flow.node(LIST) else {
        return Options::default();
    };
    let Value::List(items) = &list.value else {
        flow.mistake(
            LIST,
            "not a list, so it is ignored, as in the reference",
            "write a list of objects: [{ … }]",
        );
        return Options::default();
    };
    let mut options = Options::default();
    for (n, item) in items.iter().enumerate() {
        let mut path = flow.path.clone();
        json::push_key(&mut path, LIST);
        path.push_str(&format!("[{n}]"));
        let Value::Object(object) = &item.value else {
            let problem = "not an object";
            let remedy = "write an object: { \"optionName\": … }";
            let finding = Finding::new(
                flow.file,
                item.line,
                Severity::Error,
                &path,
                problem,
                remedy,
            );
            flow.report.push(Finding {
                value: value_shown(LIST, &item.value),
                ..finding
            });
            continue;
        };
        let mut section = Section {
            file: flow.file,
            path,
            line: item.line,
            object,
            // Every option has the key `optionName`, which decides what it is.
            place: Place::Option(OptionName::AddBrackets),
            report: flow.report,
        };
        let is_first = n == 0;
        options.processing.extend(option(&mut section, is_first));
        options.has_header |= section.place == Place::Option(OptionName::CsvToJson)
            && is_first
            && section.flag("header");
    }
    options
}

fn option(section: &mut Section, is_first: bool) -> Option<ProcessingOption> {
    if section.node("optionName").is_none() {
        let legal = Some(OPTION_NAMES.join(", "));
        section.finding(
            Severity::Error,
            "optionName",
            "missing",
            legal,
            "write which conversion it is",
        );
        return None;
    }
    let name = OptionName::from_text(section.choice("optionName")?)?;
    section.place = Place::Option(name);
    section.check_names();
    match name {
        OptionName::SingleLine => Some(ProcessingOption::SingleLine(single_line(section))),
        OptionName::CsvToJson => csv_to_json(section, is_first).map(ProcessingOption::CsvToJson),
        OptionName::LogToJson => log_to_json(section).map(ProcessingOption::LogToJson),
        OptionName::AddMetadata => Some(ProcessingOption::AddMetadata(add_metadata(section))),
        OptionName::AddEc2Metadata => {
            Some(ProcessingOption::AddEc2Metadata(add_ec2_metadata(section)))
        }
        OptionName::AddBrackets => Some(ProcessingOption::AddBrackets),
        OptionName::UsingPluggin => {
            let substitutes = match keys::get(section.place, "className").map(|key| key.effect) {
                Some(keys::Effect::Refused(substitutes)) => substitutes,
                _ => "remove it",
            };
            section.error(
                "optionName",
                "a Java class can't be loaded by this agent",
                substitutes,
            );
            None
        }
    }
}

fn json_format(section: &mut Section) -> JsonFormat {
    match section.choice("jsonFormat") {
        Some("PRETTYPRINT") => JsonFormat::PrettyPrint,
        _ => JsonFormat::Compact,
    }
}

/// Mistakes are warnings here: the reference logs them and goes on without the option.
fn single_line(section: &mut Section) -> SingleLine {
    const KEY: &str = "parseOptions";
    const LEGAL: &str = "NO_TRIM, ESCAPE_NEW_LINE";
    let mut options = SingleLine::default();
    let Some(node) = section.node(KEY) else {
        return options;
    };
    let Value::List(items) = &node.value else {
        let problem = "not a list, so it is ignored, as in the reference";
        section.finding(
            Severity::Mistake,
            KEY,
            problem,
            Some(LEGAL.into()),
            "write a list: [\"NO_TRIM\"]",
        );
        return options;
    };
    for item in items {
        match &item.value {
            Value::Text(text) if text == "NO_TRIM" => options.no_trim = true,
            Value::Text(text) if text == "ESCAPE_NEW_LINE" => options.escape_new_line = true,
            other => {
                let problem = format!("{other} is no parse option, so it is ignored");
                let remedy = "remove it, or write one of the legal values";
                section.finding(Severity::Mistake, KEY, problem, Some(LEGAL.into()), remedy);
            }
        }
    }
    options
}

fn csv_to_json(section: &mut Section, is_first: bool) -> Option<CsvToJson> {
    const NAMES: &str = "customFieldNames";
    let format = json_format(section);
    let delimiter = csv_delimiter(section, is_first);
    let types = csv_types(section);
    let has_header = section.flag("header");
    if has_header && !is_first {
        section.error(
            "header",
            "the names come from the file, but an option before this one has changed what it reads",
            "make CSVTOJSON the first of dataProcessingOptions, or list customFieldNames",
        );
    }
    if section.node(NAMES).is_none() && !has_header {
        section.error(
            NAMES,
            "missing",
            "list the names of the columns: [\"a\", \"b\"]; or, where each file begins with them, write \"header\": true",
        );
        return None;
    }
    let field_names = match section.node(NAMES) {
        Some(_) => Some(section.texts(NAMES)?),
        None => None,
    };
    if field_names.as_ref().is_some_and(Vec::is_empty) {
        section.mistake(
            NAMES,
            "no names, so every record becomes an empty object",
            "list the columns",
        );
    }
    if let (Some(names), CsvTypes::ByName(types)) = (&field_names, &types) {
        let unknown = types.iter().find(|(name, _)| !names.contains(name));
        if let Some((name, _)) = unknown {
            section.error(
                "types",
                format!("{name:?} is none of customFieldNames"),
                "write it as it stands there",
            );
        }
    }
    Some(CsvToJson {
        field_names,
        delimiter,
        types,
        format,
    })
}

fn csv_delimiter(section: &mut Section, is_first: bool) -> CsvDelimiter {
    const KEY: &str = "delimiter";
    let written = section.text(KEY).unwrap_or_else(|| ",".to_owned());
    let is_quoted = section.choice("quoting") == Some("RFC4180");
    let pattern = match JavaRegex::new(&written) {
        Ok(pattern) => pattern,
        Err(error) if is_quoted => {
            refuse_regex(section, KEY, &error);
            return CsvDelimiter::Invalid;
        }
        Err(error) => {
            // The reference finds out with the first record, and sends that one and all others as they are.
            let problem = format!(
                "{}, so every record is sent as it is",
                regex_problem(&error)
            );
            let remedy =
                "correct it; a literal character may need a backslash, written \\\\ in JSON";
            section.mistake(KEY, problem, remedy);
            return CsvDelimiter::Invalid;
        }
    };
    if !is_quoted {
        warn_if_unescaped(section, KEY, &pattern);
        return CsvDelimiter::Pattern(pattern);
    }
    if !is_first {
        let problem = "quoted newlines end a record here, as an option before this one reads lines";
        let remedy = "make CSVTOJSON the first of dataProcessingOptions";
        section.warn("quoting", problem, remedy);
    }
    match pattern.literal_byte() {
        Some(byte) if !b"\"\r\n".contains(&byte) => CsvDelimiter::Quoted(byte),
        _ => {
            let problem = "not one ASCII character, which RFC 4180 quoting needs";
            let remedy = "write one, such as , or \\\\t or \\\\|";
            section.error(KEY, problem, remedy);
            CsvDelimiter::Invalid
        }
    }
}

/// Warns of a delimiter that was most likely meant literally: `|` matches between any two characters, `.` matches each.
fn warn_if_unescaped(section: &mut Section, key: &str, pattern: &JavaRegex) {
    let written = pattern.as_str();
    // Neither backslash nor class, and no letter, digit or space either: punctuation alone.
    let is_bare = written
        .chars()
        .all(|c| c.is_ascii_punctuation() && !matches!(c, '\\' | '[' | '(' | '{'));
    let matches = |text: &str| pattern.is_full_match(text).unwrap_or(false);
    let effect = if matches("") {
        "matches the empty text, so every character becomes a column"
    } else if ["a", "0", " ", ","].into_iter().all(matches) {
        "matches any character, so no column is left"
    } else if is_bare && written.contains(['.', '^', '$']) {
        "holds a character that is no literal in a regular expression"
    } else {
        return;
    };
    let mut escaped = String::new();
    for c in written.chars() {
        if ".^$|?*+()[]{}\\".contains(c) {
            escaped.push_str("\\\\");
        }
        escaped.push(c);
    }
    let problem = format!("a regular expression, not a literal text: it {effect}");
    let remedy = match written {
        "" => "write what stands between two columns, such as ,".to_owned(),
        _ => format!("if the text itself is meant write \"{escaped}\""),
    };
    section.warn(key, problem, remedy);
}

/// `"auto"`, or an object of column names and types.
fn csv_types(section: &mut Section) -> CsvTypes {
    const KEY: &str = "types";
    const LEGAL: &str = "auto, or an object whose values are string, number, boolean or auto";
    let Some(node) = section.node(KEY) else {
        return CsvTypes::AllText;
    };
    let remedy = "write \"auto\", or an object: { \"id\": \"number\" }";
    let mut refuse = |problem: String| {
        section.finding(Severity::Error, KEY, problem, Some(LEGAL.into()), remedy);
        CsvTypes::AllText
    };
    match &node.value {
        Value::Text(text) if text == "auto" => CsvTypes::Auto,
        Value::Object(object) => {
            let mut types = Vec::new();
            for member in &object.members {
                let kind = match &member.node.value {
                    Value::Text(text) => ColumnType::from_text(text),
                    _ => None,
                };
                match kind {
                    Some(kind) => types.push((member.name.clone(), kind)),
                    None => {
                        return refuse(format!(
                            "the type of {:?} is none: {}",
                            json::shortened(&member.name),
                            member.node.value
                        ));
                    }
                }
            }
            CsvTypes::ByName(types)
        }
        _ => refuse("neither auto nor an object".to_owned()),
    }
}

fn log_to_json(section: &mut Section) -> Option<LogToJson> {
    let (pattern_key, names_key) = ("matchPattern", "customFieldNames");
    let format = json_format(section);
    let log_format = log_format(section);
    let has_pattern = section.node(pattern_key).is_some();
    let match_pattern = section.text(pattern_key).and_then(|text| {
        JavaRegex::new(&text)
            .map_err(|error| refuse_regex(section, pattern_key, &error))
            .ok()
    });
    let field_names = section.texts(names_key);
    match (&field_names, log_format) {
        (None, _) if has_pattern && section.node(names_key).is_none() => {
            section.error(
                names_key,
                "missing, though matchPattern is given",
                "name its groups: [\"a\", \"b\"]",
            );
        }
        (Some(names), _) if has_pattern && names.is_empty() => {
            section.error(
                names_key,
                "no names, though matchPattern is given",
                "name its groups: [\"a\", \"b\"]",
            );
        }
        (Some(names), Some(log_format))
            if !has_pattern && names.len() != log_format.field_names().len() =>
        {
            let fields = log_format.field_names();
            let problem = format!(
                "{} names for the {} fields of the format",
                names.len(),
                fields.len()
            );
            let remedy = format!("name all of {}, or add a matchPattern", fields.join(", "));
            section.error(names_key, problem, remedy);
        }
        _ => {}
    }
    if let (Some(pattern), Some(names)) = (&match_pattern, &field_names)
        && !names.is_empty()
        && pattern.group_count() != names.len()
    {
        let n_groups = pattern.group_count();
        let problem = format!(
            "{} names for {n_groups} groups of matchPattern, so every record is skipped",
            names.len()
        );
        section.mistake(
            names_key,
            problem,
            "write as many names as the pattern has groups",
        );
    }
    Some(LogToJson {
        log_format: log_format?,
        match_pattern,
        field_names,
        format,
    })
}

fn log_format(section: &mut Section) -> Option<LogFormat> {
    if section.node("logFormat").is_none() {
        let legal = Some(LOG_FORMATS.join(", "));
        section.finding(
            Severity::Error,
            "logFormat",
            "missing",
            legal,
            "write one of the legal values",
        );
        return None;
    }
    LogFormat::from_text(section.choice("logFormat")?)
}

fn add_metadata(section: &mut Section) -> AddMetadata {
    let metadata = section.object.get("metadata");
    AddMetadata {
        metadata: metadata.map(|member| json::to_text(&member.node.value)),
        timestamp: timestamp(section),
        format: json_format(section),
    }
}

/// A boolean, or the text "true" or "false" in any case; the reference takes every other text for false.
fn timestamp(section: &mut Section) -> bool {
    const KEY: &str = "timestamp";
    let Some(node) = section.node(KEY) else {
        return false;
    };
    let legal = Some("true, false".to_owned());
    match &node.value {
        Value::Bool(value) => *value,
        Value::Text(text) if text.eq_ignore_ascii_case("true") => true,
        Value::Text(text) if text.eq_ignore_ascii_case("false") => false,
        Value::Text(_) => {
            section.finding(
                Severity::Mistake,
                KEY,
                "not true, so no time is added",
                legal,
                "write true or false",
            );
            false
        }
        _ => {
            section.finding(
                Severity::Error,
                KEY,
                "not true or false",
                legal,
                "write true or false",
            );
            false
        }
    }
}

fn add_ec2_metadata(section: &mut Section) -> AddEc2Metadata {
    log_format(section);
    AddEc2Metadata {
        ttl: section.duration("metadataTTL"),
        format: json_format(section),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_support::{accepted, file_with, file_with_option, refused, warnings};
    use super::*;

    fn option(members: &str) -> ProcessingOption {
        let loaded = accepted(&file_with_option(members));
        let [option] = &loaded.config.flows[0].processing[..] else {
            panic!("{members} is one option")
        };
        option.clone()
    }

    /// What is wrong with an option, as `last part of the key: problem`.
    fn errors(members: &str) -> Vec<String> {
        let report = refused(&file_with_option(members));
        report
            .of(Severity::Error)
            .map(|finding| {
                let key = finding
                    .key
                    .strip_prefix("flows[0].dataProcessingOptions[0].")
                    .expect("a key of the option");
                format!("{key}: {}", finding.problem)
            })
            .collect()
    }

    #[test]
    fn options_are_read_in_order() {
        let text = file_with(
            "",
            r#""kinesisStream": "s", "dataProcessingOptions": [{"optionName": "SINGLELINE"}, {"optionName": "ADDBRACKETS"}]"#,
        );
        let loaded = accepted(&text);
        let processing = &loaded.config.flows[0].processing;
        assert!(matches!(
            processing[..],
            [
                ProcessingOption::SingleLine(_),
                ProcessingOption::AddBrackets
            ]
        ));
    }

    #[test]
    fn single_line_ignores_what_it_does_not_know() {
        let cases = [
            (r#""optionName": "SINGLELINE""#, false, false, 0),
            (
                r#""optionName": "SINGLELINE", "parseOptions": ["NO_TRIM"]"#,
                true,
                false,
                0,
            ),
            (
                r#""optionName": "SINGLELINE", "parseOptions": ["ESCAPE_NEW_LINE", "NO_TRIM"]"#,
                true,
                true,
                0,
            ),
            (
                r#""optionName": "SINGLELINE", "parseOptions": ["no_trim", 1, "ESCAPE_NEW_LINE"]"#,
                false,
                true,
                2,
            ),
            (
                r#""optionName": "SINGLELINE", "parseOptions": "NO_TRIM""#,
                false,
                false,
                1,
            ),
            (
                r#""optionName": "SINGLELINE", "parseOptions": null"#,
                false,
                false,
                0,
            ),
        ];
        for (members, no_trim, escape_new_line, n_warnings) in cases {
            let ProcessingOption::SingleLine(single_line) = option(members) else {
                panic!("{members}")
            };
            assert_eq!(
                single_line,
                SingleLine {
                    no_trim,
                    escape_new_line
                },
                "{members}"
            );
            assert_eq!(
                warnings(&file_with_option(members)).len(),
                n_warnings,
                "{members}"
            );
        }
    }

    #[test]
    fn csv_needs_names_and_has_a_comma_by_default() {
        let cases = [
            (
                r#""customFieldNames": ["a", 1, true]"#,
                vec!["a", "1", "true"],
                Some(","),
                0,
            ),
            (
                r#""customFieldNames": ["a"], "delimiter": "\\|""#,
                vec!["a"],
                Some("\\|"),
                0,
            ),
            (
                r#""customFieldNames": ["a"], "delimiter": """#,
                vec!["a"],
                Some(""),
                1,
            ),
            (
                r#""customFieldNames": ["a"], "delimiter": "(""#,
                vec!["a"],
                None,
                1,
            ),
            (
                r#""customFieldNames": ["a", "a"]"#,
                vec!["a", "a"],
                Some(","),
                0,
            ),
            (r#""customFieldNames": []"#, vec![], Some(","), 1),
        ];
        for (members, names, delimiter, n_warnings) in cases {
            let members = format!(r#""optionName": "CSVTOJSON", {members}"#);
            let ProcessingOption::CsvToJson(csv) = option(&members) else {
                panic!("{members}")
            };
            assert_eq!(csv.field_names.unwrap_or_default(), names, "{members}");
            let written = match &csv.delimiter {
                CsvDelimiter::Pattern(pattern) => Some(pattern.as_str()),
                CsvDelimiter::Quoted(_) | CsvDelimiter::Invalid => None,
            };
            assert_eq!(written, delimiter, "{members}");
            assert_eq!(csv.format, JsonFormat::Compact);
            assert_eq!(
                warnings(&file_with_option(&members)).len(),
                n_warnings,
                "{members}"
            );
        }
        let name = r#""optionName": "CSVTOJSON""#;
        assert_eq!(errors(name), ["customFieldNames: missing"]);
        assert_eq!(
            errors(&format!("{name}, \"customFieldNames\": null")),
            ["customFieldNames: missing"]
        );
        assert_eq!(
            errors(&format!("{name}, \"customFieldNames\": \"a,b\"")),
            ["customFieldNames: not a list"]
        );
        assert_eq!(
            errors(&format!("{name}, \"customFieldNames\": [[]]")).len(),
            1
        );
    }

    /// `|` is what users of the reference write most often when they mean a literal one.
    #[test]
    fn a_delimiter_that_looks_like_an_unescaped_literal_is_warned_about() {
        for (delimiter, remedy) in [
            ("|", Some(r#"write "\\|""#)),
            ("||", Some(r#"write "\\|\\|""#)),
            ("|~|", Some(r#"write "\\|~\\|""#)),
            (".", Some(r#"write "\\.""#)),
            ("^", Some(r#"write "\\^""#)),
            ("^^", Some(r#"write "\\^\\^""#)),
            (";$", Some(r#"write ";\\$""#)),
            ("", Some("what stands between two columns")),
            ("\\\\s*", Some("write")),
            (",", None),
            (";", None),
            ("\\t", None),
            ("\\\\|", None),
            ("[|]", None),
            (",|;", None),
            (",+", None),
            (" +", None),
            ("\\\\s+", None),
            ("::", None),
        ] {
            let option = format!(
                r#""optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "{delimiter}""#
            );
            let report = accepted(&file_with_option(&option)).report;
            let said: Vec<_> = report.of(Severity::Warning).collect();
            match remedy {
                None => assert!(said.is_empty(), "{delimiter}: {report}"),
                Some(remedy) => {
                    assert_eq!(said.len(), 1, "{delimiter}: {report}");
                    assert!(said[0].remedy.contains(remedy), "{delimiter}: {report}");
                }
            }
        }
    }

    #[test]
    fn csv_goes_beyond_the_reference_where_asked() {
        let csv = |members: &str| {
            let members = format!(r#""optionName": "CSVTOJSON", {members}"#);
            let ProcessingOption::CsvToJson(csv) = option(&members) else {
                panic!("{members}")
            };
            csv
        };
        let quoted = csv(r#""customFieldNames": ["a"], "quoting": "RFC4180", "delimiter": "\\|""#);
        assert!(matches!(quoted.delimiter, CsvDelimiter::Quoted(b'|')));
        let plain = csv(r#""customFieldNames": ["a"], "quoting": "NONE""#);
        assert!(matches!(plain.delimiter, CsvDelimiter::Pattern(_)));
        assert_eq!(plain.types, CsvTypes::AllText);
        assert_eq!(csv(r#""header": true"#).field_names, None);
        let both = csv(r#""header": true, "customFieldNames": ["a"], "types": "auto""#);
        assert_eq!(both.field_names, Some(vec!["a".to_owned()]));
        assert_eq!(both.types, CsvTypes::Auto);
        let typed =
            csv(r#""header": true, "types": {"id": "number", "on": "boolean", "x": "string"}"#);
        let types = [
            ("id", ColumnType::Number),
            ("on", ColumnType::Boolean),
            ("x", ColumnType::Text),
        ];
        let types = types.map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(typed.types, CsvTypes::ByName(types.to_vec()));

        let name = r#""optionName": "CSVTOJSON", "customFieldNames": ["a"]"#;
        for (members, expected) in [
            (
                r#""quoting": "RFC4180", "delimiter": "\\s+""#,
                "delimiter: not one ASCII",
            ),
            (
                r#""quoting": "RFC4180", "delimiter": "\"""#,
                "delimiter: not one ASCII",
            ),
            (
                r#""quoting": "RFC4180", "delimiter": "(""#,
                "delimiter: not a Java",
            ),
            (r#""quoting": "rfc4180""#, "quoting: not a legal value"),
            (r#""types": "number""#, "types: neither"),
            (r#""types": {"a": "int"}"#, "types: the type of"),
            (r#""types": {"b": "number"}"#, "types: \"b\" is none of"),
        ] {
            let errors = errors(&format!("{name}, {members}"));
            assert!(
                matches!(&errors[..], [one] if one.starts_with(expected)),
                "{members}: {errors:?}"
            );
        }
    }

    #[test]
    fn quoting_and_a_header_are_for_the_first_option() {
        let after = |members: &str| {
            file_with(
                "",
                &format!(
                    r#""kinesisStream": "s", "dataProcessingOptions": [{{"optionName": "SINGLELINE"}}, {{"optionName": "CSVTOJSON", {members}}}]"#
                ),
            )
        };
        assert!(refused(&after(r#""header": true"#)).has_errors());
        let quoted = after(r#""customFieldNames": ["a"], "quoting": "RFC4180""#);
        assert_eq!(warnings(&quoted).len(), 1);
        assert_eq!(accepted(&quoted).config.flows[0].split.quoted_csv, None);
    }

    #[test]
    fn log_formats_are_renamed_by_as_many_names_or_replaced_by_a_pattern() {
        let name = r#""optionName": "LOGTOJSON", "logFormat": "SYSLOG""#;
        let ProcessingOption::LogToJson(plain) = option(name) else {
            panic!("{name}")
        };
        assert!(
            plain.log_format == LogFormat::Syslog
                && plain.match_pattern.is_none()
                && plain.field_names.is_none()
        );
        let renamed = format!(
            r#"{name}, "customFieldNames": ["a", "b", "c", "d", "e"], "jsonFormat": "PRETTYPRINT""#
        );
        let ProcessingOption::LogToJson(renamed) = option(&renamed) else {
            panic!("{renamed}")
        };
        assert_eq!(renamed.field_names.map(|names| names.len()), Some(5));
        assert_eq!(renamed.format, JsonFormat::PrettyPrint);
        let pattern =
            format!(r#"{name}, "matchPattern": "(a)(b)", "customFieldNames": ["a", "b"]"#);
        assert!(warnings(&file_with_option(&pattern)).is_empty());
        let ProcessingOption::LogToJson(pattern) = option(&pattern) else {
            panic!("{pattern}")
        };
        assert_eq!(
            pattern.match_pattern.as_ref().map(JavaRegex::as_str),
            Some("(a)(b)")
        );
        let other_count = format!(r#"{name}, "matchPattern": "(a)(b)", "customFieldNames": ["a"]"#);
        assert_eq!(warnings(&file_with_option(&other_count)).len(), 1);

        assert_eq!(
            errors(r#""optionName": "LOGTOJSON""#),
            ["logFormat: missing"]
        );
        assert_eq!(
            errors(r#""optionName": "LOGTOJSON", "logFormat": "Syslog""#),
            ["logFormat: not a legal value"]
        );
        for (members, key) in [
            (r#""matchPattern": "(a)""#, "customFieldNames: missing"),
            (
                r#""matchPattern": "(a)", "customFieldNames": []"#,
                "customFieldNames: no names",
            ),
            (
                r#""matchPattern": "(", "customFieldNames": ["a"]"#,
                "matchPattern: not a Java",
            ),
            (
                r#""customFieldNames": ["a"]"#,
                "customFieldNames: 1 names for the 5",
            ),
        ] {
            let errors = errors(&format!("{name}, {members}"));
            assert!(
                matches!(&errors[..], [one] if one.starts_with(key)),
                "{members}: {errors:?}"
            );
        }
    }

    #[test]
    fn every_format_has_the_fields_that_it_is_known_for() {
        for (name, n_fields) in LOG_FORMATS.iter().zip([7, 9, 7, 5, 5]) {
            let format = LogFormat::from_text(name).expect("a listed format is known");
            assert_eq!(format.field_names().len(), n_fields, "{name}");
        }
    }

    #[test]
    fn metadata_is_kept_as_it_is_and_the_time_added_when_asked_for() {
        let cases = [
            ("", None, false, 0),
            (
                r#", "metadata": {"b": 1, "a": [1.50, null]}"#,
                Some(r#"{"b":1,"a":[1.50,null]}"#),
                false,
                0,
            ),
            (
                r#", "metadata": null, "timestamp": true"#,
                Some("null"),
                true,
                0,
            ),
            (
                r#", "metadata": 18446744073709551616, "timestamp": "True""#,
                Some("18446744073709551616"),
                true,
                0,
            ),
            (r#", "timestamp": "false""#, None, false, 0),
            (r#", "timestamp": "yes""#, None, false, 1),
        ];
        for (members, metadata, timestamp, n_warnings) in cases {
            let members = format!(r#""optionName": "ADDMETADATA"{members}"#);
            let ProcessingOption::AddMetadata(option) = option(&members) else {
                panic!("{members}")
            };
            assert_eq!(option.metadata.as_deref(), metadata, "{members}");
            assert_eq!(option.timestamp, timestamp, "{members}");
            assert_eq!(
                warnings(&file_with_option(&members)).len(),
                n_warnings,
                "{members}"
            );
        }
        assert_eq!(
            errors(r#""optionName": "ADDMETADATA", "timestamp": 1"#),
            ["timestamp: not true or false"]
        );
    }

    #[test]
    fn ec2_metadata_needs_a_format_and_lives_an_hour() {
        let name = r#""optionName": "ADDEC2METADATA""#;
        assert_eq!(errors(name), ["logFormat: missing"]);
        for (members, seconds) in [("", 3600), (", \"metadataTTL\": \"60\"", 60)] {
            let ProcessingOption::AddEc2Metadata(option) =
                option(&format!("{name}, \"logFormat\": \"SYSLOG\"{members}"))
            else {
                panic!("{members}")
            };
            assert_eq!(option.ttl, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_java_plug_in_is_refused_with_its_substitutes() {
        let report = refused(&file_with_option(
            r#""optionName": "USINGPLUGGIN", "className": "com.x.P""#,
        ));
        let [finding] = report.findings() else {
            panic!("{report}")
        };
        assert!(
            finding.key.ends_with("optionName") && finding.remedy.contains("CSVTOJSON"),
            "{finding}"
        );
    }

    #[test]
    fn entries_that_are_no_objects_and_names_that_are_none_are_refused_each_on_its_own() {
        let text = file_with(
            "",
            r#""kinesisStream": "s", "dataProcessingOptions": ["SINGLELINE", {"optionName": "X"}, {}, null]"#,
        );
        let report = refused(&text);
        let lines: Vec<_> = report
            .findings()
            .iter()
            .map(|finding| format!("{}: {}", finding.key, finding.problem))
            .collect();
        assert_eq!(
            lines,
            [
                "flows[0].dataProcessingOptions[0]: not an object",
                "flows[0].dataProcessingOptions[1].optionName: not a legal value",
                "flows[0].dataProcessingOptions[2].optionName: missing",
                "flows[0].dataProcessingOptions[3]: not an object",
            ]
        );
    }
}
