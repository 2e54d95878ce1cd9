//! Connections: accepted up to a bound, one request each, within a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{Answer, Door, Question, Web};

/// Connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 32;
/// Longest time for a request and its answer.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after a connection couldn't be accepted, for want of file handles most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where connections come from.
pub(super) trait Listener {
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = std::io::Result<Self::Connection>> + Send;
}

impl Listener for TcpListener {
    type Connection = tokio::net::TcpStream;

    async fn accept(&self) -> std::io::Result<Self::Connection> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Connection = tokio::net::UnixStream;

    async fn accept(&self) -> std::io::Result<Self::Connection> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: impl Listener, web: Arc<Web>, door: Door) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok(connection) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let web = Arc::clone(&web);
        tokio::spawn(async move {
            serve_one(connection, &web, door).await;
            drop(place);
        });
    }
}

async fn serve_one<C>(connection: C, web: &Arc<Web>, door: Door)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(web, &request, door);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service);
    // What is wrong with a connection is the peer's affair.
    let _ = timeout(REQUEST_TIME_MAX, serving).await;
}

fn answer(web: &Web, request: &Request<Incoming>, door: Door) -> Response<Full<Bytes>> {
    let headers = request.headers();
    // Where the request line names a host, that is the one that is meant (RFC 9112, section 3.2.2).
    let named = request.uri().authority().map(|host| host.as_str());
    let asked = Question {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        host: named.or_else(|| text_of(headers, &header::HOST)),
        authorization: text_of(headers, &header::AUTHORIZATION),
        has_body: !request.body().is_end_stream(),
    };
    to_response(web.answer(&asked, door))
}

/// The header's text; `None` where there is none, or more than one.
fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn to_response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut set = |name, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_TYPE, answer.content_type);
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(
        header::CONTENT_SECURITY_POLICY,
        answer
            .policy
            .unwrap_or("default-src 'none'; frame-ancestors 'none'"),
    );
    match answer.status {
        401 => set(header::WWW_AUTHENTICATE, "Bearer"),
        405 => set(header::ALLOW, "GET, HEAD"),
        _ => {}
    }
    response
}
