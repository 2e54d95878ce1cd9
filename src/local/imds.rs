//! The instance metadata service: session tokens (IMDSv2), metadata, the identity document and a role's keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::http::request::Parts;
use serde_json::json;

use super::answer::{Answer, plain};
use super::keys::KeyRing;
use super::options::Instance;
use super::sts::rfc3339;

/// Legal lifetimes of a session token in seconds.
const TOKEN_TTL_S: std::ops::RangeInclusive<u64> = 1..=21_600;

/// How long a role's keys are good.
const ROLE_KEYS_TTL: Duration = Duration::from_secs(6 * 60 * 60);

/// A session token is this and the second in which it ends. Whoever reaches loopback may forge it.
const TOKEN_PREFIX: &str = "local-metadata-token-";

/// Answers a request for a path under `/latest/`.
pub(super) fn answer(
    parts: &Parts,
    instance: Option<&Instance>,
    keys: &KeyRing,
    now: SystemTime,
) -> Answer {
    let Some(instance) = instance else {
        return plain(404, "");
    };
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let now_s = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    match (&parts.method, parts.uri.path()) {
        (&Method::PUT, "/latest/api/token") => {
            let ttl_s = header("x-aws-ec2-metadata-token-ttl-seconds")
                .and_then(|text| text.parse::<u64>().ok());
            match ttl_s.filter(|ttl_s| TOKEN_TTL_S.contains(ttl_s)) {
                None => plain(400, ""),
                Some(ttl_s) => {
                    let mut answer = plain(200, format!("{TOKEN_PREFIX}{}", now_s + ttl_s));
                    answer
                        .headers
                        .push(("x-aws-ec2-metadata-token-ttl-seconds", ttl_s.to_string()));
                    answer
                }
            }
        }
        (&Method::GET, path) => {
            let is_admitted = match header("x-aws-ec2-metadata-token") {
                None => instance.metadata_without_token,
                Some(token) => token
                    .strip_prefix(TOKEN_PREFIX)
                    .and_then(|end_s| end_s.parse::<u64>().ok())
                    .is_some_and(|end_s| now_s < end_s),
            };
            if !is_admitted {
                return plain(401, "");
            }
            match document(path, instance, keys, now) {
                Some(text) => plain(200, text),
                None => plain(404, ""),
            }
        }
        _ => plain(405, ""),
    }
}

fn document(path: &str, instance: &Instance, keys: &KeyRing, now: SystemTime) -> Option<String> {
    if path == "/latest/dynamic/instance-identity/document" {
        let document = json!({
            "accountId": instance.account_id,
            "architecture": "x86_64",
            "availabilityZone": instance.availability_zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "privateIp": instance.private_ip,
            "region": instance.region,
            "version": "2017-09-30",
        });
        return Some(format!("{document:#}"));
    }
    let role = instance.role_name.as_deref();
    match path.strip_prefix("/latest/meta-data/")? {
        "instance-id" => Some(instance.id.clone()),
        "instance-type" => Some(instance.instance_type.clone()),
        "ami-id" => Some(instance.image_id.clone()),
        "local-ipv4" => Some(instance.private_ip.clone()),
        "placement/region" => Some(instance.region.clone()),
        "placement/availability-zone" => Some(instance.availability_zone.clone()),
        "iam/security-credentials" | "iam/security-credentials/" => role.map(str::to_owned),
        "tags/instance" | "tags/instance/" if instance.tags_in_metadata => {
            Some(instance.tags.keys().cloned().collect::<Vec<_>>().join("\n"))
        }
        path => {
            if let Some(key) = path
                .strip_prefix("tags/instance/")
                .filter(|_| instance.tags_in_metadata)
            {
                let key = String::from_utf8(super::percent::percent_decode(key)).ok()?;
                return instance.tags.get(&key).cloned();
            }
            path.strip_prefix("iam/security-credentials/")
                .filter(|name| Some(*name) == role)?;
            Some(role_keys(keys, now))
        }
    }
}

fn role_keys(keys: &KeyRing, now: SystemTime) -> String {
    let expires_at = now + ROLE_KEYS_TTL;
    let issued = keys.issue(now, expires_at);
    let document = json!({
        "Code": "Success",
        "LastUpdated": rfc3339(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "Token": issued.session_token,
        "Expiration": rfc3339(expires_at),
    });
    format!("{document:#}")
}
