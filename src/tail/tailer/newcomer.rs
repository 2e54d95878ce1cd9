//! Whether a file that has just come may be read from its beginning, or may be a copy of another.
//!
//! Whoever rotates by copying writes the copy first and cuts the source off afterwards. So a new file that is as far as
//! it goes as a followed one waits a little before its first byte is read. Only when its source is cut off meanwhile and
//! the hash agrees does it count as the copy ([`super::search`]); that it begins alike means nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Tailer;
use crate::record::CursorId;
use crate::tail::Event;
use crate::tail::cursor::{Cursor, fingerprint_of};
use crate::tail::disk::{Disk, FileStat};
use crate::tail::gzip::{Body, WithGzip};

/// How long a file that is as another is must not have grown before it is read: a rotation cuts the source off within
/// milliseconds of the copy's last byte.
pub const COPY_WAIT: Duration = Duration::from_secs(5);
/// The same in all, for a copy that takes its time; a large one is written at 100 MB/s or more.
pub const COPY_WAIT_MAX: Duration = Duration::from_secs(120);
/// How often it is looked at meanwhile.
const COPY_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// So much of two files is compared.
const COMPARED_BYTES: usize = 64 * 1024;
/// Followed files that a short new one is compared with, byte by byte.
const COMPARISONS_MAX: usize = 256;

/// Since which turn the longest followed file is, in that turn, while no later one than that number is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oldest {
    turn: u64,
    last_id: u64,
    since: u64,
}

/// What a new file is like.
enum Likeness {
    Nobody,
    /// As far as it goes it is as that one.
    Of(CursorId),
    /// That one was cut off or written anew and must be looked at first.
    Changed(CursorId),
}

impl<D: Disk> Tailer<D> {
    /// Whether nothing may be read of a file yet.
    pub(super) fn must_wait(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> bool {
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        if !cursor.is_new {
            return false;
        }
        let (identity, since_turn) = (cursor.identity, cursor.since_turn);
        if self.is_sought(identity) {
            self.poll_at(id, now + COPY_LOOK_INTERVAL);
            return true;
        }
        let is_among_the_first = self.oldest_since() >= since_turn;
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        let waited = now.saturating_duration_since(cursor.changed_at.max(cursor.followed_at));
        let waited_in_all = now.saturating_duration_since(cursor.followed_at);
        let likeness = match is_among_the_first {
            true => Likeness::Nobody,
            false => match self.likeness(cursor, disk) {
                Ok(likeness) => likeness,
                // Where it can't be read now it is found out when it can.
                Err(_) => return false,
            },
        };
        let is_late = waited >= COPY_WAIT || waited_in_all >= COPY_WAIT_MAX;
        let wait_for = match likeness {
            Likeness::Changed(source) => {
                self.poll_at(source, now);
                Some(source)
            }
            Likeness::Of(source) => Some(source),
            Likeness::Nobody => None,
        };
        if wait_for.is_some() && !is_late {
            self.poll_at(id, now + COPY_LOOK_INTERVAL);
        }
        let source_path = wait_for
            .and_then(|source| self.cursors.get(&source))
            .map(|source| Arc::clone(&source.path));
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        if wait_for.is_some()
            && cursor.suspected != wait_for
            && let Some(source) = source_path
        {
            self.events.push(Event::Suspected {
                path: Arc::clone(&cursor.path),
                source,
            });
        }
        cursor.suspected = wait_for;
        cursor.is_new = wait_for.is_some() && !is_late;
        cursor.is_new
    }

    /// The turn that the longest followed file is of: ten thousand that are there at the start need no comparisons.
    fn oldest_since(&mut self) -> u64 {
        let (turn, last_id) = (self.n_turns, self.next_id);
        let known = self
            .oldest
            .filter(|oldest| (oldest.turn, oldest.last_id) == (turn, last_id));
        let since = known.map_or_else(
            || self.cursors.values().map(|cursor| cursor.since_turn).min(),
            |oldest| Some(oldest.since),
        );
        let since = since.unwrap_or(turn);
        self.oldest = Some(Oldest {
            turn,
            last_id,
            since,
        });
        since
    }

    fn likeness(
        &self,
        new: &Cursor<Body<D::File>>,
        disk: &mut WithGzip<'_, D>,
    ) -> io::Result<Likeness> {
        let Some(file) = &new.file else {
            return Ok(Likeness::Nobody);
        };
        let size = disk.look_at(file)?.size;
        let mut beginning = vec![0; COMPARED_BYTES];
        let n = disk.read_at(file, 0, &mut beginning)?;
        beginning.truncate(n);
        let mut fingerprints = HashMap::new();
        let mut n_comparisons = 0;
        for source in self.cursors.values() {
            let may_be_copied = source.since_turn < new.since_turn
                && source.identity != new.identity
                && source.rotated_at.is_none()
                && source.is_named;
            let Some(source_file) = source.file.as_ref().filter(|_| may_be_copied) else {
                continue;
            };
            let len = source.fingerprint.len;
            let is_comparable = len > 0 && u64::from(len) <= size;
            if is_comparable {
                let known = match fingerprints.get(&len) {
                    Some(known) => *known,
                    None => {
                        let fingerprint = fingerprint_of(disk, file, len)?;
                        fingerprints.insert(len, fingerprint);
                        fingerprint
                    }
                };
                if known != Some(source.fingerprint) {
                    continue;
                }
            } else if n_comparisons == COMPARISONS_MAX {
                continue;
            } else {
                n_comparisons += 1;
            }
            // What can't be read now says nothing; in doubt the new file is sent.
            match compare(&beginning, size, source, source_file, is_comparable, disk) {
                Ok(Likeness::Nobody) | Err(_) => {}
                Ok(likeness) => return Ok(likeness),
            }
        }
        Ok(Likeness::Nobody)
    }
}

/// Compares the beginning of a new file with that of a followed one; `begins_alike` says that it begins as the content
/// did that was read of it.
fn compare<D: Disk>(
    beginning: &[u8],
    size: u64,
    source: &Cursor<D::File>,
    source_file: &D::File,
    begins_alike: bool,
    disk: &mut D,
) -> io::Result<Likeness> {
    let stat: FileStat = disk.look_at(source_file)?;
    let is_cut_off = stat.size < source.size.max(source.read);
    if is_cut_off {
        return Ok(Likeness::Changed(source.id));
    }
    let mut there = vec![0; beginning.len()];
    let mut filled = 0;
    while filled < there.len() {
        match disk.read_at(source_file, filled as u64, &mut there[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    if there[..filled] == *beginning {
        return Ok(match size <= stat.size {
            true => Likeness::Of(source.id),
            false => Likeness::Nobody,
        });
    }
    // What was looked at before it was read may have changed between.
    Ok(match begins_alike && !source.is_same(disk)? {
        true => Likeness::Changed(source.id),
        false => Likeness::Nobody,
    })
}
