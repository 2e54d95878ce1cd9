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
