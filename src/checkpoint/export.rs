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
