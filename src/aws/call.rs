//! The calls that carry data: signed and sent here, one request each, their answers as they came.
//!
//! The SDK's own operations cost some 60 µs a call whatever its body holds, more than hashing it does, and want to
//! build bodies and read answers by themselves. So its knowledge is used without its machinery: credentials come from
//! its chains, endpoints from its rules, signatures from its signer. Trying again is the publisher's.
//!
//! ```text
//!  Target ─┐                ┌─ Held: credentials, renewed before they end
//!  body ───┴─▶ Caller::post ─┼─ aws-sigv4, at the service's time
//!                           └─ Http ─▶ RawAnswer
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::NoCredentials;
use super::held::Held;
use super::http::{Http, NoAnswer, RawAnswer, TimeOuts};
use crate::digest::Digest;

/// A service's clock and ours may be so far apart without a word: a signature is good for five minutes.
const SKEW_MIN: Duration = Duration::from_secs(4 * 60);

/// What a refusal says, somewhere, that is about the time of its signature.
const ABOUT_TIME: &[&str] = &[
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "RequestExpired",
    "TimeTooSkewed",
    "RequestInTheFuture",
];
/// What one says that is about the credentials.
const ABOUT_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "UnrecognizedClient",
];

/// Why a call came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    NoCredentials(#[from] NoCredentials),
    /// What it was to be made of can't stand in a request.
    #[error("the request can't be built")]
    Unsendable(#[source] BoxError),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

/// Where calls go.
#[derive(Debug, Clone)]
pub struct Target {
    uri: Uri,
    /// As it was written, for the signature.
    url: String,
}

impl Target {
    /// A service's address, `scheme://host[:port]`, with a path or without: what is asked for ends in a slash.
    ///
    /// # Errors
    ///
    /// What isn't such a URL.
    pub fn new(url: &str) -> Result<Target, CallError> {
        let end = if url.ends_with('/') { "" } else { "/" };
        let url = format!("{url}{end}");
        let uri = Uri::try_from(&url).map_err(|error| CallError::Unsendable(error.into()))?;
        Ok(Target { uri, url })
    }

    /// As it is signed.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// What a request carries.
#[derive(Debug, Clone)]
pub struct Payload {
    pub bytes: Bytes,
    /// Their digest, if it is known.
    pub digest: Option<Digest>,
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload {
            bytes,
            digest: None,
        }
    }
}

/// Calls one service as whom the credentials say.
#[derive(Debug)]
pub struct Caller {
    pub http: Arc<Http>,
    pub credentials: Arc<Held>,
    pub time_outs: TimeOuts,
    /// As signatures name it.
    pub service: &'static str,
    pub region: String,
    /// The endpoint that is configured, if one is.
    pub endpoint: Option<String>,
    pub skew: Skew,
}

impl Caller {
    /// Sends a body; the headers are those that the service looks at, its content type among them.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. A refusal is an answer.
    pub async fn post(
        &self,
        to: &Target,
        headers: &[(&'static str, &'static str)],
        body: Payload,
    ) -> Result<RawAnswer, CallError> {
        let identity = self.credentials.identity().await?;
        let signing = Signing {
            identity: &identity,
            region: &self.region,
            service: self.service,
            at: self.skew.correct(SystemTime::now()),
        };
        let request = signing
            .request(to, headers, body)
            .map_err(CallError::Unsendable)?;
        let answer = self.http.exchange(request, self.time_outs).await?;
        if !answer.is_success() {
            self.skew.learn(&answer, SystemTime::now());
            if speaks_of(&answer, ABOUT_CREDENTIALS) {
                self.credentials.mistrust();
            }
        }
        Ok(answer)
    }
}

/// As whom, where and when a request is signed.
pub struct Signing<'a> {
    pub identity: &'a Identity,
    pub region: &'a str,
    /// As signatures name it.
    pub service: &'a str,
    pub at: SystemTime,
}

impl Signing<'_> {
    /// A POST with Signature Version 4 in its headers (AWS General Reference, "Create a signed AWS API request").
    ///
    /// # Errors
    ///
    /// What can't stand in a header or isn't a credential of this kind.
    pub fn request(
        &self,
        to: &Target,
        headers: &[(&'static str, &'static str)],
        body: Payload,
    ) -> Result<Request<SdkBody>, BoxError> {
        let params = v4::SigningParams::builder()
            .identity(self.identity)
            .region(self.region)
            .name(self.service)
            .time(self.at)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let hashed = match body.digest {
            Some(digest) => SignableBody::Precomputed(digest.to_string()),
            None => SignableBody::Bytes(&body.bytes),
        };
        let signable =
            SignableRequest::new("POST", to.url.as_str(), headers.iter().copied(), hashed)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let mut request = Request::new(SdkBody::from(body.bytes));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.uri.clone();
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// How far the service's clock is ahead of ours, in milliseconds; 0 unless a signature was refused for it.
#[derive(Debug, Default)]
pub struct Skew(AtomicI64);

impl Skew {
    /// The time that the service has when we have `now`.
    fn correct(&self, now: SystemTime) -> SystemTime {
        let ms = self.0.load(Ordering::Relaxed);
        let by = Duration::from_millis(ms.unsigned_abs());
        let corrected = match ms < 0 {
            true => now.checked_sub(by),
            false => now.checked_add(by),
        };
        corrected.unwrap_or(now)
    }

    /// A refusal that is about a signature tells the service's time, by which the next one is made if ours is off.
    fn learn(&self, refusal: &RawAnswer, now: SystemTime) {
        let date = refusal.date.as_deref();
        let service = date
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        let Some(service) = service.filter(|_| speaks_of(refusal, ABOUT_TIME)) else {
            return;
        };
        let (apart, sign) = match service.duration_since(now) {
            Ok(ahead) => (ahead, 1),
            Err(behind) => (behind.duration(), -1),
        };
        let ms = match apart < SKEW_MIN {
            true => 0,
            false => i64::try_from(apart.as_millis()).unwrap_or(0) * sign,
        };
        self.0.store(ms, Ordering::Relaxed);
    }
}

/// Whether one of the words is in a refusal's error type or body, whatever that is written in.
fn speaks_of(refusal: &RawAnswer, words: &[&str]) -> bool {
    let kind = refusal.error_type.as_deref().unwrap_or_default();
    words.iter().any(|word| {
        kind.contains(word) || memchr::memmem::find(&refusal.body, word.as_bytes()).is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn refusal(error_type: Option<&str>, date: Option<&str>, body: &str) -> RawAnswer {
        RawAnswer {
            status: 400,
            content_type: "application/x-amz-json-1.1".to_owned(),
            error_type: error_type.map(str::to_owned),
            date: date.map(str::to_owned),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn signatures_are_made_by_the_services_time_once_it_refused_one() {
        const EXPIRED: &str = r#"{"__type":"InvalidSignatureException","message":"Signature expired: 20260101T000000Z"}"#;
        const NOON: &str = "Thu, 01 Jan 2026 12:00:00 GMT";
        let noon = UNIX_EPOCH + Duration::from_secs(1_767_268_800);
        let hours = |n: u64| Duration::from_secs(n * 3600);
        for (refusal, now, off_by_s) in [
            // An hour behind, an hour ahead, and as good as right.
            (refusal(None, Some(NOON), EXPIRED), noon - hours(1), 3600),
            (refusal(None, Some(NOON), EXPIRED), noon + hours(1), -3600),
            (
                refusal(None, Some(NOON), EXPIRED),
                noon + Duration::from_secs(200),
                0,
            ),
            (
                refusal(Some("RequestTimeTooSkewed:x"), Some(NOON), ""),
                noon - hours(1),
                3600,
            ),
            // Its time isn't known, or it isn't about that.
            (refusal(None, None, EXPIRED), noon - hours(1), 0),
            (refusal(None, Some("noon"), EXPIRED), noon - hours(1), 0),
            (
                refusal(
                    None,
                    Some(NOON),
                    r#"{"__type":"ProvisionedThroughputExceededException"}"#,
                ),
                noon - hours(1),
                0,
            ),
        ] {
            let skew = Skew::default();
            skew.learn(&refusal, now);
            let corrected = skew.correct(now);
            let by_s = match corrected.duration_since(now) {
                Ok(ahead) => ahead.as_secs() as i64,
                Err(behind) => -(behind.duration().as_secs() as i64),
            };
            assert_eq!(by_s, off_by_s, "{refusal:?}");
        }
    }

    #[test]
    fn a_clock_that_was_set_right_is_trusted_again() {
        const REFUSED: &str = "SignatureDoesNotMatch";
        let noon = UNIX_EPOCH + Duration::from_secs(1_767_268_800);
        let refusal = refusal(Some(REFUSED), Some("Thu, 01 Jan 2026 12:00:00 GMT"), "");
        let skew = Skew::default();
        skew.learn(&refusal, noon - Duration::from_secs(7200));
        assert_ne!(skew.correct(noon), noon);
        skew.learn(&refusal, noon);
        assert_eq!(skew.correct(noon), noon);
    }

    #[test]
    fn a_target_has_a_path_that_ends_in_a_slash() {
        for (url, expected) in [
            ("https://kinesis.eu-west-1.amazonaws.com", "/"),
            ("http://127.0.0.1:4567/", "/"),
            ("http://127.0.0.1:4567/a/b", "/a/b/"),
            ("http://127.0.0.1:4567/a/b/", "/a/b/"),
        ] {
            assert_eq!(Target::new(url).unwrap().uri.path(), expected, "{url}");
        }
        assert!(Target::new("https://a host").is_err());
    }
}
