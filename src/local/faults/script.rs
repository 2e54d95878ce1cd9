//! The text form of a fault script.

use std::str::FromStr;
use std::time::Duration;

use super::{After, Before, Faults, Garble, Kind, RecordFault, Rule, Scope, When, WrongCount};
use crate::local::Service;

/// A script that can't be read: which rule, why, and what is legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault rule \"{rule}\": {why}")]
pub struct ScriptError {
    /// The rule as written.
    pub rule: String,
    pub why: String,
}

const KINDS: &str = "fail-record[=CODE], throttle, status=300…599, error=CODE[:400…599], reset-before, reset-after, \
                     delay=200ms, garble[=cut|corrupt], wrong-count[=short|long|failed], stall, cbor=400…599";
/// The longest `delay`: an hour.
const DELAY_MS_MAX: u64 = 3_600_000;

const SELECTORS: &str = "every=N, p=0…1, calls=A..B, stream=NAME, service=kinesis|firehose|cloudwatch|sts|ec2|imds, seed=N";

impl FromStr for Faults {
    type Err = ScriptError;

    fn from_str(script: &str) -> Result<Self, ScriptError> {
        let rules = script
            .split([';', '\n'])
            .map(str::trim)
            .filter(|rule| !rule.is_empty());
        let rules = rules.map(|rule| {
            parse_rule(rule).map_err(|why| ScriptError {
                rule: rule.to_owned(),
                why,
            })
        });
        Ok(Faults {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let kind = match kind.split_once('=') {
        Some((name, value)) => parse_kind(name, Some(value))?,
        None => parse_kind(kind, None)?,
    };
    let (mut scope, mut when, mut seed) = (Scope::default(), When::default(), 0);
    let mut seen = Vec::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("\"{word}\" isn't NAME=VALUE; legal: {SELECTORS}"));
        };
        if seen.contains(&name) {
            return Err(format!("\"{name}\" is given twice"));
        }
        seen.push(name);
        match name {
            "every" => when.every = Some(parse_count(name, value, 1)?),
            "p" => when.probability = Some(parse_probability(value)?),
            "calls" => when.calls = Some(parse_range(value)?),
            "stream" if value.is_empty() => return Err("stream= wants a name".into()),
            "stream" => scope.stream = Some(value.to_owned()),
            "service" => scope.service = Some(parse_service(value)?),
            "seed" => seed = parse_count(name, value, 0)?,
            _ => return Err(format!("unknown selector \"{name}\"; legal: {SELECTORS}")),
        }
    }
    Ok(Rule {
        kind,
        scope,
        when,
        seed,
        n_calls: 0,
        n_records: 0,
    })
}

fn parse_kind(name: &str, value: Option<&str>) -> Result<Kind, String> {
    Ok(match (name, value) {
        ("fail-record", code) => {
            Kind::Records(RecordFault::Failed(code.map(parse_code).transpose()?))
        }
        ("throttle", None) => Kind::Records(RecordFault::Throttled),
        ("status", Some(value)) => Kind::Before(Before::Status(parse_status(value, 300)?)),
        ("error", Some(value)) => {
            let (code, status) = match value.split_once(':') {
                Some((code, status)) => (code, Some(parse_status(status, 400)?)),
                None => (value, None),
            };
            Kind::Before(Before::Error {
                code: parse_code(code)?,
                status,
            })
        }
        ("reset-before", None) => Kind::Before(Before::Reset),
        ("reset-after", None) => Kind::After(After::Reset),
        ("delay", Some(value)) => Kind::Delay(parse_duration(value)?),
        ("garble", None | Some("corrupt")) => Kind::After(After::Garble(Garble::Corrupt)),
        ("garble", Some("cut")) => Kind::After(After::Garble(Garble::Cut)),
        ("wrong-count", None | Some("short")) => Kind::After(After::WrongCount(WrongCount::Short)),
        ("wrong-count", Some("long")) => Kind::After(After::WrongCount(WrongCount::Long)),
        ("wrong-count", Some("failed")) => Kind::After(After::WrongCount(WrongCount::Failed)),
        ("stall", None) => Kind::Before(Before::Stall),
        ("cbor", Some(value)) => Kind::RefuseCbor(parse_status(value, 400)?),
        _ => return Err(format!("unknown fault; legal: {KINDS}")),
    })
}

/// From `lowest` to 599: anything below 300 would be a success.
fn parse_status(value: &str, lowest: u16) -> Result<u16, String> {
    match value.parse() {
        Ok(status) if (lowest..=599).contains(&status) => Ok(status),
        _ => Err(format!("\"{value}\" isn't a status from {lowest} to 599")),
    }
}

fn parse_code(value: &str) -> Result<String, String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "\"{value}\" isn't an error code, e.g. ResourceNotFoundException"
        ))
    }
}

fn parse_count(name: &str, value: &str, least: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!(
            "{name}={value}: wants a whole number, {least} or more"
        )),
    }
}

fn parse_probability(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        _ => Err(format!("p={value}: wants a number from 0 to 1")),
    }
}

/// `3..7`, `3..`, `..7` or `3`; calls count from 1 and both ends are included.
fn parse_range(value: &str) -> Result<(u64, u64), String> {
    let bound = |text: &str, open| {
        if text.is_empty() {
            Some(open)
        } else {
            text.parse().ok()
        }
    };
    let (first, last) = value.split_once("..").unwrap_or((value, value));
    match (bound(first, 1), bound(last, u64::MAX)) {
        (Some(first), Some(last)) if !value.is_empty() && 1 <= first && first <= last => {
            Ok((first, last))
        }
        _ => Err(format!(
            "calls={value}: wants A..B with 1 ≤ A ≤ B, either end may be left out, or one number"
        )),
    }
}

fn parse_service(value: &str) -> Result<Service, String> {
    Service::ALL
        .into_iter()
        .find(|service| service.name() == value)
        .ok_or_else(|| format!("unknown service \"{value}\"; legal: {SELECTORS}"))
}

/// A whole number and `ms` or `s`; at most an hour.
fn parse_duration(value: &str) -> Result<Duration, String> {
    let (digits, unit_ms) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (value.strip_suffix('s').unwrap_or_default(), 1000),
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_ms))
    {
        Some(delay_ms) if delay_ms <= DELAY_MS_MAX => Ok(Duration::from_millis(delay_ms)),
        _ => Err(format!(
            "delay={value}: wants a whole number with ms or s, at most an hour, e.g. 200ms"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_written() {
        let cases: &[(&str, Kind)] = &[
            ("fail-record", Kind::Records(RecordFault::Failed(None))),
            (
                "fail-record=Odd",
                Kind::Records(RecordFault::Failed(Some("Odd".into()))),
            ),
            ("throttle", Kind::Records(RecordFault::Throttled)),
            ("status=500", Kind::Before(Before::Status(500))),
            (
                "error=Odd",
                Kind::Before(Before::Error {
                    code: "Odd".into(),
                    status: None,
                }),
            ),
            (
                "error=Odd:413",
                Kind::Before(Before::Error {
                    code: "Odd".into(),
                    status: Some(413),
                }),
            ),
            ("reset-before", Kind::Before(Before::Reset)),
            ("reset-after", Kind::After(After::Reset)),
            ("delay=200ms", Kind::Delay(Duration::from_millis(200))),
            ("delay=2s", Kind::Delay(Duration::from_secs(2))),
            ("garble", Kind::After(After::Garble(Garble::Corrupt))),
            (
                "garble=corrupt",
                Kind::After(After::Garble(Garble::Corrupt)),
            ),
            ("garble=cut", Kind::After(After::Garble(Garble::Cut))),
            (
                "wrong-count",
                Kind::After(After::WrongCount(WrongCount::Short)),
            ),
            (
                "wrong-count=long",
                Kind::After(After::WrongCount(WrongCount::Long)),
            ),
            (
                "wrong-count=failed",
                Kind::After(After::WrongCount(WrongCount::Failed)),
            ),
            ("stall", Kind::Before(Before::Stall)),
            ("cbor=400", Kind::RefuseCbor(400)),
        ];
        for (text, kind) in cases {
            assert_eq!(
                text.parse::<Faults>().unwrap().rules[0].kind,
                *kind,
                "{text}"
            );
        }
    }

    #[test]
    fn selectors_can_be_written_in_any_order() {
        let faults: Faults =
            " stall  seed=9 stream=a.b-c every=3 service=firehose calls=2.. p=0.5 "
                .parse()
                .unwrap();
        let expected = Rule {
            kind: Kind::Before(Before::Stall),
            scope: Scope {
                service: Some(Service::Firehose),
                stream: Some("a.b-c".into()),
            },
            when: When {
                every: Some(3),
                probability: Some(0.5),
                calls: Some((2, u64::MAX)),
            },
            seed: 9,
            n_calls: 0,
            n_records: 0,
        };
        assert_eq!(faults.rules, [expected]);
    }

    #[test]
    fn rules_stand_between_semicolons_or_on_lines() {
        for (text, n_rules) in [
            ("", 0),
            (" ;\n; ", 0),
            ("stall; stall", 2),
            ("stall\nstall;\r\n\tstall", 3),
        ] {
            assert_eq!(
                text.parse::<Faults>().unwrap().rules.len(),
                n_rules,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_mistake_is_named_with_what_is_legal() {
        let cases = [
            (
                "stall; sleep",
                "fault rule \"sleep\": unknown fault; legal: fail-record[=CODE], throttle,",
            ),
            ("stall=3", "unknown fault; legal:"),
            ("status", "unknown fault; legal:"),
            ("garble=much", "unknown fault; legal:"),
            ("status=200", "\"200\" isn't a status from 300 to 599"),
            ("status=70000", "isn't a status"),
            ("cbor=302", "\"302\" isn't a status from 400 to 599"),
            ("error=", "\"\" isn't an error code"),
            ("error=A:x", "\"x\" isn't a status from 400 to 599"),
            ("fail-record=a-b", "\"a-b\" isn't an error code"),
            ("delay=1", "wants a whole number with ms or s"),
            ("delay=s", "wants a whole number with ms or s"),
            ("delay=2h", "wants a whole number with ms or s"),
            ("delay=3601s", "at most an hour"),
            ("delay=99999999999999999999s", "at most an hour"),
            ("stall every=0", "every=0: wants a whole number, 1 or more"),
            ("stall every=-1", "wants a whole number"),
            ("stall p=1.1", "p=1.1: wants a number from 0 to 1"),
            ("stall p=NaN", "wants a number from 0 to 1"),
            ("stall calls=", "wants A..B"),
            ("stall calls=0..1", "wants A..B"),
            ("stall calls=3..2", "wants A..B"),
            ("stall seed=x", "wants a whole number"),
            ("stall stream=", "stream= wants a name"),
            ("stall service=s3", "unknown service \"s3\"; legal: every=N"),
            ("stall often", "\"often\" isn't NAME=VALUE; legal: every=N"),
            (
                "stall often=1",
                "unknown selector \"often\"; legal: every=N",
            ),
            ("stall p=1 p=1", "\"p\" is given twice"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Faults>().unwrap_err().to_string();
            assert!(error.starts_with("fault rule \""), "{error}");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
