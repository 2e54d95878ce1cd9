//! Which files there are that may hold a content that lost its file: in its folder, in those below and beside it, in those
//! of the patterns, and by the handles that are held.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tailer;
use crate::checkpoint::FileIdentity;
use crate::tail::cursor::Cursor;
use crate::tail::disk::{Disk, FileKind};
use crate::tail::gzip::{Body, WithGzip};
use crate::tail::rotation::{Sighting, Standing};

/// Folders that are listed in one search, the file's own first.
const FOLDERS_MAX: usize = 64;
/// Files that are looked at in one search.
const SIGHTINGS_MAX: usize = 10_000;
/// Folders of the kernel's, in which nobody keeps logs.
const KERNEL_FOLDERS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What was sighted around a folder, and whether every folder could be listed.
pub(super) type Listings = HashMap<PathBuf, (Vec<Sighting>, bool)>;

impl<D: Disk> Tailer<D> {
    /// Files that are open and have no name any more: the copy may have been compressed since.
    pub(super) fn unlinked(&self, disk: &mut WithGzip<'_, D>) -> Vec<Sighting> {
        let sight = |cursor: &Cursor<Body<D::File>>| {
            let stat = disk.look_at(cursor.file.as_ref()?).ok()?;
            (stat.n_links == 0).then(|| Sighting {
                path: Arc::clone(&cursor.path),
                stat,
                standing: self.standing(&cursor.path, stat.identity, disk),
            })
        };
        self.cursors.values().filter_map(sight).collect()
    }

    /// Looks at the files in a folder; whether it could be listed.
    pub(super) fn sight(
        &self,
        folder: &Path,
        sightings: &mut Vec<Sighting>,
        disk: &mut WithGzip<'_, D>,
    ) -> bool {
        let names = match disk.names(folder) {
            Ok(names) => names,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        for name in names {
            if sightings.len() >= SIGHTINGS_MAX {
                break;
            }
            let path: Arc<Path> = folder.join(name.text).into();
            if let Ok(stat) = disk.look(&path) {
                let standing = self.standing(&path, stat.identity, disk);
                sightings.push(Sighting {
                    path,
                    stat,
                    standing,
                });
            }
        }
        true
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
    pub(super) fn folders_around(&self, folder: &Path, disk: &mut WithGzip<'_, D>) -> Vec<PathBuf> {
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
