//! One refused record as a line of JSON.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::publish::wire::RecordError;

/// A refused record: what it holds, where it comes from, and why it was refused.
///
/// ```text
/// {"time":"2026-11-21T09:00:30.114Z","flow":"kinesis:s:/logs/app.log*","file":"/logs/app.log","offset":4096,
///  "code":"ValidationException","reason":"…","partitionKey":"581533.24","data":"BASE64"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// When it was refused for good.
    pub time: Timestamp,
    /// The id of its flow.
    pub flow: String,
    /// The file that it was read from, if that is known.
    pub file: Option<PathBuf>,
    /// Its first byte in that file.
    pub offset: u64,
    pub error: RecordError,
    /// `None` for Firehose.
    pub partition_key: Option<String>,
    /// As it was sent.
    pub data: Vec<u8>,
}

/// As it is written. A path that isn't UTF-8 stands in base64 under a name of its own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    time: String,
    flow: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    file_base64: Option<String>,
    offset: u64,
    code: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    partition_key: Option<String>,
    data: String,
}

/// A line that is no letter.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error("not JSON as this program writes it ({0})")]
    Json(#[from] serde_json::Error),
    #[error("{0} isn't base64")]
    Base64(&'static str),
    #[error("time isn't RFC 3339 ({0})")]
    Time(#[from] jiff::Error),
}

impl Letter {
    /// The letter as a line, its newline included.
    pub fn to_line(&self) -> Vec<u8> {
        let text = self.file.as_deref().map(Path::to_str);
        let bytes = self.file.as_deref().filter(|_| text == Some(None));
        let line = Line {
            time: format!("{:.3}", self.time),
            flow: self.flow.clone(),
            file: text.flatten().map(str::to_owned),
            file_base64: bytes.map(|path| STANDARD.encode(path.as_os_str().as_bytes())),
            offset: self.offset,
            code: self.error.code.clone(),
            reason: self.error.message.clone(),
            partition_key: self.partition_key.clone(),
            data: STANDARD.encode(&self.data),
        };
        let mut bytes = serde_json::to_vec(&line).expect("text and numbers can be written");
        bytes.push(b'\n');
        bytes
    }

    /// The letter of a line.
    pub fn from_line(line: &[u8]) -> Result<Letter, LetterError> {
        let line: Line = serde_json::from_slice(line)?;
        let decode =
            |name, text: &str| STANDARD.decode(text).map_err(|_| LetterError::Base64(name));
        let file = match (line.file, line.file_base64) {
            (Some(text), _) => Some(PathBuf::from(text)),
            (None, Some(text)) => {
                let bytes = decode("fileBase64", &text)?;
                Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
            }
            (None, None) => None,
        };
        Ok(Letter {
            time: line.time.parse()?,
            flow: line.flow,
            file,
            offset: line.offset,
            error: RecordError {
                code: line.code,
                message: line.reason,
            },
            partition_key: line.partition_key,
            data: decode("data", &line.data)?,
        })
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A letter of this data, refused at the beginning of time.
    pub fn letter(flow: &str, data: &[u8]) -> Letter {
        Letter {
            time: Timestamp::UNIX_EPOCH,
            flow: flow.to_owned(),
            file: Some("/logs/app.log".into()),
            offset: 7,
            error: RecordError {
                code: "ValidationException".to_owned(),
                message: "no".to_owned(),
            },
            partition_key: Some("k".to_owned()),
            data: data.to_vec(),
        }
    }

    #[test]
    fn a_line_reads_as_documented() {
        let line = letter("kinesis:s:/logs/app.log*", b"one\n").to_line();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"flow\":\"kinesis:s:/logs/app.log*\",\"file\":\"/logs/app.log\",\
             \"offset\":7,\"code\":\"ValidationException\",\"reason\":\"no\",\"partitionKey\":\"k\",\"data\":\"b25lCg==\"}\n"
        );
    }

    proptest! {
        #[test]
        fn a_letter_survives_its_line(
            path: Option<Vec<u8>>, offset: u64, code: String, message: String, key: Option<String>, data: Vec<u8>, ms in 0_i64..4_000_000_000_000,
        ) {
            let letter = Letter {
                time: Timestamp::from_millisecond(ms).unwrap(),
                flow: code.clone(),
                file: path.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes))),
                offset,
                error: RecordError { code, message },
                partition_key: key,
                data,
            };
            let line = letter.to_line();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(Letter::from_line(&line).unwrap(), letter);
        }

        #[test]
        fn no_line_upsets_it(line: Vec<u8>) {
            let _ = Letter::from_line(&line);
        }
    }
}
