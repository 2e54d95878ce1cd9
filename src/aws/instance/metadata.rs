//! The instance metadata service: who this instance is, and its tags where they are shown there.

use std::time::Duration;

use aws_config::imds::client::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_types::error::display::DisplayErrorContext;
use serde::Deserialize;

use super::encode;

/// How long one question may take. The connection and the answer's head have a second each, by the SDK's defaults.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest single value; an instance's name for things is far shorter.
const VALUE_BYTES_MAX: usize = 256;
/// Tags that are asked for one by one. EC2 allows 50, and some of AWS's own beside them.
const TAGS_MAX: usize = 200;

const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
const ACCOUNT: &str = "/latest/meta-data/identity-credentials/ec2/info";
const DOMAIN: &str = "/latest/meta-data/services/domain";
const TAGS: &str = "/latest/meta-data/tags/instance";

/// Why the metadata service gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("{path}: status {status}")]
    Status { path: String, status: u16 },
    #[error("{path}: {reason}")]
    NoAnswer { path: String, reason: String },
    /// It answers, but knows no instance.
    #[error("the service at the metadata address knows no instance-id")]
    NoInstance,
}

/// What an instance knows about itself. The names are those of the identity document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    pub private_ip: Option<String>,
    pub availability_zone: Option<String>,
    pub instance_id: Option<String>,
    pub instance_type: Option<String>,
    pub account_id: Option<String>,
    pub image_id: Option<String>,
    pub region: Option<String>,
}

/// The service, with its session token.
#[derive(Debug, Clone)]
pub struct Metadata {
    client: Client,
}

impl Metadata {
    /// The service at `endpoint`, or where the environment and the profile say; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// `endpoint` is no URI.
    pub fn new(provider: &ProviderConfig, endpoint: Option<&str>) -> anyhow::Result<Metadata> {
        let mut builder = Client::builder()
            .configure(provider)
            // Whoever asks tries again by a back-off of its own.
            .max_attempts(1)
            .operation_timeout(QUESTION_TIMEOUT)
            .operation_attempt_timeout(QUESTION_TIMEOUT);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint(endpoint).map_err(|error| {
                anyhow::anyhow!("the address of the instance metadata, {endpoint}: {error}")
            })?;
        }
        Ok(Metadata {
            client: builder.build(),
        })
    }

    /// From the identity document; what isn't in it, from single paths. An id is always there, the rest may not be.
    ///
    /// # Errors
    ///
    /// The service doesn't answer, is out of order (5xx), or knows no id.
    pub async fn identity(&self) -> Result<Identity, MetadataError> {
        let document = match self.get(DOCUMENT).await {
            Ok(text) => text,
            Err(MetadataError::Status { status, .. }) if status < 500 => None,
            Err(error) => return Err(error),
        };
        // What isn't the document counts as no document.
        let mut identity: Identity = document
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        for (value, path) in [
            (&mut identity.instance_id, "instance-id"),
            (&mut identity.private_ip, "local-ipv4"),
            (
                &mut identity.availability_zone,
                "placement/availability-zone",
            ),
            (&mut identity.instance_type, "instance-type"),
            (&mut identity.image_id, "ami-id"),
            (&mut identity.region, "placement/region"),
        ] {
            if value.take_if(|text| !is_word(text)).is_some() || value.is_none() {
                let path = format!("/latest/meta-data/{path}");
                *value = self.get_or_none(&path).await?.filter(|text| is_word(text));
            }
        }
        if identity.account_id.is_none() {
            identity.account_id = self.account_id().await?;
        }
        match identity.instance_id {
            Some(_) => Ok(identity),
            None => Err(MetadataError::NoInstance),
        }
    }

    async fn account_id(&self) -> Result<Option<String>, MetadataError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            account_id: String,
        }
        let info = self.get_or_none(ACCOUNT).await?;
        Ok(info
            .and_then(|text| serde_json::from_str(&text).ok())
            .map(|Info { account_id }| account_id))
    }

    /// The tags, as they are in EC2; `None` where the metadata doesn't show them (by default it doesn't), or the
    /// instance has none.
    ///
    /// # Errors
    ///
    /// The service doesn't answer.
    pub async fn tags(&self) -> Result<Option<Vec<(String, String)>>, MetadataError> {
        let Some(keys) = self.get_or_none(TAGS).await? else {
            return Ok(None);
        };
        let mut tags = Vec::new();
        for key in keys.lines().filter(|key| !key.is_empty()).take(TAGS_MAX) {
            // A tag that is gone by now is left out.
            if let Some(value) = self.get_or_none(&format!("{TAGS}/{}", encode(key))).await? {
                tags.push((key.to_owned(), value));
            }
        }
        Ok((!tags.is_empty()).then_some(tags))
    }

    /// The domain of AWS's services in this instance's partition, `amazonaws.com` in most.
    pub async fn service_domain(&self) -> Option<String> {
        let domain = self.get(DOMAIN).await.ok()??;
        let is_name = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        Some(domain).filter(|domain| is_word(domain) && is_name(domain))
    }

    /// The text at `path`; `None` where there is nothing (404).
    async fn get(&self, path: &str) -> Result<Option<String>, MetadataError> {
        match self.client.get(path).await {
            Ok(text) => Ok(Some(text.into())),
            Err(ImdsError::ErrorResponse(error)) => match error.response().status().as_u16() {
                404 => Ok(None),
                status => Err(MetadataError::Status {
                    path: path.to_owned(),
                    status,
                }),
            },
            Err(error) => Err(MetadataError::NoAnswer {
                path: path.to_owned(),
                reason: DisplayErrorContext(&error).to_string(),
            }),
        }
    }

    /// As [`Metadata::get`], but whatever the status says, it is that there is nothing: services that mimic the
    /// metadata have their own for paths that they don't know.
    async fn get_or_none(&self, path: &str) -> Result<Option<String>, MetadataError> {
        match self.get(path).await {
            Err(MetadataError::Status { .. }) => Ok(None),
            result => result,
        }
    }
}

/// Whether a text can be an identifier: no page of a captive portal, nothing empty.
fn is_word(text: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
