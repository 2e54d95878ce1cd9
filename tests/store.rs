//! The checkpoint database in trouble, and in the hands of an operator.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;
use crate::support::wait::until;

const STREAM: &str = "s";

fn config() -> Value {
    json!({
        "flows": [{"filePattern": "app.log*", "kinesisStream": STREAM, "initialPosition": "START_OF_FILE"}],
        "checkpoints.queryTimeoutSeconds": 1,
    })
}

fn lines(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("line {n:06}\n")).collect()
}

async fn saved(scene: &Scene, n_bytes: usize) {
    let path = scene.path("app.log");
    Rows::until(scene, |rows| rows.offset_of(&path) == Some(n_bytes as u64)).await;
}

fn offset(scene: &Scene) -> u64 {
    let rows = Rows::read(scene).unwrap();
    rows.offset_of(&scene.path("app.log")).unwrap()
}

/// Files beside the database whose names begin so.
fn beside(scene: &Scene, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(beginning)
        })
        .collect()
}

// ---- trouble

/// P-UNSAVED: While checkpoints can't be saved records go on being sent, and what was missed is saved as soon as it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_others_hold_costs_nothing_but_the_checkpoints_meanwhile() {
    let scene = Scene::new().await;
    scene.configure(config());
    scene.write("app.log", lines(0..10).concat());
    let mut agent = scene.start();
    scene.receives(10).await;
    saved(&scene, 120).await;
    let other = Connection::open(scene.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.append("app.log", lines(10..20).concat());
    scene.receives(20).await;
    agent.says("cannot save checkpoints in").await;
    assert_eq!(offset(&scene), 120);
    other.execute_batch("COMMIT").unwrap();
    saved(&scene, 240).await;
    agent.says("are written again").await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.texts(STREAM), lines(0..20));
}

/// A file system of its own with little room; unmounted when it goes away.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(path: PathBuf) -> Option<SmallDisk> {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(&path)
            .stderr(Stdio::null())
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        is_mounted.then_some(SmallDisk(path))
    }

    fn fill(&self) {
        // Ends with an error, which is what is wanted.
        let _ = fs::write(self.0.join("filler"), vec![0; 1 << 20]);
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: an agent of a failed test may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_nothing_but_the_checkpoints_and_dead_letters_meanwhile() {
    let scene = Scene::with(kinesis_agent::local::Options {
        record_bytes_max: 100,
        ..Default::default()
    })
    .await;
    let Some(disk) = SmallDisk::mount(scene.folder().join("small")) else {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    };
    let database = disk.0.join("checkpoints");
    let mut config = config();
    config["checkpointFile"] = json!(database);
    scene.configure(config);
    scene.write("app.log", lines(0..10).concat());
    let mut agent = scene.start();
    scene.receives(10).await;
    let saved = || {
        let open = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(&database, open).ok()?;
        let sql = "SELECT offset FROM FILE_CHECKPOINTS";
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .ok()
    };
    until("a checkpoint", || (saved() == Some(120)).then_some(())).await;
    disk.fill();
    let long = format!("{}\n", "x".repeat(150));
    scene.append(
        "app.log",
        lines(10..20).concat() + &long + &lines(20..30).concat(),
    );
    scene.receives(30).await;
    agent
        .says("make room on its volume; let the agent's user write there")
        .await;
    agent
        .says("refused records wait until they can be kept")
        .await;
    assert!(saved().is_none_or(|offset| offset <= 240));
    // An agent that starts on a full disk sends all the same; what wasn't saved it sends again.
    agent.kill().await;
    let n_before = scene.texts(STREAM).len();
    let mut agent = scene.start();
    scene.receives(n_before as u64 + 10).await;
    agent
        .says("old checkpoints are kept until the next start")
        .await;
    disk.make_room();
    let size = 30 * 12 + long.len() as i64;
    until("all of it saved", || (saved() == Some(size)).then_some(())).await;
    let letters = fs::read_to_string(disk.0.join("dead-letters")).unwrap();
    assert_eq!(letters.lines().count(), 1);
    assert_eq!(agent.stop().await.code, Some(0));
    let mut texts = scene.sorted_texts(STREAM);
    texts.dedup();
    assert_eq!(texts, lines(0..30));
}

/// P-DAMAGED: A damaged database is set aside, and files are read from their beginning: rather twice than never.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_set_aside_and_files_are_sent_again() {
    // Its head, a page in its middle, all but its beginning, all of it.
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[..16].fill(b'x'),
        |bytes| {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xa5);
        },
        |bytes| bytes.truncate(1_000),
        |bytes| bytes.fill(0xff),
    ];
    for damage in damages {
        let scene = Scene::new().await;
        let mut config = config();
        // Whatever the configuration says of a first start.
        config["flows"][0]["initialPosition"] = json!("END_OF_FILE");
        scene.configure(config);
        let mut agent = scene.start();
        agent.says("no file matches").await;
        scene.write("app.log", lines(0..10).concat());
        scene.receives(10).await;
        saved(&scene, 120).await;
        assert_eq!(agent.stop().await.code, Some(0));
        let mut bytes = fs::read(scene.database()).unwrap();
        damage(&mut bytes);
        fs::write(scene.database(), &bytes).unwrap();

        let mut agent = scene.start();
        agent.says("were damaged and are begun anew").await;
        scene.receives(20).await;
        saved(&scene, 120).await;
        let aside = beside(&scene, "checkpoints.corrupt-");
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "kept as it was");
        assert_eq!(agent.stop().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_not_be_made_keeps_the_agent_from_starting() {
    let scene = Scene::new().await;
    fs::write(scene.folder().join("file"), "").unwrap();
    let mut config = config();
    config["checkpointFile"] = json!(scene.folder().join("file/checkpoints"));
    scene.configure(config);
    let ended = scene.start().ended().await;
    assert_eq!(ended.code, Some(75));
    assert!(
        ended
            .stderr
            .contains("the agent's user must own the folder and the file"),
        "{}",
        ended.stderr
    );
}

// ---- in an operator's hands

/// Runs `kinesis-agent checkpoints`.
fn checkpoints(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .env_clear()
        .current_dir(scene.folder())
        .args(["checkpoints", "-c"])
        .arg(scene.configuration())
        .arg("--agent-d")
        .arg(scene.folder().join("agent.d"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A scene in which ten lines were sent and two more written since, the agent stopped.
async fn stopped_scene() -> Scene {
    let scene = Scene::new().await;
    scene.configure(config());
    scene.write("app.log", lines(0..10).concat());
    let agent = scene.start();
    scene.receives(10).await;
    saved(&scene, 120).await;
    assert_eq!(agent.stop().await.code, Some(0));
    scene.append("app.log", lines(10..12).concat());
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_told_and_exported_beside_a_running_agent() {
    let scene = stopped_scene().await;
    let (path, flow) = (
        scene.path("app.log").display().to_string(),
        format!("kinesis:s:{}", scene.path("app.log*").display()),
    );
    assert_eq!(
        said(&checkpoints(&scene, &[])),
        format!(
            "{flow}\n  {path} at 120 of 144, behind by 24 bytes\n1 files in {}\n",
            scene.database().display()
        )
    );
    let agent = scene.start();
    scene.receives(12).await;
    saved(&scene, 144).await;
    let told: Value = serde_json::from_str(&said(&checkpoints(&scene, &["--json"]))).unwrap();
    assert_eq!(
        (
            &told["file"],
            &told["offset"],
            &told["bytes_behind"],
            &told["state"]
        ),
        (&json!(path), &json!(144), &json!(0), &json!("followed"))
    );
    assert_eq!(
        said(&checkpoints(&scene, &["--json", "--flow", "another"])),
        ""
    );
    said(&checkpoints(&scene, &["--export", "exported"]));
    let exported = Connection::open(scene.folder().join("exported")).unwrap();
    let row: (String, i64) = exported
        .query_row("SELECT path, offset FROM FILE_CHECKPOINTS", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(row, (path, 144));
    let again = checkpoints(&scene, &["--export", "exported"]);
    assert!(!again.status.success(), "an existing file is left alone");
    // Changing them would be lost on an agent that knows better.
    let refused = checkpoints(&scene, &["--file", "logs/app.log", "--to-start"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    let holder = format!("in use by another kinesis-agent (process {})", agent.id());
    assert!(words.contains(&holder), "{words}");
    assert_eq!(agent.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_set_while_the_agent_is_stopped() {
    for (arguments, expected) in [
        (&["--set-offset", "132"][..], lines(11..12)),
        (&["--set-offset", "0"], lines(0..12)),
        (&["--set-offset", "60"], lines(5..12)),
        (&["--to-end"], Vec::new()),
        (&["--to-start"], lines(0..12)),
        (&["--remove"], lines(0..12)),
    ] {
        let scene = stopped_scene().await;
        let file = [&["--file", "logs/app.log"][..], arguments].concat();
        said(&checkpoints(&scene, &file));
        scene.append("app.log", "another\n");
        let agent = scene.start();
        scene.receives(11 + expected.len() as u64).await;
        saved(&scene, 12 * 12 + 8).await;
        assert_eq!(agent.stop().await.code, Some(0));
        let mut texts = scene.texts(STREAM);
        assert_eq!(
            texts.split_off(10),
            [expected, vec!["another\n".to_owned()]].concat(),
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_set_is_refused_with_the_reason() {
    let empty = Scene::new().await;
    empty.configure(config());
    let refused = checkpoints(&empty, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("there is no checkpoint database"), "{words}");
    assert!(!empty.database().exists(), "looking makes nothing");
    let scene = stopped_scene().await;
    let before = Rows::read(&scene).unwrap();
    for (arguments, reason) in [
        (&["--file", "logs/app.log"][..], "required"),
        (&["--to-end"], "--file"),
        (
            &["--file", "logs/app.log", "--to-end", "--to-start"],
            "cannot be used with",
        ),
        (
            &["--file", "logs/app.log", "--set-offset", "145"],
            "has 144 bytes",
        ),
        (
            &["--file", "logs/app.log", "--set-offset", "x"],
            "invalid value",
        ),
        (
            &["--file", "logs/other.log", "--to-end"],
            "there is no checkpoint of",
        ),
        (
            &["--file", "logs/app.log", "--flow", "x", "--to-end"],
            "there is no checkpoint of",
        ),
    ] {
        let output = checkpoints(&scene, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains(reason), "{arguments:?}: {words}");
    }
    assert_eq!(Rows::read(&scene).unwrap(), before);
}
