//! A content that was found in a copy, in a gzip, or under another name is read on there.

use std::sync::Arc;
use std::time::Instant;

use super::Tailer;
use super::probe::Copy;
use super::search::Search;
use crate::record::CursorId;
use crate::tail::Event;
use crate::tail::cursor::{Cursor, Start};
use crate::tail::disk::{Disk, FileStat};
use crate::tail::gzip::{Body, WithGzip, is_gzip};
use crate::tail::rotation::Sighting;
use crate::tail::split::SplitState;

impl<D: Disk> Tailer<D> {
    /// The content goes on in a copy: with the same cursor if the copy holds all that was read, or else the copy is read
    /// from the last place where they are known to be alike.
    pub(super) fn read_on_in(
        &mut self,
        search: Search<Body<D::File>>,
        found: Copy<Body<D::File>>,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) {
        let Copy { candidate, body } = found;
        let Sighting { path, mut stat, .. } = candidate.sighting;
        stat.size = disk.look_at(&body).map_or(stat.size, |stat| stat.size);
        let is_named = self.rules.patterns.matches(&path);
        if let Some(new) = self.by_identity.get(&stat.identity).copied() {
            self.forget_unread(new);
        }
        let old = search.cursor;
        self.memory.forget(stat.identity);
        if old.identity != stat.identity {
            self.free_place(old.identity, old.fingerprint);
        }
        let (from, old_size) = (Arc::clone(&old.path), old.size.max(old.read));
        let is_whole = body.is_gzip() || stat.size >= old.read;
        // Of what it lacks nothing can be read any more.
        let mut cursor = match is_whole {
            true => old,
            false if stat.size > old.acknowledged => {
                let at = old.mark_before(old.acknowledged).map_or(0, |mark| mark.end);
                self.rewound(&old, at, &stat, now)
            }
            false if is_named => self.rewound(&old, candidate.until, &stat, now),
            false => return,
        };
        (cursor.identity, cursor.path) = (stat.identity, Arc::clone(&path));
        // The next look finds that there is more.
        (cursor.size, cursor.modified_ms, cursor.n_links) =
            (cursor.read, stat.modified_ms, stat.n_links);
        (cursor.is_named, cursor.is_new, cursor.problem) = (is_named, false, None);
        (cursor.file, cursor.rotated_at, cursor.changed_at) = (Some(body), Some(now), now);
        (cursor.is_queued, cursor.is_told) = (false, true);
        (cursor.is_dirty, cursor.is_finished) = (true, false);
        cursor.is_hinted = !disk.is_link(&path) && disk.tells_of(&path);
        self.events.push(Event::Continued {
            from,
            to: Arc::clone(&path),
            offset: cursor.read,
        });
        if is_whole && !is_gzip(&path) && stat.size < old_size {
            self.events.push(Event::Lost {
                path: Arc::clone(&path),
                start: stat.size,
                end: Some(old_size),
            });
        }
        let id = cursor.id;
        if is_named {
            self.by_path.insert(path, id);
        }
        self.admit(cursor);
        self.poll_at(id, now);
    }

    /// A cursor of its own for a copy that is shorter than what was read: it starts at the mark at `at`, or at the
    /// beginning.
    fn rewound(
        &mut self,
        old: &Cursor<Body<D::File>>,
        at: u64,
        stat: &FileStat,
        now: Instant,
    ) -> Cursor<Body<D::File>> {
        let mark = old.mark_before(at).filter(|mark| mark.end == at);
        let offset = mark.map_or(0, |mark| mark.end);
        let (header_lines, split) = match mark {
            Some(_) => {
                let left = old.header_lines_left_at(at);
                (left, SplitState::resumed(left, false))
            }
            None => (
                self.rules.split.skip_header_lines,
                SplitState::at_start(&self.rules.split),
            ),
        };
        let start = Start { offset, split };
        let path = Arc::clone(&old.path);
        let mut cursor = Cursor::new(self.new_id(), path, stat, start, header_lines, now);
        cursor.marks.extend(mark);
        cursor
    }

    /// A file that nothing was read of isn't followed for its own sake any more.
    fn forget_unread(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.remove(&id) else {
            return;
        };
        self.polls.remove(&(cursor.poll_at, id));
        self.queue.retain(|queued| *queued != id);
        self.unname(&cursor.path, id);
    }
}
