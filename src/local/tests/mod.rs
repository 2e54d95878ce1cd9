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

mod cloudwatch;
mod ec2;
mod faults;
mod firehose;
mod kinesis;
mod received;
mod server;
mod sts;

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
        .http_client(crate::aws::http::usual_client())
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
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
