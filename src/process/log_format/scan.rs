//! The formats' patterns as code: what [`LogFormat::pattern`] says, without going back.
//!
//! In each pattern the byte after a part decides whether the part goes on, so one look at each byte is enough. That
//! the two agree on which records match and on every group is a property below.

use std::ops::Range;

use crate::config::LogFormat;

/// Where the groups of a pattern lie; `None` for one that took no part.
type Groups = Vec<Option<Range<usize>>>;

/// Full and short names of the months as timestamps of RFC 3164 have them.
const MONTHS: [&str; 23] = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
    "January",
    "February",
    "March",
    "April",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Whether the whole of `text` is in the format; if so, `groups` holds what its pattern's groups hold, and anything
/// if not.
pub fn matches(format: LogFormat, text: &str, groups: &mut Groups) -> bool {
    groups.clear();
    let mut scan = Scan {
        text,
        at: 0,
        groups,
    };
    match format {
        LogFormat::CommonApacheLog => scan.common_apache_log(),
        LogFormat::CombinedApacheLog => scan.combined_apache_log(),
        LogFormat::ApacheErrorLog => scan.apache_error_log(),
        LogFormat::Syslog => scan.syslog(),
        LogFormat::Rfc3339Syslog => scan.rfc3339_syslog(),
    }
    .is_some()
}

/// A place in the text; each step takes what it names, or gives `None`.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    groups: &'a mut Groups,
}

impl Scan<'_> {
    fn common_apache_log(&mut self) -> Option<()> {
        self.common_apache_fields()?;
        self.rest_of_line()
    }

    fn combined_apache_log(&mut self) -> Option<()> {
        self.common_apache_fields()?;
        self.literal(" ")?;
        self.quoted()?;
        self.literal(" ")?;
        self.quoted()?;
        self.rest_of_line()
    }

    fn common_apache_fields(&mut self) -> Option<()> {
        for _ in ["host", "ident", "authuser"] {
            self.group(|scan| scan.run(is_name))?;
            self.literal(" ")?;
        }
        self.literal("[")?;
        self.group(Scan::apache_time)?;
        self.literal("] ")?;
        self.quoted()?;
        for _ in ["response", "bytes"] {
            self.literal(" ")?;
            self.group(|scan| scan.literal("-").or_else(|| scan.run(is_digit)))?;
        }
        Some(())
    }

    /// `10/Oct/2000:13:55:36 -0700`
    fn apache_time(&mut self) -> Option<()> {
        self.digits(1..=2)?;
        self.literal("/")?;
        self.exactly(3, |byte| byte.is_ascii_alphabetic())?;
        self.literal("/")?;
        self.digits(4..=4)?;
        self.literal(":")?;
        self.clock()?;
        self.literal(" ")?;
        self.sign()?;
        self.digits(4..=4)
    }

    fn apache_error_log(&mut self) -> Option<()> {
        self.literal("[")?;
        self.group(Scan::apache_error_time)?;
        self.literal("] [")?;
        let module_or_severity = self.taken(|scan| scan.run(is_word))?;
        if self.literal(":").is_some() {
            self.groups.push(Some(module_or_severity));
            self.group(|scan| scan.run(is_word))?;
        } else {
            self.groups.extend([None, Some(module_or_severity)]);
        }
        self.literal("] [pid ")?;
        self.group(|scan| scan.run(is_digit))?;
        if self.literal(":tid ").is_some() {
            self.group(|scan| scan.run(is_digit))?;
        } else {
            self.groups.push(None);
        }
        self.literal("] [client ")?;
        self.group(|scan| {
            scan.run(is_name)?;
            if scan.literal(":").is_some() {
                scan.run(is_digit)
            } else {
                Some(())
            }
        })?;
        self.literal("] ")?;
        self.group(Scan::rest_of_line)
    }

    /// `Fri Sep 09 10:42:29.902022 2011`
    fn apache_error_time(&mut self) -> Option<()> {
        for _ in ["day of the week", "month"] {
            self.exactly(1, |byte| byte.is_ascii_uppercase())?;
            self.exactly(2, |byte| byte.is_ascii_lowercase())?;
            self.literal(" ")?;
        }
        while self.literal(" ").is_some() {}
        self.digits(1..=2)?;
        self.literal(" ")?;
        self.clock()?;
        self.optional_fraction()?;
        self.literal(" ")?;
        self.digits(4..=4)
    }

    fn syslog(&mut self) -> Option<()> {
        self.group(Scan::syslog_time)?;
        self.after_syslog_time()
    }

    /// `Mar  1 09:12:16`; day, hour, minute and second must exist.
    fn syslog_time(&mut self) -> Option<()> {
        let month = self.taken(|scan| scan.run(|byte| byte.is_ascii_alphabetic()))?;
        if !MONTHS.contains(&&self.text[month]) {
            return None;
        }
        self.run(|byte| byte == b' ')?;
        self.number(1..=2, 1..=31)?;
        self.literal(" ")?;
        self.number(1..=2, 0..=23)?;
        self.literal(":")?;
        self.number(2..=2, 0..=59)?;
        self.literal(":")?;
        self.number(1..=2, 0..=60)?;
        if self.one_of(b":.,").is_some() {
            self.run(is_digit)
        } else {
            Some(())
        }
    }

    fn rfc3339_syslog(&mut self) -> Option<()> {
        self.group(Scan::rfc3339_time)?;
        self.after_syslog_time()
    }

    /// `2003-10-11T22:14:15.003Z`
    fn rfc3339_time(&mut self) -> Option<()> {
        self.digits(4..=4)?;
        self.literal("-")?;
        self.digits(2..=2)?;
        self.literal("-")?;
        self.digits(2..=2)?;
        self.literal("T")?;
        self.clock()?;
        self.optional_fraction()?;
        if self.literal("Z").is_some() {
            return Some(());
        }
        self.sign()?;
        self.digits(2..=2)?;
        self.literal(":")?;
        self.digits(2..=2)
    }

    fn after_syslog_time(&mut self) -> Option<()> {
        self.literal(" ")?;
        self.group(|scan| scan.run(is_name))?;
        self.literal(" ")?;
        self.group(|scan| scan.run(|byte| is_name(byte) || byte == b'/' || byte == b'%'))?;
        if self.literal("[").is_some() {
            self.group(|scan| scan.run(is_digit))?;
            self.literal("]")?;
        } else {
            self.groups.push(None);
        }
        self.literal(": ")?;
        self.group(Scan::rest_of_line)
    }

    /// `"` and a group up to the next `"`, which isn't empty.
    fn quoted(&mut self) -> Option<()> {
        self.literal("\"")?;
        let n = memchr::memchr(b'"', self.rest()).filter(|&n| n > 0)?;
        self.groups.push(Some(self.at..self.at + n));
        self.at += n + 1;
        Some(())
    }

    /// All that is left, if there is no line end in it.
    fn rest_of_line(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let has_line_end = if rest.is_ascii() {
            memchr::memchr2(b'\n', b'\r', rest.as_bytes()).is_some()
        } else {
            rest.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        };
        self.at = self.text.len();
        (!has_line_end).then_some(())
    }

    /// `13:55:36`, any digits.
    fn clock(&mut self) -> Option<()> {
        self.digits(2..=2)?;
        self.literal(":")?;
        self.digits(2..=2)?;
        self.literal(":")?;
        self.digits(2..=2)
    }

    fn optional_fraction(&mut self) -> Option<()> {
        if self.literal(".").is_some() {
            self.run(is_digit)
        } else {
            Some(())
        }
    }

    fn sign(&mut self) -> Option<()> {
        self.one_of(b"+-")
    }

    fn digits(&mut self, n_allowed: std::ops::RangeInclusive<usize>) -> Option<()> {
        let taken = self.taken(|scan| scan.run(is_digit))?;
        n_allowed.contains(&taken.len()).then_some(())
    }

    /// Digits whose value is allowed.
    fn number(
        &mut self,
        n_allowed: std::ops::RangeInclusive<usize>,
        allowed: std::ops::RangeInclusive<u32>,
    ) -> Option<()> {
        let start = self.at;
        self.digits(n_allowed)?;
        let value = self.text[start..self.at]
            .bytes()
            .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        allowed.contains(&value).then_some(())
    }

    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest()
            .starts_with(literal.as_bytes())
            .then(|| self.at += literal.len())
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<()> {
        let byte = self.rest().first()?;
        bytes.contains(byte).then(|| self.at += 1)
    }

    /// As many bytes of a class as there are, at least one. The class is ASCII.
    fn run(&mut self, is_in_class: impl Fn(u8) -> bool) -> Option<()> {
        let n = self
            .rest()
            .iter()
            .take_while(|&&byte| is_in_class(byte))
            .count();
        self.at += n;
        (n > 0).then_some(())
    }

    /// So many bytes of a class. The class is ASCII.
    fn exactly(&mut self, n: usize, is_in_class: impl Fn(u8) -> bool) -> Option<()> {
        let bytes = self.rest().get(..n)?;
        bytes
            .iter()
            .all(|&byte| is_in_class(byte))
            .then(|| self.at += n)
    }

    /// What `step` takes.
    fn taken(&mut self, step: impl FnOnce(&mut Self) -> Option<()>) -> Option<Range<usize>> {
        let start = self.at;
        step(self)?;
        Some(start..self.at)
    }

    /// What `step` takes becomes the next group.
    fn group(&mut self, step: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let taken = self.taken(step)?;
        self.groups.push(Some(taken));
        Some(())
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// `\w`
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// `[\w.-]`
fn is_name(byte: u8) -> bool {
    is_word(byte) || byte == b'.' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::java_regex::JavaRegex;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const FORMATS: [LogFormat; 5] = [
        LogFormat::CommonApacheLog,
        LogFormat::CombinedApacheLog,
        LogFormat::ApacheErrorLog,
        LogFormat::Syslog,
        LogFormat::Rfc3339Syslog,
    ];

    /// A line of each format, in the order of [`FORMATS`].
    const LINES: [&str; 5] = [
        r#"a-b.c - u_1 [1/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12 and more"#,
        r#"a-b.c - u_1 [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" - - "http://x/" "agent/1 (中)" "x""#,
        "[Fri Sep  9 10:42:29.902 2011] [core:error] [pid 1:tid 22] [client a.b-c:99] message [x]",
        "February 28 23:59:60,5 host-1.a a/b%c_d[123]: message: é",
        "2003-10-11T22:14:15.003-07:00 host a/b[12]: message",
    ];

    /// Texts that are put in place of parts of a line: other forms of a field, right and wrong, and what ends lines.
    const PARTS: [&str; 64] = [
        "",
        " ",
        "  ",
        "-",
        "+",
        ":",
        "::",
        ".",
        "..5",
        ",5",
        "/",
        "%",
        "[",
        "]",
        "[]",
        "\"",
        "\"\"",
        "\\\"",
        "\r",
        "\n",
        "\r\n",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "é",
        "٣",
        "0",
        "1",
        "01",
        "00",
        "7",
        "9",
        "23",
        "24",
        "29",
        "30",
        "31",
        "32",
        "59",
        "60",
        "61",
        "099",
        "2000",
        "20000",
        "Z",
        "z",
        "T",
        "t",
        "Mar",
        "March",
        "Marc",
        "mar",
        "Xyz",
        "Sept",
        "::1",
        "h:1",
        "a b",
        "a@b",
        "x",
        "[pid 1]",
        "[client h]",
        "core:",
        ":tid 2",
        ":tid -1",
    ];

    static PATTERNS: LazyLock<[JavaRegex; 5]> =
        LazyLock::new(|| FORMATS.map(|format| JavaRegex::new(format.pattern()).unwrap()));

    /// What the pattern and the code say: the groups if the text matches.
    fn both(index: usize, text: &str) -> [Option<Groups>; 2] {
        let mut by_pattern = Groups::new();
        let mut by_code = Groups::new();
        let pattern_matches = PATTERNS[index].matches(text, &mut by_pattern).unwrap();
        let code_matches = matches(FORMATS[index], text, &mut by_code);
        [
            pattern_matches.then_some(by_pattern),
            code_matches.then_some(by_code),
        ]
    }

    #[test]
    fn each_format_reads_its_own_line() {
        for (index, line) in LINES.iter().enumerate() {
            let [by_pattern, by_code] = both(index, line);
            assert!(by_code.is_some(), "{line}");
            assert_eq!(by_code, by_pattern, "{line}");
        }
    }

    #[test]
    fn the_code_does_what_the_pattern_says_with_every_part_in_every_place() {
        let mut n_matches = 0;
        for (index, line) in LINES.iter().enumerate() {
            let places: Vec<usize> = line
                .char_indices()
                .map(|(place, _)| place)
                .chain([line.len()])
                .collect();
            for (first, &start) in places.iter().enumerate() {
                for &end in places[first..].iter().take(4) {
                    for part in PARTS {
                        let text = format!("{}{part}{}", &line[..start], &line[end..]);
                        let [by_pattern, by_code] = both(index, &text);
                        n_matches += usize::from(by_code.is_some());
                        assert_eq!(by_code, by_pattern, "{text:?}");
                    }
                }
            }
        }
        assert!(n_matches > 10_000, "only {n_matches} texts matched");
    }

    proptest! {
        #[test]
        fn the_code_does_what_the_pattern_says_with_lines_changed_at_random(
            index in 0..LINES.len(),
            changes in prop::collection::vec((0usize..120, 0usize..4, prop::sample::select(&PARTS[..])), 0..6),
            rest in "[ -~é]{0,8}",
        ) {
            let mut text: Vec<char> = LINES[index].chars().collect();
            for (place, n_removed, part) in changes {
                let start = place.min(text.len());
                let end = (start + n_removed).min(text.len());
                text.splice(start..end, part.chars());
            }
            text.extend(rest.chars());
            let text: String = text.into_iter().collect();
            let [by_pattern, by_code] = both(index, &text);
            prop_assert_eq!(by_code, by_pattern, "{:?}", text);
        }
    }
}
