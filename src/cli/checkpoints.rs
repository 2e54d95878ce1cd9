//! `checkpoints`: how far each file has been sent, told, exported, and with the agent stopped changed.

use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::ConfigurationArgs;
use super::run::load_from;
use crate::checkpoint::{
    Change, FlowPlaces, Opened, Place, PlaceState, Reader, ReferenceRow, Store,
};
use crate::config::{Checkpoints, FlowId};
use crate::tail::disk::{Disk as _, FileStat, OsDisk};
use crate::tail::end_of_last_line;

/// How far each file has been sent.
#[derive(Debug, Args)]
pub struct CheckpointsArgs {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    /// Only this flow.
    #[arg(long, value_name = "ID")]
    flow: Option<String>,
    /// Print a JSON object a file.
    #[arg(long)]
    json: bool,
    /// Write a database for the AWS Kinesis Agent to this new file; the agent may run meanwhile.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "json"])]
    export: Option<PathBuf>,
    /// The file whose checkpoint is changed, under the name in the list. The agent must be stopped.
    #[arg(long, value_name = "PATH", requires = "what")]
    file: Option<PathBuf>,
    #[command(flatten)]
    edit: Edit,
}

#[derive(Debug, Args)]
#[group(id = "what", multiple = false)]
struct Edit {
    /// Go on at this byte.
    #[arg(long, value_name = "BYTES", requires = "file")]
    set_offset: Option<u64>,
    /// Go on behind the last whole line that is there now: what comes before isn't sent.
    #[arg(long, requires = "file")]
    to_end: bool,
    /// Send the file again from its beginning.
    #[arg(long, requires = "file")]
    to_start: bool,
    /// Forget the file: if it is still there, it is sent from its beginning as a new one.
    #[arg(long, requires = "file")]
    remove: bool,
}

/// Does what the command line says.
pub fn run(args: &CheckpointsArgs) -> anyhow::Result<ExitCode> {
    let files = &args.configuration;
    let options = match load_from(&files.configuration, &files.agent_d)? {
        Ok(loaded) => loaded.config.checkpoints,
        Err(code) => return Ok(code),
    };
    if !options.path.exists() {
        bail!(
            "there is no checkpoint database {}; the agent makes it at its first start",
            options.path.display()
        );
    }
    if let Some(to) = &args.export {
        Reader::open(&options)?.export(to)?;
        println!(
            "the checkpoints are in {}, as the AWS Kinesis Agent reads them",
            to.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    match &args.file {
        Some(file) => edit(&options, args.flow.as_deref(), file, &args.edit)?,
        None => list(&options, args.flow.as_deref(), args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One file of a flow, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    flow: String,
    file: PathBuf,
    /// `(dev=HEX,ino=DEC)`
    identity: Option<String>,
    offset: u64,
    size: u64,
    bytes_behind: u64,
    state: State,
}

/// What has become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Followed, and there under that name.
    Followed,
    /// The name is another file's by now, or nobody's: it was rotated or deleted.
    Elsewhere,
    /// Rotated and wholly sent.
    Finished,
    /// A record matched `fileFooterPattern`: the rest isn't read.
    FooterReached,
    /// A row of the AWS Kinesis Agent, which was here last.
    AwsKinesisAgent,
}

impl State {
    fn as_text(self) -> &'static str {
        match self {
            State::Followed => "",
            State::Elsewhere => "; the name is another file's now, or nobody's",
            State::Finished => "; rotated, and wholly sent",
            State::FooterReached => "; its footer was reached",
            State::AwsKinesisAgent => "; as the AWS Kinesis Agent left it",
        }
    }
}

fn list(options: &Checkpoints, flow: Option<&str>, json: bool) -> anyhow::Result<()> {
    let reader = Reader::open(options)?;
    let mut out = std::io::stdout().lock();
    let mut n_files = 0;
    for id in reader.flows()? {
        if flow.is_some_and(|flow| *id.0 != *flow) {
            continue;
        }
        let told = tell(&id, &reader.places(&id)?);
        if !json {
            writeln!(out, "{id}").context("can't write to standard output")?;
        }
        for file in told {
            n_files += 1;
            let line = match json {
                true => serde_json::to_string(&file).context("can't write as JSON")?,
                false => format!(
                    "  {} at {} of {}, behind by {} bytes{}",
                    file.file.display(),
                    file.offset,
                    file.size,
                    file.bytes_behind,
                    file.state.as_text()
                ),
            };
            writeln!(out, "{line}").context("can't write to standard output")?;
        }
    }
    if !json {
        let path = options.path.display();
        writeln!(out, "{n_files} files in {path}").context("can't write to standard output")?;
    }
    Ok(())
}

/// A flow's files, by their names; those of the AWS Kinesis Agent where it was here last.
fn tell(flow: &FlowId, places: &FlowPlaces) -> Vec<Told> {
    let mut told: Vec<Told> = match places.reference_is_newer {
        true => places
            .reference
            .iter()
            .map(|row| tell_row(flow, row))
            .collect(),
        false => places
            .ours
            .iter()
            .map(|place| tell_place(flow, place))
            .collect(),
    };
    told.sort_by(|a, b| a.file.cmp(&b.file));
    told
}

fn tell_row(flow: &FlowId, row: &ReferenceRow) -> Told {
    let there = look(&row.path).filter(|stat| Some(stat.identity) == row.identity);
    let size = there.map_or(row.size, |stat| stat.size);
    Told {
        flow: flow.to_string(),
        file: row.path.clone(),
        identity: row.identity.map(|identity| identity.to_string()),
        offset: row.offset,
        size,
        bytes_behind: size.saturating_sub(row.offset),
        state: State::AwsKinesisAgent,
    }
}

fn tell_place(flow: &FlowId, place: &Place) -> Told {
    let there = look(&place.path).filter(|stat| stat.identity == place.identity);
    let size = there.map_or(place.size, |stat| stat.size);
    let (state, bytes_behind) = match (place.state, there) {
        (PlaceState::FooterReached, _) => (State::FooterReached, 0),
        (PlaceState::Finished, _) => (State::Finished, 0),
        (PlaceState::Live, Some(_)) => (State::Followed, size.saturating_sub(place.offset)),
        (PlaceState::Live, None) => (State::Elsewhere, size.saturating_sub(place.offset)),
    };
    Told {
        flow: flow.to_string(),
        file: place.path.clone(),
        identity: Some(place.identity.to_string()),
        offset: place.offset,
        size,
        bytes_behind,
        state,
    }
}

fn look(path: &Path) -> Option<FileStat> {
    OsDisk.look(path).ok()
}

fn edit(options: &Checkpoints, flow: Option<&str>, file: &Path, edit: &Edit) -> anyhow::Result<()> {
    // A damaged database is the agent's to set aside, not a reader's.
    drop(Reader::open(options)?);
    let now = Timestamp::now();
    let Opened { mut store, .. } = Store::open(options, now)?;
    let (flow, place) = find(store.reader(), flow, file)?;
    let (change, told) = match edit.remove {
        true => (
            Change::Remove {
                flow: flow.clone(),
                identity: place.identity,
            },
            "forgotten; if it is still there, it is sent from its beginning as a new file"
                .to_owned(),
        ),
        false => {
            let offset = new_offset(&place, edit)?;
            let told = format!("{} → {offset}", place.offset);
            let place = Place {
                offset,
                header_lines_left: 0,
                state: PlaceState::Live,
                // What stood before the old offset says nothing of the new one: to hash it would be to read all before it.
                extra: None,
                ..place
            };
            let flow = flow.clone();
            (Change::Upsert { flow, place }, told)
        }
    };
    store.save(&[change], now)?;
    store.close(&[], now)?;
    println!("{} of {flow}: {told}", file.display());
    Ok(())
}

/// The one place of that name; where several files had it, that of the file that has it now.
fn find(reader: &Reader, flow: Option<&str>, file: &Path) -> anyhow::Result<(FlowId, Place)> {
    let path = std::path::absolute(file).context("can't tell the working directory")?;
    let there = look(&path).map(|stat| stat.identity);
    let mut found = Vec::new();
    for id in reader.flows()? {
        if flow.is_some_and(|flow| *id.0 != *flow) {
            continue;
        }
        let places = reader.places(&id)?;
        if places.reference_is_newer {
            let has_it = places.reference.iter().any(|row| row.path == path);
            if has_it {
                bail!(
                    "the AWS Kinesis Agent was the last to use the checkpoints of {id}; start this agent once, or remove \
                     its row with that agent's own means"
                );
            }
            continue;
        }
        let of_name: Vec<Place> = places
            .ours
            .into_iter()
            .filter(|place| place.path == path)
            .collect();
        let is_there = |place: &&Place| Some(place.identity) == there;
        match of_name.iter().find(is_there).or(match &of_name[..] {
            [only] => Some(only),
            _ => None,
        }) {
            Some(place) => found.push((id, place.clone())),
            None if of_name.is_empty() => {}
            None => bail!(
                "{} files of {id} had the name {} and none has it now; start the agent, which forgets them in time",
                of_name.len(),
                path.display()
            ),
        }
    }
    match found.len() {
        1 => found.pop().context("there is one"),
        0 => bail!(
            "there is no checkpoint of {}; kinesis-agent checkpoints lists those there are",
            path.display()
        ),
        n => bail!("{n} flows follow {}; say which with --flow", path.display()),
    }
}

/// Where the file is to go on.
fn new_offset(place: &Place, edit: &Edit) -> anyhow::Result<u64> {
    if edit.to_start {
        return Ok(0);
    }
    let path = place.path.display();
    let there = look(&place.path).filter(|stat| stat.identity == place.identity);
    let size = there.map_or(place.size, |stat| stat.size);
    if edit.to_end {
        if there.is_none() {
            bail!(
                "{path} is another file now, or none; only --set-offset, --to-start and --remove work for the old one"
            );
        }
        let file = OsDisk
            .open(&place.path)
            .with_context(|| format!("can't read {path}"))?;
        return Ok(end_of_last_line(&mut OsDisk, &file, size));
    }
    let Some(offset) = edit.set_offset else {
        bail!("say where it is to go on: --set-offset, --to-end or --to-start");
    };
    if offset > size {
        bail!("{path} has {size} bytes: it can't go on at {offset}");
    }
    if there.is_some() && offset > 0 && !is_line_start(&place.path, offset) {
        println!(
            "offset {offset} is in the middle of a line: the first record will be the rest of it"
        );
    }
    Ok(offset)
}

fn is_line_start(path: &Path, offset: u64) -> bool {
    let mut before = [b'\n'];
    // A file that can't be read is said so by the agent.
    let read =
        std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut before, offset - 1));
    read.is_err() || before == [b'\n']
}
