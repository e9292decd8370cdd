//! The level of a line, where it is obvious: a JSON or logfmt field, or a word in capitals
//! near the beginning. What is not obvious has none. The names are those of Loki's `detected_level`.

/// How far into a line a level is looked for.
pub(crate) const REACH: usize = 512;
/// How far for a bare word: beyond it stands the message.
const WORD_REACH: usize = 96;

/// Field names, as JSON and logfmt write them.
const FIELDS: [&str; 6] = [
    "level",
    "severity",
    "lvl",
    "loglevel",
    "levelname",
    "severity_text",
];

/// What `detected_level` is where there is none.
pub(crate) const UNKNOWN: &str = "unknown";

/// Of a syslog severity, 0 for emergencies to 7 for debug messages.
pub(crate) fn of_severity(severity: u8) -> Option<&'static str> {
    const LEVELS: [&str; 8] = [
        "fatal", "critical", "critical", "error", "warn", "info", "info", "debug",
    ];
    LEVELS.get(usize::from(severity)).copied()
}

/// Whether it is as bad as an error.
pub(crate) fn is_error(level: Option<&str>) -> bool {
    matches!(level, Some("error" | "critical" | "fatal"))
}

/// One of `trace debug info warn error critical fatal`, if the line has one.
#[must_use]
pub fn of(line: &str) -> Option<&'static str> {
    let bytes = &line.as_bytes()[..line.len().min(REACH)];
    field(bytes).or_else(|| word(&bytes[..bytes.len().min(WORD_REACH)]))
}

/// `"level":"info"`, `"level":30`, `level=info`, `level="info"`.
fn field(bytes: &[u8]) -> Option<&'static str> {
    let mut from = 0;
    // Each candidate begins behind a quote, a blank or the start; all fields begin with l or s.
    while from < bytes.len() {
        let boundary =
            from == 0 || matches!(bytes[from - 1], b'"' | b' ' | b',' | b'{' | b'\t' | b'.');
        if boundary && matches!(bytes[from], b'l' | b's' | b'L' | b'S') {
            let rest = &bytes[from..];
            let found = FIELDS.iter().find_map(|name| {
                let (head, rest) = rest.split_at_checked(name.len())?;
                head.eq_ignore_ascii_case(name.as_bytes())
                    .then(|| value(rest))
                    .flatten()
            });
            if found.is_some() {
                return found;
            }
        }
        from += 1;
    }
    None
}

fn value(rest: &[u8]) -> Option<&'static str> {
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
    let (b'=' | b':', rest) = rest.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    named(&rest[..end])
}

/// A level by any of its names; numbers are those of pino and bunyan.
#[must_use]
pub fn named(name: &[u8]) -> Option<&'static str> {
    let is = |names: &[&str]| {
        names
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    if is(&[
        "info",
        "inf",
        "information",
        "informational",
        "notice",
        "30",
        "log",
        "i",
    ]) {
        Some("info")
    } else if is(&["error", "err", "50", "e"]) {
        Some("error")
    } else if is(&["warn", "wrn", "warning", "40", "w"]) {
        Some("warn")
    } else if is(&["debug", "dbg", "20", "d", "dbug"]) {
        Some("debug")
    } else if is(&["critical", "crit", "alert"]) {
        Some("critical")
    } else if is(&["fatal", "panic", "emerg", "emergency", "60", "f"]) {
        Some("fatal")
    } else if is(&["trace", "trc", "10", "verbose"]) {
        Some("trace")
    } else {
        None
    }
}

/// `INFO`, `[error]`, `WARNING:`, `LOG:`: in capitals, or between brackets.
fn word(bytes: &[u8]) -> Option<&'static str> {
    let mut from = 0;
    while from < bytes.len() {
        let length = bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let end = from + length;
        if (3..=9).contains(&length) {
            let before = from.checked_sub(1).map(|at| bytes[at]);
            let after = bytes.get(end).copied();
            let capitals = bytes[from..end].iter().all(u8::is_ascii_uppercase);
            let alone = !before.is_some_and(joins) && !after.is_some_and(joins);
            let bracketed = before == Some(b'[') && after == Some(b']');
            // Postgres' "LOG:" is a level, "LOG" elsewhere is a word.
            let colon = &bytes[from..end] != b"LOG" || after == Some(b':');
            if (capitals && alone && colon) || bracketed {
                let found = named(&bytes[from..end]);
                if found.is_some() {
                    return found;
                }
            }
        }
        from = end.max(from + 1);
    }
    None
}

/// Whether a byte makes a word beside it a part of something longer.
fn joins(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &str) {
        assert_eq!(of(line).unwrap_or(""), expect, "{line}");
    }

    #[test]
    fn fields() {
        check(r#"{"level":"info","msg":"ERROR"}"#, "info");
        check(r#"{"time":1,"level": 50}"#, "error");
        check(r#"{"severity":"WARNING"}"#, "warn");
        check("ts=1 level=debug msg=x", "debug");
        check(r#"lvl="crit" x"#, "critical");
        check(r#"{"Severity":"Critical"}"#, "critical");
        check(r#"{"log.level":"warn","message":"x"}"#, "warn");
        check(r#"{"levelname": "ERROR"}"#, "error");
        check("severity_text=INFO x", "info");
        check("level=unknown x", "");
    }

    #[test]
    fn words() {
        check("2026-11-21 09:17:37 INFO  c.e.Main : started", "info");
        check("2026/11/21 09:17:37 [error] 7#7: *1 open() failed", "error");
        check("2026-11-21 09:17:37 UTC [1] LOG:  checkpoint", "info");
        check("ERROR: relation does not exist", "error");
        check("[2026-11-21 09:17:37,1: WARNING/Worker-1] x", "warn");
        check("WARN", "warn");
    }

    #[test]
    fn what_is_not_obvious() {
        check("an error occurred", "");
        check("GET /ERROR-PAGE", "");
        check("LOG in", "");
        check("", "");
        check("é", "");
    }
}
