//! The reference's verdicts on whole configurations, `tests/golden/configs.json`.

use serde_json::Value;

use super::test_support::environment;
use super::{Loaded, Refused, Severity, load_text};

/// Refused by the reference, taken by ours: what only ours can do.
const ACCEPTED_BY_OURS: &[&str] = &[
    "age_low",
    "age_float",
    "bytes_over",
    "bytes_10mib",
    "meta_ts_bool",
];
/// Started by the reference, which then loses everything.
const REFUSED_BY_OURS: &[&str] = &["null_stream", "empty_stream"];
/// Mistakes that the reference lets through in silence.
const WARNED: &[&str] = &[
    "bool_bad",
    "number_stream",
    "agg_multiline",
    "agg_kinesis",
    "opts_not_list",
    "csv_bad_delimiter",
    "csv_names_empty",
    "single_bad_option",
    "single_option_text",
    "unknown_key",
    "duplicate_key",
    "trailing_garbage",
    "skip_negative",
    "queue_zero",
    "period_zero",
    "backoff_cross",
    "pattern_relative",
    // Beyond the list of the corpus.
    "both_destinations",
    "meta_ts_word",
];
const NO_FLOWS: &[&str] = &["no_flows_key", "empty_flows"];

fn load_case(name: &str, case: &Value) -> Result<Loaded, Refused> {
    let text = case["config"].as_str().expect("every case has a text");
    load_text(text.as_bytes(), name, &environment())
}

fn cases() -> serde_json::Map<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/configs.json");
    let text = std::fs::read_to_string(path).expect("the corpus is part of the tree");
    match serde_json::from_str(&text) {
        Ok(Value::Object(cases)) => cases,
        other => panic!("{path} is no object: {other:?}"),
    }
}

#[test]
fn verdicts_are_those_of_the_reference_but_for_the_listed_ones() {
    let cases = cases();
    assert_eq!(cases.len(), 95);
    for (name, case) in &cases {
        let name = name.as_str();
        let by_reference = case["accepted"]
            .as_bool()
            .expect("every case has a verdict");
        let accepted =
            (by_reference || ACCEPTED_BY_OURS.contains(&name)) && !REFUSED_BY_OURS.contains(&name);
        match load_case(name, case) {
            Ok(loaded) => {
                assert!(accepted, "{name} was accepted");
                let warnings: Vec<_> = loaded.report.warnings().map(ToString::to_string).collect();
                assert_eq!(
                    !warnings.is_empty(),
                    WARNED.contains(&name),
                    "{name}: {warnings:?}"
                );
                assert!(!loaded.report.has_errors(), "{name}");
            }
            Err(Refused::NoFlows { .. }) => assert!(NO_FLOWS.contains(&name), "{name} has flows"),
            Err(refused @ Refused::Invalid(_)) => {
                assert!(!accepted, "{name} was refused: {refused}")
            }
            Err(refused) => panic!("{name}: {refused}"),
        }
    }
    let listed = ACCEPTED_BY_OURS
        .iter()
        .chain(REFUSED_BY_OURS)
        .chain(WARNED)
        .chain(NO_FLOWS);
    for name in listed {
        assert!(cases.contains_key(*name), "{name} is no case");
    }
}

#[test]
fn every_error_says_where_it_is_and_what_to_do() {
    for (name, case) in &cases() {
        let Err(Refused::Invalid(report)) = load_case(name, case) else {
            continue;
        };
        let n_lines = case["config"]
            .as_str()
            .expect("every case has a text")
            .lines()
            .count()
            .max(1);
        assert_eq!(
            report.of(Severity::Error).count(),
            1,
            "{name} has one mistake: {report}"
        );
        for finding in report.findings() {
            assert_eq!(finding.file.to_str(), Some(name.as_str()));
            assert!((1..=n_lines).contains(&finding.line), "{finding}");
            assert!(
                !finding.key.is_empty()
                    && !finding.problem.is_empty()
                    && !finding.remedy.is_empty(),
                "{finding}"
            );
            assert!(!finding.to_string().contains('\n'), "{finding}");
        }
    }
}
