//! The state machine that follows a flow's files.
//!
//! A turn looks for new files when that is due, looks at the files whose time has come, and reads from those that have
//! more: each in its turn and at most [`TURN_BYTES`] of it, so that a backlog never delays a live file by more than one
//! turn of each. A file is looked at the less often the longer it was quiet; hints bring the next look forward.
//!
//! Here is the turn itself and what the tailer's owner asks of it; its jobs are [`walk`] (which files there are),
//! [`look`] (when each is looked at, and what that tells), [`search`] (where a content went that lost its file; its
//! candidates come from [`sight`] and are told by [`probe`], and it goes on in [`continued`]), [`newcomer`] (whether a new
//! file is a copy of another), [`read`] (bytes to the intake) and [`places`] (what is remembered of it all). [`handles`] is
//! about files that aren't open meanwhile, and about those that are deleted; [`older`] about those that are left alone,
//! [`devices`] about those whose device has another number than it had.

mod continued;
mod devices;
mod handles;
mod look;
pub mod newcomer;
mod older;
mod places;
mod probe;
mod read;
mod search;
mod sight;
mod walk;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use devices::is_other_device;

use super::cursor::Cursor;
use super::disk::Disk;
use super::gzip::{Body, WithGzip};
use super::place::Memory;
use super::split::End;
use super::{Event, Hint, Intake, Rules, Turn};
use crate::checkpoint::{FileIdentity, FlowPlaces, Place};
use crate::record::CursorId;
use newcomer::{Head, Oldest};
use read::Reading;
use search::Search;

/// The most that is read of one file before the others have their turn.
pub const TURN_BYTES: usize = 1024 * 1024;
/// The longest time between two looks at a quiet file.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The same where no hints come, for few files; many share [`look::LOOKS_PER_SECOND`].
const POLL_INTERVAL_MAX_WITHOUT_HINTS: Duration = Duration::from_secs(1);
/// The shortest time between two walks, whatever hints come, for few files.
const WALK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The same for each followed file: a walk passes all of them, and is to cost no more than a hundredth of a core.
const WALK_INTERVAL_PER_FILE: Duration = Duration::from_micros(100);
/// How long a file whose name went to another must be quiet before its last line counts as all there is of it.
pub const ROTATED_GRACE: Duration = Duration::from_secs(60);

/// The files of one flow.
pub struct Tailer<D: Disk> {
    rules: Rules,
    memory: Memory,
    cursors: HashMap<CursorId, Cursor<Body<D::File>>>,
    by_path: HashMap<Arc<Path>, CursorId>,
    by_identity: HashMap<FileIdentity, CursorId>,
    /// When each cursor is looked at next.
    polls: BTreeSet<(Instant, CursorId)>,
    /// Cursors with more to be read, in turns.
    queue: VecDeque<CursorId>,
    /// How followed files began in this turn, as far as new ones were compared with them.
    heads: HashMap<CursorId, Head>,
    /// Contents that lost their file.
    searches: Vec<Search<Body<D::File>>>,
    /// Places of files that aren't followed and changed all the same, until they are asked for.
    unfollowed: Vec<Place>,
    next_id: u64,
    n_turns: u64,
    /// For how long the longest followed file is followed.
    oldest: Oldest,
    walk_at: Instant,
    walked_at: Option<Instant>,
    /// Files that were renamed out of the patterns' reach while we were away have been looked for.
    has_sought_strays: bool,
    /// Devices of whose files the system tells what changes, as far as the last walk asked.
    telling_devices: HashSet<u64>,
    /// Whether hints can be relied on to come in time.
    hints_work: bool,
    /// What this turn's reads go into.
    buffer: Vec<u8>,
    events: Vec<Event>,
    removed: Vec<FileIdentity>,
    had_files: Option<bool>,
    /// Folders that the last walk listed.
    listed_folders: Vec<PathBuf>,
    /// The same, until they are asked for.
    folders: Option<Vec<PathBuf>>,
    unlisted: HashMap<PathBuf, io::ErrorKind>,
    /// That files are closed while others are read was said.
    has_told_handles: bool,
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
            heads: HashMap::new(),
            searches: Vec::new(),
            unfollowed: Vec::new(),
            next_id: 0,
            n_turns: 0,
            oldest: Oldest::default(),
            listed_folders: Vec::new(),
            walk_at: now,
            walked_at: None,
            has_sought_strays: false,
            telling_devices: HashSet::new(),
            hints_work: false,
            buffer: Vec::new(),
            events: Vec::new(),
            removed: Vec::new(),
            had_files: None,
            folders: None,
            unlisted: HashMap::new(),
            has_told_handles: false,
        }
    }

    /// Cursors of this tailer have numbers beyond `last`: what is acknowledged of earlier ones can't be taken for theirs.
    pub fn number_cursors_after(&mut self, last: CursorId) {
        self.next_id = self.next_id.max(last.0);
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
            Hint::Missed => {
                self.walk_soon(now);
                let ids: Vec<CursorId> = self.cursors.keys().copied().collect();
                ids.into_iter().for_each(|id| self.poll_at(id, now));
            }
        }
    }

    /// So many more files are about to be followed: moved once, and not each time that they are twice as many.
    fn make_room(&mut self, n_files: usize) {
        self.cursors.reserve(n_files);
        self.by_path.reserve(n_files);
        self.by_identity.reserve(n_files);
    }

    /// A file is followed from now on.
    fn admit(&mut self, cursor: Cursor<Body<D::File>>) {
        self.oldest.admit(cursor.since_turn);
        self.by_identity.insert(cursor.identity, cursor.id);
        self.cursors.insert(cursor.id, cursor);
    }

    /// A path leads to a file no more, unless it leads to another one by now.
    fn unname(&mut self, path: &Path, id: CursorId) {
        if self.by_path.get(path) == Some(&id) {
            self.by_path.remove(path);
        }
    }

    fn walk_soon(&mut self, now: Instant) {
        let n_files = u32::try_from(self.cursors.len()).unwrap_or(u32::MAX);
        let interval = WALK_INTERVAL_MIN.max(WALK_INTERVAL_PER_FILE.saturating_mul(n_files));
        let soonest = self.walked_at.map_or(now, |walked| walked + interval);
        self.walk_at = self.walk_at.min(soonest.max(now));
    }

    /// Everything of a file below `offset` is acknowledged. A cursor that isn't known any more is no error.
    pub fn acknowledge(&mut self, id: CursorId, offset: u64) {
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor.acknowledge(offset);
        }
        let sought = self.searches.iter_mut().map(|search| &mut search.cursor);
        for cursor in sought.filter(|cursor| cursor.id == id) {
            cursor.acknowledge(offset);
        }
    }

    /// One turn: looks at what is due and hands on what there is, until the queue is empty, [`TURN_BYTES`] were read or
    /// the intake is full.
    pub fn turn(&mut self, now: Instant, disk: &mut D, intake: &mut impl Intake) -> Turn {
        self.n_turns += 1;
        let disk = &mut WithGzip(disk);
        let n_handles_wanted = disk.n_handles_wanted();
        if n_handles_wanted > 0 {
            self.park(n_handles_wanted, disk);
        }
        if now >= self.walk_at {
            self.walk(now, disk);
        }
        self.look_at_due(now, disk, intake);
        // What a search finds is looked at, and what must be looked at first for it.
        for _ in 0..2 {
            if !self.searches.is_empty() {
                self.search(now, disk);
                self.look_at_due(now, disk, intake);
            }
        }
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
        // They may be others by the next turn.
        self.heads = HashMap::new();
        // A hundred flows that wait for room would hold a hundred buffers.
        if !self.buffer.is_empty() {
            intake.give_back_buffer(std::mem::take(&mut self.buffer));
        }
        let next_poll = self.polls.first().map(|(at, _)| *at);
        let next_try = self.searches.iter().map(|search| search.try_at).min();
        let wake_at = [next_poll, next_try].into_iter().flatten();
        Turn {
            has_more: !self.queue.is_empty() && !is_blocked,
            is_blocked,
            wake_at: wake_at.fold(self.walk_at, Instant::min),
        }
    }

    fn unqueue(&mut self, id: CursorId) {
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor.is_queued = false;
        }
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The followed files.
    pub fn cursors(&self) -> impl Iterator<Item = &Cursor<Body<D::File>>> {
        self.cursors.values()
    }

    /// How many files are followed.
    pub fn n_followed(&self) -> usize {
        self.cursors.len()
    }

    /// The folders that the last walk listed, if there was one since this was last asked.
    pub fn take_folders(&mut self) -> Option<Vec<PathBuf>> {
        self.folders.take()
    }

    /// Whether the first look has been taken.
    pub fn has_looked(&self) -> bool {
        self.walked_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DeletedFiles, InitialPosition, Split};
    use crate::record::Span;
    use crate::tail::discover::Patterns;
    use crate::tail::disk::OsDisk;
    use crate::tail::split::RecordKind;
    use crate::tail::split::Splitter;
    use crate::tail::testing::MemoryDisk;

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
            ignore_older: None,
            deleted_files: DeletedFiles::default(),
        }
    }

    /// All that was read of the old file is acknowledged; what the new one has more of isn't lost of the old one.
    #[test]
    fn a_longer_file_under_an_old_number_is_no_loss() {
        let mut disk = MemoryDisk::default();
        disk.append("/l/a.csv", b"h\nid\n1\n");
        let now = Instant::now();
        let rules = rules(Path::new("/l"));
        let mut tailer = Tailer::new(rules.clone(), FlowPlaces::default(), now);
        tailer.turn(now, &mut disk, &mut Heard::default());
        for cursor in tailer.cursors.values_mut() {
            cursor.acknowledge(cursor.read);
        }
        let (places, _) = tailer.take_changes();
        drop(tailer);
        disk.delete("/l/a.csv");
        disk.append("/l/a.csv", b"other\nname\n2\n3\n");
        let places = FlowPlaces {
            ours: places,
            saved_before: true,
            ..FlowPlaces::default()
        };
        let mut tailer = Tailer::new(rules, places, now);
        let mut heard = Heard::default();
        for s in 0..10 {
            tailer.turn(now + Duration::from_secs(s), &mut disk, &mut heard);
        }
        assert_eq!(heard.0, ["header name", "record 2", "record 3"]);
        let events = tailer.take_events();
        let is_loss = |event: &Event| matches!(event, Event::Lost { .. });
        assert!(!events.iter().any(is_loss), "{events:?}");
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
