//! A script's world: files, who writes them, and what is in the database; and a plain account of every line.

mod deeds;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::sending::lines_of;
use super::stage::Stage;
use super::{HEALED, Kind, MATCHED, NAMES, Planted, Step};
use crate::checkpoint::{FileIdentity, Fingerprint, FlowPlaces, Place};
use crate::config::{DeletedFiles, InitialPosition, Split};
use crate::process::java_regex::JavaRegex;
use crate::record::{CursorId, Span};
use crate::tail::cursor::Cursor;
use crate::tail::discover::Patterns;
use crate::tail::disk::{Disk, FileStat, Name};
use crate::tail::gzip::Body;
use crate::tail::owed::without_owed;
use crate::tail::split::{RecordKind, Splitter};
use crate::tail::tailer::ROTATED_GRACE;
use crate::tail::testing::{ContentId, Node};
use crate::tail::{Rules, Tailer};

pub type Verdict = Result<(), String>;

/// Why a line may come twice in one run, or again though a place covers it. Each is a case of the one that is promised:
/// nothing tells that two files are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Excuse {
    /// A copy whose source wasn't cut off is a file of its own.
    Copied,
    /// So is what is written to either of them later, once both are copied again.
    GrewOn,
    /// The folder couldn't be listed, or a file not be opened or read, when it was to be told.
    Unreadable,
    /// What was rotated before is copied and cut off: nobody rotates so.
    RotatedBefore,
    /// It was copied over a file of which nothing was to be sent, which stands for what is there.
    OverOld,
    /// The source of a copy is gone, and nobody saw it being cut off.
    SourceGone,
    /// The source of a copy was cut off and renamed out of the patterns while nobody looked, and holds as much by now as
    /// was read of it: it may as well be another file under its number.
    SourceMoved,
}

thread_local! {
    static N_LINES: Cell<u64> = const { Cell::new(0) };
    static EXCUSED: RefCell<BTreeMap<Excuse, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Lines that came in this thread since this was last asked, and how many of them came again, by their excuse.
pub fn take_tally() -> (u64, BTreeMap<Excuse, u64>) {
    (N_LINES.take(), EXCUSED.take())
}

/// What the agent followed.
struct View {
    id: CursorId,
    identity: FileIdentity,
    is_open: bool,
}

macro_rules! demand {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*));
        }
    };
}

pub(super) use demand;

/// Within this every followed file is looked at, and every folder listed.
const LOOK_INTERVAL_MAX_MS: u64 = 10_000;

/// What the account says of one content.
#[derive(Debug, Default, Clone)]
struct Account {
    /// It can't be asked for any more: it was out of reach while nobody held it.
    is_excused: bool,
    /// Ends of parts of lines that were sent as they stood.
    cuts: HashSet<u64>,
    /// It was there before the agent was, up to here.
    skip: usize,
    /// When it was written to, in ms of the script, and whether it lost a name.
    changed_ms: u64,
    rotated: bool,
}

/// A copy outside the patterns that the agent must find, until it holds it.
struct Awaited {
    source: FileIdentity,
    content: ContentId,
    copy: String,
}

pub struct World<S: Stage> {
    stage: S,
    kind: Kind,
    pub planted: Planted,
    pub rules: Rules,
    start: Instant,
    now_ms: u64,
    /// What the agent followed at the end of its last turn.
    views: Vec<View>,
    has_looked: bool,
    /// Before which operation of the next turn the next deed of a writer comes.
    amid: Option<u8>,
    /// Such deeds, and the operations of the turn that goes on.
    to_come: Vec<(u8, Step)>,
    n_operations: u32,
    /// Something came in its midst.
    has_befallen: bool,
    n_lines: u64,
    accounts: BTreeMap<ContentId, Account>,
    /// What each cursor of this run reads, and up to where it did.
    reading: HashMap<CursorId, (ContentId, u64)>,
    handed: HashSet<Vec<u8>>,
    pub accepted: HashSet<Vec<u8>>,
    /// Lines before a saved place.
    covered: HashSet<Vec<u8>>,
    /// Lines of copies that nobody can tell from files of their own.
    may_repeat: HashMap<Vec<u8>, Excuse>,
    undecided: HashSet<ContentId>,
    awaited: HashMap<ContentId, Awaited>,
    /// What was copied and cut off, by its source.
    cut_off: Vec<(FileIdentity, Vec<u8>)>,
    /// What was compressed, by the gzip's path.
    packed: HashMap<PathBuf, ContentId>,
    saved: HashMap<FileIdentity, (Place, Option<ContentId>)>,
    /// What is saved of contents that a file held before.
    owed: HashMap<FileIdentity, Vec<(Place, Option<ContentId>)>>,
    saved_before: bool,
    /// Something was refused, and since all is well the agent hasn't looked at everything.
    is_troubled: bool,
    healed_ms: u64,
}

fn rules(kind: Kind, root: &str) -> Rules {
    let regex = |text: &str| Some(JavaRegex::new(text).unwrap());
    let split = Split {
        is_header_needed: false,
        quoted_csv: None,
        skip_lines: None,
        skip_header_lines: u32::from(kind == Kind::Header),
        multi_line_start: (kind == Kind::MultiLine)
            .then(|| regex("0*[0-9]*[02468]\\."))
            .flatten(),
        multi_line_idle: Duration::from_secs(1),
        footer: (kind == Kind::Footer).then(|| regex("footer .*")).flatten(),
        truncated_terminator: b"\n".to_vec(),
        aggregate_bytes_max: None,
    };
    let pattern = format!("{root}/logs/app.log*");
    Rules {
        patterns: Patterns::new([pattern.as_str()]).unwrap(),
        splitter: Splitter::new(&split, 1 << 20),
        split,
        initial_position: match kind {
            Kind::EndOfFile => InitialPosition::EndOfFile,
            _ => InitialPosition::StartOfFile,
        },
        poll_interval_min: Duration::from_millis(100),
        rescan_interval_max: Duration::from_secs(10),
        ignore_older: None,
        deleted_files: DeletedFiles::default(),
    }
}

/// The lines may repeat.
fn excuse(lines: &mut HashMap<Vec<u8>, Excuse>, text: &[u8], why: Excuse) {
    for line in lines_of(text) {
        lines.entry(line).or_insert(why);
    }
}

/// Whether a walk finds a file of this name.
fn is_matched(root: &str, path: &Path) -> bool {
    let names = &NAMES[..MATCHED];
    names
        .iter()
        .any(|name| Path::new(&format!("{root}{name}")) == path)
}

/// Where the last line begins that starts a record of several.
fn last_start(bytes: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    for line in lines_of(bytes) {
        if let [number @ .., digit, b'.', b'\n'] = line.as_slice()
            && number.iter().all(u8::is_ascii_digit)
            && b"02468".contains(digit)
        {
            last = at;
        }
        at += line.len();
    }
    last
}

impl<S: Stage> World<S> {
    pub fn new(stage: S, kind: Kind, planted: Planted, start: Instant) -> World<S> {
        World {
            rules: rules(kind, stage.root()),
            stage,
            kind,
            planted,
            start,
            now_ms: 0,
            views: Vec::new(),
            has_looked: false,
            amid: None,
            to_come: Vec::new(),
            n_operations: 0,
            has_befallen: false,
            n_lines: 0,
            accounts: BTreeMap::new(),
            reading: HashMap::new(),
            handed: HashSet::new(),
            accepted: HashSet::new(),
            covered: HashSet::new(),
            may_repeat: HashMap::new(),
            undecided: HashSet::new(),
            awaited: HashMap::new(),
            cut_off: Vec::new(),
            packed: HashMap::new(),
            saved: HashMap::new(),
            owed: HashMap::new(),
            saved_before: false,
            is_troubled: false,
            healed_ms: 0,
        }
    }

    pub fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    pub fn path(&self, file: usize) -> String {
        format!("{}{}", self.stage.root(), NAMES[file])
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Operations on the disk in the last turn.
    pub fn n_operations(&self) -> u32 {
        self.n_operations
    }

    fn account(&mut self, content: ContentId) -> &mut Account {
        self.accounts.entry(content).or_default()
    }

    fn node(&mut self, path: &str) -> Option<Rc<Node>> {
        self.stage.memory().node(path).cloned()
    }

    fn files(&mut self) -> Vec<(PathBuf, Rc<Node>)> {
        let files = self.stage.memory().files();
        files
            .map(|(path, node)| (path.to_owned(), Rc::clone(node)))
            .collect()
    }

    fn bytes(&mut self, content: ContentId) -> Vec<u8> {
        self.stage.memory().bytes(content).to_vec()
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

    pub fn begin_turn(&mut self) {
        (self.n_operations, self.has_befallen) = (0, false);
        if self.kind == Kind::EndOfFile && !self.has_looked && !self.saved_before {
            // What comes in the midst of it, nobody can say of whether it was there before.
            self.befall_all();
            for content in self.reachable() {
                let bytes = self.bytes(content);
                let skip = memchr::memrchr(b'\n', &bytes).map_or(0, |newline| newline + 1);
                // So it is with copies of it that were there before, wherever they are.
                let memory = self.stage.memory();
                let alike: Vec<ContentId> = memory
                    .contents()
                    .filter(|other| *other == content || memory.bytes(*other) == bytes)
                    .collect();
                for content in alike {
                    self.account(content).skip = skip;
                }
            }
        }
    }

    /// What is still to come of a writer's deeds.
    fn befall_all(&mut self) {
        for (_, deed) in std::mem::take(&mut self.to_come) {
            self.befall(deed);
        }
    }

    /// What the agent follows now.
    pub fn see<D: Disk>(&mut self, tailer: &Tailer<D>) {
        self.has_looked = tailer.has_looked();
        let view = |cursor: &Cursor<Body<D::File>>| View {
            id: cursor.id,
            identity: cursor.identity,
            is_open: cursor.file.is_some(),
        };
        self.views = tailer.cursors().map(view).collect();
        let is_well = self.stage.memory().refusals == HEALED;
        self.is_troubled &= !(is_well && self.now_ms >= self.healed_ms + LOOK_INTERVAL_MAX_MS);
    }

    pub fn end_turn(&mut self) {
        let is_held = |identity| {
            let mut views = self.views.iter();
            views.any(|view| view.identity == identity && view.is_open)
        };
        let nodes: Vec<Rc<Node>> = self
            .stage
            .memory()
            .files()
            .map(|(_, node)| Rc::clone(node))
            .collect();
        for node in nodes {
            if is_held(self.stage.identity(&node)) {
                self.awaited.remove(&node.content.get());
            }
        }
        self.befall_all();
    }

    /// What a cursor reads, if it has read anything.
    pub fn content_read_by(&self, id: CursorId) -> Option<ContentId> {
        self.reading.get(&id).map(|(content, _)| *content)
    }

    /// All is well from now on.
    pub fn heal(&mut self) {
        self.stage.memory().refusals = HEALED;
    }

    /// The content that a record is of.
    fn content_of(&mut self, span: Span, data: &[u8]) -> Result<ContentId, String> {
        let (start, end) = (span.start as usize, span.end as usize);
        let mut views = self.views.iter();
        let identity = views.find(|view| view.id == span.cursor);
        let identity = identity.map(|view| view.identity);
        let files: Vec<(PathBuf, Rc<Node>)> = self.files();
        let mut now = files.iter().filter_map(|(path, node)| {
            let packed = self.packed.get(path).copied();
            let is_it = Some(self.stage.identity(node)) == identity;
            is_it.then_some(packed.unwrap_or(node.content.get()))
        });
        let now = now.next();
        let memory = self.stage.memory();
        let candidates: Vec<ContentId> = memory
            .contents()
            .filter(|content| memory.bytes(*content).get(start..end) == Some(data))
            .collect();
        // A cursor stays with its content, or goes on in a copy of it.
        if let Some(now) = now.filter(|now| candidates.contains(now))
            && self.reading.get(&span.cursor).is_none_or(|(before, _)| {
                memory.bytes(*before).get(..start) == memory.bytes(now).get(..start)
            })
        {
            return Ok(now);
        }
        match self.reading.get(&span.cursor) {
            Some((content, _)) if candidates.contains(content) => Ok(*content),
            Some((before, _)) => {
                let begins_alike = |content: &&ContentId| {
                    memory.bytes(*before).get(..start) == memory.bytes(**content).get(..start)
                };
                let content = candidates.iter().find(begins_alike).copied();
                content.ok_or_else(|| "invented, or of another file than before".to_owned())
            }
            None => {
                let read_from = memory.read_from.filter(|from| candidates.contains(from));
                let content = read_from.or(candidates.last().copied());
                content.ok_or_else(|| "invented".to_owned())
            }
        }
    }

    /// One record that was handed on.
    pub fn check(&mut self, span: Span, data: &[u8], kind: RecordKind) -> Verdict {
        let said = String::from_utf8_lossy(data).into_owned();
        let shown = format!(
            "{said:?} at {}..{} of {:?}",
            span.start, span.end, span.cursor
        );
        let content = self
            .content_of(span, data)
            .map_err(|said| format!("{said}: {shown}"))?;
        if let Some((_, read)) = self.reading.get(&span.cursor) {
            let goes_on = match self.kind {
                Kind::Header => span.start >= *read,
                _ => span.start == *read,
            };
            demand!(
                goes_on,
                "a gap or a step back: read up to {read}, then {shown}"
            );
        }
        self.reading.insert(span.cursor, (content, span.end));
        let start = span.start as usize;
        let is_line_start = start == 0 || self.bytes(content)[start - 1] == b'\n';
        let now_ms = self.now_ms;
        // Of several that are alike one that was rotated counts.
        let text = self.bytes(content);
        let ends = ..span.end as usize;
        let alike: Vec<ContentId> = self
            .stage
            .memory()
            .contents()
            .collect::<Vec<_>>()
            .into_iter()
            .filter(|other| self.stage.memory().bytes(*other).get(ends) == text.get(ends))
            .collect();
        let cut: Vec<ContentId> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.cuts.contains(&span.start))
            .map(|(other, _)| *other)
            .collect();
        let is_cut = cut
            .into_iter()
            .any(|other| self.stage.memory().bytes(other).get(..start) == text.get(..start));
        demand!(is_line_start || is_cut, "torn at its start: {shown}");
        if kind == RecordKind::Unterminated {
            for other in &alike {
                self.account(*other).cuts.insert(span.end);
            }
        }
        let rotated = alike.into_iter().find(|other| self.account(*other).rotated);
        let has_befallen = self.has_befallen;
        let account = self.account(rotated.unwrap_or(content));
        match kind {
            RecordKind::Whole => demand!(data.ends_with(b"\n"), "torn at its end: {shown}"),
            RecordKind::Unterminated => {
                let quiet = Duration::from_millis(now_ms - account.changed_ms);
                demand!(
                    account.rotated,
                    "torn though its file wasn't rotated: {shown}"
                );
                // What was written behind it in the same turn came later.
                let is_quiet = quiet >= ROTATED_GRACE || has_befallen;
                demand!(is_quiet, "torn after {quiet:?}: {shown}");
                account.cuts.insert(span.end);
            }
            RecordKind::TooLong => return Err(format!("cut: {shown}")),
        }
        for line in lines_of(data) {
            N_LINES.set(N_LINES.get() + 1);
            if let Some(why) = self.may_repeat.get(&line) {
                if self.covered.contains(&line) || !self.handed.insert(line) {
                    EXCUSED.with_borrow_mut(|excused| *excused.entry(*why).or_default() += 1);
                }
                continue;
            }
            demand!(
                !self.covered.contains(&line),
                "again, though a saved place covers it: {shown}"
            );
            demand!(self.handed.insert(line), "twice in one run: {shown}");
        }
        Ok(())
    }

    /// The lines of a content that are to be sent, up to `end`; each with the parts that it may have been sent in.
    fn due_lines(&mut self, content: ContentId, end: usize) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
        let bytes = self.bytes(content);
        let account = self.account(content).clone();
        let mut due = Vec::new();
        let mut start = 0;
        for (place, line) in lines_of(&bytes[..end.min(bytes.len())]).enumerate() {
            let is_header = self.kind == Kind::Header && place == 0;
            if self.kind == Kind::Footer && line.starts_with(b"footer ") {
                break;
            }
            let next = start + line.len();
            if !is_header && start >= account.skip {
                let cuts = account.cuts.iter().map(|cut| *cut as usize);
                let mut ends: Vec<usize> = cuts.filter(|cut| (start..next).contains(cut)).collect();
                ends.extend([start, next]);
                ends.sort_unstable();
                ends.dedup();
                let parts = ends.windows(2).map(|part| bytes[part[0]..part[1]].to_vec());
                due.push((line, parts.collect()));
            }
            start = next;
        }
        due
    }

    fn is_accepted(&self, (line, parts): &(Vec<u8>, Vec<Vec<u8>>)) -> bool {
        let is_in = |line: &Vec<u8>| self.accepted.contains(line);
        is_in(line) || parts.iter().all(is_in)
    }

    /// The database has these places now, and `removed` no more. What cursors were reading when they were taken, by file and
    /// fingerprint, and how far.
    pub fn save(
        &mut self,
        places: Vec<Place>,
        removed: &[FileIdentity],
        reading: &HashMap<(FileIdentity, Fingerprint), (ContentId, u64)>,
    ) -> Verdict {
        for identity in removed {
            self.saved.remove(identity);
            self.owed.remove(identity);
        }
        for mut place in places {
            let read = reading.get(&(place.identity, place.fingerprint)).copied();
            if self.planted == Planted::PlaceAtRead
                && let Some((_, read)) = read
            {
                place.offset = read;
            }
            if self.planted == Planted::NoFingerprint {
                place.fingerprint = Default::default();
                place.extra = None;
            }
            self.note_owed(&place);
            let before = self.saved.get(&place.identity);
            let before = before.filter(|(before, _)| before.fingerprint == place.fingerprint);
            let packed = self.packed.get(&place.path).copied();
            let content = read.map(|(content, _)| content);
            let content = content
                .or(packed)
                .or(before.and_then(|(_, content)| *content));
            if let Some((content, _)) = read {
                for line in self.due_lines(content, place.offset as usize) {
                    demand!(
                        self.is_accepted(&line),
                        "a place at {} though {:?} isn't accepted",
                        place.offset,
                        String::from_utf8_lossy(&line.0)
                    );
                    self.covered.insert(line.0);
                    self.covered.extend(line.1);
                }
            }
            self.saved.insert(place.identity, (place, content));
        }
        self.saved_before = true;
        Ok(())
    }

    /// The contents that are owed beside a place are known from their own.
    fn note_owed(&mut self, place: &Place) {
        let (_, owed) = without_owed(place.clone());
        let before = self.owed.remove(&place.identity).unwrap_or_default();
        let known: Vec<_> = before
            .into_iter()
            .chain(self.saved.get(&place.identity).cloned())
            .collect();
        let content_of = |place: &Place| {
            let begins_so = |(known, _): &&(Place, _)| known.fingerprint == place.fingerprint;
            known
                .iter()
                .find(begins_so)
                .and_then(|(_, content)| *content)
        };
        let owed = owed.into_iter().map(|owed| {
            let content = content_of(&owed.place);
            (owed.place, content)
        });
        self.owed.insert(place.identity, owed.collect());
    }

    /// The agent starts again, from what is saved.
    pub fn start_again(&mut self) -> FlowPlaces {
        let places = FlowPlaces {
            ours: self
                .saved
                .values()
                .map(|(place, _)| place.clone())
                .collect(),
            saved_before: self.saved_before,
            ..FlowPlaces::default()
        };
        self.views.clear();
        self.has_looked = false;
        self.reading.clear();
        self.handed.clear();
        self.forget_gone_sources();
        self.forget_moved_sources();
        let unsaved: Vec<ContentId> = self
            .awaited
            .iter()
            .filter(|(_, awaited)| !self.is_saved(awaited.source, awaited.content))
            .map(|(copy, _)| *copy)
            .collect();
        for copy in unsaved {
            self.awaited.remove(&copy);
        }
        let mut reachable = self.reachable();
        reachable.extend(self.awaited.keys());
        reachable.extend(self.found_again());
        for (content, account) in &mut self.accounts {
            account.is_excused |= !reachable.contains(content);
        }
        places
    }

    /// What is found by what is saved of it: in the folder where it was, under another name or compressed.
    fn found_again(&mut self) -> HashSet<ContentId> {
        let mut found = HashSet::new();
        for (path, node) in self.files() {
            let packed = self.packed.get(&path).copied();
            let content = packed.unwrap_or(node.content.get());
            let identity = self.stage.identity(&node);
            let is_itself = self.is_saved(identity, content)
                && self.saved[&identity].0.path.parent() == path.parent()
                && self.saved[&identity].0.path != path;
            let kin = |place: &Place| {
                let name = place.path.file_name().unwrap_or_default();
                let gzip = path.file_name().unwrap_or_default();
                gzip.as_encoded_bytes().starts_with(name.as_encoded_bytes())
            };
            let is_packed = packed.is_some()
                && self
                    .saved
                    .iter()
                    .any(|(identity, (place, _))| self.is_saved(*identity, content) && kin(place));
            if is_itself || is_packed {
                found.insert(content);
            }
        }
        found
    }

    /// What has a name that matches.
    fn reachable(&mut self) -> HashSet<ContentId> {
        let root = self.stage.root().to_owned();
        let files = self.stage.memory().files();
        files
            .filter(|(path, _)| is_matched(&root, path))
            .map(|(_, node)| node.content.get())
            .collect()
    }

    pub fn check_end(&mut self) -> Verdict {
        let reachable = self.reachable();
        let contents: Vec<ContentId> = self.stage.memory().contents().collect();
        for content in contents {
            let is_named = reachable.contains(&content);
            if self.account(content).is_excused && !is_named {
                continue;
            }
            let bytes = self.bytes(content);
            // Whole lines; of a file that lost its name, the last one as it is.
            let last_line = memchr::memrchr(b'\n', &bytes).map_or(0, |newline| newline + 1);
            let due = match (is_named, self.kind) {
                (false, _) => bytes.len(),
                // The last record goes on until its last line is whole.
                (true, Kind::MultiLine) if last_line < bytes.len() => last_start(&bytes),
                (true, _) => last_line,
            };
            for line in self.due_lines(content, due) {
                demand!(
                    self.is_accepted(&line),
                    "lost: {:?} of {content:?}, {}",
                    String::from_utf8_lossy(&line.0),
                    if is_named {
                        "which is there"
                    } else {
                        "which was in reach"
                    },
                );
            }
        }
        Ok(())
    }
}

/// The disk that the agent sees: in the midst of its operations others have their turn.
impl<S: Stage> Disk for World<S> {
    type File = <S::Disk as Disk>::File;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        self.begin_operation();
        self.stage.disk().names(folder)
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        self.begin_operation();
        self.stage.disk().look(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<Self::File> {
        self.begin_operation();
        self.stage.disk().open(path)
    }

    fn share(&mut self, file: &Self::File) -> io::Result<Self::File> {
        self.stage.disk().share(file)
    }

    fn look_at(&mut self, file: &Self::File) -> io::Result<FileStat> {
        self.begin_operation();
        self.stage.disk().look_at(file)
    }

    fn is_link(&mut self, path: &Path) -> bool {
        self.stage.disk().is_link(path)
    }

    fn tells_of(&mut self, path: &Path) -> bool {
        self.stage.disk().tells_of(path)
    }

    fn read_at(&mut self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.begin_operation();
        self.stage.disk().read_at(file, offset, into)
    }

    fn clock_ms(&mut self) -> i64 {
        self.stage.disk().clock_ms()
    }
}
