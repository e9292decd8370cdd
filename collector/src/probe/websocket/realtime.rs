//! Supabase Realtime: joining a channel and a heartbeat, in Phoenix' messages (serializer 1.0.0).
//! Source: <https://supabase.com/docs/guides/realtime/protocol>.

use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::Messages;
use crate::probe::Failure;
use crate::probe::config::Realtime;

/// The channel joined unless the probe names one.
const TOPIC: &str = "realtime:stackwatch";
/// Messages of a busy channel passed over while the reply is waited for.
const OTHERS_MAX: usize = 1000;

/// A channel to join.
pub(super) struct Joining {
    topic: String,
    key: Option<String>,
}

impl Joining {
    /// Reads the key and adds it to the URL, where the gateway looks for it.
    pub(super) async fn new(config: &Realtime, url: &mut Url) -> Result<Joining, Failure> {
        let key = match (&config.api_key, &config.api_key_file) {
            (Some(key), _) => Some(key.0.clone()),
            (None, Some(file)) => Some(crate::probe::secret_of(file).await?),
            (None, None) => None,
        };
        let stated = |name: &str| {
            url.query_pairs()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.into_owned())
        };
        let (in_url, version) = (stated("apikey"), stated("vsn"));
        if let (Some(key), None) = (&key, &in_url) {
            url.query_pairs_mut().append_pair("apikey", key);
        }
        if version.is_none() {
            url.query_pairs_mut().append_pair("vsn", "1.0.0");
        }
        Ok(Joining {
            topic: config.topic.clone().unwrap_or_else(|| TOPIC.to_owned()),
            key: key.or(in_url),
        })
    }

    /// Joins.
    pub(super) async fn join<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        messages: &mut Messages<S>,
    ) -> Result<(), Failure> {
        let mut payload = json!({
            "config": {
                "broadcast": { "ack": false, "self": false },
                "presence": { "key": "" },
                "postgres_changes": [],
            }
        });
        if let Some(key) = &self.key {
            payload["access_token"] = Value::from(key.as_str());
        }
        let message = json!({
            "topic": self.topic, "event": "phx_join", "payload": payload, "ref": "1", "join_ref": "1",
        });
        messages.send(&message.to_string()).await?;
        reply(messages, "1", "joining the channel").await
    }
}

/// Has a heartbeat answered.
pub(super) async fn heartbeat<S: AsyncRead + AsyncWrite + Unpin>(
    messages: &mut Messages<S>,
) -> Result<(), Failure> {
    let message = json!({ "topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "2" });
    messages.send(&message.to_string()).await?;
    reply(messages, "2", "the heartbeat").await
}

/// Waits for the reply to a message. The server's reason is not repeated: it may quote the key.
async fn reply<S: AsyncRead + AsyncWrite + Unpin>(
    messages: &mut Messages<S>,
    reference: &str,
    what: &str,
) -> Result<(), Failure> {
    for _ in 0..OTHERS_MAX {
        let text = messages.next().await?;
        let Ok(message) = serde_json::from_str::<Value>(&text) else {
            return Err(Failure::Protocol("a message is not JSON".to_owned()));
        };
        if message["event"] != "phx_reply" || message["ref"] != reference {
            continue;
        }
        return match message["payload"]["status"].as_str() {
            Some("ok") => Ok(()),
            status => Err(Failure::Unwanted(format!(
                "{what} was answered with status {:?}",
                status.unwrap_or("none")
            ))),
        };
    }
    Err(Failure::Protocol(format!(
        "{OTHERS_MAX} messages and no reply to {what}"
    )))
}
