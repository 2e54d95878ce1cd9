//! Credentials, region, endpoint and proxy → clients, made when they are first needed: an agent whose region or
//! credentials can't be found yet starts all the same, says so, and goes on by itself once they can.

pub mod call;
mod credentials;
mod held;
pub mod http;
pub mod instance;
mod region;

use std::error::Error;
use std::sync::Arc;

use aws_config::identity::IdentityCache;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;

use crate::config::{Aws, Config, Destination, Publish, Service};
use call::{Caller, Skew};
use held::Held;
use http::{Http, TimeOuts};
use region::Found;

pub use credentials::{NoCredentials, cause_of};

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
    time_outs: TimeOuts,
    http: Arc<Http>,
    /// The same for what may ask the instance metadata.
    metadata_http: SharedHttpClient,
    host_region: OnceCell<Found>,
    credentials: OnceCell<SharedCredentialsProvider>,
    held: OnceCell<Arc<Held>>,
    kinesis: OnceCell<Caller>,
    firehose: OnceCell<Caller>,
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
        let http = Http::new(
            &config.publish,
            &config.aws.user_agent,
            http::private_ca_from_env(),
        )?;
        let fallback = instance::v1::Fallback::from_env();
        Ok(Arc::new(Clients {
            metadata_http: instance::v1::under(http.for_sdk(), fallback),
            http,
            time_outs: time_outs(&config.publish),
            aws: config.aws.clone(),
            host_region: OnceCell::new(),
            credentials: OnceCell::new(),
            held: OnceCell::new(),
            kinesis: OnceCell::new(),
            firehose: OnceCell::new(),
            cloudwatch: OnceCell::new(),
        }))
    }

    /// Who calls Kinesis. Errors: no region yet; asked anew at the next call.
    pub async fn kinesis(&self) -> Result<&Caller, NoRegion> {
        let make = || self.caller(&self.aws.kinesis, "Kinesis", "kinesis");
        self.kinesis.get_or_try_init(make).await
    }

    /// Who calls Firehose.
    pub async fn firehose(&self) -> Result<&Caller, NoRegion> {
        let make = || self.caller(&self.aws.firehose, "Firehose", "firehose");
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
            Err(error) => {
                Err(cause_of(&error).map_or_else(|| reason(&error), |problem| problem.to_string()))
            }
        }
    }

    /// The host's own region, if it has one that differs from where Firehose or CloudWatch calls go by default.
    pub async fn host_region_beside_default(&self) -> Option<String> {
        let host = self.host_region().await?;
        (host.region.as_ref() != region::REGION_OF_THE_REFERENCE).then(|| host.region.to_string())
    }

    /// What regions, credentials and metadata are looked for with.
    fn provider(&self) -> ProviderConfig {
        provider(&self.metadata_http)
    }

    async fn host_region(&self) -> Option<Found> {
        let ask = || async { region::of_host(&self.provider()).await.ok_or(()) };
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
            let base = self.base_credentials().await;
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

    async fn base_credentials(&self) -> SharedCredentialsProvider {
        if let Some(keys) = &self.aws.static_keys {
            return credentials::of_keys(keys);
        }
        // A web identity or a profile's role is exchanged at STS, which needs a region too. The instance metadata is
        // asked for it last: where there is none that takes seconds.
        let configured = region::of_service(&self.aws.sts)
            .or_else(|| region::of_service(&self.aws.kinesis))
            .or_else(|| region::of_service(&self.aws.firehose));
        let found = match configured {
            Some(found) => Some(found),
            None => self.host_region().await,
        };
        let region = found.unwrap_or_else(region::of_nameless_endpoint).region;
        let http = self.metadata_http.clone();
        credentials::of_host(move || provider(&http).with_region(Some(region.clone())))
    }

    async fn caller(
        &self,
        service: &Service,
        name: &'static str,
        signing_name: &'static str,
    ) -> Result<Caller, NoRegion> {
        let found = self.region(service, name).await?;
        let held = || async { Held::new(self.credentials().await) };
        Ok(Caller {
            http: Arc::clone(&self.http),
            credentials: Arc::clone(self.held.get_or_init(held).await),
            time_outs: self.time_outs,
            service: signing_name,
            region: found.region.to_string(),
            endpoint: service.endpoint.clone(),
            skew: Skew::default(),
        })
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
            .buffer_time(held::RENEW_BEFORE)
            .load_timeout(held::ASKING_TIME)
            .build();
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.for_sdk())
            .region(found.region)
            .identity_cache(cache)
            // Ours knows records, keeps the order of back-off per flow, never gives up, and counts.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(for_sdk(self.time_outs))
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

/// What the SDK looks for regions and credentials with. It reads profiles once, so each search has one of its own: what
/// appears while the agent runs is found.
fn provider(http: &SharedHttpClient) -> ProviderConfig {
    ProviderConfig::without_region().with_http_client(http.clone())
}

/// An error and its causes, the innermost last.
pub fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// What an error of the SDK comes to, for people: the innermost causes say the most, `Connection refused (os error 111)`
/// rather than `dispatch failure`.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts[texts.len().saturating_sub(2)..].join(": ")
}

/// An answer's body may stall after its head: the whole call has a limit too.
fn time_outs(publish: &Publish) -> TimeOuts {
    let connect = publish.connect_timeout;
    TimeOuts {
        connect: Some(connect),
        answer: publish.answer_timeout,
        whole: publish.answer_timeout.map(|answer| connect + 2 * answer),
    }
}

fn for_sdk(time_outs: TimeOuts) -> TimeoutConfig {
    let mut builder = TimeoutConfig::builder();
    builder.set_connect_timeout(time_outs.connect);
    builder.set_read_timeout(time_outs.answer);
    builder.set_operation_timeout(time_outs.whole);
    builder.build()
}
