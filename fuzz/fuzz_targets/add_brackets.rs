#![no_main]
//! `ADDBRACKETS`.

mod support;

use std::cell::RefCell;

use kinesis_agent::process::Chain;
use support::{Output, chain, convert};

thread_local! {
    static CHAIN: RefCell<Chain> = RefCell::new(chain(r#""optionName": "ADDBRACKETS""#));
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    CHAIN.with_borrow_mut(|chain| convert(chain, record, Output::Anything));
});
