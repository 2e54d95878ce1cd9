//! Reading: text and numbers.

use super::SyntaxError;
use super::reader::Reader;

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Result<Box<str>, SyntaxError> {
        let rest = self.rest();
        let text = &rest[..rest
            .bytes()
            .position(|b| !is_number_byte(b))
            .unwrap_or(rest.len())];
        let goes_on = rest[text.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if !is_number(text) || goes_on {
            let remedy = "write digits, with neither a plus sign, leading zeros nor a unit; other text between quotes";
            return Err(self.error("this is not a number", remedy));
        }
        self.at += text.len();
        Ok(text.into())
    }

    pub(super) fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let Some(length) = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < 0x20)
            else {
                let problem = "text that begins on this line is never closed";
                return Err(self.error(problem, "close it with \""));
            };
            text.push_str(&rest[..length]);
            self.at += length;
            match rest.as_bytes()[length] {
                b'"' => {
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => text.push(self.escape()?),
                b'\n' | b'\r' => {
                    let remedy = "close it with \", or write \\n for a line break";
                    return Err(self.error("text runs over the end of its line", remedy));
                }
                b'\t' => return Err(self.error("a tab inside text", "write \\t")),
                _ => {
                    return Err(self.error(
                        "a control character inside text",
                        "write it as \\u and four hex digits",
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let bytes = self.rest().as_bytes();
        let simple = match bytes.get(1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => {
                return Err(self.error(
                    "a backslash that begins no escape of JSON",
                    "write \\\\ for a backslash",
                ));
            }
        };
        self.at += 2;
        Ok(simple)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let bytes = self.rest().as_bytes();
        let Some(first) = code_unit(bytes) else {
            return Err(self.error(
                "\\u without four hex digits after it",
                "write four, as in \\u00E9",
            ));
        };
        let second = code_unit(&bytes[6..]).filter(|_| (0xD800..0xDC00).contains(&first));
        let (decoded, length) = match second {
            Some(second) => (char::decode_utf16([first, second]).next(), 12),
            None => (char::decode_utf16([first]).next(), 6),
        };
        let Some(Ok(decoded)) = decoded else {
            return Err(self.error(
                "half of a surrogate pair",
                "write the character itself, or both halves",
            ));
        };
        self.at += length;
        Ok(decoded)
    }
}

/// The value of a leading `\uXXXX`.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)? as u16)
    })
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether a text is a number in JSON's grammar.
pub fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (
            text,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (text, None),
    };
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let no_leading_zero = whole.len() == 1 || !whole.starts_with('0');
    digits(whole) && no_leading_zero && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}
