//! SHA-256 of bodies (FIPS 180-4), which a signature needs: a quarter of all that a byte costs.
//!
//! A processor's instructions for it wait for each other's results. While one body's block is waited for another body's
//! can be worked on, so two bodies together take three quarters of what they do one after the other:
//!
//! ```text
//!  one, then the other   a1────a2────a3────b1────b2────b3────
//!  by turns              a1────a2────a3────
//!                          b1────b2────b3────
//! ```

use std::fmt::{self, Write as _};

use sha2::block_api::compress256;

/// The bytes that are hashed at once.
const BLOCK_BYTES: usize = 64;
type Block = [u8; BLOCK_BYTES];

/// Where every hash starts (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A SHA-256; shown as it stands in a header, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u32; 8]);

impl Digest {
    /// The digest of one body.
    pub fn of(body: &[u8]) -> Digest {
        let (blocks, _) = body.as_chunks();
        let mut state = START;
        compress256(&mut state, blocks);
        Digest::ended(state, body)
    }

    /// The digests of two.
    pub fn of_both(first: &[u8], second: &[u8]) -> [Digest; 2] {
        let (first_blocks, _) = first.as_chunks::<BLOCK_BYTES>();
        let (second_blocks, _) = second.as_chunks::<BLOCK_BYTES>();
        let (mut one, mut other) = (START, START);
        for (block, its_pair) in first_blocks.iter().zip(second_blocks) {
            compress256(&mut one, std::slice::from_ref(block));
            compress256(&mut other, std::slice::from_ref(its_pair));
        }
        let n_both = first_blocks.len().min(second_blocks.len());
        compress256(&mut one, &first_blocks[n_both..]);
        compress256(&mut other, &second_blocks[n_both..]);
        [Digest::ended(one, first), Digest::ended(other, second)]
    }

    /// With what is left behind the body's last whole block, and its padding (FIPS 180-4, 5.1.1).
    fn ended(mut state: [u32; 8], body: &[u8]) -> Digest {
        let (_, rest) = body.as_chunks::<BLOCK_BYTES>();
        let n_bits = (body.len() as u64) * 8;
        let mut padded = [0; 2 * BLOCK_BYTES];
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let length = size_of_val(&n_bits);
        let end = (rest.len() + 1 + length).next_multiple_of(BLOCK_BYTES);
        padded[end - length..end].copy_from_slice(&n_bits.to_be_bytes());
        let (blocks, _): (&[Block], _) = padded[..end].as_chunks();
        compress256(&mut state, blocks);
        Digest(state)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for word in self.0 {
            write!(text, "{word:08x}")?;
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn expected(body: &[u8]) -> String {
        let hash = Sha256::digest(body);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_body_has_the_digest_that_the_standard_says() {
        let abc = Digest::of(b"abc").to_string();
        assert_eq!(
            abc,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn bodies_of_every_length_up_to_some_blocks_have_their_digests() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            assert_eq!(
                Digest::of(&bytes[..len]).to_string(),
                expected(&bytes[..len])
            );
        }
    }

    proptest! {
        #[test]
        fn two_bodies_have_the_digests_that_each_has_alone(
            first in proptest::collection::vec(any::<u8>(), 0..400),
            second in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let [one, other] = Digest::of_both(&first, &second);
            prop_assert_eq!(one.to_string(), expected(&first));
            prop_assert_eq!(other.to_string(), expected(&second));
        }
    }
}
