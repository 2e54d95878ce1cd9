//! Whether a candidate holds a content: its bytes are hashed, so many a turn, and compared with what was read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::search::{Hope, Search, Stage};
use crate::tail::cursor::{Cursor, HASHED_BYTES, fingerprint_of};
use crate::tail::disk::Disk;
use crate::tail::gzip::is_gzip;
use crate::tail::hash::RunningHash;
use crate::tail::mark::Mark;
use crate::tail::rotation::{Candidate, Sighting};

/// A candidate's bytes, hashed as far as they were.
pub(super) struct Probe<F> {
    pub(super) candidate: Candidate,
    body: F,
    mark: Option<Mark>,
    hash: RunningHash,
}

/// What a probe came to.
enum Probed {
    Same,
    Other,
    /// There is more to be hashed.
    Goes,
    /// It can't be told now.
    Unknown(io::Error),
}

/// What a turn may still do.
pub(super) struct Left {
    pub(super) n_bytes: u64,
    pub(super) n_probes: usize,
}

/// A file that holds the content.
pub(super) struct Copy<F> {
    pub(super) candidate: Candidate,
    pub(super) body: F,
}

impl<F> Copy<F> {
    /// Of two copies that hold what was read the longer was made last: it has the rest.
    fn has_more_than(&self, other: &Copy<F>, disk: &mut impl Disk<File = F>) -> io::Result<bool> {
        let [own, others] = [self, other].map(|copy| &copy.candidate.sighting);
        let mut byte = [0];
        if !is_gzip(&others.path) {
            return Ok(disk.read_at(&self.body, others.stat.size, &mut byte)? > 0);
        }
        let last = own.stat.size.saturating_sub(1);
        Ok(disk.read_at(&other.body, last, &mut byte)? == 0)
    }
}

/// What probing came to.
pub(super) enum Found<F> {
    Copy(Box<Copy<F>>),
    /// This turn has done enough.
    NotYet,
    Nothing,
}

/// Probes one candidate after the other, as far as this turn may.
pub(super) fn probe_on<D: Disk>(
    search: &mut Search<D::File>,
    left: &mut Left,
    open: impl Fn(&Sighting, &mut D) -> io::Result<(D::File, Arc<Path>)>,
    disk: &mut D,
) -> Found<D::File> {
    let Stage::Probing {
        candidates,
        probe,
        found,
    } = &mut search.stage
    else {
        return Found::NotYet;
    };
    loop {
        if probe.is_none() {
            let Some(mut candidate) = candidates.front().cloned() else {
                return found.take().map_or(Found::Nothing, Found::Copy);
            };
            if left.n_probes == 0 {
                return Found::NotYet;
            }
            left.n_probes -= 1;
            let opened = open(&candidate.sighting, disk).and_then(|(body, path)| {
                candidate.sighting.path = path;
                begin_probe(&search.cursor, candidate, body, disk)
            });
            candidates.pop_front();
            match opened {
                Ok(Some(opened)) => *probe = Some(Box::new(opened)),
                Ok(None) => {}
                Err(error) => {
                    search.was_outrun |= error.kind() == io::ErrorKind::NotFound;
                    search.hope = search.hope.max(hope_after(&error));
                }
            }
            continue;
        }
        let Some(mut current) = probe.take() else {
            continue;
        };
        match hash_on(&mut current, left, disk) {
            Probed::Same => {
                let Probe {
                    candidate, body, ..
                } = *current;
                let copy = Copy { candidate, body };
                candidates.retain(|other| may_have_more(&other.sighting, &copy.candidate.sighting));
                let is_best = found.as_ref().map(|found| copy.has_more_than(found, disk));
                match is_best {
                    None | Some(Ok(true)) => *found = Some(Box::new(copy)),
                    Some(Ok(false)) => {}
                    Some(Err(error)) => search.hope = search.hope.max(hope_after(&error)),
                }
            }
            Probed::Other => {}
            Probed::Unknown(error) => search.hope = search.hope.max(hope_after(&error)),
            Probed::Goes => {
                *probe = Some(current);
                return Found::NotYet;
            }
        }
    }
}

/// Whether another file may hold more of the same content than a copy that was found. A gzip's size tells nothing.
fn may_have_more(other: &Sighting, copy: &Sighting) -> bool {
    match (is_gzip(&other.path), is_gzip(&copy.path)) {
        (true, true) => false,
        (false, false) => other.stat.size > copy.stat.size,
        _ => true,
    }
}

/// Compares a candidate's beginning; `None` if that is another's.
fn begin_probe<D: Disk>(
    cursor: &Cursor<D::File>,
    candidate: Candidate,
    body: D::File,
    disk: &mut D,
) -> io::Result<Option<Probe<D::File>>> {
    let mark = cursor.mark_before(candidate.until);
    // So much of the beginning as is known, and as must be there.
    let len = cursor.fingerprint.len;
    let is_known = len > 0 && (mark.is_none() || u64::from(len) <= candidate.until);
    if is_known && fingerprint_of(disk, &body, len)? != Some(cursor.fingerprint) {
        return Ok(None);
    }
    let running = mark.and_then(|mark| mark.running);
    if !is_known && running.is_none() {
        return Ok(None);
    }
    let start = running.map_or(candidate.until, |running| running.start);
    Ok(Some(Probe {
        candidate,
        body,
        mark,
        hash: RunningHash::starting_at(start),
    }))
}

/// Whether the file may be readable later. One that isn't a gzip for all its name stays so.
fn hope_after(error: &io::Error) -> Hope {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Hope::None,
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Hope::ForAWhile,
        _ => Hope::WhileRefused,
    }
}

/// Hashes what this turn may; at the end the hash and what stands before it decide.
fn hash_on<D: Disk>(probe: &mut Probe<D::File>, left: &mut Left, disk: &mut D) -> Probed {
    let mut buffer = vec![0; HASHED_BYTES];
    while probe.hash.end < probe.candidate.until {
        if left.n_bytes == 0 {
            return Probed::Goes;
        }
        let missing = probe.candidate.until - probe.hash.end;
        let n = missing.min(left.n_bytes).min(HASHED_BYTES as u64) as usize;
        match disk.read_at(&probe.body, probe.hash.end, &mut buffer[..n]) {
            Ok(0) => return Probed::Other,
            Ok(n) => {
                probe.hash.update(&buffer[..n]);
                left.n_bytes = left.n_bytes.saturating_sub(n as u64);
            }
            Err(error) => return Probed::Unknown(error),
        }
    }
    let Some(mark) = probe.mark else {
        return Probed::Same;
    };
    if mark.running.is_some_and(|running| running != probe.hash) {
        return Probed::Other;
    }
    match mark.is_in(disk, &probe.body) {
        Ok(true) => Probed::Same,
        Ok(false) => Probed::Other,
        Err(error) => Probed::Unknown(error),
    }
}
