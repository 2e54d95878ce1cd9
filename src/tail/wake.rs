//! Change events of the system as [`Hint`]s: one inotify watcher for all flows.
//!
//! Events are hints and no more. They are dropped under load, and don't exist for changes made by another host on a
//! network file system; polling finds all that they miss.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode};

use super::Hint;

/// Names that wait to be looked at before a look at everything takes their place.
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
    is_renamed: bool,
    is_missed: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.written.is_empty() && !self.is_renamed && !self.is_missed
    }
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
        let renamed = pending.is_renamed.then_some(Hint::Renamed);
        let missed = pending.is_missed.then_some(Hint::Missed);
        let written = pending.written.into_iter().map(Hint::Written);
        written.chain(renamed).chain(missed).collect()
    }

    fn put(&self, hint: Hint) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = pending.is_empty();
        match hint {
            Hint::Written(path) if pending.written.len() < HINTS_MAX => {
                _ = pending.written.insert(path);
            }
            Hint::Renamed => pending.is_renamed = true,
            Hint::Written(_) | Hint::Missed => pending.is_missed = true,
        }
        drop(pending);
        if was_empty {
            (self.ring)();
        }
    }
}

/// The watcher, shared by all flows.
pub struct Watch<W = RecommendedWatcher> {
    watcher: Mutex<W>,
    routes: Arc<RwLock<Routes>>,
}

/// Who wants to hear of which folder.
type Routes = HashMap<PathBuf, Vec<Arc<Hints>>>;

/// How far a flow's folders are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// All of them.
    Wholly,
    /// Not all: some are missing or not to be had, or there are none.
    Partly,
    /// Not all: the system lets nobody watch more.
    UpToTheLimit,
}

impl Watch {
    /// Errors: the system has no inotify left; the agent then goes by polling alone.
    pub fn start() -> notify::Result<Arc<Watch>> {
        let routes: Arc<RwLock<Routes>> = Arc::default();
        let known = Arc::clone(&routes);
        let watcher = notify::recommended_watcher(move |event| {
            route(&known.read().unwrap_or_else(PoisonError::into_inner), event);
        })?;
        Ok(Arc::new(Watch {
            watcher: Mutex::new(watcher),
            routes,
        }))
    }
}

impl<W: notify::Watcher> Watch<W> {
    /// Hints about names in these folders go to `hints` from now on, and no others. One that can't be watched doesn't keep
    /// hints from the others.
    pub fn watch(&self, folders: &[PathBuf], hints: &Arc<Hints>) -> Watched {
        let left = self.redirect(folders, hints);
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in left {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(&folder);
        }
        let mut watched = match folders.is_empty() {
            true => Watched::Partly,
            false => Watched::Wholly,
        };
        for folder in folders {
            // Watching a folder again is how a watch comes back after the folder was removed and made anew.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(error) if is_limit(&error) => return Watched::UpToTheLimit,
                Err(_) => watched = Watched::Partly,
            }
        }
        watched
    }

    /// Sends hints of these folders to `hints`; the folders that nobody wants to hear of any more.
    fn redirect(&self, folders: &[PathBuf], hints: &Arc<Hints>) -> Vec<PathBuf> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashSet<&PathBuf> = folders.iter().collect();
        for (folder, to) in routes.iter_mut() {
            if !wanted.contains(folder) {
                to.retain(|known| !Arc::ptr_eq(known, hints));
            }
        }
        for folder in folders {
            let to = routes.entry(folder.clone()).or_default();
            if !to.iter().any(|known| Arc::ptr_eq(known, hints)) {
                to.push(Arc::clone(hints));
            }
        }
        let left: Vec<PathBuf> = routes
            .iter()
            .filter(|(_, to)| to.is_empty())
            .map(|(folder, _)| folder.clone())
            .collect();
        routes.retain(|_, to| !to.is_empty());
        left
    }
}

/// Whether an error says that no more folders can be watched: `fs.inotify.max_user_watches` is reached.
fn is_limit(error: &notify::Error) -> bool {
    let is_full = |io: &std::io::Error| io.kind() == std::io::ErrorKind::StorageFull;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(io) => is_full(io),
        _ => false,
    }
}

fn route(routes: &Routes, event: notify::Result<notify::Event>) {
    let everyone = || {
        routes
            .values()
            .flatten()
            .for_each(|hints| hints.put(Hint::Missed))
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
    use std::path::Path;
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
        let folders = [folder.path().to_owned()];
        assert_eq!(watch.watch(&folders, &hints), Watched::Wholly);
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
    fn a_flood_of_names_becomes_a_look_at_everything() {
        let hints = Hints::new(|| {});
        (0..HINTS_MAX + 10).for_each(|n| hints.put(Hint::Written(PathBuf::from(format!("/{n}")))));
        let taken = hints.take();
        assert_eq!(taken.len(), HINTS_MAX + 1);
        assert!(taken.contains(&Hint::Missed));
        assert!(hints.take().is_empty());
    }

    #[test]
    fn events_that_were_dropped_are_a_hint_for_every_flow() {
        let boxes = [Hints::new(|| {}), Hints::new(|| {})];
        let routes: Routes = ["/a", "/b"]
            .into_iter()
            .zip(&boxes)
            .map(|(folder, hints)| (folder.into(), vec![Arc::clone(hints)]))
            .collect();
        let overflow = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        for event in [
            Ok(overflow),
            Err(notify::Error::generic("a queue that broke")),
        ] {
            route(&routes, event);
            for hints in &boxes {
                assert_eq!(hints.take(), [Hint::Missed]);
            }
        }
    }

    /// A watcher with few watches.
    struct Scarce {
        watched: HashSet<PathBuf>,
        max: usize,
    }

    impl notify::Watcher for Scarce {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Scarce> {
            Err(notify::Error::generic("made by the test alone"))
        }

        fn watch(&mut self, folder: &Path, _: RecursiveMode) -> notify::Result<()> {
            if folder.starts_with("/gone") {
                return Err(notify::Error::path_not_found());
            }
            if !self.watched.contains(folder) && self.watched.len() == self.max {
                return Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
            }
            self.watched.insert(folder.to_owned());
            Ok(())
        }

        fn unwatch(&mut self, folder: &Path) -> notify::Result<()> {
            self.watched.remove(folder);
            Ok(())
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    #[test]
    fn watches_are_given_back_and_their_limit_is_told() {
        let watch = Watch {
            watcher: Mutex::new(Scarce {
                watched: HashSet::new(),
                max: 2,
            }),
            routes: Arc::default(),
        };
        let [one, other] = [Hints::new(|| {}), Hints::new(|| {})];
        let folders = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (hints, names, expected) in [
            (&one, &[][..], Watched::Partly),
            (&one, &["/a", "/gone"], Watched::Partly),
            (&one, &["/a", "/b"], Watched::Wholly),
            (&other, &["/b"], Watched::Wholly),
            (&other, &["/b", "/c"], Watched::UpToTheLimit),
            (&one, &["/b"], Watched::Wholly),
            (&other, &["/b", "/c"], Watched::Wholly),
            (&other, &["/c"], Watched::Wholly),
            (&one, &[], Watched::Partly),
        ] {
            assert_eq!(watch.watch(&folders(names), hints), expected, "{names:?}");
        }
        let watcher = watch.watcher.lock().unwrap();
        assert_eq!(watcher.watched, HashSet::from(["/c".into()]));
        assert_eq!(watch.routes.read().unwrap().len(), 1);
    }
}
