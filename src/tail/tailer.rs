//! The state machine that follows a flow's files.
//!
//! A turn looks for new files when that is due, looks at the files whose time has come, and reads from those that have
//! more: each in its turn and at most [`TURN_BYTES`] of it, so that a backlog never delays a live file by more than one
//! turn of each. A file is looked at the less often the longer it was quiet; hints bring the next look forward.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::{Cursor, CutRange, Start, fingerprint_of};
use super::discover::Found;
use super::disk::{Disk, FileStat};
use super::place::{Memory, Placed};
use super::rotation::{self, Known, Move};
use super::split::{End, Piece, RecordKind, SplitState, header_line};
use super::{Event, Hint, Intake, Rules, Turn};
use crate::checkpoint::{FileIdentity, FlowPlaces, Place};
use crate::config::Split;
use crate::record::{CursorId, Span};

/// The most that is read of one file before the others have their turn.
pub const TURN_BYTES: usize = 1024 * 1024;
/// One read. Large enough that system calls don't show, small enough for a hundred flows.
const READ_BYTES: usize = 64 * 1024;
/// A file's header, and what stands before it, is looked for in so much of the file's beginning.
const HEADER_BYTES_MAX: usize = 1024 * 1024;
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
        let moves = rotation::plan(&known, &listing.files);
        let new: Vec<Found> = moves
            .iter()
            .filter_map(|step| match step {
                Move::Appeared { found } => Some(found.clone()),
                _ => None,
            })
            .collect();
        for step in moves {
            match step {
                Move::Renamed { id, to } => self.rename(id, to, now),
                Move::Vanished { id } => self.vanish(id, now),
                Move::Appeared { .. } => {}
            }
        }
        let placed = match is_first {
            true => self.memory.place_first(&self.rules, disk, &new),
            false => new
                .iter()
                .map(|found| self.memory.place(&self.rules, disk, found))
                .collect(),
        };
        for (found, placed) in new.iter().zip(placed) {
            self.follow(found, placed, now, disk);
        }
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
        cursor.rotated_at = Some(now);
        cursor.is_named = true;
        cursor.is_dirty = true;
        if self.by_path.get(&from) == Some(&id) {
            self.by_path.remove(&from);
        }
        self.by_path.insert(Arc::clone(&to), id);
        self.poll_at(id, now);
        self.events.push(Event::Renamed { from, to });
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

    fn follow(&mut self, found: &Found, placed: Placed, now: Instant, disk: &mut D) {
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
        let (had_size, grew) = (cursor.size, stat.size > cursor.size);
        cursor.is_dirty |= stat.size != cursor.size;
        (cursor.size, cursor.modified_ms, cursor.n_links) =
            (stat.size, stat.modified_ms, stat.n_links);
        if grew {
            cursor.grew_at = now;
            cursor.is_finished = false;
        }
        if stat.size < cursor.read {
            let read = cursor.read;
            let path = Arc::clone(&cursor.path);
            self.events.push(Event::Truncated {
                path: Arc::clone(&path),
                read,
                size: stat.size,
            });
            if had_size > read {
                self.events.push(Event::Lost {
                    path,
                    start: read,
                    end: Some(had_size),
                });
            }
            return self.start_anew(id, &stat, now);
        }
        let has_more = stat.size > cursor.read && !cursor.split.is_over && cursor.file.is_some();
        // What waits for its end to come is read again only once there is something new, or nothing came for long.
        let is_new = grew || !cursor.is_told || cursor.problem.is_some();
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
            let quiet_at = cursor.grew_at + self.rules.split.multi_line_idle;
            if quiet_at > now {
                at = at.min(quiet_at);
            }
        }
        if let Some(rotated_at) = cursor.rotated_at {
            let over_at = cursor.grew_at.max(rotated_at) + ROTATED_GRACE;
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
        let quiet = now.saturating_duration_since(cursor.grew_at);
        let is_rotated = cursor
            .rotated_at
            .is_some_and(|at| now >= cursor.grew_at.max(at) + ROTATED_GRACE);
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
            Reading::Done { .. } => self.finish_if_over(id, now),
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
        let quiet = now.saturating_duration_since(cursor.grew_at.max(rotated_at));
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

    fn let_go(&mut self, id: CursorId, is_deleted: bool) {
        let Some(cursor) = self.cursors.remove(&id) else {
            return;
        };
        self.polls.remove(&(cursor.poll_at, id));
        if self.by_identity.get(&cursor.identity) == Some(&id) {
            self.by_identity.remove(&cursor.identity);
        }
        if is_deleted {
            self.removed.push(cursor.identity);
        }
    }

    // ---- reading

    fn unqueue(&mut self, id: CursorId) {
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor.is_queued = false;
        }
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
        (cursor.is_named, cursor.rotated_at, cursor.file) =
            (old.is_named, old.rotated_at, old.file);
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
        if let Some(file) = &cursor.file
            && cursor.fingerprint.len > 0
            && fingerprint_of(disk, file, cursor.fingerprint.len) != Some(cursor.fingerprint)
            && let Ok(stat) = disk.look_at(file)
        {
            self.events.push(Event::Replaced {
                path: Arc::clone(&cursor.path),
                read: cursor.read,
            });
            self.start_anew(id, &stat, now);
            return Reading::Done { n_bytes: 0 };
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
        cursor.extend_fingerprint(disk);
        match result {
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
    let mut filled = 0;
    if let Some(header) = &cursor.header {
        intake.header(header);
    }
    // A piece that isn't all there stays at the buffer's start while more is read behind it.
    cursor.split.forget_search();
    loop {
        if buffer.len() < filled + READ_BYTES {
            buffer.resize((filled + READ_BYTES).next_multiple_of(READ_BYTES), 0);
        }
        let n = disk.read_at(file, cursor.read + filled as u64, &mut buffer[filled..])?;
        filled += n;
        let is_end = n == 0 || cursor.read + filled as u64 >= cursor.size;
        let end = if is_end { at_end } else { End::More };
        let mut at = 0;
        loop {
            let before = cursor.split;
            let piece = rules
                .splitter
                .next(&mut cursor.split, &buffer[..filled], at, end);
            let next = match &piece {
                Piece::Record { data, next, kind } => {
                    if rules.split.is_header_needed && cursor.header.is_none() {
                        match read_header(disk, file, &rules.split) {
                            Ok(header) => intake.header(cursor.header.insert(header)),
                            Err(error) => {
                                cursor.read += at as u64;
                                cursor.split = before;
                                return Err(error);
                            }
                        }
                    }
                    if !intake.has_room(data.len()) {
                        cursor.read += at as u64;
                        cursor.split = before;
                        return Ok(Reading::Blocked);
                    }
                    let span = span_of(cursor, at, *next);
                    intake.record(span, &buffer[data.clone()], *kind, &cursor.path);
                    if *kind == RecordKind::TooLong {
                        let end = (!cursor.split.is_leaving_out()).then_some(span.end);
                        cursor.cut_ranges.push_back(CutRange {
                            start: span.start,
                            end,
                        });
                    }
                    *next
                }
                Piece::Nothing { next } => {
                    note_left_out(cursor, at, *next);
                    intake.nothing(span_of(cursor, at, *next));
                    *next
                }
                Piece::Skipped { line, next } => {
                    let span = span_of(cursor, at, *next);
                    intake.skipped(span, &buffer[line.clone()], &cursor.path);
                    *next
                }
                Piece::Over { next } => {
                    if *next > at {
                        intake.nothing(span_of(cursor, at, *next));
                    }
                    cursor.read += *next as u64;
                    return Ok(Reading::Done {
                        n_bytes: (cursor.read - started_at) as usize,
                    });
                }
                Piece::Incomplete => break,
            };
            at = next;
        }
        cursor.read += at as u64;
        buffer.copy_within(at..filled, 0);
        filled -= at;
        let n_bytes = (cursor.read - started_at) as usize;
        if is_end {
            // `size` may be old: whoever wrote meanwhile is noticed by the next look.
            return Ok(Reading::Done { n_bytes });
        }
        if n_bytes >= bytes_max {
            return Ok(Reading::More { n_bytes });
        }
    }
}

/// The line that names the file's columns, from the file's beginning.
///
/// # Errors
///
/// It can't be read now, or the file isn't what it was any more: the next look tells.
fn read_header<D: Disk>(disk: &mut D, file: &D::File, split: &Split) -> io::Result<Box<[u8]>> {
    let mut beginning = Vec::new();
    loop {
        let filled = beginning.len();
        beginning.resize(filled + READ_BYTES, 0);
        let n = disk.read_at(file, filled as u64, &mut beginning[filled..])?;
        beginning.truncate(filled + n);
        if let Some(line) = header_line(&beginning, split.skip_header_lines) {
            return Ok(line.into());
        }
        if n == 0 || beginning.len() > HEADER_BYTES_MAX {
            let problem = format!(
                "its header isn't within its first {} bytes",
                beginning.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
    }
}

fn span_of<F>(cursor: &Cursor<F>, start: usize, end: usize) -> Span {
    Span {
        cursor: cursor.id,
        start: cursor.read + start as u64,
        end: cursor.read + end as u64,
    }
}

/// Remembers where a header line ends, or the open record that lost its end.
fn note_left_out<F>(cursor: &mut Cursor<F>, start: usize, end: usize) {
    let span = span_of(cursor, start, end);
    match cursor
        .cut_ranges
        .back_mut()
        .filter(|range| range.end.is_none())
    {
        Some(range) => {
            if !cursor.split.is_leaving_out() {
                range.end = Some(span.end);
            }
        }
        None => cursor.header_ends.push_back(span.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InitialPosition;
    use crate::tail::discover::Patterns;
    use crate::tail::disk::OsDisk;
    use crate::tail::split::Splitter;

    /// What reaches the intake, in words.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Intake for Heard {
        fn has_room(&mut self, _data_bytes: usize) -> bool {
            true
        }

        fn record(&mut self, _span: Span, data: &[u8], _kind: RecordKind, _path: &Path) {
            self.hear("record", data);
        }

        fn nothing(&mut self, _span: Span) {}

        fn skipped(&mut self, _span: Span, line: &[u8], _path: &Path) {
            self.hear("skipped", line);
        }

        fn header(&mut self, line: &[u8]) {
            self.hear("header", line);
        }
    }

    impl Heard {
        fn hear(&mut self, what: &str, data: &[u8]) {
            let text = String::from_utf8_lossy(data);
            self.0.push(format!("{what} {}", text.trim_end()));
        }
    }

    fn rules(folder: &Path) -> Rules {
        let split = Split {
            skip_header_lines: 2,
            is_header_needed: true,
            skip_lines: Some(crate::process::java_regex::JavaRegex::new("#.*").unwrap()),
            quoted_csv: None,
            multi_line_start: None,
            multi_line_idle: Duration::from_secs(1),
            footer: None,
            truncated_terminator: Vec::new(),
            aggregate_bytes_max: None,
        };
        let pattern = folder.join("*.csv");
        Rules {
            patterns: Patterns::new([pattern.to_str().unwrap()]).unwrap(),
            splitter: Splitter::new(&split, 1 << 20),
            split,
            initial_position: InitialPosition::StartOfFile,
            poll_interval_min: Duration::from_millis(1),
            rescan_interval_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn records_come_after_their_files_header_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "comment\nid,name\n1,a\n#noise\n").unwrap();
        let now = Instant::now();
        let mut tailer = Tailer::new(rules(folder.path()), FlowPlaces::default(), now);
        let mut heard = Heard::default();
        tailer.turn(now, &mut OsDisk, &mut heard);
        let expected = ["header id,name", "record 1,a", "skipped #noise"];
        assert_eq!(heard.0, expected);

        for cursor in tailer.cursors.values_mut() {
            cursor.acknowledge(cursor.read);
        }
        let (places, _) = tailer.take_changes();
        std::fs::write(&path, "comment\nid,name\n1,a\n#noise\n2,b\n").unwrap();
        let places = FlowPlaces {
            ours: places,
            saved_before: true,
            ..FlowPlaces::default()
        };
        let mut tailer = Tailer::new(rules(folder.path()), places, now);
        let mut heard = Heard::default();
        tailer.turn(now, &mut OsDisk, &mut heard);
        assert_eq!(heard.0, ["header id,name", "record 2,b"]);
    }
}
