//! Which files are followed, how many, and with how few handles: by the real program.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use kinesis_agent::local::{Endpoint, Options};
use serde_json::json;

use crate::support::aws::{received, start, texts};
use crate::support::host::Host;

fn sorted(endpoint: &Endpoint, stream: &str) -> Vec<String> {
    let mut texts = texts(endpoint, stream);
    texts.sort();
    texts
}

/// P-HANDLES: However few files may be open at once, every followed file is read on, also one that was appended to and
/// renamed within its folder while it was closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_are_read_with_a_handful_of_handles() {
    const N_FILES: usize = 1_000;
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.limit_open_files(64);
    host.add_flow("logs/*.log*", json!({ "kinesisStream": "s" }));
    let mut expected = Vec::new();
    let line = |file: usize, n: usize| format!("file {file} line {n}\n");
    for file in 0..N_FILES {
        host.write(format!("logs/{file}.log"), line(file, 0));
        expected.push(line(file, 0));
    }
    let mut agent = host.start();
    received(&endpoint, expected.len() as u64).await;
    agent.says("raise the limit (LimitNOFILE=").await;

    for file in 0..N_FILES {
        host.append(format!("logs/{file}.log"), line(file, 1));
        expected.push(line(file, 1));
    }
    received(&endpoint, expected.len() as u64).await;

    for file in 0..N_FILES {
        let name = format!("logs/{file}.log");
        let new_name = match file % 3 {
            0 => name.clone(),
            1 => format!("logs/{file}.log.1"),
            _ => format!("logs/{file}.old"),
        };
        host.append(&name, line(file, 2));
        if new_name != name {
            host.rename(&name, &new_name);
        }
        host.append(&new_name, line(file, 3));
        expected.extend([line(file, 2), line(file, 3)]);
    }
    received(&endpoint, expected.len() as u64).await;

    let (status, log) = agent.stop().await;
    assert!(status.success(), "{status}");
    assert!(!log.contains("are lost"), "{log}");
    assert_eq!(log.matches("raise the limit").count(), 1, "{log}");
    expected.sort();
    assert_eq!(sorted(&endpoint, "s"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_as_far_as_the_system_lets_the_agent() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.limit_open_files_softly(64);
    host.add_flow("logs/*.log", json!({ "kinesisStream": "s" }));
    let mut agent = host.start();
    agent.says("Startup completed").await;
    let [soft, hard] = agent.limit("Max open files");
    assert_ne!(hard, "64");
    assert_eq!(soft, hard);
}

/// P-PATTERN: A changed `filePattern`, or an `id` where there was none, keeps the places of the files that it still names, as
/// long as the stream is the same.
#[tokio::test(flavor = "multi_thread")]
async fn places_outlive_a_changed_pattern() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow("logs/*.log", json!({ "kinesisStream": "s" }));
    host.write("logs/a.log", "a 1\n");
    host.write("logs/b.log", "b 1\n");
    host.write("logs/c.txt", "never sent\n");
    let agent = host.start();
    received(&endpoint, 2).await;
    agent.stop().await;

    // While the agent is down, and in the end after each change.
    host.append("logs/a.log", "a 2\n");
    host.write("logs/new.log", "new 1\n");
    let keys = json!({ "kinesisStream": "s", "initialPosition": "END_OF_FILE" });
    host.replace_flow(json!(host.path("logs/[abn]*.log")), keys.clone());
    let agent = host.start();
    received(&endpoint, 4).await;
    agent.stop().await;

    host.append("logs/a.log", "a 3\n");
    let patterns = json!([host.path("logs/*.txt"), host.path("logs/{a,b}.log")]);
    let mut named = keys.clone();
    named["id"] = json!("app");
    host.replace_flow(patterns, named.clone());
    let agent = host.start();
    received(&endpoint, 5).await;
    agent.stop().await;

    host.append("logs/a.log", "a 4\n");
    host.replace_flow(json!([host.path("logs/**/*")]), named);
    host.append("logs/c.txt", "c 2\n");
    let mut agent = host.start();
    received(&endpoint, 7).await;
    host.append("logs/b.log", "b 2\n");
    received(&endpoint, 8).await;
    let line = agent.says("go on under app").await;
    assert!(line.contains("2 checkpoints of kinesis:s:"), "{line}");
    agent.stop().await;
    let expected = [
        "a 1\n", "a 2\n", "a 3\n", "a 4\n", "b 1\n", "b 2\n", "c 2\n", "new 1\n",
    ];
    assert_eq!(sorted(&endpoint, "s"), expected);
}

/// Folders of a pattern's middle may be missing at the start, come with files in them, go, and come again.
#[tokio::test(flavor = "multi_thread")]
async fn folders_come_and_go_at_any_level() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    let patterns = json!([
        host.path("srv/*/log/{app,web}-*.log"),
        host.path("deep/**/*.log")
    ]);
    let keys = json!({
        "id": "all",
        "filePattern": patterns,
        "kinesisStream": "s",
        "exclude": ["*-debug.log", host.path("deep/skip")],
    });
    host.add_flow("unused", keys);
    let mut agent = host.start();
    agent.says("does not exist").await;
    host.write("srv/one/log/app-1.log", "1\n");
    host.write("srv/one/log/app-debug.log", "excluded\n");
    host.write("srv/one/log/other-1.log", "unnamed\n");
    host.write("deep/a.log", "2\n");
    received(&endpoint, 2).await;
    host.write("srv/two/log/web-1.log", "3\n");
    host.write("deep/b/c/d/e.log", "4\n");
    host.write("deep/skip/x.log", "excluded\n");
    host.write("deep/skip/y/x.log", "excluded\n");
    received(&endpoint, 4).await;
    fs::remove_dir_all(host.path("srv")).unwrap();
    fs::remove_dir_all(host.path("deep/b")).unwrap();
    host.write("srv/one/log/app-1.log", "5\n");
    host.write("deep/b/c/f.log", "6\n");
    received(&endpoint, 6).await;
    // A folder that is moved takes its files along.
    host.rename("deep/b", "deep/z");
    host.append("deep/z/c/f.log", "7\n");
    received(&endpoint, 7).await;
    let (_, log) = agent.stop().await;
    assert_eq!(
        sorted(&endpoint, "s"),
        ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n"]
    );
    assert!(!log.contains("[ERROR]"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_is_left_of_a_pattern_is_said() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/*.log",
        json!({ "kinesisStream": "s", "exclude": ["a*", "b*"] }),
    );
    host.add_flow(
        "old/*.log",
        json!({ "kinesisStream": "s", "ignoreOlder": "1h" }),
    );
    host.write("logs/a.log", "1\n");
    host.write("logs/b.log", "2\n");
    host.write("old/c.log", "3\n");
    let old = fs::File::options()
        .append(true)
        .open(host.path("old/c.log"))
        .unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    old.set_modified(long_ago).unwrap();
    let mut agent = host.start();
    let excluded = agent
        .says("exclude leaves out what filePattern matches")
        .await;
    assert!(
        excluded.contains("[WARN]") && excluded.contains("(2 names)"),
        "{excluded}"
    );
    let old = agent.says("as long as ignoreOlder says").await;
    assert!(old.contains("[INFO]") && old.contains("1 file"), "{old}");
    host.append("old/c.log", "4\n");
    received(&endpoint, 2).await;
    agent.stop().await;
    assert_eq!(sorted(&endpoint, "s"), ["3\n", "4\n"]);
}

/// What ten thousand followed files cost: the start, and half a minute in which ten of them are written each second.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures mean something in a release build: cargo test --release --test main -- --ignored --nocapture ten_thousand"]
async fn ten_thousand_files_cost_little() {
    const N_FILES: usize = 10_000;
    const MEMORY_KIB_MAX: u64 = 60 * 1024;
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/**/*.log",
        json!({ "kinesisStream": "s", "initialPosition": "END_OF_FILE", "maxTimeBetweenFileTrackerRefreshMillis": 10_000 }),
    );
    let name = |file: usize| format!("logs/{}/{file}.log", file % 100);
    (0..N_FILES).for_each(|file| host.write(name(file), "before\n"));
    let started_at = Instant::now();
    let mut agent = host.start();
    agent.says("10000 files found").await;
    println!(
        "start: {} ms, {} CPU-ms",
        started_at.elapsed().as_millis(),
        agent.cpu_ms()
    );
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    for (what, n_written) in [("idle", 0), ("10 files written each second", 300)] {
        let before_ms = agent.cpu_ms();
        for n in 0..300 {
            interval.tick().await;
            if n < n_written {
                host.append(name(n * 33), format!("{n}\n"));
            }
        }
        let cpu_ms = agent.cpu_ms() - before_ms;
        println!("{what}: {cpu_ms} CPU-ms in 30 s");
    }
    received(&endpoint, 300).await;
    let memory_kib = agent.memory_kib_peak();
    println!("memory: {memory_kib} KiB");
    assert!(memory_kib <= MEMORY_KIB_MAX, "{memory_kib} KiB");
    agent.stop().await;
    assert_eq!(texts(&endpoint, "s").len(), 300);
}

/// Each has its own places: neither notices the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_flows_of_one_folder_each_send_all_of_it() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    for (pattern, stream) in [("logs/app.log*", "one"), ("logs/*.log*", "other")] {
        host.add_flow(pattern, json!({ "kinesisStream": stream }));
    }
    let mut expected = Vec::new();
    let mut n_lines = 0;
    let mut line = || {
        n_lines += 1;
        let line = format!("line {n_lines:02}\n");
        expected.push(line.clone());
        line
    };
    host.write("logs/app.log", line());
    for is_killed in [false, true] {
        let agent = host.start();
        host.append("logs/app.log", line());
        host.rename("logs/app.log", format!("logs/app.log.{is_killed}"));
        host.write("logs/app.log", line());
        received(&endpoint, 2 * (if is_killed { 5 } else { 3 })).await;
        agent.stop().await;
        // While nobody looks.
        if !is_killed {
            host.append("logs/app.log.false", line());
        }
    }
    let agent = host.start();
    received(&endpoint, 12).await;
    agent.stop().await;
    for stream in ["one", "other"] {
        assert_eq!(sorted(&endpoint, stream), expected, "{stream}");
    }
}

/// What a file held beyond its last look can't be known once it is deleted while it is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_stood_in_a_file_that_was_deleted_while_it_was_closed_is_reported() {
    const N_FILES: usize = 200;
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.limit_open_files(64);
    host.add_flow("logs/*.log", json!({ "kinesisStream": "s" }));
    for file in 0..N_FILES {
        host.write(format!("logs/{file}.log"), "one line\n");
    }
    let mut agent = host.start();
    received(&endpoint, N_FILES as u64).await;
    for file in 0..N_FILES {
        fs::remove_file(host.path(format!("logs/{file}.log"))).unwrap();
    }
    let said = agent
        .says("an unknown number of bytes, maybe none, after offset 9 of ")
        .await;
    assert!(said.contains("[ERROR]"), "{said}");
    let (status, _) = agent.stop().await;
    assert!(status.success(), "{status}");
}
