//! The one writer of a database.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::Error;
use super::lock::Lock;
use super::place::{Change, FileIdentity, FlowPlaces, Place};
use super::reader::{self, Reader, identity_of, state_text};
use super::reference::{self, Stand, TIME_MS_MAX};
use super::schema;
use crate::config::{Checkpoints, FlowId};

/// Statements kept prepared; a save uses eight.
const STATEMENTS_CACHED: usize = 32;

/// An open database that no other agent has; made by [`Store::open`].
#[derive(Debug)]
pub struct Store {
    pub(super) reader: Reader,
    pub(super) query_timeout: Duration,
    ttl: Option<Duration>,
    /// The newest `lastUpdated` in the database, in ms.
    last_updated_ms: i64,
    _lock: Lock,
}

/// The file of a flow at which the reference is to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandBack {
    pub flow: FlowId,
    pub identity: FileIdentity,
}

impl Store {
    pub(super) fn new(
        reader: Reader,
        lock: Lock,
        options: &Checkpoints,
        last_updated_ms: i64,
    ) -> Store {
        reader
            .connection
            .set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Store {
            reader,
            query_timeout: options.query_timeout,
            ttl: options.ttl,
            last_updated_ms,
            _lock: lock,
        }
    }

    /// The database's real path.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// The reading half.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// All that is known of a flow; nothing known is an empty answer.
    pub fn places(&self, flow: &FlowId) -> Result<FlowPlaces, Error> {
        self.reader.places(flow)
    }

    /// Writes a database for the reference; see [`Reader::export`].
    pub fn export(&self, to: &Path) -> Result<(), Error> {
        self.reader.export(to)
    }

    /// Writes all of `changes` or, with an error, none of them: both our tables and the reference's.
    ///
    /// Of each flow the reference's row with the newest `lastUpdated` is then the one of the oldest file (by time of
    /// modification) that is live and owes something, or else of the newest file: there the reference may resume
    /// and, as it takes older files for done, loses nothing.
    pub fn save(&mut self, changes: &[Change], now: Timestamp) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let stamp_ms = self.next_stamp_ms(now);
        let last_updated_ms = stamp_ms + 1;
        self.write("save checkpoints", |tx| {
            for change in changes {
                apply(tx, change, now, stamp_ms)?;
            }
            let flows: BTreeSet<&str> = changes.iter().map(|change| &*change.flow().0).collect();
            for flow in flows {
                stand(tx, flow, last_updated_ms)?;
            }
            tx.execute(
                schema::META_PUT,
                params![schema::META_LAST_UPDATED_MS, last_updated_ms],
            )?;
            Ok(())
        })?;
        self.last_updated_ms = last_updated_ms;
        Ok(())
    }

    /// Deletes what wasn't updated for `checkpointTimeToLiveDays` and whose file isn't there any more; answers with
    /// how many checkpoints that were.
    ///
    /// `exists` says whether the path still leads to that file; where a row of the reference's names no identity, to
    /// any file.
    pub fn delete_old(
        &mut self,
        now: Timestamp,
        exists: impl Fn(&Path, Option<FileIdentity>) -> bool,
    ) -> Result<usize, Error> {
        let Some(ttl) = self.ttl else { return Ok(0) };
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now.as_millisecond().saturating_sub(ttl_ms);
        let last_updated_ms = self.next_stamp_ms(now);
        let deleted = self.write("delete old checkpoints", |tx| {
            let places = old_places(tx, before_ms, &exists)?;
            let rows = old_reference_rows(tx, before_ms, &exists)?;
            // Where the reference is ahead its newest row has to stay the newest.
            let mut ours = BTreeSet::new();
            for (flow, _) in &places {
                if !reference::is_newer(tx, flow, &reference::rows_of_flow(tx, flow)?)? {
                    ours.insert(flow.as_str());
                }
            }
            for (flow, identity) in &places {
                remove(tx, flow, *identity)?;
            }
            for rowid in &rows {
                tx.prepare_cached(schema::REFERENCE_DELETE_ROWID)?
                    .execute([rowid])?;
            }
            for flow in ours {
                stand(tx, flow, last_updated_ms)?;
            }
            tx.execute(schema::STANDS_DELETE_EMPTY, [before_ms])?;
            tx.execute(
                schema::META_PUT,
                params![schema::META_LAST_UPDATED_MS, last_updated_ms],
            )?;
            Ok(places.len() + rows.len())
        })?;
        self.last_updated_ms = last_updated_ms;
        Ok(deleted)
    }

    /// Closes the database for whoever comes next.
    ///
    /// `hand_back` names, of flows whose owner knows better than the last look at its files, where the reference is
    /// to resume; for the others the rule of [`Store::save`] holds. A file that has no place is left out.
    pub fn close(mut self, hand_back: &[HandBack], now: Timestamp) -> Result<(), Error> {
        let last_updated_ms = self.next_stamp_ms(now);
        if !hand_back.is_empty() {
            self.write("hand checkpoints back", |tx| {
                for HandBack { flow, identity } in hand_back {
                    if let Some(place) = reader::place(tx, &flow.0, *identity)? {
                        Stand::put(tx, &flow.0, &place, last_updated_ms)?;
                    }
                }
                tx.execute(
                    schema::META_PUT,
                    params![schema::META_LAST_UPDATED_MS, last_updated_ms],
                )?;
                Ok(())
            })?;
        }
        let Reader {
            connection, path, ..
        } = self.reader;
        connection
            .close()
            .map_err(|(_, error)| Error::database("close checkpoints", &path)(error))
    }

    /// Later than every time in the database, so that the order of rows means something whatever the clock does.
    pub(super) fn next_stamp_ms(&self, now: Timestamp) -> i64 {
        now.as_millisecond()
            .max(self.last_updated_ms + 1)
            .min(TIME_MS_MAX - 1)
    }

    /// Rows with times up to this one came in.
    pub(super) fn raise_last_updated(&mut self, ms: i64) {
        self.last_updated_ms = self.last_updated_ms.max(ms);
    }

    /// Runs `work` as one transaction: all of it, or on an error nothing.
    pub(super) fn write<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let Reader {
            connection, path, ..
        } = &mut self.reader;
        connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|tx| {
                let done = work(&tx)?;
                tx.commit()?;
                Ok(done)
            })
            .map_err(Error::database(doing, path))
    }
}

fn apply(
    tx: &Transaction<'_>,
    change: &Change,
    now: Timestamp,
    stamp_ms: i64,
) -> rusqlite::Result<()> {
    match change {
        Change::Remove { flow, identity } => remove(tx, &flow.0, *identity),
        Change::Upsert { flow, place } => {
            forget_other_name(tx, &flow.0, place)?;
            put_place(tx, &flow.0, place, now)?;
            reference::put(tx, &flow.0, place, stamp_ms)
        }
    }
}

fn put_place(
    tx: &Transaction<'_>,
    flow: &str,
    place: &Place,
    now: Timestamp,
) -> rusqlite::Result<()> {
    use std::os::unix::ffi::OsStrExt;

    tx.prepare_cached(schema::PLACE_PUT)?.execute(params![
        flow,
        place.identity.device.cast_signed(),
        place.identity.inode.cast_signed(),
        place.path.as_os_str().as_bytes(),
        place.fingerprint.len,
        place.fingerprint.hash,
        reference::signed(place.offset),
        reference::signed(place.size),
        place.modified_ms,
        place.header_lines_left,
        state_text(place.state),
        place.extra,
        now.as_millisecond(),
    ])?;
    Ok(())
}

/// Deletes the reference's row under the name that the file had before, if that row still is this file's.
fn forget_other_name(tx: &Transaction<'_>, flow: &str, place: &Place) -> rusqlite::Result<()> {
    let before = tx
        .prepare_cached(schema::PLACE_PATH)?
        .query_row(
            params![
                flow,
                place.identity.device.cast_signed(),
                place.identity.inode.cast_signed()
            ],
            |row| Ok(reference::path_of(row.get_ref(0)?)),
        )
        .optional()?;
    match before {
        Some(before) if before != place.path => {
            delete_reference_row(tx, flow, &before, place.identity)
        }
        _ => Ok(()),
    }
}

fn remove(tx: &Transaction<'_>, flow: &str, identity: FileIdentity) -> rusqlite::Result<()> {
    let Some(place) = reader::place(tx, flow, identity)? else {
        return Ok(());
    };
    delete_reference_row(tx, flow, &place.path, identity)?;
    tx.prepare_cached(schema::PLACE_DELETE)?.execute(params![
        flow,
        identity.device.cast_signed(),
        identity.inode.cast_signed()
    ])?;
    Ok(())
}

fn delete_reference_row(
    tx: &Transaction<'_>,
    flow: &str,
    path: &Path,
    identity: FileIdentity,
) -> rusqlite::Result<()> {
    tx.prepare_cached(schema::REFERENCE_DELETE)?
        .execute(params![
            flow,
            reference::path_text(path),
            identity.to_string()
        ])?;
    Ok(())
}

/// Gives the flow's newest `lastUpdated` to the file at which the reference has to resume. A flow without places keeps
/// what it had.
fn stand(tx: &Transaction<'_>, flow: &str, last_updated_ms: i64) -> rusqlite::Result<()> {
    for sql in [schema::PLACE_OWING, schema::PLACE_NEWEST] {
        let found = tx
            .prepare_cached(sql)?
            .query_row([flow], |row| identity_of(row, 0))
            .optional()?;
        if let Some(identity) = found {
            return match reader::place(tx, flow, identity)? {
                Some(place) => Stand::put(tx, flow, &place, last_updated_ms),
                None => Ok(()),
            };
        }
    }
    Ok(())
}

type Exists<'a> = &'a dyn Fn(&Path, Option<FileIdentity>) -> bool;

fn old_places(
    tx: &Transaction<'_>,
    before_ms: i64,
    exists: Exists<'_>,
) -> rusqlite::Result<Vec<(String, FileIdentity)>> {
    let mut statement = tx.prepare(schema::PLACES_BEFORE)?;
    let mut rows = statement.query([before_ms])?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()? {
        let identity = identity_of(row, 1)?;
        if !exists(&reference::path_of(row.get_ref(3)?), Some(identity)) {
            old.push((row.get(0)?, identity));
        }
    }
    Ok(old)
}

/// Rows of the reference's own, by their number; those of our places go and stay with these.
fn old_reference_rows(
    tx: &Transaction<'_>,
    before_ms: i64,
    exists: Exists<'_>,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = tx.prepare(schema::REFERENCE_WITH_ROWID)?;
    let mut rows = statement.query([])?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()? {
        if reference::time_of(row.get_ref(4)?) >= before_ms {
            continue;
        }
        let identity = reference::identity_of(row.get_ref(3)?);
        let is_ours = match (row.get_ref(1)?.as_str(), identity) {
            (Ok(flow), Some(identity)) => reader::place(tx, flow, identity)?.is_some(),
            _ => false,
        };
        if !is_ours && !exists(&reference::path_of(row.get_ref(2)?), identity) {
            old.push(row.get(0)?);
        }
    }
    Ok(old)
}
