//! Methods and paths as Prometheus' router answers them, for its own paths only: HEAD nowhere
//! but where our health is asked, a slash too many is redirected, OPTIONS and a wrong method
//! tell the right ones. Source: julienschmidt/httprouter behind Go's ServeMux, asked.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The middleware; `next` must be a router, not one of its routes.
pub(super) async fn as_prometheus(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.contains("//") {
        let short = without_double_slashes(path);
        if is_prometheus(&short) {
            return moved(request.method(), request.uri(), &short);
        }
    }
    if !is_prometheus(path) {
        return next.run(request).await;
    }
    if let Some(short) = path.strip_suffix('/')
        && methods(&next, short)
            .await
            .iter()
            .any(|m| m == request.method().as_str())
    {
        return moved(request.method(), request.uri(), short);
    }
    let healthy = matches!(path, "/-/healthy" | "/-/ready");
    let api = path.starts_with("/api/v1/");
    let asked = request.method().clone();
    if asked == Method::OPTIONS && !api {
        let allowed = methods(&next, path).await;
        if !allowed.is_empty() {
            return ([(header::ALLOW, shown(allowed, healthy))], StatusCode::OK).into_response();
        }
    }
    if asked == Method::HEAD && !healthy {
        *request.method_mut() = NOBODYS;
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Some(allowed) = headers.remove(header::ALLOW)
        && asked != Method::OPTIONS
    {
        headers.insert(header::ALLOW, shown(listed(&allowed), healthy));
    }
    response
}

/// A method that no route has, so that the answer is which ones it has.
const NOBODYS: Method = Method::TRACE;

fn is_prometheus(path: &str) -> bool {
    let exact = path.strip_suffix('/').unwrap_or(path);
    path.starts_with("/api/v1/")
        || path.starts_with("/-/")
        || matches!(exact, "/federate" | "/metrics" | "/version")
}

/// The methods of a path, none where there is no such path.
async fn methods(next: &Next, path: &str) -> Vec<String> {
    let Ok(uri) = path.parse::<Uri>() else {
        return Vec::new();
    };
    let mut probe = Request::new(Body::empty());
    *probe.method_mut() = NOBODYS;
    *probe.uri_mut() = uri;
    let answer = next.clone().run(probe).await;
    answer
        .headers()
        .get(header::ALLOW)
        .map_or_else(Vec::new, listed)
}

fn listed(allow: &HeaderValue) -> Vec<String> {
    let text = allow.to_str().unwrap_or("");
    text.split(',').map(|m| m.trim().to_owned()).collect()
}

/// `GET, OPTIONS, POST`
fn shown(mut methods: Vec<String>, with_head: bool) -> HeaderValue {
    methods.retain(|m| with_head || m != "HEAD");
    methods.push("OPTIONS".to_owned());
    methods.sort_unstable();
    methods.dedup();
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

fn without_double_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// A redirect to `path` with the same parameters. Prometheus forgets `/api/v1` where a slash is
/// at the end, and so leads to a page it does not have; ours leads to the answer.
fn moved(method: &Method, uri: &Uri, path: &str) -> Response {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(location) = HeaderValue::from_str(&target) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let location = [(header::LOCATION, location)];
    if method != Method::GET {
        return (StatusCode::TEMPORARY_REDIRECT, location).into_response();
    }
    let mut link = String::new();
    for c in target.chars() {
        match c {
            '&' => link.push_str("&amp;"),
            '<' => link.push_str("&lt;"),
            '>' => link.push_str("&gt;"),
            '"' => link.push_str("&#34;"),
            '\'' => link.push_str("&#39;"),
            c => link.push(c),
        }
    }
    let page = format!("<a href=\"{link}\">Moved Permanently</a>.\n\n");
    (
        StatusCode::MOVED_PERMANENTLY,
        location,
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        page,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn answer(method: &str, path: &str) -> (u16, String, String) {
        let inner = Router::new()
            .route(
                "/api/v1/query",
                get(|| async { "one" }).post(|| async { "two" }),
            )
            .route("/-/healthy", get(|| async { "well" }))
            .route("/federate", get(|| async { "all" }))
            .route("/page/", get(|| async { "page" }));
        let router = Router::new()
            .fallback_service(inner)
            .layer(middleware::from_fn(as_prometheus));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let response = TowerToHyperService::new(router)
            .call(request)
            .await
            .unwrap();
        let text = |name| {
            let value = response.headers().get(name);
            value.map_or("", |v| v.to_str().unwrap()).to_owned()
        };
        let (allow, location) = (text(header::ALLOW), text(header::LOCATION));
        (response.status().as_u16(), allow, location)
    }

    #[tokio::test]
    async fn methods_are_those_of_prometheus() {
        for (method, path, status, allow) in [
            ("GET", "/api/v1/query", 200, ""),
            ("HEAD", "/api/v1/query", 405, "GET, OPTIONS, POST"),
            ("PUT", "/api/v1/query", 405, "GET, OPTIONS, POST"),
            ("HEAD", "/api/v1/nosuch", 404, ""),
            ("HEAD", "/-/healthy", 200, ""),
            ("POST", "/-/healthy", 405, "GET, HEAD, OPTIONS"),
            ("OPTIONS", "/-/healthy", 200, "GET, HEAD, OPTIONS"),
            ("OPTIONS", "/federate", 200, "GET, OPTIONS"),
            ("HEAD", "/federate", 405, "GET, OPTIONS"),
            ("HEAD", "/page/", 200, ""),
        ] {
            let found = answer(method, path).await;
            assert_eq!(
                found,
                (status, allow.to_owned(), String::new()),
                "{method} {path}"
            );
        }
    }

    #[tokio::test]
    async fn slashes_too_many_are_redirected() {
        for (method, path, status, location) in [
            (
                "GET",
                "/api/v1/query/?query=1",
                301,
                "/api/v1/query?query=1",
            ),
            ("POST", "/api/v1/query/", 307, "/api/v1/query"),
            ("PUT", "/api/v1/query/", 404, ""),
            ("GET", "/api/v1/nosuch/", 404, ""),
            ("GET", "/federate/", 301, "/federate"),
            ("GET", "/api/v1//query", 301, "/api/v1/query"),
            ("GET", "//api/v1/query", 301, "/api/v1/query"),
            ("GET", "/nosuch//page", 404, ""),
        ] {
            let found = answer(method, path).await;
            assert_eq!(
                found,
                (status, String::new(), location.to_owned()),
                "{method} {path}"
            );
        }
    }
}
