//! Bytes as text, the way Java decodes UTF-8: U+FFFD for every ill-formed part.
//!
//! A part is what Unicode calls a maximal subpart, which is what Rust's standard library takes too, but for one
//! difference: the three bytes of an encoded surrogate (`ED A0 80` to `ED BF BF`, and their first two where the third is
//! missing) are one part to Java.

/// What stands for an ill-formed part.
const REPLACEMENT: &str = "\u{FFFD}";

/// The text of `bytes`: themselves where they are valid UTF-8, else decoded into `scratch`, whose content is lost.
pub fn decode<'a>(bytes: &'a [u8], scratch: &'a mut String) -> &'a str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => {
            scratch.clear();
            for_each_part(bytes, |part| scratch.push_str(part));
            scratch
        }
    }
}

/// Appends the text of `bytes`, as [`decode`] reads it.
pub fn append(bytes: &[u8], out: &mut Vec<u8>) {
    for_each_part(bytes, |part| out.extend_from_slice(part.as_bytes()));
}

/// Hands on the text of `bytes` in parts: runs of well-formed text, and one replacement character for each part that is
/// ill-formed.
pub fn for_each_part(bytes: &[u8], mut with: impl FnMut(&str)) {
    let mut rest = bytes;
    loop {
        match str::from_utf8(rest) {
            Ok(text) => return with(text),
            Err(error) => {
                let (valid, ill_formed) = rest.split_at(error.valid_up_to());
                with(str::from_utf8(valid).unwrap_or_default());
                with(REPLACEMENT);
                let n = error.error_len().unwrap_or(ill_formed.len());
                rest = &ill_formed[surrogate_len(ill_formed).unwrap_or(n)..];
            }
        }
    }
}

/// How many bytes are the beginning of an encoded surrogate, if they are.
fn surrogate_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => Some(3),
        [0xED, 0xA0..=0xBF, ..] => Some(2),
        _ => None,
    }
}

/// The record without its line end: one trailing `\n`, if there is one; a `\r` before it stays.
pub fn without_newline(record: &[u8]) -> &[u8] {
    record.strip_suffix(b"\n").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ill_formed_parts_are_replaced_as_java_replaces_them() {
        // (bytes, text): the right column is what String(bytes, UTF_8) of OpenJDK 17 holds
        let rows: &[(&[u8], &str)] = &[
            (b"plain", "plain"),
            ("é中😀".as_bytes(), "é中😀"),
            (b"", ""),
            (b"\xff", "\u{FFFD}"),
            (b"\xc3(", "\u{FFFD}("),
            (b"\xe2\x82", "\u{FFFD}"),
            (b"\xe2\x82\xe2\x82\xac", "\u{FFFD}€"),
            (b"\xc0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xe0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xf0\x9f\x98", "\u{FFFD}"),
            (b"\xf0\x9f\x98a", "\u{FFFD}a"),
            (b"\xf0\x80\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xf4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xed\xa0\x80", "\u{FFFD}"),
            (b"\xed\xbf\xbf\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xed\xa0", "\u{FFFD}"),
            (b"\xed\xa0A", "\u{FFFD}A"),
            (b"\xed\xa0\xff", "\u{FFFD}\u{FFFD}"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xed", "\u{FFFD}"),
            (b"\xed\xc3\xa9", "\u{FFFD}é"),
            (b"\xed\x9f\xbf\xee\x80\x80", "\u{D7FF}\u{E000}"),
        ];
        for (bytes, text) in rows {
            assert_eq!(decode(bytes, &mut String::new()), *text, "{bytes:x?}");
        }
    }

    #[test]
    fn one_newline_goes_and_nothing_else() {
        for (record, rest) in [
            ("a\n", "a"),
            ("a\r\n", "a\r"),
            ("a\n\n", "a\n"),
            ("a", "a"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(without_newline(record.as_bytes()), rest.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn decoding_is_that_of_the_standard_library_but_for_surrogates(bytes: Vec<u8>, left_over: String) {
            let has_surrogate = bytes.windows(2).any(|pair| surrogate_len(pair).is_some());
            let mut scratch = left_over;
            let text = decode(&bytes, &mut scratch);
            if !has_surrogate {
                prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            }
            let mut out = b"before".to_vec();
            append(&bytes, &mut out);
            prop_assert_eq!(&out[6..], text.as_bytes());
        }
    }
}
