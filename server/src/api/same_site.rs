//! A page of another site that somebody has open may not change anything here, nor follow lines.
//!
//! Browsers let any page send simple POSTs (text or forms) to any address they can reach, and
//! open WebSockets; there is no password that would stop them. What browsers say of themselves
//! does: `Sec-Fetch-Site`, else `Origin`. Programs say neither, so collectors and shippers are
//! never asked. Source: Filippo Valsorda, "Cross-Site Request Forgery", as Go's
//! `http.CrossOriginProtection` has it.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::receive::error;

/// What of `/api/v1/` only reads, though it is posted.
const READS: [&str; 8] = [
    "query",
    "query_range",
    "query_exemplars",
    "format_query",
    "parse_query",
    "labels",
    "series",
    "read",
];

/// The middleware.
pub(super) async fn only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let follows = headers.contains_key(header::UPGRADE);
    let asks = follows || changes(request.method(), request.uri().path());
    if asks && is_from_another_site(headers) {
        let why = "a page of another site may not do this: see docs/api.md";
        return error(StatusCode::FORBIDDEN, why);
    }
    next.run(request).await
}

fn changes(method: &Method, path: &str) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let reads = match path.strip_prefix("/loki/api/v1/") {
        Some(rest) => rest != "push",
        None => path
            .strip_prefix("/api/v1/")
            .is_some_and(|rest| READS.contains(&rest)),
    };
    // Whoever knows a heartbeat's path may ping it, with a GET too.
    let pings = path.starts_with("/ping/");
    !(reads && *method == Method::POST || pings)
}

/// What a browser says: that the request comes from a page, and whose.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let host = text("host").unwrap_or("");
    let same = origin
        .split_once("://")
        .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
    !same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_changes_nothing_however_it_is_asked() {
        for (method, path, expect) in [
            (Method::GET, "/api/v2/silences", false),
            (Method::POST, "/api/v1/query", false),
            (Method::POST, "/loki/api/v1/query_range", false),
            (Method::DELETE, "/api/v1/series", true),
            (Method::POST, "/loki/api/v1/push", true),
            (Method::POST, "/otlp/v1/logs", true),
            (Method::POST, "/api/v1/write", true),
            (Method::POST, "/api/v1/otlp/v1/metrics", true),
            (Method::POST, "/api/v1/admin/tsdb/delete_series", true),
            (Method::POST, "/api/v2/silences", true),
            (Method::DELETE, "/api/v2/silence/1", true),
            (Method::POST, "/-/reload", true),
            (Method::PUT, "/metrics/job/a", true),
            (Method::POST, "/ping/a", false),
        ] {
            assert_eq!(changes(&method, path), expect, "{method} {path}");
        }
    }

    #[test]
    fn only_browsers_tell_where_a_request_comes_from() {
        for (headers, expect) in [
            (&[][..], false),
            (
                &[("origin", "http://watch:9090"), ("host", "watch:9090")],
                false,
            ),
            (
                &[("origin", "http://evil.example"), ("host", "watch:9090")],
                true,
            ),
            (&[("origin", "null"), ("host", "watch:9090")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            // A proxy may have put another host in its place.
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://watch.example"),
                    ("host", "127.0.0.1:9090"),
                ],
                false,
            ),
        ] {
            let pairs = headers.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, header::HeaderValue::from_static(value))
            });
            assert_eq!(
                is_from_another_site(&pairs.collect()),
                expect,
                "{headers:?}"
            );
        }
    }
}
