//! `POST /-/snapshot?name=…`: a snapshot for `stackwatch backup`, made in a directory below
//! `snapshots/` of the data directory that must be there and empty. Making that directory takes
//! access to the data, so this door needs no key: a stranger gets nothing but 404.

use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use storage::backup::{SNAPSHOTS, STAGE_PREFIX};

use super::Api;
use super::params::Params;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/-/snapshot", post(snapshot))
}

async fn snapshot(State(api): State<Api>, params: Params) -> Response {
    let parts = api.ready_parts();
    let Some(storage) = parts.as_ref().and_then(|p| p.storage.clone()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n").into_response();
    };
    let name = params.get("name").unwrap_or("");
    let dir = storage.dir().join(SNAPSHOTS).join(name);
    if !is_stage(name) || !is_real_directory(&dir) {
        return (StatusCode::NOT_FOUND, "no such directory\n").into_response();
    }
    let now = api.now();
    let made = api
        .workshop()
        .write(move || storage.snapshot(&dir, now))
        .await;
    match made {
        Ok(Ok(report)) => {
            let body = serde_json::json!({
                "files": report.files,
                "bytes": report.bytes,
                "linkedBytes": report.linked_bytes,
            });
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, body.to_string()).into_response()
        }
        Ok(Err(e)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

/// The names that `stackwatch backup` makes; none of them leads out of the folder.
fn is_stage(name: &str) -> bool {
    name.strip_prefix(STAGE_PREFIX)
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

/// A link could lead anywhere.
fn is_real_directory(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_command_line_are_taken() {
        for (name, taken) in [
            (".stage-12-1700000000000", true),
            (".stage-", false),
            (".stage-../x", false),
            ("..", false),
            ("", false),
            ("20261121T122108Z-2285150a93b29c88", false),
        ] {
            assert_eq!(is_stage(name), taken, "{name}");
        }
    }
}
