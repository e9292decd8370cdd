//! `/features` and `/notifications`: what this server can do, and what is wrong with it.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::envelope::{Answer, Success};
use crate::api::Api;
use crate::clock::rfc3339;

/// Switches of Prometheus that clients ask about, and whether we behave as if they were on.
pub(super) async fn features(State(api): State<Api>) -> Answer {
    let receivers = api.config().receivers;
    let functions: serde_json::Map<String, serde_json::Value> = query::promql::functions::FUNCTIONS
        .iter()
        .map(|f| (f.name.to_owned(), json!(true)))
        .collect();
    Ok(Success::from_value(&json!({
        "api": {
            "admin": api.config().admin_api,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": true,
            "otlp_write_receiver": receivers.otlp,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": receivers.remote_write,
            "rules_pagination": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "promql": {
            "anchored": true,
            "at_modifier": true,
            "bool": true,
            "by": true,
            "delayed_name_removal": false,
            "duration_expr": true,
            "fill": true,
            "group_left": true,
            "group_right": true,
            "ignoring": true,
            "native_histograms": true,
            "negative_offset": true,
            "offset": true,
            "on": true,
            "smoothed": true,
            "subqueries": true,
            "without": true,
        },
        "promql_functions": functions,
    })))
}

/// What Prometheus' page shows in a banner.
pub(super) async fn notifications(State(api): State<Api>) -> Answer {
    let reload = api.last_reload();
    let shown = reload.problem.map(|at| {
        json!({
            "text": "Configuration reload has failed.",
            "date": rfc3339(at),
            "active": true,
        })
    });
    Ok(Success::from_value(&json!(Vec::from_iter(shown))))
}

/// No stream: 204 tells a browser not to ask again.
pub(super) async fn notifications_live() -> StatusCode {
    StatusCode::NO_CONTENT
}
