//! Where calls go and as whom, for the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::aws::{Address, Clients};
use crate::config::{Config, Destination};
use crate::telemetry::events;

/// How long after a region or credentials weren't found they are looked for again while there is nothing to send.
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Where calls go and as whom, told once each as soon as it is known. What isn't found is said at once, though there may
/// be nothing to send yet, and looked for again.
pub(super) async fn tell_addresses(clients: Arc<Clients>, config: Arc<Config>) {
    let has = |wanted: fn(&Destination) -> bool| {
        config.flows.iter().any(|flow| wanted(&flow.destination))
    };
    let mut kinesis = has(|destination| matches!(destination, Destination::Kinesis(_)));
    let mut firehose = has(|destination| matches!(destination, Destination::Firehose(_)));
    let mut credentials = true;
    let mut said = Said::default();
    loop {
        if kinesis {
            match clients.kinesis_address().await {
                Ok(address) => {
                    tell_address("Kinesis", &address);
                    kinesis = false;
                }
                Err(error) => said.say("region", &error.to_string()),
            }
        }
        if firehose {
            match clients.firehose_address().await {
                Ok(address) => {
                    tell_address("Firehose", &address);
                    tell_if_region_differs(&clients, &config, &address).await;
                    firehose = false;
                }
                Err(error) => said.say("region", &error.to_string()),
            }
        }
        if credentials {
            match clients.describe_credentials().await {
                Ok(source) => {
                    events::credentials_from(&source);
                    credentials = false;
                }
                Err(error) => said.say("credentials", &format!("no AWS credentials: {error}")),
            }
        }
        if !(kinesis || firehose || credentials) {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN_INTERVAL).await;
    }
}

/// What isn't found yet and was said to be so.
#[derive(Default)]
struct Said(HashSet<&'static str>);

impl Said {
    fn say(&mut self, what: &'static str, problem: &str) {
        if self.0.insert(what) {
            events::not_found_yet(problem);
        }
    }
}

fn tell_address(service: &str, address: &Address) {
    let Address {
        endpoint,
        region,
        source,
    } = address;
    events::sending_to(service, endpoint.as_deref(), region, source);
    if service == "Kinesis" && *source == "AWS_DEFAULT_REGION" {
        events::region_from_default_variable(region);
    }
}

/// compat: Firehose's default region is us-east-1 wherever the host is, which surprises.
async fn tell_if_region_differs(clients: &Clients, config: &Config, address: &Address) {
    let is_default = config.aws.firehose.endpoint.is_none() && config.aws.firehose.region.is_none();
    if is_default && let Some(host) = clients.host_region_beside_default().await {
        events::region_differs("Firehose", &address.region, &host);
    }
}
