#![no_main]
//! `LOGTOJSON`: its formats, whose scanners must do what their patterns say, and a pattern of a user's own.

mod support;

use std::cell::RefCell;

use kinesis_agent::config::LogFormat;
use kinesis_agent::process::java_regex::JavaRegex;
use kinesis_agent::process::{Chain, log_format};
use support::{Output, chain, convert};

const FORMATS: [LogFormat; 5] = [
    LogFormat::CommonApacheLog,
    LogFormat::CombinedApacheLog,
    LogFormat::ApacheErrorLog,
    LogFormat::Syslog,
    LogFormat::Rfc3339Syslog,
];

thread_local! {
    static PATTERNS: [JavaRegex; 5] =
        FORMATS.map(|format| JavaRegex::new(format.pattern()).expect("a format's own pattern"));
    static CHAINS: RefCell<[Chain; 2]> = RefCell::new(
        [
            r#""logFormat": "COMMONAPACHELOG""#,
            r#""logFormat": "SYSLOG", "matchPattern": "(?i)(a+)+(\\w*)(?=b)(.*)", "customFieldNames": ["x", "y", "z"]"#,
        ]
        .map(|options| chain(&format!("\"optionName\": \"LOGTOJSON\", {options}"))),
    );
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    let text = String::from_utf8_lossy(record);
    PATTERNS.with(|patterns| {
        for (format, pattern) in FORMATS.into_iter().zip(patterns) {
            let (mut scanned, mut matched) = (Vec::new(), Vec::new());
            let is_scanned = log_format::matches(format, &text, &mut scanned);
            let is_matched = pattern.matches(&text, &mut matched).expect("linear time");
            assert_eq!(is_scanned, is_matched, "{format:?} {text:?}");
            if is_matched {
                assert_eq!(scanned, matched, "{format:?} {text:?}");
            }
        }
    });
    CHAINS.with_borrow_mut(|chains| {
        for chain in chains {
            convert(chain, record, Output::Json);
        }
    });
});
