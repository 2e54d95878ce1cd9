//! `SINGLELINE`: the lines of a record, trimmed and joined into one.

use crate::config;

use super::text;

/// What stands between the lines with `ESCAPE_NEW_LINE`: two backslashes and an `n`.
const ESCAPED_NEWLINE: &[u8] = br"\\n";

/// Appends the record's lines as one line, with `\n` at its end.
///
/// Empty lines at the record's end don't count; each line loses all characters up to U+0020 at both ends (Java's
/// `trim`) unless `NO_TRIM` is set. Newlines and what is trimmed are ASCII, so the bytes can be cut before they are
/// decoded.
pub fn convert(options: config::SingleLine, record: &[u8], out: &mut Vec<u8>) {
    let is_text = str::from_utf8(record).is_ok();
    let separator: &[u8] = if options.escape_new_line {
        ESCAPED_NEWLINE
    } else {
        b""
    };
    let end = record
        .iter()
        .rposition(|&byte| byte != b'\n')
        .map_or(0, |last| last + 1);
    let record = &record[..end];

    let mut line_start = 0;
    for line_end in memchr::memchr_iter(b'\n', record).chain([record.len()]) {
        let mut line = &record[line_start..line_end];
        if !options.no_trim {
            line = trim(line);
        }
        if line_start > 0 {
            out.extend_from_slice(separator);
        }
        if is_text {
            out.extend_from_slice(line);
        } else {
            text::append(line, out);
        }
        line_start = line_end + 1;
    }
    out.push(b'\n');
}

/// Java's `String.trim`: characters up to and with the space go at both ends, other white space stays.
fn trim(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|&byte| byte > b' ') else {
        return &[];
    };
    let end = line
        .iter()
        .rposition(|&byte| byte > b' ')
        .map_or(start, |last| last + 1);
    &line[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_trimmed_and_joined_as_the_options_say() {
        const RECORD: &[u8] = b"a: \n\n  b\tc\r\n \n end \n\n";
        // (no_trim, escape_new_line, expected)
        let rows = [
            (false, false, "a:b\tcend\n"),
            (true, false, "a:   b\tc\r  end \n"),
            (false, true, "a:\\\\n\\\\nb\tc\\\\n\\\\nend\n"),
            (true, true, "a: \\\\n\\\\n  b\tc\r\\\\n \\\\n end \n"),
        ];
        for (no_trim, escape_new_line, expected) in rows {
            assert_eq!(
                converted(
                    config::SingleLine {
                        no_trim,
                        escape_new_line
                    },
                    RECORD
                ),
                expected.as_bytes()
            );
        }
    }

    #[test]
    fn white_space_above_the_space_stays() {
        let rows: &[(&[u8], &str)] = &[
            ("\u{A0} c\u{A0} \n".as_bytes(), "\u{A0} c\u{A0}\n"),
            (b"\x01d\x1f\x00", "d\n"),
            (b"\x7f", "\x7f\n"),
            (b" \xff a \n", "\u{FFFD} a\n"),
            (b"\xe2\n\x82\xac", "\u{FFFD}\u{FFFD}\u{FFFD}\n"),
            (b"", "\n"),
            (b"\n\n", "\n"),
            (b" \n", "\n"),
        ];
        for (record, expected) in rows {
            assert_eq!(
                converted(config::SingleLine::default(), record),
                expected.as_bytes(),
                "{record:?}"
            );
        }
    }

    fn converted(options: config::SingleLine, record: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        convert(options, record, &mut out);
        out
    }
}
