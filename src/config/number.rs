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

/// A range for a message.
pub fn range_shown(range: &RangeInclusive<i64>, unit: Unit) -> String {
    match *range.end() {
        i64::MAX => format!("{} or more{}", range.start(), unit.name()),
        end => format!("{} to {end}{}", range.start(), unit.name()),
    }
}
