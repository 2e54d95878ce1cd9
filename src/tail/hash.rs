//! The running hash of what was read of a file: tells a copy of it from another file that begins alike.

use crc_fast::{CrcAlgorithm, Digest};

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// The hash of a file's bytes from `start` up to `end`, which goes on with each byte, after a restart too.
///
/// A CRC-64, at several GB/s a small part of what a read costs. It isn't made against somebody who wants two files to
/// look alike; who can write to the log files can send what he likes anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningHash {
    /// Where reading began; what stands before wasn't hashed.
    pub start: u64,
    /// First byte that isn't hashed.
    pub end: u64,
    state: u64,
}

impl RunningHash {
    /// The hash of no bytes, which go on at `offset`.
    pub fn starting_at(offset: u64) -> RunningHash {
        RunningHash {
            start: offset,
            end: offset,
            state: Digest::new(ALGORITHM).get_state(),
        }
    }

    /// `bytes` follow.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(ALGORITHM, self.state);
        digest.update(bytes);
        self.state = digest.get_state();
        self.end += bytes.len() as u64;
    }

    /// As it is kept in a checkpoint: start, end and state, in little-endian bytes.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (place, number) in [self.start, self.end, self.state].into_iter().enumerate() {
            bytes[8 * place..8 * place + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// What [`RunningHash::to_bytes`] wrote; `None` if it can't have.
    pub fn from_bytes(bytes: &[u8]) -> Option<RunningHash> {
        let (start, rest) = bytes.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let hash = RunningHash {
            start: u64::from_le_bytes(*start),
            end: u64::from_le_bytes(*end),
            state: u64::from_le_bytes(rest.try_into().ok()?),
        };
        (hash.start <= hash.end).then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it came in pieces, and whatever restarts lay between them.
        #[test]
        fn it_goes_on_where_it_was_left(text: Vec<u8>, cut: prop::sample::Index, start in 0..u64::MAX / 2) {
            let mut whole = RunningHash::starting_at(start);
            whole.update(&text);
            let (head, rest) = text.split_at(cut.index(text.len() + 1));
            let mut pieces = RunningHash::starting_at(start);
            pieces.update(head);
            let mut resumed = RunningHash::from_bytes(&pieces.to_bytes()).unwrap();
            resumed.update(rest);
            prop_assert_eq!(resumed, whole);
        }

        #[test]
        fn one_other_bit_is_another_hash(mut text: Vec<u8>, bit: prop::sample::Index) {
            prop_assume!(!text.is_empty());
            let hash_of = |text: &[u8]| {
                let mut hash = RunningHash::starting_at(0);
                hash.update(text);
                hash
            };
            let before = hash_of(&text);
            let bit = bit.index(text.len() * 8);
            text[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(hash_of(&text), before);
        }
    }
}
