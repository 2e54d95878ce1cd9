//! The agent itself.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::{CommandLine, RunArgs, exit};
use crate::agent::{Agent, Memory};
use crate::config::{self, Environment, Loaded, LogLevel, LogLines, Refused};
use crate::telemetry::log::{self, Destination, LogOptions};
use crate::telemetry::troubles::AgentTroubles;
use crate::telemetry::{events, progress};

/// Runs until SIGTERM or SIGINT, then drains; a second signal ends the process at once.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let loaded = match load(args)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let troubles = start_log(
        &loaded.config.log,
        args.log.as_deref(),
        std::io::stderr().is_terminal(),
    )?;
    tell_configuration(&args.configuration, &loaded);
    runtime()?.block_on(async {
        let mut signals = Signals::watch()?;
        let mut agent = Agent::start(loaded.config, Memory::Kept, troubles)
            .await
            .inspect_err(|error| events::not_started(error))?;
        let code = tokio::select! {
            () = signals.first() => ExitCode::SUCCESS,
            () = agent.sending_died() => ExitCode::from(exit::DEFECT),
        };
        signals.end_at_second();
        agent.stop().await;
        Ok(code)
    })
}

/// The configuration, or the exit code after its findings were said on standard error.
pub fn load(args: &RunArgs) -> anyhow::Result<Result<Loaded, ExitCode>> {
    load_from(&args.configuration, &args.agent_d)
}

/// Likewise, from this file and this folder.
pub fn load_from(file: &Path, agent_d: &Path) -> anyhow::Result<Result<Loaded, ExitCode>> {
    let environment = Environment::of_process().context("can't tell the working directory")?;
    let refused = match config::load(file, Some(agent_d), &environment) {
        Ok(loaded) => return Ok(Ok(loaded)),
        Err(refused) => refused,
    };
    eprintln!("{refused}");
    if let Refused::Unreadable { .. } = refused {
        eprintln!("\n{}", CommandLine::command().render_usage());
    }
    let code = match refused {
        Refused::NoFlows { .. } => exit::NOT_CONFIGURED,
        Refused::Invalid(_) | Refused::Unreadable { .. } => exit::REFUSED,
    };
    Ok(Err(ExitCode::from(code)))
}

/// Opens the log: where the command line says, else where the configuration may, else standard error at a terminal and
/// the reference's file otherwise. What is wrong with it stands in what is returned.
pub fn start_log(
    config: &config::Log,
    file: Option<&Path>,
    at_terminal: bool,
) -> anyhow::Result<AgentTroubles> {
    let mut options = LogOptions::default();
    options.destination = match (file, &config.file) {
        (Some(file), _) if file == Path::new("-") => Destination::Terminal,
        (Some(file), _) => Destination::File(file.to_owned()),
        (None, Some(file)) => Destination::File(file.clone()),
        (None, None) if at_terminal => Destination::Terminal,
        (None, None) => options.destination,
    };
    options.format = match config.format {
        LogLines::Text => log::Format::Text,
        LogLines::Json => log::Format::Json,
    };
    options.level = config.level.map_or(options.level, level);
    options.file_bytes_max = config.max_file_bytes.unwrap_or(options.file_bytes_max);
    options.archive.files_max = config
        .max_backups
        .map(|n| n as usize)
        .or(options.archive.files_max);
    let environment_level = std::env::var(log::LEVEL_VARIABLE).ok();
    let troubles = options.troubles.clone();
    log::install(options, environment_level.as_deref()).context("starting the log")?;
    Ok(troubles)
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Trace => Level::TRACE,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    }
}

/// Says what was read and what is odd about it.
pub fn tell_configuration(file: &Path, loaded: &Loaded) {
    progress::reading_configuration(file).emit();
    progress::found_flows(loaded.n_flows()).emit();
    for finding in loaded.report.warnings() {
        events::odd_configuration(finding);
    }
}

/// The runtime of the sending side.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("sender")
        .enable_all()
        .build()
        .context("can't start the runtime")
}

/// The signals that end the agent.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub fn watch() -> anyhow::Result<Signals> {
        let watch = |kind| signal(kind).context("can't watch for signals");
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    /// Waits for the first one.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends the process at the next one: 128 + the signal's number, as a shell says it.
    pub fn end_at_second(mut self) {
        tokio::spawn(async move {
            let code = tokio::select! {
                _ = self.interrupt.recv() => 130,
                _ = self.terminate.recv() => 143,
            };
            std::process::exit(code);
        });
    }
}
