//! The log file being written: append, look whether it is still there, begin a new one each hour.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::archive::{Hour, Names};

/// Largest size of the file in `/tmp` that stands in for the log; beyond it the file begins anew.
pub(super) const FALLBACK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What [`LogFile::prepare`] did.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nothing to do, or the file was opened again because somebody moved it.
    Ready,
    /// The file was finished and renamed, and a new one begun.
    Rolled,
    /// The file is due but can't be renamed. Lines still go to it; at its size limit it was emptied.
    NotRolled(io::Error),
}

/// The open log file.
///
/// A path that isn't a regular file of its own (a link to `/dev/stdout`, a pipe) is written to and never rolled: whoever
/// made it decides. The descriptor never blocks, so a pipe nobody reads costs lines and no time.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    names: Names,
    size_bytes_max: u64,
    file: File,
    /// Device and inode, to see that the path is still this file.
    identity: (u64, u64),
    rolls: bool,
    /// The hour that the lines in the file belong to.
    hour: Hour,
    size_bytes: u64,
    /// The last second in which the path was looked at.
    looked_at_s: i64,
}

impl LogFile {
    /// Opens or creates the file at `path`, and its folder. A file left from an earlier hour is rolled by the next
    /// [`LogFile::prepare`].
    pub(super) fn open(path: &Path, size_bytes_max: u64, now: Timestamp) -> io::Result<LogFile> {
        let names = Names::of(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(names.folder())?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        let metadata = file.metadata()?;
        let hour = match metadata.modified().map(Timestamp::try_from) {
            Ok(Ok(modified)) if metadata.len() > 0 => Hour::of(modified),
            _ => Hour::of(now),
        };
        Ok(LogFile {
            path: path.to_path_buf(),
            names,
            size_bytes_max,
            file,
            identity: identity(&metadata),
            rolls: fs::symlink_metadata(path).is_ok_and(|m| m.is_file()),
            hour,
            size_bytes: metadata.len(),
            looked_at_s: now.as_second(),
        })
    }

    /// Makes the file ready for a line of `line_bytes`.
    ///
    /// An error means that no file can be opened at the path any more.
    pub(super) fn prepare(&mut self, now: Timestamp, line_bytes: usize) -> io::Result<Prepared> {
        if self.looked_at_s != now.as_second() {
            self.looked_at_s = now.as_second();
            if self.was_moved() {
                *self = LogFile::open(&self.path, self.size_bytes_max, now)?;
            }
        }
        let is_full = self.size_bytes.saturating_add(line_bytes as u64) > self.size_bytes_max;
        if !self.rolls || self.size_bytes == 0 {
            self.hour = Hour::of(now);
            return Ok(Prepared::Ready);
        }
        if is_full || self.hour != Hour::of(now) {
            self.roll(now, is_full)
        } else {
            Ok(Prepared::Ready)
        }
    }

    fn was_moved(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => identity(&metadata) != self.identity,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn roll(&mut self, now: Timestamp, is_full: bool) -> io::Result<Prepared> {
        match fs::rename(&self.path, self.names.free(self.hour)) {
            Ok(()) => {
                *self = LogFile::open(&self.path, self.size_bytes_max, now)?;
                Ok(Prepared::Rolled)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = LogFile::open(&self.path, self.size_bytes_max, now)?;
                Ok(Prepared::Ready)
            }
            Err(error) => {
                self.hour = Hour::of(now);
                if is_full {
                    self.file.set_len(0)?;
                    self.size_bytes = 0;
                }
                Ok(Prepared::NotRolled(error))
            }
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.size_bytes += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The file that stands in for the log, in a folder where others may write too.
#[derive(Debug)]
pub(super) struct FallbackFile {
    file: File,
    size_bytes: u64,
}

impl FallbackFile {
    /// Opens or creates the file, for the owner and its group alone.
    ///
    /// A link, or anything that isn't a plain file of this user that nobody else can write to, is refused: in `/tmp`
    /// somebody may have put it there for us to write into.
    pub(super) fn open(path: &Path) -> io::Result<FallbackFile> {
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other("it is not a plain file of its own"));
        }
        let us = rustix::process::geteuid().as_raw();
        if metadata.uid() != us {
            return Err(io::Error::other(format!(
                "it belongs to user {} and we are user {us}",
                metadata.uid()
            )));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "others may write to it (mode {:o})",
                metadata.mode() & 0o777
            )));
        }
        Ok(FallbackFile {
            file,
            size_bytes: metadata.len(),
        })
    }
}

impl Write for FallbackFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size_bytes >= FALLBACK_BYTES_MAX {
            self.file.set_len(0)?;
            self.size_bytes = 0;
        }
        let n_bytes = self.file.write(bytes)?;
        self.size_bytes += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
