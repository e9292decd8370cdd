//! `GET /metrics`: our own, OpenMetrics text.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut body = String::new();
    let encoded = api
        .ready_parts()
        .map(|parts| prometheus_client::encoding::text::encode(&mut body, &parts.registry));
    match encoded {
        Some(Ok(())) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            body,
        )
            .into_response(),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics cannot be encoded\n",
        )
            .into_response(),
    }
}
