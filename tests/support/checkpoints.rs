//! The checkpoint database as another program sees it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::scene::Scene;
use super::wait::until;

/// A row of `FILE_CHECKPOINTS`, the reference's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub flow: String,
    pub path: String,
    pub file_id: String,
    pub modified_ms: i64,
    pub size: i64,
    pub offset: i64,
    pub last_updated: String,
}

/// The rows of `FILE_CHECKPOINTS`, those updated last first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(pub Vec<Row>);

const SELECT: &str = "SELECT flow, path, fileId, lastModifiedTime, size, offset, lastUpdated FROM FILE_CHECKPOINTS \
     ORDER BY lastUpdated DESC";

impl Rows {
    /// The rows now. Errors: there is no database yet, or someone writes to it.
    pub fn read(scene: &Scene) -> rusqlite::Result<Rows> {
        let connection =
            Connection::open_with_flags(scene.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement = connection.prepare(SELECT)?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                flow: row.get(0)?,
                path: row.get(1)?,
                file_id: row.get(2)?,
                modified_ms: row.get(3)?,
                size: row.get(4)?,
                offset: row.get(5)?,
                last_updated: row.get(6)?,
            })
        })?;
        rows.collect::<Result<_, _>>().map(Rows)
    }

    /// Waits until the rows are as they should be.
    pub async fn until(scene: &Scene, is_so: impl Fn(&Rows) -> bool) -> Rows {
        let mut last = Rows::default();
        until("the checkpoints", || {
            last = Rows::read(scene).ok()?;
            is_so(&last).then(|| last.clone())
        })
        .await
    }

    /// The offset saved for a path.
    pub fn offset_of(&self, path: &Path) -> Option<u64> {
        let row = self.0.iter().find(|row| Path::new(&row.path) == path)?;
        row.offset.try_into().ok()
    }
}
