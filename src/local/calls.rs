//! Which service a request is for, whether its signature holds, and the answer.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;

use super::answer::{Answer, Protocol, ServiceError};
use super::entries::Base64;
use super::faults::CallFacts;
use super::percent::Form;
use super::put::{self, PutCall};
use super::received::{Call, CallOutcome, Keep, Signer, Wire};
use super::sigv4::{self, Refusal, SignedRequest};
use super::state::{HungUp, State};
use super::{ACCOUNT_ID, Service, cloudwatch, ec2, firehose, imds, kinesis, sts};

/// A call that the endpoint knows.
#[derive(Debug)]
enum Operation {
    PutRecords(Wire),
    PutRecordBatch,
    PutMetricData,
    AssumeRole(Form),
    AssumeRoleWithWebIdentity(Form),
    DescribeTags(Form),
    Metadata,
}

/// Answers a request whose body was read.
pub(super) async fn answer(state: &State, parts: &Parts, body: &Bytes) -> Result<Answer, HungUp> {
    match operation_of(parts, body) {
        Ok(Operation::PutRecords(wire)) => {
            put_call(state, parts, body, Service::Kinesis, wire).await
        }
        Ok(Operation::PutRecordBatch) => {
            put_call(state, parts, body, Service::Firehose, Wire::Json).await
        }
        Ok(Operation::PutMetricData) => {
            let protocol = Protocol::RpcCbor;
            other_call(state, parts, body, Service::CloudWatch, protocol, || {
                let metrics = cloudwatch::read(body, parts.headers.get("content-encoding"))?;
                state.received.commit_metrics(metrics);
                Ok(protocol.answer(Bytes::from_static(cloudwatch::EMPTY_ANSWER)))
            })
            .await
        }
        Ok(Operation::AssumeRole(form)) => {
            let assume = || sts::assume_role(&form, &state.roles, &state.keys, state.clock.now());
            other_call(state, parts, body, Service::Sts, Protocol::Query, assume).await
        }
        Ok(Operation::AssumeRoleWithWebIdentity(form)) => {
            // The token stands in for a signature.
            let protocol = Protocol::Query;
            let plan = state.plan(&facts(Service::Sts));
            match state.strike(&plan, protocol).await? {
                Some(answer) => Ok(answer),
                None => {
                    let now = state.clock.now();
                    let assumed =
                        sts::assume_role_with_web_identity(&form, &state.roles, &state.keys, now);
                    Ok(assumed.unwrap_or_else(|error| protocol.error(&error)))
                }
            }
        }
        Ok(Operation::DescribeTags(form)) => {
            let describe = || ec2::describe_tags(&form, state.instance.as_ref());
            other_call(
                state,
                parts,
                body,
                Service::Ec2,
                Protocol::Ec2Query,
                describe,
            )
            .await
        }
        Ok(Operation::Metadata) => {
            let plan = state.plan(&facts(Service::Imds));
            match state.strike(&plan, Protocol::Query).await? {
                Some(answer) => Ok(answer),
                None => Ok(imds::answer(
                    parts,
                    state.instance.as_ref(),
                    &state.keys,
                    state.clock.now(),
                )),
            }
        }
        Err(error) => Ok(protocol_of(parts).error(&error)),
    }
}

/// The protocol of a request, as far as its headers tell.
pub(super) fn protocol_of(parts: &Parts) -> Protocol {
    match content_type(parts) {
        "application/x-amz-cbor-1.1" => Protocol::Cbor,
        "application/cbor" => Protocol::RpcCbor,
        "application/x-www-form-urlencoded" => Protocol::Query,
        _ => Protocol::Json,
    }
}

fn operation_of(parts: &Parts, body: &[u8]) -> Result<Operation, ServiceError> {
    let unknown = || ServiceError {
        status: 404,
        code: Cow::Borrowed("UnknownOperationException"),
        message: String::new(),
    };
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match (&parts.method, parts.uri.path(), content_type(parts)) {
        (_, path, _) if path.starts_with("/latest/") => Ok(Operation::Metadata),
        (&Method::POST, cloudwatch::PATH, "application/cbor") => Ok(Operation::PutMetricData),
        (&Method::POST, "/", "application/x-www-form-urlencoded") => {
            form_operation(Form::parse(&String::from_utf8_lossy(body)))
        }
        (&Method::GET, "/", _) if parts.uri.query().is_some() => {
            form_operation(Form::parse(parts.uri.query().unwrap_or_default()))
        }
        (&Method::POST, "/", "application/x-amz-json-1.1" | "application/json") => match target {
            "Kinesis_20131202.PutRecords" => Ok(Operation::PutRecords(Wire::Json)),
            "Firehose_20150804.PutRecordBatch" => Ok(Operation::PutRecordBatch),
            _ => Err(unknown()),
        },
        (&Method::POST, "/", "application/x-amz-cbor-1.1")
            if target == "Kinesis_20131202.PutRecords" =>
        {
            Ok(Operation::PutRecords(Wire::Cbor))
        }
        _ => Err(unknown()),
    }
}

fn form_operation(form: Form) -> Result<Operation, ServiceError> {
    match form.get("Action") {
        Some("AssumeRole") => Ok(Operation::AssumeRole(form)),
        Some("AssumeRoleWithWebIdentity") => Ok(Operation::AssumeRoleWithWebIdentity(form)),
        Some("DescribeTags") => Ok(Operation::DescribeTags(form)),
        Some(action) => Err(ServiceError::caller(
            "InvalidAction",
            format!("Could not find operation {action} here"),
        )),
        None => Err(ServiceError::caller(
            "MissingAction",
            "No action was given.",
        )),
    }
}

/// The media type without parameters; empty if there is none.
fn content_type(parts: &Parts) -> &str {
    let value = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// A call that brings records, from its signature to its answer.
async fn put_call(
    state: &State,
    parts: &Parts,
    body: &Bytes,
    service: Service,
    wire: Wire,
) -> Result<Answer, HungUp> {
    let number = state.next_call.fetch_add(1, Ordering::Relaxed) + 1;
    let arrived_at = Instant::now();
    let protocol = wire.protocol();
    let signer = authenticate(state, parts, body, service, protocol);
    let known_signer = signer.clone().ok().flatten();
    let read = || {
        let signer = signer?;
        let base64 = match state.received.keep() {
            Keep::Count => Base64::Measure,
            Keep::All | Keep::Send(_) => Base64::Decode,
        };
        let (stream, entries) = match service {
            Service::Firehose => firehose::read(body, base64)?,
            _ => kinesis::read(body, wire, base64, state.record_bytes_max)?,
        };
        check_stream(state, service, &stream)?;
        Ok::<_, ServiceError>(PutCall {
            number,
            arrived_at,
            signer,
            service,
            wire,
            stream,
            entries,
        })
    };
    match read() {
        Ok(call) => {
            let render = if service == Service::Firehose {
                firehose::render
            } else {
                kinesis::render
            };
            put::put(state, call, body, render).await
        }
        Err(error) => {
            let outcome = CallOutcome::Refused(error.code.clone().into_owned());
            state.received.note(Call {
                number,
                arrived_at,
                signer: known_signer,
                service,
                wire,
                stream: None,
                n_records: 0,
                outcome,
            });
            Ok(protocol.error(&error))
        }
    }
}

/// Any other signed call: its signature, what the fault script makes of it, then what `carry_out` does.
async fn other_call(
    state: &State,
    parts: &Parts,
    body: &[u8],
    service: Service,
    protocol: Protocol,
    carry_out: impl FnOnce() -> Result<Answer, ServiceError>,
) -> Result<Answer, HungUp> {
    if let Err(error) = authenticate(state, parts, body, service, protocol) {
        return Ok(protocol.error(&error));
    }
    let plan = state.plan(&facts(service));
    if let Some(answer) = state.strike(&plan, protocol).await? {
        return Ok(answer);
    }
    match carry_out() {
        Ok(answer) => put::spoil(answer, plan.after),
        Err(error) => Ok(protocol.error(&error)),
    }
}

/// What the fault script can know of a call without records.
fn facts(service: Service) -> CallFacts<'static> {
    CallFacts {
        service,
        stream: None,
        is_cbor: service == Service::CloudWatch,
        n_records: 0,
    }
}

fn check_stream(state: &State, service: Service, stream: &str) -> Result<(), ServiceError> {
    if state.has_stream(stream) {
        return Ok(());
    }
    let message = match service {
        Service::Firehose => format!("Firehose {stream} under account {ACCOUNT_ID} not found."),
        _ => format!("Stream {stream} under account {ACCOUNT_ID} not found."),
    };
    Err(ServiceError::caller("ResourceNotFoundException", message))
}

/// Who signed a call; nobody, where signatures aren't looked at.
fn authenticate(
    state: &State,
    parts: &Parts,
    body: &[u8],
    service: Service,
    protocol: Protocol,
) -> Result<Option<Signer>, ServiceError> {
    if !state.check_signatures {
        return Ok(None);
    }
    let headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let verified =
        sigv4::verify(&request, |id| state.keys.find(id), state.clock.now()).and_then(|verified| {
            let wanted = service.signing_name();
            match verified.service == wanted {
                true => Ok(Some(Signer {
                    access_key_id: verified.access_key_id,
                    region: verified.region,
                })),
                false => Err(Refusal::Invalid(format!(
                    "Credential should be scoped to correct service: '{wanted}'."
                ))),
            }
        });
    verified.map_err(|refusal| {
        let (status, code) = refusal_code(&refusal, protocol);
        ServiceError {
            status,
            code: Cow::Borrowed(code),
            message: refusal.to_string(),
        }
    })
}

/// The status and the code by which a protocol's services refuse a signature.
fn refusal_code(refusal: &Refusal, protocol: Protocol) -> (u16, &'static str) {
    match (protocol, refusal) {
        (Protocol::Json | Protocol::Cbor | Protocol::RpcCbor, refusal) => match refusal {
            Refusal::Missing => (400, "MissingAuthenticationTokenException"),
            Refusal::Incomplete(_) => (400, "IncompleteSignatureException"),
            Refusal::UnknownKey => (400, "UnrecognizedClientException"),
            Refusal::ExpiredToken => (400, "ExpiredTokenException"),
            Refusal::Invalid(_) => (400, "InvalidSignatureException"),
        },
        (Protocol::Query, refusal) => match refusal {
            Refusal::Missing => (403, "MissingAuthenticationToken"),
            Refusal::Incomplete(_) => (403, "IncompleteSignature"),
            Refusal::UnknownKey => (403, "InvalidClientTokenId"),
            Refusal::ExpiredToken => (403, "ExpiredToken"),
            Refusal::Invalid(_) => (403, "SignatureDoesNotMatch"),
        },
        (Protocol::Ec2Query, Refusal::ExpiredToken) => (400, "RequestExpired"),
        (Protocol::Ec2Query, _) => (401, "AuthFailure"),
    }
}
