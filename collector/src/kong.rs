//! Kong: what its Prometheus plugin exposes, or, where the plugin is not loaded, what `/status`
//! tells, under the plugin's names of Kong 3.
//!
//! Sources: kong/plugins/prometheus/exporter.lua of tags 2.8.1 and 3.9.1, kong/api/routes/health.lua.

mod config;
mod spelling;
mod status;

use std::time::Duration;

use model::{SampleBatch, Timestamp};
use tokio::time::Instant;

pub use config::HttpSourceConfig;

use crate::exposition::{Encoding, Format, Kind};
use crate::scrape::{Bodies, Body, FetchError, Fetcher, ScrapeConfig, SeriesRules, parse_into};
use crate::source::Source;
use crate::target::{Collected, Target};

/// Collects from one node, by its admin or its status listener.
pub(crate) struct Kong {
    metrics_url: String,
    status_url: String,
    timeout: Duration,
    scrape: ScrapeConfig,
    fetcher: Fetcher,
}

/// What the node answered.
enum Answer {
    Metrics(Body, Format),
    Status(Body),
}

impl Kong {
    /// # Errors
    /// When the certificate file cannot be used.
    pub(crate) fn new(
        config: &HttpSourceConfig,
        timeout: Duration,
        bodies: &Bodies,
    ) -> Result<Kong, String> {
        let base = config.url.as_str().trim_end_matches('/');
        let base = base.strip_suffix("/metrics").unwrap_or(base);
        let scrape = config.scrape_config("kong");
        Ok(Kong {
            metrics_url: format!("{base}/metrics"),
            // Bytes, and not megabytes with two decimals.
            status_url: format!("{base}/status?unit=b"),
            timeout,
            fetcher: Fetcher::new(&scrape, bodies)?,
            scrape,
        })
    }

    async fn ask(&self) -> Result<Answer, FetchError> {
        let fetch = |url| self.fetcher.fetch(&self.scrape, url, self.timeout);
        match fetch(&self.metrics_url).await {
            Ok((body, Encoding::Text(format))) => Ok(Answer::Metrics(body, format)),
            Ok((_, Encoding::Protobuf)) => Err(FetchError::ContentType(
                "the answer is in protobuf, which was not asked for".to_owned(),
            )),
            // No plugin, no such path.
            Err(FetchError::Status(status)) if status == reqwest::StatusCode::NOT_FOUND => {
                let (body, _) = fetch(&self.status_url).await?;
                Ok(Answer::Status(body))
            }
            Err(e) => Err(e),
        }
    }
}

impl Source for Kong {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let asked = tokio::time::timeout(self.timeout, self.ask()).await;
        let asked = asked.unwrap_or(Err(FetchError::Timeout(self.timeout)));
        let status = target.status.clone();
        let failed = |reason| status.telemetry().scrape_failed(reason);
        let answer = match asked {
            Ok(answer) => answer,
            Err(e) => {
                failed(e.reason());
                return target.finish(at, started.elapsed(), Err(&e.to_string()));
            }
        };
        let without_plugin = matches!(answer, Answer::Status(_));
        match self.read(&answer, target, at) {
            Ok(collected) => {
                let note = without_plugin.then(|| WITHOUT_PLUGIN.to_owned());
                target.set_notes(note.into_iter().collect());
                target.finish(at, started.elapsed(), Ok(collected))
            }
            Err(problem) => {
                failed("exposition");
                target.finish(at, started.elapsed(), Err(&problem))
            }
        }
    }
}

/// The type of a family whose name begins with `kong_`.
pub(crate) fn kind(family: &str) -> Kind {
    match family {
        "kong_http_requests_total" | "kong_bandwidth_bytes" => Kind::Counter,
        _ if family.ends_with("_latency_ms") => Kind::Histogram,
        _ => Kind::Gauge,
    }
}

/// What a family whose name begins with `kong_` tells.
pub(crate) fn help(family: &str) -> &'static str {
    let found = HELP.iter().find(|(known, _)| *known == family);
    found.map_or("", |(_, help)| help)
}

const HELP: [(&str, &str); 11] = [
    ("kong_bandwidth_bytes", "Bytes that went in and out."),
    (
        "kong_datastore_reachable",
        "1 when Kong reaches its database.",
    ),
    ("kong_http_requests_total", "Requests by status code."),
    (
        "kong_kong_latency_ms",
        "Milliseconds that Kong and its plugins took.",
    ),
    (
        "kong_memory_lua_shared_dict_bytes",
        "Memory used in a shared dictionary.",
    ),
    (
        "kong_memory_lua_shared_dict_total_bytes",
        "Size of a shared dictionary.",
    ),
    (
        "kong_memory_workers_lua_vms_bytes",
        "Memory of a worker's Lua machine.",
    ),
    (
        "kong_nginx_connections_total",
        "Connections by state; sums of those accepted and handled.",
    ),
    (
        "kong_nginx_requests_total",
        "Requests since Kong was started.",
    ),
    (
        "kong_request_latency_ms",
        "Milliseconds that requests took in all.",
    ),
    (
        "kong_upstream_latency_ms",
        "Milliseconds that services took to answer.",
    ),
];

/// What is missing without the plugin, and how to get it.
const WITHOUT_PLUGIN: &str = "no requests, latencies and bandwidth: the prometheus plugin is not loaded; add prometheus to KONG_PLUGINS and enable it globally with status_code_metrics, latency_metrics and bandwidth_metrics";

impl Kong {
    fn read(
        &self,
        answer: &Answer,
        target: &mut Target,
        at: Timestamp,
    ) -> Result<Collected, String> {
        let mut pass = target.pass(at);
        match answer {
            Answer::Status(body) => status::put(body, &mut pass)?,
            Answer::Metrics(body, format) => {
                let rules = SeriesRules {
                    config: &self.scrape,
                    relabel: &[],
                    target: pass.target_labels(),
                };
                parse_into(&mut pass, body, *format, &rules).map_err(|e| e.to_string())?;
                spelling::put(body, *format, &rules, &mut pass).map_err(|e| e.to_string())?;
            }
        }
        Ok(pass.done())
    }
}

#[cfg(test)]
mod tests;
