//! Change events of the system as [`Hint`]s: one inotify watcher for all flows.
//!
//! Events are hints and no more. They are dropped under load, and don't exist for changes made by another host on a
//! network file system; polling finds all that they miss.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Hint;

/// Names that wait to be looked at before a whole walk takes their place.
const HINTS_MAX: usize = 4096;

/// Where a flow's hints gather until it takes them.
pub struct Hints {
    pending: Mutex<Pending>,
    /// Called when the first hint comes in; must not block.
    ring: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Pending {
    written: HashSet<PathBuf>,
    renamed: bool,
}

impl Hints {
    /// An empty box that calls `ring` once it no longer is.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Arc<Hints> {
        Arc::new(Hints {
            pending: Mutex::default(),
            ring: Box::new(ring),
        })
    }

    /// Everything that came in since the last time.
    pub fn take(&self) -> Vec<Hint> {
        let pending =
            std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let renamed = pending.renamed.then_some(Hint::Renamed);
        pending
            .written
            .into_iter()
            .map(Hint::Written)
            .chain(renamed)
            .collect()
    }

    fn put(&self, hint: Hint) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = pending.written.is_empty() && !pending.renamed;
        match hint {
            Hint::Written(path) if pending.written.len() < HINTS_MAX => {
                _ = pending.written.insert(path)
            }
            Hint::Written(_) | Hint::Renamed => pending.renamed = true,
        }
        drop(pending);
        if was_empty {
            (self.ring)();
        }
    }
}

/// The watcher, shared by all flows.
pub struct Watch {
    watcher: Mutex<RecommendedWatcher>,
    routes: Arc<RwLock<HashMap<PathBuf, Vec<Arc<Hints>>>>>,
}

impl Watch {
    /// Errors: the system has no inotify left; the agent then goes by polling alone.
    pub fn start() -> notify::Result<Arc<Watch>> {
        let routes: Arc<RwLock<HashMap<PathBuf, Vec<Arc<Hints>>>>> = Arc::default();
        let known = Arc::clone(&routes);
        let watcher = notify::recommended_watcher(move |event| {
            route(&known.read().unwrap_or_else(PoisonError::into_inner), event);
        })?;
        Ok(Arc::new(Watch {
            watcher: Mutex::new(watcher),
            routes,
        }))
    }

    /// Hints about names in `folder` go to `hints` from now on. Errors: it can't be watched (gone, or too many are).
    pub fn watch(&self, folder: &Path, hints: &Arc<Hints>) -> notify::Result<()> {
        {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            let to = routes.entry(folder.to_owned()).or_default();
            if !to.iter().any(|known| Arc::ptr_eq(known, hints)) {
                to.push(Arc::clone(hints));
            }
        }
        // Watching a folder again is how a watch comes back after the folder was removed and made anew.
        self.watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .watch(folder, RecursiveMode::NonRecursive)
    }
}

fn route(routes: &HashMap<PathBuf, Vec<Arc<Hints>>>, event: notify::Result<notify::Event>) {
    let everyone = || {
        routes
            .values()
            .flatten()
            .for_each(|hints| hints.put(Hint::Renamed))
    };
    let Ok(event) = event else { return everyone() };
    if event.need_rescan() {
        return everyone();
    }
    let is_written = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return,
        _ => false,
    };
    for path in event.paths {
        let folder = path.parent().unwrap_or(&path);
        let hint = if is_written {
            Hint::Written(path.clone())
        } else {
            Hint::Renamed
        };
        let interested = routes
            .get(folder)
            .into_iter()
            .chain(routes.get(&path))
            .flatten();
        interested.for_each(|hints| hints.put(hint.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_write_and_a_rename_ring_the_flows_that_watch_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "").unwrap();
        let (ring, rung) = mpsc::channel();
        let hints = Hints::new(move || _ = ring.send(()));
        let watch = Watch::start().unwrap();
        watch.watch(folder.path(), &hints).unwrap();
        let await_hint = |expected: &Hint| {
            while !hints.take().contains(expected) {
                rung.recv_timeout(Duration::from_secs(30)).expect("a hint");
            }
        };
        std::fs::write(&path, "x").unwrap();
        await_hint(&Hint::Written(path.clone()));
        std::fs::rename(&path, folder.path().join("b.log")).unwrap();
        await_hint(&Hint::Renamed);
    }

    #[test]
    fn a_flood_of_names_becomes_one_walk() {
        let hints = Hints::new(|| {});
        (0..HINTS_MAX + 10).for_each(|n| hints.put(Hint::Written(PathBuf::from(format!("/{n}")))));
        let taken = hints.take();
        assert_eq!(taken.len(), HINTS_MAX + 1);
        assert!(taken.contains(&Hint::Renamed));
        assert!(hints.take().is_empty());
    }
}
