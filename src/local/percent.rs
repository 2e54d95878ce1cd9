//! Percent-encoding, and the forms and queries that are written in it.

/// RFC 3986: all but the unreserved characters as upper-case `%XX`; slashes stay in a path.
pub(super) fn uri_encode(bytes: &[u8], is_path: bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A `%` that isn't followed by two hex digits stands for itself.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| unhex_byte(digits[0], digits[1]));
        match escape {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// The value of two hex digits of either case.
pub(super) fn unhex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// The parameters of a query or of a body of type `application/x-www-form-urlencoded`.
#[derive(Debug, Default)]
pub(super) struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Reads anything; what isn't UTF-8 becomes U+FFFD.
    pub(super) fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            String::from_utf8_lossy(&percent_decode(&part.replace('+', " "))).into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self {
            pairs: pairs.collect(),
        }
    }

    /// The first value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_decoded() {
        let form = Form::parse("a=1&b=x+y%20z%2B&&c&d=%zz%&e=p=q&a=2&%61%3d=%C3%BC");
        let expected = [
            ("a", "1"),
            ("b", "x y z+"),
            ("c", ""),
            ("d", "%zz%"),
            ("e", "p=q"),
            ("a=", "ü"),
        ];
        for (name, value) in expected {
            assert_eq!(form.get(name), Some(value), "{name}");
        }
        assert_eq!(form.get("f"), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..50), is_path: bool) {
            prop_assert_eq!(percent_decode(&uri_encode(&bytes, is_path)), bytes);
        }
    }
}
