//! TLS as libpq's `sslmode` asks for it, on rustls.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tls::{Client, Roots, SystemRoots, TlsError, Trust};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};

use super::dsn::{Dsn, SslMode};

/// Makes one TLS connection.
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// # Errors
    /// When a certificate file cannot be used.
    pub(super) fn new(dsn: &Dsn) -> Result<Tls, String> {
        let mut client = client(dsn)?;
        if let (Some(certificate), Some(key)) = (dsn.file("sslcert"), dsn.file("sslkey")) {
            client = client
                .identity(&certificate, &key)
                .map_err(|e| reading(&e))?;
        }
        // A socket's directory is no name, and there is no TLS on it either.
        let host = if dsn.is_socket() {
            "localhost"
        } else {
            dsn.host()
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| "the host is no name a certificate could have".to_owned())?;
        let config = client.config().map_err(|e| e.to_string())?;
        Ok(Tls {
            config: Arc::new(config),
            name,
        })
    }
}

/// Whom `sslmode` and `sslrootcert` trust.
fn client(dsn: &Dsn) -> Result<Client, String> {
    let roots = dsn
        .file("sslrootcert")
        .filter(|f| f.as_os_str() != "system");
    let mode = match dsn.ssl_mode()? {
        // As in libpq, for those who took it to verify.
        SslMode::Require if roots.is_some() => SslMode::VerifyCa,
        mode => mode,
    };
    if matches!(mode, SslMode::Disable | SslMode::Prefer | SslMode::Require) {
        return Ok(Client::trusting(Trust::Anyone));
    }
    let trust = match roots {
        Some(file) => Trust::Only(Roots::read(&file).map_err(|e| reading(&e))?),
        None => Trust::System(SystemRoots::default()),
    };
    let client = Client::trusting(trust);
    Ok(match mode {
        SslMode::VerifyFull => client,
        _ => client.any_name(),
    })
}

fn reading(problem: &TlsError) -> String {
    format!("reading {problem}")
}

impl<S> TlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.config);
        Box::pin(async move { connector.connect(self.name, stream).await.map(Stream) })
    }
}

/// A TLS connection as tokio-postgres wants it.
pub(super) struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Stream<S> {
    /// None is offered: SCRAM without it proves the password just as well, and `sslmode` has
    /// decided whom to trust.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
