//! Slack: an incoming webhook, or `chat.postMessage` with a bot token.

use model::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde_json::{Map, Value, json};

use super::http::{Post, post, read};
use crate::config::SlackConfig;
use crate::notification::Notification;
use crate::outbox::{Outcome, Payload};
use crate::templates::Expansion;

/// Longest title, in characters. Source: alertmanager/notify/slack.
const TITLE_CHARS_MAX: usize = 1024;

pub(super) fn render(
    config: &SlackConfig,
    _notification: &Notification,
    expansion: &mut Expansion<'_>,
) -> Payload {
    let mut attachment = Map::new();
    let title = cut(expansion.text(&config.title));
    for (key, text) in [("text", &config.text), ("fallback", &config.fallback)] {
        put(&mut attachment, key, expansion.text(text), true);
    }
    for (key, text, always) in [
        ("title_link", &config.title_link, false),
        ("pretext", &config.pretext, false),
        ("callback_id", &config.callback_id, true),
        ("image_url", &config.image_url, false),
        ("thumb_url", &config.thumb_url, false),
        ("footer", &config.footer, true),
        ("color", &config.color, false),
    ] {
        put(&mut attachment, key, expansion.value(text), always);
    }
    put(&mut attachment, "title", title, false);
    attachment.insert("mrkdwn_in".to_owned(), json!(config.markdown_in));
    if !config.fields.is_empty() {
        let fields = config.fields.iter().map(|f| {
            json!({
                "title": expansion.value(&f.title),
                "value": expansion.value(&f.value),
                "short": f.short.unwrap_or(config.short_fields),
            })
        });
        attachment.insert("fields".to_owned(), fields.collect());
    }
    if !config.actions.is_empty() {
        let actions = config.actions.iter().map(|a| {
            let mut action = Map::new();
            put(&mut action, "type", a.kind.clone(), true);
            for (key, text) in [
                ("text", &a.text),
                ("url", &a.url),
                ("style", &a.style),
                ("name", &a.name),
                ("value", &a.value),
            ] {
                put(&mut action, key, expansion.value(text), key == "text");
            }
            if let Some(confirm) = &a.confirm {
                let mut question = Map::new();
                let keys = ["text", "title", "ok_text", "dismiss_text"];
                for (key, text) in keys.into_iter().zip(confirm) {
                    put(&mut question, key, expansion.value(text), key == "text");
                }
                action.insert("confirm".to_owned(), Value::Object(question));
            }
            Value::Object(action)
        });
        attachment.insert("actions".to_owned(), actions.collect());
    }
    let mut message = Map::new();
    for (key, text) in [
        ("channel", &config.channel),
        ("username", &config.username),
        ("icon_emoji", &config.icon_emoji),
        ("icon_url", &config.icon_url),
        ("text", &config.message_text),
    ] {
        put(&mut message, key, expansion.value(text), false);
    }
    if config.link_names {
        message.insert("link_names".to_owned(), Value::Bool(true));
    }
    message.insert("attachments".to_owned(), json!([attachment]));
    Payload::Json {
        url: None,
        body: Value::Object(message).to_string(),
    }
}

pub(super) async fn send(config: &SlackConfig, body: &str, now: Timestamp) -> Outcome {
    match attempt(config, body, now).await {
        Ok(()) => Outcome::Delivered,
        Err(outcome) => outcome,
    }
}

async fn attempt(config: &SlackConfig, body: &str, now: Timestamp) -> Result<(), Outcome> {
    let url = read(&config.url)?;
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    if let Some(token) = &config.app_token {
        headers.push((AUTHORIZATION, format!("Bearer {}", read(token)?)));
    }
    let request = Post {
        url: &url,
        body,
        headers,
    };
    let answer = post(&config.http, request, now).await?;
    // Slack says no with status 200, too.
    let complaint = if answer.is_json {
        let parsed: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        match parsed["ok"].as_bool() {
            Some(true) => return Ok(()),
            _ => parsed["error"]
                .as_str()
                .unwrap_or("unreadable answer")
                .to_owned(),
        }
    } else if answer.body.trim() == "ok" {
        return Ok(());
    } else {
        answer.body.chars().take(200).collect()
    };
    let error = format!("Slack refused the message: {complaint}");
    let passing = [
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    ];
    Err(if passing.contains(&complaint.trim()) {
        Outcome::Retry { after: None, error }
    } else {
        Outcome::Refused { error }
    })
}

fn put(map: &mut Map<String, Value>, key: &str, text: String, always: bool) {
    if always || !text.is_empty() {
        map.insert(key.to_owned(), Value::String(text));
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(TITLE_CHARS_MAX) {
        None => text,
        Some(_) => text
            .chars()
            .take(TITLE_CHARS_MAX - 1)
            .chain(['…'])
            .collect(),
    }
}
