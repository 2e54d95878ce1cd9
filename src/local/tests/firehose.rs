//! PutRecordBatch.

use super::*;

#[tokio::test]
async fn firehose_takes_batches() {
    let endpoint = start(Options {
        faults: "throttle every=3".parse().unwrap(),
        ..Options::default()
    })
    .await;
    let client = aws_sdk_firehose::Client::new(&sdk_config(&endpoint, &Keys::test()));
    let put = async |records: &[&[u8]]| {
        let records = records.iter().map(|data| {
            aws_sdk_firehose::types::Record::builder()
                .data(Blob::new(*data))
                .build()
                .unwrap()
        });
        client
            .put_record_batch()
            .delivery_stream_name("logs")
            .set_records(Some(records.collect()))
            .send()
            .await
    };
    let answer = put(&[b"one", b"\xff", b"three"]).await.unwrap();
    assert_eq!(
        (answer.failed_put_count(), answer.encrypted()),
        (1, Some(false))
    );
    assert!(answer.request_responses()[0].record_id().is_some());
    assert_eq!(
        answer.request_responses()[2].error_code(),
        Some("ServiceUnavailableException")
    );
    let records = endpoint.received().records("logs");
    assert_eq!(records[1].to_json(), r#"{"base64":"/w=="}"#);
    assert_eq!(
        (records[1].service, records[1].shard),
        (Service::Firehose, None)
    );

    endpoint.set_faults(Faults::default());
    let kib = vec![b'x'; 1000 * 1024 + 1];
    let exactly = &kib[..1000 * 1024];
    let refusals: [(&[&[u8]], Option<&str>); 6] = [
        (&[exactly], None),
        (&[&kib], Some("ValidationException")),
        (
            &[exactly, exactly, exactly, exactly, &kib[..96 * 1024]],
            None,
        ),
        (
            &[exactly, exactly, exactly, exactly, &kib[..96 * 1024 + 1]],
            Some("InvalidArgumentException"),
        ),
        (&[&b"x"[..]; 500], None),
        (&[&b"x"[..]; 501], Some("ValidationException")),
    ];
    for (records, refusal) in refusals {
        assert_eq!(
            put(records)
                .await
                .as_ref()
                .err()
                .and_then(ProvideErrorMetadata::code),
            refusal
        );
    }
}
