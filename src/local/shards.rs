//! Which shard a record goes to, and how much a shard takes in a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

use super::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND, SHARDS_MAX};

/// The shards that every Kinesis stream of an endpoint has, dividing the hash keys evenly.
#[derive(Debug)]
pub(super) struct Shards {
    n_shards: u32,
    /// `None`: a shard takes anything.
    windows: Option<Mutex<HashMap<String, Vec<Window>>>>,
}

/// What a shard took in the current second.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    second: u64,
    n_records: usize,
    n_bytes: usize,
}

impl Shards {
    /// Out of range, the number is brought to the nearest legal one.
    pub(super) fn new(n_shards: u32, enforce_limits: bool) -> Self {
        let windows = enforce_limits.then(Mutex::default);
        Self {
            n_shards: n_shards.clamp(1, SHARDS_MAX),
            windows,
        }
    }

    /// Whether every record goes to shard 0 and is accepted there.
    pub(super) fn is_trivial(&self) -> bool {
        self.n_shards == 1 && self.windows.is_none()
    }

    /// The shard for a partition key, or for the explicit hash key that overrides it.
    pub(super) fn choose(&self, partition_key: &str, explicit_hash_key: Option<u128>) -> u32 {
        if self.n_shards == 1 {
            return 0;
        }
        let hash = explicit_hash_key
            .unwrap_or_else(|| u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into()));
        let width = u128::MAX / u128::from(self.n_shards) + 1;
        // Narrower than n_shards, as the quotient of two u128 of which the divisor is at least their ratio.
        (hash / width) as u32
    }

    /// Whether the shard takes that many bytes (data and partition key) at this time; if so, they are counted.
    ///
    /// A record larger than a second's allowance passes if it is the first of its second.
    pub(super) fn admit(&self, stream: &str, shard: u32, n_bytes: usize, now: SystemTime) -> bool {
        let Some(windows) = &self.windows else {
            return true;
        };
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
        if !windows.contains_key(stream) {
            windows.insert(
                stream.to_owned(),
                vec![Window::default(); self.n_shards as usize],
            );
        }
        let Some(window) = windows
            .get_mut(stream)
            .and_then(|of_stream| of_stream.get_mut(shard as usize))
        else {
            return true;
        };
        if window.second != second {
            *window = Window {
                second,
                ..Window::default()
            };
        }
        let is_admitted = window.n_records < SHARD_RECORDS_PER_SECOND
            && (window.n_records == 0 || window.n_bytes + n_bytes <= SHARD_BYTES_PER_SECOND);
        if is_admitted {
            window.n_records += 1;
            window.n_bytes += n_bytes;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_md5_of_the_partition_key_chooses_among_equal_ranges() {
        // md5("a") is 0cc175…, md5("b") 92eb5f…, md5("e") e16717…, md5("i") 865c0c….
        let shards = Shards::new(4, false);
        for (key, expected) in [("a", 0), ("b", 2), ("e", 3), ("i", 2)] {
            assert_eq!(shards.choose(key, None), expected, "{key}");
        }
        assert_eq!(Shards::new(1, false).choose("e", None), 0);
    }

    #[test]
    fn an_explicit_hash_key_overrides_the_partition_key() {
        for n_shards in [2, 3, 7, 1000] {
            let shards = Shards::new(n_shards, false);
            assert_eq!(shards.choose("e", Some(0)), 0);
            assert_eq!(
                shards.choose("a", Some(u128::MAX)),
                n_shards - 1,
                "{n_shards}"
            );
        }
        assert_eq!(Shards::new(2, false).choose("", Some(u128::MAX / 2)), 0);
        assert_eq!(Shards::new(2, false).choose("", Some(u128::MAX / 2 + 1)), 1);
    }

    #[test]
    fn a_shard_takes_a_thousand_records_a_second() {
        let shards = Shards::new(2, true);
        let now = UNIX_EPOCH + Duration::from_millis(5_000);
        let n_admitted = (0..1001).filter(|_| shards.admit("s", 0, 10, now)).count();
        assert_eq!(n_admitted, 1000);
        assert!(shards.admit("s", 1, 10, now), "another shard");
        assert!(shards.admit("t", 0, 10, now), "another stream");
        assert!(!shards.admit("s", 0, 10, now + Duration::from_millis(999)));
        assert!(shards.admit("s", 0, 10, now + Duration::from_millis(1000)));
    }

    #[test]
    fn a_shard_takes_a_mebibyte_a_second() {
        let shards = Shards::new(1, true);
        let now = UNIX_EPOCH + Duration::from_secs(5);
        assert!(shards.admit("s", 0, SHARD_BYTES_PER_SECOND - 1, now));
        assert!(!shards.admit("s", 0, 2, now));
        assert!(shards.admit("s", 0, 1, now));
        let later = now + Duration::from_secs(1);
        assert!(
            shards.admit("s", 0, 3 * SHARD_BYTES_PER_SECOND, later),
            "alone in its second"
        );
        assert!(!shards.admit("s", 0, 1, later));
    }

    #[test]
    fn without_limits_a_shard_takes_anything() {
        let shards = Shards::new(1, false);
        assert!((0..5000).all(|_| shards.admit("s", 0, SHARD_BYTES_PER_SECOND, UNIX_EPOCH)));
    }
}
