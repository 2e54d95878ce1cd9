//! What arrives at CloudWatch, decoded at the embedded endpoint, for traffic that is known to the byte.

use std::collections::BTreeMap;

use kinesis_agent::local::{CallOutcome, Endpoint, Metric};
use serde_json::json;

use crate::support::aws::{endpoint, received};
use crate::support::host::Host;

/// Everything that was put for one metric and destination, as if it had been one statistic set.
#[derive(Debug, Clone, PartialEq)]
struct Put {
    unit: String,
    min: f64,
    max: f64,
    sum: f64,
    n_samples: f64,
}

/// By name and value of `Destination`; every datum must have exactly the dimensions given beside it.
fn puts(
    endpoint: &Endpoint,
    namespace: &str,
    instance: Option<&str>,
) -> BTreeMap<(String, String), Put> {
    let mut puts: BTreeMap<(String, String), Put> = BTreeMap::new();
    for metric in endpoint.received().metrics() {
        assert_eq!(metric.namespace, namespace);
        let (destination, put) = read(&metric, instance);
        puts.entry((metric.name.clone(), destination))
            .and_modify(|known| {
                known.min = known.min.min(put.min);
                known.max = known.max.max(put.max);
                known.sum += put.sum;
                known.n_samples += put.n_samples;
            })
            .or_insert(put);
    }
    puts
}

fn read(metric: &Metric, instance: Option<&str>) -> (String, Put) {
    let mut dimensions = metric.dimensions.iter();
    let (name, destination) = dimensions.next().expect("a dimension");
    assert_eq!(name, "Destination");
    let others: Vec<_> = dimensions
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected: Vec<_> = instance
        .map(|instance| ("Instance", instance))
        .into_iter()
        .collect();
    assert_eq!(others, expected, "{metric:?}");
    assert!(metric.timestamp_s.is_some_and(|s| s > 1.7e9), "{metric:?}");
    let set = metric.statistics.expect("a statistic set");
    let put = Put {
        unit: metric.unit.clone().expect("a unit"),
        min: set.minimum,
        max: set.maximum,
        sum: set.sum,
        n_samples: set.sample_count,
    };
    (destination.clone(), put)
}

fn host_with_metrics(endpoint: &Endpoint) -> Host {
    let mut host = Host::sending_to(&endpoint.url());
    host.set("cloudwatch.emitMetrics", true);
    host.set("cloudwatch.endpoint", endpoint.url());
    host.set("maxSendingThreads", 1);
    host.set("log.statusReportingPeriodSeconds", 3600);
    host
}

/// Two calls of known records to Kinesis, one to Firehose, and a failed one before: names, units, dimensions, sums.
#[tokio::test(flavor = "multi_thread")]
async fn the_references_metrics_say_what_was_sent() {
    let endpoint = endpoint("status=503 calls=1..1 stream=a").await;
    let mut host = host_with_metrics(&endpoint);
    host.set("cloudwatch.namespace", "OurSpace");
    host.set("cloudwatch.tagInstance", true);
    // In AUTO a call that fails may be made again in the other wire, and counts once.
    host.set("kinesis.wire", "JSON");
    host.add_flow(
        "logs/a.log",
        json!({ "kinesisStream": "a", "maxBufferSizeRecords": 2 }),
    );
    host.add_flow("logs/b.log", json!({ "deliveryStream": "b" }));
    host.write("logs/a.log", "one\ntwo\nthree\nfour\n");
    host.write("logs/b.log", "five\n");
    let agent = host.start();
    received(&endpoint, 5).await;
    let (ended, log) = agent.stop().await;
    assert!(ended.success(), "{log}");
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let puts = puts(&endpoint, "OurSpace", Some(&host_name));
    let n_failed = endpoint
        .received()
        .calls()
        .iter()
        .filter(|call| call.outcome == CallOutcome::Faulted)
        .count() as f64;
    assert!(n_failed >= 1.0);
    let put = |name: &str, destination: &str| {
        let key = (name.to_owned(), destination.to_owned());
        puts.get(&key)
            .unwrap_or_else(|| panic!("{key:?} is not in {puts:#?}"))
            .clone()
    };
    let set = |unit: &str, min: f64, max: f64, sum: f64, n_samples: f64| Put {
        unit: unit.to_owned(),
        min,
        max,
        sum,
        n_samples,
    };
    let (kinesis, firehose) = ("KinesisStream:a", "DeliveryStream:b");
    let n_calls = 2.0 + n_failed;
    for (name, expected) in [
        (
            "RecordSendAttempts",
            set("Count", 2.0, 2.0, 2.0 * n_calls, n_calls),
        ),
        (
            "RecordSendErrors",
            set("Count", 0.0, 2.0, 2.0 * n_failed, n_calls),
        ),
        ("RecordsSent", set("Count", 0.0, 2.0, 4.0, n_calls)),
        ("BytesSent", set("Bytes", 0.0, 11.0, 19.0, n_calls)),
        ("ServiceErrors", set("Count", 0.0, 1.0, n_failed, n_calls)),
    ] {
        assert_eq!(put(name, kinesis), expected, "{name}");
    }
    for (name, expected) in [
        ("RecordSendAttempts", set("Count", 1.0, 1.0, 1.0, 1.0)),
        ("RecordSendErrors", set("Count", 0.0, 0.0, 0.0, 1.0)),
        ("RecordsSent", set("Count", 1.0, 1.0, 1.0, 1.0)),
        ("BytesSent", set("Bytes", 5.0, 5.0, 5.0, 1.0)),
        ("ServiceErrors", set("Count", 0.0, 0.0, 0.0, 1.0)),
    ] {
        assert_eq!(put(name, firehose), expected, "{name}");
    }
    let names: Vec<_> = puts.keys().map(|(name, _)| name.as_str()).collect();
    assert!(!names.contains(&"BytesBehind"), "not asked for: {names:?}");
    assert!(log.contains(" datums."), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_metrics_come_where_they_are_asked_for() {
    let endpoint = endpoint("").await;
    let mut host = host_with_metrics(&endpoint);
    host.set("cloudwatch.extendedMetrics", true);
    host.add_flow(
        "logs/a.log",
        json!({ "kinesisStream": "a", "skipLinesMatching": "#.*" }),
    );
    host.write("logs/a.log", "one\n# two\nthree\n");
    let agent = host.start();
    received(&endpoint, 2).await;
    agent.stop().await;
    let puts = puts(&endpoint, "AWSKinesisAgent", None);
    for (name, unit, sum) in [
        ("BytesBehind", "Bytes", None),
        ("SecondsBehind", "Seconds", None),
        ("FilesFollowed", "Count", None),
        ("RecordsSkipped", "Count", Some(1.0)),
        ("RecordsTruncated", "Count", Some(0.0)),
        ("RecordsDeadLettered", "Count", Some(0.0)),
        ("ThrottledRecords", "Count", Some(0.0)),
        ("SendLatency", "Milliseconds", None),
        ("RecordsSent", "Count", Some(2.0)),
    ] {
        let put = puts.get(&(name.to_owned(), "KinesisStream:a".to_owned()));
        let put = put.unwrap_or_else(|| panic!("{name} is not in {puts:#?}"));
        assert_eq!(put.unit, unit, "{name}");
        assert!(put.n_samples >= 1.0 && put.min >= 0.0, "{name}: {put:?}");
        assert!(sum.is_none_or(|sum| put.sum == sum), "{name}: {put:?}");
    }
}

/// A CloudWatch that refuses everything never touches the data's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cloudwatch_is_said_and_touches_nothing_else() {
    let endpoint = endpoint("status=500 service=cloudwatch").await;
    let mut host = host_with_metrics(&endpoint);
    host.set("cloudwatch.metricsBufferTimeMillis", 100);
    host.add_flow("logs/a.log", json!({ "kinesisStream": "a" }));
    host.write("logs/a.log", "one\n");
    let mut agent = host.start();
    received(&endpoint, 1).await;
    let line = agent.says("could not publish").await;
    for words in [
        "[WARN]",
        "records are not affected",
        "allow cloudwatch:PutMetricData",
    ] {
        assert!(line.contains(words), "{line}");
    }
    host.append("logs/a.log", "two\n");
    received(&endpoint, 2).await;
}
