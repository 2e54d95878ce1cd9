//! SIGHUP: another configuration while the agent runs.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, openat};
use serde_json::{Value, json};

use crate::support::agent::AgentProcess;
use crate::support::scene::Scene;
use crate::support::supervisor::Supervisor;
use crate::support::wait::until;

const DONE: &str = "the configuration is read anew";

fn flow(name: &str, more: Value) -> Value {
    let mut flow = json!({
        "filePattern": format!("{name}.log"), "kinesisStream": name, "initialPosition": "START_OF_FILE",
    });
    for (key, value) in more.as_object().unwrap() {
        flow[key] = value.clone();
    }
    flow
}

fn config(scene: &Scene, flows: Vec<Value>) -> Value {
    json!({"flows": flows, "status.socket": scene.folder().join("status.sock")})
}

/// Has the agent read its configuration for the `n`-th time.
async fn reload(agent: &mut AgentProcess, n: usize) {
    agent.reload();
    agent.says_times(DONE, n).await;
}

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n:06}\n")).collect()
}

/// P-RELOAD: A flow of which a new configuration says what the old one said isn't touched by it.
///
/// The file of one flow is deleted: whoever lets go of its handle can't read on.
#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_stays_keeps_its_handles_its_order_and_its_calls() {
    let scene = Scene::new().await;
    let stays = || flow("a", json!({"ordering": "PER_FILE"}));
    scene.configure(config(
        &scene,
        vec![stays(), flow("b", json!({})), flow("c", json!({}))],
    ));
    let mut handle = File::create(scene.path("a.log")).unwrap();
    let expected = numbered(0, 400);
    let mut parts = expected.chunks(100);
    let mut write = |handle: &mut File| {
        let part = parts.next().expect("so many parts");
        handle.write_all(part.concat().as_bytes()).unwrap();
    };
    write(&mut handle);
    let mut agent = scene.start();
    scene.receives(100).await;
    fs::remove_file(scene.path("a.log")).unwrap();
    for (n, others) in [
        vec![flow("b", json!({"maxBufferSizeRecords": 7}))],
        vec![flow("d", json!({})), flow("b", json!({}))],
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        write(&mut handle);
        let flows = [others, vec![stays()]].concat();
        scene.configure(config(&scene, flows));
        reload(&mut agent, n + 1).await;
    }
    scene.receives(400).await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(scene.texts("a"), expected, "each once, and in order");
    let started = ended
        .log
        .lines()
        .filter(|line| line.contains("Starting tailer for file") && line.contains("a.log"));
    assert_eq!(started.count(), 1, "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_come_go_and_change_without_losing_or_repeating_anything() {
    let scene = Scene::new().await;
    let with = |names: &[(&str, u64)]| {
        let flow = |(name, n): &(&str, u64)| flow(name, json!({"maxBufferSizeRecords": n}));
        config(&scene, names.iter().map(flow).collect())
    };
    scene.configure(with(&[("a", 500), ("b", 500)]));
    let expected = numbered(0, 60);
    let write = |name: &str, round: usize| {
        scene.append(
            &format!("{name}.log"),
            expected[round * 10..][..10].concat(),
        );
    };
    let mut agent = scene.start();
    agent.says("Startup completed").await;
    let mut n_written = 0;
    for (round, flows) in [
        &[("a", 500), ("b", 3)][..], // b changes
        &[("b", 3)],                 // a goes
        &[("c", 500), ("b", 500)],   // c comes, b changes
        &[("a", 500), ("c", 500)],   // a comes back, b goes
        &[("a", 500), ("b", 500), ("c", 500)],
    ]
    .into_iter()
    .enumerate()
    {
        for name in ["a", "b", "c"] {
            write(name, round);
            n_written += 10;
        }
        scene.configure(with(flows));
        reload(&mut agent, round + 1).await;
    }
    for name in ["a", "b", "c"] {
        write(name, 5);
        n_written += 10;
    }
    scene.receives(n_written).await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["a", "b", "c"] {
        assert_eq!(scene.sorted_texts(name), expected, "{name}");
    }
    let sent = format!("and {n_written} records sent successfully");
    assert!(
        ended.log.contains(&sent),
        "the sums hold what former flows did"
    );
}

fn status(scene: &Scene) -> Value {
    let asked = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .args(["status", "--json", "-c"])
        .arg(scene.configuration())
        .arg("--agent-d")
        .arg(scene.folder().join("agent.d"))
        .output()
        .unwrap();
    serde_json::from_slice(&asked.stdout).unwrap_or(Value::Null)
}

/// P-KEEPS: A configuration that is refused while the agent runs changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_changes_nothing_and_is_told() {
    let scene = Scene::new().await;
    let good = config(&scene, vec![flow("a", json!({}))]);
    scene.configure(good.clone());
    let mut agent = scene.start();
    agent.says("Startup completed").await;
    let bad = [
        flow("a", json!({"maxBufferAgeMillis": 1})),
        flow("b", json!({"ordering": "NO"})),
    ];
    scene.configure(config(&scene, bad.to_vec()));
    agent.reload();
    agent.says("the new configuration is refused").await;
    for key in ["flows[0].maxBufferAgeMillis", "flows[1].ordering"] {
        agent.says(key).await;
    }
    scene.append("a.log", "one\n");
    scene.receives(1).await;
    scene.configure(good);
    // With the good one in its place again, but not in effect: what is told is of the one that was refused.
    let refused = until("the status", || {
        let refused = status(&scene)["reload"]["refused"].as_array().cloned();
        refused.filter(|refused| refused.len() == 2)
    })
    .await;
    assert!(refused[0].as_str().unwrap().contains("maxBufferAgeMillis"));
    reload(&mut agent, 1).await;
    assert_eq!(status(&scene)["reload"]["refused"], json!([]));
    assert_eq!(agent.stop().await.code, Some(0));
}

/// P-KEEPS: A configuration that is refused while the agent runs changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_refused_no_flow_starts_or_starts_anew() {
    let scene = Scene::new().await;
    scene.append("a.log", "0\n");
    scene.append("b.log", "never asked for\n");
    scene.configure(config(&scene, vec![flow("a", json!({}))]));
    let mut agent = scene.start();
    scene.receives(1).await;
    let with_b = || vec![flow("a", json!({"ordering": "NO"})), flow("b", json!({}))];
    let bad: [&dyn Fn(); 5] = [
        &|| scene.configure(config(&scene, with_b())),
        &|| scene.configure_as_written("{"),
        &|| scene.configure_as_written("{}"),
        &|| scene.configure_as_written(r#"{"flows": 1}"#),
        &|| fs::remove_file(scene.configuration()).unwrap(),
    ];
    for (n, make) in (1..).zip(bad) {
        make();
        agent.reload();
        agent
            .says_times("the new configuration is refused", n)
            .await;
        scene.append("a.log", format!("{n}\n"));
        scene.receives(n as u64 + 1).await;
    }
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let numbers: Vec<_> = (0..=5).map(|n| format!("{n}\n")).collect();
    assert_eq!(scene.texts("a"), numbers);
    assert_eq!(scene.texts("b"), [""; 0]);
    let n_started = |name: &str| {
        let lines = ended.log.lines();
        let started = lines.filter(|line| line.contains("Starting tailer for file"));
        started.filter(|line| line.contains(name)).count()
    };
    let n_started = ["a.log", "b.log"].map(n_started);
    assert_eq!(n_started, [1, 0], "{}", ended.log);
}

/// P-EARLY: SIGHUP ends nothing: one that comes before the start is over is heeded after it.
///
/// The configuration is a pipe here, so that the start waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_start_is_over_ends_nothing_and_is_heeded_after_it() {
    let scene = Scene::new().await;
    let (as_pipe, as_file) = (scene.configuration(), scene.folder().join("new.json"));
    scene.configure(config(&scene, vec![flow("a", json!({}))]));
    fs::rename(&as_pipe, &as_file).unwrap();
    mkfifoat(CWD, &as_pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let mut agent = scene.start();
    let mut pipe = until("the agent to read its configuration", || {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        // Refused while there is no reader.
        let pipe = openat(CWD, &as_pipe, flags, Mode::empty()).ok()?;
        Some(File::from(pipe))
    })
    .await;
    agent.reload();
    let configuration = fs::read(&as_file).unwrap();
    fs::rename(&as_file, &as_pipe).unwrap();
    pipe.write_all(&configuration).unwrap();
    drop(pipe);
    agent.says(DONE).await;
    scene.append("a.log", "one\n");
    scene.receives(1).await;
    assert_eq!(agent.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_agent_are_named_that_need_a_restart() {
    let scene = Scene::new().await;
    let mut config = config(&scene, vec![flow("a", json!({}))]);
    scene.configure(config.clone());
    let mut agent = scene.start();
    agent.says("Startup completed").await;
    config["maxConnections"] = json!(77);
    config["awsSecretAccessKey"] = json!("another-secret-that-nobody-sees");
    scene.configure(config);
    reload(&mut agent, 1).await;
    let expected = json!(["awsSecretAccessKey", "maxConnections"]);
    assert_eq!(status(&scene)["reload"]["after_restart"], expected);
    let log = agent.stop().await.log;
    assert!(log.contains("maxConnections has changed: it takes effect after a restart"));
    assert!(!log.contains("another-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_a_reload_begins_and_when_it_is_over() {
    let scene = Scene::new().await;
    scene.configure(config(&scene, vec![flow("a", json!({}))]));
    let supervisor = Supervisor::beside(&scene);
    let heard = |start: &str| {
        supervisor
            .messages()
            .find(|said| said.starts_with(start))
            .unwrap()
    };
    let agent = scene.start_with(|command| {
        command.env("NOTIFY_SOCKET", supervisor.socket());
    });
    heard("READY=1\n");
    scene.configure_as_written("{");
    for _ in 0..2 {
        agent.reload();
        assert!(heard("RELOADING=1\n").contains("\nMONOTONIC_USEC="));
        // Also where the new one is refused: the agent goes on.
        heard("READY=1\n");
        scene.configure(config(&scene, vec![flow("b", json!({}))]));
    }
    assert_eq!(agent.stop().await.code, Some(0));
}
