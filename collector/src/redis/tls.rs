//! TLS for connections that are not HTTP, as `tls_config` wants it.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tls::SystemRoots;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::TlsConfig;

/// Connects by the settings of one target.
pub(super) struct Connector {
    tls: TlsConnector,
    server_name: Option<String>,
}

impl Connector {
    /// # Errors
    /// When a certificate or key cannot be used.
    pub(super) fn new(config: &TlsConfig) -> Result<Connector, String> {
        let client = config.client(&SystemRoots::default())?;
        let tls = client.config().map_err(|e| e.to_string())?;
        Ok(Connector {
            tls: TlsConnector::from(Arc::new(tls)),
            server_name: config.server_name.clone(),
        })
    }

    /// # Errors
    /// When the handshake fails; Display says why.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let host = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(host).map_err(|e| format!("TLS: {e}"))?;
        let connected = self.tls.connect(name, stream).await;
        connected.map_err(|e| format!("TLS: {e}"))
    }
}
