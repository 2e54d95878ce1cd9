//! What the service does wrong, and that nothing is lost by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kinesis_agent::local::faults::Faults;
use kinesis_agent::local::{CallOutcome, Endpoint, Keep, Options, Wire};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::aws::{self, endpoint, is_unanswered, received, texts};
use crate::support::host::{Host, PATIENCE};
use crate::support::memory::OWN_KIB_MAX;

const STREAM: &str = "orders";
const DELIVERY_STREAM: &str = "orders-firehose";
/// No busy machine adds more to a wait.
const BUSY_MAX: Duration = Duration::from_secs(120);
/// How long a call may stall where some do: a busy machine isn't to reach it.
const STALL_MAX: Duration = Duration::from_secs(12);

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("line {n:06}\n")).collect()
}

/// A host with one file that goes to a Kinesis stream and to a Firehose stream, `records_max` records a call.
fn host(endpoint: &Endpoint, records_max: usize) -> Host {
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/app.log",
        json!({ "kinesisStream": STREAM, "maxBufferSizeRecords": records_max }),
    );
    host.add_flow(
        "logs/app.log",
        json!({ "deliveryStream": DELIVERY_STREAM, "maxBufferSizeRecords": records_max }),
    );
    host
}

/// Each line arrived; and where one arrived again, nothing but a call that was accepted and not answered as it should
/// be came before, or one for which a busy machine took so long that its caller gave it up.
fn assert_nothing_lost_and_repeats_excused(endpoint: &Endpoint, n_lines: usize, script: &str) {
    let calls = endpoint.received().calls();
    let calls: BTreeMap<u64, _> = calls.iter().map(|call| (call.number, call)).collect();
    let excuses = |earlier: &u64, next: &u64| {
        let (earlier, next) = (calls[earlier], calls[next]);
        is_unanswered(earlier) || next.arrived_at - earlier.arrived_at > STALL_MAX / 2
    };
    for stream in [STREAM, DELIVERY_STREAM] {
        let mut arrivals: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for record in endpoint.received().records(stream) {
            let text = String::from_utf8(record.data.to_vec()).expect("the test's own text");
            arrivals.entry(text).or_default().push(record.call);
        }
        let wanted: Vec<String> = (0..n_lines).map(|n| format!("line {n:06}\n")).collect();
        assert!(
            arrivals.keys().eq(&wanted),
            "{script}: {stream}: not the lines that were written"
        );
        for (line, of_calls) in arrivals {
            // Accepted records are told in the order of acceptance.
            let again = of_calls.windows(2);
            let unexcused: Vec<_> = again.filter(|two| !excuses(&two[0], &two[1])).collect();
            assert!(
                unexcused.is_empty(),
                "{script}: {stream}: {line:?} came again, though the first of {unexcused:?} had been answered"
            );
        }
    }
}

/// Ships 2,000 lines to each stream through these faults.
async fn ship_through(script: &str) {
    let n_lines = 2_000;
    let endpoint = endpoint(script).await;
    let mut host = host(&endpoint, 50);
    if script.contains("stall") {
        // A stalled call is given up soon. Where nothing stalls a slow answer of a busy machine is waited for.
        host.set("socketTimeoutMillis", STALL_MAX.as_millis() as u64);
    }
    // What is under way at the end is waited for, however long that takes.
    host.set("shutdownTimeoutMillis", PATIENCE.as_millis() as u64);
    host.write("logs/app.log", lines(0, n_lines));
    let mut agent = host.start();
    let all_arrived = || {
        let distinct = |stream| {
            let mut seen = texts(&endpoint, stream);
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        endpoint.received().n_records() >= 2 * n_lines as u64
            && distinct(STREAM) == n_lines
            && distinct(DELIVERY_STREAM) == n_lines
    };
    agent.until("all lines", |_| all_arrived()).await;
    let (status, log) = agent.stop().await;
    assert!(status.success(), "{script}: {status}\n{log}");
    assert!(!log.contains("still unsent"), "{script}:\n{log}");
    assert_nothing_lost_and_repeats_excused(&endpoint, n_lines, script);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_loses_anything_or_repeats_what_was_answered() {
    let scripts = [
        "fail-record every=10",
        "fail-record=ServiceUnavailable p=0.3",
        "throttle p=0.3",
        "throttle calls=1..5",
        "status=500 every=3",
        "status=503 calls=1..6",
        "status=502 p=0.3",
        "error=InternalFailure:500 every=4",
        "error=ProvisionedThroughputExceededException p=0.4",
        "error=LimitExceededException every=3",
        "error=ExpiredTokenException calls=1..6",
        "error=AccessDeniedException calls=1..6",
        "error=ResourceNotFoundException calls=1..6",
        "error=KMSAccessDeniedException calls=1..6",
        "fail-record=KMSThrottlingException p=0.2",
        "reset-before every=3",
        "reset-after every=5",
        "stall every=29",
        "garble every=5",
        "garble=cut every=5",
        "wrong-count every=5",
        "wrong-count=long every=5",
        "wrong-count=failed every=5",
        "delay=20ms every=2",
        "cbor=400",
        "cbor=500",
    ];
    let mut running = JoinSet::new();
    for script in scripts {
        // Each has a child of its own; a few at a time keep both cores busy.
        if running.len() >= 4 {
            running.join_next().await.expect("one runs").expect(script);
        }
        running.spawn(ship_through(script));
    }
    while let Some(shipped) = running.join_next().await {
        shipped.expect("no case panics");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_together_lose_nothing() {
    ship_through(
        "delay=3ms p=0.3; stall p=0.01; status=503 p=0.05; error=InternalFailure:500 p=0.05; reset-before p=0.05; \
         error=ProvisionedThroughputExceededException p=0.05; reset-after p=0.05; garble p=0.03; garble=cut p=0.03; \
         wrong-count p=0.02; wrong-count=long p=0.02; wrong-count=failed p=0.02; throttle p=0.05; fail-record p=0.1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_records_alone_are_sent_again() {
    let endpoint = endpoint("fail-record every=7 service=kinesis").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/app.log",
        json!({ "kinesisStream": STREAM, "maxBufferSizeRecords": 50 }),
    );
    host.write("logs/app.log", lines(0, 50));
    let _agent = host.start();
    received(&endpoint, 50).await;
    // 7 of the first 50; of those, numbers 51 to 57, the 56th; that one gets through.
    let sizes: Vec<usize> = endpoint
        .received()
        .calls()
        .iter()
        .map(|call| call.n_records)
        .collect();
    assert_eq!(sizes, [50, 7, 1]);
    let mut arrived = texts(&endpoint, STREAM);
    arrived.sort_unstable();
    assert_eq!(arrived.concat(), lines(0, 50), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_are_as_far_apart_as_the_back_off_says() {
    let endpoint = endpoint("status=503").await;
    let mut host = Host::sending_to(&endpoint.url());
    host.add_flow(
        "logs/app.log",
        json!({ "kinesisStream": STREAM, "retryInitialBackoffMillis": 100, "retryMaxBackoffMillis": 500 }),
    );
    // The wire is settled, so that a try is one call.
    host.set_env("AWS_CBOR_DISABLE", "1");
    host.write("logs/app.log", lines(0, 1));
    let mut agent = host.start();
    let n_tries = || endpoint.received().calls().len();
    agent.until("seven tries", |_| n_tries() >= 7).await;
    let calls = endpoint.received().calls();
    assert!(
        calls
            .iter()
            .all(|call| call.outcome == CallOutcome::Faulted)
    );
    let waits = calls
        .windows(2)
        .map(|two| two[1].arrived_at - two[0].arrived_at);
    for (wait, plain_ms) in waits.zip([100, 200, 400, 500, 500, 500]) {
        let least = Duration::from_millis(plain_ms) * 7 / 10;
        let most = Duration::from_millis(plain_ms) * 13 / 10 + BUSY_MAX;
        assert!(
            (least..most).contains(&wait),
            "{wait:?} instead of about {plain_ms} ms"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_once_and_over_within_one_back_off() {
    let endpoint = endpoint("status=503").await;
    let mut host = host(&endpoint, 50);
    // The wire is settled, so that a try is one call.
    host.set_env("AWS_CBOR_DISABLE", "1");
    host.write("logs/app.log", lines(0, 1_000));
    let started_at = Instant::now();
    let mut agent = host.start();
    let n_tries = |stream| {
        let calls = endpoint.received().calls();
        calls
            .iter()
            .filter(|call| call.stream.as_deref() == Some(stream))
            .count()
    };
    // 20 calls are in flight when it begins.
    agent
        .until("thirty tries each", |_| {
            n_tries(STREAM) >= 30 && n_tries(DELIVERY_STREAM) >= 30
        })
        .await;
    endpoint.set_faults(Faults::default());
    received(&endpoint, 2_000).await;
    for destination in [STREAM, DELIVERY_STREAM] {
        agent
            .says(&format!("{destination} get through again, after"))
            .await;
        let failures = agent.lines_with(&format!("{destination} failed: HTTP 503"));
        // Once a minute: a busy machine may take longer.
        let n_minutes = started_at.elapsed().as_secs() as usize / 60;
        assert!(
            (1..=1 + n_minutes).contains(&failures.len()),
            "{failures:#?}"
        );
    }
    for stream in [STREAM, DELIVERY_STREAM] {
        let calls = endpoint.received().calls();
        let of_stream = || {
            calls
                .iter()
                .filter(|call| call.stream.as_deref() == Some(stream))
        };
        let last_failed = of_stream()
            .rfind(|call| call.outcome == CallOutcome::Faulted)
            .expect("there was an outage");
        let first_good = of_stream()
            .find(|call| call.outcome != CallOutcome::Faulted)
            .expect("it is over");
        let wait = first_good.arrived_at - last_failed.arrived_at;
        // 200 ms and three tenths, and whatever a busy machine adds.
        assert!(wait < BUSY_MAX, "{wait:?}");
    }
    assert_nothing_lost_and_repeats_excused(&endpoint, 1_000, "status=503");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_now_and_then_does_not_flood_the_log() {
    let endpoint = endpoint("status=500 every=2").await;
    let host = host(&endpoint, 5);
    host.write("logs/app.log", lines(0, 1_000));
    let agent = host.start();
    received(&endpoint, 2_000).await;
    let (_, log) = agent.stop().await;
    let n_faulted = endpoint
        .received()
        .calls()
        .iter()
        .filter(|call| call.outcome == CallOutcome::Faulted)
        .count();
    assert!(n_faulted > 100, "{n_faulted}");
    let said = log
        .lines()
        .filter(|line| line.contains(") com.amazon") && line.contains("Publisher["))
        .count();
    // For each flow: the failure, its end, and at stop what both came to.
    assert!(said <= 8, "{said} lines:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_cbor_gets_json_from_then_on_and_the_log_one_line() {
    // 400 is a plain word; 500 is believed at the third time.
    for (status, n_tries) in [(400, 1), (500, 3)] {
        let endpoint = endpoint(&format!("cbor={status}")).await;
        let mut host = Host::sending_to(&endpoint.url());
        host.add_flow(
            "logs/app.log",
            json!({ "kinesisStream": STREAM, "maxBufferSizeRecords": 10 }),
        );
        host.write("logs/app.log", "");
        let mut agent = host.start();
        for n in 0..n_tries {
            host.append("logs/app.log", lines(n, n + 1));
            received(&endpoint, n as u64 + 1).await;
        }
        let line = agent.says("takes no CBOR").await;
        assert!(
            line.contains("[INFO]") && line.contains("this endpoint takes no CBOR"),
            "{line}"
        );
        host.append("logs/app.log", lines(n_tries, 500));
        received(&endpoint, 500).await;
        let wires: Vec<Wire> = endpoint
            .received()
            .calls()
            .iter()
            .map(|call| call.wire)
            .collect();
        let found_out = [Wire::Cbor, Wire::Json].repeat(n_tries);
        assert_eq!(wires[..2 * n_tries], found_out, "cbor={status}");
        assert!(
            wires[2 * n_tries..].iter().all(|wire| *wire == Wire::Json),
            "cbor={status}: {wires:?}"
        );
        assert_eq!(agent.lines_with("takes no CBOR").len(), 1);
        let (_, log) = agent.stop().await;
        assert!(!log.contains("failed"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_at_first_gets_cbor_all_the_same() {
    for script in [
        "garble calls=1",
        "garble=cut calls=1",
        "reset-after calls=1",
        "throttle calls=1",
        "status=503 calls=1",
        "error=InternalFailure:500 calls=1",
        "error=LimitExceededException calls=1",
    ] {
        let endpoint = endpoint(script).await;
        let mut host = Host::sending_to(&endpoint.url());
        host.add_flow(
            "logs/app.log",
            json!({ "kinesisStream": STREAM, "maxBufferSizeRecords": 10 }),
        );
        host.write("logs/app.log", lines(0, 50));
        let mut agent = host.start();
        let has_all = || {
            let mut seen = texts(&endpoint, STREAM);
            seen.sort_unstable();
            seen.dedup();
            seen.len() == 50
        };
        agent.until("all lines", |_| has_all()).await;
        let n_before = endpoint.received().n_records();
        host.append("logs/app.log", lines(50, 100));
        received(&endpoint, n_before + 50).await;
        let calls = endpoint.received().calls();
        let last = &calls[calls.len() - 5..];
        assert!(
            last.iter().all(|call| call.wire == Wire::Cbor),
            "{script}: {calls:#?}"
        );
        assert_eq!(agent.lines_with("takes no CBOR").len(), 0, "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_does_not_fill_the_memory() {
    let endpoint = aws::start(Options {
        keep: Keep::Count,
        faults: "status=503".parse().unwrap(),
        ..Options::default()
    })
    .await;
    let host = host(&endpoint, 500);
    let line = format!("{}\n", "x".repeat(999));
    host.write("logs/app.log", line.repeat(150_000));
    let mut agent = host.start();
    agent.says(&format!("{STREAM} failed: HTTP 503")).await;
    agent
        .says(&format!("{DELIVERY_STREAM} failed: HTTP 503"))
        .await;
    // As much as it will ever hold is read by the time that its peak stands still over fifty looks.
    let (mut peak_kib, mut n_looks) = (0, 0);
    agent
        .until("its memory to stand still", |agent| {
            let now_kib = agent.memory_kib_peak();
            n_looks = if now_kib == peak_kib { n_looks + 1 } else { 0 };
            peak_kib = now_kib;
            n_looks >= 50
        })
        .await;
    // 150 MB wait for each flow.
    println!("the agent had {} MiB at most", peak_kib / 1024);
    assert!(peak_kib <= OWN_KIB_MAX, "{peak_kib} KiB");
    endpoint.set_faults(Faults::default());
    endpoint
        .received()
        .wait_for(300_000, PATIENCE)
        .await
        .unwrap();
    let peak_kib = agent.memory_kib_peak();
    println!("and {} MiB at full speed", peak_kib / 1024);
    assert!(peak_kib <= OWN_KIB_MAX, "{peak_kib} KiB at full speed");
}
