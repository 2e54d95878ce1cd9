//! The host's clock is set while the agent runs: nothing is lost, nothing comes twice, and it goes on at once.
//!
//! libfaketime stands between the program and the clock; it leaves the monotonic one alone, as those who set clocks do.

use std::fs;
use std::path::PathBuf;

use kinesis_agent::local::Options;
use serde_json::json;

use crate::support::aws::{received, start, texts};
use crate::support::host::Host;

const HOUR_S: i64 = 3_600;
const YEAR_S: i64 = 365 * 24 * HOUR_S;

/// Debian's libfaketime, for programs with threads.
fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_set_cost_nothing() {
    let Some(library) = libfaketime() else {
        println!("skipped: there is no libfaketime here");
        return;
    };
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    let clock = host.path("clock");
    let set = |by_s: i64| {
        // Whole or not at all: it is read all the while.
        let new = host_file(&clock, &format!("{by_s:+}"));
        fs::rename(new, &clock).unwrap();
    };
    set(0);
    host.set_env("LD_PRELOAD", library);
    host.set_env("FAKETIME_TIMESTAMP_FILE", &clock);
    host.set_env("FAKETIME_NO_CACHE", "1");
    // Its name was changed once.
    host.set_env("DONT_FAKE_MONOTONIC", "1");
    host.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    host.add_flow("logs/app.log*", json!({ "kinesisStream": "s" }));
    let mut n_lines = 0;
    let mut line = || {
        n_lines += 1;
        (n_lines, format!("line {n_lines:02}\n"))
    };
    let mut agent = host.start();
    let set_by = [-HOUR_S, -YEAR_S, HOUR_S, YEAR_S, -YEAR_S, 0];
    for (n_rotated, by_s) in set_by.into_iter().enumerate() {
        let (_, text) = line();
        host.append("logs/app.log", text);
        set(by_s);
        let (n, text) = line();
        host.append("logs/app.log", text);
        received(&endpoint, n).await;
        host.rename("logs/app.log", format!("logs/app.log.{n_rotated}"));
        let (n, text) = line();
        host.append("logs/app.log", text);
        received(&endpoint, n).await;
        // A run that begins in the past, or in the future, goes on where the one before ended.
        if n_rotated % 2 == 1 {
            agent.stop().await;
            agent = host.start();
        }
    }
    agent.stop().await;
    let mut seen = texts(&endpoint, "s");
    seen.sort();
    let expected: Vec<String> = (1..=n_lines).map(|n| format!("line {n:02}\n")).collect();
    assert_eq!(seen, expected);
}

/// A new file beside another, with this content.
fn host_file(beside: &std::path::Path, content: &str) -> PathBuf {
    let path = beside.with_extension("new");
    fs::write(&path, content).unwrap();
    path
}
