//! Why a call or a record was not accepted, and what to do about it.

use std::fmt;

use super::wire::RecordError;

/// A call of which no record was accepted, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    pub kind: FailureKind,
    /// The service's short name for it (`ResourceNotFoundException`) or ours (`connect`, `timeout`).
    pub code: String,
    /// In the words of the service or the system.
    pub message: String,
}

/// The code of an answer that was there and can't be relied on.
pub const UNUSABLE_ANSWER: &str = "unusable answer";

impl CallFailure {
    /// Whether its records may have been accepted all the same, so that sending them again may repeat them.
    pub fn may_be_accepted(&self) -> bool {
        self.kind == FailureKind::Unanswered || self.code == UNUSABLE_ANSWER
    }
}

impl CallFailure {
    /// A call that ended by a defect of ours.
    pub fn of_defect(error: &dyn fmt::Display) -> CallFailure {
        CallFailure {
            kind: FailureKind::Service,
            code: "a defect of the agent, please report it".to_owned(),
            message: error.to_string(),
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.is_empty() {
            true => f.write_str(&self.code),
            false => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// What a call of one record failed with is what the record is refused for.
impl From<&CallFailure> for RecordError {
    fn from(failure: &CallFailure) -> RecordError {
        RecordError {
            code: failure.code.clone(),
            message: failure.message.clone(),
        }
    }
}

/// What kind of failure it is. All but [`FailureKind::Content`] are tried again for ever, since each can be mended while
/// the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The service asks for less: shard or account limits.
    Throttled,
    /// The service failed (5xx) or its answer can't be used.
    Service,
    /// Nothing is reached at the endpoint: refused, no route, name not found, TLS.
    Connection,
    /// No answer in time, or the connection broke before one: the records may have been accepted.
    Unanswered,
    /// The stream isn't there.
    DestinationMissing,
    /// Not allowed: signature, keys, policies, KMS.
    Access,
    /// No credentials are found.
    NoCredentials,
    /// No region is found.
    NoRegion,
    /// The service blames what is in the call: the same records will fail again, all of them or the one that it is about.
    Content,
}

/// What an error code of a call or of a record means, with the call's HTTP status where there is one.
///
/// Sources: the common errors and the errors of PutRecords and PutRecordBatch in the API references.
pub fn classify(code: &str, status: u16) -> FailureKind {
    match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "KMSThrottlingException" => FailureKind::Throttled,
        "ResourceNotFoundException" | "ResourceInUseException" => FailureKind::DestinationMissing,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "AuthFailure"
        | "OptInRequired"
        | "NotAuthorized"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "InvalidKMSResourceException" => FailureKind::Access,
        "ValidationException"
        | "InvalidArgumentException"
        | "SerializationException"
        | "InvalidParameterValue" => FailureKind::Content,
        _ => match status {
            429 => FailureKind::Throttled,
            401 | 403 => FailureKind::Access,
            413 => FailureKind::Content,
            _ => FailureKind::Service,
        },
    }
}

/// Whether a refusal that is worded as one of content is about where the call goes: no record is to blame for a stream's
/// name that isn't one, or for a delivery stream that takes its records from elsewhere.
pub fn is_about_destination(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    [
        "streamname",
        "streamarn",
        "stream name",
        "stream arn",
        "deliverystreamname",
        "kinesisstreamassource",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_win_over_the_status() {
        for (code, status, kind) in [
            (
                "ProvisionedThroughputExceededException",
                400,
                FailureKind::Throttled,
            ),
            (
                "ResourceNotFoundException",
                400,
                FailureKind::DestinationMissing,
            ),
            ("ExpiredTokenException", 400, FailureKind::Access),
            ("ValidationException", 400, FailureKind::Content),
            ("InternalFailure", 500, FailureKind::Service),
            ("ServiceUnavailableException", 503, FailureKind::Service),
            ("", 503, FailureKind::Service),
            ("", 429, FailureKind::Throttled),
            ("", 403, FailureKind::Access),
            ("Brand new", 400, FailureKind::Service),
        ] {
            assert_eq!(classify(code, status), kind, "{code} {status}");
        }
    }

    #[test]
    fn a_wrong_destination_is_no_records_fault() {
        for (message, expected) in [
            (
                "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint",
                true,
            ),
            (
                "Value at 'deliveryStreamName' failed to satisfy constraint",
                true,
            ),
            (
                "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
                true,
            ),
            (
                "1 validation error detected: Value at 'records.3.member.data' failed to satisfy constraint",
                false,
            ),
            ("Records size exceeds 5 MB limit", false),
            ("", false),
        ] {
            assert_eq!(is_about_destination(message), expected, "{message}");
        }
    }
}
