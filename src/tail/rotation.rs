//! What happened to the files of a flow between two looks: a pure function from the old view and the new one to moves.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::discover::Found;
use crate::checkpoint::FileIdentity;
use crate::record::CursorId;

/// A followed file, as it was at the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: CursorId,
    pub identity: FileIdentity,
    /// `None` once no path leads to it any more.
    pub path: Option<Arc<Path>>,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The file has another name now.
    Renamed { id: CursorId, to: Arc<Path> },
    /// No name that the patterns match leads to it: it is read to its end by the handle that is held.
    Vanished { id: CursorId },
    /// A file that isn't followed yet.
    Appeared { found: Found },
}

/// Compares what is followed with what a walk found. Moves come in the order: renames, those that vanished, then new
/// files with the oldest first. A file that still has the name it is known by keeps it, whatever `other_names` it got.
pub fn plan(
    known: &[Known],
    found: &[Found],
    other_names: &HashSet<(FileIdentity, Arc<Path>)>,
) -> Vec<Move> {
    let is_still_called = |known: &Known, found: &Found| {
        known.path.as_ref().is_some_and(|path| {
            *path == found.path || other_names.contains(&(known.identity, Arc::clone(path)))
        })
    };
    let by_identity: HashMap<FileIdentity, &Found> = found
        .iter()
        .map(|found| (found.stat.identity, found))
        .collect();
    let followed: HashSet<FileIdentity> = known.iter().map(|known| known.identity).collect();
    let mut moves = Vec::new();
    for known in known {
        if let Some(found) = by_identity.get(&known.identity)
            && !is_still_called(known, found)
        {
            moves.push(Move::Renamed {
                id: known.id,
                to: Arc::clone(&found.path),
            });
        }
    }
    let is_gone =
        |known: &&Known| known.path.is_some() && !by_identity.contains_key(&known.identity);
    moves.extend(
        known
            .iter()
            .filter(is_gone)
            .map(|known| Move::Vanished { id: known.id }),
    );
    let mut new: Vec<&Found> = found
        .iter()
        .filter(|found| !followed.contains(&found.stat.identity))
        .collect();
    new.sort_by(|a, b| (a.stat.modified_ms, &a.path).cmp(&(b.stat.modified_ms, &b.path)));
    moves.extend(new.into_iter().map(|found| Move::Appeared {
        found: found.clone(),
    }));
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::disk::{FileKind, FileStat};

    fn identity(inode: u64) -> FileIdentity {
        FileIdentity { device: 1, inode }
    }

    fn known(inode: u64, path: &str) -> Known {
        Known {
            id: CursorId(inode),
            identity: identity(inode),
            path: Some(Path::new(path).into()),
        }
    }

    fn found(inode: u64, path: &str) -> Found {
        let stat = FileStat {
            identity: identity(inode),
            kind: FileKind::File,
            size: 0,
            modified_ms: 100 - inode as i64,
            n_links: 1,
        };
        Found {
            path: Path::new(path).into(),
            stat,
        }
    }

    fn renamed(inode: u64, to: &str) -> Move {
        Move::Renamed {
            id: CursorId(inode),
            to: Path::new(to).into(),
        }
    }

    #[test]
    fn files_keep_their_cursors_whatever_they_are_called() {
        let vanished = |inode| Move::Vanished {
            id: CursorId(inode),
        };
        let appeared = |inode, path| Move::Appeared {
            found: found(inode, path),
        };
        for (story, known, found, expected) in [
            (
                "nothing happened",
                vec![known(1, "/a")],
                vec![found(1, "/a")],
                vec![],
            ),
            (
                "a rename in the pattern",
                vec![known(1, "/a")],
                vec![found(1, "/a.1"), found(2, "/a")],
                vec![renamed(1, "/a.1"), appeared(2, "/a")],
            ),
            (
                "a chain of renames",
                vec![known(1, "/a"), known(2, "/a.1")],
                vec![found(3, "/a"), found(1, "/a.1"), found(2, "/a.2")],
                vec![renamed(1, "/a.1"), renamed(2, "/a.2"), appeared(3, "/a")],
            ),
            (
                "a rename out of the pattern",
                vec![known(1, "/a")],
                vec![found(2, "/a")],
                vec![vanished(1), appeared(2, "/a")],
            ),
            (
                "new files, the oldest first",
                vec![],
                vec![found(1, "/a"), found(2, "/b")],
                vec![appeared(2, "/b"), appeared(1, "/a")],
            ),
        ] {
            assert_eq!(plan(&known, &found, &HashSet::new()), expected, "{story}");
        }
    }

    #[test]
    fn a_file_that_vanished_is_said_once_and_found_again() {
        let gone = Known {
            path: None,
            ..known(1, "/a")
        };
        let none = HashSet::new();
        assert_eq!(plan(std::slice::from_ref(&gone), &[], &none), []);
        assert_eq!(plan(&[gone], &[found(1, "/b")], &none), [renamed(1, "/b")]);
    }

    #[test]
    fn a_second_name_is_no_rename() {
        let others = HashSet::from([(identity(1), Path::new("/b").into())]);
        assert_eq!(plan(&[known(1, "/b")], &[found(1, "/a")], &others), []);
    }
}
