//! One option over any record.

use kinesis_agent::config::{Environment, Flow, load_text};
use kinesis_agent::process::{Chain, Context, Ec2Metadata, Verdict};

/// The flow that a text of agent.json describes.
#[allow(dead_code, reason = "each target uses a part of this")]
pub fn flow(keys: &str) -> Flow {
    let text = format!(r#"{{"flows": [{{"filePattern": "/a/*", "kinesisStream": "s", {keys}}}]}}"#);
    let loaded = load_text(text.as_bytes(), "agent.json", &environment()).expect("a legal flow");
    Flow::clone(&loaded.config.flows[0])
}

/// A host.
pub fn environment() -> Environment {
    Environment {
        cores: 2,
        cbor_disabled: false,
        cwd: "/".into(),
    }
}

/// What an option's output is.
#[allow(dead_code, reason = "each target uses a part of this")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// One JSON object and a newline.
    Json,
    Anything,
}

/// A chain of one option, written as in agent.json.
#[allow(dead_code, reason = "each target uses a part of this")]
pub fn chain(option: &str) -> Chain {
    Chain::new(&flow(&format!("\"dataProcessingOptions\": [{{{option}}}]")).processing)
}

/// Converts the record; it must come to something that keeps the chain's word.
#[allow(dead_code, reason = "each target uses a part of this")]
pub fn convert(chain: &mut Chain, record: &[u8], output: Output) {
    let metadata = std::sync::Arc::new(Ec2Metadata::default());
    let context = Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        ec2: Some(&metadata),
    };
    let mut out = b"before".to_vec();
    let verdict = chain.run(record, &context, &mut out);
    let made = out.strip_prefix(b"before").expect("what was there stays");
    match verdict {
        Verdict::Converted if output == Output::Json => {
            let object: serde_json::Result<serde_json::Map<String, serde_json::Value>> =
                serde_json::from_slice(made);
            assert!(object.is_ok(), "{:?}", String::from_utf8_lossy(made));
            assert_eq!(made.last(), Some(&b'\n'));
        }
        Verdict::Converted | Verdict::WithoutEc2Metadata => {}
        Verdict::Skipped(_) | Verdict::Raw(_) => assert!(made.is_empty()),
    }
}
