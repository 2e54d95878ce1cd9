//! What stood just before an offset: tells a file that was emptied and written anew to a greater size, or took another's
//! inode number, even where both begin alike.

use std::io;

use super::cursor::{fill, short_hash};
use super::disk::Disk;
use super::hash::RunningHash;
use super::planted;

/// How many bytes before an offset a mark covers at most.
pub const MARK_BYTES: u64 = 256;
/// The form of [`Extra`] that is written here.
const EXTRA_VERSION: u8 = 2;
/// The one before, which knew no running hash.
const EXTRA_VERSION_UNHASHED: u8 = 1;
/// An end, a length and a hash.
const MARK_LEN: usize = 8 + 2 + 16;
const FLAG_ROTATED: u8 = 1;
const FLAG_GIVEN_UP: u8 = 2;

/// The hash of up to [`MARK_BYTES`] bytes before an offset, and of all that was read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub end: u64,
    pub len: u16,
    hash: [u8; 16],
    /// Ends where the mark does; `None` where another version of the agent kept none.
    pub running: Option<RunningHash>,
}

impl Mark {
    /// The mark of `bytes`, which end at the offset `end`; of too many the last count. Without a running hash.
    pub fn of(end: u64, bytes: &[u8]) -> Mark {
        let bytes = &bytes[bytes.len().saturating_sub(MARK_BYTES as usize)..];
        Mark {
            end,
            len: bytes.len() as u16,
            hash: short_hash(bytes),
            running: None,
        }
    }

    /// The same with the hash of all that was read up to it.
    pub fn with(self, running: RunningHash) -> Mark {
        Mark {
            running: Some(running),
            ..self
        }
    }

    /// Where the bytes begin.
    pub fn start(&self) -> u64 {
        self.end - u64::from(self.len)
    }

    /// Whether these are the bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        if planted::truncations_are_unseen() {
            return true;
        }
        let other = Mark::of(self.end, bytes);
        (self.len, self.hash) == (other.len, other.hash)
    }

    /// Whether the bytes stand there in the file.
    pub fn is_in<D: Disk>(&self, disk: &mut D, file: &D::File) -> io::Result<bool> {
        let mut bytes = vec![0; usize::from(self.len)];
        Ok(fill(disk, file, self.start(), &mut bytes)? && self.is_of(&bytes))
    }
}

/// What a place keeps of a file beyond what every place says, in [`crate::checkpoint::Place::extra`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    /// At or before the place's offset.
    pub mark: Option<Mark>,
    /// Its name is another's or nobody's.
    pub is_rotated: bool,
    /// It is gone, was looked for in vain, and what was lost of it was told.
    pub is_given_up: bool,
}

impl Extra {
    pub fn to_bytes(self) -> Vec<u8> {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.is_rotated, FLAG_ROTATED) | flag(self.is_given_up, FLAG_GIVEN_UP);
        let mut bytes = vec![EXTRA_VERSION, flags];
        if let Some(mark) = self.mark {
            bytes.extend_from_slice(&mark.end.to_le_bytes());
            bytes.extend_from_slice(&mark.len.to_le_bytes());
            bytes.extend_from_slice(&mark.hash);
            if let Some(running) = mark.running {
                bytes.extend_from_slice(&running.to_bytes());
            }
        }
        bytes
    }

    /// What an unknown version wrote is as if nothing were known.
    pub fn from_bytes(bytes: &[u8]) -> Extra {
        let Some((&[version, flags], rest)) = bytes.split_first_chunk::<2>() else {
            return Extra::default();
        };
        let mark = match version {
            EXTRA_VERSION => rest
                .split_at_checked(MARK_LEN)
                .and_then(|(mark, running)| Some((mark_of(mark)?, running)))
                .map(|(mark, running)| Mark {
                    running: RunningHash::from_bytes(running)
                        .filter(|running| running.end == mark.end),
                    ..mark
                }),
            EXTRA_VERSION_UNHASHED => mark_of(rest),
            _ => return Extra::default(),
        };
        Extra {
            mark,
            is_rotated: flags & FLAG_ROTATED != 0,
            is_given_up: flags & FLAG_GIVEN_UP != 0,
        }
    }
}

fn mark_of(bytes: &[u8]) -> Option<Mark> {
    let (end, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let mark = Mark {
        end: u64::from_le_bytes(*end),
        len: u16::from_le_bytes(*len),
        hash: rest.try_into().ok()?,
        running: None,
    };
    (u64::from(mark.len) <= mark.end.min(MARK_BYTES)).then_some(mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_place_keeps_comes_back(end in 300..u64::MAX, text: Vec<u8>, has_mark: bool, is_rotated: bool, is_given_up: bool) {
            let mut running = RunningHash::starting_at(end - 100);
            running.update(&[b'x'; 100]);
            let mark = has_mark.then(|| Mark::of(end, &text).with(running));
            let extra = Extra { mark, is_rotated, is_given_up };
            prop_assert_eq!(Extra::from_bytes(&extra.to_bytes()), extra);
        }

        #[test]
        fn what_the_version_without_a_running_hash_kept_comes_back(end in 300..u64::MAX, text: Vec<u8>) {
            let mark = Mark::of(end, &text);
            let extra = Extra { mark: Some(mark), is_rotated: true, is_given_up: false };
            let mut bytes = extra.to_bytes();
            bytes[0] = EXTRA_VERSION_UNHASHED;
            prop_assert_eq!(Extra::from_bytes(&bytes), extra);
        }

        #[test]
        fn no_bytes_upset_it(bytes: Vec<u8>) {
            let extra = Extra::from_bytes(&bytes);
            prop_assert!(extra.mark.is_none_or(|mark| mark.start() <= mark.end));
        }
    }
}
