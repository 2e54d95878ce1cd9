//! Events of the agent as a whole: start, status, stop, checkpoints, metrics.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::{counted, say_due_repeats, say_once_a_minute};
use crate::config::FlowId;
use crate::telemetry::counters::AgentCounters;
use crate::telemetry::log::Entry;
use crate::telemetry::metrics::Metric;
use crate::telemetry::names;
use crate::telemetry::progress::{self, MetricLines};
use crate::telemetry::troubles::{AgentTroubles, Concern};

/// Conditions of the agent as a whole that begin and end.
const CHECKPOINTS: &str = "checkpoints_unwritable";
const METRICS: &str = "metrics_not_published";
const SENDING: &str = "sending_stands_still";

/// Says the status of all flows and of the agent, and what repeated meanwhile; called each status period and at the end.
pub fn status(counters: &AgentCounters, uptime: Duration, lines: MetricLines) {
    for (_, flow) in counters.flows().iter() {
        if let Some(metrics) = flow.metrics() {
            let errors = flow.processing_errors_in_a_row.get();
            metrics.record(
                Metric::ConsecutiveProcessingErrors,
                flow.destination(),
                errors as f64,
            );
        }
    }
    for entry in progress::status(&counters.snapshot(), uptime, lines) {
        entry.emit();
    }
    say_due_repeats();
}

/// The stop signal came and the time for sends in flight is over. WARN: what is left is sent after the next start.
pub fn stopped_with_unsent(n_records: u64, waited: Duration) {
    let message = format!(
        "Agent: {} still unsent after {} ms (shutdownTimeoutMillis); the checkpoints say so, they are sent after the \
         next start",
        counted(n_records, "record"),
        waited.as_millis()
    );
    Entry::new(Level::WARN, names::THREAD_STOPPING, names::AGENT, message).emit();
}

/// A defect showed in the work on one record and is kept to it. WARN: the record goes on as it can, and so does its flow.
pub fn defect_contained(what: &str) {
    let message = format!(
        "Agent: a defect of the agent showed in one record: {what}; nothing is lost, the record is treated as one that \
         doesn't match; please report it"
    );
    let entry = Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message);
    say_once_a_minute("", "defect_contained", entry);
}

/// The sending side ended by a defect. ERROR: nothing is sent any more, so the agent stops for whoever supervises it.
pub fn sending_died(what: &str) {
    let message = format!(
        "Agent: sending ended by a defect of the agent: {what}; the agent stops with exit code 70, so that it is started \
         again; nothing is lost; please report it"
    );
    Entry::new(Level::ERROR, names::THREAD_STOPPING, names::AGENT, message).emit();
}

/// The sending side has done nothing for so long, not even nothing. ERROR: nothing is sent.
pub fn sending_stands_still(troubles: &AgentTroubles, since: Duration) {
    let problem = format!(
        "sending stands still for {} s: nothing is sent",
        since.as_secs()
    );
    let remedy = "see whether the host is out of processor time or memory; else restart the agent, and please report it";
    troubles.begin(SENDING, Concern::Sending, (&problem, remedy));
    let message = format!("Agent: {problem}; {remedy}");
    let entry = Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message);
    say_once_a_minute("", SENDING, entry);
}

/// The sending side goes on after it stood still. INFO.
pub fn sending_goes_on(troubles: &AgentTroubles) {
    troubles.end(SENDING);
    let message = "Agent: sending goes on after it stood still";
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// The region comes from a variable that the reference doesn't read. WARN: it would not start there.
pub fn region_from_default_variable(region: &str) {
    let message = format!(
        "the region {region} is that of AWS_DEFAULT_REGION, which is asked last of all; set AWS_REGION or kinesis.region"
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AWS, message).emit();
}

/// A service is called in another region than the host's, as the reference does it. WARN: it may not be meant.
pub fn region_differs(service: &str, region: &str, host_region: &str) {
    let message = format!(
        "{service} is called in {region}, as no endpoint is set, while this host is in {host_region}; set {}.region to \
         say which is meant",
        service.to_ascii_lowercase()
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AWS, message).emit();
}

/// Checkpoints can't be written. ERROR: a restart would send again what was sent since.
pub fn checkpoints_unwritable(troubles: &AgentTroubles, error: &dyn std::fmt::Display) {
    let problem = error.to_string();
    let remedy = "let the agent's user write there, or make room; records go on being sent, and are sent again if the \
                  agent restarts before this is mended";
    troubles.begin(CHECKPOINTS, Concern::Keeping, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    let entry = Entry::new(
        Level::ERROR,
        names::THREAD_MAIN,
        names::CHECKPOINTS,
        message,
    );
    say_once_a_minute(&problem, CHECKPOINTS, entry);
}

/// Checkpoints can be written again. INFO.
pub fn checkpoints_writable_again(troubles: &AgentTroubles, path: &Path) {
    troubles.end(CHECKPOINTS);
    let message = format!("the checkpoints {} are written again", path.display());
    Entry::new(Level::INFO, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// Rows of another database were taken over. INFO.
pub fn checkpoints_taken_over(from: &Path, to: &Path, n_rows: usize) {
    let message = format!(
        "took over {} from {} into {}",
        counted(n_rows as u64, "checkpoint"),
        from.display(),
        to.display()
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// Another database can't be read. WARN: the agent's own checkpoints hold, which lose nothing.
pub fn checkpoints_not_taken_over(error: &dyn std::fmt::Display) {
    let message = format!(
        "{error}; the agent goes on by its own checkpoints, and sends again what the AWS Kinesis Agent may have sent since; \
         remove that file if it has sent nothing"
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// Checkpoints go on under another flow's id, as `filePattern` or `id` was changed. INFO.
pub fn checkpoints_renamed(from: &FlowId, to: &FlowId, n_places: usize) {
    let message = format!(
        "{} of {from}, which isn't configured any more and went to the same stream, go on under {to}",
        counted(n_places as u64, "checkpoint")
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// Metrics arrived in CloudWatch. INFO, in the reference's words.
pub fn metrics_published(troubles: &AgentTroubles, n_data: usize) {
    troubles.end(METRICS);
    let message = format!("Successfully published {n_data} datums.");
    Entry::new(
        Level::INFO,
        names::THREAD_METRICS_PUBLISHER,
        names::METRICS_PUBLISHER,
        message,
    )
    .emit();
}

/// A call to CloudWatch failed. WARN: records go on being sent.
pub fn metrics_not_published(
    troubles: &AgentTroubles,
    namespace: &str,
    n_data: usize,
    error: &str,
) {
    let problem = format!(
        "could not publish {} to CloudWatch namespace {namespace}: {error}",
        counted(n_data as u64, "datum")
    );
    let remedy = "records are not affected; allow cloudwatch:PutMetricData, check cloudwatch.endpoint, or set \
                  cloudwatch.emitMetrics to false";
    troubles.begin(METRICS, Concern::Telling, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    let entry = Entry::new(
        Level::WARN,
        names::THREAD_METRICS_PUBLISHER,
        names::METRICS_PUBLISHER,
        message,
    );
    say_once_a_minute(namespace, METRICS, entry);
}

/// Metrics were given up. WARN: records are not affected.
pub fn metrics_dropped(namespace: &str, n_data: usize, why: &str) {
    let message = format!(
        "{} for CloudWatch namespace {namespace} dropped: {why}",
        counted(n_data as u64, "datum")
    );
    let entry = Entry::new(
        Level::WARN,
        names::THREAD_METRICS_PUBLISHER,
        names::METRICS_PUBLISHER,
        message,
    );
    say_once_a_minute(namespace, "metrics_dropped", entry);
}

/// The agent ends and CloudWatch didn't answer in time. DEBUG.
pub fn metrics_unpublished_at_end(n_data: usize) {
    let message = format!(
        "{} for CloudWatch not published at the end",
        counted(n_data as u64, "datum")
    );
    Entry::new(
        Level::DEBUG,
        names::THREAD_METRICS_PUBLISHER,
        names::METRICS_PUBLISHER,
        message,
    )
    .emit();
}

/// The database was damaged and a new one was begun. WARN: what was sent since the last good save is sent again.
pub fn checkpoints_rebuilt(path: &Path, aside: &Path) {
    let message = format!(
        "the checkpoints {} were damaged and are begun anew; the damaged file is kept as {}; files are taken up as if \
         they were new, records may be sent twice",
        path.display(),
        aside.display()
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// Checkpoints that are out of date can't be deleted at the start. WARN: the next start tries again.
pub fn old_checkpoints_kept(error: &dyn std::fmt::Display) {
    let message = format!("{error}; old checkpoints are kept until the next start");
    Entry::new(Level::WARN, names::THREAD_MAIN, names::CHECKPOINTS, message).emit();
}

/// The system tells nothing of changes. WARN: files are found and read by polling alone.
pub fn no_change_events(troubles: &AgentTroubles, error: &dyn std::fmt::Display) {
    let problem = format!("no change events from the system ({error})");
    let remedy = "files are looked at every second instead; raise fs.inotify.max_user_instances to be told at once";
    troubles.begin("no_change_events", Concern::Oddity, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// The system lets nobody watch more folders. WARN: changes in those that aren't watched are found later.
pub fn watches_exhausted(n_folders: usize) {
    let message = format!(
        "not all of {} can be watched; files are looked at every second instead; raise \
         fs.inotify.max_user_watches to be told at once",
        counted(n_folders as u64, "folder")
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// Where one service's calls go. INFO.
pub fn sending_to(service: &str, endpoint: Option<&str>, region: &str, source: &str) {
    let endpoint = endpoint.unwrap_or("the region's own endpoint");
    let message = format!("{service} calls go to {endpoint} in region {region} (from {source})");
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AWS, message).emit();
}

/// As whom calls are made. INFO.
pub fn credentials_from(source: &str) {
    let message = format!("credentials come from {source}");
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AWS, message).emit();
}

/// What calls need isn't there yet, in the words of who looked for it. WARN.
pub fn not_found_yet(what: &str) {
    let message =
        format!("{what}; records wait in their files until it is found; it is looked for again");
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AWS, message).emit();
}

/// Something in the configuration is odd, in the words of its finding. WARN.
pub fn odd_configuration(finding: &dyn std::fmt::Display) {
    let message = finding.to_string();
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// Another configuration is in effect. INFO.
pub fn configuration_reloaded(n_added: usize, n_removed: usize, n_changed: usize, n_kept: usize) {
    let message = format!(
        "Agent: the configuration is read anew: {n_added} flow(s) added, {n_removed} removed, {n_changed} changed, \
         {n_kept} as before"
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// These keys of the configuration are others than at the agent's start. WARN: the old values hold.
pub fn after_restart(keys: &[String]) {
    for key in keys {
        let message = format!("{key} has changed: it takes effect after a restart of the agent");
        Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message).emit();
    }
}

/// A configuration that was to be read anew is refused, for these reasons. ERROR: the old one goes on.
pub fn configuration_refused(findings: &[String]) {
    let message = format!(
        "Agent: the new configuration is refused, the one before goes on: {}; correct it and reload again",
        counted(findings.len() as u64, "finding")
    );
    Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message).emit();
    for finding in findings {
        let message = finding.clone();
        Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message).emit();
    }
}

/// What a new configuration wants can't be started. ERROR.
pub fn flow_not_started(what: &str, error: &dyn std::fmt::Display) {
    let message = format!("Agent: can't start {what}: {error}; restart the agent");
    Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// The metrics and the status page are there. INFO.
pub fn listening(address: SocketAddr) {
    let message = format!("metrics and the status page are at http://{address}/");
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// They can't be. ERROR: nobody sees the agent; records are not affected.
pub fn not_listening(troubles: &AgentTroubles, address: SocketAddr, error: &dyn std::fmt::Display) {
    let problem = format!(
        "can't listen on {address}: {error}; there are no metrics for Prometheus and no status page"
    );
    let remedy = "records are not affected; write another address as metrics.prometheus.listen, or end what has this \
                  one, and start the agent again";
    troubles.begin("not_listening", Concern::Telling, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// `kinesis-agent status` will have nobody to ask. WARN.
pub fn no_status_socket(troubles: &AgentTroubles, path: &Path, error: &dyn std::fmt::Display) {
    let problem = format!(
        "can't listen on {}: {error}; kinesis-agent status has nobody to ask",
        path.display()
    );
    let remedy = "let the agent's user write there, or write another path, of less than 100 characters, as \
                  status.socket";
    troubles.begin("no_status_socket", Concern::Telling, (&problem, remedy));
    let message = format!("{problem}; {remedy}");
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// The agent can't start. ERROR.
pub fn not_started(error: &dyn std::fmt::Display) {
    let message = format!("Agent: can't start: {error}");
    Entry::new(Level::ERROR, names::THREAD_MAIN, names::AGENT, message).emit();
}

/// The Kinesis endpoint takes no CBOR. INFO: bodies are JSON from now on.
pub fn wire_is_json(failure: &dyn std::fmt::Display) {
    let message = format!(
        "the Kinesis endpoint takes no CBOR ({failure}): bodies are sent as JSON from now on"
    );
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AWS, message).emit();
}
