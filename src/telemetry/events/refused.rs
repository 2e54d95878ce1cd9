//! Events of records that a service will never take.

use std::path::Path;

use tracing::Level;

use super::publish::BATCH_FAILED;
use super::{
    counted, publisher_says, say_once_a_minute, say_records_once_a_minute, trouble_begins,
};
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::log::Entry;
use crate::telemetry::names;
use crate::telemetry::troubles::{AgentTroubles, Concern};

/// The condition of the agent as a whole that begins and ends.
const DEAD_LETTERS: &str = "dead_letters_unwritable";

/// Records that the service will never take were given up. ERROR: this is lost data.
pub fn records_refused(flow: &FlowCounters, n_records: u64, error: &str) {
    flow.records_refused.add(n_records);
    flow.troubles().end(BATCH_FAILED, "");
    let text = format!(
        "{} refused {} for good: {error}; dropped",
        flow.destination(),
        counted(n_records, "record")
    );
    flow.set_last_error(&text);
    let remedy =
        "see what the service says of them, and correct the flow's conversion or the stream";
    trouble_begins(flow, "records_refused", "", Concern::Loss, (&text, remedy));
    say_once_a_minute(
        &flow.flow().0,
        "records_refused",
        publisher_says(flow, Level::ERROR, &text),
    );
}

/// A record that the service will never take is to be kept. Nothing is said before it is: its call isn't made again.
pub fn record_isolated(flow: &FlowCounters) {
    flow.troubles().end(BATCH_FAILED, "");
}

/// A record that the service will never take is kept as a dead letter. ERROR: it doesn't arrive unless somebody acts.
///
/// `file` and `offset` say where the record begins, as far as that is known.
pub fn record_dead_lettered(
    flow: &FlowCounters,
    file: Option<&Path>,
    offset: u64,
    error: &dyn std::fmt::Display,
    dead_letters: &Path,
) {
    flow.records_dead_lettered.add(1);
    let place = match file {
        Some(file) => format!("at offset {offset} of {}", file.display()),
        None => "of an unknown file".to_owned(),
    };
    let problem = format!(
        "{} refused the record {place} for good: {error}",
        flow.destination()
    );
    let remedy = format!(
        "it is kept in {}, and the others go on; see kinesis-agent dead-letters",
        dead_letters.display()
    );
    let text = format!("{problem}; {remedy}");
    flow.set_last_error(&text);
    trouble_begins(
        flow,
        "dead_lettered",
        "",
        Concern::Loss,
        (&problem, &remedy),
    );
    say_records_once_a_minute(
        &flow.flow().0,
        "dead_lettered",
        publisher_says(flow, Level::ERROR, &text),
        1,
    );
}

/// Refused records can't be kept. ERROR: somebody must act; they wait, and with them the checkpoints of their files.
pub fn dead_letters_unwritable(troubles: &AgentTroubles, error: &dyn std::fmt::Display) {
    let problem = error.to_string();
    let remedy =
        "refused records wait until they can be kept, and so do the checkpoints of their files";
    troubles.begin(DEAD_LETTERS, Concern::Keeping, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    let entry = Entry::new(Level::ERROR, names::THREAD_MAIN, names::PUBLISHER, message);
    say_once_a_minute(&problem, DEAD_LETTERS, entry);
}

/// Refused records can be kept again. INFO.
pub fn dead_letters_writable_again(troubles: &AgentTroubles, dead_letters: &Path) {
    troubles.end(DEAD_LETTERS);
    let message = format!(
        "refused records are kept in {} again",
        dead_letters.display()
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::PUBLISHER, message).emit();
}
