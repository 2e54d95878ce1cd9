//! What each of the `dataProcessingOptions` costs per megabyte of input: one core, records in memory, the output
//! thrown away a megabyte at a time as a batch would be.
//!
//! `cargo bench --bench process [-- PART_OF_A_NAME]`

mod support;

use std::sync::Arc;

use kinesis_agent::config::{
    AddEc2Metadata, AddMetadata, CsvDelimiter, CsvToJson, JsonFormat, LogFormat, LogToJson,
    ProcessingOption, SingleLine,
};
use kinesis_agent::process::java_regex::JavaRegex;
use kinesis_agent::process::{Chain, Context, Ec2Metadata};

const INPUT_BYTES: usize = 16 << 20;
const OUTPUT_BYTES_MAX: usize = 1 << 20;
const SEED: u64 = 7;

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let csv = lines(csv_line);
    let csv_tabs: Vec<u8> = csv
        .iter()
        .map(|&byte| if byte == b',' { b'\t' } else { byte })
        .collect();
    let csv_escapes: Vec<u8> = csv
        .iter()
        .map(|&byte| if byte == b'@' { b'"' } else { byte })
        .collect();
    let csv_beyond_ascii = lines(|random| csv_line(random).replace('@', "é"));
    let csv_quoted = lines(|random| format!("\"{}\"", csv_line(random).replace(',', "\",\"")));
    let common = lines(common_log_line);
    let combined = lines(|random| {
        format!(
            "{} \"https://example.org/\" \"Mozilla/5.0 (X11; Linux)\"",
            common_log_line(random)
        )
    });
    let error = lines(error_log_line);
    let syslog = lines(|random| format!("Mar {:2} 09:{}", random.u8(1..29), syslog_tail(random)));
    let rfc3339 = lines(|random| {
        format!(
            "2026-01-{:02}T09:{}",
            random.u8(1..29),
            syslog_tail(random).replacen(' ', "Z ", 1)
        )
    });
    let text = lines(text_line);
    let object = lines(|random| {
        format!(
            "{{\"id\":{},\"name\":\"{}\",\"ratio\":0.5}}",
            random.u32(..),
            letters(random, 12)
        )
    });

    let cases: Vec<(&str, &[u8], ProcessingOption)> = vec![
        ("SINGLELINE", &text, single_line()),
        ("CSVTOJSON, six columns, comma", &csv, csv_to_json(",")),
        ("CSVTOJSON, six columns, tab", &csv_tabs, csv_to_json("\t")),
        (
            "CSVTOJSON, six columns, with escapes",
            &csv_escapes,
            csv_to_json(","),
        ),
        (
            "CSVTOJSON, six columns, beyond ASCII",
            &csv_beyond_ascii,
            csv_to_json(","),
        ),
        (
            "CSVTOJSON, six columns, pattern [,;]",
            &csv,
            csv_to_json("[,;]"),
        ),
        (
            "CSVTOJSON, six columns, RFC4180, no quotes",
            &csv,
            csv_by_rfc_4180(),
        ),
        (
            "CSVTOJSON, six columns, RFC4180, all quoted",
            &csv_quoted,
            csv_by_rfc_4180(),
        ),
        (
            "LOGTOJSON, COMMONAPACHELOG",
            &common,
            log_to_json(LogFormat::CommonApacheLog),
        ),
        (
            "LOGTOJSON, COMBINEDAPACHELOG",
            &combined,
            log_to_json(LogFormat::CombinedApacheLog),
        ),
        (
            "LOGTOJSON, APACHEERRORLOG",
            &error,
            log_to_json(LogFormat::ApacheErrorLog),
        ),
        ("LOGTOJSON, SYSLOG", &syslog, log_to_json(LogFormat::Syslog)),
        (
            "LOGTOJSON, RFC3339SYSLOG",
            &rfc3339,
            log_to_json(LogFormat::Rfc3339Syslog),
        ),
        (
            "LOGTOJSON, COMMONAPACHELOG, none matches",
            &text,
            log_to_json(LogFormat::CommonApacheLog),
        ),
        (
            "LOGTOJSON, matchPattern",
            &common,
            match_pattern(r#"^(\S+) \S+ (\S+) \[([^\]]+)\] "([^"]*)" (\d{3}) (\d+)$"#),
        ),
        (
            "LOGTOJSON, matchPattern with backtracking",
            &common,
            match_pattern(r#"^(?!127\.)(\S+) \S+ (\S+) \[([^\]]++)\] "([^"]*)" (\d{3}) (\d+)$"#),
        ),
        ("ADDMETADATA, with a timestamp", &text, add_metadata()),
        ("ADDEC2METADATA", &object, add_ec2_metadata()),
        ("ADDBRACKETS", &text, ProcessingOption::AddBrackets),
    ];
    for (name, input, option) in cases {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted)) {
            let mut chain = Chain::new(&[option]);
            support::report(name, input.len(), || convert(&mut chain, input));
        }
    }
}

/// Runs the chain over each line of the input.
fn convert(chain: &mut Chain, input: &[u8]) {
    let ec2 = Arc::new(Ec2Metadata {
        instance_id: Some("i-0123456789abcdef0".to_owned()),
        ..Ec2Metadata::default()
    });
    let context = Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        ec2: Some(&ec2),
    };
    let mut out = Vec::with_capacity(2 * OUTPUT_BYTES_MAX);
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', input) {
        std::hint::black_box(chain.run(&input[start..=newline], &context, &mut out));
        start = newline + 1;
        if out.len() > OUTPUT_BYTES_MAX {
            std::hint::black_box(&out);
            out.clear();
        }
    }
}

fn lines(line: impl Fn(&mut fastrand::Rng) -> String) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut input = Vec::with_capacity(INPUT_BYTES + 1024);
    while input.len() < INPUT_BYTES {
        input.extend_from_slice(line(&mut random).as_bytes());
        input.push(b'\n');
    }
    input
}

fn letters(random: &mut fastrand::Rng, n: usize) -> String {
    (0..n).map(|_| random.lowercase()).collect()
}

/// Six columns, 62 bytes with the newline.
fn csv_line(random: &mut fastrand::Rng) -> String {
    let n = random.u32(1_000_000..10_000_000);
    let (first, last, mail) = (letters(random, 7), letters(random, 9), letters(random, 6));
    format!(
        "{n},{first},{last},{mail}@example.org,Female,10.1.2.{:03}",
        random.u8(..)
    )
}

fn address(random: &mut fastrand::Rng) -> String {
    format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..))
}

fn common_log_line(random: &mut fastrand::Rng) -> String {
    format!(
        "{} - {} [{:02}/Oct/2026:13:55:36 +0000] \"GET /{}/{}.html HTTP/1.1\" 200 {}",
        address(random),
        letters(random, 5),
        random.u8(1..29),
        letters(random, 8),
        letters(random, 12),
        random.u32(100..100_000),
    )
}

fn error_log_line(random: &mut fastrand::Rng) -> String {
    format!(
        "[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid {}:tid 4328636416] [client {}:{}] File does not exist: /{}",
        random.u16(1..),
        address(random),
        random.u16(1..),
        letters(random, 20),
    )
}

fn syslog_tail(random: &mut fastrand::Rng) -> String {
    format!(
        "{:02}:{:02} {} sshd[{}]: Accepted publickey for {} from {} port 22",
        random.u8(..60),
        random.u8(..60),
        letters(random, 8),
        random.u16(..),
        letters(random, 6),
        address(random),
    )
}

/// 120 bytes of words, some of them quoted.
fn text_line(random: &mut fastrand::Rng) -> String {
    format!(
        "  {} {} \"{}\" {}",
        letters(random, 30),
        letters(random, 40),
        letters(random, 11),
        letters(random, 30)
    )
}

fn single_line() -> ProcessingOption {
    ProcessingOption::SingleLine(SingleLine::default())
}

fn csv_to_json(delimiter: &str) -> ProcessingOption {
    let pattern = JavaRegex::new(delimiter).expect("a pattern");
    six_columns(CsvDelimiter::Pattern(pattern))
}

fn csv_by_rfc_4180() -> ProcessingOption {
    six_columns(CsvDelimiter::Quoted(b','))
}

fn six_columns(delimiter: CsvDelimiter) -> ProcessingOption {
    let names = [
        "id",
        "first_name",
        "last_name",
        "email",
        "gender",
        "ip_address",
    ];
    ProcessingOption::CsvToJson(CsvToJson {
        field_names: Some(names.map(str::to_owned).to_vec()),
        delimiter,
        ..CsvToJson::default()
    })
}

fn log_to_json(log_format: LogFormat) -> ProcessingOption {
    ProcessingOption::LogToJson(LogToJson {
        log_format,
        match_pattern: None,
        field_names: None,
        format: JsonFormat::Compact,
    })
}

fn match_pattern(pattern: &str) -> ProcessingOption {
    let names = ["host", "user", "time", "request", "status", "size"];
    ProcessingOption::LogToJson(LogToJson {
        log_format: LogFormat::CommonApacheLog,
        match_pattern: JavaRegex::new(pattern).ok(),
        field_names: Some(names.map(str::to_owned).to_vec()),
        format: JsonFormat::Compact,
    })
}

fn add_metadata() -> ProcessingOption {
    ProcessingOption::AddMetadata(AddMetadata {
        metadata: Some(r#"{"service":"web","stage":"live"}"#.to_owned()),
        timestamp: true,
        format: JsonFormat::Compact,
    })
}

fn add_ec2_metadata() -> ProcessingOption {
    ProcessingOption::AddEc2Metadata(AddEc2Metadata {
        ttl: std::time::Duration::from_secs(3600),
        format: JsonFormat::Compact,
    })
}
