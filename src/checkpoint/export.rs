//! A database for the reference.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::error::Error;
use super::lock::sibling;
use super::open::FILE_MODE;
use super::reader::Reader;
use super::schema;

/// A row of the reference's table as it is.
pub type RawRow = [Value; 7];

impl Reader {
    /// Writes the reference's table, and nothing else, to the new file `to`.
    ///
    /// An existing file isn't touched: a journal beside it would belong to its old content.
    pub fn export(&self, to: &Path) -> Result<(), Error> {
        let rows = if self.has_reference() {
            self.look("read checkpoints", raw_rows)?
        } else {
            Vec::new()
        };
        if sibling(to, "-journal").symlink_metadata().is_ok()
            || sibling(to, "-wal").symlink_metadata().is_ok()
        {
            return Err(Error::Exists {
                path: to.to_owned(),
            });
        }
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(to)
        {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists {
                    path: to.to_owned(),
                });
            }
            Err(error) => return Err(Error::io("make", to)(error)),
        }
        let written = write(to, &rows);
        if written.is_err() {
            // Half an export is worse than none; the error that made it is the one to report.
            let _ = fs::remove_file(to);
        }
        written.map_err(Error::database("export checkpoints", to))
    }
}

/// All rows of the reference's table, the oldest first.
pub fn raw_rows(connection: &Connection) -> rusqlite::Result<Vec<RawRow>> {
    let mut statement = connection.prepare(schema::REFERENCE_ALL)?;
    let rows = statement.query_map([], |row| {
        let mut cells = [const { Value::Null }; 7];
        for (i, cell) in cells.iter_mut().enumerate() {
            *cell = row.get(i)?;
        }
        Ok(cells)
    })?;
    rows.collect()
}

fn write(to: &Path, rows: &[RawRow]) -> rusqlite::Result<()> {
    // An absolute path can't be taken for a URI.
    let path = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    let tx = connection.transaction()?;
    tx.execute_batch(schema::CREATE_REFERENCE)?;
    {
        let mut statement = tx.prepare(schema::REFERENCE_PUT)?;
        for row in rows {
            statement.execute(params_from_iter(row))?;
        }
    }
    tx.commit()?;
    connection.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{
        Home, NOW_MS, REFERENCE_ROW, REFERENCE_SCHEMA, at, flow, place, upsert,
    };
    use std::path::PathBuf;

    #[test]
    fn export_is_a_database_of_the_references_table_alone() {
        let home = Home::of_reference(&[REFERENCE_ROW]);
        let mut store = home.open();
        let flow = flow("*");
        store
            .save(
                &[
                    upsert(&flow, place("a", 1, 3, 9)),
                    upsert(&flow, place("b", 2, 9, 9)),
                ],
                at(NOW_MS),
            )
            .unwrap();
        let to = home.dir.path().join("export");
        store.export(&to).unwrap();

        let mut exported = Home::new();
        exported.options.path = to;
        assert_eq!(exported.reference_rows(), home.reference_rows());
        let connection = exported.sql();
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_master WHERE type = 'table'")
            .unwrap();
        let tables: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(tables, [REFERENCE_SCHEMA]);
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, 0);
    }

    #[test]
    fn existing_file_or_journal_is_left_alone() {
        let home = Home::new();
        let store = home.open();
        let (file, with_journal) = (home.dir.path().join("file"), home.dir.path().join("other"));
        fs::write(&file, "mine").unwrap();
        fs::write(sibling(&with_journal, "-journal"), "mine").unwrap();
        for to in [&file, &with_journal, home.path()] {
            assert!(
                matches!(store.export(to), Err(Error::Exists { .. })),
                "{}",
                to.display()
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert!(!with_journal.exists());
    }

    #[test]
    fn folder_that_is_not_there_is_an_error() {
        let home = Home::new();
        let error = home
            .open()
            .export(&PathBuf::from("/nonexistent/export"))
            .unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
    }
}
