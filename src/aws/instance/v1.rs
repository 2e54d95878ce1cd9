//! Metadata without session tokens (IMDSv1), for where tokens can't be had: in a container, whose answers to token
//! requests may be dropped for their hop limit, and in services that mimic the metadata without knowing tokens.
//!
//! The SDK's providers know version 2 alone. This stands under them, so that credentials and the region have the
//! fall-back too: a token request that fails is answered with a stand-in token once the metadata has answered without
//! one, and requests with the stand-in go out without any token.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// The longest answer of the metadata service that is read; an identity document takes about 500 bytes.
const METADATA_BYTES_MAX: usize = 64 * 1024;
/// How long the stand-in is good; the SDK asks for a token again two minutes before.
const STAND_IN_TTL: Duration = Duration::from_secs(300);

const TOKEN_PATH: &str = "/latest/api/token";
/// What is asked without a token to see whether that is allowed.
const PROBE_PATH: &str = "/latest/meta-data/";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const STAND_IN: &str = "no-token";

/// Whether metadata may be read without a token: `AWS_EC2_METADATA_V1_DISABLED` forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Allowed,
    Forbidden,
}

impl Fallback {
    /// What the environment says.
    pub fn from_env() -> Fallback {
        match std::env::var("AWS_EC2_METADATA_V1_DISABLED") {
            Ok(value) if value.eq_ignore_ascii_case("true") => Fallback::Forbidden,
            _ => Fallback::Allowed,
        }
    }
}

/// `client`, with the fall-back and a bound on what is read from the metadata service. Other requests pass unchanged.
pub fn under(client: SharedHttpClient, fallback: Fallback) -> SharedHttpClient {
    SharedHttpClient::new(Client { client, fallback })
}

#[derive(Debug)]
struct Client {
    client: SharedHttpClient,
    fallback: Fallback,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            connector: self.client.http_connector(settings, components),
            fallback: self.fallback,
        })
    }
}

#[derive(Debug)]
struct Connector {
    connector: SharedHttpConnector,
    fallback: Fallback,
}

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if is_token_request(&request) {
            let (connector, fallback) = (self.connector.clone(), self.fallback);
            return HttpConnectorFuture::new(token(connector, request, fallback));
        }
        match request.headers().get(TOKEN_HEADER) {
            None => return self.connector.call(request),
            Some(STAND_IN) => {
                request.headers_mut().remove(TOKEN_HEADER);
            }
            Some(_) => {}
        }
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move { answer.await.map(bounded) })
    }
}

fn is_token_request(request: &HttpRequest) -> bool {
    let path = request.uri().split(['?', '#']).next().unwrap_or_default();
    request.method() == "PUT"
        && path.ends_with(TOKEN_PATH)
        && request.headers().contains_key(TTL_HEADER)
}

async fn token(
    connector: SharedHttpConnector,
    request: HttpRequest,
    fallback: Fallback,
) -> Result<HttpResponse, ConnectorError> {
    let probe = match fallback {
        Fallback::Allowed => probe_of(&request),
        Fallback::Forbidden => None,
    };
    let answer = connector.call(request).await.map(bounded);
    let may_know_no_tokens = match &answer {
        Ok(answer) => matches!(answer.status().as_u16(), 403 | 404 | 405),
        // Connected, and nothing came back: the hop limit. What can't be reached at all fails in another way, but for
        // a connection that times out; the probe then times out as well.
        Err(error) => error.is_timeout(),
    };
    let Some(probe) = probe.filter(|_| may_know_no_tokens) else {
        return answer;
    };
    match connector.call(probe).await {
        Ok(probed) if probed.status().is_success() || probed.status().as_u16() == 404 => {
            Ok(stand_in())
        }
        // It insists on tokens, or doesn't answer either.
        _ => answer,
    }
}

/// The request that a token request's host would answer only if it does without tokens.
fn probe_of(token_request: &HttpRequest) -> Option<HttpRequest> {
    let (base, _) = token_request.uri().rsplit_once(TOKEN_PATH)?;
    HttpRequest::get(format!("{base}{PROBE_PATH}")).ok()
}

fn stand_in() -> HttpResponse {
    let status = StatusCode::try_from(200).expect("200 is a status");
    let mut answer = HttpResponse::new(status, SdkBody::from(STAND_IN));
    answer
        .headers_mut()
        .insert(TTL_HEADER, STAND_IN_TTL.as_secs().to_string());
    answer
}

fn bounded(answer: HttpResponse) -> HttpResponse {
    answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, METADATA_BYTES_MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, Reply, Script, status, text, with_tokens};
    use super::*;

    const TOKEN: &str = "PUT /latest/api/token";
    const PROBE: &str = "GET /latest/meta-data/";

    fn above(service: &InMemory, fallback: Fallback) -> Connector {
        Connector {
            connector: service.connector(),
            fallback,
        }
    }

    fn token_request() -> HttpRequest {
        let mut request = HttpRequest::get("http://metadata/latest/api/token").unwrap();
        request.set_method("PUT").unwrap();
        request.headers_mut().insert(TTL_HEADER, "21600");
        request
    }

    fn read(answer: HttpResponse) -> (u16, Option<String>) {
        let body = answer
            .body()
            .bytes()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        (answer.status().as_u16(), body)
    }

    #[tokio::test]
    async fn a_stand_in_is_given_only_where_metadata_is_read_without_token() {
        let rows: [(&str, Script, bool); 9] = [
            (
                "no tokens here, 404",
                |path, _| if path == TOKEN { status(404) } else { text("") },
                true,
            ),
            (
                "no tokens here, 405",
                |path, _| if path == TOKEN { status(405) } else { text("") },
                true,
            ),
            (
                "no tokens here, 403",
                |path, _| if path == TOKEN { status(403) } else { text("") },
                true,
            ),
            (
                "the hop limit",
                |path, _| {
                    if path == TOKEN {
                        Reply::TimeOut
                    } else {
                        text("")
                    }
                },
                true,
            ),
            ("a mimic without a listing", |_, _| status(404), true),
            (
                "tokens are a must, and late",
                |path, _| {
                    if path == TOKEN {
                        Reply::TimeOut
                    } else {
                        status(401)
                    }
                },
                false,
            ),
            ("turned off", |_, _| status(403), false),
            ("nobody there", |_, _| Reply::TimeOut, false),
            (
                "out of order",
                |path, _| if path == TOKEN { status(500) } else { text("") },
                false,
            ),
        ];
        for (name, script, is_stand_in) in rows {
            let service = InMemory::new(script);
            let answer = above(&service, Fallback::Allowed)
                .call(token_request())
                .await;
            let ttl = answer
                .as_ref()
                .ok()
                .and_then(|answer| answer.headers().get(TTL_HEADER))
                .map(str::to_owned);
            let is_given =
                answer.is_ok_and(|answer| answer.body().bytes() == Some(STAND_IN.as_bytes()));
            assert_eq!(is_given, is_stand_in, "{name}");
            if is_given {
                assert_eq!(ttl.as_deref(), Some("300"), "{name}");
                assert_eq!(
                    service.asked(),
                    [format!("{TOKEN} -"), format!("{PROBE} -")],
                    "{name}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_fails_for_other_reasons_is_not_probed() {
        for (fallback, script) in [
            (Fallback::Forbidden, (|_, _| status(404)) as Script),
            (Fallback::Allowed, |_, _| Reply::Refused),
            (Fallback::Allowed, |_, _| status(400)),
            (Fallback::Allowed, |_, _| text("real-token")),
        ] {
            let service = InMemory::new(script);
            let _ = above(&service, fallback).call(token_request()).await;
            assert_eq!(service.asked(), [format!("{TOKEN} -")]);
        }
    }

    #[tokio::test]
    async fn only_the_stand_in_is_taken_away() {
        let service = InMemory::new(|_, token| text(token.unwrap_or("none")));
        let connector = above(&service, Fallback::Allowed);
        for (token, seen) in [
            (Some(STAND_IN), "none"),
            (Some("real-token"), "real-token"),
            (None, "none"),
        ] {
            let mut request = HttpRequest::get("http://metadata/latest/meta-data/ami-id").unwrap();
            if let Some(token) = token {
                request.headers_mut().insert(TOKEN_HEADER, token);
            }
            connector.call(request).await.unwrap();
            let asked = service.asked().pop().unwrap();
            let sent = if seen == "none" { "-" } else { seen };
            assert_eq!(asked, format!("GET /latest/meta-data/ami-id {sent}"));
        }
    }

    #[tokio::test]
    async fn a_put_elsewhere_passes_unchanged() {
        let service = InMemory::new(|path, token| with_tokens(|_| status(404), path, token));
        let mut request = HttpRequest::get("http://metadata/bucket/latest/api/token").unwrap();
        request.set_method("PUT").unwrap();
        let answer = above(&service, Fallback::Allowed)
            .call(request)
            .await
            .unwrap();
        assert_eq!(read(answer).0, 401);
        assert_eq!(service.asked(), ["PUT /bucket/latest/api/token -"]);
    }

    #[tokio::test]
    async fn endless_answers_are_cut_off() {
        use http_body_util::BodyExt as _;
        for (n_bytes, is_read) in [(METADATA_BYTES_MAX, true), (METADATA_BYTES_MAX + 1, false)] {
            let answer =
                HttpResponse::new(200.try_into().unwrap(), SdkBody::from("x".repeat(n_bytes)));
            assert_eq!(
                bounded(answer).into_body().collect().await.is_ok(),
                is_read,
                "{n_bytes}"
            );
        }
    }
}
