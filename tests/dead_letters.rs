//! Records that the service refuses for good: isolated, kept, listed, sent again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kinesis_agent::local::Options;
use serde_json::{Value, json};

use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;
use crate::support::wait::until;

const STREAM: &str = "s";
/// What the endpoint of these tests takes at most, data and key together.
const RECORD_BYTES_MAX: usize = 200;

/// A scene whose stream refuses calls that hold a record of more than [`RECORD_BYTES_MAX`] bytes.
async fn scene() -> Scene {
    Scene::with(Options {
        record_bytes_max: RECORD_BYTES_MAX,
        ..Options::default()
    })
    .await
}

fn flow(more: Value) -> Value {
    let mut flow = json!({
        "filePattern": "app.log",
        "kinesisStream": STREAM,
        "initialPosition": "START_OF_FILE",
        "retryInitialBackoffMillis": 20,
        "retryMaxBackoffMillis": 100,
    });
    for (key, value) in more.as_object().unwrap() {
        flow[key] = value.clone();
    }
    flow
}

fn line(n: usize) -> String {
    format!("line {n:06}\n")
}

/// A line that the endpoint refuses.
fn long_line(n: usize) -> String {
    format!("long {n:06} {}\n", "x".repeat(RECORD_BYTES_MAX))
}

/// 300 lines, of which two are refused.
fn text() -> (String, Vec<String>, [String; 2]) {
    let long = [long_line(77), long_line(200)];
    let mut good = Vec::new();
    let mut text = String::new();
    for n in 0..300 {
        match n {
            77 => text.push_str(&long[0]),
            200 => text.push_str(&long[1]),
            n => {
                text.push_str(&line(n));
                good.push(line(n));
            }
        }
    }
    (text, good, long)
}

fn file(scene: &Scene) -> PathBuf {
    scene.folder().join("dead-letters")
}

fn letters(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(file(scene)).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).expect("a letter is a line of JSON"))
        .collect()
}

fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"));
    command
        .env_clear()
        .args(["dead-letters", "-c"])
        .arg(scene.configuration())
        .arg("--agent-d")
        .arg(scene.folder().join("agent.d"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Runs `kinesis-agent dead-letters`.
fn dead_letters(scene: &Scene, arguments: &[&str]) -> Output {
    command(scene, arguments).output().unwrap()
}

/// The same off this thread: the endpoint that is sent to may need it.
async fn replay(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = command(scene, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn all_acknowledged(scene: &Scene, n_bytes: usize) {
    let path = scene.path("app.log");
    Rows::until(scene, |rows| rows.offset_of(&path) == Some(n_bytes as u64)).await;
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// P-REFUSED: A record that the service refuses for its content is kept in the dead-letter file before a checkpoint passes
/// it, and costs no other record anything.
#[tokio::test(flavor = "multi_thread")]
async fn refused_records_are_kept_and_the_others_arrive_once() {
    let scene = scene().await;
    scene.configure(json!({"flows": [flow(json!({}))]}));
    let (text, good, long) = text();
    scene.write("app.log", &text);
    let mut agent = scene.start();
    scene.receives(298).await;
    all_acknowledged(&scene, text.len()).await;
    assert_eq!(scene.sorted_texts(STREAM), good);
    let mut letters = letters(&scene);
    letters.sort_by_key(|letter| letter["offset"].as_u64());
    assert_eq!(letters.len(), 2);
    for (letter, long) in letters.iter().zip(&long) {
        assert_eq!(letter["offset"], text.find(long.as_str()).unwrap());
        assert_eq!(letter["file"], json!(scene.path("app.log")));
        assert_eq!(
            letter["flow"],
            format!("kinesis:s:{}", scene.path("app.log").display())
        );
        assert_eq!(letter["code"], "ValidationException");
        assert!(
            letter["reason"]
                .as_str()
                .unwrap()
                .contains("less than or equal to 200")
        );
    }
    let mode = fs::metadata(file(&scene)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    agent.says("refused the record at offset").await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0));
    // Nothing of them is read again.
    let agent = scene.start();
    scene.append("app.log", line(300));
    scene.receives(299).await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(self::letters(&scene).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_flow_keeps_its_order_around_them() {
    let scene = scene().await;
    scene.configure(json!({"flows": [flow(json!({"ordering": "PER_FILE"}))]}));
    let lines = [
        line(0),
        long_line(1),
        line(2),
        line(3),
        long_line(4),
        line(5),
    ];
    scene.write("app.log", lines.concat());
    let agent = scene.start();
    scene.receives(4).await;
    all_acknowledged(&scene, lines.concat().len()).await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.texts(STREAM), [line(0), line(2), line(3), line(5)]);
    assert_eq!(letters(&scene).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_left_out_where_the_configuration_says_so() {
    let scene = scene().await;
    scene.configure(json!({"flows": [flow(json!({"refusedRecords": "SKIP"}))]}));
    let (text, good, _) = text();
    scene.write("app.log", &text);
    let mut agent = scene.start();
    scene.receives(298).await;
    all_acknowledged(&scene, text.len()).await;
    agent
        .says("refused 1 record for good: ValidationException")
        .await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.sorted_texts(STREAM), good);
    assert!(!file(&scene).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_tried_for_ever_where_the_configuration_says_so() {
    let scene = scene().await;
    let mut config = json!({"flows": [flow(json!({"refusedRecords": "RETRY"}))]});
    config["shutdownTimeoutMillis"] = json!(100);
    scene.configure(config);
    let (text, good, long) = text();
    scene.write("app.log", &text);
    let agent = scene.start();
    scene.receives(298).await;
    let n_calls = || scene.endpoint.received().calls().len();
    let n_before = n_calls();
    until("ten more tries", || {
        (n_calls() >= n_before + 10).then_some(())
    })
    .await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(scene.sorted_texts(STREAM), good);
    let saved = Rows::read(&scene)
        .unwrap()
        .offset_of(&scene.path("app.log"));
    let first_long = text.find(long[0].as_str()).unwrap() as u64;
    assert!(
        saved.is_some_and(|offset| offset <= first_long),
        "{saved:?}"
    );
    assert!(!file(&scene).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_not_be_kept_waits_and_holds_its_checkpoint() {
    let scene = scene().await;
    // A folder stands where the file should be.
    fs::create_dir(file(&scene)).unwrap();
    scene.configure(json!({"flows": [flow(json!({"maxBufferSizeRecords": 10}))]}));
    let (text, good, long) = text();
    scene.write("app.log", &text);
    let mut agent = scene.start();
    agent
        .says("refused records wait until they can be kept")
        .await;
    scene.receives(298).await;
    let offset = |rows: &Rows| rows.offset_of(&scene.path("app.log"));
    // What comes before the first of them is acknowledged, and nothing behind it.
    let first = text.find(long[0].as_str()).unwrap() as u64;
    let rows = Rows::until(&scene, |rows| offset(rows).is_some_and(|at| at > 0)).await;
    assert!(offset(&rows).unwrap() <= first);
    fs::remove_dir(file(&scene)).unwrap();
    all_acknowledged(&scene, text.len()).await;
    agent.says("are kept in").await;
    assert_eq!(letters(&scene).len(), 2);
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.sorted_texts(STREAM), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_stream_costs_no_record() {
    let scene = scene().await;
    scene
        .endpoint
        .set_faults("error=ValidationException calls=1..40".parse().unwrap());
    scene.configure(
        json!({"flows": [flow(json!({"refusedRecords": "SKIP", "maxBufferSizeRecords": 5}))]}),
    );
    let lines: Vec<String> = (0..50).map(line).collect();
    scene.write("app.log", lines.concat());
    let agent = scene.start();
    scene.receives(50).await;
    all_acknowledged(&scene, lines.concat().len()).await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(scene.sorted_texts(STREAM), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_blamed_one_by_one_are_kept_too() {
    let scene = scene().await;
    scene.endpoint.set_faults(
        "fail-record=InvalidArgumentException every=10 calls=1"
            .parse()
            .unwrap(),
    );
    scene.configure(json!({"flows": [flow(json!({}))]}));
    let lines: Vec<String> = (0..50).map(line).collect();
    scene.write("app.log", lines.concat());
    let agent = scene.start();
    scene.receives(45).await;
    all_acknowledged(&scene, lines.concat().len()).await;
    assert_eq!(agent.stop().await.code, Some(0));
    assert_eq!(letters(&scene).len(), 5);
    assert_eq!(scene.texts(STREAM).len(), 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_shown_and_replayed() {
    let scene = scene().await;
    let config = json!({"flows": [flow(json!({})), {
        "filePattern": "other.log", "deliveryStream": "d", "initialPosition": "START_OF_FILE",
    }], "maxSendingThreads": 1});
    scene.configure(config);
    let none = dead_letters(&scene, &[]);
    assert!(said(&none).starts_with("no dead letters in "), "{none:?}");
    scene.write(
        "app.log",
        [line(0), long_line(1), long_line(2), line(3)].concat(),
    );
    let agent = scene.start();
    scene.receives(2).await;
    until("two letters", || (letters(&scene).len() == 2).then_some(())).await;

    let listed = said(&dead_letters(&scene, &["list"]));
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 3, "{listed}");
    assert!(
        rows[0].contains("app.log at 12  ") && rows[0].contains("ValidationException: "),
        "{listed}"
    );
    let by_json = said(&dead_letters(&scene, &["list", "--json"]));
    let first: Value = serde_json::from_str(by_json.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["number"], &first["offset"]),
        (&json!(1), &json!(12))
    );
    let shown = said(&dead_letters(&scene, &["show", "2", "--data"]));
    assert_eq!(shown, long_line(2));
    assert_eq!(dead_letters(&scene, &["show", "3"]).status.code(), Some(1));

    // The stream still doesn't take them; nothing is lost by trying.
    let again = replay(&scene, &["replay"]).await;
    assert!(
        said(&again).contains("0 of 2 dead letters were accepted"),
        "{again:?}"
    );
    assert_eq!(again.status.code(), Some(1));
    let elsewhere = replay(
        &scene,
        &["replay", "--flow", "kinesis:x:/none", "--to", "firehose:d"],
    )
    .await;
    assert!(said(&elsewhere).contains("0 of 0"), "{elsewhere:?}");
    assert_eq!(letters(&scene).len(), 2);
    // Firehose takes longer ones; the agent goes on beside it.
    let done = replay(&scene, &["replay", "--to", "firehose:d"]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(
        said(&done).contains("2 of 2 dead letters were accepted"),
        "{done:?}"
    );
    assert_eq!(scene.texts("d"), [long_line(1), long_line(2)]);
    assert!(!file(&scene).exists());
    scene.append("app.log", long_line(4));
    until("another letter", || {
        (letters(&scene).len() == 1).then_some(())
    })
    .await;
    assert_eq!(agent.stop().await.code, Some(0));
}
