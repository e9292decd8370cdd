//! `/status/*` and `/alertmanagers`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::envelope::{Answer, Success};
use crate::api::Api;
use crate::clock::rfc3339;
use crate::config::values::Bytes;

/// The Prometheus whose API this is. Grafana compares it to choose features: from 2.24 on it
/// asks for label values with matchers. `features` must stay absent, or Grafana believes it
/// talks to Mimir.
const PROMETHEUS_VERSION: &str = "3.0.0";

pub(super) async fn buildinfo() -> Answer {
    Ok(Success::from_value(&build()))
}

/// `/version`: the same without an envelope.
pub(in crate::api) async fn version() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        build().to_string(),
    )
        .into_response()
}

fn build() -> Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("stackwatch-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

pub(super) async fn flags(State(api): State<Api>) -> Answer {
    let config = api.config();
    let file = config.file.as_ref().map(|f| f.display().to_string());
    Ok(Success::from_value(&json!({
        "config.file": file.unwrap_or_default(),
        "query.lookback-delta": "5m",
        "query.max-concurrency": config.query.concurrency.to_string(),
        "query.max-samples": config.query.samples_max.to_string(),
        "query.timeout": model::number::format_duration(config.query.timeout.0),
        "storage.tsdb.path": config.storage.dir.display().to_string(),
        "storage.tsdb.retention.size": Bytes(config.storage.size_bytes_max).to_string(),
        "storage.tsdb.retention.time": model::number::format_duration(config.storage.retention_metrics),
        "web.enable-admin-api": config.admin_api.to_string(),
        "web.enable-lifecycle": "true",
        "web.enable-otlp-receiver": config.receivers.otlp.to_string(),
        "web.enable-remote-write-receiver": config.receivers.remote_write.to_string(),
        "web.external-url": config.external_url,
        "web.listen-address": config.listen,
    })))
}

/// The settings in force that are known to hold no secret. The file itself is not shown: a
/// password may stand in any of its values.
pub(super) async fn config(State(api): State<Api>) -> Answer {
    let c = api.config();
    let jobs: Vec<&str> = c
        .collector
        .scrape_configs
        .iter()
        .map(|s| s.job_name.as_str())
        .collect();
    let files: Vec<String> = c
        .rules
        .files
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    let duration = model::number::format_duration;
    // JSON is YAML, so each line below is both.
    let lines = [
        (
            "server",
            json!({ "listen": c.listen, "external_url": c.external_url }),
        ),
        (
            "storage",
            json!({
                "dir": c.storage.dir.display().to_string(),
                "retention": {
                    "metrics": duration(c.storage.retention_metrics),
                    "logs": duration(c.storage.retention_logs),
                    "size": Bytes(c.storage.size_bytes_max).to_string(),
                },
                "memory": Bytes(c.storage.head_bytes_max).to_string(),
            }),
        ),
        (
            "memory",
            json!({ "budget": Bytes(c.memory.total).to_string() }),
        ),
        (
            "query",
            json!({
                "timeout": duration(c.query.timeout.0),
                "concurrency": c.query.concurrency,
                "samples_max": c.query.samples_max,
                "bytes_max": Bytes(c.query_bytes_max() as u64).to_string(),
            }),
        ),
        (
            "collect",
            json!({
                "interval": duration(c.collector.interval),
                "host": c.collector.host.is_some(),
                "docker": c.collector.docker.is_some(),
                "jobs": jobs,
            }),
        ),
        (
            "rules",
            json!({
                "packs": c.rules.packs,
                "files": files,
                "interval": duration(c.rules.interval),
            }),
        ),
    ];
    let mut yaml = String::new();
    for (key, value) in lines {
        yaml.push_str(&format!("{key}: {value}\n"));
    }
    Ok(Success::from_value(&json!({ "yaml": yaml })))
}

pub(super) async fn runtimeinfo(State(api): State<Api>) -> Answer {
    let config = api.config();
    let stats = (api.parts()?.stats)();
    let cwd = std::env::current_dir().unwrap_or_default();
    let reload = api.last_reload();
    Ok(Success::from_value(&json!({
        "startTime": rfc3339(api.started()),
        "CWD": cwd.display().to_string(),
        "hostname": hostname(),
        "serverTime": rfc3339(api.now()),
        "reloadConfigSuccess": reload.problem.is_none(),
        "lastConfigTime": rfc3339(reload.loaded_at),
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": config.memory.total,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": format!(
            "{} or {}",
            model::number::format_duration(config.storage.retention_metrics),
            Bytes(config.storage.size_bytes_max),
        ),
        "headSeries": stats.series,
        "memoryBudget": {
            "total": config.memory.total,
            "head": config.memory.head,
            "queries": config.memory.queries,
            "query": config.query_bytes_max(),
            "caches": config.memory.caches,
        },
    })))
}

/// This machine's name; empty when the system does not tell.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// We are the Alertmanager.
pub(super) async fn alertmanagers(State(api): State<Api>) -> Answer {
    let url = format!("{}/api/v2/alerts", api.config().external_url);
    Ok(Success::from_value(&json!({
        "activeAlertmanagers": [{ "url": url }],
        "droppedAlertmanagers": [],
    })))
}
