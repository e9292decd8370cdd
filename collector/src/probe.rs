//! Probes: from outside, as a user would, under blackbox_exporter's names.
//!
//! A probe that fails is `probe_success 0`, never `up 0`: the prober worked. One probe costs at
//! most its timeout and a bounded number of bytes, whatever it talks to.

mod config;
mod dial;
mod dns;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod help;
mod http;
mod icmp;
mod report;
mod tcp;
mod tls;
mod websocket;

pub use config::{
    HeaderMatch, IpProtocol, ProbeConfig, QueryResponse, Realtime, RecordMatch, Transport,
};
pub(crate) use help::help;
pub use websocket::accept as websocket_accept;

use std::path::Path;
use std::time::Duration;

use ::tls::SystemRoots;
use model::{SampleBatch, Timestamp};
use reqwest::Url;
use tokio::time::Instant;

use crate::scrape::{Authorization, BasicAuth, Secret, read_secret};
use crate::source::Source;
use crate::target::{Sink, Target};
use config::Prober;
use report::Report;

/// Longest reason for a failure that is kept, bytes: servers' words are in it.
const REASON_BYTES_MAX: usize = 500;

/// Why a probe did not succeed. Display for operators; never with a credential in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The name has no address, or not one of the kind asked for.
    #[error("resolving {host}: {why}")]
    Resolve { host: String, why: String },
    /// There is no connection.
    #[error("connecting to {address}: {source}")]
    Connect {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    /// The TLS handshake failed, or could not be tried.
    #[error("TLS: {0}")]
    Tls(String),
    /// What was received is not what the protocol says.
    #[error("{0}")]
    Protocol(String),
    /// The answer is not the one wanted.
    #[error("{0}")]
    Unwanted(String),
    /// A file with a secret cannot be read.
    #[error("{0}")]
    Secret(String),
    /// Reading or writing failed on the way.
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        source: std::io::Error,
    },
    /// Time was over.
    #[error("no answer within {}", model::number::format_duration(*.0))]
    Timeout(Duration),
}

impl Failure {
    fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
        move |source| Failure::Io { doing, source }
    }
}

/// One probe.
pub(crate) struct Probe {
    config: ProbeConfig,
    url: Url,
    prober: Prober,
    timeout: Duration,
    system: SystemRoots,
    /// Why it failed last time, so that only changes are logged.
    failing: Option<String>,
}

impl Probe {
    /// # Errors
    /// What the check of the configuration would have found.
    pub(crate) fn new(
        config: &ProbeConfig,
        timeout: Duration,
        system: SystemRoots,
    ) -> Result<Probe, String> {
        config.check()?;
        let (url, prober) = config.parsed()?;
        Ok(Probe {
            config: config.clone(),
            url,
            prober,
            timeout,
            system,
            failing: None,
        })
    }

    /// Probes once. The report is whole also when the time was over.
    async fn run(&self) -> (Report, Result<(), Failure>) {
        let mut report = Report::default();
        let probed = tokio::time::timeout(self.timeout, self.probe(&mut report)).await;
        let result = probed.unwrap_or(Err(Failure::Timeout(self.timeout)));
        (report, result)
    }

    async fn probe(&self, report: &mut Report) -> Result<(), Failure> {
        match self.prober {
            Prober::Http => http::probe(self, report).await,
            Prober::Tcp | Prober::Tls => tcp::probe(self, report).await,
            Prober::Dns => dns::probe(self, report).await,
            Prober::Icmp => icmp::probe(self, report).await,
            Prober::WebSocket => websocket::probe(self, report).await,
        }
    }

    fn note(&mut self, target: &Target, result: &Result<(), Failure>) -> Option<String> {
        let instance = target.labels.get("instance").unwrap_or_default();
        let Err(failure) = result else {
            if self.failing.take().is_some() {
                tracing::info!(instance, "probe succeeds again");
            }
            return None;
        };
        let mut reason = failure.to_string();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        if self.failing.as_ref() != Some(&reason) {
            tracing::info!(instance, reason, "probe fails");
            self.failing = Some(reason.clone());
        }
        Some(reason)
    }
}

impl Source for Probe {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let (report, result) = self.run().await;
        let took = started.elapsed();
        let remark = self.note(target, &result);
        // A site that was only found, and was never seen to work, is no alarm.
        if let Some(reason) = remark.as_deref().filter(|_| target.never_answered()) {
            return target.finish(at, took, Err(reason));
        }
        let mut pass = target.pass(at);
        report.put(&mut pass);
        pass.put("probe_success", &[], f64::from(u8::from(result.is_ok())));
        pass.put("probe_duration_seconds", &[], took.as_secs_f64());
        let mut collected = pass.done();
        collected.remark = remark;
        target.finish(at, took, Ok(collected))
    }
}

/// The Authorization header a probe sends, if any.
async fn authorization(config: &ProbeConfig, url: &Url) -> Result<Option<String>, Failure> {
    let read = async |secret: &Option<Secret>, file: Option<&Path>| match (secret, file) {
        (Some(secret), _) => Ok(Some(secret.0.clone())),
        (None, Some(file)) => secret_of(file).await.map(Some),
        (None, None) => Ok(None),
    };
    if let Some(BasicAuth {
        username,
        password,
        password_file,
    }) = &config.basic_auth
    {
        let password = read(password, password_file.as_deref()).await?;
        return Ok(Some(basic(username, password.as_deref().unwrap_or(""))));
    }
    if let Some(Authorization {
        kind,
        credentials,
        credentials_file,
    }) = &config.authorization
    {
        let credentials = read(credentials, credentials_file.as_deref()).await?;
        return Ok(credentials.map(|c| format!("{kind} {c}")));
    }
    if let Some(token) = read(&config.bearer_token, config.bearer_token_file.as_deref()).await? {
        return Ok(Some(format!("Bearer {token}")));
    }
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| percent_decoded(text);
    let (user, password) = (url.username(), url.password().unwrap_or(""));
    Ok(Some(basic(&decoded(user), &decoded(password))))
}

async fn secret_of(file: &Path) -> Result<String, Failure> {
    let read = read_secret(file).await;
    read.map_err(|e| Failure::Secret(e.to_string()))
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}")
}

/// `%41` as `A`; what is no such escape stays.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [a, b, ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digit = |c: &u8| (*c as char).to_digit(16).unwrap_or(0) as u8;
                Some(digit(a) * 16 + digit(b))
            }
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = &rest[if escaped.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
