//! `endpoint`: an AWS on loopback until it is told to stop.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::local::faults::Faults;
use crate::local::limits::SHARDS_MAX;
use crate::local::{Endpoint, Keep, Keys, Options, Received, Record, Tls};

/// Calls whose records wait for the file; then answers are delayed.
const CALLS_WAITING_MAX: usize = 16;
/// One wait for records; then it waits again.
const WAIT: Duration = Duration::from_secs(3600);

/// Play Kinesis, Firehose and CloudWatch on this machine, with faults if wanted.
#[derive(Debug, Clone, Args)]
pub struct EndpointArgs {
    /// Where to listen; port 0 takes any free one. Other machines can't reach it.
    #[arg(long, value_name = "127.0.0.1:PORT", default_value = "127.0.0.1:4567", value_parser = parse_listen)]
    pub listen: u16,
    /// Speak TLS with the certificate in this PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// The private key that goes with it, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// What goes wrong on purpose, e.g. "fail-record every=10; status=503 calls=3..7; delay=200ms p=0.1".
    #[arg(long, value_name = "SCRIPT")]
    pub faults: Option<Faults>,
    /// Write accepted records here, one JSON object a line; "-" is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "sink")]
    pub out: Option<PathBuf>,
    /// Only count records, at the least cost; for benchmarks.
    #[arg(long)]
    pub sink: bool,
    /// End once so many records were accepted.
    #[arg(long, value_name = "N")]
    pub until_records: Option<u64>,
    /// Shards of every Kinesis stream.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(SHARDS_MAX)))]
    pub shards: u32,
    /// Refuse what is beyond 1 MiB and 1,000 records a second in a shard.
    #[arg(long)]
    pub enforce_limits: bool,
    /// Don't check signatures.
    #[arg(long, conflicts_with = "access_key_id")]
    pub no_signatures: bool,
    /// Whose signatures to accept, instead of the test pair's.
    #[arg(long, value_name = "ID", requires = "secret_access_key")]
    pub access_key_id: Option<String>,
    /// The secret that goes with it.
    #[arg(long, value_name = "SECRET", requires = "access_key_id")]
    pub secret_access_key: Option<String>,
}

/// The certificate to show, if there is to be one.
fn tls(args: &EndpointArgs) -> anyhow::Result<Option<Tls>> {
    let Some((certificate, key)) = args.tls_certificate.as_ref().zip(args.tls_key.as_ref()) else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
    };
    Tls::from_pem(&read(certificate)?, &read(key)?)
        .map(Some)
        .with_context(|| {
            format!(
                "can't serve {} with {}",
                certificate.display(),
                key.display()
            )
        })
}

/// Serves until SIGINT or SIGTERM, then says on standard error what each stream accepted.
///
/// Fails if it can't listen or can't write the records.
pub fn run(args: EndpointArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
        let session = Session::start(&args).await?;
        eprint!("{}", session.greeting);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = session.writer_ended() => {}
            () = session.accepted(args.until_records) => {}
        }
        eprint!("{}", session.finish().await?);
        Ok(ExitCode::SUCCESS)
    })
}

/// An endpoint and the thread that writes what it accepts.
struct Session {
    endpoint: Endpoint,
    greeting: String,
    writer: JoinHandle<anyhow::Result<()>>,
    /// Closed once the writer's end of the channel is gone; kept to notice that.
    records: mpsc::WeakSender<Vec<Record>>,
}

impl Session {
    async fn start(args: &EndpointArgs) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel(CALLS_WAITING_MAX);
        let records = sender.downgrade();
        let out = args
            .out
            .as_deref()
            .map(|path| open(path.to_owned()))
            .transpose()?;
        let own_keys = args
            .access_key_id
            .as_ref()
            .zip(args.secret_access_key.as_ref());
        let keys = own_keys.map_or_else(Keys::test, |(id, secret)| Keys::new(id, secret));
        let mut greeting = String::new();
        let options = Options {
            port: args.listen,
            tls: tls(args)?,
            credentials: vec![keys],
            check_signatures: !args.no_signatures,
            shards: args.shards,
            enforce_shard_limits: args.enforce_limits,
            keep: if args.sink {
                Keep::Count
            } else {
                Keep::Send(sender)
            },
            faults: args.faults.clone().unwrap_or_default(),
            ..Options::default()
        };
        let endpoint = Endpoint::start(options)
            .await
            .with_context(|| format!("can't listen on 127.0.0.1:{}", args.listen))?;
        // Writing to a string can't fail.
        let _ = writeln!(greeting, "listening on {}", endpoint.url());
        if !args.no_signatures && own_keys.is_none() {
            let _ = writeln!(
                greeting,
                "sign with AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}",
                Keys::TEST_ACCESS_KEY_ID,
                Keys::TEST_SECRET_ACCESS_KEY,
            );
        }
        let writer = thread::Builder::new()
            .name("endpoint-out".into())
            .spawn(move || write(receiver, out))
            .context("can't start the thread that writes records")?;
        Ok(Self {
            endpoint,
            greeting,
            writer,
            records,
        })
    }

    /// Returns if the writer gives up while the endpoint still runs.
    async fn writer_ended(&self) {
        match self.records.upgrade() {
            Some(records) => records.closed().await,
            // In sink mode nothing is written at all.
            None => std::future::pending().await,
        }
    }

    /// Returns once so many records were accepted.
    async fn accepted(&self, n_records: Option<u64>) {
        let Some(n_records) = n_records else {
            return std::future::pending().await;
        };
        let received = self.endpoint.received();
        while received.wait_for(n_records, WAIT).await.is_err() {}
    }

    /// Stops and gives the summary, once everything accepted is written.
    async fn finish(self) -> anyhow::Result<String> {
        let received = self.endpoint.received().clone();
        let body_bytes = self.endpoint.body_bytes();
        self.endpoint.stop().await;
        let summary = summary(&received, body_bytes);
        // The last sender is in there.
        drop(received);
        let writer = self.writer;
        match tokio::task::spawn_blocking(move || writer.join())
            .await
            .context("the writer was cancelled")?
        {
            Ok(written) => written.map(|()| summary),
            Err(_) => Err(anyhow!("the thread that writes records panicked")),
        }
    }
}

fn parse_listen(text: &str) -> Result<u16, String> {
    let wanted = "must be 127.0.0.1:PORT; other addresses would open it to other machines";
    let (host, port) = text.rsplit_once(':').ok_or(wanted)?;
    if host != "127.0.0.1" && host != "localhost" {
        return Err(wanted.into());
    }
    port.parse()
        .map_err(|_| format!("\"{port}\" isn't a port from 0 to 65535"))
}

type Out = (PathBuf, Box<dyn Write + Send>);

fn open(path: PathBuf) -> anyhow::Result<Out> {
    if path.as_os_str() == "-" {
        return Ok(("standard output".into(), Box::new(io::stdout())));
    }
    let file = File::create(&path).with_context(|| format!("can't create {}", path.display()))?;
    Ok((path, Box::new(file)))
}

/// Writes records as they come, and flushes whenever it has caught up.
fn write(mut receiver: mpsc::Receiver<Vec<Record>>, out: Option<Out>) -> anyhow::Result<()> {
    let Some((path, out)) = out else {
        while receiver.blocking_recv().is_some() {}
        return Ok(());
    };
    let mut out = BufWriter::new(out);
    let mut write_all = || -> io::Result<()> {
        while let Some(records) = receiver.blocking_recv() {
            for record in records {
                writeln!(out, "{}", record.to_labelled_json())?;
            }
            if receiver.is_empty() {
                out.flush()?;
            }
        }
        out.flush()
    };
    write_all().with_context(|| format!("can't write records to {}", path.display()))
}

fn summary(received: &Received, body_bytes: u64) -> String {
    let counts = received.counts();
    if counts.is_empty() {
        return "nothing was accepted\n".into();
    }
    let lines = counts.iter().map(|((service, stream), counts)| {
        format!(
            "{service} {stream}: calls={} records={} bytes={} refused={}\n",
            counts.n_calls, counts.n_records, counts.data_bytes, counts.n_refused,
        )
    });
    let total = format!("all calls: body_bytes={body_bytes}\n");
    lines.chain(std::iter::once(total)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: EndpointArgs,
    }

    fn parse(words: &[&str]) -> Result<EndpointArgs, String> {
        let words = std::iter::once("endpoint").chain(words.iter().copied());
        Cli::try_parse_from(words)
            .map(|cli| cli.args)
            .map_err(|error| error.to_string())
    }

    fn body_of(records: &[&str]) -> String {
        let entries: Vec<_> = records
            .iter()
            .map(|data| serde_json::json!({ "Data": data, "PartitionKey": "k" }))
            .collect();
        serde_json::json!({ "StreamName": "orders", "Records": entries }).to_string()
    }

    /// One unsigned PutRecords call; gives the answer's first line.
    async fn put(endpoint: &Endpoint, records: &[&str]) -> String {
        let body = body_of(records);
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
             content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut stream = tokio::net::TcpStream::connect(endpoint.address())
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn mistakes_on_the_command_line_are_refused() {
        for (words, expected) in [
            (&["--listen", "0.0.0.0:80"][..], "must be 127.0.0.1:PORT"),
            (&["--listen", "127.0.0.1:70000"], "isn't a port"),
            (&["--listen", "4567"], "must be 127.0.0.1:PORT"),
            (&["--faults", "sleep"], "unknown fault; legal: fail-record"),
            (&["--shards", "0"], "0 is not in 1..="),
            (&["--sink", "--out", "-"], "cannot be used with"),
            (&["--access-key-id", "x"], "--secret-access-key"),
            (&["--secret-access-key", "x"], "--access-key-id"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
        assert_eq!(parse(&[]).unwrap().listen, 4567);
        assert_eq!(parse(&["--listen", "localhost:0"]).unwrap().listen, 0);
    }

    #[tokio::test]
    async fn accepted_records_are_written_and_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut args = parse(&[
            "--listen",
            "127.0.0.1:0",
            "--no-signatures",
            "--faults",
            "fail-record every=3",
        ])
        .unwrap();
        args.out = Some(path.clone());
        let session = Session::start(&args).await.unwrap();
        assert_eq!(
            session.greeting,
            format!("listening on {}\n", session.endpoint.url())
        );
        assert_eq!(
            put(&session.endpoint, &["b25l", "/w==", "dHdv"]).await,
            "HTTP/1.1 200 OK"
        );
        let summary = session.finish().await.unwrap();
        assert_eq!(
            summary,
            format!(
                "kinesis orders: calls=1 records=2 bytes=4 refused=1\nall calls: body_bytes={}\n",
                body_of(&["b25l", "/w==", "dHdv"]).len()
            )
        );
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "{\"service\":\"kinesis\",\"stream\":\"orders\",\"text\":\"one\",\"partition_key\":\"k\"}\n\
             {\"service\":\"kinesis\",\"stream\":\"orders\",\"base64\":\"/w==\",\"partition_key\":\"k\"}\n",
        );
    }

    #[tokio::test]
    async fn a_sink_counts() {
        let args = parse(&["--listen", "127.0.0.1:0", "--no-signatures", "--sink"]).unwrap();
        let session = Session::start(&args).await.unwrap();
        put(&session.endpoint, &["b25l"]).await;
        session.accepted(Some(1)).await;
        let summary = session.finish().await.unwrap();
        assert!(
            summary.starts_with("kinesis orders: calls=1 records=1 bytes=3 refused=0\n"),
            "{summary}"
        );
    }

    #[tokio::test]
    async fn signatures_are_wanted_unless_told_otherwise() {
        for (words, greets_with_keys) in [
            (&["--listen", "127.0.0.1:0"][..], true),
            (
                &[
                    "--listen",
                    "127.0.0.1:0",
                    "--access-key-id",
                    "x",
                    "--secret-access-key",
                    "y",
                ],
                false,
            ),
        ] {
            let session = Session::start(&parse(words).unwrap()).await.unwrap();
            assert_eq!(
                session.greeting.contains("AWS_ACCESS_KEY_ID"),
                greets_with_keys
            );
            assert_eq!(
                put(&session.endpoint, &["b25l"]).await,
                "HTTP/1.1 400 Bad Request"
            );
            assert_eq!(session.finish().await.unwrap(), "nothing was accepted\n");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_ends_the_session_with_its_name() {
        let mut args = parse(&["--listen", "127.0.0.1:0", "--no-signatures"]).unwrap();
        args.out = Some("/no/such/folder/out".into());
        let error = Session::start(&args).await.err().unwrap();
        assert_eq!(error.to_string(), "can't create /no/such/folder/out");

        args.out = Some("/dev/full".into());
        let session = Session::start(&args).await.unwrap();
        put(&session.endpoint, &["b25l"]).await;
        session.writer_ended().await;
        let error = session.finish().await.unwrap_err();
        assert_eq!(error.to_string(), "can't write records to /dev/full");
    }
}
