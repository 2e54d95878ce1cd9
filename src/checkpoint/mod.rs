//! Where each file stands, in SQLite.
//!
//! The database has two parts. `FILE_CHECKPOINTS` is exactly the reference's table, so that it can take over at any
//! time, even after a kill: each [`Store::save`] keeps its rows in step and leaves the newest `lastUpdated` with the
//! file at which the reference has to resume. Beside it, tables of our own say where every followed file stands, with
//! identity and fingerprint.
//!
//! In reading order: `place` (what is remembered of a file), `schema` (every statement), `open` (from a path to a
//! [`Store`]: recovery, a damaged file set aside, migration; its lock is in `lock`), `store` (the one writer), `reader`
//! (anyone else, and the store's reading half), `reference` (the reference's rows, their times and identities as text),
//! `take_over` (rows of a database left in the old default place), `export` (a database for the reference), `writer`
//! (the thread that saves, around the pure `pending`).
//!
//! # Durability
//!
//! The journal mode is `delete` with `synchronous=FULL`, while the agent runs too. Each save is one small transaction
//! at most twice a second on a thread of its own, so the write-ahead log's one `fsync` fewer buys nothing, whereas the
//! rollback journal lets the reference open the file at any moment without a `-wal` beside it. `EXTRA` would add a
//! sync of the folder after a commit; without it a power cut may take the last commit back as a whole, which sends
//! the records of half a second twice and loses none.

mod error;
mod export;
mod lock;
mod open;
pub mod pending;
mod place;
mod reader;
mod reference;
mod schema;
mod store;
mod take_over;
mod writer;

#[cfg(test)]
pub(crate) mod testing;

pub use error::{Error, Holder, OpenError};
pub use open::Opened;
pub use place::{
    Change, FileIdentity, Fingerprint, FlowPlaces, IdentityError, Place, PlaceState, ReferenceRow,
};
pub use reader::Reader;
pub use store::{HandBack, Store};
pub use take_over::TakeOver;
pub use writer::{CheckpointWriter, WriterHandle};
