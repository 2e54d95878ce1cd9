//! What the whole program costs at full speed, as a user runs it: files, signing, HTTP with and without TLS, checkpoints,
//! log. The endpoint is a process of its own, so only the agent's CPU time and memory count.
//!
//! Machines differ, and a shared one is faster now and slower then. So before each run a program is timed that does no more
//! than it must to send raw lines ([`floor`]), and the cost of a megabyte is given in that unit too.
//!
//! Needs 3 GB of temporary space, and as much memory left for the page cache.
//!
//! `cargo bench --bench end_to_end`; with words behind `--`, only rows whose name has one of them.

#[path = "support/agent.rs"]
mod agent;
#[path = "support/floor.rs"]
mod floor;
#[path = "support/run.rs"]
mod run;

use serde_json::{Value, json};

use run::{Input, Run, Scenario, Transport, run};

/// Runs of each row; of each of their numbers the median is printed.
const N_ROUNDS: usize = 5;

/// A run, and the least that sending cost just before it.
#[derive(Clone, Copy)]
struct Measured {
    run: Run,
    floor_ms_per_mb: f64,
}

impl Measured {
    fn in_floors(&self) -> f64 {
        self.run.cpu_ms_per_mb() / self.floor_ms_per_mb
    }
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    let mut rows = rows();
    rows.retain(|row| is_wanted(row.0));
    let mut runs: Vec<Vec<Measured>> = vec![Vec::new(); rows.len()];
    // Rows of one size share the disk and the page cache at a time.
    let mut sizes: Vec<usize> = rows.iter().map(|row| row.2.input_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let of_size = |row: &usize| rows[*row].2.input_bytes == size;
        let inputs: Vec<(usize, Input)> = (0..rows.len())
            .filter(of_size)
            .map(|row| (row, Input::of(&rows[row].2, &rows[row].1)))
            .collect();
        // Round by round, as a shared machine is faster now and slower then: a ratio is of runs that were made one soon
        // after the other.
        for _ in 0..N_ROUNDS {
            for (row, input) in &inputs {
                runs[*row].push(Measured {
                    floor_ms_per_mb: floor::cpu_ms_per_mb(),
                    run: run(&rows[*row].2, input),
                });
            }
        }
    }
    println!(
        "{:<52} {:>8} {:>10} {:>10} {:>8} {:>7}",
        "", "MB/s", "CPU-ms/MB", "x floor", "peak MB", "calls"
    );
    for ((name, ..), runs) in rows.iter().zip(&runs) {
        let of = |number: fn(&Measured) -> f64| median(runs.iter().map(number).collect());
        println!(
            "{name:<52} {:>8.1} {:>10.2} {:>10.1} {:>8.1} {:>7.0}",
            of(|measured| measured.run.mb_per_s()),
            of(|measured| measured.run.cpu_ms_per_mb()),
            of(Measured::in_floors),
            of(|measured| measured.run.peak_mb),
            of(|measured| measured.run.n_calls as f64)
        );
    }
    println!();
    let measured = runs.iter().flatten();
    let mut floors: Vec<f64> = measured.map(|measured| measured.floor_ms_per_mb).collect();
    floors.sort_by(f64::total_cmp);
    if let [least, .., most] = floors[..] {
        let middle = floors[floors.len() / 2];
        println!(
            "{:<52} {middle:.2} CPU-ms/MB, {least:.2} to {most:.2}",
            "floor: to read, hash, encrypt and send alone"
        );
    }
    let of = |name: &str| {
        let place = rows.iter().position(|row| row.0 == name)?;
        Some(&runs[place])
    };
    let ratio = |one: &str, other: &str, of_runs: fn(&Run, &Run) -> f64| {
        let rounds = of(one)?.iter().zip(of(other)?);
        Some(median(
            rounds
                .map(|(one, other)| of_runs(&one.run, &other.run))
                .collect(),
        ))
    };
    for (what, one, other) in RATIOS {
        let cost = |one: &Run, other: &Run| other.cpu_ms_per_mb() / one.cpu_ms_per_mb();
        if let Some(ratio) = ratio(one, other, cost) {
            println!("{what:<52} x {ratio:.2} CPU time for a MB");
        }
    }
    let reached = |near: &Run, far: &Run| far.mb_per_s() / near.mb_per_s().min(bound_far(far));
    if let Some(ratio) = ratio(RAW_200, RAW_200_FAR, reached) {
        println!(
            "{:<52} x {ratio:.2} of the smaller of the rate at 0 ms and slots x call bytes / round trip",
            "against an endpoint 50 ms away",
        );
    }
}

const RAW_200_PLAIN: &str = "raw, 200-byte lines, no TLS";
const RAW_200: &str = "raw, 200-byte lines";
const RAW_200_FAR: &str = "raw, 200-byte lines, 24 answers after 50 ms";
/// Calls in flight at once at most, far from the endpoint: what the AWS Kinesis Agent has on two cores.
const SLOTS_FAR: usize = 24;
const FLOWS_100: &str = "raw, 200-byte lines, 100 flows";
const FLOWS_100_LONG: &str = "raw, 200-byte lines, 1,000 MB, 100 flows";
const RAW_1000: &str = "raw, 1,000-byte lines, 500 MB";
const FLOWS_100_OF_1000: &str = "raw, 1,000-byte lines, 500 MB, 100 flows";
const FILES_10_000: &str = "raw, 200-byte lines, 10,000 files";
const RAW_200_LONG: &str = "raw, 200-byte lines, 1,000 MB";
const FILES_10_000_LONG: &str = "raw, 200-byte lines, 1,000 MB, 10,000 files";

/// What a row costs beside another.
const RATIOS: [(&str, &str, &str); 6] = [
    ("TLS", RAW_200_PLAIN, RAW_200),
    ("100 flows of 1.3 MB instead of one", RAW_200, FLOWS_100),
    (
        "100 flows of 10 MB instead of one",
        RAW_200_LONG,
        FLOWS_100_LONG,
    ),
    (
        "100 flows of 5 MB, 1,000-byte lines",
        RAW_1000,
        FLOWS_100_OF_1000,
    ),
    (
        "10,000 files of 13 kB instead of one",
        RAW_200,
        FILES_10_000,
    ),
    (
        "10,000 files of 100 kB instead of one",
        RAW_200_LONG,
        FILES_10_000_LONG,
    ),
];

type Line = fn(usize) -> String;

fn rows() -> Vec<(&'static str, Line, Scenario)> {
    let raw = || json!({ "kinesisStream": "s" });
    let tls = |flow: Value| Scenario::new(Transport::Tls, flow);
    let names = ["id", "first_name", "last_name", "email", "gender", "ip"];
    let csv = json!({ "optionName": "CSVTOJSON", "customFieldNames": names });
    let log = json!({ "optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG" });
    let with = |option: Value| json!({ "kinesisStream": "s", "dataProcessingOptions": [option] });
    let long = |n_flows, n_files_each| Scenario {
        input_bytes: 1_000_000_000,
        n_flows,
        n_files_each,
        ..tls(raw())
    };
    vec![
        (
            RAW_200_PLAIN,
            raw_200,
            Scenario::new(Transport::Plain, raw()),
        ),
        (RAW_200, raw_200, tls(raw())),
        (
            FLOWS_100,
            raw_200,
            Scenario {
                n_flows: 100,
                ..tls(raw())
            },
        ),
        (
            FILES_10_000,
            raw_200,
            Scenario {
                n_files_each: 10_000,
                ..tls(raw())
            },
        ),
        (
            RAW_200_FAR,
            raw_200,
            Scenario {
                faults: "delay=50ms",
                agent: json!({ "maxSendingThreads": SLOTS_FAR }),
                ..tls(raw())
            },
        ),
        (
            RAW_1000,
            raw_1000,
            Scenario {
                input_bytes: 500_000_000,
                ..tls(raw())
            },
        ),
        (
            FLOWS_100_OF_1000,
            raw_1000,
            Scenario {
                input_bytes: 500_000_000,
                n_flows: 100,
                ..tls(raw())
            },
        ),
        ("CSVTOJSON, six columns", csv_line, tls(with(csv.clone()))),
        (
            "CSVTOJSON, six columns, 100 flows",
            csv_line,
            Scenario {
                n_flows: 100,
                ..tls(with(csv))
            },
        ),
        ("LOGTOJSON, common format", log_line, tls(with(log))),
        (
            "raw, 200-byte lines, Firehose",
            raw_200,
            tls(json!({ "deliveryStream": "d" })),
        ),
        (
            "raw, 200-byte lines, answers after 200 ms",
            raw_200,
            Scenario {
                faults: "delay=200ms",
                ..tls(raw())
            },
        ),
        (
            "raw, 200-byte lines, 100 flows, answers after 200 ms",
            raw_200,
            Scenario {
                n_flows: 100,
                faults: "delay=200ms",
                ..tls(raw())
            },
        ),
        (RAW_200_LONG, raw_200, long(1, 1)),
        (FLOWS_100_LONG, raw_200, long(100, 1)),
        (FILES_10_000_LONG, raw_200, long(1, 10_000)),
    ]
}

fn raw_200(n: usize) -> String {
    format!("{n:08} {}\n", "x".repeat(190))
}

fn raw_1000(n: usize) -> String {
    format!("{n:08} {}\n", "x".repeat(990))
}

fn csv_line(n: usize) -> String {
    format!(
        "{n:07},Annabel,Leeson,a{n:07}@example.org,Female,10.1.{}\n",
        n % 100
    )
}

fn log_line(n: usize) -> String {
    let host = n % 250;
    format!(
        "10.0.0.{host} - frank [10/Oct/2026:13:55:36 -0700] \"GET /a/{n}.gif HTTP/1.0\" 200 2326\n"
    )
}

/// Of an odd number of them.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// MB/s that calls of the size seen come to where each takes 50 ms.
fn bound_far(run: &Run) -> f64 {
    SLOTS_FAR as f64 * run.mb / run.n_calls as f64 / 0.050
}
