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
                if !stand(tx, flow, last_updated_ms)? {
                    let followed = schema::meta_followed(flow);
                    tx.execute(schema::META_PUT, params![followed, last_updated_ms])?;
                }
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
            let flows: BTreeSet<&str> = places.iter().map(|(flow, _)| flow.as_str()).collect();
            let mut ours = Vec::new();
            for flow in flows {
                if !reference::is_newer(tx, flow, &reference::rows_of_flow(tx, flow)?)? {
                    ours.push(flow);
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
            tx.execute(schema::FOLLOWED_DELETE, [before_ms])?;
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
///
/// Answers whether it has any.
fn stand(tx: &Transaction<'_>, flow: &str, last_updated_ms: i64) -> rusqlite::Result<bool> {
    for sql in [schema::PLACE_OWING, schema::PLACE_NEWEST] {
        let found = tx
            .prepare_cached(sql)?
            .query_row([flow], |row| identity_of(row, 0))
            .optional()?;
        if let Some(identity) = found {
            if let Some(place) = reader::place(tx, flow, identity)? {
                Stand::put(tx, flow, &place, last_updated_ms)?;
            }
            return Ok(true);
        }
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{
        DAY_MS, Home, NOW_MS, REFERENCE_ROW, at, flow, id, place, remove, upsert,
    };
    use crate::checkpoint::{Fingerprint, PlaceState};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rusqlite::ErrorCode;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    fn finished(place: Place) -> Place {
        Place {
            state: PlaceState::Finished,
            ..place
        }
    }

    #[test]
    fn every_field_comes_back() {
        let home = Home::new();
        let flow = flow("*");
        let full = Place {
            path: PathBuf::from(OsStr::from_bytes(b"/logs/\xff\xfe\n.log")),
            identity: FileIdentity {
                device: u64::MAX,
                inode: u64::MAX - 1,
            },
            fingerprint: Fingerprint {
                len: u32::MAX,
                hash: *b"0123456789abcdef",
            },
            offset: i64::MAX as u64 - 1,
            size: i64::MAX as u64,
            modified_ms: i64::MIN,
            header_lines_left: u32::MAX,
            state: PlaceState::FooterReached,
            extra: Some(vec![0, 1, 255]),
        };
        let empty = Place {
            extra: Some(Vec::new()),
            ..finished(place("app.log", 0, 0, 0))
        };
        home.open()
            .save(
                &[upsert(&flow, full.clone()), upsert(&flow, empty.clone())],
                at(NOW_MS),
            )
            .unwrap();
        let mut ours = home.open().places(&flow).unwrap().ours;
        ours.sort_by_key(|place| place.identity);
        assert_eq!(ours, [empty, full]);
    }

    #[test]
    fn places_of_one_flow_are_not_anothers() {
        let home = Home::new();
        let mut store = home.open();
        let (a, b) = (flow("a"), flow("b"));
        store
            .save(
                &[
                    upsert(&a, place("x", 1, 1, 9)),
                    upsert(&b, place("x", 1, 2, 9)),
                ],
                at(NOW_MS),
            )
            .unwrap();
        store.save(&[remove(&a, 1)], at(NOW_MS)).unwrap();
        assert_eq!(store.places(&a).unwrap().ours, []);
        assert_eq!(store.places(&b).unwrap().ours, [place("x", 1, 2, 9)]);
        assert_eq!(store.reader().flows().unwrap(), [a, b]);
    }

    #[test]
    fn flow_of_the_reference_stands_where_its_newest_row_says() {
        let older = (
            REFERENCE_ROW.0,
            "/logs/app.log.1",
            "(dev=fe00,ino=7)",
            5,
            9,
            9,
            "2026-11-20 00:00:00.000",
        );
        let odd = (REFERENCE_ROW.0, "/logs/odd", "?", 5, -9, -9, "yesterday");
        let home = Home::of_reference(&[older, odd, REFERENCE_ROW]);
        let places = home.open().places(&FlowId(REFERENCE_ROW.0.into())).unwrap();
        assert_eq!(
            (
                places.ours.len(),
                places.reference_is_newer,
                places.saved_before
            ),
            (0, true, false)
        );
        let newest = &places.reference[0];
        assert_eq!(newest.path, Path::new("/logs/app.log"));
        assert_eq!(newest.identity, Some(id(10_166_337)));
        assert_eq!(
            (newest.modified_ms, newest.size, newest.offset),
            (1_795_239_694_296, 8, 6)
        );
        assert_eq!(newest.last_updated_ms, NOW_MS);
        let rest: Vec<_> = places.reference[1..]
            .iter()
            .map(|row| (row.identity, row.offset))
            .collect();
        assert_eq!(rest, [(Some(id(7)), 9), (None, 0)]);
    }

    #[test]
    fn rename_rotation_leaves_a_row_for_each_name() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("app.log*");
        store
            .save(&[upsert(&flow, place("app.log", 1, 5, 9))], at(NOW_MS))
            .unwrap();
        for order in [[0, 1], [1, 0]] {
            let changes = [
                upsert(&flow, finished(place("app.log.1", 1, 9, 9))),
                upsert(&flow, place("app.log", 2, 6, 8)),
            ];
            store
                .save(&order.map(|i| changes[i].clone()), at(NOW_MS))
                .unwrap();
            let rows: Vec<_> = home
                .reference_rows()
                .into_iter()
                .map(|row| (row.0, row.1, row.2, row.3))
                .collect();
            let row = |path: &str, inode: u64, size, offset| {
                (path.to_owned(), id(inode).to_string(), size, offset)
            };
            assert_eq!(
                rows,
                [
                    row("/logs/app.log", 2, 8, 6),
                    row("/logs/app.log.1", 1, 9, 9)
                ]
            );
            assert_eq!(store.places(&flow).unwrap().ours.len(), 2);
        }
    }

    #[test]
    fn renamed_file_leaves_no_row_under_its_old_name() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("app.log*");
        for name in ["app.log", "app.log.1", "app.log.2"] {
            store
                .save(&[upsert(&flow, place(name, 1, 5, 9))], at(NOW_MS))
                .unwrap();
        }
        let names: Vec<_> = home.reference_rows().into_iter().map(|row| row.0).collect();
        assert_eq!(names, ["/logs/app.log.2"]);
    }

    #[test]
    fn file_that_stands_is_found_without_a_look_at_all() {
        let home = Home::new();
        let store = home.open();
        for (sql, index) in [
            (schema::PLACE_OWING, "_OWING"),
            (schema::PLACE_NEWEST, "_NEWEST"),
        ] {
            let plan: String = store
                .reader
                .connection
                .query_row(&format!("EXPLAIN QUERY PLAN {sql}"), ["x"], |row| {
                    row.get("detail")
                })
                .unwrap();
            assert!(plan.starts_with("SEARCH") && plan.contains(index), "{plan}");
        }
    }

    /// Two files under one name, as when one was moved out of the pattern: the one that owes has the row, then the
    /// other one again.
    #[test]
    fn name_shared_by_two_files_goes_to_the_one_that_stands() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("app.log");
        let (gone, new) = (place("app.log", 1, 5, 9), place("app.log", 2, 6, 8));
        store
            .save(
                &[upsert(&flow, gone.clone()), upsert(&flow, new)],
                at(NOW_MS),
            )
            .unwrap();
        assert_eq!(home.reference_rows()[0].1, id(1).to_string());
        store
            .save(
                &[upsert(&flow, finished(Place { offset: 9, ..gone }))],
                at(NOW_MS),
            )
            .unwrap();
        let rows = home.reference_rows();
        assert_eq!((rows.len(), &rows[0].1), (1, &id(2).to_string()));
        store.save(&[remove(&flow, 1)], at(NOW_MS)).unwrap();
        assert_eq!(home.reference_rows().len(), 1);
    }

    #[test]
    fn reference_resumes_at_the_oldest_file_that_owes_or_else_at_the_newest() {
        let same_time = |mut place: Place| {
            place.modified_ms = NOW_MS;
            place
        };
        let cases: [(&str, Vec<Place>, u64); 7] = [
            ("one file", vec![place("a", 1, 3, 9)], 1),
            (
                "all sent",
                vec![
                    place("a", 1, 9, 9),
                    place("b", 3, 9, 9),
                    place("c", 2, 9, 9),
                ],
                3,
            ),
            (
                "newest owes",
                vec![place("a", 1, 9, 9), place("b", 2, 3, 9)],
                2,
            ),
            (
                "several owe",
                vec![
                    place("a", 3, 3, 9),
                    place("b", 1, 9, 9),
                    place("c", 2, 8, 9),
                ],
                2,
            ),
            (
                "what is finished owes nothing",
                vec![
                    finished(place("a", 1, 3, 9)),
                    Place {
                        state: PlaceState::FooterReached,
                        ..place("b", 2, 3, 9)
                    },
                    place("c", 3, 9, 9),
                ],
                3,
            ),
            (
                "as old, so the longer is older",
                vec![
                    same_time(place("a", 1, 3, 8)),
                    same_time(place("b", 2, 3, 9)),
                ],
                2,
            ),
            (
                "as new, so the shorter is newer",
                vec![
                    same_time(place("a", 1, 8, 8)),
                    same_time(place("b", 2, 9, 9)),
                ],
                1,
            ),
        ];
        for (name, places, expected) in cases {
            let home = Home::new();
            let mut store = home.open();
            let flow = flow("*");
            // Each in a save of its own, so that the last one saved isn't the answer by chance.
            for place in places.iter().cloned().chain([places[0].clone()]) {
                store.save(&[upsert(&flow, place)], at(NOW_MS)).unwrap();
            }
            assert_eq!(
                home.reference_rows()[0].1,
                id(expected).to_string(),
                "{name}"
            );
            store.close(&[], at(NOW_MS)).unwrap();
            assert_eq!(
                home.reference_rows()[0].1,
                id(expected).to_string(),
                "{name}, closed"
            );
            assert!(
                !home.open().places(&flow).unwrap().reference_is_newer,
                "{name}"
            );
        }
    }

    #[test]
    fn hand_back_names_another_file_and_is_not_taken_for_the_references_work() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("*");
        store
            .save(
                &[
                    upsert(&flow, place("a", 1, 9, 9)),
                    upsert(&flow, place("b", 2, 3, 9)),
                ],
                at(NOW_MS),
            )
            .unwrap();
        assert_eq!(home.reference_rows()[0].1, id(2).to_string());
        let hand_back = [1, 99].map(|inode| HandBack {
            flow: flow.clone(),
            identity: id(inode),
        });
        store.close(&hand_back, at(NOW_MS)).unwrap();
        assert_eq!(home.reference_rows()[0].1, id(1).to_string());
        let places = home.open().places(&flow).unwrap();
        assert!(!places.reference_is_newer);
        assert_eq!(places.reference[0].identity, Some(id(1)));
    }

    #[test]
    fn times_rise_with_each_save_whatever_the_clock_does() {
        let mut row = REFERENCE_ROW;
        row.6 = "2027-01-01 00:00:00.000";
        let home = Home::of_reference(&[row]);
        let flow = FlowId(REFERENCE_ROW.0.into());
        let mut newest = row.6.to_owned();
        for (offset, now_ms) in [
            (1, NOW_MS),
            (2, NOW_MS + 5),
            (3, NOW_MS - DAY_MS),
            (4, 0),
            (5, NOW_MS + 90 * DAY_MS),
        ] {
            let mut store = home.open();
            for offset in [offset * 10, offset * 10 + 1] {
                store
                    .save(
                        &[upsert(&flow, place("other.log", 2, offset, 90))],
                        at(now_ms),
                    )
                    .unwrap();
                let (_, identity, _, row_offset, time) = home.reference_rows().swap_remove(0);
                assert_eq!((identity, row_offset), (id(2).to_string(), offset as i64));
                assert!(time > newest, "{time} after {newest}");
                newest = time;
            }
        }
        assert_eq!(newest, reference::time_text(NOW_MS + 90 * DAY_MS + 3));
    }

    #[test]
    fn work_of_the_reference_is_noticed() {
        let flow = flow("*");
        let insert = |path: &str, time: &str| {
            format!(
                "INSERT INTO FILE_CHECKPOINTS VALUES ('{flow}', '{path}', '(dev=fe00,ino=9)', 1, 9, 9, '{time}')"
            )
        };
        let cases = [
            ("nothing", "SELECT 1".to_owned(), false),
            ("it went on in our file", "UPDATE FILE_CHECKPOINTS SET offset = 9, lastUpdated = '2027-01-01 00:00:00.000' WHERE path = '/logs/a'".to_owned(), true),
            ("it went on with its clock set back", "UPDATE FILE_CHECKPOINTS SET offset = 9, lastUpdated = '2020-01-01 00:00:00.000' WHERE path = '/logs/a'".to_owned(), true),
            ("only its time changed", "UPDATE FILE_CHECKPOINTS SET lastUpdated = '2020-01-01 00:00:00.000' WHERE path = '/logs/a'".to_owned(), true),
            ("another file took the name", "UPDATE FILE_CHECKPOINTS SET fileId = '(dev=fe00,ino=9)' WHERE path = '/logs/a'".to_owned(), true),
            ("it found a new file", insert("/logs/c", "2027-01-01 00:00:00.000"), true),
            ("a row older than ours", insert("/logs/c", "2020-01-01 00:00:00.000"), false),
            ("it deleted old rows", "DELETE FROM FILE_CHECKPOINTS WHERE path = '/logs/a'".to_owned(), false),
            ("another flow's", insert("/logs/c", "2027-01-01 00:00:00.000").replace(&*flow.0, "fh:x"), false),
        ];
        for (name, sql, newer) in cases {
            let home = Home::new();
            let mut store = home.open();
            store
                .save(
                    &[
                        upsert(&flow, place("a", 1, 3, 9)),
                        upsert(&flow, place("b", 2, 9, 9)),
                    ],
                    at(NOW_MS),
                )
                .unwrap();
            store.close(&[], at(NOW_MS)).unwrap();
            home.sql().execute_batch(&sql).unwrap();
            let mut store = home.open();
            assert_eq!(
                store.places(&flow).unwrap().reference_is_newer,
                newer,
                "{name}"
            );
            store
                .save(&[upsert(&flow, place("a", 1, 4, 9))], at(NOW_MS))
                .unwrap();
            assert!(
                !store.places(&flow).unwrap().reference_is_newer,
                "{name}, saved by us"
            );
        }
    }

    #[test]
    fn flow_without_files_left_is_known_to_have_run() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("*");
        store
            .save(&[upsert(&flow, place("a", 1, 3, 9))], at(NOW_MS))
            .unwrap();
        store
            .save(&[remove(&flow, 1), remove(&flow, 2)], at(NOW_MS))
            .unwrap();
        let places = store.places(&flow).unwrap();
        let expected = FlowPlaces {
            saved_before: true,
            ..FlowPlaces::default()
        };
        assert_eq!(places, expected);
    }

    #[test]
    fn old_checkpoints_go_unless_their_file_is_there() {
        let row = |path: &'static str, inode: &'static str, time: &'static str| {
            ("fh:x", path, inode, 1, 9, 9, time)
        };
        let home = Home::of_reference(&[
            row("/logs/old", "(dev=fe00,ino=11)", "2026-11-01 00:00:00.000"),
            row(
                "/logs/old.there",
                "(dev=fe00,ino=12)",
                "2026-11-01 00:00:00.000",
            ),
            row("/logs/old.nameless", "", "2026-11-01 00:00:00.000"),
            row("/logs/new", "(dev=fe00,ino=13)", "2026-11-20 00:00:00.000"),
        ]);
        let flow = flow("*");
        let mut store = home.open();
        let old = [("old", 1), ("old.there", 2), ("old.replaced", 3)];
        store
            .save(
                &old.map(|(name, inode)| upsert(&flow, place(name, inode, 3, 9))),
                at(NOW_MS - 8 * DAY_MS),
            )
            .unwrap();
        store
            .save(
                &[upsert(&flow, place("new", 4, 3, 9))],
                at(NOW_MS - 6 * DAY_MS),
            )
            .unwrap();

        let exists = |path: &Path, identity: Option<FileIdentity>| match path.to_str() {
            Some("/logs/old.there") => identity == Some(id(2)) || identity == Some(id(12)),
            Some("/logs/old.replaced") => identity == Some(id(33)),
            _ => false,
        };
        assert_eq!(store.delete_old(at(NOW_MS), exists).unwrap(), 4);
        let mut ours: Vec<_> = store
            .places(&flow)
            .unwrap()
            .ours
            .iter()
            .map(|place| place.identity)
            .collect();
        ours.sort();
        assert_eq!(ours, [id(2), id(4)]);
        let mut left: Vec<_> = home.reference_rows().into_iter().map(|row| row.1).collect();
        left.sort();
        assert_eq!(
            left,
            [id(12), id(13), id(2), id(4)].map(|identity| identity.to_string())
        );
        assert_eq!(
            home.reference_rows()[0].1,
            id(2).to_string(),
            "the oldest that owes stands"
        );
        assert!(!store.places(&flow).unwrap().reference_is_newer);
        assert_eq!(store.delete_old(at(NOW_MS), exists).unwrap(), 0);
    }

    #[test]
    fn flow_without_files_left_is_forgotten_in_time() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("*");
        store
            .save(&[upsert(&flow, place("a", 1, 3, 9))], at(NOW_MS))
            .unwrap();
        store.save(&[remove(&flow, 1)], at(NOW_MS)).unwrap();
        for (days, saved_before) in [(6, true), (8, false)] {
            store
                .delete_old(at(NOW_MS + days * DAY_MS), |_, _| false)
                .unwrap();
            assert_eq!(
                store.places(&flow).unwrap().saved_before,
                saved_before,
                "{days} days"
            );
        }
    }

    #[test]
    fn nothing_is_old_where_no_time_to_live_is_set() {
        let mut home = Home::of_reference(&[REFERENCE_ROW]);
        home.options.ttl = None;
        assert_eq!(
            home.open()
                .delete_old(at(NOW_MS + 1000 * DAY_MS), |_, _| false)
                .unwrap(),
            0
        );
        home.options.ttl = Some(Duration::MAX);
        assert_eq!(
            home.open()
                .delete_old(at(NOW_MS + 1000 * DAY_MS), |_, _| false)
                .unwrap(),
            0
        );
    }

    #[test]
    fn deleting_old_ones_does_not_hide_that_the_reference_ran() {
        let home = Home::new();
        let flow = flow("*");
        let mut store = home.open();
        store
            .save(
                &[
                    upsert(&flow, place("a", 1, 3, 9)),
                    upsert(&flow, place("b", 2, 9, 9)),
                ],
                at(NOW_MS),
            )
            .unwrap();
        drop(store);
        let sql = "UPDATE FILE_CHECKPOINTS SET offset = 9, lastUpdated = '2026-11-28 05:41:36.150' WHERE path = '/logs/b'";
        home.sql().execute_batch(sql).unwrap();
        let mut store = home.open();
        assert_eq!(
            store
                .delete_old(at(NOW_MS + 8 * DAY_MS), |path, _| path.ends_with("b"))
                .unwrap(),
            1
        );
        let places = store.places(&flow).unwrap();
        assert!(places.reference_is_newer);
        assert_eq!(places.reference[0].path, Path::new("/logs/b"));
    }

    #[test]
    fn failed_save_changes_nothing_and_the_same_changes_may_be_saved_later() {
        let home = Home::new();
        let flow = flow("*");
        let mut store = home.open();
        store
            .save(&[upsert(&flow, place("a", 1, 3, 9))], at(NOW_MS))
            .unwrap();
        let before = store.places(&flow).unwrap();
        let changes: Vec<_> = (1..500)
            .map(|i| upsert(&flow, place(&format!("a.{i}"), i, 4, 9)))
            .collect();
        let set_pages_max = |store: &Store, n: i64| {
            store
                .reader
                .connection
                .pragma_update_and_check(None, "max_page_count", n, |_| Ok(()))
                .unwrap();
        };

        set_pages_max(&store, 12);
        let error = store.save(&changes, at(NOW_MS)).unwrap_err();
        let Error::Database { source, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(source.sqlite_error_code(), Some(ErrorCode::DiskFull));
        assert!(error.to_string().contains("make room"), "{error}");
        assert_eq!(store.places(&flow).unwrap(), before);

        set_pages_max(&store, 100_000);
        store.save(&changes, at(NOW_MS)).unwrap();
        assert_eq!(store.places(&flow).unwrap().ours.len(), 499);
    }

    #[test]
    fn save_beside_a_program_that_holds_the_database_is_refused_after_the_wait() {
        let home = Home::new();
        let flow = flow("*");
        let mut store = home.open();
        let other = home.sql();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store
            .save(&[upsert(&flow, place("a", 1, 3, 9))], at(NOW_MS))
            .unwrap_err();
        assert!(error.to_string().contains("close the program"), "{error}");
        other.execute_batch("COMMIT").unwrap();
        store
            .save(&[upsert(&flow, place("a", 1, 3, 9))], at(NOW_MS))
            .unwrap();
    }

    #[derive(Debug, Clone)]
    enum Step {
        Save(Vec<(usize, u64, Option<Place>)>, i64),
        Reopen,
        Close,
    }

    fn any_place() -> impl Strategy<Value = Place> {
        let state = prop_oneof![
            Just(PlaceState::Live),
            Just(PlaceState::Finished),
            Just(PlaceState::FooterReached)
        ];
        (
            0..3_u8,
            0..10_u64,
            0..10_u64,
            0..4_i64,
            any::<u32>(),
            state,
            any::<Option<[u8; 2]>>(),
        )
            .prop_map(
                |(name, a, b, modified_ms, header_lines_left, state, extra)| Place {
                    // Few names, so that files share them; not UTF-8, so that some are one text for the reference.
                    path: PathBuf::from(OsStr::from_bytes(&[b'/', 0xfd + name])),
                    identity: id(0),
                    fingerprint: Fingerprint {
                        len: header_lines_left,
                        hash: [name; 16],
                    },
                    offset: a.min(b),
                    size: a.max(b),
                    modified_ms,
                    header_lines_left,
                    state,
                    extra: extra.map(Vec::from),
                },
            )
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let change = (
            0..2_usize,
            0..5_u64,
            prop_oneof![3 => any_place().prop_map(Some), 1 => Just(None)],
        );
        prop_oneof![
            6 => (vec(change, 0..5), -1_000_000..1_000_000_i64).prop_map(|(changes, ms)| Step::Save(changes, ms)),
            1 => Just(Step::Reopen),
            1 => Just(Step::Close),
        ]
    }

    /// The rule of [`Store::save`], said once more and another way: what of each file the reference could lose.
    fn expected_stand(places: &[Place]) -> Option<&Place> {
        let age = |place: &&Place| (place.modified_ms, std::cmp::Reverse(place.size));
        let owes = |place: &&Place| place.state == PlaceState::Live && place.offset < place.size;
        places
            .iter()
            .filter(owes)
            .min_by_key(age)
            .or_else(|| places.iter().max_by_key(age))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_history_of_saves_and_restarts_equals_a_map(steps in vec(any_step(), 1..12)) {
            let home = Home::new();
            let flows = [flow("a*"), flow("b*")];
            let mut store = home.open();
            let mut model: BTreeMap<(usize, FileIdentity), Place> = BTreeMap::new();
            let mut newest_ms = [0; 2];
            for step in steps {
                let mut saved = [false; 2];
                match step {
                    Step::Save(changes, ms) => {
                        let mut batch = Vec::new();
                        for (f, inode, place) in changes {
                            saved[f] = true;
                            match place {
                                Some(place) => {
                                    let place = Place { identity: id(inode), ..place };
                                    batch.push(upsert(&flows[f], place.clone()));
                                    model.insert((f, id(inode)), place);
                                }
                                None => {
                                    batch.push(remove(&flows[f], inode));
                                    model.remove(&(f, id(inode)));
                                }
                            }
                        }
                        store.save(&batch, at(NOW_MS + ms)).unwrap();
                    }
                    Step::Reopen => {
                        drop(store);
                        store = home.open();
                    }
                    Step::Close => {
                        store.close(&[], at(NOW_MS)).unwrap();
                        store = home.open();
                    }
                }
                for (f, flow) in flows.iter().enumerate() {
                    let mut found = store.places(flow).unwrap();
                    found.ours.sort_by_key(|place| place.identity);
                    let expected: Vec<_> =
                        model.iter().filter(|((of, _), _)| *of == f).map(|(_, place)| place.clone()).collect();
                    prop_assert_eq!(&found.ours, &expected);
                    prop_assert!(!found.reference_is_newer);
                    for row in &found.reference {
                        let mut owners = expected.iter().filter(|place| Some(place.identity) == row.identity);
                        let owner = owners.next().map(|place| reference::path_text(&place.path));
                        prop_assert_eq!(owner.as_deref(), row.path.to_str(), "a row of no file of ours");
                    }
                    if let Some(stand) = expected_stand(&expected) {
                        // Files that are as old and as long are one to the rule.
                        let newest = &found.reference[0];
                        prop_assert_eq!((newest.modified_ms, newest.size), (stand.modified_ms, stand.size));
                        let of_newest = expected.iter().find(|place| Some(place.identity) == newest.identity).unwrap();
                        prop_assert_eq!(newest.offset, of_newest.offset);
                        if saved[f] {
                            prop_assert!(newest.last_updated_ms > newest_ms[f]);
                        }
                        newest_ms[f] = newest.last_updated_ms;
                    } else {
                        prop_assert_eq!(&found.reference, &Vec::new());
                    }
                }
            }
        }
    }
}
