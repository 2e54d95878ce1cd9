//! Stop, start, kill: what one run leaves the next one takes up.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::agent::{AgentProcess, Ended};
use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;
use crate::support::wait::until;

const STREAM: &str = "s";
/// The statement that the reference makes its table with, to the letter.
const REFERENCE_TABLE: &str = "CREATE TABLE FILE_CHECKPOINTS(flow text, path text, fileId text, \
     lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime, primary key (flow, path))";

/// A flow of this pattern to [`STREAM`], with more keys.
fn flow(pattern: &str, more: Value) -> Value {
    let mut flow = json!({"filePattern": pattern, "kinesisStream": STREAM});
    for (key, value) in more.as_object().unwrap() {
        flow[key] = value.clone();
    }
    json!({"flows": [flow]})
}

fn from_start() -> Value {
    json!({"initialPosition": "START_OF_FILE"})
}

/// Lines with these numbers.
fn lines(numbers: Range<usize>) -> Vec<String> {
    numbers
        .map(|number| format!("line {number:06}\n"))
        .collect()
}

/// A run in which so many records arrive, over all runs, before it is stopped.
async fn run_until(scene: &Scene, n_records: u64) -> Ended {
    let agent = scene.start();
    scene.receives(n_records).await;
    stopped(agent).await
}

/// A run that is stopped as soon as it has looked at its files for the first time.
async fn run_for_a_look(scene: &Scene, n_runs: usize) -> Ended {
    let agent = start_and_look(scene, n_runs).await;
    stopped(agent).await
}

/// Starts the agent for the `n_runs`-th time, and waits for its first look at its files.
async fn start_and_look(scene: &Scene, n_runs: usize) -> AgentProcess {
    let mut agent = scene.start();
    agent
        .says_times(" to be sent to Kinesis stream s", n_runs)
        .await;
    agent
}

/// Waits until the endpoint has been called.
async fn a_call(scene: &Scene) {
    until("a call", || {
        let calls = scene.endpoint.received().calls();
        calls
            .into_iter()
            .find(|call| call.stream.as_deref() == Some(STREAM))
    })
    .await;
}

async fn stopped(agent: AgentProcess) -> Ended {
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

// ---- where reading goes on

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_start_lose_and_repeat_nothing() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    let expected = lines(0..900);
    for (round, part) in expected.chunks(300).enumerate() {
        let (down, up) = part.split_at(150);
        scene.append("app.log", down.concat());
        let agent = start_and_look(&scene, round + 1).await;
        scene.append("app.log", up.concat());
        scene.receives((round as u64 + 1) * 300).await;
        stopped(agent).await;
    }
    assert_eq!(scene.sorted_texts(STREAM), expected);
}

/// P-RESUME: After a restart each file is read from its checkpoint on, whatever its name is by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_empty_and_was_rotated_since_is_read() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    scene.write("app.log", "");
    let agent = scene.start();
    let path = scene.path("app.log");
    Rows::until(&scene, |rows| rows.offset_of(&path) == Some(0)).await;
    agent.kill().await;
    // Neither is another that has nothing to do with it.
    scene.write("other.log", lines(7..9).concat());
    scene.append("app.log", lines(0..3).concat());
    fs::rename(&path, scene.path("app.log.1")).unwrap();
    scene.write("app.log", lines(3..5).concat());
    run_until(&scene, 5).await;
    assert_eq!(scene.sorted_texts(STREAM), lines(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_file_starts_after_the_last_whole_line() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", json!({})));
    scene.write("app.log", "old\nhalf");
    let agent = start_and_look(&scene, 1).await;
    scene.append("app.log", " a line\nnew\n");
    scene.receives(2).await;
    stopped(agent).await;
    assert_eq!(scene.texts(STREAM), ["half a line\n", "new\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn start_of_file_sends_what_is_there_oldest_file_first() {
    let scene = Scene::new().await;
    let mut config = flow("app.log*", from_start());
    config["maxSendingThreads"] = json!(1);
    scene.configure(config);
    scene.write("app.log", "newer\n");
    scene.write("app.log.1", "older\n");
    set_age(&scene, "app.log.1", Duration::from_secs(60));
    run_until(&scene, 2).await;
    assert_eq!(scene.texts(STREAM), ["older\n", "newer\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_appears_is_read_from_its_beginning() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log*", json!({})));
    scene.write("app.log", "old\n");
    let agent = start_and_look(&scene, 1).await;
    scene.write("app.log.new", "while it runs\n");
    scene.receives(1).await;
    stopped(agent).await;
    scene.write("app.log.newer", "while it is down\n");
    run_until(&scene, 2).await;
    assert_eq!(
        scene.texts(STREAM),
        ["while it runs\n", "while it is down\n"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_any_file_counts() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", json!({})));
    run_for_a_look(&scene, 1).await;
    scene.write("app.log", "while it is down\n");
    run_until(&scene, 1).await;
    assert_eq!(scene.texts(STREAM), ["while it is down\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_waits_for_its_end() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    scene.write("app.log", "whole\nha");
    run_until(&scene, 1).await;
    scene.append("app.log", "lf");
    let agent = start_and_look(&scene, 2).await;
    scene.append("app.log", "\nnext\n");
    scene.receives(3).await;
    stopped(agent).await;
    assert_eq!(scene.texts(STREAM), ["whole\n", "half\n", "next\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lines_are_left_out_once() {
    let scene = Scene::new().await;
    let mut keys = from_start();
    keys["skipHeaderLines"] = json!(2);
    scene.configure(flow("app.csv*", keys));
    // One of the two is written yet, and even that not to its end.
    scene.write("app.csv", "first he");
    run_for_a_look(&scene, 1).await;
    scene.append("app.csv", "ader\nsecond ");
    run_for_a_look(&scene, 2).await;
    scene.append("app.csv", "header\nfirst header\n");
    run_until(&scene, 1).await;
    scene.append("app.csv", "second header\n");
    scene.write("app.csv.2", "first header\nsecond header\nof the other\n");
    run_until(&scene, 3).await;
    let expected = ["first header\n", "of the other\n", "second header\n"];
    assert_eq!(scene.sorted_texts(STREAM), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_start_lines_and_a_footer_are_the_same_over_restarts() {
    let scene = Scene::new().await;
    let mut keys = from_start();
    keys["skipHeaderLines"] = json!(2);
    keys["multiLineStartPattern"] = json!(r"\[");
    keys["multiLineIdleMillis"] = json!(600_000);
    keys["fileFooterPattern"] = json!(r"\[end\].*");
    scene.configure(flow("app.log*", keys));
    // Each run is stopped while the last record may still go on.
    scene.append("app.log", "[h]\nh\n  stray\n[1] a\n  at x\n[2] b\n");
    run_until(&scene, 2).await;
    scene.append("app.log", "  at y\n[3] c\n  at z");
    run_until(&scene, 3).await;
    scene.append("app.log", "\n[end]\n[4] behind it\n[5]\n");
    run_until(&scene, 4).await;
    scene.append("app.log", "[6]\n[7]\n");
    scene.write("app.log.2", "h\nh\n[8]\n[9]\n");
    run_until(&scene, 5).await;
    let expected = [
        "  stray\n",
        "[1] a\n  at x\n",
        "[2] b\n  at y\n",
        "[3] c\n  at z\n",
        "[8]\n",
    ];
    assert_eq!(scene.sorted_texts(STREAM), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_while_it_is_down_loses_nothing() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log*", from_start()));
    scene.write("app.log", lines(0..3).concat());
    run_until(&scene, 3).await;
    scene.append("app.log", lines(3..6).concat());
    scene.rename("app.log", "app.log.1");
    scene.write("app.log", lines(6..9).concat());
    run_until(&scene, 9).await;
    // Twice at once, and the rest of a line in the file that is older by then.
    scene.append("app.log", "line 00");
    run_for_a_look(&scene, 3).await;
    scene.append("app.log", "0009\n");
    scene.rename("app.log.1", "app.log.3");
    scene.rename("app.log", "app.log.2");
    scene.write("app.log.1", lines(10..11).concat());
    scene.write("app.log", lines(11..12).concat());
    run_until(&scene, 12).await;
    assert_eq!(scene.sorted_texts(STREAM), lines(0..12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_while_it_runs_loses_nothing() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    scene.write("app.log", lines(0..3).concat());
    let agent = start_and_look(&scene, 1).await;
    for round in 1..6 {
        // Out of the pattern: held open, it is read to its end.
        scene.receives(round * 3).await;
        let first = round as usize * 3;
        scene.rename("app.log", &format!("old.{round}"));
        scene.append(&format!("old.{round}"), lines(first..first + 2).concat());
        scene.write("app.log", lines(first + 2..first + 3).concat());
    }
    scene.receives(18).await;
    stopped(agent).await;
    assert_eq!(scene.sorted_texts(STREAM), lines(0..18));
}

// ---- how a run ends

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_sent_before_the_end() {
    let scene = Scene::new().await;
    let mut keys = from_start();
    keys["maxBufferAgeMillis"] = json!(900_000);
    scene.configure(flow("app.log", keys));
    scene.write("app.log", lines(0..20).concat());
    let mut agent = scene.start();
    agent.says("Opening ").await;
    let ended = stopped(agent).await;
    assert_eq!(scene.texts(STREAM), lines(0..20));
    assert_eq!(
        Rows::read(&scene)
            .unwrap()
            .offset_of(&scene.path("app.log")),
        Some(20 * 12)
    );
    let last = ended.log.lines().last().unwrap();
    assert!(
        last.contains(
            "Agent: Progress: 20 records parsed (240 bytes), and 20 records sent successfully"
        ),
        "{last}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_in_flight_have_their_time_and_what_was_not_answered_is_sent_by_the_next_run() {
    let scene = Scene::new().await;
    let mut config = flow("app.log", from_start());
    config["shutdownTimeoutMillis"] = json!(500);
    scene.configure(config);
    scene.endpoint.set_faults("stall".parse().unwrap());
    scene.write("app.log", lines(0..20).concat());
    let agent = scene.start();
    a_call(&scene).await;
    let ended = stopped(agent).await;
    assert!(
        ended.log.contains("Agent: 20 records still unsent after "),
        "{}",
        ended.log
    );
    assert_eq!(
        Rows::read(&scene)
            .unwrap()
            .offset_of(&scene.path("app.log")),
        Some(0)
    );
    scene.endpoint.set_faults("".parse().unwrap());
    run_until(&scene, 20).await;
    assert_eq!(scene.texts(STREAM), lines(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let scene = Scene::new().await;
    let mut config = flow("app.log", from_start());
    config["shutdownTimeoutMillis"] = json!(3_600_000);
    scene.configure(config);
    scene.endpoint.set_faults("stall".parse().unwrap());
    scene.write("app.log", lines(0..20).concat());
    let mut agent = scene.start();
    a_call(&scene).await;
    agent.terminate();
    agent.says("Agent: Shutting down...").await;
    assert_eq!(agent.stop().await.code, Some(143));
    scene.endpoint.set_faults("".parse().unwrap());
    run_until(&scene, 20).await;
    assert_eq!(scene.texts(STREAM), lines(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_repeats_what_was_not_saved_and_nothing_else() {
    const N_LINES: usize = 4_000;
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    scene.write("app.log", lines(0..N_LINES / 2).concat());
    let agent = scene.start();
    let path = scene.path("app.log");
    Rows::until(&scene, |rows| {
        rows.offset_of(&path).is_some_and(|offset| offset > 0)
    })
    .await;
    scene.append("app.log", lines(N_LINES / 2..N_LINES).concat());
    scene.receives(N_LINES as u64 / 2 + 1).await;
    assert_eq!(agent.kill().await.code, None);
    let saved = Rows::read(&scene).unwrap().offset_of(&path).unwrap() as usize;
    let whole = fs::read(&path).unwrap();
    assert_eq!(
        whole[saved - 1],
        b'\n',
        "a checkpoint stands between records"
    );

    let agent = scene.start();
    Rows::until(&scene, |rows| {
        rows.offset_of(&path) == Some(whole.len() as u64)
    })
    .await;
    stopped(agent).await;
    let mut n_times = BTreeMap::new();
    for text in scene.texts(STREAM) {
        *n_times.entry(text).or_insert(0) += 1;
    }
    let n_saved = whole[..saved].iter().filter(|byte| **byte == b'\n').count();
    for (number, line) in lines(0..N_LINES).iter().enumerate() {
        let n = n_times.remove(line).unwrap_or(0);
        let n_max = if number < n_saved { 1 } else { 2 };
        assert!(
            (1..=n_max).contains(&n),
            "{line:?} {n} times, {n_saved} lines were saved"
        );
    }
    assert!(n_times.is_empty(), "{n_times:?}");
}

// ---- the database

#[tokio::test(flavor = "multi_thread")]
async fn its_rows_are_those_of_the_reference() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log*", from_start()));
    scene.write("app.log", "one\ntwo\nthr");
    run_until(&scene, 2).await;
    let rows = Rows::read(&scene).unwrap();
    let [row] = &rows.0[..] else {
        panic!("{rows:?}");
    };
    let file = fs::metadata(scene.path("app.log")).unwrap();
    assert_eq!(
        row.flow,
        format!("kinesis:s:{}", scene.path("app.log*").display())
    );
    assert_eq!(row.path, scene.path("app.log").display().to_string());
    assert_eq!(
        row.file_id,
        format!("(dev={:x},ino={})", file.dev(), file.ino())
    );
    let modified = file
        .modified()
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(row.modified_ms, modified.as_millis() as i64);
    assert_eq!((row.size, row.offset), (11, 8));
    let form = regex::Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$").unwrap();
    assert!(form.is_match(&row.last_updated), "{}", row.last_updated);

    let database = Connection::open(scene.database()).unwrap();
    let text = |sql: &str| {
        database
            .query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let number = |sql: &str| {
        database
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(text("PRAGMA journal_mode"), "delete");
    assert_eq!(number("PRAGMA user_version"), 0);
    assert_eq!(
        text("SELECT sql FROM sqlite_master WHERE name = 'FILE_CHECKPOINTS'"),
        REFERENCE_TABLE
    );
    for suffix in ["-journal", "-wal", "-shm"] {
        let beside = scene.folder().join(format!("checkpoints{suffix}"));
        assert!(!beside.exists(), "{}", beside.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_would_go_on_at_the_oldest_file_that_owes_something() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log*", from_start()));
    for (name, text, age) in [
        ("app.log.2", "done\n", 180),
        ("app.log.1", "done\nowes", 120),
        ("app.log", "done\nowes too", 60),
    ] {
        scene.write(name, text);
        set_age(&scene, name, Duration::from_secs(age));
    }
    run_until(&scene, 3).await;
    let rows = Rows::read(&scene).unwrap();
    assert_eq!(
        rows.0[0].path,
        scene.path("app.log.1").display().to_string(),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_reference_is_taken_over() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log*", json!({})));
    for (name, text, age) in [
        ("app.log.2", "old 1\nold 2\n", 180),
        ("app.log.1", "here 1\nhere 2\n", 120),
        ("app.log", "new 1\nnew 2\n", 60),
    ] {
        scene.write(name, text);
        set_age(&scene, name, Duration::from_secs(age));
    }
    let database = Connection::open(scene.database()).unwrap();
    database.execute_batch(REFERENCE_TABLE).unwrap();
    let insert = "INSERT INTO FILE_CHECKPOINTS VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    for (name, offset, last_updated) in [
        ("app.log.2", 0, "2026-11-20 05:41:36.150"),
        ("app.log.1", 7, "2026-11-21 05:41:36.150"),
    ] {
        let file = fs::metadata(scene.path(name)).unwrap();
        let row = (
            format!("kinesis:s:{}", scene.path("app.log*").display()),
            scene.path(name).display().to_string(),
            format!("(dev={:x},ino={})", file.dev(), file.ino()),
            file.mtime() * 1000 + file.mtime_nsec() / 1_000_000,
            file.size() as i64,
            offset,
            last_updated,
        );
        database.execute(insert, row).unwrap();
    }
    drop(database);
    run_until(&scene, 3).await;
    run_for_a_look(&scene, 2).await;
    assert_eq!(
        scene.sorted_texts(STREAM),
        ["here 2\n", "new 1\n", "new 2\n"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_one_database_refuses_to_start() {
    let scene = Scene::new().await;
    scene.configure(flow("app.log", from_start()));
    scene.write("app.log", lines(0..3).concat());
    let first = start_and_look(&scene, 1).await;
    let second = scene.start().ended().await;
    assert_eq!(second.code, Some(75));
    let expected = format!(
        "checkpoint database {} is in use by another kinesis-agent (process {}); \
         stop that one, or set another checkpointFile",
        scene.database().display(),
        first.id()
    );
    assert_eq!(second.stderr, format!("kinesis-agent: {expected}\n"));
    assert!(
        second
            .log
            .contains(&format!("[ERROR] Agent: can't start: {expected}\n")),
        "{}",
        second.log
    );
    scene.receives(3).await;
    scene.append("app.log", lines(3..6).concat());
    scene.receives(6).await;
    stopped(first).await;
    assert_eq!(scene.sorted_texts(STREAM), lines(0..6));
}

fn set_age(scene: &Scene, name: &str, age: Duration) {
    let file = File::options().append(true).open(scene.path(name)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}
