//! Records that the service refuses for good, kept until somebody decides about them.
//!
//! ```text
//!  publisher ─ refused ─▶ writer (a thread) ─ letter ─▶ file, fsynced ─ kept ─▶ publisher ─▶ watermark
//!                                                          └─ list, show, replay ─▶ the flow's stream, or another
//! ```
//!
//! In reading order: [`letter`] (what is kept of a record, a line of JSON), [`mod@file`] (the file: bounded, locked while it
//! is written to or taken from), [`writer`] (the thread that keeps), [`replay`] (letters to batches and back).

pub mod file;
pub mod letter;
pub mod replay;
pub mod writer;

pub use file::{DeadLetterFile, FileError};
pub use letter::Letter;
pub use writer::DeadLetterWriter;
