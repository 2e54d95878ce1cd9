//! What it costs to put records into batches in wire form, to make JSON of them, and to read answers: one core, nothing
//! sent.
//!
//! `cargo bench --bench batch`

mod support;

use std::hint::black_box;
use std::time::Instant;

use kinesis_agent::config::{self, Destination, Environment};
use kinesis_agent::publish::batch::OpenBatch;
use kinesis_agent::publish::budget::Budget;
use kinesis_agent::publish::wire::{self, Layout};
use kinesis_agent::record::{Batch, CursorId, FlowIndex, Span};

const INPUT_BYTES: usize = 16 << 20;
const RECORDS_A_CALL: usize = 500;

fn main() {
    for line_bytes in [62, 200, 1_000] {
        let line = vec![b'x'; line_bytes];
        let n_lines = INPUT_BYTES / line_bytes;
        support::report(
            &format!("random keys, {line_bytes}-byte records"),
            INPUT_BYTES,
            || {
                fill(&flow("RANDOM"), &line, n_lines);
            },
        );
        support::report(
            &format!("DETERMINISTIC keys, {line_bytes}-byte records"),
            INPUT_BYTES,
            || {
                fill(&flow("DETERMINISTIC"), &line, n_lines);
            },
        );
    }
    let destination = Destination::Kinesis("s".to_owned());
    let (layout, batch) = (Layout::new(&destination), one_batch());
    let chosen: Vec<u16> = (0..RECORDS_A_CALL as u16).collect();
    let n_times = INPUT_BYTES / batch.body.len();
    support::report("JSON body of a batch", n_times * batch.body.len(), || {
        (0..n_times).for_each(|_| drop(black_box(layout.json_body(&batch, &chosen))));
    });
    let answer = answer();
    support::report(
        "answer without failures (its bytes)",
        100 * answer.len(),
        || {
            (0..100).for_each(|_| {
                let read =
                    wire::read_answer(wire::JSON, black_box(answer.as_bytes()), RECORDS_A_CALL);
                assert_eq!(read, Ok(wire::Answer::AllAccepted));
            });
        },
    );
}

fn flow(partition_key: &str) -> config::Flow {
    let text = format!(
        r#"{{"flows": [{{"filePattern": "/tmp/x", "kinesisStream": "s", "partitionKeyOption": "{partition_key}"}}]}}"#
    );
    let environment = Environment {
        cores: 1,
        cbor_disabled: false,
        cwd: "/".into(),
    };
    let loaded =
        config::load_text(text.as_bytes(), "bench", &environment).expect("a good configuration");
    config::Flow::clone(&loaded.config.flows[0])
}

/// Adds `n_lines` records; full batches are given back as if they were acknowledged.
fn fill(flow: &config::Flow, line: &[u8], n_lines: usize) -> Option<Batch> {
    let budget = Budget::new(64 << 20, 1);
    let mut open = OpenBatch::new(FlowIndex(0), flow, budget.clone(), 7);
    let now = Instant::now();
    let mut last = None;
    for n in 0..n_lines as u64 {
        let span = Span {
            cursor: CursorId(0),
            start: n,
            end: n + 1,
        };
        assert!(open.has_room(line.len()));
        let added = open.add(span, line, now, |body| {
            body.extend_from_slice(line);
            (true, ())
        });
        for batch in added.closed {
            budget.release(FlowIndex(0), batch.budget_bytes);
            if let Some(Ok(body)) = last
                .replace(batch)
                .map(|old: Batch| old.body.try_into_mut())
            {
                budget.give_back_body(body.into());
            }
        }
    }
    last
}

fn one_batch() -> Batch {
    fill(&flow("RANDOM"), &[b'x'; 200], RECORDS_A_CALL).expect("as many records as a call takes")
}

fn answer() -> String {
    let record = r#"{"SequenceNumber":"49543463076548007577105092703039560359975228518395019266","ShardId":"shardId-000000000000"}"#;
    format!(
        r#"{{"FailedRecordCount":0,"Records":[{}]}}"#,
        vec![record; RECORDS_A_CALL].join(",")
    )
}
