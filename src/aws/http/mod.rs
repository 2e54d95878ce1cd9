//! The HTTP client under the SDK: HTTP/1.1 over rustls with ring, the system's and a private CA, proxies from the
//! environment, and two things the SDK's own can't do: [`AnswerSlot`] and a user agent that is all the user's.
//!
//! The SDK's stock client offers HTTP/2 first and keeps large buffers with each connection; a bounded number of small
//! connections is what suits hundreds of calls in flight.
//!
//! ```text
//!  SDK ─▶ Tap (user agent, answer slot) ─▶ Transport (pool of hyper-util) ─▶ Route (proxy, TLS by Trust) ─▶ host
//! ```

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
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::{Publish, UserAgent};
use route::Route;
use transport::Transport;
use trust::Trust;

/// The longest answer that is read; 500 records' answers take about 60 KB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The media type of what the SDK is told instead.
const STAND_IN_TYPE: http::HeaderValue =
    http::HeaderValue::from_static("application/x-amz-json-1.1");
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
    pub body: Bytes,
}

/// A request's extension: takes the answer before the SDK parses it, and hands the SDK `stand_in` instead.
///
/// Parsing 500 records' answers costs the SDK more than writing and sending their bodies does, and it can't read CBOR.
#[derive(Debug, Clone)]
pub struct AnswerSlot {
    answer: Arc<Mutex<Option<RawAnswer>>>,
    stand_in: &'static str,
}

impl AnswerSlot {
    /// A slot whose SDK is told `stand_in` (a JSON text) in place of a good answer.
    pub fn new(stand_in: &'static str) -> AnswerSlot {
        AnswerSlot {
            answer: Arc::default(),
            stand_in,
        }
    }

    /// The answer, once there was one.
    pub fn take(&self) -> Option<RawAnswer> {
        self.answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn fill(&self, answer: RawAnswer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// Files with certificates to trust besides the system's: `AWS_CA_BUNDLE`; `SSL_CERT_FILE` replaces the system's.
pub fn private_ca_from_env() -> Option<PathBuf> {
    std::env::var_os("AWS_CA_BUNDLE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// The client that every AWS client of the agent shares.
///
/// The system's CAs are read when the first connection needs them.
///
/// # Errors
///
/// A private CA file that can't be read or holds no certificate.
pub fn client(
    publish: &Publish,
    user_agent: &UserAgent,
    private_ca: Option<PathBuf>,
) -> anyhow::Result<SharedHttpClient> {
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
    Ok(SharedHttpClient::new(Client {
        trust: Arc::new(Trust::new(private)),
        idle_timeout: publish.connection_ttl,
        idle_connections_max: publish.connections_max,
        user_agent: user_agent.clone(),
        connectors: Mutex::default(),
    }))
}

/// A client with the usual settings, without a private CA: for tools and tests.
pub fn usual_client() -> SharedHttpClient {
    SharedHttpClient::new(Client {
        trust: Arc::new(Trust::new(Vec::new())),
        idle_timeout: Some(USUAL_IDLE_TIMEOUT),
        idle_connections_max: USUAL_IDLE_CONNECTIONS_MAX,
        user_agent: UserAgent::Default,
        connectors: Mutex::default(),
    })
}

#[derive(Debug)]
struct Client {
    trust: Arc<Trust>,
    idle_timeout: Option<Duration>,
    idle_connections_max: usize,
    user_agent: UserAgent,
    /// One a combination of time-outs: the SDK asks anew with each call.
    connectors: Mutex<HashMap<TimeOuts, SharedHttpConnector>>,
}

/// For connecting, and for an answer to begin.
type TimeOuts = (Option<Duration>, Option<Duration>);

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self
            .connectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let make = || {
            SharedHttpConnector::new(Tap {
                direct: self.transport(key, None),
                by_environment: self.transport(key, Some(Matcher::from_env())),
                user_agent: self.user_agent.clone(),
            })
        };
        connectors.entry(key).or_insert_with(make).clone()
    }
}

impl Client {
    fn transport(&self, (connect, answer): TimeOuts, proxies: Option<Matcher>) -> Transport {
        let route = Route::new(Arc::clone(&self.trust), proxies.map(Arc::new), connect);
        Transport::new(route, answer, self.idle_timeout, self.idle_connections_max)
    }
}

/// Names the agent, and fills [`AnswerSlot`]s.
#[derive(Debug)]
struct Tap {
    direct: Transport,
    by_environment: Transport,
    user_agent: UserAgent,
}

impl HttpConnector for Tap {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        self.name_agent(&mut request);
        let slot = request.extension::<AnswerSlot>().cloned();
        let transport = if is_near(request.uri()) {
            &self.direct
        } else {
            &self.by_environment
        };
        let answer = transport.exchange(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            match slot {
                Some(slot) => take_answer(answer, &slot).await,
                None => HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                    .map_err(|error| ConnectorError::other(error.into(), None)),
            }
        })
    }
}

impl Tap {
    /// The header is not part of the signature.
    fn name_agent(&self, request: &mut HttpRequest) {
        const HEADER: &str = "user-agent";
        let ours = || {
            let sdk = request.headers().get(HEADER).unwrap_or_default();
            format!("aws-kinesis-agent/{} {sdk}", env!("CARGO_PKG_VERSION"))
        };
        let text = match &self.user_agent {
            UserAgent::Default => ours(),
            UserAgent::Prefix(prefix) => format!("{prefix} {}", ours()),
            UserAgent::Override(text) => text.clone(),
        };
        // A text that can't stand in a header is left out rather than ending the call.
        let _ = request.headers_mut().try_insert(HEADER, text);
    }
}

/// Hosts that no proxy could reach for us: loopback, and the link-local metadata services of EC2 and ECS.
fn is_near(uri: &str) -> bool {
    let authority = uri
        .split("://")
        .nth(1)
        .unwrap_or(uri)
        .split('/')
        .next()
        .unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

async fn take_answer(
    answer: http::Response<Incoming>,
    slot: &AnswerSlot,
) -> Result<HttpResponse, ConnectorError> {
    let (head, body) = answer.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(ConnectorError::io)?
        .to_bytes();
    slot.fill(RawAnswer {
        status: head.status.as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        error_type: header("x-amzn-errortype"),
        body,
    });
    let stand_in = if head.status.is_success() {
        slot.stand_in
    } else {
        "{}"
    };
    // The SDK looks at the date, for a clock that is off, and at the request's id.
    let mut told = http::Response::new(SdkBody::from(stand_in));
    *told.status_mut() = head.status;
    *told.headers_mut() = head.headers;
    told.headers_mut().remove(http::header::CONTENT_LENGTH);
    told.headers_mut()
        .insert(http::header::CONTENT_TYPE, STAND_IN_TYPE);
    HttpResponse::try_from(told).map_err(|error| ConnectorError::other(error.into(), None))
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
            assert_eq!(is_near(uri), near, "{uri}");
        }
    }
}
