//! What is to be remembered of the files, for the checkpoints.
//!
//! While a file's former content is looked for, its place speaks of what it holds now and keeps what is owed beside it
//! ([`owed`](crate::tail::owed)).

use std::collections::HashSet;

use super::Tailer;
use crate::checkpoint::{FileIdentity, Fingerprint, Place};
use crate::tail::cursor::Cursor;
use crate::tail::disk::Disk;
use crate::tail::gzip::Body;
use crate::tail::owed::{OWED_MAX, Owed, with_owed};
use crate::tail::place::is_findable;

impl<D: Disk> Tailer<D> {
    /// The places that changed since this was last asked, and the files of which nothing is to be remembered.
    pub fn take_changes(&mut self) -> (Vec<Place>, Vec<FileIdentity>) {
        let mut places = std::mem::take(&mut self.unfollowed);
        let sought = self.searches.iter_mut().map(|search| &mut search.cursor);
        let changed: HashSet<FileIdentity> = self
            .cursors
            .values_mut()
            .chain(sought)
            .filter_map(|cursor| std::mem::take(&mut cursor.is_dirty).then_some(cursor.identity))
            .collect();
        places.extend(changed.into_iter().filter_map(|of| self.place_of(of)));
        (places, std::mem::take(&mut self.removed))
    }

    /// Whether [`Tailer::take_changes`] has anything to tell.
    pub fn has_changes(&self) -> bool {
        let sought = self.searches.iter().map(|search| &search.cursor);
        !self.removed.is_empty()
            || !self.unfollowed.is_empty()
            || self
                .cursors
                .values()
                .chain(sought)
                .any(|cursor| cursor.is_dirty)
    }

    /// Where all files stand that are followed or looked for.
    pub fn places(&self) -> Vec<Place> {
        let sought = self.searches.iter().map(|search| &search.cursor);
        let all: HashSet<FileIdentity> = self
            .cursors
            .values()
            .chain(sought)
            .map(|cursor| cursor.identity)
            .collect();
        all.into_iter().filter_map(|of| self.place_of(of)).collect()
    }

    /// The place of a file that is followed, that isn't found yet, or whose content alone is looked for.
    fn place_of(&self, identity: FileIdentity) -> Option<Place> {
        let searches = || {
            let all = self.searches.iter();
            all.filter(move |search| search.cursor.identity == identity)
        };
        let owed = |n_others: usize| -> Vec<Owed> {
            let others = searches().skip(n_others).map(|search| Owed {
                place: search.cursor.place(),
                loss: search.loss,
            });
            let owed = others.filter(|owed| is_findable(&owed.place));
            owed.take(OWED_MAX).collect()
        };
        let followed = self.by_identity.get(&identity);
        if let Some(cursor) = followed.and_then(|id| self.cursors.get(id)) {
            return Some(with_owed(cursor.place(), &owed(0)));
        }
        let sought = &searches().next()?.cursor;
        match self.memory.place_of(identity) {
            Some(place) if place.fingerprint != sought.fingerprint => {
                Some(with_owed(place.clone(), &owed(0)))
            }
            _ => Some(with_owed(sought.place(), &owed(1))),
        }
    }

    /// A content isn't looked for any more: the place of the file that it was in speaks of what is there now alone, or
    /// goes.
    pub(super) fn free_place(&mut self, source: FileIdentity, fingerprint: Fingerprint) {
        let new = self.by_identity.get(&source).copied();
        if let Some(new) = new.and_then(|id| self.cursors.get_mut(&id)) {
            new.is_dirty = true;
            return;
        }
        self.memory.forget_content(source, fingerprint);
        if let Some(next) = self.search_of(source) {
            next.is_dirty = true;
        } else if let Some(place) = self.memory.place_of(source) {
            self.unfollowed.push(place.clone());
        } else {
            self.removed.push(source);
        }
    }

    /// Nothing is to be remembered of what a file held, but what its former contents still owe.
    pub(super) fn remove_place(&mut self, identity: FileIdentity) {
        self.removed.push(identity);
        if let Some(sought) = self.search_of(identity) {
            sought.is_dirty = true;
        }
    }

    /// A content that is looked for and stood in this file.
    fn search_of(&mut self, identity: FileIdentity) -> Option<&mut Cursor<Body<D::File>>> {
        let mut sought = self.searches.iter_mut().map(|search| &mut search.cursor);
        sought.find(|cursor| cursor.identity == identity)
    }
}
