//! The status page in a browser: Debian's `chromium`, without a screen. Where there is none this says so and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::asking::{address_in, get};
use crate::support::aws::{ClosedPort, endpoint, received};
use crate::support::host::Host;
use crate::support::wait::until_done;

/// The page's elements once its script has run for a while; `None`: there is no browser.
fn rendered(url: &str) -> Option<String> {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(browser) = browser else {
        eprintln!("SKIPPED: chromium isn't installed, so the page isn't rendered");
        return None;
    };
    let profile = TempDir::new().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=3000", "--dump-dom", url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn page_at(address: SocketAddr) -> Option<String> {
    let url = format!("http://{address}/");
    let rendering = tokio::task::spawn_blocking(move || rendered(&url));
    rendering.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_a_file_and_names_that_are_no_markup() {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.set("metrics.prometheus.listen", "127.0.0.1:0");
    host.add_flow("logs/*", json!({ "kinesisStream": "a" }));
    let nasty = "<img src=x onerror=document.title=1>&\"'.log";
    host.write(format!("logs/{nasty}"), "one\n");
    host.write("logs/b.log", "one\ntwo\n");
    host.write("logs/empty.log", "");
    let mut agent = host.start();
    let address = address_in(&agent.says("the status page are at").await);
    received(&endpoint, 3).await;
    until_done("the acknowledgement", async || {
        let told = get(address, "/status").await.json();
        (told["totals"]["behind"]["bytes"] == 0 && told["totals"]["records_sent"] == 3)
            .then_some(())
    })
    .await;
    let Some(page) = page_at(address).await else {
        return;
    };
    assert_eq!(page.matches("<div class=\"file\">").count(), 3, "{page}");
    assert_eq!(
        page.matches("<div class=\"fill full\" style=\"width: 100%;\">")
            .count(),
        3,
        "{page}"
    );
    assert!(!page.contains("<img"), "a name became markup: {page}");
    assert!(
        page.contains("&lt;img src=x onerror=document.title=1&gt;&amp;"),
        "{page}"
    );
    for words in [
        "<title>kinesis-agent</title>",
        "everything is being delivered",
        "caught up",
        "3 of 3 records sent",
        "nothing waits",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_shown_with_what_to_do() {
    let closed = ClosedPort::new();
    let mut host = Host::sending_to(&format!("http://127.0.0.1:{}", closed.number()));
    host.set("metrics.prometheus.listen", "127.0.0.1:0");
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\n");
    let mut agent = host.start();
    let address = address_in(&agent.says("the status page are at").await);
    agent.says("can't connect to").await;
    let Some(page) = page_at(address).await else {
        return;
    };
    for words in [
        "<title>! kinesis-agent</title>",
        "not everything is being delivered",
        "<div class=\"trouble is-error\"><p class=\"problem\">can't connect to http://127.0.0.1:",
        "<p class=\"remedy\">check the endpoint",
        "<div class=\"fill\" style=\"width: 0%;\">",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}
