//! What is remembered of a file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::FlowId;

/// Which file it is, whatever its name.
///
/// Its text is the reference's, `(dev=HEX,ino=DEC)`: `st_dev` in lower-case hex and the inode in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(dev={:x},ino={})", self.device, self.inode)
    }
}

/// A text that is no [`FileIdentity`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file identity: {0:?}; it reads (dev=HEX,ino=DEC)")]
pub struct IdentityError(String);

impl FromStr for FileIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<FileIdentity, IdentityError> {
        let parse = || {
            let (device, inode) = text
                .strip_prefix("(dev=")?
                .strip_suffix(')')?
                .split_once(",ino=")?;
            // Rust's parsers take a sign, the format has none.
            if device.starts_with('+') || inode.starts_with('+') {
                return None;
            }
            Some(FileIdentity {
                device: u64::from_str_radix(device, 16).ok()?,
                inode: inode.parse().ok()?,
            })
        };
        parse().ok_or_else(|| IdentityError(text.to_owned()))
    }
}

/// How a file begins: the hash of its first `len` bytes.
///
/// Inode numbers are used again; a file with the same identity and another beginning is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint {
    /// Bytes hashed; 0 means that the beginning isn't known.
    pub len: u32,
    /// The hash of those bytes; of no meaning where `len` is 0.
    pub hash: [u8; 16],
}

/// What becomes of a file's next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaceState {
    /// It is followed.
    Live,
    /// It was rotated away and is wholly acknowledged.
    Finished,
    /// A record matched `fileFooterPattern`: the rest isn't read.
    FooterReached,
}

/// Where one followed file of one flow stands.
///
/// There is one place a flow and [`FileIdentity`]: where a file is truncated its place starts anew, and what its old
/// content still owes, which can only be read from a copy with an identity of its own, is kept in `extra`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name it had last; it needn't be UTF-8.
    pub path: PathBuf,
    pub identity: FileIdentity,
    pub fingerprint: Fingerprint,
    /// First byte not yet acknowledged; like `size` at most 2⁶³ − 1, as the system's own offsets are.
    pub offset: u64,
    /// Bytes at the last look.
    pub size: u64,
    /// Modification time at the last look, in ms since 1970.
    pub modified_ms: i64,
    /// Lines of `skipHeaderLines` still to be left out when reading resumes at `offset`.
    pub header_lines_left: u32,
    pub state: PlaceState,
    /// Room for more, such as a running hash; kept as it is.
    pub extra: Option<Vec<u8>>,
}

/// A row of the reference's table.
///
/// A cell that isn't of the kind it should be reads as 0, so that such a row sends twice rather than loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRow {
    pub path: PathBuf,
    /// `None` where the text was no identity.
    pub identity: Option<FileIdentity>,
    /// `lastModifiedTime`, in ms since 1970.
    pub modified_ms: i64,
    pub size: u64,
    /// First byte not yet delivered.
    pub offset: u64,
    /// `lastUpdated`, in ms since 1970.
    pub last_updated_ms: i64,
}

/// All that the database says about one flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowPlaces {
    /// Every file we follow or followed, by identity.
    pub ours: Vec<Place>,
    /// The reference's rows, ours among them, the newest `lastUpdated` first: the first is where the reference would
    /// resume.
    pub reference: Vec<ReferenceRow>,
    /// The reference ran since we last saved this flow, or we never did and it has: `reference` says where the flow
    /// stands, and `ours` is out of date.
    pub reference_is_newer: bool,
    /// We have saved this flow before, even if nothing is left of it: files found now came later and start at their
    /// beginning.
    pub saved_before: bool,
    /// Of those in `ours` that are kept under another flow: which. They are to be saved under this one, and removed there.
    pub kept_by: HashMap<FileIdentity, FlowId>,
    /// The flow is new, and what is known of it was kept while it had these patterns, absolute globs: a file that they
    /// don't match is there for the first time. Empty: the patterns are as they were.
    pub former_patterns: Vec<String>,
}

/// One step of a flow's progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The place is now this; it replaces the flow's place of the same identity.
    Upsert { flow: FlowId, place: Place },
    /// The file is gone and owes nothing. A file that isn't known is no error.
    Remove {
        flow: FlowId,
        identity: FileIdentity,
    },
}

impl Change {
    /// The flow it belongs to.
    pub fn flow(&self) -> &FlowId {
        match self {
            Change::Upsert { flow, .. } | Change::Remove { flow, .. } => flow,
        }
    }

    /// The file it is about.
    pub fn identity(&self) -> FileIdentity {
        match self {
            Change::Upsert { place, .. } => place.identity,
            Change::Remove { identity, .. } => *identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identity_reads_as_the_reference_writes_it() {
        let identity = FileIdentity {
            device: 0xfe00,
            inode: 10_166_337,
        };
        assert_eq!(identity.to_string(), "(dev=fe00,ino=10166337)");
        assert_eq!("(dev=fe00,ino=10166337)".parse(), Ok(identity));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "(dev=,ino=1)",
            "(dev=fe00,ino=)",
            "(dev=fe00)",
            "dev=fe00,ino=1",
            "(dev=fe00,ino=1",
            "(dev=+1,ino=1)",
            "(dev=1,ino=+1)",
            "(dev=1,ino=-1)",
            "(dev=xyz,ino=1)",
            "(dev=1,ino=0x1)",
            "(dev=10000000000000000,ino=1)",
            "(dev=1,ino=18446744073709551616)",
        ] {
            assert!(text.parse::<FileIdentity>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn identity_survives_its_text(device: u64, inode: u64) {
            let identity = FileIdentity { device, inode };
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
        }

        #[test]
        fn no_text_upsets_the_parser(text: String) {
            let _ = text.parse::<FileIdentity>();
        }
    }
}
