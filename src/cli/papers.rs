//! What a package holds beside the program, from the one definition of its command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::CommandLine;

/// What `papers` takes.
#[derive(Debug, Args)]
pub struct PapersArgs {
    #[command(subcommand)]
    paper: Paper,
}

#[derive(Debug, Subcommand)]
enum Paper {
    /// Write a manual page for the program, and one a subcommand, into a folder.
    Man {
        /// The folder, which is there.
        folder: PathBuf,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Writes the paper asked for.
///
/// # Errors
///
/// The folder, or standard output, can't be written.
pub fn run(args: &PapersArgs) -> anyhow::Result<ExitCode> {
    match &args.paper {
        Paper::Man { folder } => man(folder)?,
        Paper::Completions { shell } => completions(*shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn man(folder: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(CommandLine::command(), folder)
        .with_context(|| format!("can't write manual pages into {}", folder.display()))
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    match io::stdout().write_all(&text) {
        // Whoever reads them has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write to standard output"),
    }
}
