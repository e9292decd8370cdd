//! One line of a `json-file` log: `{"log":"text\n","stream":"stdout","time":"…"}`.

use std::borrow::Cow;

use serde::Deserialize;

use super::frame::Stream;
use super::stamp;

/// How each record begins.
const START: &[u8] = b"{\"log\":\"";
/// Starts tried within one damaged line.
const STARTS_MAX: usize = 8;

/// A chunk as the engine wrote it down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) stream: Stream,
    /// Nanoseconds since the epoch.
    pub(crate) at_ns: i64,
    /// With the line end, unless the line goes on.
    pub(crate) text: Cow<'a, str>,
    /// Something before it on the same line is no record.
    pub(crate) is_after_damage: bool,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads a line, also one that begins with the rest of a torn record or with zeros; `None` when
/// nothing in it is a record.
pub(crate) fn parse(line: &[u8]) -> Option<Record<'_>> {
    if let Some(record) = parse_whole(line) {
        return Some(record);
    }
    let starts = line
        .windows(START.len())
        .enumerate()
        .skip(1)
        .filter(|(_, bytes)| *bytes == START);
    for (at, _) in starts.take(STARTS_MAX) {
        if let Some(record) = parse_whole(&line[at..]) {
            return Some(Record {
                is_after_damage: true,
                ..record
            });
        }
    }
    None
}

fn parse_whole(line: &[u8]) -> Option<Record<'_>> {
    if !line.starts_with(START) {
        return None;
    }
    let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    let stream = match &*raw.stream {
        "stderr" => Stream::Stderr,
        _ => Stream::Stdout,
    };
    Some(Record {
        stream,
        at_ns: stamp::parse_short(&raw.time)?,
        text: raw.log,
        is_after_damage: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<(&str, bool)>) {
        let record = parse(line.as_bytes());
        let found = record.as_ref().map(|r| (&*r.text, r.is_after_damage));
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn records_are_read() {
        let record = parse(
            br#"{"log":"a\n","stream":"stderr","attrs":{"x":"y"},"time":"1970-01-01T00:00:01.5Z"}"#,
        );
        let expect = Record {
            stream: Stream::Stderr,
            at_ns: 1_500_000_000,
            text: "a\n".into(),
            is_after_damage: false,
        };
        assert_eq!(record, Some(expect));
    }

    #[test]
    fn a_record_behind_damage_is_found() {
        let whole = r#"{"log":"b\n","stream":"stdout","time":"1970-01-01T00:00:01Z"}"#;
        check(whole, Some(("b\n", false)));
        check(&format!("\0\0\0{whole}"), Some(("b\n", true)));
        check(&format!(r#"{{"log":"torn {whole}"#), Some(("b\n", true)));
        check(r#"{"log":"torn"#, None);
        check("", None);
        check("\0", None);
        // A text that quotes a record is one record.
        let quoted =
            r#"{"log":"{\"log\":\"x\"}\n","stream":"stdout","time":"1970-01-01T00:00:01Z"}"#;
        check(quoted, Some(("{\"log\":\"x\"}\n", false)));
    }
}
