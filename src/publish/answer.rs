//! From what the SDK and the wire say to a [`CallResult`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::failure::{self, CallFailure, FailureKind};
use super::sink::CallResult;
use super::wire;
use crate::aws::http::{AnswerSlot, RawAnswer};
use crate::aws::{NoRegion, cause_of, causes, reason};

/// How much is shown of what an answer says.
const SHOWN_CHARS: usize = 400;

/// What a call of `n_sent` records came to: the answer that the slot took, or else why there is none.
pub fn read<T, E>(
    slot: &AnswerSlot,
    result: Result<T, SdkError<E, HttpResponse>>,
    n_sent: usize,
) -> CallResult
where
    E: Error + Send + Sync + 'static,
    T: std::fmt::Debug,
{
    match (slot.take(), result) {
        (Some(answer), _) => read_raw(&answer, n_sent),
        (None, Err(error)) => Err(without_answer(&error)),
        (None, Ok(_)) => Err(unusable(
            "the client told of success but not of its answer".to_owned(),
        )),
    }
}

fn read_raw(answer: &RawAnswer, n_sent: usize) -> CallResult {
    if (200..300).contains(&answer.status) {
        return wire::read_answer(&answer.content_type, &answer.body, n_sent)
            .map_err(|error| unusable(error.to_string()));
    }
    let refusal = wire::read_refusal(
        &answer.content_type,
        answer.error_type.as_deref(),
        &answer.body,
    );
    let (code, message) = match refusal.code.is_empty() {
        true => (format!("HTTP {}", answer.status), beginning_of(answer)),
        false => (refusal.code, first_line(&refusal.message)),
    };
    let kind = match failure::classify(&code, answer.status) {
        FailureKind::Content if failure::is_about_destination(&message) => {
            FailureKind::DestinationMissing
        }
        kind => kind,
    };
    Err(CallFailure {
        kind,
        code,
        message,
    })
}

/// What an answer without a code says, such as a proxy's.
fn beginning_of(answer: &RawAnswer) -> String {
    match answer.content_type.starts_with("text/plain") {
        true => first_line(&String::from_utf8_lossy(&answer.body)),
        false => String::new(),
    }
}

/// What a text is about: a wrong signature is told with the whole request behind it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(SHOWN_CHARS).collect()
}

fn unusable(message: String) -> CallFailure {
    CallFailure {
        kind: FailureKind::Service,
        code: failure::UNUSABLE_ANSWER.to_owned(),
        message,
    }
}

fn without_answer<E>(error: &SdkError<E, HttpResponse>) -> CallFailure
where
    E: Error + Send + Sync + 'static,
{
    if let Some(message) = of_credentials(error) {
        return CallFailure {
            kind: FailureKind::NoCredentials,
            code: "no credentials".to_owned(),
            message,
        };
    }
    let (kind, code) = match error {
        SdkError::TimeoutError(_) => (FailureKind::Unanswered, "timeout"),
        SdkError::DispatchFailure(_) if is_connect_failure(error) => {
            (FailureKind::Connection, "connect")
        }
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
            (FailureKind::Unanswered, "timeout")
        }
        // Whatever else became of it, there was a connection: the request may have arrived.
        SdkError::DispatchFailure(_) => (FailureKind::Unanswered, "connection broken"),
        SdkError::ResponseError(_) => (FailureKind::Unanswered, "answer broken off"),
        SdkError::ConstructionFailure(_) => (FailureKind::Service, "request not built"),
        _ => (FailureKind::Service, "unknown"),
    };
    CallFailure {
        kind,
        code: code.to_owned(),
        message: reason(error),
    }
}

/// What is wrong with the credentials, if that is why the call wasn't made.
fn of_credentials(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(problem) = cause_of(error) {
        return Some(problem.to_string());
    }
    // The SDK's own word for the end of its patience is no type of its own.
    let is_late = |cause: &dyn Error| cause.to_string().contains("identity resolver timed out");
    let is_about_them = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<CredentialsError>().is_some() || is_late(cause)
    };
    causes(error).any(is_about_them).then(|| reason(error))
}

/// Whether no connection came about, so that nothing can have been accepted.
fn is_connect_failure(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind;
    causes(error).any(|cause| {
        let by_kind = cause.downcast_ref::<std::io::Error>().is_some_and(|io| {
            matches!(
                io.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
            )
        });
        let text = cause.to_string();
        by_kind
            || text.contains("error trying to connect")
            || text.contains("client error (Connect)")
            || text.contains("connect timeout")
            || text.contains("dns error")
    })
}

/// A call that wasn't made for want of a region.
pub fn no_region(error: &NoRegion) -> CallFailure {
    CallFailure {
        kind: FailureKind::NoRegion,
        code: "no region".to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_smithy_runtime_api::client::result::ConnectorError;
    use bytes::Bytes;

    use super::*;
    use crate::aws::NoCredentials;

    fn answer(status: u16, content_type: &str, body: &str) -> RawAnswer {
        RawAnswer {
            status,
            content_type: content_type.to_owned(),
            error_type: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn a_refusal_is_told_in_one_line_of_its_own_words() {
        let long = "x".repeat(1_000);
        for (answer, kind, text) in [
            (
                answer(503, "text/plain", "upstream is down\r\n<more>"),
                FailureKind::Service,
                "HTTP 503: upstream is down",
            ),
            (
                answer(407, "text/html", "<html>"),
                FailureKind::Service,
                "HTTP 407",
            ),
            (
                answer(
                    400,
                    wire::JSON,
                    r#"{"__type":"InvalidSignatureException","message":"it does not match.\n\nThe request was"}"#,
                ),
                FailureKind::Access,
                "InvalidSignatureException: it does not match.",
            ),
            (
                answer(500, "text/plain", &long),
                FailureKind::Service,
                &format!("HTTP 500: {}", &long[..SHOWN_CHARS]),
            ),
        ] {
            let failure = read_raw(&answer, 1).unwrap_err();
            assert_eq!((failure.kind, &*failure.to_string()), (kind, text));
        }
    }

    fn failed(error: ConnectorError) -> CallFailure {
        without_answer(&SdkError::<io::Error, HttpResponse>::dispatch_failure(
            error,
        ))
    }

    #[test]
    fn what_can_not_have_arrived_is_told_from_what_may_have() {
        use io::ErrorKind;
        let system = |kind: ErrorKind| ConnectorError::io(Box::new(io::Error::from(kind)));
        for (error, kind, may_be_accepted) in [
            (
                system(ErrorKind::ConnectionRefused),
                FailureKind::Connection,
                false,
            ),
            (
                system(ErrorKind::NetworkUnreachable),
                FailureKind::Connection,
                false,
            ),
            (
                system(ErrorKind::ConnectionReset),
                FailureKind::Unanswered,
                true,
            ),
            (system(ErrorKind::BrokenPipe), FailureKind::Unanswered, true),
            (
                ConnectorError::other("connection closed before message completed".into(), None),
                FailureKind::Unanswered,
                true,
            ),
            (
                ConnectorError::timeout("HTTP connect timeout occurred after 10s".into()),
                FailureKind::Connection,
                false,
            ),
            (
                ConnectorError::timeout("HTTP read timeout occurred after 50s".into()),
                FailureKind::Unanswered,
                true,
            ),
        ] {
            let failure = failed(error);
            assert_eq!(
                (failure.kind, failure.may_be_accepted()),
                (kind, may_be_accepted),
                "{failure}"
            );
        }
    }

    #[test]
    fn missing_credentials_are_told_as_what_is_wrong_with_them() {
        let problem = NoCredentials::PlaceFailed {
            place: "profile",
            reason: "no such role".to_owned(),
        };
        let failure = failed(ConnectorError::other(
            Box::new(CredentialsError::provider_error(problem.clone())),
            None,
        ));
        assert_eq!(failure.kind, FailureKind::NoCredentials);
        assert_eq!(failure.message, problem.to_string());
        let late = ConnectorError::other("identity resolver timed out after 10s".into(), None);
        assert_eq!(failed(late).kind, FailureKind::NoCredentials);
    }
}
