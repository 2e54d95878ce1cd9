//! Asking an agent how it is doing: HTTP by hand, so that nothing is left to a client's taste.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends a request as it is written, and reads to the end; `None` if there was no answer.
pub async fn send(address: SocketAddr, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // It may close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("its answers are text");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// Gets a path, with these header lines beside.
pub async fn get_with(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    send(address, &request).await.expect("an answer")
}

/// Gets a path.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, "").await
}

/// Where an agent says in its log that it listens.
pub fn address_in(log_line: &str) -> SocketAddr {
    let (_, rest) = log_line
        .split_once("http://")
        .expect("the line has an address");
    let text = rest.split('/').next().expect("it ends in a slash");
    text.parse().expect("it is an address and a port")
}
