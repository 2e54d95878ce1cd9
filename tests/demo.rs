//! `kinesis-agent demo`, as a newcomer runs it: the real binary, real files, real calls.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the demo where temporary files go to a folder of the test's own, which must be empty after.
fn demo(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = command(folder.path(), arguments)
        .output()
        .expect("the binary starts");
    let left = left_in(folder.path());
    assert!(left.is_empty(), "{left:?} left behind: {output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(!text.contains('\x1b'), "no terminal, no escapes: {text}");
    (output, text)
}

fn command(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"));
    command
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", temporary)
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Runs the demo and sends it the signals once it has said `until`; its exit code and what it said after that.
fn demo_with_signals(arguments: &[&str], until: &str, signals: &[Signal]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = command(folder.path(), arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut said = BufReader::new(process.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains(until) {
        line.clear();
        assert_ne!(
            said.read_line(&mut line).expect("UTF-8"),
            0,
            "it ended early"
        );
    }
    for signal in signals {
        kill_process(Pid::from_child(&process), *signal).expect("it runs");
    }
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("UTF-8");
    let code = process.wait().expect("it ends").code();
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
    (code, rest)
}

fn left_in(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().expect("the folder is there");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_line_arrives_once_and_no_file_stays() {
    let (output, text) = demo(&["--lines", "3000", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(0), "{text}{}", error_of(&output));
    let verdict = "3000 lines written, 3000 records received, 0 lost, 0 twice, 0 wrong\n";
    assert!(text.contains(verdict), "{text}");
    // Which ones come first is chance: calls overtake each other.
    assert_eq!(text.matches("    {\"id\":\"").count(), 3, "{text}");
    assert_eq!(error_of(&output), "");
}

#[test]
fn faults_that_refuse_lose_nothing_and_send_nothing_twice() {
    let script = "fail-record every=10; status=500 p=0.05; error=ServiceUnavailable calls=3; reset-before calls=5";
    let (output, text) = demo(&["--lines", "3000", "--seconds", "1", "--faults", script]);
    assert_eq!(output.status.code(), Some(0), "{text}{}", error_of(&output));
    let verdict = "3000 lines written, 3000 records received, 0 lost, 0 twice, 0 wrong\n";
    assert!(text.contains(verdict), "{text}");
}

#[test]
fn faults_that_hide_acceptance_send_twice_and_it_says_so() {
    let (output, text) = demo(&[
        "--lines",
        "500",
        "--seconds",
        "1",
        "--faults",
        "reset-after calls=2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{text}{}", error_of(&output));
    assert!(text.contains("500 lines written, "), "{text}");
    assert!(text.contains(" 0 lost, "), "{text}");
    assert!(!text.contains(" 0 twice, "), "{text}");
    assert!(text.contains("Twice is right here"), "{text}");
}

#[test]
fn a_single_line_is_enough() {
    let (output, text) = demo(&["--lines", "1", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(0), "{text}{}", error_of(&output));
    assert!(
        text.contains("1 line written, 1 record received, 0 lost, 0 twice, 0 wrong\n"),
        "{text}"
    );
}

#[test]
fn a_signal_stops_it_early_with_a_verdict_on_what_was_written() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let arguments = ["--lines", "600000", "--seconds", "600"];
        let (code, text) = demo_with_signals(&arguments, "{\"id\":\"", &[signal]);
        assert_eq!(code, Some(0), "{text}");
        let verdict = text
            .lines()
            .find(|line| line.contains(" lines written, "))
            .expect("a verdict");
        let numbers: Vec<u64> = verdict
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [n_written, n_received, 0, 0, 0] = numbers[..] else {
            panic!("{verdict}");
        };
        assert_eq!(n_written, n_received);
        assert!((1..600_000).contains(&n_written), "{verdict}");
        assert!(text.contains("stopped early"), "{text}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_no_file_stays_either() {
    let arguments = ["--lines", "100", "--seconds", "600", "--faults", "stall"];
    // Two signals of one kind could become one on the way.
    let (code, _) = demo_with_signals(&arguments, " 0 received", &[Signal::INT, Signal::TERM]);
    assert_eq!(code, Some(130));
}

#[test]
fn what_cannot_be_played_is_refused_with_the_legal_values() {
    for (arguments, code, expected) in [
        (["--lines", "0"], 2, "0 is not in 1..=10000000"),
        (["--seconds", "3601"], 2, "3601 is not in 1..=3600"),
        (
            ["--faults", "sleep"],
            1,
            "unknown fault; legal: fail-record",
        ),
    ] {
        let (output, text) = demo(&arguments);
        assert_eq!(output.status.code(), Some(code), "{text}");
        let error = error_of(&output);
        assert!(error.contains(expected), "{error}");
    }
}
