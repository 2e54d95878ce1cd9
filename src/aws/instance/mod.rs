//! What this host knows of itself where it is an EC2 instance, kept fresh in the background for `ADDEC2METADATA`.
//!
//! - `metadata`: the instance metadata service
//! - `tags`: DescribeTags, for where the metadata doesn't show tags
//! - `look_up`: both, put together
//! - [`v1`]: metadata without session tokens

mod look_up;
mod metadata;
mod tags;
pub mod v1;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::process::Ec2Metadata;
use crate::telemetry;

use super::Clients;
use look_up::{LookUp, Seen, Sources, Tags};
use metadata::MetadataError;
use tags::TagsError;

/// The first wait after a failure; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How much a wait may be shortened, as a fraction, so that a fleet doesn't ask all at once.
const RETRY_JITTER: f64 = 0.3;
/// When tags that were refused are asked for again: a policy that was mended is seen soon enough, at six calls an hour.
const REFUSED_RETRY: Duration = Duration::from_secs(600);

/// A handle to what is known of this instance; clones share it.
#[derive(Debug, Clone)]
pub struct Instance {
    known: Arc<watch::Sender<Known>>,
}

#[derive(Debug, Clone)]
enum Known {
    /// Nobody has answered yet.
    NotYet,
    Metadata(Arc<Ec2Metadata>),
    /// Nobody will: the environment forbids to ask.
    Never,
}

impl Default for Instance {
    fn default() -> Instance {
        Instance::new()
    }
}

impl Instance {
    /// A handle that knows nothing until [`Instance::keep_fresh`] runs.
    pub fn new() -> Instance {
        Instance {
            known: Arc::new(watch::Sender::new(Known::NotYet)),
        }
    }

    /// What is known now; never waits. `None` until the first answer, and where there is none to be had.
    pub fn current(&self) -> Option<Arc<Ec2Metadata>> {
        self.known.borrow().metadata()
    }

    /// Waits for the first answer, for `at_most` so long: the first records would go without metadata otherwise.
    ///
    /// Failures are waited through, since a host that is starting up may have no network yet. Where metadata is turned
    /// off (`AWS_EC2_METADATA_DISABLED`) there is no wait.
    pub async fn first_answer(&self, at_most: Duration) -> Option<Arc<Ec2Metadata>> {
        let mut known = self.known.subscribe();
        let answered = known.wait_for(|known| !matches!(known, Known::NotYet));
        match tokio::time::timeout(at_most, answered).await {
            Ok(Ok(known)) => known.metadata(),
            // The time is over; the sender can't be gone, `self` holds it.
            Err(_) | Ok(Err(_)) => None,
        }
    }

    /// Asks at once and then every `ttl`, until the future is dropped.
    ///
    /// A failure is tried again after 1 s … 60 s while what is known stays in use. Where the tags alone can't be had the
    /// rest is used without them, or with those of before. Trouble is logged once, and once more when it is over.
    pub async fn keep_fresh(self, ttl: Duration, clients: Arc<Clients>) {
        match Sources::from_env(clients) {
            Ok(Some(sources)) => self.refresh(ttl, sources, fastrand::f64).await,
            Ok(None) => {
                telemetry::events::instance_metadata_disabled();
                self.known.send_replace(Known::Never);
            }
            Err(error) => {
                telemetry::events::instance_metadata_unavailable(&error);
                self.known.send_replace(Known::Never);
            }
        }
    }

    /// `chance` draws evenly from [0, 1).
    async fn refresh(self, ttl: Duration, mut sources: impl LookUp, chance: impl Fn() -> f64) {
        let mut n_failures: u32 = 0;
        let mut standing = Standing::default();
        loop {
            let looked_up = sources.look_up().await;
            n_failures = if is_passing(&looked_up) {
                n_failures.saturating_add(1)
            } else {
                0
            };
            let wait = wait(&looked_up, ttl, n_failures, chance());
            if mem::replace(&mut standing, Standing::of(&looked_up)) != standing {
                say(&looked_up);
            }
            if let Ok(seen) = looked_up {
                let metadata = seen.into_metadata(self.current().as_deref());
                self.known.send_replace(Known::Metadata(Arc::new(metadata)));
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Known {
    fn metadata(&self) -> Option<Arc<Ec2Metadata>> {
        match self {
            Known::Metadata(metadata) => Some(Arc::clone(metadata)),
            Known::NotYet | Known::Never => None,
        }
    }
}

/// The id of this instance, asked once; `None` where there is none to be had.
pub async fn instance_id(clients: Arc<Clients>) -> Option<String> {
    let sources = Sources::from_env(clients).ok()??;
    sources.instance_id().await
}

/// Whether something failed that may work the next time.
fn is_passing(looked_up: &Result<Seen, MetadataError>) -> bool {
    match looked_up {
        Ok(seen) => matches!(seen.tags, Tags::Missing(TagsError::Failed(_))),
        Err(_) => true,
    }
}

/// How long until the next look-up, after so many failures in a row.
fn wait(
    looked_up: &Result<Seen, MetadataError>,
    ttl: Duration,
    n_failures: u32,
    chance: f64,
) -> Duration {
    if n_failures > 0 {
        return retry_delay(n_failures, chance).min(ttl);
    }
    match looked_up {
        Ok(Seen {
            tags: Tags::Missing(_),
            ..
        }) => ttl.min(REFUSED_RETRY),
        _ => ttl,
    }
}

fn retry_delay(n_failures: u32, chance: f64) -> Duration {
    let doublings = n_failures.saturating_sub(1).min(16);
    let plain = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
    plain.mul_f64(1.0 - RETRY_JITTER * chance)
}

/// What the last look-up came to, so that only a change is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Unasked,
    Complete,
    WithoutTags,
    WithoutMetadata,
}

impl Standing {
    fn of(looked_up: &Result<Seen, MetadataError>) -> Standing {
        match looked_up {
            Ok(Seen {
                tags: Tags::Found(_),
                ..
            }) => Standing::Complete,
            Ok(_) => Standing::WithoutTags,
            Err(_) => Standing::WithoutMetadata,
        }
    }
}

fn say(looked_up: &Result<Seen, MetadataError>) {
    match looked_up {
        Err(error) => telemetry::events::instance_metadata_unavailable(error),
        Ok(seen) => match &seen.tags {
            Tags::Found(_) => telemetry::events::instance_metadata_available(seen.instance_id()),
            Tags::Missing(error) => telemetry::events::instance_tags_unavailable(error),
        },
    }
}

/// Percent-encoding for a path segment or a form's value: all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
