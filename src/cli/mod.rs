//! The command line: one file a subcommand; without one the agent runs.

mod check;
mod checkpoints;
mod dead_letters;
mod demo;
pub mod endpoint;
mod local;
mod papers;
mod run;
mod status;
mod takeover;
mod r#try;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::service::secrets;

/// Where the configuration is when nothing else is said.
pub const CONFIGURATION_DEFAULT: &str = "/etc/aws-kinesis/agent.json";
/// The folder whose files add flows.
pub const AGENT_D: &str = "/etc/aws-kinesis/agent.d";

/// How the process ends. 0, 1, 3, 4 and 6 are also what an init script says of a service (LSB).
pub mod exit {
    /// The configuration is refused, or something else that a new start alone doesn't mend.
    pub const REFUSED: u8 = 1;
    /// The command line isn't understood.
    pub const USAGE: u8 = 2;
    /// `status`: no agent answers.
    pub const NOT_RUNNING: u8 = 3;
    /// `status --file`: the file isn't followed.
    pub const UNKNOWN: u8 = 4;
    /// There is no flow: the program is not configured.
    pub const NOT_CONFIGURED: u8 = 6;
    /// Sending ended by a defect of the agent (`EX_SOFTWARE`): whoever supervises it should start it again.
    pub const DEFECT: u8 = 70;
    /// The agent couldn't start for now (`EX_TEMPFAIL`), as when another one still has the checkpoints: a later start may
    /// do better.
    pub const NOT_STARTED: u8 = 75;
}

/// Follows files and sends their records to Amazon Kinesis Data Streams and Firehose.
#[derive(Debug, Parser)]
#[command(
    name = "kinesis-agent",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with a configuration, on this host, without starting anything.
    Check(check::CheckArgs),
    /// Tell how far each file has been sent, export it, or with the agent stopped change it.
    Checkpoints(checkpoints::CheckpointsArgs),
    /// List, show and send again the records that a service refused for good.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Write files, ship them to an endpoint inside this process, and say whether every line arrived.
    Demo(demo::DemoArgs),
    /// Play an AWS on this machine, with faults if wanted, for trying things by hand.
    Endpoint(endpoint::EndpointArgs),
    /// Write the manual pages or a shell's completions, for packages.
    Papers(papers::PapersArgs),
    /// Ask a running agent how it is doing.
    Status(status::StatusArgs),
    /// Show what would be sent of a sample file, what would be left out, and why; no network, no checkpoint.
    Try(r#try::TryArgs),
}

/// Which configuration a subcommand goes by.
#[derive(Debug, Clone, Args)]
pub struct ConfigurationArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIGURATION_DEFAULT, global = true)]
    pub configuration: PathBuf,
    /// The folder whose files add flows.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_D, global = true)]
    pub agent_d: PathBuf,
}

/// What the agent itself takes.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIGURATION_DEFAULT)]
    pub configuration: PathBuf,
    /// The folder whose files add flows.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_D)]
    pub agent_d: PathBuf,
    /// Where the log goes; "-" is standard error, which is the default at a terminal.
    #[arg(short, long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Send to an endpoint inside this process and print every record as it would have arrived: no AWS, no credentials,
    /// no saved checkpoint. Files are read from their beginning, whatever initialPosition says.
    #[arg(long)]
    pub local: bool,
    /// With --local: start where initialPosition says.
    #[arg(long, requires = "local")]
    pub as_configured: bool,
    /// With --local: print a JSON object a record, with its stream and partition key.
    #[arg(long, requires = "local")]
    pub json: bool,
    /// Run in the background: returns once the agent is at work, or says why it isn't.
    #[arg(long, conflicts_with = "local")]
    pub daemon: bool,
    /// Write the process id there while the agent runs; refused while another agent has that file.
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub pid_file: Option<PathBuf>,
    /// Run as this user, with its groups; only root can ask for another one than itself.
    #[arg(long, value_name = "NAME", conflicts_with = "local")]
    pub user: Option<String>,
    /// This process was started by another one of the program, for --daemon or --user.
    #[arg(long, hide = true)]
    pub launched: bool,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    secrets::keep_out_of_cores();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Nowhere to say it, if standard error is closed.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let done = match line.command {
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Checkpoints(args)) => checkpoints::run(&args),
        Some(Command::DeadLetters(args)) => dead_letters::run(&args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Endpoint(args)) => endpoint::run(args),
        Some(Command::Papers(args)) => papers::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Try(args)) => r#try::run(&args),
        None if line.run.local => local::run(&line.run),
        None => run::run(&line.run),
    };
    done.unwrap_or_else(|error| {
        eprintln!("kinesis-agent: {error:#}");
        ExitCode::from(exit::REFUSED)
    })
}
