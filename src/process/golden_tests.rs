//! Every case of `tests/golden/records` whose records are plain or multi-line ones, run through a [`Chain`]: what the
//! reference emitted, byte for byte. Cases of footers, aggregation and cut records are about splitting and walked
//! where the whole agent runs.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use crate::config::{
    AddMetadata, CsvDelimiter, CsvToJson, JsonFormat, LogFormat, LogToJson, ProcessingOption,
    SingleLine,
};

use super::java_regex::JavaRegex;
use super::{Chain, Context, Verdict};

/// Cases that are walked here; adding one to the corpus means adding one here.
const N_CASES_WALKED: usize = 101;

#[test]
fn records_are_what_the_reference_emitted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records");
    let mut n_walked = 0;
    let mut differences = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let case = entry.unwrap().path();
        let flow: Value =
            serde_json::from_slice(&fs::read(case.join("flow.json")).unwrap()).unwrap();
        let is_elsewhere = ["fileFooterPattern", "aggregatedRecordSizeBytes"]
            .iter()
            .any(|key| flow.get(key).is_some());
        if is_elsewhere || !case.join("input").exists() {
            continue;
        }
        n_walked += 1;
        let input = fs::read(case.join("input")).unwrap();
        let actual = emitted(&flow, &input);
        let expected = expected(&fs::read_to_string(case.join("expected.jsonl")).unwrap());
        if actual != expected {
            let place = actual
                .iter()
                .zip(&expected)
                .take_while(|(a, b)| a == b)
                .count();
            differences.push(format!(
                "{}: record {place}: {:?} should be {:?}",
                case.file_name().unwrap().display(),
                actual
                    .get(place)
                    .map(|bytes| String::from_utf8_lossy(bytes)),
                expected
                    .get(place)
                    .map(|bytes| String::from_utf8_lossy(bytes)),
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(n_walked, N_CASES_WALKED);
}

fn emitted(flow: &Value, input: &[u8]) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(&options(flow));
    // the time of the golden case metadata_timestamp
    let context = Context {
        now: "2026-11-21T05:06:05.704Z".parse().unwrap(),
        ec2: None,
    };
    let mut emitted = Vec::new();
    for record in records(flow, input) {
        let mut out = b"before".to_vec();
        match chain.run(&record, &context, &mut out) {
            Verdict::Converted => emitted.push(out.split_off(6)),
            Verdict::Skipped(_) => {}
            Verdict::Raw(_) => emitted.push(record),
            verdict => panic!("{verdict:?}"),
        }
    }
    emitted
}

fn expected(lines: &str) -> Vec<Vec<u8>> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        match (record["text"].as_str(), record["base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(text)) => base64.decode(text).unwrap(),
            _ => panic!("{line}"),
        }
    };
    lines.lines().map(record).collect()
}

/// Complete lines, headers left out, joined to multi-line records where the flow has a start pattern.
fn records(flow: &Value, input: &[u8]) -> Vec<Vec<u8>> {
    let skip = &flow["skipHeaderLines"];
    let n_skipped = skip
        .as_u64()
        .or_else(|| skip.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or(0);
    let lines = input
        .split_inclusive(|&byte| byte == b'\n')
        .skip(n_skipped as usize);
    let start = flow["multiLineStartPattern"].as_str().map(regex);

    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let starts_record = match &start {
            Some(start) => start.looking_at(&String::from_utf8_lossy(line)).unwrap(),
            None => true,
        };
        match records.last_mut() {
            Some(record) if !starts_record => record.extend_from_slice(line),
            _ => records.push(line.to_vec()),
        }
    }
    records.retain(|record| record.ends_with(b"\n"));
    records
}

fn options(flow: &Value) -> Vec<ProcessingOption> {
    let empty = Vec::new();
    flow["dataProcessingOptions"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(option)
        .collect()
}

fn option(option: &Value) -> ProcessingOption {
    let format = match option["jsonFormat"].as_str() {
        Some("PRETTYPRINT") => JsonFormat::PrettyPrint,
        Some("COMPACT") | None => JsonFormat::Compact,
        Some(other) => panic!("{other}"),
    };
    let names = |key: &str| -> Option<Vec<String>> {
        option[key].as_array().map(|names| {
            names
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        })
    };
    match option["optionName"].as_str().unwrap() {
        "SINGLELINE" => {
            let has = |name: &str| {
                names("parseOptions").is_some_and(|names| names.iter().any(|it| it == name))
            };
            ProcessingOption::SingleLine(SingleLine {
                no_trim: has("NO_TRIM"),
                escape_new_line: has("ESCAPE_NEW_LINE"),
            })
        }
        "CSVTOJSON" => ProcessingOption::CsvToJson(CsvToJson {
            field_names: names("customFieldNames"),
            delimiter: CsvDelimiter::Pattern(regex(option["delimiter"].as_str().unwrap_or(","))),
            format,
            ..CsvToJson::default()
        }),
        "LOGTOJSON" => ProcessingOption::LogToJson(LogToJson {
            log_format: match option["logFormat"].as_str().unwrap() {
                "COMMONAPACHELOG" => LogFormat::CommonApacheLog,
                "COMBINEDAPACHELOG" => LogFormat::CombinedApacheLog,
                "APACHEERRORLOG" => LogFormat::ApacheErrorLog,
                "SYSLOG" => LogFormat::Syslog,
                "RFC3339SYSLOG" => LogFormat::Rfc3339Syslog,
                other => panic!("{other}"),
            },
            match_pattern: option["matchPattern"].as_str().map(regex),
            field_names: names("customFieldNames"),
            format,
        }),
        "ADDMETADATA" => ProcessingOption::AddMetadata(AddMetadata {
            metadata: option.get("metadata").map(Value::to_string),
            timestamp: option["timestamp"] == "true",
            format,
        }),
        "ADDBRACKETS" => ProcessingOption::AddBrackets,
        other => panic!("{other}"),
    }
}

fn regex(pattern: &str) -> JavaRegex {
    JavaRegex::new(pattern).unwrap()
}
