//! One followed file: what it is, how far it was read, how far that is acknowledged.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::disk::{Disk, FileStat};
use super::hash::RunningHash;
use super::mark::{Extra, MARK_BYTES, Mark};
use super::planted;
use super::split::SplitState;
use crate::checkpoint::{FileIdentity, Fingerprint, Place, PlaceState};
use crate::record::CursorId;

/// How much of a file's beginning its fingerprint covers.
pub const FINGERPRINT_BYTES: u32 = 1024;
/// Marks that are kept of a file: the last acknowledged one for its place, and others that a copy may end behind.
const MARKS_MAX: usize = 8;
/// What is read at once to be hashed.
pub const HASHED_BYTES: usize = 64 * 1024;

/// A followed file, with its open handle `F`.
#[derive(Debug)]
pub struct Cursor<F> {
    pub id: CursorId,
    pub identity: FileIdentity,
    /// The name it has, or had last.
    pub path: Arc<Path>,
    /// Whether the patterns still lead to it.
    pub is_named: bool,
    /// `None` while it can't be opened.
    pub file: Option<F>,
    /// It gave its handle to others, or there was none left: it is opened by its path when it is to be read.
    pub is_parked: bool,
    /// It couldn't be read for want of a handle.
    pub awaits_handle: bool,
    /// The reason why it couldn't be opened or read at the last try.
    pub problem: Option<std::io::ErrorKind>,
    pub fingerprint: Fingerprint,
    /// What stands just before `read`; `None` until the open file was looked into.
    pub tail: Option<Mark>,
    /// Where records ended, in the order of the file: at most [`MARKS_MAX`], of the older ones fewer. The place keeps the
    /// last that is acknowledged.
    pub marks: VecDeque<Mark>,
    /// All that was read, up to `read` once the open file was looked into.
    pub running: RunningHash,
    /// First byte that wasn't handed on.
    pub read: u64,
    /// First byte that isn't acknowledged.
    pub acknowledged: u64,
    /// At the last look.
    pub size: u64,
    /// The same when it was last known to be the file that is read: what came since may be another's.
    pub known_size: u64,
    pub modified_ms: i64,
    pub n_links: u64,
    pub split: SplitState,
    /// Ends of the header lines that were left out, until they are acknowledged.
    pub header_ends: VecDeque<u64>,
    /// Header lines of a file read from its beginning.
    pub header_lines: u32,
    /// The line that names its columns, once it was read; only where that is needed.
    pub header: Option<Box<[u8]>>,
    /// Ranges of records that lost their end: no checkpoint may stand inside one. The last is open while its record is.
    pub cut_ranges: VecDeque<CutRange>,
    /// Since when its name is another's or nobody's.
    pub rotated_at: Option<Instant>,
    /// When it was last seen to have grown or to have been written to.
    pub changed_at: Instant,
    pub poll_at: Instant,
    pub poll_interval: Duration,
    /// The system tells when it is written to.
    pub is_hinted: bool,
    /// Nothing was known of it before, and nothing is read yet: it may turn out to be a copy of another.
    pub is_new: bool,
    /// The followed file that it may be a copy of.
    pub suspected: Option<CursorId>,
    pub followed_at: Instant,
    /// The turn that first saw something in it; 0 for one of the run before.
    pub since_turn: u64,
    /// In the queue of files to be read.
    pub is_queued: bool,
    /// Its opening was told.
    pub is_told: bool,
    /// Its place changed since it was last asked for.
    pub is_dirty: bool,
    /// It gave all it will.
    pub is_finished: bool,
}

/// A record of which the rest is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRange {
    pub start: u64,
    /// `None` while its end wasn't read.
    pub end: Option<u64>,
    /// It is a header line, of which nothing is sent.
    pub is_header: bool,
}

/// Where a new cursor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub offset: u64,
    pub split: SplitState,
}

impl<F> Cursor<F> {
    pub fn new(
        id: CursorId,
        path: Arc<Path>,
        stat: &FileStat,
        start: Start,
        header_lines: u32,
        now: Instant,
    ) -> Cursor<F> {
        Cursor {
            id,
            identity: stat.identity,
            path,
            is_named: true,
            file: None,
            is_parked: false,
            awaits_handle: false,
            problem: None,
            fingerprint: Fingerprint::default(),
            tail: None,
            marks: VecDeque::new(),
            running: RunningHash::starting_at(start.offset),
            read: start.offset,
            acknowledged: start.offset,
            size: stat.size,
            known_size: stat.size,
            modified_ms: stat.modified_ms,
            n_links: stat.n_links,
            split: start.split,
            header_ends: VecDeque::new(),
            header_lines,
            header: None,
            cut_ranges: VecDeque::new(),
            rotated_at: None,
            changed_at: now,
            poll_at: now,
            poll_interval: Duration::ZERO,
            is_hinted: false,
            is_new: false,
            suspected: None,
            followed_at: now,
            since_turn: 0,
            is_queued: false,
            is_told: false,
            is_dirty: true,
            is_finished: false,
        }
    }

    /// Everything below `offset` is acknowledged.
    pub fn acknowledge(&mut self, offset: u64) {
        if offset <= self.acknowledged {
            return;
        }
        self.acknowledged = offset;
        self.is_dirty = true;
        while self
            .cut_ranges
            .front()
            .is_some_and(|range| range.end.is_some_and(|end| end <= offset))
        {
            self.cut_ranges.pop_front();
        }
    }

    /// The last mark at or before `offset`.
    pub fn mark_before(&self, offset: u64) -> Option<Mark> {
        let is_before = |mark: &&Mark| mark.end <= offset;
        self.marks.iter().rev().find(is_before).copied()
    }

    /// Where reading goes on after a restart: at a record's beginning.
    pub fn resume_at(&self) -> u64 {
        match self.cut_ranges.front() {
            Some(range) if self.acknowledged > range.start => range.start,
            _ => self.acknowledged,
        }
    }

    /// Bytes that wait to be read or acknowledged.
    pub fn behind_bytes(&self) -> u64 {
        if self.split.is_over {
            0
        } else {
            self.size.saturating_sub(self.acknowledged)
        }
    }

    /// Bytes at its end that were read and are no whole record yet.
    pub fn unfinished_bytes(&self) -> u64 {
        let was_read = self.is_told && !self.is_queued && self.problem.is_none();
        match was_read && self.file.is_some() && !self.split.is_over {
            true => self.size.saturating_sub(self.read),
            false => 0,
        }
    }

    /// Header lines still to be left out of what stands behind `offset`.
    pub fn header_lines_left_at(&self, offset: u64) -> u32 {
        let is_done = |end: &&u64| **end <= offset;
        let n_done = self.header_ends.iter().filter(is_done).count() as u32;
        self.header_lines.saturating_sub(n_done)
    }

    /// What a checkpoint says of it.
    pub fn place(&self) -> Place {
        let offset = self.resume_at();
        let is_settled = self.acknowledged >= self.read;
        Place {
            path: self.path.to_path_buf(),
            identity: self.identity,
            fingerprint: self.fingerprint,
            offset,
            size: self.size,
            modified_ms: self.modified_ms,
            header_lines_left: self.header_lines_left_at(offset),
            state: match (self.split.is_over, self.is_finished) {
                (true, _) if is_settled => PlaceState::FooterReached,
                (_, true) if is_settled => PlaceState::Finished,
                _ => PlaceState::Live,
            },
            extra: Some(
                Extra {
                    mark: self.mark_before(offset),
                    is_rotated: self.rotated_at.is_some(),
                    is_given_up: false,
                }
                .to_bytes(),
            ),
        }
    }

    /// `read` and `running` moved on to where `mark` ends.
    pub fn moved_to(&mut self, mark: Mark) {
        let mark = mark.with(self.running);
        self.tail = Some(mark);
        // Nothing can be read on from within what is left out, and no bytes are like any others.
        if self.split.is_leaving_out() || mark.end == 0 {
            return;
        }
        if self.marks.back().is_some_and(|last| last.end == mark.end) {
            self.marks.pop_back();
        }
        if self.marks.len() >= MARKS_MAX {
            self.thin_marks();
        }
        self.marks.push_back(mark);
    }

    /// Every second mark goes, but for the one that the place keeps.
    fn thin_marks(&mut self) {
        let kept = self.mark_before(self.acknowledged);
        let mut is_odd = false;
        self.marks.retain(|mark| {
            is_odd = !is_odd;
            is_odd || Some(*mark) == kept
        });
    }

    /// Whether the open file is still the one that was read: it begins alike, and what stood before the marks does.
    ///
    /// Errors: it can't be read, which says nothing about what it is.
    pub fn is_same<D: Disk<File = F>>(&self, disk: &mut D) -> io::Result<bool> {
        match (&self.file, self.tail.or(self.mark_before(self.read))) {
            (Some(file), Some(mark)) if !mark.is_in(disk, file)? => Ok(false),
            _ => self.begins_alike(disk),
        }
    }

    /// Whether the open file begins as the one did that was read.
    pub fn begins_alike<D: Disk<File = F>>(&self, disk: &mut D) -> io::Result<bool> {
        let len = self.fingerprint.len;
        match &self.file {
            Some(file) if len > 0 && !planted::truncations_are_unseen() => {
                Ok(fingerprint_of(disk, file, len)? == Some(self.fingerprint))
            }
            _ => Ok(true),
        }
    }

    /// The file holds another content: the size at the last look may be that one's already.
    pub fn forget_unread_size(&mut self) {
        self.size = self.known_size.max(self.read);
    }

    /// Whether a file that looks so may be this one, as it was or grown.
    pub fn may_have_become(&self, stat: &FileStat) -> bool {
        stat.size >= self.size && stat.modified_ms >= self.modified_ms
    }

    /// Whether the first bytes of a file that are read at once may be those of the one that is followed, of which none was
    /// read yet.
    pub fn may_begin_with(&self, bytes: &[u8]) -> bool {
        let len = self.fingerprint.len;
        if self.read > 0 || len == 0 || planted::truncations_are_unseen() {
            return true;
        }
        let head = bytes.get(..len as usize);
        head.is_some_and(|head| short_hash(head) == self.fingerprint.hash)
    }

    /// Looks into the file that was just opened: what is known of it must hold, and what isn't known yet is noted. Whether
    /// it is the file that was read.
    pub fn get_acquainted<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<bool> {
        if !self.is_same(disk)? {
            return Ok(false);
        }
        if !self.catch_up_hash(disk)? {
            return Ok(false);
        }
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let mut before = vec![0; MARK_BYTES.min(self.read) as usize];
        let start = self.read - before.len() as u64;
        if !fill(disk, file, start, &mut before)? {
            return Ok(false);
        }
        // What is gone doesn't come back: if it is the same now, it was while all of this was read.
        if !self.is_same(disk)? {
            return Ok(false);
        }
        self.moved_to(Mark::of(self.read, &before));
        self.extend_fingerprint(disk)?;
        Ok(true)
    }

    /// Hashes what was read after the last mark of the run before, which is as much as can be in flight; whether it is all
    /// there.
    fn catch_up_hash<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<bool> {
        let known = self.mark_before(self.read).and_then(|mark| mark.running);
        let mut running = known.unwrap_or(RunningHash::starting_at(self.read));
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let n_bytes = self.read.saturating_sub(running.end);
        let mut buffer = vec![0; n_bytes.min(HASHED_BYTES as u64) as usize];
        while running.end < self.read {
            let n = (self.read - running.end).min(HASHED_BYTES as u64) as usize;
            if !fill(disk, file, running.end, &mut buffer[..n])? {
                return Ok(false);
            }
            running.update(&buffer[..n]);
        }
        self.running = running;
        Ok(true)
    }

    /// Makes the fingerprint cover as much of the file's beginning as was read, up to [`FINGERPRINT_BYTES`].
    pub fn extend_fingerprint<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        self.fingerprint_up_to(self.read, disk)
    }

    /// Makes it cover what is there of a file of which nothing was read, if it covers nothing yet: what came later may be
    /// another's.
    pub fn note_beginning<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        if self.fingerprint.len > 0 {
            return Ok(());
        }
        self.fingerprint_up_to(self.size, disk)
    }

    fn fingerprint_up_to<D: Disk<File = F>>(&mut self, end: u64, disk: &mut D) -> io::Result<()> {
        let len = u64::from(FINGERPRINT_BYTES).min(end) as u32;
        if len <= self.fingerprint.len {
            return Ok(());
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        if let Some(fingerprint) = fingerprint_of(disk, file, len)? {
            // It may have been written over since it was read: that is another content's beginning.
            if let Some(tail) = self.tail
                && !tail.is_in(disk, file)?
            {
                return Ok(());
            }
            self.fingerprint = fingerprint;
            self.is_dirty = true;
        }
        Ok(())
    }
}

/// The fingerprint of the file's first `len` bytes; `None` if it has fewer.
pub fn fingerprint_of<D: Disk>(
    disk: &mut D,
    file: &D::File,
    len: u32,
) -> io::Result<Option<Fingerprint>> {
    let mut head = vec![0; len as usize];
    if !fill(disk, file, 0, &mut head)? {
        return Ok(None);
    }
    let hash = short_hash(&head);
    Ok(Some(Fingerprint { len, hash }))
}

/// Reads all of `into` from `offset` on; `false` if the file ends before.
pub fn fill<D: Disk>(
    disk: &mut D,
    file: &D::File,
    offset: u64,
    into: &mut [u8],
) -> io::Result<bool> {
    let mut filled = 0;
    while filled < into.len() {
        match disk.read_at(file, offset + filled as u64, &mut into[filled..])? {
            0 => return Ok(false),
            n => filled += n,
        }
    }
    Ok(true)
}

/// The first half of the SHA-256.
pub fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(bytes)[..16]);
    hash
}
