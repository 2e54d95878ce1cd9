//! Which region calls go to.

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_types::region::Region;

use crate::config::Service;

/// Where Firehose and CloudWatch calls go when nothing says otherwise, whatever the host's region is: the reference
/// does so, and a swap mustn't send to another region's streams.
pub const REGION_OF_THE_REFERENCE: &str = "us-east-1";

/// Where a region was found, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub region: Region,
    pub source: &'static str,
}

fn found(region: impl Into<String>, source: &'static str) -> Option<Found> {
    Some(Found {
        region: Region::new(region.into()),
        source,
    })
}

/// The region of the host: `AWS_REGION`, else the profile, else the instance metadata, else `AWS_DEFAULT_REGION`.
pub async fn of_host(provider: &ProviderConfig) -> Option<Found> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(region) = variable("AWS_REGION") {
        return found(region, "AWS_REGION");
    }
    let profile = ProfileFileRegionProvider::builder()
        .configure(provider)
        .build();
    if let Some(region) = aws_config::meta::region::ProvideRegion::region(&profile).await {
        return Some(Found {
            region,
            source: "the profile",
        });
    }
    let metadata = ImdsRegionProvider::builder().configure(provider).build();
    if let Some(region) = metadata.region().await {
        return Some(Found {
            region,
            source: "the instance metadata",
        });
    }
    found(variable("AWS_DEFAULT_REGION")?, "AWS_DEFAULT_REGION")
}

/// The region that agent.json gives a service: its own key, or its endpoint's host name (already in [`Service::region`]).
pub fn of_service(service: &Service) -> Option<Found> {
    found(service.region.clone()?, "agent.json")
}

/// The region to sign with for an endpoint whose name holds none, such as one on loopback, where the host has none.
pub fn of_nameless_endpoint() -> Found {
    Found {
        region: Region::from_static(REGION_OF_THE_REFERENCE),
        source: "the default for an endpoint without a region in its name",
    }
}
