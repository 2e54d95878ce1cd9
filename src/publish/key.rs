//! Partition keys: at random, by the data, or from a place in the record.

use std::fmt;

use md5::{Digest, Md5};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::PartitionKey;
use crate::config::limits::PARTITION_KEY_CHARS_MAX;
use crate::contained::contained;
use crate::process::java_regex::GroupFinder;

/// Makes the keys of one flow's records.
#[derive(Debug)]
pub struct KeyMaker {
    kind: PartitionKey,
    random: fastrand::Rng,
    key: Vec<u8>,
}

/// Where a key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// From where it is configured to come from.
    AsConfigured,
    /// The record gave none.
    RandomInstead,
}

impl KeyMaker {
    /// `seed` makes the random keys.
    pub fn new(kind: &PartitionKey, seed: u64) -> KeyMaker {
        KeyMaker {
            kind: kind.clone(),
            random: fastrand::Rng::with_seed(seed),
            key: Vec::new(),
        }
    }

    /// The key made last: UTF-8, between one character and as many as the service takes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Makes the key of a record that was read as `raw` and is sent as `data`.
    pub fn make(&mut self, raw: &[u8], data: &[u8]) -> Key {
        self.key.clear();
        match &self.kind {
            PartitionKey::Random => {
                append_random(&mut self.random, &mut self.key);
                return Key::AsConfigured;
            }
            PartitionKey::Deterministic => append_md5(data, &mut self.key),
            PartitionKey::Field(pointer) => {
                found_in(&mut self.key, |key| {
                    append_field(pointer.tokens(), data, key)
                });
            }
            PartitionKey::Pattern(pattern) => {
                found_in(&mut self.key, |key| append_group(pattern, raw, key));
            }
            PartitionKey::Constant(constant) => self.key.extend_from_slice(constant.as_bytes()),
        }
        if self.key.is_empty() {
            append_random(&mut self.random, &mut self.key);
            return Key::RandomInstead;
        }
        Key::AsConfigured
    }

    /// Makes the key anew, of the same length, if it is the data's alone, which was cut after the key was made.
    pub fn make_again_cut(&mut self, data: &[u8]) {
        if matches!(self.kind, PartitionKey::Deterministic) {
            self.key.clear();
            append_md5(data, &mut self.key);
        }
    }
}

/// Appends what `search` finds in a record; nothing where a defect shows.
fn found_in(key: &mut Vec<u8>, search: impl FnOnce(&mut Vec<u8>)) {
    if contained(|| search(key)).is_none() {
        key.clear();
    }
}

/// Digits of a random key: a decimal fraction from [0, 1000000), as the reference writes one, with two digits behind its
/// point instead of ten. A hundred million keys spread as evenly over shards, and each of their bytes is hashed,
/// encrypted and sent with each record.
const RANDOM_KEYS: u32 = 100_000_000;

fn append_random(random: &mut fastrand::Rng, key: &mut Vec<u8>) {
    let pairs = random.u32(..RANDOM_KEYS);
    let pair = |place: u32| DECIMAL[(pairs / 100_u32.pow(place) % 100) as usize];
    let ([a, b], [c, d], [e, f], [g, h]) = (pair(3), pair(2), pair(1), pair(0));
    key.extend_from_slice(&[a, b, c, d, e, f, b'.', g, h]);
}

/// Decimal, two digits a number below 100.
const DECIMAL: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        table[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    table
};

fn append_md5(data: &[u8], key: &mut Vec<u8>) {
    for byte in Md5::digest(data) {
        key.extend_from_slice(&HEX[usize::from(byte)]);
    }
}

/// Lower-case hexadecimal, two digits a byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// Appends the first group of the pattern's first match in the record without its line end; nothing if it isn't there,
/// or the pattern gives up.
fn append_group(pattern: &GroupFinder, raw: &[u8], key: &mut Vec<u8>) {
    let line = raw.strip_suffix(b"\n").unwrap_or(raw);
    let text = String::from_utf8_lossy(line);
    if let Ok(Some(group)) = pattern.find(&text) {
        append_cut(&text[group], key);
    }
}

/// Appends the scalar that stands in the JSON document at the end of `way`; nothing if there is none, or no document.
fn append_field(way: &[String], data: &[u8], key: &mut Vec<u8>) {
    let mut document = serde_json::Deserializer::from_slice(data);
    let found = Step(way).deserialize(&mut document);
    let Ok(Some(scalar)) = found else { return };
    if document.end().is_err() {
        return;
    }
    match scalar.get().as_bytes().first() {
        Some(b'"') => {
            if let Ok(text) = serde_json::from_str::<String>(scalar.get()) {
                append_cut(&text, key);
            }
        }
        // A number or a boolean, as it is written.
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => append_cut(scalar.get(), key),
        _ => {}
    }
}

/// As much of the text as the service takes, in whole characters.
fn append_cut(text: &str, key: &mut Vec<u8>) {
    if text.len() <= PARTITION_KEY_CHARS_MAX {
        return key.extend_from_slice(text.as_bytes());
    }
    let mut n_chars = 0;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            n_chars += c.len_utf16();
            n_chars > PARTITION_KEY_CHARS_MAX
        })
        .map_or(text.len(), |(end, _)| end);
    key.extend_from_slice(&text.as_bytes()[..end]);
}

/// The value at the end of the way; everything beside it is read over. Of a name given twice the last counts.
struct Step<'w>(&'w [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => <&RawValue as serde::Deserialize>::deserialize(value).map(Some),
            _ => value.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_next) = map.next_key_seed(IsName(&self.0[0]))? {
            match is_next {
                true => found = map.next_value_seed(Step(&self.0[1..]))?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let token = &self.0[0];
        let wanted = match token.as_bytes() {
            [b'0', _, ..] | [b'+', ..] => None,
            _ => token.parse::<usize>().ok(),
        };
        let mut found = None;
        for place in 0.. {
            let is_there = match Some(place) == wanted {
                true => items
                    .next_element_seed(Step(&self.0[1..]))?
                    .map(|value| found = value)
                    .is_some(),
                false => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_there {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether an object's key is this name.
struct IsName<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::JsonPointer;

    /// The key, or `None` for a random one instead.
    fn made(kind: PartitionKey, raw: &str, data: &str) -> Option<String> {
        let mut maker = KeyMaker::new(&kind, 7);
        match maker.make(raw.as_bytes(), data.as_bytes()) {
            Key::AsConfigured => Some(String::from_utf8(maker.key().to_vec()).unwrap()),
            Key::RandomInstead => {
                let key = std::str::from_utf8(maker.key()).unwrap();
                assert!((0.0..1e6).contains(&key.parse::<f64>().unwrap()), "{key}");
                None
            }
        }
    }

    fn field(pointer: &str) -> PartitionKey {
        PartitionKey::Field(JsonPointer::from_text(pointer).unwrap())
    }

    #[test]
    fn a_search_in_which_a_defect_shows_finds_no_key() {
        let mut key = Vec::new();
        found_in(&mut key, |key| {
            key.extend_from_slice(b"half");
            std::panic::resume_unwind(Box::new("planted"));
        });
        assert_eq!(key, b"");
        found_in(&mut key, |key| key.push(b'k'));
        assert_eq!(key, b"k");
    }

    #[test]
    fn a_field_is_the_scalar_at_its_place_in_the_record_as_sent() {
        let document = r#"{"data": {"order_id": 17, "name": "a\"é\u00e9", "n": null, "on": true, "": "empty name",
            "a/b": 1.50e3, "big": 123456789012345678901234567890, "e": ""}, "list": [10, [20, "x"]], "a": 1, "a": 2}"#;
        for (pointer, expected) in [
            ("/data/order_id", Some("17")),
            ("/data/name", Some("a\"éé")),
            ("/data/on", Some("true")),
            ("/data/", Some("empty name")),
            ("/data/a~1b", Some("1.50e3")),
            ("/data/big", Some("123456789012345678901234567890")),
            ("/list/0", Some("10")),
            ("/list/1/1", Some("x")),
            ("/a", Some("2")),
            ("/data", None),
            ("/list", None),
            ("/list/2", None),
            ("/list/00", None),
            ("/list/-", None),
            ("/data/n", None),
            ("/data/e", None),
            ("/data/order_id/x", None),
            ("/data/name/x", None),
            ("/data/on/x", None),
            ("/data/n/x", None),
            ("/nothing", None),
            ("/", None),
        ] {
            assert_eq!(
                made(field(pointer), "raw", &format!("{document}\n")).as_deref(),
                expected,
                "{pointer}"
            );
        }
    }

    #[test]
    fn what_is_no_document_has_no_field() {
        for data in [
            "",
            "a",
            "{\"a\":1",
            "{\"a\":1}{}",
            "{{\"a\":1}\n}",
            "[1]",
            "1",
        ] {
            assert_eq!(made(field("/a"), "{\"a\":1}", data), None, "{data}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(made(field("/a"), "", &deep), None);
    }

    #[test]
    fn a_pattern_gives_its_first_group_in_the_record_as_read() {
        let pattern = |pattern| PartitionKey::Pattern(GroupFinder::new(pattern).unwrap());
        for (written, raw, expected) in [
            (r"id=(\d+)", "x id=17 id=18\n", Some("17")),
            (r"\d+", "x 17 18\n", Some("17")),
            (r"^(\w+)$", "word\n", Some("word")),
            (r"(a)|(b)", "b", None),
            (r"id=(\d*)", "id=", None),
            (r"id=(\d+)", "none", None),
            (r"(é+)", "aééb", Some("éé")),
        ] {
            assert_eq!(
                made(pattern(written), raw, "sent").as_deref(),
                expected,
                "{written}"
            );
        }
    }

    #[test]
    fn a_key_is_cut_to_what_the_service_takes_between_characters() {
        for (text, n_bytes) in [
            ("k".repeat(300), 256),
            ("é".repeat(256), 512),
            ("é".repeat(300), 512),
            ("中".repeat(300), 768),
            ("😀".repeat(300), 512),
            (format!("a{}", "😀".repeat(300)), 509),
        ] {
            let key = made(
                field("/a"),
                "",
                &serde_json::json!({ "a": text }).to_string(),
            )
            .unwrap();
            assert_eq!(key.len(), n_bytes);
            assert!(text.starts_with(&key) && key.encode_utf16().count() <= 256);
        }
    }

    #[test]
    fn equal_data_has_equal_deterministic_keys() {
        let key = made(PartitionKey::Deterministic, "raw", "hello");
        assert_eq!(key.as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    }

    #[test]
    fn random_keys_are_fractions_below_a_million_that_spread_evenly() {
        let mut maker = KeyMaker::new(&PartitionKey::Random, 7);
        let mut of_shard = [0; 8];
        for _ in 0..80_000 {
            maker.make(b"", b"");
            let key = std::str::from_utf8(maker.key()).unwrap();
            assert_eq!((key.len(), key.find('.')), (9, Some(6)), "{key}");
            assert!((0.0..1e6).contains(&key.parse::<f64>().unwrap()), "{key}");
            // A shard has a range of MD5 hashes.
            of_shard[usize::from(Md5::digest(key)[0] >> 5)] += 1;
        }
        assert!(
            of_shard.iter().all(|n| (9_500..10_500).contains(n)),
            "{of_shard:?}"
        );
    }

    proptest! {
        #[test]
        fn a_field_is_what_a_whole_parser_finds(
            json in "[\\[\\]{}:,\"ab01.e-]{0,24}",
            pointer in "(/[ab01]?){1,3}",
        ) {
            let found = serde_json::from_str::<serde_json::Value>(&json).ok();
            let expected = found.as_ref().and_then(|value| value.pointer(&pointer)).and_then(|value| match value {
                serde_json::Value::String(text) => (!text.is_empty()).then(|| text.clone()),
                // How a number is written is kept here and lost there.
                serde_json::Value::Number(_) => Some("number".to_owned()),
                _ => None,
            });
            let key = made(field(&pointer), "", &json);
            let is_number = expected.as_deref() == Some("number");
            if is_number {
                prop_assert!(key.is_some());
            } else if found.is_some() {
                prop_assert_eq!(key, expected);
            }
        }
    }
}
