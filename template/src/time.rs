//! Go's `time.Time` and `time.Duration` with the methods templates call.

use std::fmt;

use jiff::tz::TimeZone;
use model::Timestamp;

use crate::Value;

mod layout;
mod parse;

/// An instant in a time zone.
#[derive(Clone, Debug)]
pub struct Time {
    at: jiff::Timestamp,
    zone: TimeZone,
}

/// Go's `time.Duration`: signed nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

/// Seconds from the epoch to 0001-01-01T00:00:00Z, Go's zero time.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

impl Time {
    /// From our timestamp, in UTC; beyond the years ±9999 it is clamped.
    #[must_use]
    pub fn utc(at: Timestamp) -> Time {
        let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(if at.millis() < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        Time {
            at,
            zone: TimeZone::UTC,
        }
    }

    /// From nanoseconds since the epoch, in UTC.
    #[must_use]
    pub fn from_nanos(nanos: i64) -> Time {
        Time {
            // Every i64 of nanoseconds is a year from 1677 to 2262.
            at: jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default(),
            zone: TimeZone::UTC,
        }
    }

    /// Reads a text by a Go layout. A time without a zone of its own is in the IANA zone `zone`,
    /// in UTC when there is no such zone. `None` when the text does not fit the layout.
    #[must_use]
    pub fn parse(layout: &str, text: &str, zone: &str) -> Option<Time> {
        let zone = match zone {
            "" | "UTC" | "Local" => TimeZone::UTC,
            name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        };
        let at = parse::parse(layout, text, &zone)?;
        Some(Time { at, zone })
    }

    /// Go's zero time, `0001-01-01 00:00:00 +0000 UTC`.
    #[must_use]
    pub fn zero() -> Time {
        Time {
            at: jiff::Timestamp::from_second(ZERO_TIME_SECONDS).unwrap_or(jiff::Timestamp::MIN),
            zone: TimeZone::UTC,
        }
    }

    /// The same instant in the IANA zone `name` (`""` and `UTC` are UTC).
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn in_zone(&self, name: &str) -> Result<Time, String> {
        let zone = match name {
            "" | "UTC" => TimeZone::UTC,
            _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?,
        };
        Ok(Time { at: self.at, zone })
    }

    /// Formatted by a Go layout, e.g. `2006-01-02T15:04:05Z07:00`.
    #[must_use]
    pub fn format(&self, layout: &str) -> String {
        layout::format(&self.at.to_zoned(self.zone.clone()), layout)
    }

    /// Time from `earlier` to here, saturating.
    #[must_use]
    pub fn since(&self, earlier: &Time) -> Span {
        let nanos = self.at.as_nanosecond() - earlier.at.as_nanosecond();
        Span(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn unix_seconds_f64(&self) -> f64 {
        self.at.as_nanosecond() as f64 / 1e9
    }

    pub(crate) fn nanos(&self) -> i128 {
        self.at.as_nanosecond()
    }

    /// Calls a method of Go's `time.Time`; `None` when we have no such method.
    pub(crate) fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let zoned = || self.at.to_zoned(self.zone.clone());
        let other = || match args.first() {
            Some(Value::Time(t)) => Ok(t.clone()),
            v => Err(wrong_type("time.Time", v)),
        };
        let span = || match args.first() {
            Some(Value::Duration(d)) => Ok(*d),
            v => Err(wrong_type("time.Duration", v)),
        };
        Some(match name {
            "Format" => match args.first().and_then(Value::as_str) {
                Some(l) => Ok(Value::from(self.format(l))),
                None => Err(wrong_type("string", args.first())),
            },
            "Unix" => Ok(Value::Int(
                self.at.as_nanosecond().div_euclid(1_000_000_000) as i64,
            )),
            "UnixMilli" => Ok(Value::Int(
                self.at.as_nanosecond().div_euclid(1_000_000) as i64
            )),
            "UnixNano" => Ok(Value::Int(self.at.as_nanosecond() as i64)),
            "UTC" | "Local" => Ok(Value::Time(Time {
                at: self.at,
                zone: TimeZone::UTC,
            })),
            "Year" => Ok(Value::Int(zoned().year().into())),
            "Month" => Ok(Value::from(layout::MONTHS[zoned().month() as usize - 1])),
            "Day" => Ok(Value::Int(zoned().day().into())),
            "Hour" => Ok(Value::Int(zoned().hour().into())),
            "Minute" => Ok(Value::Int(zoned().minute().into())),
            "Second" => Ok(Value::Int(zoned().second().into())),
            "YearDay" => Ok(Value::Int(zoned().day_of_year().into())),
            "Weekday" => Ok(Value::from(layout::weekday(&zoned()))),
            "IsZero" => Ok(Value::Bool(
                self.at.as_nanosecond() == Time::zero().at.as_nanosecond(),
            )),
            "Add" => span().map(|d| Value::Time(self.plus(d))),
            "Sub" => other().map(|t| Value::Duration(self.since(&t))),
            "Before" => other().map(|t| Value::Bool(self.at < t.at)),
            "After" => other().map(|t| Value::Bool(self.at > t.at)),
            "Equal" => other().map(|t| Value::Bool(self.at == t.at)),
            "String" => Ok(Value::from(self.to_string())),
            _ => return None,
        })
    }

    fn plus(&self, by: Span) -> Time {
        let at = self.at.as_nanosecond() + i128::from(by.0);
        Time {
            at: jiff::Timestamp::from_nanosecond(at).unwrap_or(jiff::Timestamp::MAX),
            zone: self.zone.clone(),
        }
    }
}

fn wrong_type(want: &str, got: Option<&Value>) -> String {
    format!(
        "wrong type for value; expected {want}; got {}",
        got.map_or("nothing", Value::type_name)
    )
}

/// As Go's `Time.String`: `2026-01-02 15:04:05.5 +0000 UTC`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Time {
        Time::utc(at)
    }
}

impl Span {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Span {
        Span(nanos)
    }

    /// From seconds, saturating.
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Span {
        Span((seconds * 1e9) as i64)
    }

    /// In nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Calls a method of Go's `time.Duration`; `None` when we have no such method.
    pub(crate) fn call(self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let unit = || match args.first() {
            Some(Value::Duration(d)) => Ok(d.0),
            v => Err(wrong_type("time.Duration", v)),
        };
        Some(Ok(match name {
            "Seconds" => Value::Float(self.seconds()),
            "Minutes" => Value::Float(self.0 as f64 / 6e10),
            "Hours" => Value::Float(self.0 as f64 / 3.6e12),
            "Milliseconds" => Value::Int(self.0 / 1_000_000),
            "Microseconds" => Value::Int(self.0 / 1000),
            "Nanoseconds" => Value::Int(self.0),
            "Abs" => Value::Duration(Span(self.0.saturating_abs())),
            "Truncate" => match unit() {
                Ok(u) if u > 0 => Value::Duration(Span(self.0 - self.0 % u)),
                Ok(_) => Value::Duration(self),
                Err(e) => return Some(Err(e)),
            },
            "Round" => match unit() {
                Ok(u) if u > 0 => {
                    let rest = self.0.rem_euclid(u);
                    let down = self.0 - rest;
                    let up = rest.saturating_mul(2) >= u;
                    Value::Duration(Span(if up { down.saturating_add(u) } else { down }))
                }
                Ok(_) => Value::Duration(self),
                Err(e) => return Some(Err(e)),
            },
            "String" => Value::from(self.to_string()),
            _ => return None,
        }))
    }
}

impl From<std::time::Duration> for Span {
    fn from(d: std::time::Duration) -> Span {
        Span(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// As Go's `Duration.String`: `1h2m3.5s`, `250ms`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos == 0 {
            return f.write_str("0s");
        }
        let fraction = |of: u64, unit: u64| {
            let digits = unit.ilog10() as usize;
            let text = format!("{:0digits$}", of % unit);
            let text = text.trim_end_matches('0');
            if text.is_empty() {
                String::new()
            } else {
                format!(".{text}")
            }
        };
        if nanos < 1000 {
            return write!(f, "{nanos}ns");
        }
        if nanos < 1_000_000 {
            return write!(f, "{}{}µs", nanos / 1000, fraction(nanos, 1000));
        }
        if nanos < 1_000_000_000 {
            return write!(f, "{}{}ms", nanos / 1_000_000, fraction(nanos, 1_000_000));
        }
        let seconds = nanos / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}{}s", seconds % 60, fraction(nanos, 1_000_000_000))
    }
}
