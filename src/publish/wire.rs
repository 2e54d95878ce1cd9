//! Bodies as the services read them, and their answers.
//!
//! A batch's body is built in its wire form while the records come: for Kinesis the CBOR document of PutRecords,
//!
//! ```text
//! a2 6a "StreamName" 7x NAME 67 "Records" 99 hh hh   the prefix; the count of records is patched in at the end
//! a2 64 "Data" 5a LLLLLLLL DATA 6c "PartitionKey" 6l KEY   one entry a record; 78 LL or 79 LLLL for keys of 24 bytes and more
//! ```
//!
//! so that a whole batch is sent without being copied, and a retry copies only the entries of the records that failed.
//! JSON bodies (Firehose always, Kinesis where an endpoint takes no CBOR) are made from the same data ranges.
//! Member names: PutRecords and PutRecordBatch in the API references; CBOR: RFC 8949.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::accepted;
use crate::config::Destination;
use crate::record::{Batch, RecordRef};

/// Content type of JSON bodies.
pub const JSON: &str = "application/x-amz-json-1.1";
/// Content type of CBOR bodies, as the AWS Java SDKs send them.
pub const CBOR: &str = "application/x-amz-cbor-1.1";

const ENTRY_HEAD: &[u8] = b"\xa2\x64Data\x5a\0\0\0\0";
const ENTRY_KEY: &[u8] = b"\x6cPartitionKey";
/// CBOR bytes of an entry besides its data and key, at most.
pub const ENTRY_OVERHEAD_BYTES: usize = ENTRY_HEAD.len() + ENTRY_KEY.len() + 3;
/// Longest partition key in bytes.
pub const KEY_BYTES_MAX: usize = crate::config::limits::PARTITION_KEY_BYTES_MAX;

/// How a flow's batches are laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    prefix: Vec<u8>,
    /// `"StreamName":"NAME"` or its like, for JSON.
    json_target: String,
    keyed: bool,
}

impl Layout {
    pub fn new(destination: &Destination) -> Layout {
        let name = destination.name();
        let member = match destination {
            Destination::Kinesis(_) if name.starts_with("arn:") => "StreamARN",
            Destination::Kinesis(_) => "StreamName",
            Destination::Firehose(_) => "DeliveryStreamName",
        };
        let json_target = format!(
            "{}:{}",
            serde_json::Value::from(member),
            serde_json::Value::from(name)
        );
        let keyed = matches!(destination, Destination::Kinesis(_));
        let mut prefix = Vec::new();
        if keyed {
            prefix.push(0xa2);
            put_text(&mut prefix, member);
            put_text(&mut prefix, name);
            put_text(&mut prefix, "Records");
            prefix.extend_from_slice(&[0x99, 0, 0]);
        }
        Layout {
            prefix,
            json_target,
            keyed,
        }
    }

    /// What every body starts with; the last two bytes of a Kinesis body's are the count of records.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether records carry partition keys (Kinesis) or not (Firehose).
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// What a call with a body of so many bytes holds at most: Firehose takes JSON alone, a copy made for the call.
    pub fn bytes_in_flight(&self, body_bytes: usize) -> usize {
        match self.keyed {
            true => body_bytes,
            false => body_bytes + body_bytes.div_ceil(3) * 4,
        }
    }

    /// Writes the count of records into a body that starts with this layout's prefix.
    pub fn patch_count(&self, body: &mut [u8], n_records: usize) {
        if let Some(at) = self.prefix.len().checked_sub(2) {
            let count = u16::try_from(n_records).expect("a call has at most 500 records");
            body[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// The CBOR body of the records `chosen` of `batch`: all of them without a copy.
    pub fn cbor_body(&self, batch: &Batch, chosen: &[u16]) -> Bytes {
        if chosen.len() == batch.records.len() {
            return batch.body.clone();
        }
        let entries = || {
            chosen
                .iter()
                .map(|index| &batch.records[usize::from(*index)])
        };
        let size: usize = entries()
            .map(|record| (record.entry_end - record.entry_start) as usize)
            .sum();
        let mut body = Vec::with_capacity(self.prefix.len() + size);
        body.extend_from_slice(&self.prefix);
        for record in entries() {
            body.extend_from_slice(
                &batch.body[record.entry_start as usize..record.entry_end as usize],
            );
        }
        self.patch_count(&mut body, chosen.len());
        body.into()
    }

    /// The JSON body of the records `chosen` of `batch`.
    pub fn json_body(&self, batch: &Batch, chosen: &[u16]) -> Bytes {
        let records = || {
            chosen
                .iter()
                .map(|index| &batch.records[usize::from(*index)])
        };
        let size: usize = records()
            .map(|r| r.data_len().div_ceil(3) * 4 + usize::from(r.key_len) + 48)
            .sum();
        let mut body = Vec::with_capacity(size + self.json_target.len() + 32);
        body.push(b'{');
        body.extend_from_slice(self.json_target.as_bytes());
        body.extend_from_slice(b",\"Records\":[");
        for (place, record) in records().enumerate() {
            body.extend_from_slice(if place == 0 {
                b"{\"Data\":\""
            } else {
                b",{\"Data\":\""
            });
            put_base64(&mut body, data_of(batch, record));
            body.push(b'"');
            if self.keyed {
                body.extend_from_slice(b",\"PartitionKey\":");
                put_json_text(&mut body, key_of(batch, record));
            }
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
        body.into()
    }
}

impl Layout {
    /// Bytes of an entry before its data.
    pub fn head_bytes(&self) -> usize {
        if self.keyed { ENTRY_HEAD.len() } else { 0 }
    }
}

/// Begins a record's entry at the end of `body`; its data is appended next.
pub fn begin_entry(layout: &Layout, body: &mut Vec<u8>) {
    if layout.keyed {
        body.extend_from_slice(ENTRY_HEAD);
    }
}

/// Ends the entry that begins at `entry_start`: fills in the data's length and appends the key.
// A place that goes by way of the stack is written there in five pieces and read back in two, for which a processor waits
// longer than all of this takes.
#[inline(always)]
pub fn end_entry(layout: &Layout, body: &mut Vec<u8>, entry_start: usize, key: &[u8]) -> RecordRef {
    let data_start = entry_start + layout.head_bytes();
    let data_end = body.len();
    if layout.keyed {
        debug_assert!(key.len() <= KEY_BYTES_MAX);
        let length = u32::try_from(data_end - data_start).expect("a record is at most 10 MiB");
        body[data_start - 4..data_start].copy_from_slice(&length.to_be_bytes());
        body.extend_from_slice(ENTRY_KEY);
        match u8::try_from(key.len()) {
            Ok(length @ 0..24) => body.push(0x60 | length),
            Ok(length) => body.extend_from_slice(&[0x78, length]),
            Err(_) => {
                body.push(0x79);
                body.extend_from_slice(&(key.len() as u16).to_be_bytes());
            }
        }
        body.extend_from_slice(key);
    }
    let offset = |at: usize| u32::try_from(at).expect("a body is far below 4 GiB");
    RecordRef {
        entry_start: offset(entry_start),
        data_start: offset(data_start),
        data_end: offset(data_end),
        entry_end: offset(body.len()),
        key_len: if layout.keyed { key.len() as u16 } else { 0 },
    }
}

/// The data of one record.
pub fn data_of<'b>(batch: &'b Batch, record: &RecordRef) -> &'b [u8] {
    &batch.body[record.data_start as usize..record.data_end as usize]
}

/// The partition key of one record; empty for Firehose.
pub fn key_of<'b>(batch: &'b Batch, record: &RecordRef) -> &'b [u8] {
    let end = record.entry_end as usize;
    &batch.body[end - usize::from(record.key_len)..end]
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..24 => out.push(0x60 | length as u8),
        length @ 24..256 => out.extend_from_slice(&[0x78, length as u8]),
        length => {
            out.push(0x7a);
            out.extend_from_slice(
                &u32::try_from(length)
                    .expect("a name is short")
                    .to_be_bytes(),
            );
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn put_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(data, &mut out[start..])
        .expect("room was made for all of it");
    out.truncate(start + written);
}

fn put_json_text(out: &mut Vec<u8>, text: &[u8]) {
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)).expect("writing to memory");
}

/// The service's answer to a call that it took, per record.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    AllAccepted,
    /// One entry a record of the call, in its order; `None` is accepted.
    Partly(Vec<Option<RecordError>>),
}

/// Why one record was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    pub code: String,
    pub message: String,
}

/// An answer that can't be relied on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("the answer is neither JSON nor CBOR as documented: {0}")]
    Garbled(String),
    #[error("the answer speaks of {got} records, the call had {sent}")]
    WrongCount { got: usize, sent: usize },
}

#[derive(Deserialize)]
struct Answered {
    #[serde(alias = "FailedRecordCount", alias = "FailedPutCount", default)]
    failed: Option<u64>,
    #[serde(alias = "Records", alias = "RequestResponses")]
    records: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    error_code: Option<String>,
    error_message: Option<String>,
}

/// Reads the answer to a call of `n_sent` records.
///
/// An answer without failures is recognised without being parsed: see [`accepted`].
pub fn read_answer(content_type: &str, body: &[u8], n_sent: usize) -> Result<Answer, AnswerError> {
    let is_cbor = is_cbor(content_type);
    if accepted::are_all(is_cbor, body, n_sent) {
        return Ok(Answer::AllAccepted);
    }
    let answered: Answered = if is_cbor {
        ciborium::from_reader(body).map_err(|error| AnswerError::Garbled(error.to_string()))?
    } else {
        serde_json::from_slice(body).map_err(|error| AnswerError::Garbled(error.to_string()))?
    };
    if answered.records.len() != n_sent {
        return Err(AnswerError::WrongCount {
            got: answered.records.len(),
            sent: n_sent,
        });
    }
    let outcomes: Vec<_> = answered
        .records
        .into_iter()
        .map(|entry| {
            entry.error_code.map(|code| RecordError {
                code,
                message: entry.error_message.unwrap_or_default(),
            })
        })
        .collect();
    match (outcomes.iter().flatten().count() as u64, answered.failed) {
        (0, None | Some(0)) => Ok(Answer::AllAccepted),
        (0, Some(failed)) => Err(AnswerError::Garbled(format!(
            "{failed} failures counted, none named"
        ))),
        _ => Ok(Answer::Partly(outcomes)),
    }
}

/// Whether a content type names CBOR.
pub fn is_cbor(content_type: &str) -> bool {
    content_type.contains("cbor")
}

/// A refusal of the whole call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The error's short name, such as `ResourceNotFoundException`; empty if the answer names none.
    pub code: String,
    pub message: String,
}

#[derive(Deserialize, Default)]
struct RefusalBody {
    #[serde(rename = "__type", alias = "code", default)]
    kind: Option<String>,
    #[serde(alias = "Message", default)]
    message: Option<String>,
}

/// Reads an error answer: the header `x-amzn-ErrorType` wins over the body's `__type`; a namespace before `#` and
/// what follows a `:` are left out. Any body will do.
pub fn read_refusal(content_type: &str, error_type: Option<&str>, body: &[u8]) -> Refusal {
    let parsed: RefusalBody = if is_cbor(content_type) {
        ciborium::from_reader(body).unwrap_or_default()
    } else {
        serde_json::from_slice(body).unwrap_or_default()
    };
    let kind = error_type
        .map(str::to_owned)
        .or(parsed.kind)
        .unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    Refusal {
        code: kind.split(':').next().unwrap_or_default().trim().to_owned(),
        message: parsed.message.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::batch::tests::batch_of;

    fn kinesis() -> Destination {
        Destination::Kinesis("s".to_owned())
    }

    #[test]
    fn a_batch_is_the_documented_cbor_map() {
        let batch = batch_of(&kinesis(), &[b"one\n", b"\xff\x00"]);
        let value: ciborium::Value = ciborium::from_reader(&batch.body[..]).unwrap();
        let text = format!("{value:?}");
        let expected = concat!(
            "Map([(Text(\"StreamName\"), Text(\"s\")), (Text(\"Records\"), Array([",
            "Map([(Text(\"Data\"), Bytes([111, 110, 101, 10])), (Text(\"PartitionKey\"), Text(\"0\"))]), ",
            "Map([(Text(\"Data\"), Bytes([255, 0])), (Text(\"PartitionKey\"), Text(\"1\"))])]))])"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_retry_holds_the_failed_records_alone_in_either_wire() {
        let layout = Layout::new(&kinesis());
        let batch = batch_of(&kinesis(), &[b"a", b"b", b"c"]);
        let value: ciborium::Value =
            ciborium::from_reader(&layout.cbor_body(&batch, &[0, 2])[..]).unwrap();
        let records = value.as_map().unwrap()[1].1.as_array().unwrap().len();
        assert_eq!(records, 2);
        assert_eq!(
            layout.json_body(&batch, &[0, 2]),
            r#"{"StreamName":"s","Records":[{"Data":"YQ==","PartitionKey":"0"},{"Data":"Yw==","PartitionKey":"2"}]}"#
        );
    }

    #[test]
    fn firehose_bodies_have_no_keys() {
        let destination = Destination::Firehose("d".to_owned());
        let batch = batch_of(&destination, &[b"a\n", b""]);
        assert_eq!(
            Layout::new(&destination).json_body(&batch, &[0, 1]),
            r#"{"DeliveryStreamName":"d","Records":[{"Data":"YQo="},{"Data":""}]}"#
        );
    }

    #[test]
    fn answers_are_read_per_record() {
        let accepted = r#"{"SequenceNumber":"49","ShardId":"shardId-0"}"#;
        let failed = r#"{"ErrorCode":"InternalFailure","ErrorMessage":"m"}"#;
        let error = RecordError {
            code: "InternalFailure".into(),
            message: "m".into(),
        };
        for (records, n_failed, expected) in [
            (vec![accepted, accepted], 0, Ok(Answer::AllAccepted)),
            (
                vec![accepted, failed],
                1,
                Ok(Answer::Partly(vec![None, Some(error.clone())])),
            ),
            (
                vec![failed, failed],
                2,
                Ok(Answer::Partly(vec![
                    Some(error.clone()),
                    Some(error.clone()),
                ])),
            ),
            (
                vec![accepted],
                0,
                Err(AnswerError::WrongCount { got: 1, sent: 2 }),
            ),
        ] {
            let json = format!(
                r#"{{"FailedRecordCount":{n_failed},"Records":[{}]}}"#,
                records.join(",")
            );
            assert_eq!(read_answer(JSON, json.as_bytes(), 2), expected, "{json}");
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            let mut cbor = Vec::new();
            ciborium::into_writer(&value, &mut cbor).unwrap();
            assert_eq!(read_answer(CBOR, &cbor, 2), expected, "{json} as CBOR");
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(
                read_answer(JSON, spaced.as_bytes(), 2),
                expected,
                "{spaced}"
            );
        }
    }

    #[test]
    fn an_answer_cut_anywhere_is_never_taken_for_acceptance() {
        let json = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"},{"SequenceNumber":"2","ShardId":"s"}]}"#;
        let mut cbor = Vec::new();
        ciborium::into_writer(
            &serde_json::from_str::<serde_json::Value>(json).unwrap(),
            &mut cbor,
        )
        .unwrap();
        for (content_type, whole) in [(JSON, json.as_bytes()), (CBOR, &cbor[..])] {
            assert_eq!(read_answer(content_type, whole, 2), Ok(Answer::AllAccepted));
            for end in 0..whole.len() {
                assert!(
                    read_answer(content_type, &whole[..end], 2).is_err(),
                    "{content_type} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn refusals_name_their_code_however_they_are_written() {
        for (header, body, code) in [
            (
                None,
                r#"{"__type":"ResourceNotFoundException","message":"m"}"#,
                "ResourceNotFoundException",
            ),
            (
                None,
                r#"{"__type":"com.amazonaws.kinesis#LimitExceededException"}"#,
                "LimitExceededException",
            ),
            (
                Some("ThrottlingException:http://x"),
                "{}",
                "ThrottlingException",
            ),
            (None, "<html>503</html>", ""),
        ] {
            assert_eq!(
                read_refusal(JSON, header, body.as_bytes()).code,
                code,
                "{body}"
            );
        }
    }
}
