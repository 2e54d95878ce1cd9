use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::config::{Destination, FlowId};
use crate::telemetry::counters::{AgentCounters, FlowSnapshot, RawReason, SkipReason};
use crate::telemetry::metrics::{Metric, Metrics};
use crate::telemetry::progress::MetricLines;
use crate::telemetry::troubles::AgentTroubles;

/// A layer that keeps `(THREAD) [LEVEL] MESSAGE` of every event.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Parts {
    thread: String,
    message: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "thread" => self.thread = value.to_owned(),
            "message" => self.message = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let line = format!(
            "({}) [{}] {}",
            parts.thread,
            event.metadata().level(),
            parts.message
        );
        self.0.lock().expect("no panic elsewhere").push(line);
    }
}

/// What `act` says.
fn heard(act: impl FnOnce()) -> Vec<String> {
    let heard = Heard::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(heard.clone()), act);
    std::mem::take(&mut *heard.0.lock().expect("no panic elsewhere"))
}

/// A flow with a name of its test's own: what repeats is remembered for the whole program.
fn flow(name: &str) -> FlowCounters {
    FlowCounters::new(FlowId(name.into()), Destination::Kinesis("s".into()), None)
}

#[test]
fn events_of_the_reading_side_say_what_where_why_and_what_to_do() {
    type Act = fn(&FlowCounters);
    let table: [(&str, Act, &[&str]); 19] = [
        (
            "kinesis:r1",
            |f| file_opened(f, Path::new("/l/a.log"), Opened::AtStart),
            &[
                "(FileTailer[kinesis:r1]) [INFO] KinesisParser[kinesis:r1]: Opening /l/a.log for parsing.",
                "(FileTailer[kinesis:r1]) [DEBUG] FileTailer[kinesis:r1]: /l/a.log is read from its beginning",
            ],
        ),
        (
            "fh:r2",
            |f| file_opened(f, Path::new("/l/a.log"), Opened::AtOffset { offset: 7 }),
            &[
                "(FileTailer[fh:r2]) [INFO] FirehoseParser[fh:r2]: Opening /l/a.log for parsing.",
                "(FileTailer[fh:r2]) [DEBUG] FileTailer[fh:r2]: /l/a.log is read from offset 7",
            ],
        ),
        (
            "kinesis:r4",
            |f| file_renamed(f, Path::new("/l/a.log"), Path::new("/l/a.log.1")),
            &[
                "(FileTailer[kinesis:r4]) [INFO] KinesisParser[kinesis:r4]: Continuing to parse /l/a.log.1.",
                "(FileTailer[kinesis:r4]) [DEBUG] FileTailer[kinesis:r4]: /l/a.log is called /l/a.log.1 now",
            ],
        ),
        (
            "r5",
            |f| file_finished(f, Path::new("/l/a.log"), 9),
            &["(FileTailer[r5]) [DEBUG] FileTailer[r5]: /l/a.log is finished at offset 9"],
        ),
        (
            "r6",
            |f| file_truncated(f, Path::new("/l/a.log"), 10, 0),
            &[
                "(FileTailer[r6]) [INFO] FileTailer[r6]: /l/a.log was truncated from 10 to 0 bytes; it is read from its \
               beginning",
            ],
        ),
        (
            "r7",
            |f| {
                file_unreadable(
                    f,
                    Path::new("/l/a.log"),
                    io::ErrorKind::PermissionDenied,
                    "permission denied",
                )
            },
            &[
                "(FileTailer[r7]) [ERROR] FileTailer[r7]: can't read /l/a.log: permission denied; let the agent's user \
               read it and enter the directories above it",
            ],
        ),
        (
            "r8",
            |f| {
                file_unreadable(
                    f,
                    Path::new("/l/a.log"),
                    io::ErrorKind::NotFound,
                    "entity not found",
                )
            },
            &[
                "(FileTailer[r8]) [WARN] FileTailer[r8]: can't read /l/a.log: entity not found; if it was renamed it is \
               read under its new name, as far as that matches filePattern",
            ],
        ),
        (
            "r9",
            |f| {
                file_unreadable(
                    f,
                    Path::new("/l/a.log"),
                    io::ErrorKind::Other,
                    "Input/output error (os error 5)",
                )
            },
            &[
                "(FileTailer[r9]) [ERROR] FileTailer[r9]: can't read /l/a.log: Input/output error (os error 5); it is \
               tried again; if it stays so look at the disk",
            ],
        ),
        (
            "r10",
            pattern_matches_nothing,
            &[
                "(FileTailer[r10]) [WARN] FileTailer[r10]: no file matches filePattern; if there should be one check \
               the pattern, and that names do not end in .gz, .bz2 or .zip; files that appear later are read from \
               their beginning",
            ],
        ),
        (
            "r11",
            |f| directory_missing(f, Path::new("/l")),
            &[
                "(FileTailer[r11]) [WARN] FileTailer[r11]: the directory /l does not exist; create it or correct \
               filePattern; until then there is nothing to read",
            ],
        ),
        (
            "r12",
            |f| directory_unreadable(f, Path::new("/l"), "permission denied"),
            &[
                "(FileTailer[r12]) [ERROR] FileTailer[r12]: can't list the directory /l: permission denied; let the \
               agent's user read and enter it; files in it are not found",
            ],
        ),
        (
            "r13",
            |f| bytes_lost(f, Path::new("/l/a.log"), 5, Some(15)),
            &[
                "(FileTailer[r13]) [ERROR] FileTailer[r13]: 10 bytes from offset 5 to 15 of /l/a.log are lost: they were \
                 overwritten or cut off before they could be read; rotate by renaming, or rotate less often than the \
                 agent needs to catch up",
            ],
        ),
        (
            "r13a",
            |f| deleted_file_given_up(f, Path::new("/l/a.log"), 5, 15),
            &[
                "(FileTailer[r13a]) [ERROR] FileTailer[r13a]: 10 bytes of /l/a.log from offset 5 to 15 are given up: the \
                 file is deleted, and deleted files that aren't sent hold more than deletedFiles.maxBytes or for longer \
                 than deletedFiles.maxAge; see why nothing is sent, or raise these",
            ],
        ),
        (
            "r14",
            |f| record_truncated(f, Path::new("/l/a.log"), 5, 2_000_000, 1_048_560, "2026 x…"),
            &[
                "(FileTailer[r14]) [WARN] FileTailer[r14]: the record at offset 5 of /l/a.log has at least 2000000 \
               bytes, more than Kinesis stream s takes; it is cut to 1048560 bytes (any partition key included), \
               truncatedRecordTerminator at its end, and the rest is dropped; it begins with 2026 x…",
            ],
        ),
        (
            "r15",
            |f| records_raw(f, RawReason::NotAnObject, 1, "expected `{`"),
            &[
                "(FileTailer[r15]) [WARN] FileTailer[r15]: 1 record sent unprocessed: ADDEC2METADATA takes JSON objects \
               alone (expected `{`); convert them first, with CSVTOJSON or LOGTOJSON before it",
            ],
        ),
        (
            "r15a",
            |f| {
                let first = "the first at offset 7 of /l/a.log: \"x\"";
                records_skipped(f, SkipReason::NoMatch, 3, first);
                records_skipped(f, SkipReason::Line, 1, first);
                records_skipped(f, SkipReason::NoMatch, 2, first);
            },
            &[
                "(FileTailer[r15a]) [INFO] FileTailer[r15a]: 3 records left out by dataProcessingOptions: LOGTOJSON does not match; the first at \
               offset 7 of /l/a.log: \"x\"; `kinesis-agent try` shows where the pattern stops matching",
                "(FileTailer[r15a]) [INFO] FileTailer[r15a]: 1 record left out by skipLinesMatching: the line matches; the first at \
               offset 7 of /l/a.log: \"x\"; correct it if they should be sent",
            ],
        ),
        (
            "r16",
            |f| records_raw(f, RawReason::NotAnObject, 0, "none"),
            &[],
        ),
        (
            "r17",
            |f| turn_failed(f, &"no such device"),
            &[
                "(FileTailer[r17]) [ERROR] FileTailer[r17]: can't go on reading: no such device; nothing is lost, it is \
               tried again",
            ],
        ),
        ("r18", |f| turn_done(f, &Turn::default()), &[]),
    ];
    for (id, act, expected) in table {
        let flow = flow(id);
        assert_eq!(heard(|| act(&flow)), expected, "{id}");
    }
}

#[test]
fn events_of_the_sending_side_say_what_where_why_and_what_to_do() {
    type Act = fn(&FlowCounters);
    let table: [(&str, Act, &[&str]); 15] = [
        (
            "s1",
            |f| {
                batch_sent(
                    f,
                    &BatchSent {
                        records: 500,
                        bytes: 9000,
                        latency: Duration::from_millis(12),
                        ..BatchSent::default()
                    },
                );
            },
            &[
                "(Publisher[s1]) [DEBUG] Publisher[s1]: 500 of 500 records accepted (9000 bytes, 12 ms)",
            ],
        ),
        (
            "s2",
            |f| {
                batch_sent(
                    f,
                    &BatchSent {
                        records: 10,
                        records_failed: 4,
                        records_throttled: 3,
                        bytes: 60,
                        ..BatchSent::default()
                    },
                );
            },
            &[
                "(Publisher[s2]) [DEBUG] Publisher[s2]: 6 of 10 records accepted (60 bytes, 0 ms)",
                "(Publisher[s2]) [WARN] Publisher[s2]: Kinesis stream s is over its limits: 3 of 10 records \
                 throttled; what failed is sent again, and reading slows down to what it takes; raise its capacity if it \
                 stays so",
            ],
        ),
        (
            "s3",
            |f| {
                batch_sent(
                    f,
                    &BatchSent {
                        records: 1,
                        records_failed: 1,
                        error: Some("InternalFailure: try later"),
                        ..BatchSent::default()
                    },
                );
            },
            &[
                "(Publisher[s3]) [DEBUG] Publisher[s3]: 0 of 1 record accepted (0 bytes, 0 ms)",
                "(Publisher[s3]) [WARN] Publisher[s3]: Kinesis stream s did not take 1 of 1 record: InternalFailure: \
                 try later; what failed is sent again",
            ],
        ),
        (
            "s4",
            |f| {
                batch_failed(
                    f,
                    &BatchFailed {
                        records: 7,
                        latency: Duration::from_millis(40),
                        error: "500 InternalFailure",
                        throttled: false,
                        next_try_in: Duration::from_millis(400),
                        may_repeat: false,
                        has_known_cause: false,
                    },
                );
            },
            &[
                "(Publisher[s4]) [WARN] Publisher[s4]: a call with 7 records to Kinesis stream s failed: 500 \
               InternalFailure; it took 40 ms, the next one is in 400 ms; nothing is lost",
            ],
        ),
        (
            "s5",
            |f| records_refused(f, 2, "ValidationException: too long"),
            &[
                "(Publisher[s5]) [ERROR] Publisher[s5]: Kinesis stream s refused 2 records for good: \
               ValidationException: too long; dropped",
            ],
        ),
        (
            "s14",
            |f| {
                record_dead_lettered(
                    f,
                    Some(Path::new("/l/app.log")),
                    42,
                    &"ValidationException: no",
                    Path::new("/v/dead-letters"),
                );
            },
            &[
                "(Publisher[s14]) [ERROR] Publisher[s14]: Kinesis stream s refused the record at offset 42 of \
               /l/app.log for good: ValidationException: no; it is kept in /v/dead-letters, and the others go on; see \
               kinesis-agent dead-letters",
            ],
        ),
        (
            "s15",
            |f| flow_died(f, "index out of bounds", Duration::from_millis(1500)),
            &[
                "(FileTailer[s15]) [ERROR] FileTailer[s15]: ended by a defect of the agent: index out of bounds; it is \
               started again in 1500 ms at its last checkpoint; nothing is lost, records may be sent twice; please \
               report it",
            ],
        ),
        (
            "s16",
            |f| {
                flow_stands_still(f, Duration::from_secs(61));
                flow_goes_on(f, Duration::from_secs(75));
            },
            &[
                "(FileTailer[s16]) [ERROR] FileTailer[s16]: stands still for 61 s in one look at its files: nothing of \
               it is read; check whether the file system of its filePattern answers (a network share may hang), and \
               restart the agent if it does",
                "(FileTailer[s16]) [INFO] FileTailer[s16]: goes on after it stood still for 75 s",
            ],
        ),
        (
            "s6",
            |f| destination_missing(f, "http://h:1", "ResourceNotFoundException: not found"),
            &[
                "(Publisher[s6]) [ERROR] Publisher[s6]: Kinesis stream s does not exist at http://h:1 for this account \
               (ResourceNotFoundException: not found); create it, or correct its name, its region or the account; records wait until it is there",
            ],
        ),
        (
            "s7",
            |f| access_denied(f, "AccessDeniedException"),
            &[
                "(Publisher[s7]) [ERROR] Publisher[s7]: no permission to send to Kinesis stream s: \
               AccessDeniedException; allow kinesis:PutRecords on it for the agent's role or user; records wait",
            ],
        ),
        (
            "s8",
            |f| no_credentials(f, "nothing in the chain"),
            &[
                "(Publisher[s8]) [ERROR] Publisher[s8]: no AWS credentials to send to Kinesis stream s with: nothing in \
               the chain; records wait",
            ],
        ),
        (
            "s9",
            |f| credentials_refused(f, "ExpiredTokenException"),
            &[
                "(Publisher[s9]) [ERROR] Publisher[s9]: the credentials are refused: ExpiredTokenException; renew them, \
               and check that the host's clock is right and that they belong to the region's partition; records wait",
            ],
        ),
        (
            "s10",
            |f| connection_refused(f, "https://k", "refused"),
            &[
                "(Publisher[s10]) [ERROR] Publisher[s10]: can't connect to https://k: refused; check the endpoint, the \
               host's name service, routes, security groups and proxy; records wait",
            ],
        ),
        (
            "s11",
            |f| certificate_refused(f, "https://k", "unknown issuer"),
            &[
                "(Publisher[s11]) [ERROR] Publisher[s11]: the certificate of https://k is not trusted: unknown issuer; \
               add its authority to the host's certificates or name its file in AWS_CA_BUNDLE, or correct the endpoint; \
               records wait",
            ],
        ),
        (
            "s13",
            |f| {
                for _ in 0..3 {
                    no_credentials(f, "x");
                }
            },
            &[
                "(Publisher[s13]) [ERROR] Publisher[s13]: no AWS credentials to send to Kinesis stream s with: x; records \
               wait",
            ],
        ),
    ];
    for (id, act, expected) in table {
        let flow = flow(id);
        assert_eq!(heard(|| act(&flow)), expected, "{id}");
    }
}

#[test]
fn permissions_are_those_of_the_destination() {
    let destination = Destination::Firehose("d".into());
    let flow = FlowCounters::new(FlowId("p1".into()), destination, None);
    let said = heard(|| access_denied(&flow, "no"));
    assert!(
        said[0].contains("Firehose delivery stream d: no; allow firehose:PutRecordBatch"),
        "{said:?}"
    );
}

#[test]
fn events_of_the_agent_say_what_where_why_and_what_to_do() {
    let none = AgentTroubles::default();
    let table: [(&dyn Fn(), &str); 18] = [
        (
            &|| wire_is_json(&"HTTP 400: no"),
            "(main) [INFO] the Kinesis endpoint takes no CBOR (HTTP 400: no): bodies are sent as JSON from now on",
        ),
        (
            &|| stopped_with_unsent(1, Duration::from_secs(10)),
            "(Agent STOPPING) [WARN] Agent: 1 record still unsent after 10000 ms (shutdownTimeoutMillis); the \
             checkpoints say so, they are sent after the next start",
        ),
        (
            &|| sending_died("task 7 panicked"),
            "(Agent STOPPING) [ERROR] Agent: sending ended by a defect of the agent: task 7 panicked; the agent stops \
             with exit code 70, so that it is started again; nothing is lost; please report it",
        ),
        (
            &|| sending_stands_still(&none, Duration::from_secs(75)),
            "(main) [ERROR] Agent: sending stands still for 75 s: nothing is sent; see whether the host is out of \
             processor time or memory; else restart the agent, and please report it",
        ),
        (
            &|| sending_goes_on(&none),
            "(main) [INFO] Agent: sending goes on after it stood still",
        ),
        (
            &|| {
                dead_letters_unwritable(
                    &none,
                    &"cannot write /v/dead-letters: no space left on device",
                )
            },
            "(main) [ERROR] cannot write /v/dead-letters: no space left on device; refused records wait until they can \
             be kept, and so do the checkpoints of their files",
        ),
        (
            &|| dead_letters_writable_again(&none, Path::new("/v/dead-letters")),
            "(main) [INFO] refused records are kept in /v/dead-letters again",
        ),
        (
            &|| region_from_default_variable("eu-west-1"),
            "(main) [WARN] the region eu-west-1 is that of AWS_DEFAULT_REGION, which is asked last of all; set \
             AWS_REGION or kinesis.region",
        ),
        (
            &|| region_differs("Firehose", "us-east-1", "eu-west-1"),
            "(main) [WARN] Firehose is called in us-east-1, as no endpoint is set, while this host is in eu-west-1; \
             set firehose.region to say which is meant",
        ),
        (
            &|| checkpoints_unwritable(&none, &"cannot save checkpoints in /c: disk full"),
            "(main) [ERROR] cannot save checkpoints in /c: disk full; let the agent's user write there, or make \
             room; records go on being sent, and are sent again if the agent restarts before this is mended",
        ),
        (
            &|| checkpoints_writable_again(&none, Path::new("/c")),
            "(main) [INFO] the checkpoints /c are written again",
        ),
        (
            &|| old_checkpoints_kept(&"cannot delete old checkpoints in /c: disk full"),
            "(main) [WARN] cannot delete old checkpoints in /c: disk full; old checkpoints are kept until the next start",
        ),
        (
            &|| checkpoints_taken_over(Path::new("/old"), Path::new("/new"), 2),
            "(main) [INFO] took over 2 checkpoints from /old into /new",
        ),
        (
            &|| checkpoints_not_taken_over(&"cannot read /old: no"),
            "(main) [WARN] cannot read /old: no; the agent goes on by its own checkpoints, and sends again what the AWS \
             Kinesis Agent may have sent since; remove that file if it has sent nothing",
        ),
        (
            &|| metrics_published(&none, 13),
            "(cw-metrics-publisher) [INFO] Successfully published 13 datums.",
        ),
        (
            &|| metrics_not_published(&none, "Namespace1", 1, "AccessDenied"),
            "(cw-metrics-publisher) [WARN] could not publish 1 datum to CloudWatch namespace Namespace1: AccessDenied; records are not \
             affected; allow cloudwatch:PutMetricData, check cloudwatch.endpoint, or set cloudwatch.emitMetrics to \
             false",
        ),
        (
            &|| metrics_dropped("Namespace1", 2, "too many wait"),
            "(cw-metrics-publisher) [WARN] 2 datums for CloudWatch namespace Namespace1 dropped: too many wait",
        ),
        (
            &|| metrics_unpublished_at_end(3),
            "(cw-metrics-publisher) [DEBUG] 3 datums for CloudWatch not published at the end",
        ),
    ];
    for (act, expected) in table {
        assert_eq!(heard(act), [expected]);
    }
}

#[test]
fn events_are_counted() {
    let flow = flow("c1");
    heard(|| {
        turn_failed(&flow, &"x");
        turn_failed(&flow, &"x");
        let failed_in_a_row = flow.snapshot().processing_errors_in_a_row;
        assert_eq!(failed_in_a_row, 2);
        turn_done(
            &flow,
            &Turn {
                records_parsed: 100,
                bytes_parsed: 2000,
                records_transformed: 90,
                records_skipped: 5,
            },
        );
        stands_at(
            &flow,
            &Standing {
                bytes_behind: 11,
                files_followed: 2,
                files_newer: 1,
            },
        );
        records_raw(&flow, RawReason::NotConvertible, 3, "x");
        records_raw(&flow, RawReason::PatternTooCostly, 4, "x");
        record_truncated(&flow, Path::new("/a"), 0, 10, 5, "a");
        records_skipped(&flow, SkipReason::NoMatch, 5, "x");
        records_keyless(&flow, 8, "x");
        bytes_lost(&flow, Path::new("/a"), 3, Some(10));
        batch_sent(
            &flow,
            &BatchSent {
                records: 50,
                records_failed: 10,
                records_throttled: 9,
                bytes: 400,
                ..BatchSent::default()
            },
        );
        batch_failed(
            &flow,
            &BatchFailed {
                records: 10,
                latency: Duration::ZERO,
                error: "ProvisionedThroughputExceededException",
                throttled: true,
                next_try_in: Duration::ZERO,
                may_repeat: false,
                has_known_cause: false,
            },
        );
        record_dead_lettered(
            &flow,
            None,
            0,
            &"ValidationException",
            Path::new("/v/dead-letters"),
        );
        flow_died(&flow, "index out of bounds", Duration::from_secs(1));
        records_refused(&flow, 2, "the last error");
    });
    assert_eq!(
        flow.snapshot(),
        FlowSnapshot {
            records_parsed: 100,
            bytes_parsed: 2000,
            records_transformed: 90,
            records_skipped: 5,
            records_truncated: 1,
            records_raw: [3, 0, 0, 0, 4, 0],
            records_skipped_by: [0, 5, 0, 0],
            records_keyless: 8,
            bytes_lost: 7,
            records_sent: 40,
            bytes_sent: 400,
            records_refused: 2,
            records_dead_lettered: 1,
            restarts: 1,
            calls: 2,
            send_attempts: 60,
            send_errors: 20,
            service_errors: 1,
            throttled_records: 19,
            bytes_behind: 11,
            files_followed: 2,
            files_newer: 1,
            processing_errors_in_a_row: 0,
            last_error: Some(
                "Kinesis stream s refused 2 records for good: the last error; dropped".into()
            ),
        }
    );
}

#[test]
fn calls_and_status_periods_reach_the_metrics() {
    let metrics = Arc::new(Metrics::default());
    let id = FlowId("m1".into());
    let counters = Arc::new(FlowCounters::new(
        id.clone(),
        Destination::Kinesis("s".into()),
        Some(Arc::clone(&metrics)),
    ));
    let agent = AgentCounters::of(vec![(id, Arc::clone(&counters))]);
    let said = heard(|| {
        batch_sent(
            &counters,
            &BatchSent {
                records: 5,
                records_failed: 1,
                bytes: 40,
                ..BatchSent::default()
            },
        );
        turn_failed(&counters, &"x");
        status(
            &agent,
            Duration::from_millis(30_000),
            MetricLines::default(),
        );
    });
    assert!(
        said.iter().any(|line| line.ends_with("Uptime: 30000ms")),
        "{said:?}"
    );
    let sums: Vec<(Metric, String, f64)> = metrics
        .take(jiff::Timestamp::UNIX_EPOCH)
        .into_iter()
        .map(|datum| (datum.metric, datum.destination, datum.values.sum))
        .collect();
    let stream = || "KinesisStream:s".to_owned();
    assert_eq!(
        sums,
        [
            (Metric::RecordSendAttempts, stream(), 5.0),
            (Metric::RecordSendErrors, stream(), 1.0),
            (Metric::RecordsSent, stream(), 4.0),
            (Metric::BytesSent, stream(), 40.0),
            (Metric::ServiceErrors, stream(), 0.0),
            (Metric::ConsecutiveProcessingErrors, "s".to_owned(), 1.0),
        ]
    );
}

#[test]
fn a_refused_record_that_is_kept_keeps_nothing_from_being_sent() {
    let destination = Destination::Kinesis("s".into());
    let flow = FlowCounters::new(FlowId("kept".into()), destination, None);
    batch_failed(
        &flow,
        &BatchFailed {
            records: 1,
            latency: Duration::ZERO,
            error: "HTTP 400: ValidationException",
            throttled: false,
            next_try_in: Duration::ZERO,
            may_repeat: false,
            has_known_cause: false,
        },
    );
    assert!(flow.troubles().has(Concern::Sending));
    record_isolated(&flow);
    assert!(!flow.troubles().has(Concern::Sending));
    record_dead_lettered(&flow, None, 0, &"no", Path::new("/v/dead-letters"));
    assert!(flow.troubles().has(Concern::Loss));
}
