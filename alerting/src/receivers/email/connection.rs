//! A connection to a mail server that has said hello and is as secure as configured. The handshake
//! is ours and not the mail library's, which knows other rules about whom to trust.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::Starttls;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{refused, retry, verdict};
use crate::config::{EmailConfig, SmtpSecurity};
use crate::outbox::Outcome;
use crate::receivers::http;

/// Most that a mail server may say in one attempt, in bytes; certificates are the largest part.
const ANSWERS_BYTES_MAX: usize = 1 << 20;
const NO_STARTTLS: &str =
    "the server does not offer STARTTLS (set smtp_require_tls: false for a trusted relay)";
/// What a server would say first if it were asked anew after STARTTLS.
const GREETING: &[u8] = b"220 go on\r\n";

pub(super) async fn connect(config: &EmailConfig) -> Result<AsyncSmtpConnection, Outcome> {
    let hello = match config.hello.as_str() {
        "" => ClientId::default(),
        name => ClientId::Domain(name.to_owned()),
    };
    let broken = |e: io::Error| retry(e.to_string());
    let stream = TcpStream::connect((config.host.as_str(), config.port))
        .await
        .map_err(broken)?;
    if config.security == SmtpSecurity::Implicit {
        let stream = Secured {
            greeting: b"",
            stream: handshake(config, stream).await?,
        };
        return open(stream, &hello).await;
    }
    // The library keeps the connection it is given, and what it has read ahead goes with it: words
    // that somebody put behind the answer to STARTTLS are not taken for the server's.
    let stream = stream.into_std().map_err(broken)?;
    let ours = stream.try_clone().map_err(broken)?;
    let mut plain = open(
        Bounded::new(TcpStream::from_std(stream).map_err(broken)?),
        &hello,
    )
    .await?;
    if !plain.can_starttls() {
        return match config.security {
            // A relay that learns it, or a new configuration, gets what waits.
            SmtpSecurity::Required => Err(retry(NO_STARTTLS.to_owned())),
            _ => Ok(plain),
        };
    }
    plain.command(Starttls).await.map_err(|e| verdict(&e))?;
    drop(plain);
    let ours = TcpStream::from_std(ours).map_err(broken)?;
    let stream = Secured {
        greeting: GREETING,
        stream: handshake(config, ours).await?,
    };
    open(stream, &hello).await
}

async fn open(
    stream: impl AsyncTokioStream + 'static,
    hello: &ClientId,
) -> Result<AsyncSmtpConnection, Outcome> {
    AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello)
        .await
        .map_err(|e| verdict(&e))
}

async fn handshake(config: &EmailConfig, stream: TcpStream) -> Result<TlsStream<Bounded>, Outcome> {
    let tls = http::tls(&config.tls)?.config().map_err(|e| refused(&e))?;
    let name = ServerName::try_from(config.host.clone()).map_err(|e| refused(&e))?;
    TlsConnector::from(Arc::new(tls))
        .connect(name, Bounded::new(stream))
        .await
        .map_err(|e| retry(format!("TLS: {e}")))
}

/// A stream that ends with an error when the other side says more than any mail server does:
/// the client would keep a line without an end in memory.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl Bounded {
    fn new(stream: TcpStream) -> Bounded {
        Bounded {
            stream,
            left: ANSWERS_BYTES_MAX,
        }
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server's answers do not end"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A TLS stream whose other side seems to say `greeting` first.
#[derive(Debug)]
struct Secured {
    greeting: &'static [u8],
    stream: TlsStream<Bounded>,
}

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let (now, later) = self
            .greeting
            .split_at(buf.remaining().min(self.greeting.len()));
        buf.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
