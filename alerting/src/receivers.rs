//! Receivers: each renders a notification once, and sends the rendered bytes as often as it takes.

mod email;
mod http;
mod slack;
mod webhook;

use model::Timestamp;

use crate::config::{Integration, IntegrationKind};
use crate::notification::Notification;
use crate::outbox::{Outcome, Payload};
use crate::templates::Expansion;

/// The bytes to send, but for secrets.
pub(crate) fn render(
    integration: &Integration,
    notification: &Notification,
    expansion: &mut Expansion<'_>,
) -> Payload {
    match &integration.kind {
        IntegrationKind::Email(config) => email::render(config, notification, expansion),
        IntegrationKind::Slack(config) => slack::render(config, notification, expansion),
        IntegrationKind::Webhook(config) => webhook::render(config, notification, expansion),
    }
}

/// One attempt. Takes at most the integration's timeout; `now` is for dates in answers.
pub(crate) async fn send(
    integration: &Integration,
    id: &str,
    payload: &Payload,
    now: Timestamp,
) -> Outcome {
    let attempt = async {
        match (&integration.kind, payload) {
            (IntegrationKind::Email(config), Payload::Email { from, to, message }) => {
                email::send(config, from, to, message).await
            }
            (IntegrationKind::Slack(config), Payload::Json { body, .. }) => {
                slack::send(config, body, now).await
            }
            (IntegrationKind::Webhook(config), Payload::Json { url, body }) => {
                webhook::send(config, id, url.as_deref(), body, now).await
            }
            _ => Outcome::Refused {
                error: "the integration at this place is of another kind now".to_owned(),
            },
        }
    };
    let outcome = match tokio::time::timeout(integration.timeout, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Retry {
            after: None,
            error: format!("no answer within {:?}", integration.timeout),
        },
    };
    let named = |error| match host(&integration.kind, payload) {
        Some(host) => format!("{host}: {error}"),
        None => error,
    };
    match outcome {
        Outcome::Delivered => Outcome::Delivered,
        Outcome::Retry { after, error } => Outcome::Retry {
            after,
            error: named(error),
        },
        Outcome::Refused { error } => Outcome::Refused {
            error: named(error),
        },
    }
}

/// Whom an attempt speaks to, for its error. Path, query and login of an address may be secrets;
/// host and port are not.
fn host(kind: &IntegrationKind, payload: &Payload) -> Option<String> {
    let secret = match kind {
        IntegrationKind::Email(config) => return Some(format!("{}:{}", config.host, config.port)),
        IntegrationKind::Slack(config) => &config.url,
        IntegrationKind::Webhook(config) => &config.url,
    };
    let url = match payload {
        Payload::Json { url: Some(url), .. } => url.clone(),
        _ => secret.read().ok()?.expose().to_owned(),
    };
    let url = reqwest::Url::parse(&url).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}
