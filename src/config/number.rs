//! Numbers as people write them.

use std::ops::RangeInclusive;

use super::json::{self, Value};
use super::keys::Unit;

/// A number as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Whole(i64),
    Fraction(f64),
}

/// Why a value is no number.
#[derive(Debug, PartialEq, Eq)]
pub struct NotANumber {
    pub problem: &'static str,
    pub remedy: &'static str,
}

impl Number {
    /// Takes a number, or a text that is one: an optional sign and digits; for times also a fraction or an exponent.
    pub fn of(value: &Value, unit: Unit) -> Result<Number, NotANumber> {
        let text = match value {
            Value::Number(text) => text,
            Value::Text(text) => text.as_str(),
            Value::Null => {
                let remedy = "write a number, or leave the key out for the default";
                return Err(NotANumber {
                    problem: "null is not a number",
                    remedy,
                });
            }
            _ => {
                return Err(NotANumber {
                    problem: "not a number",
                    remedy: "write a number",
                });
            }
        };
        if let (Value::Text(text), Unit::Spelled) = (value, unit)
            && let Some((number, seconds)) = spelled(text)
        {
            return Ok(Number::Fraction(number * seconds));
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            let too_large = NotANumber {
                problem: "more than 64 bits hold",
                remedy: "write a smaller number",
            };
            return text.parse().map(Number::Whole).map_err(|_| too_large);
        }
        if !json::is_number(text) {
            return Err(NotANumber {
                problem: "not a number",
                remedy: "write a number",
            });
        }
        match (unit.ms(), text.parse::<f64>()) {
            (Some(_), Ok(number)) if number.is_finite() => Ok(Number::Fraction(number)),
            (Some(_), _) => Err(NotANumber {
                problem: "not a number that can be held",
                remedy: "write a smaller number",
            }),
            (None, _) => Err(NotANumber {
                problem: "not a whole number",
                remedy: "write digits only",
            }),
        }
    }

    /// Whether it is within the range, fraction included.
    pub fn is_within(self, range: &RangeInclusive<i64>) -> bool {
        match self {
            Number::Whole(number) => range.contains(&number),
            Number::Fraction(number) => {
                (*range.start() as f64..=*range.end() as f64).contains(&number)
            }
        }
    }

    /// The number of the range that is nearest.
    pub fn nearest_in(self, range: &RangeInclusive<i64>) -> i64 {
        self.whole().clamp(*range.start(), *range.end())
    }

    /// Without its fraction.
    pub fn whole(self) -> i64 {
        self.times(1)
    }

    /// A multiple of it, without the fraction; at most what 64 bits hold.
    pub fn times(self, factor: i64) -> i64 {
        match self {
            Number::Whole(number) => number.saturating_mul(factor),
            // The small addition undoes what binary fractions lose: 1.001 s is 1001 ms, not 1000.
            Number::Fraction(number) => (number * factor as f64 + 1e-6).floor() as i64,
        }
    }
}

/// A number and the seconds of the unit behind it, as in `36h`; `None` if it isn't written so.
fn spelled(text: &str) -> Option<(f64, f64)> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let is_number = json::is_number(number);
    let number = number.parse().ok().filter(|_| is_number)?;
    Some((number, seconds))
}

/// A range for a message.
pub fn range_shown(range: &RangeInclusive<i64>, unit: Unit) -> String {
    match *range.end() {
        i64::MAX => format!("{} or more{}", range.start(), unit.name()),
        end => format!("{} to {end}{}", range.start(), unit.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn numbers_are_taken_as_the_reference_takes_them_and_times_with_a_fraction() {
        use Number::{Fraction, Whole};
        let cases = [
            (Value::Number("21".into()), Unit::Count, Some(Whole(21))),
            (text("21"), Unit::Count, Some(Whole(21))),
            (text("+21"), Unit::Count, Some(Whole(21))),
            (text("-21"), Unit::Count, Some(Whole(-21))),
            (text("007"), Unit::Count, Some(Whole(7))),
            (text(" 21"), Unit::Count, None),
            (text("21 "), Unit::Count, None),
            (text(""), Unit::Count, None),
            (text("+"), Unit::Count, None),
            (text("0x10"), Unit::Count, None),
            (text("1_000"), Unit::Count, None),
            (text("inf"), Unit::Seconds, None),
            (
                text("9223372036854775807"),
                Unit::Count,
                Some(Whole(i64::MAX)),
            ),
            (text("9223372036854775808"), Unit::Millis, None),
            (Value::Number("1.5".into()), Unit::Count, None),
            (Value::Number("1.0".into()), Unit::Bytes, None),
            (Value::Number("1e2".into()), Unit::Count, None),
            (
                Value::Number("1.5".into()),
                Unit::Seconds,
                Some(Fraction(1.5)),
            ),
            (text("1.5"), Unit::Days, Some(Fraction(1.5))),
            (
                Value::Number("1e3".into()),
                Unit::Millis,
                Some(Fraction(1000.0)),
            ),
            (Value::Number("1e999".into()), Unit::Millis, None),
            (text("90s"), Unit::Spelled, Some(Fraction(90.0))),
            (text("1.5h"), Unit::Spelled, Some(Fraction(5400.0))),
            (text("7d"), Unit::Spelled, Some(Fraction(604_800.0))),
            (text("15m"), Unit::Spelled, Some(Fraction(900.0))),
            (text("-1d"), Unit::Spelled, Some(Fraction(-86_400.0))),
            (text("3600"), Unit::Spelled, Some(Whole(3600))),
            (
                Value::Number("3600".into()),
                Unit::Spelled,
                Some(Whole(3600)),
            ),
            (text("7 d"), Unit::Spelled, None),
            (text("d"), Unit::Spelled, None),
            (text("7D"), Unit::Spelled, None),
            (text("1h30m"), Unit::Spelled, None),
            (text("7d"), Unit::Seconds, None),
            (Value::Bool(true), Unit::Count, None),
            (Value::Null, Unit::Millis, None),
            (Value::List(Vec::new()), Unit::Count, None),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(
                Number::of(&value, unit).ok(),
                expected,
                "{value} as {unit:?}"
            );
        }
    }

    #[test]
    fn fractions_are_kept_to_the_millisecond() {
        let cases = [
            (1000.5, 1, 1000),
            (1.001, 1000, 1001),
            (0.3, 1000, 300),
            (0.0004, 1000, 0),
            (1e300, 1000, i64::MAX),
        ];
        for (number, factor, expected) in cases {
            assert_eq!(Number::Fraction(number).times(factor), expected, "{number}");
        }
        assert_eq!(Number::Whole(i64::MAX).times(1000), i64::MAX);
    }

    #[test]
    fn a_fraction_is_within_a_range_only_as_a_whole() {
        let range = 10..=20;
        let cases = [(9.9, false), (10.0, true), (20.0, true), (20.1, false)];
        for (number, expected) in cases {
            assert_eq!(
                Number::Fraction(number).is_within(&range),
                expected,
                "{number}"
            );
        }
    }
}
