//! One flow: a thread that reads its files, makes records of them, fills batches, and keeps its checkpoints.
//!
//! The thread never waits but for its inbox: acknowledgements, hints and freed bytes of the budget come in there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::checkpoint::{Change, FileIdentity, FlowPlaces, HandBack, WriterHandle};
use crate::config::Flow;
use crate::process::{self, Chain, Context, Ec2Metadata, Verdict};
use crate::publish::batch::{self, OpenBatch};
use crate::publish::budget::{Budget, Wake};
use crate::publish::run::Inbound;
use crate::record::{Batch, CursorId, FlowIndex, Span};
use crate::tail::disk::OsDisk;
use crate::tail::split::RecordKind;
use crate::tail::wake::{Hints, Watch};
use crate::tail::{Event, Intake, Rules, Tailer};
use crate::telemetry::counters::{FlowCounters, RawReason, SkipReason};
use crate::telemetry::events;

/// Checkpoints go to their writer this long after the first change; the writer saves within another half second.
const CHECKPOINT_DELAY: Duration = Duration::from_millis(400);
/// The longest wait before a hint is followed: a busy writer must not make a turn of each line.
const HINT_DELAY_MAX: Duration = Duration::from_millis(100);
/// Where the flow stands is told at most this often.
const STANDING_INTERVAL: Duration = Duration::from_secs(1);
/// Stack of a flow's thread: matchers that backtrack are bounded by steps, not by depth.
const STACK_BYTES: usize = 1024 * 1024;
/// How much of a record is shown in the log.
const SHOWN_BYTES: usize = 120;

/// What reaches the thread.
#[derive(Debug)]
enum Inward {
    /// Everything of the file below the offset is acknowledged.
    Advanced(CursorId, u64),
    /// Something else changed: hints, the budget, the queue.
    Woken,
    /// Read no more; send what is open.
    Stop,
    /// Nothing comes any more: save the places and end.
    End,
}

/// Ways to a flow's thread, for whoever has news for it.
pub struct Inbox {
    sender: mpsc::Sender<Inward>,
    is_woken: AtomicBool,
    must_flush: AtomicBool,
    n_queued: AtomicUsize,
    queue_capacity: usize,
}

impl Inbox {
    /// Everything of `cursor` below `offset` is acknowledged.
    pub fn advanced(&self, cursor: CursorId, offset: u64) {
        // A thread that is gone has saved what it knew.
        let _ = self.sender.send(Inward::Advanced(cursor, offset));
    }

    /// So many batches wait for a send slot now.
    pub fn queued(&self, n_batches: usize) {
        let before = self.n_queued.swap(n_batches, Ordering::Relaxed);
        if before >= self.queue_capacity && n_batches < self.queue_capacity {
            self.wake();
        }
    }

    /// Something changed that the thread waits for.
    pub fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.sender.send(Inward::Woken);
        }
    }

    fn has_queue_room(&self) -> bool {
        self.n_queued.load(Ordering::Relaxed) < self.queue_capacity
    }
}

impl Wake for Inbox {
    fn released(&self) {
        self.wake();
    }

    fn flush(&self) {
        self.must_flush.store(true, Ordering::Release);
        self.wake();
    }
}

/// What a flow needs of its surroundings.
pub struct Surroundings {
    pub index: FlowIndex,
    pub flow: Arc<Flow>,
    pub places: FlowPlaces,
    pub budget: Budget,
    pub publisher: UnboundedSender<Inbound>,
    /// `None`: nothing is remembered.
    pub checkpoints: Option<WriterHandle>,
    /// `None`: polling alone.
    pub watch: Option<Arc<Watch>>,
    pub counters: Arc<FlowCounters>,
    /// What `ADDEC2METADATA` adds, as it is now.
    pub ec2: Arc<dyn Fn() -> Option<Arc<Ec2Metadata>> + Send + Sync>,
}

/// A running flow.
pub struct FlowThread {
    inbox: Arc<Inbox>,
    thread: JoinHandle<Option<HandBack>>,
}

impl FlowThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system has no thread left, or the patterns are no globs.
    pub fn start(around: Surroundings) -> anyhow::Result<FlowThread> {
        let rules = Rules::new(&around.flow)?;
        let (sender, receiver) = mpsc::channel();
        let inbox = Arc::new(Inbox {
            sender,
            is_woken: AtomicBool::new(false),
            must_flush: AtomicBool::new(false),
            n_queued: AtomicUsize::new(0),
            queue_capacity: around.flow.queue_capacity_batches.max(1),
        });
        around
            .budget
            .register(around.index, Arc::clone(&inbox) as Arc<dyn Wake>);
        let name = format!("FileTailer[{}]", around.flow.id);
        let to_self = Arc::clone(&inbox);
        let thread = thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || FlowLoop::new(around, rules, to_self, receiver).run())?;
        Ok(FlowThread { inbox, thread })
    }

    /// The way in.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Reading stops; what is open is sent.
    pub fn stop(&self) {
        let _ = self.inbox.sender.send(Inward::Stop);
    }

    /// Saves the places and waits for the thread's end; the file at which the reference would have to go on.
    pub fn end(self) -> Option<HandBack> {
        let _ = self.inbox.sender.send(Inward::End);
        self.thread.join().unwrap_or(None)
    }
}

struct FlowLoop {
    index: FlowIndex,
    flow: Arc<Flow>,
    tailer: Tailer<OsDisk>,
    disk: OsDisk,
    chain: Chain,
    open: OpenBatch,
    receiver: mpsc::Receiver<Inward>,
    inbox: Arc<Inbox>,
    publisher: UnboundedSender<Inbound>,
    checkpoints: Option<WriterHandle>,
    watch: Option<Arc<Watch>>,
    hints: Arc<Hints>,
    counters: Arc<FlowCounters>,
    ec2: Arc<dyn Fn() -> Option<Arc<Ec2Metadata>> + Send + Sync>,
    scratch: Vec<u8>,
    /// When the places go to the checkpoint writer.
    checkpoint_at: Option<Instant>,
    standing_at: Instant,
    is_stopped: bool,
    /// The last turn ended for want of room: what frees some is followed at once.
    is_blocked: bool,
    has_told_first_look: bool,
    /// The database knows that the flow was followed.
    is_remembered: bool,
}

impl FlowLoop {
    fn new(
        around: Surroundings,
        rules: Rules,
        inbox: Arc<Inbox>,
        receiver: mpsc::Receiver<Inward>,
    ) -> FlowLoop {
        let now = Instant::now();
        let to_self = Arc::clone(&inbox);
        FlowLoop {
            index: around.index,
            tailer: Tailer::new(rules, around.places, now),
            disk: OsDisk,
            chain: Chain::new(&around.flow.processing),
            open: OpenBatch::new(around.index, &around.flow, around.budget, fastrand::u64(..)),
            receiver,
            publisher: around.publisher,
            checkpoints: around.checkpoints,
            watch: around.watch,
            hints: Hints::new(move || to_self.wake()),
            inbox,
            counters: around.counters,
            ec2: around.ec2,
            scratch: Vec::new(),
            checkpoint_at: None,
            standing_at: now,
            is_stopped: false,
            is_blocked: false,
            has_told_first_look: false,
            is_remembered: false,
            flow: around.flow,
        }
    }

    fn run(mut self) -> Option<HandBack> {
        let goodbye = Goodbye {
            publisher: self.publisher.clone(),
            index: self.index,
        };
        let mut wake_at = Instant::now();
        let mut turn_at = wake_at;
        while let Some(inward) = self.next_inward(wake_at) {
            match inward {
                Some(Inward::End) => break,
                Some(Inward::Stop) => {
                    self.is_stopped = true;
                    self.close_batch();
                    let _ = self.publisher.send(Inbound::Finished(self.index));
                }
                Some(Inward::Advanced(cursor, offset)) => {
                    self.tailer.acknowledge(cursor, offset);
                    self.checkpoint_soon();
                    // Acknowledgements come in bursts; nothing else has changed.
                    wake_at = wake_at.min(self.checkpoint_at.unwrap_or(wake_at));
                    continue;
                }
                Some(Inward::Woken) => {
                    // A swap and not a store: what was changed before a wake-up that found the flag still set must be
                    // seen from here on, or it never is.
                    self.inbox.is_woken.swap(false, Ordering::AcqRel);
                    if self.inbox.must_flush.swap(false, Ordering::AcqRel) {
                        self.close_batch();
                    }
                    if !self.is_blocked && Instant::now() < turn_at {
                        wake_at = wake_at.min(turn_at);
                        continue;
                    }
                }
                None => {}
            }
            let now = Instant::now();
            wake_at = if self.is_stopped {
                now + Duration::from_secs(1)
            } else {
                self.turn(now)
            };
            turn_at = now + self.hint_delay();
            self.close_if_due(Instant::now());
            self.keep_checkpoints(now);
            let deadlines = [self.open.deadline(), self.checkpoint_at];
            wake_at = deadlines.into_iter().flatten().fold(wake_at, Instant::min);
        }
        self.save_places();
        drop(goodbye);
        self.hand_back()
    }

    /// The next message, `Some(None)` at the time given, `None` if there is nobody left to hear from.
    fn next_inward(&mut self, wake_at: Instant) -> Option<Option<Inward>> {
        let wait = wake_at.saturating_duration_since(Instant::now());
        let received = match wait.is_zero() {
            true => self
                .receiver
                .try_recv()
                .map_err(|error| error == mpsc::TryRecvError::Disconnected),
            false => self
                .receiver
                .recv_timeout(wait)
                .map_err(|error| error == mpsc::RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(inward) => Some(Some(inward)),
            Err(is_over) => (!is_over).then_some(None),
        }
    }

    /// How soon a turn may follow another for a hint: short where records mustn't wait long.
    fn hint_delay(&self) -> Duration {
        (self.flow.batch.age_max / 50).clamp(Duration::from_millis(1), HINT_DELAY_MAX)
    }

    /// Takes a turn; when the next one is due.
    fn turn(&mut self, now: Instant) -> Instant {
        for hint in self.hints.take() {
            self.tailer.hint(&hint, now);
        }
        let ec2 = (self.ec2)();
        let mut intake = FlowIntake {
            flow: &self.flow,
            open: &mut self.open,
            chain: &mut self.chain,
            context: Context {
                now: jiff::Timestamp::now(),
                ec2: ec2.as_deref(),
            },
            index: self.index,
            inbox: &self.inbox,
            publisher: &self.publisher,
            counters: &self.counters,
            scratch: &mut self.scratch,
            now,
            done: events::Turn::default(),
            raw: Vec::new(),
            skipped: Vec::new(),
            keyless: Vec::new(),
            is_short_of_bytes: false,
        };
        let turn = self.tailer.turn(now, &mut self.disk, &mut intake);
        let (is_short_of_bytes, has_read) = (
            intake.is_short_of_bytes,
            intake.done != events::Turn::default(),
        );
        intake.tell();
        self.is_blocked = turn.is_blocked;
        self.tell_first_look();
        self.follow_events();
        self.watch_folders();
        if has_read {
            self.checkpoint_soon();
        }
        if turn.is_blocked && is_short_of_bytes {
            // The open batch holds bytes that it can only give back by being sent.
            self.close_batch();
        }
        if turn.has_more { now } else { turn.wake_at }
    }

    fn tell_first_look(&mut self) {
        if !std::mem::replace(&mut self.has_told_first_look, true) {
            let (mut n_files, mut bytes) = (0, 0);
            for cursor in self.tailer.cursors() {
                n_files += 1;
                bytes += cursor.behind_bytes();
            }
            events::first_look(&self.counters, n_files, bytes);
        }
    }

    fn follow_events(&mut self) {
        for event in self.tailer.take_events() {
            tell(&self.counters, &event);
            self.checkpoint_soon();
        }
    }

    /// Folders are watched anew after each walk: one that was removed and made again has lost its watch.
    fn watch_folders(&mut self) {
        let Some(folders) = self.tailer.take_folders() else {
            return;
        };
        let Some(watch) = &self.watch else { return };
        let is_unwatched = |folder: &&PathBuf| watch.watch(folder, &self.hints).is_err();
        let n_unwatched = folders.iter().filter(is_unwatched).count();
        self.tailer
            .set_hints_work(n_unwatched == 0 && !folders.is_empty());
        // The first walk found a flow that is new: that it was there is remembered even without files.
        self.checkpoint_soon();
    }

    fn close_if_due(&mut self, now: Instant) {
        if self.open.deadline().is_some_and(|deadline| deadline <= now) {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        if let Some(batch) = self.open.close() {
            send(&self.publisher, self.index, batch);
        }
    }

    fn checkpoint_soon(&mut self) {
        self.checkpoint_at
            .get_or_insert_with(|| Instant::now() + CHECKPOINT_DELAY);
    }

    fn keep_checkpoints(&mut self, now: Instant) {
        if self.checkpoint_at.is_some_and(|at| at <= now) {
            self.save_places();
        }
        if now >= self.standing_at {
            self.standing_at = now + STANDING_INTERVAL;
            self.tell_standing();
        }
    }

    fn save_places(&mut self) {
        self.checkpoint_at = None;
        self.tell_standing();
        if !self.tailer.has_looked() {
            return;
        }
        let (places, removed) = self.tailer.take_changes();
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        let flow = &self.flow.id;
        if !std::mem::replace(&mut self.is_remembered, true) && places.is_empty() {
            // That the flow was followed is saved even if there is no file yet: the first one, whenever it comes, is
            // new then.
            let nothing = FileIdentity {
                device: 0,
                inode: 0,
            };
            checkpoints.submit(vec![Change::Remove {
                flow: flow.clone(),
                identity: nothing,
            }]);
        }
        let upserts = places.into_iter().map(|place| Change::Upsert {
            flow: flow.clone(),
            place,
        });
        let removals = removed.into_iter().map(|identity| Change::Remove {
            flow: flow.clone(),
            identity,
        });
        checkpoints.submit(removals.chain(upserts).collect());
    }

    fn tell_standing(&self) {
        let mut standing = events::Standing::default();
        for cursor in self.tailer.cursors() {
            standing.files_followed += 1;
            standing.bytes_behind += if cursor.split.is_over {
                0
            } else {
                cursor.size.saturating_sub(cursor.read)
            };
            standing.files_newer += u64::from(cursor.read == 0 && cursor.size > 0);
        }
        events::stands_at(&self.counters, &standing);
    }

    /// The oldest file that isn't wholly acknowledged, or else the newest: where the reference must go on.
    fn hand_back(&self) -> Option<HandBack> {
        let age = |cursor: &&crate::tail::cursor::Cursor<
            crate::tail::gzip::Body<std::fs::File>,
        >| { (cursor.modified_ms, std::cmp::Reverse(cursor.size)) };
        let named = || self.tailer.cursors().filter(|cursor| cursor.is_named);
        let unfinished = named()
            .filter(|cursor| cursor.behind_bytes() > 0)
            .min_by_key(age);
        let identity: FileIdentity = unfinished.or_else(|| named().max_by_key(age))?.identity;
        Some(HandBack {
            flow: self.flow.id.clone(),
            identity,
        })
    }
}

/// Says that the flow has finished even if its thread ends by a panic, so that the agent can stop.
struct Goodbye {
    publisher: UnboundedSender<Inbound>,
    index: FlowIndex,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.publisher.send(Inbound::Finished(self.index));
        }
    }
}

fn send(publisher: &UnboundedSender<Inbound>, index: FlowIndex, batch: Batch) {
    // The publisher ends last; if it is gone the process is about to be.
    let _ = publisher.send(Inbound::Batch(index, batch));
}

/// Records of one turn on their way into batches.
struct FlowIntake<'a> {
    flow: &'a Flow,
    open: &'a mut OpenBatch,
    chain: &'a mut Chain,
    context: Context<'a>,
    index: FlowIndex,
    inbox: &'a Inbox,
    publisher: &'a UnboundedSender<Inbound>,
    counters: &'a FlowCounters,
    scratch: &'a mut Vec<u8>,
    now: Instant,
    done: events::Turn,
    /// Records sent as they are, with what the first of them was.
    raw: Vec<Tally<RawReason>>,
    skipped: Vec<Tally<SkipReason>>,
    /// Records that gave no partition key.
    keyless: Vec<Tally<()>>,
    is_short_of_bytes: bool,
}

impl Intake for FlowIntake<'_> {
    fn has_room(&mut self, data_bytes: usize) -> bool {
        if !self.inbox.has_queue_room() {
            return false;
        }
        self.is_short_of_bytes = !self.open.has_room(data_bytes);
        !self.is_short_of_bytes
    }

    fn record(&mut self, span: Span, data: &[u8], kind: RecordKind, path: &Path) {
        self.done.records_parsed += 1;
        self.done.bytes_parsed += data.len() as u64;
        let mut mended = std::mem::take(self.scratch);
        if mend(self.flow, data, kind, &mut mended) {
            if kind == RecordKind::TooLong {
                events::record_truncated(
                    self.counters,
                    path,
                    span.start,
                    span.end - span.start,
                    mended.len() as u64,
                    &beginning(data),
                );
            }
            self.add(span, &mended, path);
        } else {
            self.add(span, data, path);
        }
        *self.scratch = mended;
    }

    fn nothing(&mut self, span: Span) {
        self.open.cover(span, self.now);
    }

    fn skipped(&mut self, span: Span, line: &[u8], path: &Path) {
        self.done.records_parsed += 1;
        self.done.bytes_parsed += line.len() as u64;
        self.done.records_skipped += 1;
        tally(&mut self.skipped, SkipReason::Line, || {
            shown(path, span.start, line)
        });
        self.nothing(span);
    }

    fn header(&mut self, line: &[u8]) {
        self.chain.set_header(line);
    }
}

/// Makes a whole record of one that isn't, into `mended`: one that is too long to be converted is cut before it is, and
/// an unterminated one gets its newline. `false`: it is taken as it is.
pub fn mend(flow: &Flow, data: &[u8], kind: RecordKind, mended: &mut Vec<u8>) -> bool {
    mended.clear();
    match kind {
        RecordKind::Whole => return false,
        // The batch cuts it, so that data and key fit exactly.
        RecordKind::TooLong if flow.processing.is_empty() => return false,
        RecordKind::TooLong => {
            let terminator = &flow.split.truncated_terminator;
            let end = (flow.destination.record_bytes_max() - terminator.len()).min(data.len() - 1);
            mended.extend_from_slice(&data[..batch::character_boundary(data, end)]);
            mended.extend_from_slice(terminator);
        }
        RecordKind::Unterminated => {
            mended.extend_from_slice(data);
            mended.push(b'\n');
        }
    }
    true
}

impl FlowIntake<'_> {
    fn add(&mut self, span: Span, data: &[u8], path: &Path) {
        let (chain, context) = (&mut *self.chain, &self.context);
        let added = self.open.add(span, data, self.now, |body| {
            if chain.is_empty() {
                body.extend_from_slice(data);
                return (true, None);
            }
            let verdict = chain.run(data, context, body);
            if let Verdict::Raw(_) = verdict {
                body.extend_from_slice(data);
            }
            (!matches!(verdict, Verdict::Skipped(_)), Some(verdict))
        });
        for batch in added.closed {
            send(self.publisher, self.index, batch);
        }
        if added.cut {
            let sent = self.flow.destination.record_bytes_max() as u64;
            let n_bytes = span.end - span.start;
            let beginning = beginning(data);
            events::record_truncated(self.counters, path, span.start, n_bytes, sent, &beginning);
        }
        if added.keyless {
            let first = || shown(path, span.start, data);
            tally(&mut self.keyless, (), first);
        }
        let Some(verdict) = added.told else { return };
        let shown = || shown(path, span.start, data);
        match verdict {
            Verdict::Converted => self.done.records_transformed += 1,
            Verdict::WithoutEc2Metadata => {
                self.done.records_transformed += 1;
                tally(&mut self.raw, RawReason::NoInstanceMetadata, shown);
            }
            Verdict::Skipped(reason) => {
                self.done.records_skipped += 1;
                let reason = match reason {
                    process::SkipReason::LogNoMatch => SkipReason::NoMatch,
                    process::SkipReason::LogGroupCount => SkipReason::GroupCount,
                };
                tally(&mut self.skipped, reason, shown);
            }
            Verdict::Raw(why) => {
                let reason = match why {
                    process::RawReason::CsvDelimiter => RawReason::BadOption,
                    process::RawReason::CsvStepLimit | process::RawReason::LogStepLimit => {
                        RawReason::PatternTooCostly
                    }
                    process::RawReason::CsvNotOneRecord => RawReason::NotConvertible,
                    process::RawReason::Ec2NotAnObject => RawReason::NotAnObject,
                };
                tally(&mut self.raw, reason, || format!("{why}; {}", shown()));
            }
        }
    }

    /// Counts and says what the turn did.
    fn tell(self) {
        if self.done != events::Turn::default() {
            events::turn_done(self.counters, &self.done);
        }
        for (reason, n_records, first) in self.raw {
            events::records_raw(self.counters, reason, n_records, &first);
        }
        for (reason, n_records, first) in self.skipped {
            events::records_skipped(self.counters, reason, n_records, &first);
        }
        for ((), n_records, first) in self.keyless {
            events::records_keyless(self.counters, n_records, &first);
        }
    }
}

/// Records of one turn that had the same fate: why, how many, and what the first of them was.
type Tally<R> = (R, u64, String);

fn tally<R: PartialEq>(tallies: &mut Vec<Tally<R>>, reason: R, first: impl FnOnce() -> String) {
    match tallies.iter_mut().find(|(known, ..)| *known == reason) {
        Some((_, n, _)) => *n += 1,
        None => tallies.push((reason, 1, first())),
    }
}

/// Where a record stands and how it begins.
fn shown(path: &Path, offset: u64, data: &[u8]) -> String {
    let (path, beginning) = (path.display(), beginning(data));
    format!("the first at offset {offset} of {path}: {beginning}")
}

/// The beginning of a record without its newline, on one line.
fn beginning(data: &[u8]) -> String {
    let line = data.strip_suffix(b"\n").unwrap_or(data);
    let (shown, more) = match line.len() <= SHOWN_BYTES {
        true => (line, ""),
        false => (&line[..batch::character_boundary(line, SHOWN_BYTES)], "…"),
    };
    let text = String::from_utf8_lossy(shown);
    format!("\"{}{more}\"", text.escape_debug())
}

fn tell(counters: &FlowCounters, event: &Event) {
    match event {
        Event::Opened { path, offset, .. } => {
            let opened = match offset {
                0 => events::Opened::AtStart,
                offset => events::Opened::AtOffset { offset: *offset },
            };
            events::file_opened(counters, path, opened);
        }
        Event::Renamed { from, to } => events::file_renamed(counters, from, to),
        Event::Vanished { path, unread_bytes } => {
            events::file_vanished(counters, path, *unread_bytes)
        }
        Event::Unreadable { path, kind, error } => {
            events::file_unreadable(counters, path, *kind, error)
        }
        Event::Readable { path } => events::file_readable(counters, path),
        Event::Truncated { path, read, size } => {
            events::file_truncated(counters, path, *read, *size)
        }
        Event::Replaced { path, read } => events::file_replaced(counters, path, *read),
        Event::Continued { from, to, offset } => {
            events::file_continued(counters, from, to, *offset);
        }
        Event::Suspected { path, source } => events::file_suspected(counters, path, source),
        Event::Lost { path, start, end } => events::bytes_lost(counters, path, *start, *end),
        Event::Finished { path, size } => events::file_finished(counters, path, *size),
        Event::NoFiles {
            missing_folder: Some(folder),
        } => events::directory_missing(counters, folder),
        Event::NoFiles {
            missing_folder: None,
        } => events::pattern_matches_nothing(counters),
        Event::FilesFound { n_files } => events::files_found(counters, *n_files),
        Event::Unlisted { path, error } => events::directory_unreadable(counters, path, error),
    }
}
