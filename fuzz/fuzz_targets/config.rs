#![no_main]
//! Any bytes as agent.json: accepted or refused with findings, never a panic.

mod support;

use kinesis_agent::config::load_text;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    match load_text(text, "agent.json", &support::environment()) {
        Ok(loaded) => assert!(!loaded.config.flows.is_empty()),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
});
