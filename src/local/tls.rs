//! TLS before the endpoint: for agents that speak nothing else, and to measure what it costs.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate with its key, as servers show them.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a certificate and a key can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("no certificate in it: {0}; it must be PEM, as \"-----BEGIN CERTIFICATE-----\"")]
    Certificate(rustls::pki_types::pem::Error),
    #[error("no private key in it: {0}; it must be PEM, as \"-----BEGIN PRIVATE KEY-----\"")]
    Key(rustls::pki_types::pem::Error),
    #[error("the certificate and the key don't go together: {0}")]
    Pair(rustls::Error),
}

impl Tls {
    /// From PEM: the certificate, with those above it if there are any, and its key (PKCS #8, PKCS #1 or SEC 1).
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::Certificate(
                rustls::pki_types::pem::Error::NoItemsFound,
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    /// The connection, once both sides agree.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_own_key() {
        let made = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert!(Tls::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
        let other_key = other.signing_key.serialize_pem();
        for (certificate, key, expected) in [
            (&certificate[..], &other_key[..], "don't go together"),
            (&key[..], &key[..], "no certificate in it"),
            (&certificate[..], &certificate[..], "no private key in it"),
            ("", "", "no certificate in it"),
        ] {
            let error = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
