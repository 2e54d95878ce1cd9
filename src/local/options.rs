//! How an endpoint behaves.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::faults::Faults;
use super::keys::Keys;
use super::limits::KINESIS_RECORD_BYTES_MAX;
use super::received::Keep;

/// How an endpoint behaves; the default accepts any stream from those who sign with [`Keys::test`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// Whose signatures are accepted.
    pub credentials: Vec<Keys>,
    /// False: calls are neither authenticated nor hashed.
    pub check_signatures: bool,
    /// Which Kinesis and Firehose streams there are.
    pub streams: Streams,
    /// Shards of every Kinesis stream, 1 … [`super::limits::SHARDS_MAX`].
    pub shards: u32,
    /// Whether a shard refuses what is beyond 1 MiB and 1,000 records a second.
    pub enforce_shard_limits: bool,
    /// Longest Kinesis record, data and partition key together; at most
    /// [`super::limits::KINESIS_RECORD_BYTES_CEILING`].
    pub record_bytes_max: usize,
    pub keep: Keep,
    pub faults: Faults,
    /// What signatures' dates, temporary keys' ends and shards' seconds are measured by.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            credentials: vec![Keys::test()],
            check_signatures: true,
            streams: Streams::Any,
            shards: 1,
            enforce_shard_limits: false,
            record_bytes_max: KINESIS_RECORD_BYTES_MAX,
            keep: Keep::All,
            faults: Faults::default(),
            clock: Clock::default(),
        }
    }
}

/// Which streams there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Streams {
    /// Every name is a stream.
    #[default]
    Any,
    /// These alone; others give `ResourceNotFoundException`.
    Only(BTreeSet<String>),
}

impl Streams {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Streams::Any => true,
            Streams::Only(names) => names.contains(name),
        }
    }
}

/// A source of the current time; the default is the system's.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
