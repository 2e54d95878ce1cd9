//! A flow as a synchronous machine: news in, batches and checkpoints out.
//!
//! ```text
//!  inbox ─▶ on(news, now) ─▶ turn of the tailer ─▶ records ─▶ open batch ─▶ batches
//!                │                                                            │
//!                └── acknowledgements ─▶ cursors ─▶ places ─▶ checkpoints  ◀──┘ (by way of the publisher and the inbox)
//! ```
//!
//! The thread and the simulation run the same machine: what it needs of its surroundings is [`Around`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::culprits::{Culprit, Culprits};
use super::inbox::{Inbox, Inward};
use super::intake::FlowIntake;
use super::outbox::Outbox;
use super::tell::tell;
use crate::checkpoint::{Change, FileIdentity, FlowPlaces, HandBack, Place};
use crate::config::{Flow, FlowId};
use crate::process::{Chain, Context, Ec2Metadata};
use crate::publish::batch::OpenBatch;
use crate::publish::budget::{self, Budget};
use crate::record::{Batch, CursorId, FlowIndex};
use crate::tail::cursor::Cursor;
use crate::tail::disk::Disk;
use crate::tail::gzip::Body;
use crate::tail::{Hint, Rules, Tailer};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;
use crate::telemetry::status::FileLook;

/// Checkpoints go to their writer this long after the first change; the writer saves within another half second.
const CHECKPOINT_DELAY: Duration = Duration::from_millis(400);
/// The longest wait before a hint is followed: a busy writer must not make a turn of each line.
const HINT_DELAY_MAX: Duration = Duration::from_millis(100);
/// Where the flow stands is told at most this often.
const STANDING_INTERVAL: Duration = Duration::from_secs(1);
/// Both pass all files: for each of them the intervals are so much longer where there are thousands, so that it costs no
/// more than a few thousandths of a core.
const INTERVAL_PER_FILE: Duration = Duration::from_micros(100);
/// How long a flow that reads no more waits for news.
const STOPPED_INTERVAL: Duration = Duration::from_secs(1);

/// What a flow asks of its surroundings, and hands to them. Nothing of it may block.
pub trait Around {
    /// The time of day, for what records say of it.
    fn timestamp(&mut self) -> Timestamp;
    /// What `ADDEC2METADATA` adds, as it is now.
    fn ec2(&mut self) -> Option<Arc<Ec2Metadata>>;
    /// What changed since this was last asked.
    fn hints(&mut self) -> Vec<Hint>;
    /// Hints about names in these folders are wanted; whether they all come.
    fn watch(&mut self, folders: &[PathBuf]) -> bool;
    /// A batch for the publisher.
    fn send(&mut self, batch: Batch);
    /// No batch comes any more.
    fn finished(&mut self);
    /// Changes for the checkpoint writer, in the order in which they came about.
    fn save(&mut self, changes: Vec<Change>);
}

/// What a flow is made of.
pub struct Parts {
    pub index: FlowIndex,
    pub flow: Arc<Flow>,
    pub rules: Rules,
    /// Where its files were left.
    pub places: FlowPlaces,
    pub budget: Budget,
    pub inbox: Arc<Inbox>,
    pub counters: Arc<FlowCounters>,
    /// Makes its random partition keys.
    pub seed: u64,
    /// Which start of the flow in this run it is, from 0.
    pub life: u32,
    /// Records that ended lives before.
    pub culprits: Culprits,
}

/// So many files may be followed in one life of a flow; their numbers never mix with those of another life.
const CURSORS_PER_LIFE: u64 = 1 << 40;

/// Whether there is more to come of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// News are waited for, at most until then.
    At(Instant),
    /// It has ended, and saved its places.
    Ended,
}

/// The machine.
pub struct Machine<D: Disk> {
    flow: Arc<Flow>,
    tailer: Tailer<D>,
    disk: D,
    chain: Chain,
    open: OpenBatch,
    inbox: Arc<Inbox>,
    outbox: Outbox,
    counters: Arc<FlowCounters>,
    scratch: Vec<u8>,
    /// When a turn is due even without news.
    turn_due: Instant,
    /// When the next turn may follow a hint.
    turn_at: Instant,
    /// When the places go to the checkpoint writer.
    checkpoint_at: Option<Instant>,
    standing_at: Instant,
    is_stopped: bool,
    /// The last turn ended for want of room: what frees some is followed at once.
    is_blocked: bool,
    /// Bytes have been waited for, for too long then.
    patience_until: Option<Instant>,
    has_told_first_look: bool,
    /// Under which former flow a file's place is kept, until it is saved under this one.
    kept_by: HashMap<FileIdentity, FlowId>,
    /// The database knows that the flow was followed.
    is_remembered: bool,
    culprits: Culprits,
    struck: Option<Culprit>,
}

impl<D: Disk> Machine<D> {
    /// A flow that has read nothing yet. It doesn't touch the disk before it hears of something, or of nothing.
    pub fn new(parts: Parts, disk: D, now: Instant) -> Machine<D> {
        let flow = parts.flow;
        let mut places = parts.places;
        let kept_by = std::mem::take(&mut places.kept_by);
        let mut tailer = Tailer::new(parts.rules, places, now);
        parts.inbox.collects_no_more();
        tailer.number_cursors_after(CursorId(u64::from(parts.life) * CURSORS_PER_LIFE));
        let open = OpenBatch::new(parts.index, &flow, parts.budget.clone(), parts.seed);
        let is_hashed = open.layout().is_keyed();
        let inbox = Arc::clone(&parts.inbox);
        let outbox = Outbox::new(parts.index, parts.budget, inbox, is_hashed);
        Machine {
            kept_by,
            tailer,
            disk,
            chain: Chain::new(&flow.processing),
            open,
            outbox,
            inbox: parts.inbox,
            counters: parts.counters,
            scratch: Vec::new(),
            turn_due: now,
            turn_at: now,
            checkpoint_at: None,
            standing_at: now,
            is_stopped: false,
            is_blocked: false,
            patience_until: None,
            has_told_first_look: false,
            is_remembered: false,
            culprits: parts.culprits,
            struck: None,
            flow,
        }
    }

    /// There is news, or there was none until the time that was asked for.
    pub fn on(&mut self, news: Option<Inward>, now: Instant, around: &mut impl Around) -> Next {
        if self.collect() {
            self.checkpoint_soon(now);
        }
        let is_woken = matches!(news, Some(Inward::Woken));
        match news {
            Some(Inward::End) => {
                self.save_places(around);
                return Next::Ended;
            }
            Some(Inward::Stop) => {
                self.is_stopped = true;
                self.close_batch(around);
                around.finished();
            }
            // They come in bursts; nothing else has changed. The next ones aren't told of: they are collected when the
            // places are saved, which has to be soon even if what this was about was saved just now.
            Some(Inward::Acknowledged) => {
                self.checkpoint_soon(now);
                return self.next_due();
            }
            Some(Inward::Woken) => {
                if self.inbox.take_wake() {
                    self.open.hurry();
                }
                let is_due = self.open.deadline().is_some_and(|at| at <= now);
                if !self.is_blocked && !is_due && now < self.turn_at {
                    self.turn_due = self.turn_due.min(self.turn_at);
                    return self.next_due();
                }
            }
            None => {}
        }
        if self.patience_until.is_some_and(|until| until <= now) {
            self.patience_until = Some(now + budget::PATIENCE);
            if self.open.lose_patience() {
                self.turn_due = now;
            }
        }
        if self.is_stopped {
            self.patience_until = None;
            self.open.settle(false);
            self.turn_due = now + STOPPED_INTERVAL;
        } else if is_woken || self.turn_due <= now {
            self.turn_due = self.turn(now, around);
            self.turn_at = now + self.hint_delay();
        }
        if self.open.deadline().is_some_and(|deadline| deadline <= now) {
            self.close_batch(around);
        }
        self.keep_checkpoints(now, around);
        self.next_due()
    }

    /// Whether the flow was asked to read no more.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Where its files stand.
    pub fn places(&mut self) -> Vec<Place> {
        self.collect();
        self.tailer.places()
    }

    /// The record that it was at when a defect ended it, if it was at one.
    pub fn struck(&self) -> Option<Culprit> {
        self.struck
    }

    /// The followed files.
    pub fn cursors(&self) -> impl Iterator<Item = &Cursor<Body<D::File>>> {
        self.tailer.cursors()
    }

    /// When something is to be done even without news.
    fn next_due(&self) -> Next {
        let others = [
            self.open.deadline(),
            self.patience_until,
            self.checkpoint_at,
        ];
        Next::At(
            others
                .into_iter()
                .flatten()
                .fold(self.turn_due, Instant::min),
        )
    }

    /// How soon a turn may follow another for a hint: short where records mustn't wait long.
    fn hint_delay(&self) -> Duration {
        (self.flow.batch.age_max / 50).clamp(Duration::from_millis(1), HINT_DELAY_MAX)
    }

    /// Takes a turn; when the next one is due.
    fn turn(&mut self, now: Instant, around: &mut impl Around) -> Instant {
        for hint in around.hints() {
            self.tailer.hint(&hint, now);
        }
        let ec2 = around.ec2();
        let timestamp = around.timestamp();
        let mut intake = FlowIntake {
            flow: &self.flow,
            open: &mut self.open,
            chain: &mut self.chain,
            context: Context {
                now: timestamp,
                ec2: ec2.as_ref(),
            },
            inbox: &self.inbox,
            outbox: &mut self.outbox,
            around,
            counters: &self.counters,
            scratch: &mut self.scratch,
            now,
            done: events::Turn::default(),
            raw: Vec::new(),
            skipped: Vec::new(),
            keyless: Vec::new(),
            is_short_of_bytes: false,
            culprits: &self.culprits,
            struck: &mut self.struck,
        };
        let turn = self.tailer.turn(now, &mut self.disk, &mut intake);
        let (is_short_of_bytes, has_read) = (
            intake.is_short_of_bytes,
            intake.done != events::Turn::default(),
        );
        intake.tell();
        self.outbox.flush(|batch| around.send(batch));
        self.is_blocked = turn.is_blocked;
        self.tell_first_look();
        self.follow_events(now);
        self.watch_folders(now, around);
        if has_read {
            self.checkpoint_soon(now);
        }
        self.open.settle(is_short_of_bytes);
        if !turn.has_more && !turn.is_blocked {
            self.open.rest();
        }
        let since = self.patience_until.filter(|_| !has_read);
        self.patience_until = is_short_of_bytes.then(|| since.unwrap_or(now + budget::PATIENCE));
        if is_short_of_bytes {
            // The open batch holds bytes that it can only give back by being sent.
            let batch = self.open.close_short();
            self.hand_over(batch, around);
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

    fn follow_events(&mut self, now: Instant) {
        for event in self.tailer.take_events() {
            tell(&self.counters, &event);
            self.checkpoint_soon(now);
        }
    }

    /// Folders are watched anew after each walk: one that was removed and made again has lost its watch.
    fn watch_folders(&mut self, now: Instant, around: &mut impl Around) {
        let Some(folders) = self.tailer.take_folders() else {
            return;
        };
        self.tailer.set_hints_work(around.watch(&folders));
        // The first walk found a flow that is new: that it was there is remembered even without files.
        self.checkpoint_soon(now);
    }

    fn close_batch(&mut self, around: &mut impl Around) {
        let batch = self.open.close();
        self.hand_over(batch, around);
    }

    fn hand_over(&mut self, batch: Option<Batch>, around: &mut impl Around) {
        if let Some(batch) = batch {
            self.outbox.put(batch, |batch| around.send(batch));
            self.outbox.flush(|batch| around.send(batch));
        }
    }

    fn checkpoint_soon(&mut self, now: Instant) {
        let delay = self.unhurried(CHECKPOINT_DELAY);
        self.checkpoint_at.get_or_insert(now + delay);
    }

    /// At least so long, and longer for many files.
    fn unhurried(&self, interval: Duration) -> Duration {
        let n_files = u32::try_from(self.tailer.n_followed()).unwrap_or(u32::MAX);
        interval.max(INTERVAL_PER_FILE.saturating_mul(n_files))
    }

    fn keep_checkpoints(&mut self, now: Instant, around: &mut impl Around) {
        self.counters.turning.turns(now);
        if self.checkpoint_at.is_some_and(|at| at <= now) {
            self.save_places(around);
            self.standing_at = now + self.unhurried(STANDING_INTERVAL);
        } else if now >= self.standing_at {
            self.standing_at = now + self.unhurried(STANDING_INTERVAL);
            self.tell_standing(around);
        }
    }

    /// Takes what was acknowledged; whether there was anything.
    fn collect(&mut self) -> bool {
        let acknowledged = self.inbox.collect();
        for (cursor, offset) in &acknowledged {
            self.tailer.acknowledge(*cursor, *offset);
        }
        !acknowledged.is_empty()
    }

    fn save_places(&mut self, around: &mut impl Around) {
        self.checkpoint_at = None;
        // What comes from here on is told of; what came before is in what is saved.
        self.inbox.collects_no_more();
        self.collect();
        self.tell_standing(around);
        if !self.tailer.has_looked() {
            return;
        }
        let (places, removed) = self.tailer.take_changes();
        let flow = &self.flow.id;
        let removal = |identity| Change::Remove {
            flow: flow.clone(),
            identity,
        };
        let upsert = |place| Change::Upsert {
            flow: flow.clone(),
            place,
        };
        let mut changes = Vec::new();
        if !std::mem::replace(&mut self.is_remembered, true) && places.is_empty() {
            // That the flow was followed is saved even if there is no file yet: the first one, whenever it comes, is
            // new then.
            changes.push(removal(FileIdentity {
                device: 0,
                inode: 0,
            }));
        }
        changes.extend(removed.into_iter().map(removal));
        let kept_by = &mut self.kept_by;
        changes.extend(places.iter().filter_map(|place| {
            let flow = kept_by.remove(&place.identity)?;
            let identity = place.identity;
            Some(Change::Remove { flow, identity })
        }));
        changes.extend(places.into_iter().map(upsert));
        if !changes.is_empty() {
            around.save(changes);
        }
    }

    fn tell_standing(&self, around: &mut impl Around) {
        let mut standing = events::Standing::default();
        let files = self.tailer.cursors().map(|cursor| {
            standing.files_followed += 1;
            standing.bytes_behind += if cursor.split.is_over {
                0
            } else {
                cursor.size.saturating_sub(cursor.read)
            };
            standing.files_newer += u64::from(cursor.read == 0 && cursor.size > 0);
            look_at(cursor)
        });
        events::files_stand(&self.counters, around.timestamp().as_millisecond(), files);
        events::stands_at(&self.counters, &standing);
    }

    /// The oldest file that isn't wholly acknowledged, or else the newest: where the reference must go on.
    pub fn hand_back(&self) -> Option<HandBack> {
        let age =
            |cursor: &&Cursor<Body<D::File>>| (cursor.modified_ms, std::cmp::Reverse(cursor.size));
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

/// What the status says of a file.
fn look_at<F>(cursor: &Cursor<F>) -> FileLook {
    FileLook {
        id: cursor.id,
        path: Arc::clone(&cursor.path),
        identity: cursor.identity,
        read: cursor.read,
        acknowledged: cursor.acknowledged,
        size: cursor.size,
        modified_ms: cursor.modified_ms,
        unfinished_bytes: cursor.unfinished_bytes(),
        is_over: cursor.split.is_over,
        problem: cursor.problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_support::accepted;
    use crate::flow::testing::{Sent, counters_of, parts};
    use crate::tail::testing::MemoryDisk;

    #[test]
    fn places_are_saved_soon_after_the_flow_is_told_of_acknowledgements_though_they_were_collected_before()
     {
        let flow = accepted(r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s"}]}"#);
        let flow = Arc::clone(&flow.config.flows[0]);
        let now = Instant::now();
        let parts = parts(Arc::clone(&flow), &counters_of(&flow));
        let mut machine = Machine::new(parts, MemoryDisk::default(), now);
        machine.inbox.advanced(CursorId(1), 1);
        machine.save_places(&mut Sent::default());
        machine.turn_due = now + Duration::from_secs(10);
        let told = machine.on(Some(Inward::Acknowledged), now, &mut Sent::default());
        assert!(matches!(told, Next::At(at) if at == now + CHECKPOINT_DELAY));
    }

    /// Nor does it wait for anything else than its own answers once it has waited for the others in vain.
    #[test]
    fn a_flow_goes_on_though_others_hold_all_bytes_and_never_let_go() {
        const LINES: usize = 20_000;
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s",
            "initialPosition": "START_OF_FILE"}]}"#;
        let flow = Arc::clone(&accepted(text).config.flows[0]);
        let counters = counters_of(&flow);
        let mut disk = MemoryDisk::default();
        disk.append(
            "/l/a.log",
            "a line of some length\n".repeat(LINES).as_bytes(),
        );
        let start = Instant::now();
        let mut parts = parts(flow, &counters);
        let budget = Budget::new(4 << 20, 2);
        budget.take_anyway(FlowIndex(1), 4 << 20);
        parts.budget = budget.clone();
        let inbox = Arc::clone(&parts.inbox);
        budget.register(FlowIndex(0), Arc::clone(&inbox) as _);
        let mut machine = Machine::new(parts, disk, start);
        let (mut now, mut sent, mut n_sent) = (start, Sent::default(), 0);
        let mut news = None;
        while n_sent < LINES {
            let Next::At(at) = machine.on(news.take(), now, &mut sent) else {
                panic!("nobody ended it");
            };
            let batches = std::mem::take(&mut sent.1);
            for batch in &batches {
                n_sent += batch.records.len();
                budget.release(FlowIndex(0), batch.budget_bytes);
                inbox.queued(Default::default(), 1);
            }
            match batches.is_empty() {
                true => now = at,
                false => news = Some(Inward::Woken),
            }
            assert!(now < start + 5 * budget::PATIENCE, "{n_sent} were sent");
        }
    }

    #[test]
    fn a_batch_to_which_nothing_is_added_goes_soon_where_others_could_go_on_with_its_bytes() {
        const AGE_MAX: Duration = Duration::from_secs(60);
        const ALL: usize = 2 << 20;
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s",
            "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 60000}]}"#;
        let flow = Arc::clone(&accepted(text).config.flows[0]);
        let counters = counters_of(&flow);
        // When its batch goes, which isn't full, while another flow has so much of all bytes, and waits for more or doesn't.
        let sent_after = |n_lines: usize, held_by_other: usize, is_waited_for: bool| {
            let mut disk = MemoryDisk::default();
            let line = format!("{:300}\n", "a line");
            disk.append("/l/a.log", line.repeat(n_lines).as_bytes());
            let start = Instant::now();
            let mut parts = parts(Arc::clone(&flow), &counters);
            parts.budget = Budget::new(ALL, 2);
            let budget = parts.budget.clone();
            budget.take_anyway(FlowIndex(1), held_by_other);
            if is_waited_for {
                assert!(!budget.take(FlowIndex(1), budget::Wanted::Usual(ALL)));
            }
            let mut machine = Machine::new(parts, disk, start);
            let (mut now, mut sent) = (start, Sent::default());
            loop {
                assert!(now <= start + AGE_MAX, "{} were sent", sent.0.len());
                let Next::At(at) = machine.on(None, now, &mut sent) else {
                    panic!("nobody ended it");
                };
                if !sent.1.is_empty() {
                    return now - start;
                }
                now = at;
            }
        };
        let nearly_all = 1600 << 10;
        assert_eq!(
            sent_after(450, nearly_all, true),
            Duration::from_millis(100)
        );
        for (n_lines, held_by_other, is_waited_for, why) in [
            (450, nearly_all, false, "nobody waits"),
            (450, ALL >> 2, true, "there is enough"),
            (10, nearly_all, true, "it is of no use"),
        ] {
            let after = sent_after(n_lines, held_by_other, is_waited_for);
            assert_eq!(after, AGE_MAX, "{why}");
        }
    }

    /// P-AGE: A batch is due when its oldest record is `maxBufferAgeMillis` old.
    #[test]
    fn a_batch_goes_when_its_first_record_is_so_old_and_not_before() {
        const A_MOMENT: Duration = Duration::from_millis(1);
        let text = r#"{"flows": [{"filePattern": "/l/*.log", "kinesisStream": "s",
            "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 2500}]}"#;
        let flow = Arc::clone(&accepted(text).config.flows[0]);
        let counters = counters_of(&flow);
        let mut disk = MemoryDisk::default();
        disk.append("/l/a.log", b"one\n");
        let mut now = Instant::now();
        let mut machine = Machine::new(parts(flow, &counters), disk, now);
        let mut sent = Sent::default();
        let mut turn = |machine: &mut Machine<MemoryDisk>, now: Instant| match machine
            .on(None, now, &mut sent)
        {
            Next::At(at) => (at, sent.0.clone()),
            Next::Ended => panic!("nobody ended it"),
        };
        let n_read = || counters.snapshot().records_parsed;
        let due = loop {
            let (next, _) = turn(&mut machine, now);
            let read_at = std::mem::replace(&mut now, next);
            if n_read() > 0 {
                break read_at + Duration::from_millis(2500);
            }
        };
        // A later record changes nothing.
        machine.disk.append("/l/a.log", b"two\n");
        while now < due {
            let (next, sent) = turn(&mut machine, now);
            assert_eq!(sent, [""; 0], "{:?} too early", due - now);
            now = next;
        }
        assert_eq!(now, due, "it is woken then");
        assert_eq!(turn(&mut machine, due - A_MOMENT).1, [""; 0]);
        assert_eq!(turn(&mut machine, due).1, ["one\n", "two\n"]);
    }
}
