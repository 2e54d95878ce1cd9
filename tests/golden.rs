//! The golden corpus, end to end: what the reference emitted for a file, ours emits. A folder added is a case added.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kinesis_agent::local::Record;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;

/// Longest Kinesis record: data and partition key together.
const KINESIS_RECORD_BYTES_MAX: usize = 1_048_576;
/// How a `ts` of ADDMETADATA begins and ends, and its length: `2026-11-21T05:06:05.704Z`.
const TIMESTAMP: (&str, &str, usize) = (r#"{"ts":""#, "Z\"", 24);

/// How a case is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Byte for byte.
    Equal,
    /// The reference hashes its whole read buffer, so that a key depends on chance; ours hashes the record.
    KeyOfItsData,
    /// Our partition keys may have another length, and characters aren't cut: data and key fit exactly.
    CutToFit,
    /// The time itself is another.
    TimeLeftOut,
}

/// Everything that isn't [`Rule::Equal`], by name.
const EXCEPTIONS: [(&str, Rule); 6] = [
    ("deterministic_key", Rule::KeyOfItsData),
    ("long_line_beyond_buffer", Rule::CutToFit),
    ("long_line_kinesis", Rule::CutToFit),
    ("long_line_terminator", Rule::CutToFit),
    ("long_line_utf8", Rule::CutToFit),
    ("metadata_timestamp", Rule::TimeLeftOut),
];

struct Case {
    name: String,
    flow: Value,
    input: Vec<u8>,
    expected: Vec<Expected>,
}

struct Expected {
    data: Vec<u8>,
    partition_key: Option<String>,
}

impl Case {
    fn read(folder: &Path) -> Case {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let input = fs::read(folder.join("input"))
            .unwrap_or_else(|_| joined(&serde_json::from_str(&text("input.runs.json")).unwrap()));
        let expected = text("expected.jsonl");
        let lines = expected.lines().filter(|line| !line.is_empty());
        Case {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            flow: serde_json::from_str(&text("flow.json")).unwrap(),
            input,
            expected: lines.map(Expected::read).collect(),
        }
    }

    fn rule(&self) -> Rule {
        let exception = EXCEPTIONS.iter().find(|(name, _)| *name == self.name);
        exception.map_or(Rule::Equal, |(_, rule)| *rule)
    }

    fn stream(&self) -> &str {
        let name = |key| self.flow.get(key).and_then(Value::as_str);
        name("deliveryStream")
            .or(name("kinesisStream"))
            .expect("a case has a stream")
    }

    /// What differs, for a person.
    fn differences(&self, received: &[Record]) -> Vec<String> {
        let mut found = Vec::new();
        if received.len() != self.expected.len() {
            let (n_ours, n_reference) = (received.len(), self.expected.len());
            found.push(format!(
                "{n_ours} records, the reference sent {n_reference}"
            ));
        }
        let lines: Vec<_> = self.input.split_inclusive(|byte| *byte == b'\n').collect();
        for (number, (ours, expected)) in received.iter().zip(&self.expected).enumerate() {
            let wanted = match self.rule() {
                Rule::Equal | Rule::KeyOfItsData => expected.data.clone(),
                Rule::CutToFit => self.cut_to_fit(lines[number], ours),
                Rule::TimeLeftOut => without_time(&expected.data),
            };
            let data = match self.rule() {
                Rule::TimeLeftOut => without_time(&ours.data),
                _ => ours.data.to_vec(),
            };
            if data != wanted {
                let (ours, reference) = (shown(&data), shown(&wanted));
                found.push(format!(
                    "record {number}\n    ours      {ours}\n    reference {reference}"
                ));
            }
            let key = match self.rule() {
                Rule::KeyOfItsData => Some(format!(
                    "{:032x}",
                    u128::from_be_bytes(Md5::digest(&ours.data).into())
                )),
                _ => expected.partition_key.clone(),
            };
            if key.is_some() && key != ours.partition_key {
                let ours = &ours.partition_key;
                found.push(format!("record {number}: key {ours:?} instead of {key:?}"));
            }
        }
        found
    }

    /// What is sent for a line beside the partition key that `ours` has: all of it, or as much as fits, to the last
    /// whole character, and the terminator.
    fn cut_to_fit(&self, line: &[u8], ours: &Record) -> Vec<u8> {
        let key_bytes = ours.partition_key.as_ref().map_or(0, String::len);
        let bytes_max = KINESIS_RECORD_BYTES_MAX - key_bytes;
        if line.len() <= bytes_max {
            return line.to_vec();
        }
        let terminator = self.flow.get("truncatedRecordTerminator");
        let terminator = terminator.map_or("\n", |text| text.as_str().unwrap());
        let text = std::str::from_utf8(line).expect("the long lines of the corpus are text");
        let end = text.floor_char_boundary(bytes_max - terminator.len());
        [&text[..end], terminator].concat().into_bytes()
    }

    /// Whether all there is to send has been sent when the file is acknowledged so far: what is left has no end yet,
    /// or stands behind the footer.
    fn is_done_at(&self, offset: u64) -> bool {
        let left = &self.input[offset as usize..];
        let has = |key| self.flow.get(key).is_some();
        let is_open = || match has("multiLineStartPattern") {
            true => !left.ends_with(b"\n"),
            false => !left.contains(&b'\n'),
        };
        left.is_empty() || is_open() || has("fileFooterPattern")
    }
}

impl Expected {
    fn read(line: &str) -> Expected {
        let record: Value = serde_json::from_str(line).unwrap();
        let decode = |text: &Value| BASE64.decode(text.as_str().unwrap()).unwrap();
        let data = if let Some(text) = record.get("text") {
            text.as_str().unwrap().as_bytes().to_vec()
        } else if let Some(text) = record.get("base64") {
            decode(text)
        } else {
            let part = |key| record.get(key).map(decode).unwrap_or_default();
            let data = [
                part("head_base64"),
                joined(&record["runs"]),
                part("tail_base64"),
            ]
            .concat();
            assert_eq!(Some(data.len() as u64), record["bytes"].as_u64(), "{line}");
            data
        };
        let key = record.get("partition_key");
        Expected {
            data,
            partition_key: key.map(|key| key.as_str().unwrap().to_owned()),
        }
    }
}

/// A list of texts and `[text, times]` pairs, joined in order.
fn joined(runs: &Value) -> Vec<u8> {
    let run = |run: &Value| match run {
        Value::String(text) => text.clone(),
        pair => {
            let n_times = pair[1]
                .as_u64()
                .expect("a run is a text or a text and a number");
            pair[0].as_str().unwrap().repeat(n_times as usize)
        }
    };
    let texts: Vec<_> = runs.as_array().unwrap().iter().map(run).collect();
    texts.concat().into_bytes()
}

/// The data without the time of its `ts`; the data as it is if it has none of that form.
fn without_time(data: &[u8]) -> Vec<u8> {
    let (before, after, length) = TIMESTAMP;
    let Some(rest) = data.strip_prefix(before.as_bytes()) else {
        return data.to_vec();
    };
    match rest.get(length - 1..) {
        Some(rest) if rest.starts_with(after.as_bytes()) => [before.as_bytes(), rest].concat(),
        _ => data.to_vec(),
    }
}

fn shown(data: &[u8]) -> String {
    const SHOWN_BYTES: usize = 300;
    let text = data[..data.len().min(SHOWN_BYTES)].escape_ascii();
    match data.len() {
        0..=SHOWN_BYTES => text.to_string(),
        n_bytes => format!(
            "{text}… ({n_bytes} bytes, ending in {})",
            data[n_bytes - 20..].escape_ascii()
        ),
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases() -> Vec<Case> {
    let folders = fs::read_dir(corpus().join("records")).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().map(|folder| Case::read(folder)).collect()
}

#[test]
fn every_exception_is_a_case() {
    let names: BTreeSet<_> = cases().into_iter().map(|case| case.name).collect();
    for (name, _) in EXCEPTIONS {
        assert!(names.contains(name), "{name}");
    }
}

/// One agent with a flow a case. With one call at a time the order of a flow's records is that of its file.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_those_of_the_reference() {
    let scene = Scene::new().await;
    let cases = cases();
    let flow = |case: &Case| {
        let mut flow = case.flow.clone();
        flow["filePattern"] = json!(format!("{}/input", case.name));
        flow["multiLineIdleMillis"] = json!(100);
        flow
    };
    for case in &cases {
        scene.write(&format!("{}/input", case.name), &case.input);
    }
    let flows: Vec<_> = cases.iter().map(flow).collect();
    scene.configure(json!({"maxSendingThreads": 1, "flows": flows}));
    let agent = scene.start();
    let n_expected: usize = cases.iter().map(|case| case.expected.len()).sum();
    scene.receives(n_expected as u64).await;
    // Whatever else there is to send has been sent once every file is acknowledged to its end.
    let is_done = |case: &Case, rows: &Rows| {
        let saved = rows.offset_of(&scene.path(&case.name).join("input"));
        saved.is_some_and(|offset| case.is_done_at(offset))
    };
    Rows::until(&scene, |rows| cases.iter().all(|case| is_done(case, rows))).await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let mut report = String::new();
    for case in &cases {
        let received = scene.endpoint.received().records(case.stream());
        for difference in case.differences(&received) {
            report += &format!("{}: {difference}\n", case.name);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// The corpus lives with those who recorded it; where it lies beside the project, ours is that one.
#[test]
fn the_copy_of_the_corpus_is_that_of_its_makers() {
    let makers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
    if !makers.is_dir() {
        eprintln!("skipped: there is no {} to compare with", makers.display());
        return;
    }
    let mut ours = files_below(&corpus());
    // What was recorded elsewhere: signatures by AWS, patterns by Java.
    ours.retain(|name| !name.starts_with("sigv4") && name != Path::new("java_regex.jsonl"));
    let theirs = files_below(&makers);
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "tests/golden lacks {missing:?}");
    let unknown: Vec<_> = ours.difference(&theirs).collect();
    assert!(unknown.is_empty(), "tests/golden alone has {unknown:?}");
    for name in &theirs {
        let same = fs::read(makers.join(name)).unwrap() == fs::read(corpus().join(name)).unwrap();
        assert!(same, "tests/golden has another {}", name.display());
    }
}

/// Every file below a folder, by its path from there.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => _ = files.insert(path.strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    files
}

/// A file written for the reference runs as it is: only its paths and endpoints are others.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_the_reference_gives_its_records() {
    let scene = Scene::new().await;
    let case = Case::read(&corpus().join("records/csv_seed"));
    let url = json!(scene.endpoint.url());
    let text = r#"{"cloudwatch.emitMetrics": true, "cloudwatch.endpoint": "", "kinesis.endpoint": "",
        "flows": [{"filePattern": "/tmp/app1.csv", "kinesisStream": "demo_ds", "dataProcessingOptions":
        [{"optionName": "CSVTOJSON", "customFieldNames": ["id","first_name","last_name","email","gender",
        "ip_address"], "delimiter": ","}]}]}"#;
    let database = json!(scene.database());
    let text = text
        .replacen('{', &format!("{{\"checkpointFile\": {database}, "), 1)
        .replace(r#"endpoint": """#, &format!("endpoint\": {url}"))
        .replace("/tmp/app1.csv", scene.path("app1.csv").to_str().unwrap());
    scene.configure_as_written(&text);
    let keys = scene.keys();
    let mut agent = scene.start_with(|command| {
        command
            .env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key)
            .env("AWS_REGION", "us-east-1");
    });
    // END_OF_FILE is the default: a file that appears is read from its beginning.
    agent.says("no file matches filePattern").await;
    scene.write("app1.csv", &case.input);
    agent.says("Opening ").await;
    // A minute is the default age of a batch; the end of the run sends it at once.
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let received = scene.endpoint.received();
    assert_eq!(case.differences(&received.records("demo_ds")), [""; 0]);
    let progress = regex::Regex::new(
        r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000  \(Agent\.MetricsEmitter RUNNING\) com\.amazon\.kinesis\.streaming\.agent\.Agent \[INFO\] Agent: Progress: (\d+) records parsed \((\d+) bytes\), and (\d+) records sent successfully to destinations\. Uptime: \d+ms$",
    );
    let progress = progress.unwrap();
    let last = progress
        .captures_iter(&ended.log)
        .last()
        .expect("a progress line");
    let numbers: Vec<usize> = (1..4).map(|place| last[place].parse().unwrap()).collect();
    let n_records = case.expected.len();
    assert_eq!(numbers, [n_records, case.input.len(), n_records]);
    let names: BTreeSet<_> = received
        .metrics()
        .into_iter()
        .map(|metric| metric.name)
        .collect();
    assert!(names.contains("RecordsSent"), "{names:?}");
}

// ---- configurations

/// Refused by the reference, taken by ours: what only ours can do.
const TAKEN_BY_OURS: [&str; 5] = [
    "age_low",
    "age_float",
    "bytes_over",
    "bytes_10mib",
    "meta_ts_bool",
];
/// Started by the reference, which then can't send anything.
const REFUSED_BY_OURS: [&str; 2] = ["null_stream", "empty_stream"];
/// A state of its own, as exit code 6 says: "program is not configured".
const WITHOUT_FLOWS: [&str; 2] = ["no_flows_key", "empty_flows"];
/// Of those that start, so many are started in earnest.
const STARTED: [&str; 4] = ["plain", "comments", "bom", "unknown_key"];

fn configurations() -> serde_json::Map<String, Value> {
    let text = fs::read_to_string(corpus().join("configs.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_configurations_end_the_program_with_their_findings() {
    let scene = Scene::new().await;
    for (name, case) in configurations() {
        let name = name.as_str();
        let is_refused = case["accepted"] == false && !TAKEN_BY_OURS.contains(&name);
        if !is_refused && !REFUSED_BY_OURS.contains(&name) {
            continue;
        }
        scene.configure_as_written(case["config"].as_str().unwrap());
        let ended = scene.start().ended().await;
        let code = if WITHOUT_FLOWS.contains(&name) { 6 } else { 1 };
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
        let file = scene.configuration();
        assert!(
            ended.stderr.starts_with(&format!("{}:", file.display())),
            "{name}: {}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{name}: {}", ended.stderr);
        assert!(
            !scene.log().exists(),
            "{name}: nothing starts before the configuration is read"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_configurations_start_and_stop() {
    for name in STARTED {
        let scene = Scene::new().await;
        let case = &configurations()[name];
        assert_eq!(case["accepted"], true, "{name}");
        let database = format!("{{\"checkpointFile\": {},", json!(scene.database()));
        let text = case["config"].as_str().unwrap().replacen('{', &database, 1);
        scene.configure_as_written(&text);
        let mut agent = scene.start();
        agent.says("Agent: Startup completed in ").await;
        let ended = agent.stop().await;
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        let is_warned = ended.log.contains("unknown key");
        assert_eq!(is_warned, name == "unknown_key", "{}", ended.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_findings_are_said_at_once() {
    let scene = Scene::new().await;
    scene.configure_as_written(
        r#"{"maxSendingThreads": 0,
            "flows": [
                {"filePattern": "/tmp/x/a", "kinesisStream": "s", "maxBufferAgeMillis": 9999999},
                {"filePattern": "/tmp/x/[a", "kinesisStream": "s"},
                {"filePattrn": "/tmp/x/b", "kinesisStream": "s"}]}"#,
    );
    let ended = scene.start().ended().await;
    assert_eq!(ended.code, Some(1));
    let keys: Vec<_> = ended
        .stderr
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap_or(line))
        .collect();
    let expected = [
        "maxSendingThreads",
        "flows[0].maxBufferAgeMillis",
        "flows[1].filePattern",
        "flows[2].filePattern",
        "flows[2].filePattrn",
    ];
    assert_eq!(keys, expected, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_not_there_ends_the_program_with_its_usage() {
    let scene = Scene::new().await;
    let ended = scene.start().ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("agent.json: the configuration can't be read"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("Usage: kinesis-agent"),
        "{}",
        ended.stderr
    );
}
