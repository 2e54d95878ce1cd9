//! What goes back over the wire: answers and errors, each in the form of the protocol that the call came in.

use std::borrow::Cow;

use bytes::Bytes;

use super::cbor;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Further headers.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Half of the body is sent, then the connection is dropped.
    pub(super) is_cut: bool,
}

/// The protocol of a call, which its answer keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// AWS JSON 1.1.
    Json,
    /// The same shapes in CBOR, which Kinesis alone takes.
    Cbor,
    /// Smithy RPC v2 CBOR, which CloudWatch takes.
    RpcCbor,
    /// AWS Query: a form in, XML out.
    Query,
    /// The query protocol of EC2, whose errors look otherwise.
    Ec2Query,
}

/// A call that is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct ServiceError {
    pub(super) status: u16,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
}

impl ServiceError {
    /// An error of the caller's: status 400.
    pub(super) fn caller(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: Cow::Borrowed(code),
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::caller("ValidationException", message)
    }

    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::caller("SerializationException", message)
    }
}

impl From<cbor::Malformed> for ServiceError {
    fn from(malformed: cbor::Malformed) -> Self {
        Self::serialization(malformed.to_string())
    }
}

impl Protocol {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Protocol::Json => "application/x-amz-json-1.1",
            Protocol::Cbor => "application/x-amz-cbor-1.1",
            Protocol::RpcCbor => "application/cbor",
            Protocol::Query => "text/xml",
            Protocol::Ec2Query => "text/xml;charset=UTF-8",
        }
    }

    /// An answer with status 200.
    pub(super) fn answer(self, body: impl Into<Bytes>) -> Answer {
        Answer {
            status: 200,
            content_type: self.content_type(),
            headers: match self {
                Protocol::RpcCbor => vec![("smithy-protocol", "rpc-v2-cbor".into())],
                _ => Vec::new(),
            },
            body: body.into(),
            is_cut: false,
        }
    }

    /// An error in the protocol's form.
    pub(super) fn error(self, error: &ServiceError) -> Answer {
        let (code, message) = (&*error.code, &*error.message);
        let body = match self {
            Protocol::Json => serde_json::json!({ "__type": code, "message": message })
                .to_string()
                .into_bytes(),
            Protocol::Cbor | Protocol::RpcCbor => {
                let mut writer = cbor::Writer::default();
                writer
                    .map(2)
                    .text("__type")
                    .text(code)
                    .text("message")
                    .text(message);
                writer.into_bytes()
            }
            Protocol::Query => format!(
                "<ErrorResponse><Error><Type>{}</Type><Code>{}</Code><Message>{}</Message></Error>\
                 <RequestId>local</RequestId></ErrorResponse>",
                if error.status < 500 {
                    "Sender"
                } else {
                    "Receiver"
                },
                xml_escape(code),
                xml_escape(message),
            )
            .into_bytes(),
            Protocol::Ec2Query => format!(
                "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
                 <RequestID>local</RequestID></Response>",
                xml_escape(code),
                xml_escape(message),
            )
            .into_bytes(),
        };
        let mut answer = Answer {
            status: error.status,
            ..self.answer(body)
        };
        if !matches!(self, Protocol::Query | Protocol::Ec2Query) {
            answer.headers.push(("x-amzn-errortype", code.to_owned()));
        }
        answer
    }
}

/// Plain text without any AWS form.
pub(super) fn plain(status: u16, text: impl Into<String>) -> Answer {
    let body = Bytes::from(text.into());
    Answer {
        status,
        content_type: "text/plain",
        headers: Vec::new(),
        body,
        is_cut: false,
    }
}

/// Text as XML content; characters that XML can't hold at all become U+FFFD.
pub(super) fn xml_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(character),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
