//! What becomes of records that are hard to make, in the program itself.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};

use kinesis_agent::local::Endpoint;
use serde_json::{Value, json};

use crate::support::aws::{endpoint, received, texts};
use crate::support::host::Host;
use crate::support::memory::OWN_KIB_MAX;

const FILE: &str = "logs/app.log";

/// A host whose file goes to stream `s` with these options of the flow.
async fn set_up(flow: Value) -> (Endpoint, Host) {
    let endpoint = endpoint("").await;
    let mut host = Host::sending_to(&endpoint.url());
    let mut with_stream = json!({ "kinesisStream": "s" });
    for (key, value) in flow.as_object().expect("options of a flow") {
        with_stream[key] = value.clone();
    }
    host.add_flow(FILE, with_stream);
    (endpoint, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_200_mib_is_cut_without_being_held() {
    const LINE_BYTES: u64 = 200 << 20;
    let convert = json!([{ "optionName": "CSVTOJSON", "customFieldNames": ["a"] }]);
    for flow in [
        json!({}),
        json!({ "multiLineStartPattern": "[\\x00a-z]" }),
        json!({ "dataProcessingOptions": convert }),
    ] {
        let (endpoint, host) = set_up(flow.clone()).await;
        host.write(FILE, "before\n");
        // A hole in the file is read as zeros.
        let file = OpenOptions::new()
            .write(true)
            .open(host.path(FILE))
            .unwrap();
        file.set_len(LINE_BYTES).unwrap();
        host.append(FILE, "\nafter\n");
        let mut agent = host.start();
        received(&endpoint, 3).await;
        let texts = texts(&endpoint, "s");
        for line in ["before", "after"] {
            assert!(
                texts.iter().any(|text| text.contains(line)),
                "{flow}: {line}"
            );
        }
        let n_bytes = texts.iter().map(String::len).max().unwrap();
        assert!(
            (900_000..=1_048_576).contains(&n_bytes),
            "{flow}: {n_bytes}"
        );
        agent.says("the record at offset 7 of").await;
        let kib = agent.memory_kib_peak();
        assert!(kib <= OWN_KIB_MAX, "{flow}: {kib} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catastrophic_pattern_costs_one_record_and_is_said() {
    let options = json!([{
        "optionName": "LOGTOJSON", "logFormat": "SYSLOG",
        "matchPattern": "(?<!x)((?:a+)+)b", "customFieldNames": ["a"],
    }]);
    let (endpoint, host) = set_up(json!({ "dataProcessingOptions": options })).await;
    let long = format!("{}c\n", "a".repeat(100_000));
    host.write(FILE, format!("aab\n{long}ab\n"));
    let mut agent = host.start();
    received(&endpoint, 3).await;
    let mut texts = texts(&endpoint, "s");
    texts.sort_unstable();
    assert_eq!(
        texts,
        [long, "{\"a\":\"a\"}\n".into(), "{\"a\":\"aa\"}\n".into()]
    );
    let line = agent.says("a pattern gave up at its step limit").await;
    assert!(line.contains("the first at offset 4 of"), "{line}");
    assert!(line.contains("1 record"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_lines_are_told_with_their_number_their_reason_and_their_first() {
    let options = json!([{ "optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG" }]);
    let (endpoint, mut host) = set_up(json!({ "dataProcessingOptions": options })).await;
    host.set("log.emitMetrics", true);
    let good = "10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326\n";
    let line = |n: usize| if n % 20 == 7 { "malformed\n" } else { good };
    host.write(FILE, (0..1_000).map(line).collect::<String>());
    let mut agent = host.start();
    received(&endpoint, 950).await;
    let line = agent.says("LOGTOJSON does not match").await;
    let first = format!("the first at offset {} of ", 7 * good.len());
    for part in ["50 records left out", &*first, "app.log: \"malformed\""] {
        assert!(line.contains(part), "{part:?} isn't in {line}");
    }
    let (_, log) = agent.stop().await;
    assert!(log.contains("skipped 50 records"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_metadata_service_that_never_answers_stops_no_reading() {
    // Calls are taken, and nobody answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let options = json!([{ "optionName": "ADDEC2METADATA", "logFormat": "SYSLOG" }]);
    let (endpoint, mut host) = set_up(json!({ "dataProcessingOptions": options })).await;
    host.add_flow("logs/plain.log", json!({ "kinesisStream": "plain" }));
    host.unset_env("AWS_EC2_METADATA_DISABLED");
    host.set_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    host.write(FILE, "{\"n\":1}\nno object\n");
    host.write("logs/plain.log", "plain\n");
    let mut agent = host.start();
    received(&endpoint, 3).await;
    let mut unchanged = texts(&endpoint, "s");
    unchanged.sort_unstable();
    assert_eq!(unchanged, ["no object\n", "{\"n\":1}\n"]);
    assert_eq!(texts(&endpoint, "plain"), ["plain\n"]);
    let line = agent.says("the EC2 instance metadata can't be had").await;
    assert!(line.contains("[WARN]"), "{line}");
    drop(silent);
}
