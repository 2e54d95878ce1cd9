//! PutRecordBatch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aws_smithy_types::body::SdkBody;

use super::answer;
use super::sink::{Call, CallResult, Sink};
use super::wire::{self, Layout};
use crate::aws::Clients;
use crate::aws::http::AnswerSlot;

/// What the SDK is told in place of a good answer, which is read here.
const STAND_IN: &str = r#"{"FailedPutCount":0,"RequestResponses":[]}"#;

/// The sink of one flow to a Firehose delivery stream. Firehose speaks JSON only.
pub struct FirehoseSink {
    clients: Arc<Clients>,
    delivery_stream: String,
    layout: Layout,
}

impl FirehoseSink {
    pub fn new(clients: Arc<Clients>, delivery_stream: String, layout: Layout) -> FirehoseSink {
        FirehoseSink {
            clients,
            delivery_stream,
            layout,
        }
    }

    async fn put_json(&self, call: &Call) -> CallResult {
        let client = self
            .clients
            .firehose()
            .await
            .map_err(|error| answer::no_region(&error))?;
        let body = self.layout.json_body(&call.batch, &call.chosen);
        let slot = AnswerSlot::new(STAND_IN);
        let requested = slot.clone();
        let result = client
            .put_record_batch()
            .delivery_stream_name(&self.delivery_stream)
            .set_records(Some(Vec::new()))
            .customize()
            .mutate_request(move |request| {
                request.headers_mut().insert("content-type", wire::JSON);
                request
                    .headers_mut()
                    .insert("content-length", body.len().to_string());
                *request.body_mut() = SdkBody::from(body.clone());
                request.add_extension(requested.clone());
            })
            .send()
            .await;
        answer::read(&slot, result, call.chosen.len())
    }
}

impl Sink for FirehoseSink {
    fn put(&self, call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>> {
        Box::pin(async move { self.put_json(&call).await })
    }
}
