//! The AWS services that the endpoint plays.

use std::fmt;

/// One of them; which one a call is for stands in its headers, so all share one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Kinesis Data Streams: PutRecords.
    Kinesis,
    /// Amazon Data Firehose: PutRecordBatch.
    Firehose,
    /// CloudWatch: PutMetricData.
    CloudWatch,
    /// Security Token Service: AssumeRole and AssumeRoleWithWebIdentity.
    Sts,
    /// EC2: DescribeTags.
    Ec2,
    /// The instance metadata service (IMDS), whose calls aren't signed.
    Imds,
}

impl Service {
    pub const ALL: [Service; 6] = [
        Service::Kinesis,
        Service::Firehose,
        Service::CloudWatch,
        Service::Sts,
        Service::Ec2,
        Service::Imds,
    ];

    /// Its name in lower case, as scripts and exports write it.
    pub fn name(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::Firehose => "firehose",
            Service::CloudWatch => "cloudwatch",
            Service::Sts => "sts",
            Service::Ec2 => "ec2",
            Service::Imds => "imds",
        }
    }

    /// Its name in a signature's credential scope.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::CloudWatch => "monitoring",
            other => other.name(),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
