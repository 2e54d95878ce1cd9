//! What an endpoint is and knows, shared by all of its connections, and how the fault script strikes a call.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::answer::{Answer, Protocol, ServiceError, plain};
use super::faults::{Before, CallFacts, Faults, Plan};
use super::keys::KeyRing;
use super::limits::KINESIS_RECORD_BYTES_CEILING;
use super::options::{Clock, Instance, Options, Roles, Streams};
use super::put::ReadyAnswers;
use super::received::Received;
use super::shards::Shards;

/// What all connections of an endpoint share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) check_signatures: bool,
    pub(super) streams: RwLock<Streams>,
    pub(super) roles: Roles,
    pub(super) instance: Option<Instance>,
    pub(super) shards: Shards,
    pub(super) record_bytes_max: usize,
    pub(super) clock: Clock,
    pub(super) keys: KeyRing,
    pub(super) faults: Mutex<Faults>,
    pub(super) received: Received,
    pub(super) ready_answers: ReadyAnswers,
    pub(super) next_call: AtomicU64,
    pub(super) next_sequence: AtomicU64,
    pub(super) next_request: AtomicU64,
    /// Bytes of the bodies of all calls.
    pub(super) body_bytes: AtomicU64,
    /// Becomes true once, when the endpoint stops.
    pub(super) stop: watch::Sender<bool>,
}

/// The connection is dropped without an answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint hung up")]
pub(super) struct HungUp;

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            check_signatures: options.check_signatures,
            streams: RwLock::new(options.streams),
            roles: options.roles,
            instance: options.instance,
            shards: Shards::new(options.shards, options.enforce_shard_limits),
            record_bytes_max: options.record_bytes_max.min(KINESIS_RECORD_BYTES_CEILING),
            clock: options.clock,
            keys: KeyRing::new(options.credentials),
            faults: Mutex::new(options.faults),
            received: Received::new(options.keep),
            ready_answers: Mutex::default(),
            next_call: AtomicU64::new(0),
            next_sequence: AtomicU64::new(0),
            next_request: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        }
    }

    pub(super) fn has_stream(&self, name: &str) -> bool {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.has(name)
    }

    pub(super) fn plan(&self, call: &CallFacts<'_>) -> Plan {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.is_empty() {
            Plan::default()
        } else {
            faults.plan(call)
        }
    }

    /// Returns when the endpoint stops.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // `self` holds the sender, so the channel isn't closed.
        let _ = stop.wait_for(|is_stopping| *is_stopping).await;
    }

    /// Lets the delay pass and says what replaces the call, if anything.
    pub(super) async fn strike(
        &self,
        plan: &Plan,
        protocol: Protocol,
    ) -> Result<Option<Answer>, HungUp> {
        if !plan.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(plan.delay) => {}
                () = self.stopped() => return Err(HungUp),
            }
        }
        Ok(match &plan.before {
            None => None,
            Some(Before::Reset) => return Err(HungUp),
            Some(Before::Stall) => {
                self.stopped().await;
                return Err(HungUp);
            }
            Some(Before::Status(status)) => Some(plain(*status, "struck by the fault script\n")),
            Some(Before::RefuseCbor(status)) => {
                let code = if *status < 500 {
                    "SerializationException"
                } else {
                    "InternalFailure"
                };
                let message = "this endpoint takes no CBOR".to_owned();
                // Those that don't know CBOR don't answer in it either.
                Some(Protocol::Json.error(&ServiceError {
                    status: *status,
                    code: Cow::Borrowed(code),
                    message,
                }))
            }
            Some(Before::Error { code, status }) => {
                let status = status.unwrap_or(match code.as_str() {
                    "InternalFailure" | "InternalServerError" => 500,
                    "ServiceUnavailable" | "ServiceUnavailableException" => 503,
                    _ => 400,
                });
                let message = "refused by the fault script".to_owned();
                Some(protocol.error(&ServiceError {
                    status,
                    code: Cow::Owned(code.clone()),
                    message,
                }))
            }
        })
    }
}
