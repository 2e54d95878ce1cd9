//! The file that says which process the agent is, and that there is one alone.
//!
//! A living agent holds a lock on its file, so a number that another process has by now names nobody. The file is made
//! beside and renamed: whoever reads it finds the whole number. It stays locked through the handle, also by an agent that
//! may not write its folder any more.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// Longest number that is read from the file of another agent, in bytes.
const PID_BYTES_MAX: u64 = 16;
/// Anybody may read which process it is; its writer alone may write.
const MODE: u32 = 0o644;

/// Ours as long as it is held.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// With the lock.
    file: File,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    #[error(
        "{path} names an agent that runs (process {pid}); stop that one, or name another pid file"
    )]
    Running { path: PathBuf, pid: String },
    #[error(
        "can't write pid file {path}: {source}; its folder must be there, and who starts the agent must be able to write it"
    )]
    Io { path: PathBuf, source: io::Error },
}

impl PidFile {
    /// Writes this process's number, in the place of a file that names no running agent.
    ///
    /// # Errors
    ///
    /// An agent runs that has this file, or it can't be written.
    pub fn take(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |source| PidFileError::Io {
            path: path.to_owned(),
            source,
        };
        // Held until the new file is there: of two agents that start at once one is refused.
        let _guard = lock_present(path)?;
        let mut name = OsString::from(path);
        name.push(".new");
        let unfinished = PathBuf::from(name);
        // Of an agent that was killed as it wrote.
        let _ = fs::remove_file(&unfinished);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&unfinished)
            .map_err(failed)?;
        let written = writeln!(file, "{}", std::process::id())
            .and_then(|()| Ok(fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?))
            .and_then(|()| fs::rename(&unfinished, path));
        if let Err(source) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(failed(source));
        }
        Ok(PidFile {
            path: path.to_owned(),
            file,
        })
    }
}

/// Locks the file of that name, which is made if it isn't there.
fn lock_present(path: &Path) -> Result<File, PidFileError> {
    let failed = |source| PidFileError::Io {
        path: path.to_owned(),
        source,
    };
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(path)
            .map_err(failed)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let mut text = String::new();
                // The number is for people; that it is locked is what counts.
                let _ = (&mut file).take(PID_BYTES_MAX).read_to_string(&mut text);
                return Err(PidFileError::Running {
                    path: path.to_owned(),
                    pid: text.trim().to_owned(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let of_handle = file.metadata().map_err(failed)?;
        let of_name = fs::metadata(path);
        if of_name.is_ok_and(|of_name| is_same(&of_name, &of_handle)) {
            return Ok(file);
        }
        // Another agent has put its own there meanwhile.
    }
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Drop for PidFile {
    /// Removes it, if it is still this one. In a folder that this user may not write it is emptied: it names nobody then.
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .and_then(|of_name| Ok(is_same(&of_name, &self.file.metadata()?)));
        if is_ours.unwrap_or(false) && fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn the_file_names_this_process_as_long_as_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.pid");
        let held = PidFile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn what_names_no_running_agent_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.pid");
        // The number of a process that is no agent; of none; no number; nothing.
        for stale in ["1\n", "4194304000\n", "soon", ""] {
            fs::write(&path, stale).unwrap();
            let _held = PidFile::take(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), own(), "{stale:?}");
        }
    }

    #[test]
    fn the_file_of_another_is_left_alone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.pid");
        let held = PidFile::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "7\n").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let refused = PidFile::take(Path::new("/nowhere/agent.pid")).unwrap_err();
        assert!(
            refused.to_string().contains("/nowhere/agent.pid"),
            "{refused}"
        );
    }
}
