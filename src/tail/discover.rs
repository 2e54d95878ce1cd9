//! Which files a flow's patterns name now.
//!
//! A pattern is walked part by part: plain parts are taken as they are, glob parts (`* ? [] {} \`) are matched against
//! the names in a folder, `**` stands for any number of folders. A leading dot is nothing special, as in Java.
//!
//! A folder's listing tells the inode number of each name. Where that and the folder's device are those of the file that
//! is followed under this name, it needs no look of its own: a walk over 10,000 followed files lists, and looks at none.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobMatcher;

use super::disk::{Disk, FileKind, FileStat, Name};
use crate::checkpoint::FileIdentity;
use crate::config::{Excluded, Flow, pattern};

/// Names ending so (in any case) aren't followed: compressed copies of what was.
const IGNORED_SUFFIXES: [&str; 3] = [".gz", ".bz2", ".zip"];
/// Folders that `**` goes down at most: links may make circles.
const FOLDER_DEPTH_MAX: usize = 32;

/// The patterns of a flow, and what they leave out, ready to be walked.
#[derive(Debug, Clone)]
pub struct Patterns {
    named: Vec<Pattern>,
    left_out: LeftOut,
}

/// What `exclude` names.
#[derive(Debug, Clone, Default)]
struct LeftOut {
    names: Vec<GlobMatcher>,
    /// Files, and folders with all that is in them.
    paths: Vec<Pattern>,
}

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
    /// Whether the path is a link, where that is known.
    pub is_link: Option<bool>,
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
    /// Names and folders that match and are left out by `exclude`.
    pub n_excluded: usize,
}

impl Patterns {
    /// What a flow names and what it leaves out.
    ///
    /// Errors: a glob that can't be understood; the configuration has refused those.
    pub fn of(flow: &Flow) -> Result<Patterns, globset::Error> {
        Patterns::new(flow.patterns.iter().map(String::as_str))?.without(&flow.excluded)
    }

    /// Errors: a glob that can't be understood.
    pub fn new<'p>(
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Patterns, globset::Error> {
        let named = patterns.into_iter().map(Pattern::new);
        Ok(Patterns {
            named: named.collect::<Result<_, _>>()?,
            left_out: LeftOut::default(),
        })
    }

    /// The same patterns without what `excluded` names.
    ///
    /// Errors: a glob that can't be understood.
    pub fn without(mut self, excluded: &[Excluded]) -> Result<Patterns, globset::Error> {
        for excluded in excluded {
            match excluded {
                Excluded::Name(glob) => {
                    let glob = pattern::compile(glob)?;
                    self.left_out.names.push(glob.compile_matcher());
                }
                Excluded::Path(glob) => self.left_out.paths.push(Pattern::new(glob)?),
            }
        }
        Ok(self)
    }

    /// Whether `path` is one that a walk would find, if a file is there.
    pub fn matches(&self, path: &Path) -> bool {
        !is_ignored(path)
            && self.named.iter().any(|pattern| pattern.matches(path))
            && !self.left_out.takes_file(path)
    }

    /// Looks for files. `known` says what is known of the file that is followed under a path: it is believed while the
    /// listing of its folder doesn't say otherwise.
    pub fn walk(&self, disk: &mut impl Disk, known: impl Fn(&Path) -> Option<FileStat>) -> Listing {
        let mut walk = Walk {
            disk,
            known,
            left_out: &self.left_out,
            listing: Listing::default(),
        };
        for pattern in &self.named {
            walk.part(&pattern.base, &pattern.parts, 0);
        }
        let mut listing = walk.listing;
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

impl LeftOut {
    fn takes_file(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new);
        name.is_some_and(|name| self.takes_name(name)) || self.takes_path(path)
    }

    fn takes_name(&self, name: &Path) -> bool {
        self.names.iter().any(|glob| glob.is_match(name))
    }

    /// Whether the file or folder, or a folder above it, is left out.
    fn takes_path(&self, path: &Path) -> bool {
        let takes = |path: &Path| self.paths.iter().any(|pattern| pattern.matches(path));
        !self.paths.is_empty() && path.ancestors().any(takes)
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

/// One walk.
struct Walk<'w, D, K> {
    disk: &'w mut D,
    known: K,
    left_out: &'w LeftOut,
    listing: Listing,
}

/// What the listing of a folder says about one name.
#[derive(Debug, Clone, Copy, Default)]
struct Hinted {
    /// The identity that a regular file of this name has, unless it is mounted there.
    identity: Option<FileIdentity>,
}

impl<D: Disk, K: Fn(&Path) -> Option<FileStat>> Walk<'_, D, K> {
    fn part(&mut self, folder: &Path, parts: &[Part], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        match part {
            Part::Plain(name) => {
                self.listing.folders.push(folder.to_owned());
                self.visit(folder.join(name), rest, depth, Hinted::default());
            }
            Part::Glob(_) => {
                let device = self.device(folder, rest);
                for name in self.names(folder) {
                    if part.takes(&name.text) && (rest.is_empty() || self.is_folder(folder, &name))
                    {
                        let hinted = Hinted {
                            identity: name
                                .file_inode
                                .zip(device)
                                .map(|(inode, device)| FileIdentity { device, inode }),
                        };
                        self.visit(folder.join(&name.text), rest, depth, hinted);
                    }
                }
            }
            Part::AnyFolders => self.any_folders(folder, parts, rest, depth),
        }
    }

    /// `**`: no folder, or each folder here and in turn what is in it.
    fn any_folders(&mut self, folder: &Path, parts: &[Part], rest: &[Part], depth: usize) {
        self.part(folder, rest, depth);
        if depth == FOLDER_DEPTH_MAX {
            return;
        }
        for name in self.names(folder) {
            if name.file_inode.is_some() {
                continue;
            }
            let path = folder.join(&name.text);
            if self.left_out.takes_path(&path) {
                self.listing.n_excluded += 1;
                continue;
            }
            match self.disk.look(&path) {
                Ok(stat) if stat.kind == FileKind::Folder => self.part(&path, parts, depth + 1),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.listing.problems.push((path, error));
                }
                _ => {}
            }
        }
    }

    /// Whether a name that a glob in the midst of a pattern matches is a folder, or can't be looked at, which is said.
    fn is_folder(&mut self, folder: &Path, name: &Name) -> bool {
        name.file_inode.is_none()
            && self.disk.look(&folder.join(&name.text)).map_or_else(
                |error| error.kind() != io::ErrorKind::NotFound,
                |stat| stat.kind == FileKind::Folder,
            )
    }

    /// The device of a folder whose names may be files.
    fn device(&mut self, folder: &Path, rest: &[Part]) -> Option<u64> {
        let stat = rest.is_empty().then(|| self.disk.look(folder));
        stat?.ok().map(|stat| stat.identity.device)
    }

    fn names(&mut self, folder: &Path) -> Vec<Name> {
        match self.disk.names(folder) {
            Ok(names) => {
                self.listing.folders.push(folder.to_owned());
                names
            }
            Err(error) => {
                self.listing.problems.push((folder.to_owned(), error));
                Vec::new()
            }
        }
    }

    fn visit(&mut self, path: PathBuf, rest: &[Part], depth: usize, hinted: Hinted) {
        if !rest.is_empty() {
            match self.left_out.takes_path(&path) {
                true => self.listing.n_excluded += 1,
                false => self.part(&path, rest, depth),
            }
            return;
        }
        if is_ignored(&path) {
            return;
        }
        if self.left_out.takes_file(&path) {
            self.listing.n_excluded += 1;
            return;
        }
        let believed = hinted
            .identity
            .and_then(|identity| (self.known)(&path).filter(|known| known.identity == identity));
        let looked = match believed {
            Some(stat) => Ok(stat),
            None => self.disk.look(&path),
        };
        match looked {
            Ok(stat) if stat.kind == FileKind::File => self.listing.files.push(Found {
                path: path.into(),
                stat,
                is_link: (hinted.identity == Some(stat.identity)).then_some(false),
            }),
            Ok(_) => {}
            // Gone between listing and looking, a dangling link, or not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent()
                    && self.disk.look(folder).is_err()
                {
                    self.listing.problems.push((folder.to_owned(), error));
                }
            }
            Err(error) => self.listing.problems.push((path, error)),
        }
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
        found_without(folder, patterns, &[])
    }

    /// The files that patterns below a folder name, without what is excluded; paths of that are below it too.
    fn found_without(folder: &Path, patterns: &[&str], excluded: &[&str]) -> Vec<String> {
        let below = |pattern: &str| {
            let parsed = pattern::parse(&format!("{}/{pattern}", folder.display()), Path::new("/"));
            parsed.unwrap().absolute
        };
        let patterns: Vec<String> = patterns.iter().flat_map(|pattern| below(pattern)).collect();
        let excluded: Vec<Excluded> = excluded
            .iter()
            .flat_map(|glob| match glob.contains('/') {
                true => below(glob).into_iter().map(Excluded::Path).collect(),
                false => vec![Excluded::Name((*glob).to_owned())],
            })
            .collect();
        let patterns = Patterns::new(patterns.iter().map(String::as_str)).unwrap();
        let patterns = patterns.without(&excluded).unwrap();
        let listing = patterns.walk(&mut OsDisk, |_| None);
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

    /// P-EXCLUDE: A file is not followed while its name, its path, or the path of a folder it is in matches `exclude`.
    #[test]
    fn what_is_excluded_isnt_found() {
        let folder = tree(&[
            "a.log",
            "a.tmp",
            "old/a.log",
            "old/deep/a.log",
            "new/a.log",
            "new/old/a.log",
        ]);
        let all = [
            "a.log",
            "new/a.log",
            "new/old/a.log",
            "old/a.log",
            "old/deep/a.log",
        ];
        for (excluded, expected) in [
            (vec![], all.to_vec()),
            (vec!["*.tmp"], all.to_vec()),
            (vec!["old"], all.to_vec()),
            (vec!["a.log"], vec![]),
            (vec!["./old"], vec!["a.log", "new/a.log", "new/old/a.log"]),
            (
                vec!["./old/**"],
                vec!["a.log", "new/a.log", "new/old/a.log"],
            ),
            (vec!["**/old/*"], vec!["a.log", "new/a.log"]),
            (vec!["**/old"], vec!["a.log", "new/a.log"]),
            (vec!["./{old/deep,new}"], vec!["a.log", "old/a.log"]),
            (
                vec!["./*.log", "./new"],
                vec!["old/a.log", "old/deep/a.log"],
            ),
            (vec!["./**/a.log"], vec![]),
        ] {
            let found = found_without(folder.path(), &["**/*.log"], &excluded);
            assert_eq!(found, expected, "{excluded:?}");
        }
        let patterns = [format!("{}/*", folder.path().display())];
        let patterns = Patterns::new(patterns.iter().map(String::as_str)).unwrap();
        let nothing = patterns
            .without(&[Excluded::Name("a.*".to_owned())])
            .unwrap();
        let listing = nothing.walk(&mut OsDisk, |_| None);
        assert_eq!((listing.files.len(), listing.n_excluded), (0, 2));
    }

    /// A disk that counts looks at paths.
    #[derive(Default)]
    struct Counting {
        n_looks: usize,
    }

    impl Disk for Counting {
        type File = std::fs::File;

        fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
            OsDisk.names(folder)
        }

        fn look(&mut self, path: &Path) -> io::Result<FileStat> {
            self.n_looks += 1;
            OsDisk.look(path)
        }

        fn open(&mut self, path: &Path) -> io::Result<std::fs::File> {
            OsDisk.open(path)
        }

        fn share(&mut self, file: &std::fs::File) -> io::Result<std::fs::File> {
            OsDisk.share(file)
        }

        fn look_at(&mut self, file: &std::fs::File) -> io::Result<FileStat> {
            OsDisk.look_at(file)
        }

        fn is_link(&mut self, path: &Path) -> bool {
            OsDisk.is_link(path)
        }

        fn tells_of(&mut self, path: &Path) -> bool {
            OsDisk.tells_of(path)
        }

        fn clock_ms(&mut self) -> i64 {
            OsDisk.clock_ms()
        }

        fn read_at(
            &mut self,
            file: &std::fs::File,
            offset: u64,
            into: &mut [u8],
        ) -> io::Result<usize> {
            OsDisk.read_at(file, offset, into)
        }
    }

    #[test]
    fn followed_files_are_found_without_a_look_until_their_name_is_anothers() {
        let folder = tree(&["1.log", "2.log", "3.log"]);
        std::os::unix::fs::symlink("1.log", folder.path().join("4.log")).unwrap();
        let pattern = format!("{}/*.log", folder.path().display());
        let patterns = Patterns::new([pattern.as_str()]).unwrap();
        let first = patterns.walk(&mut OsDisk, |_| None).files;
        let known = |path: &Path| {
            let found = first.iter().find(|found| *found.path == *path);
            found.map(|found| found.stat)
        };
        let walk = || {
            let mut disk = Counting::default();
            let files = patterns.walk(&mut disk, known).files;
            (files, disk.n_looks)
        };
        // The folder, and the link.
        assert_eq!(walk(), (first.clone(), 2));

        std::fs::rename(folder.path().join("3.log"), folder.path().join("2.log")).unwrap();
        std::fs::write(folder.path().join("5.log"), "").unwrap();
        let (files, n_looks) = walk();
        assert_eq!(n_looks, 4);
        let looked = patterns.walk(&mut OsDisk, |_| None).files;
        assert_eq!(files, looked);
    }

    /// A folder in the midst of a pattern is watched for what is to come there; a file in the place of one is no trouble.
    #[test]
    fn folders_in_the_midst_of_a_pattern_are_watched_and_files_there_passed_over() {
        let folder = tree(&["srv/a/log/x.log", "srv/b/other", "srv/file"]);
        std::os::unix::fs::symlink("file", folder.path().join("srv/link")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("srv/z")).unwrap();
        let pattern = format!("{}/srv/*/log/*.log", folder.path().display());
        let patterns = Patterns::new([pattern.as_str()]).unwrap();
        let listing = patterns.walk(&mut OsDisk, |_| None);
        let relative = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().to_owned();
        let watched: Vec<_> = listing.folders.iter().map(relative).collect();
        let expected = ["srv", "srv/a", "srv/a/log", "srv/b", "srv/z", "srv/z/log"];
        assert_eq!(watched, expected.map(PathBuf::from));
        let problems: Vec<_> = listing
            .problems
            .iter()
            .map(|(path, _)| relative(path))
            .collect();
        assert_eq!(problems, [PathBuf::from("srv/b/log")]);
        assert_eq!(listing.files.len(), 1);
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
            Patterns::new([pattern.as_str()])
                .unwrap()
                .walk(&mut OsDisk, |_| None)
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
