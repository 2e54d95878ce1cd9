//! Every statement.
//!
//! Nothing here is newer than SQLite 3.8 (partial indexes): a table that the reference's own SQLite can't parse, such
//! as a `STRICT` one, would make the whole file unreadable for it. `user_version` stays 0, as the reference leaves it;
//! our version is in our own table.

/// The version of our tables that this program writes: the first, and one more for each step of [`UPGRADES`].
pub const VERSION: i64 = 1 + UPGRADES.len() as i64;

/// What makes the tables of each version those of the next, from the first version on. Steps are never changed once they
/// were released, and leave [`CREATE_OURS`] as it was: a new database takes the same way.
pub const UPGRADES: [&str; 0] = [];

/// For how long a statement waits is the connection's busy time-out; the rest is explained in [`super`].
pub const PRAGMAS: &str = "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF";
/// Answers with the mode that now holds.
pub const JOURNAL_MODE_DELETE: &str = "PRAGMA journal_mode = DELETE";
/// Answers `ok` or the first damage.
pub const QUICK_CHECK: &str = "PRAGMA quick_check(1)";
/// For those who only look; a hot journal is rolled back all the same.
pub const QUERY_ONLY: &str = "PRAGMA query_only = ON";

/// A copy that holds no lock of ours.
pub const COPY_INTO: &str = "VACUUM INTO ?1";

/// One row if the table is there.
pub const HAS_TABLE: &str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
pub const REFERENCE_TABLE: &str = "FILE_CHECKPOINTS";
pub const META_TABLE: &str = "KINESIS_AGENT_META";

/// The reference's table; SQLite stores the text without `IF NOT EXISTS`, which is the reference's to the letter.
pub const CREATE_REFERENCE: &str = "CREATE TABLE IF NOT EXISTS FILE_CHECKPOINTS(flow text, path text, fileId text, \
     lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime, primary key (flow, path))";

/// Our tables. `device` and `inode` are the bits of unsigned numbers. `KINESIS_AGENT_FLOWS` repeats the row that we
/// gave the newest `lastUpdated`: if it isn't found like that, the reference has written. The first index finds the
/// oldest file that owes something, the second the newest file.
pub const CREATE_OURS: &str = "
    CREATE TABLE KINESIS_AGENT_META(key text primary key, value);
    CREATE TABLE KINESIS_AGENT_FLOWS(
        flow text primary key,
        path text not null,
        file_id text not null,
        offset_bytes integer not null,
        last_updated_ms integer not null
    );
    CREATE TABLE KINESIS_AGENT_PLACES(
        flow text not null,
        device integer not null,
        inode integer not null,
        path blob not null,
        fingerprint_len integer not null,
        fingerprint_hash blob not null,
        offset_bytes integer not null,
        size_bytes integer not null,
        modified_ms integer not null,
        header_lines_left integer not null,
        state text not null,
        extra blob,
        updated_ms integer not null,
        primary key (flow, device, inode)
    );
    CREATE INDEX KINESIS_AGENT_PLACES_OWING ON KINESIS_AGENT_PLACES(flow, modified_ms, size_bytes DESC)
        WHERE state = 'live' AND offset_bytes < size_bytes;
    CREATE INDEX KINESIS_AGENT_PLACES_NEWEST ON KINESIS_AGENT_PLACES(flow, modified_ms DESC, size_bytes);
";

pub const META_GET: &str = "SELECT value FROM KINESIS_AGENT_META WHERE key = ?1";
pub const META_PUT: &str = "INSERT OR REPLACE INTO KINESIS_AGENT_META(key, value) VALUES (?1, ?2)";
/// Our [`VERSION`].
pub const META_VERSION: &str = "schema_version";
/// The newest time that we ever wrote, in ms; the next one is later, whatever the clock says.
pub const META_LAST_UPDATED_MS: &str = "last_updated_ms";
/// The newest time of a row that was taken over from another database, in ms.
pub const META_TAKEN_OVER_MS: &str = "taken_over_ms";

pub const PLACE_PUT: &str = "INSERT OR REPLACE INTO KINESIS_AGENT_PLACES(flow, device, inode, path, fingerprint_len, \
     fingerprint_hash, offset_bytes, size_bytes, modified_ms, header_lines_left, state, extra, updated_ms) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
pub const PLACE_PATH: &str =
    "SELECT path FROM KINESIS_AGENT_PLACES WHERE flow = ?1 AND device = ?2 AND inode = ?3";
pub const PLACE_DELETE: &str =
    "DELETE FROM KINESIS_AGENT_PLACES WHERE flow = ?1 AND device = ?2 AND inode = ?3";
pub const PLACE_GET: &str = "SELECT path, device, inode, fingerprint_len, fingerprint_hash, offset_bytes, size_bytes, \
     modified_ms, header_lines_left, state, extra FROM KINESIS_AGENT_PLACES \
     WHERE flow = ?1 AND device = ?2 AND inode = ?3";
pub const PLACES_OF_FLOW: &str = "SELECT path, device, inode, fingerprint_len, fingerprint_hash, offset_bytes, \
     size_bytes, modified_ms, header_lines_left, state, extra FROM KINESIS_AGENT_PLACES WHERE flow = ?1";
/// The oldest file that owes something; of two as old the longer is older, as the reference has it.
pub const PLACE_OWING: &str = "SELECT device, inode FROM KINESIS_AGENT_PLACES \
     WHERE flow = ?1 AND state = 'live' AND offset_bytes < size_bytes ORDER BY modified_ms, size_bytes DESC LIMIT 1";
pub const PLACE_NEWEST: &str = "SELECT device, inode FROM KINESIS_AGENT_PLACES WHERE flow = ?1 \
     ORDER BY modified_ms DESC, size_bytes LIMIT 1";
pub const PLACES_BEFORE: &str =
    "SELECT flow, device, inode, path FROM KINESIS_AGENT_PLACES WHERE updated_ms < ?1";

pub const STAND_PUT: &str = "INSERT OR REPLACE INTO KINESIS_AGENT_FLOWS(flow, path, file_id, offset_bytes, \
     last_updated_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
pub const STAND_GET: &str =
    "SELECT path, file_id, offset_bytes, last_updated_ms FROM KINESIS_AGENT_FLOWS WHERE flow = ?1";
pub const STANDS_DELETE_EMPTY: &str = "DELETE FROM KINESIS_AGENT_FLOWS WHERE last_updated_ms < ?1 \
     AND flow NOT IN (SELECT flow FROM KINESIS_AGENT_PLACES) \
     AND flow NOT IN (SELECT flow FROM FILE_CHECKPOINTS WHERE flow IS NOT NULL)";

pub const REFERENCE_PUT: &str = "INSERT OR REPLACE INTO FILE_CHECKPOINTS(flow, path, fileId, lastModifiedTime, size, \
     offset, lastUpdated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
pub const REFERENCE_DELETE: &str =
    "DELETE FROM FILE_CHECKPOINTS WHERE flow = ?1 AND path = ?2 AND fileId = ?3";
pub const REFERENCE_DELETE_ROWID: &str = "DELETE FROM FILE_CHECKPOINTS WHERE rowid = ?1";
pub const REFERENCE_OF_FLOW: &str = "SELECT path, fileId, lastModifiedTime, size, offset, lastUpdated \
     FROM FILE_CHECKPOINTS WHERE flow = ?1";
pub const REFERENCE_ALL: &str = "SELECT flow, path, fileId, lastModifiedTime, size, offset, lastUpdated \
     FROM FILE_CHECKPOINTS ORDER BY lastUpdated";
pub const REFERENCE_TIMES: &str = "SELECT lastUpdated FROM FILE_CHECKPOINTS";
/// Rows that aren't a place's of ours are told apart by the caller.
pub const REFERENCE_WITH_ROWID: &str =
    "SELECT rowid, flow, path, fileId, lastUpdated FROM FILE_CHECKPOINTS";

pub const FLOWS_REFERENCE: &str =
    "SELECT DISTINCT flow FROM FILE_CHECKPOINTS WHERE flow IS NOT NULL";
pub const FLOWS_OURS: &str = "SELECT flow FROM KINESIS_AGENT_FLOWS";

/// Key of a flow that was followed while no file matched it; its value says when, in ms.
pub fn meta_followed(flow: &str) -> String {
    format!("followed {flow}")
}
pub const FOLLOWED_DELETE: &str =
    "DELETE FROM KINESIS_AGENT_META WHERE key LIKE 'followed %' AND value < ?1";
