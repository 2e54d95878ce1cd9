//! Requests over a pool of HTTP/1.1 connections.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::route::Route;

/// What a connection reads at once, and the most its heads may take. A good answer is some 60 KB, of which nothing is
/// kept; the default grows to 400 KB a connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// No answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct AnswerTimeout(Duration);

/// Sends requests, each over a connection of its own while it is in flight.
pub struct Transport {
    client: legacy::Client<Route, SdkBody>,
    route: Route,
    /// For the answer's head to come.
    answer_timeout: Option<Duration>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// A pool that keeps `idle_max` connections a host for `idle_timeout` after their last answer.
    pub fn new(
        route: Route,
        answer_timeout: Option<Duration>,
        idle_timeout: Option<Duration>,
        idle_max: usize,
    ) -> Transport {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle_max)
            .http1_max_buf_size(BUFFER_BYTES);
        if let Some(idle_timeout) = idle_timeout {
            builder.pool_idle_timeout(idle_timeout);
        }
        Transport {
            client: builder.build(route.clone()),
            route,
            answer_timeout,
        }
    }

    /// Sends a request; the answer with its body still to come.
    ///
    /// A connection that turns out to be closed before anything was written to it is replaced; nothing else is sent
    /// twice.
    pub fn exchange(
        &self,
        request: HttpRequest,
    ) -> impl Future<Output = Result<Response<Incoming>, ConnectorError>> + Send + use<> {
        let sent = request
            .try_into_http1x()
            .map(|request| self.client.request(self.for_proxy(request)))
            .map_err(|error| ConnectorError::user(error.into()));
        let timeout = self.answer_timeout;
        async move {
            let sent = sent?;
            let answer = match timeout {
                None => sent.await,
                Some(timeout) => tokio::time::timeout(timeout, sent)
                    .await
                    .map_err(|_| ConnectorError::timeout(AnswerTimeout(timeout).into()))?,
            };
            answer.map_err(|error| ConnectorError::io(error.into()))
        }
    }

    /// A proxy that reads the request wants to know who asks; one that carries TLS was told when the tunnel was made.
    fn for_proxy(&self, mut request: Request<SdkBody>) -> Request<SdkBody> {
        if request.uri().scheme() == Some(&Scheme::HTTP)
            && let Some(proxy) = self.route.proxy_for(request.uri())
            && let Some(auth) = proxy.basic_auth()
        {
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, auth.clone());
        }
        request
    }
}
