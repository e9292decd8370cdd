//! Loki's instants and durations. Source: loki pkg/loghttp/params.go.

use std::time::Duration;

use model::{Timestamp, number};
use query::promql::quote::go_quote;

use super::Refused;
use crate::api::params::Params;

/// Span that is searched when no start is given.
const DEFAULT_SINCE: Duration = Duration::from_secs(3600);
/// Steps when no step is given.
const STEPS_DEFAULT: i64 = 250;
/// Points per series, as in Loki.
const POINTS_MAX: i128 = 11_000;
/// Numbers up to this are seconds, larger ones nanoseconds.
const SECONDS_MAX: i64 = 10_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// Start (inclusive) and end (exclusive) in nanoseconds.
pub(super) fn range(params: &Params, now: Timestamp) -> Result<(i64, i64), Refused> {
    let wrong =
        |name: &str, why: &str| Refused::bad(format!("could not parse '{name}' parameter: {why}"));
    let instant = |name| {
        let parsed = params.get(name).map(parse).transpose();
        parsed.map_err(|why| wrong(name, &why))
    };
    let since = match params.get("since") {
        Some(text) => number::parse_duration(text).map_err(|e| wrong("since", &e.to_string()))?,
        None => DEFAULT_SINCE,
    };
    let end = instant("end")?.unwrap_or_else(|| now.nanos());
    let since_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    let start = instant("start")?.unwrap_or_else(|| end.min(now.nanos()).saturating_sub(since_ns));
    if end < start {
        return Err(Refused::bad(
            "end timestamp must not be before or equal to start time",
        ));
    }
    Ok((start, end))
}

/// The parameter `time`, else now, in nanoseconds.
pub(super) fn instant(params: &Params, now: Timestamp) -> Result<i64, Refused> {
    match params.get("time") {
        Some(text) => parse(text).map_err(Refused::bad),
        None => Ok(now.nanos()),
    }
}

/// The parameter `step` in nanoseconds, positive, else one that suits the range.
pub(super) fn step(params: &Params, (start, end): (i64, i64)) -> Result<i64, Refused> {
    let step = duration(params, "step")?
        .unwrap_or_else(|| ((end.saturating_sub(start) / SECOND) / STEPS_DEFAULT).max(1) * SECOND);
    if step <= 0 {
        return Err(Refused::bad(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (i128::from(end) - i128::from(start)) / i128::from(step) > POINTS_MAX {
        return Err(Refused::bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(step)
}

/// Seconds or a duration, in nanoseconds.
pub(super) fn duration(params: &Params, name: &str) -> Result<Option<i64>, Refused> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let quoted = go_quote(text);
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if !nanos.is_finite() || nanos.abs() >= 9.2e18 {
            return Err(Refused::bad(format!(
                "cannot parse {quoted} to a valid duration. It overflows int64"
            )));
        }
        return Ok(Some(nanos as i64));
    }
    let parsed: Option<Duration> = number::parse_duration(text).ok();
    parsed
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .map(Some)
        .ok_or_else(|| Refused::bad(format!("cannot parse {quoted} to a valid duration")))
}

/// Whole numbers up to [`SECONDS_MAX`] are seconds, as are those with a point, whose fraction
/// counts to the millisecond; larger ones are nanoseconds. Else RFC 3339.
fn parse(text: &str) -> Result<i64, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(at.as_nanosecond()).map_err(|e| e.to_string());
    }
    if text.contains('.') {
        let number: f64 = text.parse().map_err(|_| {
            format!(
                "strconv.ParseFloat: parsing {}: invalid syntax",
                go_quote(text)
            )
        })?;
        let (whole, fraction) = (number.trunc(), number.fract());
        if whole.abs() > i64::MAX as f64 || whole.is_nan() {
            return Err("floating point timestamp exceeds integer range".to_owned());
        }
        if whole > SECONDS_MAX as f64 {
            return Ok(whole as i64);
        }
        let millis = (fraction * 1000.0).round() as i64;
        return Ok((whole as i64)
            .saturating_mul(SECOND)
            .saturating_add(millis * 1_000_000));
    }
    let number: i64 = text.parse().map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {why}", go_quote(text))
    })?;
    Ok(match number <= SECONDS_MAX {
        true => number.saturating_mul(SECOND),
        false => number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_integers_are_seconds_and_long_ones_nanoseconds() {
        for (text, expect) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000000000001", 1_700_000_000_000_000_001),
            ("4000000000", 4_000_000_000_000_000_000),
            ("1.5", 1_500_000_000),
            // Milliseconds, and no rest of a binary fraction.
            ("1700000000.1234", 1_700_000_000_123_000_000),
            ("1700000000000000001.5", 1_700_000_000_000_000_000),
            ("-1", -1_000_000_000),
            ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
            ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(expect), "{text}");
        }
        for (text, expect) in [
            ("soon", "strconv.ParseInt: parsing \"soon\": invalid syntax"),
            ("1e9", "strconv.ParseInt: parsing \"1e9\": invalid syntax"),
            ("a.b", "strconv.ParseFloat: parsing \"a.b\": invalid syntax"),
            (
                "99999999999999999999",
                "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
            ),
        ] {
            assert_eq!(parse(text), Err(expect.to_owned()), "{text}");
        }
    }
}
