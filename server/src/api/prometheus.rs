//! Prometheus' HTTP API, as far as Grafana and scripts use it.

mod admin;
pub(crate) mod analysis;
pub(super) mod envelope;
mod features;
mod format;
mod histogram;
mod labels;
mod log_streams;
mod metadata;
mod query;
pub(super) mod rules;
mod stats;
pub(super) mod status;
mod targets;
pub(super) mod tsdb;
mod value;

use axum::Router;
use axum::routing::{get, post};

pub(super) use labels::SELECTORS_MAX;
pub(super) use targets::label_map;

use super::workshop::Client;
use super::{Api, otlp, remote_read, remote_write};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route(
            "/query_exemplars",
            get(query::exemplars).post(query::exemplars),
        )
        .route("/format_query", get(format::format).post(format::format))
        .route("/parse_query", get(format::parse).post(format::parse))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route(
            "/series",
            get(labels::series)
                .post(labels::series)
                .delete(labels::drop_series),
        )
        .route("/metadata", get(metadata::metadata))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(metadata::of_targets))
        .route("/targets/relabel_steps", get(targets::relabel_steps))
        .route("/logs/streams", get(log_streams::streams))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/read", post(remote_read::read))
        .route("/write", post(remote_write::write))
        .route("/otlp/v1/metrics", post(otlp::metrics))
        .route("/otlp/v1/logs", post(otlp::logs::logs))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/flags", get(status::flags))
        .route("/status/config", get(status::config))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .merge(admin::routes())
        .route("/status/tsdb/analysis", get(analysis::analysis))
        .route("/status/tsdb", get(tsdb::tsdb))
        .route("/status/tsdb/blocks", get(tsdb::blocks))
        .route("/features", get(features::features))
        .route("/notifications", get(features::notifications))
        .route("/notifications/live", get(features::notifications_live))
}

/// The `data` of an instant query now, for a page; or the sentence that says why not.
pub(super) async fn value_now(api: &Api, expr: &str) -> Result<serde_json::Value, String> {
    let params = super::params::Params::one("query", expr);
    let success = query::instant(axum::extract::State(api.clone()), Client::default(), params)
        .await
        .map_err(|failure| failure.message)?;
    serde_json::from_str(&success.data.text()).map_err(|e| e.to_string())
}
