//! What the endpoint accepted, readable while it runs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::Service;
use super::cloudwatch::Metric;
use super::faults::After;

/// What becomes of accepted records.
#[derive(Debug, Clone, Default)]
pub enum Keep {
    /// All are kept in memory, together with a line about every call. For tests: nothing bounds it.
    #[default]
    All,
    /// They are counted and dropped, at the least cost: base64 isn't decoded, and the sequence numbers of a call's
    /// answer are the same in every call.
    Count,
    /// They are counted and sent on, all of a call in one message. A full channel delays answers; a closed one doesn't
    /// matter.
    Send(mpsc::Sender<Vec<Record>>),
}

/// One accepted record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub service: Service,
    pub stream: Arc<str>,
    /// `None` for Firehose.
    pub partition_key: Option<String>,
    pub data: Bytes,
    /// The number of its call, from 1 in the order of arrival, over all streams.
    pub call: u64,
    /// Its place in the call, from 0.
    pub index: usize,
    /// The shard that its partition key (or explicit hash key) chose; `None` for Firehose.
    pub shard: Option<u32>,
    /// Increases from call to call and within each; [`super::sequence_number`] gives the wire's form.
    pub sequence: u64,
}

impl Record {
    /// One line of JSON in the form of the golden corpus, without a newline: `text`, or `base64` where the data isn't
    /// UTF-8, and `partition_key` if there is one.
    pub fn to_json(&self) -> String {
        self.line(None, None)
    }

    /// The same with `service` and `stream` in front.
    pub fn to_labelled_json(&self) -> String {
        self.line(Some(self.service.name()), Some(&self.stream))
    }

    fn line(&self, service: Option<&str>, stream: Option<&str>) -> String {
        let text = std::str::from_utf8(&self.data).ok();
        let line = Line {
            service,
            stream,
            text,
            base64: text.is_none().then(|| BASE64.encode(&self.data)),
            partition_key: self.partition_key.as_deref(),
        };
        serde_json::to_string(&line).expect("strings always become JSON")
    }
}

/// A record as it is exported.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
}

/// What one stream has accepted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls that were answered record by record, whatever then happened to the answer.
    pub n_calls: u64,
    /// Records accepted.
    pub n_records: u64,
    /// Bytes of their data, without partition keys.
    pub data_bytes: u64,
    /// Records refused one by one.
    pub n_refused: u64,
}

/// How a call's body was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    Json,
    Cbor,
}

/// Who signed a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    pub access_key_id: String,
    /// The region that the signature is for.
    pub region: String,
}

/// One PutRecords or PutRecordBatch call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1 in the order of arrival, over all streams.
    pub number: u64,
    /// When its body had been read.
    pub arrived_at: Instant,
    /// `None` if its signature doesn't hold, or wasn't looked at.
    pub signer: Option<Signer>,
    pub service: Service,
    pub wire: Wire,
    /// `None` if the call was refused before its body was read.
    pub stream: Option<String>,
    pub n_records: usize,
    pub outcome: CallOutcome,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// Answered record by record; then `after` happened to the answer.
    Answered {
        n_refused: usize,
        after: Option<After>,
    },
    /// Refused as a whole, with this error code.
    Refused(String),
    /// Struck by a fault before anything was accepted.
    Faulted,
}

/// Fewer records than waited for came within the time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{n_records} of {n_wanted} records accepted after {waited:?}")]
pub struct TooFew {
    pub n_records: u64,
    pub n_wanted: u64,
    pub waited: Duration,
}

/// A handle on what an endpoint accepted; its clones show the same.
#[derive(Debug, Clone)]
pub struct Received {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keep: Keep,
    inner: Mutex<Inner>,
    n_records: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<Service, BTreeMap<String, Counts>>,
    records: Vec<Record>,
    calls: Vec<Call>,
    metrics: Vec<Metric>,
}

impl Received {
    pub(super) fn new(keep: Keep) -> Self {
        let shared = Shared {
            keep,
            inner: Mutex::default(),
            n_records: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The records of a stream in the order of acceptance; none unless [`Keep::All`].
    pub fn records(&self, stream: &str) -> Vec<Record> {
        self.inner()
            .records
            .iter()
            .filter(|record| &*record.stream == stream)
            .cloned()
            .collect()
    }

    /// The records of all streams in the order of acceptance; none unless [`Keep::All`].
    pub fn all_records(&self) -> Vec<Record> {
        self.inner().records.clone()
    }

    /// What each stream has accepted.
    pub fn counts(&self) -> BTreeMap<(Service, String), Counts> {
        let inner = self.inner();
        let streams = inner
            .counts
            .iter()
            .flat_map(|(service, streams)| streams.iter().map(move |of| (service, of)));
        streams
            .map(|(service, (stream, counts))| ((*service, stream.clone()), *counts))
            .collect()
    }

    /// The calls that brought records, in the order in which their fate was decided; none unless [`Keep::All`].
    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// The metrics of all PutMetricData calls; none unless [`Keep::All`].
    pub fn metrics(&self) -> Vec<Metric> {
        self.inner().metrics.clone()
    }

    /// Records accepted so far, over all streams.
    pub fn n_records(&self) -> u64 {
        *self.shared.n_records.borrow()
    }

    /// Returns as soon as that many records have been accepted, over all streams.
    pub async fn wait_for(&self, n_wanted: u64, within: Duration) -> Result<(), TooFew> {
        let mut n_records = self.shared.n_records.subscribe();
        let enough = n_records.wait_for(|n_records| *n_records >= n_wanted);
        match tokio::time::timeout(within, enough).await {
            // The sender lives as long as `self`, so the channel isn't closed.
            Ok(_) => Ok(()),
            Err(_) => Err(TooFew {
                n_records: self.n_records(),
                n_wanted,
                waited: within,
            }),
        }
    }

    /// Writes a stream's records as JSON, one a line, in the form of the golden corpus.
    pub fn write_jsonl(&self, stream: &str, mut to: impl Write) -> io::Result<()> {
        for record in self.records(stream) {
            writeln!(to, "{}", record.to_json())?;
        }
        Ok(())
    }

    pub(super) fn keep(&self) -> &Keep {
        &self.shared.keep
    }

    /// Adds to a stream's counts and wakes those who wait for records.
    pub(super) fn count(&self, service: Service, stream: &str, counts: Counts) {
        {
            let mut inner = self.inner();
            inner.count(service, stream, counts);
        }
        self.announce(counts.n_records);
    }

    /// Takes in what a call brought; the lists must be empty unless [`Keep::All`].
    pub(super) fn commit(&self, call: Call, counts: Counts, records: Vec<Record>) {
        {
            let mut inner = self.inner();
            inner.count(
                call.service,
                call.stream.as_deref().unwrap_or_default(),
                counts,
            );
            inner.records.extend(records);
            if matches!(self.shared.keep, Keep::All) {
                inner.calls.push(call);
            }
        }
        self.announce(counts.n_records);
    }

    /// Notes a call that brought nothing.
    pub(super) fn note(&self, call: Call) {
        if matches!(self.shared.keep, Keep::All) {
            self.inner().calls.push(call);
        }
    }

    pub(super) fn commit_metrics(&self, metrics: Vec<Metric>) {
        if matches!(self.shared.keep, Keep::All) {
            self.inner().metrics.extend(metrics);
        }
    }

    fn announce(&self, n_records: u64) {
        self.shared
            .n_records
            .send_modify(|total| *total += n_records);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, service: Service, stream: &str, counts: Counts) {
        let streams = self.counts.entry(service).or_default();
        if !streams.contains_key(stream) {
            streams.insert(stream.to_owned(), Counts::default());
        }
        if let Some(total) = streams.get_mut(stream) {
            total.n_calls += counts.n_calls;
            total.n_records += counts.n_records;
            total.data_bytes += counts.data_bytes;
            total.n_refused += counts.n_refused;
        }
    }
}
