//! Rows of a database left in the old default place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::error::{Error, Holder, is_damage};
use super::export::{RawRow, raw_rows};
use super::lock::java_with_open;
use super::reference;
use super::schema;
use super::store::Store;

/// What [`Store::take_over`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// There is no other database, or nothing in it that isn't known here.
    Nothing,
    /// So many rows are ours now; the old database is as it was.
    Taken { rows: usize },
}

impl Store {
    /// Takes from the reference's database `old` the rows that it has written since this one was last: all of a flow of
    /// which this one knows nothing, of the others those that are later than anything here. So it may have gone on in
    /// between, from an [export](super::Reader::export) of ours.
    ///
    /// `old` is opened where it is, so that its journal counts, and is left as it is. An error (someone holds it, it
    /// is damaged) leaves both as they were, and the next start tries again.
    pub fn take_over(&mut self, old: &Path) -> Result<TakeOver, Error> {
        let Some(path) = self.other_at(old)? else {
            return Ok(TakeOver::Nothing);
        };
        if let Some(pid) = java_with_open(&path) {
            let holder = Holder::Java(pid);
            return Err(Error::InUse { path, holder });
        }
        self.take_rows_of(&path)
    }

    /// What [`Store::take_over`] does, also beside a reference that runs: for those who only want to know.
    pub fn take_rows(&mut self, old: &Path) -> Result<TakeOver, Error> {
        match self.other_at(old)? {
            Some(path) => self.take_rows_of(&path),
            None => Ok(TakeOver::Nothing),
        }
    }

    /// Where the database lies; `None` if there is none, or it is this one.
    fn other_at(&self, old: &Path) -> Result<Option<PathBuf>, Error> {
        match fs::canonicalize(old) {
            Ok(path) => Ok((path != self.path()).then_some(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("find the checkpoints to take over,", old)(error)),
        }
    }

    fn take_rows_of(&mut self, old: &Path) -> Result<TakeOver, Error> {
        let found = self
            .rows_of(old)
            .map_err(|source| match is_damage(&source) {
                true => Error::DamagedOther {
                    path: old.to_owned(),
                    source,
                },
                false => Error::database("read the checkpoints to take over", old)(source),
            })?;
        let (rows, newest_ms) = self.write("take checkpoints over", |tx| {
            let newer = newer_rows(tx, found)?;
            let time_ms = |row: &RawRow| reference::time_of((&row[6]).into());
            let Some(newest_ms) = newer.iter().map(time_ms).max() else {
                return Ok((0, 0));
            };
            let mut statement = tx.prepare(schema::REFERENCE_PUT)?;
            for row in &newer {
                statement.execute(params_from_iter(row))?;
            }
            tx.execute(schema::META_PUT, (schema::META_TAKEN_OVER_MS, newest_ms))?;
            Ok((newer.len(), newest_ms))
        })?;
        self.raise_last_updated(newest_ms);
        Ok(match rows {
            0 => TakeOver::Nothing,
            rows => TakeOver::Taken { rows },
        })
    }

    /// None of them where the database has no table of the reference's.
    fn rows_of(&self, old: &Path) -> rusqlite::Result<Vec<RawRow>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(old, flags)?;
        connection.busy_timeout(self.query_timeout)?;
        connection.execute_batch(schema::QUERY_ONLY)?;
        if !reference::has_table(&connection, schema::REFERENCE_TABLE)? {
            return Ok(Vec::new());
        }
        raw_rows(&connection)
    }
}

/// Those of `found` that are later than what is known of their flow. Of a flow that was forgotten since, what was taken over
/// once isn't news.
fn newer_rows(connection: &Connection, found: Vec<RawRow>) -> rusqlite::Result<Vec<RawRow>> {
    let taken_over_ms = reference::meta_integer(connection, schema::META_TAKEN_OVER_MS)?;
    let mut newer = Vec::new();
    for row in found {
        let Value::Text(flow) = &row[0] else { continue };
        let known_ms = reference::newest_ms(connection, flow)?.or(taken_over_ms);
        let row_ms = reference::time_of((&row[6]).into());
        if known_ms.is_none_or(|known_ms| row_ms > known_ms) {
            newer.push(row);
        }
    }
    Ok(newer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Place;
    use crate::checkpoint::testing::{
        Home, NOW_MS, REFERENCE_ROW, at, flow, id, place, reference_database, upsert,
    };
    use crate::config::FlowId;

    #[test]
    fn rows_of_unknown_flows_come_over_once() {
        let old = Home::of_reference(&[
            REFERENCE_ROW,
            (
                "kinesis:s:/logs/known",
                "/logs/known",
                "(dev=fe00,ino=2)",
                1,
                2,
                2,
                "2026-11-20 00:00:00.000",
            ),
        ]);
        let before = fs::read(old.path()).unwrap();
        let home = Home::new();
        let mut store = home.open();
        store
            .save(
                &[upsert(&flow("known"), place("known", 3, 1, 1))],
                at(NOW_MS),
            )
            .unwrap();

        assert_eq!(
            store.take_over(old.path()).unwrap(),
            TakeOver::Taken { rows: 1 }
        );
        let places = store.places(&FlowId(REFERENCE_ROW.0.into())).unwrap();
        assert!(places.reference_is_newer && places.ours.is_empty());
        assert_eq!(places.reference[0].identity, Some(id(10_166_337)));
        assert_eq!(store.places(&flow("known")).unwrap().reference.len(), 1);
        assert_eq!(fs::read(old.path()).unwrap(), before);

        // Of flows that aren't known nothing comes back that was there then.
        home.sql()
            .execute_batch("DELETE FROM FILE_CHECKPOINTS")
            .unwrap();
        drop(store);
        let again = home.open().take_over(old.path()).unwrap();
        assert_eq!(again, TakeOver::Nothing);
    }

    /// P-AGAIN: What the AWS Kinesis Agent has sent between two swaps counts: of the checkpoints of a flow the later ones hold.
    ///
    /// To ours, back to the reference by an export, and to ours again.
    #[test]
    fn what_the_reference_has_sent_between_two_swaps_counts() {
        let flow = FlowId(REFERENCE_ROW.0.into());
        let old = Home::of_reference(&[REFERENCE_ROW]);
        let home = Home::new();
        let mut store = home.open();
        store.take_over(old.path()).unwrap();
        let saved = Place {
            path: REFERENCE_ROW.1.into(),
            ..place("app.log", 10_166_337, 7, 100)
        };
        store.save(&[upsert(&flow, saved)], at(NOW_MS)).unwrap();
        // The one that it left is older than ours, though its row may say more.
        let execute = |sql: &str| old.sql().execute_batch(sql).unwrap();
        execute("UPDATE FILE_CHECKPOINTS SET offset = 99");
        assert_eq!(store.take_over(old.path()).unwrap(), TakeOver::Nothing);
        fs::remove_file(old.path()).unwrap();
        store.export(old.path()).unwrap();
        assert_eq!(store.take_over(old.path()).unwrap(), TakeOver::Nothing);
        assert!(!store.places(&flow).unwrap().reference_is_newer);

        execute("UPDATE FILE_CHECKPOINTS SET offset = 50, lastUpdated = '2026-11-22 00:00:00.000'");
        assert_eq!(
            store.take_over(old.path()).unwrap(),
            TakeOver::Taken { rows: 1 }
        );
        let places = store.places(&flow).unwrap();
        assert!(places.reference_is_newer);
        assert_eq!(places.reference[0].offset, 50);
        assert_eq!(store.take_over(old.path()).unwrap(), TakeOver::Nothing);
    }

    #[test]
    fn our_next_times_are_later_than_those_taken_over() {
        let old = Home::of_reference(&[REFERENCE_ROW]);
        let home = Home::new();
        let mut store = home.open();
        store.take_over(old.path()).unwrap();
        let flow = FlowId(REFERENCE_ROW.0.into());
        store
            .save(&[upsert(&flow, place("app.log.9", 9, 1, 2))], at(0))
            .unwrap();
        assert_eq!(
            store.places(&flow).unwrap().reference[0].identity,
            Some(id(9))
        );
    }

    #[test]
    fn what_is_no_other_database_of_the_references_may_be_one_later() {
        let home = Home::new();
        let mut store = home.open();
        let old = home.dir.path().join("old");
        assert_eq!(store.take_over(&old).unwrap(), TakeOver::Nothing);
        assert_eq!(store.take_over(home.path()).unwrap(), TakeOver::Nothing);
        fs::write(&old, "").unwrap();
        assert_eq!(store.take_over(&old).unwrap(), TakeOver::Nothing);
        fs::write(&old, [0xa5; 5000]).unwrap();
        let damaged = store.take_over(&old).unwrap_err().to_string();
        assert!(damaged.contains("move it away"), "{damaged}");
        fs::remove_file(&old).unwrap();
        reference_database(&old, &[REFERENCE_ROW]);
        assert_eq!(store.take_over(&old).unwrap(), TakeOver::Taken { rows: 1 });
    }

    #[test]
    fn database_locked_by_another_program_is_tried_again_at_the_next_start() {
        let old = Home::of_reference(&[REFERENCE_ROW]);
        let home = Home::new();
        let mut store = home.open();
        let other = old.sql();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let error = store.take_over(old.path()).unwrap_err();
        assert!(error.to_string().contains("close the program"), "{error}");
        assert!(error.is_in_use(), "{error}");
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(
            store.take_over(old.path()).unwrap(),
            TakeOver::Taken { rows: 1 }
        );
    }

    #[test]
    fn half_done_transaction_of_a_killed_reference_does_not_count() {
        let rows: Vec<_> = (0..300)
            .map(|i| (format!("/logs/{i}"), format!("(dev=fe00,ino={i})")))
            .collect();
        let rows: Vec<_> = rows
            .iter()
            .map(|(path, identity)| {
                (
                    "fh:x",
                    path.as_str(),
                    identity.as_str(),
                    1,
                    9,
                    4,
                    REFERENCE_ROW.6,
                )
            })
            .collect();
        let old = Home::of_reference(&rows);
        let killed = old.sql();
        killed
            .execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE FILE_CHECKPOINTS SET offset = 9")
            .unwrap();
        let crashed = Home::new();
        for suffix in ["", "-journal"] {
            let beside = |home: &Home| crate::checkpoint::lock::sibling(home.path(), suffix);
            fs::copy(beside(&old), beside(&crashed)).unwrap();
        }
        let home = Home::new();
        let mut store = home.open();
        assert_eq!(
            store.take_over(crashed.path()).unwrap(),
            TakeOver::Taken { rows: 300 }
        );
        let places = store.places(&FlowId("fh:x".into())).unwrap();
        assert!(places.reference.iter().all(|row| row.offset == 4));
    }
}
