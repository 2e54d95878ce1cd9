#![no_main]
//! `ADDMETADATA`.

mod support;

use std::cell::RefCell;

use kinesis_agent::process::Chain;
use support::{Output, chain, convert};

thread_local! {
    static CHAIN: RefCell<Chain> = RefCell::new(chain(
        r#""optionName": "ADDMETADATA", "timestamp": "true", "metadata": {"a": [1.5, null]}"#,
    ));
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    CHAIN.with_borrow_mut(|chain| convert(chain, record, Output::Json));
});
