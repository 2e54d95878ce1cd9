//! The task that publishes metrics to CloudWatch.
//!
//! Whatever happens here never touches the data's way: flows record into [`Metrics`], this task takes from it. A call
//! that fails is made again with the next period, a few times; what is given up then is said once and counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::error::DisplayErrorContext;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet as Statistics};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};

use crate::config::CloudWatch;
use crate::telemetry::events;
use crate::telemetry::metrics::{Datum, Metrics, Outbox, Unit};
use crate::telemetry::troubles::AgentTroubles;

/// Longest wait for one call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for the last flush, at the agent's end.
pub const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest text of a dimension's value (PutMetricData API reference: 1024 characters).
const DIMENSION_CHARS_MAX: usize = 1024;

/// What is published where, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `cloudwatch.namespace`
    pub namespace: String,
    /// `cloudwatch.metricsBufferTimeMillis`
    pub period: Duration,
    /// `cloudwatch.metricsQueueSize`
    pub queue_size: usize,
    /// The value of the dimension `Instance`; `None`: no such dimension.
    pub instance: Option<String>,
}

impl Settings {
    /// The settings of a configuration; `instance` is the EC2 instance id, or else the host name, and counts only with
    /// `cloudwatch.tagInstance`.
    pub fn new(config: &CloudWatch, instance: Option<String>) -> Settings {
        Settings {
            namespace: config.namespace.clone(),
            period: config.buffer_time,
            queue_size: config.queue_size,
            instance: instance.filter(|instance| config.tag_instance && !instance.is_empty()),
        }
    }
}

/// Publishes what `metrics` records, each period, until `shutdown` is ready; then once more, for a short time.
pub async fn run(
    client: Client,
    metrics: Arc<Metrics>,
    settings: Settings,
    troubles: AgentTroubles,
    shutdown: impl Future<Output = ()>,
) {
    let mut publisher = Publisher::new(client, settings, troubles);
    // A period of nothing would be a timer that never sleeps.
    let period = publisher.settings.period.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(shutdown);
    let deadline = loop {
        tokio::select! {
            () = &mut shutdown => break Instant::now() + LAST_FLUSH_TIMEOUT,
            _ = ticks.tick() => {}
        }
        publisher.enqueue(metrics.take(Timestamp::now()));
        let flush = publisher.flush();
        tokio::pin!(flush);
        tokio::select! {
            () = &mut flush => {}
            () = &mut shutdown => {
                // A call that is under way may still arrive: made again it would count twice.
                let deadline = Instant::now() + LAST_FLUSH_TIMEOUT;
                let _ = timeout_at(deadline, flush).await;
                break deadline;
            }
        }
    };
    publisher.enqueue(metrics.take(Timestamp::now()));
    if timeout_at(deadline, publisher.flush()).await.is_err() {
        events::metrics_unpublished_at_end(publisher.outbox.len());
    }
}

struct Publisher {
    client: Client,
    settings: Settings,
    outbox: Outbox,
    /// Where it is told that nothing can be published.
    troubles: AgentTroubles,
}

impl Publisher {
    fn new(client: Client, mut settings: Settings, troubles: AgentTroubles) -> Publisher {
        if let Some(instance) = &mut settings.instance {
            truncate_chars(instance, DIMENSION_CHARS_MAX);
        }
        let instance_bytes = settings.instance.as_ref().map_or(0, String::len);
        let outbox = Outbox::new(settings.queue_size, instance_bytes);
        Publisher {
            client,
            settings,
            outbox,
            troubles,
        }
    }

    fn enqueue(&mut self, data: Vec<Datum>) {
        let n_overflowed = self.outbox.push(data);
        if n_overflowed > 0 {
            events::metrics_dropped(
                &self.settings.namespace,
                n_overflowed,
                "too many wait (cloudwatch.metricsQueueSize)",
            );
        }
    }

    /// Publishes what waits, until all is published or a call fails.
    async fn flush(&mut self) {
        let mut n_published = 0;
        let failed = loop {
            let call = self.outbox.next_call();
            if call.is_empty() {
                break None;
            }
            if let Err(error) = self.publish(&call).await {
                break Some((call.len(), error));
            }
            self.outbox.accepted(call.len());
            n_published += call.len();
        };
        if n_published > 0 {
            events::metrics_published(&self.troubles, n_published);
        }
        if let Some((n_data, error)) = failed {
            let namespace = &self.settings.namespace;
            events::metrics_not_published(&self.troubles, namespace, n_data, &error);
            let n_given_up = self.outbox.failed(n_data);
            if n_given_up > 0 {
                events::metrics_dropped(namespace, n_given_up, &error);
            }
        }
    }

    async fn publish(&self, call: &[Arc<Datum>]) -> Result<(), String> {
        let data = call
            .iter()
            .map(|datum| to_sdk(datum, self.settings.instance.as_deref()))
            .collect();
        // The outbox is the retry; the SDK's would only make a call that hangs hang longer.
        let once =
            aws_sdk_cloudwatch::config::Config::builder().retry_config(RetryConfig::disabled());
        let answer = self
            .client
            .put_metric_data()
            .namespace(&self.settings.namespace)
            .set_metric_data(Some(data))
            .customize()
            .config_override(once)
            .send();
        match timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DisplayErrorContext(&error).to_string()),
            Err(_) => Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        }
    }
}

fn to_sdk(datum: &Datum, instance: Option<&str>) -> MetricDatum {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let values = Statistics::builder()
        .minimum(datum.values.min)
        .maximum(datum.values.max)
        .sum(datum.values.sum)
        .sample_count(datum.values.n_samples as f64)
        .build();
    let mut dimensions = vec![dimension("Destination", &datum.destination)];
    dimensions.extend(instance.map(|instance| dimension("Instance", instance)));
    MetricDatum::builder()
        .metric_name(datum.metric.name())
        .set_dimensions(Some(dimensions))
        .timestamp(DateTime::from_secs(datum.at.as_second()))
        .unit(match datum.metric.unit() {
            Unit::Count => StandardUnit::Count,
            Unit::Bytes => StandardUnit::Bytes,
            Unit::Seconds => StandardUnit::Seconds,
            Unit::Milliseconds => StandardUnit::Milliseconds,
        })
        .statistic_values(values)
        .build()
}

fn truncate_chars(text: &mut String, n_chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(n_chars_max) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use tokio::net::TcpListener;
    use tokio::sync::{Notify, oneshot};

    use super::*;
    use crate::config::Destination;
    use crate::telemetry::metrics::{Call, Metric, StatisticSet};

    /// A CloudWatch on loopback that fails its first calls and keeps the bodies of all.
    struct Service {
        address: SocketAddr,
        bodies: Arc<Mutex<Vec<Bytes>>>,
        called: Arc<Notify>,
    }

    impl Service {
        async fn failing(n_failures: usize) -> Service {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let bodies = Arc::new(Mutex::new(Vec::new()));
            let called = Arc::new(Notify::new());
            let n_calls = Arc::new(AtomicUsize::new(0));
            let answer = {
                let (bodies, called) = (Arc::clone(&bodies), Arc::clone(&called));
                move |body: Bytes| {
                    let n = n_calls.fetch_add(1, Ordering::SeqCst);
                    bodies.lock().expect("no panic elsewhere").push(body);
                    called.notify_one();
                    let status = if n < n_failures {
                        StatusCode::INTERNAL_SERVER_ERROR
                    } else {
                        StatusCode::OK
                    };
                    std::future::ready((status, [("smithy-protocol", "rpc-v2-cbor")], vec![0xa0]))
                }
            };
            tokio::spawn(
                async move { axum::serve(listener, Router::new().fallback(answer)).await },
            );
            Service {
                address,
                bodies,
                called,
            }
        }

        /// Waits until the service was called `n_calls` times; their bodies.
        async fn calls(&self, n_calls: usize) -> Vec<Bytes> {
            loop {
                let bodies = self.bodies.lock().expect("no panic elsewhere").clone();
                if bodies.len() >= n_calls {
                    return bodies;
                }
                self.called.notified().await;
            }
        }
    }

    fn client(address: SocketAddr) -> Client {
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{address}"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .http_client(crate::aws::http::usual_client())
            .build();
        Client::from_conf(config)
    }

    fn settings(namespace: &str, period: Duration) -> Settings {
        Settings {
            namespace: namespace.into(),
            period,
            queue_size: 100,
            instance: Some("i-0123".into()),
        }
    }

    fn metrics_of_one_call() -> Arc<Metrics> {
        let metrics = Arc::new(Metrics::default());
        metrics.record_call(
            &Destination::Kinesis("s".into()),
            Call {
                records: 3,
                bytes_sent: 30,
                ..Call::default()
            },
        );
        metrics
    }

    fn contains(body: &[u8], text: &str) -> bool {
        body.windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_is_left_is_published_at_the_end() {
        let service = Service::failing(0).await;
        let metrics = metrics_of_one_call();
        run(
            client(service.address),
            metrics,
            settings("NamespaceEnd", HOUR),
            AgentTroubles::default(),
            std::future::ready(()),
        )
        .await;
        let bodies = service.bodies.lock().expect("no panic elsewhere").clone();
        assert_eq!(bodies.len(), 1);
        for text in [
            "NamespaceEnd",
            "RecordsSent",
            "BytesSent",
            "Destination",
            "KinesisStream:s",
            "Instance",
            "i-0123",
            "Bytes",
        ] {
            assert!(
                contains(&bodies[0], text),
                "{text} is not in {:?}",
                bodies[0]
            );
        }
    }

    #[tokio::test]
    async fn a_call_that_failed_is_made_again_with_the_next_period() {
        let service = Service::failing(2).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let troubles = AgentTroubles::default();
        let publishing = tokio::spawn(run(
            client(service.address),
            metrics_of_one_call(),
            settings("NamespaceAgain", Duration::from_millis(1)),
            troubles.clone(),
            async move {
                let _ = stopped.await;
            },
        ));
        let bodies = service.calls(3).await;
        stop.send(()).expect("the task waits for it");
        publishing.await.expect("no panic");
        assert_eq!(troubles.now(), []);
        assert_eq!(bodies[0], bodies[2]);
        assert_eq!(
            service.calls(3).await.len(),
            3,
            "what arrived is not sent again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_answers_does_not_hold_the_end() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address");
        run(
            client(address),
            metrics_of_one_call(),
            settings("NamespaceSilent", HOUR),
            AgentTroubles::default(),
            std::future::ready(()),
        )
        .await;
    }

    #[test]
    fn a_datum_has_the_dimensions_unit_and_values_of_its_metric() {
        let datum = Datum {
            metric: Metric::BytesSent,
            destination: "KinesisStream:s".into(),
            at: Timestamp::from_second(1_795_239_694).expect("a time"),
            values: StatisticSet {
                min: 1.0,
                max: 5.0,
                sum: 9.0,
                n_samples: 3,
            },
        };
        let sdk = to_sdk(&datum, Some("i-1"));
        let dimensions: Vec<_> = sdk
            .dimensions()
            .iter()
            .map(|d| (d.name(), d.value()))
            .collect();
        assert_eq!(
            dimensions,
            [
                (Some("Destination"), Some("KinesisStream:s")),
                (Some("Instance"), Some("i-1"))
            ]
        );
        assert_eq!(
            (sdk.metric_name(), sdk.unit()),
            (Some("BytesSent"), Some(&StandardUnit::Bytes))
        );
        assert_eq!(sdk.timestamp().map(DateTime::secs), Some(1_795_239_694));
        let values = sdk.statistic_values().expect("a statistic set");
        assert_eq!(
            (
                values.minimum(),
                values.maximum(),
                values.sum(),
                values.sample_count()
            ),
            (Some(1.0), Some(5.0), Some(9.0), Some(3.0))
        );
        assert_eq!(to_sdk(&datum, None).dimensions().len(), 1);
    }

    #[test]
    fn a_dimension_is_cut_between_characters() {
        let mut text = "éa☃".to_owned();
        truncate_chars(&mut text, 3);
        assert_eq!(text, "éa☃");
        truncate_chars(&mut text, 1);
        assert_eq!(text, "é");
    }
}
