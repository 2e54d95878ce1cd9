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
