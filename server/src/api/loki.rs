//! Loki's HTTP API: LogQL over stored lines, and what Grafana asks besides.

mod answer;
mod format;
mod labels;
mod push;
mod query;
mod tail;
mod time;
mod websocket;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::Api;
use super::prometheus::envelope::{ErrorType, Failure};
use super::workshop::WorkError;

pub(super) use self::tail::TAILS_MAX;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/format_query", get(format::format).post(format::format))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/index/stats", get(labels::stats).post(labels::stats))
        .route("/push", post(push::take))
        .route("/tail", get(tail::follow))
        .route("/status/buildinfo", get(buildinfo))
}

/// The Loki whose API this is.
async fn buildinfo() -> Response {
    axum_json(
        json!({
            "version": "3.0.0",
            "revision": concat!("stackwatch-", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        })
        .to_string(),
    )
}

fn axum_json(body: String) -> Response {
    (
        [(axum::http::header::CONTENT_TYPE, "application/json")],
        body,
    )
        .into_response()
}

/// Loki's errors are plain text; Grafana shows the body.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Refused(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            ErrorType::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorType::Execution | ErrorType::Memory => StatusCode::BAD_REQUEST,
            _ => failure.status(),
        };
        Refused(status, failure.message)
    }
}

impl From<WorkError> for Refused {
    fn from(error: WorkError) -> Self {
        let status = match error {
            WorkError::Timeout => StatusCode::GATEWAY_TIMEOUT,
            WorkError::TimeoutWaiting | WorkError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            WorkError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused(status, error.to_string())
    }
}

impl From<model::ReadError> for Refused {
    fn from(error: model::ReadError) -> Self {
        let status = match error {
            model::ReadError::Limit(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}
