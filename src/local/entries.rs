//! How the two services' calls are read: the JSON and CBOR forms of a list of records, held to a bound.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::answer::ServiceError;
use super::cbor::{Malformed, Reader};
use super::limits::CALL_RECORDS_MAX;
use super::put::Data;

/// A call's body as it is written; nothing is checked yet but its form. `None` is a member that is missing or null.
#[derive(Debug, Default)]
pub(super) struct RawCall<'a> {
    pub(super) stream_name: Option<Cow<'a, str>>,
    pub(super) stream_arn: Option<Cow<'a, str>>,
    pub(super) records: Option<RawRecords<'a>>,
}

/// The first records of a call, one more than are legal, and how many there are.
#[derive(Debug, Default)]
pub(super) struct RawRecords<'a> {
    pub(super) first: Vec<RawRecord<'a>>,
    pub(super) n_records: usize,
}

/// One record as it is written.
#[derive(Debug, Default)]
pub(super) struct RawRecord<'a> {
    pub(super) data: Option<RawData<'a>>,
    pub(super) partition_key: Option<Cow<'a, str>>,
    pub(super) explicit_hash_key: Option<Cow<'a, str>>,
}

/// A record's data as it is written.
#[derive(Debug)]
pub(super) enum RawData<'a> {
    Base64(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

/// Whether base64 is decoded or only measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base64 {
    Decode,
    Measure,
}

impl<'a> RawRecords<'a> {
    fn push(&mut self, record: RawRecord<'a>) {
        self.n_records += 1;
        if self.has_room() {
            self.first.push(record);
        }
    }

    fn has_room(&self) -> bool {
        self.first.len() <= CALL_RECORDS_MAX
    }
}

impl<'a> RawData<'a> {
    /// The data itself; an error if base64 is decoded and isn't valid.
    pub(super) fn decode(self, base64: Base64) -> Result<Data<'a>, ServiceError> {
        match (self, base64) {
            (RawData::Bytes(bytes), _) => Ok(Data::Whole(bytes)),
            (RawData::Base64(text), Base64::Decode) => match BASE64.decode(text.as_bytes()) {
                Ok(bytes) => Ok(Data::Whole(Cow::Owned(bytes))),
                Err(error) => Err(ServiceError::serialization(format!(
                    "Data is not valid base64: {error}"
                ))),
            },
            (RawData::Base64(text), Base64::Measure) => {
                let n_padding = text
                    .bytes()
                    .rev()
                    .take(2)
                    .take_while(|byte| *byte == b'=')
                    .count();
                Ok(Data::Counted(
                    (text.len() / 4 * 3).saturating_sub(n_padding),
                ))
            }
        }
    }
}

/// Reads a call in JSON: an object with the stream's name under `name_key` and, if the service has them, ARNs.
pub(super) fn from_json<'a>(
    body: &'a [u8],
    name_key: NameKey,
) -> Result<RawCall<'a>, ServiceError> {
    let call: JsonCall<'a> = serde_json::from_slice(body)
        .map_err(|error| ServiceError::serialization(error.to_string()))?;
    let stream_name = match name_key {
        NameKey::StreamName => call.stream_name,
        NameKey::DeliveryStreamName => call.delivery_stream_name,
    };
    Ok(RawCall {
        stream_name: stream_name.map(|text| text.0),
        stream_arn: call.stream_arn.map(|text| text.0),
        records: call.records.map(|records| records.0),
    })
}

/// Reads a Kinesis call in CBOR.
pub(super) fn from_cbor(body: &[u8]) -> Result<RawCall<'_>, Malformed> {
    let mut call = RawCall::default();
    let mut reader = Reader::new(body);
    reader.map(|reader, key| {
        match key {
            "StreamName" => call.stream_name = optional(reader, Reader::text)?,
            "StreamARN" => call.stream_arn = optional(reader, Reader::text)?,
            "Records" => call.records = optional(reader, cbor_records)?,
            _ => reader.skip()?,
        }
        Ok::<_, Malformed>(())
    })?;
    reader.finish()?;
    Ok(call)
}

/// The member that holds the stream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKey {
    StreamName,
    DeliveryStreamName,
}

fn cbor_records<'a>(reader: &mut Reader<'a>) -> Result<RawRecords<'a>, Malformed> {
    let mut records = RawRecords::default();
    reader.array(|reader| {
        let mut record = RawRecord::default();
        reader.map(|reader, key| {
            match key {
                "Data" => record.data = optional(reader, Reader::bytes)?.map(RawData::Bytes),
                "PartitionKey" => record.partition_key = optional(reader, Reader::text)?,
                "ExplicitHashKey" => record.explicit_hash_key = optional(reader, Reader::text)?,
                _ => reader.skip()?,
            }
            Ok::<_, Malformed>(())
        })?;
        records.push(record);
        Ok::<_, Malformed>(())
    })?;
    Ok(records)
}

fn optional<'a, T>(
    reader: &mut Reader<'a>,
    take: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if reader.null()? {
        Ok(None)
    } else {
        take(reader).map(Some)
    }
}

/// A string that borrows unless it has escapes; serde borrows a `Cow` only where no `Option` is around it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct JsonCall<'a> {
    #[serde(borrow, rename = "StreamName")]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "DeliveryStreamName")]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow, rename = "Records")]
    records: Option<JsonRecords<'a>>,
}

#[derive(Deserialize)]
struct JsonRecord<'a> {
    #[serde(borrow, rename = "Data")]
    data: Option<Text<'a>>,
    #[serde(borrow, rename = "PartitionKey")]
    partition_key: Option<Text<'a>>,
    #[serde(borrow, rename = "ExplicitHashKey")]
    explicit_hash_key: Option<Text<'a>>,
}

struct JsonRecords<'a>(RawRecords<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonRecords<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = RawRecords<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut records = RawRecords::default();
                while records.has_room() {
                    let Some(record) = seq.next_element::<JsonRecord<'de>>()? else {
                        return Ok(records);
                    };
                    records.push(RawRecord {
                        data: record.data.map(|text| RawData::Base64(text.0)),
                        partition_key: record.partition_key.map(|text| text.0),
                        explicit_hash_key: record.explicit_hash_key.map(|text| text.0),
                    });
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    records.n_records += 1;
                }
                Ok(records)
            }
        }

        deserializer.deserialize_seq(Bounded).map(JsonRecords)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cbor::Writer;
    use super::*;

    #[test]
    fn json_is_read_without_copies() {
        let body = br#"{"Other": [1], "Records": [{"Data": "YWJj", "PartitionKey": "k"}], "StreamName": "s"}"#;
        let call = from_json(body, NameKey::StreamName).unwrap();
        assert!(matches!(call.stream_name, Some(Cow::Borrowed("s"))));
        let records = call.records.unwrap();
        assert_eq!(records.n_records, 1);
        let record = records.first.into_iter().next().unwrap();
        assert!(matches!(record.partition_key, Some(Cow::Borrowed("k"))));
        assert!(matches!(
            &record.data,
            Some(RawData::Base64(Cow::Borrowed("YWJj")))
        ));
    }

    #[test]
    fn nulls_and_absent_members_are_the_same() {
        for body in [
            &b"{}"[..],
            br#"{"StreamName":null,"StreamARN":null,"Records":null}"#,
        ] {
            let call = from_json(body, NameKey::StreamName).unwrap();
            assert!(
                call.stream_name.is_none() && call.stream_arn.is_none() && call.records.is_none()
            );
        }
        let mut writer = Writer::default();
        writer.map(1).text("Records").array(1).map(0);
        let body = writer.into_bytes();
        let record = from_cbor(&body).unwrap().records.unwrap().first.remove(0);
        assert!(record.data.is_none() && record.partition_key.is_none());
        // The same with null (0xf6) for the list.
        let body = [&[0xa1, 0x67][..], b"Records", &[0xf6]].concat();
        assert!(from_cbor(&body).unwrap().records.is_none());
    }

    #[test]
    fn records_beyond_the_bound_are_counted_and_dropped() {
        let body = format!(r#"{{"Records":[{}{{}}]}}"#, "{},".repeat(9_999));
        let records = from_json(body.as_bytes(), NameKey::StreamName)
            .unwrap()
            .records
            .unwrap();
        assert_eq!((records.n_records, records.first.len()), (10_000, 501));

        let mut writer = Writer::default();
        writer.map(1).text("Records").array(10_000);
        for _ in 0..10_000 {
            writer.map(0);
        }
        let body = writer.into_bytes();
        let records = from_cbor(&body).unwrap().records.unwrap();
        assert_eq!((records.n_records, records.first.len()), (10_000, 501));
    }

    #[test]
    fn wrong_types_and_broken_text_are_refused() {
        for body in [
            "",
            "[]",
            "{",
            r#"{"Records":{}}"#,
            r#"{"Records":[{"Data":1}]}"#,
            r#"{"StreamName":["s"]}"#,
            "{} x",
        ] {
            let error = from_json(body.as_bytes(), NameKey::StreamName).unwrap_err();
            assert_eq!(error.code, "SerializationException", "{body}");
        }
        for body in [&b""[..], &[0x80], &[0xa1, 0x67], &[0xa0, 0xa0]] {
            assert!(from_cbor(body).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = from_json(&bytes, NameKey::StreamName);
            // A call's beginning, so that some get as far as the records.
            let _ = from_cbor(&[b"\xbf\x67Records\x9f\xbf\x64Data", &bytes[..]].concat());
        }
    }

    #[test]
    fn base64_is_measured_as_it_would_decode() {
        for n_bytes in 0..20 {
            let text = BASE64.encode(vec![b'x'; n_bytes]);
            let raw = || RawData::Base64(Cow::Borrowed(&text));
            assert_eq!(
                raw().decode(Base64::Measure).unwrap(),
                Data::Counted(n_bytes),
                "{text}"
            );
            assert_eq!(
                raw().decode(Base64::Decode).unwrap().len(),
                n_bytes,
                "{text}"
            );
        }
        assert_eq!(
            RawData::Base64("====".into())
                .decode(Base64::Decode)
                .unwrap_err()
                .code,
            "SerializationException"
        );
    }
}
