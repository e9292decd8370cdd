//! Asking a running stackwatch over HTTP.

use std::time::Duration;

use super::{Failure, Shared};
use crate::config::Config;
use crate::config::expand::ProcessSurroundings;

/// A connection that takes longer than this has nobody at its other end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which stackwatch to ask.
#[derive(clap::Args)]
pub(super) struct Url {
    /// Address of the running stackwatch [default: where the configuration says it listens]
    #[arg(long, env = "STACKWATCH_URL", value_name = "URL")]
    url: Option<String>,
}

impl Url {
    /// The base address, without a slash at its end.
    pub(super) fn base(&self, shared: &Shared) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let settings = shared.settings()?;
        let config = Config::load(
            settings.config_file.as_deref(),
            &settings.overrides,
            &ProcessSurroundings,
        )?;
        // Listening on every address includes this machine's own.
        let address = config
            .listen
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
    super::run::install_tls();
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
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .build()
            .map_err(unreachable)?;
        let answer = client.get(url).send().await.map_err(unreachable)?;
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
