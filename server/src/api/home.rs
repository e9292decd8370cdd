//! `/`: where things are.

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/", get(home))
}

async fn home(State(api): State<Api>) -> Html<String> {
    let state = if api.ready_parts().is_some() {
        "ready"
    } else {
        "starting"
    };
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>stackwatch</title>\
         <h1>stackwatch {version}</h1><p>{state}</p><ul>\
         <li><a href=\"/health\">health</a></li>\
         <li><a href=\"/metrics\">own metrics</a></li>\
         <li><a href=\"/api/v1/targets\">targets</a></li>\
         <li><a href=\"/api/v1/rules\">rules</a></li>\
         <li><a href=\"/api/v1/alerts\">alerts</a></li>\
         <li><a href=\"/api/v2/silences\">silences</a></li>\
         <li><a href=\"/api/v1/query?query=up\">query: up</a></li></ul>\
         <p>Grafana: add this address as a Prometheus, a Loki and an Alertmanager data source.</p></html>",
        version = env!("CARGO_PKG_VERSION"),
    ))
}
