//! From the AWS Kinesis Agent and back: the row rules of its checkpoint table, each a case, told before and done after.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;

const STREAM: &str = "s";
/// The statement that the AWS Kinesis Agent makes its table with, to the letter.
const REFERENCE_TABLE: &str = "CREATE TABLE FILE_CHECKPOINTS(flow text, path text, fileId text, \
     lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime, primary key (flow, path))";

/// A file as the new agent finds it: its name, what it holds, its age in seconds.
type FileNow = (&'static str, &'static str, u64);

/// A row that the AWS Kinesis Agent left: its path, whose identity it names (a file as it is now, or another text), the
/// file's age in seconds then, its offset, and how old the row is.
struct Row {
    path: &'static str,
    identity: Identity,
    age: u64,
    offset: Value,
    row_age: u32,
}

enum Identity {
    Of(&'static str),
    Text(&'static str),
}

struct Case {
    story: &'static str,
    files: &'static [FileNow],
    rows: Vec<Row>,
    /// Lines that are sent, in the order of their texts.
    sent: &'static [&'static str],
}

fn row(path: &'static str, identity: Identity, age: u64, offset: impl Into<Value>) -> Row {
    Row {
        path,
        identity,
        age,
        offset: offset.into(),
        row_age: 0,
    }
}

fn cases() -> Vec<Case> {
    use Identity::{Of, Text};
    vec![
        Case {
            story: "the file goes on at its row's offset",
            files: &[("app.log", "1\n2\n3\n", 60)],
            rows: vec![row("app.log", Of("app.log"), 60, 2)],
            sent: &["2\n", "3\n"],
        },
        Case {
            story: "it was rotated meanwhile: its rest, then the newer file; the older one is done",
            files: &[
                ("app.log.2", "older\n", 300),
                ("app.log.1", "1\n2\n3\n", 60),
                ("app.log", "4\n5\n", 10),
            ],
            rows: vec![row("app.log", Of("app.log.1"), 200, 2)],
            sent: &["2\n", "3\n", "4\n", "5\n"],
        },
        Case {
            story: "it was rotated twice meanwhile",
            files: &[
                ("app.log.3", "older\n", 300),
                ("app.log.2", "1\n2\n", 60),
                ("app.log.1", "3\n", 30),
                ("app.log", "4\n", 10),
            ],
            rows: vec![row("app.log", Of("app.log.2"), 200, 2)],
            sent: &["2\n", "3\n", "4\n"],
        },
        Case {
            story: "it is gone: what is newer than it was is sent, what is older is done",
            files: &[("app.log.2", "older\n", 300), ("app.log", "1\n2\n", 10)],
            rows: vec![row("app.log", Text("(dev=1,ino=1)"), 100, 2)],
            sent: &["1\n", "2\n"],
        },
        Case {
            story: "a row whose identity is no identity counts by its path",
            files: &[("app.log", "1\n2\n3\n", 60)],
            rows: vec![row("app.log", Text("what?"), 60, 4)],
            sent: &["3\n"],
        },
        Case {
            story: "of several rows the newest counts, in whatever order they stand",
            files: &[
                ("app.log.1", "old 1\nold 2\n", 300),
                ("app.log", "1\n2\n", 10),
            ],
            rows: vec![
                row("app.log", Of("app.log"), 10, 2),
                Row {
                    row_age: 50,
                    ..row("app.log.1", Of("app.log.1"), 300, 0)
                },
            ],
            sent: &["2\n"],
        },
        Case {
            story: "it became shorter: it is sent from its beginning",
            files: &[("app.log", "1\n2\n", 60)],
            rows: vec![row("app.log", Of("app.log"), 60, 400)],
            sent: &["1\n", "2\n"],
        },
        Case {
            story: "of two files as old the smaller is the newer",
            files: &[
                ("app.log", "1\n2\n", 60),
                ("app.log.a", "3\n", 60),
                ("app.log.b", "much longer\n", 60),
            ],
            rows: vec![row("app.log", Of("app.log"), 60, 2)],
            sent: &["2\n", "3\n"],
        },
        Case {
            story: "an offset that is no number sends twice rather than not",
            files: &[("app.log", "1\n2\n", 60)],
            rows: vec![row("app.log", Of("app.log"), 60, "none")],
            sent: &["1\n", "2\n"],
        },
        Case {
            story: "all of it was sent: nothing is sent again",
            files: &[("app.log.1", "old\n", 300), ("app.log", "1\n", 60)],
            rows: vec![row("app.log", Of("app.log"), 60, 2)],
            sent: &[],
        },
        Case {
            story: "without a row it is a first start, behind what is there",
            files: &[("app.log", "1\n2\n", 60)],
            rows: Vec::new(),
            sent: &[],
        },
    ]
}

fn configure(scene: &Scene) {
    scene.configure(json!({"flows": [{"filePattern": "app.log*", "kinesisStream": STREAM}]}));
}

fn write_files(scene: &Scene, files: &[FileNow], now: SystemTime) {
    for (name, text, age) in files {
        scene.write(name, text);
        let file = File::options().append(true).open(scene.path(name)).unwrap();
        file.set_modified(now - Duration::from_secs(*age)).unwrap();
    }
}

fn write_rows(scene: &Scene, rows: &[Row], now: SystemTime) {
    let database = Connection::open(scene.database()).unwrap();
    database.execute_batch(REFERENCE_TABLE).unwrap();
    for row in rows {
        let identity = match row.identity {
            Identity::Text(text) => text.to_owned(),
            Identity::Of(name) => {
                let file = fs::metadata(scene.path(name)).unwrap();
                format!("(dev={:x},ino={})", file.dev(), file.ino())
            }
        };
        let modified = now - Duration::from_secs(row.age);
        let modified_ms = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let offset = match &row.offset {
            Value::String(text) => rusqlite::types::Value::Text(text.clone()),
            number => rusqlite::types::Value::Integer(number.as_i64().unwrap()),
        };
        let values = (
            format!("kinesis:s:{}", scene.path("app.log*").display()),
            scene.path(row.path).display().to_string(),
            identity,
            modified_ms.as_millis() as i64,
            1000,
            offset,
            format!("2026-11-20 05:{:02}:36.150", 59 - row.row_age),
        );
        let insert = "INSERT INTO FILE_CHECKPOINTS VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        database.execute(insert, values).unwrap();
    }
}

/// What `check --takeover --json` says.
fn told(scene: &Scene) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .env_clear()
        .args(["check", "--takeover", "--json", "-c"])
        .arg(scene.configuration())
        .arg("--agent-d")
        .arg(scene.folder().join("agent.d"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn take_over(case: Case) {
    let scene = Scene::new().await;
    configure(&scene);
    let now = SystemTime::now();
    write_files(&scene, case.files, now);
    if !case.rows.is_empty() {
        write_rows(&scene, &case.rows, now);
    }
    let before = fs::read(scene.database()).ok();
    let told = told(&scene);
    assert_eq!(
        fs::read(scene.database()).ok(),
        before,
        "{}: looking changes nothing",
        case.story
    );
    let n_bytes: usize = case.sent.iter().map(|line| line.len()).sum();
    assert_eq!(told["bytes_to_send"], n_bytes, "{}: {told:#}", case.story);
    let kind = match case.rows.is_empty() {
        true => "end_of_file",
        false => "aws_kinesis_agent",
    };
    assert_eq!(told["flows"][0]["start"], kind, "{}", case.story);

    // What comes after the start shows that all that was to be sent before it is there.
    let mut agent = scene.start();
    agent.says(" to be sent to Kinesis stream s").await;
    scene.write("app.log.new", "zz\n");
    scene.receives(case.sent.len() as u64 + 1).await;
    assert_eq!(agent.stop().await.code, Some(0));
    // And a second start sends nothing again.
    let mut agent = scene.start();
    agent.says_times(" to be sent to Kinesis stream s", 2).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let expected: Vec<&str> = case.sent.iter().copied().chain(["zz\n"]).collect();
    assert_eq!(scene.sorted_texts(STREAM), expected, "{}", case.story);
}

/// P-TAKEOVER: The newest row of a flow in the AWS Kinesis Agent's table is where the flow stands: its file goes on at the
/// row's offset under whatever name, newer files are sent whole, older ones are done.
#[tokio::test(flavor = "multi_thread")]
async fn each_rule_of_its_rows_is_told_before_and_done_after() {
    let mut running = JoinSet::new();
    for case in cases() {
        if running.len() >= 2 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(take_over(case));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_agent_did_meanwhile_counts_when_it_hands_back() {
    let scene = Scene::new().await;
    configure(&scene);
    let now = SystemTime::now();
    write_files(&scene, &[("app.log", "1\n2\n", 60)], now);
    write_rows(
        &scene,
        &[row("app.log", Identity::Of("app.log"), 60, 2)],
        now,
    );
    let agent = scene.start();
    scene.receives(1).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let rows = Rows::read(&scene).unwrap();
    assert_eq!(rows.offset_of(&scene.path("app.log")), Some(4));
    // It goes on by our row, sends a line, and the file is rotated under it; we come back to its row.
    scene.append("app.log", "3\n4\n");
    let database = Connection::open(scene.database()).unwrap();
    let n_rows = database
        .execute(
            "UPDATE FILE_CHECKPOINTS SET offset = 6, lastUpdated = '2099-01-01 00:00:00.000'",
            [],
        )
        .unwrap();
    assert_eq!(n_rows, 1);
    drop(database);
    scene.rename("app.log", "app.log.1");
    scene.write("app.log", "5\n");
    assert_eq!(told(&scene)["bytes_to_send"], 4);
    let agent = scene.start();
    scene.receives(3).await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.sorted_texts(STREAM), ["2\n", "4\n", "5\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_the_oldest_unsent_file_of_ours_though_that_was_rotated_meanwhile() {
    let scene = Scene::new().await;
    let mut config = json!({"flows": [{
        "filePattern": "app.log*", "kinesisStream": STREAM, "initialPosition": "START_OF_FILE",
    }]});
    config["shutdownTimeoutMillis"] = json!(100);
    scene.configure(config);
    scene.write("app.log", "1\n2\n");
    let mut agent = scene.start();
    scene.receives(2).await;
    Rows::until(&scene, |rows| {
        rows.offset_of(&scene.path("app.log")) == Some(4)
    })
    .await;
    // From now on nothing gets through, and the file is rotated.
    scene.endpoint.set_faults("status=503".parse().unwrap());
    scene.append("app.log", "3\n");
    agent.says("failed: HTTP 503").await;
    scene.rename("app.log", "app.log.1");
    scene.write("app.log", "4\n");
    let path = scene.path("app.log.1");
    Rows::until(&scene, |rows| rows.offset_of(&path) == Some(4)).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let rows = Rows::read(&scene).unwrap();
    let newest = &rows.0[0];
    assert_eq!(
        (newest.path.as_str(), newest.offset),
        (path.to_str().unwrap(), 4)
    );
    let file = fs::metadata(&path).unwrap();
    assert_eq!(
        newest.file_id,
        format!("(dev={:x},ino={})", file.dev(), file.ino())
    );
}
