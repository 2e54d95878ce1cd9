//! A strict JSON reader that remembers on which line everything stood.
//!
//! It takes the dialect of the reference: JSON with `/* */` and `//` comments, an optional byte order mark, keys given
//! twice (the last wins) and anything after the closing brace; nothing else. Numbers keep their text, objects their
//! order. It stops at the first mistake, and says where it is and what to write instead.

use std::collections::HashMap;
use std::fmt;

use super::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};

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
#[derive(Debug)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

/// A JSON value.
#[derive(Debug)]
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
#[derive(Debug, Default)]
pub struct Object {
    pub members: Vec<Member>,
}

/// One member of an object. A name given twice keeps its first place, with the line and the value of the last.
#[derive(Debug)]
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
    pub problem: String,
    /// The offending character, readable; empty at the end of the file. Never more: the text may hold secrets.
    pub found: String,
    pub remedy: String,
}

/// Reads a file.
///
/// # Errors
///
/// The first mistake: a character that JSON doesn't allow where it stands, bytes that are not UTF-8, or more nesting or
/// values than [`JSON_DEPTH_MAX`] and [`JSON_VALUES_MAX`].
pub fn read(bytes: &[u8]) -> Result<Document, SyntaxError> {
    if bytes.starts_with(b"\xFE\xFF") || bytes.starts_with(b"\xFF\xFE") {
        return Err(SyntaxError {
            line: 1,
            path: String::new(),
            problem: "the file is in UTF-16".into(),
            found: String::new(),
            remedy: "save it as UTF-8".into(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let mut reader = Reader::new(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    reader.skip_blank()?;
    if reader.peek().is_none() {
        return Err(reader.error("the file is empty", "write an object: { \"flows\": [ … ] }"));
    }
    let root = reader.value()?;
    // The reference stops reading here, so a mistake further down never refuses a file.
    let trailing_line = match reader.skip_blank() {
        Ok(()) if reader.peek().is_none() => None,
        Ok(()) | Err(_) => Some(reader.line),
    };
    Ok(Document {
        root,
        repeats: reader.repeats,
        trailing_line,
    })
}

fn not_utf8(bytes: &[u8], at: usize) -> SyntaxError {
    let line = 1 + count_lines(&bytes[..at]);
    let line_start = bytes[..at]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |newline| newline + 1);
    SyntaxError {
        line,
        path: String::new(),
        problem: format!("byte {} of the line is not UTF-8", at - line_start + 1),
        found: format!("0x{:02X}", bytes[at]),
        remedy: "save the file as UTF-8".into(),
    }
}

/// Line ends before a place: `\n`, `\r\n` or `\r`.
fn count_lines(bytes: &[u8]) -> usize {
    let ends_line = |(at, &byte): (usize, &u8)| {
        byte == b'\n' || byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')
    };
    bytes
        .iter()
        .enumerate()
        .filter(|&item| ends_line(item))
        .count()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    path: String,
    depth: usize,
    n_values: usize,
    repeats: Vec<Repeat>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Reader {
            text,
            at: 0,
            line: 1,
            path: String::new(),
            depth: 0,
            n_values: 0,
            repeats: Vec::new(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> SyntaxError {
        SyntaxError {
            line: self.line,
            path: self.path.clone(),
            problem: problem.into(),
            found: self.rest().chars().next().map_or(String::new(), readable),
            remedy: remedy.into(),
        }
    }

    /// A character that can't stand here, where `wanted` could.
    fn unexpected(&self, wanted: &str) -> SyntaxError {
        let Some(found) = self.rest().chars().next() else {
            return self.error(
                format!("the file ends where {wanted} should be"),
                "close what is open",
            );
        };
        let (problem, remedy) = match found {
            '\'' => (
                "single quotes are not JSON",
                "write double quotes: \"text\"",
            ),
            '“' | '”' | '„' | '‘' | '’' | '«' | '»' => (
                "a typographic quotation mark is not JSON",
                "write a plain double quote: \"",
            ),
            '#' => (
                "a comment can't begin with #",
                "begin it with //, or put it between /* and */",
            ),
            '\u{A0}' | '\u{3000}' | '\u{2000}'..='\u{200B}' | '\u{FEFF}' => (
                "an invisible character that is not a plain space",
                "replace it by a plain space",
            ),
            _ => {
                return self.error(
                    format!("this can't stand where {wanted} should be"),
                    self.remedy_for_word(),
                );
            }
        };
        self.error(problem, remedy)
    }

    fn remedy_for_word(&self) -> String {
        let word: String = self
            .rest()
            .chars()
            .take_while(|c| c.is_ascii_alphabetic())
            .take(10)
            .collect();
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => "write true".into(),
            "false" | "no" | "off" => "write false".into(),
            "null" | "none" | "nil" | "undefined" => "write null, or leave the key out".into(),
            "nan" | "infinity" => "write a number".into(),
            "" => "remove it, or complete what stands before it".into(),
            _ => "put text and keys between double quotes".into(),
        }
    }

    /// Skips white space and comments, counting lines.
    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b'\r' => {
                    self.line += usize::from(bytes.get(self.at + 1) != Some(&b'\n'));
                    self.at += 1;
                }
                b'/' => self.skip_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_comment(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            return Ok(());
        }
        let Some(inside) = rest.strip_prefix("/*") else {
            return Err(self.error(
                "a single / begins nothing",
                "begin a comment with //, or put it between /* and */",
            ));
        };
        let Some(length) = inside.find("*/") else {
            return Err(self.error(
                "a comment that begins here is never closed",
                "close it with */",
            ));
        };
        self.line += count_lines(&inside.as_bytes()[..length]);
        self.at += "/*".len() + length + "*/".len();
        Ok(())
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.n_values += 1;
        if self.n_values > JSON_VALUES_MAX {
            let problem = format!("the file holds more than {JSON_VALUES_MAX} values");
            return Err(self.error(
                problem,
                "split it into several files in agent.d, or remove what isn't needed",
            ));
        }
        let line = self.line;
        let value = match self.peek() {
            Some(b'{') => Value::Object(self.nested(Self::object)?),
            Some(b'[') => Value::List(self.nested(Self::list)?),
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Node { line, value })
    }

    fn nested<T>(
        &mut self,
        inside: fn(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth == JSON_DEPTH_MAX {
            let problem = format!("values are nested more than {JSON_DEPTH_MAX} deep");
            return Err(self.error(problem, "flatten it"));
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        for (word, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if self
                .rest()
                .strip_prefix(word)
                .is_some_and(|rest| !goes_on(rest))
            {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn list(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let opened_line = self.line;
        let path_len = self.path.len();
        let mut items = Vec::new();
        self.at += 1;
        self.skip_blank()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.path.push_str(&format!("[{}]", items.len()));
            let item = self.value()?;
            self.path.truncate(path_len);
            items.push(item);
            if !self.comma_or(b']', opened_line)? {
                return Ok(items);
            }
        }
    }

    fn object(&mut self) -> Result<Object, SyntaxError> {
        let opened_line = self.line;
        let path_len = self.path.len();
        let mut object = Object::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        self.at += 1;
        self.skip_blank()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(object);
        }
        loop {
            let line = self.line;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let name = self.string()?;
            push_key(&mut self.path, &name);
            self.skip_blank()?;
            if self.peek() != Some(b':') {
                return Err(self.error("a key without a colon after it", "write \"key\": value"));
            }
            self.at += 1;
            self.skip_blank()?;
            let node = self.value()?;
            match places.get(&name) {
                Some(&place) => {
                    let first_line = object.members[place].line;
                    self.repeats.push(Repeat {
                        path: self.path.clone(),
                        first_line,
                        last_line: line,
                    });
                    object.members[place] = Member { name, line, node };
                }
                None => {
                    places.insert(name.clone(), object.members.len());
                    object.members.push(Member { name, line, node });
                }
            }
            self.path.truncate(path_len);
            if !self.comma_or(b'}', opened_line)? {
                return Ok(object);
            }
        }
    }

    /// Goes past a comma (true) or the closing bracket (false), and past what is blank around it.
    fn comma_or(&mut self, close: u8, opened_line: usize) -> Result<bool, SyntaxError> {
        let kind = if close == b'}' { "object" } else { "list" };
        let end_line = self.line;
        self.skip_blank()?;
        match self.peek() {
            Some(b',') => {
                let comma_line = self.line;
                self.at += 1;
                self.skip_blank()?;
                if self.peek() == Some(close) {
                    let problem = format!("a comma before the end of the {kind}");
                    return Err(SyntaxError {
                        line: comma_line,
                        found: ",".into(),
                        ..self.error(problem, "remove the comma")
                    });
                }
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            None => Err(self.error(
                format!("the {kind} that begins on line {opened_line} is never closed"),
                format!("close it with {}", char::from(close)),
            )),
            Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b'a'..=b'z') => Err(SyntaxError {
                line: end_line,
                ..self.error(
                    "a comma is missing after this value",
                    "write a comma between two entries",
                )
            }),
            Some(_) => Err(self.unexpected(&format!("a comma or the end of the {kind}"))),
        }
    }

    fn number(&mut self) -> Result<Box<str>, SyntaxError> {
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

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let Some(length) = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < 0x20)
            else {
                return Err(SyntaxError {
                    found: String::new(),
                    ..self.error(
                        "text that begins on this line is never closed",
                        "close it with \"",
                    )
                });
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

fn readable(c: char) -> String {
    match c {
        '\u{A0}' => "U+00A0, a no-break space".into(),
        c if c.is_control() || c.is_whitespace() || !c.is_ascii() => {
            format!("{} (U+{:04X})", c.escape_debug(), c as u32)
        }
        c => c.into(),
    }
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

/// A value in the form that processing keeps it (`metadata`), and the lines of numbers that it can't hold exactly.
pub fn to_serde(node: &Node, inexact_lines: &mut Vec<usize>) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items
            .iter()
            .map(|item| to_serde(item, inexact_lines))
            .collect(),
        Value::Object(object) => serde_json::Value::Object(
            object
                .members
                .iter()
                .map(|m| (m.name.clone(), to_serde(&m.node, inexact_lines)))
                .collect(),
        ),
        Value::Number(text) => number_to_serde(text).unwrap_or_else(|nearest| {
            inexact_lines.push(node.line);
            nearest
        }),
    }
}

/// The number, or as an error the nearest value: whole numbers are kept to 64 bits, others as binary fractions.
fn number_to_serde(text: &str) -> Result<serde_json::Value, serde_json::Value> {
    // Whole in JSON, and the reference prints it as 0; serde_json would keep the sign by making it a fraction.
    if text == "-0" {
        return Ok(0.into());
    }
    let is_whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    match text.parse::<serde_json::Number>() {
        Ok(number) if is_whole && number.is_f64() => Err(number.into()),
        Ok(number) => Ok(number.into()),
        Err(_) => Err(text.into()),
    }
}
