//! What the receivers over HTTP share: the client, the request, and the verdict on an answer.

use std::error::Error as _;

use model::Timestamp;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};

use crate::config::{HttpConfig, SecretSource};
use crate::outbox::Outcome;

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most of an answer that is quoted in an error.
const QUOTED_CHARS_MAX: usize = 200;

/// A request that is the same at each attempt.
pub(super) struct Post<'a> {
    pub(super) url: &'a str,
    pub(super) body: &'a str,
    pub(super) headers: Vec<(HeaderName, String)>,
}

/// An answer with status 2xx.
pub(super) struct Answer {
    pub(super) is_json: bool,
    pub(super) body: String,
}

/// Posts JSON. `Err` is the verdict on a failed attempt: what may work later is retried
/// (network errors, 5xx, 408, 429), the rest is refused.
pub(super) async fn post(
    config: &HttpConfig,
    post: Post<'_>,
    now: Timestamp,
) -> Result<Answer, Outcome> {
    let client = client(config)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in post.headers {
        headers.insert(name, header_value(&value)?);
    }
    if let Some((scheme, credentials)) = &config.authorization {
        let secret = read(credentials)?;
        let mut value = header_value(&format!("{scheme} {secret}"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut request = client
        .post(post.url)
        .headers(headers)
        .body(post.body.to_owned());
    if let Some((user, password)) = &config.basic_auth {
        let password = password.as_ref().map(read).transpose()?;
        request = request.basic_auth(user, password);
    }
    let mut response = request.send().await.map_err(network)?;
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER);
    let after = after
        .and_then(|v| v.to_str().ok())
        .and_then(|v| retry_after(v, now));
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/json"));
    let mut body = Vec::new();
    // An answer that breaks off does not undo the status that came before it.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(Answer { is_json, body });
    }
    let quoted: String = body.trim().chars().take(QUOTED_CHARS_MAX).collect();
    let error = format!("answer {status}: {quoted}");
    let may_work_later = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err(if may_work_later {
        Outcome::Retry { after, error }
    } else {
        Outcome::Refused { error }
    })
}

/// A secret's value; a missing file may appear later.
pub(super) fn read(secret: &SecretSource) -> Result<String, Outcome> {
    match secret.read() {
        Ok(value) => Ok(value.expose().to_owned()),
        Err(e) => Err(Outcome::Retry {
            after: None,
            error: e.to_string(),
        }),
    }
}

fn client(config: &HttpConfig) -> Result<reqwest::Client, Outcome> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("stackwatch/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .tls_danger_accept_invalid_certs(config.tls.insecure_skip_verify);
    if !config.follow_redirects {
        builder = builder.redirect(reqwest::redirect::Policy::none());
    }
    if let Some(proxy) = &config.proxy_url {
        let proxy = reqwest::Proxy::all(read(proxy)?).map_err(refused)?;
        builder = builder.proxy(proxy);
    }
    if let Some(authority) = &config.tls.authority {
        let pem = read(authority)?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(refused)?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(refused)
}

fn header_value(text: &str) -> Result<HeaderValue, Outcome> {
    HeaderValue::from_str(text).map_err(|_| Outcome::Refused {
        error: "a header value contains characters that may not be sent".to_owned(),
    })
}

fn refused(error: reqwest::Error) -> Outcome {
    Outcome::Refused {
        error: explain(error),
    }
}

fn network(error: reqwest::Error) -> Outcome {
    if error.is_builder() {
        return refused(error);
    }
    Outcome::Retry {
        after: None,
        error: explain(error),
    }
}

/// The error and its causes, without the address: it may be a secret.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<std::time::Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(std::time::Duration::from_secs(seconds.into()));
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let at = parser.parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = Timestamp::from_millis(784_111_770_000);
        let check = |text, expect: Option<u64>| {
            assert_eq!(
                retry_after(text, now),
                expect.map(Duration::from_secs),
                "{text}"
            );
        };
        check("120", Some(120));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("soon", None);
    }
}
