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
use crate::dead_letters::file::{Letters, Wait};
use crate::dead_letters::replay::{Batcher, Outcomes, Told};
use crate::dead_letters::{DeadLetterFile, FileError, Letter};
use crate::publish::budget::{BUDGET_BYTES, Budget};
use crate::publish::publisher::{FlowRules, Publisher};
use crate::publish::run::{self, Inbound};
use crate::record::FlowIndex;

/// How often a replay that doesn't get on says why.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);
/// Data of letters that a replay has in memory at once.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;

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

/// A letter with its number, which counts from 1, or why it can't be read.
type Numbered = Result<(usize, Letter), FileError>;

/// Letters of a flow, or of all, with their numbers.
fn numbered<'l>(
    letters: Letters<'l>,
    flow: Option<&'l str>,
) -> impl Iterator<Item = Numbered> + 'l {
    let is_wanted = move |letter: &Letter| flow.is_none_or(|flow| letter.flow == flow);
    (1..)
        .zip(letters)
        .map(|(number, letter)| Ok((number, letter?)))
        .filter(move |letter| {
            letter
                .as_ref()
                .map_or(true, |(_, letter)| is_wanted(letter))
        })
}

fn list(file: &DeadLetterFile, json: bool, flow: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut n_bytes = 0;
    let mut n_letters = 0;
    for letter in numbered(file.letters()?, flow) {
        let (number, letter) = letter?;
        n_letters += 1;
        n_bytes += letter.data.len();
        let line = match json {
            true => as_json(number, &letter).to_string(),
            false => format!(
                "{number:>4}  {:.0}  {}  {}  {} bytes  {}: {}",
                letter.time,
                letter.flow,
                place_of(&letter),
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
    let (mut chosen, mut n_letters) = (None, 0);
    for letter in numbered(file.letters()?, None) {
        let (its_number, letter) = letter?;
        n_letters = its_number;
        if its_number == number {
            chosen = Some(letter);
        }
    }
    let Some(letter) = chosen else {
        bail!(
            "there is no dead letter {number} in {}; it has {n_letters}",
            file.path().display()
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
            place_of(&letter),
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
    /// The flow that they are of.
    flow: String,
    rules: FlowRules,
    destination: Destination,
    limits: BatchLimits,
}

/// What a replay is about.
#[derive(Default)]
struct Chosen {
    groups: Vec<Group>,
    n_letters: usize,
    /// Of those, the ones of flows that the configuration doesn't have: they stay where they are.
    n_unknown: usize,
}

/// Letters by where they go.
fn choose(
    config: &Config,
    letters: impl Iterator<Item = Numbered>,
    to: Option<&Target>,
) -> Result<Chosen, FileError> {
    let mut chosen = Chosen::default();
    for letter in letters {
        let (_, letter) = letter?;
        chosen.n_letters += 1;
        if chosen.groups.iter().any(|group| group.flow == letter.flow) {
            continue;
        }
        match group_of(config, letter.flow, to) {
            Some(group) => chosen.groups.push(group),
            None => chosen.n_unknown += 1,
        }
    }
    Ok(chosen)
}

/// Where the letters of a flow go; `None`: nobody says.
fn group_of(config: &Config, flow: String, to: Option<&Target>) -> Option<Group> {
    let configured = config.flows.iter().find(|known| *known.id.0 == *flow);
    let destination = match (to, configured) {
        (Some(target), _) => target.0.clone(),
        (None, configured) => configured?.destination.clone(),
    };
    let backoff = configured.or(config.flows.first())?.backoff;
    Some(Group {
        flow,
        rules: FlowRules {
            backoff,
            refused_records: RefusedRecords::DeadLetter,
        },
        limits: limits_of(&destination),
        destination,
    })
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
    let chosen = choose(&config, numbered(locked.letters()?, flow), to)?;
    let told = match chosen.groups.is_empty() {
        true => Told::default(),
        false => {
            let letters = numbered(locked.letters()?, flow);
            runtime()?.block_on(send(&config, &chosen.groups, letters))?
        }
    };
    let n_accepted = told.n_accepted();
    if n_accepted > 0 {
        locked.retain(|number| !told.is_accepted(number))?;
    }
    let (n_chosen, n_unknown) = (chosen.n_letters, chosen.n_unknown);
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

/// Sends until all are accepted or refused, or a signal says that it is enough. No more letters are read ahead than
/// [`IN_FLIGHT_BYTES_MAX`].
async fn send(
    config: &Config,
    groups: &[Group],
    letters: impl Iterator<Item = Numbered>,
) -> anyhow::Result<Told> {
    let clients = Clients::new(config)?;
    let destinations = groups.iter().map(|group| &group.destination);
    let budget = Budget::new(BUDGET_BYTES, groups.len());
    let sinks = sinks(destinations, config, &clients, &budget);
    let (sender, inbox) = mpsc::unbounded_channel();
    let outcomes = Arc::new(Outcomes::new(sender.clone()));
    let machine = Publisher::new(
        groups.iter().map(|group| group.rules),
        slots_of(config),
        fastrand::u64(..),
    );
    let listener: Arc<dyn run::Listener> = Arc::clone(&outcomes) as _;
    let publishing = run::run(machine, sinks, inbox, budget, listener);
    let mut feed = Feed::new(groups, letters, sender, Arc::clone(&outcomes));
    let mut signals = Signals::watch()?;
    let mut complaints = tokio::time::interval_at(
        tokio::time::Instant::now() + COMPLAINT_INTERVAL,
        COMPLAINT_INTERVAL,
    );
    tokio::pin!(publishing);
    loop {
        let is_fed = feed.go_on()?;
        tokio::select! {
            () = &mut publishing => break,
            () = signals.first() => break,
            () = outcomes.changed(), if !is_fed => {}
            _ = complaints.tick() => {
                if let Some(why) = outcomes.last_failure() {
                    eprintln!("tried again until it works, or Ctrl-C: {why}");
                }
            }
        }
    }
    Ok(outcomes.told())
}

/// Letters on their way to the publisher, of which a bounded number is in memory.
struct Feed<'g, L> {
    groups: &'g [Group],
    /// One a group.
    batchers: Vec<Batcher>,
    /// `None` once the last was read.
    letters: Option<L>,
    sender: mpsc::UnboundedSender<Inbound>,
    outcomes: Arc<Outcomes>,
}

impl<'g, L: Iterator<Item = Numbered>> Feed<'g, L> {
    fn new(
        groups: &'g [Group],
        letters: L,
        sender: mpsc::UnboundedSender<Inbound>,
        outcomes: Arc<Outcomes>,
    ) -> Feed<'g, L> {
        let batcher = |group: &Group| Batcher::new(&group.destination, group.limits);
        Feed {
            groups,
            batchers: groups.iter().map(batcher).collect(),
            letters: Some(letters),
            sender,
            outcomes,
        }
    }

    /// Reads letters while there is room for them; whether all are read.
    fn go_on(&mut self) -> Result<bool, FileError> {
        while let Some(letters) = &mut self.letters {
            if self.outcomes.in_flight_bytes() >= IN_FLIGHT_BYTES_MAX {
                // What waits in open batches would wait for ever.
                self.flush();
                return Ok(false);
            }
            let Some(letter) = letters.next() else {
                self.letters = None;
                self.flush();
                for place in 0..self.groups.len() {
                    self.hand_on(Inbound::Finished(FlowIndex(place)));
                }
                break;
            };
            let (number, letter) = letter?;
            self.add(number, &letter);
        }
        Ok(true)
    }

    fn add(&mut self, number: usize, letter: &Letter) {
        let mut groups = self.groups.iter();
        let Some(place) = groups.position(|group| group.flow == letter.flow) else {
            return;
        };
        self.outcomes.sends(number, letter.data.len());
        let random_key = || (fastrand::f64() * 1_000_000.0).to_string();
        let full = self.batchers[place].add(number, letter, random_key);
        full.into_iter()
            .for_each(|batch| self.hand_on(Inbound::Batch(FlowIndex(place), batch)));
    }

    fn flush(&mut self) {
        for place in 0..self.batchers.len() {
            if let Some(batch) = self.batchers[place].close() {
                self.hand_on(Inbound::Batch(FlowIndex(place), batch));
            }
        }
    }

    fn hand_on(&self, inbound: Inbound) {
        // A publisher that is gone has told what became of the others.
        let _ = self.sender.send(inbound);
    }
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
