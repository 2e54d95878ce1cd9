//! Whether an answer says that every record was accepted, which nearly all do: seen in one walk, without building
//! anything from it. Whatever isn't plainly so is for the parser.

/// Whether all of `n_sent` records were accepted, for sure: no failure is counted, each record has its place in the
/// stream, and the answer is all there.
pub fn are_all(is_cbor: bool, body: &[u8], n_sent: usize) -> bool {
    match is_cbor {
        true => n_accepted_in_cbor(body) == Some(n_sent),
        false => are_all_in_json(body, n_sent),
    }
}

/// By the count of failures and by one `SequenceNumber` or `RecordId` a record.
fn are_all_in_json(body: &[u8], n_sent: usize) -> bool {
    const NONE_FAILED: [&[u8]; 2] = [b"\"FailedRecordCount\":0", b"\"FailedPutCount\":0"];
    const ACCEPTED: [&[u8]; 2] = [b"\"SequenceNumber\":\"", b"\"RecordId\":\""];
    let has = |sign: &&[u8]| memchr::memmem::find(body, sign).is_some();
    let count = |sign: &&[u8]| memchr::memmem::find_iter(body, sign).count();
    NONE_FAILED.iter().any(has)
        && ACCEPTED.iter().map(count).sum::<usize>() == n_sent
        && braces_balance(body)
}

/// Whether a JSON object is all there; no value in an answer without failures holds a brace.
fn braces_balance(body: &[u8]) -> bool {
    let count = |brace| memchr::memchr_iter(brace, body).count();
    body.trim_ascii_end().last() == Some(&b'}') && count(b'{') == count(b'}')
}

/// How many records a CBOR answer accepts; `None` if it isn't one that accepts all of its own.
fn n_accepted_in_cbor(body: &[u8]) -> Option<usize> {
    let mut cbor = Cbor { rest: body };
    let (mut n_failed, mut n_accepted) = (None, 0);
    cbor.each(MAP, |cbor| match cbor.text()? {
        b"FailedRecordCount" => {
            n_failed = Some(cbor.number()?);
            Some(())
        }
        b"Records" => cbor.each(ARRAY, |cbor| {
            let mut is_accepted = false;
            cbor.each(MAP, |cbor| match cbor.text()? {
                b"SequenceNumber" => {
                    is_accepted = !cbor.text()?.is_empty();
                    Some(())
                }
                b"ErrorCode" => None,
                _ => cbor.skip(),
            })?;
            n_accepted += 1;
            is_accepted.then_some(())
        }),
        _ => cbor.skip(),
    })?;
    (n_failed == Some(0) && cbor.rest.is_empty()).then_some(n_accepted)
}

const NUMBER: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Ends what has no length of its own.
const BREAK: u8 = 0xff;

/// What is left of a CBOR text (RFC 8949, section 3). `None` from any of its methods: it isn't there, or isn't all there.
struct Cbor<'b> {
    rest: &'b [u8],
}

impl<'b> Cbor<'b> {
    /// What kind of item comes next, and its argument; one without has no length of its own.
    fn head(&mut self) -> Option<(u8, Option<u64>)> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        let argument = match first & 0x1f {
            short @ 0..=23 => Some(u64::from(short)),
            width @ 24..=27 => {
                let bytes = self.take(1 << (width - 24))?;
                let shifted = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
                Some(bytes.iter().fold(0, shifted))
            }
            31 => None,
            _ => return None,
        };
        Some((first >> 5, argument))
    }

    fn take(&mut self, n: u64) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(n).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    /// A text in one piece.
    fn text(&mut self) -> Option<&'b [u8]> {
        match self.head()? {
            (TEXT, Some(length)) => self.take(length),
            _ => None,
        }
    }

    /// A number that isn't negative.
    fn number(&mut self) -> Option<u64> {
        match self.head()? {
            (NUMBER, argument) => argument,
            _ => None,
        }
    }

    /// Each item of an array, or each key of a map, which `item` takes together with its value.
    fn each(&mut self, kind: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let (found, count) = self.head()?;
        if found != kind {
            return None;
        }
        let mut left = count;
        loop {
            match &mut left {
                Some(0) => return Some(()),
                Some(left) => *left -= 1,
                None if *self.rest.first()? == BREAK => {
                    self.rest = &self.rest[1..];
                    return Some(());
                }
                None => {}
            }
            item(self)?;
        }
    }

    /// An item of no interest; none that holds others is expected.
    fn skip(&mut self) -> Option<()> {
        match self.head()? {
            (BYTES | TEXT, length) => self.take(length?).map(|_| ()),
            (ARRAY | MAP | TAG, _) => None,
            (_, argument) => argument.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;
    use proptest::prelude::*;

    use super::*;

    fn cbor(value: &ciborium::Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn all_are_accepted_only_if_each_has_its_place() {
        let one = cbor!({ "SequenceNumber" => "49", "ShardId" => "shardId-0" }).unwrap();
        let placeless = cbor!({ "SequenceNumber" => (), "ShardId" => () }).unwrap();
        let both = cbor!({ "SequenceNumber" => "49", "ErrorCode" => "InternalFailure" }).unwrap();
        let rows = [
            (
                cbor!({ "FailedRecordCount" => 0, "Records" => [one, one] }),
                true,
            ),
            // In any order, and with what may come to be said some day.
            (
                cbor!({ "Records" => [one, one], "FailedRecordCount" => 0 }),
                true,
            ),
            (
                cbor!({ "EncryptionType" => "KMS", "FailedRecordCount" => 0, "New" => 1.5, "Records" => [one, one] }),
                true,
            ),
            (
                cbor!({ "FailedRecordCount" => 1, "Records" => [one, one] }),
                false,
            ),
            (
                cbor!({ "FailedRecordCount" => 0, "Records" => [one] }),
                false,
            ),
            (
                cbor!({ "FailedRecordCount" => 0, "Records" => [one, one, one] }),
                false,
            ),
            (
                cbor!({ "FailedRecordCount" => 0, "Records" => [one, placeless] }),
                false,
            ),
            (
                cbor!({ "FailedRecordCount" => 0, "Records" => [one, both] }),
                false,
            ),
            (cbor!({ "FailedRecordCount" => 0 }), false),
            (cbor!({ "Records" => [one, one] }), false),
            (cbor!([one, one]), false),
        ];
        for (value, expected) in rows {
            let value = value.unwrap();
            assert_eq!(are_all(true, &cbor(&value), 2), expected, "{value:?}");
        }
    }

    #[test]
    fn lengths_may_be_told_by_an_end() {
        let text = |text: &str| [&[0x60 | text.len() as u8], text.as_bytes()].concat();
        let record = [&[0xbf][..], &text("SequenceNumber"), &text("4"), &[0xff]].concat();
        let answer = [
            &[0xbf][..],
            &text("FailedRecordCount"),
            &[0],
            &text("Records"),
            &[0x9f],
            &record,
            &record,
            &[0xff, 0xff],
        ]
        .concat();
        assert!(are_all(true, &answer, 2));
        for end in 0..answer.len() {
            assert!(!are_all(true, &answer[..end], 2), "cut at {end}");
        }
    }

    proptest! {
        /// Whatever is taken for acceptance here is one to a whole parser, too, but for a letter that can't be one.
        #[test]
        fn garbled_answers_are_not_taken_for_acceptance(
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let one = cbor!({ "SequenceNumber" => "49", "ShardId" => "s" }).unwrap();
            let mut answer = cbor(&cbor!({ "FailedRecordCount" => 0, "Records" => [one, one] }).unwrap());
            let place = place.index(answer.len());
            answer[place] = byte;
            if are_all(true, &answer, 2) {
                let Ok(parsed) = ciborium::from_reader::<ciborium::Value, _>(&answer[..]) else {
                    prop_assert!(byte >= 0x80);
                    return Ok(());
                };
                let map = parsed.as_map().unwrap();
                let of = |name: &str| map.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
                prop_assert_eq!(of("FailedRecordCount").and_then(ciborium::Value::as_integer), Some(0.into()));
                prop_assert_eq!(of("Records").and_then(ciborium::Value::as_array).map(Vec::len), Some(2));
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), n_sent in 0usize..3) {
            are_all(true, &bytes, n_sent);
            are_all(false, &bytes, n_sent);
        }
    }
}
