//! HTTP on one connection: requests with bodies within bounds in, answers out.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::ServiceError;
use super::calls::{self, protocol_of};
use super::limits::BODY_BYTES_MAX;
use super::state::{HungUp, State};

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
        Some(body) => {
            let n_bytes = body.len() as u64;
            state.body_bytes.fetch_add(n_bytes, Ordering::Relaxed);
            (calls::answer(&state, &parts, &body).await?, false)
        }
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
