//! File patterns: a directory part and a glob, in Java's sense, brought into the form that globset reads.

use std::path::Path;

use globset::{Glob, GlobBuilder};

use super::limits::{PATTERN_BYTES_MAX, PATTERN_CHOICES_MAX};

/// A file pattern that can be followed.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePattern {
    /// Absolute, in the syntax of [`compile`]: one, or more where a group reaches over a slash.
    pub absolute: Vec<String>,
    /// Written without a leading slash, so resolved against the working directory.
    pub is_relative: bool,
    /// What the characters `* ? [ ] { } \` mean in the directory part, if it holds any.
    pub directory: DirectoryPart,
}

/// How the directory part of a pattern is read.
#[derive(Debug, PartialEq, Eq)]
pub enum DirectoryPart {
    Plain,
    /// As globs, which the reference doesn't know.
    Globs,
    /// Literally, since it is no glob.
    Literal,
}

/// Why a text is no file pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilePatternError {
    #[error("it has no directory part")]
    NoDirectory,
    #[error("it is longer than a path can be, {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    #[error("its groups stand for more than {PATTERN_CHOICES_MAX} patterns")]
    TooManyChoices,
    #[error("it ends in a slash, so it names no file")]
    NoFileName,
    #[error("not a glob: {what} at character {at}")]
    NotAGlob {
        what: &'static str,
        /// Character of the whole pattern, from 1.
        at: usize,
    },
    #[error("not a glob: {0}")]
    Refused(String),
}

/// Reads a pattern as written; `cwd` is what a relative one is relative to.
///
/// # Errors
///
/// Too long, too many choices, no directory part, no file name, or a last part that is no glob in Java's sense.
pub fn parse(text: &str, cwd: &Path) -> Result<FilePattern, FilePatternError> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(FilePatternError::TooLong);
    }
    let choices = choices_over_slashes(text).ok_or(FilePatternError::TooManyChoices)?;
    if let [_] = choices[..] {
        return parse_choice(text, cwd);
    }
    let mut pattern = FilePattern {
        absolute: Vec::new(),
        is_relative: false,
        directory: DirectoryPart::Globs,
    };
    for choice in choices {
        let FilePattern {
            absolute,
            is_relative,
            ..
        } = parse_choice(&choice, cwd)?;
        pattern.absolute.extend(absolute);
        pattern.is_relative |= is_relative;
    }
    Ok(pattern)
}

/// The patterns that groups over slashes stand for: `/a/{b,c/d}/e` is `/a/b/e` and `/a/c/d/e`; a pattern without such a
/// group stands for itself. `None`: there are too many.
///
/// A group without a comma, or within which another character than its own would have to be closed, is none: the
/// directory part is literal then, as in the reference.
fn choices_over_slashes(text: &str) -> Option<Vec<String>> {
    let mut open = vec![text.to_owned()];
    let mut choices = Vec::new();
    while let Some(text) = open.pop() {
        let Some(group) = group_over_slash(&text) else {
            choices.push(text);
            continue;
        };
        let (before, after) = (&text[..group.start], &text[group.end..]);
        let within = group.choices.iter().rev();
        open.extend(within.map(|choice| format!("{before}{choice}{after}")));
        if choices.len() + open.len() > PATTERN_CHOICES_MAX {
            return None;
        }
    }
    Some(choices)
}

/// A group `{…}` of a pattern.
struct Group {
    start: usize,
    /// Behind its closing brace.
    end: usize,
    choices: Vec<String>,
}

/// The first group that holds a slash and a comma.
fn group_over_slash(text: &str) -> Option<Group> {
    let mut group: Option<Group> = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let piece = piece_at(&text[at..], c);
        let end = at + piece.len();
        match (c, &mut group) {
            ('{', group) => {
                *group = Some(Group {
                    start: at,
                    end,
                    choices: vec![String::new()],
                });
            }
            ('}', Some(open)) => {
                open.end = end;
                let has_slash = text[open.start..end].contains('/');
                if has_slash && open.choices.len() > 1 {
                    return group;
                }
                group = None;
            }
            (',', Some(open)) => open.choices.push(String::new()),
            (_, Some(open)) => {
                if let Some(choice) = open.choices.last_mut() {
                    choice.push_str(piece);
                }
            }
            (_, None) => {}
        }
        at = end;
    }
    None
}

/// What a text that begins with `c` begins with: an escaped character, a class, or the character alone.
fn piece_at(text: &str, c: char) -> &str {
    let class_end = || {
        let end = text.find(']').filter(|end| !text[..*end].contains('/'));
        end.map(|end| end + 1)
    };
    let len = match c {
        '\\' => {
            let escaped = text[1..].chars().next();
            escaped.map(|escaped| 1 + escaped.len_utf8())
        }
        '[' => class_end(),
        _ => None,
    };
    &text[..len.unwrap_or(c.len_utf8())]
}

fn parse_choice(text: &str, cwd: &Path) -> Result<FilePattern, FilePatternError> {
    let slash = text.rfind('/').ok_or(FilePatternError::NoDirectory)?;
    let (directory, name) = (&text[..slash], &text[slash + 1..]);
    if name.is_empty() {
        return Err(FilePatternError::NoFileName);
    }
    let name_at = text[..=slash].chars().count();
    let name = translate(name).map_err(|(at, what)| FilePatternError::NotAGlob {
        what,
        at: name_at + at + 1,
    })?;
    let directory_part = match directory.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        false => DirectoryPart::Plain,
        true if directory.split('/').all(|part| translate(part).is_ok()) => DirectoryPart::Globs,
        true => DirectoryPart::Literal,
    };
    let is_relative = !text.starts_with('/');
    let mut absolute = if is_relative {
        escaped(&cwd.to_string_lossy())
    } else {
        String::new()
    };
    absolute.truncate(absolute.trim_end_matches('/').len());
    // Empty parts and `.` would keep the pattern from matching the paths that are found.
    for part in directory
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
    {
        absolute.push('/');
        match translate(part) {
            Ok(glob) if directory_part != DirectoryPart::Literal => absolute.push_str(&glob),
            _ => absolute.push_str(&escaped(part)),
        }
    }
    absolute.push('/');
    absolute.push_str(&name);
    compile(&absolute).map_err(|error| FilePatternError::Refused(error.kind().to_string()))?;
    Ok(FilePattern {
        absolute: vec![absolute],
        is_relative,
        directory: directory_part,
    })
}

/// Compiles a pattern of [`FilePattern::absolute`]: `*` and `?` stay within a part, `**` crosses parts, `\` escapes, and
/// an alternative may be empty, as in `app.log{,.1}`.
///
/// # Errors
///
/// What globset refuses; never for a pattern that came from [`parse`].
pub fn compile(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
}

/// The text as a glob that matches it alone.
fn escaped(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]{}\\".contains(c) {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

/// One part of a path, from Java's glob syntax to globset's; or what is wrong, and at which character (from 0).
///
/// They differ in three ways: a stray `}` is literal in Java, `^` doesn't negate a class, and groups don't nest.
fn translate(part: &str) -> Result<String, (usize, &'static str)> {
    let chars: Vec<char> = part.chars().collect();
    let mut glob = String::with_capacity(part.len());
    let mut group_at = None;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            '\\' => {
                at += 1;
                glob.push('\\');
                glob.push(*chars.get(at).ok_or((at - 1, "nothing to escape"))?);
            }
            '[' => {
                at = translate_class(&chars, at, &mut glob)?;
                continue;
            }
            '{' if group_at.is_some() => return Err((at, "a group within a group")),
            '{' => {
                group_at = Some(at);
                glob.push('{');
            }
            '}' if group_at.take().is_none() => glob.push_str("\\}"),
            c => glob.push(c),
        }
        at += 1;
    }
    match group_at {
        Some(at) => Err((at, "a group that is never closed")),
        None => Ok(glob),
    }
}

/// A class that opens at `open`; the place after its end.
fn translate_class(
    chars: &[char],
    open: usize,
    glob: &mut String,
) -> Result<usize, (usize, &'static str)> {
    let is_negated = chars.get(open + 1) == Some(&'!');
    let first = open + 1 + usize::from(is_negated);
    let length = chars[first.min(chars.len())..]
        .iter()
        .position(|&c| c == ']');
    let inside =
        &chars[first..first + length.ok_or((open, "a character class that is never closed"))?];
    if inside.is_empty() {
        return Err((open, "an empty character class"));
    }
    check_ranges(inside).map_err(|at| (first + at, "a range that runs backwards"))?;
    if is_negated {
        glob.push_str("[!");
        glob.extend(inside);
        glob.push(']');
    } else {
        push_class(inside.to_vec(), glob);
    }
    Ok(first + inside.len() + 1)
}

/// Writes a class that isn't negated. globset would take a leading `^` or `!` as a negation, so these stand before the
/// class as alternatives to it: `[^a]` is `{\^,[a]}`.
fn push_class(mut inside: Vec<char>, glob: &mut String) {
    let mut peeled = Vec::new();
    while let [c @ ('^' | '!'), ..] = inside[..] {
        peeled.push(c);
        match inside[1..] {
            // A range that begins here goes on with the next character.
            ['-', to, ..] if c < to => inside[0] = char::from(c as u8 + 1),
            ['-', _, ..] => drop(inside.drain(..3)),
            _ => drop(inside.remove(0)),
        }
    }
    let class = if inside.is_empty() {
        String::new()
    } else {
        format!("[{}]", String::from_iter(inside))
    };
    if peeled.is_empty() {
        glob.push_str(&class);
    } else {
        let peeled: Vec<String> = peeled.into_iter().map(|c| format!("\\{c}")).collect();
        let comma = if class.is_empty() { "" } else { "," };
        glob.push_str(&format!("{{{}{comma}{class}}}", peeled.join(",")));
    }
}

/// Ranges of a class must run forwards; the place of the first that doesn't.
fn check_ranges(inside: &[char]) -> Result<(), usize> {
    let mut at = 0;
    while at < inside.len() {
        match inside.get(at..at + 3) {
            Some(&[from, '-', to]) => {
                if to < from {
                    return Err(at);
                }
                at += 3;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<FilePattern, FilePatternError> {
        parse(text, Path::new("/start/[here]"))
    }

    /// Verdicts of `FileSystems.getDefault().getPathMatcher("glob:…")` of Java 17; `None` is a syntax error.
    const JAVA: &[(&str, &str, Option<bool>)] = &[
        ("[a", "a", None),
        ("[]a]", "]", None),
        ("[^a]", "^", Some(true)),
        ("[^a]", "a", Some(true)),
        ("[^a]", "b", Some(false)),
        ("[^]", "^", Some(true)),
        ("[^]", "a", Some(false)),
        ("[!a]", "b", Some(true)),
        ("[!a]", "a", Some(false)),
        ("[!]", "!", None),
        ("[!!]", "!", Some(false)),
        ("[!!]", "a", Some(true)),
        ("[a^]", "^", Some(true)),
        ("}", "}", Some(true)),
        ("a}b", "a}b", Some(true)),
        ("]", "]", Some(true)),
        ("{a,{b,c}}", "b", None),
        ("{a", "a", None),
        ("{a,}x", "x", Some(true)),
        ("{,a}x", "x", Some(true)),
        ("{}x", "x", Some(true)),
        ("{a\\,b,c}", "a,b", Some(true)),
        ("{[a,b],c}", "b", Some(true)),
        ("{[}],c}", "}", Some(true)),
        ("{a|b}", "a", Some(false)),
        ("a,b", "a,b", Some(true)),
        ("a\\", "a", None),
        ("a\\*", "a*", Some(true)),
        ("\\}", "}", Some(true)),
        ("[\\]", "\\", Some(true)),
        ("[\\]]", "]", Some(false)),
        ("[\\a]", "a", Some(true)),
        ("[a-]", "-", Some(true)),
        ("[-a]", "-", Some(true)),
        ("[!-a]", "b", Some(true)),
        ("[!-a]", "-", Some(false)),
        ("[z-a]", "b", None),
        ("[a--]", "b", None),
        ("[*]", "*", Some(true)),
        ("[[]", "[", Some(true)),
        ("[a[]", "[", Some(true)),
        ("[", "x", None),
        ("a**b", "axxb", Some(true)),
        ("(a)", "(a)", Some(true)),
        ("a.b", "axb", Some(false)),
        ("*", ".hidden", Some(true)),
        ("app.log*", "app.log.1", Some(true)),
    ];

    #[test]
    fn file_names_match_as_in_java() {
        for (glob, name, expected) in JAVA {
            match (parsed(&format!("/d/{glob}")), expected) {
                (Ok(pattern), Some(expected)) => {
                    let matcher = compile(&pattern.absolute[0])
                        .expect("a parsed pattern compiles")
                        .compile_matcher();
                    assert_eq!(
                        matcher.is_match(format!("/d/{name}")),
                        *expected,
                        "{glob} on {name}"
                    );
                }
                (Err(FilePatternError::NotAGlob { .. }), None) => {}
                (other, _) => panic!("{glob}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_range_that_begins_with_a_sign_of_negation_is_kept() {
        for (glob, inside, outside) in [
            ("[^-a]", "^_`a", "b]"),
            ("[^!]", "^!", "a"),
            ("[^-^b]", "^b", "a_"),
        ] {
            let pattern = parsed(&format!("/d/{glob}")).expect("a glob");
            let matcher = compile(&pattern.absolute[0])
                .expect("a parsed pattern compiles")
                .compile_matcher();
            for c in inside.chars() {
                assert!(matcher.is_match(format!("/d/{c}")), "{glob} on {c}");
            }
            for c in outside.chars() {
                assert!(!matcher.is_match(format!("/d/{c}")), "{glob} on {c}");
            }
        }
    }

    #[test]
    fn patterns_become_absolute_and_lose_empty_parts() {
        use DirectoryPart::{Globs, Literal, Plain};
        let cases = [
            ("/logs/app.log*", "/logs/app.log*", false, Plain),
            ("/app.log", "/app.log", false, Plain),
            ("//logs/./a,b//x", "/logs/a,b/x", false, Plain),
            ("x/app.log", "/start/\\[here\\]/x/app.log", true, Plain),
            ("./app.log", "/start/\\[here\\]/app.log", true, Plain),
            ("/a/*/**/b", "/a/*/**/b", false, Globs),
            ("/a/{b,c}/d", "/a/{b,c}/d", false, Globs),
            ("/a/[b/d*", "/a/\\[b/d*", false, Literal),
            ("/{a/b}/c", "/\\{a/b\\}/c", false, Literal),
        ];
        for (text, absolute, is_relative, directory) in cases {
            assert_eq!(
                parsed(text),
                Ok(FilePattern {
                    absolute: vec![absolute.into()],
                    is_relative,
                    directory
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn groups_may_reach_over_slashes() {
        for (text, expected) in [
            ("/{a,b/c}/d", vec!["/a/d", "/b/c/d"]),
            ("/l/{a/x,b/y}.log", vec!["/l/a/x.log", "/l/b/y.log"]),
            ("/{a/,}x", vec!["/a/x", "/x"]),
            ("/{a,b}/{c/d,e}", vec!["/{a,b}/c/d", "/{a,b}/e"]),
            (
                "/{a/1,b}/{c/2,d}/x",
                vec!["/a/1/c/2/x", "/a/1/d/x", "/b/c/2/x", "/b/d/x"],
            ),
            ("/{a\\,b/c,d}/x", vec!["/a\\,b/c/x", "/d/x"]),
            ("/{[a,}]/c,d}/x", vec!["/[a,}]/c/x", "/d/x"]),
            ("/{[a/c,d}/x", vec!["/\\[a/c/x", "/d/x"]),
            ("/\\{a/b,c/x", vec!["/\\{a/b,c/x"]),
        ] {
            let pattern = parsed(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(pattern.absolute, expected, "{text}");
        }
        let many = format!("/x{}", "{a/,b/}".repeat(20));
        assert_eq!(
            parsed(&format!("{many}y")),
            Err(FilePatternError::TooManyChoices)
        );
    }

    #[test]
    fn what_names_no_files_is_refused() {
        let cases = [
            ("", FilePatternError::NoDirectory),
            ("app.log", FilePatternError::NoDirectory),
            ("/", FilePatternError::NoFileName),
            ("/logs/", FilePatternError::NoFileName),
            (
                "/logs/a[b",
                FilePatternError::NotAGlob {
                    what: "a character class that is never closed",
                    at: 8,
                },
            ),
            (
                "/é/a{b",
                FilePatternError::NotAGlob {
                    what: "a group that is never closed",
                    at: 5,
                },
            ),
            (
                "/l/{a,{b}}",
                FilePatternError::NotAGlob {
                    what: "a group within a group",
                    at: 7,
                },
            ),
            (
                "/l/x\\",
                FilePatternError::NotAGlob {
                    what: "nothing to escape",
                    at: 5,
                },
            ),
            (
                "/l/x[]",
                FilePatternError::NotAGlob {
                    what: "an empty character class",
                    at: 5,
                },
            ),
            (
                "/l/x[b-a]",
                FilePatternError::NotAGlob {
                    what: "a range that runs backwards",
                    at: 6,
                },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }

    /// globset gives up, with a panic, where the regex behind a pattern gets too large.
    #[test]
    fn the_longest_patterns_still_make_a_matcher() {
        assert_eq!(
            parsed(&"/a".repeat(PATTERN_BYTES_MAX)),
            Err(FilePatternError::TooLong)
        );
        for piece in [
            "*",
            "?",
            "/**",
            "/*",
            "{a,b}",
            "{*,?}",
            "[!a-z]",
            "[^é-ü]",
            "é",
            "[\u{10FFFF}]",
            "\\x",
            "**/{a,**}",
        ] {
            let text = format!("/{}/x", piece.repeat((PATTERN_BYTES_MAX - 3) / piece.len()));
            let pattern = parsed(&text).unwrap_or_else(|error| panic!("{piece}: {error}"));
            assert!(
                !compile(&pattern.absolute[0])
                    .expect("a glob")
                    .compile_matcher()
                    .is_match("/y"),
                "{piece}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_parsed_pattern_always_compiles(text in "[a-c^!,{}\\[\\]\\\\*?/é-]{0,16}") {
            if let Ok(pattern) = parsed(&format!("/d{text}")) {
                for absolute in pattern.absolute {
                    prop_assert!(compile(&absolute).is_ok(), "{absolute}");
                }
            }
        }

        #[test]
        fn a_file_name_without_glob_characters_matches_itself_alone(name in "[a-z.,+()|$^!-]{1,8}", other in "[a-z.]{1,8}") {
            let pattern = parsed(&format!("/d/{name}")).unwrap();
            let matcher = compile(&pattern.absolute[0]).unwrap().compile_matcher();
            let (itself, another) = (format!("/d/{name}"), format!("/d/{other}"));
            prop_assert!(matcher.is_match(itself));
            prop_assert_eq!(matcher.is_match(another), name == other);
        }
    }
}
