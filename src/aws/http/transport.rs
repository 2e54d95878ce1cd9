//! Requests, each over a connection of its own while it is in flight.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::pool::{Connection, Host, Pool};
use super::route::{BoxError, Route};

/// The longest answer that is read; 500 records' answers take about 60 KB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// There was no connection to send it over: it can't have arrived.
    #[error("no connection")]
    Unreachable(#[source] BoxError),
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The connection ended first; the request may have arrived.
    #[error("the connection ended before the answer came")]
    Broken(#[source] hyper::Error),
    /// The answer began and didn't end, or is longer than any.
    #[error("the answer was broken off")]
    Cut(#[source] Box<dyn Error + Send + Sync>),
}

/// Sends requests over the connections of a pool.
pub struct Transport {
    route: Route,
    /// For the answer's head to come.
    answer_timeout: Option<Duration>,
    pool: Arc<Pool>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// With a pool that keeps `idle_max` connections a host for `idle_timeout` after their last answer.
    pub fn new(
        route: Route,
        answer_timeout: Option<Duration>,
        idle_timeout: Option<Duration>,
        idle_max: usize,
    ) -> Transport {
        Transport {
            route,
            answer_timeout,
            pool: Pool::new(idle_timeout, idle_max),
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// A connection that turns out to be closed before anything was written to it is replaced; nothing else is sent
    /// twice.
    pub async fn exchange(&self, request: Request<SdkBody>) -> Result<Response<Bytes>, NoAnswer> {
        let host = host_of(request.uri())?;
        let begun = self.begin(&host, request);
        let (mut connection, answer) = match self.answer_timeout {
            None => begun.await?,
            Some(timeout) => tokio::time::timeout(timeout, begun)
                .await
                .map_err(|_| NoAnswer::Late(timeout))??,
        };
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        let body = connection.drive(body).await.map_err(NoAnswer::Cut)?;
        self.pool.give_back(host, connection).await;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// Sends a request; the connection, and the head of the answer.
    async fn begin(
        &self,
        host: &Host,
        mut request: Request<SdkBody>,
    ) -> Result<(Connection, Response<Incoming>), NoAnswer> {
        let uri = request.uri().clone();
        loop {
            let (mut connection, is_new) = match self.pool.take(host).await {
                Some(connection) => (connection, false),
                None => (self.connect(uri.clone()).await?, true),
            };
            self.address(&mut request, &uri, host, connection.is_forwarded);
            let mut refused = match connection.send(request).await {
                Ok(answer) => return Ok((connection, answer)),
                Err(refused) => refused,
            };
            request = match refused.take_message() {
                Some(unsent) if !is_new => unsent,
                Some(_) => return Err(NoAnswer::Unreachable(refused.into_error().into())),
                None => return Err(NoAnswer::Broken(refused.into_error())),
            };
        }
    }

    async fn connect(&self, uri: Uri) -> Result<Connection, NoAnswer> {
        let line = self.route.connect(uri).await;
        let connection = Connection::over(line.map_err(NoAnswer::Unreachable)?).await;
        connection.map_err(|error| NoAnswer::Unreachable(error.into()))
    }

    /// A host is asked for a path, a proxy that reads the request for the whole URI, and it wants to know who asks; one
    /// that carries TLS was told when the tunnel was made.
    fn address(&self, request: &mut Request<SdkBody>, uri: &Uri, host: &Host, is_forwarded: bool) {
        let (scheme, authority) = host;
        let default_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let name = match authority.port_u16() {
            Some(port) if port == default_port => authority.host(),
            _ => authority.as_str(),
        };
        let headers = request.headers_mut();
        // A name that a URI takes can stand in a header.
        if let Ok(name) = HeaderValue::from_str(name) {
            headers.insert(HOST, name);
        }
        if is_forwarded
            && let Some(proxy) = self.route.proxy_for(uri)
            && let Some(auth) = proxy.basic_auth()
        {
            headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        *request.uri_mut() = match uri.path_and_query() {
            Some(path) if !is_forwarded => Uri::from(path.clone()),
            _ => uri.clone(),
        };
    }
}

fn host_of(uri: &Uri) -> Result<Host, NoAnswer> {
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) => Ok((scheme.clone(), authority.clone())),
        _ => Err(NoAnswer::Unreachable(
            format!("{uri} isn't a URL with a host").into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper_util::client::proxy::matcher::Matcher;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::trust::Trust;
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// A server whose n-th connection gets these answers, each to a request, and is closed then; what it was asked.
    struct Server {
        port: u16,
        n_connections: Arc<AtomicUsize>,
        /// How many were closed.
        n_closed: Arc<AtomicUsize>,
    }

    impl Server {
        async fn start(connections: Vec<Vec<String>>) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let n_connections = Arc::new(AtomicUsize::new(0));
            let n_closed = Arc::new(AtomicUsize::new(0));
            let (counter, closed) = (Arc::clone(&n_connections), Arc::clone(&n_closed));
            tokio::spawn(async move {
                for answers in connections {
                    let (stream, _) = listener.accept().await.unwrap();
                    counter.fetch_add(1, Ordering::Relaxed);
                    let closed = Arc::clone(&closed);
                    tokio::spawn(async move {
                        answer(stream, answers).await;
                        closed.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            Server {
                port,
                n_connections,
                n_closed,
            }
        }

        /// Until so many connections were closed, and this end may know.
        async fn closed(&self, n: usize) {
            /// The runtime asks the system at least each 61 turns.
            const TURNS: usize = 200;
            let mut n_turns = 0;
            while n_turns < TURNS {
                tokio::task::yield_now().await;
                let is_closed = self.n_closed.load(Ordering::Relaxed) >= n;
                n_turns += usize::from(is_closed);
            }
        }

        fn n_connections(&self) -> usize {
            self.n_connections.load(Ordering::Relaxed)
        }

        fn request(&self) -> Request<SdkBody> {
            Request::post(format!("http://127.0.0.1:{}/path?query", self.port))
                .body(SdkBody::from("body"))
                .unwrap()
        }
    }

    async fn answer(mut stream: TcpStream, answers: Vec<String>) {
        let mut buffer = [0; 4096];
        for answer in answers {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nbody") {
                match stream.read(&mut buffer).await.unwrap_or(0) {
                    0 => return,
                    n => request.extend_from_slice(&buffer[..n]),
                }
            }
            let text = String::from_utf8(request).unwrap();
            assert!(text.starts_with("POST /path?query HTTP/1.1\r\n"), "{text}");
            let host = format!("host: {}\r\n", stream.local_addr().unwrap());
            assert!(text.contains(&host), "{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn transport(
        answer_timeout: Option<Duration>,
        idle: Option<Duration>,
        max: usize,
    ) -> Transport {
        let route = Route::new(Arc::new(Trust::new(Vec::new())), None, None);
        Transport::new(route, answer_timeout, idle, max)
    }

    async fn body_of(transport: &Transport, server: &Server) -> Result<Bytes, NoAnswer> {
        Ok(transport.exchange(server.request()).await?.into_body())
    }

    #[tokio::test]
    async fn a_connection_carries_one_request_after_the_other() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let server = Server::start(vec![vec![OK.into(), chunked.into(), OK.into()]]).await;
        let transport = transport(None, None, 1);
        for _ in 0..3 {
            assert_eq!(body_of(&transport, &server).await.unwrap(), "ok");
        }
        assert_eq!(server.n_connections(), 1);
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_replaced() {
        for last in [OK, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"] {
            let server = Server::start(vec![vec![last.into()], vec![last.into()]]).await;
            let transport = transport(None, None, 1);
            for n in 1..=2 {
                assert_eq!(body_of(&transport, &server).await.unwrap(), "ok");
                server.closed(n).await;
            }
            assert_eq!(server.n_connections(), 2);
        }
    }

    #[tokio::test]
    async fn no_more_connections_rest_than_may() {
        let twice = || vec![OK.to_owned(); 2];
        let server = Server::start(vec![twice(), twice(), twice()]).await;
        let transport = transport(None, None, 1);
        let both =
            || async { tokio::join!(body_of(&transport, &server), body_of(&transport, &server)) };
        let (first, second) = both().await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(server.n_connections(), 2);
        let (first, second) = both().await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(server.n_connections(), 3);
    }

    #[tokio::test]
    async fn a_connection_rests_no_longer_than_it_may() {
        let server = Server::start(vec![vec![OK.to_owned(); 2]; 2]).await;
        let idle = Duration::from_secs(60);
        let transport = transport(None, Some(idle), 1);
        body_of(&transport, &server).await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(idle + Duration::from_millis(1)).await;
        tokio::time::resume();
        body_of(&transport, &server).await.unwrap();
        assert_eq!(server.n_connections(), 2);
    }

    #[tokio::test]
    async fn a_proxy_that_reads_requests_is_told_of_their_host_and_who_asks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\nbody") {
                let n = stream.read(&mut buffer).await.unwrap();
                assert!(n > 0, "{request:?}");
                request.extend_from_slice(&buffer[..n]);
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let proxies = Matcher::builder()
            .http(format!("http://user:word@{address}"))
            .build();
        let proxies = Some(Arc::new(proxies));
        let route = Route::new(Arc::new(Trust::new(Vec::new())), proxies, None);
        let transport = Transport::new(route, None, None, 1);
        let request = Request::post("http://kinesis.example/path?query")
            .body(SdkBody::from("body"))
            .unwrap();
        let answer = transport.exchange(request).await.unwrap();
        assert_eq!(answer.into_body(), "ok");
        let asked = asked.await.unwrap();
        for line in [
            "POST http://kinesis.example/path?query HTTP/1.1\r\n",
            "host: kinesis.example\r\n",
            "proxy-authorization: Basic dXNlcjp3b3Jk\r\n",
        ] {
            assert!(asked.contains(line), "{line} in {asked}");
        }
    }

    #[tokio::test]
    async fn why_there_is_no_answer_is_told() {
        let with_head = |text: &str| vec![vec![text.to_owned()]];
        let too_long = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
            ANSWER_BYTES_MAX + 1,
            "x".repeat(ANSWER_BYTES_MAX + 1)
        );
        for (answers, expected) in [
            (
                vec![Vec::new()],
                "the connection ended before the answer came",
            ),
            (
                with_head("HTTP/1.1 200 O"),
                "the connection ended before the answer came",
            ),
            (
                with_head("nonsense\r\n\r\n"),
                "the connection ended before the answer came",
            ),
            (
                with_head("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"),
                "the answer was broken off",
            ),
            (with_head(&too_long), "the answer was broken off"),
        ] {
            let server = Server::start(answers).await;
            let told = body_of(&transport(None, None, 1), &server)
                .await
                .unwrap_err();
            assert_eq!(told.to_string(), expected);
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = Server {
            port: closed.local_addr().unwrap().port(),
            n_connections: Arc::default(),
            n_closed: Arc::default(),
        };
        // It listens and never answers.
        let timeout = Some(Duration::from_millis(1));
        let told = body_of(&transport(timeout, None, 1), &nobody).await;
        assert!(matches!(told, Err(NoAnswer::Late(_))), "{told:?}");
        drop(closed);
        let told = body_of(&transport(None, None, 1), &nobody).await;
        assert!(matches!(told, Err(NoAnswer::Unreachable(_))), "{told:?}");
    }
}
