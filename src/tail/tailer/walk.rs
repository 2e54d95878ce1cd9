//! Which files there are: what a walk found is followed, renamed or known to be gone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handles::Need;
use super::{POLL_INTERVAL_MAX, POLL_INTERVAL_MAX_WITHOUT_HINTS, Tailer, WALK_INTERVAL_MIN};
use crate::checkpoint::{FileIdentity, Place};
use crate::record::CursorId;
use crate::tail::Event;
use crate::tail::cursor::{Cursor, Start};
use crate::tail::discover::Found;
use crate::tail::disk::{Disk, FileKind, FileStat};
use crate::tail::gzip::{Body, WithGzip, is_gzip};
use crate::tail::handles::is_out_of_handles;
use crate::tail::place::{Placed, extra_of};
use crate::tail::rotation::{self, Known, Loss, Move};
use crate::tail::split::SplitState;

impl<D: Disk> Tailer<D> {
    pub(super) fn walk(&mut self, now: Instant, disk: &mut WithGzip<'_, D>) {
        let mut listing = self.rules.patterns.walk(disk, |path| self.stat_of(path));
        let is_first = self.walked_at.replace(now).is_none();
        self.telling_devices.clear();
        self.follow_devices(&listing.files, is_first, disk);
        let n_old = self.leave_old(&mut listing.files, is_first, disk);
        let is_short = |(_, error): &(PathBuf, io::Error)| is_out_of_handles(error);
        if listing.problems.iter().any(is_short) {
            // To list a folder takes a handle too.
            self.park(1, disk);
        }
        self.tell_problems(&listing.problems);
        let view = |cursor: &Cursor<Body<D::File>>| Known {
            id: cursor.id,
            identity: cursor.identity,
            path: cursor.is_named.then(|| Arc::clone(&cursor.path)),
        };
        let known: Vec<Known> = self.cursors.values().map(view).collect();
        let moves = rotation::plan(&known, &listing.files, &listing.other_names);
        let new: Vec<Found> = moves
            .iter()
            .filter_map(|step| match step {
                Move::Appeared { found } => {
                    Some(self.under_known_name(found, &listing.other_names))
                }
                _ => None,
            })
            .collect();
        for step in moves {
            match step {
                Move::Renamed { id, to } => self.rename(id, to, now),
                Move::Vanished { id } if self.is_hidden(id) => {}
                Move::Vanished { id } => self.vanish(id, now, disk),
                Move::Appeared { .. } => {}
            }
        }
        let placed = match is_first {
            true => self.memory.place_first(&self.rules, disk, &new),
            false => new
                .iter()
                .map(|found| self.memory.place(&self.rules, found))
                .collect(),
        };
        self.make_room(new.len());
        for (found, placed) in new.iter().zip(placed) {
            self.follow(found, placed, now, disk);
        }
        self.listed_folders.clone_from(&listing.folders);
        for owed in self.memory.take_owed() {
            self.seek_place(&owed.place, owed.loss, now);
        }
        self.follow_strays(now, disk);
        self.tell_files(
            listing.files.len(),
            listing.n_excluded,
            n_old,
            listing.is_missing_folder.then_some(listing.problems),
        );
        self.folders = Some(listing.folders);
        self.bound_deleted(now);
        self.walk_at = now + self.walk_interval(listing.files.len());
    }

    /// The time to the next walk over so many files, where nothing hints at a change.
    fn walk_interval(&self, n_files: usize) -> Duration {
        let interval = match self.hints_work {
            true => self.rules.rescan_interval_max,
            false => Duration::from_millis(n_files as u64)
                .clamp(POLL_INTERVAL_MAX_WITHOUT_HINTS, POLL_INTERVAL_MAX),
        };
        interval
            .min(self.rules.rescan_interval_max)
            .max(WALK_INTERVAL_MIN)
    }

    /// The file that is followed under this name, as it was at its last look.
    fn stat_of(&self, path: &Path) -> Option<FileStat> {
        let cursor = self.cursors.get(self.by_path.get(path)?)?;
        Some(FileStat {
            identity: cursor.identity,
            kind: FileKind::File,
            size: cursor.size,
            modified_ms: cursor.modified_ms,
            n_links: cursor.n_links,
        })
    }

    /// What was renamed out of the patterns' reach while we were away is read to its end.
    fn follow_strays(&mut self, now: Instant, disk: &mut WithGzip<'_, D>) {
        if self.has_sought_strays || !self.unlisted.is_empty() {
            return;
        }
        let (strays, is_complete) = self.memory.strays(disk);
        self.has_sought_strays = is_complete;
        for found in strays {
            let placed = self.memory.place(&self.rules, &found);
            let id = self.follow(&found, placed, now, disk);
            self.vanish(id, now, disk);
        }
        if self.has_sought_strays {
            for place in self.memory.missing(disk) {
                self.seek_place(&place, Loss::Gone, now);
            }
        }
    }

    /// What was read in the run before stood in a file that holds it no more.
    fn seek_place(&mut self, place: &Place, loss: Loss, now: Instant) {
        let stat = FileStat {
            identity: place.identity,
            kind: FileKind::File,
            size: place.size,
            modified_ms: place.modified_ms,
            n_links: 0,
        };
        let header_lines = place.header_lines_left;
        let start = Start {
            offset: place.offset,
            split: SplitState::resumed(header_lines, false),
        };
        let path = place.path.as_path().into();
        let mut cursor = Cursor::new(self.new_id(), path, &stat, start, header_lines, now);
        cursor.fingerprint = place.fingerprint;
        let mark = extra_of(place).mark;
        cursor
            .marks
            .extend(mark.filter(|mark| mark.end <= place.offset));
        (cursor.is_named, cursor.is_dirty) = (false, false);
        self.seek(cursor, loss, true, now);
    }

    /// A file of several names keeps the one it had in the run before.
    fn under_known_name(
        &self,
        found: &Found,
        other_names: &HashSet<(FileIdentity, Arc<Path>)>,
    ) -> Found {
        let identity = found.stat.identity;
        let known = self.memory.name_of(identity).map(Arc::<Path>::from);
        let known = known.filter(|path| other_names.contains(&(identity, Arc::clone(path))));
        match known {
            Some(path) => Found {
                path,
                stat: found.stat,
                is_link: None,
            },
            None => found.clone(),
        }
    }

    fn tell_problems(&mut self, problems: &[(PathBuf, io::Error)]) {
        let now_unlisted: HashMap<_, _> = problems
            .iter()
            .filter(|(_, error)| error.kind() != io::ErrorKind::NotFound)
            .map(|(path, error)| (path.clone(), error.kind()))
            .collect();
        for (path, error) in problems {
            let is_new = now_unlisted.contains_key(path)
                && self.unlisted.get(path) != now_unlisted.get(path);
            if is_new {
                self.events.push(Event::Unlisted {
                    path: path.clone(),
                    error: error.to_string(),
                });
            }
        }
        let had = std::mem::replace(&mut self.unlisted, now_unlisted);
        let listed = had
            .into_keys()
            .filter(|path| !self.unlisted.contains_key(path));
        self.events
            .extend(listed.map(|path| Event::Listed { path }));
    }

    /// Whether the folder of a file couldn't be listed: that it wasn't found says nothing then.
    fn is_hidden(&self, id: CursorId) -> bool {
        let path = self.cursors.get(&id).map(|cursor| &cursor.path);
        path.is_some_and(|path| self.unlisted.keys().any(|part| path.starts_with(part)))
    }

    /// No file at all is said once, and the first ones after that.
    fn tell_files(
        &mut self,
        n_files: usize,
        n_excluded: usize,
        n_old: usize,
        missing: Option<Vec<(PathBuf, io::Error)>>,
    ) {
        let has_files = n_files > 0;
        match (has_files, self.had_files.replace(has_files)) {
            (false, None | Some(true)) => {
                let missing_folder = missing
                    .and_then(|problems| problems.into_iter().next())
                    .map(|(path, _)| path);
                self.events.push(Event::NoFiles {
                    missing_folder,
                    n_excluded,
                    n_old,
                });
            }
            (true, Some(false)) => self.events.push(Event::FilesFound { n_files }),
            _ => {}
        }
    }

    fn rename(&mut self, id: CursorId, to: Arc<Path>, now: Instant) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let from = std::mem::replace(&mut cursor.path, Arc::clone(&to));
        let is_back = from == to;
        // Without a handle it may be a new file that took the number of one that is gone.
        let is_known = cursor.file.is_some() || (cursor.is_parked && cursor.tail.is_some());
        cursor.rotated_at = (!is_back && is_known).then_some(now);
        cursor.is_named = true;
        cursor.is_dirty = true;
        self.unname(&from, id);
        self.by_path.insert(Arc::clone(&to), id);
        self.poll_at(id, now);
        if !is_back {
            self.events.push(Event::Renamed { from, to });
        }
    }

    fn vanish(&mut self, id: CursorId, now: Instant, disk: &mut WithGzip<'_, D>) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        cursor.rotated_at = Some(now);
        cursor.is_named = false;
        let path = Arc::clone(&cursor.path);
        let unread_bytes = cursor.size.saturating_sub(cursor.read);
        let is_parked = cursor.is_parked;
        self.unname(&path, id);
        self.poll_at(id, now);
        self.events.push(Event::Vanished { path, unread_bytes });
        if is_parked {
            self.seek_name(id, now, disk);
        }
    }

    pub(super) fn follow(
        &mut self,
        found: &Found,
        placed: Placed,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> CursorId {
        let id = self.new_id();
        let mut cursor = Cursor::new(
            id,
            Arc::clone(&found.path),
            &found.stat,
            placed.start,
            placed.header_lines,
            now,
        );
        cursor.fingerprint = placed.fingerprint;
        cursor.marks.extend(placed.mark);
        cursor.rotated_at = placed.is_rotated.then_some(now);
        cursor.is_finished = placed.is_finished;
        // It may turn out to be another file: what is known of the one that was read isn't what this one is like. What a
        // gzip holds shows once it is open.
        if let Some((size, modified_ms)) = placed.last_look.filter(|_| !is_gzip(&found.path)) {
            (cursor.size, cursor.known_size) = (size, size);
            cursor.modified_ms = modified_ms;
        }
        cursor.is_hinted = self.is_told_of(found, disk);
        cursor.is_new = placed.is_new;
        cursor.since_turn = if placed.is_new { self.n_turns } else { 0 };
        if let Some(read) = placed.was_replaced {
            self.events.push(Event::Replaced {
                path: Arc::clone(&found.path),
                read,
            });
        }
        self.by_path.insert(Arc::clone(&found.path), id);
        self.admit(cursor);
        let is_open = self.open(id, Need::Later, disk);
        if let Some(cursor) = self.cursors.get_mut(&id)
            && cursor.is_new
            && is_open
        {
            // What was there before it was open may be another content's; the first look follows at once.
            (cursor.size, cursor.known_size) = (0, 0);
        }
        self.poll_at(id, now);
        if let Some(remnant) = &placed.remnant {
            self.seek_place(remnant, Loss::CutOff, now);
        }
        id
    }

    /// Whether the system tells of changes to a file that a walk found. A file system that does is asked about once a walk:
    /// another one may have the number of one that was unmounted. That one doesn't may be due to a file that is gone.
    fn is_told_of(&mut self, found: &Found, disk: &mut WithGzip<'_, D>) -> bool {
        let is_link = found.is_link.unwrap_or_else(|| disk.is_link(&found.path));
        if is_link {
            return false;
        }
        let device = found.stat.identity.device;
        if !self.telling_devices.contains(&device) && disk.tells_of(&found.path) {
            self.telling_devices.insert(device);
        }
        self.telling_devices.contains(&device)
    }

    pub(super) fn new_id(&mut self) -> CursorId {
        self.next_id += 1;
        CursorId(self.next_id)
    }

    /// A reason is said once, until another takes its place or it is over.
    pub(super) fn tell_unreadable(&mut self, id: CursorId, error: &io::Error) {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        if error.kind() == io::ErrorKind::NotFound
            || cursor.problem.replace(error.kind()) == Some(error.kind())
        {
            return;
        }
        let path = Arc::clone(&cursor.path);
        self.events.push(Event::Unreadable {
            path,
            kind: error.kind(),
            error: error.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::tail::disk::OsDisk;
    use crate::tail::testing::{Lines, rules_of};

    #[test]
    fn the_system_tells_of_files_and_not_of_what_links_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.log", "named", "elsewhere", "elsewhere too"] {
            fs::write(path(name), name).unwrap();
        }
        symlink(path("elsewhere"), path("link.log")).unwrap();
        symlink(path("elsewhere too"), path("named link")).unwrap();
        let text = format!(
            r#"{{"flows": [{{"id": "l", "filePattern": ["{}", "{}", "{}"], "kinesisStream": "s"}}]}}"#,
            path("*.log").display(),
            path("named").display(),
            path("named link").display(),
        );
        let rules = rules_of(&text);
        let now = Instant::now();
        let mut tailer = Tailer::new(rules, FlowPlaces::default(), now);
        tailer.turn(now, &mut OsDisk, &mut Lines::default());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut hinted: Vec<(String, bool)> = tailer
            .cursors()
            .map(|cursor| (name(&cursor.path), cursor.is_hinted))
            .collect();
        hinted.sort();
        // The folder itself may be in a network file system.
        let is_told_of = OsDisk.tells_of(folder.path());
        let expected = [
            ("a.log", is_told_of),
            ("link.log", false),
            ("named", is_told_of),
            ("named link", false),
        ];
        assert_eq!(
            hinted,
            expected.map(|(name, is_hinted)| (name.to_owned(), is_hinted))
        );
    }
}
