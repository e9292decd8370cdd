//! Loki's HTTP API: LogQL over stored lines, and what Grafana asks besides.

mod answer;
mod fields;
mod format;
mod labels;
mod limits;
mod patterns;
mod push;
mod query;
mod rules;
mod tail;
mod time;
mod volume;
mod websocket;

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::Api;
use super::prometheus;
use super::prometheus::envelope::{ErrorType, Failure};
use super::reading::Reading;
use super::receive::error;
use super::workshop::{Client, WorkError};

pub(super) use self::tail::TAILS_MAX;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/query", reading(query::instant))
        .route("/query_range", reading(query::range))
        .route("/format_query", reading(format::format))
        .route("/label", reading(labels::names))
        .route("/labels", reading(labels::names))
        .route("/label/{name}/values", reading(labels::values))
        .route("/series", reading(labels::series))
        .route("/index/stats", reading(volume::stats))
        .route("/index/volume", reading(volume::volume))
        .route("/index/volume_range", reading(volume::volume_range))
        .route("/detected_labels", reading(labels::detected))
        .route("/detected_fields", reading(fields::fields))
        .route("/detected_field/{name}/values", reading(fields::values))
        .route("/patterns", reading(patterns::patterns))
        .route("/push", post(push::take))
        .route("/tail", reading(tail::follow))
        .route("/rules", get(rules::rules))
        .route("/drilldown-limits", get(limits::drilldown))
        .route("/status/buildinfo", get(limits::buildinfo))
}

/// What Loki has below other paths: where Grafana looks for the rules of a Loki data source.
pub(super) fn rule_routes() -> Router<Api> {
    Router::new()
        .route("/rules", get(prometheus::rules::rules))
        .route("/alerts", get(prometheus::rules::alerts))
}

/// Parameters are in the URL, or in a form.
fn reading<H, T>(handler: H) -> MethodRouter<Api>
where
    H: Handler<T, Api>,
    T: 'static,
{
    get(handler.clone()).post(handler)
}

/// An answer that is made, and held until it is sent, within the memory of one query.
async fn made(
    api: &Api,
    client: &Client,
    make: impl Fn(&Reading) -> Result<String, Failure> + Send + Sync + 'static,
) -> Result<Response, Refused> {
    let timeout = api.config().query.timeout.0;
    let made = move |reading: &Reading| {
        let body = make(reading)?;
        if body.len() > reading.answer_max {
            let why = "the answer needs more memory than query.bytes_max leaves for it: \
                       select fewer streams or a shorter time";
            return Err(Failure::new(ErrorType::Memory, why));
        }
        Ok(body)
    };
    let (body, share) = api.read(client, timeout, made).await?;
    let response = axum_json(body);
    Ok(match share {
        Some(share) => response.map(|body| share.held_by(body)),
        None => response,
    })
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
        error(self.0, self.1)
    }
}
