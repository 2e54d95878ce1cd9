//! Records as the golden corpus has them: a JSON object a line, with `text`, or `base64` where they aren't UTF-8, or for
//! long ones `runs`, `bytes`, `head_base64` and `tail_base64`; and `partition_key` where it is determined.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::sample::{Sent, around};

/// Differences that are printed; the rest is counted.
const SHOWN_MAX: u64 = 20;
/// Characters of a record shown on either side of the first difference.
const SHOWN_CHARS: usize = 60;

/// A record in that form, on one line.
pub fn to_json(sent: &Sent) -> String {
    let mut object = serde_json::Map::new();
    match std::str::from_utf8(&sent.data) {
        Ok(text) => object.insert("text".to_owned(), text.into()),
        Err(_) => object.insert("base64".to_owned(), BASE64.encode(&sent.data).into()),
    };
    if let Some(key) = &sent.partition_key {
        object.insert("partition_key".to_owned(), key.as_str().into());
    }
    serde_json::Value::Object(object).to_string()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: Option<String>,
    base64: Option<String>,
    runs: Option<Vec<Run>>,
    bytes: Option<usize>,
    head_base64: Option<String>,
    tail_base64: Option<String>,
    partition_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Run {
    Once(String),
    Times(String, usize),
}

/// A record that should be sent.
#[derive(Debug)]
struct Expected {
    /// Its line in the file, from 1.
    line: usize,
    data: Data,
    partition_key: Option<String>,
}

#[derive(Debug)]
enum Data {
    Whole(Vec<u8>),
    /// Its size, and how it begins and ends.
    Ends {
        n_bytes: usize,
        head: Vec<u8>,
        tail: Vec<u8>,
    },
}

impl Expected {
    fn read(line: &str, number: usize) -> anyhow::Result<Expected> {
        let written: Line = serde_json::from_str(line)?;
        let decode = |text: &Option<String>| match text {
            Some(text) => BASE64.decode(text).context("not base64"),
            None => Ok(Vec::new()),
        };
        let data = match (&written.text, &written.base64, &written.runs) {
            (Some(text), None, None) => Data::Whole(text.as_bytes().to_vec()),
            (None, Some(_), None) => Data::Whole(decode(&written.base64)?),
            (None, None, Some(runs)) => Data::Whole(joined(runs)?),
            (None, None, None) if written.head_base64.is_some() => Data::Ends {
                n_bytes: written.bytes.context("bytes is missing")?,
                head: decode(&written.head_base64)?,
                tail: decode(&written.tail_base64)?,
            },
            _ => bail!("one of text, base64, runs and head_base64 must be there"),
        };
        Ok(Expected {
            line: number,
            data,
            partition_key: written.partition_key,
        })
    }

    fn is(&self, sent: &Sent) -> bool {
        let is_data = match &self.data {
            Data::Whole(data) => *data == sent.data,
            Data::Ends {
                n_bytes,
                head,
                tail,
            } => {
                sent.data.len() == *n_bytes
                    && sent.data.starts_with(head)
                    && sent.data.ends_with(tail)
            }
        };
        is_data && (self.partition_key.is_none() || self.partition_key == sent.partition_key)
    }

    /// The data as far as it is known.
    fn shown(&self) -> String {
        let (Data::Whole(data) | Data::Ends { head: data, .. }) = &self.data;
        String::from_utf8_lossy(data).into_owned()
    }
}

/// Longest record that runs may come to, in bytes: more than any service takes.
const RUNS_BYTES_MAX: usize = 64 * 1024 * 1024;

fn joined(runs: &[Run]) -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::new();
    for run in runs {
        let (text, times) = match run {
            Run::Once(text) => (text, 1),
            Run::Times(text, times) => (text, *times),
        };
        if data.len().saturating_add(text.len().saturating_mul(times)) > RUNS_BYTES_MAX {
            bail!("a record of more than {RUNS_BYTES_MAX} bytes");
        }
        data.extend_from_slice(text.repeat(times).as_bytes());
    }
    Ok(data)
}

/// Expected records beside those that come.
pub struct Comparison {
    expected: VecDeque<Expected>,
    /// A record that came and was not the one expected, until the next one tells whether it is too much.
    unmatched: Option<(Sent, u64)>,
    n_differences: u64,
}

impl Comparison {
    /// Reads a file of expected records.
    pub fn open(file: &Path) -> anyhow::Result<Comparison> {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("can't read {name}"))?;
        let expected = text.lines().zip(1..).map(|(line, number)| {
            Expected::read(line, number).with_context(|| format!("{name}, line {number}"))
        });
        Ok(Comparison {
            expected: expected.collect::<Result<_, _>>()?,
            unmatched: None,
            n_differences: 0,
        })
    }

    /// A record came, from this line of the sample. One that is missing, or one too many, is one difference.
    pub fn record(&mut self, sent: Sent, line: u64, out: &mut impl Write) -> anyhow::Result<()> {
        if let Some((before, before_line)) = self.unmatched.take() {
            match (self.expected.front(), self.expected.get(1)) {
                // The one before was too many.
                (Some(first), _) if first.is(&sent) => {
                    self.extra(&before, before_line, out)?;
                }
                // It is the one expected, but differs.
                (Some(_), _) => {
                    if let Some(first) = self.expected.pop_front() {
                        self.different(&first, &before, before_line, out)?;
                    }
                }
                (None, _) => self.extra(&before, before_line, out)?,
            }
        }
        match (self.expected.front(), self.expected.get(1)) {
            (Some(first), _) if first.is(&sent) => {
                self.expected.pop_front();
            }
            (Some(_), Some(second)) if second.is(&sent) => {
                if let Some(first) = self.expected.pop_front() {
                    self.missing(&first, out)?;
                }
                self.expected.pop_front();
            }
            _ => self.unmatched = Some((sent, line)),
        }
        Ok(())
    }

    /// No more come. Whether there was no difference.
    pub fn end(&mut self, out: &mut impl Write) -> anyhow::Result<bool> {
        if let Some((before, line)) = self.unmatched.take() {
            match self.expected.pop_front() {
                Some(first) => self.different(&first, &before, line, out)?,
                None => self.extra(&before, line, out)?,
            }
        }
        while let Some(expected) = self.expected.pop_front() {
            self.missing(&expected, out)?;
        }
        match self.n_differences {
            0 => writeln!(out, "all records are as expected")?,
            1 => writeln!(out, "1 difference")?,
            n => writeln!(out, "{n} differences")?,
        }
        Ok(self.n_differences == 0)
    }

    /// Counts a difference; whether it is to be printed.
    fn is_shown(&mut self) -> bool {
        self.n_differences += 1;
        self.n_differences <= SHOWN_MAX
    }

    fn extra(&mut self, sent: &Sent, line: u64, out: &mut impl Write) -> anyhow::Result<()> {
        if self.is_shown() {
            let text = String::from_utf8_lossy(&sent.data);
            writeln!(out, "not expected, from line {line}:")?;
            writeln!(out, "  + {}", excerpt(&text, 0))?;
        }
        Ok(())
    }

    fn missing(&mut self, expected: &Expected, out: &mut impl Write) -> anyhow::Result<()> {
        if self.is_shown() {
            writeln!(out, "missing, expected line {}:", expected.line)?;
            writeln!(out, "  - {}", excerpt(&expected.shown(), 0))?;
        }
        Ok(())
    }

    fn different(
        &mut self,
        expected: &Expected,
        sent: &Sent,
        line: u64,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if !self.is_shown() {
            return Ok(());
        }
        let (wanted, got) = (expected.shown(), String::from_utf8_lossy(&sent.data));
        let same = wanted.char_indices().zip(got.chars());
        let at = same
            .take_while(|((_, a), b)| a == b)
            .last()
            .map_or(0, |((at, c), _)| at + c.len_utf8());
        let number = expected.line;
        writeln!(
            out,
            "different, from line {line}, expected line {number}, at byte {at}:"
        )?;
        writeln!(out, "  - {}", excerpt(&wanted, at))?;
        writeln!(out, "  + {}", excerpt(&got, at))?;
        if expected.partition_key.is_some() && expected.partition_key != sent.partition_key {
            let key = |key: &Option<String>| key.as_deref().unwrap_or("(random)").to_owned();
            writeln!(out, "  - partition key {}", key(&expected.partition_key))?;
            writeln!(out, "  + partition key {}", key(&sent.partition_key))?;
        }
        Ok(())
    }
}

/// The text around a place, on one line.
fn excerpt(text: &str, at: usize) -> String {
    let shown = around(text, at.min(text.len()), SHOWN_CHARS);
    let more = |is_more: bool| if is_more { "…" } else { "" };
    format!(
        "\"{}{}{}\"",
        more(shown.start > 0),
        text[shown.clone()].escape_debug(),
        more(shown.end < text.len())
    )
}
