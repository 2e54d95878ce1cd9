//! File patterns: a directory part and a glob, in Java's sense, brought into the form that globset reads.

use std::path::Path;

use globset::{Glob, GlobBuilder};

/// A file pattern that can be followed.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePattern {
    /// Absolute, in the syntax of [`compile`].
    pub absolute: String,
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
pub enum PatternError {
    #[error("it has no directory part")]
    NoDirectory,
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
/// No directory part, no file name, or a last part that is no glob in Java's sense.
pub fn parse(text: &str, cwd: &Path) -> Result<FilePattern, PatternError> {
    let slash = text.rfind('/').ok_or(PatternError::NoDirectory)?;
    let (directory, name) = (&text[..slash], &text[slash + 1..]);
    if name.is_empty() {
        return Err(PatternError::NoFileName);
    }
    let name_at = text[..=slash].chars().count();
    let name = translate(name).map_err(|(at, what)| PatternError::NotAGlob {
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
    compile(&absolute).map_err(|error| PatternError::Refused(error.kind().to_string()))?;
    Ok(FilePattern {
        absolute,
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
