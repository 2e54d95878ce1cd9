//! Rows of a database left in the old default place.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::error::{Error, Holder};
use super::export::raw_rows;
use super::lock::java_with_open;
use super::reference;
use super::schema;
use super::store::Store;

/// What [`Store::take_over`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// It was done at an earlier start.
    DoneBefore,
    /// There is no other database, or it has no table of the reference's.
    NothingThere,
    /// So many rows are ours now; the old database is as it was.
    Taken { rows: usize },
}

impl Store {
    /// Takes the rows of the reference's database `old` over, once and for all, of those flows of which this one knows
    /// nothing.
    ///
    /// `old` is opened where it is, so that its journal counts, and is left as it is. An error (someone holds it, it
    /// is damaged) leaves both as they were, and the next start tries again.
    pub fn take_over(&mut self, old: &Path) -> Result<TakeOver, Error> {
        if self.reader.was_taken_over()? {
            return Ok(TakeOver::DoneBefore);
        }
        let old = match fs::canonicalize(old) {
            Ok(old) => old,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(TakeOver::NothingThere),
            Err(error) => return Err(Error::io("find the checkpoints to take over,", old)(error)),
        };
        if old == self.path() {
            return Ok(TakeOver::NothingThere);
        }
        if let Some(pid) = java_with_open(&old) {
            return Err(Error::InUse {
                path: old,
                holder: Holder::Java(pid),
            });
        }
        let found = self
            .rows_of(&old)
            .map_err(Error::database("read the checkpoints to take over", &old))?;
        let Some(found) = found else {
            return Ok(TakeOver::NothingThere);
        };

        let known: HashSet<String> = self
            .reader
            .flows()?
            .into_iter()
            .map(|flow| flow.0.to_string())
            .collect();
        let old_text = reference::path_text(&old);
        let (rows, newest_ms) = self.write("take checkpoints over", |tx| {
            let mut statement = tx.prepare(schema::REFERENCE_PUT)?;
            let (mut rows, mut newest_ms) = (0, 0);
            for row in &found {
                let Value::Text(flow) = &row[0] else { continue };
                if !known.contains(flow) {
                    rows += statement.execute(params_from_iter(row))?;
                    newest_ms = newest_ms.max(reference::time_of((&row[6]).into()));
                }
            }
            tx.execute(schema::META_PUT, (schema::META_TAKEN_OVER, old_text))?;
            Ok((rows, newest_ms))
        })?;
        self.raise_last_updated(newest_ms);
        Ok(TakeOver::Taken { rows })
    }

    /// `None` where the database has no table of the reference's.
    fn rows_of(&self, old: &Path) -> rusqlite::Result<Option<Vec<super::export::RawRow>>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(old, flags)?;
        connection.busy_timeout(self.query_timeout)?;
        connection.execute_batch(schema::QUERY_ONLY)?;
        if !reference::has_table(&connection, schema::REFERENCE_TABLE)? {
            return Ok(None);
        }
        raw_rows(&connection).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{
        Home, REFERENCE_ROW, at, flow, id, place, reference_database, upsert,
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
            .save(&[upsert(&flow("known"), place("known", 3, 1, 1))], at(0))
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

        old.sql()
            .execute(
                "UPDATE FILE_CHECKPOINTS SET flow = 'fh:later' WHERE fileId LIKE '%=2)'",
                [],
            )
            .unwrap();
        drop(store);
        assert_eq!(
            home.open().take_over(old.path()).unwrap(),
            TakeOver::DoneBefore
        );
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
        assert_eq!(store.take_over(&old).unwrap(), TakeOver::NothingThere);
        assert_eq!(
            store.take_over(home.path()).unwrap(),
            TakeOver::NothingThere
        );
        fs::write(&old, "").unwrap();
        assert_eq!(store.take_over(&old).unwrap(), TakeOver::NothingThere);
        fs::write(&old, [0xa5; 5000]).unwrap();
        assert!(matches!(store.take_over(&old), Err(Error::Database { .. })));
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
