//! PutRecordBatch.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use aws_sdk_firehose::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use tokio::sync::OnceCell;

use super::answer;
use super::sink::{Call, CallResult, Sink};
use super::wire::{self, Layout};
use crate::aws::Clients;
use crate::aws::call::{CallError, Target};

/// Which call it is, in the header that says so.
const OPERATION: &str = "Firehose_20150804.PutRecordBatch";

/// The sink of one flow to a Firehose delivery stream. Firehose speaks JSON only.
pub struct FirehoseSink {
    clients: Arc<Clients>,
    layout: Layout,
    target: OnceCell<Target>,
}

impl FirehoseSink {
    /// The delivery stream is in the layout.
    pub fn new(clients: Arc<Clients>, layout: Layout) -> FirehoseSink {
        FirehoseSink {
            clients,
            layout,
            target: OnceCell::new(),
        }
    }

    async fn put_json(&self, call: &Call) -> CallResult {
        let caller = self.clients.firehose().await;
        let caller = caller.map_err(|error| answer::no_region(&error))?;
        let target = self
            .target
            .get_or_try_init(|| target(&caller.region, caller.endpoint.as_deref()))
            .await;
        let target = target.map_err(|error| answer::without_answer(&error))?;
        let headers = [("content-type", wire::JSON), ("x-amz-target", OPERATION)];
        let body = self.layout.json_body(&call.batch, &call.chosen);
        let answered = caller.post(target, &headers, body.into()).await;
        answer::read(answered, call.chosen.len())
    }
}

/// By the SDK's rules for endpoints.
async fn target(region: &str, endpoint: Option<&str>) -> Result<Target, CallError> {
    static RULES: LazyLock<DefaultResolver> = LazyLock::new(DefaultResolver::new);
    let params = Params::builder()
        .region(region)
        .set_endpoint(endpoint.map(str::to_owned))
        .build()
        .map_err(|error| CallError::Unsendable(error.into()))?;
    let endpoint = RULES.resolve_endpoint(&params).await;
    Target::new(endpoint.map_err(CallError::Unsendable)?.url())
}

impl Sink for FirehoseSink {
    fn put(&self, call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>> {
        Box::pin(async move { self.put_json(&call).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_go_where_the_region_or_the_endpoint_says() {
        for (region, endpoint, expected) in [
            (
                "us-east-1",
                None,
                "https://firehose.us-east-1.amazonaws.com/",
            ),
            (
                "cn-north-1",
                None,
                "https://firehose.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "us-east-1",
                Some("http://127.0.0.1:4567"),
                "http://127.0.0.1:4567/",
            ),
        ] {
            let found = target(region, endpoint).await.unwrap();
            assert_eq!(found.url(), expected, "{region} {endpoint:?}");
        }
    }
}
