//! Numbers as Jackson reads and prints them: integers of any length as they stand, everything else as a Java double.

use std::fmt;
use std::io::Write;

/// Digits, sign, point and exponent of the longest double, `-1.7976931348623157e-308`, and some.
const DOUBLE_BYTES_MAX: usize = 32;

/// Appends a number, given as JSON writes numbers, as the reference prints it.
pub fn append(number: &str, out: &mut Vec<u8>) {
    if number
        .bytes()
        .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    {
        match as_written(number) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => append_double(number.parse().unwrap_or(f64::NAN), out),
        }
    } else if number == "-0" {
        out.push(b'0');
    } else {
        out.extend_from_slice(number.as_bytes());
    }
}

/// Digits that a double always keeps.
const DIGITS_KEPT: usize = 15;

/// Nearly all numbers with a point are printed as they are written, but for zeros at the end: those without an exponent,
/// of so few digits that no shorter number is the same double, and from 10⁻¹ up to 10⁷, where Java needs no exponent.
fn as_written(number: &str) -> Option<&str> {
    let (whole, fraction) = number.split_once('.')?;
    let n_whole = whole.strip_prefix('-').unwrap_or(whole).len();
    let is_plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let is_small = whole.ends_with('0') && n_whole == 1 && fraction.starts_with('0');
    if !is_plain || is_small || n_whole > 7 || n_whole + fraction.len() > DIGITS_KEPT {
        return None;
    }
    let n_zeros = fraction.len() - fraction.trim_end_matches('0').len();
    // One digit stays behind the point.
    Some(&number[..number.len() - n_zeros.min(fraction.len() - 1)])
}

/// `Double.toString`: plain from 10⁻³ up to 10⁷, else with an exponent, and always with a digit after the point. What
/// is no number is a string, as in Jackson.
///
/// The digits are the shortest that read back as the same double, which is what Java 19 and later print; Java 17 has
/// one digit more than it needs for a few doubles in a thousand beyond 10¹⁵.
fn append_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name = match value {
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => "\"NaN\"",
        };
        out.extend_from_slice(name.as_bytes());
        return;
    }
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() {
            b"-0.0"
        } else {
            b"0.0"
        });
        return;
    }
    let mut buffer = [0; DOUBLE_BYTES_MAX];
    let mut digits = exponential(&mut buffer, format_args!("{:e}", value.abs()));
    if !digits.contains('.') {
        // one digit would do, but Java prints two, and those that are nearest
        digits = exponential(&mut buffer, format_args!("{:.1e}", value.abs()));
    }
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));

    if value < 0.0 {
        out.push(b'-');
    }
    match exponent {
        0..7 => {
            let n_whole = exponent.unsigned_abs() as usize;
            out.extend_from_slice(whole.as_bytes());
            if fraction.len() > n_whole {
                out.extend_from_slice(&fraction.as_bytes()[..n_whole]);
                out.push(b'.');
                out.extend_from_slice(&fraction.as_bytes()[n_whole..]);
            } else {
                out.extend_from_slice(fraction.as_bytes());
                out.extend(std::iter::repeat_n(b'0', n_whole - fraction.len()));
                out.extend_from_slice(b".0");
            }
        }
        -3..0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(
                b'0',
                exponent.unsigned_abs() as usize - 1,
            ));
            out.extend_from_slice(whole.as_bytes());
            out.extend_from_slice(if fraction == "0" {
                b""
            } else {
                fraction.as_bytes()
            });
        }
        _ => {
            // writing to a Vec can't fail
            let _ = write!(out, "{whole}.{fraction}E{exponent}");
        }
    }
}

/// The text of a double with an exponent, at most 24 bytes.
fn exponential<'a>(buffer: &'a mut [u8; DOUBLE_BYTES_MAX], double: fmt::Arguments) -> &'a str {
    let mut free = &mut buffer[..];
    // it fits, so the write can't fail
    let _ = free.write_fmt(double);
    let n_free = free.len();
    str::from_utf8(&buffer[..DOUBLE_BYTES_MAX - n_free]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_look_as_java_prints_them() {
        // the right column is what Double.toString of OpenJDK 17 prints
        let rows = [
            ("0", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("-17", "-17"),
            ("9223372036854775808", "9223372036854775808"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("-1.25", "-1.25"),
            ("1e5", "100000.0"),
            ("1E+5", "100000.0"),
            ("1234567.875", "1234567.875"),
            ("9999999.0", "9999999.0"),
            ("1e7", "1.0E7"),
            ("12345678.5", "1.23456785E7"),
            ("0.001", "0.001"),
            ("0.00123", "0.00123"),
            ("0.01", "0.01"),
            ("0.1", "0.1"),
            ("0.0001", "1.0E-4"),
            ("0.00012345", "1.2345E-4"),
            ("1e300", "1.0E300"),
            ("1.7976931348623157e308", "1.7976931348623157E308"),
            ("3.141592653589793", "3.141592653589793"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1e400", "\"Infinity\""),
            ("-1e400", "\"-Infinity\""),
            ("1e-400", "0.0"),
            ("5e-324", "4.9E-324"),
        ];
        for (number, expected) in rows {
            let mut out = Vec::new();
            append(number, &mut out);
            assert_eq!(str::from_utf8(&out), Ok(expected), "{number}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_as_written_is_what_the_double_is_printed_as(
            number in "-?(0|[1-9][0-9]{0,8})\\.[0-9]{1,12}0{0,3}",
        ) {
            if let Some(text) = as_written(&number) {
                let mut out = Vec::new();
                append_double(number.parse().unwrap(), &mut out);
                prop_assert_eq!(str::from_utf8(&out), Ok(text), "{}", number);
            }
        }

        #[test]
        fn a_double_reads_back_as_itself(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let mut out = Vec::new();
            append_double(value, &mut out);
            prop_assert_eq!(str::from_utf8(&out).unwrap().parse::<f64>(), Ok(value));
        }
    }
}
