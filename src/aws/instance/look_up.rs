//! One look-up: the identity from the metadata service, the tags from there or from EC2.

use std::future::Future;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_smithy_types::error::display::DisplayErrorContext;
use jiff::Zoned;

use super::metadata::{Identity, Metadata, MetadataError};
use super::tags::{self, Ec2, TagsError};
use crate::aws::Clients;
use crate::process::Ec2Metadata;

/// Tags asked for in one call of DescribeTags, the most that it gives.
const PAGE_SIZE: usize = 1000;
/// Where services are when the metadata doesn't say: the commercial partition.
const DEFAULT_DOMAIN: &str = "amazonaws.com";

/// Who is asked about this instance; the tests have another.
pub trait LookUp: Send {
    /// Asks once.
    fn look_up(&mut self) -> impl Future<Output = Result<Seen, MetadataError>> + Send;
}

/// What a look-up saw.
#[derive(Debug, Clone)]
pub struct Seen {
    pub identity: Identity,
    pub tags: Tags,
    /// When it was asked.
    pub at: Zoned,
}

/// The tags of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// Keys as they are in EC2.
    Found(Vec<(String, String)>),
    Missing(TagsError),
}

impl Seen {
    /// For the log; the metadata's answer always has one.
    pub fn instance_id(&self) -> &str {
        self.identity.instance_id.as_deref().unwrap_or_default()
    }

    /// As records take it. Tags that are missing are those of before, if it was the same instance.
    pub fn into_metadata(self, before: Option<&Ec2Metadata>) -> Ec2Metadata {
        let Identity {
            private_ip,
            availability_zone,
            instance_id,
            instance_type,
            account_id,
            image_id: ami_id,
            region,
        } = self.identity;
        let tags = match self.tags {
            Tags::Found(tags) => tags,
            Tags::Missing(_) => before
                .filter(|before| before.instance_id == instance_id)
                .map(|before| before.tags.clone())
                .unwrap_or_default(),
        };
        Ec2Metadata {
            private_ip,
            availability_zone,
            instance_id,
            instance_type,
            account_id,
            ami_id,
            region,
            timestamp: self.at.strftime("%Y-%m-%dT%H:%M:%S%z").to_string(),
            tags,
        }
    }
}

/// What the environment says about who is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_EC2_METADATA_DISABLED`
    pub is_disabled: bool,
    /// Instead of what the environment (`AWS_EC2_METADATA_SERVICE_ENDPOINT`) and the profile say.
    pub metadata_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_EC2`, instead of the region's; without a trailing slash.
    pub ec2_endpoint: Option<String>,
}

impl Settings {
    /// Reads variables through `var`.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Settings {
        let is_true = |text: String| text.eq_ignore_ascii_case("true");
        Settings {
            is_disabled: var("AWS_EC2_METADATA_DISABLED").is_some_and(is_true),
            metadata_endpoint: None,
            ec2_endpoint: var("AWS_ENDPOINT_URL_EC2")
                .map(|url| url.trim_end_matches('/').to_owned())
                .filter(|url| !url.is_empty()),
        }
    }
}

/// The metadata service and EC2.
pub struct Sources {
    metadata: Metadata,
    clients: Arc<Clients>,
    ec2_endpoint: Option<String>,
    page_size: usize,
}

impl LookUp for Sources {
    async fn look_up(&mut self) -> Result<Seen, MetadataError> {
        let identity = self.metadata.identity().await?;
        let tags = self.tags(&identity).await;
        Ok(Seen {
            identity,
            tags: tags.map_or_else(Tags::Missing, Tags::Found),
            at: Zoned::now(),
        })
    }
}

impl Sources {
    /// Those that the environment names; `None` where it forbids to ask.
    ///
    /// # Errors
    ///
    /// An endpoint that is no URI.
    pub fn from_env(clients: Arc<Clients>) -> anyhow::Result<Option<Sources>> {
        let var = |name: &str| std::env::var(name).ok();
        Sources::new(Settings::read(var), clients, PAGE_SIZE)
    }

    /// As [`Sources::from_env`], by settings.
    pub fn new(
        settings: Settings,
        clients: Arc<Clients>,
        page_size: usize,
    ) -> anyhow::Result<Option<Sources>> {
        if settings.is_disabled {
            return Ok(None);
        }
        let endpoint = settings.metadata_endpoint.as_deref();
        Ok(Some(Sources {
            metadata: Metadata::new(&clients.provider, endpoint)?,
            clients,
            ec2_endpoint: settings.ec2_endpoint,
            page_size,
        }))
    }

    /// The instance's id alone.
    pub async fn instance_id(&self) -> Option<String> {
        self.metadata.identity().await.ok()?.instance_id
    }

    /// From the metadata, which asks for no permission, else from EC2.
    async fn tags(&self, identity: &Identity) -> Result<Vec<(String, String)>, TagsError> {
        if let Ok(Some(tags)) = self.metadata.tags().await {
            return Ok(tags);
        }
        let region = identity.region.as_deref().ok_or_else(|| {
            TagsError::Failed("the metadata doesn't say in which region this is".into())
        })?;
        let endpoint = match &self.ec2_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let domain = self.metadata.service_domain().await;
                let domain = domain.as_deref().unwrap_or(DEFAULT_DOMAIN);
                format!("https://ec2.{region}.{domain}")
            }
        };
        let ec2 = Ec2 {
            http: &self.clients.http,
            endpoint: &endpoint,
            region,
            credentials: &self.credentials().await?,
            page_size: self.page_size,
        };
        let instance_id = identity.instance_id.as_deref().unwrap_or_default();
        tags::describe(&ec2, instance_id).await
    }

    async fn credentials(&self) -> Result<Credentials, TagsError> {
        let provider = self.clients.credentials().await;
        provider.provide_credentials().await.map_err(|error| {
            TagsError::Failed(format!("no credentials: {}", DisplayErrorContext(&error)))
        })
    }
}
