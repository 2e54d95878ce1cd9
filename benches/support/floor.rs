//! The least that sending raw lines of 200 bytes over TLS costs: one thread reads from a file, hashes the body of each call,
//! encrypts and writes it, and reads the answer. No lines are looked for, nothing is signed, and no other thread is woken.
//! For other rows it is a unit, and no bound.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use ciborium::Value;
use rustix::time::{ClockId, clock_gettime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};

use crate::run::{EndpointProcess, Transport};

const N_CALLS: usize = 400;
const RECORDS_PER_CALL: usize = 500;
const RECORD_BYTES: usize = 200;

/// CPU time in ms for a megabyte of 200-byte records.
pub fn cpu_ms_per_mb() -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let n_bytes = RECORDS_PER_CALL * RECORD_BYTES;
    let path = folder.path().join("input");
    fs::write(&path, "x".repeat(n_bytes)).expect("room for the input");
    let input = File::open(path).expect("it was written");
    let body = body();
    let n_records = N_CALLS * RECORDS_PER_CALL;
    let endpoint = EndpointProcess::start(Transport::Tls, n_records, "", folder.path());
    let mut line = connect(&endpoint.url, folder.path());
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
         content-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut read = vec![0; n_bytes];
    let mut answer = Vec::new();
    let before = cpu_ms();
    for _ in 0..N_CALLS {
        input.read_exact_at(&mut read, 0).expect("it was written");
        black_box(Sha256::digest(black_box(&body)));
        let connection = line.get_mut();
        connection.write_all(head.as_bytes()).expect("it listens");
        connection.write_all(&body).expect("it listens");
        connection.flush().expect("it listens");
        read_answer(&mut line, &mut answer);
    }
    (cpu_ms() - before) * 1e6 / (N_CALLS * n_bytes) as f64
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

fn connect(url: &str, folder: &Path) -> BufReader<Connection> {
    let address = url.trim_start_matches("https://").trim_end_matches('/');
    let mut trusted = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("ca.pem")).expect("it was made");
    trusted.add(certificate).expect("it was made");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("it is TCP");
    BufReader::with_capacity(64 * 1024, StreamOwned::new(session, stream))
}

fn read_answer(line: &mut BufReader<Connection>, answer: &mut Vec<u8>) {
    let mut length = None;
    loop {
        let mut header = String::new();
        line.read_line(&mut header).expect("an answer");
        let header = header.trim_end().to_ascii_lowercase();
        if let Some(text) = header.strip_prefix("content-length: ") {
            length = text.parse().ok();
        }
        if header.is_empty() {
            break;
        }
    }
    answer.resize(length.expect("its length is told"), 0);
    line.read_exact(answer).expect("all of it");
}

/// As the agent's calls are.
fn body() -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let record = Value::Map(vec![
        (text("Data"), Value::Bytes(vec![b'x'; RECORD_BYTES])),
        (text("PartitionKey"), text("123456789")),
    ]);
    let call = Value::Map(vec![
        (text("StreamName"), text("s")),
        (
            text("Records"),
            Value::Array(vec![record; RECORDS_PER_CALL]),
        ),
    ]);
    let mut body = Vec::new();
    ciborium::into_writer(&call, &mut body).expect("room for the body");
    body
}

/// CPU time of this thread so far.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
