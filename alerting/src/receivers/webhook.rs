//! Alertmanager's generic webhook, version 4. The row's identity goes along as `Idempotency-Key`.

use model::{AlertStatus, Labels, Timestamp};
use reqwest::header::HeaderName;
use serde_json::{Map, Value, json};

use super::http::{Post, post, read};
use crate::config::{SecretSource, WebhookConfig};
use crate::notification::{Notification, Told};
use crate::outbox::{Outcome, Payload};
use crate::templates::Expansion;

/// Largest body, in bytes; alerts beyond it are counted in `truncatedAlerts`.
const BODY_BYTES_MAX: usize = 2 << 20;

pub(super) fn render(
    config: &WebhookConfig,
    notification: &Notification,
    expansion: &mut Expansion<'_>,
) -> Payload {
    let url = match &config.url {
        SecretSource::Inline(url) if url.expose().contains("{{") => {
            Some(expansion.value(url.expose()))
        }
        _ => None,
    };
    let all = notification.alerts.len();
    let mut shown = match config.max_alerts {
        0 => all,
        max => all.min(usize::try_from(max).unwrap_or(usize::MAX)),
    };
    let mut body = body(notification, shown);
    while body.len() > BODY_BYTES_MAX && shown > 1 {
        shown /= 2;
        body = self::body(notification, shown);
    }
    Payload::Json { url, body }
}

pub(super) async fn send(
    config: &WebhookConfig,
    id: &str,
    rendered_url: Option<&str>,
    body: &str,
    now: Timestamp,
) -> Outcome {
    let url = match rendered_url {
        Some(url) => url.to_owned(),
        None => match read(&config.url) {
            Ok(url) => url,
            Err(outcome) => return outcome,
        },
    };
    let request = Post {
        url: &url,
        body,
        headers: vec![(HeaderName::from_static("idempotency-key"), id.to_owned())],
    };
    match post(&config.http, request, now).await {
        Ok(_) => Outcome::Delivered,
        Err(outcome) => outcome,
    }
}

fn body(notification: &Notification, shown: usize) -> String {
    // Status and common labels speak of the alerts that are shown.
    let mut part = notification.clone();
    part.alerts.truncate(shown);
    let alerts: Vec<Value> = part.alerts.iter().map(alert).collect();
    json!({
        "receiver": part.quoted_receiver(),
        "status": part.status().as_str(),
        "alerts": alerts,
        "groupLabels": object(&part.group_labels),
        "commonLabels": object(&part.common_labels()),
        "commonAnnotations": object(&part.common_annotations()),
        "externalURL": part.external_url,
        "notification_reason": part.reason.as_str(),
        "routeLabels": part.route_labels,
        "version": "4",
        "groupKey": part.group_key,
        "truncatedAlerts": notification.alerts.len() - shown,
    })
    .to_string()
}

fn alert(told: &Told) -> Value {
    let ended = (told.status == AlertStatus::Resolved)
        .then_some(told.ends_at)
        .flatten();
    json!({
        "status": told.status.as_str(),
        "labels": object(&told.labels),
        "annotations": object(&told.annotations),
        "startsAt": time(told.starts_at),
        "endsAt": ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        "generatorURL": told.generator_url,
        "fingerprint": format!("{:016x}", told.fingerprint),
    })
}

fn object(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v)));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

/// RFC 3339 in UTC with as many decimals as needed, as Go's JSON has it.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::tests::sample;

    #[test]
    fn the_body_is_version_4() {
        let n = sample(&[
            (
                &[("alertname", "A"), ("i", "1")],
                &[("summary", "s")],
                false,
            ),
            (&[("alertname", "A"), ("i", "2")], &[], true),
        ]);
        let body: Value = serde_json::from_str(&body(&n, 2)).unwrap();
        assert_eq!(
            body,
            json!({
                "version": "4",
                "groupKey": "{}:{alertname=\"A\"}",
                "truncatedAlerts": 0,
                "status": "firing",
                "receiver": "team-X",
                "notification_reason": "first notification",
                "routeLabels": {},
                "groupLabels": {"alertname": "A"},
                "commonLabels": {"alertname": "A"},
                "commonAnnotations": {},
                "externalURL": "http://am.example",
                "alerts": [
                    {
                        "status": "firing",
                        "labels": {"alertname": "A", "i": "1"},
                        "annotations": {"summary": "s"},
                        "startsAt": "2026-11-18T11:06:40Z",
                        "endsAt": "0001-01-01T00:00:00Z",
                        "generatorURL": "http://p/graph?g0",
                        "fingerprint": format!("{:016x}", n.alerts[0].fingerprint),
                    },
                    {
                        "status": "resolved",
                        "labels": {"alertname": "A", "i": "2"},
                        "annotations": {},
                        "startsAt": "2026-11-18T11:06:40Z",
                        "endsAt": "2026-11-18T11:07:40.5Z",
                        "generatorURL": "http://p/graph?g0",
                        "fingerprint": format!("{:016x}", n.alerts[1].fingerprint),
                    },
                ],
            })
        );
    }

    #[test]
    fn alerts_beyond_the_limit_are_counted() {
        let n = sample(&[
            (&[("alertname", "A"), ("i", "1")], &[], false),
            (&[("alertname", "A"), ("i", "2")], &[], true),
        ]);
        let body: Value = serde_json::from_str(&body(&n, 1)).unwrap();
        assert_eq!(body["truncatedAlerts"], 1);
        assert_eq!(body["alerts"].as_array().unwrap().len(), 1);
        assert_eq!(body["commonLabels"]["i"], "1");
    }
}
