//! What happens to containers, as entries beside their output: start, end with its code, want of
//! memory, health.
//!
//! They are a stream of their own, `stream="events"`, under the container's labels. The engine keeps
//! its last 256 events, so those of our own absence are mostly told too.

use std::sync::Arc;

use model::LabelsBuilder;
use scrub::{LogBatch, ScrubbedEntry, SourcePosition};

use super::{Container, Context};
use crate::engine::Event;

/// The source of the position: the time of the last event told.
const SOURCE: &str = "docker-events";
/// How far back events are told that happened while we were away.
const REACH_NS: i64 = 24 * 3600 * 1_000_000_000;
const VERSION: u8 = 1;

/// Tells events once.
pub(super) struct Lifecycle {
    context: Arc<Context>,
    /// Nanoseconds since the epoch; those up to then were told.
    told_ns: Option<i64>,
}

/// An event in words.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    event: &'static str,
    text: String,
    level: &'static str,
    /// A further label.
    detail: Option<(&'static str, String)>,
}

impl Lifecycle {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let told = context.positions.get(SOURCE);
        let told_ns = told.as_deref().and_then(decode);
        let told_ns = told_ns.max(context.progress.event());
        Lifecycle { context, told_ns }
    }

    /// From when on to ask for events, `latest` at the latest.
    pub(super) fn since(&self, latest: i64) -> i64 {
        let told = self.told_ns.unwrap_or(latest);
        told.clamp(latest - REACH_NS, latest)
    }

    /// Hands the event on, unless it was or says nothing; waits while the channel is full.
    pub(super) async fn tell(&mut self, event: &Event) {
        if !self.context.config.events || self.told_ns.is_some_and(|told| event.time_ns <= told) {
            return;
        }
        let Some(words) = words(event) else { return };
        let attributes = &event.actor.attributes;
        let name = attributes.get("name").map_or("", String::as_str);
        let container = Container::new(&event.actor.id, name, attributes);
        let mut stream = container.labels(&self.context.host).to_builder();
        stream.set("stream", "events");
        let mut metadata = LabelsBuilder::default();
        metadata
            .set("container_id", &container.id)
            .set("event", words.event)
            .set("detected_level", words.level);
        if let Some((name, value)) = words.detail {
            metadata.set(name, value);
        }
        let scrubber = &self.context.scrubber;
        let batch = LogBatch {
            stream: scrubber.labels(&stream.build()),
            entries: vec![ScrubbedEntry {
                at_ns: event.time_ns,
                line: scrubber.line(words.text.as_bytes()),
                metadata: scrubber.labels(&metadata.build()),
            }],
            position: Some(SourcePosition {
                source: SOURCE.to_owned(),
                position: encode(event.time_ns),
            }),
        };
        // Nobody takes batches any more only when we end.
        if self.context.out.send(batch).await.is_ok() {
            self.told_ns = Some(event.time_ns);
            self.context.progress.set_event(event.time_ns);
        }
    }
}

fn words(event: &Event) -> Option<Words> {
    let (action, argument) = event.action.split_once(": ").unwrap_or((&event.action, ""));
    let words = |event, text: String, level, detail| Words {
        event,
        text: format!("stackwatch: container {text}"),
        level,
        detail,
    };
    Some(match action {
        "start" => words("start", "started".to_owned(), "info", None),
        "die" => {
            let code = event.actor.attributes.get("exitCode");
            let code = code.map_or("?", String::as_str);
            let level = if code == "0" { "info" } else { "warn" };
            let detail = Some(("exit_code", code.to_owned()));
            words("die", format!("died with exit code {code}"), level, detail)
        }
        "oom" => words("oom", "ran out of memory".to_owned(), "error", None),
        "health_status" => {
            let level = if argument == "unhealthy" {
                "warn"
            } else {
                "info"
            };
            let detail = Some(("health", argument.to_owned()));
            words("health_status", format!("is {argument}"), level, detail)
        }
        _ => return None,
    })
}

fn encode(at_ns: i64) -> Vec<u8> {
    [&[VERSION][..], &at_ns.to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<i64> {
    let rest = bytes.strip_prefix(&[VERSION])?;
    Some(i64::from_le_bytes(rest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_words() {
        let check = |event: &str, expect: &str, level: &str| {
            let event: Event = serde_json::from_str(event).unwrap();
            let words = words(&event).map(|w| (w.text, w.level));
            let expect = (!expect.is_empty()).then(|| (expect.to_owned(), level));
            assert_eq!(words.as_ref().map(|(t, l)| (t.clone(), *l)), expect);
        };
        check(
            r#"{"Action":"start"}"#,
            "stackwatch: container started",
            "info",
        );
        check(
            r#"{"Action":"die","Actor":{"Attributes":{"exitCode":"137"}}}"#,
            "stackwatch: container died with exit code 137",
            "warn",
        );
        check(
            r#"{"Action":"die","Actor":{"Attributes":{"exitCode":"0"}}}"#,
            "stackwatch: container died with exit code 0",
            "info",
        );
        check(
            r#"{"Action":"oom"}"#,
            "stackwatch: container ran out of memory",
            "error",
        );
        check(
            r#"{"Action":"health_status: unhealthy"}"#,
            "stackwatch: container is unhealthy",
            "warn",
        );
        check(r#"{"Action":"rename"}"#, "", "");
    }

    #[test]
    fn the_time_of_the_last_event_survives_its_encoding() {
        assert_eq!(decode(&encode(-5)), Some(-5));
        assert_eq!(decode(b""), None);
    }
}
