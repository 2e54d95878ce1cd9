#![no_main]
//! `CSVTOJSON`: by a byte, by a pattern, with quotes; with a header that is the first line.

mod support;

use std::cell::RefCell;

use kinesis_agent::process::Chain;
use support::{Output, chain, convert};

thread_local! {
    static CHAINS: RefCell<[Chain; 5]> = RefCell::new(
        [
            r#""customFieldNames": ["a", "b", "a"]"#,
            r#""customFieldNames": ["a", "b"], "delimiter": "[,;]+", "jsonFormat": "PRETTYPRINT""#,
            r#""customFieldNames": ["a", "b"], "quoting": "RFC4180", "types": {"b": "number"}"#,
            r#""header": true, "types": "auto""#,
            r#""header": true, "quoting": "RFC4180", "types": "auto""#,
        ]
        .map(|options| chain(&format!("\"optionName\": \"CSVTOJSON\", {options}"))),
    );
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (header, record) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(newline) => bytes.split_at(newline + 1),
        None => (&[][..], bytes),
    };
    CHAINS.with_borrow_mut(|chains| {
        for chain in chains {
            chain.set_header(header);
            convert(chain, record, Output::Json);
        }
    });
});
