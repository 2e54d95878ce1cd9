//! `kinesis-agent status`: how a running agent is doing, asked over its socket.
//!
//! - [`ask`]: the question and its answer
//! - [`show`]: the answer for people

mod ask;
mod show;

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use self::ask::Unanswered;
use super::run::load_from;
use super::{AGENT_D, CONFIGURATION_DEFAULT, exit};
use crate::checkpoint::FileIdentity;
use crate::telemetry::status::{FileStatus, FilesShown, Status};

/// The time between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// What makes a terminal begin anew.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What `status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The configuration of the agent that is asked.
    #[arg(short, long, value_name = "FILE", default_value = CONFIGURATION_DEFAULT)]
    configuration: PathBuf,
    /// The folder whose files add flows to it.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_D)]
    agent_d: PathBuf,
    /// The agent's socket, where it isn't the configuration that says it.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the answer as it is, one JSON object.
    #[arg(long)]
    json: bool,
    /// Look again each second, until interrupted.
    #[arg(long, conflicts_with_all = ["json", "file"])]
    watch: bool,
    /// Fail too if the oldest byte that waits is older than so many seconds.
    #[arg(long, value_name = "SECONDS")]
    max_behind: Option<f64>,
    /// Succeed only if all of this file is acknowledged, as it is now: for a script that removes it.
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    file: Option<PathBuf>,
}

/// Prints how the agent is doing. Exit code 0: it delivers; 1: it doesn't, or is too far behind, or the file isn't wholly
/// acknowledged; 3: no agent answers; 4: the file isn't followed.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => match configured_socket(args)? {
            Ok(socket) => socket,
            Err(code) => return Ok(code),
        },
    };
    loop {
        let shown = match &args.file {
            Some(_) => FilesShown::All,
            None => FilesShown::MOST,
        };
        let answer = match ask::status(&socket, shown) {
            Ok(answer) => answer,
            Err(error @ Unanswered::Nobody { .. }) => {
                eprintln!("kinesis-agent: {error}");
                return Ok(ExitCode::from(exit::NOT_RUNNING));
            }
            Err(error) => return Err(error.into()),
        };
        if args.json {
            say(&format!("{}\n", answer.json))?;
        }
        let status = answer.read().context("the agent's answer")?;
        if let Some(file) = &args.file {
            return about_file(&status, file);
        }
        if !args.json {
            let is_screen = args.watch && io::stdout().is_terminal();
            let clear = if is_screen { CLEAR } else { "" };
            say(&format!("{clear}{}", show::text(&status)))?;
        }
        if !args.watch {
            return Ok(verdict(&status, args.max_behind));
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

fn configured_socket(args: &StatusArgs) -> anyhow::Result<Result<PathBuf, ExitCode>> {
    let loaded = match load_from(&args.configuration, &args.agent_d)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(Err(code)),
    };
    match loaded.config.listening.socket {
        Some(socket) => Ok(Ok(socket)),
        None => bail!(
            "status.socket is empty in {}, so there is nobody to ask; remove it, or name a socket with --socket",
            args.configuration.display()
        ),
    }
}

fn verdict(status: &Status, max_behind_s: Option<f64>) -> ExitCode {
    let is_late = max_behind_s.is_some_and(|max_s| status.totals.behind.seconds > max_s);
    match status.is_delivering && !is_late {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::REFUSED),
    }
}

/// Says whether a file is wholly acknowledged, held against what it is now.
fn about_file(status: &Status, path: &Path) -> anyhow::Result<ExitCode> {
    let metadata =
        fs::metadata(path).with_context(|| format!("can't look at {}", path.display()))?;
    let identity = FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    let id = identity.to_string();
    let followed: Vec<(&str, &FileStatus)> = status
        .flows
        .iter()
        .flat_map(|flow| flow.files.iter().map(|file| (flow.flow.as_str(), file)))
        .filter(|(_, file)| file.id == id)
        .collect();
    if followed.is_empty() {
        eprintln!(
            "kinesis-agent: no flow follows {}; see the flows' patterns, and that its name does not end in .gz, .bz2 or \
             .zip",
            path.display()
        );
        return Ok(ExitCode::from(exit::UNKNOWN));
    }
    let mut is_done = true;
    for (flow, file) in followed {
        let size = metadata.len();
        let is_all = file.is_over || file.sent >= size;
        is_done &= is_all;
        say(&show::file_line(flow, file, size))?;
    }
    Ok(match is_done {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::REFUSED),
    })
}

/// Prints; that nobody reads any further is no error.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        done => done.context("can't write on standard output"),
    }
}
