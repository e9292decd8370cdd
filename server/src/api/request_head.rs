//! Heads that hyper takes and Go's server, and so Prometheus, refuses before any handler sees them.
//! Sources: Go net/http `server.go` (readRequest, serve), `request.go`; asked of Prometheus 2.42.

use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

/// The answer to a head that is not taken; the connection ends with it.
pub(super) fn refusal(head: &Parts) -> Option<Response> {
    let (status, why) = wrong(head)?;
    let text = match (status, why) {
        (StatusCode::BAD_REQUEST, "") => "400 Bad Request".to_owned(),
        (StatusCode::BAD_REQUEST, why) => format!("400 Bad Request: {why}"),
        _ => String::new(),
    };
    Some((status, [(header::CONNECTION, "close")], text).into_response())
}

fn wrong(head: &Parts) -> Option<(StatusCode, &'static str)> {
    let bad = |why| Some((StatusCode::BAD_REQUEST, why));
    let path = head.uri.path();
    let is_tunnel = head.method == Method::CONNECT;
    if !is_tunnel && path != "*" && (!path.starts_with('/') || !is_escaped(path)) {
        return bad("");
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version >= Version::HTTP_11 && !is_tunnel => {
            return bad("missing required Host header");
        }
        (Some(_), Some(_)) => return bad(""),
        (Some(host), None) if !host.as_bytes().iter().all(may_be_in_host) => {
            return bad("malformed Host header");
        }
        _ => {}
    }
    let expected = head.headers.get(header::EXPECT)?;
    let is_known = expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    (!is_known).then_some((StatusCode::EXPECTATION_FAILED, ""))
}

/// Whether each `%` is followed by two digits.
fn is_escaped(path: &str) -> bool {
    let mut parts = path.as_bytes().split(|b| *b == b'%');
    parts.next();
    parts.all(|p| matches!(p, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// Source: golang.org/x/net/http/httpguts `ValidHostHeader`.
fn may_be_in_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check(method: &str, uri: &str, headers: &[(&str, &str)], expect: Option<u16>) {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found = refusal(&head).map(|r| r.status().as_u16());
        assert_eq!(found, expect, "{method} {uri} {headers:?}");
    }

    #[test]
    fn heads_are_taken_as_go_takes_them() {
        let host = ("host", "a:9090");
        check("GET", "/", &[host], None);
        check("GET", "/a%20b", &[("host", "")], None);
        check("GET", "http://x/", &[("host", "[::1]:9090")], None);
        check("OPTIONS", "*", &[host], None);
        check("CONNECT", "a:1", &[], None);
        check("POST", "/", &[host, ("expect", "100-Continue")], None);
        check("GET", "/", &[], Some(400));
        check("GET", "http://x/", &[], Some(400));
        check("GET", "/", &[host, host], Some(400));
        check("GET", "/", &[("host", "a b")], Some(400));
        check("GET", "/", &[("host", "a/b")], Some(400));
        check("GET", "/%zz", &[host], Some(400));
        check("GET", "/a%2", &[host], Some(400));
        check("POST", "/", &[host, ("expect", "tea")], Some(417));
    }
}
