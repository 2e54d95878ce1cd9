//! What the whole program costs, as a user runs it: files, signing, HTTP with and without TLS, checkpoints, log. The
//! endpoint is a process of its own, so only the agent's CPU time and memory count.
//!
//! `cargo bench --bench end_to_end`

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_agent::local::{Endpoint, Keep, Keys, Options};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const INPUT_BYTES: usize = 128 << 20;
/// Runs of each row; the median is printed.
const N_RUNS: usize = 3;
/// A run that takes longer has hung.
const DEADLINE: Duration = Duration::from_secs(120);
/// The role that this program plays when it starts itself again.
const ENDPOINT: &str = "--as-endpoint";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == ENDPOINT) {
        return serve(&arguments[place + 1], Path::new(&arguments[place + 2]));
    }
    println!(
        "{:<34} {:>9} {:>12} {:>10}",
        "", "MB/s", "CPU-ms/MB", "peak MiB"
    );
    let raw_200 = |n: usize| format!("{n:08} {}\n", "x".repeat(190));
    let raw_1000 = |n: usize| format!("{n:08} {}\n", "x".repeat(990));
    let csv = |n: usize| {
        format!(
            "{n:07},Annabel,Leeson,a{n:07}@example.org,Female,10.1.{}\n",
            n % 100
        )
    };
    let common = |n: usize| {
        format!(
            "10.0.0.{} - frank [10/Oct/2026:13:55:36 -0700] \"GET /a/{n}.gif HTTP/1.0\" 200 2326\n",
            n % 250
        )
    };
    let to_json = r#"{"optionName": "CSVTOJSON", "customFieldNames": ["id", "first_name", "last_name", "email", "gender", "ip"]}"#;
    let log_to_json = r#"{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG"}"#;
    type Row<'r> = (&'r str, &'r dyn Fn(usize) -> String, &'r str, &'r str);
    let rows: [Row<'_>; 5] = [
        ("raw, 200-byte lines, no TLS", &raw_200, "", "plain"),
        ("raw, 200-byte lines", &raw_200, "", "tls"),
        ("raw, 1,000-byte lines", &raw_1000, "", "tls"),
        ("CSVTOJSON, six columns", &csv, to_json, "tls"),
        ("LOGTOJSON, common format", &common, log_to_json, "tls"),
    ];
    for (name, line, option, transport) in rows {
        let mut runs: Vec<Run> = (0..N_RUNS).map(|_| run(line, option, transport)).collect();
        runs.sort_by_key(|run| run.cpu);
        let Run {
            bytes,
            cpu,
            wall,
            peak_kib,
        } = runs[N_RUNS / 2];
        let mb = bytes as f64 / 1e6;
        println!(
            "{name:<34} {:>9.1} {:>12.2} {:>10.1}",
            mb / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e3 / mb,
            peak_kib as f64 / 1024.0
        );
    }
}

#[derive(Clone, Copy)]
struct Run {
    bytes: usize,
    cpu: Duration,
    wall: Duration,
    peak_kib: u64,
}

fn run(line: &dyn Fn(usize) -> String, option: &str, transport: &str) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let n_lines = INPUT_BYTES / line(0).len();
    let content: String = (0..n_lines).map(line).collect();
    fs::write(at("input.log"), &content).expect("room for the input");
    let (mut endpoint, url) = start_endpoint(n_lines, transport, folder.path());
    let (keys, answers) = (
        Keys::test(),
        BufReader::new(endpoint.stdout.take().expect("it is piped")),
    );
    let configuration = format!(
        r#"{{"cloudwatch.emitMetrics": false, "kinesis.endpoint": "{url}", "awsAccessKeyId": "{}",
            "awsSecretAccessKey": "{}", "checkpointFile": "{}", "flows": [{{"filePattern": "{}", "kinesisStream": "s",
            "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 1000, "dataProcessingOptions": [{option}]}}]}}"#,
        keys.access_key_id,
        keys.secret_access_key,
        at("checkpoints"),
        at("input.log"),
    );
    fs::write(at("agent.json"), configuration).expect("room for the configuration");
    let started = Instant::now();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .args([
            "-c",
            &at("agent.json"),
            "--agent-d",
            &at("none"),
            "--log",
            &at("agent.log"),
        ])
        .env("AWS_CA_BUNDLE", at("ca.pem"))
        .spawn()
        .expect("the agent starts");
    // The endpoint says when it has everything, or ends at its own deadline.
    let said = answers.lines().next();
    let wall = started.elapsed();
    let (cpu, peak_kib) = (cpu_of(agent.id()), peak_of(agent.id()));
    agent
        .kill()
        .and_then(|()| agent.wait())
        .expect("the agent ends");
    endpoint.wait().expect("the endpoint ends");
    assert!(
        matches!(said, Some(Ok(ref line)) if line == "all"),
        "records are missing: see {}",
        folder.keep().display()
    );
    Run {
        bytes: content.len(),
        cpu,
        wall,
        peak_kib,
    }
}

/// CPU time of a process so far, from `/proc/PID/stat` (proc_pid_stat(5), fields 14 and 15).
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // Linux reports in hundredths of a second on every platform that we build for.
    Duration::from_millis(ticks * 10)
}

/// Most memory that a process ever had resident, in KiB.
fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn start_endpoint(n_records: usize, transport: &str, folder: &Path) -> (Child, String) {
    let mut endpoint = Command::new(std::env::current_exe().expect("this program"))
        .args([ENDPOINT, transport])
        .arg(folder)
        .env("N_RECORDS", n_records.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the endpoint starts");
    let mut url = String::new();
    let errors = endpoint.stderr.take().expect("it is piped");
    BufReader::new(errors)
        .read_line(&mut url)
        .expect("the endpoint says where it is");
    (endpoint, url.trim().to_owned())
}

/// Plays the service until it has all records: its address goes to standard error, `all` to standard output.
fn serve(transport: &str, folder: &Path) {
    let n_records = std::env::var("N_RECORDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .expect("a number of records");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let options = Options {
            keep: Keep::Count,
            check_signatures: false,
            ..Options::default()
        };
        let endpoint = Arc::new(Endpoint::start(options).await.expect("a port"));
        let url = match transport {
            "tls" => put_tls_before(&endpoint).await,
            _ => endpoint.url(),
        };
        fs::write(folder.join("ca.pem"), &certificate().0).expect("room for the certificate");
        eprintln!("{url}");
        let received = endpoint.received().wait_for(n_records, DEADLINE).await;
        println!("{}", if received.is_ok() { "all" } else { "too few" });
        std::io::stdout().flush().expect("somebody listens");
    });
}

/// A certificate for 127.0.0.1 and its key, the same in each call of one process.
fn certificate() -> &'static (String, Vec<u8>, Vec<u8>) {
    static MADE: std::sync::OnceLock<(String, Vec<u8>, Vec<u8>)> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        (
            made.cert.pem(),
            made.cert.der().to_vec(),
            made.signing_key.serialize_der(),
        )
    })
}

async fn put_tls_before(endpoint: &Arc<Endpoint>) -> String {
    let (_, certificate, key) = certificate();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone().into()], key)
        .expect("a good pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    let endpoint = Arc::clone(endpoint);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, endpoint) = (acceptor.clone(), Arc::clone(&endpoint));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    endpoint.serve_connection(stream).await;
                }
            });
        }
    });
    url
}
