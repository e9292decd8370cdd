//! `/drilldown-limits` and `/status/buildinfo`: what Grafana asks to know what it may ask.

use axum::extract::State;
use axum::response::Response;
use model::number::format_duration;
use serde_json::json;

use super::query::{LIMIT_MAX, READ_BYTES_MAX, SERIES_MAX};
use super::{axum_json, volume};
use crate::api::Api;

/// The Loki whose API this is.
const LOKI_VERSION: &str = "3.5.0";
/// Fields that tell a line's level: docs/logs.md.
const LEVEL_FIELDS: [&str; 6] = [
    "level",
    "severity",
    "lvl",
    "loglevel",
    "levelname",
    "severity_text",
];

pub(super) async fn buildinfo() -> Response {
    axum_json(
        json!({
            "version": LOKI_VERSION,
            "revision": concat!("stackwatch-", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        })
        .to_string(),
    )
}

pub(super) async fn drilldown(State(api): State<Api>) -> Response {
    let config = api.config();
    let limits = json!({
        "discover_log_levels": true,
        "discover_service_name": [],
        "log_level_fields": LEVEL_FIELDS,
        "max_entries_limit_per_query": LIMIT_MAX,
        "max_line_size_truncate": false,
        "max_query_bytes_read": format!("{}GB", READ_BYTES_MAX >> 30),
        "max_query_length": "0s",
        "max_query_lookback": "0s",
        "max_query_range": "0s",
        "max_query_series": SERIES_MAX,
        "metric_aggregation_enabled": false,
        "pattern_persistence_enabled": false,
        "query_timeout": format_duration(config.query.timeout.0),
        "retention_period": format_duration(config.storage.retention_logs),
        "volume_enabled": true,
        "volume_max_series": volume::SERIES_MAX,
    });
    axum_json(
        json!({
            "limits": limits,
            "pattern_ingester_enabled": true,
            "version": LOKI_VERSION,
        })
        .to_string(),
    )
}
