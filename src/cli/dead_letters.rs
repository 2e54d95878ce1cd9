//! `dead-letters`: the records that a service refused for good, listed, shown and sent again.

use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tokio::sync::mpsc;

use super::run::{Signals, load_from, runtime};
use super::{ConfigurationArgs, exit};
use crate::agent::{sinks, slots_of};
use crate::aws::Clients;
use crate::config::{BatchLimits, Config, Destination, RefusedRecords, limits};
use crate::dead_letters::file::Wait;
use crate::dead_letters::replay::{Outcomes, Told, batches};
use crate::dead_letters::{DeadLetterFile, Letter};
use crate::publish::budget::{BUDGET_BYTES, Budget};
use crate::publish::publisher::{FlowRules, Publisher};
use crate::publish::run::{self, Inbound};
use crate::record::FlowIndex;

/// How often a replay that doesn't get on says why.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);

/// List, show and send again the records that a service refused for good.
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line a record: its number, when, which flow, where in which file, how long, and why. This is the default.
    List {
        /// Print a JSON object a record instead.
        #[arg(long)]
        json: bool,
        /// Only records of this flow.
        #[arg(long, value_name = "ID")]
        flow: Option<String>,
    },
    /// All about one record.
    Show {
        /// Its number in the list.
        number: usize,
        /// Print its data alone, byte for byte.
        #[arg(long)]
        data: bool,
    },
    /// Send records again, and take out of the file what was accepted. May run beside the agent, whose newly refused
    /// records wait meanwhile.
    Replay {
        /// Only records of this flow.
        #[arg(long, value_name = "ID")]
        flow: Option<String>,
        /// Send to this stream instead of the flow's own.
        #[arg(long, value_name = "kinesis:STREAM|firehose:STREAM")]
        to: Option<Target>,
    },
}

/// A destination as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target(Destination);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once(':') {
            Some(("kinesis", name)) if !name.is_empty() => {
                Ok(Target(Destination::Kinesis(name.to_owned())))
            }
            Some(("firehose" | "fh", name)) if !name.is_empty() => {
                Ok(Target(Destination::Firehose(name.to_owned())))
            }
            _ => Err("write kinesis:STREAM or firehose:STREAM".to_owned()),
        }
    }
}

/// Does what the command line says.
pub fn run(args: &DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let config = match load_from(
        &args.configuration.configuration,
        &args.configuration.agent_d,
    )? {
        Ok(loaded) => loaded.config,
        Err(code) => return Ok(code),
    };
    let file = DeadLetterFile::new(
        config.dead_letters.path.clone(),
        config.dead_letters.bytes_max,
    );
    match &args.action {
        None => list(&file, false, None),
        Some(Action::List { json, flow }) => list(&file, *json, flow.as_deref()),
        Some(Action::Show { number, data }) => show(&file, *number, *data),
        Some(Action::Replay { flow, to }) => replay(config, &file, flow.as_deref(), to.as_ref()),
    }
}

/// Letters with their numbers, which count from 1.
fn numbered<'l>(
    letters: &'l [Letter],
    flow: Option<&str>,
) -> impl Iterator<Item = (usize, &'l Letter)> {
    let is_wanted = move |letter: &Letter| flow.is_none_or(|flow| letter.flow == flow);
    (1..)
        .zip(letters)
        .filter(move |(_, letter)| is_wanted(letter))
}

fn list(file: &DeadLetterFile, json: bool, flow: Option<&str>) -> anyhow::Result<ExitCode> {
    let letters = file.read()?;
    let mut out = std::io::stdout().lock();
    let mut n_bytes = 0;
    let mut n_letters = 0;
    for (number, letter) in numbered(&letters, flow) {
        n_letters += 1;
        n_bytes += letter.data.len();
        let line = match json {
            true => as_json(number, letter).to_string(),
            false => format!(
                "{number:>4}  {:.0}  {}  {}  {} bytes  {}: {}",
                letter.time,
                letter.flow,
                place_of(letter),
                letter.data.len(),
                letter.error.code,
                letter.error.message
            ),
        };
        writeln!(out, "{line}").context("can't write to standard output")?;
    }
    if !json {
        let summary = match n_letters {
            0 => format!("no dead letters in {}", file.path().display()),
            n => format!(
                "{n} dead letter{} of {n_bytes} bytes in {}; kinesis-agent dead-letters replay sends them again",
                if n == 1 { "" } else { "s" },
                file.path().display()
            ),
        };
        writeln!(out, "{summary}").context("can't write to standard output")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn place_of(letter: &Letter) -> String {
    match &letter.file {
        Some(file) => format!("{} at {}", file.display(), letter.offset),
        None => "unknown file".to_owned(),
    }
}

fn as_json(number: usize, letter: &Letter) -> serde_json::Value {
    serde_json::json!({
        "number": number,
        "time": letter.time.to_string(),
        "flow": letter.flow,
        "file": letter.file.as_ref().map(|file| file.to_string_lossy()),
        "offset": letter.offset,
        "bytes": letter.data.len(),
        "code": letter.error.code,
        "reason": letter.error.message,
    })
}

fn show(file: &DeadLetterFile, number: usize, data_alone: bool) -> anyhow::Result<ExitCode> {
    let letters = file.read()?;
    let letter = number.checked_sub(1).and_then(|place| letters.get(place));
    let Some(letter) = letter else {
        bail!(
            "there is no dead letter {number} in {}; it has {}",
            file.path().display(),
            letters.len()
        );
    };
    let mut out = std::io::stdout().lock();
    let written = match data_alone {
        true => out.write_all(&letter.data),
        false => writeln!(
            out,
            "time:          {}\nflow:          {}\nfile:          {}\nreason:        {}: {}\npartition key: {}\n\
             bytes:         {}\n\n{}",
            letter.time,
            letter.flow,
            place_of(letter),
            letter.error.code,
            letter.error.message,
            letter.partition_key.as_deref().unwrap_or("none"),
            letter.data.len(),
            String::from_utf8_lossy(&letter.data)
        ),
    };
    written
        .and_then(|()| out.flush())
        .context("can't write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Letters that go to one destination.
struct Group {
    rules: FlowRules,
    destination: Destination,
    limits: BatchLimits,
    numbers: Vec<usize>,
}

/// Letters by where they go; those of flows that the configuration doesn't have stay where they are.
fn groups(
    config: &Config,
    letters: &[Letter],
    flow: Option<&str>,
    to: Option<&Target>,
) -> Vec<Group> {
    let mut groups: Vec<(&str, Group)> = Vec::new();
    for (number, letter) in numbered(letters, flow) {
        if let Some((_, group)) = groups.iter_mut().find(|(id, _)| *id == letter.flow) {
            group.numbers.push(number);
            continue;
        }
        let configured = config.flows.iter().find(|flow| *flow.id.0 == *letter.flow);
        let destination = match (to, configured) {
            (Some(target), _) => target.0.clone(),
            (None, Some(flow)) => flow.destination.clone(),
            (None, None) => continue,
        };
        let backoff = configured.or(config.flows.first()).map(|flow| flow.backoff);
        let Some(backoff) = backoff else { continue };
        let group = Group {
            rules: FlowRules {
                backoff,
                refused_records: RefusedRecords::DeadLetter,
            },
            limits: limits_of(&destination),
            destination,
            numbers: vec![number],
        };
        groups.push((&letter.flow, group));
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// As much as the service takes in a call.
fn limits_of(destination: &Destination) -> BatchLimits {
    BatchLimits {
        age_max: Duration::ZERO,
        records_max: limits::CALL_RECORDS_MAX,
        bytes_max: match destination {
            Destination::Kinesis(_) => limits::KINESIS_CALL_BYTES_MAX / 2,
            Destination::Firehose(_) => limits::FIREHOSE_CALL_BYTES_MAX,
        },
    }
}

fn replay(
    config: Config,
    file: &DeadLetterFile,
    flow: Option<&str>,
    to: Option<&Target>,
) -> anyhow::Result<ExitCode> {
    if !file.path().exists() {
        println!("no dead letters in {}", file.path().display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut locked = file.lock(Wait::No).or_else(|_| {
        eprintln!("waiting for whoever uses {}", file.path().display());
        file.lock(Wait::Yes)
    })?;
    let letters = locked.read()?;
    let groups = groups(&config, &letters, flow, to);
    let n_chosen = numbered(&letters, flow).count();
    let n_unknown = n_chosen
        - groups
            .iter()
            .map(|group| group.numbers.len())
            .sum::<usize>();
    let told = match groups.is_empty() {
        true => Told::default(),
        false => runtime()?.block_on(send(&config, &groups, &letters))?,
    };
    let is_left = |number: usize| !told.is_accepted(number);
    let left: Vec<Letter> = (1..)
        .zip(&letters)
        .filter(|(number, _)| is_left(*number))
        .map(|(_, letter)| letter.clone())
        .collect();
    let n_accepted = letters.len() - left.len();
    if n_accepted > 0 {
        locked.replace(&left)?;
    }
    let n_left = n_chosen - n_accepted;
    println!(
        "{n_accepted} of {n_chosen} dead letters were accepted and taken out of {}; {n_left} are left in it",
        file.path().display()
    );
    if n_unknown > 0 {
        println!(
            "{n_unknown} are of flows that the configuration doesn't have; say where they are to go with --to"
        );
    }
    if let Some(why) = told.last_failure.filter(|_| n_left > n_unknown) {
        println!("the last refusal: {why}");
    }
    Ok(ExitCode::from(match n_left {
        0 => 0,
        _ => exit::REFUSED,
    }))
}

/// Sends until all are accepted or refused, or a signal says that it is enough.
async fn send(config: &Config, groups: &[Group], letters: &[Letter]) -> anyhow::Result<Told> {
    let clients = Clients::new(config)?;
    let destinations = groups.iter().map(|group| &group.destination);
    let budget = Budget::new(BUDGET_BYTES, groups.len());
    let sinks = sinks(destinations, config, &clients, &budget);
    let (sender, inbox) = mpsc::unbounded_channel();
    for (place, group) in groups.iter().enumerate() {
        let chosen = group
            .numbers
            .iter()
            .filter_map(|number| Some((*number, letters.get(number.checked_sub(1)?)?)));
        let random_key = || (fastrand::f64() * 1_000_000.0).to_string();
        for batch in batches(chosen, &group.destination, group.limits, random_key) {
            let _ = sender.send(Inbound::Batch(FlowIndex(place), batch));
        }
        let _ = sender.send(Inbound::Finished(FlowIndex(place)));
    }
    let outcomes = Arc::new(Outcomes::new(sender));
    let machine = Publisher::new(
        groups.iter().map(|group| group.rules),
        slots_of(config),
        fastrand::u64(..),
    );
    let listener: Arc<dyn run::Listener> = Arc::clone(&outcomes) as _;
    let publishing = run::run(machine, sinks, inbox, budget, listener);
    let mut signals = Signals::watch()?;
    let mut complaints = tokio::time::interval_at(
        tokio::time::Instant::now() + COMPLAINT_INTERVAL,
        COMPLAINT_INTERVAL,
    );
    tokio::pin!(publishing);
    loop {
        tokio::select! {
            () = &mut publishing => break,
            () = signals.first() => break,
            _ = complaints.tick() => {
                if let Some(why) = outcomes.told().last_failure {
                    eprintln!("tried again until it works, or Ctrl-C: {why}");
                }
            }
        }
    }
    Ok(outcomes.told())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_service_and_a_stream() {
        for (text, expected) in [
            ("kinesis:a", Some(Destination::Kinesis("a".into()))),
            ("firehose:b", Some(Destination::Firehose("b".into()))),
            ("fh:b", Some(Destination::Firehose("b".into()))),
            ("kinesis:", None),
            ("s3:b", None),
            ("a", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(Target), "{text}");
        }
    }
}
