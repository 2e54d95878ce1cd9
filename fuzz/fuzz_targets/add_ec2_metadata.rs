#![no_main]
//! `ADDEC2METADATA`, which reads a record's JSON and prints it again.

mod support;

use std::cell::RefCell;

use kinesis_agent::process::Chain;
use support::{Output, chain, convert};

thread_local! {
    static CHAINS: RefCell<[Chain; 2]> = RefCell::new(["COMPACT", "PRETTYPRINT"].map(|format| {
        chain(&format!(
            r#""optionName": "ADDEC2METADATA", "logFormat": "SYSLOG", "jsonFormat": "{format}""#
        ))
    }));
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    CHAINS.with_borrow_mut(|chains| {
        for chain in chains {
            convert(chain, record, Output::Json);
        }
    });
});
