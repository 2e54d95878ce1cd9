//! `kinesis-agent check`: everything that is wrong with a configuration, without starting anything and without network.
//!
//! - [`files`]: what its patterns find on this host, and who may read it
//! - [`account`]: users and mode bits

mod account;
mod files;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use self::account::Account;
use self::files::{FlowFiles, Reader};
use super::{AGENT_D, CONFIGURATION_DEFAULT, exit, takeover};
use crate::config::{self, Environment, Finding, Refused, Severity};

/// The user that the service runs as, where the packages are installed.
pub const SERVICE_USER: &str = "aws-kinesis-agent-user";

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIGURATION_DEFAULT)]
    configuration: PathBuf,
    /// The folder whose files add flows.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_D)]
    agent_d: PathBuf,
    /// Fail for warnings too.
    #[arg(long)]
    strict: bool,
    /// Fail only for what the agent wouldn't start with: as the AWS Kinesis Agent does, it starts with some mistakes.
    #[arg(long, conflicts_with = "strict")]
    lenient: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    /// The user that the agent will run as. Without it: who runs this, or for root the service's user, if there is one.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Say instead which files a start would send now, from where, and how many bytes: by the checkpoints of this agent or
    /// of the AWS Kinesis Agent.
    #[arg(long, conflicts_with_all = ["strict", "lenient", "user"])]
    takeover: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// There are errors, or with `--strict` warnings.
    Refused,
    /// There is no flow.
    NotConfigured,
}

impl Verdict {
    fn code(self) -> ExitCode {
        match self {
            Verdict::Good => ExitCode::SUCCESS,
            Verdict::Refused => ExitCode::from(exit::REFUSED),
            Verdict::NotConfigured => ExitCode::from(exit::NOT_CONFIGURED),
        }
    }
}

/// All that a check has found out.
#[derive(Debug, Serialize)]
struct Checked {
    configuration: String,
    verdict: Verdict,
    /// Who the files would be read by.
    user: String,
    flows: Vec<FlowFiles>,
    findings: Vec<Finding>,
}

/// Prints every finding; exit code 1 if there is an error, or with `--strict` a warning, and 6 if there is no flow.
/// With `--lenient` it is 1 where a start would be refused.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    if args.takeover {
        return takeover::run(&args.configuration, &args.agent_d, args.json);
    }
    let reader = reader(args.user.as_deref())?;
    let checked = check(args, &reader)?;
    let mut out = io::stdout().lock();
    let printed = match args.json {
        true => serde_json::to_writer_pretty(&mut out, &checked)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
        false => print(&checked, &mut out),
    };
    match printed {
        // Nobody reads any further.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.context("can't write on standard output")?,
    }
    Ok(checked.verdict.code())
}

fn check(args: &CheckArgs, reader: &Reader) -> anyhow::Result<Checked> {
    let environment = Environment::of_process().context("can't tell the working directory")?;
    let file = &args.configuration;
    let mut findings = Vec::new();
    let mut flows = Vec::new();
    let mut is_configured = true;
    match config::load(file, Some(&args.agent_d), &environment) {
        Ok(loaded) => {
            findings.extend(loaded.report.findings().iter().cloned());
            if !reader.is_this_process {
                reader.look_at_configuration(file, &mut findings);
            }
            flows = files::look(&loaded, reader, &mut findings);
        }
        Err(Refused::Invalid(report)) => findings.extend(report.findings().iter().cloned()),
        Err(Refused::NoFlows { report, .. }) => {
            findings.extend(report.findings().iter().cloned());
            findings.push(about_file(
                file,
                "there are no flows configured".to_owned(),
                "add one to `flows`, with a filePattern and a kinesisStream",
            ));
            is_configured = false;
        }
        Err(refused @ Refused::Unreadable { .. }) => {
            let problem = refused.to_string();
            let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
            let prefix = format!("{}: ", file.display());
            let problem = problem.strip_prefix(&prefix).unwrap_or(problem);
            findings.push(about_file(file, problem.to_owned(), remedy));
        }
    }
    for finding in &mut findings {
        if finding.severity == Severity::Mistake {
            finding.severity = match args.lenient {
                true => Severity::Warning,
                false => Severity::Error,
            };
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    let worst = findings.first().map(|finding| finding.severity);
    let verdict = match worst {
        _ if !is_configured => Verdict::NotConfigured,
        Some(Severity::Error | Severity::Mistake) => Verdict::Refused,
        Some(Severity::Warning) if args.strict => Verdict::Refused,
        Some(Severity::Warning | Severity::Note) | None => Verdict::Good,
    };
    Ok(Checked {
        configuration: file.display().to_string(),
        verdict,
        user: reader.account.name.clone(),
        flows,
        findings,
    })
}

fn about_file(file: &Path, problem: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        file: Arc::from(file),
        line: 1,
        key: "(top level)".to_owned(),
        value: String::new(),
        problem,
        legal: None,
        remedy: remedy.to_owned(),
    }
}

/// Who will read the files.
fn reader(wanted: Option<&str>) -> anyhow::Result<Reader> {
    let (passwd, group) = files::accounts();
    let own_id = rustix::process::geteuid().as_raw();
    let own = Account::numbered(own_id, &passwd, &group).unwrap_or_else(|| Account {
        name: own_id.to_string(),
        id: own_id,
        groups: vec![rustix::process::getegid().as_raw()],
    });
    let other = match wanted {
        Some(name) if name == own.name => None,
        Some(name) => match Account::named(name, &passwd, &group) {
            Some(account) => Some(account),
            None => bail!("there is no user {name} in /etc/passwd; name another with --user"),
        },
        None if own_id == 0 => Account::named(SERVICE_USER, &passwd, &group),
        None => None,
    };
    Ok(Reader {
        is_this_process: other.is_none(),
        account: other.unwrap_or(own),
    })
}

fn print(checked: &Checked, out: &mut impl Write) -> io::Result<()> {
    for finding in &checked.findings {
        writeln!(out, "{}: {finding}", finding.severity)?;
    }
    for flow in &checked.flows {
        let files = counted(flow.files, "file");
        writeln!(out, "flow {}: {files}, {} bytes", flow.flow, flow.bytes)?;
    }
    let count = |severity| {
        let of_it = |finding: &&Finding| finding.severity == severity;
        checked.findings.iter().filter(of_it).count()
    };
    writeln!(
        out,
        "{}: {}, {}, {}, {}; files are looked at as user {} would",
        checked.configuration,
        counted(checked.flows.len(), "flow"),
        counted(count(Severity::Error), "error"),
        counted(count(Severity::Warning), "warning"),
        counted(count(Severity::Note), "note"),
        checked.user,
    )
}

/// `1 file`, `2 files`
fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
