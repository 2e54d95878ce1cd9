//! Whom to believe: the system's certificate authorities, read when the first TLS connection is made, and a private one.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The one protocol that is offered: several calls at a time go over several connections.
const ALPN: &[u8] = b"http/1.1";

/// No TLS connection can be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrustError {
    #[error(
        "no certificate authority is known{detail}: install the package ca-certificates, or name a file in \
         AWS_CA_BUNDLE or SSL_CERT_FILE"
    )]
    NoAuthority { detail: String },
    #[error("TLS can't be set up: {0}")]
    Unusable(String),
}

/// The authorities that vouch for hosts.
#[derive(Debug)]
pub struct Trust {
    private: Vec<CertificateDer<'static>>,
    config: OnceLock<Result<Arc<ClientConfig>, TrustError>>,
}

impl Trust {
    /// The system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, and `private` ones.
    pub fn new(private: Vec<CertificateDer<'static>>) -> Trust {
        Trust {
            private,
            config: OnceLock::new(),
        }
    }

    /// What connections are made with. The system's store is read the first time.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        self.config.get_or_init(|| self.read()).clone()
    }

    fn read(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        // A store may hold an old certificate that isn't usable: the others are.
        roots.add_parsable_certificates(system.certs);
        roots.add_parsable_certificates(self.private.iter().cloned());
        if roots.is_empty() {
            let detail = system.errors.first();
            return Err(TrustError::NoAuthority {
                detail: detail.map_or_else(String::new, |error| format!(" ({error})")),
            });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError::Unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates of a PEM file, each of which can vouch for hosts.
pub fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow::anyhow!("isn't PEM: {error}"))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "holds no certificate: it must have -----BEGIN CERTIFICATE----- sections"
    );
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .context("holds a certificate that can't be used as a CA")?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_certificates_is_refused_with_its_reason() {
        for (pem, reason) in [
            ("", "holds no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                "isn't PEM",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "can't be used as a CA",
            ),
        ] {
            let error = format!("{:#}", certificates(pem.as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
