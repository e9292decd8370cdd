//! `http_headers` of a job, in Prometheus' schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::RequestBuilder;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::config::Secret;
use super::fetch::{FetchError, read_secret};

/// Headers that belong to the request itself or have settings of their own.
/// Source: prometheus/common config/headers.go.
const RESERVED: [&str; 13] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-scrape-timeout-seconds",
];

/// The values of one header; each is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpHeader {
    /// As they are.
    pub values: Vec<String>,
    /// Those that are not to be shown.
    pub secrets: Vec<Secret>,
    /// Files that hold one each; read at each request.
    pub files: Vec<PathBuf>,
}

/// # Errors
/// A name that is none or reserved, a value that may not be sent.
pub(super) fn check(headers: &BTreeMap<String, HttpHeader>) -> Result<(), String> {
    for (name, header) in headers {
        let parsed = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("http_headers: {name:?} is no name of a header"))?;
        if RESERVED.contains(&parsed.as_str()) {
            return Err(format!("setting header {name:?} is not allowed"));
        }
        let secrets = header.secrets.iter().map(|s| &s.0);
        if header
            .values
            .iter()
            .chain(secrets)
            .any(|v| value(v).is_none())
        {
            return Err(unsendable(name));
        }
    }
    Ok(())
}

/// Adds the headers to a request.
///
/// # Errors
/// A file cannot be read, or holds what may not be sent.
pub(super) async fn add(
    mut request: RequestBuilder,
    headers: &BTreeMap<String, HttpHeader>,
) -> Result<RequestBuilder, FetchError> {
    for (name, header) in headers {
        let mut all: Vec<String> = header.values.clone();
        all.extend(header.secrets.iter().map(|s| s.0.clone()));
        for file in &header.files {
            all.push(read_secret(file).await?);
        }
        for text in all {
            let value = value(&text).ok_or_else(|| FetchError::Http(unsendable(name)))?;
            request = request.header(name, value);
        }
    }
    Ok(request)
}

fn value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn unsendable(name: &str) -> String {
    format!("http_headers: a value of {name:?} contains characters that may not be sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_have_settings_of_their_own_are_refused() {
        let check = |yaml: &str| check(&serde_saphyr::from_str(yaml).unwrap());
        assert_eq!(
            check("{Kong-Admin-Token: {files: [/run/t]}, X-A: {values: [a, b], secrets: [c]}}"),
            Ok(())
        );
        assert_eq!(
            check("{Authorization: {values: [a]}}").unwrap_err(),
            "setting header \"Authorization\" is not allowed"
        );
        assert!(
            check("{'a b': {values: [a]}}")
                .unwrap_err()
                .contains("no name")
        );
        let error = check("{X-A: {secrets: [\"hunter2\\n\"]}}").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
