//! `/admin/tsdb/{delete_series,clean_tombstones,snapshot}`: Prometheus' answers, behind
//! `server.admin_api`.

use std::hash::{BuildHasher, RandomState};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use model::{TimeRange, Timestamp};
use storage::backup::SNAPSHOTS;
use storage::{Storage, WriteError};

use super::envelope::{Answer, ErrorType, Failure, Success};
use super::labels::matcher_sets;
use crate::api::Api;
use crate::api::params::{Params, invalid};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/tsdb/delete_series", changing(delete_series))
        .route("/admin/tsdb/clean_tombstones", changing(clean_tombstones))
        .route("/admin/tsdb/snapshot", changing(snapshot))
}

fn changing<H, T>(handler: H) -> MethodRouter<Api>
where
    H: axum::handler::Handler<T, Api>,
    T: 'static,
{
    post(handler.clone()).put(handler)
}

/// The store, if the API is switched on.
#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn storage(api: &Api) -> Result<Storage, Response> {
    let parts = api.parts().map_err(IntoResponse::into_response)?;
    if !api.config().admin_api {
        // Prometheus' type of error for it has another status elsewhere.
        let body = r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#;
        let json = [(header::CONTENT_TYPE, "application/json")];
        return Err((StatusCode::INTERNAL_SERVER_ERROR, json, body).into_response());
    }
    let none = || Failure::new(ErrorType::Internal, "there is no store").into_response();
    parts.storage.clone().ok_or_else(none)
}

async fn delete_series(State(api): State<Api>, params: Params) -> Response {
    match storage(&api) {
        Ok(storage) => delete(&api, storage, &params).await.into_response(),
        Err(refusal) => refusal,
    }
}

/// Unlike Prometheus it refuses a selector that matches everything: that would be one typing
/// mistake away from losing the whole history.
async fn delete(api: &Api, storage: Storage, params: &Params) -> Answer {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let start = params.time("start", Timestamp::MIN);
    let end = params.time("end", Timestamp::MAX);
    let range = TimeRange::new(
        start.map_err(Failure::bad_data)?,
        end.map_err(Failure::bad_data)?,
    );
    let sets = matcher_sets(params)
        .map_err(|failure| Failure::bad_data(invalid("match[]", &failure.message)))?;
    if range.end < range.start {
        return Ok(Success::default());
    }
    let deleted = api
        .workshop()
        .write(move || storage.delete_series(&sets, range))
        .await?;
    let deleted = deleted.map_err(|e| not_deleted(&e))?;
    tracing::info!(
        series = deleted.series,
        samples = deleted.samples,
        "samples were deleted by the admin API"
    );
    Ok(Success::default())
}

/// A deletion that the disk refuses, or for which too many others still wait, may succeed later.
fn not_deleted(error: &WriteError) -> Failure {
    match error {
        WriteError::BatchTooLarge { .. } => Failure::new(ErrorType::Internal, error.to_string()),
        _ => {
            let text = format!("nothing was deleted, try again later: {error}");
            Failure::new(ErrorType::Unavailable, text)
        }
    }
}

/// Deleted samples leave the disk by themselves, in the background; this answers when they have.
async fn clean_tombstones(State(api): State<Api>) -> Response {
    let storage = match storage(&api) {
        Ok(storage) => storage,
        Err(refusal) => return refusal,
    };
    let now = api.now();
    let cleaned = api.workshop().write(move || storage.clean_tombstones(now));
    match cleaned.await {
        Ok(Ok(0)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(open)) => {
            let text = format!("{open} deletions could not be finished: see /health");
            Failure::new(ErrorType::Internal, text).into_response()
        }
        Ok(Err(e)) => Failure::new(ErrorType::Unavailable, e.to_string()).into_response(),
        Err(e) => Failure::from(e).into_response(),
    }
}

/// A snapshot below `snapshots/` in the data directory. `skip_head` is understood and makes no
/// difference: what is in memory is in the log as well, of which a snapshot has a copy.
async fn snapshot(State(api): State<Api>, params: Params) -> Response {
    match storage(&api) {
        Ok(storage) => take_snapshot(&api, storage, &params).await.into_response(),
        Err(refusal) => refusal,
    }
}

async fn take_snapshot(api: &Api, storage: Storage, params: &Params) -> Answer {
    if let Some(text) = params.get("skip_head")
        && !is_go_bool(text)
    {
        let why =
            format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(Failure::bad_data(invalid("skip_head", &why)));
    }
    let now = api.now();
    let name = snapshot_name(now);
    let target = storage.dir().join(SNAPSHOTS).join(&name);
    let made = api
        .workshop()
        .write(move || storage.snapshot(&target, now))
        .await?;
    made.map_err(|e| Failure::new(ErrorType::Internal, format!("create snapshot: {e}")))?;
    Ok(Success::from_value(&serde_json::json!({ "name": name })))
}

/// `20261121T122108Z-2285150a93b29c88`: the time and a random number.
fn snapshot_name(now: Timestamp) -> String {
    let second = Timestamp::from_millis(now.millis().div_euclid(1000) * 1000);
    let time: String = crate::clock::rfc3339(second)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    // Each has keys of its own, from the system's source of randomness.
    let random = RandomState::new().hash_one(now.millis());
    format!("{time}-{random:016x}")
}

/// What Go's `strconv.ParseBool` takes.
fn is_go_bool(text: &str) -> bool {
    matches!(
        text,
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_too_many_is_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let config = storage::Config {
            dir: dir.path().to_owned(),
            ..storage::Config::default()
        };
        let now = Timestamp::from_millis(0);
        let storage = Storage::open(config, now, &mut Default::default()).unwrap();
        let sets = vec![vec![model::Matcher::equal("a", "b")]; 1001];
        let refused = storage.delete_series(&sets, TimeRange::ALL).unwrap_err();
        let failure = not_deleted(&refused);
        assert_eq!(failure.kind, ErrorType::Unavailable);
        assert!(failure.message.contains("try again later"), "{failure:?}");
        assert!(
            failure.message.contains("too many deletions"),
            "{failure:?}"
        );
    }

    #[test]
    fn names_of_snapshots_are_prometheus_kind() {
        let now = Timestamp::from_millis(1_795_263_668_123);
        let (a, b) = (snapshot_name(now), snapshot_name(now));
        assert_eq!(a.split_once('-').unwrap().0, "20261121T122108Z");
        assert_eq!(a.len(), "20261121T122108Z-2285150a93b29c88".len());
        assert_ne!(a, b);
    }
}
