//! Scripts of what befalls log files, driven against the real [`Tailer`] and a plain account of what was written.
//!
//! Whatever the script: no line is invented, torn or sent twice in one run; a restart sends again only what no saved
//! place covered; no place stands beyond a byte that isn't accepted; and what stayed readable is accepted in the end.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::discover::Patterns;
use super::split::{RecordKind, Splitter};
use super::tailer::ROTATED_GRACE;
use super::testing::{ContentId, MemoryDisk, Node, Refusals};
use super::{Event, Hint, Intake, Rules, Tailer};
use crate::checkpoint::{FileIdentity, FlowPlaces, Place, PlaceState};
use crate::config::{DeletedFiles, InitialPosition, Split};
use crate::publish::watermark::Watermark;
use crate::record::{CursorId, Span};

/// The names that scripts use: the first four match the pattern.
const NAMES: [&str; 6] = [
    "/logs/app.log",
    "/logs/app.log.1",
    "/logs/app.log.2",
    "/logs/app.log.new",
    "/logs/old.log",
    "/archive/app.log",
];
const PATTERN: &str = "/logs/app.log*";
/// Records of a batch.
const BATCH_RECORDS: usize = 3;

/// One thing that happens. Files are places in [`NAMES`].
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// A writer appends whole lines, then a part of one.
    Append(usize, u8, bool),
    Rename(usize, usize),
    Link(usize, usize),
    Delete(usize),
    /// The file is emptied, and at once written to again.
    Truncate(usize, u8),
    Pass(u32),
    /// A turn of the tailer with room for so many records.
    Turn(u16),
    HintWritten(usize),
    HintRenamed,
    /// The service accepts one of the batches that wait.
    Accept(u8),
    /// The places go to the database.
    Save,
    /// The agent is killed and starts again.
    Kill,
    /// The agent stops as it should and starts again.
    Restart,
    /// From now on these fail: listing folders, opening, reading.
    Refuse(Refusals),
}

use Step::*;

const HEALED: Refusals = Refusals {
    names: false,
    opens: false,
    reads: false,
};

/// A script, printed as one can write it down in a test.
#[derive(Clone)]
struct Script(Vec<Step>);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Append(file, n, part) => write!(f, "Append({file}, {n}, {part})"),
            Rename(from, to) => write!(f, "Rename({from}, {to})"),
            Link(from, to) => write!(f, "Link({from}, {to})"),
            Delete(file) => write!(f, "Delete({file})"),
            Truncate(file, n) => write!(f, "Truncate({file}, {n})"),
            Pass(ms) => write!(f, "Pass({ms})"),
            Turn(room) => write!(f, "Turn({room})"),
            HintWritten(file) => write!(f, "HintWritten({file})"),
            HintRenamed => f.write_str("HintRenamed"),
            Accept(pick) => write!(f, "Accept({pick})"),
            Save => f.write_str("Save"),
            Kill => f.write_str("Kill"),
            Restart => f.write_str("Restart"),
            Refuse(what) if *what == HEALED => f.write_str("Refuse(HEALED)"),
            Refuse(what) => write!(f, "Refuse({what:?})"),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "holds(&[")?;
        for step in &self.0 {
            writeln!(f, "    {step:?},")?;
        }
        f.write_str("]);")
    }
}

/// A defect planted on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Places are saved at what was read rather than at what is accepted.
    PlaceAtRead,
    /// Every file has the same identity.
    OneIdentity,
    /// Acknowledgements move the place to the end of whatever was accepted last.
    NoWatermark,
    /// Places forget how the file began and what stood before them.
    NoFingerprint,
}

/// What the account says of one content.
#[derive(Debug, Default, Clone)]
struct Account {
    /// Starts of records and their ends, as handed on in this run.
    handed: BTreeMap<u64, u64>,
    /// Byte ranges that are accepted, merged.
    accepted: Ranges,
    /// Up to here a saved place covers it.
    saved: u64,
    /// It can't be asked for any more: it was out of reach while nobody held it.
    is_excused: bool,
    /// Ends of parts of lines that were sent as they stood.
    cuts: HashSet<u64>,
    /// When it was written to, and when it lost a name, in ms of the script.
    changed_ms: u64,
    rotated: bool,
}

/// Merged ranges of bytes.
#[derive(Debug, Default, Clone)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn add(&mut self, mut start: u64, mut end: u64) {
        let touching: Vec<u64> = self
            .0
            .range(..=end)
            .filter(|(_, known)| **known >= start)
            .map(|(start, _)| *start)
            .collect();
        for known in touching {
            if let Some(known_end) = self.0.remove(&known) {
                (start, end) = (start.min(known), end.max(known_end));
            }
        }
        self.0.insert(start, end);
    }

    /// How far everything from the beginning on is there.
    fn reach(&self) -> u64 {
        self.0
            .first_key_value()
            .filter(|(start, _)| **start == 0)
            .map_or(0, |(_, end)| *end)
    }
}

struct OutBatch {
    number: u64,
    spans: Vec<Span>,
}

/// The service's side and the intake's.
#[derive(Default)]
struct Sending {
    room: usize,
    records: Vec<(Span, Vec<u8>, RecordKind)>,
    open: Vec<Span>,
    n_open: usize,
    number: u64,
    out: VecDeque<OutBatch>,
    watermarks: HashMap<CursorId, Watermark>,
}

impl Sending {
    fn cover(&mut self, span: Span) {
        match self
            .open
            .iter_mut()
            .find(|known| known.cursor == span.cursor)
        {
            Some(known) => known.end = span.end,
            None => self.open.push(span),
        }
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (number, spans) = (self.number, std::mem::take(&mut self.open));
        (self.number, self.n_open) = (number + 1, 0);
        for span in &spans {
            self.watermarks
                .entry(span.cursor)
                .or_default()
                .register(number, span.end);
        }
        self.out.push_back(OutBatch { number, spans });
    }
}

impl Intake for Sending {
    fn has_room(&mut self, _: usize) -> bool {
        self.room > 0
    }

    fn record(&mut self, span: Span, data: &[u8], kind: RecordKind, _: &Path) {
        self.room -= 1;
        self.records.push((span, data.to_vec(), kind));
        self.cover(span);
        self.n_open += 1;
        if self.n_open == BATCH_RECORDS {
            self.close();
        }
    }

    fn nothing(&mut self, span: Span) {
        self.cover(span);
    }
}

struct World {
    disk: MemoryDisk,
    tailer: Tailer<MemoryDisk>,
    sending: Sending,
    start: Instant,
    now_ms: u64,
    n_lines: u64,
    accounts: BTreeMap<ContentId, Account>,
    /// What each cursor of this run reads, and up to where it did.
    reading: HashMap<CursorId, (ContentId, u64)>,
    /// Where each cursor of this run began.
    began: HashMap<CursorId, u64>,
    saved: HashMap<FileIdentity, Place>,
    saved_before: bool,
    events: Vec<Event>,
    planted: Planted,
    /// Matchers are costly to make.
    rules: Rules,
}

type Verdict = Result<(), String>;

macro_rules! demand {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*));
        }
    };
}

/// What [`PATTERN`] says, without a matcher.
fn is_matched_name(path: &Path) -> bool {
    NAMES[..4].iter().any(|name| Path::new(name) == path)
}

fn rules() -> Rules {
    let split = Split {
        is_header_needed: false,
        quoted_csv: None,
        skip_lines: None,
        skip_header_lines: 0,
        multi_line_start: None,
        multi_line_idle: Duration::from_secs(1),
        footer: None,
        truncated_terminator: b"\n".to_vec(),
        aggregate_bytes_max: None,
    };
    Rules {
        patterns: Patterns::new([PATTERN]).unwrap(),
        splitter: Splitter::new(&split, 1 << 20),
        split,
        initial_position: InitialPosition::StartOfFile,
        poll_interval_min: Duration::from_millis(100),
        rescan_interval_max: Duration::from_secs(10),
        ignore_older: None,
        deleted_files: DeletedFiles::default(),
    }
}

impl World {
    fn new(planted: Planted, hints_work: bool) -> World {
        let start = Instant::now();
        let rules = rules();
        let mut disk = MemoryDisk::default();
        disk.one_identity = planted == Planted::OneIdentity;
        let mut tailer = Tailer::new(rules.clone(), FlowPlaces::default(), start);
        tailer.set_hints_work(hints_work);
        World {
            disk,
            tailer,
            sending: Sending::default(),
            start,
            now_ms: 0,
            n_lines: 0,
            accounts: BTreeMap::new(),
            reading: HashMap::new(),
            began: HashMap::new(),
            saved: HashMap::new(),
            saved_before: false,
            events: Vec::new(),
            planted,
            rules,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn account(&mut self, content: ContentId) -> &mut Account {
        self.accounts.entry(content).or_default()
    }

    fn lines(&mut self, n: u8, part: bool) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..n {
            self.n_lines += 1;
            let width = (self.n_lines * 7 % 23) as usize;
            text.extend_from_slice(format!("{:0>width$}.\n", self.n_lines).as_bytes());
        }
        if part {
            self.n_lines += 1;
            text.extend_from_slice(format!("part {} ", self.n_lines).as_bytes());
        }
        text
    }

    fn step(&mut self, step: Step) -> Verdict {
        match step {
            Append(file, n, part) => {
                let text = self.lines(n, part);
                self.disk.append(NAMES[file], &text);
                if !text.is_empty() {
                    self.note_change(NAMES[file]);
                }
            }
            Truncate(file, n) => {
                let text = self.lines(n, false);
                if let Some(node) = self.disk.node(NAMES[file]).cloned() {
                    self.account(node.content.get()).is_excused = true;
                    let rotated = self.account(node.content.get()).rotated;
                    self.disk.truncate(NAMES[file], &text);
                    self.account(node.content.get()).rotated = rotated;
                }
                self.note_change(NAMES[file]);
            }
            Rename(from, to) => {
                let nodes = [from, to].map(|file| self.disk.node(NAMES[file]).cloned());
                self.disk.rename(NAMES[from], NAMES[to]);
                let [old, new] = nodes;
                if let Some(old) = old {
                    self.note_reach(&old, true);
                    drop(old);
                    new.iter().for_each(|new| self.note_reach(new, true));
                }
            }
            Link(from, to) => self.disk.link(NAMES[from], NAMES[to]),
            Delete(file) => {
                let node = self.disk.node(NAMES[file]).cloned();
                self.disk.delete(NAMES[file]);
                node.iter().for_each(|node| self.note_reach(node, true));
            }
            Pass(ms) => self.now_ms += u64::from(ms),
            Turn(room) => return self.turn(usize::from(room)).map(drop),
            HintWritten(file) => {
                let hint = Hint::Written(NAMES[file].into());
                self.tailer.hint(&hint, self.now());
            }
            HintRenamed => self.tailer.hint(&Hint::Renamed, self.now()),
            Accept(pick) => self.accept(usize::from(pick)),
            Save => return self.save(),
            Kill => self.start_again(),
            Restart => {
                self.sending.close();
                while !self.sending.out.is_empty() {
                    self.accept(0);
                }
                self.save()?;
                self.start_again();
            }
            Refuse(what) => self.disk.refusals = what,
        }
        Ok(())
    }

    fn note_change(&mut self, name: &str) {
        let now_ms = self.now_ms;
        if let Some(node) = self.disk.node(name).cloned() {
            self.account(node.content.get()).changed_ms = now_ms;
            self.note_reach(&node, false);
        }
    }

    /// Once no name leads to a file that matches, only a handle does. `node` is the one count that the caller holds.
    fn note_reach(&mut self, node: &Rc<Node>, lost_name: bool) {
        let mut is_matched = false;
        for (path, other) in self.disk.files() {
            is_matched |= Rc::ptr_eq(node, other) && is_matched_name(path);
        }
        let is_held = Rc::strong_count(node) as u64 > node.n_links.get() + 1;
        let account = self.account(node.content.get());
        account.rotated |= lost_name;
        account.is_excused = !is_matched && (account.is_excused || !is_held);
    }

    fn turn(&mut self, room: usize) -> Result<super::Turn, String> {
        self.sending.room = room;
        let now = self.now();
        let turn = self.tailer.turn(now, &mut self.disk, &mut self.sending);
        self.events.append(&mut self.tailer.take_events());
        for (span, data, kind) in std::mem::take(&mut self.sending.records) {
            self.check(span, &data, kind)?;
        }
        Ok(turn)
    }

    /// One record that was handed on.
    fn check(&mut self, span: Span, data: &[u8], kind: RecordKind) -> Verdict {
        let said = String::from_utf8_lossy(data).into_owned();
        let shown = format!(
            "{said:?} at {}..{} of {:?}",
            span.start, span.end, span.cursor
        );
        let (start, end) = (span.start as usize, span.end as usize);
        // A cursor stays with its content; where two begin alike as far as was read they can't be told apart.
        let candidates = self
            .disk
            .contents()
            .filter(|content| self.disk.bytes(*content).get(start..end) == Some(data));
        let candidates: Vec<ContentId> = candidates.collect();
        let known = self.reading.get(&span.cursor).copied();
        let content = match known {
            Some((content, _)) if candidates.contains(&content) => content,
            Some((before, _)) => {
                let alike = |content: &&ContentId| {
                    self.disk.bytes(before).get(..start) == self.disk.bytes(**content).get(..start)
                };
                let Some(content) = candidates.iter().find(alike).copied() else {
                    return Err(format!("invented, or of another file than before: {shown}"));
                };
                content
            }
            None => match candidates.as_slice() {
                [] => return Err(format!("invented: {shown}")),
                [content] => *content,
                several => self
                    .disk
                    .read_from
                    .filter(|from| several.contains(from))
                    .unwrap_or(several[0]),
            },
        };
        if let Some((_, read)) = known {
            demand!(
                span.start == read,
                "a gap or a step back: read up to {read}, then {shown}"
            );
        }
        self.began.entry(span.cursor).or_insert(span.start);
        self.reading.insert(span.cursor, (content, span.end));
        let now_ms = self.now_ms;
        let is_line_start = start == 0 || self.disk.bytes(content)[start - 1] == b'\n';
        let account = self.accounts.entry(content).or_default();
        demand!(
            is_line_start || account.cuts.contains(&span.start),
            "torn at its start: {shown}"
        );
        match kind {
            RecordKind::Whole => demand!(data.ends_with(b"\n"), "torn at its end: {shown}"),
            RecordKind::Unterminated => {
                let quiet = Duration::from_millis(now_ms - account.changed_ms);
                demand!(
                    account.rotated,
                    "torn though its file wasn't rotated: {shown}"
                );
                demand!(quiet >= ROTATED_GRACE, "torn after {quiet:?}: {shown}");
                account.cuts.insert(span.end);
            }
            RecordKind::TooLong => return Err(format!("cut: {shown}")),
        }
        demand!(
            account.handed.insert(span.start, span.end).is_none(),
            "twice in one run: {shown}"
        );
        demand!(
            span.start >= account.saved,
            "again, though a place at {} was saved: {shown}",
            account.saved
        );
        Ok(())
    }

    /// The service accepts one of the batches in flight.
    fn accept(&mut self, pick: usize) {
        if self.sending.out.is_empty() {
            self.sending.close();
        }
        let n = self.sending.out.len();
        if n == 0 {
            return;
        }
        let Some(batch) = self.sending.out.remove(pick % n) else {
            return;
        };
        for span in batch.spans {
            if let Some((content, _)) = self.reading.get(&span.cursor).copied() {
                self.account(content).accepted.add(span.start, span.end);
            }
            let Some(watermark) = self.sending.watermarks.get_mut(&span.cursor) else {
                continue;
            };
            let moved = watermark.acknowledge(batch.number);
            let moved = match self.planted {
                Planted::NoWatermark => Some(span.end),
                _ => moved,
            };
            if let Some(offset) = moved {
                self.tailer.acknowledge(span.cursor, offset);
            }
        }
    }

    fn save(&mut self) -> Verdict {
        let read: HashMap<_, (CursorId, u64)> = self
            .tailer
            .cursors()
            .map(|cursor| {
                (
                    (cursor.identity, cursor.fingerprint),
                    (cursor.id, cursor.read),
                )
            })
            .collect();
        let (places, removed) = self.tailer.take_changes();
        for identity in removed {
            self.saved.remove(&identity);
        }
        for mut place in places {
            let cursor = read.get(&(place.identity, place.fingerprint)).copied();
            if self.planted == Planted::PlaceAtRead
                && let Some((_, read)) = cursor
            {
                place.offset = read;
            }
            if self.planted == Planted::NoFingerprint {
                place.fingerprint = Default::default();
                place.extra = None;
            }
            if let Some((content, _)) = cursor.and_then(|(id, _)| self.reading.get(&id)).copied() {
                let account = self.account(content);
                let reach = account.accepted.reach();
                demand!(
                    place.offset <= reach,
                    "a place at {} though only {reach} bytes are accepted",
                    place.offset
                );
                account.saved = account.saved.max(place.offset);
            }
            self.saved.insert(place.identity, place);
        }
        self.saved_before = true;
        Ok(())
    }

    fn start_again(&mut self) {
        let places = FlowPlaces {
            ours: self.saved.values().cloned().collect(),
            saved_before: self.saved_before,
            ..FlowPlaces::default()
        };
        self.tailer = Tailer::new(self.rules.clone(), places, self.now());
        self.sending = Sending::default();
        self.reading.clear();
        self.began.clear();
        let mut reachable = self.reachable();
        // A file that was renamed within its folder is found again by what is known of it.
        for (path, node) in self.disk.files() {
            let place = self
                .saved
                .values()
                .find(|place| place.identity.inode == node.inode);
            let content = node.content.get();
            let is_known = self
                .accounts
                .get(&content)
                .is_some_and(|account| account.saved > 0);
            let is_live =
                place.is_some_and(|place| place.offset > 0 && place.state == PlaceState::Live);
            if path.starts_with("/logs") && is_known && is_live {
                reachable.insert(content);
            }
        }
        for (content, account) in &mut self.accounts {
            account.handed.clear();
            account.is_excused |= !reachable.contains(content);
        }
    }

    /// What has a name that matches.
    fn reachable(&self) -> HashSet<ContentId> {
        self.disk
            .files()
            .filter(|(path, _)| is_matched_name(path))
            .map(|(_, node)| node.content.get())
            .collect()
    }

    /// All is well from now on: after a while everything has been sent that can be.
    fn settle(&mut self) -> Verdict {
        self.disk.refusals = HEALED;
        let until_ms = self.now_ms + 5 * ROTATED_GRACE.as_millis() as u64;
        let (mut n_turns, mut n_idle) = (0, 0);
        while self.now_ms < until_ms {
            let turn = self.turn(usize::MAX)?;
            self.sending.close();
            while !self.sending.out.is_empty() {
                self.accept(0);
            }
            self.save()?;
            n_turns += 1;
            n_idle = if turn.has_more || turn.wake_at > self.now() {
                0
            } else {
                n_idle + 1
            };
            demand!(
                n_idle < 5,
                "turn after turn is due at once though there is nothing to do"
            );
            if !turn.has_more {
                let wait = turn.wake_at.saturating_duration_since(self.now());
                // On time at first; then late, as on a busy host, which costs less.
                let least_ms = if n_turns < 20 { 1 } else { 10_000 };
                self.now_ms += (wait.as_millis() as u64).max(least_ms);
            }
        }
        self.check_end()
    }

    fn check_end(&mut self) -> Verdict {
        let reachable = self.reachable();
        for content in self.disk.contents() {
            let bytes = self.disk.bytes(content);
            let account = self.accounts.get(&content).cloned().unwrap_or_default();
            let is_named = reachable.contains(&content);
            if account.is_excused && !is_named {
                continue;
            }
            // Whole lines; of a file that lost its name, the last one as it is.
            let last_line = memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
            let due = if is_named { last_line } else { bytes.len() };
            let reach = account.accepted.reach();
            demand!(
                reach >= due as u64,
                "lost: {:?} at {reach} of {content:?}, {}",
                String::from_utf8_lossy(&bytes[reach as usize..due]),
                if is_named {
                    "which is there"
                } else {
                    "whose handle was held"
                },
            );
        }
        Ok(())
    }
}

/// Plays a script; what is wrong, if anything is.
fn play(steps: &[Step], planted: Planted, hints_work: bool) -> Verdict {
    let mut world = World::new(planted, hints_work);
    for (place, step) in steps.iter().enumerate() {
        world
            .step(*step)
            .map_err(|said| format!("step {place} {step:?}: {said}"))?;
    }
    world.settle().map_err(|said| format!("at the end: {said}"))
}

/// A script of the past that found a defect.
#[track_caller]
fn holds(steps: &[Step]) {
    for hints_work in [false, true] {
        if let Err(said) = play(steps, Planted::Nothing, hints_work) {
            panic!("{said}\n{:?}", Script(steps.to_vec()));
        }
    }
}

fn scripts() -> impl Strategy<Value = Script> {
    let file = || prop_oneof![4 => Just(0usize), 3 => 1..4usize, 1 => 4..6usize];
    let step = prop_oneof![
        10 => (file(), 0..4u8, prop::bool::weighted(0.2)).prop_map(|(file, n, part)| Append(file, n, part)),
        4 => (file(), file()).prop_map(|(from, to)| Rename(from, to)),
        1 => (file(), file()).prop_map(|(from, to)| Link(from, to)),
        2 => file().prop_map(Delete),
        3 => (file(), 0..6u8).prop_map(|(file, n)| Truncate(file, n)),
        3 => prop_oneof![0..300u32, 1000..90_000u32].prop_map(Pass),
        10 => prop_oneof![0..6u16, Just(1000u16)].prop_map(Turn),
        1 => file().prop_map(HintWritten),
        1 => Just(HintRenamed),
        5 => any::<u8>().prop_map(Accept),
        3 => Just(Save),
        1 => Just(Kill),
        1 => Just(Restart),
        1 => (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(names, opens, reads)| Refuse(Refusals { names, opens, reads })),
        1 => Just(Refuse(HEALED)),
    ];
    proptest::collection::vec(step, 1..60).prop_map(Script)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_lost_torn_doubled_or_invented(script in scripts(), hints_work: bool) {
        if let Err(said) = play(&script.0, Planted::Nothing, hints_work) {
            return Err(TestCaseError::fail(said));
        }
    }
}

/// The model is worth nothing if it can't fail.
#[test]
fn planted_defects_are_found() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    for planted in [
        Planted::PlaceAtRead,
        Planted::OneIdentity,
        Planted::NoWatermark,
        Planted::NoFingerprint,
    ] {
        let mut runner = TestRunner::deterministic();
        let found = (1..=10_000).find(|_| {
            let script = scripts().new_tree(&mut runner).unwrap().current();
            play(&script.0, planted, false).is_err()
        });
        assert!(found.is_some(), "{planted:?} goes unseen");
    }
}

#[test]
fn a_rename_rotation_loses_nothing() {
    holds(&[
        Append(0, 3, true),
        Turn(2),
        Rename(0, 1),
        Append(0, 2, false),
        Turn(9),
        Accept(0),
    ]);
}

#[test]
fn a_file_written_anew_to_the_size_that_was_read_is_seen() {
    // It grew while it was read, so that the look before knew a smaller size.
    holds(&[
        Append(1, 3, false),
        Append(0, 1, false),
        Truncate(1, 3),
        Append(0, 2, false),
        Turn(0),
        Append(0, 3, false),
        Turn(1000),
        Truncate(0, 4),
    ]);
}

#[test]
fn a_second_name_for_a_live_file_is_no_rotation() {
    holds(&[Append(3, 0, true), Turn(0), Link(3, 0)]);
    holds(&[Append(3, 1, true), Turn(1), Link(3, 0), Restart]);
}

#[test]
fn a_number_used_again_is_no_rename() {
    // The first was never open, so that nothing kept its number from going to the third.
    holds(&[
        Refuse(Refusals {
            names: false,
            opens: true,
            reads: false,
        }),
        Append(3, 0, false),
        Append(0, 0, false),
        Turn(0),
        Delete(3),
        Rename(0, 1),
        Append(0, 0, true),
    ]);
    holds(&[
        Append(2, 0, false),
        Turn(0),
        Append(0, 0, false),
        Rename(0, 2),
        Restart,
        Append(0, 0, true),
    ]);
}

#[test]
fn unread_bytes_written_anew_are_read_though_they_are_fewer() {
    holds(&[Append(1, 0, true), Turn(3), Truncate(1, 1)]);
}

#[test]
fn a_file_renamed_out_of_the_pattern_while_nobody_looked_is_read_to_its_end() {
    holds(&[
        Append(0, 2, false),
        Turn(9),
        Accept(0),
        Save,
        Append(0, 2, false),
        Rename(0, 4),
        Kill,
        Append(4, 1, true),
        Append(0, 2, false),
    ]);
}
