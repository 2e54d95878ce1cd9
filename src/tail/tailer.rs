//! The state machine that follows a flow's files.
//!
//! A turn looks for new files when that is due, looks at the files whose time has come, and reads from those that have
//! more: each in its turn and at most [`TURN_BYTES`] of it, so that a backlog never delays a live file by more than one
//! turn of each. A file is looked at the less often the longer it was quiet; hints bring the next look forward.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::{Cursor, CutRange, Start};
use super::discover::Found;
use super::disk::{Disk, FileStat};
use super::mark::{MARK_BYTES, Mark};
use super::place::{Memory, Placed};
use super::rotation::{self, Known, Move};
use super::split::{End, Piece, RecordKind, SplitState};
use super::{Event, Hint, Intake, Rules, Turn};
use crate::checkpoint::{FileIdentity, FlowPlaces, Place};
use crate::record::{CursorId, Span};

/// The most that is read of one file before the others have their turn.
pub const TURN_BYTES: usize = 1024 * 1024;
/// One read. Large enough that system calls don't show, small enough for a hundred flows.
const READ_BYTES: usize = 64 * 1024;
/// The longest time between two looks at a quiet file.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The same where no hints come, for few files; many share [`LOOKS_PER_SECOND`].
const POLL_INTERVAL_MAX_WITHOUT_HINTS: Duration = Duration::from_secs(1);
/// Looks at quiet files that cost a thousandth of a core.
const LOOKS_PER_SECOND: u64 = 1_000;
/// The shortest time between two walks, whatever hints come.
const WALK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long a file whose name went to another must be quiet before its last line counts as all there is of it.
pub const ROTATED_GRACE: Duration = Duration::from_secs(60);
/// How long it is held open beyond that while it still has a name somewhere: a slow writer may go on.
const RENAMED_AWAY_HOLD: Duration = Duration::from_secs(3600);

/// The files of one flow.
pub struct Tailer<D: Disk> {
    rules: Rules,
    memory: Memory,
    cursors: HashMap<CursorId, Cursor<D::File>>,
    by_path: HashMap<Arc<Path>, CursorId>,
    by_identity: HashMap<FileIdentity, CursorId>,
    /// When each cursor is looked at next.
    polls: BTreeSet<(Instant, CursorId)>,
    /// Cursors with more to be read, in turns.
    queue: VecDeque<CursorId>,
    next_id: u64,
    walk_at: Instant,
    walked_at: Option<Instant>,
    /// Files that were renamed out of the patterns' reach while we were away have been looked for.
    has_sought_strays: bool,
    /// Whether hints can be relied on to come in time.
    hints_work: bool,
    buffer: Vec<u8>,
    events: Vec<Event>,
    removed: Vec<FileIdentity>,
    had_files: Option<bool>,
    /// Folders that the last walk listed, until they are asked for.
    folders: Option<Vec<PathBuf>>,
    unlisted: HashMap<PathBuf, io::ErrorKind>,
}

impl<D: Disk> Tailer<D> {
    /// A tailer that goes on where `places` say. It doesn't touch the disk before its first turn.
    pub fn new(rules: Rules, places: FlowPlaces, now: Instant) -> Tailer<D> {
        Tailer {
            rules,
            memory: Memory::new(places),
            cursors: HashMap::new(),
            by_path: HashMap::new(),
            by_identity: HashMap::new(),
            polls: BTreeSet::new(),
            queue: VecDeque::new(),
            next_id: 0,
            walk_at: now,
            walked_at: None,
            has_sought_strays: false,
            hints_work: false,
            buffer: Vec::new(),
            events: Vec::new(),
            removed: Vec::new(),
            had_files: None,
            folders: None,
            unlisted: HashMap::new(),
        }
    }

    /// Whether changes are hinted at, so that polling may be slow.
    pub fn set_hints_work(&mut self, work: bool) {
        self.hints_work = work;
    }

    /// Something may have changed.
    pub fn hint(&mut self, hint: &Hint, now: Instant) {
        match hint {
            Hint::Written(path) => match self.by_path.get(path.as_path()).copied() {
                Some(id) => self.poll_at(id, now),
                None if self.rules.patterns.matches(path) => self.walk_soon(now),
                None => {}
            },
            Hint::Renamed => self.walk_soon(now),
        }
    }

    fn walk_soon(&mut self, now: Instant) {
        let soonest = self
            .walked_at
            .map_or(now, |walked| walked + WALK_INTERVAL_MIN);
        self.walk_at = self.walk_at.min(soonest.max(now));
    }

    /// Everything of a file below `offset` is acknowledged. A cursor that isn't known any more is no error.
    pub fn acknowledge(&mut self, id: CursorId, offset: u64) {
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor.acknowledge(offset);
        }
    }

    /// One turn: looks at what is due and hands on what there is, until the queue is empty, [`TURN_BYTES`] were read or
    /// the intake is full.
    pub fn turn(&mut self, now: Instant, disk: &mut D, intake: &mut impl Intake) -> Turn {
        if now >= self.walk_at {
            self.walk(now, disk);
        }
        self.look_at_due(now, disk, intake);
        let mut left_bytes = TURN_BYTES;
        let mut is_blocked = false;
        while left_bytes > 0 {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            match self.read(id, End::Now, left_bytes, now, disk, intake) {
                Reading::Done { n_bytes } => {
                    self.unqueue(id);
                    left_bytes = left_bytes.saturating_sub(n_bytes.max(1));
                }
                Reading::More { n_bytes } => {
                    self.queue.push_back(id);
                    left_bytes = left_bytes.saturating_sub(n_bytes.max(1));
                }
                Reading::Blocked => {
                    self.queue.push_front(id);
                    is_blocked = true;
                    break;
                }
                Reading::Replaced => {}
            }
        }
        if self.queue.is_empty() {
            self.buffer = Vec::new();
        }
        let next_poll = self.polls.first().map(|(at, _)| *at);
        Turn {
            has_more: !self.queue.is_empty() && !is_blocked,
            is_blocked,
            wake_at: next_poll.map_or(self.walk_at, |poll| poll.min(self.walk_at)),
        }
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The places that changed since this was last asked, and the files of which nothing is to be remembered.
    pub fn take_changes(&mut self) -> (Vec<Place>, Vec<FileIdentity>) {
        let changed = |cursor: &mut Cursor<D::File>| {
            std::mem::take(&mut cursor.is_dirty).then(|| cursor.place())
        };
        let places = self.cursors.values_mut().filter_map(changed).collect();
        (places, std::mem::take(&mut self.removed))
    }

    /// Whether [`Tailer::take_changes`] has anything to tell.
    pub fn has_changes(&self) -> bool {
        !self.removed.is_empty() || self.cursors.values().any(|cursor| cursor.is_dirty)
    }

    /// The followed files.
    pub fn cursors(&self) -> impl Iterator<Item = &Cursor<D::File>> {
        self.cursors.values()
    }

    /// The folders that the last walk listed, if there was one since this was last asked.
    pub fn take_folders(&mut self) -> Option<Vec<PathBuf>> {
        self.folders.take()
    }

    /// Whether the first look has been taken.
    pub fn has_looked(&self) -> bool {
        self.walked_at.is_some()
    }

    // ---- which files there are

    fn walk(&mut self, now: Instant, disk: &mut D) {
        let listing = self.rules.patterns.walk(disk);
        let is_first = self.walked_at.replace(now).is_none();
        self.tell_problems(&listing.problems);
        let view = |cursor: &Cursor<D::File>| Known {
            id: cursor.id,
            identity: cursor.identity,
            path: cursor.is_named.then(|| Arc::clone(&cursor.path)),
        };
        let known: Vec<Known> = self.cursors.values().map(view).collect();
        let moves = rotation::plan(&known, &listing.files, &listing.other_names);
        let new: Vec<Found> = moves
            .iter()
            .filter_map(|step| match step {
                Move::Appeared { found } => {
                    Some(self.under_known_name(found, &listing.other_names))
                }
                _ => None,
            })
            .collect();
        for step in moves {
            match step {
                Move::Renamed { id, to } => self.rename(id, to, now),
                Move::Vanished { id } if self.is_hidden(id) => {}
                Move::Vanished { id } => self.vanish(id, now),
                Move::Appeared { .. } => {}
            }
        }
        let placed = match is_first {
            true => self.memory.place_first(&self.rules, disk, &new),
            false => new
                .iter()
                .map(|found| self.memory.place(&self.rules, found))
                .collect(),
        };
        for (found, placed) in new.iter().zip(placed) {
            self.follow(found, placed, now, disk);
        }
        self.follow_strays(now, disk);
        self.tell_files(
            listing.files.len(),
            listing.is_missing_folder.then_some(listing.problems),
        );
        self.folders = Some(listing.folders);
        let n_files = listing.files.len() as u64;
        let interval = match self.hints_work {
            true => self.rules.rescan_interval_max,
            false => Duration::from_millis(n_files)
                .clamp(POLL_INTERVAL_MAX_WITHOUT_HINTS, POLL_INTERVAL_MAX),
        };
        self.walk_at = now
            + interval
                .min(self.rules.rescan_interval_max)
                .max(WALK_INTERVAL_MIN);
    }

    /// What was renamed out of the patterns' reach while we were away is read to its end.
    fn follow_strays(&mut self, now: Instant, disk: &mut D) {
        if self.has_sought_strays || !self.unlisted.is_empty() {
            return;
        }
        let (strays, is_complete) = self.memory.strays(disk);
        self.has_sought_strays = is_complete;
        for found in strays {
            let placed = self.memory.place(&self.rules, &found);
            let id = self.follow(&found, placed, now, disk);
            self.vanish(id, now);
        }
    }

    /// A file of several names keeps the one it had in the run before.
    fn under_known_name(
        &self,
        found: &Found,
        other_names: &HashSet<(FileIdentity, Arc<Path>)>,
    ) -> Found {
        let identity = found.stat.identity;
        let known = self.memory.name_of(identity).map(Arc::<Path>::from);
        let known = known.filter(|path| other_names.contains(&(identity, Arc::clone(path))));
        Found {
            path: known.unwrap_or_else(|| Arc::clone(&found.path)),
            stat: found.stat,
        }
    }

    fn tell_problems(&mut self, problems: &[(PathBuf, io::Error)]) {
        let now_unlisted: HashMap<_, _> = problems
            .iter()
            .filter(|(_, error)| error.kind() != io::ErrorKind::NotFound)
            .map(|(path, error)| (path.clone(), error.kind()))
            .collect();
        for (path, error) in problems {
            let is_new = now_unlisted.contains_key(path)
                && self.unlisted.get(path) != now_unlisted.get(path);
            if is_new {
                self.events.push(Event::Unlisted {
                    path: path.clone(),
                    error: error.to_string(),
                });
            }
        }
        self.unlisted = now_unlisted;
    }

    /// Whether the folder of a file couldn't be listed: that it wasn't found says nothing then.
    fn is_hidden(&self, id: CursorId) -> bool {
        let path = self.cursors.get(&id).map(|cursor| &cursor.path);
        path.is_some_and(|path| self.unlisted.keys().any(|part| path.starts_with(part)))
    }

    /// No file at all is said once, and the first ones after that.
    fn tell_files(&mut self, n_files: usize, missing: Option<Vec<(PathBuf, io::Error)>>) {
        let has_files = n_files > 0;
        match (has_files, self.had_files.replace(has_files)) {
            (false, None | Some(true)) => {
                let missing_folder = missing
                    .and_then(|problems| problems.into_iter().next())
                    .map(|(path, _)| path);
                self.events.push(Event::NoFiles { missing_folder });
            }
            (true, Some(false)) => self.events.push(Event::FilesFound { n_files }),
            _ => {}
        }
    }

    fn rename(&mut self, id: CursorId, to: Arc<Path>, now: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let from = std::mem::replace(&mut cursor.path, Arc::clone(&to));
        let is_back = from == to;
        // Without a handle it may be a new file that took the number of one that is gone.
        cursor.rotated_at = (!is_back && cursor.file.is_some()).then_some(now);
        cursor.is_named = true;
        cursor.is_dirty = true;
        if self.by_path.get(&from) == Some(&id) {
            self.by_path.remove(&from);
        }
        self.by_path.insert(Arc::clone(&to), id);
        self.poll_at(id, now);
        if !is_back {
            self.events.push(Event::Renamed { from, to });
        }
    }

    fn vanish(&mut self, id: CursorId, now: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        cursor.rotated_at = Some(now);
        cursor.is_named = false;
        let path = Arc::clone(&cursor.path);
        let unread_bytes = cursor.size.saturating_sub(cursor.read);
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
        self.poll_at(id, now);
        self.events.push(Event::Vanished { path, unread_bytes });
    }

    fn follow(&mut self, found: &Found, placed: Placed, now: Instant, disk: &mut D) -> CursorId {
        let id = self.new_id();
        let mut cursor = Cursor::new(
            id,
            Arc::clone(&found.path),
            &found.stat,
            placed.start,
            placed.header_lines,
            now,
        );
        cursor.fingerprint = placed.fingerprint;
        cursor.kept = placed.mark;
        cursor.rotated_at = placed.is_rotated.then_some(now);
        cursor.is_finished = placed.is_finished;
        cursor.is_hinted = disk.tells_of(&found.path);
        if let Some(read) = placed.was_replaced {
            self.events.push(Event::Replaced {
                path: Arc::clone(&found.path),
                read,
            });
        }
        self.by_path.insert(Arc::clone(&found.path), id);
        self.by_identity.insert(found.stat.identity, id);
        self.cursors.insert(id, cursor);
        self.open(id, disk);
        self.poll_at(id, now);
        id
    }

    fn new_id(&mut self) -> CursorId {
        self.next_id += 1;
        CursorId(self.next_id)
    }

    /// Opens the cursor's file if it isn't open; whether it is now.
    fn open(&mut self, id: CursorId, disk: &mut D) -> bool {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        if cursor.file.is_some() {
            return true;
        }
        if !cursor.is_named {
            return false;
        }
        let opened = disk
            .open(&cursor.path)
            .and_then(|file| disk.look_at(&file).map(|stat| (file, stat)));
        match opened {
            // Between the look and the opening the name went to another file: the next walk tells.
            Ok((_, stat)) if stat.identity != cursor.identity => false,
            Ok((file, _)) => {
                cursor.file = Some(file);
                if cursor.problem.take().is_some() {
                    self.events.push(Event::Readable {
                        path: Arc::clone(&cursor.path),
                    });
                }
                true
            }
            Err(error) => {
                self.tell_unreadable(id, &error);
                false
            }
        }
    }

    /// A reason is said once, until another takes its place or it is over.
    fn tell_unreadable(&mut self, id: CursorId, error: &io::Error) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        if error.kind() == io::ErrorKind::NotFound
            || cursor.problem.replace(error.kind()) == Some(error.kind())
        {
            return;
        }
        let path = Arc::clone(&cursor.path);
        self.events.push(Event::Unreadable {
            path,
            kind: error.kind(),
            error: error.to_string(),
        });
    }

    // ---- when each is looked at

    fn poll_at(&mut self, id: CursorId, at: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        self.polls.remove(&(cursor.poll_at, id));
        cursor.poll_at = at;
        cursor.poll_interval = Duration::ZERO;
        self.polls.insert((at, id));
    }

    fn look_at_due(&mut self, now: Instant, disk: &mut D, intake: &mut impl Intake) {
        while let Some((at, id)) = self.polls.first().copied() {
            if at > now {
                break;
            }
            self.polls.pop_first();
            self.look_at(id, now, disk, intake);
        }
    }

    fn look_at(&mut self, id: CursorId, now: Instant, disk: &mut D, intake: &mut impl Intake) {
        self.open(id, disk);
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        if cursor.file.is_none() && !cursor.is_named {
            return self.give_up(id);
        }
        let looked = match &cursor.file {
            Some(file) => disk.look_at(file),
            None => disk.look(&cursor.path),
        };
        let Ok(stat) = looked else {
            return self.after_look(id, false, now);
        };
        if stat.identity != cursor.identity {
            return self.after_look(id, false, now);
        }
        if stat.size >= cursor.read && must_be_checked(cursor, &stat) {
            let checked = match cursor.tail {
                Some(_) => cursor.is_same(disk),
                None => cursor.get_acquainted(disk),
            };
            match checked {
                Ok(true) => {}
                Ok(false) => return self.replace(id, &stat, now),
                // It is looked at again, with what is remembered as it is.
                Err(error) => {
                    self.tell_unreadable(id, &error);
                    return self.after_look(id, false, now);
                }
            }
        }
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let (had_size, grew) = (cursor.size, stat.size > cursor.size);
        // What wasn't read may have been written anew without growing.
        let is_other = stat.size != cursor.size || stat.modified_ms != cursor.modified_ms;
        cursor.is_dirty |= stat.size != cursor.size;
        (cursor.size, cursor.modified_ms, cursor.n_links) =
            (stat.size, stat.modified_ms, stat.n_links);
        if is_other {
            cursor.changed_at = now;
        }
        cursor.is_finished &= !grew;
        let kept = stat.size.max(cursor.read);
        if had_size > kept {
            self.events.push(Event::Lost {
                path: Arc::clone(&cursor.path),
                start: kept,
                end: Some(had_size),
            });
        }
        if stat.size < cursor.read {
            self.events.push(Event::Truncated {
                path: Arc::clone(&cursor.path),
                read: cursor.read,
                size: stat.size,
            });
            return self.start_anew(id, &stat, now);
        }
        let has_more = stat.size > cursor.read && !cursor.split.is_over && cursor.file.is_some();
        // What waits for its end to come is read again only once there is something new, or nothing came for long.
        let is_new = is_other || !cursor.is_told || cursor.problem.is_some();
        if has_more && is_new && !cursor.is_queued {
            cursor.is_queued = true;
            self.queue.push_back(id);
        } else if has_more && !is_new && !cursor.is_queued {
            self.read_after_quiet(id, now, disk, intake);
        } else if !has_more {
            self.finish_if_over(id, now);
        }
        self.after_look(id, grew, now);
    }

    /// Sets the time of the next look: soon after growth, and the later the longer the file was quiet.
    fn after_look(&mut self, id: CursorId, grew: bool, now: Instant) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
        };
        let longest = self.poll_interval_max(cursor.is_hinted && cursor.is_named);
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let shortest = self.rules.poll_interval_min.max(Duration::from_millis(1));
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

    fn poll_interval_max(&self, is_hinted: bool) -> Duration {
        let fair_share = Duration::from_millis(self.cursors.len() as u64 * 1000 / LOOKS_PER_SECOND);
        match self.hints_work && is_hinted {
            true => POLL_INTERVAL_MAX.max(fair_share),
            false => POLL_INTERVAL_MAX_WITHOUT_HINTS.max(fair_share),
        }
    }

    /// A multi-line record ends when nothing came for a while, and everything ends with a rotated file.
    fn read_after_quiet(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut D,
        intake: &mut impl Intake,
    ) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
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
            false => return,
        };
        match self.read(id, end, TURN_BYTES, now, disk, intake) {
            Reading::Done { .. } | Reading::Replaced => self.finish_if_over(id, now),
            Reading::More { .. } | Reading::Blocked => {
                if let Some(cursor) = self.cursors.get_mut(&id) {
                    cursor.is_queued = true;
                    self.queue.push_back(id);
                }
            }
        }
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

    /// No name leads to a file that was never opened: what it holds is out of reach, unless it comes back.
    fn give_up(&mut self, id: CursorId) {
        if let Some(cursor) = self.cursors.get(&id)
            && !cursor.split.is_over
        {
            self.events.push(Event::Lost {
                path: Arc::clone(&cursor.path),
                start: cursor.read,
                end: None,
            });
        }
        self.let_go(id, false);
    }

    fn let_go(&mut self, id: CursorId, is_deleted: bool) {
        let Some(cursor) = self.cursors.remove(&id) else {
            return;
        };
        self.queue.retain(|queued| *queued != id);
        self.polls.remove(&(cursor.poll_at, id));
        if self.by_identity.get(&cursor.identity) == Some(&id) {
            self.by_identity.remove(&cursor.identity);
        }
        match is_deleted {
            true => self.removed.push(cursor.identity),
            false => self.memory.remember(cursor.place()),
        }
    }

    // ---- reading

    fn unqueue(&mut self, id: CursorId) {
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor.is_queued = false;
        }
    }

    /// The file holds something else than what was read, though it is as long.
    fn replace(&mut self, id: CursorId, stat: &FileStat, now: Instant) {
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
        let Some(old) = self.cursors.remove(&id) else {
            return;
        };
        self.polls.remove(&(old.poll_at, id));
        self.queue.retain(|queued| *queued != id);
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
        (cursor.is_named, cursor.file) = (old.is_named, old.file);
        // Where it has a name it is written to as any other, whatever became of the one before.
        cursor.rotated_at = old.rotated_at.filter(|_| !cursor.is_named);
        cursor.is_hinted = old.is_hinted;
        if cursor.is_named {
            self.by_path.insert(Arc::clone(&cursor.path), new_id);
        }
        self.by_identity.insert(cursor.identity, new_id);
        self.cursors.insert(new_id, cursor);
        self.poll_at(new_id, now);
    }

    fn read(
        &mut self,
        id: CursorId,
        at_end: End,
        bytes_max: usize,
        now: Instant,
        disk: &mut D,
        intake: &mut impl Intake,
    ) -> Reading {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return Reading::Done { n_bytes: 0 };
        };
        match cursor.begins_alike(disk) {
            Ok(true) => {}
            Ok(false) => return self.is_replaced(id, now, disk),
            Err(error) => {
                self.tell_unreadable(id, &error);
                return Reading::Done { n_bytes: 0 };
            }
        }
        if !cursor.is_told {
            cursor.is_told = true;
            let (path, offset, size) = (Arc::clone(&cursor.path), cursor.read, cursor.size);
            self.events.push(Event::Opened { path, offset, size });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let file = cursor.file.take();
        let result = match &file {
            Some(file) => read_pieces(
                cursor,
                file,
                &self.rules,
                &mut buffer,
                at_end,
                bytes_max,
                disk,
                intake,
            ),
            None => Ok(Reading::Done { n_bytes: 0 }),
        };
        cursor.file = file;
        self.buffer = buffer;
        let result = result.and_then(|reading| {
            cursor.extend_fingerprint(disk)?;
            Ok(reading)
        });
        match result {
            Ok(Reading::Replaced) => self.is_replaced(id, now, disk),
            Ok(reading) => {
                if cursor.problem.take().is_some() {
                    self.events.push(Event::Readable {
                        path: Arc::clone(&cursor.path),
                    });
                }
                reading
            }
            Err(error) => {
                self.tell_unreadable(id, &error);
                Reading::Done { n_bytes: 0 }
            }
        }
    }
}

impl<D: Disk> Tailer<D> {
    fn is_replaced(&mut self, id: CursorId, now: Instant, disk: &mut D) -> Reading {
        let file = self
            .cursors
            .get(&id)
            .and_then(|cursor| cursor.file.as_ref());
        if let Some(Ok(stat)) = file.map(|file| disk.look_at(file)) {
            self.replace(id, &stat, now);
        }
        Reading::Done { n_bytes: 0 }
    }
}

enum Reading {
    /// Nothing more is to be had now.
    Done {
        n_bytes: usize,
    },
    /// Others have their turn first.
    More {
        n_bytes: usize,
    },
    Blocked,
    /// It isn't the file that was read.
    Replaced,
}

/// Reads from where the cursor stands and hands on every piece, until the end of what is there, `bytes_max`, or a full
/// intake. What is left of a piece that isn't all there is read again next time: nothing is held between turns.
#[expect(
    clippy::too_many_arguments,
    reason = "a loop over one cursor's state and the three worlds around it"
)]
fn read_pieces<D: Disk>(
    cursor: &mut Cursor<D::File>,
    file: &D::File,
    rules: &Rules,
    buffer: &mut Vec<u8>,
    at_end: End,
    bytes_max: usize,
    disk: &mut D,
    intake: &mut impl Intake,
) -> io::Result<Reading> {
    let started_at = cursor.read;
    // What stood before is read along, in the same call: nobody can put other bytes in between.
    let n_before = cursor.tail.map_or(0, |tail| usize::from(tail.len));
    buffer.resize(buffer.len().max(READ_BYTES), 0);
    let n = disk.read_at(file, started_at - n_before as u64, buffer)?;
    let is_same = |tail: Mark| n >= n_before && tail.is_of(&buffer[..n_before]);
    if !cursor.tail.is_none_or(is_same) {
        return Ok(Reading::Replaced);
    }
    let mut recent = buffer[..n_before].to_vec();
    buffer.copy_within(n_before..n, 0);
    let mut filled = n - n_before;
    let mut is_over = filled == 0;
    // A piece that isn't all there stays at the buffer's start while more is read behind it.
    cursor.split.forget_search();
    loop {
        let until = cursor.read + filled as u64;
        let end = match is_over || until >= cursor.size {
            false => End::More,
            // It isn't as the last look said: nothing is known of what follows.
            true if until != cursor.size => End::Now,
            true => at_end,
        };
        let (at, stop) = hand_on(cursor, rules, &buffer[..filled], end, intake);
        recent.extend_from_slice(&buffer[at.saturating_sub(MARK_BYTES as usize)..at]);
        recent.drain(..recent.len().saturating_sub(MARK_BYTES as usize));
        cursor.read += at as u64;
        if at > 0 {
            cursor.moved_to(Mark::of(cursor.read, &recent));
        }
        let n_bytes = (cursor.read - started_at) as usize;
        match stop {
            Stop::Blocked => return Ok(Reading::Blocked),
            Stop::Over => return Ok(Reading::Done { n_bytes }),
            // `size` may be old: whoever wrote meanwhile is noticed by the next look.
            Stop::Incomplete if end != End::More => return Ok(Reading::Done { n_bytes }),
            Stop::Incomplete if n_bytes >= bytes_max => return Ok(Reading::More { n_bytes }),
            Stop::Incomplete => {}
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if buffer.len() < filled + READ_BYTES {
            buffer.resize((filled + READ_BYTES).next_multiple_of(READ_BYTES), 0);
        }
        let n = disk.read_at(file, cursor.read + filled as u64, &mut buffer[filled..])?;
        filled += n;
        is_over = n == 0;
    }
}

/// Why no more of a buffer was handed on.
enum Stop {
    /// What is left isn't all there.
    Incomplete,
    /// The intake is full.
    Blocked,
    /// Nothing more is wanted of the file.
    Over,
}

/// Hands on the pieces of `buffer`, which begins where the cursor stands; how many bytes they were.
fn hand_on<F>(
    cursor: &mut Cursor<F>,
    rules: &Rules,
    buffer: &[u8],
    end: End,
    intake: &mut impl Intake,
) -> (usize, Stop) {
    let mut at = 0;
    loop {
        let before = cursor.split;
        match rules.splitter.next(&mut cursor.split, buffer, at, end) {
            Piece::Record { data, next, kind } => {
                if !intake.has_room(data.len()) {
                    cursor.split = before;
                    return (at, Stop::Blocked);
                }
                let span = span_of(cursor, at, next);
                intake.record(span, &buffer[data], kind, &cursor.path);
                if kind == RecordKind::TooLong {
                    let end = (!cursor.split.is_leaving_out()).then_some(span.end);
                    cursor.cut_ranges.push_back(CutRange {
                        start: span.start,
                        end,
                        is_header: false,
                    });
                }
                at = next;
            }
            Piece::Nothing { next } => {
                let is_header = before.header_lines_left > cursor.split.header_lines_left;
                note_left_out(cursor, at, next, is_header);
                intake.nothing(span_of(cursor, at, next));
                at = next;
            }
            Piece::Over { next } => {
                if next > at {
                    intake.nothing(span_of(cursor, at, next));
                }
                return (next, Stop::Over);
            }
            Piece::Incomplete => return (at, Stop::Incomplete),
        }
    }
}

/// Whether a look tells that a file may hold something else than it did, though it isn't shorter than what was read:
/// where it grew that is found out when it is read.
fn must_be_checked<F>(cursor: &Cursor<F>, stat: &FileStat) -> bool {
    let is_other = stat.size != cursor.size || stat.modified_ms != cursor.modified_ms;
    let is_read_next = stat.size > cursor.size.max(cursor.read) && !cursor.split.is_over;
    cursor.file.is_some() && (cursor.tail.is_none() || (is_other && !is_read_next))
}

fn span_of<F>(cursor: &Cursor<F>, start: usize, end: usize) -> Span {
    Span {
        cursor: cursor.id,
        start: cursor.read + start as u64,
        end: cursor.read + end as u64,
    }
}

/// Remembers where a header line ends, or the open range of what is left out.
fn note_left_out<F>(cursor: &mut Cursor<F>, start: usize, end: usize, is_header: bool) {
    let span = span_of(cursor, start, end);
    let goes_on = cursor.split.is_leaving_out();
    let open = cursor.cut_ranges.back_mut();
    match open.filter(|range| range.end.is_none()) {
        Some(range) if !goes_on => {
            range.end = Some(span.end);
            if range.is_header {
                cursor.header_ends.push_back(span.end);
            }
        }
        Some(_) => {}
        None if goes_on => cursor.cut_ranges.push_back(CutRange {
            start: span.start,
            end: None,
            is_header,
        }),
        None if is_header => cursor.header_ends.push_back(span.end),
        None => {}
    }
}
