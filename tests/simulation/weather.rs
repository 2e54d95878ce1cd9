//! What the service does to calls.

use fastrand::Rng;
use kinesis_agent::publish::failure::{CallFailure, FailureKind};
use kinesis_agent::publish::wire::RecordError;

/// How the service is, for a while. Chances are in percent.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// A call fails as a whole, before anything of it is accepted.
    fails: u8,
    /// All of it is accepted, and the answer is lost.
    unanswered: u8,
    /// Not a word comes back, and it is accepted much later if at all.
    late: u8,
    /// A record fails, of a call that gets through.
    fails_record: u8,
    /// A record is throttled.
    throttles_record: u8,
}

/// What becomes of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Answered; of each record whether it failed, and how.
    Answered(Vec<Option<RecordError>>),
    /// Nothing of it is accepted.
    Failed(CallFailure),
    /// Accepted; nobody is told.
    Unanswered,
    /// Given up; it may be accepted when nobody thinks of it any more.
    Late,
}

impl Weather {
    /// Nothing fails.
    pub const CLEAR: Weather = Weather {
        fails: 0,
        unanswered: 0,
        late: 0,
        fails_record: 0,
        throttles_record: 0,
    };

    /// From a clear sky to an outage.
    pub fn any(rng: &mut Rng) -> Weather {
        match rng.u8(..6) {
            0 => Weather::CLEAR,
            1 => Weather {
                fails_record: 10,
                ..Weather::CLEAR
            },
            2 => Weather {
                throttles_record: 60,
                ..Weather::CLEAR
            },
            3 => Weather {
                fails: 100,
                ..Weather::CLEAR
            },
            4 => Weather {
                unanswered: 20,
                late: 20,
                ..Weather::CLEAR
            },
            _ => Weather {
                fails: 10,
                unanswered: 5,
                late: 5,
                fails_record: 10,
                throttles_record: 10,
            },
        }
    }

    /// What becomes of a call of records of which some are bad: nobody accepts those.
    pub fn fate_of_bad(self, are_bad: &[bool], rng: &mut Rng) -> Fate {
        match self.fate(are_bad.len(), rng) {
            // Some services blame a record by itself, most of them the call.
            Fate::Answered(mut outcomes) if rng.u8(..4) == 0 => {
                let outcomes_of_bad = outcomes
                    .iter_mut()
                    .zip(are_bad)
                    .filter(|(_, is_bad)| **is_bad);
                outcomes_of_bad.for_each(|(outcome, _)| {
                    *outcome = Some(record_error("InvalidArgumentException"))
                });
                Fate::Answered(outcomes)
            }
            Fate::Answered(_) => Fate::Failed(failure(FailureKind::Content)),
            Fate::Unanswered | Fate::Late => Fate::Failed(failure(FailureKind::Unanswered)),
            failed @ Fate::Failed(_) => failed,
        }
    }

    /// What becomes of a call of so many records.
    pub fn fate(self, n_records: usize, rng: &mut Rng) -> Fate {
        let chance = rng.u8(..100);
        let (fails, unanswered) = (self.fails, self.fails + self.unanswered);
        if chance < fails {
            return Fate::Failed(failure(
                *rng.choice(FAILURES).unwrap_or(&FailureKind::Service),
            ));
        }
        if chance < unanswered {
            return Fate::Unanswered;
        }
        if chance < unanswered + self.late {
            return Fate::Late;
        }
        let mut outcome = |_| {
            let chance = rng.u8(..100);
            if chance < self.fails_record {
                Some(record_error("InternalFailure"))
            } else if chance < self.fails_record + self.throttles_record {
                Some(record_error("ProvisionedThroughputExceededException"))
            } else {
                None
            }
        };
        Fate::Answered((0..n_records).map(&mut outcome).collect())
    }
}

/// Failures of whole calls that say that nothing was accepted.
const FAILURES: &[FailureKind] = &[
    FailureKind::Throttled,
    FailureKind::Service,
    FailureKind::Connection,
    FailureKind::DestinationMissing,
    FailureKind::Access,
    FailureKind::NoCredentials,
];

/// A call that came to this.
pub fn failure(kind: FailureKind) -> CallFailure {
    CallFailure {
        kind,
        code: String::new(),
        message: String::new(),
    }
}

fn record_error(code: &str) -> RecordError {
    RecordError {
        code: code.to_owned(),
        message: String::new(),
    }
}
