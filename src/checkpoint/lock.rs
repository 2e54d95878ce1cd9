//! One process at a time.
//!
//! The lock is the kernel's, on a file `NAME.lock` beside the database, so it goes with the process however that
//! dies. SQLite's own exclusive mode would keep out those who only look (`sqlite3`, an export while the agent runs),
//! and a lock on the database file itself can be the same as SQLite's (on NFS) or drop it (closing any handle of a
//! file gives up a process's record locks on it).
//!
//! The reference knows nothing of that lock and holds none of SQLite's while it is idle. It does keep the file open,
//! which the process table shows.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::{Holder, OpenError};
use super::open::FILE_MODE;

/// Longest process id read from a lock file, in bytes; a real one has at most 10 digits.
const PID_BYTES_MAX: u64 = 16;

/// Held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Locks `database` for this process, which has to be its real path, or says who has it.
    pub fn take(database: &Path) -> Result<Lock, OpenError> {
        let path = sibling(database, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(OpenError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: database.to_owned(),
                    holder: Holder::Agent(read_pid(&mut file)),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::Io {
                    doing: "lock",
                    path,
                    source,
                });
            }
        }
        // The process id is a courtesy to whoever finds the lock taken; the lock holds without it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Some(pid) = java_with_open(database) {
            return Err(OpenError::Locked {
                path: database.to_owned(),
                holder: Holder::Java(pid),
            });
        }
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    /// Closing isn't enough: a child between fork and exec shares the handle, and with it the lock, for a moment.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The first Java process that has `path` open, as far as this user may see; `path` is a real path.
///
/// Other programs don't count: an operator's `sqlite3` mustn't keep the agent from starting.
pub fn java_with_open(path: &Path) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| is_java(*pid) && has_open(*pid, path))
}

fn is_java(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_ascii_end() == b"java")
}

fn has_open(pid: u32, path: &Path) -> bool {
    let Ok(handles) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    handles
        .filter_map(Result::ok)
        .any(|handle| fs::read_link(handle.path()).is_ok_and(|target| target == path))
}

/// `path` with `suffix` after its name, as SQLite names the files beside a database.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn lock_is_free_again_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("checkpoints");
        let lock = Lock::take(&database).unwrap();
        let refused = Lock::take(&database).unwrap_err();
        assert!(
            matches!(refused, OpenError::Locked { holder: Holder::Agent(Some(pid)), .. } if pid == std::process::id())
        );
        drop(lock);
        Lock::take(&database).unwrap();
    }

    #[test]
    fn lock_file_without_a_readable_process_id_still_locks() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("checkpoints");
        let _lock = Lock::take(&database).unwrap();
        fs::write(sibling(&database, ".lock"), b"\xff\xfe").unwrap();
        let refused = Lock::take(&database).unwrap_err();
        assert!(matches!(
            refused,
            OpenError::Locked {
                holder: Holder::Agent(None),
                ..
            }
        ));
    }

    /// The kernel names a process after the file it was started from, so `cat` through a link called `java` is one.
    #[test]
    fn java_process_with_the_database_open_is_noticed_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir_path = dir.path().canonicalize().unwrap();
        let database = dir_path.join("checkpoints");
        fs::write(&database, "").unwrap();
        let cat = ["/bin/cat", "/usr/bin/cat"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap();
        for (name, noticed) in [("java", true), ("javac", false)] {
            let link = dir_path.join(name);
            std::os::unix::fs::symlink(cat, &link).unwrap();
            let mut process = Command::new(&link)
                .arg0("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(File::open(&database).unwrap())
                .spawn()
                .unwrap();
            // Its name is set once it answers, not yet when `spawn` returns.
            process.stdin.as_mut().unwrap().write_all(b"?").unwrap();
            process
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut [0])
                .unwrap();
            let taken = Lock::take(&database);
            drop(process.stdin.take());
            process.wait().unwrap();
            match taken {
                Err(OpenError::Locked {
                    holder: Holder::Java(pid),
                    ..
                }) => assert!(noticed && pid == process.id()),
                other => assert!(!noticed && other.is_ok(), "{name}: {other:?}"),
            }
        }
        Lock::take(&database).unwrap();
    }
}
