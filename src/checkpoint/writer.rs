//! The thread that saves, so that nobody who reads files or sends waits for a disk.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use jiff::Timestamp;

use super::error::Error;
use super::pending::{Due, Pending};
use super::place::Change;
use super::store::{HandBack, Store};
use crate::telemetry::events;
use crate::telemetry::troubles::AgentTroubles;

/// Owns the store and its thread.
///
/// Dropped without [`CheckpointWriter::stop`] it still saves what was submitted, and leaves the hand-back to the rule
/// of [`Store::save`].
#[derive(Debug)]
pub struct CheckpointWriter {
    handle: WriterHandle,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<(), Arc<Error>>>>,
}

/// A way in, for each thread that makes progress.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// For the thread: a change, a flush or the stop came in.
    work: Condvar,
    /// For those who flush: a try is over.
    done: Condvar,
    /// Where it is told that nothing can be saved.
    troubles: AgentTroubles,
}

#[derive(Debug, Default)]
struct Inbox {
    pending: Pending,
    /// Flushes asked for so far.
    n_flushes: u64,
    /// Of these, the ones that got their answer.
    n_flushed: u64,
    /// Of the last try; `None` if it worked.
    last_error: Option<Arc<Error>>,
    /// Set by the stop.
    hand_back: Option<Vec<HandBack>>,
    /// The thread is gone and nothing is saved any more.
    ended: bool,
}

impl CheckpointWriter {
    /// Starts the thread; the store is its alone from now on. While it can't save, `troubles` has it.
    ///
    /// The error is the system's, which has no thread left.
    pub fn start(store: Store, troubles: AgentTroubles) -> io::Result<CheckpointWriter> {
        let shared = Arc::new(Shared {
            troubles,
            ..Shared::default()
        });
        let handle = WriterHandle {
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || run(store, &shared))?;
        Ok(CheckpointWriter {
            handle,
            thread: Some(thread),
        })
    }

    /// Another way in.
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Saves what was submitted, hands back to the reference (see [`Store::close`]) and closes the database.
    ///
    /// With an error the last save failed; the database then is as the one before left it, which sends twice and
    /// loses nothing. What others submit from now on is ignored.
    pub fn stop(mut self, hand_back: Vec<HandBack>) -> Result<(), Arc<Error>> {
        self.end(hand_back)
    }

    fn end(&mut self, hand_back: Vec<HandBack>) -> Result<(), Arc<Error>> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.handle.shared.lock().hand_back = Some(hand_back);
        self.handle.shared.work.notify_one();
        thread
            .join()
            .unwrap_or_else(|_| Err(Arc::new(Error::WriterStopped)))
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if let Err(error) = self.end(Vec::new()) {
            events::checkpoints_unwritable(&self.handle.shared.troubles, &error);
        }
    }
}

impl WriterHandle {
    /// Hands changes in, to be saved together, within half a second if all is well; never waits for the database.
    ///
    /// Of several changes of one file only the last is saved.
    pub fn submit(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut inbox = self.shared.lock();
        if !inbox.ended {
            inbox.pending.submit(changes);
            drop(inbox);
            self.shared.work.notify_one();
        }
    }

    /// Waits until all that was submitted before is on disk, or one try to get it there has failed; then it goes on
    /// being tried.
    pub fn flush(&self) -> Result<(), Arc<Error>> {
        let mut inbox = self.shared.lock();
        inbox.n_flushes += 1;
        let mine = inbox.n_flushes;
        self.shared.work.notify_one();
        while inbox.n_flushed < mine {
            if inbox.ended {
                return Err(Arc::new(Error::WriterStopped));
            }
            inbox = self
                .shared
                .done
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        inbox.last_error.clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    /// The inbox is whole between any two statements, so a panic elsewhere doesn't spoil it.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next thing to do.
    fn next(&self) -> (MutexGuard<'_, Inbox>, Event) {
        let mut inbox = self.lock();
        loop {
            if let Some(hand_back) = inbox.hand_back.take() {
                return (inbox, Event::Stop(hand_back));
            }
            if inbox.n_flushed < inbox.n_flushes {
                return (inbox, Event::Save);
            }
            let now = Instant::now();
            inbox = match inbox.pending.due(now) {
                Due::Now => return (inbox, Event::Save),
                Due::At(at) => {
                    let waited = self
                        .work
                        .wait_timeout(inbox, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Due::Idle => self
                    .work
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Saves what waits, with the inbox open meanwhile, and answers the flushes that came before.
    fn save(&self, mut inbox: MutexGuard<'_, Inbox>, store: &mut Store) -> Result<(), Arc<Error>> {
        let changes = inbox.pending.take(Instant::now());
        let n_flushes = inbox.n_flushes;
        drop(inbox);
        let saved = store.save(&changes, Timestamp::now()).map_err(Arc::new);

        let mut inbox = self.lock();
        let n_failures = match &saved {
            Ok(()) => inbox.pending.saved(),
            Err(_) => inbox.pending.failed(changes),
        };
        inbox.last_error = saved.as_ref().err().cloned();
        inbox.n_flushed = n_flushes;
        drop(inbox);
        self.done.notify_all();
        match &saved {
            Ok(()) if n_failures > 0 => {
                events::checkpoints_writable_again(&self.troubles, store.path());
            }
            Ok(()) => {}
            Err(error) => events::checkpoints_unwritable(&self.troubles, error),
        }
        saved
    }
}

enum Event {
    Save,
    Stop(Vec<HandBack>),
}

/// Says that the thread is gone, even if it panicked, so that nobody waits for it.
struct Farewell<'a>(&'a Shared);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.done.notify_all();
    }
}

fn run(mut store: Store, shared: &Shared) -> Result<(), Arc<Error>> {
    let _farewell = Farewell(shared);
    loop {
        let (inbox, event) = shared.next();
        let saved = shared.save(inbox, &mut store);
        if let Event::Stop(hand_back) = event {
            saved?;
            return store.close(&hand_back, Timestamp::now()).map_err(Arc::new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{Home, flow, id, place, upsert};
    use crate::checkpoint::{Place, Reader};
    use crate::config::FlowId;
    use std::time::Duration;

    fn start(home: &Home) -> CheckpointWriter {
        CheckpointWriter::start(home.open(), AgentTroubles::default()).unwrap()
    }

    fn saved(home: &Home, flow: &FlowId) -> Vec<Place> {
        let mut ours = Reader::open(&home.options)
            .unwrap()
            .places(flow)
            .unwrap()
            .ours;
        ours.sort_by_key(|place| place.identity);
        ours
    }

    #[test]
    fn flushed_changes_are_on_disk() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        let handle = writer.handle();
        handle.flush().unwrap();
        for offset in 1..=20 {
            handle.submit(vec![
                upsert(&flow, place("a", 1, offset, 90)),
                upsert(&flow, place("b", 2, offset, 90)),
            ]);
        }
        handle.flush().unwrap();
        assert_eq!(
            saved(&home, &flow),
            [place("a", 1, 20, 90), place("b", 2, 20, 90)]
        );
    }

    #[test]
    fn stop_saves_the_rest_and_hands_back() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        let handle = writer.handle();
        handle.submit(vec![upsert(&flow, place("a", 1, 9, 9))]);
        handle.flush().unwrap();
        handle.submit(vec![upsert(&flow, place("b", 2, 3, 9))]);
        writer
            .stop(vec![HandBack {
                flow: flow.clone(),
                identity: id(1),
            }])
            .unwrap();
        assert_eq!(
            saved(&home, &flow),
            [place("a", 1, 9, 9), place("b", 2, 3, 9)]
        );
        assert_eq!(home.reference_rows()[0].1, id(1).to_string());
        home.open();
    }

    #[test]
    fn after_the_stop_a_flush_is_refused_and_a_change_ignored() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        let handle = writer.handle();
        writer.stop(Vec::new()).unwrap();
        handle.submit(vec![upsert(&flow, place("a", 1, 9, 9))]);
        assert!(matches!(*handle.flush().unwrap_err(), Error::WriterStopped));
        assert_eq!(saved(&home, &flow), []);
    }

    #[test]
    fn dropped_writer_saves_too() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        writer
            .handle()
            .submit(vec![upsert(&flow, place("a", 1, 9, 9))]);
        drop(writer);
        assert_eq!(saved(&home, &flow), [place("a", 1, 9, 9)]);
        home.open();
    }

    #[test]
    fn failed_save_is_tried_again_with_what_came_since() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        let handle = writer.handle();
        let other = home.sql();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        handle.submit(vec![
            upsert(&flow, place("a", 1, 1, 9)),
            upsert(&flow, place("b", 2, 1, 9)),
        ]);
        assert!(
            handle
                .flush()
                .unwrap_err()
                .to_string()
                .contains("close the program")
        );
        handle.submit(vec![upsert(&flow, place("a", 1, 2, 9))]);
        assert!(handle.flush().is_err());
        other.execute_batch("COMMIT").unwrap();
        handle.flush().unwrap();
        assert_eq!(
            saved(&home, &flow),
            [place("a", 1, 2, 9), place("b", 2, 1, 9)]
        );
    }

    #[test]
    fn stop_that_cannot_save_says_so() {
        let home = Home::new();
        let flow = flow("*");
        let writer = start(&home);
        let other = home.sql();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer
            .handle()
            .submit(vec![upsert(&flow, place("a", 1, 1, 9))]);
        let error = writer.stop(Vec::new()).unwrap_err();
        assert!(matches!(*error, Error::Database { .. }), "{error}");
    }

    /// Would take as long as the statement's time-out, and then fail, if it waited for the save under way.
    #[test]
    fn submitting_does_not_wait_for_the_database() {
        let mut home = Home::new();
        home.options.query_timeout = Duration::from_secs(60);
        let flow = flow("*");
        let writer = start(&home);
        let handle = writer.handle();
        let other = home.sql();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        for offset in 1..=1000 {
            handle.submit(vec![upsert(&flow, place("a", 1, offset, 9000))]);
        }
        other.execute_batch("COMMIT").unwrap();
        handle.flush().unwrap();
        assert_eq!(saved(&home, &flow), [place("a", 1, 1000, 9000)]);
    }
}
