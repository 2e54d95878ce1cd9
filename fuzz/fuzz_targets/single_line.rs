#![no_main]
//! `SINGLELINE`, in its four ways.

mod support;

use std::cell::RefCell;

use kinesis_agent::process::Chain;
use support::{Output, chain, convert};

thread_local! {
    static CHAINS: RefCell<[Chain; 4]> = RefCell::new(
        ["[]", "[\"NO_TRIM\"]", "[\"ESCAPE_NEW_LINE\"]", "[\"NO_TRIM\", \"ESCAPE_NEW_LINE\"]"]
            .map(|options| chain(&format!("\"optionName\": \"SINGLELINE\", \"parseOptions\": {options}"))),
    );
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    CHAINS.with_borrow_mut(|chains| {
        for chain in chains {
            convert(chain, record, Output::Anything);
        }
    });
});
