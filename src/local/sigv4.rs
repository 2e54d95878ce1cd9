//! A verifier for AWS Signature Version 4 in the `Authorization` header, written from AWS's description of it and held
//! to AWS's test vectors. It shares no code with the signer that the agent uses: a mistake of one would not hide in the
//! other.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::keys::Keys;
use super::limits::CLOCK_SKEW_MAX;
use super::percent::{percent_decode, unhex_byte, uri_encode};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

/// A request as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    pub method: &'a str,
    /// The path as sent, still percent-encoded.
    pub path: &'a str,
    /// What stands behind the question mark, as sent; empty if there is none.
    pub query: &'a str,
    /// Names in lower case, in the order of arrival.
    pub headers: &'a [(&'a str, &'a [u8])],
    pub body: &'a [u8],
}

impl<'a> SignedRequest<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(candidate, _)| *candidate == name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

/// Who signed, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
}

/// Why a signature isn't accepted; the text is the service's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    /// The access key id or the session token isn't known.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// Wrong secret, changed request, wrong scope or a date outside of the window.
    #[error("{0}")]
    Invalid(String),
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Checks a request's signature against the keys that `find_keys` gives for its access key id.
///
/// The host, the content type and every `x-amz-` header that is present must be signed; only a session token may stand
/// outside of the signature, as some AWS signers leave it. Paths are normalised, as every service but S3 does it.
pub fn verify(
    request: &SignedRequest<'_>,
    find_keys: impl FnOnce(&str) -> Option<Keys>,
    now: SystemTime,
) -> Result<Verified, Refusal> {
    verify_path(
        request,
        &uri_encode(normalize_path(request.path).as_bytes(), true),
        find_keys,
        now,
    )
}

fn verify_path(
    request: &SignedRequest<'_>,
    canonical_path: &str,
    find_keys: impl FnOnce(&str) -> Option<Keys>,
    now: SystemTime,
) -> Result<Verified, Refusal> {
    let header = request.header("authorization").ok_or(Refusal::Missing)?;
    let authorization = parse_authorization(header)?;
    let amz_date = request.header("x-amz-date").ok_or_else(|| {
        Refusal::Incomplete(format!("Authorization header requires existence of a 'X-Amz-Date' header. Authorization={header}"))
    })?;
    check_date(amz_date, authorization.date, now)?;
    check_signed_headers(request, &authorization.signed_headers)?;
    let keys = find_keys(authorization.access_key_id).ok_or(Refusal::UnknownKey)?;
    check_token(request.header("x-amz-security-token"), &keys, now)?;

    let body_hash = hex(&Sha256::digest(request.body));
    if request
        .header("x-amz-content-sha256")
        .is_some_and(|claimed| claimed != body_hash)
    {
        return Err(Refusal::Invalid(
            "The value passed in as x-amz-content-sha256 does not match the computed payload hash."
                .into(),
        ));
    }
    let canonical = canonical_request(
        request,
        canonical_path,
        &authorization.signed_headers,
        &body_hash,
    );
    let string_to_sign = format!(
        "{ALGORITHM}\n{amz_date}\n{}/{}/{}/{TERMINATOR}\n{}",
        authorization.date,
        authorization.region,
        authorization.service,
        hex(&Sha256::digest(&canonical)),
    );
    let mut mac = keyed(&signing_key(&keys, &authorization));
    mac.update(string_to_sign.as_bytes());
    let is_equal = unhex(authorization.signature)
        .is_some_and(|signature| mac.verify_slice(&signature).is_ok());
    if !is_equal {
        return Err(Refusal::Invalid(format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for \
             this request should have been\n'{}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n",
            String::from_utf8_lossy(&canonical),
        )));
    }
    Ok(Verified {
        access_key_id: authorization.access_key_id.to_owned(),
        region: authorization.region.to_owned(),
        service: authorization.service.to_owned(),
    })
}

fn parse_authorization(header: &str) -> Result<Authorization<'_>, Refusal> {
    let incomplete = |what: &str| Refusal::Incomplete(format!("{what} Authorization={header}"));
    let Some(parameters) = header
        .strip_prefix(ALGORITHM)
        .filter(|rest| rest.starts_with([' ', '\t']))
    else {
        return Err(incomplete(&format!(
            "Unsupported algorithm: the header must begin with '{ALGORITHM}'."
        )));
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for parameter in parameters.split(',').map(str::trim) {
        let slot = match parameter.split_once('=') {
            Some(("Credential", value)) => credential.replace(value),
            Some(("SignedHeaders", value)) => signed_headers.replace(value),
            Some(("Signature", value)) => signature.replace(value),
            _ => {
                return Err(incomplete(&format!(
                    "'{parameter}' not a valid key=value pair (missing equal-sign) in Authorization header."
                )));
            }
        };
        if slot.is_some() {
            return Err(incomplete(&format!(
                "'{parameter}' is given twice in Authorization header."
            )));
        }
    }
    let (Some(credential), Some(signed_headers), Some(signature)) =
        (credential, signed_headers, signature)
    else {
        let missing: Vec<String> = [
            ("Credential", credential),
            ("SignedHeaders", signed_headers),
            ("Signature", signature),
        ]
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| format!("Authorization header requires '{name}' parameter."))
        .collect();
        return Err(incomplete(&missing.join(" ")));
    };
    // An access key id has no slash, a region and a service neither.
    let [access_key_id, date, region, service, terminator] =
        credential.split('/').collect::<Vec<_>>()[..]
    else {
        return Err(incomplete(&format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'."
        )));
    };
    if terminator != TERMINATOR {
        return Err(Refusal::Invalid(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'."
        )));
    }
    let signed_headers = signed_headers.split(';').collect();
    Ok(Authorization {
        access_key_id,
        date,
        region,
        service,
        signed_headers,
        signature,
    })
}

fn check_date(amz_date: &str, scope_date: &str, now: SystemTime) -> Result<(), Refusal> {
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", amz_date)
        .ok()
        .filter(|_| amz_date.len() == "20150830T123600Z".len())
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| {
            Refusal::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{amz_date}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?;
    let (day, _) = amz_date.split_once('T').unwrap_or((amz_date, ""));
    if day != scope_date {
        return Err(Refusal::Invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{scope_date}' != \
             '{day}', from '{amz_date}'.",
        )));
    }
    let signed_at = SystemTime::from(signed_at);
    let (earliest, latest) = (now - CLOCK_SKEW_MAX, now + CLOCK_SKEW_MAX);
    if signed_at < earliest {
        Err(Refusal::Invalid(format!(
            "Signature expired: {amz_date} is now earlier than {} ({} - 5 min.)",
            basic_format(earliest),
            basic_format(now),
        )))
    } else if signed_at > latest {
        Err(Refusal::Invalid(format!(
            "Signature not yet current: {amz_date} is still later than {} ({} + 5 min.)",
            basic_format(latest),
            basic_format(now),
        )))
    } else {
        Ok(())
    }
}

fn check_signed_headers(request: &SignedRequest<'_>, signed: &[&str]) -> Result<(), Refusal> {
    let must_be_signed = |name: &str| {
        name == "host"
            || name == "content-type"
            || (name.starts_with("x-amz-") && name != "x-amz-security-token")
    };
    let unsigned = request
        .headers
        .iter()
        .map(|(name, _)| *name)
        .find(|name| must_be_signed(name) && !signed.contains(name));
    if let Some(name) = unsigned.or_else(|| (!signed.contains(&"host")).then_some("host")) {
        return Err(Refusal::Invalid(format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization."
        )));
    }
    if !signed.is_sorted()
        || signed
            .iter()
            .any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()))
    {
        return Err(Refusal::Invalid(
            "'SignedHeaders' must be in lower case and in order.".into(),
        ));
    }
    Ok(())
}

fn check_token(token: Option<&str>, keys: &Keys, now: SystemTime) -> Result<(), Refusal> {
    if token != keys.session_token.as_deref() {
        return Err(Refusal::UnknownKey);
    }
    match keys.expires_at {
        Some(expires_at) if expires_at <= now => Err(Refusal::ExpiredToken),
        _ => Ok(()),
    }
}

fn canonical_request(
    request: &SignedRequest<'_>,
    canonical_path: &str,
    signed_headers: &[&str],
    body_hash: &str,
) -> Vec<u8> {
    let mut canonical = format!(
        "{}\n{canonical_path}\n{}\n",
        request.method,
        canonical_query(request.query)
    )
    .into_bytes();
    for name in signed_headers {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        let values = request
            .headers
            .iter()
            .filter(|(candidate, _)| candidate == name);
        for (index, (_, value)) in values.enumerate() {
            if index > 0 {
                canonical.push(b',');
            }
            canonical_value(value, &mut canonical);
        }
        canonical.push(b'\n');
    }
    canonical.push(b'\n');
    canonical.extend_from_slice(signed_headers.join(";").as_bytes());
    canonical.push(b'\n');
    canonical.extend_from_slice(body_hash.as_bytes());
    canonical
}

/// Trimmed, and every run of blanks within is one space.
fn canonical_value(value: &[u8], canonical: &mut Vec<u8>) {
    let words = value
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            canonical.push(b' ');
        }
        canonical.extend_from_slice(word);
    }
}

/// Names and values encoded once, in the order of the encoded names, then values.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                uri_encode(&percent_decode(name), false),
                uri_encode(&percent_decode(value), false),
            )
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Without empty and dot segments; a slash at the end stays.
fn normalize_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let ends_with_slash = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    if segments.is_empty() {
        "/".into()
    } else if ends_with_slash {
        format!("/{}/", segments.join("/"))
    } else {
        format!("/{}", segments.join("/"))
    }
}

fn signing_key(keys: &Keys, authorization: &Authorization<'_>) -> Vec<u8> {
    let secret = format!("AWS4{}", keys.secret_access_key).into_bytes();
    [
        authorization.date,
        authorization.region,
        authorization.service,
        TERMINATOR,
    ]
    .iter()
    .fold(secret, |key, part| {
        let mut mac = keyed(&key);
        mac.update(part.as_bytes());
        mac.finalize().into_bytes().to_vec()
    })
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn basic_format(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(timestamp) => timestamp.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => "a time out of range".into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| unhex_byte(pair[0], pair[1]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    const VECTORS: &str = include_str!("../../tests/golden/sigv4/vectors.jsonl");
    const SIGNED_AT: &str = "2015-08-30T12:36:00Z";

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        normalize: Option<bool>,
        token: Option<String>,
        canonical_request: String,
        signed_request: String,
    }

    /// A request in the text form of the vectors.
    struct Parsed {
        method: String,
        path: String,
        query: String,
        headers: Vec<(String, Vec<u8>)>,
        body: String,
    }

    impl Parsed {
        fn new(text: &str) -> Self {
            let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
            let mut lines = head.lines();
            let first = lines.next().unwrap();
            let (method, target) = first.split_once(' ').unwrap();
            let target = target.strip_suffix(" HTTP/1.1").unwrap_or(target);
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
            for line in lines.filter(|line| !line.is_empty()) {
                if line.starts_with(' ') {
                    // An HTTP parser hands a folded line on as one.
                    headers
                        .last_mut()
                        .unwrap()
                        .1
                        .extend_from_slice(line.as_bytes());
                } else {
                    let (name, value) = line.split_once(':').unwrap();
                    headers.push((name.to_lowercase(), value.as_bytes().to_vec()));
                }
            }
            Self {
                method: method.into(),
                path: path.into(),
                query: query.into(),
                headers,
                body: body.into(),
            }
        }

        fn with<T>(&self, use_it: impl FnOnce(&SignedRequest<'_>) -> T) -> T {
            let headers: Vec<(&str, &[u8])> = self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
                .collect();
            use_it(&SignedRequest {
                method: &self.method,
                path: &self.path,
                query: &self.query,
                headers: &headers,
                body: self.body.as_bytes(),
            })
        }

        fn set(&mut self, name: &str, value: &str) {
            self.headers.retain(|(candidate, _)| candidate != name);
            self.headers.push((name.into(), value.into()));
        }

        fn replace(&mut self, from: &str, to: &str) {
            for (_, value) in &mut self.headers {
                *value = String::from_utf8(value.clone())
                    .unwrap()
                    .replace(from, to)
                    .into_bytes();
            }
        }
    }

    fn vectors() -> Vec<Vector> {
        VECTORS
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn vector(name: &str) -> Parsed {
        Parsed::new(
            &vectors()
                .into_iter()
                .find(|vector| vector.name == name)
                .unwrap()
                .signed_request,
        )
    }

    fn example_keys(token: Option<&str>) -> Keys {
        Keys {
            session_token: token.map(Into::into),
            ..Keys::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
        }
    }

    fn at(time: &str) -> SystemTime {
        SystemTime::from(time.parse::<Timestamp>().unwrap())
    }

    fn verify_at(request: &Parsed, now: &str) -> Result<Verified, Refusal> {
        let find = |id: &str| (id == "AKIDEXAMPLE").then(|| example_keys(None));
        request.with(|request| verify(request, find, at(now)))
    }

    #[test]
    fn every_vector_of_the_suite_verifies() {
        let vectors: Vec<Vector> = vectors();
        assert_eq!(vectors.len(), 40);
        for Vector {
            name,
            normalize,
            token,
            canonical_request: canonical,
            signed_request,
        } in vectors
        {
            let request = Parsed::new(&signed_request);
            let path = match normalize {
                Some(false) => uri_encode(request.path.as_bytes(), true),
                _ => uri_encode(normalize_path(&request.path).as_bytes(), true),
            };
            if normalize.is_none() {
                assert_eq!(Some(&*path), canonical.lines().nth(1), "{name}");
                continue;
            }
            let unsigned_token = name == "post-sts-header-after";
            request.with(|request| {
                let signed = parse_authorization(request.header("authorization").unwrap())
                    .unwrap()
                    .signed_headers;
                let body_hash = hex(&Sha256::digest(request.body));
                let found = canonical_request(request, &path, &signed, &body_hash);
                assert_eq!(String::from_utf8(found).unwrap(), canonical, "{name}");
                assert_eq!(
                    signed.contains(&"x-amz-security-token"),
                    token.is_some() && !unsigned_token,
                    "{name}"
                );
                let verified = verify_path(
                    request,
                    &path,
                    |_| Some(example_keys(token.as_deref())),
                    at(SIGNED_AT),
                );
                let expected = Verified {
                    access_key_id: "AKIDEXAMPLE".into(),
                    region: "us-east-1".into(),
                    service: "service".into(),
                };
                assert_eq!(verified, Ok(expected), "{name}");
            });
        }
    }

    #[test]
    fn a_request_that_was_changed_after_signing_is_refused() {
        type Change = fn(&mut Parsed);
        let changes: &[(&str, Change)] = &[
            ("method", |request| request.method = "PUT".into()),
            ("path", |request| request.path = "/x".into()),
            ("query", |request| request.query = "a=b".into()),
            ("signed header", |request| {
                request.set("content-length", "14")
            }),
            ("body", |request| request.body.push('x')),
            ("body hash", |request| {
                request.set("x-amz-content-sha256", &"0".repeat(64))
            }),
            ("region", |request| {
                request.replace("us-east-1", "us-east-2")
            }),
            ("last digit", |request| {
                request.replace("3f20e0b", "3f20e0c")
            }),
            ("cut", |request| request.replace("3f20e0b", "3f20e0")),
            ("upper case", |request| {
                request.replace("3f20e0b", "3f20e0B")
            }),
            ("empty", |request| {
                request.replace(
                    "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
                    "",
                )
            }),
        ];
        assert!(verify_at(&vector("post-x-www-form-urlencoded"), SIGNED_AT).is_ok());
        for (name, change) in changes {
            let mut request = vector("post-x-www-form-urlencoded");
            change(&mut request);
            assert!(
                matches!(verify_at(&request, SIGNED_AT), Err(Refusal::Invalid(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn the_window_is_five_minutes_either_way() {
        let request = vector("post-vanilla");
        assert!(verify_at(&request, "2015-08-30T12:31:00Z").is_ok());
        assert!(verify_at(&request, "2015-08-30T12:41:00Z").is_ok());
        assert_eq!(
            verify_at(&request, "2015-08-30T12:41:01Z")
                .unwrap_err()
                .to_string(),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)",
        );
        assert_eq!(
            verify_at(&request, "2015-08-30T12:30:59Z")
                .unwrap_err()
                .to_string(),
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)",
        );
    }

    #[test]
    fn every_defect_of_the_header_has_its_word() {
        type Change = fn(&mut Parsed);
        let cases: &[(&str, Change)] = &[
            ("Missing Authentication Token", |r| {
                r.headers.retain(|(name, _)| name != "authorization")
            }),
            (
                "Authorization header requires existence of a 'X-Amz-Date' header",
                |r| {
                    r.headers.retain(|(name, _)| name != "x-amz-date");
                },
            ),
            ("Date must be in ISO-8601", |r| {
                r.set("x-amz-date", "2015-08-30")
            }),
            ("Date must be in ISO-8601", |r| r.set("x-amz-date", "é")),
            ("Date in Credential scope does not match", |r| {
                r.replace("/20150830/", "/20150829/")
            }),
            ("Date in Credential scope does not match", |r| {
                r.replace("/20150830/", "//")
            }),
            ("Credential should be scoped with a valid terminator", |r| {
                r.replace("aws4_request", "aws5_request")
            }),
            ("Credential must have exactly 5", |r| {
                r.replace("/us-east-1/", "/")
            }),
            ("Unsupported algorithm", |r| {
                r.set("authorization", "Basic eDp5")
            }),
            ("Authorization header requires 'Signature' parameter", |r| {
                r.set(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host",
                );
            }),
            ("is given twice", |r| {
                r.set(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=a, Credential=b",
                )
            }),
            ("not a valid key=value pair", |r| {
                r.set("authorization", "AWS4-HMAC-SHA256 Credential")
            }),
            ("'x-amz-target' must be a 'SignedHeader'", |r| {
                r.set("x-amz-target", "t")
            }),
            ("'content-type' must be a 'SignedHeader'", |r| {
                r.set("content-type", "t")
            }),
            ("'host' must be a 'SignedHeader'", |r| {
                r.replace("host;", "")
            }),
            ("must be in lower case and in order", |r| {
                r.replace("host;x-amz-date", "x-amz-date;host")
            }),
            (
                "The security token included in the request is invalid.",
                |r| r.replace("AKIDEXAMPLE", "AKIDOTHER"),
            ),
            (
                "The security token included in the request is invalid.",
                |r| r.set("x-amz-security-token", "t"),
            ),
        ];
        for (expected, change) in cases {
            let mut request = vector("post-vanilla");
            change(&mut request);
            let message = verify_at(&request, SIGNED_AT).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn temporary_keys_need_their_token_and_their_time() {
        let request = vector("get-vanilla-with-session-token");
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let temporary = |expires_at| Keys {
            expires_at: Some(at(expires_at)),
            ..example_keys(Some(token))
        };
        let verify_with =
            |keys: Keys| request.with(|request| verify(request, |_| Some(keys), at(SIGNED_AT)));
        assert!(verify_with(temporary("2015-08-30T12:36:01Z")).is_ok());
        assert_eq!(
            verify_with(temporary("2015-08-30T12:36:00Z")),
            Err(Refusal::ExpiredToken)
        );
        assert_eq!(
            verify_with(example_keys(Some("another"))),
            Err(Refusal::UnknownKey)
        );
        assert_eq!(verify_with(example_keys(None)), Err(Refusal::UnknownKey));
    }

    #[test]
    fn a_wrong_secret_gives_the_strings_that_should_have_been_signed() {
        let request = vector("get-vanilla");
        let wrong = Keys::new("AKIDEXAMPLE", "wrong");
        let refusal = request
            .with(|request| verify(request, |_| Some(wrong), at(SIGNED_AT)))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.starts_with("The request signature we calculated does not match"),
            "{refusal}"
        );
        assert!(refusal.contains("'GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n"));
        assert!(refusal.contains(
            "'AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
        ));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(
            authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}",
            credential in "[a-z0-9/]{0,30}",
            date in "\\PC{0,20}",
        ) {
            let mut request = vector("post-vanilla");
            request.set("authorization", &authorization);
            prop_assert!(verify_at(&request, SIGNED_AT).is_err());
            let parts = "SignedHeaders=host, Signature=00";
            request.set("authorization", &format!("AWS4-HMAC-SHA256 Credential={credential}, {parts}"));
            prop_assert!(verify_at(&request, SIGNED_AT).is_err());
            let mut request = vector("post-vanilla");
            request.set("x-amz-date", &date);
            prop_assert!(verify_at(&request, SIGNED_AT).is_err());
        }
    }

    #[test]
    fn paths_lose_empty_and_dot_segments() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("//a//b/", "/a/b/"),
            ("/a/./b/..", "/a/"),
            ("/..", "/"),
            ("/a/.", "/a/"),
            ("*", "/*"),
        ] {
            assert_eq!(normalize_path(path), expected, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded_sorted_and_encoded_anew() {
        for (query, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a", "a="),
            ("a=%2f&&b=+%zz", "a=%2F&b=%2B%25zz"),
            ("k=a=b", "k=a%3Db"),
        ] {
            assert_eq!(canonical_query(query), expected, "{query}");
        }
    }
}
