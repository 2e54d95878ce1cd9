//! PutRecords of Kinesis Data Streams, in JSON and CBOR.

use std::borrow::Cow;

use serde_json::json;

use super::answer::ServiceError;
use super::cbor::Writer;
use super::entries::{Base64, NameKey, RawCall, RawRecord, from_cbor, from_json};
use super::limits::{
    CALL_RECORDS_MAX, KINESIS_CALL_BYTES_MAX, KINESIS_STREAM_NAME_CHARS_MAX,
    PARTITION_KEY_CHARS_MAX,
};
use super::put::{Data, Entry, Verdict, Verdicts, sequence_number, shard_id};
use super::received::Wire;

/// Reads and checks a call: the stream's name and its entries.
///
/// `record_bytes_max` bounds one record's data and partition key together.
pub(super) fn read<'a>(
    body: &'a [u8],
    wire: Wire,
    base64: Base64,
    record_bytes_max: usize,
) -> Result<(Cow<'a, str>, Vec<Entry<'a>>), ServiceError> {
    let call = match wire {
        Wire::Json => from_json(body, NameKey::StreamName)?,
        Wire::Cbor => from_cbor(body)?,
    };
    let RawCall {
        stream_name,
        stream_arn,
        records,
    } = call;
    let stream = stream(stream_name, stream_arn)?;
    let records = records.ok_or_else(|| violation("null", "records", "Member must not be null"))?;
    if records.n_records == 0 {
        return Err(violation(
            "'[]'",
            "records",
            "Member must have length greater than or equal to 1",
        ));
    }
    if records.n_records > CALL_RECORDS_MAX {
        let value = format!("'[{} entries]'", records.n_records);
        let rule = format!("Member must have length less than or equal to {CALL_RECORDS_MAX}");
        return Err(violation(&value, "records", &rule));
    }
    let mut entries = Vec::with_capacity(records.first.len());
    for (index, record) in records.first.into_iter().enumerate() {
        entries.push(entry(record, index + 1, base64, record_bytes_max)?);
    }
    let n_bytes: usize = entries.iter().map(Entry::n_bytes).sum();
    if n_bytes > KINESIS_CALL_BYTES_MAX {
        return Err(ServiceError::caller(
            "InvalidArgumentException",
            "Records size exceeds 10 MB limit",
        ));
    }
    Ok((stream, entries))
}

/// Writes the answer.
pub(super) fn render(verdicts: &Verdicts, wire: Wire) -> Vec<u8> {
    match wire {
        Wire::Json => render_json(verdicts),
        Wire::Cbor => render_cbor(verdicts),
    }
}

fn stream<'a>(
    name: Option<Cow<'a, str>>,
    arn: Option<Cow<'a, str>>,
) -> Result<Cow<'a, str>, ServiceError> {
    if let Some(name) = &name {
        check_name(name)?;
    }
    let arn_name = arn.map(|arn| name_in_arn(&arn)).transpose()?;
    match (name, arn_name) {
        (Some(name), Some(arn_name)) if *name != *arn_name => Err(ServiceError::caller(
            "InvalidArgumentException",
            format!("StreamARN names the stream {arn_name}, StreamName the stream {name}."),
        )),
        (Some(name), _) => Ok(name),
        (None, Some(arn_name)) => Ok(Cow::Owned(arn_name)),
        (None, None) => Err(ServiceError::caller(
            "InvalidArgumentException",
            "Either StreamName or StreamARN must be given.",
        )),
    }
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let value = format!("'{name}'");
    if name.is_empty() {
        return Err(violation(
            &value,
            "streamName",
            "Member must have length greater than or equal to 1",
        ));
    }
    if name.chars().count() > KINESIS_STREAM_NAME_CHARS_MAX {
        let rule = format!(
            "Member must have length less than or equal to {KINESIS_STREAM_NAME_CHARS_MAX}"
        );
        return Err(violation(&value, "streamName", &rule));
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        let rule = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(violation(&value, "streamName", rule));
    }
    Ok(())
}

/// `arn:aws…:kinesis:REGION:ACCOUNT:stream/NAME`
fn name_in_arn(arn: &str) -> Result<String, ServiceError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let name = match parts[..] {
        ["arn", partition, "kinesis", _, account, resource]
            if partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            resource.strip_prefix("stream/")
        }
        _ => None,
    };
    let name = name.ok_or_else(|| {
        let rule = "Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+";
        violation(&format!("'{arn}'"), "streamARN", rule)
    })?;
    check_name(name)?;
    Ok(name.to_owned())
}

fn entry(
    record: RawRecord<'_>,
    number: usize,
    base64: Base64,
    record_bytes_max: usize,
) -> Result<Entry<'_>, ServiceError> {
    let member = |name: &str| format!("records.{number}.member.{name}");
    let Some(data) = record.data else {
        return Err(violation(
            "null",
            &member("data"),
            "Member must not be null",
        ));
    };
    let Some(partition_key) = record.partition_key else {
        return Err(violation(
            "null",
            &member("partitionKey"),
            "Member must not be null",
        ));
    };
    let data: Data<'_> = data.decode(base64)?;
    if data.len() > record_bytes_max {
        let rule = format!("Member must have length less than or equal to {record_bytes_max}");
        return Err(ServiceError::validation(format!(
            "1 validation error detected: Value at '{}' failed to satisfy constraint: {rule}",
            member("data"),
        )));
    }
    if partition_key.is_empty() {
        let rule = "Member must have length greater than or equal to 1";
        return Err(violation("''", &member("partitionKey"), rule));
    }
    // A key in bytes is never shorter than in characters.
    if partition_key.len() > PARTITION_KEY_CHARS_MAX
        && partition_key.chars().count() > PARTITION_KEY_CHARS_MAX
    {
        let rule =
            format!("Member must have length less than or equal to {PARTITION_KEY_CHARS_MAX}");
        return Err(violation(
            &format!("'{partition_key}'"),
            &member("partitionKey"),
            &rule,
        ));
    }
    if data.len() + partition_key.len() > record_bytes_max {
        return Err(ServiceError::validation(format!(
            "1 validation error detected: Value at 'records.{number}.member' failed to satisfy constraint: data and \
             partition key together must have length less than or equal to {record_bytes_max}"
        )));
    }
    let explicit_hash_key = match record.explicit_hash_key.as_deref() {
        None => None,
        Some(text) => Some(hash_key(text, &member("explicitHashKey"))?),
    };
    Ok(Entry {
        data,
        partition_key,
        explicit_hash_key,
    })
}

/// `0|([1-9]\d{0,38})`, at most 2^128 − 1.
fn hash_key(text: &str, member: &str) -> Result<u128, ServiceError> {
    let is_plain =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_plain || text.is_empty() || text.len() > 39 {
        let rule = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
        return Err(violation(&format!("'{text}'"), member, rule));
    }
    text.parse().map_err(|_| {
        let message = format!("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}");
        ServiceError::caller("InvalidArgumentException", message)
    })
}

fn violation(value: &str, member: &str, rule: &str) -> ServiceError {
    ServiceError::validation(format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {rule}"
    ))
}

fn render_json(verdicts: &Verdicts) -> Vec<u8> {
    let records: Vec<_> = verdicts
        .entries
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted { shard, sequence } => {
                json!({ "SequenceNumber": sequence_number(*sequence), "ShardId": shard_id(*shard) })
            }
            Verdict::Refused { code, message } => {
                json!({ "ErrorCode": code, "ErrorMessage": message })
            }
        })
        .collect();
    json!({ "FailedRecordCount": verdicts.n_refused, "Records": records, "EncryptionType": "NONE" })
        .to_string()
        .into_bytes()
}

fn render_cbor(verdicts: &Verdicts) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64 + 128 * verdicts.entries.len());
    writer
        .map(3)
        .text("FailedRecordCount")
        .unsigned(verdicts.n_refused as u64);
    writer.text("Records").array(verdicts.entries.len());
    for verdict in &verdicts.entries {
        writer.map(2);
        match verdict {
            Verdict::Accepted { shard, sequence } => {
                writer
                    .text("SequenceNumber")
                    .text(&sequence_number(*sequence));
                writer.text("ShardId").text(&shard_id(*shard));
            }
            Verdict::Refused { code, message } => {
                writer
                    .text("ErrorCode")
                    .text(code)
                    .text("ErrorMessage")
                    .text(message);
            }
        }
    }
    writer.text("EncryptionType").text("NONE");
    writer.into_bytes()
}
