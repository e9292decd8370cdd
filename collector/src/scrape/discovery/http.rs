//! Target groups from a server.

use std::time::Duration;

use reqwest::header::HeaderName;

use super::Publisher;
use super::config::HttpSdConfig;
use super::file::from_json;
use crate::masked::masked;
use crate::scrape::{Bodies, Fetcher, StaticConfig};

/// The longest that an answer may take, whatever the interval.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The label with the address asked.
const URL: &str = "__meta_url";
/// Tells the server how often it is asked.
const INTERVAL_HEADER: HeaderName =
    HeaderName::from_static("x-prometheus-refresh-interval-seconds");

/// Asks until dropped.
pub(super) async fn run(config: HttpSdConfig, bodies: Bodies, publisher: Publisher) {
    let client = config.client();
    let fetcher = Fetcher::for_json(&client, &bodies);
    let mut tick = tokio::time::interval(config.refresh_interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let fetcher = match &fetcher {
            Ok(fetcher) => fetcher,
            Err(problem) => {
                publisher.failed(problem.clone());
                continue;
            }
        };
        let seconds = config.refresh_interval.as_secs_f64().to_string();
        let timeout = config.refresh_interval.min(TIMEOUT_MAX);
        let header = (INTERVAL_HEADER, seconds);
        let answer = fetcher.get(&client, &config.url.0, header, timeout).await;
        let groups = answer.map_err(|e| e.to_string()).and_then(|(body, kind)| {
            if !is_json(kind.as_deref().unwrap_or("")) {
                let kind = kind.unwrap_or_default();
                return Err(format!("unsupported content type {kind:?}"));
            }
            let text = std::str::from_utf8(&body).map_err(|_| "the answer is no UTF-8")?;
            groups(text, &config.url.0)
        });
        match groups {
            Ok(groups) => publisher.found(groups, None),
            Err(problem) => publisher.failed(problem),
        }
    }
}

fn groups(text: &str, url: &str) -> Result<Vec<StaticConfig>, String> {
    let mut groups = from_json(text)?;
    let shown = without_credentials(url);
    let shown = masked(&shown);
    for group in &mut groups {
        group
            .labels
            .insert(URL.to_owned(), shown.clone().into_owned());
    }
    Ok(groups)
}

/// The URL as written, less what stands before an `@` in its authority.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return String::new();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// `application/json`, with no other character set than UTF-8.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let (media, rest) = lower.split_once(';').unwrap_or((&lower, ""));
    let charset = rest.trim();
    media == "application/json"
        && (matches!(charset, "charset=utf-8" | "charset=\"utf-8\"")
            || (charset.is_empty() && !lower.contains(';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_a_label_without_its_password() {
        let found = groups(r#"[{"targets":["a:1"]}]"#, "http://u:hunter2@sd:80/x?y=@z").unwrap();
        assert_eq!(found[0].labels[URL], "http://sd:80/x?y=@z");
        assert_eq!(without_credentials("https://sd/x@y"), "https://sd/x@y");
    }

    #[test]
    fn only_json_is_taken() {
        for (kind, expect) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(kind), expect, "{kind}");
        }
    }
}
