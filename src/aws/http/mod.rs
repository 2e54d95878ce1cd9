//! HTTP/1.1 over rustls with ring, the system's and a private CA, proxies from the environment, and a user agent that is
//! all the user's: for the calls that carry data, and under the SDK.
//!
//! The SDK's stock client offers HTTP/2 first and keeps large buffers with each connection; a bounded number of small
//! connections is what suits hundreds of calls in flight.
//!
//! ```text
//!  call ──────────┐
//!                 ├─▶ Gate (user agent; proxy or not) ─▶ Transport (Pool of connections) ─▶ Route (proxy, TLS by Trust) ─▶ host
//!  SDK ─▶ ForSdk ─┘
//! ```

mod pool;
mod read_ahead;
mod route;
mod transport;
mod trust;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::{Publish, UserAgent};
use route::Route;
use transport::Transport;
use trust::Trust;

pub use transport::NoAnswer;

/// How long an idle connection is kept, and how many, where nothing is configured.
const USUAL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const USUAL_IDLE_CONNECTIONS_MAX: usize = 64;

/// A call's answer as it came, for a caller that reads it itself.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub status: u16,
    pub content_type: String,
    /// The header `x-amzn-ErrorType`.
    pub error_type: Option<String>,
    /// The header `Date`.
    pub date: Option<String>,
    pub body: Bytes,
}

impl RawAnswer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl From<Response<Bytes>> for RawAnswer {
    fn from(answer: Response<Bytes>) -> RawAnswer {
        let (head, body) = answer.into_parts();
        let header = |name: &str| {
            let value = head.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        RawAnswer {
            status: head.status.as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            error_type: header("x-amzn-errortype"),
            date: header("date"),
            body,
        }
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeOuts {
    /// Name, TCP, proxy and TLS.
    pub connect: Option<Duration>,
    /// For the answer's head to come, once there is a connection or while there is none.
    pub answer: Option<Duration>,
    /// All of it: an answer's body may stall after its head.
    pub whole: Option<Duration>,
}

/// Files with certificates to trust besides the system's: `AWS_CA_BUNDLE`; `SSL_CERT_FILE` replaces the system's.
pub fn private_ca_from_env() -> Option<PathBuf> {
    std::env::var_os("AWS_CA_BUNDLE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// What sends all requests of the agent.
#[derive(Debug)]
pub struct Http {
    trust: Arc<Trust>,
    idle_timeout: Option<Duration>,
    idle_connections_max: usize,
    user_agent: UserAgent,
    /// One a combination of time-outs for connecting and for an answer to begin.
    gates: Mutex<HashMap<BeginTimeOuts, Arc<Gate>>>,
}

type BeginTimeOuts = (Option<Duration>, Option<Duration>);

impl Http {
    /// The system's CAs are read when the first connection needs them.
    ///
    /// # Errors
    ///
    /// A private CA file that can't be read or holds no certificate.
    pub fn new(
        publish: &Publish,
        user_agent: &UserAgent,
        private_ca: Option<PathBuf>,
    ) -> anyhow::Result<Arc<Http>> {
        let private = match &private_ca {
            None => Vec::new(),
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| {
                    format!("can't read the CA file {} (AWS_CA_BUNDLE)", path.display())
                })?;
                trust::certificates(&pem)
                    .with_context(|| format!("the CA file {} (AWS_CA_BUNDLE)", path.display()))?
            }
        };
        Ok(Arc::new(Http {
            trust: Arc::new(Trust::new(private)),
            idle_timeout: publish.connection_ttl,
            idle_connections_max: publish.connections_max,
            user_agent: user_agent.clone(),
            gates: Mutex::default(),
        }))
    }

    /// The same for the SDK's clients.
    pub fn for_sdk(self: &Arc<Http>) -> SharedHttpClient {
        SharedHttpClient::new(ForSdk(Arc::clone(self)))
    }

    /// Sends a request and reads its answer, if that isn't too long.
    ///
    /// # Errors
    ///
    /// See [`NoAnswer`].
    pub async fn exchange(
        &self,
        request: Request<SdkBody>,
        time_outs: TimeOuts,
    ) -> Result<RawAnswer, NoAnswer> {
        let gate = self.gate((time_outs.connect, time_outs.answer));
        let exchanged = async { Ok(RawAnswer::from(gate.send(request).await?)) };
        match time_outs.whole {
            None => exchanged.await,
            Some(whole) => tokio::time::timeout(whole, exchanged)
                .await
                .map_err(|_| NoAnswer::Late(whole))?,
        }
    }

    fn gate(&self, (connect, answer): BeginTimeOuts) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let transport = |proxies: Option<Matcher>| {
            let route = Route::new(Arc::clone(&self.trust), proxies.map(Arc::new), connect);
            Transport::new(route, answer, self.idle_timeout, self.idle_connections_max)
        };
        let make = || {
            Arc::new(Gate {
                direct: transport(None),
                by_environment: transport(Some(Matcher::from_env())),
                user_agent: self.user_agent.clone(),
            })
        };
        Arc::clone(gates.entry((connect, answer)).or_insert_with(make))
    }
}

/// A client with the usual settings, without a private CA: for tools and tests.
pub fn usual_client() -> SharedHttpClient {
    SharedHttpClient::new(ForSdk(Arc::new(Http {
        trust: Arc::new(Trust::new(Vec::new())),
        idle_timeout: Some(USUAL_IDLE_TIMEOUT),
        idle_connections_max: USUAL_IDLE_CONNECTIONS_MAX,
        user_agent: UserAgent::Default,
        gates: Mutex::default(),
    })))
}

/// As the SDK wants it.
#[derive(Debug)]
struct ForSdk(Arc<Http>);

impl HttpClient for ForSdk {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let gate = self
            .0
            .gate((settings.connect_timeout(), settings.read_timeout()));
        SharedHttpConnector::new(Connector(gate))
    }
}

#[derive(Debug)]
struct Connector(Arc<Gate>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let gate = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let answer = gate.send(request).await.map_err(|error| match &error {
                NoAnswer::Late(_) => ConnectorError::timeout(error.into()),
                _ => ConnectorError::io(error.into()),
            })?;
            HttpResponse::try_from(answer.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What requests pass on their way out: they are named for the agent, and go by a proxy or not.
#[derive(Debug)]
struct Gate {
    direct: Transport,
    by_environment: Transport,
    user_agent: UserAgent,
}

impl Gate {
    async fn send(&self, mut request: Request<SdkBody>) -> Result<Response<Bytes>, NoAnswer> {
        self.name_agent(request.headers_mut());
        let transport = match is_near(request.uri()) {
            true => &self.direct,
            false => &self.by_environment,
        };
        transport.exchange(request).await
    }

    /// The header is not part of the signature.
    fn name_agent(&self, headers: &mut HeaderMap) {
        let ours = || {
            let own = concat!("aws-kinesis-agent/", env!("CARGO_PKG_VERSION"));
            match headers.get(USER_AGENT).and_then(|sdk| sdk.to_str().ok()) {
                Some(sdk) => format!("{own} {sdk}"),
                None => own.to_owned(),
            }
        };
        let text = match &self.user_agent {
            UserAgent::Default => ours(),
            UserAgent::Prefix(prefix) => format!("{prefix} {}", ours()),
            UserAgent::Override(text) => text.clone(),
        };
        // A text that can't stand in a header is left out rather than ending the call.
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(USER_AGENT, text);
        }
    }
}

/// Hosts that no proxy could reach for us: loopback, and the link-local metadata services of EC2 and ECS.
fn is_near(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_hosts_are_reached_without_a_proxy() {
        for (uri, near) in [
            ("http://127.0.0.1:4567/", true),
            ("http://localhost:4567", true),
            ("https://[::1]:1/x", true),
            ("http://169.254.169.254/latest/meta-data", true),
            ("http://[fd00:ec2::254]/latest", true),
            ("https://kinesis.eu-west-1.amazonaws.com/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_near(&Uri::from_static(uri)), near, "{uri}");
        }
    }
}
