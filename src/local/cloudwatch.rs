//! PutMetricData of CloudWatch.

/// One metric as it was put.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {}
