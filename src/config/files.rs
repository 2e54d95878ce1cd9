//! Which files a flow takes: `filePattern`, `exclude`, `deletedFiles`.

use std::path::Path;

use super::limits::PATTERNS_MAX;
use super::pattern::{self, DirectoryPart, FilePattern, FilePatternError};
use super::raw::Section;
use super::report::Severity;
use super::{DeletedFiles, Excluded};

/// The patterns of a flow.
pub struct FilePatterns {
    /// The first as written, for the flow's id.
    pub written: String,
    /// As they are followed.
    pub absolute: Vec<String>,
}

/// What `filePattern` says; `None` if it is missing or was refused.
pub fn patterns(flow: &mut Section, cwd: &Path) -> Option<FilePatterns> {
    const KEY: &str = "filePattern";
    if flow.node(KEY).is_none() {
        flow.error(
            KEY,
            "missing",
            "write a directory and a glob, such as /var/log/app.log*",
        );
        return None;
    }
    let texts = patterns_written(flow, KEY)?;
    if texts.is_empty() {
        let remedy = "write a directory and a glob, such as /var/log/app.log*";
        flow.error(KEY, "the list is empty, so the flow has no files", remedy);
        return None;
    }
    let mut absolute = Vec::new();
    let mut is_legal = true;
    for text in &texts {
        match pattern::parse(text, cwd) {
            Ok(parsed) => {
                warn_of_pattern(flow, text, &parsed, texts.len());
                absolute.extend(parsed.absolute);
            }
            Err(error) => {
                refuse_pattern(flow, KEY, text, texts.len(), &error);
                is_legal = false;
            }
        }
    }
    let written = texts.into_iter().next()?;
    is_legal.then_some(FilePatterns { written, absolute })
}

/// The patterns under that name: one, or a list. A pattern given twice is said and taken once.
fn patterns_written(flow: &mut Section, key: &str) -> Option<Vec<String>> {
    let texts = flow.text_or_texts(key)?;
    if texts.len() > PATTERNS_MAX {
        let legal = format!("at most {PATTERNS_MAX} patterns");
        let remedy = "write globs that match more, or several flows";
        flow.finding(
            Severity::Error,
            key,
            "too many patterns",
            Some(legal),
            remedy,
        );
        return None;
    }
    let mut once: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts {
        if once.contains(&text) {
            flow.warn(
                key,
                format!("{text:?} stands in it twice"),
                "remove one of the two",
            );
        } else {
            once.push(text);
        }
    }
    Some(once)
}

/// In a list a finding names the pattern that it is about.
fn about(text: &str, n_patterns: usize, problem: impl std::fmt::Display) -> String {
    match n_patterns {
        1 => problem.to_string(),
        _ => format!("{text:?}: {problem}"),
    }
}

fn refuse_pattern(
    flow: &mut Section,
    key: &str,
    text: &str,
    n_patterns: usize,
    error: &FilePatternError,
) {
    let remedy = match error {
        FilePatternError::TooLong => "write a shorter one",
        FilePatternError::TooManyChoices => "write several patterns as a list, or several flows",
        FilePatternError::NoDirectory => "write the directory too, such as /var/log/app.log*",
        FilePatternError::NoFileName => "write a file name or a glob after the slash, such as *",
        FilePatternError::NotAGlob { .. } | FilePatternError::Refused(_) => {
            "close it, or write a backslash (\\\\ in JSON) before a character that is meant literally"
        }
    };
    flow.error(key, about(text, n_patterns, error), remedy);
}

fn warn_of_pattern(flow: &mut Section, text: &str, parsed: &FilePattern, n_patterns: usize) {
    let key = "filePattern";
    if text.starts_with('~') {
        let problem = "~ is not a home directory here, but a directory of that name";
        flow.warn(
            key,
            about(text, n_patterns, problem),
            "write the directory in full",
        );
    } else if parsed.is_relative {
        let problem = format!(
            "relative, so it depends on where the agent starts; now {}",
            parsed.absolute.join(", ")
        );
        flow.warn(
            key,
            about(text, n_patterns, problem),
            "write it with a leading slash",
        );
    }
    let (problem, remedy) = match parsed.directory {
        DirectoryPart::Plain => return,
        DirectoryPart::Globs => (
            "the directory part holds glob characters and is matched as a glob; the reference takes it literally",
            "write a backslash (\\\\ in JSON) before what is literal",
        ),
        DirectoryPart::Literal => (
            "the directory part holds glob characters but is no glob, so it is taken literally",
            "complete the glob, if it is meant as one",
        ),
    };
    let problem = about(text, n_patterns, problem);
    flow.finding(Severity::Note, key, problem, None, remedy);
}

/// What `exclude` says: patterns without a slash are of file names, others of whole paths.
pub fn excluded(flow: &mut Section, cwd: &Path, patterns: Option<&FilePatterns>) -> Vec<Excluded> {
    const KEY: &str = "exclude";
    let texts = patterns_written(flow, KEY).unwrap_or_default();
    let mut excluded = Vec::new();
    for text in &texts {
        let is_name = !text.contains('/');
        let whole = match is_name {
            true => format!("/{text}"),
            // A folder may be written as one.
            false => text.trim_end_matches('/').to_owned(),
        };
        match pattern::parse(&whole, cwd) {
            Ok(parsed) if is_name => excluded.extend(
                parsed
                    .absolute
                    .iter()
                    .map(|glob| Excluded::Name(glob[1..].to_owned())),
            ),
            Ok(parsed) => {
                if parsed.is_relative {
                    let problem = format!(
                        "relative, so it depends on where the agent starts; now {}",
                        parsed.absolute.join(", ")
                    );
                    let remedy = "write it with a leading slash, or a file name alone";
                    flow.warn(KEY, about(text, texts.len(), problem), remedy);
                }
                excluded.extend(parsed.absolute.into_iter().map(Excluded::Path));
            }
            Err(_) if text.is_empty() => {
                let remedy = "write a glob of file names, such as *.tmp, or of whole paths";
                flow.error(KEY, "an empty pattern matches nothing", remedy);
            }
            Err(error) => refuse_pattern(flow, KEY, text, texts.len(), &error),
        }
    }
    if let Some(patterns) = patterns
        && let Some(hidden) = hidden_by(&excluded, &patterns.absolute)
    {
        let problem = format!("leaves out all that {hidden} of filePattern can match");
        flow.warn(KEY, problem, "correct it, or remove that filePattern");
    }
    excluded
}

/// A pattern of which nothing is left, as far as that shows without a look at the disk.
fn hidden_by<'p>(excluded: &[Excluded], patterns: &'p [String]) -> Option<&'p str> {
    let takes_all = |pattern: &&String| {
        let name = pattern.rsplit('/').next().unwrap_or_default();
        excluded.iter().any(|excluded| match excluded {
            Excluded::Name(glob) => glob == "*" || glob == name,
            Excluded::Path(glob) => {
                let below = glob.strip_suffix("/**").unwrap_or(glob);
                glob == *pattern || pattern.starts_with(&format!("{below}/"))
            }
        })
    };
    patterns.iter().find(takes_all).map(String::as_str)
}

/// Whether `exclude` of a flow leaves out all that a pattern can match, as far as that shows without a look at the disk.
pub fn leaves_out(excluded: &[Excluded], pattern: &str) -> bool {
    hidden_by(excluded, &[pattern.to_owned()]).is_some()
}

/// What `deletedFiles.maxBytes` and `deletedFiles.maxAge` say.
pub fn deleted_files(flow: &mut Section) -> DeletedFiles {
    let bytes = flow.count("deletedFiles.maxBytes") as u64;
    let age = flow.duration("deletedFiles.maxAge");
    DeletedFiles {
        bytes_max: (bytes > 0).then_some(bytes),
        age_max: (!age.is_zero()).then_some(age),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_support::{accepted, flow, refused, summary};
    use super::*;

    const S: &str = "\"kinesisStream\": \"s\"";

    /// A file with one flow of these members.
    fn file(members: &str) -> String {
        format!("{{\"flows\": [{{{S}, {members}}}]}}")
    }

    fn notes_and_warnings(members: &str) -> Vec<String> {
        summary(&accepted(&file(members)).report)
    }

    #[test]
    fn several_patterns_make_a_flow_with_a_name() {
        let text =
            file(r#""id": "app", "filePattern": ["/a/*.log", "/b/{x,y/z}.log", "/a/*.log"]"#);
        let loaded = accepted(&text);
        let flow = &loaded.config.flows[0];
        assert_eq!(&*flow.id.0, "app");
        assert_eq!(flow.patterns, ["/a/*.log", "/b/x.log", "/b/y/z.log"]);
        let lines = summary(&loaded.report);
        assert!(
            matches!(&lines[..], [twice, _note] if twice.contains("\"/a/*.log\" stands in it twice")),
            "{lines:?}"
        );
        let text = file(r#""id": "one", "filePattern": "/a/*.log""#);
        assert_eq!(&*accepted(&text).config.flows[0].id.0, "one");
    }

    #[test]
    fn what_names_no_flow_or_no_files_is_refused() {
        for (members, n_findings, problem) in [
            (r#""filePattern": ["/a/x"]"#, 1, "needs one"),
            (r#""filePattern": ["/a/x"], "id": """#, 1, "not a name"),
            (r#""filePattern": ["/a/x"], "id": " ""#, 1, "not a name"),
            (
                r#""filePattern": ["/a/x"], "id": "a\u0007""#,
                1,
                "not a name",
            ),
            (r#""filePattern": [], "id": "i""#, 1, "the list is empty"),
            (r#""filePattern": [{}], "id": "i""#, 1, "no text"),
            (r#""filePattern": {}, "id": "i""#, 1, "not a text"),
            (
                r#""filePattern": ["/a/", "b", "/c/x"], "id": "i""#,
                2,
                "names no file",
            ),
            (
                r#""filePattern": "/a/x", "exclude": """#,
                1,
                "empty pattern",
            ),
            (
                r#""filePattern": "/a/x", "exclude": ["*.tmp", "[a"]"#,
                1,
                "\"[a\": not a glob",
            ),
            (
                r#""filePattern": "/a/x", "ignoreOlder": "7 days""#,
                1,
                "not a number",
            ),
            (
                r#""filePattern": "/a/x", "ignoreOlder": "0.5s""#,
                1,
                "outside its range",
            ),
            (
                r#""filePattern": "/a/x", "deletedFiles.maxAge": -1"#,
                1,
                "outside its range",
            ),
        ] {
            let report = refused(&file(members));
            let lines = summary(&report);
            assert_eq!(lines.len(), n_findings, "{members}: {lines:?}");
            assert!(
                lines.iter().any(|line| line.contains(problem)),
                "{members}: {lines:?}"
            );
        }
        let many: Vec<String> = (0..101).map(|n| format!("\"/a/{n}\"")).collect();
        let members = format!("\"id\": \"i\", \"filePattern\": [{}]", many.join(","));
        let lines = summary(&refused(&file(&members)));
        assert!(lines[0].contains("too many patterns"), "{lines:?}");
    }

    #[test]
    fn what_is_left_out_is_a_file_name_or_a_path() {
        let members =
            format!(r#"{S}, "exclude": ["*.tmp", "/logs/old/", "/x/{{a,b/c}}", "{{d,e}}"]"#);
        let name = |glob: &str| Excluded::Name(glob.to_owned());
        let path = |glob: &str| Excluded::Path(glob.to_owned());
        assert_eq!(
            flow(&members).excluded,
            [
                name("*.tmp"),
                path("/logs/old"),
                path("/x/a"),
                path("/x/b/c"),
                name("{d,e}")
            ]
        );
        let one = format!(r#"{S}, "exclude": "*.tmp""#);
        assert_eq!(flow(&one).excluded, [name("*.tmp")]);
    }

    #[test]
    fn leaving_out_everything_is_warned_about() {
        for (exclude, hides) in [
            ("*", true),
            ("app.log*", true),
            ("/logs", true),
            ("/logs/**", true),
            ("/logs/app.log*", true),
            ("/log", false),
            ("*.tmp", false),
        ] {
            let members = format!(r#""filePattern": "/logs/app.log*", "exclude": "{exclude}""#);
            let lines = notes_and_warnings(&members);
            assert_eq!(!lines.is_empty(), hides, "{exclude}: {lines:?}");
        }
    }

    #[test]
    fn what_one_flow_leaves_to_another_is_known() {
        let name = |glob: &str| Excluded::Name(glob.to_owned());
        let path = |glob: &str| Excluded::Path(glob.to_owned());
        for (excluded, pattern, expected) in [
            (vec![name("error.log")], "/l/error.log", true),
            (vec![name("error.log")], "/l/*.log", false),
            (vec![path("/l/sub")], "/l/sub/*.log", true),
            (vec![path("/l/sub")], "/l/*.log", false),
            (vec![], "/l/*.log", false),
        ] {
            assert_eq!(
                leaves_out(&excluded, pattern),
                expected,
                "{excluded:?} {pattern}"
            );
        }
    }

    #[test]
    fn ages_are_seconds_or_have_their_unit() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for (keys, ignore_older, bytes_max, age_max) in [
            ("", None, Some(64 << 30), Some(days(7))),
            (
                r#", "ignoreOlder": 90, "deletedFiles.maxBytes": 0, "deletedFiles.maxAge": "0s""#,
                Some(Duration::from_secs(90)),
                None,
                None,
            ),
            (
                r#", "ignoreOlder": "36h", "deletedFiles.maxBytes": "5", "deletedFiles.maxAge": "1.5d""#,
                Some(Duration::from_secs(36 * 3600)),
                Some(5),
                Some(Duration::from_secs(129_600)),
            ),
        ] {
            let flow = flow(&format!("{S}{keys}"));
            let expected = DeletedFiles { bytes_max, age_max };
            assert_eq!(
                (flow.ignore_older, flow.deleted_files),
                (ignore_older, expected),
                "{keys}"
            );
        }
    }
}
