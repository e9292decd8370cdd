//! `GET /metrics`: our own, as OpenMetrics for those who ask for it, else as Prometheus' text.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    let mut body = String::new();
    let encoded = api
        .ready_parts()
        .map(|parts| prometheus_client::encoding::text::encode(&mut body, &parts.registry));
    let Some(Ok(())) = encoded else {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return (status, "metrics cannot be encoded\n").into_response();
    };
    let (content_type, body) = match wants_open_metrics(&headers) {
        true => (OPEN_METRICS, body),
        false => (TEXT, plain(&body)),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, "Accept"),
    ];
    (headers, body).into_response()
}

/// Whether `Accept` prefers OpenMetrics to text: the highest `q`, the first of equals; other
/// media types and `*/*` do not count. Source: prometheus/common, expfmt
/// `NegotiateIncludingOpenMetrics`.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let mut best = (0.0, false);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let is_open_metrics = match parts.next() {
            Some("application/openmetrics-text") => true,
            Some("text/plain") => false,
            _ => continue,
        };
        let q = parts.find_map(|part| part.strip_prefix("q="));
        let q: f64 = q.map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if q > best.0 {
            best = (q, is_open_metrics);
        }
    }
    best.1
}

/// OpenMetrics as text of version 0.0.4, in which a family is named as its samples are and units
/// and the end are not said.
fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // `TYPE` comes behind `HELP`, whose name depends on it.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        let (mark, what) = (words.next(), words.next());
        let (name, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // Writing to a string does not fail.
        let _ = match (mark, what) {
            (Some("#"), Some("HELP")) => {
                help = Some((name, rest));
                Ok(())
            }
            (Some("#"), Some("TYPE")) => {
                let (suffix, kind) = match rest {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                let about = help.take().filter(|(of, _)| *of == name);
                let about = about.map_or(Ok(()), |(_, text)| {
                    writeln!(out, "# HELP {name}{suffix} {text}")
                });
                about.and_then(|()| writeln!(out, "# TYPE {name}{suffix} {kind}"))
            }
            (Some("#"), _) => Ok(()),
            _ => writeln!(out, "{line}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let check = |accept: &str, expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_open_metrics(&headers), expect, "{accept}");
        };
        assert!(!wants_open_metrics(&HeaderMap::new()));
        check("*/*", false);
        check("text/html,*/*;q=0.8", false);
        check("application/openmetrics-text", true);
        check("text/plain;q=0.9, application/openmetrics-text", true);
        check("text/plain, application/openmetrics-text", false);
        check("application/openmetrics-text;q=0", false);
        // Prometheus 2.42, and 3.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            true,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            true,
        );
        check(
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;q=0.5",
            false,
        );
    }

    #[test]
    fn text_names_families_as_their_samples() {
        let given = "# HELP a Of a.\n# TYPE a counter\na_total{x=\"y\"} 1\n\
                     # HELP b_seconds Of b, twice.\n# TYPE b_seconds histogram\n\
                     # UNIT b_seconds seconds\nb_seconds_sum 0.5\nb_seconds_count 1\n\
                     b_seconds_bucket{le=\"+Inf\"} 1\n\
                     # HELP build Of it.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
                     # HELP c C.\n# TYPE c unknown\nc 1\n# EOF\n";
        let expect = "# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"y\"} 1\n\
                      # HELP b_seconds Of b, twice.\n# TYPE b_seconds histogram\n\
                      b_seconds_sum 0.5\nb_seconds_count 1\n\
                      b_seconds_bucket{le=\"+Inf\"} 1\n\
                      # HELP build_info Of it.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n\
                      # HELP c C.\n# TYPE c untyped\nc 1\n";
        assert_eq!(plain(given), expect);
    }
}
