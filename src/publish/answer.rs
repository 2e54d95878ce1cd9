//! From what a call came to to a [`CallResult`].

use super::failure::{self, CallFailure, FailureKind};
use super::sink::CallResult;
use super::wire;
use crate::aws::call::CallError;
use crate::aws::http::{NoAnswer, RawAnswer};
use crate::aws::{NoRegion, reason};

/// How much is shown of what an answer says.
const SHOWN_CHARS: usize = 400;

/// What a call of `n_sent` records came to.
pub fn read(answered: Result<RawAnswer, CallError>, n_sent: usize) -> CallResult {
    match answered {
        Ok(answer) => read_raw(&answer, n_sent),
        Err(error) => Err(without_answer(&error)),
    }
}

fn read_raw(answer: &RawAnswer, n_sent: usize) -> CallResult {
    if answer.is_success() {
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

/// A call without an answer.
pub fn without_answer(error: &CallError) -> CallFailure {
    let (kind, code) = match error {
        CallError::NoCredentials(problem) => {
            return CallFailure {
                kind: FailureKind::NoCredentials,
                code: "no credentials".to_owned(),
                message: problem.to_string(),
            };
        }
        CallError::Unsendable(_) => (FailureKind::Service, "request not built"),
        CallError::NoAnswer(NoAnswer::Unreachable(_)) => (FailureKind::Connection, "connect"),
        CallError::NoAnswer(NoAnswer::Late(_)) => (FailureKind::Unanswered, "timeout"),
        // There was a connection: the request may have arrived.
        CallError::NoAnswer(NoAnswer::Broken(_)) => (FailureKind::Unanswered, "connection broken"),
        CallError::NoAnswer(NoAnswer::Cut(_)) => (FailureKind::Unanswered, "answer broken off"),
    };
    CallFailure {
        kind,
        code: code.to_owned(),
        message: reason(error),
    }
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
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::aws::NoCredentials;

    fn answer(status: u16, content_type: &str, body: &str) -> RawAnswer {
        RawAnswer {
            status,
            content_type: content_type.to_owned(),
            error_type: None,
            date: None,
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

    #[test]
    fn what_can_not_have_arrived_is_told_from_what_may_have() {
        let second = Duration::from_secs(1);
        for (error, kind, code, may_be_accepted) in [
            (
                NoAnswer::Unreachable(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
                FailureKind::Connection,
                "connect: no connection: connection refused",
                false,
            ),
            (
                NoAnswer::Late(second),
                FailureKind::Unanswered,
                "timeout: no answer within 1s",
                true,
            ),
            (
                NoAnswer::Cut("unexpected end of file".into()),
                FailureKind::Unanswered,
                "answer broken off: the answer was broken off: unexpected end of file",
                true,
            ),
        ] {
            let failure = without_answer(&error.into());
            assert_eq!(
                (failure.kind, failure.may_be_accepted()),
                (kind, may_be_accepted),
                "{failure}"
            );
            assert_eq!(failure.to_string(), code);
        }
    }

    #[test]
    fn missing_credentials_are_told_as_what_is_wrong_with_them() {
        let problem = NoCredentials::PlaceFailed {
            place: "profile",
            reason: "no such role".to_owned(),
        };
        let failure = without_answer(&problem.clone().into());
        assert_eq!(failure.kind, FailureKind::NoCredentials);
        assert_eq!(failure.message, problem.to_string());
    }
}
