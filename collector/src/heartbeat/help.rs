//! What the families of heartbeats mean.

/// The help text of a family; `None` when it is not one of a heartbeat.
pub(crate) fn help(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix("stackwatch_heartbeat_")?;
    HELP.iter()
        .find(|(known, _)| *known == rest)
        .map(|(_, text)| *text)
}

const HELP: [(&str, &str); 16] = [
    ("up", "1 unless the heartbeat is late or its job failed."),
    (
        "late",
        "1 when no ping came in time, or a run that began has taken longer than the grace time.",
    ),
    ("failed", "1 when the job said last that it failed."),
    (
        "running",
        "1 when the job said that it began and not yet that it ended.",
    ),
    (
        "expected_timestamp_seconds",
        "When the next ping is due, in seconds since 1970.",
    ),
    (
        "deadline_timestamp_seconds",
        "When the next ping is late, in seconds since 1970.",
    ),
    (
        "last_ping_timestamp_seconds",
        "When the last ping of any kind came, in seconds since 1970.",
    ),
    (
        "last_success_timestamp_seconds",
        "When the job last ended well, in seconds since 1970.",
    ),
    (
        "last_failure_timestamp_seconds",
        "When the job last failed, in seconds since 1970.",
    ),
    (
        "last_start_timestamp_seconds",
        "When the job last began, in seconds since 1970.",
    ),
    (
        "last_duration_seconds",
        "How long the last run took that said when it began.",
    ),
    ("last_exit_status", "The last exit status the job sent."),
    (
        "last_body_bytes",
        "Bytes of the last ping's body, which is not kept.",
    ),
    ("pings_total", "Pings that came, by kind."),
    ("grace_seconds", "How late a ping may be."),
    ("period_seconds", "Time between two pings at most."),
];
