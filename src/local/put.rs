//! What PutRecords and PutRecordBatch have in common: entries in, faults, shards, acceptance, one verdict an entry out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::Service;
use super::answer::{Answer, Protocol};
use super::faults::{After, CallFacts, Garble, Plan, RecordFault, WrongCount};
use super::received::{Call, CallOutcome, Counts, Keep, Record, Signer, Wire};
use super::state::{HungUp, State};

/// A call that was read and found valid.
#[derive(Debug)]
pub(super) struct PutCall<'a> {
    pub(super) number: u64,
    pub(super) arrived_at: Instant,
    pub(super) signer: Option<Signer>,
    pub(super) service: Service,
    pub(super) wire: Wire,
    pub(super) stream: Cow<'a, str>,
    pub(super) entries: Vec<Entry<'a>>,
}

/// One entry of a call.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) data: Data<'a>,
    /// Empty for Firehose.
    pub(super) partition_key: Cow<'a, str>,
    pub(super) explicit_hash_key: Option<u128>,
}

/// A record's data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data<'a> {
    Whole(Cow<'a, [u8]>),
    /// Base64 that nobody will look at, by the length of what it encodes.
    Counted(usize),
}

impl Data<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Data::Whole(data) => data.len(),
            Data::Counted(n_bytes) => *n_bytes,
        }
    }

    /// The data, sharing the body's memory where it can.
    fn into_bytes(self, body: &Bytes) -> Bytes {
        match self {
            Data::Whole(Cow::Borrowed(data)) if !data.is_empty() => body.slice_ref(data),
            Data::Whole(data) => Bytes::from(data.into_owned()),
            Data::Counted(_) => Bytes::new(),
        }
    }
}

impl Entry<'_> {
    /// What counts against the limits.
    pub(super) fn n_bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted {
        shard: u32,
        sequence: u64,
    },
    Refused {
        code: Cow<'static, str>,
        message: String,
    },
}

/// What an answer says: normally one verdict an entry and the number of those refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdicts {
    pub(super) n_refused: usize,
    pub(super) entries: Vec<Verdict>,
}

/// Answers of [`Keep::Count`] by service, wire and number of records.
pub(super) type ReadyAnswers = Mutex<HashMap<(Service, Wire, usize), Bytes>>;

/// The wire's form of a sequence number: 56 digits.
pub fn sequence_number(sequence: u64) -> String {
    format!("49{sequence:054}")
}

/// The wire's form of a shard's number.
pub fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

impl Wire {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Wire::Json => Protocol::Json,
            Wire::Cbor => Protocol::Cbor,
        }
    }
}

/// Carries a valid call out. `body` is what its entries borrow from, `render` writes the service's answer.
pub(super) async fn put(
    state: &State,
    call: PutCall<'_>,
    body: &Bytes,
    render: fn(&Verdicts, Wire) -> Vec<u8>,
) -> Result<Answer, HungUp> {
    let facts = CallFacts {
        service: call.service,
        stream: Some(&call.stream),
        is_cbor: call.wire == Wire::Cbor,
        n_records: call.entries.len(),
    };
    let plan = state.plan(&facts);
    let protocol = call.wire.protocol();
    if plan.before.is_some() {
        state.received.note(call.line(CallOutcome::Faulted));
    }
    if let Some(answer) = state.strike(&plan, protocol).await? {
        return Ok(answer);
    }
    if matches!(state.received.keep(), Keep::Count)
        && plan.records.is_empty()
        && plan.after.is_none()
        && state.shards.is_trivial()
    {
        return Ok(protocol.answer(count_only(state, &call, render)));
    }

    let wire = call.wire;
    let mut verdicts = accept(state, call, body, &plan).await;
    if let Some(After::WrongCount(how)) = plan.after {
        verdicts.contradict(how);
    }
    spoil(protocol.answer(render(&verdicts, wire)), plan.after)
}

/// Decides on a call's records and keeps those accepted as the endpoint's options say.
async fn accept(state: &State, call: PutCall<'_>, body: &Bytes, plan: &Plan) -> Verdicts {
    let keep = state.received.keep();
    // If the caller goes away while this waits, nothing has happened; from there on nothing waits.
    let permit = match keep {
        Keep::Send(sender) => sender.reserve().await.ok(),
        Keep::All | Keep::Count => None,
    };
    let verdicts = judge(state, &call, plan);
    let outcome = CallOutcome::Answered {
        n_refused: verdicts.n_refused,
        after: plan.after,
    };
    let (line, counts) = (call.line(outcome), call.counts(&verdicts));
    let mut kept = Vec::new();
    match (keep, permit) {
        (Keep::All, _) => kept = call.into_records(&verdicts, body),
        (Keep::Send(_), Some(permit)) => permit.send(call.into_records(&verdicts, body)),
        (Keep::Send(_) | Keep::Count, _) => {}
    }
    state.received.commit(line, counts, kept);
    verdicts
}

/// Does to an answer what the script says.
pub(super) fn spoil(answer: Answer, after: Option<After>) -> Result<Answer, HungUp> {
    match after {
        Some(After::Reset) => Err(HungUp),
        Some(After::Garble(how)) => Ok(garbled(answer, how)),
        // The numbers were wrong when the answer was written.
        Some(After::WrongCount(_)) | None => Ok(answer),
    }
}

/// Counts the records of a call that nothing else can happen to.
fn count_only(state: &State, call: &PutCall<'_>, render: fn(&Verdicts, Wire) -> Vec<u8>) -> Bytes {
    let n_records = call.entries.len();
    let data_bytes = call
        .entries
        .iter()
        .map(|entry| entry.data.len() as u64)
        .sum();
    let counts = Counts {
        n_calls: 1,
        n_records: n_records as u64,
        data_bytes,
        n_refused: 0,
    };
    state.received.count(call.service, &call.stream, counts);
    let mut answers = state
        .ready_answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let answer = answers
        .entry((call.service, call.wire, n_records))
        .or_insert_with(|| {
            let entries = (0..n_records).map(|index| Verdict::Accepted {
                shard: 0,
                sequence: index as u64,
            });
            Bytes::from(render(
                &Verdicts {
                    n_refused: 0,
                    entries: entries.collect(),
                },
                call.wire,
            ))
        });
    answer.clone()
}

/// Decides on each entry: the fault script first, then the shard.
fn judge(state: &State, call: &PutCall<'_>, plan: &Plan) -> Verdicts {
    let now = state.clock.now();
    let first_sequence = state
        .next_sequence
        .fetch_add(call.entries.len() as u64, Ordering::Relaxed);
    let mut faults = plan.records.iter().peekable();
    let entries: Vec<Verdict> = call
        .entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let shard = match call.service {
                Service::Kinesis => state
                    .shards
                    .choose(&entry.partition_key, entry.explicit_hash_key),
                _ => 0,
            };
            if let Some((_, fault)) = faults.next_if(|(faulty, _)| *faulty == index) {
                return refused(fault, call, shard);
            }
            let is_admitted = call.service != Service::Kinesis
                || state
                    .shards
                    .admit(&call.stream, shard, entry.n_bytes(), now);
            match is_admitted {
                true => Verdict::Accepted {
                    shard,
                    sequence: first_sequence + index as u64,
                },
                false => refused(&RecordFault::Throttled, call, shard),
            }
        })
        .collect();
    let n_refused = entries
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::Refused { .. }))
        .count();
    Verdicts { n_refused, entries }
}

fn refused(fault: &RecordFault, call: &PutCall<'_>, shard: u32) -> Verdict {
    let (code, message) = match (fault, call.service) {
        (RecordFault::Failed(Some(code)), _) => (
            Cow::Owned(code.clone()),
            "refused by the fault script".into(),
        ),
        (RecordFault::Failed(None), _) => (
            Cow::Borrowed("InternalFailure"),
            "Internal service failure.".into(),
        ),
        (RecordFault::Throttled, Service::Kinesis) => (
            Cow::Borrowed("ProvisionedThroughputExceededException"),
            format!(
                "Rate exceeded for shard {} in stream {} under account {}.",
                shard_id(shard),
                call.stream,
                super::ACCOUNT_ID,
            ),
        ),
        (RecordFault::Throttled, _) => (
            Cow::Borrowed("ServiceUnavailableException"),
            "Slow down.".into(),
        ),
    };
    Verdict::Refused { code, message }
}

impl PutCall<'_> {
    fn line(&self, outcome: CallOutcome) -> Call {
        Call {
            number: self.number,
            arrived_at: self.arrived_at,
            signer: self.signer.clone(),
            service: self.service,
            wire: self.wire,
            stream: Some(self.stream.clone().into_owned()),
            n_records: self.entries.len(),
            outcome,
        }
    }

    fn counts(&self, verdicts: &Verdicts) -> Counts {
        let accepted = self
            .entries
            .iter()
            .zip(&verdicts.entries)
            .filter(|(_, verdict)| verdict.is_accepted());
        Counts {
            n_calls: 1,
            n_records: (self.entries.len() - verdicts.n_refused) as u64,
            data_bytes: accepted.map(|(entry, _)| entry.data.len() as u64).sum(),
            n_refused: verdicts.n_refused as u64,
        }
    }

    fn into_records(self, verdicts: &Verdicts, body: &Bytes) -> Vec<Record> {
        let stream: Arc<str> = Arc::from(&*self.stream);
        let is_kinesis = self.service == Service::Kinesis;
        let judged = self.entries.into_iter().zip(&verdicts.entries).enumerate();
        judged
            .filter_map(|(index, (entry, verdict))| match verdict {
                Verdict::Refused { .. } => None,
                Verdict::Accepted { shard, sequence } => Some(Record {
                    service: self.service,
                    stream: Arc::clone(&stream),
                    partition_key: is_kinesis.then(|| entry.partition_key.into_owned()),
                    data: entry.data.into_bytes(body),
                    call: self.number,
                    index,
                    shard: is_kinesis.then_some(*shard),
                    sequence: *sequence,
                }),
            })
            .collect()
    }
}

impl Verdict {
    fn is_accepted(&self) -> bool {
        matches!(self, Verdict::Accepted { .. })
    }
}

impl Verdicts {
    fn contradict(&mut self, how: WrongCount) {
        self.n_refused += 1;
        match how {
            WrongCount::Failed => {}
            WrongCount::Short => {
                self.entries.pop();
            }
            WrongCount::Long => self.entries.extend(self.entries.last().cloned()),
        }
    }
}

fn garbled(answer: Answer, how: Garble) -> Answer {
    match how {
        Garble::Cut => Answer {
            is_cut: true,
            ..answer
        },
        Garble::Corrupt => {
            let mut body = answer.body.to_vec();
            // 0xff is no UTF-8, so no JSON, and in CBOR a break where none can be.
            body.iter_mut().step_by(7).for_each(|byte| *byte = 0xff);
            Answer {
                body: body.into(),
                ..answer
            }
        }
    }
}
