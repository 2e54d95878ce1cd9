//! A Kinesis that wasn't written here agrees: `ferrokinesis`, read back with GetRecords by the SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use axum::extract::DefaultBodyLimit;
use ferrokinesis::store::StoreOptions;
use kinesis_agent::local::Keys;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::scene::Scene;
use crate::support::wait::until_done;

const STREAM: &str = "outside";
const N_SHARDS: i32 = 2;
/// More than a call may hold, CBOR or JSON: axum's own limit is 2 MB.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Beyond what the shards take in a second, in records as well as in bytes: 2,000 and 2 MiB.
const N_LINES: usize = 5_000;
const LINE_BYTES: usize = 600;

/// A running emulator, and a client of the SDK for it.
struct Outside {
    url: String,
    client: aws_sdk_kinesis::Client,
    server: JoinHandle<()>,
}

impl Outside {
    async fn start() -> Outside {
        let options = StoreOptions {
            enforce_limits: true,
            create_stream_ms: 0,
            ..StoreOptions::default()
        };
        let (app, _store) = ferrokinesis::create_app(options);
        let app = app.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let keys = Keys::test();
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&url)
            .credentials_provider(Credentials::new(
                keys.access_key_id,
                keys.secret_access_key,
                None,
                None,
                "test",
            ))
            .http_client(kinesis_agent::aws::http::usual_client())
            .build();
        let client = aws_sdk_kinesis::Client::from_conf(config);
        let outside = Outside {
            url,
            client,
            server,
        };
        outside.create_stream().await;
        outside
    }

    async fn create_stream(&self) {
        let request = self.client.create_stream().stream_name(STREAM);
        request.shard_count(N_SHARDS).send().await.unwrap();
        until_done("the stream to become active", async || {
            let request = self.client.describe_stream_summary().stream_name(STREAM);
            let summary = request.send().await.unwrap().stream_description_summary;
            (summary?.stream_status.as_str() == "ACTIVE").then_some(())
        })
        .await;
    }

    /// Every record of every shard, in each shard's order.
    async fn records(&self) -> Vec<Vec<Record>> {
        let request = self.client.list_shards().stream_name(STREAM);
        let shards = request.send().await.unwrap().shards.unwrap_or_default();
        let mut all = Vec::new();
        for shard in shards {
            all.push(self.records_of(shard.shard_id()).await);
        }
        all
    }

    async fn records_of(&self, shard_id: &str) -> Vec<Record> {
        let request = self.client.get_shard_iterator().stream_name(STREAM);
        let request = request.shard_id(shard_id);
        let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = request.send().await.unwrap().shard_iterator;
        let mut records = Vec::new();
        while let Some(at) = iterator {
            let answer = self
                .client
                .get_records()
                .shard_iterator(at)
                .send()
                .await
                .unwrap();
            if answer.records.is_empty() {
                break;
            }
            records.extend(answer.records);
            iterator = answer.next_shard_iterator;
        }
        records
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Line `number`, of [`LINE_BYTES`]; every tenth isn't UTF-8.
fn line(number: usize) -> Vec<u8> {
    let mut line = format!("{number:08} ").into_bytes();
    line.resize(
        LINE_BYTES - 1,
        if number.is_multiple_of(10) {
            0xff
        } else {
            b'x'
        },
    );
    line.push(b'\n');
    line
}

/// All lines arrive once and unchanged, although the shards refuse what is too much for a second; so much was refused.
async fn everything_gets_through(wire: &str) {
    let outside = Outside::start().await;
    let scene = Scene::new().await;
    let lines: Vec<_> = (0..N_LINES).map(line).collect();
    scene.write("app.log", lines.concat());
    scene.configure(json!({
        "kinesis.endpoint": outside.url,
        "kinesis.wire": wire,
        "log.statusReportingPeriodSeconds": 1,
        "flows": [{
            "filePattern": "app.log",
            "kinesisStream": STREAM,
            "initialPosition": "START_OF_FILE",
        }],
    }));
    let mut agent = scene.start();
    agent
        .says(&format!(
            "and {N_LINES} records sent successfully to destinations"
        ))
        .await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let shards = outside.records().await;
    assert_eq!(shards.len(), N_SHARDS as usize);
    assert!(
        shards.iter().all(|records| !records.is_empty()),
        "keys are spread"
    );
    let received: Vec<&[u8]> = shards
        .iter()
        .flatten()
        .map(|record| record.data.as_ref())
        .collect();
    assert_eq!(received.len(), N_LINES);
    let distinct: BTreeSet<&[u8]> = received.into_iter().collect();
    assert!(
        distinct.into_iter().eq(lines.iter().map(Vec::as_slice)),
        "bytes are as they were"
    );
    assert!(
        ended.log.contains("is over its limits"),
        "the limits were met:\n{}",
        ended.log
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_gets_through_in_json() {
    everything_gets_through("JSON").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_gets_through_in_cbor() {
    everything_gets_through("CBOR").await;
}

/// What one call took arrives in its order, shard by shard.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_a_call_is_kept() {
    const N_LINES: usize = 500;
    let outside = Outside::start().await;
    let scene = Scene::new().await;
    let lines: Vec<String> = (0..N_LINES)
        .map(|number| format!("{number:03}\n"))
        .collect();
    scene.write("app.log", lines.concat());
    scene.configure(json!({
        "kinesis.endpoint": outside.url,
        "log.statusReportingPeriodSeconds": 1,
        "flows": [{
            "filePattern": "app.log",
            "kinesisStream": STREAM,
            "initialPosition": "START_OF_FILE",
            // The batch is full before it is old.
            "maxBufferAgeMillis": 900_000,
        }],
    }));
    let mut agent = scene.start();
    agent
        .says(&format!(
            "and {N_LINES} records sent successfully to destinations"
        ))
        .await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let mut keys = BTreeMap::new();
    let mut n_received = 0;
    for records in outside.records().await {
        let data: Vec<_> = records.iter().map(|record| record.data.as_ref()).collect();
        assert!(data.is_sorted(), "{data:?}");
        n_received += data.len();
        for record in &records {
            *keys.entry(record.partition_key.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(n_received, N_LINES);
    assert_eq!(keys.len(), N_LINES, "every record has a key of its own");
}
