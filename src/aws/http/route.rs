//! From a URI to a connection: straight, or by the environment's proxy, and under TLS where the URI says so.

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tower_service::Service;

use super::read_ahead::ByLargeReads;
use super::trust::Trust;

pub type BoxError = Box<dyn Error + Send + Sync>;

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

    /// Connects to a host, or to the proxy before it.
    pub async fn connect(&self, uri: Uri) -> Result<Line, BoxError> {
        match self.timeout {
            None => self.line_to(uri).await,
            Some(timeout) => tokio::time::timeout(timeout, self.line_to(uri))
                .await
                .map_err(|_| ConnectTimeout(timeout))?,
        }
    }

    async fn line_to(&self, uri: Uri) -> Result<Line, BoxError> {
        let mut tcp = self.tcp.clone();
        let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
        let Some(proxy) = self.proxy_for(&uri) else {
            return match is_secure {
                false => Ok(Line::to_host(tcp.call(uri).await?)),
                true => Ok(Line::to_host(self.secured(tcp)?.call(uri).await?)),
            };
        };
        let to_proxy = proxy.uri().clone();
        if ![Some("http"), Some("https")].contains(&to_proxy.scheme_str()) {
            return Err(Box::new(UnknownProxy(to_proxy)));
        }
        let mut way = self.secured(tcp)?;
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

    fn secured<C>(&self, way: C) -> Result<HttpsConnector<ByLargeReads<C>>, BoxError> {
        Ok(HttpsConnector::from((
            ByLargeReads(way),
            self.trust.config()?,
        )))
    }
}

/// What every kind of connection can do.
trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Io for T {}

/// A connection.
pub struct Line {
    io: Box<dyn Io>,
    /// A proxy reads the requests.
    pub is_forwarded: bool,
}

impl Line {
    /// One whose other end is the host itself, or a tunnel to it.
    pub fn to_host(io: impl Read + Write + Send + Unpin + 'static) -> Line {
        Line {
            io: Box::new(io),
            is_forwarded: false,
        }
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
