//! As whom calls are made.

use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;

use crate::config::{AssumeRole, Aws};

/// The name of our sessions with `assumeRoleARN`, and how long one lasts.
const SESSION_NAME: &str = "AWSKinesisAgent";
const SESSION_LENGTH: Duration = Duration::from_secs(3600);

/// What `agent.json` and the host offer, in the reference's order: keys in agent.json, environment, web identity,
/// container, profile, instance metadata. (The SDK's own chain asks the profile before web identity and container.)
pub fn base(aws: &Aws, provider: &ProviderConfig) -> SharedCredentialsProvider {
    if let Some(keys) = &aws.static_keys {
        let (id, secret) = (keys.access_key_id.as_str(), keys.secret_access_key.as_str());
        return SharedCredentialsProvider::new(Credentials::new(
            id,
            secret,
            None,
            None,
            "agent.json",
        ));
    }
    let chain = CredentialsProviderChain::first_try(
        "environment",
        EnvironmentVariableCredentialsProvider::new(),
    )
    .or_else(
        "web identity",
        WebIdentityTokenCredentialsProvider::builder()
            .configure(provider)
            .build(),
    )
    .or_else(
        "container",
        EcsCredentialsProvider::builder()
            .configure(provider)
            .build(),
    )
    .or_else(
        "profile",
        ProfileFileCredentialsProvider::builder()
            .configure(provider)
            .build(),
    )
    .or_else(
        "instance metadata",
        ImdsCredentialsProvider::builder()
            .configure(provider)
            .build(),
    );
    SharedCredentialsProvider::new(chain)
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
    SharedCredentialsProvider::new(builder.build().await)
}

/// Where credentials come from, in a few words; never their secret.
pub fn describe(credentials: &Credentials) -> String {
    let features = credentials
        .get_property::<Vec<Feature>>()
        .cloned()
        .unwrap_or_default();
    let source = features.iter().find_map(|feature| match feature {
        Feature::CredentialsEnvVars => Some("the environment"),
        Feature::CredentialsEnvVarsStsWebIdToken | Feature::CredentialsStsAssumeRoleWebId => {
            Some("a web identity")
        }
        Feature::CredentialsHttp => Some("the container"),
        Feature::CredentialsImds => Some("the instance metadata"),
        Feature::CredentialsProfileProcess | Feature::CredentialsProcess => {
            Some("a profile's credential process")
        }
        Feature::CredentialsProfileSso | Feature::CredentialsSso => Some("a profile's SSO session"),
        Feature::CredentialsProfile
        | Feature::CredentialsProfileSourceProfile
        | Feature::CredentialsProfileNamedProvider
        | Feature::CredentialsProfileStsWebIdToken => Some("a profile"),
        _ => None,
    });
    let role = if features.contains(&Feature::CredentialsStsAssumeRole) {
        ", through the assumed role"
    } else {
        ""
    };
    format!(
        "{}{role} (access key {})",
        source.unwrap_or("agent.json"),
        credentials.access_key_id()
    )
}
