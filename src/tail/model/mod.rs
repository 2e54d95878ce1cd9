//! Scripts of what befalls log files, driven against the real [`Tailer`](super::Tailer) and a plain account of what was
//! written, in memory and in a real folder.
//!
//! Whatever the script: no line is invented, torn or sent twice in one run; a restart sends again only what no saved
//! place covered; no place stands beyond a byte that isn't accepted; and what stayed readable, in its file, by a handle,
//! in a copy or in a gzip, is accepted in the end.

mod play;
mod sending;
pub mod stage;
mod world;

use std::fmt;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::planted::leave_truncations_unseen;
use super::testing::{MemoryDisk, Refusals};
use play::Play;
use stage::{RealFolder, Stage};
use world::Verdict;

/// The names that scripts use, the first of which match the pattern.
const NAMES: [&str; 6] = [
    "/logs/app.log",
    "/logs/app.log.1",
    "/logs/app.log.2",
    "/logs/app.log.new",
    "/logs/app-old.log",
    "/archive/app.log",
];
/// How many match.
const MATCHED: usize = 4;

/// What kind of flow it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// What was there before isn't sent.
    EndOfFile,
    /// The first line of a file isn't sent.
    Header,
    /// Nor anything from a line on that begins with `footer`.
    Footer,
    /// A record begins at a line with an even number.
    MultiLine,
}

/// One thing that happens. Files are places in [`NAMES`].
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// A writer appends whole lines, then a part of one.
    Append(usize, u8, bool),
    /// A writer appends a footer.
    Footer(usize),
    Rename(usize, usize),
    Link(usize, usize),
    Delete(usize),
    /// The file is emptied, and at once written to again.
    Truncate(usize, u8),
    /// The file is copied, and that is all.
    Copy(usize, usize),
    /// The file is copied and emptied.
    CopyTruncate(usize, usize),
    /// The file is compressed: its gzip takes its place.
    Gzip(usize),
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
    /// The writer's deed that follows comes in the midst of the next turn: before that operation of its on the disk, or at its
    /// end.
    Amid(u8),
}

use Step::*;

const HEALED: Refusals = Refusals {
    names: false,
    opens: false,
    reads: false,
};

/// A script, printed as one can write it down in a test.
#[derive(Clone)]
struct Script(Kind, Vec<Step>);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Append(file, n, part) => write!(f, "Append({file}, {n}, {part})"),
            Footer(file) => write!(f, "Footer({file})"),
            Rename(from, to) => write!(f, "Rename({from}, {to})"),
            Link(from, to) => write!(f, "Link({from}, {to})"),
            Delete(file) => write!(f, "Delete({file})"),
            Truncate(file, n) => write!(f, "Truncate({file}, {n})"),
            Copy(from, to) => write!(f, "Copy({from}, {to})"),
            CopyTruncate(from, to) => write!(f, "CopyTruncate({from}, {to})"),
            Gzip(file) => write!(f, "Gzip({file})"),
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
            Amid(n_operations) => write!(f, "Amid({n_operations})"),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "holds(Kind::{:?}, &[", self.0)?;
        for step in &self.1 {
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
    /// A file that was cut off or written anew counts as what it was.
    NoTruncation,
}

/// Plays a script in memory; what is wrong, if anything is.
fn play(script: &Script, planted: Planted, hints_work: bool) -> Verdict {
    let mut disk = MemoryDisk::default();
    disk.one_identity = planted == Planted::OneIdentity;
    leave_truncations_unseen(planted == Planted::NoTruncation);
    let play = Play::new(disk, script.0, planted, hints_work);
    let verdict = play_on(play, &script.1);
    leave_truncations_unseen(false);
    verdict
}

fn play_on<S: Stage>(mut play: Play<S>, steps: &[Step]) -> Verdict {
    for (place, step) in steps.iter().enumerate() {
        play.step(*step)
            .map_err(|said| format!("step {place} {step:?}: {said}"))?;
    }
    play.settle().map_err(|said| format!("at the end: {said}"))
}

/// Plays a script in a real folder.
fn play_really(script: &Script, hints_work: bool) -> Verdict {
    let play = Play::new(RealFolder::new(), script.0, Planted::Nothing, hints_work);
    play_on(play, &script.1)
}

/// A script of the past that found a defect.
#[track_caller]
fn holds(kind: Kind, steps: &[Step]) {
    let script = Script(kind, steps.to_vec());
    for hints_work in [false, true] {
        let verdict = play(&script, Planted::Nothing, hints_work);
        if let Err(said) = verdict.and_then(|()| play_really(&script, hints_work)) {
            let mut play = Play::new(MemoryDisk::default(), kind, Planted::Nothing, hints_work);
            play.is_told = true;
            let _ = play_on(play, steps);
            panic!("{said}\n{script:?}");
        }
    }
}

fn scripts() -> impl Strategy<Value = Script> {
    let file = || prop_oneof![4 => Just(0usize), 3 => 1..4usize, 1 => 4..6usize];
    let step = prop_oneof![
        10 => (file(), 0..4u8, prop::bool::weighted(0.2)).prop_map(|(file, n, part)| Append(file, n, part)),
        1 => file().prop_map(Footer),
        4 => (file(), file()).prop_map(|(from, to)| Rename(from, to)),
        1 => (file(), file()).prop_map(|(from, to)| Link(from, to)),
        2 => file().prop_map(Delete),
        3 => (file(), 0..6u8).prop_map(|(file, n)| Truncate(file, n)),
        1 => (file(), file()).prop_map(|(from, to)| Copy(from, to)),
        4 => (file(), file()).prop_map(|(from, to)| CopyTruncate(from, to)),
        2 => file().prop_map(Gzip),
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
        4 => prop_oneof![0..12u8, 0..100u8].prop_map(Amid),
    ];
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        1 => Just(Kind::EndOfFile),
        1 => Just(Kind::Header),
        1 => Just(Kind::Footer),
        1 => Just(Kind::MultiLine),
    ];
    (kind, proptest::collection::vec(step, 1..60)).prop_map(|(kind, steps)| Script(kind, steps))
}

/// Scripts in CI. `MODEL_SCRIPTS` in the environment says otherwise.
const SCRIPTS: usize = 10_000;
/// Those of them that are played in a real folder too.
const SCRIPTS_IN_A_FOLDER: usize = 1_000;

/// Plays so many scripts, always the same ones: what fails here fails for everybody. The first that `plays` finds
/// something in.
fn first<T>(
    n: usize,
    mut plays: impl FnMut(&mut TestRunner, Box<dyn ValueTree<Value = (Script, bool)>>) -> Option<T>,
) -> Option<(usize, T)> {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let all = (scripts(), any::<bool>());
    (1..=n).find_map(|number| {
        let script = all.new_tree(&mut runner).expect("a script");
        Some((number, plays(&mut runner, Box::new(script))?))
    })
}

/// Plays so many scripts; one that fails is told as short as it gets.
#[track_caller]
fn play_many(n: usize, play: impl Fn(&Script, bool) -> Verdict) {
    let failed = first(n, |runner, script| {
        let played = runner.run_one(script, |(script, hints_work)| {
            play(&script, hints_work).map_err(TestCaseError::fail)
        });
        played.err()
    });
    if let Some((number, error)) = failed {
        panic!("script {number}: {error}");
    }
}

#[test]
fn no_line_is_lost_torn_doubled_or_invented() {
    let told = std::env::var("MODEL_SCRIPTS").ok();
    let n_scripts = told.and_then(|n| n.parse().ok()).unwrap_or(SCRIPTS);
    play_many(n_scripts, |script, hints_work| {
        play(script, Planted::Nothing, hints_work)
    });
    let (n_lines, excused) = world::take_tally();
    println!("{n_lines} lines in {n_scripts} scripts, twice with an excuse: {excused:?}");
    // Files that are the same for good are each sent, so those who copy decide how many. The others are rare.
    let others = excused
        .iter()
        .filter(|(why, _)| **why != world::Excuse::Copied);
    let n_others: u64 = others.map(|(_, n)| n).sum();
    assert!(
        n_others < n_lines / 200,
        "{n_others} of {n_lines} lines come twice with an excuse"
    );
}

#[test]
fn nor_in_a_real_folder() {
    play_many(SCRIPTS_IN_A_FOLDER, play_really);
}

/// The model is worth nothing if it can't fail: each defect shows in one of the scripts that the program passes.
#[test]
fn planted_defects_are_found_by_the_same_scripts() {
    for planted in [
        Planted::PlaceAtRead,
        Planted::OneIdentity,
        Planted::NoWatermark,
        Planted::NoFingerprint,
        Planted::NoTruncation,
    ] {
        let found = first(SCRIPTS, |_, script| {
            let (script, hints_work) = script.current();
            play(&script, planted, hints_work).err()
        });
        let Some((number, said)) = found else {
            panic!("{planted:?} goes unseen");
        };
        println!("{planted:?} shows in script {number}: {said}");
    }
}

#[test]
fn a_rename_rotation_loses_nothing() {
    holds(
        Kind::Plain,
        &[
            Append(0, 3, true),
            Turn(2),
            Rename(0, 1),
            Append(0, 2, false),
            Turn(9),
            Accept(0),
        ],
    );
}

#[test]
fn a_file_written_anew_to_the_size_that_was_read_is_seen() {
    // It grew while it was read, so that the look before knew a smaller size.
    holds(
        Kind::Plain,
        &[
            Append(1, 3, false),
            Append(0, 1, false),
            Truncate(1, 3),
            Append(0, 2, false),
            Turn(0),
            Append(0, 3, false),
            Turn(1000),
            Truncate(0, 4),
        ],
    );
}

#[test]
fn a_second_name_for_a_live_file_is_no_rotation() {
    holds(Kind::Plain, &[Append(3, 0, true), Turn(0), Link(3, 0)]);
    holds(
        Kind::Plain,
        &[Append(3, 1, true), Turn(1), Link(3, 0), Restart],
    );
}

#[test]
fn a_number_used_again_is_no_rename() {
    // The first was never open, so that nothing kept its number from going to the third.
    holds(
        Kind::Plain,
        &[
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
        ],
    );
    holds(
        Kind::Plain,
        &[
            Append(2, 0, false),
            Turn(0),
            Append(0, 0, false),
            Rename(0, 2),
            Restart,
            Append(0, 0, true),
        ],
    );
}

#[test]
fn unread_bytes_written_anew_are_read_though_they_are_fewer() {
    holds(Kind::Plain, &[Append(1, 0, true), Turn(3), Truncate(1, 1)]);
}

#[test]
fn a_file_renamed_out_of_the_pattern_while_nobody_looked_is_read_to_its_end() {
    holds(
        Kind::Plain,
        &[
            Append(0, 2, false),
            Turn(9),
            Accept(0),
            Save,
            Append(0, 2, false),
            Rename(0, 4),
            Kill,
            Append(4, 1, true),
            Append(0, 2, false),
        ],
    );
}

#[test]
fn a_copy_written_over_a_file_that_is_held_is_recognised() {
    holds(
        Kind::Plain,
        &[
            Footer(0),
            Append(1, 2, false),
            Turn(0),
            Rename(0, 4),
            Truncate(0, 1),
            Append(0, 1, false),
            Pass(10000),
            Turn(1000),
            CopyTruncate(0, 4),
        ],
    );
}

#[test]
fn a_file_that_waits_for_room_and_is_written_over_with_a_copy_is_recognised() {
    holds(
        Kind::Plain,
        &[
            Append(2, 3, false),
            Footer(1),
            Append(0, 1, false),
            Turn(4),
            Pass(100),
            CopyTruncate(2, 0),
        ],
    );
}

#[test]
fn a_copy_over_the_last_copy_is_recognised_whatever_else_is_cut_off() {
    holds(
        Kind::Plain,
        &[
            Footer(1),
            Rename(1, 2),
            Append(1, 1, false),
            Append(0, 1, false),
            Turn(1000),
            CopyTruncate(1, 2),
            Truncate(0, 0),
            Pass(101),
            HintWritten(1),
        ],
    );
}

#[test]
fn a_copy_of_a_file_that_was_empty_when_it_came_is_recognised() {
    holds(
        Kind::Plain,
        &[
            Append(3, 0, false),
            Turn(0),
            Append(3, 1, false),
            Pass(100),
            Turn(1),
            CopyTruncate(3, 0),
            HintRenamed,
            Turn(0),
        ],
    );
}

#[test]
fn a_gzip_is_found_though_not_all_of_the_first_read_was_accepted() {
    holds(
        Kind::Plain,
        &[
            Footer(0),
            Append(2, 3, false),
            Turn(4),
            Gzip(2),
            Accept(0),
            Save,
            Kill,
        ],
    );
}

#[test]
fn what_can_not_be_opened_for_long_is_looked_for_as_long() {
    holds(
        Kind::Plain,
        &[
            Append(0, 1, true),
            Turn(1),
            Gzip(0),
            Refuse(Refusals {
                names: false,
                opens: true,
                reads: false,
            }),
            Restart,
            Turn(0),
            Pass(60000),
            Turn(0),
        ],
    );
}

#[test]
fn of_two_copies_the_one_that_has_the_rest_is_read_on() {
    holds(
        Kind::Footer,
        &[
            Append(0, 1, false),
            Turn(1),
            Copy(0, 2),
            Rename(0, 1),
            Append(1, 1, false),
            CopyTruncate(1, 4),
        ],
    );
    // The same where the one that has the rest is packed.
    holds(
        Kind::Header,
        &[
            Append(0, 2, false),
            Turn(1),
            Copy(0, 3),
            Append(0, 1, false),
            Gzip(0),
            Restart,
            Append(3, 0, false),
            Append(0, 2, true),
        ],
    );
}

#[test]
fn a_copy_that_has_the_number_of_a_file_that_is_gone_is_recognised() {
    holds(
        Kind::Plain,
        &[
            Append(0, 1, false),
            Turn(1),
            Rename(0, 3),
            Delete(3),
            Accept(0),
            Save,
            Append(0, 1, false),
            Kill,
            Turn(1),
            CopyTruncate(0, 1),
        ],
    );
}
