//! The entries of `dataProcessingOptions`.

use std::sync::Arc;

use crate::process::java_regex::JavaRegex;

use super::flows::{refuse_regex, regex_problem};
use super::json::{self, Value};
use super::keys::{self, LOG_FORMATS, OPTION_NAMES, OptionName, Place};
use super::raw::{Section, value_shown};
use super::report::{Finding, Severity};
use super::{
    AddEc2Metadata, AddMetadata, CsvToJson, JsonFormat, LogFormat, LogToJson, ProcessingOption,
    SingleLine,
};

const LIST: &str = "dataProcessingOptions";

/// Reads the list of a flow. What is wrong in one entry doesn't keep the next from being read.
pub fn read(flow: &mut Section) -> Vec<ProcessingOption> {
    let Some(list) = flow.node(LIST) else {
        return Vec::new();
    };
    let Value::List(items) = &list.value else {
        flow.warn(
            LIST,
            "not a list, so it is ignored, as in the reference",
            "write a list of objects: [{ … }]",
        );
        return Vec::new();
    };
    let mut options = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let mut path = flow.path.clone();
        json::push_key(&mut path, LIST);
        path.push_str(&format!("[{n}]"));
        let Value::Object(object) = &item.value else {
            flow.report.push(Finding {
                severity: Severity::Error,
                file: Arc::clone(flow.file),
                line: item.line,
                key: path,
                value: value_shown(LIST, &item.value),
                problem: "not an object".to_owned(),
                legal: None,
                remedy: "write an object: { \"optionName\": … }".to_owned(),
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
        options.extend(option(&mut section));
    }
    options
}

fn option(section: &mut Section) -> Option<ProcessingOption> {
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
        OptionName::CsvToJson => csv_to_json(section).map(ProcessingOption::CsvToJson),
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
            Severity::Warning,
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
                section.finding(Severity::Warning, KEY, problem, Some(LEGAL.into()), remedy);
            }
        }
    }
    options
}

fn csv_to_json(section: &mut Section) -> Option<CsvToJson> {
    let format = json_format(section);
    let delimiter = section.text("delimiter").unwrap_or_else(|| ",".to_owned());
    // The reference finds out with the first record, and sends that one and all others as they are.
    let delimiter = JavaRegex::new(&delimiter).map_err(|error| {
        let problem = format!(
            "{}, so every record is sent as it is",
            regex_problem(&error)
        );
        let remedy = "correct it; a literal character may need a backslash, written \\\\ in JSON";
        section.warn("delimiter", problem, remedy);
    });
    if section.node("customFieldNames").is_none() {
        section.error(
            "customFieldNames",
            "missing",
            "list the names of the columns: [\"a\", \"b\"]",
        );
        return None;
    }
    let field_names = section.texts("customFieldNames")?;
    if field_names.is_empty() {
        section.warn(
            "customFieldNames",
            "no names, so every record becomes an empty object",
            "list the columns",
        );
    }
    Some(CsvToJson {
        field_names,
        delimiter: delimiter.ok(),
        format,
    })
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
        section.warn(
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
    let mut inexact_lines = Vec::new();
    let metadata = section
        .object
        .get("metadata")
        .map(|member| json::to_serde(&member.node, &mut inexact_lines));
    if let Some(line) = inexact_lines.first() {
        let problem = format!("the number on line {line} has more digits than are kept");
        section.warn("metadata", problem, "put it between double quotes");
    }
    AddMetadata {
        metadata,
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
                Severity::Warning,
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
