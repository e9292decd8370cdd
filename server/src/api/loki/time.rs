//! Loki's instants: nanoseconds, seconds or RFC 3339.

use std::time::Duration;

use model::Timestamp;

use crate::api::params::Params;

/// Span that is searched when no start is given.
const DEFAULT_SINCE: Duration = Duration::from_secs(3600);

/// Start (inclusive) and end (exclusive) in nanoseconds.
pub(super) fn range(params: &Params, now: Timestamp) -> Result<(i64, i64), String> {
    let end = instant(params, "end")?.unwrap_or_else(|| now.nanos());
    let since = match params.get("since") {
        Some(text) => model::number::parse_duration(text).map_err(|e| e.to_string())?,
        None => DEFAULT_SINCE,
    };
    let since_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    let start =
        instant(params, "start")?.unwrap_or_else(|| end.min(now.nanos()).saturating_sub(since_ns));
    if end < start {
        return Err("end timestamp must not be before or equal to start time".to_owned());
    }
    Ok((start, end))
}

/// The instant `name` in nanoseconds. Integers of at most ten digits are seconds, longer ones
/// nanoseconds; a number with a point is seconds.
pub(super) fn instant(params: &Params, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    parse(text)
        .map(Some)
        .ok_or_else(|| format!("could not parse '{name}' parameter: {text:?}"))
}

fn parse(text: &str) -> Option<i64> {
    if let Ok(integer) = text.parse::<i64>() {
        let digits = text.trim_start_matches('-').len();
        return Some(if digits <= 10 {
            integer.saturating_mul(1_000_000_000)
        } else {
            integer
        });
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some((seconds * 1e9) as i64);
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_integers_are_seconds_and_long_ones_nanoseconds() {
        for (text, expect) in [
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000000000001", Some(1_700_000_000_000_000_001)),
            ("1.5", Some(1_500_000_000)),
            ("1970-01-01T00:00:01.000000001Z", Some(1_000_000_001)),
            ("soon", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }
}
