//! A metadata service in memory, for what no service on loopback does at will.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

/// What comes back for a request.
pub enum Reply {
    Answer(u16, String),
    /// Connected, and no answer within the time-out for one.
    TimeOut,
    Refused,
    /// Nothing, for ever.
    Silence,
}

pub fn text(text: &str) -> Reply {
    Reply::Answer(200, text.to_owned())
}

pub fn status(status: u16) -> Reply {
    Reply::Answer(status, String::new())
}

/// Answers by `METHOD PATH` and the token, if there is one.
pub type Script = fn(&str, Option<&str>) -> Reply;

/// A version 2 service: `script` sees only requests for metadata.
pub fn with_tokens(script: fn(&str) -> Reply, path: &str, token: Option<&str>) -> Reply {
    match (path, token) {
        ("PUT /latest/api/token", _) => text("real-token"),
        (path, Some("real-token")) => script(path.strip_prefix("GET ").unwrap_or(path)),
        _ => status(401),
    }
}

/// The service, and what it was asked: `METHOD PATH TOKEN`.
#[derive(Debug, Clone)]
pub struct InMemory {
    script: Script,
    asked: Arc<Mutex<Vec<String>>>,
}

impl InMemory {
    pub fn new(script: Script) -> InMemory {
        InMemory {
            script,
            asked: Arc::default(),
        }
    }

    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    pub fn client(&self) -> SharedHttpClient {
        let connector = self.connector();
        http_client_fn(move |_, _| connector.clone())
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl HttpConnector for InMemory {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().trim_start_matches("http://metadata");
        let asked = format!("{} {path}", request.method());
        let token = request.headers().get("x-aws-ec2-metadata-token");
        let reply = (self.script)(&asked, token);
        let with_token = format!("{asked} {}", token.unwrap_or("-"));
        self.asked.lock().unwrap().push(with_token);
        let is_token_request = request.method() == "PUT";
        HttpConnectorFuture::new(async move {
            match reply {
                Reply::Answer(status, body) => {
                    let status = status.try_into().unwrap();
                    let mut answer = HttpResponse::new(status, SdkBody::from(body));
                    if is_token_request {
                        let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
                        answer.headers_mut().insert(ttl, "21600");
                    }
                    Ok(answer)
                }
                Reply::TimeOut => Err(ConnectorError::timeout("too late".into())),
                Reply::Refused => {
                    let error = io::Error::from(io::ErrorKind::ConnectionRefused);
                    Err(ConnectorError::io(error.into()))
                }
                Reply::Silence => pending().await,
            }
        })
    }
}
