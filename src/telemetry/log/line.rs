//! One line of the log: `yyyy-MM-dd HH:mm:ss.SSS+0000  (THREAD) LOGGER [LEVEL] MESSAGE`, or the same as a JSON object.
//!
//! An empty field stands between the time and the thread, hence the two spaces. Nothing that a message holds can end a
//! line or begin one: file names and answers of services are other people's text.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::Offset;
use tracing::Level;

/// Longest text of one field in bytes, before escapes; what is beyond is cut and its size said.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;

/// How lines are written (`log.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As the reference writes them.
    #[default]
    Text,
    /// An object with `time` (RFC 3339, UTC, to the millisecond), `level`, `thread`, `logger` and `message`.
    Json,
}

/// The parts of a line.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub at: Timestamp,
    pub thread: &'a str,
    pub logger: &'a str,
    pub level: Level,
    pub message: &'a str,
}

impl Line<'_> {
    /// The line as it is written, its newline included.
    pub fn written(&self, format: Format) -> String {
        match format {
            Format::Text => self.to_text(),
            Format::Json => self.to_json(),
        }
    }

    fn to_json(self) -> String {
        let mut text = String::with_capacity(160 + self.message.len());
        text.push_str("{\"time\":\"");
        push_time(&mut text, self.at, 'T', "Z");
        text.push('"');
        for (name, value) in [
            ("level", self.level.as_str()),
            ("thread", self.thread),
            ("logger", self.logger),
            ("message", self.message),
        ] {
            let cut = value.floor_char_boundary(FIELD_BYTES_MAX);
            let quoted = serde_json::Value::from(&value[..cut]).to_string();
            let _ = write!(text, ",\"{name}\":{quoted}");
            if cut < value.len() {
                let _ = write!(text, ",\"{name}_bytes_left_out\":{}", value.len() - cut);
            }
        }
        text.push_str("}\n");
        text
    }

    fn to_text(self) -> String {
        let mut text = String::with_capacity(128 + self.message.len());
        push_time(&mut text, self.at, ' ', "+0000");
        text.push_str("  (");
        push_escaped(&mut text, self.thread);
        text.push_str(") ");
        push_escaped(&mut text, self.logger);
        text.push_str(" [");
        text.push_str(self.level.as_str());
        text.push_str("] ");
        push_escaped(&mut text, self.message);
        text.push('\n');
        text
    }
}

/// `yyyy-MM-dd`, `between`, `HH:mm:ss.SSS`, `zone`, which is to say UTC in the format's way.
fn push_time(text: &mut String, at: Timestamp, between: char, zone: &str) {
    let civil = Offset::UTC.to_datetime(at);
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "{:04}-{:02}-{:02}{between}{:02}:{:02}:{:02}.{:03}{zone}",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
        civil.millisecond()
    );
}

/// Appends a field that isn't part of the message, ` KEY=VALUE`; the value is quoted where it could be misread.
pub fn push_field(text: &mut String, key: &str, value: &str) {
    text.push(' ');
    text.push_str(key);
    text.push('=');
    let plain =
        !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
    if plain {
        text.push_str(value);
    } else {
        let _ = write!(text, "{value:?}");
    }
}

fn push_escaped(text: &mut String, field: &str) {
    let cut = field.floor_char_boundary(FIELD_BYTES_MAX);
    // Nearly every field.
    if field[..cut].bytes().all(|b| matches!(b, b' '..=b'~')) {
        text.push_str(&field[..cut]);
    } else {
        push_escapes(text, &field[..cut]);
    }
    if cut < field.len() {
        let _ = write!(text, "… ({} more bytes)", field.len() - cut);
    }
}

fn push_escapes(text: &mut String, field: &str) {
    for c in field.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if misleads(c) => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
}

/// Control characters, Unicode's line ends, and what turns the direction of text round.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line_at(at: &str, thread: &str, logger: &str, level: Level, message: &str) -> String {
        let at = at.parse().expect("a time of the test's own");
        Line {
            at,
            thread,
            logger,
            level,
            message,
        }
        .to_text()
    }

    #[test]
    fn a_line_is_the_references() {
        let progress = "Agent: Progress: 5750745 records parsed (355242075 bytes), and 5750575 records sent \
                        successfully to destinations. Uptime: 236670045ms";
        for (line, expected) in [
            (
                line_at(
                    "2020-11-05T06:34:03.557Z",
                    "Agent.MetricsEmitter RUNNING",
                    "com.amazon.kinesis.streaming.agent.Agent",
                    Level::INFO,
                    progress,
                ),
                "2020-11-05 06:34:03.557+0000  (Agent.MetricsEmitter RUNNING) com.amazon.kinesis.streaming.agent.Agent \
                 [INFO] Agent: Progress: 5750745 records parsed (355242075 bytes), and 5750575 records sent \
                 successfully to destinations. Uptime: 236670045ms\n",
            ),
            (
                line_at("2026-01-02T03:04:05.0069Z", "main", "a", Level::WARN, "x"),
                "2026-01-02 03:04:05.006+0000  (main) a [WARN] x\n",
            ),
            (
                line_at("1970-01-01T00:00:00Z", "t", "l", Level::TRACE, ""),
                "1970-01-01 00:00:00.000+0000  (t) l [TRACE] \n",
            ),
            (
                line_at("2026-12-31T23:59:59.999999Z", "t", "l", Level::ERROR, "é ☃"),
                "2026-12-31 23:59:59.999+0000  (t) l [ERROR] é ☃\n",
            ),
            (
                line_at("2026-12-31T23:00:00+05:00", "t", "l", Level::DEBUG, "m"),
                "2026-12-31 18:00:00.000+0000  (t) l [DEBUG] m\n",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_line_may_be_an_object() {
        let line = Line {
            at: "2020-11-05T06:34:03.5579Z".parse().expect("a time"),
            thread: "main",
            logger: "a.B",
            level: Level::WARN,
            message: "say \"x\"\n\u{1b}[31m ☃",
        };
        assert_eq!(
            line.written(Format::Json),
            "{\"time\":\"2020-11-05T06:34:03.557Z\",\"level\":\"WARN\",\"thread\":\"main\",\"logger\":\"a.B\",\
             \"message\":\"say \\\"x\\\"\\n\\u001b[31m ☃\"}\n"
        );
        let long = "é".repeat(FIELD_BYTES_MAX);
        let line = Line {
            message: &long,
            ..line
        };
        let read: serde_json::Value =
            serde_json::from_str(&line.written(Format::Json)).expect("an object");
        assert_eq!(read["message_bytes_left_out"], FIELD_BYTES_MAX);
        assert_eq!(line.written(Format::Text).lines().count(), 1);
    }

    #[test]
    fn what_could_forge_or_hide_a_line_is_escaped() {
        for (message, expected) in [
            ("a\nb", r"a\nb"),
            (
                "a\r\n2026-01-01 00:00:00.000+0000  (main) x [ERROR] y",
                r"a\r\n2026-01-01 00:00:00.000+0000  (main) x [ERROR] y",
            ),
            (
                "a\tb\0c\x1b[31m\x7f\u{85}",
                r"a\tb\u0000c\u001b[31m\u007f\u0085",
            ),
            (
                "\u{2028}\u{2029}\u{202e}\u{2066}",
                r"\u2028\u2029\u202e\u2066",
            ),
            (r"C:\new", r"C:\new"),
        ] {
            let mut text = String::new();
            push_escaped(&mut text, message);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_field_that_is_too_long_is_cut_between_characters_and_says_so() {
        let mut text = String::new();
        push_escaped(&mut text, &format!("{}é…", "a".repeat(FIELD_BYTES_MAX - 1)));
        assert_eq!(
            text,
            format!("{}… (5 more bytes)", "a".repeat(FIELD_BYTES_MAX - 1))
        );
    }

    #[test]
    fn fields_are_quoted_where_they_could_be_misread() {
        let mut text = String::from("message");
        for (key, value) in [
            ("n", "3"),
            ("path", "/a b"),
            ("none", ""),
            ("eq", "a=b"),
            ("q", "say \"x\""),
        ] {
            push_field(&mut text, key, value);
        }
        assert_eq!(
            text,
            r#"message n=3 path="/a b" none="" eq="a=b" q="say \"x\"""#
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_exactly_one_line(thread in any::<String>(), logger in any::<String>(), message in any::<String>()) {
            let text = line_at("2026-01-01T00:00:00Z", &thread, &logger, Level::INFO, &message);
            let line = text.strip_suffix('\n').expect("a line ends in a newline");
            prop_assert!(!line.contains(misleads), "{line:?}");
            let at = "2026-01-01T00:00:00Z".parse().expect("a time");
            let line = Line { at, thread: &thread, logger: &logger, level: Level::INFO, message: &message };
            let json = line.written(Format::Json);
            prop_assert_eq!(json.lines().count(), 1);
            let read: serde_json::Value = serde_json::from_str(&json).expect("an object");
            prop_assert_eq!(&read["message"], &serde_json::Value::from(message));
        }
    }
}
