//! What the demo shows, as lines: pure, so that every state of it can be looked at.

use std::time::Duration;

use super::configuration::{Configuration, STREAM};
use super::customers::Gender;
use super::rates::Counts;
use super::screen::{Glyphs, Ink, Line, Look};
use crate::telemetry::notices::Notice;

/// Every line begins so.
pub(super) const MARGIN: &str = "  ";
/// The widest that a gender's bar becomes.
const GENDER_BAR_MAX: usize = 40;

/// What the agent has done with its calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calls {
    pub n_calls: u64,
    /// Those that failed as a whole.
    pub n_failed: u64,
    /// Records of failed calls and records that were refused in others.
    pub n_records_again: u64,
}

/// What the demo is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Writing,
    /// All is written; some of it hasn't arrived.
    Waiting,
    Done,
}

/// How far the demo is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub phase: Phase,
    pub elapsed: Duration,
    pub n_planned: u64,
    pub n_written: u64,
    /// Lines whose record is there.
    pub n_arrived: u64,
    pub n_twice: u64,
    pub by_gender: Counts,
    pub a_minute: Option<Counts>,
    pub n_renames: u64,
    pub calls: Calls,
    pub has_faults: bool,
    pub notice: Option<Notice>,
}

/// What is about to happen.
pub fn title(look: &Look, n_lines: u64, span: Duration, faults: Option<&str>) -> Vec<Line> {
    let what = format!(
        "{} as CSV in {}, through the real agent, to a Kinesis on loopback",
        look.counted(n_lines, "customer"),
        look.counted(span.as_secs(), "second"),
    );
    let mut lines = vec![Line::new(), heading("kinesis-agent demo")];
    lines.extend(paragraph(look, Ink::Faint, &what));
    if let Some(script) = faults {
        lines.extend(paragraph(
            look,
            Ink::Warning,
            &format!("with faults: {script}"),
        ));
    }
    lines
}

/// The configuration, as far as it is shown.
pub fn configuration(look: &Look, configuration: &Configuration) -> Vec<Line> {
    let mut lines = vec![Line::new(), heading("agent.json")];
    for line in configuration.shown() {
        let line = match line {
            Some(line) => with_faint_punctuation(line),
            None => Line::new().with(Ink::Faint, format!("  {}", look.glyphs.pick("…", "..."))),
        };
        lines.push(indented(line));
    }
    lines
}

/// The first records, each as it arrived.
pub fn records(look: &Look, records: &[String]) -> Vec<Line> {
    let mut lines = vec![
        Line::new(),
        heading(&format!("the first records in the stream \"{STREAM}\"")),
    ];
    for record in records {
        let width = look
            .width
            .map(|width| width.saturating_sub(2 * MARGIN.len()).max(20));
        for (place, piece) in wrapped(record, width).into_iter().enumerate() {
            let hanging = if place == 0 { "" } else { " " };
            let line = Line::new().with(Ink::Plain, hanging);
            lines.push(indented(line.and(with_faint_punctuation(&piece))));
        }
    }
    lines.push(Line::new());
    lines
}

/// Breaks a JSON object behind commas where it is wider than `width`.
fn wrapped(json: &str, width: Option<usize>) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for member in json.split_inclusive("\",") {
        let last = pieces.last_mut().filter(|piece| {
            let columns = piece.chars().count() + member.chars().count();
            piece.is_empty() || width.is_none_or(|width| columns <= width)
        });
        match last {
            Some(piece) => piece.push_str(member),
            None => pieces.push(member.to_owned()),
        }
    }
    pieces
}

/// Names and values stand out of what holds them together.
fn with_faint_punctuation(json: &str) -> Line {
    let mut line = Line::new();
    let mut piece = String::new();
    let mut is_in_text = false;
    let ink = |is_in_text| if is_in_text { Ink::Plain } else { Ink::Faint };
    for c in json.chars() {
        if c == '"' {
            if !is_in_text {
                line = line.with(Ink::Faint, std::mem::take(&mut piece));
                piece.push(c);
            } else {
                piece.push(c);
                line = line.with(Ink::Plain, std::mem::take(&mut piece));
            }
            is_in_text = !is_in_text;
        } else {
            piece.push(c);
        }
    }
    line.with(ink(is_in_text), piece)
}

/// The block that is drawn anew all the time.
pub fn block(look: &Look, progress: &Progress) -> Vec<Line> {
    let width = look.width.unwrap_or(80);
    let mut lines = vec![bar(look, width, progress), Line::new()];
    for (place, gender) in Gender::ALL.into_iter().enumerate() {
        lines.push(gender_line(look, width, progress, place, gender));
    }
    lines.push(Line::new());
    lines.extend(paragraph(look, Ink::Faint, &footer(look, progress)));
    if progress.has_faults {
        lines.extend(paragraph(look, Ink::Faint, &faults_line(look, progress)));
    }
    if let Some(notice) = &progress.notice
        && progress.phase != Phase::Done
    {
        lines.push(notice_line(look, notice, &notice.text));
    }
    lines
}

/// Received, on the way, and still to be written; the percentage is that of what arrived.
fn bar(look: &Look, width: usize, progress: &Progress) -> Line {
    let planned = progress.n_planned.max(1);
    let percent = progress.n_arrived * 100 / planned;
    let told = format!(
        " {percent:>3} %  {} of {}",
        look.number(progress.n_arrived),
        look.number(progress.n_planned)
    );
    // The numbers grow; the bar stays as wide as it is at the end.
    let widest = 9 + 2 * look.number(progress.n_planned).chars().count() + 4;
    let columns = width.saturating_sub(2 * MARGIN.len() + widest).max(8);
    let upto = |n: u64| (u128::from(n) * columns as u128 / u128::from(planned)) as usize;
    let arrived = upto(progress.n_arrived).min(columns);
    let written = upto(progress.n_written).clamp(arrived, columns);
    let (full, empty) = (look.glyphs.pick("━", "#"), look.glyphs.pick("─", "."));
    Line::new()
        .with(Ink::Plain, MARGIN)
        .with(Ink::Good, full.repeat(arrived))
        .with(
            Ink::Warning,
            look.glyphs.pick("━", "=").repeat(written - arrived),
        )
        .with(Ink::Faint, empty.repeat(columns - written))
        .with(Ink::Strong, told)
}

fn gender_line(
    look: &Look,
    width: usize,
    progress: &Progress,
    place: usize,
    gender: Gender,
) -> Line {
    let n = progress.by_gender[place];
    let columns = |n: u64| look.number(n).chars().count();
    let number_width = columns(progress.n_planned);
    let rate_width = progress
        .a_minute
        .into_iter()
        .flatten()
        .map(columns)
        .fold(number_width, usize::max);
    let rate = match progress.a_minute {
        Some(rates) => look.number(rates[place]),
        None => look.glyphs.pick("·", "-").to_owned(),
    };
    let text = format!("{:<10} {:>number_width$}", gender.name(), look.number(n));
    let rate = format!("  {rate:>rate_width$} a minute  ");
    let room =
        width.saturating_sub(2 * MARGIN.len() + text.chars().count() + rate.chars().count() + 2);
    Line::new()
        .with(Ink::Plain, format!("{MARGIN}{text}"))
        .with(Ink::Strong, rate)
        .with(
            Ink::Series(place),
            share_bar(look.glyphs, n, progress.n_planned, room.min(GENDER_BAR_MAX)),
        )
}

/// A bar that grows by an eighth of a column, where there is a glyph for that; half of all fills it.
fn share_bar(glyphs: Glyphs, n: u64, n_planned: u64, columns: usize) -> String {
    let eighths = (u128::from(n) * 2 * 8 * columns as u128 / u128::from(n_planned.max(1))) as usize;
    let eighths = eighths.min(8 * columns);
    match glyphs {
        Glyphs::Ascii => "#".repeat(eighths / 8),
        Glyphs::Unicode => {
            let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
            format!("{}{rest}", "█".repeat(eighths / 8))
        }
    }
}

fn footer(look: &Look, progress: &Progress) -> String {
    let dot = look.glyphs.pick(" · ", ", ");
    let on_the_way = progress.n_written.saturating_sub(progress.n_arrived);
    let waiting = match progress.phase {
        Phase::Writing => format!("{dot}{} on the way", look.number(on_the_way)),
        Phase::Waiting => format!("{dot}waiting for the last {}", look.number(on_the_way)),
        Phase::Done => String::new(),
    };
    format!(
        "{:.1} s{dot}{}{dot}file renamed {}{waiting}",
        progress.elapsed.as_secs_f64(),
        look.counted(progress.calls.n_calls, "call"),
        times(look, progress.n_renames),
    )
}

fn faults_line(look: &Look, progress: &Progress) -> String {
    let dot = look.glyphs.pick(" · ", ", ");
    let twice = match progress.n_twice {
        0 => String::new(),
        n => format!("{dot}{} twice", look.number(n)),
    };
    format!(
        "{} failed{dot}{} sent again{twice}",
        look.counted(progress.calls.n_failed, "call"),
        look.counted(progress.calls.n_records_again, "record"),
    )
}

/// One line for outputs that can't be drawn on anew.
pub fn one_line(look: &Look, progress: &Progress) -> Line {
    let percent = progress.n_arrived * 100 / progress.n_planned.max(1);
    let rates = match progress.a_minute {
        None => String::new(),
        Some(rates) => {
            let rates = Gender::ALL.into_iter().zip(rates);
            let rates: Vec<String> = rates
                .map(|(gender, rate)| format!("{} {}", gender.name(), look.number(rate)))
                .collect();
            format!("; a minute: {}", rates.join(", "))
        }
    };
    Line::new().with(
        Ink::Plain,
        format!(
            "{MARGIN}{:>3.0} s  {percent:>3} %  {} written, {} received{rates}; renamed {}",
            progress.elapsed.as_secs_f64(),
            look.number(progress.n_written),
            look.number(progress.n_arrived),
            times(look, progress.n_renames),
        ),
    )
}

/// What the agent had to say, for the end.
pub fn notices(look: &Look, notices: &[Notice], n_more: usize) -> Vec<Line> {
    if notices.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(), heading("from the agent's log")];
    for notice in notices {
        let room = look
            .width
            .map(|width| width.saturating_sub(2 * MARGIN.len() + 2).max(20));
        for (place, piece) in folded(&notice.text, room).into_iter().enumerate() {
            lines.push(match place {
                0 => notice_line(look, notice, &piece),
                _ => Line::new().with(Ink::Plain, format!("{MARGIN}  {piece}")),
            });
        }
    }
    if n_more > 0 {
        lines.push(faint(format!("and {} more", look.number(n_more as u64))));
    }
    lines
}

fn notice_line(look: &Look, notice: &Notice, text: &str) -> Line {
    let (ink, mark) = match notice.is_error {
        true => (Ink::Bad, look.glyphs.pick("✘ ", "x ")),
        false => (Ink::Warning, look.glyphs.pick("! ", "! ")),
    };
    Line::new()
        .with(Ink::Plain, MARGIN)
        .with(ink, mark)
        .with(Ink::Plain, text)
}

/// Breaks a text between words where it is wider than `width`.
pub(super) fn folded(text: &str, width: Option<usize>) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split_whitespace() {
        let columns = |piece: &String| piece.chars().count() + 1 + word.chars().count();
        match pieces.last_mut() {
            Some(piece) if piece.is_empty() => piece.push_str(word),
            Some(piece) if width.is_none_or(|width| columns(piece) <= width) => {
                piece.push(' ');
                piece.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
}

fn times(look: &Look, n: u64) -> String {
    look.counted(n, "time")
}

/// A text in as many lines as it takes.
pub(super) fn paragraph(look: &Look, ink: Ink, text: &str) -> Vec<Line> {
    let room = look
        .width
        .map(|width| width.saturating_sub(MARGIN.len()).max(20));
    let pieces = folded(text, room).into_iter();
    pieces
        .map(|piece| Line::new().with(Ink::Plain, MARGIN).with(ink, piece))
        .collect()
}

fn heading(text: &str) -> Line {
    Line::new().with(Ink::Plain, MARGIN).with(Ink::Strong, text)
}

pub(super) fn faint(text: String) -> Line {
    Line::new().with(Ink::Plain, MARGIN).with(Ink::Faint, text)
}

fn indented(line: Line) -> Line {
    Line::new()
        .with(Ink::Plain, format!("{MARGIN}{MARGIN}"))
        .and(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(width: Option<usize>, glyphs: Glyphs) -> Look {
        Look::for_tests(width, glyphs)
    }

    fn progress(phase: Phase) -> Progress {
        Progress {
            phase,
            elapsed: Duration::from_millis(4200),
            n_planned: 20_000,
            n_written: 10_000,
            n_arrived: 8000,
            n_twice: 3,
            by_gender: [4000, 3800, 200],
            a_minute: Some([57_142, 54_285, 2857]),
            n_renames: 1,
            calls: Calls {
                n_calls: 40,
                n_failed: 1,
                n_records_again: 512,
            },
            has_faults: true,
            notice: Some(Notice {
                is_error: false,
                text: "a call failed".to_owned(),
            }),
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines
            .iter()
            .map(|line| line.text().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn the_block_says_how_far_everything_is() {
        let look = look(Some(59), Glyphs::Unicode);
        assert_eq!(
            texts(&block(&look, &progress(Phase::Writing))),
            [
                "  ━━━━━━━━━━━━━━━───────────────  40 %  8,000 of 20,000",
                "",
                "  Female      4,000  57,142 a minute  ██████▊",
                "  Male        3,800  54,285 a minute  ██████▍",
                "  Non-binary    200   2,857 a minute  ▎",
                "",
                "  4.2 s · 40 calls · file renamed 1 time · 2,000 on the way",
                "  1 call failed · 512 records sent again · 3 twice",
                "  ! a call failed",
            ]
        );
    }

    #[test]
    fn without_unicode_and_with_nothing_yet_it_reads_as_well() {
        let look = look(Some(59), Glyphs::Ascii);
        let progress = Progress {
            n_arrived: 0,
            by_gender: [0; 3],
            a_minute: None,
            has_faults: false,
            notice: None,
            ..progress(Phase::Waiting)
        };
        assert_eq!(
            texts(&block(&look, &progress)),
            [
                "  ===============...............   0 %  0 of 20,000",
                "",
                "  Female          0       - a minute",
                "  Male            0       - a minute",
                "  Non-binary      0       - a minute",
                "",
                "  4.2 s, 40 calls, file renamed 1 time, waiting for the",
                "  last 10,000",
            ]
        );
    }

    #[test]
    fn no_width_is_too_small() {
        for width in 1..120 {
            for glyphs in [Glyphs::Unicode, Glyphs::Ascii] {
                let look = look(Some(width), glyphs);
                for phase in [Phase::Writing, Phase::Waiting, Phase::Done] {
                    assert!(block(&look, &progress(phase)).len() >= 8);
                }
            }
        }
    }

    #[test]
    fn a_plain_line_bears_bare_numbers() {
        let look = look(None, Glyphs::Unicode);
        assert_eq!(
            one_line(&look, &progress(Phase::Writing)).text(),
            "    4 s   40 %  10000 written, 8000 received; a minute: Female 57142, Male 54285, Non-binary 2857; \
             renamed 1 time"
        );
    }

    #[test]
    fn records_are_broken_between_members_and_lose_nothing() {
        let record = r#"{"id":"1","first_name":"Zoë","gender":"Female"}"#;
        assert_eq!(wrapped(record, None), [record]);
        assert_eq!(wrapped(record, Some(100)), [record]);
        assert_eq!(
            wrapped(record, Some(20)),
            [
                r#"{"id":"1","#,
                r#""first_name":"Zoë","#,
                r#""gender":"Female"}"#,
            ]
        );
        for width in 0..60 {
            assert_eq!(wrapped(record, Some(width)).concat(), record);
            assert_eq!(with_faint_punctuation(record).text(), record);
        }
    }

    #[test]
    fn notices_are_folded_between_words() {
        let look = look(Some(30), Glyphs::Ascii);
        let error = Notice {
            is_error: true,
            text: "the stream customers is gone; create it again".to_owned(),
        };
        assert_eq!(
            texts(&notices(&look, &[error], 1200)),
            [
                "",
                "  from the agent's log",
                "  x the stream customers is",
                "    gone; create it again",
                "  and 1,200 more",
            ]
        );
        assert!(notices(&look, &[], 0).is_empty());
    }
}
