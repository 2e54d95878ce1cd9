//! Configurations for tests.

use std::path::PathBuf;

use super::{Environment, Flow, Loaded, Refused, Report, Severity, load_text};

/// A host with two cores, started in a directory that has glob characters in its name.
pub fn environment() -> Environment {
    Environment {
        cores: 2,
        cbor_disabled: false,
        cwd: PathBuf::from("/start/[here]"),
    }
}

/// A file that must be accepted.
pub fn accepted(text: &str) -> Loaded {
    match load_text(text.as_bytes(), "agent.json", &environment()) {
        Ok(loaded) => loaded,
        Err(refused) => panic!("{text} was refused: {refused}"),
    }
}

/// The findings on a file that must be refused for its content.
pub fn refused(text: &str) -> Report {
    match load_text(text.as_bytes(), "agent.json", &environment()) {
        Err(Refused::Invalid(report)) => report,
        other => panic!("{text} was not refused as invalid: {other:?}"),
    }
}

/// All findings on a file that has flows, whether it is accepted or not.
pub fn findings(text: &str) -> Report {
    match load_text(text.as_bytes(), "agent.json", &environment()) {
        Ok(loaded) => loaded.report,
        Err(Refused::Invalid(report)) => report,
        Err(other) => panic!("{text}: {other}"),
    }
}

/// A file with one flow, to which and to the top level members are added as `"key": value`.
pub fn file_with(top: &str, flow: &str) -> String {
    let comma = |members: &str| if members.is_empty() { "" } else { ", " };
    format!(
        "{{{top}{}\"flows\": [{{\"filePattern\": \"/logs/app.log*\"{}{flow}}}]}}",
        comma(top),
        comma(flow)
    )
}

/// A file with one Kinesis flow with one processing option.
pub fn file_with_option(option: &str) -> String {
    file_with(
        "",
        &format!("\"kinesisStream\": \"s\", \"dataProcessingOptions\": [{{{option}}}]"),
    )
}

/// The one flow of a file that must be accepted.
pub fn flow(members: &str) -> Flow {
    let loaded = accepted(&file_with("", members));
    assert_eq!(loaded.n_flows(), 1);
    Flow::clone(&loaded.config.flows[0])
}

/// `severity key: problem` of every finding.
pub fn summary(report: &Report) -> Vec<String> {
    report
        .findings()
        .iter()
        .map(|f| format!("{} {}: {}", f.severity, f.key, f.problem))
        .collect()
}

/// The mistakes and warnings about a file that must be accepted, as [`summary`] has them.
pub fn warnings(text: &str) -> Vec<String> {
    let loaded = accepted(text);
    let mut lines = summary(&loaded.report);
    lines.retain(|line| !line.starts_with(&Severity::Note.to_string()));
    lines
}
