//! A status for people.

use std::fmt::Write as _;

use crate::telemetry::counters::Reload;
use crate::telemetry::status::{Behind, FileStatus, FlowState, FlowStatus, Status};
use crate::telemetry::troubles::Trouble;

/// Characters of a file's bar.
const BAR_CHARS: u64 = 20;
/// Files of a flow that are shown: those that are behind come first.
const FILES_SHOWN_MAX: usize = 20;

/// All of it, ending in a newline.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_all(status, &mut text);
    text
}

fn write_all(status: &Status, out: &mut String) -> std::fmt::Result {
    let totals = &status.totals;
    let verdict = match status.is_delivering {
        true => "everything is being delivered",
        false => "NOT everything is being delivered",
    };
    let uptime = duration(status.uptime_seconds as f64);
    writeln!(
        out,
        "kinesis-agent {}, up {uptime}: {verdict}",
        status.version
    )?;
    writeln!(
        out,
        "{} records sent ({}), {:.0} records/s ({}/s); {}",
        totals.records_sent,
        bytes(totals.bytes_sent),
        totals.records_per_second.max(0.0),
        bytes(totals.bytes_per_second.max(0.0) as u64),
        behind(&totals.behind),
    )?;
    if let Some(reload) = &status.reload {
        write_reload(reload, out)?;
    }
    if !status.troubles.is_empty() {
        writeln!(out)?;
    }
    write_troubles(&status.troubles, out)?;
    status
        .flows
        .iter()
        .try_for_each(|flow| write_flow(flow, out))
}

fn write_reload(reload: &Reload, out: &mut String) -> std::fmt::Result {
    let at = reload.at;
    if !reload.refused.is_empty() {
        writeln!(
            out,
            "the configuration of {at} is refused; the one before goes on:"
        )?;
        for finding in &reload.refused {
            writeln!(out, "  {}", plain(finding))?;
        }
    }
    for key in &reload.after_restart {
        writeln!(out, "{} takes effect after a restart", plain(key))?;
    }
    Ok(())
}

fn write_flow(flow: &FlowStatus, out: &mut String) -> std::fmt::Result {
    let state = match flow.state {
        FlowState::CaughtUp => "caught up",
        FlowState::Delivering => "delivering",
        FlowState::Failing => "FAILING",
        FlowState::Stuck => {
            "STUCK: its thread doesn't turn; restart the agent, and please report it"
        }
    };
    let (service, stream) = (&flow.destination.service, &flow.destination.stream);
    writeln!(
        out,
        "\n{} -> {service} {stream}: {state}",
        plain(&flow.flow)
    )?;
    writeln!(
        out,
        "  {} of {} records sent, {} skipped; {}",
        flow.records.sent,
        flow.records.parsed,
        flow.records.skipped,
        behind(&flow.behind)
    )?;
    write_troubles(&flow.troubles, out)?;
    for file in flow.files.iter().take(FILES_SHOWN_MAX) {
        write_file(file, out)?;
    }
    let n_more = flow.files_left_out + flow.files.len().saturating_sub(FILES_SHOWN_MAX);
    match n_more {
        0 => Ok(()),
        n => writeln!(out, "  and {n} more files"),
    }
}

fn write_troubles(troubles: &[Trouble], out: &mut String) -> std::fmt::Result {
    for trouble in troubles {
        let word = if trouble.concern.is_error() {
            "error"
        } else {
            "warning"
        };
        writeln!(out, "  {word}: {}", plain(&trouble.problem))?;
        writeln!(out, "         {}", plain(&trouble.remedy))?;
    }
    Ok(())
}

fn write_file(file: &FileStatus, out: &mut String) -> std::fmt::Result {
    let done = file.sent.min(file.size);
    let filled = match file.size {
        0 => BAR_CHARS,
        size => (u128::from(done) * u128::from(BAR_CHARS) / u128::from(size)) as u64,
    };
    let bar: String = (0..BAR_CHARS)
        .map(|n| if n < filled { '#' } else { '.' })
        .collect();
    write!(out, "  [{bar}] {} of {}", bytes(done), bytes(file.size))?;
    if file.behind_bytes > 0 {
        write!(out, ", {} behind", duration(file.behind_seconds))?;
    } else if file.unfinished_bytes > 0 {
        write!(out, ", then a line without its end")?;
    }
    if let Some(problem) = &file.problem {
        write!(out, ", can't be read: {}", plain(problem))?;
    }
    writeln!(out, "  {}", plain(&file.path))
}

/// How far a file of this size is, in one line.
pub fn file_line(flow: &str, file: &FileStatus, size: u64) -> String {
    let (flow, path) = (plain(flow), plain(&file.path));
    if file.is_over {
        return format!("{flow}: {path} is done: its footer was reached\n");
    }
    match size.saturating_sub(file.sent) {
        0 => format!("{flow}: all {size} bytes of {path} are acknowledged\n"),
        left if left == file.unfinished_bytes => format!(
            "{flow}: {} of {size} bytes of {path} are acknowledged; the other {left} are a line without its end\n",
            file.sent
        ),
        left => format!(
            "{flow}: {} of {size} bytes of {path} are acknowledged, {left} are not\n",
            file.sent
        ),
    }
}

fn behind(behind: &Behind) -> String {
    if behind.bytes == 0 {
        return "nothing waits".to_owned();
    }
    let caught_up = match behind.caught_up_in_seconds {
        Some(seconds) => format!(", caught up in {}", duration(seconds as f64)),
        None => String::new(),
    };
    format!(
        "{} behind, the oldest since {}{caught_up}",
        bytes(behind.bytes),
        duration(behind.seconds)
    )
}

/// `1.2 MB`
fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 s`, `3 min`, `5 h 10 min`, `2 d 3 h`
fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes} min"),
        7200..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A name of somebody else's without what could move a terminal's cursor, or turn its letters round.
fn plain(text: &str) -> String {
    let is_harmful = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    text.chars()
        .map(|c| if is_harmful(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        for (n, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
        for (seconds, expected) in [
            (0.0, "0 s"),
            (119.4, "119 s"),
            (120.0, "2 min"),
            (7200.0, "2 h 0 min"),
            (200_000.0, "2 d 7 h"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn names_can_not_move_the_cursor() {
        assert_eq!(plain("a\x1b[2J\nb\u{9b}"), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
        assert_eq!(plain("a\u{202e}gol.b"), "a\u{fffd}gol.b");
    }
}
