//! What packages hold beside the program: manual pages and completions know every subcommand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn papers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("papers")
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// The subcommands, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("--help")
        .output()
        .expect("the program starts");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(names.contains(&"status".to_owned()), "{names:?}");
    names
}

#[test]
fn there_is_a_manual_page_for_each_subcommand() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = papers(&["man", folder.path().to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).expect("the page");
    assert!(page("kinesis-agent.1").contains("configuration"));
    for subcommand in subcommands() {
        let text = page(&format!("kinesis-agent-{subcommand}.1"));
        assert!(text.contains(".SH NAME"), "{subcommand}: {text}");
    }
}

#[test]
fn completions_know_each_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let output = papers(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for subcommand in subcommands() {
            assert!(text.contains(&subcommand), "{shell}: {subcommand}");
        }
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Path::new("/nonexistent/manuals");
    let output = papers(&["man", folder.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("/nonexistent/manuals"), "{said}");
}
