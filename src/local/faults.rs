//! What goes wrong on purpose: a script that people can type, and the plan that it gives for each call.
//!
//! ```text
//! fail-record every=10; throttle p=0.1 stream=orders; status=503 calls=3..7; delay=200ms
//! ```
//!
//! Rules stand on lines of their own or between semicolons; each is a fault and, in any order, selectors.
//!
//! | fault | what happens |
//! |---|---|
//! | `fail-record`, `fail-record=CODE` | records are refused with `InternalFailure` or that code |
//! | `throttle` | records are refused as beyond the stream's throughput |
//! | `status=502` | an answer without any AWS form, as a proxy gives it; 300 … 599 |
//! | `error=CODE`, `error=CODE:500` | the whole call is refused with that error |
//! | `reset-before`, `reset-after` | the connection is dropped before or after the records are accepted |
//! | `delay=200ms` | the call waits before anything else happens to it, and is forgotten if the caller goes away; at most an hour |
//! | `garble`, `garble=cut` | the records are accepted, the answer is unreadable or ends half way |
//! | `wrong-count`, `wrong-count=long`, `wrong-count=failed` | they are accepted, the answer contradicts itself |
//! | `stall` | no answer until the connection is closed |
//! | `cbor=400` | calls in CBOR are refused with that status, as by some emulators; 400 … 599 |
//!
//! | selector | which calls, or which records for the first two faults |
//! |---|---|
//! | `every=10` | each tenth that the rule sees |
//! | `p=0.1` | each with that probability |
//! | `calls=3..7`, `calls=3..`, `calls=3` | those of the calls that the rule sees, counted from 1, both ends included |
//! | `stream=NAME` | only calls for that stream are seen |
//! | `service=cloudwatch` | only calls to that service are seen; without it, those that bring records |
//! | `seed=7` | another choice by `p` |
//!
//! All selectors of a rule must hold, and every rule looks at every call in its scope. A script is deterministic: what
//! `p` decides depends on the rule's seed, its place in the script and how many calls it has seen.

mod script;

use std::time::Duration;

pub use script::ScriptError;

use super::Service;

/// The fault script of an endpoint, with the state of its counters. The default has no rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    rules: Vec<Rule>,
}

/// One rule of a script.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    kind: Kind,
    scope: Scope,
    when: When,
    seed: u64,
    /// Calls in scope so far.
    n_calls: u64,
    /// Records of calls in scope so far.
    n_records: u64,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// `fail-record` and `throttle`: chosen records are refused.
    Records(RecordFault),
    /// `delay`: the answer comes later.
    Delay(Duration),
    /// `cbor`: a call in CBOR is refused, others pass.
    RefuseCbor(u16),
    /// Anything that replaces the call's acceptance.
    Before(Before),
    /// Anything that happens to the answer of an accepted call.
    After(After),
}

/// Which calls a rule looks at.
#[derive(Debug, Clone, Default, PartialEq)]
struct Scope {
    /// `None`: PutRecords and PutRecordBatch.
    service: Option<Service>,
    stream: Option<String>,
}

/// Which of them it strikes, or which of their records; all conditions given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct When {
    every: Option<u64>,
    probability: Option<f64>,
    /// First and last call in scope, counted from 1; 0 … `u64::MAX` if open.
    calls: Option<(u64, u64)>,
}

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFault {
    /// `fail-record`: with this error code; `None`: the service's word for a failure of its own.
    Failed(Option<String>),
    /// `throttle`: the service's word for too much.
    Throttled,
}

/// What happens instead of acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// `reset-before`: the connection is dropped.
    Reset,
    /// `status`: an answer without any AWS form, as a proxy or a load balancer gives it.
    Status(u16),
    /// `error`: an error of the service; `None`: the status that goes with the code.
    Error { code: String, status: Option<u16> },
    /// `cbor`: the call was in CBOR, which this status refuses.
    RefuseCbor(u16),
    /// `stall`: no answer until the connection is closed.
    Stall,
}

/// What happens to the answer of a call whose records were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// `reset-after`: the connection is dropped without one.
    Reset,
    /// `garble`
    Garble(Garble),
    /// `wrong-count`
    WrongCount(WrongCount),
}

/// How an answer becomes unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garble {
    /// Half of the body, then the connection is dropped.
    Cut,
    /// The whole length, but with bytes that neither JSON nor CBOR allows.
    Corrupt,
}

/// How the numbers of an answer contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongCount {
    /// One failed record more than there are, and one entry less than records.
    Short,
    /// One failed record more than there are, and one entry more than records.
    Long,
    /// One failed record more than there are.
    Failed,
}

/// What a rule can know of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'a> {
    pub service: Service,
    /// `None` where the service has no streams.
    pub stream: Option<&'a str>,
    pub is_cbor: bool,
    pub n_records: usize,
}

/// What a script can do to those who call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// Records may be accepted without their sender learning of it; who loses nothing sends them again.
    pub hides_acceptance: bool,
    /// A call may go without any answer.
    pub stalls: bool,
    /// The longest that an answer is put off.
    pub delay_max: Duration,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Time that passes before anything else.
    pub delay: Duration,
    pub before: Option<Before>,
    /// Records to refuse, by index, in order.
    pub records: Vec<(usize, RecordFault)>,
    pub after: Option<After>,
}

impl Faults {
    /// Says what goes wrong with the next call. Delays add up; of the others the first rule that strikes wins.
    pub fn plan(&mut self, call: &CallFacts<'_>) -> Plan {
        let mut plan = Plan::default();
        for (place, rule) in self.rules.iter_mut().enumerate() {
            rule.apply(place as u64, call, &mut plan);
        }
        plan
    }

    /// What can happen to calls like this one, whichever of them the selectors then choose.
    pub fn effects_on(&self, call: &CallFacts<'_>) -> Effects {
        let rules = self.rules.iter().filter(|rule| rule.scope.includes(call));
        rules.fold(Effects::default(), |effects, rule| match rule.kind {
            Kind::After(_) => Effects {
                hides_acceptance: true,
                ..effects
            },
            Kind::Before(Before::Stall) => Effects {
                stalls: true,
                ..effects
            },
            Kind::Delay(delay) => Effects {
                delay_max: effects.delay_max.saturating_add(delay),
                ..effects
            },
            Kind::Before(_) | Kind::Records(_) | Kind::RefuseCbor(_) => effects,
        })
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Rule {
    fn apply(&mut self, place: u64, call: &CallFacts<'_>, plan: &mut Plan) {
        let concerns_it = !matches!(self.kind, Kind::RefuseCbor(_)) || call.is_cbor;
        if !self.scope.includes(call) || !concerns_it {
            return;
        }
        self.n_calls += 1;
        let is_in_range = self
            .when
            .calls
            .is_none_or(|(first, last)| (first..=last).contains(&self.n_calls));
        let mut random = fastrand::Rng::with_seed(mix(self.seed, place, self.n_calls));
        if let Kind::Records(fault) = &self.kind {
            for index in 0..call.n_records {
                self.n_records += 1;
                if is_in_range && self.when.strikes(self.n_records, &mut random) {
                    plan.refuse_record(index, fault);
                }
            }
            return;
        }
        if !is_in_range || !self.when.strikes(self.n_calls, &mut random) {
            return;
        }
        match &self.kind {
            Kind::Records(_) => {}
            Kind::Delay(delay) => plan.delay = plan.delay.saturating_add(*delay),
            Kind::RefuseCbor(status) => plan.strike_before(Before::RefuseCbor(*status)),
            Kind::Before(before) => plan.strike_before(before.clone()),
            Kind::After(after) => plan.after = plan.after.or(Some(*after)),
        }
    }
}

impl Scope {
    fn includes(&self, call: &CallFacts<'_>) -> bool {
        let is_service = match self.service {
            Some(service) => service == call.service,
            None => matches!(call.service, Service::Kinesis | Service::Firehose),
        };
        is_service
            && self
                .stream
                .as_deref()
                .is_none_or(|stream| Some(stream) == call.stream)
    }
}

impl When {
    /// `count` is the call's or the record's number within the scope, from 1.
    fn strikes(&self, count: u64, random: &mut fastrand::Rng) -> bool {
        // The number is drawn in any case, so that `every` doesn't shift what `p` decides.
        let is_drawn = self
            .probability
            .is_none_or(|probability| random.f64() < probability);
        is_drawn && self.every.is_none_or(|every| count.is_multiple_of(every))
    }
}

impl Plan {
    fn strike_before(&mut self, before: Before) {
        self.before.get_or_insert(before);
    }

    fn refuse_record(&mut self, index: usize, fault: &RecordFault) {
        if let Err(place) = self
            .records
            .binary_search_by_key(&index, |(index, _)| *index)
        {
            self.records.insert(place, (index, fault.clone()));
        }
    }
}

/// Spreads neighbouring seeds, rules and calls over all of the generator's states (SplitMix64's finaliser).
fn mix(seed: u64, place: u64, n_calls: u64) -> u64 {
    let mut bits = seed
        ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ n_calls.wrapping_mul(0xd1b5_4a32_d192_ed03);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n_records: usize) -> CallFacts<'static> {
        CallFacts {
            service: Service::Kinesis,
            stream: Some("orders"),
            is_cbor: true,
            n_records,
        }
    }

    fn script(text: &str) -> Faults {
        text.parse().unwrap()
    }

    #[test]
    fn effects_are_those_of_the_rules_in_scope() {
        let effects = |hides_acceptance, stalls, delay_ms| Effects {
            hides_acceptance,
            stalls,
            delay_max: Duration::from_millis(delay_ms),
        };
        for (text, expected) in [
            ("", effects(false, false, 0)),
            (
                "fail-record every=10; status=500 p=0.05; reset-before; cbor=400; error=A",
                effects(false, false, 0),
            ),
            ("reset-after p=0.1", effects(true, false, 0)),
            ("garble=cut", effects(true, false, 0)),
            ("wrong-count", effects(true, false, 0)),
            ("stall calls=3; delay=2s", effects(false, true, 2000)),
            ("delay=200ms; delay=1s p=0.1", effects(false, false, 1200)),
            (
                "garble service=firehose; stall stream=other; delay=1s service=sts",
                effects(false, false, 0),
            ),
        ] {
            assert_eq!(script(text).effects_on(&call(1)), expected, "{text}");
        }
    }

    /// The numbers of the calls, out of `n_calls`, that something strikes.
    fn struck(text: &str, n_calls: u64) -> Vec<u64> {
        let mut faults = script(text);
        (1..=n_calls)
            .filter(|_| faults.plan(&call(1)) != Plan::default())
            .collect()
    }

    #[test]
    fn selectors_choose_calls() {
        let cases: &[(&str, &[u64])] = &[
            ("", &[]),
            ("reset-before", &[1, 2, 3, 4, 5, 6, 7, 8]),
            ("reset-after every=3", &[3, 6]),
            ("status=503 calls=3..5", &[3, 4, 5]),
            ("status=503 calls=2", &[2]),
            ("status=503 calls=..2", &[1, 2]),
            ("status=503 calls=7..", &[7, 8]),
            ("stall every=2 calls=3..6", &[4, 6]),
            ("stall p=0", &[]),
            ("stall p=1", &[1, 2, 3, 4, 5, 6, 7, 8]),
            ("stall stream=orders calls=1", &[1]),
            ("stall stream=others", &[]),
            ("stall service=firehose", &[]),
            ("stall service=kinesis calls=8", &[8]),
            ("garble every=4; wrong-count calls=1", &[1, 4, 8]),
        ];
        for (text, expected) in cases {
            assert_eq!(struck(text, 8), *expected, "{text}");
        }
    }

    #[test]
    fn record_rules_count_records_across_calls() {
        let mut faults = script("fail-record every=4");
        let mut plan = || {
            faults
                .plan(&call(6))
                .records
                .into_iter()
                .map(|(index, _)| index)
                .collect::<Vec<_>>()
        };
        assert_eq!(plan(), [3]);
        assert_eq!(plan(), [1, 5]);
    }

    #[test]
    fn the_first_rule_that_strikes_a_record_wins() {
        let mut faults = script("fail-record=Odd every=2; throttle every=3; fail-record every=6");
        assert_eq!(
            faults.plan(&call(6)).records,
            [
                (1, RecordFault::Failed(Some("Odd".into()))),
                (2, RecordFault::Throttled),
                (3, RecordFault::Failed(Some("Odd".into()))),
                (5, RecordFault::Failed(Some("Odd".into()))),
            ],
        );
    }

    #[test]
    fn delays_add_up_and_the_first_of_the_others_wins() {
        let plan =
            script("delay=200ms; delay=1s; status=500; reset-before; garble=cut; reset-after")
                .plan(&call(1));
        assert_eq!(plan.delay, Duration::from_millis(1200));
        assert_eq!(plan.before, Some(Before::Status(500)));
        assert_eq!(plan.after, Some(After::Garble(Garble::Cut)));
    }

    #[test]
    fn only_cbor_calls_are_refused_and_counted_by_cbor() {
        let mut faults = script("cbor=500 calls=1");
        let json = CallFacts {
            is_cbor: false,
            ..call(1)
        };
        assert_eq!(faults.plan(&json).before, None);
        assert_eq!(faults.plan(&call(1)).before, Some(Before::RefuseCbor(500)));
        assert_eq!(faults.plan(&call(1)).before, None);
    }

    #[test]
    fn rules_without_a_service_concern_records_only() {
        let cloudwatch = CallFacts {
            service: Service::CloudWatch,
            stream: None,
            is_cbor: true,
            n_records: 0,
        };
        assert_eq!(script("status=500").plan(&cloudwatch).before, None);
        assert_eq!(
            script("status=500 service=cloudwatch")
                .plan(&cloudwatch)
                .before,
            Some(Before::Status(500))
        );
    }

    #[test]
    fn a_probability_strikes_about_so_often_and_the_same_again() {
        let n_struck = struck("stall p=0.1 seed=7", 10_000).len();
        assert!((900..1100).contains(&n_struck), "{n_struck}");
        assert_eq!(
            struck("stall p=0.1 seed=7", 1000),
            struck("stall p=0.1 seed=7", 1000)
        );
        assert_ne!(
            struck("stall p=0.1 seed=7", 1000),
            struck("stall p=0.1 seed=8", 1000)
        );
        assert_ne!(
            struck("stall p=0.1", 1000),
            struck("delay=0s; stall p=0.1", 1000)
        );

        let mut faults = script("throttle p=0.1");
        let n_refused: usize = (0..100)
            .map(|_| faults.plan(&call(100)).records.len())
            .sum();
        assert!((900..1100).contains(&n_refused), "{n_refused}");
    }
}
