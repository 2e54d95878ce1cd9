//! What happened to the files of a flow between two looks: pure functions from the old view and the new one to moves
//! ([`plan`]), and from a content that lost its file to the files that may hold it now ([`candidates`]).

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::cursor::FINGERPRINT_BYTES;
use super::discover::Found;
use super::disk::{FileKind, FileStat};
use super::gzip::is_gzip;
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

/// How a content lost its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The file was cut off, or holds something else now.
    CutOff,
    /// No name leads to the file, and nobody holds it open.
    Gone,
}

/// A content that lost its file, as far as it was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remnant {
    pub loss: Loss,
    pub identity: FileIdentity,
    pub path: Arc<Path>,
    /// First byte that wasn't read.
    pub read: u64,
    /// At the last look.
    pub size: u64,
    pub modified_ms: i64,
    /// Offsets up to which a copy can be recognised, in order.
    pub mark_ends: Vec<u64>,
}

/// A file that may hold what was in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub path: Arc<Path>,
    pub stat: FileStat,
    pub standing: Standing,
}

/// What is known of a sighted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The patterns name it, and nothing was read of it yet.
    New,
    /// It is followed for its own sake.
    Known,
    /// The patterns don't name it.
    Outside,
}

/// A sighted file, to be probed: it holds the content if its first bytes up to `until` have the remnant's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub sighting: Sighting,
    pub until: u64,
}

/// The files to be probed for a remnant, the likeliest first. That one begins alike is no reason: it must have appeared
/// or be of the remnant's time, and then the probe decides.
///
/// Rotated files are called after what they were: those of several logs in one folder may all begin with the same header.
/// A copy is written after the last byte of its source, so the first one made after the last look is the remnant's, and
/// later ones are of later contents. Older ones, where the clock may have jumped, and those of another name count only if
/// their hash says much.
pub fn candidates(remnant: &Remnant, sightings: &[Sighting]) -> Vec<Candidate> {
    let is_itself = |sighting: &Sighting| sighting.stat.identity == remnant.identity;
    let was_cut_off =
        |sighting: &Sighting| is_itself(sighting) && sighting.stat.size < remnant.read;
    let loss = match sightings.iter().any(was_cut_off) {
        true => Loss::CutOff,
        false => remnant.loss,
    };
    let is_itself = |sighting: &Sighting| loss == Loss::Gone && is_itself(sighting);
    let is_older = |sighting: &Sighting| {
        sighting.stat.modified_ms < remnant.modified_ms.saturating_sub(CLOCK_SLACK_MS)
    };
    let mut chosen: Vec<Candidate> = sightings
        .iter()
        .filter(|sighting| sighting.stat.kind == FileKind::File && sighting.stat.size > 0)
        .filter_map(|sighting| {
            let until = recognisable(remnant, sighting)?;
            let may_be = is_itself(sighting)
                || match (sighting.standing, loss) {
                    (Standing::Known, _) => false,
                    (_, Loss::CutOff) if sighting.stat.identity == remnant.identity => false,
                    (Standing::New, Loss::CutOff) => true,
                    (Standing::New, Loss::Gone) => was_moved(remnant, sighting),
                    (Standing::Outside, Loss::Gone) if sighting.path == remnant.path => false,
                    (Standing::Outside, _) => {
                        let is_related = kinship(&remnant.path, &sighting.path) != Kinship::None;
                        (is_related && !is_older(sighting)) || until >= DISTINCT_BYTES
                    }
                };
            may_be.then(|| Candidate {
                sighting: sighting.clone(),
                until,
            })
        })
        .collect();
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    chosen.sort_by_key(|Candidate { sighting, .. }| {
        (
            !is_itself(sighting),
            kinship(&remnant.path, &sighting.path),
            is_older(sighting),
            sighting.stat.modified_ms.abs_diff(remnant.modified_ms),
            sighting.standing != Standing::New,
            is_gzip(&sighting.path),
            folder(&sighting.path) != folder(&remnant.path),
            Arc::clone(&sighting.path),
        )
    });
    chosen.truncate(CANDIDATES_MAX);
    chosen
}

/// Up to where the file can be compared: a gzip as far as was read, since its size says nothing.
fn recognisable(remnant: &Remnant, sighting: &Sighting) -> Option<u64> {
    let size = match is_gzip(&sighting.path) {
        true => u64::MAX,
        false => sighting.stat.size,
    };
    let ends = remnant.mark_ends.iter().rev().copied();
    let mut in_reach = ends.filter(|end| *end <= size);
    // Of what wasn't read, or not acknowledged beyond the first read of the run before, only the beginning is known.
    let beginning = remnant.mark_ends.is_empty().then_some(0);
    in_reach.next().or(beginning)
}

/// How a rotated file is called after the one that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kinship {
    /// `app.log.1`
    Whole,
    /// `app-20261121.log`
    Stem,
    None,
}

/// Whether a file may be another under the name that it was rotated to, such as `app.log.1`.
pub fn is_called_after(of: &Path, path: &Path) -> bool {
    kinship(of, path) == Kinship::Whole && !is_gzip(path)
}

fn kinship(of: &Path, path: &Path) -> Kinship {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .as_encoded_bytes()
            .to_owned()
    };
    let (whole, other) = (name(of), name(path));
    let stem = whole.split(|byte| *byte == b'.').next().unwrap_or_default();
    if other.starts_with(&whole) {
        Kinship::Whole
    } else if !stem.is_empty() && other.starts_with(stem) {
        Kinship::Stem
    } else {
        Kinship::None
    }
}

/// Moved over to another device: a file of the same size and time under another name, whose source is gone.
fn was_moved(remnant: &Remnant, sighting: &Sighting) -> bool {
    sighting.path != remnant.path
        && sighting.stat.size == remnant.size
        && sighting.stat.modified_ms == remnant.modified_ms
}

/// File systems and archivers round modification times to two seconds.
const CLOCK_SLACK_MS: i64 = 2_000;
/// A hash of so many bytes tells one log from another whatever the clock says; a header line's doesn't.
const DISTINCT_BYTES: u64 = FINGERPRINT_BYTES as u64;
/// The most files that are probed for one remnant.
const CANDIDATES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

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
            is_link: None,
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

    const SECOND_MS: i64 = 1000;

    /// `/logs/a` of 100 bytes, of which 90 were read, last written to at the time of 50 s.
    fn remnant(loss: Loss) -> Remnant {
        Remnant {
            loss,
            identity: identity(1),
            path: Path::new("/logs/a").into(),
            read: 90,
            size: 100,
            modified_ms: 50 * SECOND_MS,
            mark_ends: vec![40, 90],
        }
    }

    fn sighting(inode: u64, path: &str, size: u64, seconds: i64, standing: Standing) -> Sighting {
        let mut found = found(inode, path);
        (found.stat.size, found.stat.modified_ms) = (size, seconds * SECOND_MS);
        Sighting {
            path: found.path,
            stat: found.stat,
            standing,
        }
    }

    #[test]
    fn a_copy_is_looked_for_where_it_can_be() {
        use Loss::*;
        use Standing::*;
        for (story, loss, sighting, until) in [
            (
                "a copy",
                CutOff,
                sighting(2, "/logs/a.1", 100, 51, New),
                Some(90),
            ),
            (
                "elsewhere",
                CutOff,
                sighting(2, "/old/a", 100, 51, Outside),
                Some(90),
            ),
            (
                "made before all was read",
                CutOff,
                sighting(2, "/logs/a.1", 80, 51, New),
                Some(40),
            ),
            (
                "too short to tell",
                CutOff,
                sighting(2, "/logs/a.1", 30, 51, New),
                None,
            ),
            (
                "the file itself",
                CutOff,
                sighting(1, "/logs/a", 100, 51, New),
                None,
            ),
            (
                "a file of its own",
                CutOff,
                sighting(2, "/logs/a.1", 100, 51, Known),
                None,
            ),
            (
                "last week's",
                CutOff,
                sighting(2, "/logs/a.9", 100, 20, Outside),
                None,
            ),
            (
                "compressed",
                CutOff,
                sighting(2, "/logs/a.1.gz", 9, 50, Outside),
                Some(90),
            ),
            (
                "compressed",
                Gone,
                sighting(2, "/logs/a.1.gz", 9, 50, Outside),
                Some(90),
            ),
            (
                "last week's, compressed",
                Gone,
                sighting(2, "/logs/a.9.gz", 9, 20, Outside),
                None,
            ),
            (
                "under another name",
                Gone,
                sighting(1, "/old/a", 100, 50, Known),
                Some(90),
            ),
            (
                "begins alike",
                Gone,
                sighting(2, "/logs/b", 100, 51, New),
                None,
            ),
            (
                "equal, made anew",
                Gone,
                sighting(2, "/logs/a", 100, 50, New),
                None,
            ),
            (
                "moved",
                Gone,
                sighting(2, "/logs/b", 100, 50, New),
                Some(90),
            ),
        ] {
            let found = candidates(&remnant(loss), std::slice::from_ref(&sighting));
            let found = found.first().map(|candidate| candidate.until);
            assert_eq!(found, until, "{story}: {sighting:?}");
        }
    }

    #[test]
    fn of_several_the_first_copy_after_the_last_look_is_the_likeliest() {
        let all = [
            sighting(2, "/logs/a.1", 100, 70, Standing::Outside),
            sighting(3, "/logs/a.2", 100, 60, Standing::Outside),
            sighting(4, "/logs/a.3.gz", 50, 55, Standing::Outside),
            sighting(5, "/old/a.3", 100, 55, Standing::Outside),
            sighting(6, "/logs/a.0", 100, 60, Standing::New),
        ];
        let ranked = candidates(&remnant(Loss::CutOff), &all);
        let paths: Vec<_> = ranked
            .iter()
            .map(|candidate| candidate.sighting.path.to_str().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "/old/a.3",
                "/logs/a.3.gz",
                "/logs/a.0",
                "/logs/a.2",
                "/logs/a.1"
            ]
        );
    }

    #[test]
    fn where_the_clock_jumped_a_long_hash_counts_and_a_short_one_does_not() {
        let older = sighting(2, "/logs/a.1", 9000, 1, Standing::Outside);
        let mut remnant = remnant(Loss::CutOff);
        assert_eq!(candidates(&remnant, std::slice::from_ref(&older)), []);
        (remnant.read, remnant.mark_ends) = (8000, vec![8000]);
        assert_eq!(candidates(&remnant, &[older]).len(), 1);
    }
}
