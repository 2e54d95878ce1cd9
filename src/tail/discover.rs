//! Which files a flow's patterns name now.
//!
//! A pattern is walked part by part: plain parts are taken as they are, glob parts (`* ? [] {} \`) are matched against
//! the names in a folder, `**` stands for any number of folders. A leading dot is nothing special, as in Java.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobMatcher;

use super::disk::{Disk, FileKind, FileStat};
use crate::checkpoint::FileIdentity;
use crate::config::pattern;

/// Names ending so (in any case) are never read: compressed copies of what was.
const IGNORED_SUFFIXES: [&str; 3] = [".gz", ".bz2", ".zip"];
/// Folders that `**` goes down at most: links may make circles.
const FOLDER_DEPTH_MAX: usize = 32;

/// The patterns of a flow, ready to be walked.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    /// The folder to start from: every part before the first glob.
    base: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Plain(String),
    Glob(Box<GlobMatcher>),
    AnyFolders,
}

/// One file that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: Arc<Path>,
    pub stat: FileStat,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each file once, however many names it has; in the order of their paths.
    pub files: Vec<Found>,
    /// The other names of those files that match.
    pub other_names: HashSet<(FileIdentity, Arc<Path>)>,
    /// Folders that were listed, for whoever watches them.
    pub folders: Vec<PathBuf>,
    /// What couldn't be looked at, with the reason.
    pub problems: Vec<(PathBuf, io::Error)>,
    /// Whether every problem is the absence of a folder.
    pub is_missing_folder: bool,
}

impl Patterns {
    /// Errors: a glob that can't be understood.
    pub fn new<'p>(
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Patterns, globset::Error> {
        let expanded = patterns.into_iter().flat_map(expand_slashed_braces);
        expanded
            .map(|pattern| Pattern::new(&pattern))
            .collect::<Result<_, _>>()
            .map(Patterns)
    }

    /// Whether `path` is one that a walk would find, if a file is there.
    pub fn matches(&self, path: &Path) -> bool {
        !is_ignored(path) && self.0.iter().any(|pattern| pattern.matches(path))
    }

    /// Looks for files.
    pub fn walk(&self, disk: &mut impl Disk) -> Listing {
        let mut listing = Listing::default();
        for pattern in &self.0 {
            walk_part(disk, &pattern.base, &pattern.parts, 0, &mut listing);
        }
        listing.is_missing_folder = !listing.problems.is_empty()
            && listing
                .problems
                .iter()
                .all(|(_, error)| error.kind() == io::ErrorKind::NotFound);
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut seen: HashSet<FileIdentity> = HashSet::new();
        let others = &mut listing.other_names;
        listing.files.retain(|found| {
            let is_first = seen.insert(found.stat.identity);
            if !is_first {
                others.insert((found.stat.identity, Arc::clone(&found.path)));
            }
            is_first
        });
        listing.folders.sort();
        listing.folders.dedup();
        listing
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern, globset::Error> {
        let mut parts = text.split('/').filter(|part| !part.is_empty()).peekable();
        let mut base = PathBuf::from("/");
        let mut rest = Vec::new();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            match part {
                "**" if !is_last => rest.push(Part::AnyFolders),
                part if !is_glob(part) && !is_last && rest.is_empty() => base.push(part),
                part if !is_glob(part) => rest.push(Part::Plain(part.to_owned())),
                part => {
                    rest.push(Part::Glob(Box::new(
                        pattern::compile(part)?.compile_matcher(),
                    )));
                }
            }
        }
        Ok(Pattern { base, parts: rest })
    }

    fn matches(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.base) else {
            return false;
        };
        let names: Vec<&OsStr> = rest.iter().collect();
        matches_parts(&self.parts, &names)
    }
}

fn matches_parts(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], []) => true,
        ([Part::AnyFolders, rest @ ..], _) => {
            (0..=names.len()).any(|skip| matches_parts(rest, &names[skip..]))
        }
        ([part, parts @ ..], [name, names @ ..]) => part.takes(name) && matches_parts(parts, names),
        _ => false,
    }
}

impl Part {
    fn takes(&self, name: &OsStr) -> bool {
        match self {
            Part::Plain(plain) => name == OsStr::new(plain),
            Part::Glob(glob) => glob.is_match(Path::new(name)),
            Part::AnyFolders => true,
        }
    }
}

fn walk_part(
    disk: &mut impl Disk,
    folder: &Path,
    parts: &[Part],
    depth: usize,
    listing: &mut Listing,
) {
    let Some((part, rest)) = parts.split_first() else {
        return;
    };
    match part {
        Part::Plain(name) => {
            if rest.is_empty() {
                listing.folders.push(folder.to_owned());
            }
            visit(disk, &folder.join(name), rest, depth, listing);
        }
        Part::Glob(_) => {
            for name in names(disk, folder, listing) {
                if part.takes(&name) {
                    visit(disk, &folder.join(&name), rest, depth, listing);
                }
            }
        }
        Part::AnyFolders => {
            walk_part(disk, folder, rest, depth, listing);
            if depth == FOLDER_DEPTH_MAX {
                return;
            }
            for name in names(disk, folder, listing) {
                let path = folder.join(&name);
                match disk.look(&path) {
                    Ok(stat) if stat.kind == FileKind::Folder => {
                        walk_part(disk, &path, parts, depth + 1, listing);
                    }
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        listing.problems.push((path, error));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn names(disk: &mut impl Disk, folder: &Path, listing: &mut Listing) -> Vec<std::ffi::OsString> {
    match disk.names(folder) {
        Ok(names) => {
            listing.folders.push(folder.to_owned());
            names
        }
        Err(error) => {
            listing.problems.push((folder.to_owned(), error));
            Vec::new()
        }
    }
}

fn visit(disk: &mut impl Disk, path: &Path, rest: &[Part], depth: usize, listing: &mut Listing) {
    if !rest.is_empty() {
        return walk_part(disk, path, rest, depth, listing);
    }
    if is_ignored(path) {
        return;
    }
    match disk.look(path) {
        Ok(stat) if stat.kind == FileKind::File => listing.files.push(Found {
            path: path.into(),
            stat,
        }),
        Ok(_) => {}
        // Gone between listing and looking, a dangling link, or not there yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent()
                && disk.look(folder).is_err()
            {
                listing.problems.push((folder.to_owned(), error));
            }
        }
        Err(error) => listing.problems.push((path.to_owned(), error)),
    }
}

fn is_ignored(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .as_encoded_bytes()
        .to_ascii_lowercase();
    IGNORED_SUFFIXES
        .iter()
        .any(|suffix| name.ends_with(suffix.as_bytes()))
}

fn is_glob(part: &str) -> bool {
    part.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

/// `/a/{b,c/d}/e` becomes `/a/b/e` and `/a/c/d/e`: a brace that holds a slash reaches over parts.
fn expand_slashed_braces(pattern: &str) -> Vec<String> {
    let Some((start, end)) = slashed_brace(pattern) else {
        return vec![pattern.to_owned()];
    };
    let (before, inside, after) = (
        &pattern[..start],
        &pattern[start + 1..end],
        &pattern[end + 1..],
    );
    inside
        .split(',')
        .flat_map(|choice| expand_slashed_braces(&format!("{before}{choice}{after}")))
        .collect()
}

fn slashed_brace(pattern: &str) -> Option<(usize, usize)> {
    let mut open = None;
    let mut escaped = false;
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => open = Some(at),
            b'}' => {
                if let Some(start) = open.take()
                    && pattern[start..at].contains('/')
                {
                    return Some((start, at));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::disk::OsDisk;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        folder
    }

    fn found(folder: &Path, patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns
            .iter()
            .map(|pattern| format!("{}/{pattern}", folder.display()))
            .collect();
        let patterns = Patterns::new(patterns.iter().map(String::as_str)).unwrap();
        let listing = patterns.walk(&mut OsDisk);
        for file in &listing.files {
            assert!(
                patterns.matches(&file.path),
                "{} is found but doesn't match",
                file.path.display()
            );
        }
        let relative = |file: &Found| {
            file.path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        listing.files.iter().map(relative).collect()
    }

    #[test]
    fn patterns_name_files() {
        let folder = tree(&[
            "a.log",
            "a.log.1",
            "a.log.2.gz",
            "a.log.3.BZ2",
            ".hidden.log",
            "b[1].log",
            "sub/c.log",
            "sub/deep/d.log",
            "other/c.log",
            "x,y",
        ]);
        for (pattern, expected) in [
            ("a.log", vec!["a.log"]),
            ("a.log*", vec!["a.log", "a.log.1"]),
            ("*.log", vec![".hidden.log", "a.log", "b[1].log"]),
            ("?.log", vec!["a.log"]),
            ("[!b].log", vec!["a.log"]),
            ("{a,b}.log", vec!["a.log"]),
            ("b\\[1\\].log", vec!["b[1].log"]),
            ("*/c.log", vec!["other/c.log", "sub/c.log"]),
            ("s*/deep/*", vec!["sub/deep/d.log"]),
            ("**/d.log", vec!["sub/deep/d.log"]),
            ("**/a.log", vec!["a.log"]),
            (
                "{other,sub/deep}/*.log",
                vec!["other/c.log", "sub/deep/d.log"],
            ),
            ("sub", vec![]),
            ("nothing*", vec![]),
            ("x,y", vec!["x,y"]),
        ] {
            assert_eq!(found(folder.path(), &[pattern]), expected, "{pattern}");
        }
        assert_eq!(
            found(folder.path(), &["a*", "*.log", "a.log"]),
            [".hidden.log", "a.log", "a.log.1", "b[1].log"]
        );
    }

    #[test]
    fn a_file_with_two_names_is_found_once() {
        let folder = tree(&["a.log"]);
        std::os::unix::fs::symlink("a.log", folder.path().join("b.log")).unwrap();
        std::fs::hard_link(folder.path().join("a.log"), folder.path().join("c.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("d.log")).unwrap();
        assert_eq!(found(folder.path(), &["*.log"]), ["a.log"]);
        assert_eq!(found(folder.path(), &["b.log"]), ["b.log"]);
    }

    #[test]
    fn a_missing_folder_is_said_and_a_missing_file_is_not() {
        let folder = tree(&["here/x"]);
        let walk = |pattern: &str| {
            let pattern = format!("{}/{pattern}", folder.path().display());
            Patterns::new([pattern.as_str()]).unwrap().walk(&mut OsDisk)
        };
        for (pattern, is_missing) in [
            ("gone/*.log", true),
            ("gone/a.log", true),
            ("here/*.log", false),
            ("here/a.log", false),
        ] {
            let listing = walk(pattern);
            assert_eq!(listing.is_missing_folder, is_missing, "{pattern}");
            let named: Vec<_> = listing
                .problems
                .iter()
                .map(|(path, _)| path.clone())
                .collect();
            let gone = is_missing.then(|| folder.path().join("gone"));
            assert_eq!(named, Vec::from_iter(gone), "{pattern}");
        }
        assert_eq!(walk("here/a.log").folders, [folder.path().join("here")]);
    }
}
