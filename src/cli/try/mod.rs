//! `kinesis-agent try`: a flow's splitting and processing over a sample, without network or checkpoint.
//!
//! - [`sample`]: what becomes of each record
//! - [`expected`]: the records that should come out, in the golden corpus' form
//! - [`show`]: the same for people

mod expected;
mod sample;
mod show;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;

use super::run::load_from;
use super::{AGENT_D, CONFIGURATION_DEFAULT, exit};
use crate::config::{Config, Flow};
use crate::tail::discover::Patterns;

use expected::Comparison;
use sample::Sample;
use show::Show;

/// What `try` takes.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIGURATION_DEFAULT)]
    configuration: PathBuf,
    /// The folder whose files add flows.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_D)]
    agent_d: PathBuf,
    /// The flow, by its id; not needed if there is one alone, or one whose filePattern matches the sample.
    #[arg(long, value_name = "ID")]
    flow: Option<String>,
    /// Compare with these records, a JSON object a line: {"text": …} or {"base64": …}, and "partition_key" where it
    /// matters. Prints the differences, and fails if there are any.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print the records that would be sent, in the form that --against reads, and nothing else.
    #[arg(long, conflicts_with = "against")]
    json: bool,
    /// The sample, from its first line; "-" is standard input.
    file: PathBuf,
}

/// Shows what would become of the sample's records; exit code 1 if they aren't what was expected.
pub fn run(args: &TryArgs) -> anyhow::Result<ExitCode> {
    let loaded = match load_from(&args.configuration, &args.agent_d)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    for finding in loaded.report.warnings() {
        eprintln!("{finding}");
    }
    let flow = chosen_flow(&loaded.config, args.flow.as_deref(), &args.file)?;
    let input: Box<dyn Read> = match args.file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(
            File::open(&args.file)
                .with_context(|| format!("can't read {}", args.file.display()))?,
        ),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &args.against {
        Some(file) => {
            let comparison = Comparison::open(file)?;
            compare(flow, input, comparison, &mut out)
        }
        None => print(flow, input, args.json, &mut out),
    };
    let flushed = result.and_then(|is_same| {
        out.flush()?;
        Ok(is_same)
    });
    match flushed {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(exit::REFUSED)),
        // Nobody reads any further.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.downcast_ref::<io::Error>();
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn print(
    flow: &Flow,
    input: Box<dyn Read>,
    as_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut show = Show::new(flow);
    let mut sample = Sample::new(flow);
    sample.read(input, |record| match (as_json, &record.sent) {
        (true, Some(sent)) => writeln!(out, "{}", expected::to_json(sent)).map_err(Into::into),
        (true, None) => Ok(()),
        (false, _) => show.record(&record, out).map_err(Into::into),
    })?;
    match as_json {
        true => out.flush()?,
        false => show::summary(&sample, out)?,
    }
    Ok(true)
}

fn compare(
    flow: &Flow,
    input: Box<dyn Read>,
    mut comparison: Comparison,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut sample = Sample::new(flow);
    sample.read(input, |record| match record.sent {
        Some(sent) => comparison.record(sent, record.line, out),
        None => Ok(()),
    })?;
    let is_same = comparison.end(out)?;
    show::summary(&sample, out)?;
    Ok(is_same)
}

/// The flow with this id; else the only one; else the only one that would read the file.
fn chosen_flow<'c>(config: &'c Config, id: Option<&str>, file: &Path) -> anyhow::Result<&'c Flow> {
    let ids = || {
        let ids = config.flows.iter().map(|flow| format!("\n  {}", flow.id));
        ids.collect::<String>()
    };
    if let Some(id) = id {
        let flow = config.flows.iter().find(|flow| &*flow.id.0 == id);
        return match flow {
            Some(flow) => Ok(flow),
            None => bail!("there is no flow {id}; the flows are:{}", ids()),
        };
    }
    if let [flow] = &config.flows[..] {
        return Ok(flow);
    }
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let reads =
        |flow: &&Arc<Flow>| Patterns::of(flow).is_ok_and(|patterns| patterns.matches(&file));
    let reading: Vec<_> = config.flows.iter().filter(reads).collect();
    match reading[..] {
        [flow] => Ok(flow),
        _ => bail!("which flow? say --flow with one of:{}", ids()),
    }
}
