//! `check --takeover`: what a start would send first, before there is one.
//!
//! The flow's own tailer is asked, with nowhere to put a record: so what is said here is what will be done. Nothing is
//! changed, neither files nor checkpoints.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use tempfile::TempDir;

use super::run::load_from;
use crate::checkpoint::{FlowPlaces, Reader, Store};
use crate::config::{Checkpoints, Config, Flow, FlowId, InitialPosition, limits};
use crate::former;
use crate::record::Span;
use crate::tail::disk::OsDisk;
use crate::tail::split::RecordKind;
use crate::tail::{Intake, Rules, Tailer};

/// What a start would do.
#[derive(Debug, Serialize)]
struct TakeOver {
    /// The databases that were looked into.
    databases: Vec<PathBuf>,
    flows: Vec<FlowStart>,
    bytes_to_send: u64,
}

/// What a start would do with one flow.
#[derive(Debug, Serialize)]
struct FlowStart {
    flow: String,
    start: StartKind,
    /// The row of the AWS Kinesis Agent that says where it stands.
    row: Option<String>,
    files: Vec<FileStart>,
    bytes_to_send: u64,
}

/// By what a flow starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StartKind {
    /// The newest row of the AWS Kinesis Agent.
    AwsKinesisAgent,
    /// This agent's own checkpoints.
    Checkpoints,
    /// `initialPosition`: nobody has followed it before.
    StartOfFile,
    EndOfFile,
}

/// Where one file would be sent from.
#[derive(Debug, Serialize)]
struct FileStart {
    file: PathBuf,
    offset: u64,
    size: u64,
    bytes_to_send: u64,
    /// It can't be read now, for this reason.
    unreadable: Option<String>,
}

/// Prints which files would be sent, from where, and how many bytes that is.
pub fn run(configuration: &Path, agent_d: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = match load_from(configuration, agent_d)? {
        Ok(loaded) => loaded.config,
        Err(code) => return Ok(code),
    };
    let take_over = look(&config)?;
    let mut out = std::io::stdout().lock();
    let printed = match json {
        true => serde_json::to_writer_pretty(&mut out, &take_over)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out)),
        false => print(&take_over, &mut out),
    };
    match printed {
        // Nobody reads any further.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        printed => printed.context("can't write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn look(config: &Config) -> anyhow::Result<TakeOver> {
    let databases = Databases::open(config)?;
    let configured = config.flows.iter().map(|flow| &flow.id).collect();
    let mut flows = Vec::new();
    for flow in &config.flows {
        flows.push(look_at(flow, databases.places(flow, &configured)?)?);
    }
    Ok(TakeOver {
        databases: databases.paths,
        bytes_to_send: flows.iter().map(|flow| flow.bytes_to_send).sum(),
        flows,
    })
}

/// The databases that a start would look into.
struct Databases {
    paths: Vec<PathBuf>,
    /// What it would then know, if anything.
    known: Option<Reader>,
    /// The folder of the copy that is looked into in their stead, where there are two.
    _copy: Option<TempDir>,
}

impl Databases {
    fn open(config: &Config) -> anyhow::Result<Databases> {
        let own = open_if_there(&config.checkpoints)?;
        let old = Path::new(limits::REFERENCE_CHECKPOINT_FILE);
        let is_default = config.checkpoints.path == Path::new(limits::CHECKPOINT_FILE_DEFAULT);
        let mut paths: Vec<PathBuf> = own
            .iter()
            .map(|_| config.checkpoints.path.clone())
            .collect();
        if !is_default || !old.exists() {
            return Ok(Databases {
                paths,
                known: own,
                _copy: None,
            });
        }
        paths.push(old.to_owned());
        let copy = tempfile::tempdir().context("making a folder for a copy of the checkpoints")?;
        let options = Checkpoints {
            path: copy.path().join("checkpoints"),
            ..config.checkpoints.clone()
        };
        if let Some(own) = own {
            own.copy_to(&options.path)?;
        }
        let mut store = Store::open(&options, Timestamp::now())?.store;
        store.take_rows(old)?;
        drop(store);
        Ok(Databases {
            paths,
            known: Some(Reader::open(&options)?),
            _copy: Some(copy),
        })
    }

    /// What is known of a flow, under its id or one that it had before.
    fn places(&self, flow: &Flow, configured: &BTreeSet<&FlowId>) -> anyhow::Result<FlowPlaces> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let Some(known) = &self.known else {
            return Ok(FlowPlaces::default());
        };
        former::places(flow, configured, known, &cwd, &mut OsDisk)
            .context("reading the checkpoints")
    }
}

fn open_if_there(options: &Checkpoints) -> anyhow::Result<Option<Reader>> {
    match options.path.exists() {
        true => Ok(Some(Reader::open(options)?)),
        false => Ok(None),
    }
}

fn look_at(flow: &Flow, places: FlowPlaces) -> anyhow::Result<FlowStart> {
    let by_reference = !places.reference.is_empty()
        && (places.reference_is_newer || places.ours.is_empty() && !places.saved_before);
    let start = match flow.initial_position {
        _ if by_reference => StartKind::AwsKinesisAgent,
        _ if places.saved_before || !places.ours.is_empty() => StartKind::Checkpoints,
        InitialPosition::StartOfFile => StartKind::StartOfFile,
        InitialPosition::EndOfFile => StartKind::EndOfFile,
    };
    let newest = places.reference.first().filter(|_| by_reference);
    let row = newest.map(|row| format!("{} at {}", row.path.display(), row.offset));
    let now = Instant::now();
    let mut tailer = Tailer::new(Rules::new(flow)?, places, now);
    tailer.turn(now, &mut OsDisk, &mut Nowhere);
    let mut files: Vec<FileStart> = tailer
        .cursors()
        .map(|cursor| FileStart {
            file: cursor.path.to_path_buf(),
            offset: cursor.acknowledged,
            size: cursor.size,
            bytes_to_send: cursor.behind_bytes(),
            unreadable: cursor.problem.map(|kind| kind.to_string()),
        })
        .collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(FlowStart {
        flow: flow.id.to_string(),
        start,
        row,
        bytes_to_send: files.iter().map(|file| file.bytes_to_send).sum(),
        files,
    })
}

/// Takes no record.
struct Nowhere;

impl Intake for Nowhere {
    fn has_room(&mut self, _data_bytes: usize) -> bool {
        false
    }

    fn record(&mut self, _span: Span, _data: &[u8], _kind: RecordKind, _path: &Path) {}

    fn nothing(&mut self, _span: Span) {}
}

fn print(take_over: &TakeOver, out: &mut impl Write) -> std::io::Result<()> {
    match &take_over.databases[..] {
        [] => writeln!(out, "no checkpoints are there")?,
        paths => {
            for path in paths {
                writeln!(out, "checkpoints of {}", path.display())?;
            }
        }
    }
    for flow in &take_over.flows {
        let start = match (flow.start, &flow.row) {
            (StartKind::AwsKinesisAgent, Some(row)) => format!(
                "goes on where the AWS Kinesis Agent stopped, in {row}: newer files are sent whole, older ones are done"
            ),
            (StartKind::AwsKinesisAgent, None) | (StartKind::Checkpoints, _) => {
                "goes on at its own checkpoints; files that are new since are sent whole".to_owned()
            }
            (StartKind::StartOfFile, _) => {
                "starts for the first time, at the beginning of files (initialPosition)".to_owned()
            }
            (StartKind::EndOfFile, _) => {
                "starts for the first time, behind what files hold now (initialPosition)".to_owned()
            }
        };
        writeln!(out, "\n{} {start}", flow.flow)?;
        if flow.files.is_empty() {
            writeln!(out, "  no file matches")?;
        }
        for file in &flow.files {
            let (path, size) = (file.file.display(), file.size);
            match (&file.unreadable, file.bytes_to_send) {
                (Some(why), _) => writeln!(out, "  {path}: can't be read ({why})")?,
                (None, 0) => writeln!(
                    out,
                    "  {path}: nothing to send, all of its {size} bytes are done"
                )?,
                (None, bytes) => writeln!(
                    out,
                    "  {path}: from offset {} of {size}, {bytes} bytes to send",
                    file.offset
                )?,
            }
        }
    }
    writeln!(
        out,
        "\n{} bytes would be sent at the start; nothing was changed",
        take_over.bytes_to_send
    )
}
