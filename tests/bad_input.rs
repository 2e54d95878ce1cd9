//! Bad input gets a clear line and loses nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use kinesis_agent::local::Endpoint;
use serde_json::json;

use crate::support::aws::{endpoint, received, texts};
use crate::support::host::Host;

/// A host whose `logs/*` go to stream `s`.
async fn set_up(pattern: &str) -> (Endpoint, Host) {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(pattern, json!({ "kinesisStream": "s" }));
    (endpoint, host)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_named_and_read_once_it_can_be() {
    let (endpoint, mut host) = set_up("logs/*.log").await;
    host.write("logs/closed.log", "closed\n");
    host.write("logs/open.log", "open\n");
    fs::set_permissions(
        host.path("logs/closed.log"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    if !host.run_unprivileged() {
        eprintln!("skipped: other users may not enter the temporary folder");
        return;
    }
    let mut agent = host.start();
    received(&endpoint, 1).await;
    let path = host.path("logs/closed.log");
    let line = agent
        .says(&format!("can't read {}: Permission denied", path.display()))
        .await;
    for part in [
        "[ERROR] FileTailer[kinesis:s:",
        "let the agent's user read it",
    ] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    host.append("logs/open.log", "open 2\n");
    received(&endpoint, 2).await;
    assert_eq!(agent.lines_with("can't read").len(), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    received(&endpoint, 3).await;
    agent
        .says(&format!("{} can be read again", path.display()))
        .await;
    assert_eq!(
        sorted(texts(&endpoint, "s")),
        ["closed\n", "open\n", "open 2\n"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_folder_is_named_and_its_files_are_read_once_it_is_open() {
    let (endpoint, mut host) = set_up("logs/*/app.log").await;
    host.write("logs/closed/app.log", "closed\n");
    host.write("logs/open/app.log", "open\n");
    fs::set_permissions(host.path("logs/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    if !host.run_unprivileged() {
        eprintln!("skipped: other users may not enter the temporary folder");
        return;
    }
    let mut agent = host.start();
    received(&endpoint, 1).await;
    let line = agent.says("Permission denied").await;
    for part in [
        host.path("logs/closed").to_str().unwrap(),
        "[ERROR] FileTailer[kinesis:s:",
    ] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    fs::set_permissions(host.path("logs/closed"), fs::Permissions::from_mode(0o755)).unwrap();
    received(&endpoint, 2).await;
    assert_eq!(sorted(texts(&endpoint, "s")), ["closed\n", "open\n"]);
    assert_eq!(agent.lines_with("Permission denied").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_does_not_exist_yet_is_said_once_and_waited_for() {
    let (endpoint, mut host) = set_up("logs/later/deeper/app.log").await;
    host.add_flow("logs/other.log", json!({ "kinesisStream": "other" }));
    host.write("logs/other.log", "other\n");
    let mut agent = host.start();
    received(&endpoint, 1).await;
    let line = agent.says("does not exist").await;
    let folder = host.path("logs/later/deeper");
    for part in [
        &*format!(
            "the directory {} does not exist; create it or correct filePattern",
            folder.display()
        ),
        "[WARN] FileTailer[kinesis:s:",
    ] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    host.write("logs/later/deeper/app.log", "here\n");
    received(&endpoint, 2).await;
    assert_eq!(texts(&endpoint, "s"), ["here\n"]);
    agent.says("filePattern matches 1 file now").await;
    assert_eq!(agent.lines_with("does not exist").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_matches_nothing_is_said_once() {
    let (endpoint, host) = set_up("logs/*.log").await;
    host.write("logs/app.log.gz", "not read\n");
    let mut agent = host.start();
    let line = agent.says("no file matches filePattern").await;
    assert!(line.contains("[WARN] FileTailer[kinesis:s:"), "{line}");
    host.write("logs/app.log", "here\n");
    received(&endpoint, 1).await;
    assert_eq!(texts(&endpoint, "s"), ["here\n"]);
    assert_eq!(agent.lines_with("no file matches").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_beyond_the_limit_is_cut_counted_and_said() {
    let (endpoint, mut host) = set_up("logs/app.log").await;
    host.set("log.emitMetrics", true);
    let long = "ä".repeat(900_000);
    host.write("logs/app.log", format!("before\n{long}\nafter\n"));
    let mut agent = host.start();
    received(&endpoint, 3).await;
    let records = endpoint.received().records("s");
    let texts = texts(&endpoint, "s");
    let cut = texts.iter().position(|text| text.starts_with('ä')).unwrap();
    // Batches may overtake each other.
    for line in ["before\n", "after\n"] {
        assert!(texts.iter().any(|text| text == line), "{line:?}");
    }
    let key = records[cut].partition_key.as_deref().unwrap();
    let n_bytes = records[cut].data.len() + key.len();
    assert!(
        (1_048_575..=1_048_576).contains(&n_bytes),
        "{n_bytes}: as full as characters of two bytes allow"
    );
    assert!(texts[cut].ends_with("ä\n"));
    let line = agent.says("the record at offset 7 of").await;
    for part in [
        "bytes, more than Kinesis stream s takes; it is cut to 1048576 bytes",
        "[WARN] FileTailer[kinesis:s:",
        "truncatedRecordTerminator",
    ] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    assert_eq!(agent.lines_with("the record at offset").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_are_sent_as_they_are() {
    let (endpoint, host) = set_up("logs/app.log").await;
    let all: Vec<u8> = (0..=255)
        .filter(|byte| *byte != b'\n')
        .chain([b'\n'])
        .collect();
    let lines: [&[u8]; 5] = [&all, b"\xff\xfe\n", b"\n", b"\0\0\n", b"\xe4\r\n"];
    host.write("logs/app.log", lines.concat());
    let _agent = host.start();
    received(&endpoint, lines.len() as u64).await;
    let records = endpoint.received().records("s");
    let data: Vec<&[u8]> = records.iter().map(|record| &record.data[..]).collect();
    assert_eq!(data, lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_gives_nothing_until_something_is_written() {
    let (endpoint, host) = set_up("logs/app.log").await;
    host.write("logs/app.log", "");
    let mut agent = host.start();
    agent.says("1 file found, 0 bytes to be sent").await;
    host.append("logs/app.log", "one\n");
    received(&endpoint, 1).await;
    assert_eq!(texts(&endpoint, "s"), ["one\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_pipes_sockets_and_dangling_links_that_match_are_ignored() {
    let (endpoint, host) = set_up("logs/*").await;
    fs::create_dir(host.path("logs/folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, host.path("logs/pipe"), 0o666.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.path("logs/socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", host.path("logs/link")).unwrap();
    std::os::unix::fs::symlink("circle", host.path("logs/circle")).unwrap();
    host.write("logs/app.log", "one\n");
    let mut agent = host.start();
    agent.says("1 file found, 4 bytes to be sent").await;
    received(&endpoint, 1).await;
    assert_eq!(texts(&endpoint, "s"), ["one\n"]);
    let (status, _) = agent.stop().await;
    assert!(status.success(), "a pipe doesn't hold it up: {status}");
}

/// A name that was a folder or a pipe may become a file.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_a_file_is_read() {
    let (endpoint, host) = set_up("logs/app.log").await;
    fs::create_dir(host.path("logs/app.log")).unwrap();
    let mut agent = host.start();
    agent.says("no file matches filePattern").await;
    fs::remove_dir(host.path("logs/app.log")).unwrap();
    host.write("logs/app.log", "one\n");
    received(&endpoint, 1).await;
    assert_eq!(texts(&endpoint, "s"), ["one\n"]);
}

/// A regular file where a folder should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_through_a_file_is_named_and_works_once_it_is_a_folder() {
    let (endpoint, mut host) = set_up("logs/sub/app.log").await;
    host.add_flow("logs/other.log", json!({ "kinesisStream": "other" }));
    host.write("logs/sub", "in the way\n");
    host.write("logs/other.log", "other\n");
    let mut agent = host.start();
    received(&endpoint, 1).await;
    let line = agent.says("Not a directory").await;
    for part in [
        host.path("logs/sub").to_str().unwrap(),
        "[ERROR] FileTailer[kinesis:s:",
    ] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    fs::remove_file(host.path("logs/sub")).unwrap();
    host.write("logs/sub/app.log", "one\n");
    received(&endpoint, 2).await;
    assert_eq!(texts(&endpoint, "s"), ["one\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_bytes_are_followed_and_stay_within_their_log_lines() {
    let (endpoint, host) = set_up("logs/*").await;
    let names: [&[u8]; 4] = [
        b"two\nlines.log",
        b"\xff\xfe.log",
        b"forged\n2026-01-01 00:00:00.000+0000  (main) x [ERROR] y.log",
        "\u{202e}gol.txt".as_bytes(),
    ];
    for name in names {
        host.write(
            std::path::Path::new("logs").join(OsStr::from_bytes(name)),
            "one\n",
        );
    }
    let agent = host.start();
    received(&endpoint, names.len() as u64).await;
    for name in names {
        host.append(
            std::path::Path::new("logs").join(OsStr::from_bytes(name)),
            "two\n",
        );
    }
    received(&endpoint, 2 * names.len() as u64).await;
    let (status, log) = agent.stop().await;
    assert!(status.success());
    for line in log.lines() {
        let starts_with_time =
            line.len() > 30 && line.as_bytes()[4] == b'-' && &line[23..30] == "+0000  ";
        assert!(
            starts_with_time && !line.contains(") x [ERROR]") || line.contains("\\n2026"),
            "{line}"
        );
    }
    // What was sent is remembered under its name, whatever that is.
    let agent = host.start();
    for name in names {
        host.append(
            std::path::Path::new("logs").join(OsStr::from_bytes(name)),
            "three\n",
        );
    }
    received(&endpoint, 3 * names.len() as u64).await;
    agent.stop().await;
    let mut expected = ["one\n", "three\n", "two\n"]
        .map(|text| vec![text; names.len()])
        .concat();
    expected.sort_unstable();
    assert_eq!(sorted(texts(&endpoint, "s")), expected);
}
