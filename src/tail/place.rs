//! Where a file starts that is followed from now on: by its checkpoint, by the reference's, or by `initialPosition`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::Rules;
use super::cursor::{Start, fingerprint_of};
use super::discover::{Found, Patterns};
use super::disk::Disk;
use super::gzip::is_gzip;
use super::mark::{Extra, Mark};
use super::owed::{Owed, without_owed};
use super::rotation::is_called_after;
use super::split::SplitState;
use super::tailer::is_other_device;
use crate::checkpoint::{FileIdentity, Fingerprint, FlowPlaces, Place, PlaceState, ReferenceRow};
use crate::config::InitialPosition;

/// Searched backwards for the last newline in pieces of this size.
const BACKWARDS_BYTES: u64 = 64 * 1024;

/// What is remembered from the runs before.
#[derive(Debug)]
pub struct Memory {
    places: HashMap<FileIdentity, Place>,
    beginning: Beginning,
    /// Contents that were looked for when the run before ended, though their files had others already.
    owed: Vec<Owed>,
    /// What was followed while the patterns were others; `None`: they are as they were.
    former: Option<Patterns>,
}

/// How files are treated that were there at start and have no place of their own.
#[derive(Debug)]
enum Beginning {
    /// The flow is new: by `initialPosition`.
    First,
    /// The reference's newest row says where the flow stands.
    Reference(ReferenceRow),
    /// They came while we were away: from their beginning.
    GoingOn,
}

/// Where and how a found file starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub start: Start,
    pub fingerprint: Fingerprint,
    /// What stood before the offset, or before one that is less.
    pub mark: Option<Mark>,
    pub header_lines: u32,
    /// Its name isn't the one that it was written under.
    pub is_rotated: bool,
    /// Nothing of it is to be sent any more.
    pub is_finished: bool,
    /// How large it was when it was last looked at, and when it had been written to.
    pub last_look: Option<(u64, i64)>,
    /// It is shorter than its place says, which speaks of so many bytes.
    pub was_replaced: Option<u64>,
    /// Where what stood in it before stood; it may be found elsewhere.
    pub remnant: Option<Box<Place>>,
    /// It starts at its beginning: it may be a copy of another.
    pub is_new: bool,
}

impl Memory {
    pub fn new(mut places: FlowPlaces) -> Memory {
        let mut owed = Vec::new();
        let own = places.ours.into_iter().map(|place| {
            let (place, of_before) = without_owed(place);
            owed.extend(of_before);
            place
        });
        places.ours = own.collect();
        let newest = places.reference.into_iter().next();
        let former = places.former_patterns;
        let (ours, beginning) = match newest {
            Some(row)
                if places.reference_is_newer
                    || (places.ours.is_empty() && !places.saved_before) =>
            {
                owed.clear();
                (Vec::new(), Beginning::Reference(row))
            }
            _ if places.saved_before || !places.ours.is_empty() => {
                (places.ours, Beginning::GoingOn)
            }
            _ => (Vec::new(), Beginning::First),
        };
        Memory {
            places: ours
                .into_iter()
                .map(|place| (place.identity, place))
                .collect(),
            beginning,
            owed,
            former: (!former.is_empty())
                .then(|| Patterns::new(former.iter().map(String::as_str)).ok())
                .flatten(),
        }
    }

    /// Places the files of the first look.
    pub fn place_first<D: Disk>(
        &mut self,
        rules: &Rules,
        disk: &mut D,
        found: &[Found],
    ) -> Vec<Placed> {
        let reference = match &self.beginning {
            Beginning::Reference(row) => Some(row.clone()),
            _ => None,
        };
        let current = reference.map(|row| current_of(&row, found));
        let is_first = matches!(self.beginning, Beginning::First);
        self.beginning = Beginning::GoingOn;
        // A file that only the changed patterns name is there for the first time.
        let is_new = |memory: &Memory, file: &Found| {
            let was_followed = |former: &Patterns| former.matches(&file.path);
            !memory.places.contains_key(&file.stat.identity)
                && !memory.former.as_ref().is_none_or(was_followed)
        };
        let place = |file: &Found| match (&current, rules.initial_position) {
            (_, InitialPosition::EndOfFile) if is_new(self, file) => {
                at_last_line(rules, disk, file)
            }
            (_, InitialPosition::StartOfFile) if is_new(self, file) => at_beginning(rules),
            (Some(current), _) => current.place(file, rules),
            (None, InitialPosition::EndOfFile) if is_first => at_last_line(rules, disk, file),
            _ => self.place(rules, file),
        };
        found.iter().map(place).collect()
    }

    /// Places a file that came later: where it was left, or at its beginning.
    pub fn place(&mut self, rules: &Rules, found: &Found) -> Placed {
        let Some(place) = self.places.remove(&found.stat.identity) else {
            return at_beginning(rules);
        };
        // Nothing was read of it: it may as well be another file.
        if place.offset == 0 {
            return at_beginning(rules);
        }
        // Whether it holds what was read is found out once it is open.
        if is_shorter(found, place.offset) {
            return Placed {
                was_replaced: Some(place.offset),
                remnant: Some(Box::new(place)),
                ..at_beginning(rules)
            };
        }
        let extra = extra_of(&place);
        let split = SplitState::resumed(
            place.header_lines_left,
            place.state == PlaceState::FooterReached,
        );
        Placed {
            start: Start {
                offset: place.offset,
                split,
            },
            fingerprint: place.fingerprint,
            mark: extra.mark.filter(|mark| mark.end <= place.offset),
            header_lines: place.header_lines_left,
            is_rotated: extra.is_rotated || *place.path != *found.path,
            is_finished: place.state == PlaceState::Finished,
            last_look: Some((place.size, place.modified_ms)),
            was_replaced: None,
            remnant: None,
            is_new: false,
        }
    }
}

impl Memory {
    /// Makes places of files whose device has another number now theirs; the identities that they had.
    pub fn follow_devices<D: Disk>(&mut self, found: &[Found], disk: &mut D) -> Vec<FileIdentity> {
        let there: HashSet<FileIdentity> = found.iter().map(|file| file.stat.identity).collect();
        let mut by_inode: HashMap<u64, FileIdentity> = self
            .places
            .values()
            .filter(|place| place.fingerprint.len > 0 && !there.contains(&place.identity))
            .map(|place| (place.identity.inode, place.identity))
            .collect();
        let mut former = Vec::new();
        for file in found {
            let now = file.stat.identity;
            let Some(before) = by_inode.get(&now.inode).copied() else {
                continue;
            };
            let Some(place) = self.places.get(&before) else {
                continue;
            };
            let may_be_same = is_other_device(before, now)
                && !self.places.contains_key(&now)
                && file.stat.size >= place.offset;
            if may_be_same && holds(disk, &file.path, place).unwrap_or(false) {
                by_inode.remove(&now.inode);
                former.push(before);
                if let Some(place) = self.places.remove(&before) {
                    self.places.insert(
                        now,
                        Place {
                            identity: now,
                            ..place
                        },
                    );
                }
            }
        }
        former
    }

    /// Where a file was left.
    pub fn place_of(&self, identity: FileIdentity) -> Option<&Place> {
        self.places.get(&identity)
    }

    /// Whether files that have no place, and are there at the first look, are read from their beginning.
    pub fn begins_at_start(&self, rules: &Rules) -> bool {
        match self.beginning {
            Beginning::First => rules.initial_position == InitialPosition::StartOfFile,
            Beginning::Reference(_) => false,
            Beginning::GoingOn => true,
        }
    }

    /// All places that no cursor has.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    /// The name that a file had.
    pub fn name_of(&self, identity: FileIdentity) -> Option<&Path> {
        self.places.get(&identity).map(|place| place.path.as_path())
    }

    /// Files that no pattern leads to any more but that are still in the folder they were in: renamed while nobody
    /// followed them. Only one that holds what was read of it counts, as numbers are used again. And whether all folders
    /// and files could be looked into.
    pub fn strays<D: Disk>(&self, disk: &mut D) -> (Vec<Found>, bool) {
        let mut folders: BTreeSet<&Path> = BTreeSet::new();
        let may_be_there = |place: &&Place| is_findable(place) || was_empty(place);
        let left = self.places.values().filter(may_be_there);
        folders.extend(left.filter_map(|place| place.path.parent()));
        let (mut strays, mut seen, mut is_complete) = (Vec::new(), HashSet::new(), true);
        for folder in folders {
            let names = match disk.names(folder) {
                Ok(names) => names,
                Err(error) => {
                    is_complete &= error.kind() == io::ErrorKind::NotFound;
                    continue;
                }
            };
            for path in names.into_iter().map(|name| folder.join(name.text)) {
                let Ok(stat) = disk.look(&path) else { continue };
                let place = self.places.get(&stat.identity);
                let Some(place) = place.filter(may_be_there) else {
                    continue;
                };
                // Under its old name it is out of reach because the patterns were changed.
                let is_rotated = path != place.path || extra_of(place).is_rotated;
                let found = Found {
                    path: path.as_path().into(),
                    stat,
                    is_link: None,
                };
                if !is_rotated || is_shorter(&found, place.offset) {
                    continue;
                }
                let is_it = match was_empty(place) {
                    // Only its number and its name tell. A number goes to another file soon, but seldom to one of such a
                    // name; what is in doubt is sent.
                    true => {
                        let is_later = stat.modified_ms >= place.modified_ms;
                        Ok(is_later && is_called_after(&place.path, &path))
                    }
                    false => holds(disk, &path, place),
                };
                match is_it {
                    Ok(true) if seen.insert(stat.identity) => strays.push(found),
                    Ok(_) => {}
                    Err(_) => is_complete = false,
                }
            }
        }
        (strays, is_complete)
    }

    /// Files of the run before that no name in reach leads to, to be looked for in copies and gzips.
    pub fn missing<D: Disk>(&self, disk: &mut D) -> Vec<Place> {
        let is_gone = |place: &&Place| {
            let looked = disk.look(&place.path);
            !looked.is_ok_and(|stat| stat.identity == place.identity)
        };
        let all = self.places.values();
        all.filter(|place| is_findable(place) && !extra_of(place).is_given_up)
            .filter(is_gone)
            .cloned()
            .collect()
    }

    /// Whether what was read of a file of this identity is in the one at `path`: its number may be another's by now, and
    /// its name too. One that can't be read is taken for known.
    pub fn knows<D: Disk>(&self, disk: &mut D, path: &Path, identity: FileIdentity) -> bool {
        let place = self.places.get(&identity);
        place.is_some_and(|place| match holds(disk, path, place) {
            Ok(holds) => holds,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        })
    }

    /// What was looked for when the run before ended, once.
    pub fn take_owed(&mut self) -> Vec<Owed> {
        std::mem::take(&mut self.owed)
    }

    /// Nothing is to be remembered of a file, if what is remembered begins so.
    pub fn forget_content(&mut self, identity: FileIdentity, fingerprint: Fingerprint) {
        let remembered = self.places.get(&identity);
        if remembered.is_some_and(|place| place.fingerprint == fingerprint) {
            self.places.remove(&identity);
        }
    }

    /// Nothing is to be remembered of a file.
    pub fn forget(&mut self, identity: FileIdentity) {
        self.places.remove(&identity);
    }

    /// A file is gone, and isn't to be looked for any more; its place, which says so.
    pub fn give_up(&mut self, place: Place) -> Place {
        let extra = Extra {
            is_given_up: true,
            ..extra_of(&place)
        };
        let place = Place {
            extra: Some(extra.to_bytes()),
            ..place
        };
        self.remember(place.clone());
        place
    }

    /// A file that was followed isn't any more: should it come back, it goes on there.
    pub fn remember(&mut self, place: Place) {
        self.places.insert(place.identity, place);
    }
}

/// What the place keeps beyond what every place says.
pub fn extra_of(place: &Place) -> Extra {
    place
        .extra
        .as_deref()
        .map(Extra::from_bytes)
        .unwrap_or_default()
}

/// Whether a file can't hold what was read of it. The size of a gzip says nothing.
fn is_shorter(found: &Found, offset: u64) -> bool {
    found.stat.size < offset && !is_gzip(&found.path)
}

/// Whether more may be to be had of a file, and it can be told from others.
pub fn is_findable(place: &Place) -> bool {
    place.state == PlaceState::Live && place.offset > 0 && place.fingerprint.len > 0
}

/// Whether a file held nothing when it was last looked at.
fn was_empty(place: &Place) -> bool {
    place.state == PlaceState::Live && place.size == 0 && place.fingerprint.len == 0
}

fn holds<D: Disk>(disk: &mut D, path: &Path, place: &Place) -> io::Result<bool> {
    let file = disk.open(path)?;
    let fingerprint = fingerprint_of(disk, &file, place.fingerprint.len)?;
    match extra_of(place).mark {
        _ if fingerprint != Some(place.fingerprint) => Ok(false),
        Some(mark) => mark.is_in(disk, &file),
        None => Ok(true),
    }
}

fn at_beginning(rules: &Rules) -> Placed {
    Placed {
        start: Start {
            offset: 0,
            split: SplitState::at_start(&rules.split),
        },
        fingerprint: Fingerprint::default(),
        mark: None,
        header_lines: rules.split.skip_header_lines,
        is_rotated: false,
        is_finished: false,
        last_look: None,
        was_replaced: None,
        remnant: None,
        is_new: true,
    }
}

fn at(offset: u64, rules: &Rules) -> Placed {
    if offset == 0 {
        return at_beginning(rules);
    }
    Placed {
        start: Start {
            offset,
            split: SplitState::default(),
        },
        header_lines: 0,
        is_new: false,
        ..at_beginning(rules)
    }
}

/// After the last complete line.
fn at_last_line<D: Disk>(rules: &Rules, disk: &mut D, found: &Found) -> Placed {
    let offset = match disk.open(&found.path) {
        Ok(file) => end_of_last_line(disk, &file, found.stat.size),
        // It can't be read now; what it holds was there before us all the same.
        Err(_) => found.stat.size,
    };
    at(offset, rules)
}

/// Where the last whole line of a file of `size` bytes ends; 0 if it has none.
pub fn end_of_last_line<D: Disk>(disk: &mut D, file: &D::File, size: u64) -> u64 {
    let mut end = size;
    let mut buffer = vec![0; BACKWARDS_BYTES as usize];
    while end > 0 {
        let start = end.saturating_sub(BACKWARDS_BYTES);
        let piece = &mut buffer[..(end - start) as usize];
        let n = disk.read_at(file, start, piece).unwrap_or(0);
        if let Some(newline) = memchr::memrchr(b'\n', &piece[..n]) {
            return start + newline as u64 + 1;
        }
        end = start;
    }
    0
}

/// Where the reference stood: the file of its newest row, if that is still there.
struct Current {
    row: ReferenceRow,
    file: Option<Found>,
}

fn current_of(row: &ReferenceRow, found: &[Found]) -> Current {
    let by_identity = found
        .iter()
        .find(|file| Some(file.stat.identity) == row.identity);
    let by_path = || {
        found
            .iter()
            .find(|file| row.identity.is_none() && *file.path == *row.path)
    };
    Current {
        row: row.clone(),
        file: by_identity.or_else(by_path).cloned(),
    }
}

impl Current {
    /// The current file goes on at its row's offset; newer ones start at their beginning; older ones are done.
    fn place(&self, file: &Found, rules: &Rules) -> Placed {
        match &self.file {
            Some(current) if current.stat.identity == file.stat.identity => {
                match file.stat.size >= self.row.offset {
                    true => at(self.row.offset, rules),
                    false => Placed {
                        was_replaced: Some(self.row.offset),
                        ..at_beginning(rules)
                    },
                }
            }
            Some(current) if is_newer(file, current.stat.modified_ms, current.stat.size) => {
                at_beginning(rules)
            }
            None if is_newer(file, self.row.modified_ms, u64::MAX) => at_beginning(rules),
            _ => at(file.stat.size, rules),
        }
    }
}

/// The reference's order: by modification time; of two of the same time the smaller is the newer.
fn is_newer(file: &Found, modified_ms: i64, size: u64) -> bool {
    (file.stat.modified_ms, std::cmp::Reverse(file.stat.size))
        > (modified_ms, std::cmp::Reverse(size))
}
