//! HTTP on one connection: bodies within bounds, signatures, and which service a call is for.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::answer::{Answer, Protocol, ServiceError};
use super::entries::Base64;
use super::faults::{CallFacts, Faults, Plan};
use super::keys::KeyRing;
use super::limits::BODY_BYTES_MAX;
use super::options::{Clock, Streams};
use super::put::{self, PutCall, ReadyAnswers};
use super::received::{Call, CallOutcome, Keep, Received, Wire};
use super::shards::Shards;
use super::sigv4::{self, SignedRequest};
use super::{ACCOUNT_ID, Service, firehose, kinesis};

/// What all connections of an endpoint share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) check_signatures: bool,
    pub(super) streams: Streams,
    pub(super) shards: Shards,
    pub(super) record_bytes_max: usize,
    pub(super) clock: Clock,
    pub(super) keys: KeyRing,
    pub(super) faults: Mutex<Faults>,
    pub(super) received: Received,
    pub(super) ready_answers: ReadyAnswers,
    pub(super) next_call: AtomicU64,
    pub(super) next_sequence: AtomicU64,
    pub(super) next_request: AtomicU64,
    /// Becomes true once, when the endpoint stops.
    pub(super) stop: watch::Sender<bool>,
}

/// The connection is dropped without an answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint hung up")]
pub(super) struct HungUp;

impl State {
    pub(super) fn plan(&self, call: &CallFacts<'_>) -> Plan {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.is_empty() {
            Plan::default()
        } else {
            faults.plan(call)
        }
    }

    /// Returns when the endpoint stops.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // `self` holds the sender, so the channel isn't closed.
        let _ = stop.wait_for(|is_stopping| *is_stopping).await;
    }
}

/// Serves one connection until the peer closes it, an answer drops it, or the endpoint stops: then the call in
/// flight is answered first.
pub(super) async fn serve<IO>(state: Arc<State>, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| respond(Arc::clone(&state), request));
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(io), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = state.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Whatever was wrong with the connection is the peer's affair; the next one is served all the same.
    drop(result);
}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, HungUp> {
    let (parts, body) = request.into_parts();
    let (answer, is_last) = match read_body(&parts, body).await? {
        Some(body) => (handle(&state, &parts, body).await?, false),
        None => {
            let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            let error = ServiceError {
                status: 413,
                code: Cow::Borrowed("RequestEntityTooLargeException"),
                message,
            };
            // The rest of the body stays unread, so nothing can follow on this connection.
            (protocol_of(&parts).error(&error), true)
        }
    };
    let request_number = state.next_request.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(
            "x-amzn-requestid",
            format!("00000000-0000-4000-8000-{request_number:012x}"),
        );
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    if is_last {
        response = response.header(CONNECTION, "close");
    }
    let body = if answer.is_cut {
        AnswerBody::Cut(answer.body)
    } else {
        AnswerBody::Whole(answer.body)
    };
    Ok(response
        .body(body)
        .expect("statuses and header values are made of checked text"))
}

/// The whole body, or `None` if it is longer than the bound.
async fn read_body(parts: &Parts, mut body: Incoming) -> Result<Option<Bytes>, HungUp> {
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n_bytes| n_bytes > BODY_BYTES_MAX) {
        return Ok(None);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // The peer went away, or its chunks aren't well-formed.
        let Ok(frame) = frame else { return Err(HungUp) };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > BODY_BYTES_MAX {
            return Ok(None);
        }
        if whole.capacity() == 0 {
            whole.reserve(announced.unwrap_or(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}

/// A call that the endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    PutRecords(Wire),
    PutRecordBatch,
}

async fn handle(state: &State, parts: &Parts, body: Bytes) -> Result<Answer, HungUp> {
    let protocol = protocol_of(parts);
    let operation = match operation_of(parts) {
        Ok(operation) => operation,
        Err(error) => return Ok(protocol.error(&error)),
    };
    match operation {
        Operation::PutRecords(wire) => put_call(state, parts, &body, Service::Kinesis, wire).await,
        Operation::PutRecordBatch => {
            put_call(state, parts, &body, Service::Firehose, Wire::Json).await
        }
    }
}

/// A call that brings records, from its signature to its answer.
async fn put_call(
    state: &State,
    parts: &Parts,
    body: &Bytes,
    service: Service,
    wire: Wire,
) -> Result<Answer, HungUp> {
    let number = state.next_call.fetch_add(1, Ordering::Relaxed) + 1;
    let read = || {
        authenticate(state, parts, body, service)?;
        let base64 = match state.received.keep() {
            Keep::Count => Base64::Measure,
            Keep::All | Keep::Send(_) => Base64::Decode,
        };
        let (stream, entries) = match service {
            Service::Firehose => firehose::read(body, base64)?,
            _ => kinesis::read(body, wire, base64, state.record_bytes_max)?,
        };
        check_stream(state, service, &stream)?;
        Ok(PutCall {
            number,
            service,
            wire,
            stream,
            entries,
        })
    };
    match read() {
        Ok(call) => {
            let render = if service == Service::Firehose {
                firehose::render
            } else {
                kinesis::render
            };
            put::put(state, call, body, render).await
        }
        Err(error) => {
            let error: ServiceError = error;
            let outcome = CallOutcome::Refused(error.code.clone().into_owned());
            state.received.note(Call {
                number,
                service,
                wire,
                stream: None,
                n_records: 0,
                outcome,
            });
            Ok(wire.protocol().error(&error))
        }
    }
}

fn check_stream(state: &State, service: Service, stream: &str) -> Result<(), ServiceError> {
    if state.streams.has(stream) {
        return Ok(());
    }
    let message = match service {
        Service::Firehose => format!("Firehose {stream} under account {ACCOUNT_ID} not found."),
        _ => format!("Stream {stream} under account {ACCOUNT_ID} not found."),
    };
    Err(ServiceError::caller("ResourceNotFoundException", message))
}

fn authenticate(
    state: &State,
    parts: &Parts,
    body: &[u8],
    service: Service,
) -> Result<(), ServiceError> {
    if !state.check_signatures {
        return Ok(());
    }
    let headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let verified = sigv4::verify(&request, |id| state.keys.find(id), state.clock.now())
        .map_err(|refusal| ServiceError::caller(refusal_code(&refusal), refusal.to_string()))?;
    if verified.service != service.signing_name() {
        let message = format!(
            "Credential should be scoped to correct service: '{}'.",
            service.signing_name()
        );
        return Err(ServiceError::caller("InvalidSignatureException", message));
    }
    Ok(())
}

fn refusal_code(refusal: &sigv4::Refusal) -> &'static str {
    match refusal {
        sigv4::Refusal::Missing => "MissingAuthenticationTokenException",
        sigv4::Refusal::Incomplete(_) => "IncompleteSignatureException",
        sigv4::Refusal::UnknownKey => "UnrecognizedClientException",
        sigv4::Refusal::ExpiredToken => "ExpiredTokenException",
        sigv4::Refusal::Invalid(_) => "InvalidSignatureException",
    }
}

fn protocol_of(parts: &Parts) -> Protocol {
    match content_type(parts) {
        "application/x-amz-cbor-1.1" => Protocol::Cbor,
        _ => Protocol::Json,
    }
}

/// The media type without parameters; empty if there is none.
fn content_type(parts: &Parts) -> &str {
    let value = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn operation_of(parts: &Parts) -> Result<Operation, ServiceError> {
    let unknown = || ServiceError {
        status: 404,
        code: Cow::Borrowed("UnknownOperationException"),
        message: String::new(),
    };
    if parts.method != Method::POST || parts.uri.path() != "/" {
        return Err(unknown());
    }
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match (target, content_type(parts)) {
        ("Kinesis_20131202.PutRecords", "application/x-amz-json-1.1" | "application/json") => {
            Ok(Operation::PutRecords(Wire::Json))
        }
        ("Kinesis_20131202.PutRecords", "application/x-amz-cbor-1.1") => {
            Ok(Operation::PutRecords(Wire::Cbor))
        }
        ("Firehose_20150804.PutRecordBatch", "application/x-amz-json-1.1" | "application/json") => {
            Ok(Operation::PutRecordBatch)
        }
        _ => Err(unknown()),
    }
}

/// A body that announces its whole length, and may be cut short all the same.
enum AnswerBody {
    /// All of it in one piece.
    Whole(Bytes),
    /// Only the first half will be sent.
    Cut(Bytes),
    /// The half is handed over; the connection needs a turn to send it.
    CutSending,
    CutSent,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HungUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HungUp>>> {
        match &mut *self {
            AnswerBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            AnswerBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            AnswerBody::Cut(bytes) => {
                let half = bytes.slice(..bytes.len() / 2);
                *self = AnswerBody::CutSending;
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            AnswerBody::CutSending => {
                *self = AnswerBody::CutSent;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            AnswerBody::CutSent => Poll::Ready(Some(Err(HungUp))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, AnswerBody::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(bytes) | AnswerBody::Cut(bytes) => {
                SizeHint::with_exact(bytes.len() as u64)
            }
            AnswerBody::CutSending | AnswerBody::CutSent => SizeHint::default(),
        }
    }
}
