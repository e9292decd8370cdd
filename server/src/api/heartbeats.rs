//! `/ping/…`: pings of heartbeats, in healthchecks.io's URL forms and with its answers.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use collector::heartbeat::{Ping, PingPath};

use super::Api;
use super::workshop::{Client, WorkError};

/// After this whoever pings is told to try again.
const PING_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/ping/{*path}", get(ping).post(ping))
}

/// Answers once the ping is on disk. The body is counted and not kept: it may be a job's output,
/// with whatever that job prints.
async fn ping(
    State(api): State<Api>,
    Path(path): Path<String>,
    client: Client,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let Some(parts) = api.ready_parts() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let (name, kind) = match parts.heartbeats.resolve(&segments) {
        PingPath::Known(name, kind) => (name, kind),
        PingPath::Unknown => return (StatusCode::NOT_FOUND, "not found").into_response(),
        PingPath::Malformed => {
            return (StatusCode::BAD_REQUEST, "invalid url format").into_response();
        }
    };
    let ping = Ping {
        kind,
        run: query.as_deref().and_then(run),
        body_bytes: body.len() as u64,
    };
    let now = api.now();
    let taken = api.writes().run_for(&client, PING_TIME_MAX, move |_| {
        parts.heartbeats.ping(&name, ping, now)
    });
    match taken.await {
        Ok(Ok(())) => (StatusCode::OK, "OK").into_response(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a ping could not be written");
            (StatusCode::SERVICE_UNAVAILABLE, "cannot be written now\n").into_response()
        }
        Err(WorkError::Panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response(),
    }
}

/// The run's identifier. The body is left alone: `curl --data-raw` calls anything a form.
fn run(query: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| *name == "rid")
        .map(|(_, value)| value.to_owned())
        .next()
}
