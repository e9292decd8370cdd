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
            "kill",
            "die",
            "oom",
            "health_status",
            "pause",
            "unpause",
            "rename",
            "update",
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
    /// Somebody asked for its end.
    StopRequested,
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
        "create" | "start" | "health_status" | "pause" | "unpause" | "rename" | "update" => {
            Change::Inspect
        }
        "die" => Change::Died {
            exit_code: event
                .actor
                .attributes
                .get("exitCode")
                .and_then(|c| c.parse().ok()),
        },
        "kill" if ends(event) => Change::StopRequested,
        "oom" => Change::OomKilled,
        "destroy" => Change::Removed,
        _ => Change::Nothing,
    }
}

/// Whether the signal of a `kill` event ends a process that does not expect it: hang-up,
/// user-defined and window signals are how daemons are asked to reload.
fn ends(event: &Event) -> bool {
    /// SIGINT, SIGQUIT, SIGKILL and SIGTERM, and what some images set as STOPSIGNAL for systemd.
    const ENDING: [&str; 5] = ["2", "3", "9", "15", "37"];
    let signal = event.actor.attributes.get("signal");
    signal.is_some_and(|s| ENDING.contains(&s.as_str()))
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
        let kill = |signal: &str| {
            format!(
                r#"{{"Type":"container","Action":"kill","Actor":{{"ID":"a","Attributes":{{"signal":"{signal}"}}}}}}"#
            )
        };
        check(&kill("15"), Change::StopRequested);
        check(&kill("9"), Change::StopRequested);
        check(&kill("1"), Change::Nothing);
        check(
            r#"{"Type":"container","Action":"exec_start: sh"}"#,
            Change::Nothing,
        );
        check(r#"{"Type":"network","Action":"destroy"}"#, Change::Nothing);
    }
}
