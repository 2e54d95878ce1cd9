//! PutRecordBatch of Amazon Data Firehose, in JSON.

use std::borrow::Cow;

use serde_json::json;

use super::answer::ServiceError;
use super::entries::{Base64, NameKey, from_json};
use super::limits::{
    CALL_RECORDS_MAX, FIREHOSE_CALL_BYTES_MAX, FIREHOSE_RECORD_BYTES_MAX,
    FIREHOSE_STREAM_NAME_CHARS_MAX,
};
use super::put::{Entry, Verdict, Verdicts, sequence_number};
use super::received::Wire;

/// Reads and checks a call: the delivery stream's name and its entries.
pub(super) fn read(
    body: &[u8],
    base64: Base64,
) -> Result<(Cow<'_, str>, Vec<Entry<'_>>), ServiceError> {
    let call = from_json(body, NameKey::DeliveryStreamName)?;
    let stream = call
        .stream_name
        .ok_or_else(|| violation("deliveryStreamName", "Member must not be null"))?;
    check_name(&stream)?;
    let records = call
        .records
        .ok_or_else(|| violation("records", "Member must not be null"))?;
    if records.n_records == 0 {
        return Err(violation(
            "records",
            "Member must have length greater than or equal to 1",
        ));
    }
    if records.n_records > CALL_RECORDS_MAX {
        let rule = format!("Member must have length less than or equal to {CALL_RECORDS_MAX}");
        return Err(violation("records", &rule));
    }
    let mut entries = Vec::with_capacity(records.first.len());
    for (index, record) in records.first.into_iter().enumerate() {
        let member = format!("records.{}.member.data", index + 1);
        let data = record
            .data
            .ok_or_else(|| violation(&member, "Member must not be null"))?
            .decode(base64)?;
        if data.len() > FIREHOSE_RECORD_BYTES_MAX {
            let rule = format!(
                "Member must have length less than or equal to {FIREHOSE_RECORD_BYTES_MAX}"
            );
            return Err(violation(&member, &rule));
        }
        entries.push(Entry {
            data,
            partition_key: Cow::Borrowed(""),
            explicit_hash_key: None,
        });
    }
    let n_bytes: usize = entries.iter().map(Entry::n_bytes).sum();
    if n_bytes > FIREHOSE_CALL_BYTES_MAX {
        return Err(ServiceError::caller(
            "InvalidArgumentException",
            "Records size exceeds 4 MB limit",
        ));
    }
    Ok((stream, entries))
}

/// Writes the answer, in JSON whatever the wire.
pub(super) fn render(verdicts: &Verdicts, _wire: Wire) -> Vec<u8> {
    let answers: Vec<_> = verdicts
        .entries
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted { sequence, .. } => json!({ "RecordId": sequence_number(*sequence) }),
            Verdict::Refused { code, message } => {
                json!({ "ErrorCode": code, "ErrorMessage": message })
            }
        })
        .collect();
    json!({ "FailedPutCount": verdicts.n_refused, "Encrypted": false, "RequestResponses": answers })
        .to_string()
        .into_bytes()
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let n_chars = name.chars().count();
    if n_chars == 0 {
        return Err(violation(
            "deliveryStreamName",
            "Member must have length greater than or equal to 1",
        ));
    }
    if n_chars > FIREHOSE_STREAM_NAME_CHARS_MAX {
        let rule = format!(
            "Member must have length less than or equal to {FIREHOSE_STREAM_NAME_CHARS_MAX}"
        );
        return Err(violation("deliveryStreamName", &rule));
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        let rule = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(violation("deliveryStreamName", rule));
    }
    Ok(())
}

fn violation(member: &str, rule: &str) -> ServiceError {
    ServiceError::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: {rule}"
    ))
}
