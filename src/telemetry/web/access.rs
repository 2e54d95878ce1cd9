//! Who may ask.
//!
//! A page of a stranger's can make a browser call this port under a name of the stranger's own (DNS rebinding): so the
//! Host header must be an address, `localhost`, or a name that the configuration lists.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a request needs.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names that the Host header may have beside addresses and `localhost`.
    hosts: Vec<String>,
    /// Of the token; `None`: there is none.
    token_hash: Option<[u8; 32]>,
}

impl Access {
    /// `token` is asked for where the answer says something of files or streams.
    pub fn new(hosts: &[String], token: Option<&str>) -> Access {
        Access {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token_hash: token.map(|token| Sha256::digest(token).into()),
        }
    }

    /// Whether a request under this name is meant for us.
    pub fn lets_host(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return false };
        let name = name_of(host).to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }

    /// Whether an Authorization header is the one asked for. Takes as long for a wrong token as for the right one.
    pub fn lets_token(&self, authorization: Option<&str>) -> bool {
        let Some(wanted) = &self.token_hash else {
            return true;
        };
        let told = authorization
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        let hash: [u8; 32] = Sha256::digest(told).into();
        hash.ct_eq(wanted).into()
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port` without the port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_listed_names_are_let_in() {
        let access = Access::new(&["Agent.example".to_owned()], None);
        for (host, expected) in [
            (Some("127.0.0.1:9185"), true),
            (Some("10.0.0.7"), true),
            (Some("[::1]:9185"), true),
            (Some("[fe80::1]"), true),
            (Some("localhost:9185"), true),
            (Some("LOCALHOST"), true),
            (Some("agent.EXAMPLE:80"), true),
            (Some("evil.example:9185"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some("localhost.evil.example"), false),
            (Some("[evil]"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(access.lets_host(host), expected, "{host:?}");
        }
    }

    #[test]
    fn the_token_must_be_the_one() {
        let access = Access::new(&[], Some("s3cret"));
        for (header, expected) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cret1"), false),
            (Some("Basic s3cret"), false),
            (Some("Bearer "), false),
            (Some("s3cret"), false),
            (None, false),
        ] {
            assert_eq!(access.lets_token(header), expected, "{header:?}");
        }
        assert!(Access::new(&[], None).lets_token(None));
    }
}
