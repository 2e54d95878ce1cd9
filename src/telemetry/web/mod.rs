//! What the agent says of itself over HTTP: on a TCP port where `metrics.prometheus.listen` asks for it, and on a unix
//! socket for `kinesis-agent status`.
//!
//! ```text
//!  /          the status page                    /healthz   do the loops turn?
//!  /status    how the agent is doing, as JSON    /readyz    is it being delivered?
//!  /metrics   the same for Prometheus
//! ```
//!
//! Read-only, and everything is bounded: connections at once, the size of a request, the time for one. A connection has
//! one request. What [`access`] doesn't let in learns nothing.

mod access;
mod answer;
mod asked;
mod page;
mod prometheus;
mod server;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

pub use access::Access;
pub use answer::{Answer, Door, Question, Web};
pub use asked::Asked;
pub use prometheus::Prometheus;

/// Serves as long as it is held.
#[derive(Debug)]
pub struct Serving {
    task: JoinHandle<()>,
    /// The socket's file, which goes with it.
    file: Option<PathBuf>,
}

impl Serving {
    /// On a TCP port; the address that it listens on, where the port was chosen by the system.
    ///
    /// # Errors
    ///
    /// The address is taken, or isn't this host's.
    pub async fn on_port(web: Arc<Web>, address: SocketAddr) -> io::Result<(Serving, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(server::serve(listener, web, Door::Port));
        Ok((Serving { task, file: None }, address))
    }

    /// On a unix socket that its owner alone may use. A file of that name that nobody listens on is replaced.
    ///
    /// # Errors
    ///
    /// The folder can't be written, the path is too long for a socket, or something else has that name.
    pub fn on_socket(web: Arc<Web>, path: &Path) -> io::Result<Serving> {
        remove_dead_socket(path)?;
        let listener = bind_for_owner(path)?;
        let task = tokio::spawn(server::serve(listener, web, Door::Socket));
        Ok(Serving {
            task,
            file: Some(path.to_owned()),
        })
    }
}

/// Binds under another name first: nobody may connect before the rights are set.
fn bind_for_owner(path: &Path) -> io::Result<UnixListener> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    let _ = std::fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

fn remove_dead_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else of that name",
        )),
        // The database's lock says that no other agent is at work here.
        Ok(_) => std::fs::remove_file(path),
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(file) = &self.file {
            // It may be gone with its folder.
            let _ = std::fs::remove_file(file);
        }
    }
}
