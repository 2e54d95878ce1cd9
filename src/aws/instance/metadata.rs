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

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, Reply, Script, status, text, with_tokens};
    use super::*;

    const FULL: &str = r#"{"accountId": "123456789012", "availabilityZone": "eu-west-1a", "imageId": "ami-1",
        "instanceId": "i-1", "instanceType": "m7g.large", "privateIp": "10.0.0.1", "region": "eu-west-1",
        "billingProducts": null, "kernelId": null, "version": "2017-09-30"}"#;

    fn service(script: Script) -> (Metadata, InMemory) {
        let service = InMemory::new(script);
        let provider = ProviderConfig::without_region().with_http_client(service.client());
        let metadata = Metadata::new(&provider, Some("http://metadata")).unwrap();
        (metadata, service)
    }

    fn full() -> Identity {
        let text = |text: &str| Some(text.to_owned());
        Identity {
            private_ip: text("10.0.0.1"),
            availability_zone: text("eu-west-1a"),
            instance_id: text("i-1"),
            instance_type: text("m7g.large"),
            account_id: text("123456789012"),
            image_id: text("ami-1"),
            region: text("eu-west-1"),
        }
    }

    fn single_paths(path: &str) -> Reply {
        match path.strip_prefix("/latest/meta-data/").unwrap_or_default() {
            "instance-id" => text("i-1"),
            "local-ipv4" => text("10.0.0.1"),
            "placement/availability-zone" => text("eu-west-1a"),
            "instance-type" => text("m7g.large"),
            "ami-id" => text("ami-1"),
            "placement/region" => text("eu-west-1"),
            "identity-credentials/ec2/info" => {
                text(r#"{"Code": "Success", "AccountId": "123456789012"}"#)
            }
            _ => status(404),
        }
    }

    #[tokio::test]
    async fn the_document_is_enough() {
        let (metadata, service) = service(|path, token| with_tokens(|_| text(FULL), path, token));
        assert_eq!(metadata.identity().await, Ok(full()));
        let expected = [
            "PUT /latest/api/token -".to_owned(),
            format!("GET {DOCUMENT} real-token"),
        ];
        assert_eq!(service.asked(), expected);
    }

    #[tokio::test]
    async fn what_the_document_lacks_comes_from_single_paths() {
        let rows: [Script; 6] = [
            |path, token| with_tokens(single_paths, path, token),
            |path, token| {
                with_tokens(
                    |path| {
                        if path == DOCUMENT {
                            status(403)
                        } else {
                            single_paths(path)
                        }
                    },
                    path,
                    token,
                )
            },
            |path, token| {
                with_tokens(
                    |path| {
                        if path == DOCUMENT {
                            text("<html>hello")
                        } else {
                            single_paths(path)
                        }
                    },
                    path,
                    token,
                )
            },
            |path, token| {
                with_tokens(
                    |path| {
                        if path == DOCUMENT {
                            text("[]")
                        } else {
                            single_paths(path)
                        }
                    },
                    path,
                    token,
                )
            },
            |path, token| {
                with_tokens(
                    |path| {
                        if path == DOCUMENT {
                            text(r#"{"region": null, "instanceId": ""}"#)
                        } else {
                            single_paths(path)
                        }
                    },
                    path,
                    token,
                )
            },
            |path, token| {
                with_tokens(
                    |path| {
                        if path == DOCUMENT {
                            text(r#"{"instanceId": "i 2\n", "accountId": "123456789012"}"#)
                        } else {
                            single_paths(path)
                        }
                    },
                    path,
                    token,
                )
            },
        ];
        for (index, script) in rows.into_iter().enumerate() {
            assert_eq!(
                service(script).0.identity().await,
                Ok(full()),
                "row {index}"
            );
        }
    }

    #[tokio::test]
    async fn an_id_is_all_that_must_be_known() {
        let (metadata, _) = service(|path, token| {
            with_tokens(
                |path| {
                    if path.ends_with("/instance-id") {
                        text("i-1")
                    } else {
                        status(500 + 4 * u16::from(path != DOCUMENT))
                    }
                },
                path,
                token,
            )
        });
        let expected = MetadataError::Status {
            path: DOCUMENT.to_owned(),
            status: 500,
        };
        assert_eq!(metadata.identity().await, Err(expected));

        let (metadata, _) = service(|path, token| {
            with_tokens(
                |path| {
                    if path.ends_with("/instance-id") {
                        text("i-1")
                    } else {
                        status(400)
                    }
                },
                path,
                token,
            )
        });
        let expected = Identity {
            instance_id: Some("i-1".to_owned()),
            ..Identity::default()
        };
        assert_eq!(metadata.identity().await, Ok(expected));
    }

    #[tokio::test]
    async fn without_an_id_there_is_no_instance() {
        let rows: [Script; 3] = [
            |path, token| with_tokens(|_| status(404), path, token),
            |path, token| with_tokens(|_| text("<html>Please sign in</html>"), path, token),
            |path, token| with_tokens(|_| text(""), path, token),
        ];
        for script in rows {
            assert_eq!(
                service(script).0.identity().await,
                Err(MetadataError::NoInstance)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_given_up() {
        let rows: [Script; 4] = [
            |_, _| Reply::Refused,
            |_, _| Reply::TimeOut,
            |_, _| Reply::Silence,
            |path, token| with_tokens(|_| Reply::Silence, path, token),
        ];
        for (index, script) in rows.into_iter().enumerate() {
            let result = service(script).0.identity().await;
            assert!(
                matches!(result, Err(MetadataError::NoAnswer { .. })),
                "row {index}: {result:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_error_names_the_path_and_the_reason() {
        let (metadata, _) = service(|_, _| Reply::Refused);
        let error = metadata.identity().await.unwrap_err().to_string();
        assert!(
            error.starts_with(DOCUMENT) && error.contains("refused"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn tags_are_read_one_by_one() {
        let (metadata, service) = service(|path, token| {
            with_tokens(
                |path| match path.strip_prefix(TAGS) {
                    Some("") => text("Name\nteam:a+b\ngone\nempty\nü /%\n"),
                    Some("/Name") => text(" web <1> "),
                    Some("/team%3Aa%2Bb") => text("x&y"),
                    Some("/empty") => text(""),
                    Some("/%C3%BC%20%2F%25") => text("odd"),
                    _ => status(404),
                },
                path,
                token,
            )
        });
        let expected = [
            ("Name", " web <1> "),
            ("team:a+b", "x&y"),
            ("empty", ""),
            ("ü /%", "odd"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(metadata.tags().await, Ok(Some(expected.to_vec())));
        assert_eq!(service.asked().len(), 2 + 5);
    }

    #[tokio::test]
    async fn tags_that_are_not_shown_are_none() {
        let rows: [Script; 3] = [
            |path, token| with_tokens(|_| status(404), path, token),
            |path, token| with_tokens(|_| status(400), path, token),
            |path, token| {
                with_tokens(
                    |path| {
                        if path == TAGS {
                            text("<html>\nhello")
                        } else {
                            status(404)
                        }
                    },
                    path,
                    token,
                )
            },
        ];
        for script in rows {
            assert_eq!(service(script).0.tags().await, Ok(None));
        }
    }

    #[tokio::test]
    async fn a_domain_is_a_host_name() {
        let rows: [(Script, Option<&str>); 3] = [
            (
                |path, token| with_tokens(|_| text("amazonaws.com.cn"), path, token),
                Some("amazonaws.com.cn"),
            ),
            (
                |path, token| with_tokens(|_| text("evil.example/x?"), path, token),
                None,
            ),
            (
                |path, token| with_tokens(|_| status(404), path, token),
                None,
            ),
        ];
        for (script, expected) in rows {
            assert_eq!(
                service(script).0.service_domain().await.as_deref(),
                expected
            );
        }
    }
}
