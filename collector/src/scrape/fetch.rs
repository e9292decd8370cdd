//! One scrape over HTTP: request, bounds, format.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use reqwest::redirect;
use tls::SystemRoots;

use super::bodies::{Bodies, Body};
use super::config::{ScrapeConfig, ScrapeProtocol, Secret};
use super::headers;
use crate::exposition::{Encoding, Format};

/// The largest body read when the job sets no limit, decompressed: a hundred times
/// node_exporter's. All together are bounded by [`Bodies`].
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Packed bytes that are unpacked at a time: they become a thousand times as many at most.
const PACKED_BYTES: usize = 1 << 10;
/// Redirects followed.
const REDIRECTS_MAX: usize = 10;
/// Tells the target how long we wait.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// The longest password or token file read, bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Formats asked for unless the job says otherwise, the best first. Protobuf, which costs the target
/// and us more than text, is only for those who want what no text has.
const PROTOCOLS: [ScrapeProtocol; 5] = [
    ScrapeProtocol::PrometheusProto,
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

/// Why nothing could be read. `reason` is for counting, Display for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}")]
    Http(String),
    #[error("context deadline exceeded: no answer within {}", model::number::format_duration(*.0))]
    Timeout(Duration),
    #[error("server returned HTTP status {0}")]
    Status(reqwest::StatusCode),
    #[error("body size limit exceeded ({0} bytes)")]
    BodySize(u64),
    #[error("{0}")]
    ContentType(String),
    #[error("reading {file}: {source}")]
    Secret {
        file: String,
        source: std::io::Error,
    },
}

impl FetchError {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            FetchError::Http(_) => "connection",
            FetchError::Timeout(_) => "timeout",
            FetchError::Status(_) => "status",
            FetchError::BodySize(_) => "body_size",
            FetchError::ContentType(_) => "content_type",
            FetchError::Secret { .. } => "secret",
        }
    }
}

/// Asks the targets of one job.
pub(crate) struct Fetcher {
    client: reqwest::Client,
    accept: HeaderValue,
    body_bytes_max: u64,
    bodies: Bodies,
}

impl Fetcher {
    /// # Errors
    /// When the certificate file cannot be used.
    pub(crate) fn new(config: &ScrapeConfig, bodies: &Bodies) -> Result<Fetcher, String> {
        let client = client(config)?;
        let usual = match config.scrape_native_histograms {
            true => &PROTOCOLS[..],
            false => &PROTOCOLS[1..],
        };
        let protocols = config.scrape_protocols.as_deref().unwrap_or(usual);
        Ok(Fetcher {
            client,
            accept: HeaderValue::from_str(&accept(protocols)).map_err(|e| e.to_string())?,
            body_bytes_max: match config.body_size_limit {
                0 => BODY_BYTES_MAX,
                limit => limit,
            },
            bodies: bodies.clone(),
        })
    }

    /// For answers in JSON.
    ///
    /// # Errors
    /// When the certificate file cannot be used.
    pub(crate) fn for_json(config: &ScrapeConfig, bodies: &Bodies) -> Result<Fetcher, String> {
        Ok(Fetcher {
            accept: HeaderValue::from_static("application/json"),
            ..Fetcher::new(config, bodies)?
        })
    }

    /// Fetches one exposition.
    pub(crate) async fn fetch(
        &self,
        config: &ScrapeConfig,
        url: &str,
        timeout: Duration,
    ) -> Result<(Body, Encoding), FetchError> {
        let seconds = timeout.as_secs_f64().to_string();
        let get = self.get_untimed(config, url, (TIMEOUT_HEADER, seconds), |content_type| {
            format(content_type, config.fallback_scrape_protocol).map_err(FetchError::ContentType)
        });
        tokio::time::timeout(timeout, get)
            .await
            .unwrap_or(Err(FetchError::Timeout(timeout)))
    }

    /// Fetches anything: the body and its Content-Type. `header` goes with the request.
    pub(crate) async fn get(
        &self,
        config: &ScrapeConfig,
        url: &str,
        header: (HeaderName, String),
        timeout: Duration,
    ) -> Result<(Body, Option<String>), FetchError> {
        let get = self.get_untimed(config, url, header, |kind| Ok(kind.map(str::to_owned)));
        tokio::time::timeout(timeout, get)
            .await
            .unwrap_or(Err(FetchError::Timeout(timeout)))
    }

    /// `judge` sees the Content-Type before the body is read.
    async fn get_untimed<T>(
        &self,
        config: &ScrapeConfig,
        url: &str,
        (name, value): (HeaderName, String),
        judge: impl FnOnce(Option<&str>) -> Result<T, FetchError>,
    ) -> Result<(Body, T), FetchError> {
        // The address, which may hold a token, is shown beside the error anyway.
        let http = |e: reqwest::Error| FetchError::Http(chain(&e.without_url()));
        let mut request = self
            .client
            .get(url)
            .header(ACCEPT, self.accept.clone())
            .header(name, value);
        if config.enable_compression {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        request = headers::add(request, &config.http_headers).await?;
        request = authorize(request, config).await?;
        let mut response = request.send().await.map_err(http)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let judged = judge(header(CONTENT_TYPE).as_deref())?;
        let zipped = header(CONTENT_ENCODING).is_some_and(|v| v.eq_ignore_ascii_case("gzip"));
        // Of such an answer only the connection's end says where it ends.
        let ends_with_connection =
            header(CONTENT_LENGTH).is_none() && header(TRANSFER_ENCODING).is_none();
        // Unpacked here and not by the client, which cannot tell a body that is cut off from one
        // whose connection ended without a goodbye.
        let mut packed = zipped.then(|| MultiGzDecoder::new(Vec::new()));
        let unpacking = |e| FetchError::Http(format!("unpacking the answer: {e}"));
        let mut body = self.bodies.body();
        let mut is_empty = true;
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                // Python's servers close without TLS' goodbye, and Go takes that for an end.
                Err(e) if ends_with_connection && is_bare_end(&e) => break,
                Err(e) => return Err(http(e)),
            };
            is_empty &= piece.is_empty();
            let Some(packed) = &mut packed else {
                self.add(&mut body, &piece).await?;
                continue;
            };
            for part in piece.chunks(PACKED_BYTES) {
                packed.write_all(part).map_err(unpacking)?;
                let plain = std::mem::take(packed.get_mut());
                self.add(&mut body, &plain).await?;
            }
        }
        if let Some(mut packed) = packed.filter(|_| !is_empty) {
            packed.try_finish().map_err(unpacking)?;
            self.add(&mut body, packed.get_ref()).await?;
        }
        Ok((body, judged))
    }

    async fn add(&self, body: &mut Body, piece: &[u8]) -> Result<(), FetchError> {
        if (body.len() + piece.len()) as u64 > self.body_bytes_max {
            return Err(FetchError::BodySize(self.body_bytes_max));
        }
        body.extend(piece).await;
        Ok(())
    }
}

/// Whether the connection just ended.
fn is_bare_end(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        if let Some(e) = e.downcast_ref::<std::io::Error>() {
            return e.kind() == std::io::ErrorKind::UnexpectedEof;
        }
        cause = e.source();
    }
    false
}

/// A proxy for every request.
///
/// # Errors
/// The URL, which is not shown, is none of an HTTP proxy.
pub(super) fn proxy(url: &Secret) -> Result<reqwest::Proxy, String> {
    let wrong = || "proxy_url is not an http or https URL".to_owned();
    let parsed = reqwest::Url::parse(&url.0).map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(wrong());
    }
    reqwest::Proxy::all(parsed).map_err(|_| wrong())
}

/// The client for a job's settings.
fn client(config: &ScrapeConfig) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("stackwatch/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .no_proxy()
        .dns_resolver(crate::names::Names::shared())
        .redirect(if config.follow_redirects {
            redirect::Policy::limited(REDIRECTS_MAX)
        } else {
            redirect::Policy::none()
        });
    if let Some(url) = &config.proxy_url {
        builder = builder.proxy(proxy(url)?);
    }
    let tls = config.tls_config.client(&SystemRoots::default())?;
    let tls = tls.http_config().map_err(|e| e.to_string())?;
    builder = builder.tls_backend_preconfigured(tls);
    builder.build().map_err(|e| chain(&e))
}

async fn authorize(
    request: reqwest::RequestBuilder,
    config: &ScrapeConfig,
) -> Result<reqwest::RequestBuilder, FetchError> {
    if let Some(basic) = &config.basic_auth {
        let password = match (&basic.password, &basic.password_file) {
            (Some(secret), _) => Some(secret.0.clone()),
            (None, Some(file)) => Some(read_secret(file).await?),
            (None, None) => None,
        };
        return Ok(request.basic_auth(&basic.username, password));
    }
    let (kind, secret, file) = match &config.authorization {
        Some(a) => (a.kind.as_str(), &a.credentials, &a.credentials_file),
        None => ("Bearer", &config.bearer_token, &config.bearer_token_file),
    };
    let secret = match (secret, file) {
        (Some(secret), _) => secret.0.clone(),
        (None, Some(file)) => read_secret(file).await?,
        (None, None) => return Ok(request),
    };
    Ok(request.header(AUTHORIZATION, format!("{kind} {secret}")))
}

/// Read at each scrape, so that a rotated secret is picked up.
pub(crate) async fn read_secret(file: &Path) -> Result<String, FetchError> {
    let failed = |source| FetchError::Secret {
        file: file.display().to_string(),
        source,
    };
    let path = file.to_owned();
    let read = move || {
        use std::io::Read;
        let mut text = String::new();
        crate::regular::open(&path)?
            .take(SECRET_BYTES_MAX)
            .read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|e| Err(std::io::Error::other(e)))
        .map_err(failed)
}

/// The Accept header, weighted as Prometheus weights it.
fn accept(protocols: &[ScrapeProtocol]) -> String {
    let mut out = String::new();
    // One more than there are protocols; none is named twice.
    let mut weight = PROTOCOLS.len() + 1;
    for protocol in protocols {
        out.push_str(&format!("{};q=0.{weight},", protocol.media_type()));
        weight = weight.saturating_sub(1);
    }
    out + &format!("*/*;q=0.{weight}")
}

/// The format a Content-Type announces; as in Prometheus 3, one that says nothing useful
/// fails the scrape unless the job names a fallback.
fn format(
    content_type: Option<&str>,
    fallback: Option<ScrapeProtocol>,
) -> Result<Encoding, String> {
    let media = content_type.unwrap_or("").split(';').next().unwrap_or("");
    match media.trim().to_ascii_lowercase().as_str() {
        "text/plain" => return Ok(Encoding::Text(Format::Prometheus)),
        "application/openmetrics-text" => return Ok(Encoding::Text(Format::OpenMetrics)),
        "application/vnd.google.protobuf" => return Ok(Encoding::Protobuf),
        _ => {}
    }
    match (fallback, content_type) {
        (Some(protocol), _) => Ok(protocol.encoding()),
        (None, None | Some("")) => Err(
            "scrape target sent blank Content-Type with no fallback_scrape_protocol specified for target"
                .to_owned(),
        ),
        (None, Some(other)) => Err(format!(
            "received unsupported Content-Type {other:?} and no fallback_scrape_protocol specified for target"
        )),
    }
}

impl ScrapeProtocol {
    fn media_type(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::OpenMetricsText1_0_0 => {
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
            }
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        }
    }

    fn encoding(self) -> Encoding {
        match self {
            ScrapeProtocol::PrometheusProto => Encoding::Protobuf,
            ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::OpenMetricsText0_0_1 => {
                Encoding::Text(Format::OpenMetrics)
            }
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::PrometheusText0_0_4 => {
                Encoding::Text(Format::Prometheus)
            }
        }
    }
}

/// An error with its causes: the last is the one that helps.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if !out.ends_with(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = e.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_is_prometheus() {
        assert_eq!(
            accept(&PROTOCOLS[1..]),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept(&PROTOCOLS),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        assert_eq!(
            accept(&[ScrapeProtocol::PrometheusText0_0_4]),
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
        );
    }

    #[test]
    fn an_unknown_content_type_needs_a_fallback() {
        let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
        assert_eq!(
            format(Some("text/plain; charset=UTF-8"), None),
            Ok(Encoding::Text(Format::Prometheus))
        );
        assert_eq!(
            format(
                Some("application/openmetrics-text; version=1.0.0"),
                fallback
            ),
            Ok(Encoding::Text(Format::OpenMetrics))
        );
        assert_eq!(
            format(
                Some(
                    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                ),
                None
            ),
            Ok(Encoding::Protobuf)
        );
        assert!(format(Some("text/html"), None).is_err());
        assert!(format(None, None).is_err());
        assert_eq!(
            format(None, fallback),
            Ok(Encoding::Text(Format::Prometheus))
        );
    }
}
