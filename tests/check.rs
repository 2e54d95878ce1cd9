//! `kinesis-agent check`, the program itself: what it finds, and how it ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::users;

/// A folder with `agent.json`, in whose text `LOGS` stands for a folder of files.
struct Checked {
    folder: TempDir,
}

impl Checked {
    fn new(configuration: &str) -> Checked {
        let folder = TempDir::new().unwrap();
        // Others may look in: what they can't read is the test's business.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        fs::set_permissions(folder.path().join("logs"), Permissions::from_mode(0o755)).unwrap();
        let logs = folder.path().join("logs");
        let text = configuration.replace("LOGS", logs.to_str().unwrap());
        fs::write(folder.path().join("agent.json"), text).unwrap();
        Checked { folder }
    }

    fn file(self, name: &str, mode: u32) -> Checked {
        let path = self.folder.path().join("logs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "12345\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        self
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
            .arg("check")
            .arg("-c")
            .arg(self.folder.path().join("agent.json"))
            .arg("--agent-d")
            .arg(self.folder.path().join("agent.d"))
            .args(args)
            .output()
            .unwrap()
    }

    /// Exit code and output.
    fn told(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.run(args);
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said.replace(self.logs(), "LOGS"))
    }

    fn logs(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

fn flow(pattern: &str, members: &str) -> String {
    format!(r#"{{"filePattern": "LOGS/{pattern}", "kinesisStream": "s"{members}}}"#)
}

fn flows(flows: &[String]) -> String {
    format!("{{\"flows\": [\n{}\n]}}", flows.join(",\n"))
}

#[test]
fn each_finding_names_what_is_wrong_and_decides_the_exit_code() {
    const CSV: &str = r#", "dataProcessingOptions": [{"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "D"}]"#;
    let one = |members: &str| flows(&[flow("*.log", members)]);
    // Configuration; exit codes with --lenient, with neither, and with --strict; words of the one finding, if there is one.
    type Codes = (i32, i32, i32);
    let table: [(String, Codes, &[&str]); 12] = [
        (one(""), (0, 0, 0), &[]),
        (
            one(r#", "maxBufferSizeRecrods": 5"#),
            (0, 0, 1),
            &[
                "warning: ",
                "agent.json:2: flows[0].maxBufferSizeRecrods",
                "maxBufferSizeRecords",
            ],
        ),
        (
            one(r#", "maxBufferSizeRecords": 501"#),
            (1, 1, 1),
            &["error: ", "value 501", "legal: 1 to 500"],
        ),
        (
            one(r#", "dataProcessingOptions": {}"#),
            (0, 1, 1),
            &["error: ", "not a list", "write a list"],
        ),
        (
            one(&CSV.replace('D', "(")),
            (0, 1, 1),
            &[
                "error: ",
                "delimiter",
                "every record is sent as it is",
                "correct it",
            ],
        ),
        (
            one(&CSV.replace('D', "|")),
            (0, 0, 1),
            &[
                "warning: ",
                "every character becomes a column",
                r#"write "\\|""#,
            ],
        ),
        (
            one(r#", "waitOnFullPublishQueueMillis": 1000"#),
            (0, 0, 0),
            &["note: ", "has no effect here", "waits by the clock"],
        ),
        (
            flows(&[flow("*.txt", "")]),
            (0, 0, 1),
            &[
                "warning: ",
                "flows[0].filePattern",
                "matches no file",
                "followed",
            ],
        ),
        (
            flows(&[flow("none/*.log", "")]),
            (0, 0, 1),
            &[
                "warning: ",
                "the folder LOGS/logs/none does not exist",
                "create the folder",
            ],
        ),
        (
            one(r#", "exclude": ["a*"]"#),
            (0, 0, 1),
            &["warning: ", "flows[0].filePattern", "left out by exclude"],
        ),
        (
            flows(&[flow("*.log", ""), flow("a*", "")]),
            (0, 0, 1),
            &[
                "warning: ",
                "agent.json:3: flows[1].filePattern",
                "overlaps with LOGS/logs/*.log of flows[0]",
                "sent twice to Kinesis stream s",
            ],
        ),
        (
            "{\"flows\": [".to_owned(),
            (1, 1, 1),
            &["error: ", "agent.json:1"],
        ),
    ];
    for (configuration, (lenient_code, code, strict_code), words) in table {
        let checked = Checked::new(&configuration).file("a.log", 0o644);
        let (ended, said) = checked.told(&[]);
        assert_eq!(ended, Some(code), "{configuration}\n{said}");
        let findings: Vec<_> = said
            .lines()
            .filter(|line| {
                ["error: ", "warning: ", "note: "]
                    .iter()
                    .any(|severity| line.starts_with(severity))
            })
            .collect();
        assert_eq!(findings.len(), usize::from(!words.is_empty()), "{said}");
        for word in words {
            assert!(findings[0].contains(word), "{word} is not in {said}");
        }
        assert_eq!(checked.told(&["--strict"]).0, Some(strict_code), "{said}");
        assert_eq!(checked.told(&["--lenient"]).0, Some(lenient_code), "{said}");
    }
}

#[test]
fn no_flow_is_a_state_of_its_own() {
    let (code, said) = Checked::new("{\"flow\": []}").told(&[]);
    assert_eq!(code, Some(6), "{said}");
    assert!(
        said.contains("there are no flows configured; add one"),
        "{said}"
    );
    assert!(
        said.contains("flows"),
        "the misspelt key is said too: {said}"
    );
}

#[test]
fn a_configuration_that_is_not_there_is_refused() {
    let checked = Checked::new("{}");
    fs::remove_file(checked.folder.path().join("agent.json")).unwrap();
    let (code, said) = checked.told(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("can't be read") && said.contains("create it"),
        "{said}"
    );
}

/// Root may read everything: the question is what another user may.
#[test]
fn files_that_the_agents_user_can_not_read_are_named_with_what_keeps_them() {
    if !users::may_all_enter(&std::env::temp_dir()) {
        eprintln!("skipped: other users may not enter the temporary folder");
        return;
    }
    let user = users::another();
    let checked = Checked::new(&flows(&[flow("*.log", ""), flow("sub/*.log", "")]))
        .file("open.log", 0o644)
        .file("closed.log", 0o600)
        .file("sub/a.log", 0o644);
    let sub = checked.folder.path().join("logs/sub");
    fs::set_permissions(&sub, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(
        checked.folder.path().join("agent.json"),
        Permissions::from_mode(0o644),
    )
    .unwrap();
    let (code, said) = checked.told(&["--user", user]);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "flows[0].filePattern: user USER can't read LOGS/logs/closed.log: it may not read LOGS/logs/closed.log (mode 600",
        "setfacl -m u:USER:r LOGS/logs/closed.log",
        "flows[1].filePattern: user USER can't list LOGS/logs/sub: it may not read LOGS/logs/sub (mode 700",
        "setfacl -m u:USER:rx LOGS/logs/sub",
        "files are looked at as user USER would",
    ] {
        let words = words.replace("USER", user);
        assert!(said.contains(&words), "{words} is not in\n{said}");
    }
    assert!(!said.contains("open.log"), "{said}");
    let output = checked.run(&["--user", "no-such-user"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no user no-such-user"));
}

#[test]
fn json_is_one_object_with_everything() {
    let checked = Checked::new(&flows(&[flow("*.log", r#", "nonsense": 1"#)]))
        .file("a.log", 0o644)
        .file("b.log", 0o644);
    let output = checked.run(&["--json", "--strict"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], "refused");
    let (flow, finding) = (&told["flows"][0], &told["findings"][0]);
    assert_eq!(flow["destination"], "Kinesis stream s");
    assert_eq!((&flow["files"], &flow["bytes"]), (&2.into(), &12.into()));
    assert_eq!(finding["severity"], "warning");
    assert_eq!(finding["line"], 2);
    assert_eq!(finding["key"], "flows[0].nonsense");
    for part in ["file", "value", "problem", "remedy"] {
        assert!(
            finding[part].as_str().is_some_and(|text| !text.is_empty()),
            "{finding}"
        );
    }
}
