//! How an endpoint behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::ACCOUNT_ID;
use super::faults::Faults;
use super::keys::Keys;
use super::limits::KINESIS_RECORD_BYTES_MAX;
use super::received::Keep;
use super::tls::Tls;

/// How an endpoint behaves; the default accepts any stream from those who sign with [`Keys::test`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// Speak TLS with this certificate; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Whose signatures are accepted.
    pub credentials: Vec<Keys>,
    /// False: calls are neither authenticated nor hashed.
    pub check_signatures: bool,
    /// Which Kinesis and Firehose streams there are.
    pub streams: Streams,
    /// Which roles can be assumed.
    pub roles: Roles,
    /// The EC2 instance that the metadata service describes; `None`: there is no metadata service.
    pub instance: Option<Instance>,
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
            tls: None,
            credentials: vec![Keys::test()],
            check_signatures: true,
            streams: Streams::Any,
            roles: Roles::Any,
            instance: None,
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

    pub(super) fn create(&mut self, name: &str) {
        match self {
            Streams::Any => {}
            Streams::Only(names) => _ = names.insert(name.to_owned()),
        }
    }
}

/// Which roles can be assumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roles {
    /// Every ARN is a role, which asks for no external id.
    #[default]
    Any,
    /// These alone; others give `AccessDenied`.
    Only(Vec<Role>),
}

/// A role that can be assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    /// What a caller must name, if anything.
    pub external_id: Option<String>,
}

impl Roles {
    pub(super) fn admit(&self, arn: &str, external_id: Option<&str>) -> bool {
        match self {
            Roles::Any => true,
            Roles::Only(roles) => roles.iter().any(|role| {
                role.arn == arn
                    && role
                        .external_id
                        .as_deref()
                        .is_none_or(|wanted| Some(wanted) == external_id)
            }),
        }
    }
}

/// An EC2 instance; the default is a plausible one without tags and without a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub instance_type: String,
    pub image_id: String,
    pub private_ip: String,
    pub account_id: String,
    pub region: String,
    pub availability_zone: String,
    pub tags: BTreeMap<String, String>,
    /// Whether the metadata service shows the tags too.
    pub tags_in_metadata: bool,
    /// Whether the metadata service answers without a session token (IMDSv1).
    pub metadata_without_token: bool,
    /// The name of the role whose temporary keys the metadata service hands out.
    pub role_name: Option<String>,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: "i-0123456789abcdef0".into(),
            instance_type: "t3.micro".into(),
            image_id: "ami-0123456789abcdef0".into(),
            private_ip: "10.0.0.12".into(),
            account_id: ACCOUNT_ID.into(),
            region: "eu-central-1".into(),
            availability_zone: "eu-central-1a".into(),
            tags: BTreeMap::new(),
            tags_in_metadata: false,
            metadata_without_token: false,
            role_name: None,
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
