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
    Err(CallFailure {
        kind: failure::classify(&code, answer.status),
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
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() => {
            (FailureKind::Unanswered, "connection broken")
        }
        SdkError::DispatchFailure(_) => (FailureKind::Connection, "connect"),
        SdkError::ResponseError(_) => (FailureKind::Unanswered, "answer broken off"),
        SdkError::ConstructionFailure(_) => (FailureKind::Content, "request not built"),
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
