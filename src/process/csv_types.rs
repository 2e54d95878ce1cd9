//! `types` of `CSVTOJSON`: columns that are numbers, booleans or null in the JSON.

use crate::config::ColumnType;

use super::json;

/// Appends a column's text as JSON. What isn't of the column's type is a string all the same: nothing is lost.
pub fn append(kind: ColumnType, column: &[u8], out: &mut Vec<u8>) {
    let text = column.trim_ascii();
    let (is_number, is_boolean) = match kind {
        ColumnType::Text => return json::append_bytes(column, out),
        ColumnType::Number => (true, false),
        ColumnType::Boolean => (false, true),
        ColumnType::Auto => (true, true),
    };
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") {
        out.extend_from_slice(b"null");
    } else if is_number && is_json_number(text) && is_finite(text) {
        out.extend_from_slice(text);
    } else if is_boolean && text.eq_ignore_ascii_case(b"true") {
        out.extend_from_slice(b"true");
    } else if is_boolean && text.eq_ignore_ascii_case(b"false") {
        out.extend_from_slice(b"false");
    } else {
        json::append_bytes(column, out);
    }
}

/// A number as RFC 8259 writes one: `007`, `+1`, `.5` and `1.` are none, so codes with leading zeros keep them.
fn is_json_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let n_whole = digits(rest);
    if n_whole == 0 || (n_whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[n_whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n_digits = digits(fraction);
        if n_digits == 0 {
            return false;
        }
        rest = &fraction[n_digits..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        let n_digits = digits(exponent);
        if n_digits == 0 {
            return false;
        }
        rest = &exponent[n_digits..];
    }
    rest.is_empty()
}

/// Whether a double can hold about this number: what reads JSON into doubles takes `1e999` for infinite or refuses all
/// of the record, and among hexadecimal codes such a one is easily found.
fn is_finite(number: &[u8]) -> bool {
    let is_short = number.len() <= f64::MAX_10_EXP as usize;
    let is_plain = number.iter().all(|byte| !matches!(byte, b'e' | b'E'));
    let parsed = || str::from_utf8(number).ok()?.parse::<f64>().ok();
    is_short && is_plain || parsed().is_some_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn appended(kind: ColumnType, column: &str) -> String {
        let mut out = Vec::new();
        append(kind, column.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_column_is_what_its_type_and_its_text_say() {
        use ColumnType::{Auto, Boolean, Number, Text};
        let rows = [
            (Text, "1", r#""1""#),
            (Text, "", r#""""#),
            (Text, "null", r#""null""#),
            (Number, "1", "1"),
            (Number, " -1.50e+3 ", "-1.50e+3"),
            (
                Number,
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            (Number, "0", "0"),
            (Number, "1e308", "1e308"),
            (Number, "1e309", r#""1e309""#),
            (Number, "-12e4567", r#""-12e4567""#),
            (Number, "1e-999", "1e-999"),
            (Number, "007", r#""007""#),
            (Number, "+1", r#""+1""#),
            (Number, "1.", r#""1.""#),
            (Number, ".5", r#"".5""#),
            (Number, "1e", r#""1e""#),
            (Number, "-", r#""-""#),
            (Number, "0x10", r#""0x10""#),
            (Number, "NaN", r#""NaN""#),
            (Number, "true", r#""true""#),
            (Number, "", "null"),
            (Number, " NULL ", "null"),
            (Boolean, "True", "true"),
            (Boolean, " FALSE", "false"),
            (Boolean, "1", r#""1""#),
            (Boolean, "yes", r#""yes""#),
            (Boolean, "", "null"),
            (Auto, "1", "1"),
            (Auto, "true", "true"),
            (Auto, "null", "null"),
            (Auto, "a\"b", r#""a\"b""#),
            (Auto, " x ", r#"" x ""#),
        ];
        for (kind, column, expected) in rows {
            assert_eq!(appended(kind, column), expected, "{kind:?} {column:?}");
        }
    }

    #[test]
    fn a_number_that_no_double_holds_is_text() {
        let digits = "9".repeat(308);
        assert_eq!(appended(ColumnType::Auto, &digits), digits);
        let digits = "9".repeat(310);
        assert_eq!(appended(ColumnType::Auto, &digits), format!("\"{digits}\""));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,5})?|[0-9]{300,320}") {
            let json = appended(ColumnType::Auto, &text);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
        }

        #[test]
        fn a_number_here_is_a_number_in_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
            let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok()
                // a double that is too large is a number all the same
                || serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_json_number(text.as_bytes()), is_json);
        }
    }
}
