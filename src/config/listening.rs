//! Where the agent can be asked how it is doing: `metrics.prometheus.*` and `status.socket`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::raw::Section;

/// What is appended to the checkpoint database's name for the socket's, where none is set.
const SOCKET_SUFFIX: &str = ".sock";

/// Where the agent can be asked how it is doing.
#[derive(Debug, Clone, Default)]
pub struct Listening {
    /// The port of the metrics and the status page (`metrics.prometheus.listen`); `None`: there is none.
    pub port: Option<SocketAddr>,
    /// Names under which the port may be called beside addresses and localhost (`metrics.prometheus.hosts`).
    pub hosts: Vec<String>,
    /// What whoever asks must know (`metrics.prometheus.token`).
    pub token: Option<Token>,
    /// The unix socket of `kinesis-agent status`, absolute (`status.socket`); `None`: there is none.
    pub socket: Option<PathBuf>,
}

/// A secret that `Debug` never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Reads the keys; the socket stands beside the checkpoint database unless it is said where.
pub fn read(top: &mut Section, env: &Environment, checkpoints: &Path) -> Listening {
    let listen = "metrics.prometheus.listen";
    let port = top.filled_text(listen).and_then(|text| {
        let address = address_of(&text);
        if address.is_none() {
            let remedy = "write an address of this host and a port, such as 127.0.0.1:9185";
            top.error(listen, "not an address and a port", remedy);
        }
        address
    });
    let hosts = match top.node("metrics.prometheus.hosts") {
        Some(_) => top.texts("metrics.prometheus.hosts").unwrap_or_default(),
        None => Vec::new(),
    };
    let token = top.filled_text("metrics.prometheus.token").map(Token);
    if let (Some(address), None) = (port, &token)
        && !address.ip().is_loopback()
    {
        top.warn(
            listen,
            "whoever reaches this address can see the names of files and streams",
            "write metrics.prometheus.token, or listen on 127.0.0.1",
        );
    }
    let socket = match top
        .node("status.socket")
        .and_then(|_| top.text("status.socket"))
    {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(env.cwd.join(path)),
        None => Some(beside(checkpoints)),
    };
    Listening {
        port,
        hosts,
        token,
        socket,
    }
}

fn address_of(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            port.parse().ok()?,
        )),
        None => text.parse().ok(),
    }
}

fn beside(checkpoints: &Path) -> PathBuf {
    let mut name = checkpoints.as_os_str().to_owned();
    name.push(SOCKET_SUFFIX);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{accepted, file_with, refused, warnings};
    use super::*;

    const S: &str = "\"kinesisStream\": \"s\"";

    fn listening(top: &str) -> Listening {
        accepted(&file_with(top, S)).config.listening
    }

    #[test]
    fn without_a_word_there_is_a_socket_and_no_port() {
        let listening = listening("");
        assert_eq!(listening.port, None);
        let beside = Path::new("/var/lib/aws-kinesis-agent/checkpoints.sock");
        assert_eq!(listening.socket.as_deref(), Some(beside));
        assert!(listening.hosts.is_empty() && listening.token.is_none());
    }

    #[test]
    fn addresses_are_of_this_host_and_have_a_port() {
        for (text, expected) in [
            ("127.0.0.1:9185", "127.0.0.1:9185"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:9185", "[::1]:9185"),
        ] {
            let key = format!("\"metrics.prometheus.listen\": \"{text}\"");
            assert_eq!(listening(&key).port, Some(expected.parse().unwrap()));
            assert!(warnings(&file_with(&key, S)).is_empty(), "{text}");
        }
        for text in [
            "9185",
            ":9185",
            "127.0.0.1",
            "host:9185",
            "localhost:x",
            "127.0.0.1:99999",
        ] {
            let report = refused(&file_with(
                &format!("\"metrics.prometheus.listen\": \"{text}\""),
                S,
            ));
            assert!(report.to_string().contains("127.0.0.1:9185"), "{report}");
        }
    }

    #[test]
    fn a_port_for_everybody_without_a_token_is_warned_about() {
        let open = "\"metrics.prometheus.listen\": \"0.0.0.0:9185\"";
        assert_eq!(warnings(&file_with(open, S)).len(), 1);
        let with_token = format!("{open}, \"metrics.prometheus.token\": \"t\"");
        assert!(warnings(&file_with(&with_token, S)).is_empty());
        let token = listening(&with_token).token;
        assert_eq!(format!("{token:?}"), "Some(Token(…))");
    }

    #[test]
    fn the_socket_is_where_it_is_said_or_nowhere() {
        for (text, expected) in [
            ("/run/a.sock", Some("/run/a.sock")),
            ("a.sock", Some("/start/[here]/a.sock")),
            ("", None),
        ] {
            let socket = listening(&format!("\"status.socket\": \"{text}\"")).socket;
            assert_eq!(socket.as_deref(), expected.map(Path::new));
        }
    }
}
