//! `POST /-/reload`, and `/-/quit`, which is refused.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/-/reload", post(reload).put(reload))
        .route("/-/quit", post(quit).put(quit))
}

/// Prometheus' words when it is not allowed; it is the supervisor's business here.
async fn quit() -> Response {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()
}

async fn reload(State(api): State<Api>) -> Response {
    match api.reloader().reload().await {
        // Without a body as Prometheus has it, unless there is something to say.
        Ok(waiting) if waiting.is_empty() => (StatusCode::OK, "").into_response(),
        Ok(waiting) => {
            let text = format!("takes effect after a restart: {}\n", waiting.join(", "));
            (StatusCode::OK, text).into_response()
        }
        Err(e) => (
            StatusCode::BAD_REQUEST,
            format!("failed to reload config, the old one stays in force:\n{e}\n"),
        )
            .into_response(),
    }
}
