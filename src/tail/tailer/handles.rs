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
use crate::tail::gzip::{Body, WithGzip, is_gzip};
use crate::tail::handles::{is_out_of_handles, is_stale};

/// Of the handles that a flow has so many are given up at once when one is needed: an eighth.
const PARKED_AT_ONCE: usize = 8;
/// Names under which a file is tried to be opened that gets a new one each time.
const NAMES_TRIED_MAX: usize = 4;

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
    fn open_path(
        &mut self,
        path: &Path,
        need: Need,
        disk: &mut WithGzip<'_, D>,
    ) -> io::Result<Body<D::File>> {
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
    pub(super) fn open(&mut self, id: CursorId, need: Need, disk: &mut WithGzip<'_, D>) -> bool {
        let Some(cursor) = self.cursors.get(&id) else {
            return false;
        };
        if cursor.file.is_some() {
            return true;
        }
        if !cursor.is_named && !cursor.is_parked {
            return false;
        }
        let identity = cursor.identity;
        let path = Arc::clone(&cursor.path);
        let mut opened = self
            .open_path(&path, need, disk)
            .and_then(|file| disk.look_at(&file).map(|stat| (file, stat)));
        if is_elsewhere(&opened, identity)
            && let Some(moved) = self.open_moved(id, disk)
        {
            opened = Ok(moved);
        }
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
                // What a gzip holds shows only while it is open.
                cursor.is_parked = !is_gzip(&path);
                self.tell_handles_short();
                false
            }
            Err(error) => {
                self.tell_unreadable(id, &error);
                false
            }
        }
    }

    /// Opens a file that was never open and whose name moved on since it was found, under another one that the patterns
    /// match. It counts if it is as it was then, or has grown: its number may be another's by now.
    fn open_moved(
        &mut self,
        id: CursorId,
        disk: &mut WithGzip<'_, D>,
    ) -> Option<(Body<D::File>, FileStat)> {
        let cursor = self.cursors.get(&id).filter(|cursor| !cursor.is_parked)?;
        let (file, to) = open_wherever(cursor.identity, &cursor.path, disk).ok()?;
        let stat = disk.look_at(&file).ok()?;
        if !cursor.may_have_become(&stat) || !self.rules.patterns.matches(&to) {
            return None;
        }
        let cursor = self.cursors.get_mut(&id)?;
        let to: Arc<Path> = to.into();
        let from = std::mem::replace(&mut cursor.path, Arc::clone(&to));
        self.unname(&from, id);
        self.by_path.insert(to, id);
        Some((file, stat))
    }

    /// Opens a parked file to be read. `false`: it isn't to be had, or isn't what was read; it is looked at again.
    pub(super) fn unpark(
        &mut self,
        id: CursorId,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> bool {
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
    pub(super) fn park(&mut self, n_wanted: usize, disk: &mut WithGzip<'_, D>) -> usize {
        let order = |cursor: &Cursor<Body<D::File>>| {
            let is_read = cursor.read >= cursor.size || cursor.split.is_over;
            (cursor.is_queued, !is_read, cursor.changed_at, cursor.id)
        };
        let is_open = |cursor: &&Cursor<Body<D::File>>| {
            let is_plain = |file: &Body<D::File>| !file.is_gzip();
            cursor.file.as_ref().is_some_and(is_plain) && cursor.n_links > 0
        };
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
    pub(super) fn seek_name(&mut self, id: CursorId, now: Instant, disk: &mut WithGzip<'_, D>) {
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
    fn take_back(
        &mut self,
        id: CursorId,
        path: PathBuf,
        stat: &FileStat,
        disk: &mut WithGzip<'_, D>,
    ) -> bool {
        let opened = self.open_path(&path, Need::Now, disk);
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        let is_as_before = cursor.may_have_become(stat);
        let is_same = match opened {
            Ok(file) => {
                cursor.file = Some(file);
                // An error says nothing about what it is.
                cursor.is_same(disk).unwrap_or(true) && (cursor.read > 0 || is_as_before)
            }
            Err(error) => is_out_of_handles(&error) && is_as_before,
        };
        if is_same {
            cursor.path = path.into();
            cursor.is_parked = cursor.file.is_none();
            (cursor.is_dirty, cursor.awaits_handle) = (true, true);
        } else {
            cursor.file = None;
        }
        is_same
    }

    /// No name leads to a parked file any more. One that was read to its end, and quiet by then, owes nothing; else what it
    /// held is looked for, and lost if it isn't found.
    fn forget(&mut self, id: CursorId, now: Instant) {
        let Some(cursor) = self.cursors.get(&id) else {
            return;
        };
        let quiet = now.saturating_duration_since(cursor.changed_at);
        let owes_nothing =
            cursor.split.is_over || (cursor.read >= cursor.size && quiet >= ROTATED_GRACE);
        if !owes_nothing {
            return self.give_up(id, now);
        }
        self.events.push(Event::Finished {
            path: Arc::clone(&cursor.path),
            size: cursor.size,
        });
        self.let_go(id, false);
    }

    /// Gives up deleted files that aren't wholly sent where they hold more than they may, or for longer: those that were
    /// deleted first go first.
    pub(super) fn bound_deleted(&mut self, now: Instant) {
        let bounds = self.rules.deleted_files;
        let is_deleted = |cursor: &&Cursor<Body<D::File>>| cursor.n_links == 0 && !cursor.is_named;
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

/// Whether a file isn't to be had under the name that was tried.
fn is_elsewhere<F>(opened: &io::Result<(F, FileStat)>, identity: FileIdentity) -> bool {
    match opened {
        Ok((_, stat)) => stat.identity != identity,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Opens the file of that identity, under the name that it had or the one in the same folder that it has by now, which is
/// returned with it.
///
/// # Errors
///
/// `NotFound`: it has no name there any more, or a new one each time.
pub(super) fn open_wherever<D: Disk>(
    identity: FileIdentity,
    path: &Path,
    disk: &mut WithGzip<'_, D>,
) -> io::Result<(Body<D::File>, PathBuf)> {
    let folder = path.parent().unwrap_or(path);
    let mut path = path.to_owned();
    for _ in 0..NAMES_TRIED_MAX {
        match disk.open(&path) {
            Ok(file) if disk.look_at(&file)?.identity == identity => return Ok((file, path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match path_of(identity, folder, disk)? {
            Some((now, _)) => path = now,
            None => break,
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The path of the file of that identity in a folder.
fn path_of<D: Disk>(
    identity: FileIdentity,
    folder: &Path,
    disk: &mut WithGzip<'_, D>,
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use rustix::io::Errno;

    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::record::Span;
    use crate::tail::Intake;
    use crate::tail::disk::{Name, OsDisk};
    use crate::tail::split::RecordKind;
    use crate::tail::testing::{MemoryDisk, rules_of};

    /// A disk with few handles, which may all go stale at once.
    struct Tight<D> {
        disk: D,
        n_open: Rc<Cell<usize>>,
        max: usize,
        /// Handles of earlier generations are stale.
        generation: u32,
    }

    struct TightFile<F> {
        file: F,
        n_open: Rc<Cell<usize>>,
        generation: u32,
    }

    impl<F> Drop for TightFile<F> {
        fn drop(&mut self) {
            self.n_open.set(self.n_open.get() - 1);
        }
    }

    impl<D> Tight<D> {
        fn check<F>(&self, file: &TightFile<F>) -> io::Result<()> {
            match file.generation == self.generation {
                true => Ok(()),
                false => Err(Errno::STALE.into()),
            }
        }
    }

    impl<D: Disk> Disk for Tight<D> {
        type File = TightFile<D::File>;

        fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
            self.disk.names(folder)
        }

        fn look(&mut self, path: &Path) -> io::Result<FileStat> {
            self.disk.look(path)
        }

        fn open(&mut self, path: &Path) -> io::Result<Self::File> {
            if self.n_open.get() == self.max {
                return Err(Errno::MFILE.into());
            }
            let file = self.disk.open(path)?;
            self.n_open.set(self.n_open.get() + 1);
            Ok(TightFile {
                file,
                n_open: Rc::clone(&self.n_open),
                generation: self.generation,
            })
        }

        fn share(&mut self, file: &Self::File) -> io::Result<Self::File> {
            self.check(file)?;
            if self.n_open.get() == self.max {
                return Err(Errno::MFILE.into());
            }
            let file = self.disk.share(&file.file)?;
            self.n_open.set(self.n_open.get() + 1);
            Ok(TightFile {
                file,
                n_open: Rc::clone(&self.n_open),
                generation: self.generation,
            })
        }

        fn look_at(&mut self, file: &Self::File) -> io::Result<FileStat> {
            self.check(file)?;
            self.disk.look_at(&file.file)
        }

        fn is_link(&mut self, path: &Path) -> bool {
            self.disk.is_link(path)
        }

        fn tells_of(&mut self, path: &Path) -> bool {
            self.disk.tells_of(path)
        }

        fn read_at(
            &mut self,
            file: &Self::File,
            offset: u64,
            into: &mut [u8],
        ) -> io::Result<usize> {
            self.check(file)?;
            self.disk.read_at(&file.file, offset, into)
        }

        fn clock_ms(&mut self) -> i64 {
            self.disk.clock_ms()
        }
    }

    /// What was read, while there is room.
    struct Read {
        has_room: bool,
        lines: Vec<String>,
    }

    impl Intake for Read {
        fn has_room(&mut self, _: usize) -> bool {
            self.has_room
        }

        fn record(&mut self, _: Span, data: &[u8], _: RecordKind, _: &Path) {
            let line = String::from_utf8_lossy(data);
            self.lines.push(line.trim_end().to_owned());
        }

        fn nothing(&mut self, _: Span) {}
    }

    struct Scene<D: Disk> {
        tailer: Tailer<Tight<D>>,
        disk: Tight<D>,
        now: Instant,
        read: Read,
    }

    impl<D: Disk> Scene<D> {
        fn new(disk: D, max: usize, pattern: &str, keys: &str) -> Scene<D> {
            let text = format!(
                r#"{{"flows": [{{"filePattern": "{pattern}", "kinesisStream": "s", "initialPosition": "START_OF_FILE"{keys}}}]}}"#
            );
            let rules = rules_of(&text);
            let now = Instant::now();
            Scene {
                tailer: Tailer::new(rules, FlowPlaces::default(), now),
                disk: Tight {
                    disk,
                    n_open: Rc::default(),
                    max,
                    generation: 0,
                },
                now,
                read: Read {
                    has_room: true,
                    lines: Vec::new(),
                },
            }
        }

        /// Lets time pass, then looks and reads; the lines that came, in the order of their text.
        fn after(&mut self, seconds: u64) -> Vec<String> {
            self.now += Duration::from_secs(seconds);
            while self
                .tailer
                .turn(self.now, &mut self.disk, &mut self.read)
                .has_more
            {}
            // What a walk found out of time is looked at in the next turn.
            self.now += Duration::from_secs(1);
            self.tailer.turn(self.now, &mut self.disk, &mut self.read);
            let mut lines = std::mem::take(&mut self.read.lines);
            lines.sort();
            lines
        }

        /// What was said of lost bytes: name, start and end.
        fn losses(&mut self) -> Vec<(String, u64, Option<u64>)> {
            let events = self.tailer.take_events().into_iter();
            let loss = |event| match event {
                Event::Lost { path, start, end } => Some((path, start, end)),
                Event::GivenUp { path, start, end } => Some((path, start, Some(end))),
                _ => None,
            };
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            events
                .filter_map(loss)
                .map(|(path, start, end)| (name(&path), start, end))
                .collect()
        }
    }

    fn in_memory(files: &[(&str, &str)], max: usize, keys: &str) -> Scene<MemoryDisk> {
        let mut scene = Scene::new(MemoryDisk::default(), max, "/l/*.log*", keys);
        for (path, text) in files {
            scene.disk.disk.append(path, text.as_bytes());
        }
        scene
    }

    /// All a run can do to files while most of them are closed, with one handle and more.
    #[test]
    fn files_are_read_once_however_few_handles_there_are() {
        for max in 1..6 {
            let files = [
                ("/l/a.log", "a1\n"),
                ("/l/b.log", "b1\n"),
                ("/l/c.log", "c1\nc2"),
            ];
            let mut scene = in_memory(&files, max, "");
            assert_eq!(scene.after(0), ["a1", "b1", "c1"], "{max}");
            let disk = &mut scene.disk.disk;
            disk.append("/l/a.log", b"a2\n");
            disk.rename("/l/a.log", "/l/a.log.1");
            disk.append("/l/a.log", b"new\n");
            disk.append("/l/b.log", b"b2\n");
            disk.rename("/l/b.log", "/l/b.old");
            disk.append("/l/b.old", b"b3\n");
            disk.append("/l/c.log", b"\nc3\n");
            let expected = ["a2", "b2", "b3", "c2", "c3", "new"];
            assert_eq!(scene.after(20), expected, "{max}");
            let disk = &mut scene.disk.disk;
            disk.append("/l/b.old", b"b4\n");
            disk.truncate("/l/c.log", b"c4\n");
            disk.append("/l/a.log.1", b"a3\n");
            // As long as before.
            disk.truncate("/l/a.log", b"neu\n");
            assert_eq!(scene.after(20), ["a3", "b4", "c4", "neu"], "{max}");
            assert_eq!(scene.losses(), [], "{max}");
        }
    }

    #[test]
    fn a_deleted_file_keeps_its_handle_until_it_is_read() {
        let files = [("/l/a.log", "a1\n"), ("/l/b.log", "b1\n")];
        let mut scene = in_memory(&files, 2, "");
        scene.read.has_room = false;
        scene.after(0);
        scene.disk.disk.delete("/l/a.log");
        scene.disk.disk.append("/l/c.log", b"c1\n");
        scene.after(20);
        scene.read.has_room = true;
        assert_eq!(scene.after(20), ["a1", "b1", "c1"]);
        assert_eq!(scene.losses(), []);
    }

    /// A closed file doesn't keep its number: another file that has it now isn't taken for it.
    #[test]
    fn a_number_that_is_used_again_leads_to_no_other_file() {
        for quiet_seconds in [0, 100] {
            let files = [("/l/a.log", "a1\n"), ("/l/b.log", "b1\n")];
            let mut scene = in_memory(&files, 1, "");
            assert_eq!(scene.after(0), ["a1", "b1"]);
            scene.after(quiet_seconds);
            let inode =
                |scene: &Scene<MemoryDisk>, path| scene.disk.disk.node(path).map(|node| node.inode);
            scene.disk.disk.append("/l/b.log", b"b2\n");
            assert_eq!(scene.after(20), ["b2"]);
            let number = inode(&scene, "/l/a.log");
            scene.disk.disk.delete("/l/a.log");
            scene.disk.disk.append("/l/private", b"none of ours\n");
            assert_eq!(inode(&scene, "/l/private"), number);
            assert_eq!(scene.after(20), Vec::<String>::new());
            // What may have come between the last look and the end of a file that had just been written can't be known.
            let expected = [("a.log".to_owned(), 3, None)];
            let n_lost = usize::from(quiet_seconds == 0);
            assert_eq!(scene.losses(), expected[..n_lost]);
        }
    }

    #[test]
    fn a_file_that_is_deleted_while_it_is_closed_is_said_to_be_lost() {
        let files = [("/l/a.log", "a1\n"), ("/l/b.log", "b1\nb2")];
        let mut scene = in_memory(&files, 1, "");
        assert_eq!(scene.after(0), ["a1", "b1"]);
        scene.disk.disk.append("/l/a.log", b"a2\n");
        assert_eq!(scene.after(20), ["a2"]);
        scene.disk.disk.delete("/l/b.log");
        scene.after(20);
        assert_eq!(scene.losses(), [("b.log".to_owned(), 3, Some(5))]);
    }

    #[test]
    fn handles_that_go_stale_are_opened_again() {
        let files = [("/l/a.log", "a1\n"), ("/l/b.log", "b1\n")];
        let mut scene = in_memory(&files, 10, "");
        assert_eq!(scene.after(0), ["a1", "b1"]);
        scene.disk.generation += 1;
        scene.disk.disk.append("/l/a.log", b"a2\n");
        scene.disk.disk.rename("/l/b.log", "/l/b.log.1");
        scene.disk.disk.append("/l/b.log.1", b"b2\n");
        assert_eq!(scene.after(20), ["a2", "b2"]);
        let is_complaint = |event: &Event| matches!(event, Event::Unreadable { .. });
        assert!(!scene.tailer.take_events().iter().any(is_complaint));

        // A read finds it out too.
        scene.disk.disk.append("/l/a.log", b"a3\n");
        scene.read.has_room = false;
        scene.after(20);
        scene.disk.generation += 1;
        scene.read.has_room = true;
        assert_eq!(scene.after(20), ["a3"]);
        // One that is gone with its handle is lost.
        scene.disk.disk.append("/l/a.log", b"a4\n");
        scene.read.has_room = false;
        scene.after(20);
        scene.disk.generation += 1;
        scene.disk.disk.delete("/l/a.log");
        scene.read.has_room = true;
        assert_eq!(scene.after(20), Vec::<String>::new());
        assert_eq!(scene.losses(), [("a.log".to_owned(), 9, Some(12))]);
    }

    /// P-GIVEN-UP: Of deleted files that aren't wholly sent the one deleted first is given up, and its range said, while all
    /// hold more than `deletedFiles.maxBytes`, or it is held for longer than `deletedFiles.maxAge`.
    #[test]
    fn deleted_files_are_given_up_beyond_their_bounds_the_first_deleted_first() {
        let lost = |name: &str| (name.to_owned(), 0, Some(10));
        for (keys, n_lost) in [
            ("", 0),
            (r#", "deletedFiles.maxBytes": 30"#, 0),
            (r#", "deletedFiles.maxBytes": 29"#, 1),
            (r#", "deletedFiles.maxBytes": 1"#, 3),
            (r#", "deletedFiles.maxAge": "65s""#, 1),
            (r#", "deletedFiles.maxAge": "20s""#, 2),
            (r#", "deletedFiles.maxAge": "10s""#, 3),
        ] {
            // Copies are looked for beside a folder too: there, no test is to be.
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("logs");
            std::fs::create_dir(&folder).unwrap();
            let names = ["a.log", "b.log", "c.log"];
            for name in names {
                std::fs::write(folder.join(name), "0123456\n8\n").unwrap();
            }
            let pattern = format!("{}/*.log", folder.display());
            let mut scene = Scene::new(OsDisk, 100, &pattern, keys);
            scene.read.has_room = false;
            scene.after(0);
            for name in names {
                std::fs::remove_file(folder.join(name)).unwrap();
                scene.after(29);
            }
            scene.after(13);
            let expected: Vec<_> = names[..n_lost].iter().map(|name| lost(name)).collect();
            assert_eq!(scene.losses(), expected, "{keys}");
            scene.read.has_room = true;
            assert_eq!(scene.after(1).len(), 2 * (3 - n_lost), "{keys}");
        }
    }
}
