//! Alertmanager's API v2, as Grafana, amtool and other senders of alerts use it.

mod alerts;
mod silences;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::Timestamp;
use serde_json::{Value, json};

use super::Api;
use super::workshop::WorkError;
use crate::clock::rfc3339;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/alerts", get(alerts::list).post(alerts::receive))
        .route("/alerts/groups", get(alerts::groups))
        .route("/silences", get(silences::list).post(silences::set))
        .route("/silence/{id}", get(silences::one).delete(silences::expire))
}

/// An answer, or a status and a sentence, which Alertmanager sends as a JSON string.
type Answer = Result<Response, Refused>;

#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Refused(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<WorkError> for Refused {
    fn from(error: WorkError) -> Self {
        Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = answer(&Value::String(self.1));
        *response.status_mut() = self.0;
        response
    }
}

fn answer(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

fn handle(api: &Api) -> Result<alerting::Handle, Refused> {
    let parts = api.ready_parts();
    let missing = || Refused(StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned());
    Ok(parts.ok_or_else(missing)?.alerting.clone())
}

/// An instant of a request; `None` when absent or Go's zero time.
fn read_time(text: Option<&str>) -> Result<Option<Timestamp>, Refused> {
    match text {
        None | Some("" | "0001-01-01T00:00:00Z" | "0001-01-01T00:00:00.000Z") => Ok(None),
        Some(text) => crate::clock::parse_rfc3339(text)
            .map(Some)
            .ok_or_else(|| Refused::bad(format!("{text:?} is not an RFC 3339 time"))),
    }
}

async fn status(State(api): State<Api>) -> Answer {
    let handle = handle(&api)?;
    Ok(answer(&json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": {
            // The Alertmanager whose API this is.
            "version": "0.28.0",
            "revision": concat!("stackwatch-", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": { "original": handle.config_text() },
        "uptime": rfc3339(api.started()),
    })))
}

async fn receivers(State(api): State<Api>) -> Answer {
    let names: Vec<Value> = handle(&api)?
        .receivers()
        .into_iter()
        .map(|r| json!({ "name": r.name }))
        .collect();
    Ok(answer(&Value::Array(names)))
}
