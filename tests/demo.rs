//! `kinesis-agent demo`, as a newcomer runs it: the real binary, real files, real calls.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the demo where temporary files go to a folder of the test's own, which must be empty after.
fn demo(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", folder.path())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("the binary starts");
    let left = left_in(folder.path());
    assert!(left.is_empty(), "{left:?} left behind: {output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(!text.contains('\x1b'), "no terminal, no escapes: {text}");
    (output, text)
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
