//! A configuration by chance, small enough for its bounds to matter.

use std::sync::Arc;

use fastrand::Rng;
use kinesis_agent::config::{self, Environment};
use kinesis_agent::tail::Rules;

use crate::simulation::process::Setting;

/// Flows, slots and a budget.
pub fn setting(rng: &mut Rng) -> Setting {
    let n_flows = rng.usize(1..4);
    let flow = |place: usize, rng: &mut Rng| {
        let ordering = ["NONE", "NONE", "PER_KEY", "PER_FILE"][rng.usize(..4)];
        format!(
            r#"{{"filePattern": "/f{place}/app.log*", "kinesisStream": "s{place}", "initialPosition": "START_OF_FILE",
            "partitionKeyOption": "DETERMINISTIC", "ordering": "{ordering}", "maxBufferAgeMillis": {},
            "maxBufferSizeRecords": {}, "maxBufferSizeBytes": {}, "publishQueueCapacity": {},
            "retryInitialBackoffMillis": {}, "retryMaxBackoffMillis": 2000, "maxTimeBetweenFileTrackerRefreshMillis": {}}}"#,
            rng.u32(10..2000),
            rng.u32(1..20),
            rng.u32(100..20_000),
            rng.u32(1..8),
            rng.u32(1..500),
            rng.u32(100..10_000),
        )
    };
    let flows: Vec<String> = (0..n_flows).map(|place| flow(place, rng)).collect();
    let text = format!(r#"{{"flows": [{}]}}"#, flows.join(", "));
    let environment = Environment {
        cores: 2,
        cbor_disabled: false,
        cwd: "/".into(),
    };
    let loaded = config::load_text(text.as_bytes(), "simulation", &environment)
        .expect("a configuration of the simulation's own");
    let with_rules = |flow: &Arc<config::Flow>| {
        let rules = Rules::new(flow).expect("its patterns are globs");
        (Arc::clone(flow), rules)
    };
    Setting {
        flows: loaded.config.flows.iter().map(with_rules).collect(),
        n_slots: rng.usize(1..9),
        n_begun: rng.usize(1..9),
        budget_bytes: match rng.bool() {
            true => 16 << 20,
            false => rng.usize(150..900) * 1024,
        },
    }
}
