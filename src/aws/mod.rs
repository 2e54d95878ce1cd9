//! Credentials, region, endpoint and proxy → clients, made when they are first needed: an agent whose region or
//! credentials can't be found yet starts all the same, says so, and goes on by itself once they can.

mod credentials;
pub mod http;
pub mod instance;
mod region;

use std::sync::Arc;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::sync::OnceCell;

use crate::config::{Aws, Config, Destination, Publish, Service};
use region::Found;

/// How long before they end credentials are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// How long finding credentials may take; the instance metadata is asked twice.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// No region is found for a service whose endpoint isn't given.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "no region for {service}: neither in agent.json nor in AWS_REGION, the profile or the instance metadata"
)]
pub struct NoRegion {
    pub service: &'static str,
}

/// The clients of all flows, shared.
pub struct Clients {
    aws: Aws,
    time_outs: TimeoutConfig,
    http: SharedHttpClient,
    provider: ProviderConfig,
    host_region: OnceCell<Found>,
    credentials: OnceCell<SharedCredentialsProvider>,
    kinesis: OnceCell<aws_sdk_kinesis::Client>,
    firehose: OnceCell<aws_sdk_firehose::Client>,
    cloudwatch: OnceCell<aws_sdk_cloudwatch::Client>,
}

/// Where a service's calls go, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub endpoint: Option<String>,
    pub region: String,
    /// Where the region was found.
    pub source: &'static str,
}

impl Clients {
    /// Nothing is asked of any network yet. Errors: a private CA that can't be used.
    pub fn new(config: &Config) -> anyhow::Result<Arc<Clients>> {
        let http = http::client(
            &config.publish,
            &config.aws.user_agent,
            http::private_ca_from_env(),
        )?;
        let with_metadata_v1 =
            instance::v1::under(http.clone(), instance::v1::Fallback::from_env());
        Ok(Arc::new(Clients {
            provider: ProviderConfig::without_region().with_http_client(with_metadata_v1),
            http,
            time_outs: time_outs(&config.publish),
            aws: config.aws.clone(),
            host_region: OnceCell::new(),
            credentials: OnceCell::new(),
            kinesis: OnceCell::new(),
            firehose: OnceCell::new(),
            cloudwatch: OnceCell::new(),
        }))
    }

    /// The Kinesis client. Errors: no region yet; asked anew at the next call.
    pub async fn kinesis(&self) -> Result<&aws_sdk_kinesis::Client, NoRegion> {
        let make = || async {
            Ok(aws_sdk_kinesis::Client::new(
                &self.sdk_config(&self.aws.kinesis, "Kinesis").await?,
            ))
        };
        self.kinesis.get_or_try_init(make).await
    }

    /// The Firehose client.
    pub async fn firehose(&self) -> Result<&aws_sdk_firehose::Client, NoRegion> {
        let make = || async {
            Ok(aws_sdk_firehose::Client::new(
                &self.sdk_config(&self.aws.firehose, "Firehose").await?,
            ))
        };
        self.firehose.get_or_try_init(make).await
    }

    /// The CloudWatch client.
    pub async fn cloudwatch(&self) -> Result<&aws_sdk_cloudwatch::Client, NoRegion> {
        let make = || async {
            Ok(aws_sdk_cloudwatch::Client::new(
                &self.sdk_config(&self.aws.cloudwatch, "CloudWatch").await?,
            ))
        };
        self.cloudwatch.get_or_try_init(make).await
    }

    /// Where Kinesis calls go.
    pub async fn kinesis_address(&self) -> Result<Address, NoRegion> {
        self.address(&self.aws.kinesis, "Kinesis").await
    }

    /// Where Firehose calls go.
    pub async fn firehose_address(&self) -> Result<Address, NoRegion> {
        self.address(&self.aws.firehose, "Firehose").await
    }

    /// Where a destination's calls go, as far as is known: for messages.
    pub fn endpoint_text(&self, destination: &Destination) -> String {
        let (service, name) = match destination {
            Destination::Kinesis(_) => (&self.aws.kinesis, "kinesis"),
            Destination::Firehose(_) => (&self.aws.firehose, "firehose"),
        };
        let default = || match name {
            "firehose" => region::REGION_OF_THE_REFERENCE.to_owned(),
            _ => self
                .host_region
                .get()
                .map_or_else(|| "REGION".to_owned(), |found| found.region.to_string()),
        };
        service.endpoint.clone().unwrap_or_else(|| {
            let region = service.region.clone().unwrap_or_else(default);
            format!("https://{name}.{region}.amazonaws.com")
        })
    }

    /// What this host is called in metrics: its EC2 instance id, or else its host name.
    pub async fn instance_name(self: &Arc<Self>) -> String {
        match instance::instance_id(Arc::clone(self)).await {
            Some(id) => id,
            None => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// Where the credentials come from, or why there are none.
    pub async fn describe_credentials(&self) -> Result<String, String> {
        match self.credentials().await.provide_credentials().await {
            Ok(found) => Ok(credentials::describe(&found)),
            Err(error) => Err(DisplayErrorContext(&error).to_string()),
        }
    }

    /// The host's own region, if it has one that differs from where Firehose or CloudWatch calls go by default.
    pub async fn host_region_beside_default(&self) -> Option<String> {
        let host = self.host_region().await?;
        (host.region.as_ref() != region::REGION_OF_THE_REFERENCE).then(|| host.region.to_string())
    }

    async fn host_region(&self) -> Option<Found> {
        let ask = || async { region::of_host(&self.provider).await.ok_or(()) };
        self.host_region.get_or_try_init(ask).await.ok().cloned()
    }

    async fn address(&self, service: &Service, name: &'static str) -> Result<Address, NoRegion> {
        let Found { region, source } = self.region(service, name).await?;
        Ok(Address {
            endpoint: service.endpoint.clone(),
            region: region.to_string(),
            source,
        })
    }

    /// compat: Kinesis follows its endpoint, its key, then the host. Firehose and CloudWatch follow their endpoint or
    /// key, and go to us-east-1 otherwise, whatever the host's region is.
    async fn region(&self, service: &Service, name: &'static str) -> Result<Found, NoRegion> {
        if let Some(found) = region::of_service(service) {
            return Ok(found);
        }
        let follows_host = matches!(name, "Kinesis" | "STS") || service.endpoint.is_some();
        if !follows_host {
            return Ok(Found {
                region: aws_types::region::Region::from_static(region::REGION_OF_THE_REFERENCE),
                source: "the default of the AWS Kinesis Agent",
            });
        }
        match self.host_region().await {
            Some(found) => Ok(found),
            None if service.endpoint.is_some() => Ok(region::of_nameless_endpoint()),
            None => Err(NoRegion { service: name }),
        }
    }

    async fn credentials(&self) -> SharedCredentialsProvider {
        let make = || async {
            let base = credentials::base(&self.aws, &self.provider);
            let Some(role) = &self.aws.assume_role else {
                return base;
            };
            let found = match self.region(&self.aws.sts, "STS").await {
                Ok(found) => found,
                Err(_) => self
                    .region(&self.aws.kinesis, "Kinesis")
                    .await
                    .unwrap_or_else(|_| region::of_nameless_endpoint()),
            };
            let config = self
                .builder(&self.aws.sts, found)
                .credentials_provider(base)
                .build();
            credentials::with_role(role, &config).await
        };
        self.credentials.get_or_init(make).await.clone()
    }

    async fn sdk_config(
        &self,
        service: &Service,
        name: &'static str,
    ) -> Result<SdkConfig, NoRegion> {
        let found = self.region(service, name).await?;
        Ok(self
            .builder(service, found)
            .credentials_provider(self.credentials().await)
            .build())
    }

    fn builder(&self, service: &Service, found: Found) -> aws_types::sdk_config::Builder {
        let cache = IdentityCache::lazy()
            .buffer_time(RENEW_BEFORE)
            .load_timeout(CREDENTIALS_TIMEOUT)
            .build();
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .region(found.region)
            .identity_cache(cache)
            // Ours knows records, keeps the order of back-off per flow, never gives up, and counts.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(self.time_outs.clone())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .time_source(aws_smithy_async::time::SharedTimeSource::new(
                aws_smithy_async::time::SystemTimeSource::new(),
            ));
        builder.set_endpoint_url(service.endpoint.clone());
        builder
    }
}

/// An answer's body may stall after its head: the whole call has a limit too.
fn time_outs(publish: &Publish) -> TimeoutConfig {
    let mut builder = TimeoutConfig::builder().connect_timeout(publish.connect_timeout);
    if let Some(answer) = publish.answer_timeout {
        builder = builder
            .read_timeout(answer)
            .operation_timeout(publish.connect_timeout + 2 * answer);
    }
    builder.build()
}
