//! What a fault script does to calls.

use super::*;

/// A script's effect on calls of one connection each: `Ok` is the number of refused records.
async fn outcomes(script: &str, n_calls: usize) -> (Endpoint, Vec<Result<i32, String>>) {
    let endpoint = start(Options {
        faults: script.parse().unwrap(),
        ..Options::default()
    })
    .await;
    let mut outcomes = Vec::new();
    for _ in 0..n_calls {
        let answer = put(
            &kinesis(&endpoint),
            "s",
            &[(b"one", "a"), (b"two", "b"), (b"three", "c")],
        )
        .await;
        outcomes.push(answer.map(|answer| answer.failed_record_count().unwrap()));
    }
    (endpoint, outcomes)
}

#[tokio::test]
async fn errors_by_script_reach_the_sdk() {
    let script = "error=ResourceNotFoundException calls=1; error=InternalFailure calls=2; status=503 calls=3";
    let (endpoint, outcomes) = outcomes(script, 4).await;
    assert_eq!(
        outcomes[0],
        Err("ResourceNotFoundException: refused by the fault script".into())
    );
    assert_eq!(
        outcomes[1],
        Err("InternalFailure: refused by the fault script".into())
    );
    assert!(outcomes[2].is_err());
    assert_eq!(outcomes[3], Ok(0));
    assert_eq!(endpoint.received().n_records(), 3);
    let calls: Vec<_> = endpoint
        .received()
        .calls()
        .into_iter()
        .map(|call| (call.number, call.outcome))
        .collect();
    let answered = CallOutcome::Answered {
        n_refused: 0,
        after: None,
    };
    let faulted = || CallOutcome::Faulted;
    assert_eq!(
        calls,
        [
            (1, faulted()),
            (2, faulted()),
            (3, faulted()),
            (4, answered)
        ]
    );
}

#[tokio::test]
async fn statuses_by_script_have_no_aws_form() {
    let endpoint = start(Options {
        faults: "status=502".parse().unwrap(),
        ..unsigned()
    })
    .await;
    let answer = post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k")])).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (502, &b"struck by the fault script\n"[..])
    );
    assert!(
        answer.head.contains("content-type: text/plain")
            && !answer.head.contains("x-amzn-errortype")
    );
}

#[tokio::test]
async fn records_by_script_are_refused_one_by_one() {
    let endpoint = start(Options {
        faults: "fail-record every=2; throttle every=3".parse().unwrap(),
        ..unsigned()
    })
    .await;
    let entry = json!({ "Data": "eA==", "PartitionKey": "k" });
    let (_, answer) = post_json(
        &endpoint,
        &json!({ "StreamName": "s", "Records": [entry, entry, entry] }),
    )
    .await;
    assert_eq!(answer["FailedRecordCount"], json!(2));
    assert_eq!(
        answer["Records"][0]["ShardId"],
        json!("shardId-000000000000")
    );
    assert_eq!(
        answer["Records"][1],
        json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure." })
    );
    assert_eq!(
        answer["Records"][2]["ErrorCode"],
        json!("ProvisionedThroughputExceededException")
    );
    assert_eq!(
        endpoint
            .received()
            .records("s")
            .iter()
            .map(|record| record.index)
            .collect::<Vec<_>>(),
        [0]
    );
}

#[tokio::test]
async fn resets_drop_the_connection_before_or_after_acceptance() {
    for (script, n_accepted) in [("reset-before calls=1", 0), ("reset-after calls=1", 3)] {
        let (endpoint, outcomes) = outcomes(script, 1).await;
        assert!(outcomes[0].is_err(), "{script}");
        assert_eq!(endpoint.received().n_records(), n_accepted, "{script}");

        let endpoint_unsigned = start(Options {
            faults: script.parse().unwrap(),
            ..unsigned()
        })
        .await;
        let call = cbor_call("s", &[(b"x", "k")]);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
             content-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\r\n",
            call.len()
        );
        assert_eq!(
            raw(&endpoint_unsigned, &[head.as_bytes(), &call].concat()).await,
            b"",
            "{script}"
        );
    }
}

#[tokio::test]
async fn garbled_answers_are_unreadable_but_their_records_are_accepted() {
    for script in ["garble=cut", "garble=corrupt"] {
        let (endpoint, outcomes) = outcomes(script, 1).await;
        assert!(outcomes[0].is_err(), "{script}: {outcomes:?}");
        assert_eq!(endpoint.received().n_records(), 3, "{script}");

        let endpoint = start(Options {
            faults: script.parse().unwrap(),
            ..unsigned()
        })
        .await;
        let answer = post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k")])).await;
        let length: usize = answer
            .head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let n_sent = if script == "garble=cut" {
            length / 2
        } else {
            length
        };
        assert_eq!(answer.body.len(), n_sent, "{script}");
        assert!(Reader::new(&answer.body).skip().is_err(), "{script}");
    }
}

#[tokio::test]
async fn wrong_counts_contradict_themselves() {
    for (script, n_entries) in [
        ("wrong-count", 1),
        ("wrong-count=long", 3),
        ("wrong-count=failed", 2),
    ] {
        let endpoint = start(Options {
            faults: script.parse().unwrap(),
            ..unsigned()
        })
        .await;
        let answer = cbor_to_json(
            &post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k"), (b"y", "k")]))
                .await
                .body,
        );
        assert_eq!(answer["FailedRecordCount"], json!(1), "{script}");
        assert_eq!(
            answer["Records"].as_array().unwrap().len(),
            n_entries,
            "{script}"
        );
        assert_eq!(endpoint.received().n_records(), 2, "{script}");
    }
}

#[tokio::test]
async fn cbor_is_refused_by_script_and_json_is_not() {
    let endpoint = start(Options {
        faults: "cbor=400".parse().unwrap(),
        ..unsigned()
    })
    .await;
    let answer = post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k")])).await;
    assert_eq!(answer.status, 400);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["__type"], json!("SerializationException"));
    let entry = json!({ "Data": "eA==", "PartitionKey": "k" });
    let (status, _) = post_json(&endpoint, &json!({ "StreamName": "s", "Records": [entry] })).await;
    assert_eq!((status, endpoint.received().n_records()), (200, 1));
}

#[tokio::test]
async fn a_stalled_call_is_dropped_when_the_endpoint_stops_and_others_go_on() {
    let endpoint = start(Options {
        faults: "stall stream=stuck".parse().unwrap(),
        ..Options::default()
    })
    .await;
    let client = kinesis(&endpoint);
    let stuck = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "stuck", &[(b"x", "k")]).await }
    });
    put(&client, "free", &[(b"x", "k")]).await.unwrap();
    // Its fate is noted before it stalls.
    let is_stuck = || {
        endpoint
            .received()
            .calls()
            .iter()
            .any(|call| call.stream.as_deref() == Some("stuck"))
    };
    let noted = async {
        while !is_stuck() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.unwrap();
    endpoint.stop().await;
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_is_accepted_when_its_time_has_passed() {
    let endpoint = start(Options {
        faults: "delay=1800s".parse().unwrap(),
        ..unsigned()
    })
    .await;
    let (client, server) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(endpoint.serve_connection(server));
    let (mut reading, mut writing) = tokio::io::split(client);
    let call = cbor_call("s", &[(b"x", "k")]);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
         content-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\r\n",
        call.len()
    );
    let started = tokio::time::Instant::now();
    writing
        .write_all(&[head.as_bytes(), &call].concat())
        .await
        .unwrap();
    assert_eq!(
        endpoint
            .received()
            .wait_for(1, Duration::from_secs(1799))
            .await,
        Err(TooFew {
            n_records: 0,
            n_wanted: 1,
            waited: Duration::from_secs(1799)
        }),
    );
    endpoint
        .received()
        .wait_for(1, Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(started.elapsed().as_secs(), 1800);
    let mut answer = Vec::new();
    reading.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    serving.await.unwrap();
}

#[tokio::test]
async fn faults_can_be_changed_while_it_runs() {
    let endpoint = start(Options::default()).await;
    let client = kinesis(&endpoint);
    assert!(put(&client, "s", &[(b"x", "k")]).await.is_ok());
    endpoint.set_faults("error=AccessDeniedException".parse().unwrap());
    let error = put(&client, "s", &[(b"x", "k")]).await.unwrap_err();
    assert!(error.starts_with("AccessDeniedException"), "{error}");
    endpoint.set_faults(Faults::default());
    assert!(put(&client, "s", &[(b"x", "k")]).await.is_ok());
}
