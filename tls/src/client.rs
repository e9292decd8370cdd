//! Settings of one kind of connection.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::roots::Roots;
use crate::verifier::{Name, Trust, Verifier};

/// Longest file of certificates or keys read, bytes.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// Why a client cannot be made. Display begins with the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or used.
    #[error("{file}: {problem}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// What `server_name` says is none.
    #[error("{0:?} is no name a certificate can have")]
    Name(String),
    /// The library refuses; no configuration is known that makes it.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

impl TlsError {
    fn in_file(file: &Path, problem: &dyn std::fmt::Display) -> TlsError {
        TlsError::File {
            file: file.display().to_string(),
            problem: problem.to_string(),
        }
    }
}

/// How to speak TLS with servers of one kind.
#[derive(Debug)]
pub struct Client {
    trust: Trust,
    name: Name,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Client {
    /// A client that shows no certificate of its own and wants the server's to have its name.
    #[must_use]
    pub fn trusting(trust: Trust) -> Client {
        Client {
            trust,
            name: Name::Asked,
            identity: None,
        }
    }

    /// Takes a certificate with any name.
    #[must_use]
    pub fn any_name(mut self) -> Client {
        self.name = Name::Any;
        self
    }

    /// Wants the certificate to have this name. What the server is asked for (SNI) is up to who
    /// connects.
    ///
    /// # Errors
    /// It is none.
    pub fn server_name(mut self, name: &str) -> Result<Client, TlsError> {
        let parsed = ServerName::try_from(name.to_owned());
        self.name = Name::Instead(parsed.map_err(|_| TlsError::Name(name.to_owned()))?);
        Ok(self)
    }

    /// Shows the certificate of one PEM file, with the key in the other.
    ///
    /// # Errors
    /// One of them cannot be used; which one, Display says.
    pub fn identity(mut self, certificate: &Path, key: &Path) -> Result<Client, TlsError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&read(certificate)?).collect();
        let chain = chain.map_err(|e| TlsError::in_file(certificate, &e))?;
        let secret =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| TlsError::in_file(key, &e))?;
        // Refused here, where the file is known.
        rustls::sign::CertifiedKey::from_der(
            chain.clone(),
            secret.clone_key(),
            &ring::default_provider(),
        )
        .map_err(|e| TlsError::in_file(certificate, &e))?;
        self.identity = Some((chain, secret));
        Ok(self)
    }

    /// For connections that are not HTTP.
    ///
    /// # Errors
    /// The library refuses.
    pub fn config(self) -> Result<ClientConfig, TlsError> {
        self.config_with(|verifier| verifier)
    }

    /// For HTTP/1.1.
    ///
    /// # Errors
    /// The library refuses.
    pub fn http_config(self) -> Result<ClientConfig, TlsError> {
        let mut config = self.config()?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For one who wants to see what is presented: `wrap` makes of the verifier one that asks it.
    ///
    /// # Errors
    /// The library refuses.
    pub fn config_with(
        self,
        wrap: impl FnOnce(Arc<Verifier>) -> Arc<dyn ServerCertVerifier>,
    ) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Verifier {
            trust: self.trust,
            name: self.name,
            provider: Arc::clone(&provider),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            // Ours, which takes anything only where the operator wrote so.
            .dangerous()
            .with_custom_certificate_verifier(wrap(verifier));
        Ok(match self.identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        })
    }
}

impl Roots {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// It cannot be read, or holds none that can be used.
    pub fn read(file: &Path) -> Result<Roots, TlsError> {
        Roots::from_pem(&read(file)?).map_err(|e| TlsError::in_file(file, &e))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|e| TlsError::in_file(file, &e))?;
    Ok(bytes)
}
