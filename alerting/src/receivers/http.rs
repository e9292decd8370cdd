//! What the receivers over HTTP share: the client, the request, and the verdict on an answer.

use std::error::Error as _;

use model::Timestamp;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::redirect;
use tls::{Roots, SystemRoots, Trust};

use crate::config::{HttpConfig, SecretSource, TlsConfig};
use crate::outbox::Outcome;

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most of an answer that is quoted in an error.
const QUOTED_CHARS_MAX: usize = 200;

/// Redirects followed.
const REDIRECTS_MAX: usize = 10;
/// Shorter pieces are words rather than secrets.
const SECRET_BYTES_MIN: usize = 6;

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
    let mut secrets = address_parts(post.url);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in post.headers {
        headers.insert(name, header_value(&value)?);
    }
    if let Some((scheme, credentials)) = &config.authorization {
        let secret = read(credentials)?;
        secrets.push(secret.clone());
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
        secrets.extend(password.clone());
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
    // Some servers repeat what they were asked.
    let body = mask(String::from_utf8_lossy(&body).into_owned(), secrets);
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
        .no_proxy();
    builder = builder.redirect(match config.follow_redirects {
        true => redirect::Policy::custom(keep_method),
        false => redirect::Policy::none(),
    });
    if let Some(proxy) = &config.proxy_url {
        let proxy = reqwest::Proxy::all(read(proxy)?).map_err(refused)?;
        builder = builder.proxy(proxy);
    }
    let tls = tls(&config.tls)?.http_config();
    let tls = tls.map_err(|e| Outcome::Refused {
        error: e.to_string(),
    })?;
    builder
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(refused)
}

/// Trusts the authority that is configured, and this machine's.
pub(super) fn tls(config: &TlsConfig) -> Result<tls::Client, Outcome> {
    let system = SystemRoots::default();
    let trust = match &config.authority {
        _ if config.insecure_skip_verify => Trust::Anyone,
        Some(authority) => {
            let roots = Roots::from_pem(read(authority)?.as_bytes());
            let roots = roots.map_err(|e| Outcome::Refused {
                error: format!("tls_config: ca: {e}"),
            })?;
            Trust::Also(roots, system)
        }
        None => Trust::System(system),
    };
    Ok(tls::Client::trusting(trust))
}

/// Follows only redirects that keep the method. The others turn a post into a get without a body,
/// and its answer would count as a delivery that never was.
fn keep_method(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if !matches!(attempt.status().as_u16(), 307 | 308) {
        attempt.stop()
    } else if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

/// What of an address may be a secret: its password, and pieces of path and query that are no words.
fn address_parts(url: &str) -> Vec<String> {
    let mut parts = vec![url.to_owned()];
    if let Ok(url) = reqwest::Url::parse(url) {
        parts.extend(url.password().map(str::to_owned));
        parts.extend(url.query().map(str::to_owned));
        parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
    }
    parts
}

/// Takes secrets out of a text.
fn mask(mut text: String, mut secrets: Vec<String>) -> String {
    secrets.retain(|s| s.len() >= SECRET_BYTES_MIN);
    // A secret may be part of another.
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    for secret in secrets {
        if text.contains(&secret) {
            text = text.replace(&secret, "<secret>");
        }
    }
    text
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
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(source) = cause {
        texts.push(source.to_string());
        cause = source.source();
    }
    // That the request could not be sent is said by its causes; why there is no connection by the
    // first of them.
    let skipped = match texts.len() {
        n if error.is_connect() => n - 1,
        n => usize::from(error.is_request() && n > 1),
    };
    texts[skipped..].join(": ")
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<std::time::Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse::<u32>().unwrap_or(u32::MAX);
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
        check("99999999999999999999", Some(u32::MAX.into()));
    }

    #[test]
    fn an_answer_that_repeats_the_request_does_not_give_it_away() {
        let check = |url: &str, text: &str, expect: &str| {
            let secrets = [address_parts(url), vec!["bearer-x".to_owned()]].concat();
            assert_eq!(mask(text.to_owned(), secrets), expect);
        };
        let slack = "https://hooks.example/services/T0000000/B0000000/abcdefgh";
        check(
            slack,
            "no /services/T0000000/B0000000/abcdefgh",
            "no /<secret>/<secret>/<secret>/<secret>",
        );
        check(slack, "bad token bearer-x", "bad token <secret>");
        check(
            "http://u:hunter22@h/p?token=s3cr3t&a=b",
            "GET /p?token=s3cr3t&a=b by hunter22, s3cr3t",
            "GET /p?<secret> by <secret>, <secret>",
        );
        check("http://h/api/v2", "no /api/v2 here", "no /api/v2 here");
    }

    /// Answers the first request with `answer` and a 200 to any after it; how many came.
    async fn posted(answer: &'static str) -> (Result<(), Outcome>, usize) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (came, mut requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            for answer in std::iter::once(answer).chain(std::iter::repeat("200 OK\r\n")) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let read = stream.read(&mut bytes).await.unwrap();
                came.send(bytes[..read].to_vec()).unwrap();
                let head =
                    format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        });
        let yaml =
            "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/'}]}]";
        let parsed = crate::Config::parse("t.yml", yaml).unwrap();
        let crate::config::IntegrationKind::Webhook(config) =
            &parsed.receivers[0].integrations[0].kind
        else {
            panic!("no webhook");
        };
        let request = Post {
            url: &url,
            body: "{}",
            headers: Vec::new(),
        };
        let outcome = post(&config.http, request, Timestamp::default()).await;
        let mut count = 0;
        while requests.try_recv().is_ok() {
            count += 1;
        }
        (outcome.map(|_| ()), count)
    }

    #[tokio::test]
    async fn a_redirect_that_loses_the_body_is_no_delivery() {
        let (outcome, count) = posted("302 Found\r\nLocation: /\r\n").await;
        assert!(
            matches!(outcome, Err(Outcome::Refused { .. })),
            "{outcome:?}"
        );
        assert_eq!(count, 1);
        let (outcome, count) = posted("307 Temporary Redirect\r\nLocation: /\r\n").await;
        assert_eq!((outcome, count), (Ok(()), 2));
    }
}
