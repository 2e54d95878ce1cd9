//! PutRecords, in CBOR where the endpoint takes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};

use aws_sdk_kinesis::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use tokio::sync::OnceCell;

use super::answer;
use super::budget::Budget;
use super::failure::{CallFailure, FailureKind};
use super::sink::{Call, CallResult, Sink};
use super::wire::{self, Layout};
use crate::aws::Clients;
use crate::aws::call::{CallError, Payload, Target};
use crate::config::WirePreference;
use crate::record::FlowIndex;
use crate::telemetry::events;

/// Which call it is, in the header that says so.
const OPERATION: &str = "Kinesis_20131202.PutRecords";

/// Refusals by a service that may just be failing, each followed by a success in JSON, that speak against CBOR.
const REFUSALS_MIN: u8 = 3;

/// The wire that an endpoint takes: found out by the first calls, shared by all flows to it.
///
/// Until a CBOR call has succeeded, one that is refused for a reason other than load or permission is sent again as
/// JSON at once; the wire that succeeds stays. Some emulators answer CBOR with 400 or even 500; since 500 is also what a
/// service says that is just failing, that must have happened [`REFUSALS_MIN`] times.
#[derive(Debug)]
pub struct WireChoice {
    wire: AtomicU8,
    n_refusals: AtomicU8,
}

const UNDECIDED: u8 = 0;
const CBOR: u8 = 1;
const JSON: u8 = 2;

impl WireChoice {
    pub fn new(preference: WirePreference) -> WireChoice {
        let wire = match preference {
            WirePreference::Auto => UNDECIDED,
            WirePreference::Cbor => CBOR,
            WirePreference::Json => JSON,
        };
        WireChoice {
            wire: AtomicU8::new(wire),
            n_refusals: AtomicU8::new(0),
        }
    }

    fn get(&self) -> u8 {
        self.wire.load(Ordering::Relaxed)
    }

    /// A CBOR call was taken.
    fn cbor_is_taken(&self) {
        self.decide(CBOR);
    }

    /// A CBOR call was refused so, and taken as JSON; whether that decided it.
    fn json_alone_is_taken(&self, refusal: &CallFailure) -> bool {
        let n_before = self.n_refusals.fetch_add(1, Ordering::Relaxed);
        let is_sure = refusal.kind != FailureKind::Service || n_before >= REFUSALS_MIN - 1;
        is_sure && self.decide(JSON)
    }

    /// Whether this call is the one that decided it.
    fn decide(&self, wire: u8) -> bool {
        self.wire
            .compare_exchange(UNDECIDED, wire, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// The sink of one flow to a Kinesis stream.
pub struct KinesisSink {
    clients: Arc<Clients>,
    stream: String,
    layout: Layout,
    wire: Arc<WireChoice>,
    flow: FlowIndex,
    /// JSON bodies are copies of which the batch's price knows nothing.
    budget: Budget,
    target: OnceCell<Target>,
}

impl KinesisSink {
    /// `stream` is a name or an ARN.
    pub fn new(
        clients: Arc<Clients>,
        stream: String,
        layout: Layout,
        wire: Arc<WireChoice>,
        flow: FlowIndex,
        budget: Budget,
    ) -> KinesisSink {
        KinesisSink {
            clients,
            stream,
            layout,
            wire,
            flow,
            budget,
            target: OnceCell::new(),
        }
    }

    async fn put_in_either_wire(&self, call: &Call) -> CallResult {
        let wire = self.wire.get();
        if wire == JSON {
            return self.put_json(call).await;
        }
        let result = self
            .put_body(wire::CBOR, self.cbor_payload(call), call.chosen.len())
            .await;
        if wire == CBOR {
            return result;
        }
        match &result {
            Ok(_) => {
                self.wire.cbor_is_taken();
                result
            }
            Err(failure) if may_be_for_cbor(failure) => {
                let again = self.put_json(call).await;
                if again.is_ok() && self.wire.json_alone_is_taken(failure) {
                    events::wire_is_json(failure);
                }
                again
            }
            Err(_) => result,
        }
    }

    async fn put_json(&self, call: &Call) -> CallResult {
        let body = self.layout.json_body(&call.batch, &call.chosen);
        let _held = self.budget.hold(self.flow, body.len());
        self.put_body(wire::JSON, body.into(), call.chosen.len())
            .await
    }

    /// The digest is of the batch's whole body.
    fn cbor_payload(&self, call: &Call) -> Payload {
        let is_whole = call.chosen.len() == call.batch.records.len();
        Payload {
            bytes: self.layout.cbor_body(&call.batch, &call.chosen),
            digest: call.batch.digest.filter(|_| is_whole),
        }
    }

    async fn put_body(
        &self,
        content_type: &'static str,
        body: Payload,
        n_sent: usize,
    ) -> CallResult {
        let caller = self.clients.kinesis().await;
        let caller = caller.map_err(|error| answer::no_region(&error))?;
        let make = || target(&caller.region, caller.endpoint.as_deref(), &self.stream);
        let target = self.target.get_or_try_init(make).await;
        let target = target.map_err(|error| answer::without_answer(&error))?;
        let headers = [("content-type", content_type), ("x-amz-target", OPERATION)];
        let answered = caller.post(target, &headers, body).await;
        answer::read(answered, n_sent)
    }
}

/// By the SDK's rules for endpoints: the account of an ARN has one of its own.
async fn target(region: &str, endpoint: Option<&str>, stream: &str) -> Result<Target, CallError> {
    static RULES: LazyLock<DefaultResolver> = LazyLock::new(DefaultResolver::new);
    let arn = stream.starts_with("arn:").then(|| stream.to_owned());
    let params = Params::builder()
        .region(region)
        .set_endpoint(endpoint.map(str::to_owned))
        .operation_type("data")
        .set_stream_arn(arn)
        .build()
        .map_err(|error| CallError::Unsendable(error.into()))?;
    let endpoint = RULES.resolve_endpoint(&params).await;
    Target::new(endpoint.map_err(CallError::Unsendable)?.url())
}

/// Whether a refusal may be due to the wire: anything but load, permission and what isn't a refusal at all.
fn may_be_for_cbor(failure: &CallFailure) -> bool {
    let by_kind = matches!(
        failure.kind,
        FailureKind::Service | FailureKind::Content | FailureKind::DestinationMissing
    );
    by_kind && !failure.may_be_accepted()
}

impl Sink for KinesisSink {
    fn put(&self, call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>> {
        Box::pin(async move { self.put_in_either_wire(&call).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::failure::UNUSABLE_ANSWER;

    fn refusal(kind: FailureKind) -> CallFailure {
        CallFailure {
            kind,
            code: "X".to_owned(),
            message: String::new(),
        }
    }

    #[tokio::test]
    async fn calls_go_where_the_region_the_endpoint_or_the_arn_says() {
        const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
        for (region, endpoint, stream, expected) in [
            (
                "eu-west-1",
                None,
                "s",
                Some("https://kinesis.eu-west-1.amazonaws.com/"),
            ),
            (
                "cn-north-1",
                None,
                "s",
                Some("https://kinesis.cn-north-1.amazonaws.com.cn/"),
            ),
            (
                "eu-west-1",
                None,
                ARN,
                Some("https://123456789012.data-kinesis.eu-west-1.amazonaws.com/"),
            ),
            (
                "eu-west-1",
                Some("http://127.0.0.1:4567"),
                "s",
                Some("http://127.0.0.1:4567/"),
            ),
            (
                "eu-west-1",
                Some("http://127.0.0.1:4567/a"),
                ARN,
                Some("http://127.0.0.1:4567/a/"),
            ),
            ("eu-west-1", None, "arn:aws:kinesis", None),
        ] {
            let found = target(region, endpoint, stream).await.ok();
            let url = found.as_ref().map(|target| target.url());
            assert_eq!(url, expected, "{region} {endpoint:?} {stream}");
        }
    }

    #[test]
    fn a_plain_refusal_of_cbor_decides_at_once_and_a_failing_service_at_the_third_time() {
        for (kind, decides_at) in [(FailureKind::Content, 1), (FailureKind::Service, 3)] {
            let choice = WireChoice::new(WirePreference::Auto);
            let decided: Vec<bool> = (1..=5)
                .map(|_| choice.json_alone_is_taken(&refusal(kind)))
                .collect();
            let expected: Vec<bool> = (1..=5).map(|n| n == decides_at).collect();
            assert_eq!(decided, expected, "{kind:?}");
            assert_eq!(choice.get(), JSON);
        }
    }

    #[test]
    fn cbor_that_was_taken_once_stays() {
        let choice = WireChoice::new(WirePreference::Auto);
        choice.cbor_is_taken();
        assert!(!choice.json_alone_is_taken(&refusal(FailureKind::Content)));
        assert_eq!(choice.get(), CBOR);
    }

    #[test]
    fn only_what_cbor_can_be_blamed_for_is_tried_as_json() {
        for (kind, is_tried) in [
            (FailureKind::Service, true),
            (FailureKind::Content, true),
            (FailureKind::DestinationMissing, true),
            (FailureKind::Throttled, false),
            (FailureKind::Access, false),
            (FailureKind::Connection, false),
            (FailureKind::Unanswered, false),
            (FailureKind::NoCredentials, false),
            (FailureKind::NoRegion, false),
        ] {
            assert_eq!(may_be_for_cbor(&refusal(kind)), is_tried, "{kind:?}");
        }
        let garbled = CallFailure {
            code: UNUSABLE_ANSWER.to_owned(),
            ..refusal(FailureKind::Service)
        };
        assert!(!may_be_for_cbor(&garbled), "its records were accepted");
    }
}
