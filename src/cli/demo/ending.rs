//! What the demo says at its end: the verdict and what it was made of. Pure, as [`view`](super::view) is.

use std::time::Duration;

use super::ledger::Verdict;
use super::screen::{Ink, Line, Look};
use super::view::{MARGIN, faint, folded, paragraph};

/// How the demo ended, beside its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    pub verdict: Verdict,
    /// The faults can leave calls unanswered whose records were accepted.
    pub may_repeat: bool,
    pub is_stopped_early: bool,
    /// Nothing new came for that long before it was given up.
    pub waited_in_vain: Option<Duration>,
    pub first_wrong: Option<&'a str>,
}

/// The result and what it was made of.
pub fn verdict(look: &Look, ending: &Ending<'_>) -> Vec<Line> {
    let verdict = ending.verdict;
    let is_good = verdict.is_good(ending.may_repeat);
    let (ink, mark) = match is_good {
        true => (Ink::Good, look.glyphs.pick("✔ ", "")),
        false => (Ink::Bad, look.glyphs.pick("✘ ", "")),
    };
    let headline = match (is_good, verdict.n_twice) {
        (true, 0) if verdict.n_written == 0 => "Nothing was written, and nothing arrived.",
        (true, 0) => "Every line arrived, exactly once.",
        (true, _) => "Every line arrived.",
        (false, _) if verdict.n_lost > 0 => "Lines are missing.",
        (false, _) if verdict.n_wrong > 0 => "Records are not what was written.",
        (false, _) => "Records came twice, without need.",
    };
    let mut lines = vec![
        Line::new(),
        Line::new()
            .with(Ink::Plain, MARGIN)
            .with(ink, mark)
            .with(ink, headline),
    ];
    lines.extend(numbers(look, verdict));
    if is_good && verdict.n_twice > 0 {
        let why = "Twice is right here: these faults leave calls unanswered whose records were accepted, and rather \
                   twice than never.";
        let room = look
            .width
            .map(|width| width.saturating_sub(MARGIN.len()).max(20));
        lines.extend(folded(why, room).into_iter().map(faint));
    }
    if let Some(waited) = ending.waited_in_vain {
        lines.push(faint(format!(
            "nothing new came for {} s",
            waited.as_secs()
        )));
    }
    if let Some(record) = ending.first_wrong {
        lines.extend(paragraph(
            look,
            Ink::Faint,
            &format!("the first that is wrong: {record}"),
        ));
    }
    if ending.is_stopped_early {
        lines.push(faint("stopped early, by a signal".to_owned()));
    }
    lines
}

/// `3 lines written, 3 records received, 0 lost, 0 twice, 0 wrong`, in two lines where one is too narrow.
fn numbers(look: &Look, verdict: Verdict) -> Vec<Line> {
    let shown = |n, ink| if n == 0 { Ink::Plain } else { ink };
    let part =
        |n, ink, what: &str| Line::new().with(shown(n, ink), format!("{} {what}", look.number(n)));
    let margin = || Line::new().with(Ink::Plain, MARGIN);
    let (lines, records) = (
        look.counted(verdict.n_written, "line"),
        look.counted(verdict.n_received, "record"),
    );
    let came = margin().with(Ink::Plain, format!("{lines} written, {records} received,"));
    let missing = part(verdict.n_lost, Ink::Bad, "lost")
        .with(Ink::Plain, ", ")
        .and(part(verdict.n_twice, Ink::Warning, "twice"))
        .with(Ink::Plain, ", ")
        .and(part(verdict.n_wrong, Ink::Bad, "wrong"));
    let both = came.clone().with(Ink::Plain, " ").and(missing.clone());
    match look.width {
        Some(width) if both.width() > width => vec![came, margin().and(missing)],
        _ => vec![both],
    }
}

/// What to do after a demo that went well.
pub fn next_steps(has_faults: bool) -> Vec<Line> {
    let command = |text: &str| Line::new().with(Ink::Plain, format!("{MARGIN}{text}"));
    let mut lines = vec![Line::new()];
    if !has_faults {
        lines.push(faint("See it survive a bad day:".to_owned()));
        lines.push(command(
            "kinesis-agent demo --faults \"fail-record every=10; status=500 p=0.05\"",
        ));
    }
    lines.push(faint("Try your own files, still without AWS:".to_owned()));
    lines.push(command("kinesis-agent --local -c agent.json"));
    lines.push(Line::new());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::screen::Glyphs;

    fn look(width: Option<usize>, glyphs: Glyphs) -> Look {
        Look::for_tests(width, glyphs)
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines
            .iter()
            .map(|line| line.text().trim_end().to_owned())
            .collect()
    }

    fn ending(
        n_received: u64,
        n_lost: u64,
        n_twice: u64,
        n_wrong: u64,
        may_repeat: bool,
    ) -> Ending<'static> {
        Ending {
            verdict: Verdict {
                n_written: 3000,
                n_received,
                n_lost,
                n_twice,
                n_wrong,
            },
            may_repeat,
            is_stopped_early: false,
            waited_in_vain: None,
            first_wrong: None,
        }
    }

    #[test]
    fn the_verdict_says_what_was_counted_and_what_it_means() {
        let plain = look(None, Glyphs::Unicode);
        let narrow = look(Some(59), Glyphs::Unicode);
        for (look, ending, expected) in [
            (
                &plain,
                ending(3000, 0, 0, 0, false),
                &[
                    "",
                    "  ✔ Every line arrived, exactly once.",
                    "  3000 lines written, 3000 records received, 0 lost, 0 twice, 0 wrong",
                ][..],
            ),
            (
                &narrow,
                ending(3001, 0, 1, 0, false),
                &[
                    "",
                    "  ✘ Records came twice, without need.",
                    "  3,000 lines written, 3,001 records received,",
                    "  0 lost, 1 twice, 0 wrong",
                ],
            ),
            (
                &plain,
                ending(3001, 0, 1, 0, true),
                &[
                    "",
                    "  ✔ Every line arrived.",
                    "  3000 lines written, 3001 records received, 0 lost, 1 twice, 0 wrong",
                    "  Twice is right here: these faults leave calls unanswered whose records were accepted, and rather \
                     twice than never.",
                ],
            ),
            (
                &plain,
                Ending {
                    is_stopped_early: true,
                    waited_in_vain: Some(Duration::from_secs(30)),
                    first_wrong: Some("{}"),
                    ..ending(2999, 2, 0, 1, true)
                },
                &[
                    "",
                    "  ✘ Lines are missing.",
                    "  3000 lines written, 2999 records received, 2 lost, 0 twice, 1 wrong",
                    "  nothing new came for 30 s",
                    "  the first that is wrong: {}",
                    "  stopped early, by a signal",
                ],
            ),
        ] {
            assert_eq!(texts(&verdict(look, &ending)), expected);
        }
    }
}
