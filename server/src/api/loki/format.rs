//! `/format_query`: a query laid out for reading.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use query::logql;

use super::axum_json;
use crate::api::json;
use crate::api::params::Params;

pub(super) async fn format(params: Params) -> Response {
    let (status, word, key, text) = match logql::parse(params.get("query").unwrap_or("")) {
        Ok(expr) => (StatusCode::OK, "success", "data", logql::pretty(&expr)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            "invalid-query",
            "error",
            error.to_string(),
        ),
    };
    let mut body = format!("{{\"status\":\"{word}\",\"{key}\":");
    json::string(&mut body, &text);
    body.push('}');
    (status, axum_json(body)).into_response()
}
