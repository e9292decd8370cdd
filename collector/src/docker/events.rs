//! What an engine event asks us to do.

use crate::engine::Event;

/// The events asked for.
pub(super) const FILTERS: [(&str, &[&str]); 2] = [
    ("type", &["container"]),
    (
        "event",
        &[
            "create",
            "start",
            "die",
            "oom",
            "health_status",
            "pause",
            "unpause",
            "rename",
            "destroy",
        ],
    ),
];

/// What an event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Something about it is different: inspect it and tell at once.
    Inspect,
    /// Its main process ended.
    Died {
        /// As the event says.
        exit_code: Option<i64>,
    },
    /// The kernel killed one of its processes.
    OomKilled,
    /// It is no more.
    Removed,
    /// Nothing that concerns us.
    Nothing,
}

/// Reads an event.
pub(super) fn change(event: &Event) -> Change {
    if event.kind != "container" {
        return Change::Nothing;
    }
    // `health_status: unhealthy`, `exec_start: /bin/sh …`.
    let action = event.action.split(':').next().unwrap_or("");
    match action {
        "create" | "start" | "health_status" | "pause" | "unpause" | "rename" => Change::Inspect,
        "die" => Change::Died {
            exit_code: event
                .actor
                .attributes
                .get("exitCode")
                .and_then(|c| c.parse().ok()),
        },
        "oom" => Change::OomKilled,
        "destroy" => Change::Removed,
        _ => Change::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let check = |text: &str, expect: Change| {
            let event: Event = serde_json::from_str(text).unwrap();
            assert_eq!(change(&event), expect, "{text}");
        };
        check(
            r#"{"Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"3"}}}"#,
            Change::Died { exit_code: Some(3) },
        );
        check(
            r#"{"Type":"container","Action":"health_status: unhealthy","Actor":{"ID":"a"}}"#,
            Change::Inspect,
        );
        check(
            r#"{"Type":"container","Action":"exec_start: sh"}"#,
            Change::Nothing,
        );
        check(r#"{"Type":"network","Action":"destroy"}"#, Change::Nothing);
    }
}
