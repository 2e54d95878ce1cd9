//! AssumeRole and AssumeRoleWithWebIdentity of the Security Token Service.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::ACCOUNT_ID;
use super::answer::{Answer, Protocol, ServiceError, xml_escape};
use super::keys::KeyRing;
use super::options::Roles;
use super::percent::Form;

/// Legal lifetimes of temporary keys in seconds, and the default (API reference).
const DURATION_S: std::ops::RangeInclusive<u64> = 900..=43_200;
const DURATION_S_DEFAULT: u64 = 3600;

/// Shortest token of a web identity (API reference).
const WEB_IDENTITY_TOKEN_CHARS_MIN: usize = 4;

/// Gives out temporary keys for a role, which are accepted from then on.
pub(super) fn assume_role(
    form: &Form,
    roles: &Roles,
    keys: &KeyRing,
    now: SystemTime,
) -> Result<Answer, ServiceError> {
    assume("AssumeRole", form, form.get("ExternalId"), roles, keys, now)
}

/// The same for whoever brings any token: nobody here could tell a good one.
pub(super) fn assume_role_with_web_identity(
    form: &Form,
    roles: &Roles,
    keys: &KeyRing,
    now: SystemTime,
) -> Result<Answer, ServiceError> {
    let token = required(form, "WebIdentityToken")?;
    if token.len() < WEB_IDENTITY_TOKEN_CHARS_MIN {
        return Err(violation(
            "*****",
            "webIdentityToken",
            "Member must have length greater than or equal to 4",
        ));
    }
    assume("AssumeRoleWithWebIdentity", form, None, roles, keys, now)
}

fn assume(
    action: &str,
    form: &Form,
    external_id: Option<&str>,
    roles: &Roles,
    keys: &KeyRing,
    now: SystemTime,
) -> Result<Answer, ServiceError> {
    let arn = required(form, "RoleArn")?;
    let session_name = required(form, "RoleSessionName")?;
    check_arn(arn)?;
    check_session_name(session_name)?;
    let duration_s = match form.get("DurationSeconds") {
        None => DURATION_S_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|duration_s| DURATION_S.contains(duration_s))
            .ok_or_else(|| {
                violation(
                    text,
                    "durationSeconds",
                    "Member must have value from 900 to 43200",
                )
            })?,
    };
    if !roles.admit(arn, external_id) {
        let message = format!(
            "User: arn:aws:iam::{ACCOUNT_ID}:user/local is not authorized to perform: sts:{action} on resource: {arn}"
        );
        return Err(ServiceError {
            status: 403,
            code: "AccessDenied".into(),
            message,
        });
    }
    let expires_at = now + Duration::from_secs(duration_s);
    let issued = keys.issue(now, expires_at);
    let role_name = arn.rsplit('/').next().unwrap_or_default();
    Ok(Protocol::Query.answer(format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <AssumedRoleUser><AssumedRoleId>AROALOCAL:{session}</AssumedRoleId>\
         <Arn>arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role}/{session}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </{action}Result><ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></{action}Response>",
        session = xml_escape(session_name),
        role = xml_escape(role_name),
        id = issued.access_key_id,
        secret = issued.secret_access_key,
        token = issued.session_token.unwrap_or_default(),
        expiration = rfc3339(expires_at),
    )))
}

/// To the second, in UTC: `2011-07-15T23:28:33Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn check_arn(arn: &str) -> Result<(), ServiceError> {
    let is_role = arn
        .strip_prefix("arn:aws")
        .and_then(|rest| rest.split_once(":iam::"))
        .is_some_and(|(_, rest)| {
            rest.split_once(":role/")
                .is_some_and(|(account, name)| account.len() == 12 && !name.is_empty())
        });
    if is_role {
        Ok(())
    } else {
        Err(ServiceError::caller(
            "ValidationError",
            format!("{arn} is invalid"),
        ))
    }
}

fn check_session_name(name: &str) -> Result<(), ServiceError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if (2..=64).contains(&name.len()) && name.bytes().all(is_legal) {
        return Ok(());
    }
    Err(violation(
        name,
        "roleSessionName",
        "Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}",
    ))
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, ServiceError> {
    form.get(name).ok_or_else(|| {
        ServiceError::caller(
            "MissingParameter",
            format!("The request must contain the parameter {name}."),
        )
    })
}

fn violation(value: &str, member: &str, rule: &str) -> ServiceError {
    ServiceError::caller(
        "ValidationError",
        format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {rule}"
        ),
    )
}
