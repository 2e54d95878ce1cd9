//! Files without a handle: those that gave theirs to others, are found again by what they are, and read on; and what
//! deleted files may cost.
//!
//! A file gives up its handle only while a name leads to it. Until it is to be read again it is looked at by that name; a
//! name that vanished is sought in its folder. What is opened again is checked against what was read before it counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{ROTATED_GRACE, Tailer};
use crate::checkpoint::FileIdentity;
use crate::record::CursorId;
use crate::tail::Event;
use crate::tail::cursor::Cursor;
use crate::tail::disk::{Disk, FileStat};
use crate::tail::handles::{is_out_of_handles, is_stale};

/// Of the handles that a flow has so many are given up at once when one is needed: an eighth.
const PARKED_AT_ONCE: usize = 8;

/// Whether a file may be opened in the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Only if a handle is left.
    Later,
    /// Now, in the place of others.
    Now,
}

impl<D: Disk> Tailer<D> {
    /// Opens what a path names.
    fn open_path(&mut self, path: &Path, need: Need, disk: &mut D) -> io::Result<D::File> {
        match disk.open(path) {
            Err(error) if need == Need::Now && is_out_of_handles(&error) => {
                let n_open = self.cursors.values().filter(|cursor| cursor.file.is_some());
                let n_wanted = (n_open.count() / PARKED_AT_ONCE).max(1);
                match self.park(n_wanted, disk) {
                    0 => Err(error),
                    _ => disk.open(path),
                }
            }
            opened => opened,
        }
    }

    /// Opens the cursor's file if it isn't open; whether it is now.
    pub(super) fn open(&mut self, id: CursorId, need: Need, disk: &mut D) -> bool {
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        if cursor.file.is_some() {
            return true;
        }
        if !cursor.is_named && !cursor.is_parked {
            return false;
        }
        let path = Arc::clone(&cursor.path);
        let opened = self
            .open_path(&path, need, disk)
            .and_then(|file| disk.look_at(&file).map(|stat| (file, stat)));
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        match opened {
            // Between the look and the opening the name went to another file: the next walk tells.
            Ok((_, stat)) if stat.identity != cursor.identity => false,
            Ok((file, _)) => {
                cursor.file = Some(file);
                cursor.is_parked = false;
                if cursor.problem.take().is_some() {
                    self.events.push(Event::Readable { path });
                }
                true
            }
            Err(error) if is_out_of_handles(&error) => {
                cursor.is_parked = true;
                self.tell_handles_short();
                false
            }
            Err(error) => {
                self.tell_unreadable(id, &error);
                false
            }
        }
    }

    /// Opens a parked file to be read. `false`: it isn't to be had, or isn't what was read; it is looked at again.
    pub(super) fn unpark(&mut self, id: CursorId, now: Instant, disk: &mut D) -> bool {
        if !self.cursors.get(&id).is_some_and(|cursor| cursor.is_parked) {
            return true;
        }
        if !self.open(id, Need::Now, disk) {
            if let Some(cursor) = self.cursors.get_mut(&id) {
                cursor.awaits_handle = true;
            }
            self.walk_soon(now);
            return false;
        }
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        // What was looked into before is checked by every read.
        let checked = match cursor.tail {
            Some(_) => Ok(true),
            None => cursor.get_acquainted(disk),
        };
        match checked {
            Ok(true) => true,
            Ok(false) => {
                self.is_replaced(id, now, disk);
                false
            }
            Err(error) => {
                self.tell_unreadable(id, &error);
                false
            }
        }
    }

    /// Closes up to so many files whose names lead to them: first those that are wholly read, the longest quiet before
    /// others; then those that wait for the rest of a line; last those that have their turn later. How many were closed.
    pub(super) fn park(&mut self, n_wanted: usize, disk: &mut D) -> usize {
        let order = |cursor: &Cursor<D::File>| {
            let is_read = cursor.read >= cursor.size || cursor.split.is_over;
            (cursor.is_queued, !is_read, cursor.changed_at, cursor.id)
        };
        let is_open = |cursor: &&Cursor<D::File>| cursor.file.is_some() && cursor.n_links > 0;
        let mut closable: Vec<_> = self.cursors.values().filter(is_open).map(order).collect();
        closable.sort_unstable();
        let mut n_parked = 0;
        for (.., id) in closable {
            if n_parked == n_wanted {
                break;
            }
            let Some(cursor) = self.cursors.get_mut(&id) else {
                continue;
            };
            let is_reachable = disk
                .look(&cursor.path)
                .is_ok_and(|stat| stat.identity == cursor.identity);
            if is_reachable {
                cursor.file = None;
                cursor.is_parked = true;
                n_parked += 1;
            }
        }
        if n_parked > 0 {
            self.tell_handles_short();
        }
        n_parked
    }

    /// Said once a run: it is how the agent works from here on.
    fn tell_handles_short(&mut self) {
        if !std::mem::replace(&mut self.has_told_handles, true) {
            let n_files = self.cursors.len();
            self.events.push(Event::HandlesShort { n_files });
        }
    }

    /// A handle that leads nowhere any more is let go of; the file is opened again by its name. Whether it was one.
    pub(super) fn drop_stale(&mut self, id: CursorId, error: &io::Error, now: Instant) -> bool {
        let cursor = self.cursors.get_mut(&id);
        let Some(cursor) = cursor.filter(|cursor| cursor.file.is_some() && is_stale(error)) else {
            return false;
        };
        cursor.file = None;
        cursor.is_parked = true;
        cursor.awaits_handle = true;
        self.walk_soon(now);
        true
    }

    /// Looks in its folder for a parked file whose name is gone. What is found there counts only if it holds what was
    /// read: numbers are used again.
    pub(super) fn seek(&mut self, id: CursorId, now: Instant, disk: &mut D) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
        };
        let Some(folder) = cursor.path.parent() else {
            return;
        };
        let found = match path_of(cursor.identity, folder, disk) {
            Ok(found) => found,
            // It is sought again when it is looked at.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return self.after_look(id, false, now);
            }
            Err(_) => None,
        };
        let is_back = found.is_some_and(|(path, stat)| self.take_back(id, path, &stat, disk));
        match is_back {
            true => self.poll_at(id, now),
            false => self.forget(id, now),
        }
    }

    /// Opens a file that was found under another name; whether it is the one that was followed, as far as that shows.
    fn take_back(&mut self, id: CursorId, path: PathBuf, stat: &FileStat, disk: &mut D) -> bool {
        let opened = self.open_path(&path, Need::Now, disk);
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        let is_as_before = stat.size >= cursor.size && stat.modified_ms >= cursor.modified_ms;
        cursor.path = path.into();
        cursor.is_dirty = true;
        cursor.awaits_handle = true;
        match opened {
            Ok(file) => {
                cursor.file = Some(file);
                cursor.is_parked = false;
                // An error says nothing about what it is.
                let is_same = cursor.is_same(disk).unwrap_or(true);
                is_same && (cursor.read > 0 || is_as_before)
            }
            Err(error) => is_out_of_handles(&error) && is_as_before,
        }
    }

    /// No name leads to a parked file any more: what wasn't read is out of reach. One that was read to its end, and quiet
    /// by then, owes nothing.
    fn forget(&mut self, id: CursorId, now: Instant) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
        };
        let path = Arc::clone(&cursor.path);
        let quiet = now.saturating_duration_since(cursor.changed_at);
        let (start, size) = (cursor.read, cursor.size);
        let event = match cursor.split.is_over {
            true => Event::Finished { path, size },
            false if size > start => Event::Lost {
                path,
                start,
                end: Some(size),
            },
            false if quiet < ROTATED_GRACE => Event::Lost {
                path,
                start,
                end: None,
            },
            false => Event::Finished { path, size },
        };
        self.events.push(event);
        self.let_go(id, false);
    }

    /// Gives up deleted files that aren't wholly sent where they hold more than they may, or for longer: those that were
    /// deleted first go first.
    pub(super) fn bound_deleted(&mut self, now: Instant) {
        let bounds = self.rules.deleted_files;
        let is_deleted = |cursor: &&Cursor<D::File>| cursor.n_links == 0 && !cursor.is_named;
        let mut held: Vec<_> = self
            .cursors
            .values()
            .filter(is_deleted)
            .map(|cursor| (cursor.rotated_at, cursor.id, cursor.size))
            .collect();
        held.sort_unstable();
        let mut held_bytes: u64 = held.iter().map(|(.., size)| size).sum();
        for (deleted_at, id, size) in held {
            let age = deleted_at.map(|at| now.saturating_duration_since(at));
            let is_too_old = bounds.age_max.is_some_and(|max| age > Some(max));
            let is_too_much = bounds.bytes_max.is_some_and(|max| held_bytes > max);
            if is_too_old || is_too_much {
                held_bytes -= size;
                self.give_up_deleted(id);
            }
        }
    }

    fn give_up_deleted(&mut self, id: CursorId) {
        if let Some(cursor) = self.cursors.get(&id)
            && cursor.size > cursor.read
            && !cursor.split.is_over
        {
            self.events.push(Event::GivenUp {
                path: Arc::clone(&cursor.path),
                start: cursor.read,
                end: cursor.size,
            });
        }
        self.let_go(id, true);
    }
}

/// The path of the file of that identity in a folder.
fn path_of<D: Disk>(
    identity: FileIdentity,
    folder: &Path,
    disk: &mut D,
) -> io::Result<Option<(PathBuf, FileStat)>> {
    let names = disk.names(folder)?;
    let alike = names
        .into_iter()
        .filter(|name| name.file_inode == Some(identity.inode));
    for path in alike.map(|name| folder.join(name.text)) {
        if let Ok(stat) = disk.look(&path)
            && stat.identity == identity
        {
            return Ok(Some((path, stat)));
        }
    }
    Ok(None)
}
