//! HTTP and HTTPS: one request, redirects followed, and what the answer must look like.
//!
//! HTTP/1.1 is spoken. Bodies are counted, and kept only where an expression looks at them.

mod answer;
mod request;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, LOCATION, SET_COOKIE};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::BODY_BYTES_MAX;
use super::report::Report;
use super::{Failure, Probe, dial, tls};
pub(super) use request::Request;

/// Redirects followed.
const REDIRECTS_MAX: u32 = 10;
/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Time of a request by phase.
const DURATION: &str = "probe_http_duration_seconds";
/// Everything told of a request, 0 until it is known.
const FIGURES: [&str; 7] = [
    "probe_http_status_code",
    "probe_http_content_length",
    "probe_http_uncompressed_body_length",
    "probe_http_redirects",
    "probe_http_ssl",
    "probe_http_version",
    "probe_failed_due_to_regex",
];

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A TLS connection that may end without a goodbye, as for Go: a body whose length was told must be
/// whole anyway.
struct Unceremonious<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Unceremonious<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        Poll::Ready(match read {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unceremonious<S> {
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

/// An answer whose body has not been read.
pub(super) struct Answer {
    pub(super) response: hyper::Response<Incoming>,
    pub(super) received: Instant,
    seen: Option<tls::Seen>,
    /// Reads and writes the connection until it is dropped.
    pub(super) driver: JoinSet<()>,
}

pub(super) async fn probe(probe: &Probe, report: &mut Report) -> Result<(), Failure> {
    for name in FIGURES {
        report.set(name, 0.0);
    }
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        report.add_phase(DURATION, phase, 0.0);
    }
    let host = probe.url.host_str().unwrap_or_default();
    let (mut ip, took) = dial::resolve(&probe.config, host, report).await?;
    report.add_phase(DURATION, "resolve", took);
    let mut request = Request::new(probe).await?;
    let mut redirects = 0;
    loop {
        let answer = send(probe, &request, ip, report).await?;
        request.keep_cookies(answer.response.headers());
        let Some(next) = redirect(&request, &answer.response)? else {
            return answer::judge(probe, &request, answer, false, report).await;
        };
        redirects += 1;
        report.set("probe_http_redirects", f64::from(redirects));
        if redirects > REDIRECTS_MAX || !probe.config.follow_redirects.unwrap_or(true) {
            return answer::judge(probe, &request, answer, true, report).await;
        }
        if !matches!(next.scheme(), "http" | "https") {
            return Err(no_address());
        }
        request.follow(next, answer.response.status());
        let started = Instant::now();
        let host = request.url.host_str().unwrap_or_default();
        ip = dial::resolve_again(&probe.config, host).await?;
        report.add_phase(DURATION, "resolve", started.elapsed().as_secs_f64());
    }
}

/// Sends one request over a connection of its own and waits for the head of the answer.
async fn send(
    probe: &Probe,
    request: &Request,
    ip: IpAddr,
    report: &mut Report,
) -> Result<Answer, Failure> {
    let port = request.url.port_or_known_default().unwrap_or(80);
    let started = Instant::now();
    let plain = dial::connect(SocketAddr::new(ip, port)).await?;
    report.add_phase(DURATION, "connect", started.elapsed().as_secs_f64());
    let mut stream: Box<dyn Stream> = Box::new(plain);
    let mut shown = None;
    if request.url.scheme() == "https" {
        let started = Instant::now();
        let host = request.url.host_str().unwrap_or_default();
        let mut config = probe.config.tls_config.clone();
        if probe.url.host_str() != Some(host) {
            config.server_name = None;
        }
        let (connected, seen) = tls::handshake(stream, host, &config, &probe.system).await;
        if connected.is_err() {
            seen.tell(report);
        }
        stream = Box::new(Unceremonious(connected?));
        shown = Some(seen);
        report.add_phase(DURATION, "tls", started.elapsed().as_secs_f64());
    }
    let connected = Instant::now();
    let answer = exchange(stream, request.build()?, shown).await?;
    let processing = answer.received - connected;
    report.add_phase(DURATION, "processing", processing.as_secs_f64());
    Ok(answer)
}

/// Sends a request over `stream` and waits for the head of the answer.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    request: hyper::Request<Full<Bytes>>,
    seen: Option<tls::Seen>,
) -> Result<Answer, Failure> {
    let failed = |e: hyper::Error| Failure::Protocol(crate::scrape::chain(&e));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is that of the request as well.
        let _ = connection.with_upgrades().await;
    });
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(Answer {
        response,
        received: Instant::now(),
        seen,
        driver,
    })
}

/// Where an answer sends us.
///
/// # Errors
/// When that is no URL.
fn redirect(
    request: &Request,
    response: &hyper::Response<Incoming>,
) -> Result<Option<Url>, Failure> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| redirects) else {
        return Ok(None);
    };
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| no_address())?;
    if location.is_empty() {
        return Ok(None);
    }
    request
        .url
        .join(location)
        .map(Some)
        .map_err(|_| no_address())
}

fn no_address() -> Failure {
    Failure::Protocol("redirected to what is no http or https URL".to_owned())
}

/// Reads a body to its end and counts it; keeps it when `keep`.
async fn read_body(
    body: &mut Incoming,
    limit: u64,
    keep: bool,
    report: &mut Report,
) -> Result<Vec<u8>, Failure> {
    let mut kept = Vec::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Failure::Protocol(format!("reading the body: {}", crate::scrape::chain(&e)))
        })?;
        let Some(piece) = frame.data_ref() else {
            continue;
        };
        length += piece.len() as u64;
        report.set(
            "probe_http_uncompressed_body_length",
            length.min(limit) as f64,
        );
        if length > limit {
            return Err(Failure::Unwanted(format!(
                "the body is larger than body_size_limit, {limit} bytes"
            )));
        }
        if keep {
            kept.extend_from_slice(piece);
        }
    }
    Ok(kept)
}
