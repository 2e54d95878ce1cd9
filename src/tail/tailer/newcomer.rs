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
use crate::tail::cursor::{Cursor, FINGERPRINT_BYTES, short_hash};
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
/// Followed files that are read for the sake of one new file, unless another one did so in the same turn.
const HEADS_MAX: usize = 256;

/// How a followed file began in this turn.
pub(super) struct Head {
    size: u64,
    /// Up to [`FINGERPRINT_BYTES`].
    bytes: Vec<u8>,
}

/// Since which turn the longest followed file is, or since an earlier one: those that are followed no more are
/// noticed only when it matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oldest {
    since: u64,
    /// The turn in which all files were asked last.
    asked_in: u64,
}

impl Default for Oldest {
    fn default() -> Oldest {
        Oldest {
            since: u64::MAX,
            asked_in: 0,
        }
    }
}

impl Oldest {
    /// A file is followed from now on that is of this turn.
    pub(super) fn admit(&mut self, since_turn: u64) {
        self.since = self.since.min(since_turn);
    }
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
        if self.is_sought(identity, now) {
            self.poll_at(id, now + COPY_LOOK_INTERVAL);
            return true;
        }
        let is_among_the_first = self.is_none_older_than(since_turn);
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        let waited = now.saturating_duration_since(cursor.changed_at.max(cursor.followed_at));
        let waited_in_all = now.saturating_duration_since(cursor.followed_at);
        let mut heads = std::mem::take(&mut self.heads);
        let likeness = match is_among_the_first {
            true => Ok(Likeness::Nobody),
            false => self.likeness(cursor, &mut heads, disk),
        };
        self.heads = heads;
        // Where it can't be read now it is found out when it can.
        let Ok(likeness) = likeness else {
            return false;
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

    /// Whether no file is followed for longer than one of this turn: ten thousand that are there at the start need no
    /// comparisons. All of them are asked only where what is known doesn't say so, and once a turn; a file that was let
    /// go of since then costs comparisons, and no more.
    fn is_none_older_than(&mut self, since_turn: u64) -> bool {
        if self.oldest.since < since_turn && self.oldest.asked_in != self.n_turns {
            let all = self.cursors.values().map(|cursor| cursor.since_turn);
            self.oldest = Oldest {
                since: all.min().unwrap_or(u64::MAX),
                asked_in: self.n_turns,
            };
        }
        self.oldest.since >= since_turn
    }

    /// Whether no file is followed for longer than is known.
    #[cfg(test)]
    pub(in crate::tail) fn knows_its_oldest(&self) -> bool {
        let all = self.cursors.values().map(|cursor| cursor.since_turn);
        all.min().is_none_or(|since| self.oldest.since <= since)
    }

    /// Compares a new file with those that were there before it. What they are known to begin with, and the heads that
    /// were read for others, decide of most of them: many files that come at once cost each followed one a read.
    fn likeness(
        &self,
        new: &Cursor<Body<D::File>>,
        heads: &mut HashMap<CursorId, Head>,
        disk: &mut WithGzip<'_, D>,
    ) -> io::Result<Likeness> {
        let Some(file) = &new.file else {
            return Ok(Likeness::Nobody);
        };
        let size = disk.look_at(file)?.size;
        let mut beginning = vec![0; COMPARED_BYTES];
        let n = disk.read_at(file, 0, &mut beginning)?;
        beginning.truncate(n);
        let mut hashes = HashMap::new();
        let n_heads_max = heads.len() + HEADS_MAX;
        for source in self.cursors.values() {
            let may_be_copied = source.since_turn < new.since_turn
                && source.identity != new.identity
                && source.rotated_at.is_none()
                && source.is_named;
            let Some(source_file) = source.file.as_ref().filter(|_| may_be_copied) else {
                continue;
            };
            let len = source.fingerprint.len;
            let begins_alike = len > 0 && u64::from(len) <= size;
            if begins_alike {
                let known = hashes
                    .entry(len)
                    .or_insert_with(|| beginning.get(..len as usize).map(short_hash));
                if *known != Some(source.fingerprint.hash) {
                    continue;
                }
            } else {
                if !heads.contains_key(&source.id) {
                    if heads.len() == n_heads_max {
                        continue;
                    }
                    // What can't be read now says nothing; in doubt the new file is sent.
                    let Ok(head) = Head::of(source_file, disk) else {
                        continue;
                    };
                    heads.insert(source.id, head);
                }
                if heads
                    .get(&source.id)
                    .is_some_and(|head| head.is_other_than(&beginning, source))
                {
                    continue;
                }
            }
            match compare(&beginning, size, source, source_file, begins_alike, disk) {
                Ok(Likeness::Nobody) | Err(_) => {}
                Ok(likeness) => return Ok(likeness),
            }
        }
        Ok(Likeness::Nobody)
    }
}

impl Head {
    fn of<D: Disk>(file: &D::File, disk: &mut D) -> io::Result<Head> {
        let size = disk.look_at(file)?.size;
        let mut bytes = vec![0; size.min(u64::from(FINGERPRINT_BYTES)) as usize];
        let n = disk.read_at(file, 0, &mut bytes)?;
        bytes.truncate(n);
        Ok(Head { size, bytes })
    }

    /// Whether a file that begins so can't be a copy of this one, which is as it was at the last look: it goes on otherwise,
    /// or beyond its end.
    fn is_other_than<F>(&self, beginning: &[u8], source: &Cursor<F>) -> bool {
        let n = beginning.len().min(FINGERPRINT_BYTES as usize);
        self.size >= source.size.max(source.read) && self.bytes.get(..n) != beginning.get(..n)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::tail::testing::{MemoryDisk, read_all, rules_of};

    /// Operations on the disk that it costs to read so many short files that come at once, beside as many that are there.
    fn n_operations(n_files: usize, is_long: bool) -> usize {
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}]}"#;
        let rules = rules_of(text);
        let mut now = Instant::now();
        let mut tailer = Tailer::new(rules, FlowPlaces::default(), now);
        let mut disk = MemoryDisk::default();
        let mut turn = |disk: &mut MemoryDisk| {
            now += Duration::from_secs(15);
            read_all(&mut tailer, now, disk)
        };
        for n in 0..n_files {
            let end = if is_long { 2 * FINGERPRINT_BYTES } else { 30 };
            let text = format!("old {n:06} {:x<width$}\n", "", width = end as usize);
            disk.append(&format!("/l/old{n}.log"), text.as_bytes());
        }
        assert_eq!(turn(&mut disk), n_files);
        let before = disk.n_operations;
        for n in 0..n_files {
            disk.append(
                &format!("/l/new{n}.log"),
                format!("new {n:06}\n").as_bytes(),
            );
        }
        assert_eq!(turn(&mut disk), n_files);
        disk.n_operations - before
    }

    #[test]
    fn files_that_come_at_once_are_compared_without_reading_each_with_each() {
        const N_FILES: usize = 800;
        for is_long in [true, false] {
            let n_each = n_operations(N_FILES, is_long) / N_FILES;
            assert!(n_each < 20, "{n_each} operations a file");
        }
    }
}
