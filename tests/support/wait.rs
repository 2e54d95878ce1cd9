//! Waiting for something that will be so: never for a time.

use std::time::{Duration, Instant};

/// How long anything may take. Long enough for a machine that is busy with other things; only a failure waits so long.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `find` has found something.
///
/// # Panics
///
/// Nothing was found within [`DEADLINE`].
pub async fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let started_at = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(
            started_at.elapsed() < DEADLINE,
            "waited {DEADLINE:?} for {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same where looking takes a while itself.
///
/// # Panics
///
/// Nothing was found within [`DEADLINE`].
pub async fn until_done<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let started_at = Instant::now();
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(
            started_at.elapsed() < DEADLINE,
            "waited {DEADLINE:?} for {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
