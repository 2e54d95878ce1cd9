//! What the project's papers say, held against the program: configurations load, log lines exist, promises have tests.

mod promises;

use std::collections::BTreeMap;

use kinesis_agent::cli::exit;
use kinesis_agent::config::keys::{Effect, KEYS};
use kinesis_agent::config::{Loaded, Refused};
use kinesis_agent::process::{Chain, Context, Verdict};

use crate::support::configuration::load;
use crate::support::project;

const EXAMPLE: &str = "agent.json.example";

/// The papers that users read.
fn papers() -> Vec<(String, String)> {
    let mut names = vec![
        "README.md".to_owned(),
        "SEMANTICS.md".to_owned(),
        "CHANGELOG.md".to_owned(),
    ];
    names.extend(project::files_below("docs", ".md"));
    names
        .into_iter()
        .map(|name| (name.clone(), project::read(&name)))
        .collect()
}

/// The texts of a paper's fenced blocks of one language.
fn blocks<'p>(paper: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    let ends = |rest: &'p str| rest.split_once("\n```").map_or(rest, |(block, _)| block);
    paper.split(&fence).skip(1).map(ends).collect()
}

/// Lines of words separated by one space each.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn loads_in_peace(name: &str, text: &str) -> Loaded {
    let loaded = load(text).unwrap_or_else(|refused| panic!("{name} is refused: {refused}"));
    assert_eq!(loaded.report.to_string(), "", "{name} is warned about");
    loaded
}

#[test]
fn the_example_is_not_configured_until_it_is_edited() {
    match load(&project::read(EXAMPLE)) {
        Err(Refused::NoFlows { report, .. }) => assert_eq!(report.findings(), []),
        other => panic!("{other:?}"),
    }
}

/// The example with every line switched on that two slashes switch off.
fn example_in_full() -> String {
    let on =
        |line: &str| line.replacen("// ", "", usize::from(line.trim_start().starts_with("// ")));
    project::read(EXAMPLE)
        .lines()
        .map(|line| on(line) + "\n")
        .collect()
}

#[test]
fn the_example_with_everything_switched_on_is_legal() {
    assert_eq!(loads_in_peace(EXAMPLE, &example_in_full()).n_flows(), 5);
}

#[test]
fn the_example_shows_every_key_that_has_an_effect() {
    // Each stands for the same as another one beside it, which is shown.
    let alternatives = [
        "maxSendingThreadsPerCore",
        "userAgentOverride",
        "partitionKeyPattern",
        "partitionKeyConstant",
    ];
    let text = example_in_full();
    let useful = KEYS
        .iter()
        .filter(|key| matches!(key.effect, Effect::Sets(_)) && !alternatives.contains(&key.name));
    let missing: Vec<_> = useful
        .map(|key| key.name)
        .filter(|name| !text.contains(&format!("\"{name}\":")))
        .collect();
    assert!(missing.is_empty(), "{EXAMPLE} doesn't show {missing:?}");
}

#[test]
fn every_configuration_in_the_papers_is_legal() {
    let mut n_blocks = 0;
    for (name, paper) in papers() {
        for block in blocks(&paper, "json") {
            loads_in_peace(&name, block);
            n_blocks += 1;
        }
    }
    assert!(n_blocks > 0, "there was nothing to load");
}

/// The conversion that README explains beside its first configuration.
#[test]
fn the_first_configuration_converts_as_it_says() {
    let readme = project::read("README.md");
    let (from, to) = (
        "`web1,200,17`",
        r#"`{"host":"web1","status":"200","millis":"17"}`"#,
    );
    assert!(readme.contains(&format!("{from} becomes {to}")));
    let loaded = loads_in_peace("README.md", blocks(&readme, "json")[0]);
    let mut out = Vec::new();
    let context = Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        ec2: None,
    };
    let verdict =
        Chain::new(&loaded.config.flows[0].processing).run(b"web1,200,17\n", &context, &mut out);
    assert_eq!(
        (verdict, String::from_utf8_lossy(&out).trim_end()),
        (Verdict::Converted, to.trim_matches('`'))
    );
}

#[test]
fn the_test_command_is_the_one_that_ci_runs() {
    let readme = project::read("README.md");
    let commands = blocks(&readme, "sh")[0];
    assert!(
        commands.lines().any(|line| line
            .split('#')
            .next()
            .is_some_and(|line| line.trim() == "cargo test")),
        "{commands}"
    );
    let ci = project::read(".ci/run");
    assert!(ci.lines().any(|line| line.trim() == "step cargo test"));
}

/// The first cells of the tables whose head begins so.
fn first_cells<'p>(paper: &'p str, head: &str) -> Vec<&'p str> {
    let rows = paper
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {head} |")))
        .skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(
        !rows.is_empty(),
        "there is no table that begins with {head}"
    );
    rows.iter()
        .filter_map(|row| row.split('|').nth(1))
        .map(str::trim)
        .collect()
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let readme = project::read("README.md");
    let codes = [
        0,
        exit::REFUSED,
        exit::USAGE,
        exit::NOT_RUNNING,
        exit::UNKNOWN,
        exit::NOT_CONFIGURED,
        exit::DEFECT,
        exit::NOT_STARTED,
    ]
    .map(|code| code.to_string());
    assert_eq!(first_cells(&readme, "code"), codes);
}

/// The sources as one text, in which a literal that goes on in the next line is in one piece.
fn sources() -> String {
    let files = project::files_below("src", ".rs");
    let joined: String = files.iter().map(|file| project::read(file)).collect();
    let mut text = String::with_capacity(joined.len());
    for line in joined.lines() {
        match line.strip_suffix('\\') {
            Some(goes_on) => text.push_str(goes_on.trim_start()),
            None => text.extend([line.trim_start(), "\n"]),
        }
    }
    text
}

/// `…` in a quoted line stands for values.
fn is_said(sources: &str, quoted: &str) -> bool {
    quoted
        .split('…')
        .all(|piece| sources.contains(piece.trim()))
}

#[test]
fn log_lines_in_the_table_of_symptoms_are_said_by_the_program() {
    let (readme, sources) = (project::read("README.md"), sources());
    let quoted: Vec<_> = first_cells(&readme, "the log says")
        .into_iter()
        .filter_map(|cell| cell.split('`').nth(1))
        .collect();
    assert!(quoted.len() > 10, "{quoted:?}");
    let unsaid: Vec<_> = quoted
        .iter()
        .filter(|quoted| !is_said(&sources, quoted))
        .collect();
    assert!(unsaid.is_empty(), "no source says {unsaid:?}");
}

#[test]
fn the_progress_line_in_the_papers_is_the_programs() {
    let readme = project::read("README.md");
    let shown = blocks(&readme, "text")[0].trim_end();
    let said = kinesis_agent::telemetry::progress::agent_progress(
        &kinesis_agent::telemetry::counters::FlowSnapshot {
            records_parsed: 5_750_745,
            bytes_parsed: 355_242_075,
            records_sent: 5_750_575,
            ..Default::default()
        },
        std::time::Duration::from_millis(236_670_045),
    );
    assert!(
        shown.ends_with(said.message.as_str()),
        "{shown}\n{}",
        said.message
    );
}

#[test]
fn links_between_the_papers_lead_somewhere() {
    for (name, paper) in papers() {
        for target in paper
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || file.is_empty();
            let folder = project::root().join(&name);
            let folder = folder.parent().expect("a paper is in a folder");
            assert!(
                is_elsewhere || folder.join(file).exists(),
                "{name} links to {target}, which isn't there"
            );
        }
    }
}

/// Id and sentence of every promise.
fn promises() -> BTreeMap<String, String> {
    let paper = project::read("SEMANTICS.md");
    let quotes = paper.split("> **P-").skip(1);
    let promises = quotes.filter_map(|rest| rest.split("\n\n").next()?.split_once("**"));
    promises
        .map(|(id, sentence)| (format!("P-{id}"), words(&sentence.replace("\n>", "\n"))))
        .collect()
}

/// What the doc comments directly above test functions say, in all sources.
fn quotes() -> Vec<String> {
    let mut quotes = Vec::new();
    for file in [
        project::files_below("src", ".rs"),
        project::files_below("tests", ".rs"),
    ]
    .concat()
    {
        let text = project::read(&file);
        let mut comment = String::new();
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("///") {
                Some(said) => comment.push_str(said),
                None if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => {
                    quotes.push(words(&std::mem::take(&mut comment)));
                }
                None => comment.clear(),
            }
        }
    }
    quotes
}

#[test]
fn every_promise_is_quoted_by_a_test() {
    let promises = promises();
    assert!(
        promises.len() > 20,
        "the promises were not found: {promises:?}"
    );
    let quotes = quotes();
    for (id, sentence) in &promises {
        let quote = format!("{id}: {sentence}");
        assert!(
            quotes.iter().any(|said| said.contains(&quote)),
            "no test has the doc comment\n/// {quote}"
        );
    }
}

#[test]
fn every_quoted_promise_is_made() {
    let promises = promises();
    let quoted = quotes();
    let ids = quoted
        .iter()
        .flat_map(|said| said.split(' '))
        .filter_map(|word| word.strip_suffix(':'));
    for id in ids.filter(|id| id.starts_with("P-")) {
        assert!(
            promises.contains_key(id),
            "a test quotes {id}, which SEMANTICS.md doesn't have"
        );
    }
}

/// What differs from the AWS Kinesis Agent on purpose, as the rows of the guide's tables begin.
const DIFFERENCES: [&str; 33] = [
    "any unknown key",
    "a value out of range or of another type",
    "`checkpointFile`",
    "`checkpointTimeToLiveDays`",
    "`kinesis.region`, `kinesis.endpoint`",
    "`firehose.endpoint`, `cloudwatch.endpoint`",
    "`userDefinedCredentialsProvider.*`",
    "`maxSendingThreads`, `maxSendingThreadsPerCore`",
    "`sendingThreadsKeepAliveMillis`, `sendingThreadsMaxQueueSize`, `useTcpKeepAlive`, `useHttpGzip`",
    "`log.level`, `log.file`, `log.maxFileSize`, `log.maxBackupIndex`",
    "`flows` empty",
    "the defaults file",
    "`cloudwatch.emitMetrics`",
    "`filePattern`",
    "`kinesisStream`, `deliveryStream`",
    "`initialPosition`",
    "`maxBufferAgeMillis`",
    "`maxBufferSizeBytes`",
    "`partitionKeyOption` `DETERMINISTIC`",
    "`multiLineStartPattern`",
    "`truncatedRecordTerminator`",
    "`dataProcessingOptions` `ADDMETADATA` `timestamp`",
    "`dataProcessingOptions` `USINGPLUGGIN`",
    "`dataProcessingOptions` that is no list",
    "several files are written under one pattern",
    "a file is cut off (`copytruncate`)",
    "a file is renamed or deleted",
    "a rotated file has no newline at its end",
    "a record is refused for good",
    "a crash while an earlier batch failed",
    "the agent dies",
    "the configuration changes",
    "the folder `agent.d`",
];

#[test]
fn the_guide_for_migrating_has_each_difference_with_both_sides() {
    let guide = project::read("docs/migrating.md");
    for difference in DIFFERENCES {
        let row = guide.lines().find_map(|line| {
            let line = line.strip_prefix("| ")?;
            line.starts_with(difference).then_some(line)
        });
        let row = row.unwrap_or_else(|| panic!("docs/migrating.md has no row on {difference}"));
        let cells: Vec<_> = row.trim_end_matches('|').split(" | ").collect();
        assert!(cells.len() == 3 && !cells.contains(&""), "{row}");
    }
}
