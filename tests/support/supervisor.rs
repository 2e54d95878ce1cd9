//! systemd's end of sd_notify(3).

use std::iter;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::scene::Scene;
use super::wait::DEADLINE;

/// A socket that hears what a service tells of itself.
pub struct Supervisor {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    /// One in the scene's folder.
    pub fn beside(scene: &Scene) -> Supervisor {
        let path = scene.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Supervisor { path, socket }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// The next message.
    pub fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let n_bytes = self.socket.recv(&mut buffer).expect("the agent tells");
        String::from_utf8_lossy(&buffer[..n_bytes]).into_owned()
    }

    /// All that come, without end.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        iter::repeat_with(|| self.hear())
    }
}
