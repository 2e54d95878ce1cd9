//! From a URI to a connection: straight, or by the environment's proxy, and under TLS where the URI says so.

use std::error::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tower_service::Service;

use super::trust::Trust;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to hosts, for the pool.
#[derive(Clone)]
pub struct Route {
    tcp: HttpConnector,
    trust: Arc<Trust>,
    /// `None`: no proxy whatever the environment says.
    proxies: Option<Arc<Matcher>>,
    /// For all of it: name, TCP, proxy and TLS.
    timeout: Option<Duration>,
}

/// It took too long to connect. The text tells that nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("connect timeout: no connection within {0:?}")]
struct ConnectTimeout(Duration);

/// The environment names a proxy that isn't spoken to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the proxy {0} isn't of a known kind: HTTPS_PROXY, HTTP_PROXY and ALL_PROXY may be http:// or https://"
)]
struct UnknownProxy(Uri);

impl Route {
    /// Routes by `proxies`, and the hosts that `trust` believes.
    pub fn new(
        trust: Arc<Trust>,
        proxies: Option<Arc<Matcher>>,
        timeout: Option<Duration>,
    ) -> Route {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Route {
            tcp,
            trust,
            proxies,
            timeout,
        }
    }

    /// The proxy for a host, if there is one.
    pub fn proxy_for(&self, uri: &Uri) -> Option<Intercept> {
        self.proxies.as_ref()?.intercept(uri)
    }

    async fn connect(mut self, uri: Uri) -> Result<Line, BoxError> {
        let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
        let Some(proxy) = self.proxy_for(&uri) else {
            return match is_secure {
                false => Ok(Line::to_host(self.tcp.call(uri).await?)),
                true => Ok(Line::to_host(
                    self.secured(self.tcp.clone())?.call(uri).await?,
                )),
            };
        };
        let to_proxy = proxy.uri().clone();
        if ![Some("http"), Some("https")].contains(&to_proxy.scheme_str()) {
            return Err(Box::new(UnknownProxy(to_proxy)));
        }
        let mut way = self.secured(self.tcp.clone())?;
        if !is_secure {
            return Ok(Line {
                is_forwarded: true,
                ..Line::to_host(way.call(to_proxy).await?)
            });
        }
        let mut tunnel = Tunnel::new(to_proxy, way);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Ok(Line::to_host(self.secured(tunnel)?.call(uri).await?))
    }

    fn secured<C>(&self, way: C) -> Result<HttpsConnector<C>, BoxError> {
        Ok(HttpsConnector::from((way, self.trust.config()?)))
    }
}

impl Service<Uri> for Route {
    type Response = Line;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let route = self.clone();
        Box::pin(async move {
            let Some(timeout) = route.timeout else {
                return route.connect(uri).await;
            };
            match tokio::time::timeout(timeout, route.connect(uri)).await {
                Ok(connected) => connected,
                Err(_) => Err(Box::new(ConnectTimeout(timeout)) as BoxError),
            }
        })
    }
}

/// What every kind of connection can do.
trait Io: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// A connection.
pub struct Line {
    io: Box<dyn Io>,
    /// A proxy reads the requests, which name the host therefore.
    is_forwarded: bool,
}

impl Line {
    fn to_host(io: impl Io + 'static) -> Line {
        Line {
            io: Box::new(io),
            is_forwarded: false,
        }
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_forwarded)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
