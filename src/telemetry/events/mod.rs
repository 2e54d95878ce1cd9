//! One function an event: it counts what happened and says it, at the level of its consequence.
//!
//! ERROR: data is being lost or somebody must act. WARN: odd, recovered, nothing lost. INFO: what the operator did has
//! worked. DEBUG: for us. Every text has what, where, why and what to do. A condition that repeats is said once and then
//! counted ([`repeats`](crate::telemetry::repeats)). None of these is called per record, but for records that can't be
//! sent as they are.

mod agent;
mod causes;
mod files;
mod instance;
mod publish;
mod refused;
mod tail;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tracing::Level;

pub use self::agent::*;
pub use self::causes::*;
pub use self::files::*;
pub use self::instance::*;
pub use self::publish::*;
pub use self::refused::*;
pub use self::tail::*;
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::log::Entry;
use crate::telemetry::names;
use crate::telemetry::repeats::Repeats;
use crate::telemetry::troubles::Concern;

static REPEATS: Mutex<Repeats> = Mutex::new(Repeats::new());

/// Says an entry unless its condition (`scope`, `kind`) was said within the last minute; then it is counted.
fn say_once_a_minute(scope: &str, kind: &'static str, entry: Entry) {
    say_and_count(scope, kind, entry, (1, "time"));
}

/// Likewise, of a condition that holds for so many records.
fn say_records_once_a_minute(scope: &str, kind: &'static str, entry: Entry, n_records: u64) {
    say_and_count(scope, kind, entry, (n_records, "record"));
}

fn say_and_count(scope: &str, kind: &'static str, entry: Entry, count: (u64, &'static str)) {
    let entry = {
        let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.note(scope, kind, entry, count, Instant::now())
    };
    if let Some(entry) = entry {
        entry.emit();
    }
}

/// Says how often conditions held that were not said lately; called with the status lines.
fn say_due_repeats() {
    let due = {
        let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.due(Instant::now())
    };
    due.iter().for_each(Entry::emit);
}

/// Something is wrong with a flow from now on. `about` is the path it is about, if it is about one.
fn trouble_begins(
    flow: &FlowCounters,
    kind: &'static str,
    about: &str,
    concern: Concern,
    (problem, remedy): (&str, &str),
) {
    let now = Timestamp::now();
    flow.troubles()
        .note(kind, about, concern, (problem, remedy), now);
}

fn tailer_says(flow: &FlowCounters, level: Level, message: &str) -> Entry {
    let id = flow.flow();
    let message = format!("FileTailer[{id}]: {message}");
    Entry::new(level, names::tailer_thread(id), names::FILE_TAILER, message)
}

fn publisher_says(flow: &FlowCounters, level: Level, message: &str) -> Entry {
    let id = flow.flow();
    let message = format!("Publisher[{id}]: {message}");
    Entry::new(
        level,
        names::publisher_thread(id),
        names::PUBLISHER,
        message,
    )
}

/// `1 record`, `2 records`
fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
