//! When each file is looked at, and what that tells: it grew, was quiet, was cut off, holds something else, is over.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handles::Need;
use super::read::Reading;
use super::{
    POLL_INTERVAL_MAX, POLL_INTERVAL_MAX_WITHOUT_HINTS, ROTATED_GRACE, TURN_BYTES, Tailer,
};
use crate::record::CursorId;
use crate::tail::cursor::{Cursor, Start};
use crate::tail::disk::{Disk, FileStat};
use crate::tail::gzip::{Body, WithGzip, is_gzip};
use crate::tail::planted;
use crate::tail::rotation::Loss;
use crate::tail::split::{End, SplitState};
use crate::tail::{Event, Intake};

/// Looks at quiet files that cost a thousandth of a core.
pub(super) const LOOKS_PER_SECOND: u64 = 1_000;
/// The shortest time between two looks at a file of which the system tells, or that is looked at anyway when it is read
/// for the first time, for each followed file: so many looks cost a hundredth of a core.
const LOOK_INTERVAL_PER_FILE: Duration = Duration::from_micros(300);
/// How long a rotated file is held open beyond [`ROTATED_GRACE`] while it still has a name somewhere: a slow writer may
/// go on.
const RENAMED_AWAY_HOLD: Duration = Duration::from_secs(3600);

impl<D: Disk> Tailer<D> {
    pub(super) fn poll_at(&mut self, id: CursorId, at: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        self.polls.remove(&(cursor.poll_at, id));
        cursor.poll_at = at;
        cursor.poll_interval = Duration::ZERO;
        self.polls.insert((at, id));
    }

    pub(super) fn look_at_due(
        &mut self,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
        intake: &mut impl Intake,
    ) {
        while let Some((at, id)) = self.polls.first().copied() {
            if at > now {
                break;
            }
            self.polls.pop_first();
            self.look_at(id, now, disk, intake);
        }
    }

    /// Looks at a file, opened if it can be, and makes sure that it holds what was read of it. `None`: it doesn't, or it
    /// can't be told; what follows from that is done.
    fn look_inside(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> Option<FileStat> {
        if self
            .cursors
            .get(&id)
            .is_some_and(|cursor| !cursor.is_parked)
        {
            self.open(id, Need::Later, disk);
        }
        let cursor = self.cursors.get(&id)?;
        if cursor.file.is_none() && !cursor.is_named && !cursor.is_parked {
            self.give_up(id, now);
            return None;
        }
        let stat = self.stat(id, now, disk)?;
        let cursor = self.cursors.get(&id)?;
        // Only the file itself tells whether it was written anew; what was appended is checked when it is read.
        let must_be_open = is_other(cursor, &stat) && !is_read_next(cursor, &stat);
        if cursor.is_parked && must_be_open && !self.open(id, Need::Now, disk) {
            self.after_look(id, false, now);
            return None;
        }
        let cursor = self.cursors.get_mut(&id)?;
        if is_cut_off(cursor, &stat) {
            self.cut_off(id, &stat, now);
            return None;
        }
        if must_be_checked(cursor, &stat) {
            let checked = match cursor.tail {
                Some(_) => cursor.is_same(disk),
                None => cursor.get_acquainted(disk),
            };
            match checked {
                Ok(true) => {}
                Ok(false) => {
                    self.replace(id, &stat, now);
                    return None;
                }
                // It is looked at again, with what is remembered as it is.
                Err(error) => {
                    self.tell_unreadable(id, &error);
                    self.after_look(id, false, now);
                    return None;
                }
            }
        }
        Some(stat)
    }

    fn look_at(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
        intake: &mut impl Intake,
    ) {
        let Some(stat) = self.look_inside(id, now, disk) else {
            return;
        };
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let grew = stat.size > cursor.size;
        if !grew || cursor.is_queued {
            // What came otherwise is compared when it is read.
            cursor.known_size = stat.size;
        }
        if cursor.is_new && cursor.size == 0 {
            cursor.since_turn = self.n_turns;
        }
        // What wasn't read may have been written anew without growing.
        let is_other = is_other(cursor, &stat);
        cursor.is_dirty |= stat.size != cursor.size;
        (cursor.size, cursor.modified_ms, cursor.n_links) =
            (stat.size, stat.modified_ms, stat.n_links);
        if is_other {
            cursor.changed_at = now;
        }
        cursor.is_finished &= !grew;
        if cursor.read == 0 {
            // It may have to wait before it is read, and be rotated meanwhile: its copy is to be known again.
            let noted = cursor.note_beginning(disk);
            let is_plain = |file: &Body<D::File>| !file.is_gzip();
            if noted.is_ok()
                && cursor.fingerprint.len == 0
                && cursor.file.as_ref().is_some_and(is_plain)
            {
                // It was cut off since the look: nothing but a size was seen of what it held.
                (cursor.size, cursor.known_size) = (0, 0);
            }
            if let Err(error) = noted {
                self.tell_unreadable(id, &error);
            }
        }
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let is_readable = cursor.file.is_some() || cursor.is_parked;
        let has_more = stat.size > cursor.read && !cursor.split.is_over && is_readable;
        // What waits for its end to come is read again only once there is something new, or nothing came for long.
        let awaits_handle = std::mem::take(&mut cursor.awaits_handle);
        let mut had_no_room = false;
        let is_new = is_other || awaits_handle || !cursor.is_told || cursor.problem.is_some();
        if has_more && is_new && !cursor.is_queued {
            cursor.is_queued = true;
            self.queue.push_back(id);
        } else if has_more && !is_new && !cursor.is_queued {
            had_no_room = self.read_after_quiet(id, now, disk, intake);
        } else if !has_more {
            self.finish_if_over(id, now);
            self.leave_if_old(id, disk);
        }
        self.after_look(id, grew || had_no_room, now);
    }

    /// A look at the file, by its handle or its name. `None`: it told nothing, and what is to be done is.
    fn stat(&mut self, id: CursorId, now: Instant, disk: &mut WithGzip<'_, D>) -> Option<FileStat> {
        let cursor = self.cursors.get(&id)?;
        let looked = match &cursor.file {
            Some(file) => disk.look_at(file),
            // The size of a gzip shows only once it is open.
            None if is_gzip(&cursor.path) => {
                self.after_look(id, false, now);
                return None;
            }
            None => disk.look(&cursor.path),
        };
        let (is_parked, is_named) = (cursor.is_parked, cursor.is_named);
        match looked {
            Ok(stat) if stat.identity == cursor.identity => return Some(stat),
            Ok(_) if is_parked && !is_named => self.seek_name(id, now, disk),
            Err(error) if is_parked && !is_named && error.kind() == io::ErrorKind::NotFound => {
                self.seek_name(id, now, disk);
            }
            Err(error) if self.drop_stale(id, &error, now) => self.after_look(id, true, now),
            _ => {
                if is_parked {
                    self.walk_soon(now);
                }
                self.after_look(id, false, now);
            }
        }
        None
    }

    /// Sets the time of the next look: soon after growth, and the later the longer the file was quiet.
    pub(super) fn after_look(&mut self, id: CursorId, grew: bool, now: Instant) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
        };
        let is_hinted = self.hints_work && cursor.is_hinted && cursor.is_named;
        let longest = self.poll_interval_max(is_hinted);
        let shortest = self.poll_interval_min(is_hinted || (cursor.is_queued && !cursor.is_told));
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        cursor.poll_interval = match grew {
            true => shortest,
            false => (cursor.poll_interval * 2).clamp(shortest, longest.max(shortest)),
        };
        // Quiet files are looked at one after the other rather than all at once.
        let spread = match cursor.poll_interval >= longest {
            true => longest / 4 * (id.0 % 16) as u32 / 16,
            false => Duration::ZERO,
        };
        let mut at = now + cursor.poll_interval - spread;
        let waits = cursor.size > cursor.read && !cursor.split.is_over;
        if waits && self.rules.splitter.waits_for_quiet() {
            let quiet_at = cursor.changed_at + self.rules.split.multi_line_idle;
            if quiet_at > now {
                at = at.min(quiet_at);
            }
        }
        if let Some(rotated_at) = cursor.rotated_at {
            let over_at = cursor.changed_at.max(rotated_at) + ROTATED_GRACE;
            if over_at > now {
                at = at.min(over_at);
            }
        }
        cursor.poll_at = at;
        self.polls.insert((at, id));
    }

    fn poll_interval_min(&self, is_found_otherwise: bool) -> Duration {
        let n_files = u32::try_from(self.cursors.len()).unwrap_or(u32::MAX);
        let fair_share = match is_found_otherwise {
            true => LOOK_INTERVAL_PER_FILE.saturating_mul(n_files),
            false => Duration::ZERO,
        };
        let shortest = self.rules.poll_interval_min.max(fair_share);
        shortest.max(Duration::from_millis(1))
    }

    fn poll_interval_max(&self, is_hinted: bool) -> Duration {
        let fair_share = Duration::from_millis(self.cursors.len() as u64 * 1000 / LOOKS_PER_SECOND);
        match is_hinted {
            // What changes is said; a look finds what is written without a word, as through a mapping.
            true => POLL_INTERVAL_MAX.max(2 * fair_share),
            false => POLL_INTERVAL_MAX_WITHOUT_HINTS.max(fair_share),
        }
    }

    /// A multi-line record ends when nothing came for a while, and everything ends with a rotated file. Whether there was
    /// no room for it.
    fn read_after_quiet(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
        intake: &mut impl Intake,
    ) -> bool {
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        let quiet = now.saturating_duration_since(cursor.changed_at);
        let is_rotated = cursor
            .rotated_at
            .is_some_and(|at| now >= cursor.changed_at.max(at) + ROTATED_GRACE);
        let end = match is_rotated {
            true => End::Final,
            false
                if self.rules.splitter.waits_for_quiet()
                    && quiet >= self.rules.split.multi_line_idle =>
            {
                End::Quiet
            }
            false => return false,
        };
        let reading = self.read(id, end, TURN_BYTES, now, disk, intake);
        match reading {
            Reading::Done { .. } | Reading::Replaced => self.finish_if_over(id, now),
            Reading::More { .. } | Reading::Blocked => {
                if let Some(cursor) = self.cursors.get_mut(&id) {
                    cursor.is_queued = true;
                    self.queue.push_back(id);
                }
            }
        }
        matches!(reading, Reading::Blocked)
    }

    /// Lets go of a rotated file that gave all it will and is acknowledged.
    fn finish_if_over(&mut self, id: CursorId, now: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let Some(rotated_at) = cursor.rotated_at else {
            return;
        };
        let quiet = now.saturating_duration_since(cursor.changed_at.max(rotated_at));
        let has_all = cursor.read >= cursor.size || cursor.split.is_over;
        if !has_all || quiet < ROTATED_GRACE {
            return;
        }
        if !cursor.is_finished {
            cursor.is_finished = true;
            cursor.is_dirty = true;
            self.events.push(Event::Finished {
                path: Arc::clone(&cursor.path),
                size: cursor.size,
            });
        }
        let is_settled = cursor.acknowledged >= cursor.read;
        let is_deleted = cursor.n_links == 0;
        if is_settled
            && !cursor.is_named
            && !cursor.is_dirty
            && (is_deleted || quiet >= RENAMED_AWAY_HOLD)
        {
            self.let_go(id, is_deleted);
        }
    }

    /// No name leads to a file that isn't open: it is out of reach, unless it is found under another name, comes back, or
    /// was compressed.
    pub(super) fn give_up(&mut self, id: CursorId, now: Instant) {
        if let Some(cursor) = self.take(id) {
            self.seek(cursor, Loss::Gone, false, now);
        }
    }

    /// The cursor isn't followed any more.
    fn take(&mut self, id: CursorId) -> Option<Cursor<Body<D::File>>> {
        let cursor = self.cursors.remove(&id)?;
        self.queue.retain(|queued| *queued != id);
        self.polls.remove(&(cursor.poll_at, id));
        if self.by_identity.get(&cursor.identity) == Some(&id) {
            self.by_identity.remove(&cursor.identity);
        }
        Some(cursor)
    }

    pub(super) fn let_go(&mut self, id: CursorId, is_deleted: bool) {
        let Some(cursor) = self.take(id) else {
            return;
        };
        match is_deleted {
            true => self.remove_place(cursor.identity),
            false => self.memory.remember(cursor.place()),
        }
    }

    /// The file became shorter.
    pub(super) fn cut_off(&mut self, id: CursorId, stat: &FileStat, now: Instant) {
        if let Some(cursor) = self.cursors.get(&id) {
            self.events.push(Event::Truncated {
                path: Arc::clone(&cursor.path),
                read: cursor.read,
                size: stat.size,
            });
        }
        self.start_anew(id, stat, now);
    }

    /// The file holds something else than what was read, though it is as long.
    pub(super) fn replace(&mut self, id: CursorId, stat: &FileStat, now: Instant) {
        if let Some(cursor) = self.cursors.get(&id) {
            self.events.push(Event::Replaced {
                path: Arc::clone(&cursor.path),
                read: cursor.read,
            });
        }
        self.start_anew(id, stat, now);
    }

    /// The file's content isn't what was read: it is followed from its beginning, as a file of its own.
    fn start_anew(&mut self, id: CursorId, stat: &FileStat, now: Instant) {
        let Some(mut old) = self.take(id) else {
            return;
        };
        let new_id = self.new_id();
        let start = Start {
            offset: 0,
            split: SplitState::at_start(&self.rules.split),
        };
        let header_lines = self.rules.split.skip_header_lines;
        let mut cursor = Cursor::new(
            new_id,
            Arc::clone(&old.path),
            stat,
            start,
            header_lines,
            now,
        );
        // The look may have been at what stood there before; the next one follows at once.
        (cursor.size, cursor.known_size) = (0, 0);
        (cursor.is_named, cursor.file) = (old.is_named, old.file.take());
        cursor.is_parked = old.is_parked;
        // Where it has a name it is written to as any other, whatever became of the one before.
        cursor.rotated_at = old.rotated_at.filter(|_| !cursor.is_named);
        cursor.is_hinted = old.is_hinted;
        // It may be written over with the copy of another.
        (cursor.is_new, cursor.since_turn) = (true, self.n_turns);
        if cursor.is_named {
            self.by_path.insert(Arc::clone(&cursor.path), new_id);
        }
        self.admit(cursor);
        self.poll_at(new_id, now);
        self.seek(old, Loss::CutOff, false, now);
    }
}

/// Whether a look tells of any change.
fn is_other<F>(cursor: &Cursor<F>, stat: &FileStat) -> bool {
    stat.size != cursor.size || stat.modified_ms != cursor.modified_ms
}

/// Whether there is more of a file than there was and than was read, so that it is read next. One that waits for room
/// already may wait for long.
fn is_read_next<F>(cursor: &Cursor<F>, stat: &FileStat) -> bool {
    let has_more = stat.size > cursor.size.max(cursor.read) && !cursor.split.is_over;
    has_more && !cursor.is_queued
}

/// Whether a file became shorter: nothing but a truncation does that, even where more is left than was read. A gzip's
/// size is a guess until its end was read.
pub(super) fn is_cut_off<F>(cursor: &Cursor<Body<F>>, stat: &FileStat) -> bool {
    if planted::truncations_are_unseen() {
        return false;
    }
    let is_guess = cursor.file.as_ref().is_some_and(Body::is_gzip);
    stat.size < cursor.read || (stat.size < cursor.size && !is_guess)
}

/// Whether a look tells that a file may hold something else than it did, though it isn't shorter than what was read:
/// where it grew that is found out when it is read, unless it is new and has to wait for that.
fn must_be_checked<F>(cursor: &Cursor<F>, stat: &FileStat) -> bool {
    let is_read_soon = is_read_next(cursor, stat) && !cursor.is_new;
    let may_be_another = is_other(cursor, stat) && !is_read_soon;
    cursor.file.is_some() && (cursor.tail.is_none() || may_be_another)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::tail::Hint;
    use crate::tail::testing::{Lines, MemoryDisk, read_all, rules_of};

    /// Whether files that have grown, were looked at and were read are looked at again a moment later.
    fn are_looked_at_soon(n_files: usize, hints_work: bool) -> bool {
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}]}"#;
        let rules = rules_of(text);
        let mut now = Instant::now();
        let mut tailer = Tailer::new(rules, FlowPlaces::default(), now);
        tailer.set_hints_work(hints_work);
        let mut disk = MemoryDisk::default();
        let paths: Vec<String> = (0..n_files).map(|n| format!("/l/{n}.log")).collect();
        let mut n_read = 0;
        for _ in 0..3 {
            for path in &paths {
                disk.append(path, b"line\n");
                tailer.hint(&Hint::Written(Path::new(path).into()), now);
            }
            now += Duration::from_secs(5);
            n_read += read_all(&mut tailer, now, &mut disk);
        }
        assert_eq!(n_read, 3 * n_files);
        let before = disk.n_operations;
        now += Duration::from_millis(150);
        tailer.turn(now, &mut disk, &mut Lines::default());
        disk.n_operations > before
    }

    #[test]
    fn many_files_of_which_the_system_tells_are_looked_at_less_often() {
        for (n_files, hints_work, expected) in
            [(1, true, true), (1_000, true, false), (1_000, false, true)]
        {
            let are_looked_at = are_looked_at_soon(n_files, hints_work);
            assert_eq!(are_looked_at, expected, "{n_files}, hints: {hints_work}");
        }
    }
}
