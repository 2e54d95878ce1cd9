//! What is opened before the flows start: the checkpoint database with the places of each flow, and room for open files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

use super::StartError;
use crate::checkpoint::{
    self, CheckpointWriter, FileIdentity, FlowPlaces, Opened, Reader, Store, TakeOver,
};
use crate::config::{Config, Flow, FlowId, limits};
use crate::former;
use crate::tail::disk::{Disk as _, OsDisk};
use crate::telemetry::troubles::AgentTroubles;
use crate::telemetry::{events, progress};

/// Raises how many files may be open as far as the system lets it: the soft limit of 1,024 that many systems start with
/// is too low for files that are held open each. How many that are.
pub(super) fn raise_open_files_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // One that can't be raised stays as it is.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

pub(super) fn open_checkpoints(
    config: &Config,
    troubles: &AgentTroubles,
) -> Result<(CheckpointWriter, Vec<FlowPlaces>), StartError> {
    let Opened { mut store, rebuilt } = Store::open(&config.checkpoints, Timestamp::now())?;
    if let Some(aside) = &rebuilt {
        events::checkpoints_rebuilt(store.path(), aside);
    }
    if config.checkpoints.path == Path::new(limits::CHECKPOINT_FILE_DEFAULT) {
        take_over(&mut store, Path::new(limits::REFERENCE_CHECKPOINT_FILE))
            .context("taking over the checkpoints of the AWS Kinesis Agent")?;
    }
    let is_there = |path: &Path, identity: Option<FileIdentity>| {
        OsDisk
            .look(path)
            .is_ok_and(|stat| identity.is_none_or(|identity| stat.identity == identity))
    };
    match store.delete_old(Timestamp::now(), is_there) {
        Ok(n_deleted) => progress::deleted_checkpoints(n_deleted).emit(),
        // A full disk is no reason to send nothing: what is rotated away meanwhile couldn't be read any more.
        Err(error) => events::old_checkpoints_kept(&error),
    }
    // Without the damaged file's places, what is there is read from its beginning: rather twice than never.
    let known = |places: FlowPlaces| FlowPlaces {
        saved_before: places.saved_before || rebuilt.is_some(),
        ..places
    };
    let configured = config.flows.iter().map(|flow| &flow.id).collect();
    let places = config
        .flows
        .iter()
        .map(|flow| Ok(known(places_of(flow, &configured, store.reader())?)));
    let places = places
        .collect::<Result<Vec<_>, checkpoint::Error>>()
        .context("reading the checkpoints")?;
    let writer = CheckpointWriter::start(store, troubles.clone())
        .context("starting the checkpoint writer")?;
    Ok((writer, places))
}

/// Takes over what the reference has sent since this database was written.
///
/// One that can't be read is no obstacle for an agent that has run before: by its own places it may send twice. Without
/// any it would leave out, or send anew, whole files.
fn take_over(store: &mut Store, old: &Path) -> Result<(), checkpoint::Error> {
    match store.take_over(old) {
        Ok(TakeOver::Taken { rows }) => events::checkpoints_taken_over(old, store.path(), rows),
        Ok(TakeOver::Nothing) => {}
        Err(error) if !error.is_in_use() && !store.reader().flows()?.is_empty() => {
            events::checkpoints_not_taken_over(&error);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Where a flow goes on, also where a former one stood.
pub(super) fn places_of(
    flow: &Flow,
    configured: &BTreeSet<&FlowId>,
    database: &Reader,
) -> Result<FlowPlaces, checkpoint::Error> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let places = former::places(flow, configured, database, &cwd, &mut OsDisk)?;
    tell_former(flow, &places);
    Ok(places)
}

/// Says which former flows' places are taken over, and how many.
fn tell_former(flow: &Flow, places: &FlowPlaces) {
    let mut n_places: BTreeMap<&FlowId, usize> = BTreeMap::new();
    for former in places.kept_by.values() {
        *n_places.entry(former).or_default() += 1;
    }
    for (former, n_places) in n_places {
        events::checkpoints_renamed(former, &flow.id, n_places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{Home, NOW_MS, at, flow, place, upsert};

    #[test]
    fn a_former_database_that_cannot_be_read_keeps_only_a_first_start_from_happening() {
        let home = Home::new();
        let mut store = home.open();
        let beside = |name: &str| home.dir.path().join(name);
        let (damaged, no_file) = (beside("damaged"), beside("folder"));
        std::fs::write(&damaged, [0xa5; 5000]).unwrap();
        std::fs::create_dir(&no_file).unwrap();
        for old in [&damaged, &no_file] {
            assert!(take_over(&mut store, old).is_err());
        }
        let saved = upsert(&flow("app.log"), place("app.log", 1, 1, 1));
        store.save(&[saved], at(NOW_MS)).unwrap();
        for old in [&damaged, &no_file] {
            take_over(&mut store, old).unwrap();
        }
    }
}
