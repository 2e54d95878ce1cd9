//! AWS as the agent finds it: the embedded endpoint, and the same behind TLS and behind a proxy that knows no other host.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use kinesis_agent::local::{Call, CallOutcome, Endpoint, Keys, Options, Record};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::host::PATIENCE;

/// An endpoint with these faults that accepts any stream.
pub async fn endpoint(faults: &str) -> Endpoint {
    start(Options {
        faults: faults.parse().expect("a script of the test's own"),
        ..Options::default()
    })
    .await
}

/// Starts an endpoint whose only user, unless the options name others, is [`user`].
pub async fn start(mut options: Options) -> Endpoint {
    if options.credentials == [Keys::test()] {
        options.credentials = vec![user()];
    }
    Endpoint::start(options)
        .await
        .expect("loopback can be listened on")
}

/// Whose calls the endpoints of this process take. An agent of another test run may call a port that was its endpoint's
/// and is one of ours now.
pub fn user() -> Keys {
    let process = std::process::id();
    Keys::new(
        format!("AKIDTEST{process}"),
        format!("test-secret-{process}"),
    )
}

/// A port that refuses connections, and that nobody else is given meanwhile.
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub fn new() -> ClosedPort {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        // So that an endpoint may have it while it is still ours.
        socket.set_reuseaddr(true).expect("the system has sockets");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(any).expect("loopback has free ports");
        ClosedPort(socket)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }

    /// An endpoint starts to listen there.
    pub async fn open(self, options: Options) -> Endpoint {
        let port = self.number();
        start(Options { port, ..options }).await
    }
}

/// Waits for so many accepted records, over all streams.
pub async fn received(endpoint: &Endpoint, n_records: u64) {
    let waited = endpoint.received().wait_for(n_records, PATIENCE).await;
    waited.unwrap_or_else(|error| panic!("{error}: {:#?}", endpoint.received().calls()));
}

/// The texts of a stream's records, in order of acceptance.
pub fn texts(endpoint: &Endpoint, stream: &str) -> Vec<String> {
    let text = |record: &Record| String::from_utf8_lossy(&record.data).into_owned();
    endpoint
        .received()
        .records(stream)
        .iter()
        .map(text)
        .collect()
}

/// The call's records were accepted, although the caller can't know.
pub fn is_unanswered(call: &Call) -> bool {
    matches!(&call.outcome, CallOutcome::Answered { after: Some(_), .. })
}

/// A CA that no host knows, and what it vouches for.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("the system has random numbers");
        let certificate = params.self_signed(&key).expect("the parameters are legal");
        let issuer = rcgen::Issuer::new(params, key);
        Authority {
            certificate,
            issuer,
        }
    }

    /// Its certificate, for those who are to trust it.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server's side of TLS for these names, which offers these protocols.
    pub fn vouch_for(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).expect("names of the test's own");
        let key = rcgen::KeyPair::generate().expect("the system has random numbers");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the parameters are legal");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it was just made");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .expect("key and certificate belong together");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The endpoint behind TLS on a port of its own. What clients chose by ALPN is kept.
pub struct Https {
    address: SocketAddr,
    chosen: Arc<Mutex<BTreeSet<Option<String>>>>,
    acceptor: JoinHandle<()>,
}

impl Https {
    pub async fn start(endpoint: Arc<Endpoint>, tls: TlsAcceptor) -> Https {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback can be listened on");
        let address = listener.local_addr().expect("it listens");
        let chosen: Arc<Mutex<BTreeSet<Option<String>>>> = Arc::default();
        let noted = Arc::clone(&chosen);
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (endpoint, tls, noted) =
                    (Arc::clone(&endpoint), tls.clone(), Arc::clone(&noted));
                tokio::spawn(serve_tls(endpoint, tls, stream, noted));
            }
        });
        Https {
            address,
            chosen,
            acceptor,
        }
    }

    /// `https://localhost:PORT`
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The protocols that ALPN came to, over all connections.
    pub fn chosen_protocols(&self) -> Vec<Option<String>> {
        let chosen = self.chosen.lock().expect("no one panics with it");
        chosen.iter().cloned().collect()
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn serve_tls(
    endpoint: Arc<Endpoint>,
    tls: TlsAcceptor,
    stream: TcpStream,
    noted: Arc<Mutex<BTreeSet<Option<String>>>>,
) {
    // A client that doesn't trust the certificate goes away.
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let protocol = stream.get_ref().1.alpn_protocol();
    let protocol = protocol.map(|name| String::from_utf8_lossy(name).into_owned());
    noted
        .lock()
        .expect("no one panics with it")
        .insert(protocol);
    endpoint.serve_connection(stream).await;
}

/// An HTTP proxy behind which every host is the endpoint, behind TLS: shows which hosts are called.
pub struct Proxy {
    address: SocketAddr,
    hosts: Arc<Mutex<BTreeSet<String>>>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(endpoint: Arc<Endpoint>, authority: &Authority) -> Proxy {
        let names = [
            "*.us-east-1.amazonaws.com",
            "*.eu-west-1.amazonaws.com",
            "*.eu-west-2.amazonaws.com",
            "*.eu-west-3.amazonaws.com",
        ];
        let tls = authority.vouch_for(&names, &["http/1.1"]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback can be listened on");
        let address = listener.local_addr().expect("it listens");
        let hosts: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let noted = Arc::clone(&hosts);
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (endpoint, tls, noted) =
                    (Arc::clone(&endpoint), tls.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Some((host, stream)) = connect(stream).await else {
                        return;
                    };
                    noted.lock().expect("no one panics with it").insert(host);
                    serve_tls(endpoint, tls, stream, Arc::default()).await;
                });
            }
        });
        Proxy {
            address,
            hosts,
            acceptor,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The hosts asked for so far, each `NAME:PORT`.
    pub fn hosts(&self) -> Vec<String> {
        let hosts = self.hosts.lock().expect("no one panics with it");
        hosts.iter().cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Takes a CONNECT request; the host that it names.
async fn connect(stream: TcpStream) -> Option<(String, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).await.ok()?;
    while reader.read_line(&mut line).await.ok()? > 2 {
        line.clear();
    }
    let host = first
        .strip_prefix("CONNECT ")?
        .split(' ')
        .next()?
        .to_owned();
    let mut stream = reader.into_inner();
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .ok()?;
    Some((host, stream))
}

/// Answers every request with this JSON text, as a container's credentials endpoint does; its URL.
pub async fn json_server(text: String) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback can be listened on");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            // A GET fits in one read; whoever goes away early has no need of an answer.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}/keys")
}
