//! The few types that cross borders: a [`Span`] of a followed file, a [`Batch`] of records in wire form, and the
//! [`Outcome`] that the service gave each of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::digest::Digest;

/// A followed file within its flow. Never used again within a run: a file that starts anew gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CursorId(pub u64);

/// The number of a flow, in the order in which they were started: first those of [`crate::config::Config::flows`], then those
/// that a configuration that was read anew has beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowIndex(pub usize);

/// A run of bytes of one followed file, from `start` up to and without `end`, in file offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub cursor: CursorId,
    pub start: u64,
    pub end: u64,
}

/// Records of one lane are accepted in the order in which they were read: a partition key's (as a hash; two that share
/// one share their order) or a file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

/// Where a record was read: its first byte in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub cursor: CursorId,
    pub offset: u64,
}

/// Where one record lies in its batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef {
    /// First byte of the record's whole entry (its CBOR map).
    pub entry_start: u32,
    /// First byte of the data.
    pub data_start: u32,
    /// One past the data's last byte.
    pub data_end: u32,
    /// One past the partition key's last byte, which is the entry's last too; the key starts at
    /// `entry_end - key_len`.
    pub entry_end: u32,
    pub key_len: u16,
}

impl RecordRef {
    pub fn data_len(&self) -> usize {
        (self.data_end - self.data_start) as usize
    }
}

/// One call's worth of records, built in wire form while they were processed.
///
/// A batch may hold no record at all and still cover spans: bytes that were read and gave nothing to send (headers,
/// filtered records). It then counts as accepted.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The records' entries, one after the other, as `publish::wire` lays them out.
    pub body: Bytes,
    /// The body's, if it is known.
    pub digest: Option<Digest>,
    pub records: Vec<RecordRef>,
    /// The lane of each record; empty where no order is kept.
    pub lanes: Vec<Lane>,
    /// Where each record was read.
    pub origins: Vec<Origin>,
    /// The files of the origins, under the names that they had when the batch got its first record of each.
    pub files: Vec<(CursorId, Arc<Path>)>,
    /// What is acknowledged once every record has its final outcome: one span a cursor.
    pub spans: Vec<Span>,
    /// When its first record was read.
    pub opened_at: Instant,
    /// Bytes of the byte budget that it holds until it is dropped.
    pub budget_bytes: usize,
}

impl Batch {
    /// The file and offset at which the record at `place` was read, as far as they are known.
    pub fn origin_of(&self, place: u16) -> (Option<&Path>, u64) {
        let Some(origin) = self.origins.get(usize::from(place)) else {
            return (None, 0);
        };
        let file = self
            .files
            .iter()
            .find(|(cursor, _)| *cursor == origin.cursor);
        (file.map(|(_, path)| &**path), origin.offset)
    }
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// Not accepted now; the same record may be later.
    TryAgain {
        throttled: bool,
    },
}
