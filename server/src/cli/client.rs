//! Asking a running stackwatch over HTTP.

use std::time::Duration;

use tls::{SystemRoots, Trust};

use super::{Failure, Shared};

/// A connection that takes longer than this has nobody at its other end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which stackwatch to ask.
#[derive(clap::Args, Default)]
pub(super) struct Url {
    /// Address of the running stackwatch [default: where the configuration says it listens]
    #[arg(long, env = "STACKWATCH_URL", value_name = "URL")]
    url: Option<String>,
}

impl Url {
    /// Whether somebody named the address.
    pub(super) fn is_given(&self) -> bool {
        self.url.as_deref().is_some_and(|url| !url.is_empty())
    }

    /// The base address, without a slash at its end. The configuration is read only when
    /// neither `--url` nor `--listen` tells.
    pub(super) fn base(&self, shared: &Shared) -> Result<String, Failure> {
        if let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) {
            let url = url.trim_end_matches('/');
            let has_scheme = url.starts_with("http://") || url.starts_with("https://");
            return Ok(if has_scheme {
                url.to_owned()
            } else {
                format!("http://{url}")
            });
        }
        let listen = match &shared.listen {
            Some(listen) => listen.clone(),
            None => shared.client_config()?.listen,
        };
        // Listening on every address includes this machine's own.
        let address = listen
            .replace("0.0.0.0:", "127.0.0.1:")
            .replace("[::]:", "[::1]:");
        Ok(format!("http://{address}"))
    }
}

/// Status and body of a GET.
pub(super) fn get(
    base: &str,
    path: &str,
    params: &[(&str, String)],
    timeout: Duration,
) -> Result<(u16, String), Failure> {
    send(reqwest::Method::GET, base, path, params, timeout)
}

/// Status and body of a POST with the parameters in the URL.
pub(super) fn post(
    base: &str,
    path: &str,
    params: &[(&str, String)],
    timeout: Duration,
) -> Result<(u16, String), Failure> {
    send(reqwest::Method::POST, base, path, params, timeout)
}

fn send(
    method: reqwest::Method,
    base: &str,
    path: &str,
    params: &[(&str, String)],
    timeout: Duration,
) -> Result<(u16, String), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let mut url = reqwest::Url::parse(&format!("{base}{path}"))
        .map_err(|e| Failure::Usage(format!("{base}: {e}")))?;
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    runtime.block_on(async {
        let unreachable = |e: reqwest::Error| {
            let cause = root_cause(&e);
            Failure::Other(format!(
                "cannot ask {base}: {cause} (is stackwatch running?)"
            ))
        };
        let tls = tls::Client::trusting(Trust::System(SystemRoots::default()));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.http_config().map_err(Failure::other)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .build()
            .map_err(unreachable)?;
        let answer = client
            .request(method, url)
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(unreachable)?;
        Ok((status, body))
    })
}

/// The body as JSON; an error answer becomes its own message.
pub(super) fn get_json(
    base: &str,
    path: &str,
    params: &[(&str, String)],
) -> Result<serde_json::Value, Failure> {
    let (status, body) = get(base, path, params, Duration::from_secs(150))?;
    let parsed: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    match parsed {
        Some(value) if status == 200 => Ok(value),
        Some(value) => Err(Failure::Other(
            value["error"].as_str().unwrap_or(&body).to_owned(),
        )),
        None if status == 503 => Err(Failure::Other(format!(
            "{base} is starting, try again in a moment"
        ))),
        // Loki's errors are plain text; a page is somebody else's server.
        None if body.trim_start().starts_with('<') => Err(Failure::Other(format!(
            "{base} answered {status} with a page: is that stackwatch?"
        ))),
        None => Err(Failure::Other(body.trim().to_owned())),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
