//! As whom calls are made.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::SdkConfig;

use super::reason;
use crate::config::{AssumeRole, StaticKeys};

/// The name of our sessions with `assumeRoleARN`, and how long one lasts.
const SESSION_NAME: &str = "AWSKinesisAgent";
const SESSION_LENGTH: Duration = Duration::from_secs(3600);

/// Why there are no credentials, and what to do about it: the cause of every [`CredentialsError`] from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// Every place was asked in vain.
    #[error(
        "none found ({tried}); give the instance or container a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
         for the service, or awsAccessKeyId and awsSecretAccessKey in agent.json"
    )]
    NoneFound { tried: String },
    /// A place that is set up gave none: the ones after it aren't asked.
    #[error(
        "{place} can't give them: {reason}; mend that, or unset it so that the next place is asked"
    )]
    PlaceFailed { place: &'static str, reason: String },
    /// `assumeRoleARN` can't be assumed.
    #[error(
        "the role {arn} (assumeRoleARN) can't be assumed: {reason}; check its trust policy, assumeRoleExternalId, and \
         that the agent's own credentials may call sts:AssumeRole"
    )]
    RoleRefused { arn: String, reason: String },
    /// Whoever was asked didn't answer.
    #[error("none came within {0:?}; whoever is to give them doesn't answer")]
    Late(Duration),
    #[error("{0}")]
    Other(String),
}

/// The keys in agent.json.
pub fn of_keys(keys: &StaticKeys) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(
        keys.access_key_id.as_str(),
        keys.secret_access_key.as_str(),
        None,
        None,
        "agent.json",
    ))
}

/// What the host offers, in the reference's order: environment, web identity, container, profile, instance metadata.
/// (The SDK's own chain asks the profile before web identity and container.)
///
/// `provider` makes what the places are asked with.
pub fn of_host(
    provider: impl Fn() -> ProviderConfig + Send + Sync + 'static,
) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Host {
        provider: Box::new(provider),
        places: Mutex::default(),
    })
}

/// A property of credentials: the place that had them.
#[derive(Debug, Clone, Copy)]
struct FoundIn(&'static str);

/// A property of credentials: they are those of `assumeRoleARN`.
#[derive(Debug, Clone, Copy)]
struct Assumed;

/// The places of a host where credentials may be, in order.
type Places = Vec<(&'static str, SharedCredentialsProvider)>;

/// The host's own credentials.
///
/// A profile is read once by the provider that looks for it, so after a failure the providers are made anew: keys that
/// appear while the agent runs are found.
struct Host {
    provider: Box<dyn Fn() -> ProviderConfig + Send + Sync>,
    /// Those that gave credentials the last time; they may hold sessions of their own.
    places: Mutex<Option<Arc<Places>>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

impl Host {
    fn kept(&self) -> Option<Arc<Places>> {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, places: Option<Arc<Places>>) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    async fn load(&self) -> provider::Result {
        let places = self
            .kept()
            .unwrap_or_else(|| Arc::new(places(&(self.provider)())));
        let loaded = ask(&places).await;
        self.keep(loaded.is_ok().then_some(places));
        loaded
    }
}

impl ProvideCredentials for Host {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.kept()?
            .iter()
            .find_map(|(_, provider)| provider.fallback_on_interrupt())
    }
}

fn places(provider: &ProviderConfig) -> Places {
    vec![
        (
            "environment",
            SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()),
        ),
        (
            "web identity",
            SharedCredentialsProvider::new(
                WebIdentityTokenCredentialsProvider::builder()
                    .configure(provider)
                    .build(),
            ),
        ),
        (
            "container",
            SharedCredentialsProvider::new(
                EcsCredentialsProvider::builder()
                    .configure(provider)
                    .build(),
            ),
        ),
        (
            "profile",
            SharedCredentialsProvider::new(
                ProfileFileCredentialsProvider::builder()
                    .configure(provider)
                    .build(),
            ),
        ),
        (
            "instance metadata",
            SharedCredentialsProvider::new(
                ImdsCredentialsProvider::builder()
                    .configure(provider)
                    .build(),
            ),
        ),
    ]
}

/// The first place that has credentials; one that is set up and fails ends the search.
async fn ask(places: &Places) -> provider::Result {
    let mut tried = Vec::new();
    for (place, provider) in places {
        let error = match provider.provide_credentials().await {
            Ok(mut credentials) => {
                credentials.set_property(FoundIn(place));
                return Ok(credentials);
            }
            Err(error) => error,
        };
        let reason = error.source().map_or("not set up".to_owned(), reason);
        if !matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            let problem = NoCredentials::PlaceFailed { place, reason };
            return Err(CredentialsError::provider_error(problem));
        }
        tried.push(format!("{place}: {reason}"));
    }
    let tried = tried.join(", ");
    Err(CredentialsError::not_loaded(NoCredentials::NoneFound {
        tried,
    }))
}

/// The role of `assumeRoleARN`, taken with the credentials of `config`, which also says where STS is.
pub async fn with_role(role: &AssumeRole, config: &SdkConfig) -> SharedCredentialsProvider {
    let mut builder = AssumeRoleProvider::builder(&role.arn)
        .configure(config)
        .session_name(SESSION_NAME)
        .session_length(SESSION_LENGTH);
    if let Some(external_id) = &role.external_id {
        builder = builder.external_id(external_id);
    }
    SharedCredentialsProvider::new(Role {
        provider: builder.build().await,
        base: config.credentials_provider(),
        arn: role.arn.clone(),
    })
}

/// A role, whose errors say so.
#[derive(Debug)]
struct Role {
    provider: AssumeRoleProvider,
    /// Those that the role is assumed with.
    base: Option<SharedCredentialsProvider>,
    arn: String,
}

impl Role {
    async fn load(&self) -> provider::Result {
        let failed = |error: CredentialsError| {
            let problem = cause_of(&error).unwrap_or_else(|| NoCredentials::RoleRefused {
                arn: self.arn.clone(),
                reason: reason(&error),
            });
            CredentialsError::provider_error(problem)
        };
        let mut credentials = self.provider.provide_credentials().await.map_err(failed)?;
        credentials.set_property(Assumed);
        // Once an hour; only the place is of interest.
        if let Some(base) = &self.base
            && let Ok(base) = base.provide_credentials().await
            && let Some(place) = base.get_property::<FoundIn>()
        {
            credentials.set_property(*place);
        }
        Ok(credentials)
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}

/// What is wrong with the credentials, if that is what an error is about.
pub fn cause_of(error: &(dyn Error + 'static)) -> Option<NoCredentials> {
    super::causes(error).find_map(|cause| cause.downcast_ref::<NoCredentials>().cloned())
}

/// Where credentials come from, in a few words; never their secret.
pub fn describe(credentials: &Credentials) -> String {
    let features = credentials
        .get_property::<Vec<Feature>>()
        .cloned()
        .unwrap_or_default();
    let has = |wanted: &[Feature]| features.iter().any(|feature| wanted.contains(feature));
    let place = credentials
        .get_property::<FoundIn>()
        .map_or("agent.json", |found| found.0);
    let kind = match place {
        "profile"
            if has(&[
                Feature::CredentialsProfileProcess,
                Feature::CredentialsProcess,
            ]) =>
        {
            ": its credential process"
        }
        "profile" if has(&[Feature::CredentialsProfileSso, Feature::CredentialsSso]) => {
            ": its SSO session"
        }
        _ => "",
    };
    let role = match credentials.get_property::<Assumed>() {
        Some(Assumed) => ", through the assumed role",
        None => "",
    };
    format!(
        "{place}{kind}{role} (access key {})",
        credentials.access_key_id()
    )
}
