//! What is known of a flow's files beside its machine, so that a new one can go on where a defect ended it.

use std::collections::HashMap;

use crate::checkpoint::{Change, FileIdentity, FlowPlaces, Place};

/// The places of a flow's files: as they were at the start, then as they were saved, then as the machine had them last.
#[derive(Debug)]
pub struct Survivor {
    /// As they are in the database, until a machine has looked at the files.
    first: FlowPlaces,
    places: HashMap<FileIdentity, Place>,
    has_looked: bool,
}

impl Survivor {
    /// Of a flow that starts at these places.
    pub fn new(first: FlowPlaces) -> Survivor {
        // Where the other agent has gone on since, ours are out of date.
        let ours = match first.reference_is_newer {
            true => &[][..],
            false => &first.ours,
        };
        Survivor {
            places: ours
                .iter()
                .map(|place| (place.identity, place.clone()))
                .collect(),
            first,
            has_looked: false,
        }
    }

    /// The machine saves these: it has looked at the files, and how a first start is to begin is decided.
    pub fn note(&mut self, changes: &[Change]) {
        self.has_looked = true;
        for change in changes {
            match change {
                Change::Upsert { place, .. } => {
                    self.places.insert(place.identity, place.clone());
                }
                Change::Remove { identity, .. } => {
                    self.places.remove(identity);
                }
            }
        }
    }

    /// A machine has ended with these places. What was read of files counts only as far as it is acknowledged.
    pub fn learn(&mut self, places: Vec<Place>) {
        for place in places {
            self.has_looked = true;
            self.places.insert(place.identity, place);
        }
    }

    /// Where the next machine starts.
    pub fn places(&self) -> FlowPlaces {
        match self.has_looked {
            false => self.first.clone(),
            true => FlowPlaces {
                ours: self.places.values().cloned().collect(),
                reference: Vec::new(),
                reference_is_newer: false,
                saved_before: true,
                ..FlowPlaces::default()
            },
        }
    }

    /// What the machines knew of their files, if one has looked at them.
    pub fn learnt(&self) -> impl Iterator<Item = Place> {
        self.places.values().filter(|_| self.has_looked).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Fingerprint, PlaceState};
    use crate::config::FlowId;

    fn place(inode: u64, offset: u64) -> Place {
        Place {
            path: format!("/l/{inode}").into(),
            identity: FileIdentity { device: 1, inode },
            fingerprint: Fingerprint::default(),
            offset,
            size: 9,
            modified_ms: 0,
            header_lines_left: 0,
            state: PlaceState::Live,
            extra: None,
        }
    }

    fn known(survivor: &Survivor) -> Vec<(u64, u64)> {
        let places = survivor.places().ours;
        let mut known: Vec<_> = places
            .iter()
            .map(|place| (place.identity.inode, place.offset))
            .collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn before_the_first_look_everything_is_as_it_was_found() {
        let first = FlowPlaces {
            ours: vec![place(1, 3)],
            saved_before: false,
            ..FlowPlaces::default()
        };
        assert_eq!(Survivor::new(first.clone()).places(), first);
    }

    #[test]
    fn what_was_saved_counts_over_what_was_found() {
        let first = FlowPlaces {
            ours: vec![place(1, 3), place(2, 3), place(3, 3)],
            ..FlowPlaces::default()
        };
        let mut survivor = Survivor::new(first);
        let flow = FlowId("f".into());
        survivor.note(&[
            Change::Upsert {
                flow: flow.clone(),
                place: place(1, 5),
            },
            Change::Remove {
                flow,
                identity: place(2, 0).identity,
            },
        ]);
        assert_eq!(known(&survivor), [(1, 5), (3, 3)]);
        assert!(survivor.places().saved_before);
    }

    #[test]
    fn where_the_other_agent_went_on_our_old_places_say_nothing() {
        let first = FlowPlaces {
            ours: vec![place(1, 3)],
            reference_is_newer: true,
            ..FlowPlaces::default()
        };
        let mut survivor = Survivor::new(first);
        survivor.note(&[]);
        assert_eq!(known(&survivor), []);
    }
}
