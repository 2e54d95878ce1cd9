//! The agent itself.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::CommandFactory as _;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::{CommandLine, RunArgs, exit};
use crate::agent::{Agent, Memory, Reloaded};
use crate::config::{self, Environment, Loaded, LogLevel, LogLines, Refused};
use crate::service::launch::{self, Outcome};
use crate::service::pid_file::{PidFile, PidFileError};
use crate::service::supervisor::Supervisor;
use crate::service::user::{User, is_root};
use crate::telemetry::log::{self, Destination, LogOptions};
use crate::telemetry::troubles::AgentTroubles;
use crate::telemetry::{events, progress};

/// Between two words to the service manager on how it goes.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How long a stop may take beside what `shutdownTimeoutMillis` leaves to calls: saving places, the last metrics.
const STOP_TIME_BEYOND: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT, then drains; a second signal ends the process at once.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    // It may come while the agent starts, and would end it.
    let _ = reload_signal().thread_block();
    let user = args.user.as_deref().map(User::find).transpose()?;
    if !args.launched
        && let Some(code) = launch(args, user.as_ref())?
    {
        return Ok(code);
    }
    let mut args = args.clone();
    if args.daemon {
        absolute_paths(&mut args)?;
        launch::detach().context("can't leave the terminal")?;
    }
    // As root still, where the agent was started so; and given back at the end of all.
    let pid_file = match args.pid_file.as_deref().map(PidFile::take).transpose() {
        Ok(pid_file) => pid_file,
        Err(error @ PidFileError::Running { .. }) => {
            eprintln!("kinesis-agent: {error}");
            return Ok(ExitCode::from(exit::NOT_STARTED));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(user) = &user {
        make_folders(&args, user);
        user.assume()?;
    }
    let code = run_as_is(&args);
    drop(pid_file);
    code
}

/// Has the program start itself again, where that is called for; how that ended.
fn launch(args: &RunArgs, user: Option<&User>) -> anyhow::Result<Option<ExitCode>> {
    if args.daemon && args.log.as_deref() == Some("-".as_ref()) {
        anyhow::bail!("--daemon has no standard error for --log -; name a file");
    }
    let needs_root = user.filter(|user| !user.is_present() && !is_root());
    if let Some(user) = needs_root {
        // Says so.
        user.assume()?;
    }
    if args.daemon {
        let outcome = launch::in_background(user).context("can't start in the background")?;
        return Ok(Some(match outcome {
            Outcome::Ready => ExitCode::SUCCESS,
            Outcome::Ended(code) => ExitCode::from(code),
        }));
    }
    match user.filter(|user| !user.is_present()) {
        Some(user) => {
            Err(launch::in_place(user)).context("can't start in the environment of --user")
        }
        None => Ok(None),
    }
}

/// Paths of the command line are meant from where it was given.
fn absolute_paths(args: &mut RunArgs) -> anyhow::Result<()> {
    let paths = [&mut args.configuration, &mut args.agent_d].into_iter();
    for path in paths.chain(&mut args.log).chain(&mut args.pid_file) {
        *path = std::path::absolute(&*path).context("can't tell the working directory")?;
    }
    Ok(())
}

/// Makes what the agent writes to, while this is root: the user couldn't.
///
/// A configuration that isn't in order, and a folder that can't be made, are said later, by whom they keep from working.
fn make_folders(args: &RunArgs, user: &User) {
    let Ok(environment) = Environment::of_process() else {
        return;
    };
    let Ok(loaded) = config::load(&args.configuration, Some(&args.agent_d), &environment) else {
        return;
    };
    let config = &loaded.config;
    let log = log_destination(args, &config.log);
    let files = [&config.checkpoints.path, &config.dead_letters.path].into_iter();
    let files = files.chain(&config.listening.socket).map(PathBuf::as_path);
    let files = files.chain(match &log {
        Destination::File(file) => Some(file.as_path()),
        Destination::Terminal => None,
    });
    for folder in files.filter_map(Path::parent) {
        let _ = user.make_folder(folder);
    }
}

/// The agent, as who this process is by now.
fn run_as_is(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let loaded = match load(args)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let supervisor = Supervisor::of_process().context("NOTIFY_SOCKET is no socket's address")?;
    let troubles = start_log(
        &loaded.config.log,
        log_destination(args, &loaded.config.log),
    )?;
    tell_configuration(&args.configuration, &loaded);
    let shutdown_timeout = loaded.config.shutdown_timeout;
    runtime()?.block_on(async {
        let mut signals = Signals::watch()?.with_reload()?;
        let mut agent = match Agent::start(loaded.config, Memory::Kept, troubles).await {
            Ok(agent) => agent,
            Err(error) => {
                events::not_started(&error);
                eprintln!("kinesis-agent: {error}");
                let code = match error.can_pass() {
                    true => exit::NOT_STARTED,
                    false => exit::REFUSED,
                };
                return Ok(ExitCode::from(code));
            }
        };
        if args.daemon {
            launch::say_ready().context("can't let go of standard error")?;
        }
        let code = attend(&mut agent, &mut signals, &supervisor, args).await;
        supervisor.stopping(shutdown_timeout + STOP_TIME_BEYOND);
        signals.end_at_second();
        agent.stop().await;
        Ok(code)
    })
}

/// Tells the service manager how it goes until the agent is to end; the exit code.
async fn attend(
    agent: &mut Agent,
    signals: &mut Signals,
    supervisor: &Supervisor,
    args: &RunArgs,
) -> ExitCode {
    supervisor.ready(&agent.in_one_line());
    let never = Duration::from_secs(u32::MAX.into());
    let ticks = |every| {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    };
    let mut signs = ticks(supervisor.sign_interval().unwrap_or(never));
    let mut words = ticks(match supervisor.is_there() {
        true => STATUS_INTERVAL,
        false => never,
    });
    loop {
        tokio::select! {
            wanted = signals.next() => match wanted {
                Wanted::Stop => return ExitCode::SUCCESS,
                Wanted::Reload => {
                    supervisor.reloading();
                    if let Reloaded::Stopping = reload(agent, signals, args).await {
                        return ExitCode::SUCCESS;
                    }
                    supervisor.ready(&agent.in_one_line());
                }
            },
            () = agent.sending_died() => return ExitCode::from(exit::DEFECT),
            // Whatever the services do: an outage of theirs must not restart a fleet.
            _ = signs.tick() => if agent.counters().standing_still(Instant::now()).is_none() {
                supervisor.alive();
            },
            _ = words.tick() => supervisor.status(&agent.in_one_line()),
        }
    }
}

/// Reads the configuration anew; one that is refused changes nothing.
async fn reload(agent: &mut Agent, signals: &mut Signals, args: &RunArgs) -> Reloaded {
    let (file, agent_d) = (args.configuration.clone(), args.agent_d.clone());
    // A file on a network share may take its time.
    let read = tokio::task::spawn_blocking(move || {
        let environment = Environment::of_process().map_err(|error| vec![error.to_string()])?;
        let loaded = config::load(&file, Some(&agent_d), &environment);
        loaded.map_err(|refused| refused.to_string().lines().map(str::to_owned).collect())
    });
    let read = tokio::select! {
        read = read => read,
        () = signals.first() => return Reloaded::Stopping,
    };
    match read {
        Ok(Ok(loaded)) => {
            tell_configuration(&args.configuration, &loaded);
            agent.reload(&loaded.config, signals.first()).await
        }
        Ok(Err(findings)) => {
            agent.refused(findings);
            Reloaded::Done
        }
        // Reading it ended by a defect, which was said.
        Err(error) => {
            agent.refused(vec![error.to_string()]);
            Reloaded::Done
        }
    }
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

/// Where the log goes: where the command line says, else where the configuration may, else standard error at a terminal
/// and the reference's file otherwise.
fn log_destination(args: &RunArgs, config: &config::Log) -> Destination {
    let at_terminal = !args.daemon && std::io::stderr().is_terminal();
    match (&args.log, &config.file) {
        (Some(file), _) if file == Path::new("-") => Destination::Terminal,
        (Some(file), _) => Destination::File(file.clone()),
        (None, Some(file)) => Destination::File(file.clone()),
        (None, None) if at_terminal => Destination::Terminal,
        (None, None) => LogOptions::default().destination,
    }
}

/// Opens the log there, in the form that the configuration asks for. What is wrong with it stands in what is returned.
pub fn start_log(config: &config::Log, destination: Destination) -> anyhow::Result<AgentTroubles> {
    let mut options = LogOptions {
        destination,
        ..LogOptions::default()
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

/// SIGHUP
fn reload_signal() -> SigSet {
    [nix::sys::signal::Signal::SIGHUP].into_iter().collect()
}

/// The signals that the agent heeds.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// SIGTERM, SIGINT
    Stop,
    /// SIGHUP
    Reload,
}

impl Signals {
    /// Those that end the agent. Must be called within a runtime.
    pub fn watch() -> anyhow::Result<Signals> {
        let watch = |kind| signal(kind).context("can't watch for signals");
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hang_up: None,
        })
    }

    /// Also the one that has it read its configuration anew, and that came meanwhile.
    fn with_reload(self) -> anyhow::Result<Signals> {
        let hang_up = signal(SignalKind::hangup()).context("can't watch for signals")?;
        // This one thread takes it for all: the others were started with it held back.
        let unblocked = reload_signal().thread_unblock();
        unblocked.context("can't watch for signals")?;
        Ok(Signals {
            hang_up: Some(hang_up),
            ..self
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Wanted {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Wanted::Stop,
            _ = self.terminate.recv() => Wanted::Stop,
            _ = hang_up => Wanted::Reload,
        }
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
