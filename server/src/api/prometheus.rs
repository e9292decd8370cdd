//! Prometheus' HTTP API, as far as Grafana and scripts use it.

pub(super) mod envelope;
mod histogram;
mod labels;
mod query;
mod rules;
mod status;
mod targets;
mod value;

use axum::Router;
use axum::routing::{get, post};

use super::{Api, otlp, remote_read, remote_write};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route(
            "/query_exemplars",
            get(query::exemplars).post(query::exemplars),
        )
        .route("/format_query", get(query::format).post(query::format))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/metadata", get(labels::metadata))
        .route("/targets", get(targets::targets))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/read", post(remote_read::read))
        .route("/write", post(remote_write::write))
        .route("/otlp/v1/metrics", post(otlp::metrics))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/flags", get(status::flags))
        .route("/status/config", get(status::config))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/tsdb", get(status::tsdb))
}

/// A result as `{"resultType":…,"result":…}`, for Loki's API, which has the same shape.
///
/// # Errors
/// When it is too large to send.
pub(super) fn result_json(value: &::query::Value) -> Result<String, envelope::Failure> {
    value::write(value, None)
        .map(|(data, _)| data)
        .map_err(|e| envelope::Failure::new(envelope::ErrorType::Execution, e.to_string()))
}

/// The `data` of an instant query now, for a page; or the sentence that says why not.
pub(super) async fn value_now(api: &Api, expr: &str) -> Result<serde_json::Value, String> {
    let params = super::params::Params::one("query", expr);
    let success = query::instant(axum::extract::State(api.clone()), params)
        .await
        .map_err(|failure| failure.message)?;
    serde_json::from_str(&success.data).map_err(|e| e.to_string())
}
