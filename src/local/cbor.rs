//! As much CBOR (RFC 8949) as the services speak: a strict reader over borrowed bytes and a small writer.
//!
//! The reader takes what any encoder may send — definite and indefinite lengths, integers of any width, byte and text
//! strings in one piece or in chunks, floats of each width, tags (passed over), null — and refuses everything that is
//! not well-formed, with the offset. Nothing is allocated by a length that the input only claims.

use std::borrow::Cow;

use super::limits::CBOR_DEPTH_MAX;

/// Input that isn't well-formed CBOR, or isn't of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    /// Offset of the item in question.
    pub at: usize,
    pub what: &'static str,
}

/// What the next item is; tags in front of it are already passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Bytes,
    Text,
    Array,
    Map,
    Bool,
    /// `null` or `undefined`.
    Null,
    Float,
    /// A simple value without a meaning here.
    Simple,
}

const MAJOR_UNSIGNED: u8 = 0;
const MAJOR_NEGATIVE: u8 = 1;
const MAJOR_BYTES: u8 = 2;
const MAJOR_TEXT: u8 = 3;
const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;
const MAJOR_TAG: u8 = 6;
const MAJOR_SIMPLE: u8 = 7;

const BREAK: u8 = 0xff;

/// The head of an item: major type, additional information and its argument; `None` is an indefinite length.
struct Head {
    at: usize,
    major: u8,
    info: u8,
    argument: Option<u64>,
}

/// Reads one item after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// Says that nothing may follow.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.malformed(self.at, "bytes after the end"))
        }
    }

    /// Looks at the next item without taking it.
    pub fn peek(&mut self) -> Result<Kind, Malformed> {
        self.pass_tags()?;
        let at = self.at;
        let head = self.head()?;
        self.at = at;
        Ok(match head.major {
            MAJOR_UNSIGNED | MAJOR_NEGATIVE => Kind::Integer,
            MAJOR_BYTES => Kind::Bytes,
            MAJOR_TEXT => Kind::Text,
            MAJOR_ARRAY => Kind::Array,
            MAJOR_MAP => Kind::Map,
            _ => match head.info {
                20 | 21 => Kind::Bool,
                22 | 23 => Kind::Null,
                25..=27 => Kind::Float,
                _ => Kind::Simple,
            },
        })
    }

    /// Takes the next item if it is `null` or `undefined`, and says whether it was.
    pub fn null(&mut self) -> Result<bool, Malformed> {
        let is_null = self.peek()? == Kind::Null;
        if is_null {
            self.head()?;
        }
        Ok(is_null)
    }

    /// An integer of any width, positive or negative.
    pub fn integer(&mut self) -> Result<i128, Malformed> {
        self.pass_tags()?;
        let head = self.head()?;
        match (head.major, head.argument) {
            (MAJOR_UNSIGNED, Some(value)) => Ok(i128::from(value)),
            (MAJOR_NEGATIVE, Some(value)) => Ok(-1 - i128::from(value)),
            _ => Err(self.malformed(head.at, "expected an integer")),
        }
    }

    /// A number of any kind as a double; the services take integers where they ask for doubles.
    pub fn number(&mut self) -> Result<f64, Malformed> {
        if self.peek()? == Kind::Integer {
            return Ok(self.integer()? as f64);
        }
        let head = self.head()?;
        match (head.major, head.info, head.argument) {
            (MAJOR_SIMPLE, 25, Some(bits)) => Ok(half_to_double(bits as u16)),
            (MAJOR_SIMPLE, 26, Some(bits)) => Ok(f64::from(f32::from_bits(bits as u32))),
            (MAJOR_SIMPLE, 27, Some(bits)) => Ok(f64::from_bits(bits)),
            _ => Err(self.malformed(head.at, "expected a number")),
        }
    }

    /// A byte string; borrowed unless it came in chunks.
    pub fn bytes(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        self.string(MAJOR_BYTES, "expected a byte string")
    }

    /// A text string, which must be UTF-8; borrowed unless it came in chunks.
    pub fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let at = self.at;
        match self.string(MAJOR_TEXT, "expected a text string")? {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(_) => Err(self.malformed(at, "text is not UTF-8")),
            },
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(_) => Err(self.malformed(at, "text is not UTF-8")),
            },
        }
    }

    /// Calls `each` once an element; it must take exactly one item. Any error type that a [`Malformed`] turns into will
    /// do.
    pub fn array<E: From<Malformed>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.open(MAJOR_ARRAY, "expected an array")?;
        match head.argument {
            Some(n_items) => {
                for _ in 0..n_items {
                    each(self)?;
                }
            }
            None => {
                while !self.take_break()? {
                    each(self)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Calls `each` with every key, which must be text; it must take exactly one item, the value.
    pub fn map<E: From<Malformed>>(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.open(MAJOR_MAP, "expected a map")?;
        match head.argument {
            Some(n_pairs) => {
                for _ in 0..n_pairs {
                    let key = self.text()?;
                    each(self, &key)?;
                }
            }
            None => {
                while !self.take_break()? {
                    let key = self.text()?;
                    each(self, &key)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Passes over one item, whatever it is, and all that is in it.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        match self.peek()? {
            Kind::Integer => self.integer().map(drop),
            Kind::Bytes => self.bytes().map(drop),
            Kind::Text => self.text().map(drop),
            Kind::Array => self.array(Self::skip),
            Kind::Map => {
                // Keys of other types are well-formed, so a member that nobody asks for may have them.
                let head = self.open(MAJOR_MAP, "expected a map")?;
                match head.argument {
                    Some(n_pairs) => {
                        for _ in 0..n_pairs {
                            self.skip()?;
                            self.skip()?;
                        }
                    }
                    None => {
                        while !self.take_break()? {
                            self.skip()?;
                            self.skip()?;
                        }
                    }
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Bool | Kind::Null | Kind::Float | Kind::Simple => self.head().map(drop),
        }
    }

    fn malformed(&self, at: usize, what: &'static str) -> Malformed {
        Malformed { at, what }
    }

    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..n_bytes) else {
            return Err(self.malformed(self.at, "input ends within an item"));
        };
        self.at += n_bytes;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, Malformed> {
        let at = self.at;
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24 => Some(u64::from(self.take(1)?[0])),
            25 => Some(
                self.take(2)?
                    .iter()
                    .fold(0, |n, byte| n << 8 | u64::from(*byte)),
            ),
            26 => Some(
                self.take(4)?
                    .iter()
                    .fold(0, |n, byte| n << 8 | u64::from(*byte)),
            ),
            27 => Some(
                self.take(8)?
                    .iter()
                    .fold(0, |n, byte| n << 8 | u64::from(*byte)),
            ),
            31 if (MAJOR_BYTES..=MAJOR_MAP).contains(&major) => None,
            31 if major == MAJOR_SIMPLE => {
                return Err(self.malformed(at, "a break outside of an indefinite item"));
            }
            _ => return Err(self.malformed(at, "a reserved length")),
        };
        if major == MAJOR_SIMPLE && info == 24 && argument.is_some_and(|value| value < 32) {
            return Err(self.malformed(at, "a simple value in two bytes that must be in one"));
        }
        Ok(Head {
            at,
            major,
            info,
            argument,
        })
    }

    fn pass_tags(&mut self) -> Result<(), Malformed> {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| byte >> 5 == MAJOR_TAG)
        {
            self.head()?;
        }
        Ok(())
    }

    /// Takes the head of an array or map; its end gives the depth back.
    fn open(&mut self, major: u8, expected: &'static str) -> Result<Head, Malformed> {
        self.pass_tags()?;
        let head = self.head()?;
        if head.major != major {
            return Err(self.malformed(head.at, expected));
        }
        if self.depth == CBOR_DEPTH_MAX {
            return Err(self.malformed(head.at, "nested too deeply"));
        }
        self.depth += 1;
        Ok(head)
    }

    fn take_break(&mut self) -> Result<bool, Malformed> {
        match self.bytes.get(self.at) {
            Some(&BREAK) => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Err(self.malformed(self.at, "input ends within an item")),
        }
    }

    fn string(&mut self, major: u8, expected: &'static str) -> Result<Cow<'a, [u8]>, Malformed> {
        self.pass_tags()?;
        let head = self.head()?;
        if head.major != major {
            return Err(self.malformed(head.at, expected));
        }
        if let Some(length) = head.argument {
            return self.take_counted(length).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        while !self.take_break()? {
            let chunk = self.head()?;
            match (chunk.major == major, chunk.argument) {
                (true, Some(length)) => {
                    let bytes = self.take_counted(length)?;
                    if major == MAJOR_TEXT && std::str::from_utf8(bytes).is_err() {
                        return Err(self.malformed(chunk.at, "text is not UTF-8"));
                    }
                    whole.extend_from_slice(bytes);
                }
                _ => {
                    return Err(
                        self.malformed(chunk.at, "a chunk of another type or without a length")
                    );
                }
            }
        }
        Ok(Cow::Owned(whole))
    }

    fn take_counted(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.malformed(self.at, "input ends within an item")),
        }
    }
}

/// RFC 8949, appendix D: 1 sign bit, 5 of exponent, 10 of mantissa.
fn half_to_double(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// Writes items of definite length, each in its shortest form.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn with_capacity(n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Opens a map; `n_pairs` keys and values must follow.
    pub fn map(&mut self, n_pairs: usize) -> &mut Self {
        self.head(MAJOR_MAP, n_pairs as u64)
    }

    /// Opens an array; `n_items` items must follow.
    pub fn array(&mut self, n_items: usize) -> &mut Self {
        self.head(MAJOR_ARRAY, n_items as u64)
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(MAJOR_TEXT, text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    #[cfg(test)]
    pub fn byte_string(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(MAJOR_BYTES, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(MAJOR_UNSIGNED, value)
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        match argument {
            0..=23 => self.bytes.push(major | argument as u8),
            24..=0xff => self.bytes.extend([major | 24, argument as u8]),
            0x100..=0xffff => {
                self.bytes.push(major | 25);
                self.bytes.extend((argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.bytes.push(major | 26);
                self.bytes.extend((argument as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend(argument.to_be_bytes());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn read<T>(
        text: &str,
        take: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let bytes = hex(text);
        let mut reader = Reader::new(&bytes);
        let value = take(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    // RFC 8949, appendix A.
    #[test]
    fn integers_of_every_width_are_read() {
        let cases: &[(&str, i128)] = &[
            ("00", 0),
            ("17", 23),
            ("1818", 24),
            ("1903e8", 1000),
            ("1a000f4240", 1_000_000),
            ("1b000000e8d4a51000", 1_000_000_000_000),
            ("1bffffffffffffffff", 18_446_744_073_709_551_615),
            ("20", -1),
            ("3863", -100),
            ("3bffffffffffffffff", -18_446_744_073_709_551_616),
            ("1800", 0),
            ("c11a514b67b0", 1_363_896_240),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, |r| r.integer()), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn numbers_of_every_kind_are_read() {
        let cases: &[(&str, f64)] = &[
            ("f90000", 0.0),
            ("f93c00", 1.0),
            ("f93e00", 1.5),
            ("f97bff", 65504.0),
            ("fa47c35000", 100_000.0),
            ("fb3ff199999999999a", 1.1),
            ("f90001", 5.960_464_477_539_063e-8),
            ("f90400", 0.000_061_035_156_25),
            ("f9c400", -4.0),
            ("f97c00", f64::INFINITY),
            ("fbfff0000000000000", f64::NEG_INFINITY),
            ("0a", 10.0),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, |r| r.number()), Ok(*expected), "{text}");
        }
        assert!(read("f97e00", |r| r.number()).unwrap().is_nan());
    }

    #[test]
    fn strings_are_read_whole_or_in_chunks() {
        assert_eq!(
            read("4401020304", |r| r.bytes().map(Cow::into_owned)),
            Ok(vec![1, 2, 3, 4])
        );
        assert_eq!(
            read("5f42010243030405ff", |r| r.bytes().map(Cow::into_owned)),
            Ok(vec![1, 2, 3, 4, 5])
        );
        assert_eq!(read("5fff", |r| r.bytes().map(Cow::into_owned)), Ok(vec![]));
        assert_eq!(
            read("62c3bc", |r| r.text().map(Cow::into_owned)),
            Ok("ü".into())
        );
        assert_eq!(
            read("7f657374726561646d696e67ff", |r| r
                .text()
                .map(Cow::into_owned)),
            Ok("streaming".into())
        );
    }

    #[test]
    fn maps_and_arrays_are_read_with_and_without_a_length() {
        for text in ["a2 6161 01 6162 82 02 03", "bf 6161 01 6162 9f 02 03 ff ff"] {
            let mut seen = Vec::new();
            read(text, |r| {
                r.map(|r, key| {
                    if r.peek()? == Kind::Array {
                        let key = key.to_owned();
                        r.array(|r| {
                            seen.push((key.clone(), r.integer()?));
                            Ok::<_, Malformed>(())
                        })
                    } else {
                        seen.push((key.to_owned(), r.integer()?));
                        Ok(())
                    }
                })
            })
            .unwrap();
            assert_eq!(
                seen,
                [("a".into(), 1), ("b".into(), 2), ("b".into(), 3)],
                "{text}"
            );
        }
    }

    #[test]
    fn any_item_can_be_passed_over() {
        for text in [
            "f4",
            "f6",
            "f7",
            "f0",
            "f8ff",
            "f93c00",
            "d9d9f7 83 01 02 03",
            "bf 01 02 61 61 a1 40 f6 ff",
            "9f 5f 41 00 ff 7f ff 9f ff ff",
        ] {
            assert_eq!(read(text, |r| r.skip()), Ok(()), "{text}");
        }
    }

    #[test]
    fn null_is_taken_and_other_items_are_left() {
        assert_eq!(read("f6", |r| r.null()), Ok(true));
        assert_eq!(read("c0f7", |r| r.null()), Ok(true));
        assert_eq!(
            read("01", |r| Ok((r.null()?, r.integer()?))),
            Ok((false, 1))
        );
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_place() {
        let cases: &[(&str, usize, &str)] = &[
            ("", 0, "input ends within an item"),
            ("18", 1, "input ends within an item"),
            ("5803 0102", 2, "input ends within an item"),
            ("5bffffffffffffffff 00", 9, "input ends within an item"),
            ("9bffffffffffffffff 00", 10, "input ends within an item"),
            ("9f 01", 2, "input ends within an item"),
            ("1c", 0, "a reserved length"),
            ("1f", 0, "a reserved length"),
            ("df00", 0, "a reserved length"),
            ("ff", 0, "a break outside of an indefinite item"),
            ("82 01 ff", 2, "a break outside of an indefinite item"),
            ("bf 6161 ff", 3, "a break outside of an indefinite item"),
            ("f818", 0, "a simple value in two bytes that must be in one"),
            (
                "5f 6161 ff",
                1,
                "a chunk of another type or without a length",
            ),
            (
                "5f 5f 4100 ff ff",
                1,
                "a chunk of another type or without a length",
            ),
            ("7f 61c3 61bc ff", 1, "text is not UTF-8"),
            ("61ff", 0, "text is not UTF-8"),
            ("01 01", 1, "bytes after the end"),
            ("c1", 1, "input ends within an item"),
        ];
        for (text, at, what) in cases {
            assert_eq!(
                read(text, |r| r.skip()),
                Err(Malformed { at: *at, what }),
                "{text}"
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}01", "81".repeat(depth));
        assert_eq!(read(&nested(CBOR_DEPTH_MAX), |r| r.skip()), Ok(()));
        let too_deep = read(&nested(CBOR_DEPTH_MAX + 1), |r| r.skip());
        assert_eq!(
            too_deep,
            Err(Malformed {
                at: CBOR_DEPTH_MAX,
                what: "nested too deeply"
            })
        );
        assert!(read(&"9f".repeat(100_000), |r| r.skip()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while reader.skip().is_ok() && reader.at < bytes.len() {}
            prop_assert!(reader.at <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read_back(
            key in ".{0,40}",
            data in proptest::collection::vec(any::<u8>(), 0..400),
            number: u64,
        ) {
            let mut writer = Writer::default();
            writer.map(1).text(&key).array(2).byte_string(&data).unsigned(number);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            reader.map(|r, read_key| {
                assert_eq!(read_key, key);
                let mut n_items = 0;
                r.array(|r| {
                    n_items += 1;
                    if n_items == 1 {
                        assert_eq!(&*r.bytes()?, &data[..]);
                    } else {
                        assert_eq!(r.integer()?, i128::from(number));
                    }
                    Ok::<_, Malformed>(())
                })
            }).unwrap();
            reader.finish().unwrap();
        }
    }
}
