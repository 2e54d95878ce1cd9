//! Which files there are that may hold a content that lost its file: in its folder, in those below and beside it, in those
//! of the patterns, and by the handles that are held.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tailer;
use crate::checkpoint::FileIdentity;
use crate::tail::disk::{Disk, FileKind, FileStat, Name};
use crate::tail::gzip::WithGzip;
use crate::tail::rotation::{Sighting, Standing};

/// Folders that are listed in one search, the file's own first.
const FOLDERS_MAX: usize = 64;
/// Files that are looked at in one search.
const SIGHTINGS_MAX: usize = 10_000;
/// Folders of the kernel's, in which nobody keeps logs.
const KERNEL_FOLDERS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// How often folders are listed until no name has come or moved since they were listed before.
const LISTINGS_MAX: usize = 6;

/// What was sighted around a folder.
#[derive(Default)]
pub(super) struct Survey {
    pub sightings: Vec<Sighting>,
    /// Whether every folder could be listed.
    pub is_complete: bool,
    /// Whether the names in the folder and in those of the patterns stood still at last: one that moves on while folders
    /// are listed, or is gone when it is looked at, may lead to a file that wasn't sighted.
    pub is_settled: bool,
}

/// Surveys, by the folder that they were made around.
pub(super) type Surveys = HashMap<PathBuf, Survey>;

impl<D: Disk> Tailer<D> {
    /// Looks at all files around a folder, each once. Names are listed again behind the looks, until none is new.
    pub(super) fn survey(&self, folder: &Path, disk: &mut WithGzip<'_, D>) -> Survey {
        let folders = self.folders_around(folder, disk);
        let (mut survey, mut sighted) = (Survey::default(), HashMap::new());
        let mut seen = HashSet::new();
        for _ in 0..LISTINGS_MAX {
            let (names, is_complete) = names_in(&folders, disk);
            survey.is_complete = is_complete;
            survey.is_settled = true;
            let mut has_new = false;
            for name in names {
                if survey.sightings.len() >= SIGHTINGS_MAX {
                    break;
                }
                if seen.contains(&name) {
                    continue;
                }
                let inside = name.0.parent().unwrap_or(folder);
                let is_near = inside == folder || self.listed_folders.iter().any(|of| of == inside);
                survey.is_settled &= !is_near;
                has_new = true;
                if let Ok(stat) = disk.look(&name.0) {
                    let sighting = self.sighting(name.0.as_path().into(), stat, disk);
                    note(sighting, &mut survey.sightings, &mut sighted);
                }
                seen.insert(name);
            }
            if !has_new {
                break;
            }
        }
        self.sight_handles(&mut survey.sightings, &sighted, disk);
        survey
    }

    /// Files that are open and have no name any more, as the copy may have been compressed since; and new ones, wherever
    /// their name went.
    fn sight_handles(
        &self,
        sightings: &mut Vec<Sighting>,
        sighted: &HashMap<FileIdentity, usize>,
        disk: &mut WithGzip<'_, D>,
    ) {
        for cursor in self.cursors.values() {
            let Some(file) = &cursor.file else { continue };
            if sighted.contains_key(&cursor.identity) {
                continue;
            }
            if let Ok(stat) = disk.look_at(file)
                && (stat.n_links == 0 || cursor.is_new)
            {
                sightings.push(self.sighting(Arc::clone(&cursor.path), stat, disk));
            }
        }
    }

    fn sighting(&self, path: Arc<Path>, stat: FileStat, disk: &mut WithGzip<'_, D>) -> Sighting {
        let standing = self.standing(&path, stat.identity, disk);
        Sighting {
            path,
            stat,
            standing,
        }
    }

    fn standing(
        &self,
        path: &Path,
        identity: FileIdentity,
        disk: &mut WithGzip<'_, D>,
    ) -> Standing {
        let followed = self.by_identity.get(&identity);
        match followed.and_then(|id| self.cursors.get(id)) {
            Some(cursor) if cursor.is_new => Standing::New,
            Some(_) => Standing::Known,
            None if self.memory.knows(disk, path, identity) => Standing::Known,
            None if self.rules.patterns.matches(path) => Standing::New,
            None => Standing::Outside,
        }
    }

    /// The folder, those in it, those of the patterns, and those beside it.
    fn folders_around(&self, folder: &Path, disk: &mut WithGzip<'_, D>) -> Vec<PathBuf> {
        let mut folders = vec![folder.to_owned()];
        folders.extend(folders_in(folder, disk));
        folders.extend(self.listed_folders.iter().cloned());
        folders.extend(
            folder
                .parent()
                .into_iter()
                .flat_map(|up| folders_in(up, disk)),
        );
        let mut seen = HashSet::new();
        folders.retain(|folder| seen.insert(folder.clone()));
        folders.truncate(FOLDERS_MAX);
        folders
    }
}

/// Notes a file under the name that it was sighted under last.
fn note(
    sighting: Sighting,
    sightings: &mut Vec<Sighting>,
    sighted: &mut HashMap<FileIdentity, usize>,
) {
    let known = sighted.get(&sighting.stat.identity).copied();
    match known.and_then(|place| sightings.get_mut(place)) {
        Some(before) => *before = sighting,
        None => {
            sighted.insert(sighting.stat.identity, sightings.len());
            sightings.push(sighting);
        }
    }
}

/// The paths in some folders with the inode numbers that listing them told, and whether all of them could be listed.
fn names_in<D: Disk>(folders: &[PathBuf], disk: &mut D) -> (Vec<(PathBuf, Option<u64>)>, bool) {
    let (mut names, mut is_complete) = (Vec::new(), true);
    for folder in folders {
        match disk.names(folder) {
            Ok(inside) => {
                let path = |name: Name| (folder.join(name.text), name.file_inode);
                names.extend(inside.into_iter().map(path));
            }
            Err(error) => is_complete &= error.kind() == io::ErrorKind::NotFound,
        }
    }
    (names, is_complete)
}

fn folders_in<D: Disk>(folder: &Path, disk: &mut D) -> Vec<PathBuf> {
    let names = disk.names(folder).unwrap_or_default();
    let mut folders: Vec<PathBuf> = names
        .into_iter()
        .take(SIGHTINGS_MAX)
        .map(|name| folder.join(name.text))
        .filter(|path| {
            !KERNEL_FOLDERS
                .iter()
                .any(|kernel| path == Path::new(kernel))
        })
        .filter(|path| {
            disk.look(path)
                .is_ok_and(|stat| stat.kind == FileKind::Folder)
        })
        .collect();
    folders.sort();
    folders
}
