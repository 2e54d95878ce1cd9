//! Looking at a database: the reading half of the store, and anyone beside a running agent.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::error::{Error, OpenError, is_busy};
use super::open::{VersionError, check_version};
use super::place::{FileIdentity, Fingerprint, FlowPlaces, Place, PlaceState};
use super::reference::{self, Stand};
use super::schema;
use crate::config::{Checkpoints, FlowId};

/// A view of a database that changes nothing in it and needs no lock of ours.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    /// The database's real path.
    pub(super) path: PathBuf,
    /// Whether our tables are there; in a reference's database they aren't before a store has opened it.
    has_ours: bool,
    has_reference: bool,
}

impl Reader {
    /// Opens an existing database beside whoever is writing to it.
    ///
    /// A transaction that a killed process left half done is rolled back, which needs the right to write.
    pub fn open(options: &Checkpoints) -> Result<Reader, OpenError> {
        let path = std::fs::canonicalize(&options.path)
            .map_err(OpenError::io("find checkpoint database", &options.path))?;
        let refuse = |source| {
            let path = path.clone();
            if is_busy(&source) {
                OpenError::Busy {
                    path,
                    waited: options.open_timeout,
                }
            } else {
                OpenError::Database { path, source }
            }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(refuse)?;
        connection
            .busy_timeout(options.open_timeout)
            .map_err(refuse)?;
        connection
            .execute_batch(schema::QUERY_ONLY)
            .map_err(refuse)?;
        let has_ours = check_version(&connection, &path).map_err(|error| match error {
            VersionError::Refused(error) => error,
            VersionError::Database(error) => refuse(error),
        })?;
        let has_reference =
            reference::has_table(&connection, schema::REFERENCE_TABLE).map_err(refuse)?;
        Ok(Reader {
            connection,
            path,
            has_ours,
            has_reference,
        })
    }

    /// The store's own view, all tables made.
    pub(super) fn of_store(connection: Connection, path: PathBuf) -> Reader {
        Reader {
            connection,
            path,
            has_ours: true,
            has_reference: true,
        }
    }

    /// Every flow that has a row, in the order of their ids.
    pub fn flows(&self) -> Result<Vec<FlowId>, Error> {
        self.look("list the flows", |connection| {
            let mut flows = std::collections::BTreeSet::new();
            let sources = [
                (self.has_reference, schema::FLOWS_REFERENCE),
                (self.has_ours, schema::FLOWS_OURS),
            ];
            for (_, sql) in sources.into_iter().filter(|(has, _)| *has) {
                let mut statement = connection.prepare_cached(sql)?;
                for flow in statement.query_map([], |row| row.get_ref(0).map(text_of))? {
                    flows.insert(FlowId(flow?.into()));
                }
            }
            Ok(flows.into_iter().collect())
        })
    }

    /// All that is known of a flow; nothing known is an empty answer.
    pub fn places(&self, flow: &FlowId) -> Result<FlowPlaces, Error> {
        self.look("read the checkpoints of a flow", |connection| {
            let mut places = FlowPlaces::default();
            if self.has_reference {
                places.reference = reference::rows_of_flow(connection, &flow.0)?;
            }
            places.reference_is_newer = !places.reference.is_empty();
            if self.has_ours {
                let mut statement = connection.prepare_cached(schema::PLACES_OF_FLOW)?;
                places.ours = statement
                    .query_map([&flow.0], place_of)?
                    .collect::<rusqlite::Result<_>>()?;
                places.reference_is_newer =
                    reference::is_newer(connection, &flow.0, &places.reference)?;
                let followed = schema::meta_followed(&flow.0);
                places.saved_before = Stand::of_flow(connection, &flow.0)?.is_some()
                    || reference::meta_integer(connection, &followed)?.is_some();
            }
            Ok(places)
        })
    }

    /// Writes the whole database, our tables too, to the new file `to`.
    ///
    /// # Errors
    ///
    /// It can't be read, or `to` is there or can't be made.
    pub fn copy_to(&self, to: &Path) -> Result<(), Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Our own connection may write nothing, nowhere.
        Connection::open_with_flags(&self.path, flags)
            .and_then(|connection| {
                connection.execute(schema::COPY_INTO, [reference::path_text(to)])
            })
            .map(drop)
            .map_err(Error::database("copy the checkpoints", &self.path))
    }

    /// Runs `look` on one state of the database, whoever writes meanwhile.
    pub(super) fn look<T>(
        &self,
        doing: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.connection
            .unchecked_transaction()
            .and_then(|tx| look(&tx))
            .map_err(Error::database(doing, &self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has_reference(&self) -> bool {
        self.has_reference
    }
}

fn text_of(cell: rusqlite::types::ValueRef<'_>) -> String {
    cell.as_bytes()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default()
}

/// A flow's place of that identity.
pub fn place(
    connection: &Connection,
    flow: &str,
    identity: FileIdentity,
) -> rusqlite::Result<Option<Place>> {
    connection
        .prepare_cached(schema::PLACE_GET)?
        .query_row(
            params![
                flow,
                identity.device.cast_signed(),
                identity.inode.cast_signed()
            ],
            place_of,
        )
        .optional()
}

/// Of columns path, device, inode, fingerprint_len, fingerprint_hash, offset_bytes, size_bytes, modified_ms,
/// header_lines_left, state, extra.
fn place_of(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        path: reference::path_of(row.get_ref(0)?),
        identity: identity_of(row, 1)?,
        fingerprint: Fingerprint {
            len: row.get(3)?,
            hash: row.get(4)?,
        },
        offset: row.get::<_, i64>(5)?.cast_unsigned(),
        size: row.get::<_, i64>(6)?.cast_unsigned(),
        modified_ms: row.get(7)?,
        header_lines_left: row.get(8)?,
        state: state_of(row.get_ref(9)?.as_str()?),
        extra: row.get(10)?,
    })
}

/// Of columns device and inode, from `first` on.
pub fn identity_of(row: &Row<'_>, first: usize) -> rusqlite::Result<FileIdentity> {
    Ok(FileIdentity {
        device: row.get::<_, i64>(first)?.cast_unsigned(),
        inode: row.get::<_, i64>(first + 1)?.cast_unsigned(),
    })
}

/// A state as it is in our table; [`schema`] knows `live` too.
pub fn state_text(state: PlaceState) -> &'static str {
    match state {
        PlaceState::Live => "live",
        PlaceState::Finished => "finished",
        PlaceState::FooterReached => "footer",
    }
}

/// An unknown text means that the file is still followed: rather twice than never.
fn state_of(text: &str) -> PlaceState {
    match text {
        "finished" => PlaceState::Finished,
        "footer" => PlaceState::FooterReached,
        _ => PlaceState::Live,
    }
}
