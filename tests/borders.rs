//! Who may know whom: the borders between the rooms of `src/`, as rules over the paths that each source names.
//!
//! Tests are free: what stands under `#[cfg(test)]` is not looked at.

use std::collections::HashSet;

use kinesis_agent::config::keys::KEYS;

use crate::support::project;
use crate::support::sources::Source;

/// One border.
struct Rule {
    /// What a reader of the failure is told.
    says: &'static str,
    /// The rooms it binds; empty: all of them.
    binds: &'static [&'static str],
    /// Rooms that it doesn't bind.
    but: &'static [&'static str],
    /// Beginnings of paths that can't be named there. A trailing `*` stands for the rest of a name.
    forbids: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        says: "tail doesn't know publish",
        binds: &["tail"],
        but: &[],
        forbids: &["crate::publish"],
    },
    Rule {
        says: "publish doesn't know tail",
        binds: &["publish"],
        but: &[],
        forbids: &["crate::tail"],
    },
    Rule {
        says: "process does no I/O",
        binds: &["process"],
        but: &[],
        forbids: &[
            "std::env",
            "std::fs",
            "std::net",
            "std::os",
            "std::path",
            "std::process",
            "std::thread",
            "aws_*",
            "hyper*",
            "notify",
            "rusqlite",
            "rustix",
            "tokio",
            "crate::aws",
            "crate::checkpoint",
            "crate::flow",
            "crate::local",
            "crate::publish",
            "crate::tail",
            "crate::telemetry",
        ],
    },
    Rule {
        says: "only checkpoint speaks SQL",
        binds: &[],
        but: &["checkpoint"],
        forbids: &["rusqlite"],
    },
    Rule {
        says: "only aws, publish::kinesis, publish::firehose and telemetry::cloudwatch name a type of an AWS client",
        binds: &[],
        but: &[
            "aws",
            "publish::kinesis",
            "publish::firehose",
            "telemetry::cloudwatch",
        ],
        forbids: &["aws_sdk_*"],
    },
    Rule {
        says: "only telemetry logs: others call one function an event",
        binds: &[],
        but: &["telemetry"],
        forbids: &[
            "log",
            "tracing::debug",
            "tracing::enabled",
            "tracing::error",
            "tracing::event",
            "tracing::info",
            "tracing::span",
            "tracing::trace",
            "tracing::warn",
            "tracing_subscriber",
        ],
    },
    Rule {
        says: "only telemetry names a metric: others call one function an event",
        binds: &[],
        but: &["telemetry"],
        forbids: &[
            "metrics",
            "crate::telemetry::metrics::Metric",
            "crate::telemetry::names",
        ],
    },
    Rule {
        says: "only config knows how agent.json is written",
        binds: &[],
        but: &["config"],
        forbids: &["crate::config::raw", "crate::config::json"],
    },
    Rule {
        says: "clocks and chance reach pure code as arguments",
        binds: PURE,
        but: &[],
        forbids: &[
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
            "fastrand::Rng::new",
            "fastrand::bool",
            "fastrand::f*",
            "fastrand::i*",
            "fastrand::u*",
            "tokio::time",
        ],
    },
    Rule {
        says: "the file system reaches pure code as an argument",
        binds: PURE,
        but: &[],
        forbids: &["std::fs", "rustix"],
    },
];

/// What is tested with a clock, chance and a disk of the test's own.
const PURE: &[&str] = &[
    "flow::inbox",
    "flow::intake",
    "flow::machine",
    "process",
    "publish::backoff",
    "publish::batch",
    "publish::failure",
    "publish::publisher",
    "publish::watermark",
    "publish::wire",
    "record",
    "tail::cursor",
    "tail::discover",
    "tail::place",
    "tail::rotation",
    "tail::split",
    "tail::tailer",
];

impl Rule {
    fn concerns(&self, source: &Source) -> bool {
        let is_in_any = |rooms: &[&str]| rooms.iter().any(|room| source.is_in(room));
        (self.binds.is_empty() || is_in_any(self.binds)) && !is_in_any(self.but)
    }

    fn forbids(&self, path: &str) -> bool {
        self.forbids
            .iter()
            .any(|forbidden| match forbidden.strip_suffix('*') {
                Some(beginning) => path.starts_with(beginning),
                None => path
                    .strip_prefix(forbidden)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::")),
            })
    }
}

/// `FILE:LINE: RULE, but this names PATH` of every path on the wrong side of a border.
fn violations(sources: &[Source]) -> Vec<String> {
    let for_tests: HashSet<&[String]> = sources
        .iter()
        .flat_map(|source| &source.test_modules)
        .map(Vec::as_slice)
        .collect();
    let is_for_tests = |source: &Source| {
        (0..=source.module.len()).any(|n| for_tests.contains(&source.module[..n]))
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !is_for_tests(source)) {
        for rule in RULES.iter().filter(|rule| rule.concerns(source)) {
            let crossing = source
                .names
                .iter()
                .filter(|named| rule.forbids(&named.path));
            found.extend(crossing.map(|named| {
                format!(
                    "{}:{}: {}, but this names {}",
                    source.file, named.line, rule.says, named.path
                )
            }));
        }
        if !source.is_in("config") {
            found.extend(spelt_keys(source));
        }
    }
    found
}

/// Keys of agent.json that stand between quotes by themselves, where somebody could read them from JSON.
///
/// Keys that are ordinary words (`flows`, `metadata`) are left out: they are output of the options too.
fn spelt_keys(source: &Source) -> impl Iterator<Item = String> {
    let is_unmistakable = |name: &str| name.contains(|c: char| c == '.' || c.is_ascii_uppercase());
    let spelt = source.texts.iter().filter(move |text| {
        is_unmistakable(&text.text) && KEYS.iter().any(|key| key.name == text.text)
    });
    spelt.map(|text| {
        let (file, line, key) = (&source.file, text.line, &text.text);
        format!("{file}:{line}: only config knows how agent.json is written, but this spells {key}")
    })
}

fn sources() -> Vec<Source> {
    let files = project::files_below("src", ".rs");
    files
        .iter()
        .map(|file| Source::read(file, &project::read(file)))
        .collect()
}

#[test]
fn no_source_crosses_a_border() {
    let sources = sources();
    assert!(
        sources.len() > 50,
        "the sources were not found: {} files",
        sources.len()
    );
    let found = violations(&sources);
    assert!(
        found.is_empty(),
        "{} border(s) crossed:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// A room that was renamed would be bound by nothing.
#[test]
fn every_room_of_the_rules_is_there() {
    let sources = sources();
    let rooms = RULES
        .iter()
        .flat_map(|rule| rule.binds.iter().chain(rule.but));
    let missing: Vec<_> = rooms
        .filter(|room| !sources.iter().any(|source| source.is_in(room)))
        .collect();
    assert!(
        missing.is_empty(),
        "the rules speak of rooms that aren't there: {missing:?}"
    );
}

#[test]
fn a_crossing_is_found_however_it_is_written() {
    for (file, code, expected) in [
        (
            "src/tail/x.rs",
            "use crate::publish::sink::Sink;",
            "1: tail doesn't know publish, but this names crate::publish::sink::Sink",
        ),
        (
            "src/tail/x.rs",
            "fn f() {\n  crate::publish::f()\n}",
            "2: tail doesn't know publish",
        ),
        (
            "src/tail/mod.rs",
            "use super::publish;",
            "1: tail doesn't know publish",
        ),
        (
            "src/tail/x/y.rs",
            "use super::super::super::publish::*;",
            "1: tail doesn't know publish",
        ),
        (
            "src/tail/x.rs",
            "use crate::{\n config,\n publish::{self, sink},\n};",
            "3: tail doesn't know publish",
        ),
        (
            "src/publish/mod.rs",
            "fn f(x: &crate::tail::Turn) {}",
            "1: publish doesn't know tail",
        ),
        (
            "src/process/x.rs",
            "use std::{io, fs::File};",
            "1: process does no I/O, but this names std::fs::File",
        ),
        (
            "src/process/x.rs",
            "use std as s; fn f() { s::net::f() }",
            "1: process does no I/O, but this names std::net::f",
        ),
        (
            "src/process/x.rs",
            "fn f() { g!(::std::process::exit(1)) }",
            "1: process does no I/O",
        ),
        (
            "src/local/x.rs",
            "impl From<rusqlite::Error> for E {}",
            "1: only checkpoint speaks SQL",
        ),
        (
            "src/publish/run.rs",
            "use aws_sdk_kinesis::Client;",
            "1: only aws, publish::kinesis",
        ),
        (
            "src/flow/thread.rs",
            "fn f() { tracing::info!(\"x\") }",
            "1: only telemetry logs",
        ),
        (
            "src/flow/thread.rs",
            "use tracing::warn;",
            "1: only telemetry logs",
        ),
        (
            "src/flow/thread.rs",
            "use crate::telemetry::metrics; fn f() { g(metrics::Metric::BytesSent) }",
            "1: only telemetry names a metric",
        ),
        (
            "src/agent/mod.rs",
            "fn f() { g(\"kinesisStream\") }",
            "1: only config knows how agent.json is written, but this spells kinesisStream",
        ),
        (
            "src/tail/tailer.rs",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "1: clocks and chance reach pure code",
        ),
        (
            "src/publish/backoff.rs",
            "fn f() -> f64 { fastrand::f64() }",
            "1: clocks and chance reach pure code",
        ),
        (
            "src/tail/place.rs",
            "mod inner { fn f() { std::fs::read(\"x\") } }",
            "1: the file system reaches pure code",
        ),
    ] {
        let found = violations(&[Source::read(file, code)]);
        let expected = format!("{file}:{expected}");
        assert!(
            found.iter().any(|found| found.starts_with(&expected)),
            "{code}\nexpected {expected}\nfound    {found:?}"
        );
    }
}

#[test]
fn what_stays_on_its_side_is_left_in_peace() {
    for (file, code) in [
        (
            "src/tail/x.rs",
            "use crate::record::Span; // crate::publish",
        ),
        (
            "src/tail/x.rs",
            "/// See [`crate::publish`].\nfn publish() { let tail = publish; }",
        ),
        (
            "src/tail/x.rs",
            "#[cfg(test)]\nmod tests { use crate::publish::X; }",
        ),
        (
            "src/tail/x.rs",
            "#[cfg(test)]\nuse crate::publish::{X, Y};\nfn f() {}",
        ),
        ("src/process/x.rs", "use std::io::Write; use std::fmt;"),
        ("src/process/x.rs", "fn f() { \"std::fs::read\"; }"),
        ("src/checkpoint/x.rs", "use rusqlite::Connection;"),
        ("src/publish/kinesis.rs", "use aws_sdk_kinesis::Client;"),
        (
            "src/publish/backoff.rs",
            "use fastrand::Rng; fn f() { Rng::with_seed(1); }",
        ),
        ("src/config/flows.rs", "fn f() { g(\"kinesisStream\") }"),
        (
            "src/flow/thread.rs",
            "fn f() { g(\"set kinesis.region or AWS_REGION\") }",
        ),
    ] {
        assert_eq!(
            violations(&[Source::read(file, code)]),
            [] as [String; 0],
            "{code}"
        );
    }
}

#[test]
fn files_of_test_modules_are_left_in_peace() {
    let room = Source::read(
        "src/process/mod.rs",
        "#[cfg(test)]\nmod golden_tests;\nmod chain;",
    );
    let tests = Source::read("src/process/golden_tests.rs", "use std::fs;");
    let chain = Source::read("src/process/chain.rs", "use std::fs;");
    let found = violations(&[room, tests, chain]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|found| found.starts_with("src/process/chain.rs:1: ")),
        "{found:?}"
    );
}
