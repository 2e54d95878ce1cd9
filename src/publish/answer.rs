//! From what the SDK and the wire say to a [`CallResult`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;

use super::failure::{self, CallFailure, FailureKind};
use super::sink::CallResult;
use super::wire;
use crate::aws::NoRegion;
use crate::aws::http::{AnswerSlot, RawAnswer};

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
    let code = if refusal.code.is_empty() {
        format!("HTTP {}", answer.status)
    } else {
        refusal.code
    };
    let message = match refusal.message.is_empty() {
        true => format!("status {} without a message", answer.status),
        false => refusal.message,
    };
    Err(CallFailure {
        kind: failure::classify(&code, answer.status),
        code,
        message,
    })
}

fn unusable(message: String) -> CallFailure {
    CallFailure {
        kind: FailureKind::Service,
        code: "unusable answer".to_owned(),
        message,
    }
}

fn without_answer<E>(error: &SdkError<E, HttpResponse>) -> CallFailure
where
    E: Error + Send + Sync + 'static,
{
    let text = innermost(error);
    let failed = |kind, code: &str, message: String| CallFailure {
        kind,
        code: code.to_owned(),
        message,
    };
    if chain(error).any(|cause| cause.downcast_ref::<CredentialsError>().is_some())
        || text.contains("identity")
    {
        return failed(
            FailureKind::NoCredentials,
            "no credentials",
            DisplayErrorContext(error).to_string(),
        );
    }
    match error {
        SdkError::TimeoutError(_) => failed(FailureKind::Unanswered, "timeout", text),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
            failed(FailureKind::Unanswered, "timeout", text)
        }
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() && !is_connect_failure(error) => {
            failed(FailureKind::Unanswered, "connection broken", text)
        }
        SdkError::DispatchFailure(_) => failed(FailureKind::Connection, "connect", text),
        SdkError::ResponseError(_) => failed(FailureKind::Unanswered, "answer broken off", text),
        SdkError::ConstructionFailure(_) => failed(FailureKind::Content, "request not built", text),
        _ => failed(FailureKind::Service, "unknown", text),
    }
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The last cause says the most: `Connection refused (os error 111)` rather than `dispatch failure`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = chain(error).skip(1).map(ToString::to_string).collect();
    let start = texts.len().saturating_sub(2);
    match texts.is_empty() {
        true => error.to_string(),
        false => texts[start..].join(": "),
    }
}

/// Whether no connection came about, so that nothing can have been accepted.
fn is_connect_failure(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind;
    chain(error).any(|cause| {
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
