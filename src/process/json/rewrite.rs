//! A JSON text read and printed again, as a Java program does that parses into ordered maps and writes them out:
//! white space is the layout's, escapes are the least needed, numbers are Java's, and of a key given twice the last
//! value stands in the first place.

use std::ops::Range;

use crate::config::JsonFormat;

use super::number;
use super::read::{NotJson, Reader};

/// Objects and arrays within one another: real records have a handful, and each takes a stack frame.
const DEPTH_MAX: usize = 256;

/// Prints JSON texts again. Holds nothing but scratch space.
#[derive(Debug, Default)]
pub struct Rewriter {
    /// The members of the objects that are open, innermost last.
    members: Vec<Member>,
    hashes: Vec<u64>,
}

/// The members of an object as printed, to be put behind those of others.
#[derive(Debug, Default)]
pub struct PrintedMembers {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

impl PrintedMembers {
    /// Prints the members of the object that `text` is.
    ///
    /// # Errors
    /// [`NotJson`] if `text` is no object.
    pub fn new(text: &str, format: JsonFormat) -> Result<PrintedMembers, NotJson> {
        let mut printed = PrintedMembers::default();
        Printer {
            members: &mut printed.members,
            hashes: &mut Vec::new(),
            format,
            out: &mut printed.bytes,
        }
        .members_of_text(text)?;
        Ok(printed)
    }
}

/// A member as printed: where it lies in the output.
#[derive(Debug, Clone)]
struct Member {
    key_hash: u64,
    key: Range<usize>,
    /// One past the value's last byte.
    end: usize,
}

impl Rewriter {
    /// Appends the value that `text` consists of, as it looks `nesting` objects deep.
    ///
    /// After an error `out` may hold the beginning of it.
    pub fn value(
        &mut self,
        text: &str,
        format: JsonFormat,
        nesting: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), NotJson> {
        let mut reader = Reader::new(text);
        self.members.clear();
        Printer {
            members: &mut self.members,
            hashes: &mut self.hashes,
            format,
            out,
        }
        .value(&mut reader, Depth { nesting, open: 0 })?;
        reader.end()
    }

    /// Appends one object with the members of `text`, which must be an object, and then `more`.
    ///
    /// After an error `out` may hold the beginning of it.
    ///
    /// # Errors
    /// [`NotJson`] if `text` is no object.
    pub fn merged(
        &mut self,
        text: &str,
        more: &PrintedMembers,
        format: JsonFormat,
        out: &mut Vec<u8>,
    ) -> Result<(), NotJson> {
        self.members.clear();
        let mut printer = Printer {
            members: &mut self.members,
            hashes: &mut self.hashes,
            format,
            out,
        };
        printer.out.push(b'{');
        printer.members_of_text(text)?;
        printer.append_members(more);
        printer.close_object(0, OUTSIDE);
        Ok(())
    }
}

/// How deep a value stands.
#[derive(Debug, Clone, Copy)]
struct Depth {
    /// Objects round it, which is what its indentation follows.
    nesting: usize,
    /// Objects and arrays round it.
    open: usize,
}

/// Where the object stands that a text consists of.
const OUTSIDE: Depth = Depth {
    nesting: 0,
    open: 0,
};

impl Depth {
    fn in_object(self) -> Depth {
        Depth {
            nesting: self.nesting + 1,
            open: self.open + 1,
        }
    }

    /// The reference writes arrays on one line: what is in them is indented as if it stood outside.
    fn in_array(self) -> Depth {
        Depth {
            open: self.open + 1,
            ..self
        }
    }
}

struct Printer<'a> {
    members: &'a mut Vec<Member>,
    hashes: &'a mut Vec<u64>,
    format: JsonFormat,
    out: &'a mut Vec<u8>,
}

impl Printer<'_> {
    fn value(&mut self, reader: &mut Reader, depth: Depth) -> Result<(), NotJson> {
        if depth.open > DEPTH_MAX {
            return Err(NotJson);
        }
        reader.skip_space();
        match reader.byte()? {
            b'{' => {
                self.out.push(b'{');
                let first = self.members.len();
                self.members_of(reader, first, depth)?;
                self.close_object(first, depth);
                Ok(())
            }
            b'[' => self.array(reader, depth),
            b'"' => reader.string(self.out),
            b't' => reader
                .word("rue")
                .map(|()| self.out.extend_from_slice(b"true")),
            b'f' => reader
                .word("alse")
                .map(|()| self.out.extend_from_slice(b"false")),
            b'n' => reader
                .word("ull")
                .map(|()| self.out.extend_from_slice(b"null")),
            b'-' | b'0'..=b'9' => {
                number::append(reader.number()?, self.out);
                Ok(())
            }
            _ => Err(NotJson),
        }
    }

    /// The members of the object that a text consists of.
    fn members_of_text(&mut self, text: &str) -> Result<(), NotJson> {
        let mut reader = Reader::new(text);
        reader.skip_space();
        reader.expect(b'{')?;
        self.members_of(&mut reader, 0, OUTSIDE)?;
        reader.end()
    }

    /// Puts members behind those of the outermost object, as if they had been read.
    fn append_members(&mut self, more: &PrintedMembers) {
        if more.members.is_empty() {
            return;
        }
        if !self.members.is_empty() {
            self.out.push(b',');
        }
        let start = self.out.len();
        self.out.extend_from_slice(&more.bytes);
        self.members
            .extend(more.members.iter().map(|member| Member {
                key_hash: member.key_hash,
                key: member.key.start + start..member.key.end + start,
                end: member.end + start,
            }));
    }

    /// The members from behind the opening brace to behind the closing one. `first`: where the object's own begin.
    fn members_of(
        &mut self,
        reader: &mut Reader,
        first: usize,
        depth: Depth,
    ) -> Result<(), NotJson> {
        reader.skip_space();
        if reader.take(b'}') {
            return Ok(());
        }
        loop {
            self.separate(self.members.len() > first, depth);
            reader.skip_space();
            reader.expect(b'"')?;
            let key_start = self.out.len();
            reader.string(self.out)?;
            let key = key_start..self.out.len();
            let key_hash = key_hash(&self.out[key.clone()]);
            self.colon();
            reader.skip_space();
            reader.expect(b':')?;
            self.value(reader, depth.in_object())?;
            self.members.push(Member {
                key_hash,
                key,
                end: self.out.len(),
            });
            reader.skip_space();
            if !reader.take(b',') {
                return reader.expect(b'}');
            }
        }
    }

    fn close_object(&mut self, first: usize, depth: Depth) {
        if self.members.len() == first {
            if self.format == JsonFormat::PrettyPrint {
                self.out.push(b' ');
            }
        } else {
            self.drop_repeated_keys(first, depth);
            self.members.truncate(first);
            if self.format == JsonFormat::PrettyPrint {
                self.new_line(depth.nesting);
            }
        }
        self.out.push(b'}');
    }

    fn array(&mut self, reader: &mut Reader, depth: Depth) -> Result<(), NotJson> {
        let is_pretty = self.format == JsonFormat::PrettyPrint;
        self.out.push(b'[');
        reader.skip_space();
        if is_pretty {
            self.out.push(b' ');
        }
        if !reader.take(b']') {
            loop {
                self.value(reader, depth.in_array())?;
                reader.skip_space();
                if !reader.take(b',') {
                    break;
                }
                self.out
                    .extend_from_slice(if is_pretty { b", " } else { b"," });
            }
            reader.expect(b']')?;
            if is_pretty {
                self.out.push(b' ');
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Whatever stands before a member.
    fn separate(&mut self, is_after_another: bool, depth: Depth) {
        if is_after_another {
            self.out.push(b',');
        }
        if self.format == JsonFormat::PrettyPrint {
            self.new_line(depth.nesting + 1);
        }
    }

    fn colon(&mut self) {
        self.out.extend_from_slice(match self.format {
            JsonFormat::Compact => b":",
            JsonFormat::PrettyPrint => b" : ",
        });
    }

    fn new_line(&mut self, nesting: usize) {
        self.out.push(b'\n');
        self.out.extend(std::iter::repeat_n(b' ', 2 * nesting));
    }

    /// Whether two of the object's members share a hash.
    fn shares_hash(&mut self, first: usize) -> bool {
        let hashes = self.members[first..].iter().map(|member| member.key_hash);
        // The few members that most objects have rarely share even ten bits of it.
        let mut seen = [0_u64; 16];
        let is_new = |hash: u64| {
            let (word, bit) = ((hash >> 60) as usize, hash >> 54 & 63);
            let is_new = seen[word] >> bit & 1 == 0;
            seen[word] |= 1 << bit;
            is_new
        };
        if hashes.clone().all(is_new) {
            return false;
        }
        self.hashes.clear();
        self.hashes.extend(hashes);
        self.hashes.sort_unstable();
        self.hashes.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Prints the object's members again if a key comes twice; nearly always none does.
    fn drop_repeated_keys(&mut self, first: usize, depth: Depth) {
        if !self.shares_hash(first) {
            return;
        }
        let members = self.members.split_off(first);
        // the first separator stays in `out`
        let start = members[0].key.start;
        let printed = self.out.split_off(start);
        let text = |range: Range<usize>| &printed[range.start - start..range.end - start];
        let mut last = std::collections::HashMap::new();
        for member in &members {
            last.insert(text(member.key.clone()), member);
        }
        for member in &members {
            let key = text(member.key.clone());
            if let Some(chosen) = last.remove(key) {
                if self.out.len() > start {
                    self.separate(true, depth);
                }
                self.out
                    .extend_from_slice(text(chosen.key.start..chosen.end));
            }
        }
    }
}

/// A number that equal keys share. Keys that share one by chance, or by design, are compared in full.
fn key_hash(key: &[u8]) -> u64 {
    // an odd number without a pattern, as in Knuth's multiplicative hashing
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = key.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().copied().chain([last]).map(u64::from_le_bytes);
    words.fold(key.len() as u64, |hash, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rewritten(text: &str, format: JsonFormat) -> Result<String, NotJson> {
        let mut out = Vec::new();
        Rewriter::default().value(text, format, 0, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_are_printed_compactly() {
        let rows = [
            (
                r#" { "a" : [ 1 , 2.50 , true , null ] , "b" : { } } "#,
                r#"{"a":[1,2.5,true,null],"b":{}}"#,
            ),
            (
                r#""é\u00e9\/\u0041\u001f\n\ud83d\ude00""#,
                r#""éé/A\u001F\n😀""#,
            ),
            (r#""\ud83d \ude00 \ud83d\u0041 \"""#, r#""? ? ?A \"""#),
            ("-1e2", "-100.0"),
            ("0", "0"),
            ("false", "false"),
            ("[]", "[]"),
        ];
        for (text, expected) in rows {
            assert_eq!(
                rewritten(text, JsonFormat::Compact).as_deref(),
                Ok(expected)
            );
        }
    }

    #[test]
    fn a_key_given_twice_keeps_its_first_place_and_takes_its_last_value() {
        let rows = [
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (
                r#"{"a":1,"\u0061":{"x":1,"x":[2]},"c":0}"#,
                r#"{"a":{"x":[2]},"c":0}"#,
            ),
            (r#"{"b":{"a":1},"a":1,"a":1}"#, r#"{"b":{"a":1},"a":1}"#),
        ];
        for (text, expected) in rows {
            assert_eq!(
                rewritten(text, JsonFormat::Compact).as_deref(),
                Ok(expected)
            );
        }
        assert_eq!(
            rewritten(r#"{"a":1,"b":2,"a":3}"#, JsonFormat::PrettyPrint).as_deref(),
            Ok("{\n  \"a\" : 3,\n  \"b\" : 2\n}")
        );
    }

    #[test]
    fn pretty_arrays_stay_on_one_line_and_do_not_indent() {
        assert_eq!(
            rewritten(
                r#"{"k":{"a":[1,{"x":[]},[2]]},"e":{}}"#,
                JsonFormat::PrettyPrint
            )
            .as_deref(),
            Ok(
                "{\n  \"k\" : {\n    \"a\" : [ 1, {\n      \"x\" : [ ]\n    }, [ 2 ] ]\n  },\n  \"e\" : { }\n}"
            )
        );
    }

    fn merged(text: &str, more: &str, format: JsonFormat) -> Result<String, NotJson> {
        let more = PrintedMembers::new(more, format)?;
        let mut out = b"before".to_vec();
        Rewriter::default().merged(text, &more, format, &mut out)?;
        Ok(String::from_utf8(out.split_off("before".len())).unwrap())
    }

    #[test]
    fn objects_are_merged_key_by_key() {
        let rows = [
            (r#"{"a":1}"#, r#"{"b":2}"#, Ok(r#"{"a":1,"b":2}"#)),
            (r#" {"a":1,"b":0}"#, r#"{"a":2}"#, Ok(r#"{"a":2,"b":0}"#)),
            ("{}", "{}", Ok("{}")),
            ("{}\n", r#"{"b":2}"#, Ok(r#"{"b":2}"#)),
            ("[]", "{}", Err(NotJson)),
            ("{} {}", "{}", Err(NotJson)),
            ("", "{}", Err(NotJson)),
            ("{}", "[]", Err(NotJson)),
        ];
        for (text, more, expected) in rows {
            let result = merged(text, more, JsonFormat::Compact);
            assert_eq!(result.as_deref(), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let rows = [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "01",
            "-",
            "-a",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nulll",
            "NaN",
            "\"\n\"",
            "1 2",
            "{} x",
            "\u{feff}{}",
            "\"\\u+123\"",
        ];
        for text in rows {
            assert_eq!(rewritten(text, JsonFormat::Compact), Err(NotJson), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(
            rewritten(&nested(DEPTH_MAX), JsonFormat::Compact),
            Ok(nested(DEPTH_MAX))
        );
        assert_eq!(
            rewritten(&nested(DEPTH_MAX + 2), JsonFormat::Compact),
            Err(NotJson)
        );
        assert_eq!(
            rewritten(&"{\"a\":".repeat(100_000), JsonFormat::Compact),
            Err(NotJson)
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((".{0,3}", inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_reads_back_as_itself(value in any_json()) {
            for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
                for format in [JsonFormat::Compact, JsonFormat::PrettyPrint] {
                    let printed = rewritten(&text, format).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&printed).unwrap(), &value);
                }
            }
        }

        /// Members that were printed beforehand are as good as members that are read with the others.
        #[test]
        fn merging_is_reading_all_members_as_one_object(
            members in prop::collection::vec(("[ab]{0,2}", any_json()), 0..5),
            more in prop::collection::vec(("[ab]{0,2}", any_json()), 0..5),
        ) {
            let inside = |members: &[(String, serde_json::Value)]| {
                let members = members.iter().map(|(key, value)| format!("\"{key}\": {value}"));
                members.collect::<Vec<_>>().join(" ,")
            };
            let all = [&members[..], &more[..]].concat();
            for format in [JsonFormat::Compact, JsonFormat::PrettyPrint] {
                let text = format!("{{{}}}", inside(&members));
                let merged = merged(&text, &format!("{{{}}}", inside(&more)), format);
                prop_assert_eq!(merged, rewritten(&format!("{{{}}}", inside(&all)), format));
            }
        }

        #[test]
        fn what_another_parser_refuses_is_refused(text in "[\\[\\]{}\":,0-9eE.+\\- tfnrulase\\\\/]{0,24}") {
            let other = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(rewritten(&text, JsonFormat::Compact).is_ok(), other.is_ok());
        }
    }
}
