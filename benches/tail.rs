//! What it costs to find, read and split files: one core, the files in the page cache, records counted and thrown away.
//!
//! `cargo bench --bench tail`

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use kinesis_agent::checkpoint::FlowPlaces;
use kinesis_agent::config::{self, Environment};
use kinesis_agent::record::Span;
use kinesis_agent::tail::disk::OsDisk;
use kinesis_agent::tail::split::RecordKind;
use kinesis_agent::tail::{Intake, Rules, Tailer};

const TOTAL_BYTES: usize = 64 << 20;

fn main() {
    for (n_files, line_bytes) in [(1, 62), (1, 200), (1, 1_000), (100, 200), (10_000, 200)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let n_lines = TOTAL_BYTES / line_bytes / n_files;
        let line = format!("{}\n", "x".repeat(line_bytes - 1));
        let content = line.repeat(n_lines);
        for n in 0..n_files {
            fs::write(folder.path().join(format!("{n}.log")), &content)
                .expect("room for the files");
        }
        let name = format!("{n_files} files, {line_bytes}-byte lines");
        support::report(&name, n_files * content.len(), || {
            assert_eq!(read_all(folder.path()), n_files * n_lines);
        });
    }
}

#[derive(Default)]
struct Count(usize);

impl Intake for Count {
    fn has_room(&mut self, _data_bytes: usize) -> bool {
        true
    }

    fn record(&mut self, _span: Span, _data: &[u8], _kind: RecordKind, _path: &Path) {
        self.0 += 1;
    }

    fn nothing(&mut self, _span: Span) {}
}

/// Reads every file from its beginning; how many records there were.
fn read_all(folder: &Path) -> usize {
    let text = format!(
        r#"{{"flows": [{{"filePattern": "{}/*.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}}]}}"#,
        folder.display()
    );
    let environment = Environment {
        cores: 1,
        cbor_disabled: false,
        cwd: "/".into(),
    };
    let loaded =
        config::load_text(text.as_bytes(), "bench", &environment).expect("a good configuration");
    let rules = Rules::new(&loaded.config.flows[0]).expect("a good pattern");
    let now = Instant::now();
    let mut tailer = Tailer::new(rules, FlowPlaces::default(), now);
    let mut count = Count::default();
    while tailer.turn(now, &mut OsDisk, &mut count).has_more {}
    count.0
}
