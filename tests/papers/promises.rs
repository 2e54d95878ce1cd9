//! The promises of SEMANTICS.md, each quoted above the test that holds it.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use kinesis_agent::checkpoint::{
    Change, FileIdentity, Fingerprint, OpenError, Place, PlaceState, Store,
};
use kinesis_agent::config::{
    Backoff, Checkpoints, Flow, Refused, RefusedRecords, Severity, limits,
};
use kinesis_agent::flow::mend;
use kinesis_agent::process::{Chain, Context, Verdict};
use kinesis_agent::publish::batch::OpenBatch;
use kinesis_agent::publish::budget::Budget;
use kinesis_agent::publish::failure::{CallFailure, FailureKind};
use kinesis_agent::publish::publisher::{CallId, Command, FlowRules, Publisher};
use kinesis_agent::publish::sink::Call;
use kinesis_agent::publish::wire::{Answer, RecordError, data_of, key_of};
use kinesis_agent::record::{Batch, CursorId, FlowIndex, Span};
use kinesis_agent::tail::Event;
use kinesis_agent::tail::split::{End, Piece, RecordKind, SplitState, Splitter};
use proptest::prelude::*;

use crate::support::configuration::{flow, load};
use crate::support::following::{A_LOOK, A_WHILE, Following};

const FLOW: FlowIndex = FlowIndex(0);
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(10),
};
/// Beyond every back-off.
const LATER: Duration = Duration::from_secs(60);
const FROM_START: &str = r#", "initialPosition": "START_OF_FILE""#;

fn span(start: u64, end: u64) -> Span {
    Span {
        cursor: CursorId(1),
        start,
        end,
    }
}

fn open_batch(flow: &Flow) -> OpenBatch {
    OpenBatch::new(FLOW, flow, Budget::new(64 << 20, 1), 1)
}

/// A batch of so many records of ten bytes, the `place`th of its file.
fn batch(place: u64, n_records: u64) -> Batch {
    let mut open = open_batch(&flow("/l/x", ""));
    let start = place * n_records * 10;
    for n in 0..n_records {
        let span = span(start + n * 10, start + n * 10 + 10);
        open.add(span, &[], Instant::now(), |body| {
            (true, body.extend_from_slice(b"0123456789"))
        });
    }
    open.close().expect("it has records")
}

/// The publisher with what it wants done.
struct Sending {
    publisher: Publisher,
    now: Instant,
    in_flight: Vec<(CallId, Call)>,
    /// The highest offset that a checkpoint may say.
    watermark: u64,
    /// Records that are to be kept as dead letters.
    refused: Vec<u16>,
}

impl Sending {
    fn new(n_slots: usize) -> Sending {
        // As it is unless a configuration says otherwise.
        let rules = FlowRules {
            backoff: BACKOFF,
            refused_records: RefusedRecords::DeadLetter,
        };
        let publisher = Publisher::new([rules], n_slots, 1);
        Sending {
            publisher,
            now: Instant::now(),
            in_flight: Vec::new(),
            watermark: 0,
            refused: Vec::new(),
        }
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Send { id, call, .. } => self.in_flight.push((id, call)),
                Command::Advance { offset, .. } => self.watermark = self.watermark.max(offset),
                Command::Keep { refused, .. } => self.refused.push(refused.place),
                Command::Release { .. } | Command::Report { .. } => {}
            }
        }
    }

    fn batch(&mut self, batch: Batch) {
        let mut commands = Vec::new();
        self.publisher.batch(FLOW, batch, self.now, &mut commands);
        self.obey(commands);
    }

    fn answer(&mut self, id: CallId, answer: Result<Answer, CallFailure>) {
        let mut commands = Vec::new();
        self.in_flight.retain(|(in_flight, _)| *in_flight != id);
        self.publisher.answered(id, answer, self.now, &mut commands);
        self.obey(commands);
    }

    fn wait(&mut self) {
        let mut commands = Vec::new();
        self.now += LATER;
        self.publisher.wake(self.now, &mut commands);
        self.obey(commands);
    }

    /// The one call that is in flight.
    fn only_call(&self) -> (CallId, Call) {
        assert_eq!(self.in_flight.len(), 1);
        self.in_flight[0].clone()
    }
}

fn failure(kind: FailureKind) -> CallFailure {
    CallFailure {
        kind,
        code: "Code".to_owned(),
        message: String::new(),
    }
}

proptest! {
    /// P-WATERMARK: A checkpoint never passes a byte whose record isn't acknowledged.
    #[test]
    fn the_watermark_stands_at_the_first_batch_without_a_good_answer(
        answers in proptest::collection::vec((0_usize..8, any::<bool>()), 1..60),
    ) {
        let mut sending = Sending::new(8);
        let mut is_accepted = [false; 8];
        (0..8).for_each(|place| sending.batch(batch(place, 5)));
        for (which, is_good) in answers {
            if sending.in_flight.is_empty() {
                sending.wait();
            }
            if sending.in_flight.is_empty() {
                break;
            }
            let (id, call) = sending.in_flight[which % sending.in_flight.len()].clone();
            if is_good {
                is_accepted[(call.batch.spans[0].start / 50) as usize] = true;
                sending.answer(id, Ok(Answer::AllAccepted));
            } else {
                sending.answer(id, Err(failure(FailureKind::Service)));
            }
            let n_below = is_accepted.iter().take_while(|is_accepted| **is_accepted).count() as u64;
            prop_assert_eq!(sending.watermark, n_below * 50);
        }
    }

    /// P-LIMITS: No call has more than `maxBufferSizeRecords` records or, with more than one record, more than
    /// `maxBufferSizeBytes` of data and keys.
    #[test]
    fn a_batch_is_closed_before_it_is_beyond_a_limit(sizes in proptest::collection::vec(0_usize..1500, 1..60)) {
        let flow = flow("/l/x", r#", "maxBufferSizeRecords": 7, "maxBufferSizeBytes": 2000"#);
        let mut open = open_batch(&flow);
        let mut batches = Vec::new();
        for size in &sizes {
            let added = open.add(span(0, 0), &[], Instant::now(), |body| (true, body.resize(body.len() + size, b'x')));
            batches.extend(added.closed);
        }
        batches.extend(open.close());
        for batch in &batches {
            let bytes: usize = batch.records.iter().map(|record| record.data_len() + usize::from(record.key_len)).sum();
            prop_assert!(batch.records.len() <= 7);
            prop_assert!(bytes <= 2000 || batch.records.len() == 1, "{} bytes", bytes);
        }
        prop_assert_eq!(batches.iter().map(|batch| batch.records.len()).sum::<usize>(), sizes.len());
    }
}

/// P-RETRY: Of a call only the records that failed are sent again, and of a call that failed as a whole all of them.
#[test]
fn what_failed_is_sent_again_and_nothing_else() {
    let mut sending = Sending::new(1);
    sending.batch(batch(0, 4));
    let (id, call) = sending.only_call();
    assert_eq!(call.chosen, [0, 1, 2, 3]);
    sending.answer(id, Err(failure(FailureKind::Unanswered)));
    sending.wait();
    let (id, call) = sending.only_call();
    assert_eq!(call.chosen, [0, 1, 2, 3]);
    let error = || {
        Some(RecordError {
            code: "InternalFailure".to_owned(),
            message: String::new(),
        })
    };
    sending.answer(id, Ok(Answer::Partly(vec![None, error(), None, error()])));
    sending.wait();
    let (id, call) = sending.only_call();
    assert_eq!(call.chosen, [1, 3]);
    sending.answer(id, Ok(Answer::AllAccepted));
    assert!(sending.publisher.is_idle());
}

/// P-PATIENT: No failure of a service but one that blames a record's content makes the agent give the record up: it is
/// sent again until it is accepted.
#[test]
fn a_record_outlasts_every_kind_of_failure() {
    for kind in [
        FailureKind::Throttled,
        FailureKind::Service,
        FailureKind::Connection,
        FailureKind::Unanswered,
        FailureKind::DestinationMissing,
        FailureKind::Access,
        FailureKind::NoCredentials,
        FailureKind::NoRegion,
    ] {
        let mut sending = Sending::new(4);
        sending.batch(batch(0, 2));
        for _ in 0..1000 {
            let (id, _) = sending.only_call();
            sending.answer(id, Err(failure(kind)));
            sending.wait();
        }
        let (id, call) = sending.only_call();
        assert_eq!(call.chosen, [0, 1], "{kind:?}");
        sending.answer(id, Ok(Answer::AllAccepted));
        assert_eq!(sending.watermark, 20, "{kind:?}");
    }
}

/// P-PATIENT: No failure of a service but one that blames a record's content makes the agent give the record up: it is
/// sent again until it is accepted.
///
/// Records that fail one by one, while others of their flow are accepted.
#[test]
fn a_record_outlasts_every_failure_of_its_own() {
    for code in [
        "InternalFailure",
        "ProvisionedThroughputExceededException",
        "KMSThrottlingException",
        "NeverHeardOf",
    ] {
        let error = RecordError {
            code: code.to_owned(),
            message: String::new(),
        };
        let mut sending = Sending::new(4);
        sending.batch(batch(0, 2));
        let (id, call) = sending.only_call();
        assert_eq!(call.chosen, [0, 1]);
        sending.answer(id, Ok(Answer::Partly(vec![None, Some(error.clone())])));
        let mut n_tries = 0;
        for n in 1..300 {
            sending.batch(batch(n, 2));
            sending.wait();
            for (id, call) in sending.in_flight.clone() {
                if call.batch.spans[0].start > 0 {
                    sending.answer(id, Ok(Answer::AllAccepted));
                    continue;
                }
                assert_eq!(call.chosen, [1], "{code}");
                let outcomes = vec![Some(error.clone())];
                sending.answer(id, Ok(Answer::Partly(outcomes)));
                n_tries += 1;
            }
            assert_eq!((sending.watermark, &sending.refused[..]), (0, &[][..]));
        }
        assert!(n_tries > 100, "{code}: {n_tries}");
        while !sending.publisher.is_idle() {
            sending.wait();
            for (id, _) in sending.in_flight.clone() {
                sending.answer(id, Ok(Answer::AllAccepted));
            }
        }
        assert_eq!(sending.watermark, 300 * 20, "{code}");
    }
}

/// P-PROBE: While all calls of a flow fail, one at a time is tried.
#[test]
fn a_dead_stream_holds_one_slot() {
    let mut sending = Sending::new(8);
    (0..6).for_each(|place| sending.batch(batch(place, 1)));
    assert_eq!(sending.in_flight.len(), 6);
    for (id, _) in sending.in_flight.clone() {
        sending.answer(id, Err(failure(FailureKind::Connection)));
    }
    for _ in 0..20 {
        sending.wait();
        let (id, _) = sending.only_call();
        sending.answer(id, Err(failure(FailureKind::Connection)));
    }
    // Each success takes back nine tenths of the failures; without any all go side by side again.
    sending.wait();
    for _ in 0..2 {
        let (id, _) = sending.only_call();
        sending.answer(id, Ok(Answer::AllAccepted));
    }
    assert_eq!(sending.in_flight.len(), 4);
}

/// P-AGE: A batch is due when its oldest record is `maxBufferAgeMillis` old.
#[test]
fn a_batch_is_due_by_its_first_record() {
    let mut open = open_batch(&flow("/l/x", r#", "maxBufferAgeMillis": 2500"#));
    assert_eq!(open.deadline(), None);
    let first = Instant::now();
    for seconds in 0..3 {
        open.add(
            span(0, 1),
            &[],
            first + Duration::from_secs(seconds),
            |body| (true, body.push(b'\n')),
        );
        assert_eq!(open.deadline(), Some(first + Duration::from_millis(2500)));
    }
}

/// P-EVERY: Every file that matches `filePattern` is followed, whichever is the newest.
#[test]
fn files_written_at_once_are_all_read() {
    let mut following = Following::start(
        FROM_START,
        &[
            ("app.log", "a1\n"),
            ("app.log.b", "b1\n"),
            ("other.log", "o\n"),
        ],
    );
    let mut read = following.after(A_LOOK);
    for n in 2..5 {
        following.append("app.log", &format!("a{n}\n"));
        following.append("app.log.b", &format!("b{n}\n"));
        read.extend(following.after(A_LOOK));
    }
    read.sort();
    assert_eq!(
        read,
        [
            "a1\n", "a2\n", "a3\n", "a4\n", "b1\n", "b2\n", "b3\n", "b4\n"
        ]
    );
}

/// P-END: With `END_OF_FILE` a file that is there at a flow's first start is read from behind its last complete line.
#[test]
fn end_of_file_is_behind_the_last_complete_line() {
    let mut following = Following::start("", &[("app.log", "old\nbegun ")]);
    assert!(following.after(A_LOOK).is_empty());
    following.append("app.log", "and ended\n");
    assert_eq!(following.after(A_LOOK), ["begun and ended\n"]);
}

/// P-START: With `START_OF_FILE` it is read from its beginning.
#[test]
fn start_of_file_is_the_first_byte() {
    let mut following = Following::start(FROM_START, &[("app.log", "1\n2\n")]);
    assert_eq!(following.after(A_LOOK), ["1\n", "2\n"]);
}

/// P-LATER: A file that appears later is read from its beginning, whatever `initialPosition` says.
#[test]
fn files_that_appear_later_are_read_whole() {
    let mut following = Following::start("", &[("app.log", "old\n")]);
    following.after(A_LOOK);
    following.append("app.log.1", "1\n2\n");
    assert_eq!(following.after(A_LOOK), ["1\n", "2\n"]);
    following.acknowledge_all();
    following.restart();
    following.append("app.log.2", "3\n");
    assert_eq!(following.after(A_LOOK), ["3\n"]);
}

/// P-RESUME: After a restart each file is read from its checkpoint on, whatever its name is by then.
#[test]
fn a_restart_goes_on_where_files_were_left() {
    let mut following =
        Following::start(FROM_START, &[("app.log", "1\n2\n"), ("app.log.b", "x\n")]);
    following.after(A_LOOK);
    following.acknowledge_all();
    following.append("app.log", "3\n");
    following.after(A_LOOK);
    following.restart();
    following.rename("app.log", "app.log.1");
    following.append("app.log", "new\n");
    let mut read = following.after(A_LOOK);
    read.sort();
    assert_eq!(read, ["3\n", "new\n"], "3 was read and never accepted");
}

/// P-RENAME: A file that was renamed or deleted is read on to its end, with what is written to it afterwards.
#[test]
fn files_are_read_on_under_other_names_and_without_one() {
    for leave in [
        |following: &Following| following.rename("app.log", "app.log.1"),
        |following: &Following| following.rename("app.log", "gone.log"),
        |following: &Following| fs::remove_file(following.path("app.log")).unwrap(),
    ] {
        let mut following = Following::start(FROM_START, &[("app.log", "1\n")]);
        assert_eq!(following.after(A_LOOK), ["1\n"]);
        let mut writer = fs::OpenOptions::new()
            .append(true)
            .open(following.path("app.log"))
            .unwrap();
        following.append("app.log", "2\n");
        leave(&following);
        following.append("app.log", "new\n");
        let mut read = following.after(A_LOOK);
        std::io::Write::write_all(&mut writer, b"3\n").unwrap();
        read.extend(following.after(A_LOOK));
        read.sort();
        assert_eq!(read, ["2\n", "3\n", "new\n"]);
    }
}

#[test]
fn a_file_that_was_renamed_out_of_the_pattern_is_held_open_for_an_hour() {
    for (minutes, expected) in [(58, &["2\n"][..]), (62, &[])] {
        let mut following = Following::start(FROM_START, &[("app.log", "1\n")]);
        following.after(A_LOOK);
        following.acknowledge_all();
        following.rename("app.log", "gone.log");
        following.after(A_LOOK);
        // What is to be forgotten is saved first.
        following.places();
        for _ in 0..minutes {
            assert_eq!(following.after(Duration::from_secs(60)), [""; 0]);
            following.places();
        }
        following.append("gone.log", "2\n");
        assert_eq!(following.after(A_LOOK), expected, "{minutes} minutes");
    }
}

#[test]
fn a_file_that_is_renamed_so_that_exclude_matches_is_read_to_its_end() {
    let keys = format!(r#"{FROM_START}, "exclude": "*.bak""#);
    let files = [("app.log", "1\n"), ("app.log.other.bak", "excluded\n")];
    let mut following = Following::start(&keys, &files);
    assert_eq!(following.after(A_LOOK), ["1\n"]);
    following.append("app.log", "2\n");
    following.rename("app.log", "app.log.bak");
    assert_eq!(following.after(A_LOOK), ["2\n"]);
    following.acknowledge_all();
    for _ in 0..3 {
        following.places();
        assert_eq!(following.after(A_LOOK), [""; 0]);
    }
    following.append("app.log.bak", "3\n");
    assert_eq!(following.after(A_LOOK), ["3\n"]);
    following.append("app.log.bak", "last");
    let mut records = following.after(A_LOOK);
    (0..3).for_each(|_| records.extend(following.after(A_WHILE)));
    assert_eq!(records, ["last"]);
}

/// P-TRUNCATE: A file that became shorter than what was read of it is read from its beginning.
#[test]
fn a_truncated_file_is_read_anew() {
    // Also one that begins as it did.
    for text in ["4\n", "1\n", "1\n2\n"] {
        for is_down in [false, true] {
            let mut following = Following::start(FROM_START, &[("app.log", "1\n2\n3\n")]);
            following.after(A_LOOK);
            following.acknowledge_all();
            following.overwrite("app.log", text);
            if is_down {
                following.restart();
            }
            let records = following.after(A_LOOK);
            assert_eq!(records.concat(), text, "down: {is_down}");
        }
    }
}

/// P-COPY: What wasn't read of a file before it was copied and cut off is read from the copy, and what was read isn't
/// sent again from there.
#[test]
fn a_copy_is_read_on_where_its_source_was_left() {
    for copy in ["app.log.1", "app-1.log"] {
        for is_down in [false, true] {
            let mut following = Following::start(FROM_START, &[("app.log", "1\n2\n")]);
            assert_eq!(following.after(A_LOOK), ["1\n", "2\n"]);
            following.acknowledge_all();
            following.append("app.log", "3\n");
            following.copy_and_cut_off("app.log", copy);
            following.append("app.log", "4\n");
            if is_down {
                following.restart();
            }
            let mut records = following.after(A_LOOK);
            records.extend(following.after(A_WHILE));
            records.sort();
            assert_eq!(records, ["3\n", "4\n"], "{copy} {is_down}");
        }
    }
}

/// An agent that stood still, as with its host, for longer than a copy waits for its source to be cut off.
#[test]
fn a_copy_whose_source_was_cut_off_while_nobody_looked_is_not_sent_again() {
    let lines: String = (0..200).map(|n| format!("line {n:06}\n")).collect();
    for copy in ["app.log.1", "app.log.old"] {
        let mut following = Following::start(FROM_START, &[("app.log", &lines)]);
        assert_eq!(following.after(A_LOOK).concat(), lines);
        following.copy("app.log", copy);
        assert_eq!(following.after(Duration::from_millis(100)).concat(), "");
        following.overwrite("app.log", "");
        following.append("app.log", "new\n");
        let mut records = following.after(Duration::from_secs(60));
        records.extend(following.after(A_WHILE));
        assert_eq!(records.concat(), "new\n", "{copy}");
    }
}

/// P-ALIKE: Files that begin alike, or are equal, are each sent.
#[test]
fn files_that_begin_alike_are_each_sent() {
    let long = ["1\n", "2\n"].map(|end| format!("{}\n{end}", "x".repeat(3_000)));
    let [first_long, second_long] = long.each_ref().map(String::as_str);
    for (first, second) in [
        ("id\n1\n", "id\n2\n"),
        ("id\n1\n", "id\n1\n"),
        ("id\n", "id\n"),
        (first_long, second_long),
        (first_long, first_long),
    ] {
        let mut following = Following::start(FROM_START, &[("app.log", first)]);
        // A file that is as another one that is gone, its time included, was moved.
        let file = fs::File::options()
            .append(true)
            .open(following.path("app.log"));
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        file.unwrap().set_modified(an_hour_ago).unwrap();
        let mut records = following.after(A_LOOK);
        following.append("app.log.new", second);
        records.extend(following.after(A_LOOK));
        records.extend(following.after(A_WHILE));
        assert_eq!(records.concat(), [first, second].concat());
        // Nor after a restart, with one of them gone.
        following.acknowledge_all();
        fs::remove_file(following.path("app.log")).unwrap();
        following.append("app.log.newer", first);
        following.restart();
        records = following.after(A_LOOK);
        records.extend(following.after(A_WHILE));
        assert_eq!(records.concat(), first, "{:?}", following.events());
    }
    // Both there at the first look.
    for (first, second) in [
        ("id\n1\n", "id\n2\n"),
        ("id\n1\n", "id\n1\n"),
        (first_long, second_long),
        (first_long, first_long),
    ] {
        let mut following =
            Following::start(FROM_START, &[("app.log", first), ("app.log.b", second)]);
        let mut records = following.after(A_LOOK);
        records.extend(following.after(A_WHILE));
        let mut expected: Vec<_> = [first, second]
            .concat()
            .split_inclusive('\n')
            .map(str::to_owned)
            .collect();
        records.sort();
        expected.sort();
        assert_eq!(records, expected);
    }
}

/// P-GZIP: What wasn't read of a file before it was compressed is read from its gzip.
#[test]
fn a_gzip_is_read_on_where_its_file_was_left() {
    let mut following = Following::start(FROM_START, &[("app.log", "1\n2\n")]);
    assert_eq!(following.after(A_LOOK), ["1\n", "2\n"]);
    following.acknowledge_all();
    following.append("app.log", "3\n");
    following.rename("app.log", "app-1.log");
    following.compress("app-1.log");
    following.append("app.log", "4\n");
    following.append("other.log", "1\n2\nx\n");
    following.compress("other.log");
    following.restart();
    let mut records = following.after(A_LOOK);
    records.sort();
    assert_eq!(records, ["3\n", "4\n"]);
    // And on from there, in the gzip.
    following.acknowledge_all();
    following.restart();
    assert_eq!(following.after(A_LOOK), [""; 0]);
}

/// P-LOST: Bytes that were seen in a file and are gone before they were read are reported as lost, with the file and
/// their offsets.
#[test]
fn what_is_lost_is_reported() {
    let mut following = Following::start(FROM_START, &[("app.log", "1\n2\nhalf a li")]);
    following.after(A_LOOK);
    following.events();
    following.overwrite("app.log", "");
    following.after(A_LOOK);
    let path = following.path("app.log");
    let lost = Event::Lost {
        path: path.into(),
        start: 4,
        end: Some(13),
    };
    let events = following.events();
    assert!(events.contains(&lost), "{events:?}");
}

/// P-REUSE: A new file under an old inode number isn't taken for the old file.
#[test]
fn an_inode_with_another_beginning_is_another_file() {
    let mut following = Following::start(FROM_START, &[("app.log", "old 1\nold 2\n")]);
    following.after(A_LOOK);
    following.acknowledge_all();
    following.overwrite("app.log", "new 1\nnew 2\nnew 3\n");
    following.restart();
    assert_eq!(following.after(A_LOOK), ["new 1\n", "new 2\n", "new 3\n"]);
}

/// P-RAW: Without `dataProcessingOptions` a record is a line of the file byte for byte, its newline included.
#[test]
fn a_line_is_a_record_as_it_is() {
    let mut following = Following::start(FROM_START, &[]);
    let lines: [&[u8]; 5] = [
        b"\xff\x00\xfe\n",
        b"\n",
        b" \r\n",
        b"\tx \n",
        "ü\n".as_bytes(),
    ];
    fs::write(following.path("app.log"), lines.concat()).unwrap();
    let flow = flow("/l/x", "");
    assert!(Chain::new(&flow.processing).is_empty());
    let mut open = open_batch(&flow);
    following.read(A_LOOK);
    for (data, kind) in following.records.take() {
        assert_eq!(kind, RecordKind::Whole);
        open.add(span(0, 1), &[], Instant::now(), |body| {
            (true, body.extend_from_slice(&data))
        });
    }
    let batch = open.close().unwrap();
    let sent: Vec<_> = batch
        .records
        .iter()
        .map(|record| data_of(&batch, record))
        .collect();
    assert_eq!(sent, lines);
}

/// P-PARTIAL: A last line without its newline waits for it, however long that takes.
#[test]
fn a_line_waits_for_its_newline() {
    let mut following = Following::start(FROM_START, &[("app.log", "1\nhalf")]);
    assert_eq!(following.after(A_LOOK), ["1\n"]);
    for _ in 0..100 {
        assert!(following.after(A_WHILE).is_empty());
    }
    following.append("app.log", " and half\n");
    assert_eq!(following.after(A_LOOK), ["half and half\n"]);
}

/// P-LAST: The last line of a file that was rotated away is sent although it has no newline.
#[test]
fn the_last_line_of_a_rotated_file_is_sent() {
    let renamed =
        |name: &'static str| move |following: &Following| following.rename("app.log", name);
    let deleted = |following: &Following| fs::remove_file(following.path("app.log")).unwrap();
    let replaced = |following: &Following| {
        following.append("other", "new\n");
        following.rename("other", "app.log");
    };
    type Leave<'a> = &'a dyn Fn(&Following);
    let ways: [(&str, Leave, &[&str]); 5] = [
        ("renamed within the pattern", &renamed("app.log.1"), &[]),
        ("renamed out of it", &renamed("gone.log"), &[]),
        ("deleted", &deleted, &[]),
        ("its name taken", &replaced, &["new\n"]),
        (
            "rotated",
            &|following| {
                following.rename("app.log", "app.log.1");
                following.append("app.log", "new\n");
            },
            &["new\n"],
        ),
    ];
    for (way, leave, new) in ways {
        let mut following = Following::start(FROM_START, &[("app.log", "1\nlast")]);
        assert_eq!(following.after(A_LOOK), ["1\n"]);
        leave(&following);
        assert_eq!(
            following.after(A_LOOK),
            new,
            "{way}: its writer may still be at work"
        );
        (0..3).for_each(|_| following.read(A_WHILE));
        let last = (b"last".to_vec(), RecordKind::Unterminated);
        assert_eq!(following.records.take(), [last], "{way}");
    }
    let flow = flow("/l/x", "");
    let mut mended = Vec::new();
    assert!(mend(&flow, b"last", RecordKind::Unterminated, &mut mended));
    assert_eq!(mended, b"last\n");
}

/// P-QUIET: With `multiLineStartPattern` a record ends where the next one starts, or when its file was quiet for
/// `multiLineIdleMillis`.
#[test]
fn a_multi_line_record_waits_for_more() {
    let keys =
        format!(r#"{FROM_START}, "multiLineStartPattern": "E", "multiLineIdleMillis": 20000"#);
    let mut following = Following::start(&keys, &[("app.log", "E1\n a\nE2\n a\n")]);
    assert_eq!(following.after(A_LOOK), ["E1\n a\n"]);
    following.append("app.log", " b\n");
    assert!(following.after(A_LOOK).is_empty());
    // Sooner than what is rotated away counts as quiet.
    assert_eq!(following.after(Duration::from_secs(21)), ["E2\n a\n b\n"]);
}

/// P-CUT: A record longer than the service takes is cut between characters, ends with `truncatedRecordTerminator`, and
/// is sent.
#[test]
fn a_record_that_is_too_long_is_cut_to_fit() {
    for (keys, limit) in [
        ("", limits::KINESIS_RECORD_BYTES_MAX),
        (
            r#", "deliveryStream": "d""#,
            limits::FIREHOSE_RECORD_BYTES_MAX,
        ),
    ] {
        let flow = flow(
            "/l/x",
            &format!(r#"{keys}, "truncatedRecordTerminator": "|CUT|\n""#),
        );
        let mut open = open_batch(&flow);
        let text = "€".repeat(500_000) + "\n";
        let added = open.add(span(0, 1_500_001), &[], Instant::now(), |body| {
            (true, body.extend_from_slice(text.as_bytes()))
        });
        assert!(added.cut);
        let batch = added.closed.into_iter().chain(open.close()).next().unwrap();
        let record = &batch.records[0];
        let data = std::str::from_utf8(data_of(&batch, record)).expect("no character is cut");
        let bytes = data.len() + key_of(&batch, record).len();
        assert!((limit - 3..=limit).contains(&bytes), "{bytes} of {limit}");
        assert_eq!(
            data.strip_suffix("|CUT|\n")
                .map(|data| data.replace('€', ""))
                .as_deref(),
            Some("")
        );
    }
}

/// P-CONVERT: A record that an option can't make sense of is sent as it is, but for `LOGTOJSON`, which leaves out what
/// doesn't match.
#[test]
fn what_cannot_be_converted_is_for_sending_as_it_is() {
    let options = [
        r#"{"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "("}"#,
        r#"{"optionName": "ADDEC2METADATA", "logFormat": "SYSLOG"}"#,
    ];
    let ec2 = Default::default();
    let context = Context {
        now: Timestamp::UNIX_EPOCH,
        ec2: Some(&ec2),
    };
    for option in options {
        let flow = flow("/l/x", &format!(r#", "dataProcessingOptions": [{option}]"#));
        let mut out = b"before".to_vec();
        let verdict = Chain::new(&flow.processing).run(b"no object\n", &context, &mut out);
        assert!(matches!(verdict, Verdict::Raw(_)), "{option}: {verdict:?}");
        assert_eq!(out, b"before", "the caller sends what it has");
    }
    let option = r#"{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG"}"#;
    let flow = flow("/l/x", &format!(r#", "dataProcessingOptions": [{option}]"#));
    let verdict = Chain::new(&flow.processing).run(b"no log\n", &context, &mut Vec::new());
    assert!(matches!(verdict, Verdict::Skipped(_)), "{verdict:?}");
}

/// P-STEPS: A pattern that takes too many steps over a record or line is no match there, and a record that it was to
/// convert is sent as it is.
#[test]
fn a_catastrophic_pattern_costs_one_record() {
    const CATASTROPHE: &str = r"(?<!x)(?:a+)+c";
    let long = format!("{}\n", "a".repeat(20_000));
    let context = Context {
        now: Timestamp::UNIX_EPOCH,
        ec2: None,
    };
    for option in [
        format!(
            r#"{{"optionName": "CSVTOJSON", "customFieldNames": ["f"], "delimiter": "{CATASTROPHE}"}}"#
        ),
        format!(
            r#"{{"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(.*?){CATASTROPHE}", "customFieldNames": ["x"]}}"#
        ),
    ] {
        let flow = flow("/l/x", &format!(r#", "dataProcessingOptions": [{option}]"#));
        let mut chain = Chain::new(&flow.processing);
        let verdict = chain.run(long.as_bytes(), &context, &mut Vec::new());
        assert!(matches!(verdict, Verdict::Raw(_)), "{option}: {verdict:?}");
        let verdict = chain.run(b"xac\n", &context, &mut Vec::new());
        assert!(!matches!(verdict, Verdict::Raw(_)), "{option}: {verdict:?}");
    }
    // The line that the pattern gives up on belongs to the record before it.
    let start = format!(r#", "multiLineStartPattern": "S|.*?{CATASTROPHE}""#);
    let flow = flow("/l/x", &start);
    let splitter = Splitter::new(&flow.split, 1 << 20);
    let mut state = SplitState::at_start(&flow.split);
    let text = format!("S1\n{long}S2\n");
    let piece = splitter.next(&mut state, text.as_bytes(), 0, End::More);
    let Piece::Record { data, .. } = piece else {
        panic!("{piece:?}")
    };
    assert_eq!(text[data], format!("S1\n{long}"));
}

/// P-ORDER: With `ordering` `PER_KEY` or `PER_FILE`, of the records of one key or file a later one is sent only once the
/// earlier one is accepted.
#[test]
fn a_record_waits_for_the_one_before_it_in_its_key_or_file() {
    for (keys, first_call) in [
        (
            r#", "partitionKeyPattern": "^.", "ordering": "PER_KEY""#,
            vec![0, 1],
        ),
        (r#", "ordering": "PER_FILE""#, vec![0]),
    ] {
        let mut open = open_batch(&flow("/l/x", keys));
        for (n, data) in (0..).zip(["a1\n", "b1\n", "a2\n", "b2\n"]) {
            let span = span(n * 3, n * 3 + 3);
            open.add(span, data.as_bytes(), Instant::now(), |body| {
                (true, body.extend_from_slice(data.as_bytes()))
            });
        }
        let mut sending = Sending::new(8);
        sending.batch(open.close().unwrap());
        let (id, call) = sending.only_call();
        assert_eq!(call.chosen, first_call, "{keys}");
        sending.answer(id, Err(failure(FailureKind::Service)));
        sending.wait();
        let (id, call) = sending.only_call();
        assert_eq!(call.chosen, first_call, "again, and nothing behind it");
        let refused = RecordError {
            code: "InternalFailure".to_owned(),
            message: String::new(),
        };
        let mut outcomes = vec![None; first_call.len()];
        outcomes[0] = Some(refused);
        sending.answer(id, Ok(Answer::Partly(outcomes)));
        let others: Vec<_> = sending.in_flight.iter().map(|(_, call)| call).collect();
        assert!(others.iter().all(|call| !call.chosen.contains(&2)));
        assert_eq!(others.len(), first_call.len() - 1, "the other key goes on");
    }
}

/// P-KEY: With `DETERMINISTIC` equal data has equal partition keys.
#[test]
fn deterministic_keys_follow_from_the_data() {
    let flow = flow("/l/x", r#", "partitionKeyOption": "DETERMINISTIC""#);
    // The same record behind another one, with another length: what stands before it has no say.
    let keys = [("x\n", "a\n"), ("x\n", "b\n"), ("yyy\n", "a\n")].map(|(before, data)| {
        let mut open = open_batch(&flow);
        open.add(span(0, 2), &[], Instant::now(), |body| {
            (true, body.extend_from_slice(before.as_bytes()))
        });
        open.add(span(0, 2), &[], Instant::now(), |body| {
            (true, body.extend_from_slice(data.as_bytes()))
        });
        let batch = open.close().unwrap();
        key_of(&batch, &batch.records[1]).to_vec()
    });
    assert_eq!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[1]);
}

fn checkpoints(folder: &tempfile::TempDir) -> Checkpoints {
    let loaded = load(r#"{"flows": [{"filePattern": "/l/x", "kinesisStream": "s"}]}"#).unwrap();
    Checkpoints {
        path: folder.path().join("checkpoints"),
        ..loaded.config.checkpoints
    }
}

/// P-ONE: One agent at a time uses a checkpoint database.
#[test]
fn a_second_agent_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = checkpoints(&folder);
    let first = Store::open(&options, Timestamp::UNIX_EPOCH).unwrap();
    assert!(matches!(
        Store::open(&options, Timestamp::UNIX_EPOCH),
        Err(OpenError::Locked { .. })
    ));
    drop(first);
    Store::open(&options, Timestamp::UNIX_EPOCH).unwrap();
}

/// P-BACK: The AWS Kinesis Agent finds its own table in the database, and in it as newest the row of the oldest file
/// that isn't wholly sent.
#[test]
fn the_newest_row_is_where_the_other_agent_has_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = checkpoints(&folder);
    let mut store = Store::open(&options, Timestamp::UNIX_EPOCH).unwrap().store;
    let flow = flow("/l/x", "").id.clone();
    // Path, age, and what is sent of ten bytes; saved in another order than that of their age.
    for (path, modified_ms, offset) in [
        ("/l/x", 4, 7),
        ("/l/x.2", 2, 4),
        ("/l/x.1", 3, 10),
        ("/l/x.3", 1, 10),
    ] {
        let place = Place {
            path: path.into(),
            identity: FileIdentity {
                device: 1,
                inode: modified_ms as u64,
            },
            fingerprint: Fingerprint::default(),
            offset,
            size: 10,
            modified_ms,
            header_lines_left: 0,
            state: PlaceState::Live,
            extra: None,
        };
        let flow = flow.clone();
        store
            .save(&[Change::Upsert { flow, place }], Timestamp::now())
            .unwrap();
    }
    drop(store);
    let database = rusqlite::Connection::open(&options.path).unwrap();
    let newest = "SELECT path, offset FROM FILE_CHECKPOINTS ORDER BY lastUpdated DESC LIMIT 1";
    let row: (String, i64) = database
        .query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(row, ("/l/x.2".to_owned(), 4));
}

/// P-FINDINGS: A configuration that is refused is refused with every mistake in it at once.
#[test]
fn all_mistakes_are_named() {
    let text = r#"{
        "maxSendingThreads": 0,
        "kinesis.wire": "XML",
        "flows": [
            {"filePattern": "/l/x"},
            {"filePattern": "x", "kinesisStream": "s", "initialPosition": "MIDDLE"}
        ]
    }"#;
    let Err(Refused::Invalid(report)) = load(text) else {
        panic!("it isn't refused")
    };
    let mut keys: Vec<_> = report
        .of(Severity::Error)
        .map(|finding| finding.key.as_str())
        .collect();
    keys.sort_unstable();
    let expected = [
        "flows[0].kinesisStream",
        "flows[1].filePattern",
        "flows[1].initialPosition",
        "kinesis.wire",
        "maxSendingThreads",
    ];
    assert_eq!(keys, expected);
}

/// P-NOFLOW: A configuration without a flow is a state of its own, not a mistake.
#[test]
fn no_flow_is_not_configured() {
    for text in ["{}", r#"{"flows": []}"#, r#"{"flows": null}"#] {
        assert!(matches!(load(text), Err(Refused::NoFlows { .. })), "{text}");
    }
    assert!(matches!(load(r#"{"flows": 1}"#), Err(Refused::Invalid(_))));
}
