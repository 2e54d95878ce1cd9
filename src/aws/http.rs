//! The HTTP client under the SDK: rustls with ring and HTTP/1.1, the system's and a private CA, proxies from the
//! environment, and two things the SDK can't do: [`AnswerSlot`] and a user agent that is all the user's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
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

use crate::config::{Publish, UserAgent};

/// The longest answer that is read; 500 records' answers take about 60 KB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

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
/// Errors: a private CA file that can't be read or holds no certificate.
pub fn client(
    publish: &Publish,
    user_agent: &UserAgent,
    private_ca: Option<PathBuf>,
) -> anyhow::Result<SharedHttpClient> {
    let mut trust = TrustStore::empty().with_native_roots(true);
    if let Some(path) = private_ca {
        let pem = std::fs::read(&path).with_context(|| {
            format!("can't read the CA file {} (AWS_CA_BUNDLE)", path.display())
        })?;
        check_certificates(&pem)
            .with_context(|| format!("the CA file {} (AWS_CA_BUNDLE)", path.display()))?;
        trust = trust.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .context("setting up TLS")?;
    Ok(SharedHttpClient::new(Client {
        tls,
        idle_timeout: publish.connection_ttl,
        idle_connections_max: publish.connections_max,
        user_agent: user_agent.clone(),
        connectors: Mutex::default(),
    }))
}

/// The SDK's connector panics on a file without usable certificates, so they are looked at first.
fn check_certificates(pem: &[u8]) -> anyhow::Result<()> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow::anyhow!("isn't PEM: {error}"))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "holds no certificate: it must have -----BEGIN CERTIFICATE----- sections"
    );
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .context("holds a certificate that can't be used as a CA")?;
    }
    Ok(())
}

#[derive(Debug)]
struct Client {
    tls: TlsContext,
    idle_timeout: Option<Duration>,
    idle_connections_max: usize,
    user_agent: UserAgent,
    /// One a combination of time-outs: the SDK asks anew with each call.
    connectors: Mutex<HashMap<TimeOuts, SharedHttpConnector>>,
}

type TimeOuts = (Option<Duration>, Option<Duration>);

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self
            .connectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let make = || {
            SharedHttpConnector::new(Tap {
                direct: self.connector(settings, components, ProxyConfig::disabled()),
                by_environment: self.connector(settings, components, ProxyConfig::from_env()),
                user_agent: self.user_agent.clone(),
            })
        };
        connectors.entry(key).or_insert_with(make).clone()
    }
}

impl Client {
    fn connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
        proxy: ProxyConfig,
    ) -> SharedHttpConnector {
        let mut builder = Connector::builder()
            .connector_settings(settings.clone())
            .proxy_config(proxy)
            .pool_max_idle_per_host(self.idle_connections_max)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(self.tls.clone());
        if let Some(sleep) = components.sleep_impl() {
            builder.set_sleep_impl(Some(sleep));
        }
        if let Some(idle_timeout) = self.idle_timeout {
            builder = builder.pool_idle_timeout(idle_timeout);
        }
        SharedHttpConnector::new(builder.build())
    }
}

/// A connector that fills [`AnswerSlot`]s.
#[derive(Debug)]
struct Tap {
    direct: SharedHttpConnector,
    by_environment: SharedHttpConnector,
    user_agent: UserAgent,
}

impl HttpConnector for Tap {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        self.name_agent(&mut request);
        let slot = request.extension::<AnswerSlot>().cloned();
        let connector = if is_near(request.uri()) {
            &self.direct
        } else {
            &self.by_environment
        };
        let answer = connector.call(request);
        match slot {
            None => answer,
            Some(slot) => {
                HttpConnectorFuture::new(async move { take_answer(answer.await?, &slot).await })
            }
        }
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
    answer: HttpResponse,
    slot: &AnswerSlot,
) -> Result<HttpResponse, ConnectorError> {
    let header = |name: &str| answer.headers().get(name).map(str::to_owned);
    let (status, content_type, error_type) = (
        answer.status(),
        header("content-type"),
        header("x-amzn-errortype"),
    );
    let (headers, body) = (answer.headers().clone(), answer.into_body());
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(ConnectorError::io)?
        .to_bytes();
    let is_good = status.is_success();
    slot.fill(RawAnswer {
        status: status.as_u16(),
        content_type: content_type.unwrap_or_default(),
        error_type,
        body,
    });
    let stand_in = if is_good { slot.stand_in } else { "{}" };
    let mut answer = HttpResponse::new(status, SdkBody::from(stand_in));
    *answer.headers_mut() = headers;
    for (name, value) in [
        ("content-type", "application/x-amz-json-1.1"),
        ("content-length", ""),
    ] {
        answer.headers_mut().remove(name);
        if !value.is_empty() {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
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

    #[test]
    fn a_ca_file_without_certificates_is_refused_with_its_reason() {
        for (pem, reason) in [
            ("", "holds no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                "isn't PEM",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "can't be used as a CA",
            ),
        ] {
            let error = format!("{:#}", check_certificates(pem.as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
