//! The pages a link in a notification opens: `/` with the alerts that fire, `/graph` with the
//! value of an expression now. Plain HTML without scripts; everything shown is escaped.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use rules::RuleKind;

use super::params::Params;
use super::{Api, prometheus};

/// Rows a page shows; the API has the rest.
const ROWS_MAX: usize = 500;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse}td{padding:.2em 1em .2em 0;vertical-align:top}\
input{width:100%;font:inherit;padding:.3em}code{overflow-wrap:anywhere}";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(home))
        .route("/graph", get(graph))
}

async fn home(State(api): State<Api>) -> Response {
    let mut body = format!("<h1>stackwatch {}</h1>", env!("CARGO_PKG_VERSION"));
    match api.ready_parts() {
        None => body.push_str("<p>starting</p>"),
        Some(parts) => {
            let mut shown = 0;
            body.push_str("<h2>Alerts</h2><table>");
            let groups = (parts.rules)();
            let alerts = groups
                .iter()
                .flat_map(|g| &g.rules)
                .filter_map(|r| match &r.kind {
                    RuleKind::Alerting { alerts, .. } => Some(alerts),
                    RuleKind::Recording => None,
                });
            for alert in alerts.flatten().take(ROWS_MAX) {
                let summary = alert.annotations.get("summary").unwrap_or_default();
                let _ = write!(
                    body,
                    "<tr><td>{}<td><b>{}</b><br>{}",
                    Escaped(alert.state.as_str()),
                    Escaped(alert.labels.get("alertname").unwrap_or_default()),
                    Escaped(summary),
                );
                shown += 1;
            }
            body.push_str("</table>");
            if shown == 0 {
                body.push_str("<p>none</p>");
            }
        }
    }
    body.push_str(
        "<h2>More</h2><ul>\
         <li><a href=\"/graph?g0.expr=up\">ask a PromQL expression</a>\
         <li><a href=\"/health\">health</a>\
         <li><a href=\"/metrics\">own metrics</a>\
         <li><a href=\"/api/v1/targets\">targets</a>\
         <li><a href=\"/api/v1/rules\">rules</a>\
         <li><a href=\"/api/v2/silences\">silences</a></ul>\
         <p>Grafana: add this address as a Prometheus, a Loki and an Alertmanager data source.",
    );
    page("stackwatch", &body)
}

async fn graph(State(api): State<Api>, params: Params) -> Response {
    let expr = params.get("g0.expr").unwrap_or_default().to_owned();
    let mut body = format!(
        "<p><a href=\"/\">stackwatch</a><form><input name=\"g0.expr\" value=\"{}\"></form>",
        Escaped(&expr)
    );
    if !expr.is_empty() {
        match prometheus::value_now(&api, &expr).await {
            Ok(result) => table(&mut body, &result),
            Err(message) => {
                let _ = write!(body, "<p>{}", Escaped(&message));
            }
        }
    }
    page("stackwatch: query", &body)
}

/// An instant query's `data` as rows.
fn table(body: &mut String, data: &serde_json::Value) {
    let result = &data["result"];
    let scalar = matches!(data["resultType"].as_str(), Some("scalar" | "string"));
    if scalar {
        let _ = write!(
            body,
            "<p>{}",
            Escaped(result[1].as_str().unwrap_or_default())
        );
        return;
    }
    let rows = result.as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        body.push_str("<p>no series has a value now");
    }
    body.push_str("<table>");
    for row in rows.iter().take(ROWS_MAX) {
        let value = match row["value"][1].as_str() {
            Some(value) => value.to_owned(),
            None => row["values"].to_string(),
        };
        let _ = write!(
            body,
            "<tr><td><code>{}</code><td>{}",
            Escaped(&series(&row["metric"])),
            Escaped(&value)
        );
    }
    body.push_str("</table>");
    if rows.len() > ROWS_MAX {
        let _ = write!(body, "<p>and {} more", rows.len() - ROWS_MAX);
    }
}

/// Labels as people write them.
fn series(metric: &serde_json::Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    model::Labels::from_pairs(pairs.map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default())))
        .to_string()
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style>{body}</html>"
    );
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(html)).into_response()
}

/// Shows text inside HTML, in elements and in double-quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_series_and_value_and_nothing_gets_out_of_its_place() {
        let data = serde_json::json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "<b>\"x"}, "value": [1, "1"]}]});
        let mut body = String::new();
        table(&mut body, &data);
        assert_eq!(
            body,
            "<table><tr><td><code>up{job=&quot;&lt;b&gt;\\&quot;x&quot;}</code><td>1</table>"
        );
    }

    #[test]
    fn a_scalar_is_its_value() {
        let mut body = String::new();
        table(
            &mut body,
            &serde_json::json!({"resultType": "scalar", "result": [1, "2"]}),
        );
        assert_eq!(body, "<p>2");
    }
}
