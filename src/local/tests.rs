//! The endpoint driven from outside: by the AWS SDK, and by requests written out byte by byte.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cbor::{Malformed, Reader, Writer};
use super::*;

/// Long enough for anything to happen on a busy machine, so that a defect fails a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

fn sdk_config(endpoint: &Endpoint, keys: &Keys) -> aws_types::SdkConfig {
    let credentials = Credentials::new(
        &keys.access_key_id,
        &keys.secret_access_key,
        keys.session_token.clone(),
        keys.expires_at,
        "test",
    );
    aws_types::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint.url())
        .credentials_provider(
            aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
        )
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

fn kinesis_with(endpoint: &Endpoint, keys: &Keys) -> aws_sdk_kinesis::Client {
    aws_sdk_kinesis::Client::new(&sdk_config(endpoint, keys))
}

fn kinesis(endpoint: &Endpoint) -> aws_sdk_kinesis::Client {
    kinesis_with(endpoint, &Keys::test())
}

/// Puts records of `(data, partition key)`; the error is `CODE: message`, or says what else went wrong.
async fn put(
    client: &aws_sdk_kinesis::Client,
    stream: &str,
    records: &[(&[u8], &str)],
) -> Result<PutRecordsOutput, String> {
    let entries = records.iter().map(|(data, key)| {
        PutRecordsRequestEntry::builder()
            .data(Blob::new(*data))
            .partition_key(*key)
            .build()
            .unwrap()
    });
    let call = client
        .put_records()
        .stream_name(stream)
        .set_records(Some(entries.collect()));
    call.send().await.map_err(|error| match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
        None => DisplayErrorContext(&error).to_string(),
    })
}

async fn start(options: Options) -> Endpoint {
    Endpoint::start(options).await.unwrap()
}

fn unsigned() -> Options {
    Options {
        check_signatures: false,
        ..Options::default()
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
struct RawAnswer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Sends bytes, then reads until the endpoint closes.
async fn raw(endpoint: &Endpoint, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(endpoint.address()).await.unwrap();
    // The endpoint may close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

async fn post(endpoint: &Endpoint, target: &str, content_type: &str, body: &[u8]) -> RawAnswer {
    let mut request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-amz-target: {target}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len(),
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = raw(endpoint, &request).await;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    RawAnswer {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    }
}

async fn post_json(endpoint: &Endpoint, body: &Value) -> (u16, Value) {
    let answer = post(
        endpoint,
        "Kinesis_20131202.PutRecords",
        "application/x-amz-json-1.1",
        body.to_string().as_bytes(),
    )
    .await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

async fn post_cbor(endpoint: &Endpoint, body: &[u8]) -> RawAnswer {
    post(
        endpoint,
        "Kinesis_20131202.PutRecords",
        "application/x-amz-cbor-1.1",
        body,
    )
    .await
}

fn cbor_call(stream: &str, records: &[(&[u8], &str)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .map(2)
        .text("StreamName")
        .text(stream)
        .text("Records")
        .array(records.len());
    for (data, key) in records {
        writer
            .map(2)
            .text("Data")
            .byte_string(data)
            .text("PartitionKey")
            .text(key);
    }
    writer.into_bytes()
}

/// Any CBOR of text, integers, arrays and maps as JSON.
fn cbor_to_json(bytes: &[u8]) -> Value {
    fn value(reader: &mut Reader<'_>) -> Result<Value, Malformed> {
        Ok(match reader.peek()? {
            cbor::Kind::Integer => json!(reader.integer()? as i64),
            cbor::Kind::Text => json!(reader.text()?),
            cbor::Kind::Array => {
                let mut items = Vec::new();
                reader.array(|reader| {
                    items.push(value(reader)?);
                    Ok::<_, Malformed>(())
                })?;
                Value::Array(items)
            }
            cbor::Kind::Map => {
                let mut members = serde_json::Map::new();
                reader.map(|reader, key| {
                    members.insert(key.to_owned(), value(reader)?);
                    Ok::<_, Malformed>(())
                })?;
                Value::Object(members)
            }
            other => panic!("unexpected {other:?}"),
        })
    }
    let mut reader = Reader::new(bytes);
    let answer = value(&mut reader).unwrap();
    reader.finish().unwrap();
    answer
}

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
async fn signatures_are_checked() {
    let endpoint = start(Options::default()).await;
    let keys = Keys::test();
    let token = Some("token".to_owned());
    let cases = [
        (
            Keys::new(&*keys.access_key_id, "wrong"),
            "InvalidSignatureException: The request signature we calculated",
        ),
        (
            Keys::new("AKIDOTHER", "x"),
            "UnrecognizedClientException: The security token included in the request is invalid.",
        ),
        (
            Keys {
                session_token: token,
                ..keys.clone()
            },
            "UnrecognizedClientException: The security token",
        ),
    ];
    for (keys, expected) in cases {
        let error = put(&kinesis_with(&endpoint, &keys), "s", &[(b"x", "k")])
            .await
            .unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let (status, body) = post_json(&endpoint, &json!({})).await;
    assert_eq!(
        (status, &body["__type"]),
        (400, &json!("MissingAuthenticationTokenException"))
    );
    assert_eq!(endpoint.received().n_records(), 0);
}

#[tokio::test]
async fn signatures_for_another_service_are_refused() {
    let endpoint = start(Options::default()).await;
    let config = aws_sdk_firehose::Client::new(&sdk_config(&endpoint, &Keys::test()));
    let record = aws_sdk_firehose::types::Record::builder()
        .data(Blob::new("x"))
        .build()
        .unwrap();
    let error = config
        .put_record_batch()
        .delivery_stream_name("s")
        .records(record)
        .customize()
        .mutate_request(|request| {
            request
                .headers_mut()
                .insert("x-amz-target", "Kinesis_20131202.PutRecords");
        })
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    assert_eq!(
        error.message(),
        Some("Credential should be scoped to correct service: 'kinesis'.")
    );
}

#[tokio::test]
async fn clocks_may_differ_by_five_minutes() {
    for (ahead_s, refusal) in [
        (-290, None),
        (290, None),
        (-310, Some("Signature not yet current")),
        (310, Some("Signature expired")),
    ] {
        let clock = Clock::new(move || match ahead_s {
            0.. => SystemTime::now() + Duration::from_secs(ahead_s as u64),
            _ => SystemTime::now() - Duration::from_secs(-ahead_s as u64),
        });
        let endpoint = start(Options {
            clock,
            ..Options::default()
        })
        .await;
        let result = put(&kinesis(&endpoint), "s", &[(b"x", "k")]).await;
        match refusal {
            None => assert!(result.is_ok(), "{ahead_s}"),
            Some(expected) => {
                let error = result.unwrap_err();
                assert!(
                    error.starts_with(&format!("InvalidSignatureException: {expected}")),
                    "{error}"
                );
            }
        }
    }
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

#[tokio::test]
async fn limits_are_held_to_the_byte() {
    let endpoint = start(Options::default()).await;
    let client = kinesis(&endpoint);
    let mib = vec![b'x'; 1024 * 1024 + 1];
    let key_256 = "ü".repeat(256);
    let key_257 = "ü".repeat(257);
    let exactly: &[u8] = &mib[..1024 * 1024 - 1];
    let call_of = |last: usize| {
        let mut records: Vec<(&[u8], &str)> = vec![(exactly, "k"); 9];
        records.push((&mib[..last], "k"));
        records
    };
    let cases: Vec<(Vec<(&[u8], &str)>, Option<&str>)> = vec![
        (vec![(b"x", "k"); 500], None),
        (
            vec![(b"x", "k"); 501],
            Some(
                "ValidationException: 1 validation error detected: Value '[501 entries]' at 'records'",
            ),
        ),
        (
            vec![],
            Some("ValidationException: 1 validation error detected: Value '[]' at 'records'"),
        ),
        (vec![(exactly, "k")], None),
        (
            vec![(exactly, "kk")],
            Some("ValidationException: 1 validation error detected: Value at 'records.1.member'"),
        ),
        (
            vec![(b"x", "k"), (&mib, "k")],
            Some(
                "ValidationException: 1 validation error detected: Value at 'records.2.member.data'",
            ),
        ),
        (vec![(b"x", &key_256)], None),
        (vec![(b"x", &key_257)], Some("ValidationException: ")),
        (
            vec![(b"x", "")],
            Some(
                "ValidationException: 1 validation error detected: Value '' at 'records.1.member.partitionKey'",
            ),
        ),
        (call_of(1024 * 1024 - 1), None),
    ];
    for (records, refusal) in cases {
        let result = put(&client, "s", &records).await;
        match refusal {
            None => assert!(result.is_ok(), "{:?}", result.map(|_| ())),
            Some(expected) => {
                let error = result.unwrap_err();
                assert!(error.starts_with(expected), "{error}");
            }
        }
    }
    let mut too_large = call_of(1024 * 1024 - 1);
    too_large.push((b"", "k"));
    let error = put(&client, "s", &too_large).await.unwrap_err();
    assert_eq!(
        error,
        "InvalidArgumentException: Records size exceeds 10 MB limit"
    );
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

#[tokio::test]
async fn what_is_not_a_call_gets_an_answer_or_a_closed_connection() {
    let endpoint = start(unsigned()).await;
    let mut garbage = fastrand::Rng::with_seed(1);
    for n_bytes in [1, 10, 1000, 100_000] {
        let bytes: Vec<u8> = (0..n_bytes)
            .map(|_| garbage.u8(..))
            .chain(*b"\r\n\r\n")
            .collect();
        raw(&endpoint, &bytes).await;
    }
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    assert!(
        raw(&endpoint, many_headers.as_bytes())
            .await
            .starts_with(b"HTTP/1.1 431 ")
    );
    let unknown = post(
        &endpoint,
        "Kinesis_20131202.DeleteStream",
        "application/x-amz-json-1.1",
        b"{}",
    )
    .await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .head
            .contains("x-amzn-errortype: UnknownOperationException")
    );
    assert_eq!(
        post(&endpoint, "Kinesis_20131202.PutRecords", "text/html", b"{}")
            .await
            .status,
        404
    );
    assert_eq!(
        post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k")]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn bodies_are_bounded_whether_announced_or_not() {
    let endpoint = start(unsigned()).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
                content-type: application/x-amz-json-1.1\r\n";
    let announced = format!(
        "{head}content-length: {}\r\n\r\n",
        limits::BODY_BYTES_MAX + 1
    );
    let answer = raw(&endpoint, announced.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    // Read while writing: the endpoint answers before it has read everything.
    let stream = TcpStream::connect(endpoint.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    writing
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    for _ in 0..16 {
        writing.write_all(chunk.as_bytes()).await.unwrap();
    }
    writing.write_all(b"1\r\nx\r\n").await.unwrap();
    let mut status = [0; 13];
    reading.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413 ");
}

#[tokio::test]
async fn connections_are_kept_and_closed_at_the_end() {
    let endpoint = start(unsigned()).await;
    let mut stream = TcpStream::connect(endpoint.address()).await.unwrap();
    let call = cbor_call("s", &[(b"x", "k")]);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
         content-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\r\n",
        call.len()
    );
    for n_calls in 1..=3 {
        stream
            .write_all(&[head.as_bytes(), &call].concat())
            .await
            .unwrap();
        endpoint
            .received()
            .wait_for(n_calls, PATIENCE)
            .await
            .unwrap();
    }
    let address = endpoint.address();
    endpoint.stop().await;
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    assert_eq!(
        answers
            .windows(15)
            .filter(|window| window == b"HTTP/1.1 200 OK")
            .count(),
        3
    );
    assert!(TcpStream::connect(address).await.is_err());
}
