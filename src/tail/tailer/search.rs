//! What became of a content that lost its file: it is looked for in copies and gzips, and read on there.
//!
//! A file that is cut off, overwritten, or gone leaves a [`Search`] behind. Its candidates are listed once, since a copy
//! is there before its source is cut off, and probed one after the other, a bounded number of bytes a turn. Whoever
//! rotates on meanwhile moves the copy to another name: where names didn't stand still the search begins anew, and no new
//! file is read before it is over. Until then the checkpoint says beside the new content where the old one stood
//! ([`super::places`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Tailer;
use super::handles::open_wherever;
use super::look::is_cut_off;
use super::newcomer::COPY_WAIT;
use super::probe::{Copy, Found, Left, Probe, probe_on};
use super::sight::Surveys;
use crate::checkpoint::{FileIdentity, Fingerprint};
use crate::tail::Event;
use crate::tail::cursor::Cursor;
use crate::tail::disk::Disk;
use crate::tail::gzip::{Body, WithGzip};
use crate::tail::rotation::{self, Candidate, Loss, Remnant, Sighting, Standing};

/// What a turn may hash of copies.
const PROBE_BYTES_PER_TURN: u64 = 4 * 1024 * 1024;
/// Copies that a turn may open.
const PROBES_PER_TURN: usize = 64;
/// For so long a search is taken up again soon where something stood in its way: a gzip that wasn't whole yet, a folder
/// that couldn't be listed.
const SEARCH_TIME: Duration = Duration::from_secs(60);
/// The time between two such tries.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// The same later, while the system refuses to show what there is.
const REFUSED_INTERVAL: Duration = Duration::from_secs(60);
/// The same at first where names moved while it went on, as whoever rotates is through in an instant; each time twice as
/// long, for as long as a new file waits for a copy's source to be cut off.
const OUTRUN_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// A content that is looked for.
pub(super) struct Search<F> {
    /// Where reading it stood; what is in flight of it is still acknowledged to it.
    pub cursor: Cursor<F>,
    pub loss: Loss,
    /// A place of the run before says where it stood: nothing was read in this one.
    pub is_from_before: bool,
    until: Instant,
    pub try_at: Instant,
    pub(super) stage: Stage<F>,
    /// Why a try may turn out otherwise later.
    pub(super) hope: Hope,
    n_tries: u32,
    /// Names moved while the last try went on: what is looked for may have been missed.
    pub(super) was_outrun: bool,
    outrun_until: Instant,
    /// Until the next try after one that was outrun.
    outrun_interval: Duration,
}

/// Whether it is worth while to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hope {
    None,
    /// Something was in the making: a gzip wasn't whole, a file had another name already.
    ForAWhile,
    /// The system refused to list a folder or to read a file. Nothing is known before it does.
    WhileRefused,
}

pub(super) enum Stage<F> {
    Listing,
    Probing {
        candidates: VecDeque<Candidate>,
        probe: Option<Box<Probe<F>>>,
        /// The longest that holds the content so far.
        found: Option<Box<Copy<F>>>,
    },
}

impl<F> Search<F> {
    /// Whether the file may turn out to be the copy.
    fn may_claim(&self, identity: FileIdentity, now: Instant) -> bool {
        // A copy is there by now, so that the first try finds it if it can be found at all, unless its name moves on.
        let is_first = self.n_tries == 0 && matches!(self.stage, Stage::Listing);
        let is_outrun = self.was_outrun && now < self.outrun_until;
        if (is_first || is_outrun) && self.loss == Loss::CutOff && self.cursor.identity != identity
        {
            return true;
        }
        match &self.stage {
            Stage::Listing => false,
            Stage::Probing {
                candidates,
                probe,
                found,
            } => {
                let probed = probe.iter().map(|probe| &probe.candidate);
                let found = found.iter().map(|found| &found.candidate);
                let mut all = candidates.iter().chain(probed).chain(found);
                all.any(|candidate| candidate.sighting.stat.identity == identity)
            }
        }
    }

    /// Whether another try may find what this one didn't.
    fn may_be_found_at(&self, now: Instant) -> bool {
        match self.hope {
            Hope::None => false,
            Hope::ForAWhile => now < self.until,
            Hope::WhileRefused => true,
        }
    }

    /// The next try begins with what there is then.
    fn list_anew(&mut self) {
        (self.hope, self.stage) = (Hope::None, Stage::Listing);
    }

    /// Whether what was found is the file that the content stood in.
    fn is_of(&self, found: &Copy<F>) -> bool {
        found.candidate.sighting.stat.identity == self.cursor.identity
    }

    fn remnant(&self) -> Remnant {
        let cursor = &self.cursor;
        Remnant {
            loss: self.loss,
            identity: cursor.identity,
            path: Arc::clone(&cursor.path),
            read: cursor.read,
            size: cursor.size,
            modified_ms: cursor.modified_ms,
            mark_ends: cursor.marks.iter().map(|mark| mark.end).collect(),
        }
    }
}

impl<D: Disk> Tailer<D> {
    /// Begins to look for what `cursor` was reading. Where nothing is known of it, nothing can be recognised.
    pub(super) fn seek(
        &mut self,
        mut cursor: Cursor<Body<D::File>>,
        loss: Loss,
        is_from_before: bool,
        now: Instant,
    ) {
        // The handle is the new content's.
        cursor.file = None;
        self.searches.push(Search {
            is_from_before,
            loss,
            until: now + SEARCH_TIME,
            try_at: now,
            stage: Stage::Listing,
            hope: Hope::None,
            n_tries: 0,
            was_outrun: false,
            outrun_until: now + COPY_WAIT,
            outrun_interval: OUTRUN_INTERVAL_MIN,
            cursor,
        });
    }

    /// Whether a search may yet find that this file is what it looks for.
    pub(super) fn is_sought(&self, identity: FileIdentity, now: Instant) -> bool {
        self.searches
            .iter()
            .any(|search| search.may_claim(identity, now))
    }

    /// Goes on with what is looked for.
    pub(super) fn search(&mut self, now: Instant, disk: &mut WithGzip<'_, D>) {
        let mut left = Left {
            n_bytes: PROBE_BYTES_PER_TURN,
            n_probes: PROBES_PER_TURN,
        };
        let mut surveys = HashMap::new();
        for _ in 0..self.searches.len() {
            // The others are there to be asked for meanwhile, in their order.
            let mut search = self.searches.remove(0);
            if now < search.try_at {
                self.searches.push(search);
                continue;
            }
            if matches!(search.stage, Stage::Listing) {
                let candidates = self.list(&mut search, &mut surveys, disk);
                search.n_tries += 1;
                if search.n_tries == 1 && self.notice_overwritten(&search, &surveys, now, disk) {
                    surveys.clear();
                    self.searches.push(search);
                    continue;
                }
                search.stage = Stage::Probing {
                    candidates: candidates.into(),
                    probe: None,
                    found: None,
                };
            }
            let open =
                |sighting: &Sighting, disk: &mut WithGzip<'_, D>| self.open_sighted(sighting, disk);
            match probe_on(&mut search, &mut left, open, disk) {
                // The file itself came back, and is read on already.
                Found::Copy(found) if self.is_read(&found) && search.is_of(&found) => {
                    self.free_place(search.cursor.identity, search.cursor.fingerprint);
                }
                Found::Copy(found) if self.is_read(&found) => {
                    search.list_anew();
                    surveys.clear();
                    self.searches.push(search);
                }
                Found::Copy(found) => {
                    self.read_on_in(search, *found, now, disk);
                    // What the others may be found in isn't new any more.
                    surveys.clear();
                }
                Found::NotYet => self.searches.push(search),
                Found::Nothing if search.was_outrun && now < search.outrun_until => {
                    search.list_anew();
                    search.try_at = now + search.outrun_interval;
                    search.outrun_interval *= 2;
                    self.searches.push(search);
                }
                Found::Nothing if search.may_be_found_at(now) => {
                    search.list_anew();
                    search.was_outrun = false;
                    search.try_at = match now < search.until {
                        true => now + SEARCH_INTERVAL,
                        false => now + REFUSED_INTERVAL,
                    };
                    search.n_tries += 1;
                    self.searches.push(search);
                }
                Found::Nothing => self.end_search(search),
            }
        }
    }

    /// The files that may hold the content: in its folder, in those below and beside it, and in those of the patterns.
    fn list(
        &self,
        search: &mut Search<Body<D::File>>,
        surveys: &mut Surveys,
        disk: &mut WithGzip<'_, D>,
    ) -> Vec<Candidate> {
        let remnant = search.remnant();
        let folder = remnant.path.parent().unwrap_or(&remnant.path).to_owned();
        let survey = surveys
            .entry(folder)
            .or_insert_with_key(|folder| self.survey(folder, disk));
        if !survey.is_complete {
            search.hope = Hope::WhileRefused;
        }
        search.was_outrun = !survey.is_settled;
        rotation::candidates(&remnant, &survey.sightings)
    }

    /// Followed files that changed since they were last looked at may have been written over with the copy: those that
    /// hold something else now count as new ones. Whether there are any.
    fn notice_overwritten(
        &mut self,
        search: &Search<Body<D::File>>,
        surveys: &Surveys,
        now: Instant,
        disk: &mut WithGzip<'_, D>,
    ) -> bool {
        let folder = search.cursor.path.parent().unwrap_or(&search.cursor.path);
        let Some(survey) = surveys.get(folder) else {
            return false;
        };
        let mut are_any = false;
        for Sighting { stat, standing, .. } in &survey.sightings {
            let followed = self.by_identity.get(&stat.identity).copied();
            let Some(cursor) = followed.and_then(|id| self.cursors.get(&id)) else {
                continue;
            };
            let is_gzip = cursor.file.as_ref().is_some_and(Body::is_gzip);
            // What was looked at may not have been read since.
            let is_as_read = (cursor.size, cursor.modified_ms) == (stat.size, stat.modified_ms)
                && cursor.size <= cursor.read;
            if *standing != Standing::Known || is_gzip || is_as_read {
                continue;
            }
            let id = cursor.id;
            if is_cut_off(cursor, stat) {
                self.cut_off(id, stat, now);
            } else if matches!(cursor.is_same(disk), Ok(false)) {
                if let Some(cursor) = self.cursors.get_mut(&id) {
                    cursor.forget_unread_size();
                }
                self.replace(id, stat, now);
            } else {
                continue;
            }
            are_any = true;
        }
        are_any
    }

    /// Opens a file for a probe: one that is open already by its handle. With it the name that it has by now.
    fn open_sighted(
        &self,
        sighting: &Sighting,
        disk: &mut WithGzip<'_, D>,
    ) -> io::Result<(Body<D::File>, Arc<Path>)> {
        let identity = sighting.stat.identity;
        let followed = self.by_identity.get(&identity);
        let followed = followed.and_then(|id| self.cursors.get(id)?.file.as_ref());
        let Some(file) = followed else {
            let (file, path) = open_wherever(identity, &sighting.path, disk)?;
            return Ok((file, path.into()));
        };
        let file = disk.share(file)?;
        match disk.look_at(&file)?.identity == identity {
            true => Ok((file, Arc::clone(&sighting.path))),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether a file that was new when it was sighted is read by now, for its own sake or as another's copy.
    fn is_read(&self, found: &Copy<Body<D::File>>) -> bool {
        let identity = found.candidate.sighting.stat.identity;
        let followed = self.by_identity.get(&identity);
        let cursor = followed.and_then(|id| self.cursors.get(id));
        cursor.is_some_and(|cursor| !cursor.is_new)
    }

    /// Whether the number of a file is another's by now.
    fn is_anothers(&self, identity: FileIdentity, fingerprint: Fingerprint) -> bool {
        let remembered = self.memory.place_of(identity);
        self.by_identity.contains_key(&identity)
            || remembered.is_some_and(|place| place.fingerprint != fingerprint)
    }

    /// It isn't to be found: what wasn't read of it is lost, as far as that is known.
    fn end_search(&mut self, search: Search<Body<D::File>>) {
        let cursor = search.cursor;
        let is_read_elsewhere = self
            .cursors
            .values()
            .any(|other| other.suspected == Some(cursor.id));
        let is_over = cursor.split.is_over || is_read_elsewhere;
        let end = match search.loss {
            _ if cursor.size > cursor.read => Some(Some(cursor.size)),
            // It may have been written to unseen.
            Loss::Gone if !search.is_from_before => Some(None),
            _ => None,
        };
        if let Some(end) = end.filter(|_| !is_over) {
            self.events.push(Event::Lost {
                path: Arc::clone(&cursor.path),
                start: cursor.read,
                end,
            });
        }
        match search.loss {
            Loss::CutOff => self.free_place(cursor.identity, cursor.fingerprint),
            Loss::Gone if self.is_anothers(cursor.identity, cursor.fingerprint) => {
                self.free_place(cursor.identity, cursor.fingerprint);
            }
            // Should it come back, it goes on where it was; it isn't looked for again.
            Loss::Gone => {
                let place = self.memory.give_up(cursor.place());
                self.unfollowed.push(place);
            }
        }
    }
}
