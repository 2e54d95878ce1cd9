//! Rows of a database left in the old default place.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};

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
        if self.was_taken_over()? {
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

    fn was_taken_over(&self) -> Result<bool, Error> {
        self.reader.look("read what was taken over", |connection| {
            let done = connection
                .query_row(schema::META_GET, [schema::META_TAKEN_OVER], |_| Ok(()))
                .optional()?;
            Ok(done.is_some())
        })
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
