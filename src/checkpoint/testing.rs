//! What the tests of this room share: a database in a folder of its own, short ways to write places and rows, and SQL
//! from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::{Change, FileIdentity, Fingerprint, Opened, Place, PlaceState, Store};
use crate::config::{Checkpoints, FlowId};

/// 2026-11-21 05:41:36.150 UTC, in ms.
pub const NOW_MS: i64 = 1_795_239_696_150;
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The reference's table, letter by letter.
pub const REFERENCE_SCHEMA: &str = "CREATE TABLE FILE_CHECKPOINTS(flow text, path text, fileId text, \
     lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime, primary key (flow, path))";

/// A folder for a database.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub options: Checkpoints,
}

impl Home {
    pub fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let options = Checkpoints {
            path: dir.path().join("checkpoints"),
            ttl: Some(Duration::from_secs(7 * 24 * 60 * 60)),
            query_timeout: Duration::from_millis(10),
            open_timeout: Duration::from_millis(10),
        };
        Home { dir, options }
    }

    /// With a database as the reference leaves it.
    pub fn of_reference(rows: &[Row<'_>]) -> Home {
        let home = Home::new();
        reference_database(&home.options.path, rows);
        home
    }

    pub fn path(&self) -> &Path {
        &self.options.path
    }

    pub fn open(&self) -> Store {
        let Opened { store, rebuilt } = Store::open(&self.options, at(NOW_MS)).unwrap();
        assert_eq!(rebuilt, None);
        store
    }

    /// A second connection, as an operator's `sqlite3` has it.
    pub fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Path, identity, size, offset and time of all the reference's rows, the newest first.
    pub fn reference_rows(&self) -> Vec<(String, String, i64, i64, String)> {
        let connection = self.sql();
        let mut statement = connection
            .prepare("SELECT path, fileId, size, offset, lastUpdated FROM FILE_CHECKPOINTS ORDER BY lastUpdated DESC, path")
            .unwrap();
        let rows = statement
            .query_map([], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// Flow, path, fileId, lastModifiedTime, size, offset, lastUpdated.
pub type Row<'a> = (&'a str, &'a str, &'a str, i64, i64, i64, &'a str);

/// A row as it stands in the reference's database after a rename rotation.
pub const REFERENCE_ROW: Row<'static> = (
    "kinesis:s:/logs/app.log*",
    "/logs/app.log",
    "(dev=fe00,ino=10166337)",
    1_795_239_694_296,
    8,
    6,
    "2026-11-21 05:41:36.150",
);

pub fn reference_database(path: &Path, rows: &[Row<'_>]) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(REFERENCE_SCHEMA).unwrap();
    for row in rows {
        connection
            .execute(
                "INSERT INTO FILE_CHECKPOINTS VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                *row,
            )
            .unwrap();
    }
}

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

pub fn flow(name: &str) -> FlowId {
    FlowId(format!("kinesis:s:/logs/{name}").into())
}

pub fn id(inode: u64) -> FileIdentity {
    FileIdentity {
        device: 0xfe00,
        inode,
    }
}

/// A live file `/logs/NAME`, last changed `inode` seconds into an hour: the higher the inode the newer.
pub fn place(name: &str, inode: u64, offset: u64, size: u64) -> Place {
    Place {
        path: PathBuf::from("/logs").join(name),
        identity: id(inode),
        fingerprint: Fingerprint {
            len: 4,
            hash: [inode as u8; 16],
        },
        offset,
        size,
        modified_ms: NOW_MS - 3_600_000 + inode as i64 * 1000,
        header_lines_left: 0,
        state: PlaceState::Live,
        extra: None,
    }
}

pub fn upsert(flow: &FlowId, place: Place) -> Change {
    Change::Upsert {
        flow: flow.clone(),
        place,
    }
}

pub fn remove(flow: &FlowId, inode: u64) -> Change {
    Change::Remove {
        flow: flow.clone(),
        identity: id(inode),
    }
}
