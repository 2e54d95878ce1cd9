//! No secret is ever shown, wherever it was written and whatever goes wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::support::host::{ALLOW_CORES, Host};
use crate::support::scene::Scene;
use crate::support::wait::until;

/// Part of every secret here; what holds it has shown one.
const SECRET: &str = "s3cr3tOfThisTest";

fn ask(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .args(arguments)
        .arg("-c")
        .arg(scene.configuration())
        .arg("--agent-d")
        .arg(scene.folder().join("agent.d"))
        .env("AGENT_LOG_LEVEL", "TRACE")
        .output()
        .unwrap()
}

fn assert_kept(what: &str, said: impl AsRef<[u8]>) {
    let said = String::from_utf8_lossy(said.as_ref());
    assert!(!said.contains(SECRET), "{what}: {said}");
}

/// A configuration with a secret in each place that may hold one; calls go where the test says, or nowhere.
fn config(scene: &Scene) -> Value {
    json!({
        "awsAccessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "awsSecretAccessKey": format!("key-{SECRET}"),
        "assumeRoleExternalId": format!("external-{SECRET}"),
        "metrics.prometheus.listen": "127.0.0.1:0",
        "metrics.prometheus.token": format!("token-{SECRET}"),
        "status.socket": scene.folder().join("status.sock"),
        "shutdownTimeoutMillis": 100,
        "flows": [{
            "filePattern": "app.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE",
            "retryInitialBackoffMillis": 20, "retryMaxBackoffMillis": 50,
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_and_answered_while_calls_fail_shows_no_secret() {
    let scene = Scene::new().await;
    // The endpoint doesn't know the key, nor does the proxy exist: every call fails, each in its own way.
    for proxy in [None, Some(format!("http://user:{SECRET}@127.0.0.1:1"))] {
        scene.configure(config(&scene));
        scene.append("app.log", "one\n");
        let is_proxied = proxy.is_some();
        if is_proxied {
            // A loopback address would be called directly.
            let mut far = config(&scene);
            far["kinesis.endpoint"] = json!("http://kinesis.invalid");
            scene.configure(far);
        }
        let mut agent = scene.start_with(|command| {
            command
                .env("AGENT_LOG_LEVEL", "TRACE")
                .env("AWS_SESSION_TOKEN", format!("session-{SECRET}"))
                .env("AWS_SECRET_ACCESS_KEY", format!("environment-{SECRET}"));
            if let Some(proxy) = &proxy {
                command.env("HTTPS_PROXY", proxy).env("HTTP_PROXY", proxy);
            }
        });
        let status = until("a call to fail", || {
            let status = ask(&scene, &["status", "--json"]);
            let value: Value = serde_json::from_slice(&status.stdout).ok()?;
            let n_failed = value["flows"][0]["calls"]["failed"].as_u64();
            (n_failed? > 0).then_some(status)
        })
        .await;
        assert_kept("status --json", status.stdout);
        assert_kept("status", ask(&scene, &["status"]).stdout);
        scene.configure_as_written(&format!("{{\"awsSecretAccessKey\": \"{SECRET}\" no}}"));
        agent.reload();
        agent.says("the new configuration is refused").await;
        let ended = agent.stop().await;
        assert_kept("the log", &ended.log);
        assert_kept("standard error", &ended.stderr);
        assert!(ended.log.contains("[DEBUG]") || ended.log.contains("[TRACE]"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_show_no_secret() {
    let scene = Scene::new().await;
    let long = SECRET.repeat(40);
    for (key, value) in [
        ("awsSecretAccessKey", json!([SECRET])),
        ("awsSecretAccessKey", json!({SECRET: 1})),
        ("awsSecretAccesKey", json!(SECRET)),
        ("AWSSecretAccessKey", json!(SECRET)),
        ("metrics.prometheus.token", json!([SECRET])),
        ("metrics.prometheus.token", json!(format!("{SECRET} \n"))),
        ("metrics.prometheus.tokn", json!(SECRET)),
        ("assumeRoleExternalId", json!([SECRET])),
        (
            "kinesis.endpoint",
            json!(format!("http://user:{SECRET}@host")),
        ),
        ("firehose.endpoint", json!(format!("user:{SECRET}@host"))),
        ("awsSecretAccessKey", json!(long)),
    ] {
        let mut config = config(&scene);
        config[key] = value;
        scene.configure(config);
        for arguments in [
            &["check"][..],
            &["check", "--json"],
            &["checkpoints"],
            &["try", "/dev/null"],
        ] {
            let said = ask(&scene, arguments);
            assert_kept(&format!("{key} {arguments:?}"), said.stdout);
            assert_kept(&format!("{key} {arguments:?}"), said.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_secrets_that_others_can_read_is_warned_about_with_the_remedy() {
    let scene = Scene::new().await;
    scene.configure(config(&scene));
    for (mode, is_warned) in [(0o640, false), (0o644, true), (0o604, true)] {
        fs::set_permissions(scene.configuration(), fs::Permissions::from_mode(mode)).unwrap();
        let said = String::from_utf8(ask(&scene, &["check"]).stdout).unwrap();
        let remedy = format!("run: chmod o-r {}", scene.configuration().display());
        assert_eq!(said.contains(&remedy), is_warned, "{mode:o}: {said}");
    }
}

/// P-CORE: A crash writes no core file, whatever the limits of who started the agent say.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_file() {
    let mut host = Host::new();
    host.set("awsAccessKeyId", "AKIAIOSFODNN7EXAMPLE");
    host.set("awsSecretAccessKey", SECRET);
    host.set("kinesis.endpoint", "http://127.0.0.1:1");
    host.set("kinesis.region", "us-east-1");
    host.add_flow(host.path("logs/app.log"), json!({"kinesisStream": "s"}));
    host.allow_cores();
    let mut agent = host.start();
    agent.says("Startup completed").await;
    assert_eq!(agent.limit("Max core file size"), ["0", "0"]);
    let other = Command::new("/bin/sh")
        .args(["-c", &format!("{ALLOW_CORES}; kill -ABRT $$")])
        .current_dir(tempfile::tempdir().unwrap().path())
        .status()
        .unwrap();
    if !other.core_dumped() {
        eprintln!("skipped: no process leaves a core file here, so only the limit is looked at");
        return;
    }
    kill_process(agent.pid(), Signal::ABORT).unwrap();
    let (status, _) = agent.ended().await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}
