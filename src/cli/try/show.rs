//! What `try` prints for people.

use std::io::{self, Write};

use crate::config::Flow;
use crate::process::SkipReason;
use crate::process::mismatch::{Explainer, Mismatch};

use super::sample::{Fate, Record, Sample, around, context};

/// Characters of a record or a pattern shown on either side of a place.
const SHOWN_CHARS: usize = 60;

/// Prints records.
pub struct Show {
    explainer: Explainer,
}

impl Show {
    pub fn new(flow: &Flow) -> Show {
        Show {
            explainer: Explainer::new(&flow.processing),
        }
    }

    /// One line a record: what becomes of it, its first line in the sample, and what would be sent; for one that isn't
    /// sent or not converted the reason, and the record.
    pub fn record(&mut self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let line = record.line;
        match record.fate {
            Fate::Sent | Fate::WithoutEc2Metadata => write!(out, "sent    line {line}")?,
            Fate::Raw(reason) => write!(out, "raw     line {line} ({reason})")?,
            Fate::LineSkipped => write!(out, "skipped line {line} (skipLinesMatching)")?,
            Fate::Skipped(reason) => write!(out, "skipped line {line} ({reason})")?,
        }
        if let Some(sent) = &record.sent {
            if let Some(key) = &sent.partition_key {
                write!(out, " key {key:?}")?;
            }
            if sent.is_keyless {
                write!(out, " (random key)")?;
            }
            if sent.is_cut {
                write!(out, " (cut)")?;
            }
            out.write_all(b": ")?;
            write_line(&sent.data, out)?;
            return Ok(());
        }
        out.write_all(b": ")?;
        write_line(record.data, out)?;
        if record.fate == Fate::Skipped(SkipReason::LogNoMatch)
            && let Some(mismatch) = self.explainer.explain(record.data, &context())
        {
            show_mismatch(&mismatch, out)?;
        }
        Ok(())
    }
}

/// The bytes as text, with a newline at their end.
fn write_line(data: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(String::from_utf8_lossy(data).as_bytes())?;
    if data.last() != Some(&b'\n') {
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The place in the record, and how the pattern goes on there.
fn show_mismatch(mismatch: &Mismatch, out: &mut impl Write) -> io::Result<()> {
    const INDENT: &str = "        ";
    let visible = |text: &str| -> String {
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().map(shown).collect()
    };
    let shown = around(&mismatch.text, mismatch.text_end, SHOWN_CHARS);
    let before = visible(&mismatch.text[shown.start..mismatch.text_end]);
    let after = visible(&mismatch.text[mismatch.text_end..shown.end]);
    writeln!(out, "{INDENT}{before}{after}")?;
    let rest = &mismatch.pattern[mismatch.pattern_end..];
    let next = &rest[around(rest, 0, SHOWN_CHARS)];
    let more = if next.len() < rest.len() { "…" } else { "" };
    let caret = " ".repeat(before.chars().count());
    let at = mismatch.text[..mismatch.text_end].chars().count() + 1;
    match (rest.is_empty(), after.is_empty()) {
        (true, _) => writeln!(
            out,
            "{INDENT}{caret}^ the pattern ends before character {at}, and must match all of the record"
        ),
        (false, true) => writeln!(
            out,
            "{INDENT}{caret}^ the record ends here, and the pattern goes on with {next}{more}"
        ),
        (false, false) => writeln!(
            out,
            "{INDENT}{caret}^ matches up to character {at}, where the pattern goes on with {next}{more}"
        ),
    }
}

/// What the sample came to.
pub fn summary(sample: &Sample, out: &mut impl Write) -> io::Result<()> {
    let counted = |n: u64, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{} ({}): {} sent ({}), {} left out",
        counted(sample.n_records, "record"),
        counted(sample.n_bytes, "byte"),
        sample.n_sent,
        counted(sample.bytes_sent, "byte"),
        sample.n_records - sample.n_sent,
    )?;
    for tally in &sample.tallies {
        writeln!(
            out,
            "  {} {}; the first at line {}",
            counted(tally.n_records, "record"),
            tally.what,
            tally.first_line
        )?;
    }
    if sample.n_header_lines > 0 {
        let lines = counted(sample.n_header_lines, "header line");
        writeln!(out, "  {lines} at the beginning")?;
    }
    if let Some(line) = sample.footer_line {
        writeln!(out, "  the footer at line {line} ends the file")?;
    }
    if sample.n_waiting_bytes > 0 {
        let bytes = counted(sample.n_waiting_bytes, "byte");
        writeln!(
            out,
            "  {bytes} at the end are no whole record yet: they wait for a newline"
        )?;
    }
    Ok(())
}
