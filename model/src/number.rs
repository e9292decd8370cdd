//! Numbers as Go prints and reads them: the API, PromQL and templates must agree with
//! Prometheus to the last character.

mod api;
mod shortest;

use std::fmt::Write as _;

pub use api::{push_api, push_seconds};
use shortest::Shortest;

/// Go's `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits that read back the same, no exponent.
#[must_use]
pub fn format_fixed(v: f64) -> String {
    let mut out = String::new();
    if begin(&mut out, v) {
        Shortest::of(v).push_fixed(&mut out);
    }
    out
}

/// As [`push_api`], as a text of its own.
#[must_use]
pub fn format_api(v: f64) -> String {
    let mut out = String::new();
    push_api(&mut out, v);
    out
}

/// Go's `FormatFloat(v, 'e', -1, 64)`: `1e+06`, `1.5e-07`; at least two exponent digits.
#[must_use]
pub fn format_exponent(v: f64) -> String {
    let mut out = String::new();
    if begin(&mut out, v) {
        Shortest::of(v).push_exponent(&mut out);
    }
    out
}

/// Go's `fmt.Sprint(v)` (`%v`, `'g'` with shortest digits): exponent form when the decimal
/// exponent is below -4 or above 5.
#[must_use]
pub fn format_sprint(v: f64) -> String {
    let mut out = String::new();
    if begin(&mut out, v) {
        let shortest = Shortest::of(v);
        if (-4..6).contains(&shortest.exponent()) {
            shortest.push_fixed(&mut out);
        } else {
            shortest.push_exponent(&mut out);
        }
    }
    out
}

/// Writes what stands before the digits, or a word where there are none; whether digits follow.
fn begin(out: &mut String, v: f64) -> bool {
    if v.is_nan() {
        out.push_str("NaN");
    } else if v == f64::INFINITY {
        out.push_str("+Inf");
    } else if v.is_sign_negative() {
        out.push_str(if v.is_infinite() { "-Inf" } else { "-" });
    }
    v.is_finite()
}

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration string")]
    Empty,
    /// Not of the form `1h30m`.
    #[error("not a valid duration string: {0:?}{hint}", hint = hint(.0))]
    Invalid(String),
    /// A number followed by something that is no unit.
    #[error("unknown unit {unit:?} in duration {text:?}{hint}", hint = hint(.text))]
    UnknownUnit {
        /// What stood where the unit should.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than i64 nanoseconds, about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

fn hint(text: &str) -> String {
    // "5 min", "10 seconds": the unit people meant.
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = compact.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = compact[digits.len()..].to_ascii_lowercase();
    let meant = match unit.as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hour" | "hours" | "hr" | "hrs" => "h",
        "day" | "days" => "d",
        "" => "s",
        _ => return String::new(),
    };
    if digits.is_empty() || parse_duration(&format!("{digits}{meant}")).is_err() {
        return String::new();
    }
    format!(" (did you mean {digits}{meant}?)")
}

const UNITS: [(&str, i64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a Prometheus duration: `1h30m`, `15s`, `250ms`, `0`; each unit at most once, largest first.
/// Source: prometheus/common model.ParseDuration.
///
/// # Errors
/// [`DurationError`] tells what is wrong, with a hint where one is obvious.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let (mut rest, mut next_unit, mut millis) = (text, 0, 0_i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(invalid());
        }
        let unit_len = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len() - digits);
        let unit = &rest[digits..digits + unit_len];
        if unit.is_empty() {
            return Err(invalid());
        }
        let at = UNITS.iter().position(|(u, _)| *u == unit).ok_or_else(|| {
            DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            }
        })?;
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        let count: i64 = rest[..digits]
            .parse()
            .map_err(|_| DurationError::OutOfRange)?;
        millis = count
            .checked_mul(UNITS[at].1)
            .and_then(|ms| millis.checked_add(ms))
            .ok_or(DurationError::OutOfRange)?;
        rest = &rest[digits + unit_len..];
    }
    if millis > i64::MAX / 1_000_000 {
        return Err(DurationError::OutOfRange);
    }
    Ok(std::time::Duration::from_millis(millis as u64))
}

/// Prints a duration as Prometheus does: `1h30m`, `0s`; days, weeks and years only when exact.
#[must_use]
pub fn format_duration(duration: std::time::Duration) -> String {
    let mut millis = crate::time::duration_millis(duration);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in UNITS {
        let exact_only = matches!(unit, "y" | "w" | "d");
        if millis < size || (exact_only && millis % size != 0) {
            continue;
        }
        let _ = write!(out, "{}{unit}", millis / size);
        millis %= size;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn values_print_as_prometheus_prints_them() {
        for (v, expect) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_api(v), expect);
        }
        for (v, expect) in [
            (1e6, "1e+06"),
            (999_999.0, "999999"),
            (123_456_789.0, "1.23456789e+08"),
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (0.0, "0"),
        ] {
            assert_eq!(format_sprint(v), expect);
        }
    }

    #[test]
    fn durations_read_and_print_as_prometheus_does() {
        for (text, millis, printed) in [
            ("0", 0, "0s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("250ms", 250, "250ms"),
            ("1d", 86_400_000, "1d"),
            ("25h", 90_000_000, "25h"),
            ("2w", 1_209_600_000, "2w"),
            ("1y", 31_536_000_000, "1y"),
        ] {
            let d = parse_duration(text).unwrap();
            assert_eq!(d, Duration::from_millis(millis));
            assert_eq!(format_duration(d), printed);
        }
        for bad in [
            "",
            "5",
            "m",
            "1m1h",
            "1m1m",
            "5 min",
            "-5m",
            "1.5h",
            "999999999y",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_duration("5 min").unwrap_err().to_string(),
            "unknown unit \" min\" in duration \"5 min\" (did you mean 5m?)"
        );
    }
}
