//! TLS for connections that are not HTTP, as `tls_config` wants it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scrape::TlsConfig;

/// Connects by the settings of one target.
pub(super) struct Connector(TlsConnector);

impl Connector {
    /// # Errors
    /// When a certificate or key cannot be used.
    pub(super) fn new(config: &TlsConfig) -> Result<Connector, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = if config.insecure_skip_verify {
            let verifier = AnyCertificate::new(&provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        } else if let Some(file) = &config.ca_file {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("ca_file", file)? {
                roots
                    .add(certificate)
                    .map_err(|e| format!("tls_config.ca_file {}: {e}", file.display()))?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| format!("tls_config.ca_file {}: {e}", file.display()))?;
            builder.with_webpki_verifier(verifier)
        } else {
            builder
                .with_platform_verifier()
                .map_err(|e| format!("the system's certificates: {e}"))?
        };
        let config = match (&config.cert_file, &config.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("cert_file", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| format!("tls_config.key_file {}: {e}", key.display()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| format!("tls_config.cert_file {}: {e}", certificate.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }

    /// # Errors
    /// When the handshake fails; Display says why.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("TLS: {e}"))?;
        let connected = self.0.connect(name, stream).await;
        connected.map_err(|e| format!("TLS: {e}"))
    }
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |e| format!("tls_config.{key} {}: {e}", file.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect();
    match all.map_err(failed)? {
        none if none.is_empty() => Err(format!(
            "tls_config.{key} {}: no certificate in it",
            file.display()
        )),
        all => Ok(all),
    }
}

/// Takes any certificate, whose key the server must have all the same.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> AnyCertificate {
        AnyCertificate(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
