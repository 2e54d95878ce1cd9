//! `ADDEC2METADATA`: what the instance knows about itself, appended to a record that is a JSON object.

use std::sync::Arc;

use crate::config::{self, JsonFormat};

use super::chain::{RawReason, Verdict};
use super::json::{PrintedMembers, Rewriter};
use super::text;

/// What the instance metadata service and DescribeTags said, and when. Asking them is not done here.
///
/// A value that could not be had is `None` and printed as null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ec2Metadata {
    pub private_ip: Option<String>,
    pub availability_zone: Option<String>,
    pub instance_id: Option<String>,
    pub instance_type: Option<String>,
    pub account_id: Option<String>,
    pub ami_id: Option<String>,
    pub region: Option<String>,
    /// When they were asked, `yyyy-MM-ddTHH:mm:ss±hhmm`.
    pub timestamp: String,
    /// Keys as they are in EC2; they are put into lower case when they are printed.
    pub tags: Vec<(String, String)>,
}

/// The option, ready to run.
#[derive(Debug)]
pub struct AddEc2Metadata {
    format: JsonFormat,
    rewriter: Rewriter,
    /// The record's text where its bytes are no UTF-8.
    text: String,
    /// The metadata that `members` was made from.
    seen: Option<Arc<Ec2Metadata>>,
    /// The metadata, laid out once.
    members: PrintedMembers,
}

impl AddEc2Metadata {
    pub fn new(options: &config::AddEc2Metadata) -> AddEc2Metadata {
        AddEc2Metadata {
            format: options.format,
            rewriter: Rewriter::default(),
            text: String::new(),
            seen: None,
            members: PrintedMembers::default(),
        }
    }

    /// Appends the record's object with the metadata's members behind its own; one that is there already keeps its
    /// place and takes the metadata's value. Without metadata the record is passed on unchanged.
    pub fn convert(
        &mut self,
        record: &[u8],
        metadata: Option<&Arc<Ec2Metadata>>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let Some(metadata) = metadata else {
            out.extend_from_slice(record);
            return Verdict::WithoutEc2Metadata;
        };
        let is_seen = |seen: &Arc<Ec2Metadata>| Arc::ptr_eq(seen, metadata);
        if !self.seen.as_ref().is_some_and(is_seen) {
            // what serde_json writes is an object
            self.members = PrintedMembers::new(&members(metadata), self.format).unwrap_or_default();
            self.seen = Some(Arc::clone(metadata));
        }
        let text = text::decode(record, &mut self.text);
        if self
            .rewriter
            .merged(text, &self.members, self.format, out)
            .is_err()
        {
            return Verdict::Raw(RawReason::Ec2NotAnObject);
        }
        out.push(b'\n');
        Verdict::Converted
    }

    /// Gives back what long records needed.
    pub fn free_scratch(&mut self) {
        self.text = String::new();
        self.rewriter = Rewriter::default();
    }
}

fn members(metadata: &Ec2Metadata) -> String {
    let values = [
        ("privateIp", metadata.private_ip.as_deref()),
        ("availabilityZone", metadata.availability_zone.as_deref()),
        ("instanceId", metadata.instance_id.as_deref()),
        ("instanceType", metadata.instance_type.as_deref()),
        ("accountId", metadata.account_id.as_deref()),
        ("amiId", metadata.ami_id.as_deref()),
        ("region", metadata.region.as_deref()),
        ("metadataTimestamp", Some(&*metadata.timestamp)),
    ];
    let mut object = serde_json::Map::new();
    for (key, value) in values {
        object.insert(key.to_owned(), value.into());
    }
    let tags = metadata
        .tags
        .iter()
        .map(|(key, value)| (key.to_lowercase(), value.as_str().into()));
    object.insert("tags".to_owned(), serde_json::Value::Object(tags.collect()));
    serde_json::Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Arc<Ec2Metadata> {
        Arc::new(Ec2Metadata {
            private_ip: Some("10.0.0.1".to_owned()),
            availability_zone: Some("eu-west-1a".to_owned()),
            instance_id: Some("i-1".to_owned()),
            instance_type: Some("m7g.large".to_owned()),
            account_id: None,
            ami_id: Some("ami-1".to_owned()),
            region: Some("eu-west-1".to_owned()),
            timestamp: "2026-01-02T03:04:05+0000".to_owned(),
            tags: vec![
                ("Name".to_owned(), "a \"b\"".to_owned()),
                ("NAME".to_owned(), "c".to_owned()),
            ],
        })
    }

    const ADDED: &str = concat!(
        r#""privateIp":"10.0.0.1","availabilityZone":"eu-west-1a","instanceId":"i-1","instanceType":"m7g.large","#,
        r#""accountId":null,"amiId":"ami-1","region":"eu-west-1","metadataTimestamp":"2026-01-02T03:04:05+0000","#,
        r#""tags":{"name":"c"}"#,
    );

    fn step(format: JsonFormat) -> AddEc2Metadata {
        AddEc2Metadata::new(&config::AddEc2Metadata {
            ttl: std::time::Duration::from_secs(3600),
            format,
        })
    }

    #[test]
    fn metadata_follows_the_members_of_the_record() {
        let rows = [
            (
                "{\"a\": 1.50, \"b\":\"\\u00e9\"}\n",
                format!("{{\"a\":1.5,\"b\":\"é\",{ADDED}}}\n"),
            ),
            ("{}", format!("{{{ADDED}}}\n")),
            (
                "{\"a\":12345678901234567890123,\"a\":2}",
                format!("{{\"a\":2,{ADDED}}}\n"),
            ),
        ];
        let mut step = step(JsonFormat::Compact);
        for (record, expected) in rows {
            let mut out = Vec::new();
            assert_eq!(
                step.convert(record.as_bytes(), Some(&metadata()), &mut out),
                Verdict::Converted
            );
            assert_eq!(str::from_utf8(&out), Ok(&*expected), "{record}");
        }
    }

    #[test]
    fn a_key_that_is_there_keeps_its_place() {
        let mut out = Vec::new();
        let verdict =
            step(JsonFormat::Compact).convert(b"{\"tags\":0,\"x\":1}", Some(&metadata()), &mut out);
        assert_eq!(verdict, Verdict::Converted);
        assert!(
            out.starts_with(b"{\"tags\":{\"name\":\"c\"},\"x\":1,\"privateIp\":"),
            "{out:?}"
        );
    }

    #[test]
    fn members_are_laid_out_prettily() {
        let mut out = Vec::new();
        let metadata = Arc::new(Ec2Metadata {
            tags: Vec::new(),
            ..Ec2Metadata::clone(&metadata())
        });
        step(JsonFormat::PrettyPrint).convert(b"{\"x\":1}", Some(&metadata), &mut out);
        assert!(
            out.starts_with(b"{\n  \"x\" : 1,\n  \"privateIp\" : \"10.0.0.1\",\n"),
            "{out:?}"
        );
        assert!(out.ends_with(b",\n  \"tags\" : { }\n}\n"), "{out:?}");
    }

    #[test]
    fn new_metadata_takes_the_place_of_the_old() {
        let mut step = step(JsonFormat::Compact);
        for instance_id in ["i-1", "i-2"] {
            let metadata = Arc::new(Ec2Metadata {
                instance_id: Some(instance_id.to_owned()),
                ..Ec2Metadata::clone(&metadata())
            });
            let mut out = Vec::new();
            step.convert(b"{}", Some(&metadata), &mut out);
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(object["instanceId"], instance_id);
        }
    }

    #[test]
    fn without_metadata_the_record_is_passed_on() {
        let mut out = Vec::new();
        assert_eq!(
            step(JsonFormat::Compact).convert(b"\xff\r\n", None, &mut out),
            Verdict::WithoutEc2Metadata
        );
        assert_eq!(out, b"\xff\r\n");
    }

    #[test]
    fn what_is_no_object_is_left_raw() {
        for record in ["", "\n", "text", "[]", "null", "\"x\"", "{", "{}{}"] {
            let verdict = step(JsonFormat::Compact).convert(
                record.as_bytes(),
                Some(&metadata()),
                &mut Vec::new(),
            );
            assert_eq!(verdict, Verdict::Raw(RawReason::Ec2NotAnObject), "{record}");
        }
    }
}
