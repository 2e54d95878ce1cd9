//! PutRecords.

use super::*;

#[tokio::test]
async fn the_sdk_s_records_are_accepted_and_kept() {
    let endpoint = start(Options::default()).await;
    let client = kinesis(&endpoint);
    let answer = put(&client, "orders", &[(b"one\n", "a"), (b"\xff\x00", "ключ")])
        .await
        .unwrap();
    assert_eq!(answer.failed_record_count(), Some(0));
    assert_eq!(answer.encryption_type().unwrap().as_str(), "NONE");
    put(&client, "other", &[(b"", "b")]).await.unwrap();

    let records = endpoint.received().records("orders");
    assert_eq!(records.len(), 2);
    for (index, (record, result)) in records.iter().zip(answer.records()).enumerate() {
        assert_eq!(
            result.sequence_number(),
            Some(&*sequence_number(record.sequence))
        );
        assert_eq!(result.shard_id(), Some("shardId-000000000000"));
        assert_eq!(
            (record.call, record.index, record.shard),
            (1, index, Some(0))
        );
    }
    assert_eq!(
        (&*records[1].data, records[1].partition_key.as_deref()),
        (&b"\xff\x00"[..], Some("ключ"))
    );
    let orders = Counts {
        n_calls: 1,
        n_records: 2,
        data_bytes: 6,
        n_refused: 0,
    };
    let other = Counts {
        n_calls: 1,
        n_records: 1,
        data_bytes: 0,
        n_refused: 0,
    };
    let counts: Vec<_> = endpoint.received().counts().into_iter().collect();
    assert_eq!(
        counts,
        [
            ((Service::Kinesis, "orders".into()), orders),
            ((Service::Kinesis, "other".into()), other)
        ]
    );

    let mut exported = Vec::new();
    endpoint
        .received()
        .write_jsonl("orders", &mut exported)
        .unwrap();
    assert_eq!(
        String::from_utf8(exported).unwrap(),
        "{\"text\":\"one\\n\",\"partition_key\":\"a\"}\n{\"base64\":\"/wA=\",\"partition_key\":\"ключ\"}\n",
    );
    endpoint.stop().await;
}

#[tokio::test]
async fn streams_are_found_by_name_or_arn() {
    let only = Streams::Only(BTreeSet::from(["known".into()]));
    let endpoint = start(Options {
        streams: only,
        ..unsigned()
    })
    .await;
    let arn = |name: &str| format!("arn:aws:kinesis:eu-central-1:000000000000:stream/{name}");
    let cases = [
        (json!({ "StreamName": "known" }), None),
        (json!({ "StreamARN": arn("known") }), None),
        (
            json!({ "StreamARN": arn("known"), "StreamName": "known" }),
            None,
        ),
        (
            json!({ "StreamName": "unknown" }),
            Some("ResourceNotFoundException: Stream unknown under account 000000000000 not found."),
        ),
        (
            json!({ "StreamARN": arn("unknown") }),
            Some("ResourceNotFoundException: Stream unknown"),
        ),
        (
            json!({ "StreamARN": arn("unknown"), "StreamName": "known" }),
            Some("InvalidArgumentException: "),
        ),
        (json!({}), Some("InvalidArgumentException: ")),
        (
            json!({ "StreamName": "" }),
            Some("ValidationException: 1 validation error detected: Value '' at 'streamName'"),
        ),
        (
            json!({ "StreamName": "a b" }),
            Some("ValidationException: "),
        ),
        (
            json!({ "StreamName": "a".repeat(129) }),
            Some("ValidationException: "),
        ),
        (
            json!({ "StreamARN": "arn:aws:s3:::known" }),
            Some("ValidationException: "),
        ),
    ];
    for (mut call, refusal) in cases {
        call["Records"] = json!([{ "Data": "eA==", "PartitionKey": "k" }]);
        let (status, answer) = post_json(&endpoint, &call).await;
        match refusal {
            None => assert_eq!(
                (status, &answer["FailedRecordCount"]),
                (200, &json!(0)),
                "{call}"
            ),
            Some(expected) => {
                let text = format!(
                    "{}: {}",
                    answer["__type"].as_str().unwrap(),
                    answer["message"].as_str().unwrap()
                );
                assert!(
                    status == 400 && text.starts_with(expected),
                    "{call}: {text}"
                );
            }
        }
    }
}

/// The records of a call, and how the refusal begins if there is one.
type LimitCase<'a> = (Vec<(&'a [u8], &'a str)>, Option<&'a str>);

#[tokio::test]
async fn limits_are_held_to_the_byte() {
    let endpoint = start(unsigned()).await;
    let mib = vec![b'x'; 1024 * 1024 + 1];
    let key_256 = "ü".repeat(256);
    let key_257 = "ü".repeat(257);
    let exactly: &[u8] = &mib[..1024 * 1024 - 1];
    let mut too_large = vec![(exactly, "k"); 10];
    too_large.push((b"", "k"));
    let one_error = "ValidationException: 1 validation error detected: Value";
    let cases: Vec<LimitCase<'_>> = vec![
        (vec![(b"x", "k"); 500], None),
        (
            vec![(b"x", "k"); 501],
            Some("'[501 entries]' at 'records' failed"),
        ),
        (vec![], Some("'[]' at 'records' failed")),
        (vec![(exactly, "k")], None),
        (vec![(exactly, "kk")], Some("at 'records.1.member' failed")),
        (
            vec![(b"x", "k"), (&mib, "k")],
            Some("at 'records.2.member.data' failed"),
        ),
        (vec![(b"x", &key_256)], None),
        (vec![(b"x", &key_257)], Some("'üü")),
        (
            vec![(b"x", "")],
            Some("'' at 'records.1.member.partitionKey' failed"),
        ),
        (vec![(exactly, "k"); 10], None),
    ];
    for (records, refusal) in cases {
        let answer = post_cbor(&endpoint, &cbor_call("s", &records)).await;
        let body = cbor_to_json(&answer.body);
        match refusal {
            None => assert_eq!(answer.status, 200, "{body}"),
            Some(expected) => {
                let text = format!(
                    "{}: {}",
                    body["__type"].as_str().unwrap(),
                    body["message"].as_str().unwrap()
                );
                assert!(
                    text.starts_with(&format!("{one_error} {expected}")),
                    "{text}"
                );
            }
        }
    }
    let answer = cbor_to_json(&post_cbor(&endpoint, &cbor_call("s", &too_large)).await.body);
    let expected = json!({ "__type": "InvalidArgumentException", "message": "Records size exceeds 10 MB limit" });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn longer_records_are_taken_where_the_stream_allows_them() {
    let endpoint = start(Options {
        record_bytes_max: usize::MAX,
        ..unsigned()
    })
    .await;
    let call = |n_bytes: usize| cbor_call("s", &[(&vec![b'x'; n_bytes], "k")]);
    assert_eq!(
        post_cbor(&endpoint, &call(10 * 1024 * 1024 - 1))
            .await
            .status,
        200
    );
    assert_eq!(
        post_cbor(&endpoint, &call(10 * 1024 * 1024)).await.status,
        400
    );
}

#[tokio::test]
async fn cbor_is_answered_in_cbor() {
    let endpoint = start(unsigned()).await;
    let answer = post_cbor(
        &endpoint,
        &cbor_call("s", &[(b"\x00\xff", "k"), (b"two", "k")]),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: application/x-amz-cbor-1.1"),
        "{}",
        answer.head
    );
    let record = |sequence| json!({ "SequenceNumber": sequence_number(sequence), "ShardId": "shardId-000000000000" });
    assert_eq!(
        cbor_to_json(&answer.body),
        json!({ "FailedRecordCount": 0, "Records": [record(0), record(1)], "EncryptionType": "NONE" }),
    );
    let records = endpoint.received().records("s");
    assert_eq!(
        records
            .iter()
            .map(|record| &*record.data)
            .collect::<Vec<_>>(),
        [&b"\x00\xff"[..], b"two"]
    );
    assert_eq!(endpoint.received().calls()[0].wire, Wire::Cbor);
}

#[tokio::test]
async fn cbor_errors_are_in_cbor_with_their_type_in_the_header_too() {
    let endpoint = start(unsigned()).await;
    for (body, code) in [
        (cbor_call("s", &[]), "ValidationException"),
        (b"\xa1".to_vec(), "SerializationException"),
    ] {
        let answer = post_cbor(&endpoint, &body).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.head.contains(&format!("x-amzn-errortype: {code}")),
            "{}",
            answer.head
        );
        assert_eq!(cbor_to_json(&answer.body)["__type"], json!(code));
    }
}

#[tokio::test]
async fn members_are_checked_before_anything_is_accepted() {
    let endpoint = start(unsigned()).await;
    let max = u128::MAX.to_string();
    let cases = [
        (
            json!({ "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": max }),
            None,
        ),
        (
            json!({ "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": "340282366920938463463374607431768211456" }),
            Some("InvalidArgumentException"),
        ),
        (
            json!({ "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": "01" }),
            Some("ValidationException"),
        ),
        (
            json!({ "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": "" }),
            Some("ValidationException"),
        ),
        (
            json!({ "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": "+1" }),
            Some("ValidationException"),
        ),
        (json!({ "PartitionKey": "k" }), Some("ValidationException")),
        (json!({ "Data": "eA==" }), Some("ValidationException")),
        (
            json!({ "Data": "eA", "PartitionKey": "k" }),
            Some("SerializationException"),
        ),
        (
            json!({ "Data": 1, "PartitionKey": "k" }),
            Some("SerializationException"),
        ),
    ];
    for (record, refusal) in cases {
        let good = json!({ "Data": "eA==", "PartitionKey": "k" });
        let n_before = endpoint.received().n_records();
        let (_, answer) = post_json(
            &endpoint,
            &json!({ "StreamName": "s", "Records": [good, record] }),
        )
        .await;
        assert_eq!(answer["__type"].as_str(), refusal, "{record}");
        assert_eq!(
            endpoint.received().n_records() - n_before,
            if refusal.is_some() { 0 } else { 2 }
        );
    }
}

#[tokio::test]
async fn shards_refuse_what_is_beyond_their_second() {
    let clock = Clock::new(|| SystemTime::UNIX_EPOCH);
    let options = Options {
        shards: 2,
        enforce_shard_limits: true,
        clock,
        ..unsigned()
    };
    let endpoint = start(options).await;
    // md5("a") lies in the lower half of the hash keys, md5("b") in the upper.
    let data = vec![b'x'; 700 * 1024];
    let answer = post_cbor(
        &endpoint,
        &cbor_call(
            "s",
            &[(&data, "a"), (&data, "a"), (&data, "b"), (b"x", "a")],
        ),
    )
    .await;
    let answer = cbor_to_json(&answer.body);
    assert_eq!(answer["FailedRecordCount"], json!(1));
    assert_eq!(
        answer["Records"][1],
        json!({
            "ErrorCode": "ProvisionedThroughputExceededException",
            "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.",
        })
    );
    let shards: Vec<_> = endpoint
        .received()
        .records("s")
        .iter()
        .map(|record| (record.index, record.shard))
        .collect();
    assert_eq!(shards, [(0, Some(0)), (2, Some(1)), (3, Some(0))]);
    let counts = endpoint.received().counts()[&(Service::Kinesis, "s".into())];
    assert_eq!(
        counts,
        Counts {
            n_calls: 1,
            n_records: 3,
            data_bytes: 2 * 700 * 1024 + 1,
            n_refused: 1
        }
    );
}
