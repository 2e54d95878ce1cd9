//! A strict JSON reader that remembers on which line everything stood.
//!
//! It takes the dialect of the reference: JSON with `/* */` and `//` comments, an optional byte order mark, keys given
//! twice (the last wins) and anything after the closing brace; nothing else. Numbers keep their text, objects their
//! order. It stops at the first mistake, and says where it is and what to write instead.

mod reader;
mod scalar;

use std::fmt;

pub use reader::read;
pub use scalar::is_number;

/// A whole file.
#[derive(Debug)]
pub struct Document {
    pub root: Node,
    /// Keys given twice, in the order of the file.
    pub repeats: Vec<Repeat>,
    /// The line of the first thing after the end of the root value, if there is one.
    pub trailing_line: Option<usize>,
}

/// A key that an object holds more than once.
#[derive(Debug, PartialEq, Eq)]
pub struct Repeat {
    pub path: String,
    pub first_line: usize,
    pub last_line: usize,
}

/// A value and the line (from 1) on which it begins.
#[derive(Debug, Clone)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

/// A JSON value.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(Box<str>),
    Text(String),
    List(Vec<Node>),
    Object(Object),
}

/// An object's members, in order, each name once.
#[derive(Debug, Clone, Default)]
pub struct Object {
    pub members: Vec<Member>,
}

/// One member of an object. A name given twice keeps its first place, with the line and the value of the last.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    pub line: usize,
    pub node: Node,
}

impl Object {
    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Why a text is not JSON, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub line: usize,
    /// The value being read, as `flows[0].filePattern`; empty at the top.
    pub path: String,
    /// Shows at most one character of the text, since it may hold secrets.
    pub problem: String,
    pub remedy: String,
}

/// Appends a key to the path of the object that holds it; a very long one is shortened.
pub fn push_key(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&shortened(name));
}

/// A text for a message: one line, no control characters, at most some sixty characters.
pub fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(char_shown).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn char_shown(c: char) -> impl Iterator<Item = char> {
    let hidden = c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{FEFF}');
    let escaped = hidden.then(|| c.escape_default());
    let plain = (!hidden).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

impl fmt::Display for Value {
    /// The value as it was written, shortened; of an object only that it is one, since it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(text) => f.write_str(&shortened(text)),
            Value::Text(text) => write!(f, "\"{}\"", shortened(text)),
            Value::Object(_) => f.write_str("{…}"),
            Value::List(items) => {
                const ITEMS_SHOWN_MAX: usize = 5;
                let shown: Vec<String> = items
                    .iter()
                    .take(ITEMS_SHOWN_MAX)
                    .map(|item| match &item.value {
                        Value::List(_) => "[…]".into(),
                        value => value.to_string(),
                    })
                    .collect();
                let more = if items.len() > ITEMS_SHOWN_MAX {
                    ", …"
                } else {
                    ""
                };
                write!(f, "[{}{more}]", shown.join(", "))
            }
        }
    }
}

/// The value as JSON text, with numbers as they were written.
pub fn to_text(value: &Value) -> String {
    let mut text = String::new();
    append_text(value, &mut text);
    text
}

fn append_text(value: &Value, text: &mut String) {
    let comma = |place: usize| if place > 0 { "," } else { "" };
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(number),
        Value::Text(value) => append_quoted(value, text),
        Value::List(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(comma(place));
                append_text(&item.value, text);
            }
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            for (place, member) in object.members.iter().enumerate() {
                text.push_str(comma(place));
                append_quoted(&member.name, text);
                text.push(':');
                append_text(&member.node.value, text);
            }
            text.push('}');
        }
    }
}

fn append_quoted(value: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(value).to_string());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
    use super::*;

    fn as_serde(text: &str) -> serde_json::Value {
        let document = read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        as_value(&document)
    }

    fn as_value(document: &Document) -> serde_json::Value {
        serde_json::from_str(&to_text(&document.root.value)).expect("JSON")
    }

    #[test]
    fn the_dialect_is_that_of_the_reference() {
        let same = [
            ("{}", "{}"),
            ("\u{FEFF}{\"a\": 1}", r#"{"a": 1}"#),
            ("/* a */{ // b\n\"a\"/**/:/*\n*/1} //", r#"{"a": 1}"#),
            ("{\"a\": 1} }", r#"{"a": 1}"#),
            ("{\"a\": 1} # no JSON at all \u{1}", r#"{"a": 1}"#),
            ("{\"a\": 1, \"b\": 2, \"a\": 3}", r#"{"a": 3, "b": 2}"#),
            (
                r#"["\u00e9\uD83D\uDE00\/\"\\\b\f\n\r\t"]"#,
                r#"["é😀/\"\\\b\f\n\r\t"]"#,
            ),
            (
                "[-0, -1, 1.50, 1E+2, 18446744073709551615]",
                "[-0, -1, 1.5, 100.0, 18446744073709551615]",
            ),
            ("[true,false,null]", "[true,false,null]"),
            ("\r\n\t 1", "1"),
        ];
        for (text, expected) in same {
            assert_eq!(
                as_serde(text),
                serde_json::from_str::<serde_json::Value>(expected).unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line_its_path_and_what_to_change() {
        let cases = [
            ("", 1, "", "empty", "object"),
            (" // nothing\n\n", 3, "", "empty", "object"),
            (
                "{\n\"a\": [1,\n2,\n]}",
                3,
                "a",
                "comma before the end of the list",
                "remove",
            ),
            (
                "{\"a\": 1,}",
                1,
                "",
                "comma before the end of the object",
                "remove",
            ),
            ("{\"a\": 1\n\n\"b\": 2}", 1, "", "comma is missing", "comma"),
            ("[1\n2]", 1, "", "comma is missing", "comma"),
            ("# x\n{}", 1, "", "can't begin with #", "//"),
            ("{'a': 1}", 1, "", "single quotes", "double"),
            (
                "{\u{201C}a\": 1}",
                1,
                "",
                "typographic",
                "plain double quote",
            ),
            ("{\"a\":\u{A0}1}", 1, "a", "invisible", "plain space"),
            (
                "{a: 1}",
                1,
                "",
                "a can't stand where a key",
                "double quotes",
            ),
            ("{\"a\" 1}", 1, "a", "without a colon", ":"),
            (
                "{\"a\": {\"b\": [0, True]}}",
                1,
                "a.b[1]",
                "T can't stand",
                "true",
            ),
            ("{\"a\": None}", 1, "a", "N can't stand", "null"),
            ("{\"a\": yes}", 1, "a", "y can't stand", "true"),
            ("{\"a\": truely}", 1, "a", "t can't stand", "double quotes"),
            ("{\"a\": ,", 1, "a", ", can't stand", "complete"),
            ("{\"a\": 01}", 1, "a", "not a number", "leading zeros"),
            ("{\"a\": +1}", 1, "a", "+ can't stand", "complete"),
            ("{\"a\": 1.}", 1, "a", "not a number", "digits"),
            ("{\"a\": 10ms}", 1, "a", "not a number", "unit"),
            (
                "{\"a\": \"x\n\"}",
                1,
                "a",
                "over the end of its line",
                "\\n",
            ),
            ("{\"a\": \"x\ty\"}", 1, "a", "tab", "\\t"),
            ("{\"a\": \"x\u{1}y\"}", 1, "a", "control character", "\\u"),
            ("{\"a\": \"\\d\"}", 1, "a", "backslash", "\\\\"),
            ("{\"a\": \"\\u12\"}", 1, "a", "four hex digits", "four"),
            ("{\"a\": \"\\uD800x\"}", 1, "a", "surrogate", "both halves"),
            (
                "{\"a\": \"\\uDC00\\uD800\"}",
                1,
                "a",
                "surrogate",
                "both halves",
            ),
            ("{\"a\": \"x", 1, "a", "never closed", "close"),
            (
                "{\n\"a\": [\n1",
                3,
                "a",
                "list that begins on line 2 is never closed",
                "]",
            ),
            (
                "{\n\"a\": 1\n]",
                3,
                "",
                "] can't stand where a comma or the end of the object that begins on line 1",
                "",
            ),
            ("{\"a\":", 1, "a", "the file ends where a value", "close"),
            (
                "{ /* \n }",
                1,
                "",
                "comment that begins here is never closed",
                "*/",
            ),
            ("{ / }", 1, "", "single /", "//"),
        ];
        for (text, line, path, problem, remedy) in cases {
            let error = read(text.as_bytes())
                .err()
                .unwrap_or_else(|| panic!("{text} was read"));
            assert_eq!(
                (error.line, error.path.as_str()),
                (line, path),
                "{text}: {error:?}"
            );
            assert!(error.problem.contains(problem), "{text}: {error:?}");
            assert!(error.remedy.contains(remedy), "{text}: {error:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_told_with_their_place() {
        let error = read(b"{\n\"a\": \"\xE9\"}").expect_err("not UTF-8");
        assert_eq!(
            (error.line, error.problem.as_str()),
            (2, "byte 7 of the line is not UTF-8")
        );
        let error = read(b"\xFF\xFE{\0}\0").expect_err("UTF-16");
        assert_eq!(
            (error.line, error.problem.as_str()),
            (1, "the file is in UTF-16")
        );
    }

    #[test]
    fn every_key_and_value_knows_its_line_whatever_ends_lines() {
        for newline in ["\n", "\r\n", "\r"] {
            let text =
                "{ // one\n/* two\nthree */ \"a\":\n[1,\n2], \"b\": {}}".replace('\n', newline);
            let document = read(text.as_bytes()).expect("JSON");
            let Value::Object(root) = &document.root.value else {
                panic!("an object")
            };
            let (a, b) = (root.get("a").expect("a"), root.get("b").expect("b"));
            let Value::List(items) = &a.node.value else {
                panic!("a list")
            };
            assert_eq!(
                (a.line, a.node.line, items[0].line, items[1].line, b.line),
                (3, 4, 4, 5, 5),
                "{newline:?}"
            );
        }
    }

    #[test]
    fn a_key_given_twice_is_told_with_both_lines() {
        let document = read(b"{\"x\": [{\"a\": 1,\n\"a\": 2,\n\"a\": 3}]}").expect("JSON");
        let repeat = |first_line, last_line| Repeat {
            path: "x[0].a".into(),
            first_line,
            last_line,
        };
        assert_eq!(document.repeats, [repeat(1, 2), repeat(2, 3)]);
    }

    #[test]
    fn what_follows_the_end_is_told_with_its_line() {
        let cases = [
            ("{}", None),
            ("{}\n// a\n/* b */\n", None),
            ("{}\n\n}", Some(3)),
            ("{}\n# a", Some(2)),
            ("{}\n/*", Some(2)),
        ];
        for (text, line) in cases {
            assert_eq!(
                read(text.as_bytes()).expect("JSON").trailing_line,
                line,
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        for depth in [JSON_DEPTH_MAX + 1, 1_000_000] {
            let error = read(nested(depth).as_bytes()).expect_err("too deep");
            assert!(error.problem.contains("deep"), "{error:?}");
        }
        let error =
            read(format!("[{}0]", "0,".repeat(JSON_VALUES_MAX)).as_bytes()).expect_err("too many");
        assert!(error.problem.contains("more than"), "{error:?}");
    }

    #[test]
    fn a_value_is_shown_as_written_but_short_and_in_one_line() {
        let long = format!("\"{}\"", "x".repeat(61));
        let cases = [
            ("\"a\\nb\\u202e\"", "\"a\\nb\\u{202e}\""),
            ("1.50", "1.50"),
            (
                "[1, \"a\", [2], {\"s\": \"hidden\"}]",
                "[1, \"a\", […], {…}]",
            ),
            ("[1,2,3,4,5,6]", "[1, 2, 3, 4, 5, …]"),
            (long.as_str(), &format!("\"{}…\"", "x".repeat(60))),
        ];
        for (text, shown) in cases {
            assert_eq!(
                read(text.as_bytes()).expect("JSON").root.value.to_string(),
                shown
            );
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"[1,-0,1.50,123456789012345678901234567890,1e999,0.1,{"a":"\"","b":[]}]"#;
        let document = read(text.as_bytes()).expect("JSON");
        assert_eq!(to_text(&document.root.value), text);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((".{0,3}", inner), 0..6).prop_map(|members| {
                    serde_json::Value::Object(members.into_iter().collect())
                }),
            ]
        })
    }

    /// Pieces of JSON and of what is mistaken for it.
    fn token_soup() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"", "'", "\\", "1", "-", "0", ".5",
            "e3", "true", "null", " ", "\n", "//", "/*", "*/", "#", "\\u00e9", "é",
        ]);
        prop::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn generated_json_reads_as_serde_json_reads_it(value in any_json(), is_pretty in any::<bool>()) {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(as_serde(&text), expected);
        }

        #[test]
        fn what_serde_json_takes_is_taken_and_what_it_refuses_only_for_the_dialect(text in token_soup()) {
            match (read(text.as_bytes()), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(document), Ok(expected)) => prop_assert_eq!(as_value(&document), expected),
                (Err(error), Ok(_)) => prop_assert!(false, "{}: {:?}", text, error),
                (Ok(document), Err(_)) => prop_assert!(document.trailing_line.is_some() || text.contains('/')),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
