//! Strings: `"`, `\` and control characters are escaped; `/`, U+007F and everything beyond ASCII stay as they are.

use super::super::text;

/// Upper-case, as in `\u001F`.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The same bits in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7F * ONES;
const HIGH_BITS: u64 = 0x80 * ONES;

/// Whether `text` is UTF-8 that may stand in a JSON string as it is, not counting bytes that are `delimiter`, which is
/// ASCII.
pub fn is_plain_but_for(delimiter: u8, text: &[u8]) -> bool {
    let Some((words, last)) = words(text) else {
        let has_escape = text
            .iter()
            .any(|&byte| byte != delimiter && is_escaped(byte));
        return !has_escape && str::from_utf8(text).is_ok();
    };
    let mut marked = 0;
    let mut seen = 0;
    for word in words.chain([last]) {
        marked |= marks(word) & !places(delimiter, word);
        seen |= word;
    }
    marked == 0 && (seen & HIGH_BITS == 0 || str::from_utf8(text).is_ok())
}

/// The places of a byte in a text, one after the other, looking at eight bytes at a time.
pub struct Places<'t> {
    byte: u8,
    text: &'t [u8],
    /// Where the word begins that is looked at.
    word_start: usize,
    /// The high bit of each of its bytes that is still to be told.
    left: u64,
}

impl<'t> Places<'t> {
    /// Of `byte`, which is ASCII, in `text`.
    pub fn of(byte: u8, text: &'t [u8]) -> Places<'t> {
        let mut of = Places {
            byte,
            text,
            word_start: 0,
            left: 0,
        };
        of.left = of.in_word();
        of
    }

    fn in_word(&self) -> u64 {
        let rest = &self.text[self.word_start..];
        match rest.first_chunk() {
            Some(word) => places(self.byte, u64::from_le_bytes(*word)),
            None => {
                let mut word = [!self.byte; 8];
                word[..rest.len()].copy_from_slice(rest);
                places(self.byte, u64::from_le_bytes(word))
            }
        }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            if self.word_start + 8 >= self.text.len() {
                return None;
            }
            self.word_start += 8;
            self.left = self.in_word();
        }
        let place = self.word_start + (self.left.trailing_zeros() / 8) as usize;
        self.left &= self.left - 1;
        Some(place)
    }
}

/// `text` as words of eight bytes, the last one reaching back as far as it must; `None` if there aren't eight bytes.
fn words(text: &[u8]) -> Option<(impl Iterator<Item = u64>, u64)> {
    let last = text.last_chunk().map(|bytes| u64::from_le_bytes(*bytes))?;
    Some((
        text.as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes)),
        last,
    ))
}

/// Appends `value` as a JSON string, quotes included.
pub fn append_string(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    append_escaped(value.as_bytes(), out);
    out.push(b'"');
}

/// Appends bytes as a JSON string, quotes included; they are decoded as [`text`] decodes them.
pub fn append_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    text::for_each_part(bytes, |part| append_escaped(part.as_bytes(), out));
    out.push(b'"');
}

/// Appends the inside of a JSON string. `text` is UTF-8; nothing beyond ASCII is looked at.
pub fn append_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(place) = find_escaped(rest) {
        out.extend_from_slice(&rest[..place]);
        append_escape(rest[place], out);
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
}

fn append_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// The first byte that needs an escape, looking at eight bytes at a time.
pub(super) fn find_escaped(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(index * 8 + (marked.trailing_zeros() / 8) as usize);
        }
    }
    let place = rest.iter().position(|&byte| is_escaped(byte))?;
    Some(text.len() - rest.len() + place)
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// The high bit of each of eight bytes that needs an escape.
///
/// Adding to the low seven bits sets the high one exactly where they are large enough, and never carries into the
/// next byte.
fn marks(word: u64) -> u64 {
    let low = word & LOW_BITS;
    let not_below_space = low + (0x80 - u64::from(b' ')) * ONES;
    let not_quote = (low ^ (u64::from(b'"') * ONES)) + LOW_BITS;
    let not_backslash = (low ^ (u64::from(b'\\') * ONES)) + LOW_BITS;
    !(not_below_space & not_quote & not_backslash | word) & HIGH_BITS
}

/// The high bit of each of eight bytes that is `byte`, which is ASCII.
fn places(byte: u8, word: u64) -> u64 {
    let different = ((word & LOW_BITS) ^ (u64::from(byte) * ONES)) + LOW_BITS;
    !(different | word) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_escaped_as_the_reference_escapes_them() {
        let rows = [
            ("", r#""""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\u{0}\u{1}\u{1f}\u{b}", r#""\u0000\u0001\u001F\u000B""#),
            (
                "\u{7f}\u{85}\u{2028}\u{feff}é中😀<>&'",
                "\"\u{7f}\u{85}\u{2028}\u{feff}é中😀<>&'\"",
            ),
        ];
        for (text, expected) in rows {
            let mut out = Vec::new();
            append_string(text, &mut out);
            assert_eq!(str::from_utf8(&out), Ok(expected));
        }
    }

    #[test]
    fn every_byte_is_found_in_every_place_of_a_word() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut text = [b'x'; 20];
                text[place] = byte;
                let expected = is_escaped(byte);
                assert_eq!(
                    find_escaped(&text),
                    expected.then_some(place),
                    "{byte:#x} at {place}"
                );
                assert_eq!(
                    is_plain_but_for(b',', &text),
                    !expected && byte.is_ascii(),
                    "{byte:#x} at {place}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn places_are_where_the_byte_is(byte in 0u8..128, text in prop::collection::vec(prop_oneof![0u8..=255, Just(b',')], 0..40)) {
            for byte in [byte, b','] {
                let expected: Vec<usize> = memchr::memchr_iter(byte, &text).collect();
                prop_assert_eq!(Places::of(byte, &text).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn the_first_byte_to_escape_is_found(text: Vec<u8>) {
            prop_assert_eq!(find_escaped(&text), text.iter().position(|&byte| is_escaped(byte)));
        }

        #[test]
        fn plain_is_what_is_text_without_escapes(text in "[\\t\",a-dé中😀]{0,24}", broken in prop::option::of(0usize..24)) {
            let mut bytes = text.into_bytes();
            if let Some(byte) = broken.and_then(|place| bytes.get_mut(place)) {
                *byte |= 0x80;
            }
            for delimiter in *b"\t,\"a" {
                let is_escaped = bytes.iter().any(|&byte| byte != delimiter && is_escaped(byte));
                let is_plain = str::from_utf8(&bytes).is_ok() && !is_escaped;
                prop_assert_eq!(is_plain_but_for(delimiter, &bytes), is_plain);
            }
        }

        #[test]
        fn a_parser_reads_the_text_back(bytes: Vec<u8>) {
            let mut out = Vec::new();
            append_bytes(&bytes, &mut out);
            let read: String = serde_json::from_slice(&out).unwrap();
            let mut scratch = String::new();
            prop_assert_eq!(read, text::decode(&bytes, &mut scratch));
        }
    }
}
