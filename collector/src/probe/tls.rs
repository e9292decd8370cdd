//! TLS of probes: what the server presented is told whether it verifies or not.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use tls::{Certificate, SystemRoots, Verifier, chain_expiry, earliest_expiry, hex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use super::report::Report;
use crate::tls::TlsConfig;

/// Go's zero time in seconds since 1970: what blackbox_exporter tells for a chain that was not verified.
const NEVER: f64 = -62_135_596_800.0;
/// Certificates of a chain that are read. Handshakes bound the bytes.
const CHAIN_MAX: usize = 20;

/// What a handshake showed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    chain: Vec<CertificateDer<'static>>,
    verified: bool,
    version: Option<ProtocolVersion>,
    cipher: Option<String>,
}

impl Seen {
    /// Tells it under blackbox_exporter's names; nothing when no certificate came.
    pub(super) fn tell(&self, report: &mut Report) {
        for name in [
            "probe_ssl_earliest_cert_expiry",
            "probe_ssl_last_chain_expiry_timestamp_seconds",
            "probe_ssl_last_chain_info",
            "probe_tls_version_info",
            "probe_tls_cipher_info",
        ] {
            report.remove(name);
        }
        if let Some(version) = self.version.and_then(version) {
            report.set_with("probe_tls_version_info", &[("version", version)], 1.0);
        }
        if let Some(cipher) = &self.cipher {
            report.set_with("probe_tls_cipher_info", &[("cipher", cipher)], 1.0);
        }
        let read = |der: &CertificateDer<'_>| Certificate::parse(der);
        let chain: Vec<Certificate> = self.chain.iter().filter_map(read).collect();
        let (Some(leaf), Some(der)) = (chain.first(), self.chain.first()) else {
            return;
        };
        if let Some(expiry) = earliest_expiry(&chain) {
            report.set("probe_ssl_earliest_cert_expiry", expiry as f64);
        }
        let last = chain_expiry(&chain).filter(|_| self.verified);
        report.set(
            "probe_ssl_last_chain_expiry_timestamp_seconds",
            last.map_or(NEVER, |at| at as f64),
        );
        let (print, names) = (fingerprint(der), leaf.dns_names.join(","));
        let labels = [
            ("fingerprint_sha256", print.as_str()),
            ("issuer", &leaf.issuer),
            ("subject", &leaf.subject),
            ("subjectalternative", &names),
        ];
        report.set_with("probe_ssl_last_chain_info", &labels, 1.0);
    }
}

/// Does the handshake. What the server presented comes with a failure as well.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    config: &TlsConfig,
    system: &SystemRoots,
) -> (Result<TlsStream<S>, Failure>, Seen) {
    let refused = |why: String| (Err(Failure::Tls(why)), Seen::default());
    let host = config
        .server_name
        .as_deref()
        .unwrap_or(super::dial::bare(host));
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return refused(format!("{host:?} is no name a certificate can have"));
    };
    let prepared = prepare(config.clone(), system.clone()).await;
    let (tls, recorder) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return refused(why),
    };
    let connected = TlsConnector::from(tls).connect(name, stream).await;
    let mut seen = recorder.seen();
    let connected = connected.map_err(|e| Failure::Tls(e.to_string()));
    if let Ok(stream) = &connected {
        let (_, session) = stream.get_ref();
        seen.version = session.protocol_version();
        let suite = session.negotiated_cipher_suite().map(|s| s.suite());
        // Go leaves the version out of the names.
        seen.cipher = suite
            .and_then(|s| s.as_str())
            .map(|s| s.replacen("TLS13_", "TLS_", 1));
    }
    (connected, seen)
}

/// Reads files on a thread that may wait for them.
async fn prepare(
    config: TlsConfig,
    system: SystemRoots,
) -> Result<(Arc<ClientConfig>, Arc<Recorder>), String> {
    tokio::task::spawn_blocking(move || {
        let mut recorder = None;
        let made = config.client(&system)?.config_with(|verifier| {
            let recording = Arc::new(Recorder {
                verifier,
                seen: Mutex::default(),
            });
            recorder = Some(Arc::clone(&recording));
            recording
        });
        let made = made.map_err(|e| e.to_string())?;
        let recorder = recorder.ok_or("no verifier was made")?;
        Ok((Arc::new(made), recorder))
    })
    .await
    .unwrap_or_else(|e| Err(e.to_string()))
}

/// Keeps what one handshake showed, also when the verifier refuses it: the expiry of an expired
/// certificate is what a probe is asked for.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<Verifier>,
    seen: Mutex<Seen>,
}

impl Recorder {
    fn seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let chain = std::iter::once(end_entity).chain(intermediates);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.chain = chain
            .take(CHAIN_MAX)
            .map(|c| c.clone().into_owned())
            .collect();
        seen.verified = verdict.is_ok() && self.verifier.verifies();
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// As Go spells it.
fn version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
        _ => None,
    }
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(der))
}
