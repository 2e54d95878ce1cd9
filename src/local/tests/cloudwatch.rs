//! PutMetricData.

use std::time::UNIX_EPOCH;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use super::*;

type Built = aws_sdk_cloudwatch::types::builders::MetricDatumBuilder;

fn datum() -> Built {
    MetricDatum::builder()
        .metric_name("RecordsSent")
        .unit(StandardUnit::Count)
}

fn statistics() -> aws_sdk_cloudwatch::types::StatisticSet {
    aws_sdk_cloudwatch::types::StatisticSet::builder()
        .sample_count(3.0)
        .sum(60.0)
        .minimum(10.0)
        .maximum(30.5)
        .build()
}

fn client(endpoint: &Endpoint) -> aws_sdk_cloudwatch::Client {
    aws_sdk_cloudwatch::Client::new(&sdk_config(endpoint, &Keys::test()))
}

async fn put_metrics(
    client: &aws_sdk_cloudwatch::Client,
    metrics: Vec<MetricDatum>,
) -> Result<(), String> {
    let call = client
        .put_metric_data()
        .namespace("AWSKinesisAgent")
        .set_metric_data(Some(metrics));
    call.send()
        .await
        .map(drop)
        .map_err(|error| match error.code() {
            Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
            None => DisplayErrorContext(&error).to_string(),
        })
}

#[tokio::test]
async fn the_sdk_s_metrics_are_decoded() {
    let endpoint = start(Options::default()).await;
    let dimension = Dimension::builder()
        .name("Destination")
        .value("KinesisStream:orders")
        .build();
    let metrics = vec![
        datum()
            .dimensions(dimension)
            .statistic_values(statistics())
            .build(),
        datum()
            .value(7.0)
            .timestamp((UNIX_EPOCH + Duration::from_millis(1500)).into())
            .build(),
        datum()
            .values(1.5)
            .values(2.0)
            .counts(1.0)
            .counts(4.0)
            .build(),
    ];
    put_metrics(&client(&endpoint), metrics).await.unwrap();
    let base = Metric {
        namespace: "AWSKinesisAgent".into(),
        name: "RecordsSent".into(),
        unit: Some("Count".into()),
        ..Metric::default()
    };
    let statistics = StatisticSet {
        sample_count: 3.0,
        sum: 60.0,
        minimum: 10.0,
        maximum: 30.5,
    };
    let expected = [
        Metric {
            dimensions: vec![("Destination".into(), "KinesisStream:orders".into())],
            statistics: Some(statistics),
            ..base.clone()
        },
        Metric {
            value: Some(7.0),
            timestamp_s: Some(1.5),
            ..base.clone()
        },
        Metric {
            values: vec![(1.5, 1.0), (2.0, 4.0)],
            ..base
        },
    ];
    assert_eq!(endpoint.received().metrics(), expected);
}

#[tokio::test]
async fn a_thousand_metrics_come_gzipped() {
    let endpoint = start(Options::default()).await;
    let client = client(&endpoint);
    put_metrics(&client, vec![datum().value(1.0).build(); 1000])
        .await
        .unwrap();
    assert_eq!(endpoint.received().metrics().len(), 1000);
    let error = put_metrics(&client, vec![datum().value(1.0).build(); 1001])
        .await
        .unwrap_err();
    assert!(
        error.starts_with("InvalidParameterValue: The collection MetricData"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_service_refuses_is_refused() {
    let endpoint = start(Options::default()).await;
    let client = client(&endpoint);
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let cases = [
        (
            MetricDatum::builder().value(1.0),
            "MissingParameter: The parameter MetricData.member.1.MetricName",
        ),
        (
            datum(),
            "MissingParameter: The parameter MetricData.member.1.Value",
        ),
        (
            datum().value(1.0).statistic_values(statistics()),
            "InvalidParameterCombination: ",
        ),
        (
            datum().value(f64::NAN),
            "InvalidParameterValue: The value NaN",
        ),
        (
            datum().value(f64::INFINITY),
            "InvalidParameterValue: The value inf",
        ),
        (
            datum().values(1.0).counts(1.0).counts(2.0),
            "InvalidParameterValue: ",
        ),
        (
            datum().value(1.0).unit("Apples".into()),
            "InvalidParameterValue: The value Apples",
        ),
        (
            datum().value(1.0).dimensions(dimension("", "x")),
            "InvalidParameterValue: ",
        ),
        (
            datum().value(1.0).dimensions(dimension("x", "")),
            "InvalidParameterValue: ",
        ),
        (
            datum()
                .value(1.0)
                .set_dimensions(Some(vec![dimension("x", "y"); 31])),
            "InvalidParameterValue: ",
        ),
    ];
    for (metric, expected) in cases {
        let error = put_metrics(&client, vec![metric.clone().build()])
            .await
            .unwrap_err();
        assert!(error.starts_with(expected), "{metric:?}: {error}");
    }
    assert!(endpoint.received().metrics().is_empty());
}

#[tokio::test]
async fn faults_strike_metrics_only_by_name() {
    let endpoint = start(Options {
        faults: "error=InternalFailure".parse().unwrap(),
        ..Options::default()
    })
    .await;
    let client = client(&endpoint);
    put_metrics(&client, vec![datum().value(1.0).build()])
        .await
        .unwrap();
    endpoint.set_faults("error=Throttling service=cloudwatch".parse().unwrap());
    let error = put_metrics(&client, vec![datum().value(1.0).build()])
        .await
        .unwrap_err();
    assert_eq!(error, "Throttling: refused by the fault script");
}
