//! Who may call: access keys, permanent and temporary.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How long temporary keys are still recognised, and refused as expired, after their time.
const FORGET_EXPIRED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A pair of access keys. Its `Debug` never shows the secret or the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
    /// What temporary keys are sent with as `x-amz-security-token`; `None` for permanent ones.
    pub session_token: Option<String>,
    /// When temporary keys stop being accepted; `None`: never.
    pub expires_at: Option<SystemTime>,
}

impl Keys {
    /// The access key id that an endpoint accepts unless told otherwise.
    pub const TEST_ACCESS_KEY_ID: &str = "AKIDLOCALENDPOINT";
    /// Its secret. It opens nothing but endpoints on loopback.
    pub const TEST_SECRET_ACCESS_KEY: &str = "local-endpoint-secret-access-key";

    /// Permanent keys.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expires_at: None,
        }
    }

    /// The pair that an endpoint accepts unless told otherwise.
    pub fn test() -> Self {
        Self::new(Self::TEST_ACCESS_KEY_ID, Self::TEST_SECRET_ACCESS_KEY)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, …)", self.access_key_id)
    }
}

/// The keys that are accepted, by access key id.
#[derive(Debug)]
pub(super) struct KeyRing {
    by_id: Mutex<HashMap<String, Keys>>,
    n_issued: AtomicU64,
}

impl KeyRing {
    pub(super) fn new(keys: impl IntoIterator<Item = Keys>) -> Self {
        let by_id = keys
            .into_iter()
            .map(|keys| (keys.access_key_id.clone(), keys))
            .collect();
        Self {
            by_id: Mutex::new(by_id),
            n_issued: AtomicU64::new(0),
        }
    }

    /// Makes temporary keys and accepts them until their time has passed. Those of the past are forgotten.
    pub(super) fn issue(&self, now: SystemTime, expires_at: SystemTime) -> Keys {
        let number = self.n_issued.fetch_add(1, Ordering::Relaxed) + 1;
        let keys = Keys {
            session_token: Some(format!("local-session-token-{number}")),
            expires_at: Some(expires_at),
            ..Keys::new(
                format!("ASIALOCAL{number:011}"),
                format!("local-temporary-secret-{number}"),
            )
        };
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.retain(|_, keys| {
            keys.expires_at
                .is_none_or(|end| now < end + FORGET_EXPIRED_AFTER)
        });
        by_id.insert(keys.access_key_id.clone(), keys.clone());
        keys
    }

    pub(super) fn find(&self, access_key_id: &str) -> Option<Keys> {
        self.by_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(access_key_id)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn issued_keys_are_known_until_a_day_after_their_end() {
        let ring = KeyRing::new([Keys::test()]);
        let hours = |n: u64| UNIX_EPOCH + Duration::from_secs(n * 3600);
        let first = ring.issue(hours(0), hours(1));
        assert_eq!(ring.find(&first.access_key_id).as_ref(), Some(&first));
        let second = ring.issue(hours(24), hours(25));
        assert_ne!(first, second);
        assert!(ring.find(&first.access_key_id).is_some());
        ring.issue(hours(25), hours(26));
        assert!(ring.find(&first.access_key_id).is_none());
        assert!(ring.find(&second.access_key_id).is_some());
        assert!(ring.find(Keys::TEST_ACCESS_KEY_ID).is_some());
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = Keys {
            session_token: Some("tttt".into()),
            ..Keys::new("AKID", "ssss")
        };
        assert_eq!(format!("{keys:?}"), "Keys(AKID, …)");
    }
}
