//! What becomes of accepted records.

use super::*;

#[tokio::test]
async fn counting_gives_counts_alone() {
    let endpoint = start(Options {
        keep: Keep::Count,
        ..Options::default()
    })
    .await;
    let client = kinesis(&endpoint);
    for _ in 0..2 {
        let answer = put(&client, "s", &[(b"one", "a"), (b"three", "b")])
            .await
            .unwrap();
        assert_eq!(
            (answer.failed_record_count(), answer.records().len()),
            (Some(0), 2)
        );
    }
    post_json(&endpoint, &json!({})).await;
    let counts = endpoint.received().counts();
    let expected = Counts {
        n_calls: 2,
        n_records: 4,
        data_bytes: 16,
        n_refused: 0,
    };
    assert_eq!(counts[&(Service::Kinesis, "s".into())], expected);
    assert_eq!(endpoint.received().n_records(), 4);
    assert!(endpoint.received().all_records().is_empty() && endpoint.received().calls().is_empty());

    endpoint.set_faults("fail-record every=2".parse().unwrap());
    let answer = put(&client, "s", &[(b"one", "a"), (b"three", "b")])
        .await
        .unwrap();
    assert_eq!(answer.failed_record_count(), Some(1));
    let expected = Counts {
        n_calls: 3,
        n_records: 5,
        data_bytes: 19,
        n_refused: 1,
    };
    assert_eq!(
        endpoint.received().counts()[&(Service::Kinesis, "s".into())],
        expected
    );
}

#[tokio::test]
async fn records_are_sent_on_a_call_a_message() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let endpoint = start(Options {
        keep: Keep::Send(sender),
        ..Options::default()
    })
    .await;
    let client = kinesis(&endpoint);
    put(&client, "s", &[(b"one", "a"), (b"two", "b")])
        .await
        .unwrap();
    let records = receiver.recv().await.unwrap();
    assert_eq!(
        records
            .iter()
            .map(|record| &*record.data)
            .collect::<Vec<_>>(),
        [b"one", b"two"]
    );
    assert!(endpoint.received().all_records().is_empty());
    drop(receiver);
    put(&client, "s", &[(b"three", "a")]).await.unwrap();
    assert_eq!(endpoint.received().n_records(), 3);
}

#[tokio::test]
async fn waiting_ends_as_soon_as_the_records_are_there() {
    let endpoint = start(Options::default()).await;
    let received = endpoint.received().clone();
    let waiting = tokio::spawn(async move { received.wait_for(2, PATIENCE).await });
    let client = kinesis(&endpoint);
    put(&client, "s", &[(b"x", "k")]).await.unwrap();
    put(&client, "t", &[(b"x", "k")]).await.unwrap();
    waiting.await.unwrap().unwrap();
}
