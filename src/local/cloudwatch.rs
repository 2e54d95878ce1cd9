//! PutMetricData of CloudWatch, in Smithy RPC v2 CBOR, gzipped or not: what the SDK for Rust sends.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use hyper::header::HeaderValue;

use super::answer::ServiceError;
use super::cbor::{Malformed, Reader};
use super::limits::{CALL_METRICS_MAX, METRIC_DIMENSIONS_MAX, METRICS_BODY_BYTES_MAX};

/// Where the call goes.
pub(super) const PATH: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";

/// An empty map: the call has no output.
pub(super) const EMPTY_ANSWER: &[u8] = &[0xa0];

/// Longest name of a namespace, metric or dimension in characters (API reference).
const NAME_CHARS_MAX: usize = 255;

/// Longest value of a dimension in characters (API reference).
const DIMENSION_VALUE_CHARS_MAX: usize = 1024;

/// Values of one metric (API reference).
const VALUES_MAX: usize = 150;

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// One metric as it was put.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metric {
    pub namespace: String,
    pub name: String,
    /// Names and values, as ordered in the call.
    pub dimensions: Vec<(String, String)>,
    /// `None` where none was given, which the service takes for `None`.
    pub unit: Option<String>,
    /// Seconds since 1970, UTC.
    pub timestamp_s: Option<f64>,
    /// A single value; exactly one of this, `statistics` and `values` is given.
    pub value: Option<f64>,
    pub statistics: Option<StatisticSet>,
    /// Values, each with the number of times that it was seen.
    pub values: Vec<(f64, f64)>,
}

/// Many values in four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StatisticSet {
    pub sample_count: f64,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
}

/// A metric as it is written.
#[derive(Debug, Default)]
struct RawMetric {
    metric: Metric,
    /// Members of the statistic set, in the order of [`StatisticSet`].
    statistics: Option<[Option<f64>; 4]>,
    values: Vec<f64>,
    counts: Option<Vec<f64>>,
}

/// Reads and checks a call.
pub(super) fn read(
    body: &[u8],
    encoding: Option<&HeaderValue>,
) -> Result<Vec<Metric>, ServiceError> {
    match encoding.map(HeaderValue::as_bytes) {
        None => read_plain(body),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let bound = METRICS_BODY_BYTES_MAX as u64 + 1;
            MultiGzDecoder::new(body)
                .take(bound)
                .read_to_end(&mut plain)
                .map_err(|error| {
                    ServiceError::serialization(format!("the body is not gzip: {error}"))
                })?;
            read_plain(&plain)
        }
        Some(_) => Err(ServiceError::serialization(
            "the content encoding is not gzip",
        )),
    }
}

fn read_plain(body: &[u8]) -> Result<Vec<Metric>, ServiceError> {
    if body.len() > METRICS_BODY_BYTES_MAX {
        let message = format!("the body is longer than {METRICS_BODY_BYTES_MAX} bytes");
        return Err(ServiceError {
            status: 413,
            code: "RequestEntityTooLargeException".into(),
            message,
        });
    }
    let mut namespace = None;
    let mut metrics = None;
    let mut reader = Reader::new(body);
    reader.map(|reader, key| {
        match key {
            _ if reader.null()? => {}
            "Namespace" => namespace = Some(reader.text()?.into_owned()),
            "MetricData" => {
                let mut list = Vec::new();
                reader.array(|reader| {
                    list.push(read_metric(reader)?);
                    Ok::<_, Malformed>(())
                })?;
                metrics = Some(list);
            }
            _ => reader.skip()?,
        }
        Ok::<_, Malformed>(())
    })?;
    reader.finish()?;
    let namespace = namespace.ok_or_else(|| missing("Namespace"))?;
    check_length("Namespace", &namespace, NAME_CHARS_MAX)?;
    if namespace.starts_with(':') {
        return Err(invalid(
            "The value for parameter Namespace is invalid: it begins with a colon.",
        ));
    }
    let metrics = metrics.ok_or_else(|| missing("MetricData"))?;
    if metrics.len() > CALL_METRICS_MAX {
        return Err(invalid(format!(
            "The collection MetricData must not have a size greater than {CALL_METRICS_MAX}."
        )));
    }
    let numbered = metrics.into_iter().enumerate();
    numbered
        .map(|(index, raw)| check(raw, &namespace, index + 1))
        .collect()
}

fn read_metric(reader: &mut Reader<'_>) -> Result<RawMetric, Malformed> {
    let mut raw = RawMetric::default();
    reader.map(|reader, key| {
        match key {
            _ if reader.null()? => {}
            "MetricName" => raw.metric.name = reader.text()?.into_owned(),
            "Unit" => raw.metric.unit = Some(reader.text()?.into_owned()),
            "Timestamp" => raw.metric.timestamp_s = Some(reader.number()?),
            "Value" => raw.metric.value = Some(reader.number()?),
            "Values" => raw.values = read_numbers(reader)?,
            "Counts" => raw.counts = Some(read_numbers(reader)?),
            "StatisticValues" => raw.statistics = Some(read_statistics(reader)?),
            "Dimensions" => reader.array(|reader| {
                raw.metric.dimensions.push(read_dimension(reader)?);
                Ok::<_, Malformed>(())
            })?,
            _ => reader.skip()?,
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(raw)
}

fn read_numbers(reader: &mut Reader<'_>) -> Result<Vec<f64>, Malformed> {
    let mut numbers = Vec::new();
    reader.array(|reader| {
        numbers.push(reader.number()?);
        Ok::<_, Malformed>(())
    })?;
    Ok(numbers)
}

fn read_statistics(reader: &mut Reader<'_>) -> Result<[Option<f64>; 4], Malformed> {
    let mut members = [None; 4];
    reader.map(|reader, key| {
        match key {
            "SampleCount" => members[0] = Some(reader.number()?),
            "Sum" => members[1] = Some(reader.number()?),
            "Minimum" => members[2] = Some(reader.number()?),
            "Maximum" => members[3] = Some(reader.number()?),
            _ => reader.skip()?,
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(members)
}

fn read_dimension(reader: &mut Reader<'_>) -> Result<(String, String), Malformed> {
    let (mut name, mut value) = (String::new(), String::new());
    reader.map(|reader, key| {
        match key {
            "Name" => name = reader.text()?.into_owned(),
            "Value" => value = reader.text()?.into_owned(),
            _ => reader.skip()?,
        }
        Ok::<_, Malformed>(())
    })?;
    Ok((name, value))
}

fn check(raw: RawMetric, namespace: &str, number: usize) -> Result<Metric, ServiceError> {
    let member = |name: &str| format!("MetricData.member.{number}.{name}");
    let mut metric = raw.metric;
    metric.namespace = namespace.to_owned();
    if metric.name.is_empty() {
        return Err(missing(&member("MetricName")));
    }
    check_length(&member("MetricName"), &metric.name, NAME_CHARS_MAX)?;
    if metric.dimensions.len() > METRIC_DIMENSIONS_MAX {
        return Err(invalid(format!(
            "The collection {} must not have a size greater than {METRIC_DIMENSIONS_MAX}.",
            member("Dimensions"),
        )));
    }
    for (name, value) in &metric.dimensions {
        check_length(&member("Dimensions.Name"), name, NAME_CHARS_MAX)?;
        check_length(
            &member("Dimensions.Value"),
            value,
            DIMENSION_VALUE_CHARS_MAX,
        )?;
    }
    if let Some(unit) = metric.unit.as_deref().filter(|unit| !UNITS.contains(unit)) {
        return Err(invalid(format!(
            "The value {unit} for parameter {} is invalid.",
            member("Unit")
        )));
    }
    metric.statistics = match raw.statistics {
        None => None,
        Some([Some(sample_count), Some(sum), Some(minimum), Some(maximum)]) => Some(StatisticSet {
            sample_count,
            sum,
            minimum,
            maximum,
        }),
        Some(_) => {
            return Err(missing(&member(
                "StatisticValues (SampleCount, Sum, Minimum and Maximum)",
            )));
        }
    };
    metric.values = pairs(raw.values, raw.counts, &member("Values"))?;
    let n_forms = [
        metric.value.is_some(),
        metric.statistics.is_some(),
        !metric.values.is_empty(),
    ];
    match n_forms.into_iter().filter(|is_given| *is_given).count() {
        0 => return Err(missing(&member("Value"))),
        1 => {}
        _ => {
            let message = format!(
                "The parameters {}, {} and {} are mutually exclusive and you have specified more than one.",
                member("Value"),
                member("Values"),
                member("StatisticValues"),
            );
            return Err(ServiceError::caller("InvalidParameterCombination", message));
        }
    }
    check_numbers(&metric, &member("Value"))?;
    Ok(metric)
}

fn pairs(
    values: Vec<f64>,
    counts: Option<Vec<f64>>,
    member: &str,
) -> Result<Vec<(f64, f64)>, ServiceError> {
    if values.len() > VALUES_MAX {
        return Err(invalid(format!(
            "The collection {member} must not have a size greater than {VALUES_MAX}."
        )));
    }
    let counts = counts.unwrap_or_else(|| vec![1.0; values.len()]);
    if counts.len() != values.len() {
        return Err(invalid(format!(
            "The parameters {member} and Counts must have the same number of elements."
        )));
    }
    Ok(values.into_iter().zip(counts).collect())
}

fn check_numbers(metric: &Metric, member: &str) -> Result<(), ServiceError> {
    let of_set = metric
        .statistics
        .iter()
        .flat_map(|set| [set.sample_count, set.sum, set.minimum, set.maximum]);
    let of_values = metric
        .values
        .iter()
        .flat_map(|(value, count)| [*value, *count]);
    match metric
        .value
        .into_iter()
        .chain(of_set)
        .chain(of_values)
        .find(|number| !number.is_finite())
    {
        Some(number) => Err(invalid(format!(
            "The value {number} for parameter {member} is invalid."
        ))),
        None => Ok(()),
    }
}

fn check_length(member: &str, text: &str, chars_max: usize) -> Result<(), ServiceError> {
    if (1..=chars_max).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(invalid(format!(
        "The parameter {member} must be from 1 to {chars_max} characters long."
    )))
}

fn missing(member: &str) -> ServiceError {
    ServiceError::caller(
        "MissingParameter",
        format!("The parameter {member} is required."),
    )
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::caller("InvalidParameterValue", message)
}
