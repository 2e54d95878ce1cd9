//! Endpoints as people write them, and the region that a host's name tells.

/// Where a service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// With scheme (`https://` where none was written), without a trailing slash.
    pub url: String,
    /// Lower case, without the port.
    pub host: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("not an endpoint: the scheme must be http or https")]
    Scheme,
    #[error("not an endpoint: it holds credentials")]
    Credentials,
    #[error("not an endpoint: it names no host")]
    NoHost,
    #[error("not an endpoint: a character that no host name holds")]
    Host,
    #[error("not an endpoint: the port must be 1 to 65535")]
    Port,
    #[error("not an endpoint: more than scheme, host, port and path")]
    Rest,
}

/// Reads `host`, `host:port` or either with `http://` or `https://` before it and a path behind it.
///
/// # Errors
///
/// Says which part can't be. The caller deals with the empty text, which means "not set".
pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("https".to_owned(), text),
    };
    if scheme != "http" && scheme != "https" {
        return Err(EndpointError::Scheme);
    }
    if rest.contains(['?', '#']) {
        return Err(EndpointError::Rest);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(EndpointError::Credentials);
    }
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err(EndpointError::NoHost);
    }
    if port.is_some_and(|port| {
        !port.bytes().all(|b| b.is_ascii_digit()) || !matches!(port.parse::<u16>(), Ok(1..))
    }) {
        return Err(EndpointError::Port);
    }
    if !path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-._~%+,;=:@!$&'()*".contains(&b))
    {
        return Err(EndpointError::Rest);
    }
    let url = format!("{scheme}://{authority}{}", path.trim_end_matches('/'));
    Ok(Endpoint {
        url,
        host: host.to_ascii_lowercase(),
    })
}

/// The host and the port of `host:port`, `[v6]:port` and either without a port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(inside) = authority.strip_prefix('[') {
        let (host, behind) = inside.split_once(']').ok_or(EndpointError::Host)?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| EndpointError::Host)?;
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if behind.is_empty() => Ok((host, None)),
            None => Err(EndpointError::Host),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if host.bytes().all(is_host_byte) {
        Ok((host, port))
    } else {
        Err(EndpointError::Host)
    }
}

/// The region that the host name of an AWS endpoint tells, as `eu-west-1` in `kinesis.eu-west-1.amazonaws.com`.
///
/// Knows the public names, the FIPS and dual-stack ones, those of the other partitions, and VPC endpoints
/// (`vpce-0a1b-2c3d.kinesis.eu-west-1.vpce.amazonaws.com`). `None` for hosts that are not AWS's or tell no region.
pub fn region_of_host(host: &str) -> Option<String> {
    const SUFFIXES: [&str; 11] = [
        ".vpce.amazonaws.com",
        ".vpce.amazonaws.com.cn",
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".api.aws",
        ".api.amazonwebservices.com.cn",
        ".amazonaws.eu",
        ".c2s.ic.gov",
        ".sc2s.sgov.gov",
        ".csp.hci.ic.gov",
        ".cloud.adc-e.uk",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let labels = SUFFIXES
        .iter()
        .find_map(|suffix| host.strip_suffix(suffix))?;
    let (service, region) = labels.rsplit_once('.')?;
    (!service.is_empty() && is_region(region)).then(|| region.to_owned())
}

/// Whether a text has the shape of a region's name: words and a number between hyphens, as `us-gov-east-1`.
pub fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    words.contains('-')
        && words.split('-').all(is_word)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_get_a_scheme_and_lose_a_trailing_slash() {
        let cases = [
            (
                "kinesis.eu-west-1.amazonaws.com",
                "https://kinesis.eu-west-1.amazonaws.com",
                "kinesis.eu-west-1.amazonaws.com",
            ),
            (
                "http://127.0.0.1:4566/",
                "http://127.0.0.1:4566",
                "127.0.0.1",
            ),
            (
                "HTTPS://Kinesis.Local",
                "https://Kinesis.Local",
                "kinesis.local",
            ),
            ("localhost:4566", "https://localhost:4566", "localhost"),
            ("http://my_host/a/b/", "http://my_host/a/b", "my_host"),
            ("http://[::1]:80", "http://[::1]:80", "::1"),
            ("[::1]", "https://[::1]", "::1"),
        ];
        for (text, url, host) in cases {
            assert_eq!(
                parse(text),
                Ok(Endpoint {
                    url: url.into(),
                    host: host.into()
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_part_that_is_wrong() {
        let cases = [
            ("not a url", EndpointError::Host),
            ("ftp://host", EndpointError::Scheme),
            ("http://", EndpointError::NoHost),
            ("https://:80", EndpointError::NoHost),
            ("http://user:secret@host", EndpointError::Credentials),
            ("http://host:0", EndpointError::Port),
            ("http://host:65536", EndpointError::Port),
            ("http://host:+80", EndpointError::Port),
            ("http://host:", EndpointError::Port),
            ("http://[::1", EndpointError::Host),
            ("http://[::1]80", EndpointError::Host),
            ("http://[host]", EndpointError::Host),
            ("http://höst", EndpointError::Host),
            ("http://host/a b", EndpointError::Rest),
            ("http://host?x", EndpointError::Rest),
            ("http://host#x", EndpointError::Rest),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_region_is_read_from_the_names_of_aws_alone() {
        let cases = [
            ("kinesis.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("KINESIS.EU-WEST-1.AMAZONAWS.COM.", Some("eu-west-1")),
            (
                "kinesis-fips.us-gov-east-1.amazonaws.com",
                Some("us-gov-east-1"),
            ),
            (
                "123456789012.data-kinesis.ap-southeast-2.amazonaws.com",
                Some("ap-southeast-2"),
            ),
            (
                "vpce-0a1b2c3d-4e5f.kinesis.eu-central-1.vpce.amazonaws.com",
                Some("eu-central-1"),
            ),
            (
                "vpce-0a1b-a.kinesis.cn-north-1.vpce.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            (
                "kinesis.cn-northwest-1.amazonaws.com.cn",
                Some("cn-northwest-1"),
            ),
            ("kinesis.eu-west-1.api.aws", Some("eu-west-1")),
            ("firehose.us-iso-east-1.c2s.ic.gov", Some("us-iso-east-1")),
            ("monitoring.us-east-1.amazonaws.com", Some("us-east-1")),
            ("sts.amazonaws.com", None),
            ("us-east-1.amazonaws.com", None),
            ("amazonaws.com", None),
            (".us-east-1.amazonaws.com", None),
            ("kinesis.eu-west-1.amazonaws.com.example.org", None),
            ("kinesis.eu-west-1.example.org", None),
            ("127.0.0.1", None),
            ("", None),
        ];
        for (host, region) in cases {
            assert_eq!(region_of_host(host).as_deref(), region, "{host}");
        }
    }
}
