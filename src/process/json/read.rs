//! The tokens of a JSON text, read strictly as RFC 8259 has them.

use super::escape;

/// A text that is no JSON, or not the JSON that it should be, or nested too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// A place in a JSON text.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `text`.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Passes over white space.
    pub fn skip_space(&mut self) {
        let n = self
            .rest()
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.at = n.map_or(self.text.len(), |n| self.at + n);
    }

    /// The next byte, taken.
    pub fn byte(&mut self) -> Result<u8, NotJson> {
        let byte = *self.rest().first().ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes the next byte if it is this one.
    pub fn take(&mut self, byte: u8) -> bool {
        let is_there = self.rest().first() == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Takes the next byte, which must be this one.
    pub fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(NotJson)
        }
    }

    /// Takes a word, such as the rest of `true`.
    pub fn word(&mut self, word: &str) -> Result<(), NotJson> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), NotJson> {
        self.skip_space();
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(NotJson)
        }
    }

    /// A number whose first byte was taken.
    pub fn number(&mut self) -> Result<&'a str, NotJson> {
        let start = self.at - 1;
        if self.text.as_bytes()[start] == b'-' && !self.byte()?.is_ascii_digit() {
            return Err(NotJson);
        }
        if self.text.as_bytes()[self.at - 1] != b'0' {
            self.digits();
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(NotJson);
        }
        if self.take(b'e') || self.take(b'E') {
            let _is_signed = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(NotJson);
            }
        }
        if self.rest().first().is_some_and(u8::is_ascii_digit) {
            return Err(NotJson);
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let n = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += n;
        n
    }

    /// Appends a string, whose opening quote was taken, with quotes and only the escapes that it needs.
    pub fn string(&mut self, out: &mut Vec<u8>) -> Result<(), NotJson> {
        out.push(b'"');
        loop {
            let n = escape::find_escaped(self.rest()).ok_or(NotJson)?;
            out.extend_from_slice(&self.rest()[..n]);
            self.at += n;
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape(out)?,
                _ => return Err(NotJson),
            }
        }
        out.push(b'"');
        Ok(())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), NotJson> {
        let letter = match self.byte()? {
            byte @ (b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => byte,
            b'/' => {
                out.push(b'/');
                return Ok(());
            }
            b'u' => return self.unicode_escape(out),
            _ => return Err(NotJson),
        };
        out.extend_from_slice(&[b'\\', letter]);
        Ok(())
    }

    /// A half of a surrogate pair alone is a `?`, which is what Java's UTF-8 encoder makes of it.
    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<(), NotJson> {
        let unit = self.hex4()?;
        let character = match unit {
            0xD800..=0xDBFF => {
                let before_second = self.at;
                let second = if self.word("\\u").is_ok() {
                    self.hex4()?
                } else {
                    0
                };
                if (0xDC00..=0xDFFF).contains(&second) {
                    char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00))
                } else {
                    self.at = before_second;
                    None
                }
            }
            _ => char::from_u32(unit),
        };
        let character = character.unwrap_or('?');
        escape::append_escaped(character.encode_utf8(&mut [0; 4]).as_bytes(), out);
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, NotJson> {
        let digits = self.rest().get(..4).ok_or(NotJson)?;
        let value = digits.iter().try_fold(0, |value, &digit| {
            char::from(digit)
                .to_digit(16)
                .map(|digit| value * 16 + digit)
                .ok_or(NotJson)
        })?;
        self.at += 4;
        Ok(value)
    }
}
