//! Places that were kept under another `filePattern`, or before the flow had an `id`.
//!
//! The id of a flow without a name of its own has its pattern in it, so a changed pattern makes another flow of it. Its
//! files would be sent again, or not at all. So a flow takes over the places of flows that went to the same stream and
//! aren't configured any more, as far as they are of files that it follows.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use crate::checkpoint::{self, FileIdentity, FlowPlaces, Place, Reader};
use crate::config::{Flow, FlowId, id_prefix, pattern};
use crate::tail::discover::Patterns;
use crate::tail::disk::Disk;

/// A flow that isn't configured any more.
struct Former {
    id: FlowId,
    /// What it followed, in the syntax of [`pattern::compile`].
    patterns: Vec<String>,
    places: FlowPlaces,
}

/// All that is known of a flow: its own places, and those that it takes over. `cwd` is what relative patterns are relative
/// to.
///
/// # Errors
///
/// The database can't be read.
pub fn places(
    flow: &Flow,
    configured: &BTreeSet<&FlowId>,
    database: &Reader,
    cwd: &Path,
    disk: &mut impl Disk,
) -> Result<FlowPlaces, checkpoint::Error> {
    let own = database.places(&flow.id)?;
    let formers = formers(flow, configured, database, cwd)?;
    // Patterns that are no globs are refused where they are followed.
    let Ok(patterns) = Patterns::of(flow) else {
        return Ok(own);
    };
    if formers.is_empty() {
        return Ok(own);
    }
    let found = patterns.walk(disk, |_| None).files;
    let found: HashSet<FileIdentity> = found.iter().map(|file| file.stat.identity).collect();
    let is_followed = |path: &Path, identity: Option<FileIdentity>| {
        identity.is_some_and(|identity| found.contains(&identity)) || patterns.matches(path)
    };
    Ok(taken_over(own, formers, is_followed))
}

fn formers(
    flow: &Flow,
    configured: &BTreeSet<&FlowId>,
    database: &Reader,
    cwd: &Path,
) -> Result<Vec<Former>, checkpoint::Error> {
    let prefix = id_prefix(&flow.destination);
    let mut formers = Vec::new();
    for id in database.flows()? {
        if configured.contains(&id) {
            continue;
        }
        let written = id.0.strip_prefix(&prefix);
        let Some(Ok(parsed)) = written.map(|written| pattern::parse(written, cwd)) else {
            continue;
        };
        let places = database.places(&id)?;
        formers.push(Former {
            id,
            patterns: parsed.absolute,
            places,
        });
    }
    Ok(formers)
}

/// Adds to a flow's own places those of `formers` whose file it follows.
fn taken_over(
    mut own: FlowPlaces,
    formers: Vec<Former>,
    is_followed: impl Fn(&Path, Option<FileIdentity>) -> bool,
) -> FlowPlaces {
    let is_new = own.ours.is_empty() && own.reference.is_empty() && !own.saved_before;
    let mut known: HashSet<FileIdentity> = own.ours.iter().map(|place| place.identity).collect();
    let mut rows = Vec::new();
    let mut was_followed = false;
    let mut former_patterns = Vec::new();
    for former in formers {
        let FlowPlaces {
            ours,
            reference,
            reference_is_newer,
            saved_before,
            ..
        } = former.places;
        former_patterns.extend(former.patterns);
        if reference_is_newer {
            // The reference follows one file of a flow at a time: where that is, it stands.
            rows.extend(
                reference
                    .into_iter()
                    .filter(|row| is_followed(&row.path, row.identity)),
            );
            continue;
        }
        was_followed |= saved_before || !ours.is_empty();
        let is_taken = |place: &Place| {
            is_followed(&place.path, Some(place.identity)) && known.insert(place.identity)
        };
        for place in ours.into_iter().filter(is_taken) {
            own.kept_by.insert(place.identity, former.id.clone());
            own.ours.push(place);
        }
    }
    if !is_new {
        return own;
    }
    if was_followed {
        own.saved_before = true;
        own.former_patterns = former_patterns;
    } else if !rows.is_empty() {
        rows.sort_by_key(|row| std::cmp::Reverse(row.last_updated_ms));
        own.reference = rows;
        own.reference_is_newer = true;
        own.former_patterns = former_patterns;
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Fingerprint, PlaceState, ReferenceRow};

    fn place(inode: u64, path: &str) -> Place {
        Place {
            path: path.into(),
            identity: FileIdentity { device: 1, inode },
            fingerprint: Fingerprint::default(),
            offset: inode,
            size: 100,
            modified_ms: 0,
            header_lines_left: 0,
            state: PlaceState::Live,
            extra: None,
        }
    }

    fn row(path: &str, last_updated_ms: i64) -> ReferenceRow {
        ReferenceRow {
            path: path.into(),
            identity: None,
            modified_ms: 0,
            size: 0,
            offset: 0,
            last_updated_ms,
        }
    }

    fn former(name: &str, places: FlowPlaces) -> Former {
        Former {
            id: FlowId(name.into()),
            patterns: vec![format!("/{name}/*")],
            places,
        }
    }

    fn of_ours(ours: Vec<Place>) -> FlowPlaces {
        FlowPlaces {
            ours,
            saved_before: true,
            ..FlowPlaces::default()
        }
    }

    fn is_followed(path: &Path, _: Option<FileIdentity>) -> bool {
        !path.starts_with("/other")
    }

    #[test]
    fn a_new_flow_takes_the_places_of_its_files_and_knows_what_was_followed() {
        let former = former("a", of_ours(vec![place(1, "/a/1"), place(2, "/other/2")]));
        let taken = taken_over(FlowPlaces::default(), vec![former], is_followed);
        assert_eq!(taken.ours, [place(1, "/a/1")]);
        assert_eq!(taken.former_patterns, ["/a/*"]);
        assert!(taken.saved_before);
        let kept_by: Vec<_> = taken.kept_by.into_iter().collect();
        assert_eq!(kept_by, [(place(1, "").identity, FlowId("a".into()))]);
    }

    #[test]
    fn a_flow_that_is_followed_already_knows_its_own_files_best() {
        let own = of_ours(vec![place(1, "/a/1")]);
        let theirs = Place {
            offset: 99,
            ..place(1, "/a/1")
        };
        let former = former("a", of_ours(vec![theirs, place(3, "/a/3")]));
        let taken = taken_over(own, vec![former], is_followed);
        assert_eq!(taken.ours, [place(1, "/a/1"), place(3, "/a/3")]);
        assert_eq!(taken.kept_by.len(), 1);
        assert!(taken.former_patterns.is_empty());
    }

    #[test]
    fn where_only_the_reference_ran_its_newest_row_counts() {
        let of_reference = |rows: Vec<ReferenceRow>| FlowPlaces {
            reference: rows,
            reference_is_newer: true,
            ..FlowPlaces::default()
        };
        let formers = vec![
            former("a", of_reference(vec![row("/a/1", 1), row("/other/1", 9)])),
            former("b", of_reference(vec![row("/b/1", 2)])),
        ];
        let taken = taken_over(FlowPlaces::default(), formers, is_followed);
        assert_eq!(taken.reference, [row("/b/1", 2), row("/a/1", 1)]);
        assert!(taken.reference_is_newer && !taken.saved_before);
        assert_eq!(taken.former_patterns, ["/a/*", "/b/*"]);
    }

    #[test]
    fn without_a_former_flow_nothing_changes() {
        let own = of_ours(vec![place(1, "/a/1")]);
        assert_eq!(taken_over(own.clone(), Vec::new(), is_followed), own);
        let nothing = former("a", FlowPlaces::default());
        let taken = taken_over(FlowPlaces::default(), vec![nothing], is_followed);
        assert_eq!(taken, FlowPlaces::default());
    }
}
