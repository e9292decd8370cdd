//! `POST /-/reload`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/-/reload", post(reload).put(reload))
}

async fn reload(State(api): State<Api>) -> Response {
    match api.reloader().reload().await {
        Ok(()) => (StatusCode::OK, "").into_response(),
        Err(e) => (
            StatusCode::BAD_REQUEST,
            format!("failed to reload config, the old one stays in force:\n{e}\n"),
        )
            .into_response(),
    }
}
