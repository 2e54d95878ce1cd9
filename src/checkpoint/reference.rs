//! The reference's rows, their times and identities as text.
//!
//! Its database may have been written by any version and edited by hand: no cell upsets a reader here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use jiff::civil::DateTime;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::place::{FileIdentity, Place, ReferenceRow};
use super::schema;

/// `lastUpdated`: UTC, and as text in the order of time.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.3f";
/// The same for reading; a fraction may be missing or longer.
const TIME_FORMAT_LENIENT: &str = "%Y-%m-%d %H:%M:%S%.f";
/// 9999-12-31 23:59:59.999: the texts of later times don't sort.
pub const TIME_MS_MAX: i64 = 253_402_300_799_999;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A time in ms since 1970 as the reference writes it; kept within 1970 … 9999.
pub fn time_text(ms: i64) -> String {
    let since = SignedDuration::from_millis(ms.clamp(0, TIME_MS_MAX));
    EPOCH
        .saturating_add(since)
        .strftime(TIME_FORMAT)
        .to_string()
}

/// The time of a `lastUpdated` cell in ms since 1970; 0 if it is none.
pub fn time_of(cell: ValueRef<'_>) -> i64 {
    let ms = match cell {
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| DateTime::strptime(TIME_FORMAT_LENIENT, text.trim()).ok())
            .and_then(|time| i64::try_from(time.duration_since(EPOCH).as_millis()).ok())
            .unwrap_or(0),
        other => integer_of(other),
    };
    ms.clamp(0, TIME_MS_MAX)
}

fn integer_of(cell: ValueRef<'_>) -> i64 {
    match cell {
        ValueRef::Integer(number) => number,
        // `as` saturates, and makes 0 of what is no number.
        ValueRef::Real(number) => number as i64,
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
        ValueRef::Blob(_) | ValueRef::Null => 0,
    }
}

fn bytes_of(cell: ValueRef<'_>) -> u64 {
    u64::try_from(integer_of(cell)).unwrap_or(0)
}

/// A path cell, byte for byte.
pub fn path_of(cell: ValueRef<'_>) -> PathBuf {
    match cell {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => PathBuf::from(OsStr::from_bytes(bytes)),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Null => PathBuf::new(),
    }
}

/// An identity cell.
pub fn identity_of(cell: ValueRef<'_>) -> Option<FileIdentity> {
    cell.as_str().ok()?.parse().ok()
}

/// A path as it is in the reference's table; what isn't UTF-8 becomes U+FFFD.
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Of columns path, fileId, lastModifiedTime, size, offset, lastUpdated.
fn row(row: &Row<'_>) -> rusqlite::Result<ReferenceRow> {
    Ok(ReferenceRow {
        path: path_of(row.get_ref(0)?),
        identity: identity_of(row.get_ref(1)?),
        modified_ms: integer_of(row.get_ref(2)?),
        size: bytes_of(row.get_ref(3)?),
        offset: bytes_of(row.get_ref(4)?),
        last_updated_ms: time_of(row.get_ref(5)?),
    })
}

/// A flow's rows, the newest `lastUpdated` first; of equal ones the newest file.
pub fn rows_of_flow(connection: &Connection, flow: &str) -> rusqlite::Result<Vec<ReferenceRow>> {
    let mut statement = connection.prepare_cached(schema::REFERENCE_OF_FLOW)?;
    let mut rows = statement
        .query_map([flow], row)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.sort_by(|a, b| {
        (b.last_updated_ms, b.modified_ms, a.size, &a.path).cmp(&(
            a.last_updated_ms,
            a.modified_ms,
            b.size,
            &b.path,
        ))
    });
    Ok(rows)
}

/// Writes the reference's row of a place.
pub fn put(
    connection: &Connection,
    flow: &str,
    place: &Place,
    last_updated_ms: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(schema::REFERENCE_PUT)?
        .execute(params![
            flow,
            path_text(&place.path),
            place.identity.to_string(),
            place.modified_ms,
            signed(place.size),
            signed(place.offset),
            time_text(last_updated_ms),
        ])?;
    Ok(())
}

/// A length or offset in a file as the database holds it; none is beyond 2⁶³ − 1.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The row of a flow that we gave its newest `lastUpdated`: where the reference would resume.
#[derive(Debug, PartialEq, Eq)]
pub struct Stand {
    path: PathBuf,
    identity: Option<FileIdentity>,
    offset: u64,
    last_updated_ms: i64,
}

impl Stand {
    /// What we wrote last, if we ever did.
    pub fn of_flow(connection: &Connection, flow: &str) -> rusqlite::Result<Option<Stand>> {
        let mut statement = connection.prepare_cached(schema::STAND_GET)?;
        statement
            .query_row([flow], |row| {
                Ok(Stand {
                    path: path_of(row.get_ref(0)?),
                    identity: identity_of(row.get_ref(1)?),
                    offset: bytes_of(row.get_ref(2)?),
                    last_updated_ms: integer_of(row.get_ref(3)?),
                })
            })
            .optional()
    }

    /// Gives the newest `lastUpdated` of the flow to `place`, and remembers it.
    pub fn put(
        connection: &Connection,
        flow: &str,
        place: &Place,
        last_updated_ms: i64,
    ) -> rusqlite::Result<()> {
        put(connection, flow, place, last_updated_ms)?;
        connection
            .prepare_cached(schema::STAND_PUT)?
            .execute(params![
                flow,
                path_text(&place.path),
                place.identity.to_string(),
                signed(place.offset),
                last_updated_ms,
            ])?;
        Ok(())
    }

    /// Whether anyone but us has written `rows` since: a later time than our latest, or our row changed (so that a
    /// clock set back hides nothing). A row that is gone is no progress: the reference deletes old ones at its start.
    pub fn is_outdated_by(&self, rows: &[ReferenceRow]) -> bool {
        rows.iter().any(|row| {
            row.last_updated_ms > self.last_updated_ms
                || row.path == self.path
                    && (row.last_updated_ms, row.identity, row.offset)
                        != (self.last_updated_ms, self.identity, self.offset)
        })
    }
}

/// Whether the reference has written the flow since we last did; a flow that we never saved is its as soon as it has
/// a row.
pub fn is_newer(
    connection: &Connection,
    flow: &str,
    rows: &[ReferenceRow],
) -> rusqlite::Result<bool> {
    Ok(match Stand::of_flow(connection, flow)? {
        Some(stand) => stand.is_outdated_by(rows),
        None => !rows.is_empty(),
    })
}

/// When somebody last wrote what is known of a flow, in ms; `None`: nothing is.
pub fn newest_ms(connection: &Connection, flow: &str) -> rusqlite::Result<Option<i64>> {
    let of_ours = Stand::of_flow(connection, flow)?.map(|stand| stand.last_updated_ms);
    let followed = meta_integer(connection, &schema::meta_followed(flow))?;
    let of_rows = rows_of_flow(connection, flow)?;
    let of_rows = of_rows.first().map(|row| row.last_updated_ms);
    Ok(of_ours.max(followed).max(of_rows))
}

/// Whether the database has the table.
pub fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(connection
        .query_row(schema::HAS_TABLE, [name], |_| Ok(()))
        .optional()?
        .is_some())
}

/// A number among our notes about the database itself.
pub fn meta_integer(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(schema::META_GET, [key], |row| {
            Ok(integer_of(row.get_ref(0)?))
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_the_references_text() {
        for (ms, text) in [
            (1_795_239_696_150, "2026-11-21 05:41:36.150"),
            (0, "1970-01-01 00:00:00.000"),
            (-1, "1970-01-01 00:00:00.000"),
            (1_709_164_800_005, "2024-02-29 00:00:00.005"),
            (TIME_MS_MAX, "9999-12-31 23:59:59.999"),
            (i64::MAX, "9999-12-31 23:59:59.999"),
        ] {
            assert_eq!(time_text(ms), text);
            assert_eq!(
                time_of(ValueRef::Text(text.as_bytes())),
                ms.clamp(0, TIME_MS_MAX)
            );
        }
    }

    #[test]
    fn odd_cells_read_as_something_harmless() {
        for (cell, ms) in [
            (ValueRef::Null, 0),
            (ValueRef::Integer(1_795_239_696_150), 1_795_239_696_150),
            (ValueRef::Integer(-5), 0),
            (ValueRef::Integer(i64::MAX), TIME_MS_MAX),
            (ValueRef::Real(1.5), 1),
            (ValueRef::Real(f64::NAN), 0),
            (ValueRef::Blob(b"2026-11-21 05:41:36.150"), 0),
            (ValueRef::Text(b"yesterday"), 0),
            (ValueRef::Text(b"\xff"), 0),
            (ValueRef::Text(b"2026-11-21 05:41:36"), 1_795_239_696_000),
            (ValueRef::Text(b"2026-11-21 05:41:36.1"), 1_795_239_696_100),
            (ValueRef::Text(b"2026-02-30 00:00:00.000"), 0),
        ] {
            assert_eq!(time_of(cell), ms, "{cell:?}");
        }
        assert_eq!(bytes_of(ValueRef::Text(b" 12 ")), 12);
        assert_eq!(bytes_of(ValueRef::Integer(-12)), 0);
        assert_eq!(path_of(ValueRef::Null), PathBuf::new());
        assert_eq!(identity_of(ValueRef::Blob(b"(dev=1,ino=1)")), None);
    }

    proptest! {
        #[test]
        fn texts_sort_as_times_do(a in 0..=TIME_MS_MAX, b in 0..=TIME_MS_MAX) {
            prop_assert_eq!(a.cmp(&b), time_text(a).cmp(&time_text(b)));
            prop_assert_eq!(time_of(ValueRef::Text(time_text(a).as_bytes())), a);
        }
    }
}
