//! The demo's agent.json: what the agent is given and what people are shown come from the same lines.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::customers::COLUMNS;
use super::writer::FILE_NAME;
use crate::config::{self, Config, Environment};
use crate::local::Keys;

/// The stream that the demo sends to.
pub const STREAM: &str = "customers";

/// A text for the agent, some lines of which are left out when it is shown.
pub struct Configuration {
    lines: Vec<(Shown, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl Configuration {
    /// Follows the file in `folder`, and sends to the endpoint with these keys.
    ///
    /// `answer_timeout`: how long an answer may take, where some never come. Errors: a folder whose name isn't UTF-8,
    /// which no agent.json can hold.
    pub fn new(
        folder: &Path,
        endpoint: &str,
        keys: &Keys,
        answer_timeout: Option<Duration>,
    ) -> anyhow::Result<Configuration> {
        let folder = folder.to_str().with_context(|| {
            format!("the temporary folder {folder:?} has a name that isn't UTF-8; set TMPDIR")
        })?;
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let columns = COLUMNS.map(text).join(", ");
        let timeout = answer_timeout.map(|timeout| {
            (
                Shown::No,
                format!("  \"socketTimeoutMillis\": {},", timeout.as_millis()),
            )
        });
        let mut lines = vec![
            (Shown::Yes, "{".to_owned()),
            (
                Shown::Yes,
                format!("  \"kinesis.endpoint\": {},", text(endpoint)),
            ),
            (
                Shown::No,
                format!("  \"awsAccessKeyId\": {},", text(&keys.access_key_id)),
            ),
            (
                Shown::No,
                format!(
                    "  \"awsSecretAccessKey\": {},",
                    text(&keys.secret_access_key)
                ),
            ),
            (Shown::No, "  \"cloudwatch.emitMetrics\": false,".to_owned()),
        ];
        lines.extend(timeout);
        let checkpoints = format!("{folder}/checkpoints");
        let pattern = format!("{}/{FILE_NAME}*", escaped(folder));
        lines.extend([
            (
                Shown::No,
                format!("  \"checkpointFile\": {},", text(&checkpoints)),
            ),
            (Shown::Yes, "  \"flows\": [{".to_owned()),
            (
                Shown::Yes,
                format!("    \"filePattern\": {},", text(&pattern)),
            ),
            (
                Shown::Yes,
                "    \"initialPosition\": \"START_OF_FILE\",".to_owned(),
            ),
            (
                Shown::Yes,
                format!("    \"kinesisStream\": {},", text(STREAM)),
            ),
            (Shown::Yes, "    \"maxBufferAgeMillis\": 200,".to_owned()),
            (Shown::No, "    \"retryMaxBackoffMillis\": 1000,".to_owned()),
            (Shown::Yes, "    \"dataProcessingOptions\": [{".to_owned()),
            (
                Shown::Yes,
                "      \"optionName\": \"CSVTOJSON\",".to_owned(),
            ),
            (
                Shown::Yes,
                format!("      \"customFieldNames\": [{columns}]"),
            ),
            (Shown::Yes, "    }]".to_owned()),
            (Shown::Yes, "  }]".to_owned()),
            (Shown::Yes, "}".to_owned()),
        ]);
        Ok(Configuration { lines })
    }

    /// All of it, as the agent reads it.
    pub fn load(&self) -> anyhow::Result<Config> {
        let lines: Vec<&str> = self.lines.iter().map(|(_, line)| line.as_str()).collect();
        let environment = Environment::of_process().context("can't tell the working directory")?;
        let loaded = config::load_text(
            lines.join("\n").as_bytes(),
            "the demo's agent.json",
            &environment,
        )?;
        Ok(loaded.config)
    }

    /// What people are shown; `None` stands for lines that are left out.
    pub fn shown(&self) -> Vec<Option<&str>> {
        let mut shown: Vec<Option<&str>> = self
            .lines
            .iter()
            .map(|(shown, line)| (*shown == Shown::Yes).then_some(line.as_str()))
            .collect();
        shown.dedup_by(|next, before| next.is_none() && before.is_none());
        shown
    }
}

/// A path that a pattern takes literally.
fn escaped(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_takes_it_without_a_word_of_warning() {
        for (folder, pattern) in [
            ("/tmp/demo", "/tmp/demo/customers.csv*"),
            ("/tmp/a b\"c", "/tmp/a b\"c/customers.csv*"),
        ] {
            let configuration = Configuration::new(
                Path::new(folder),
                "http://127.0.0.1:1",
                &Keys::test(),
                Some(Duration::from_secs(2)),
            )
            .unwrap();
            let config = configuration.load().unwrap();
            assert_eq!(config.flows[0].patterns, [pattern]);
            assert_eq!(
                config.checkpoints.path,
                Path::new(folder).join("checkpoints")
            );
            assert_eq!(config.publish.answer_timeout, Some(Duration::from_secs(2)));
            assert!(!config.cloudwatch.emit);
        }
    }

    #[test]
    fn what_is_shown_is_the_text_but_for_what_stands_aside() {
        let configuration = Configuration::new(
            Path::new("/tmp/d"),
            "http://127.0.0.1:1",
            &Keys::test(),
            None,
        )
        .unwrap();
        let shown = configuration.shown();
        assert_eq!(shown.iter().filter(|line| line.is_none()).count(), 2);
        assert!(shown.iter().flatten().all(|line| !line.contains("Secret")));
        assert!(shown.contains(&Some("    \"filePattern\": \"/tmp/d/customers.csv*\",")));
    }
}
