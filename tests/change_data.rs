//! Change data: the records of one key, or of one file, are accepted in the order in which they were written, whatever
//! fails in between.

use std::collections::BTreeMap;

use kinesis_agent::local::Endpoint;
use serde_json::{Value, json};

use crate::support::aws::endpoint;
use crate::support::host::Host;

const STREAM: &str = "changes";
const N_ORDERS: u64 = 7;
const N_CHANGES: u64 = 400;

/// Faults after which it is known what was accepted, so that nothing comes twice.
const FAULTS: &str = "fail-record p=0.2; throttle p=0.1; status=503 p=0.1; delay=3ms p=0.3";

/// A change as Maxwell writes it.
fn change(n: u64) -> String {
    let change = json!({
        "database": "shop", "table": "orders", "type": "update", "ts": 1_477_053_217, "xid": 23_396,
        "data": { "order_id": n * n % N_ORDERS, "status": "paid", "n": n }, "old": { "status": "open" },
    });
    format!("{change}\n")
}

/// The numbers of the changes that were accepted, by lane, in the order of acceptance.
fn accepted(endpoint: &Endpoint, lane: impl Fn(&Value) -> u64) -> BTreeMap<u64, Vec<u64>> {
    let mut lanes: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for record in endpoint.received().records(STREAM) {
        let change: Value = serde_json::from_slice(&record.data).expect("a change is JSON");
        let n = change["data"]["n"].as_u64().expect("each has a number");
        lanes.entry(lane(&change)).or_default().push(n);
    }
    lanes
}

async fn ship(endpoint: &Endpoint, ordering: &str, n_files: u64) {
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/*.json",
        json!({
            "kinesisStream": STREAM, "partitionKeyField": "/data/order_id", "ordering": ordering,
            "maxBufferSizeRecords": 40, "retryInitialBackoffMillis": 5, "retryMaxBackoffMillis": 50,
        }),
    );
    for file in 0..n_files {
        let changes = (0..N_CHANGES).filter(|n| n % n_files == file);
        host.write(
            format!("logs/{file}.json"),
            changes.map(change).collect::<String>(),
        );
    }
    let mut agent = host.start();
    let all_arrived = || endpoint.received().n_records() >= N_CHANGES;
    agent.until("all changes", |_| all_arrived()).await;
    let (status, log) = agent.stop().await;
    assert!(status.success(), "{status}\n{log}");
}

/// P-ORDER: With `ordering` `PER_KEY` or `PER_FILE`, of the records of one key or file a later one is sent only once the
/// earlier one is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn the_changes_of_an_order_are_accepted_in_turn() {
    let endpoint = endpoint(FAULTS).await;
    ship(&endpoint, "PER_KEY", 1).await;
    let orders = accepted(&endpoint, |change| {
        change["data"]["order_id"].as_u64().expect("it has one")
    });
    for (order, changes) in &orders {
        let written: Vec<u64> = (0..N_CHANGES)
            .filter(|n| n * n % N_ORDERS == *order)
            .collect();
        assert_eq!(*changes, written, "order {order}");
    }
    assert_eq!(
        orders.values().map(Vec::len).sum::<usize>() as u64,
        N_CHANGES
    );
    for record in endpoint.received().records(STREAM) {
        let change: Value = serde_json::from_slice(&record.data).expect("a change is JSON");
        let order = change["data"]["order_id"].to_string();
        assert_eq!(record.partition_key.as_deref(), Some(&*order));
    }
}

/// P-ORDER: With `ordering` `PER_KEY` or `PER_FILE`, of the records of one key or file a later one is sent only once the
/// earlier one is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn the_changes_of_a_file_are_accepted_in_turn() {
    const N_FILES: u64 = 16;
    let endpoint = endpoint(FAULTS).await;
    ship(&endpoint, "PER_FILE", N_FILES).await;
    let files = accepted(&endpoint, |change| {
        change["data"]["n"].as_u64().expect("it has one") % N_FILES
    });
    for (file, changes) in &files {
        let written: Vec<u64> = (0..N_CHANGES).filter(|n| n % N_FILES == *file).collect();
        assert_eq!(*changes, written, "file {file}");
    }
    assert_eq!(files.len() as u64, N_FILES);
}
