//! What is wrong with a configuration, all of it at once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What a finding means for the start of the agent. The order is that of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The agent doesn't start.
    Error,
    /// The agent starts, as the reference does, and can't do what is written: a warning at start, an error for `check`.
    Mistake,
    /// The agent starts; what was meant may not be what happens.
    Warning,
    /// Worth knowing when a configuration is checked; not said at an ordinary start.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Mistake => "mistake",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One thing that is wrong: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    #[serde(serialize_with = "path_as_text")]
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// The key with its whole path, as `flows[0].dataProcessingOptions[1].delimiter`.
    pub key: String,
    /// The value as written, shortened, secrets masked; empty where there is none.
    pub value: String,
    pub problem: String,
    /// The legal values or range, where they can be listed.
    pub legal: Option<String>,
    pub remedy: String,
}

impl Finding {
    /// A finding without a value or legal values; an empty key stands for the file as a whole.
    pub(super) fn new(
        file: &Arc<Path>,
        line: usize,
        severity: Severity,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            file: Arc::clone(file),
            line,
            key: if key.is_empty() { "(top level)" } else { key }.to_owned(),
            value: String::new(),
            problem: problem.into(),
            legal: None,
            remedy: remedy.into(),
        }
    }
}

fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: ", self.file.display(), self.line, self.key)?;
        f.write_str(&self.problem)?;
        match (self.value.as_str(), &self.legal) {
            ("", None) => {}
            ("", Some(legal)) => write!(f, " (legal: {legal})")?,
            (value, None) => write!(f, " (value {value})")?,
            (value, Some(legal)) => write!(f, " (value {value}; legal: {legal})")?,
        }
        write!(f, "; {}", self.remedy)
    }
}

/// Every finding of every file; complete once loading has ended, errors first, then in the order of the files.
///
/// Its `Display` has a line for each error and warning; notes are for `check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Every finding, notes too.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.severity == severity)
    }

    /// What is said at a start that succeeds: mistakes and warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        let is_said = |severity| matches!(severity, Severity::Mistake | Severity::Warning);
        self.findings
            .iter()
            .filter(move |finding| is_said(finding.severity))
    }

    /// Whether the agent must not start.
    pub fn has_errors(&self) -> bool {
        self.of(Severity::Error).next().is_some()
    }

    pub(super) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Puts errors first, then the files in the order they were read, then lines.
    pub(super) fn sort(&mut self, files: &[Arc<Path>]) {
        let rank = |file: &Arc<Path>| files.iter().position(|other| other == file);
        self.findings
            .sort_by_cached_key(|finding| (finding.severity, rank(&finding.file), finding.line));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self
            .findings
            .iter()
            .filter(|finding| finding.severity != Severity::Note);
        if let Some(first) = shown.next() {
            write!(f, "{first}")?;
        }
        shown.try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Neither the file nor a file of agent.d has a flow: nothing to do, and usually a fresh installation.
    #[error("{}: there are no flows configured; add one to `flows`, with a filePattern and a kinesisStream", file.display())]
    NoFlows {
        file: PathBuf,
        /// What else was found, such as a misspelt `flows`; no errors.
        report: Report,
    },
    /// At least one error.
    #[error("{0}")]
    Invalid(Report),
    /// The main file can't be read.
    #[error("{}: the configuration can't be read: {source}; {}", path.display(), remedy_for(source))]
    Unreadable { path: PathBuf, source: io::Error },
}

fn remedy_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create it, or name another file with -c FILE",
        io::ErrorKind::PermissionDenied => {
            "let the agent's user read it (chown or chmod), or name another file with -c FILE"
        }
        io::ErrorKind::IsADirectory => "name a file with -c FILE",
        _ => "check the file and its disk, or name another file with -c FILE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(
        severity: Severity,
        file: &str,
        line: usize,
        value: &str,
        legal: Option<&str>,
    ) -> Finding {
        Finding {
            severity,
            file: Arc::from(Path::new(file)),
            line,
            key: "flows[0].x".into(),
            value: value.into(),
            problem: "wrong".into(),
            legal: legal.map(Into::into),
            remedy: "right it".into(),
        }
    }

    #[test]
    fn a_finding_is_one_line_with_what_is_known() {
        let cases = [
            ("", None, "f:3: flows[0].x: wrong; right it"),
            ("5", None, "f:3: flows[0].x: wrong (value 5); right it"),
            (
                "",
                Some("1 to 2"),
                "f:3: flows[0].x: wrong (legal: 1 to 2); right it",
            ),
            (
                "5",
                Some("1 to 2"),
                "f:3: flows[0].x: wrong (value 5; legal: 1 to 2); right it",
            ),
        ];
        for (value, legal, expected) in cases {
            assert_eq!(
                finding(Severity::Error, "f", 3, value, legal).to_string(),
                expected
            );
        }
    }

    #[test]
    fn a_report_has_errors_first_then_files_then_lines_and_shows_no_notes() {
        use Severity::{Error, Note, Warning};
        let mut report = Report::default();
        for (severity, file, line) in [
            (Note, "a", 1),
            (Warning, "a", 1),
            (Error, "b", 2),
            (Error, "b", 1),
            (Error, "a", 9),
        ] {
            report.push(finding(severity, file, line, "", None));
        }
        report.sort(&["a", "b"].map(|file| Arc::from(Path::new(file))));
        let shown: Vec<_> = report
            .to_string()
            .lines()
            .map(|line| line[..3].to_owned())
            .collect();
        assert_eq!(shown, ["a:9", "b:1", "b:2", "a:1"]);
        assert!(report.has_errors());
        assert_eq!(report.of(Note).count(), 1);
    }

    #[test]
    fn a_report_is_a_list_in_json() {
        let mut report = Report::default();
        report.push(finding(Severity::Warning, "f", 3, "5", None));
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!([{
                "severity": "warning", "file": "f", "line": 3, "key": "flows[0].x", "value": "5",
                "problem": "wrong", "legal": null, "remedy": "right it",
            }])
        );
    }
}
