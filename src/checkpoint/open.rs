//! From a path to a [`Store`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::error::{OpenError, is_busy, is_damage};
use super::lock::{Lock, sibling};
use super::reader::Reader;
use super::store::Store;
use super::{reference, schema};
use crate::config::Checkpoints;

/// Of files we make: paths of logs are nobody else's business, but a group may be let in to look.
pub const FILE_MODE: u32 = 0o640;
/// Of folders we make.
const DIR_MODE: u32 = 0o750;
/// What SQLite may keep beside a database.
const SQLITE_SUFFIXES: [&str; 3] = ["-journal", "-wal", "-shm"];

/// An open store, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// Where the old file is if it was damaged and a new one was made: nothing is known of what was sent, so files
    /// that exist have to start at their beginning, whatever `initialPosition` says, or their unsent part is lost.
    pub rebuilt: Option<PathBuf>,
}

impl Store {
    /// Opens the database of `options`, or makes it with its folder, and keeps every other agent out.
    ///
    /// It is opened where it is: what a killed process left half done in its journal is taken back in place. A
    /// reference's database gets our tables; its rows stay. A damaged one is renamed to `NAME.corrupt-TIME`, with
    /// what lies beside it.
    pub fn open(options: &Checkpoints, now: Timestamp) -> Result<Opened, OpenError> {
        let path = create_if_missing(&options.path)?;
        let lock = Lock::take(&path)?;
        let (connection, rebuilt) = match connect(&path, options) {
            Ok(connection) => (connection, None),
            Err(Refusal::Damaged) => {
                let aside = set_aside(&path, now)?;
                create_if_missing(&path)?;
                let connection =
                    connect(&path, options).map_err(|refusal| refusal.into_error(&path))?;
                (connection, Some(aside))
            }
            Err(Refusal::Other(error)) => return Err(error),
        };
        let last_updated_ms = newest_time(&connection)
            .map_err(|error| explain(&path, options.open_timeout, error))?;
        connection
            .busy_timeout(options.query_timeout)
            .map_err(|error| explain(&path, options.open_timeout, error))?;
        let store = Store::new(
            Reader::of_store(connection, path),
            lock,
            options,
            last_updated_ms,
        );
        Ok(Opened { store, rebuilt })
    }
}

/// Makes the database's folder and an empty file where there is none; answers with the real path.
fn create_if_missing(path: &Path) -> Result<PathBuf, OpenError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(OpenError::io("make the folder", dir))?;
    }
    // Only a new file is opened here: closing a handle of an existing one would drop SQLite's locks on it.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(OpenError::io("make checkpoint database", path)(error)),
    }
    fs::canonicalize(path).map_err(OpenError::io("find checkpoint database", path))
}

/// Why a file didn't become a connection.
enum Refusal {
    /// Its content is damaged.
    Damaged,
    Other(OpenError),
}

impl Refusal {
    fn new(path: &Path, waited: Duration, error: rusqlite::Error) -> Refusal {
        if is_damage(&error) {
            Refusal::Damaged
        } else {
            Refusal::Other(explain(path, waited, error))
        }
    }

    /// Damage to a file that was made a moment ago is its volume's.
    fn into_error(self, path: &Path) -> OpenError {
        match self {
            Refusal::Other(error) => error,
            Refusal::Damaged => OpenError::Io {
                doing: "use the new checkpoint database",
                path: path.to_owned(),
                source: ErrorKind::InvalidData.into(),
            },
        }
    }
}

fn explain(path: &Path, waited: Duration, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    if is_busy(&source) {
        OpenError::Busy { path, waited }
    } else {
        OpenError::Database { path, source }
    }
}

fn connect(path: &Path, options: &Checkpoints) -> Result<Connection, Refusal> {
    let waited = options.open_timeout;
    let refuse = |error| Refusal::new(path, waited, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(refuse)?;
    connection.busy_timeout(waited).map_err(refuse)?;
    connection.execute_batch(schema::PRAGMAS).map_err(refuse)?;
    let verdict: String = connection
        .query_row(schema::QUICK_CHECK, [], |row| row.get(0))
        .map_err(refuse)?;
    if verdict != "ok" {
        return Err(Refusal::Damaged);
    }
    migrate(&mut connection, path, waited)?;
    // Someone may have set another mode; this one is what the reference is to find whenever we end.
    let mode: String = connection
        .query_row(schema::JOURNAL_MODE_DELETE, [], |row| row.get(0))
        .map_err(refuse)?;
    if mode != "delete" {
        return Err(Refusal::Other(OpenError::Busy {
            path: path.to_owned(),
            waited,
        }));
    }
    Ok(connection)
}

/// Adds the tables that are missing; refuses what a newer program or another application made.
fn migrate(connection: &mut Connection, path: &Path, waited: Duration) -> Result<(), Refusal> {
    let refuse = |error| Refusal::new(path, waited, error);
    check_version(connection, path).map_err(|error| match error {
        VersionError::Refused(error) => Refusal::Other(error),
        VersionError::Database(error) => refuse(error),
    })?;
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(refuse)?;
    tx.execute_batch(schema::CREATE_REFERENCE).map_err(refuse)?;
    for statement in [
        schema::REFERENCE_PUT,
        schema::REFERENCE_ALL,
        schema::REFERENCE_WITH_ROWID,
    ] {
        if let Err(error) = tx.prepare(statement) {
            if is_damage(&error) || is_busy(&error) {
                return Err(refuse(error));
            }
            let why = error.to_string();
            return Err(Refusal::Other(OpenError::Foreign {
                path: path.to_owned(),
                why,
            }));
        }
    }
    if !reference::has_table(&tx, schema::META_TABLE).map_err(refuse)? {
        tx.execute_batch(schema::CREATE_OURS).map_err(refuse)?;
        tx.execute(schema::META_PUT, (schema::META_VERSION, 1))
            .map_err(refuse)?;
    }
    upgrade(&tx, &schema::UPGRADES).map_err(refuse)?;
    tx.commit().map_err(refuse)
}

/// Takes the steps from the version that the tables have to the newest.
fn upgrade(tx: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let found = reference::meta_integer(tx, schema::META_VERSION)?.unwrap_or(1);
    let n_done = usize::try_from(found - 1).unwrap_or(0);
    for step in steps.iter().skip(n_done) {
        tx.execute_batch(step)?;
    }
    let newest = 1 + steps.len() as i64;
    if found < newest {
        tx.execute(schema::META_PUT, (schema::META_VERSION, newest))?;
    }
    Ok(())
}

/// Why our tables can't be used.
pub enum VersionError {
    Refused(OpenError),
    Database(rusqlite::Error),
}

/// Refuses tables of a newer program; a database without tables of ours is fine. Answers whether they are there.
pub fn check_version(connection: &Connection, path: &Path) -> Result<bool, VersionError> {
    if !reference::has_table(connection, schema::META_TABLE).map_err(VersionError::Database)? {
        return Ok(false);
    }
    let found = connection
        .query_row(schema::META_GET, [schema::META_VERSION], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .optional()
        .map_err(VersionError::Database)?
        .flatten();
    match found {
        Some(1..=schema::VERSION) => Ok(true),
        Some(found) if found > schema::VERSION => Err(VersionError::Refused(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: schema::VERSION,
        })),
        _ => Err(VersionError::Refused(OpenError::Foreign {
            path: path.to_owned(),
            why: format!("{} has no schema version", schema::META_TABLE),
        })),
    }
}

/// The newest time in the database, ours or the reference's: the next one has to be later.
fn newest_time(connection: &Connection) -> rusqlite::Result<i64> {
    let ours = reference::meta_integer(connection, schema::META_LAST_UPDATED_MS)?;
    let mut statement = connection.prepare(schema::REFERENCE_TIMES)?;
    let mut newest = ours.unwrap_or(0);
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        newest = newest.max(reference::time_of(row.get_ref(0)?));
    }
    Ok(newest)
}

/// Renames a damaged database and what lies beside it; answers with its new name.
///
/// The journal goes first: left behind, it would be played into the new database.
fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, OpenError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let mut aside = sibling(path, &format!(".corrupt-{stamp}"));
    let mut n = 1;
    while aside.symlink_metadata().is_ok() {
        n += 1;
        aside = sibling(path, &format!(".corrupt-{stamp}-{n}"));
    }
    for suffix in SQLITE_SUFFIXES {
        let beside = sibling(path, suffix);
        match fs::rename(&beside, sibling(&aside, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(OpenError::io("set aside", &beside)(error));
            }
            _ => {}
        }
    }
    fs::rename(path, &aside).map_err(OpenError::io("set aside", path))?;
    if let Some(dir) = path.parent() {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(OpenError::io("sync the folder", dir))?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Holder;
    use crate::checkpoint::testing::{
        Home, NOW_MS, REFERENCE_ROW, REFERENCE_SCHEMA, at, flow, id, place, upsert,
    };
    use crate::config::FlowId;
    use std::os::unix::fs::PermissionsExt;

    fn refusal(home: &Home) -> OpenError {
        Store::open(&home.options, at(NOW_MS)).unwrap_err()
    }

    #[test]
    fn new_database_has_the_references_table_version_and_mode() {
        let home = Home::new();
        home.open().close(&[], at(NOW_MS)).unwrap();
        let connection = home.sql();
        let sql: String = connection
            .query_row(
                "SELECT sql FROM sqlite_master WHERE name = 'FILE_CHECKPOINTS'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(sql, REFERENCE_SCHEMA);
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        let mode: String = connection
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!((version, mode.as_str()), (0, "delete"));
        for suffix in SQLITE_SUFFIXES {
            assert!(!sibling(home.path(), suffix).exists(), "{suffix}");
        }
    }

    #[test]
    fn tables_of_every_version_take_the_steps_that_they_lack() {
        let steps = [
            "ALTER TABLE KINESIS_AGENT_PLACES ADD COLUMN one text",
            "ALTER TABLE KINESIS_AGENT_PLACES ADD COLUMN two text",
        ];
        for n_known in 0..=steps.len() {
            let home = Home::new();
            home.open().close(&[], at(NOW_MS)).unwrap();
            let connection = home.sql();
            upgrade(&connection, &steps[..n_known]).unwrap();
            upgrade(&connection, &steps).unwrap();
            // Once more: there is nothing left to be done.
            upgrade(&connection, &steps).unwrap();
            connection
                .prepare("SELECT one, two FROM KINESIS_AGENT_PLACES")
                .unwrap();
            let version = reference::meta_integer(&connection, schema::META_VERSION);
            assert_eq!(version.unwrap(), Some(3), "{n_known}");
        }
    }

    #[test]
    fn folder_and_file_are_made_for_the_owner_and_a_group_to_look() {
        let mut home = Home::new();
        home.options.path = home.dir.path().join("a/b/checkpoints");
        home.open();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(home.path()) & !FILE_MODE, 0);
        assert_eq!(mode(home.path()) & 0o600, 0o600);
        assert_eq!(mode(home.path().parent().unwrap()) & !DIR_MODE, 0);
    }

    #[test]
    fn each_save_is_on_disk_before_the_next_begins() {
        // FULL.
        let home = Home::new();
        let store = home.open();
        let synchronous: i64 = store
            .reader
            .connection
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .unwrap();
        assert_eq!(synchronous, 2);
    }

    #[test]
    fn second_opener_is_told_who_has_it() {
        let home = Home::new();
        let store = home.open();
        let refused = refusal(&home);
        assert!(
            matches!(refused, OpenError::Locked { holder: Holder::Agent(Some(pid)), .. } if pid == std::process::id())
        );
        drop(store);
        home.open();
    }

    #[test]
    fn link_to_a_database_is_the_same_database() {
        let mut home = Home::new();
        let _store = home.open();
        let link = home.dir.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        home.options.path = link;
        assert!(matches!(refusal(&home), OpenError::Locked { .. }));
    }

    #[test]
    fn database_locked_by_another_program_is_busy() {
        let home = Home::of_reference(&[REFERENCE_ROW]);
        let other = home.sql();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(matches!(refusal(&home), OpenError::Busy { .. }));
        other.execute_batch("COMMIT").unwrap();
        home.open();
    }

    #[test]
    fn write_ahead_log_of_others_is_folded_in() {
        let home = Home::of_reference(&[REFERENCE_ROW]);
        home.sql()
            .execute_batch("PRAGMA journal_mode = WAL")
            .unwrap();
        let store = home.open();
        assert_eq!(
            store
                .places(&FlowId(REFERENCE_ROW.0.into()))
                .unwrap()
                .reference
                .len(),
            1
        );
        let mode: String = home
            .sql()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "delete");
    }

    #[test]
    fn newer_schema_is_refused_and_untouched() {
        let home = Home::new();
        home.open();
        home.sql()
            .execute(
                "UPDATE KINESIS_AGENT_META SET value = 2 WHERE key = 'schema_version'",
                [],
            )
            .unwrap();
        assert!(matches!(
            refusal(&home),
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ));
        assert!(matches!(
            Reader::open(&home.options),
            Err(OpenError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
    }

    #[test]
    fn database_of_another_application_is_refused_and_untouched() {
        for sql in [
            "CREATE TABLE FILE_CHECKPOINTS(flow text, path text)",
            "CREATE TABLE t(a); CREATE VIEW FILE_CHECKPOINTS AS SELECT * FROM t",
            "CREATE TABLE KINESIS_AGENT_META(key text primary key, value)",
        ] {
            let home = Home::new();
            home.sql().execute_batch(sql).unwrap();
            let before = fs::read(home.path()).unwrap();
            assert!(matches!(refusal(&home), OpenError::Foreign { .. }), "{sql}");
            assert_eq!(fs::read(home.path()).unwrap(), before, "{sql}");
        }
    }

    /// Opens what is damaged: it must lie aside byte for byte, and a new database in its place.
    fn assert_rebuilt(home: &Home, content: &[u8]) {
        fs::write(home.path(), content).unwrap();
        let Opened { mut store, rebuilt } = Store::open(&home.options, at(NOW_MS)).unwrap();
        let aside = rebuilt.unwrap();
        assert!(
            aside
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("checkpoints.corrupt-20261121T054136Z")
        );
        assert_eq!(fs::read(&aside).unwrap(), content);
        let flow = flow("app.log");
        assert_eq!(store.places(&flow).unwrap(), Default::default());
        store
            .save(&[upsert(&flow, place("app.log", 1, 2, 3))], at(NOW_MS))
            .unwrap();
        assert_eq!(store.places(&flow).unwrap().ours.len(), 1);
    }

    #[test]
    fn garbage_is_set_aside_each_time_under_a_name_of_its_own() {
        let home = Home::new();
        assert_rebuilt(&home, &[0xa5; 5000]);
        assert_rebuilt(&home, b"no database");
        assert_eq!(
            fs::read_dir(home.dir.path()).unwrap().count(),
            4,
            "database, lock and two damaged files"
        );
    }

    #[test]
    fn truncated_or_overwritten_database_is_set_aside() {
        let home = Home::new();
        let mut store = home.open();
        let changes: Vec<_> = (0..300)
            .map(|i| upsert(&flow("*"), place(&format!("app.{i}"), i, 1, 2)))
            .collect();
        store.save(&changes, at(NOW_MS)).unwrap();
        drop(store);
        let whole = fs::read(home.path()).unwrap();
        assert_rebuilt(&home, &whole[..whole.len() / 2 / 4096 * 4096]);
        assert_rebuilt(&home, &whole[..whole.len() - 100]);
        let mut overwritten = whole.clone();
        overwritten[4096..].fill(0xff);
        assert_rebuilt(&home, &overwritten);
    }

    /// A journal left behind would be played into the new database.
    #[test]
    fn files_beside_a_damaged_database_go_with_it() {
        let home = Home::new();
        fs::write(home.path(), [0xa5; 5000]).unwrap();
        for suffix in SQLITE_SUFFIXES {
            fs::write(sibling(home.path(), suffix), suffix).unwrap();
        }
        let aside = set_aside(home.path(), at(NOW_MS)).unwrap();
        for suffix in SQLITE_SUFFIXES {
            assert!(!sibling(home.path(), suffix).exists());
            assert_eq!(
                fs::read(sibling(&aside, suffix)).unwrap(),
                suffix.as_bytes()
            );
        }
    }

    /// A writer killed in the middle of a transaction leaves a changed database and the journal that takes it back.
    #[test]
    fn transaction_of_a_killed_writer_is_taken_back_in_place() {
        let home = Home::new();
        let flow = flow("app.log");
        let mut store = home.open();
        let changes: Vec<_> = (0..300)
            .map(|i| upsert(&flow, place(&format!("app.{i}"), i, 1, 2)))
            .collect();
        store.save(&changes, at(NOW_MS)).unwrap();
        let before = store.places(&flow).unwrap();
        drop(store);

        // The smallest cache makes SQLite write pages before the commit.
        let killed = home.sql();
        killed
            .execute_batch(
                "PRAGMA cache_size = 1; BEGIN; UPDATE KINESIS_AGENT_PLACES SET offset_bytes = 77",
            )
            .unwrap();
        let crashed = Home::new();
        fs::copy(home.path(), crashed.path()).unwrap();
        fs::copy(
            sibling(home.path(), "-journal"),
            sibling(crashed.path(), "-journal"),
        )
        .unwrap();
        let without_journal = Home::new();
        fs::copy(home.path(), without_journal.path()).unwrap();

        assert_eq!(crashed.open().places(&flow).unwrap(), before);
        let half_done = Store::open(&without_journal.options, at(NOW_MS)).map(|opened| {
            opened.rebuilt.is_some() || opened.store.places(&flow).unwrap() != before
        });
        assert!(
            half_done.unwrap(),
            "the copy was made before anything was written"
        );
    }

    #[test]
    fn places_are_there_after_reopening() {
        let home = Home::new();
        let flow = flow("app.log");
        home.open()
            .save(&[upsert(&flow, place("app.log", 7, 2, 3))], at(NOW_MS))
            .unwrap();
        let places = home.open().places(&flow).unwrap();
        assert_eq!(places.ours, [place("app.log", 7, 2, 3)]);
        assert_eq!(places.reference[0].identity, Some(id(7)));
        assert!(places.saved_before && !places.reference_is_newer);
    }

    #[test]
    fn reader_sees_a_references_database_and_leaves_it_alone() {
        let home = Home::of_reference(&[REFERENCE_ROW]);
        let before = fs::read(home.path()).unwrap();
        let reader = Reader::open(&home.options).unwrap();
        let flow = FlowId(REFERENCE_ROW.0.into());
        assert_eq!(reader.flows().unwrap(), std::slice::from_ref(&flow));
        let places = reader.places(&flow).unwrap();
        assert_eq!(
            (places.reference.len(), places.reference_is_newer),
            (1, true)
        );
        reader
            .connection
            .execute("DELETE FROM FILE_CHECKPOINTS", [])
            .unwrap_err();
        assert_eq!(fs::read(home.path()).unwrap(), before);
    }

    #[test]
    fn reader_sees_a_running_agents_database() {
        let home = Home::new();
        let mut store = home.open();
        let flow = flow("app.log");
        let reader = Reader::open(&home.options).unwrap();
        assert!(reader.flows().unwrap().is_empty());
        store
            .save(&[upsert(&flow, place("app.log", 7, 2, 3))], at(NOW_MS))
            .unwrap();
        assert_eq!(reader.places(&flow).unwrap(), store.places(&flow).unwrap());
        assert_eq!(reader.flows().unwrap(), [flow]);
    }

    #[test]
    fn folder_in_place_of_a_database_is_an_error() {
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        assert!(matches!(refusal(&home), OpenError::Database { .. }));
    }
}
