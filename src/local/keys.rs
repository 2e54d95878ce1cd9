//! Who may call: access keys, permanent and temporary.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

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
}

impl KeyRing {
    pub(super) fn new(keys: impl IntoIterator<Item = Keys>) -> Self {
        let by_id = keys
            .into_iter()
            .map(|keys| (keys.access_key_id.clone(), keys))
            .collect();
        Self {
            by_id: Mutex::new(by_id),
        }
    }

    pub(super) fn find(&self, access_key_id: &str) -> Option<Keys> {
        self.by_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(access_key_id)
            .cloned()
    }
}
