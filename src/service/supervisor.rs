//! What the service manager is told, by systemd's protocol: datagrams of `NAME=VALUE` lines to the socket that
//! `NOTIFY_SOCKET` names (sd_notify(3)). Without that variable nobody is told anything.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a manager that doesn't read may hold up the agent.
const SEND_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest status text, in bytes: a line that somebody reads.
const STATUS_BYTES_MAX: usize = 512;

/// The service manager, if there is one that wants to know.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

/// What this process was told of its manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told<'a> {
    /// `NOTIFY_SOCKET`
    pub socket: Option<&'a OsStr>,
    /// `WATCHDOG_USEC`
    pub watchdog_us: Option<&'a str>,
    /// `WATCHDOG_PID`
    pub watchdog_pid: Option<&'a str>,
}

impl Supervisor {
    /// That of this process's environment.
    ///
    /// # Errors
    ///
    /// `NOTIFY_SOCKET` is no address of a socket that can be reached from here.
    pub fn of_process() -> io::Result<Supervisor> {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let watchdog_us = std::env::var("WATCHDOG_USEC").ok();
        let watchdog_pid = std::env::var("WATCHDOG_PID").ok();
        Supervisor::new(Told {
            socket: socket.as_deref(),
            watchdog_us: watchdog_us.as_deref(),
            watchdog_pid: watchdog_pid.as_deref(),
        })
    }

    /// Nobody.
    pub fn none() -> Supervisor {
        Supervisor {
            socket: None,
            watchdog: None,
        }
    }

    /// The one of which this was told.
    ///
    /// # Errors
    ///
    /// The socket's address isn't one.
    pub fn new(told: Told) -> io::Result<Supervisor> {
        let Some(address) = told.socket.filter(|address| !address.is_empty()) else {
            return Ok(Supervisor::none());
        };
        let address = address_of(address)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIME_MAX))?;
        let is_ours = |pid: &str| pid.parse() == Ok(std::process::id());
        let watchdog = told
            .watchdog_us
            .filter(|_| told.watchdog_pid.is_none_or(is_ours))
            .and_then(|us| us.parse().ok())
            .filter(|us| *us > 0)
            .map(Duration::from_micros);
        Ok(Supervisor {
            socket: Some((socket, address)),
            watchdog,
        })
    }

    /// Whether somebody listens.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Between two signs of life, so that two in a row may be missed; `None`: none are expected.
    pub fn sign_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 3)
    }

    /// The agent does what it was started for.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The agent ends, within so long.
    pub fn stopping(&self, within: Duration) {
        let us = within.as_micros();
        self.tell(&format!(
            "STOPPING=1\nSTATUS=Sending what is left\nEXTEND_TIMEOUT_USEC={us}"
        ));
    }

    /// A new configuration is being read; [`Supervisor::ready`] says that this is over.
    pub fn reloading(&self) {
        // The manager compares it with its own clock: what it hears from before its own request is no answer to that.
        let now = clock_gettime(ClockId::Monotonic);
        let us = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1_000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={us}\nSTATUS=Reading the configuration"
        ));
    }

    /// How it is doing, for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that is gone, or restarts, misses a word; the agent doesn't need it.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// A path, or behind an `@` a name in the kernel's own space.
fn address_of(text: &OsStr) -> io::Result<SocketAddr> {
    match text.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(text),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither a path nor an abstract name",
        )),
    }
}

/// A status has no end of line within, which would begin another assignment.
fn one_line(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let mut end = text.len().min(STATUS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &OsStr) -> Told<'_> {
        Told {
            socket: Some(socket),
            ..Told::default()
        }
    }

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let n_bytes = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n_bytes].to_vec()).unwrap()
    }

    #[test]
    fn what_is_said_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("kinesis-agent-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (listener, address) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.as_os_str().to_owned(),
            ),
            (
                UnixDatagram::bind_addr(&named).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let supervisor = Supervisor::new(told(&address)).unwrap();
            supervisor.ready("2 flows\nMAINPID=1");
            assert_eq!(heard(&listener), "READY=1\nSTATUS=2 flows MAINPID=1");
            supervisor.stopping(Duration::from_secs(15));
            assert!(heard(&listener).ends_with("EXTEND_TIMEOUT_USEC=15000000"));
            supervisor.reloading();
            let said = heard(&listener);
            let us = said
                .lines()
                .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
            assert!(us.unwrap().parse::<u64>().unwrap() > 0, "{said}");
            supervisor.alive();
            assert_eq!(heard(&listener), "WATCHDOG=1");
        }
    }

    #[test]
    fn signs_of_life_are_for_whom_they_are_asked_of() {
        let own = std::process::id().to_string();
        for (watchdog_us, watchdog_pid, expected_ms) in [
            (None, None, None),
            (Some("30000000"), None, Some(10_000)),
            (Some("30000000"), Some(own.as_str()), Some(10_000)),
            (Some("30000000"), Some("1"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
        ] {
            let told = Told {
                socket: Some(OsStr::new("/nowhere")),
                watchdog_us,
                watchdog_pid,
            };
            let interval = Supervisor::new(told).unwrap().sign_interval();
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(interval, expected, "{watchdog_us:?} {watchdog_pid:?}");
        }
    }

    #[test]
    fn without_a_socket_nobody_is_told_and_a_wrong_one_is_said() {
        assert!(!Supervisor::new(Told::default()).unwrap().is_there());
        assert!(!Supervisor::new(told(OsStr::new(""))).unwrap().is_there());
        assert!(Supervisor::new(told(OsStr::new("vsock:2:1"))).is_err());
        // Nobody listens there: that is nothing to stop for.
        Supervisor::new(told(OsStr::new("/nowhere")))
            .unwrap()
            .alive();
    }

    #[test]
    fn a_status_is_cut_between_characters() {
        let long = "ä".repeat(STATUS_BYTES_MAX);
        assert_eq!(one_line(&long).len(), STATUS_BYTES_MAX);
        assert_eq!(one_line(&format!("x{long}")).len(), STATUS_BYTES_MAX - 1);
    }
}
