//! Configurations from texts.

use std::sync::Arc;

use kinesis_agent::config::{Environment, Flow, Loaded, Refused, load_text};

/// What a text comes to, on a host with two cores.
pub fn load(text: &str) -> Result<Loaded, Refused> {
    let environment = Environment {
        cores: 2,
        cbor_disabled: false,
        cwd: "/".into(),
    };
    load_text(text.as_bytes(), "agent.json", &environment)
}

/// A flow to the Kinesis stream `s`, with a pattern and whatever other keys are given.
#[track_caller]
pub fn flow(pattern: &str, keys: &str) -> Arc<Flow> {
    let text =
        format!(r#"{{"flows": [{{"filePattern": "{pattern}", "kinesisStream": "s"{keys}}}]}}"#);
    let loaded = load(&text).unwrap_or_else(|refused| panic!("{text} is refused: {refused}"));
    Arc::clone(&loaded.config.flows[0])
}
