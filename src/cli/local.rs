//! `--local`: someone's own configuration and files, everything real but the endpoint.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::RunArgs;
use super::run::{Signals, load, runtime, start_log, tell_configuration};
use crate::agent::{Agent, Memory};
use crate::config::{Aws, Config, InitialPosition, Service, StaticKeys};
use crate::local::{Endpoint, Keep, Keys, Options, Record};
use crate::telemetry::log::Destination;

/// Calls whose records wait to be printed; then answers are delayed.
const CALLS_WAITING_MAX: usize = 16;

/// Runs until SIGTERM or SIGINT, or until nobody reads what is printed.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut loaded = match load(args)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let destination = match &args.log {
        Some(file) if file != Path::new("-") => Destination::File(file.clone()),
        _ => Destination::Terminal,
    };
    let troubles = start_log(&loaded.config.log, destination)?;
    tell_configuration(&args.configuration, &loaded);
    runtime()?.block_on(async {
        let mut signals = Signals::watch()?;
        let (sender, records) = mpsc::channel(CALLS_WAITING_MAX);
        let options = Options {
            keep: Keep::Send(sender),
            ..Options::default()
        };
        let endpoint = Endpoint::start(options)
            .await
            .context("can't listen on 127.0.0.1")?;
        point_to(&mut loaded.config, &endpoint, args.as_configured);
        let json = args.json;
        let mut printer = tokio::task::spawn_blocking(move || print(records, json));
        let agent = Agent::start(loaded.config, Memory::None, troubles).await?;
        let ended = tokio::select! {
            () = signals.first() => None,
            ended = &mut printer => Some(ended),
        };
        signals.end_at_second();
        agent.stop().await;
        endpoint.stop().await;
        match ended {
            Some(ended) => ended,
            None => printer.await,
        }
        .context("the printer ended by a defect")?
        .context("can't print records")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Everything goes to the endpoint, as its test user.
pub fn point_to(config: &mut Config, endpoint: &Endpoint, as_configured: bool) {
    let keys = Keys::test();
    let service = Service {
        endpoint: Some(endpoint.url()),
        region: Some("us-east-1".to_owned()),
    };
    config.aws = Aws {
        kinesis: service.clone(),
        firehose: service.clone(),
        cloudwatch: service.clone(),
        sts: service,
        static_keys: Some(StaticKeys {
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key,
        }),
        assume_role: None,
        user_agent: config.aws.user_agent.clone(),
    };
    if !as_configured {
        for flow in &mut config.flows {
            Arc::make_mut(flow).initial_position = InitialPosition::StartOfFile;
        }
    }
}

/// Prints each record as it arrived; a newline is added to one that has none.
fn print(mut records: mpsc::Receiver<Vec<Record>>, json: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    while let Some(call) = records.blocking_recv() {
        for record in call {
            match json {
                true => writeln!(out, "{}", record.to_json())?,
                false => {
                    out.write_all(&record.data)?;
                    if record.data.last() != Some(&b'\n') {
                        out.write_all(b"\n")?;
                    }
                }
            }
        }
        match out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            flushed => flushed?,
        }
    }
    Ok(())
}
