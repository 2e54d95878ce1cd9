//! Reading: blanks, lists and objects, and what to say where something else stands.

use std::collections::HashMap;

use super::super::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use super::{Document, Member, Node, Object, Repeat, SyntaxError, Value, push_key};

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

/// A place in a text, and what has been read so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    pub(super) at: usize,
    pub(super) line: usize,
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

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn error(
        &self,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> SyntaxError {
        SyntaxError {
            line: self.line,
            path: self.path.clone(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A character that can't stand here, where `wanted` could.
    pub(super) fn unexpected(&self, wanted: &str) -> SyntaxError {
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
                    format!("{} can't stand where {wanted} should be", readable(found)),
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
            Some(_) => Err(self.unexpected(&format!(
                "a comma or the end of the {kind} that begins on line {opened_line}"
            ))),
        }
    }
}

/// One character for a message.
fn readable(c: char) -> String {
    match c {
        c if c.is_control() || c.is_whitespace() || !c.is_ascii() => {
            format!("{} (U+{:04X})", c.escape_debug(), c as u32)
        }
        c => c.into(),
    }
}
