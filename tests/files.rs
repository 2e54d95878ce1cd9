//! Which files are followed, how many, and with how few handles: by the real program.

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
