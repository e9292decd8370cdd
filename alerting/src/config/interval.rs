//! Named time intervals: when a route is muted or active.

use jiff::tz::TimeZone;
use model::Timestamp;

use super::file::IntervalFile;

/// One interval: every given kind of condition must hold, within a kind any range will do.
#[derive(Clone, Debug)]
pub struct TimeInterval {
    /// Minutes of the day, end exclusive.
    times: Vec<(i64, i64)>,
    /// 0 is Sunday, inclusive.
    weekdays: Vec<(i64, i64)>,
    /// 1 to 31, or -31 to -1 from the end of the month, inclusive.
    days_of_month: Vec<(i64, i64)>,
    /// 1 to 12, inclusive.
    months: Vec<(i64, i64)>,
    /// Inclusive.
    years: Vec<(i64, i64)>,
    zone: TimeZone,
}

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl TimeInterval {
    /// Whether the instant lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.millis()) else {
            return false;
        };
        let local = instant.to_zoned(self.zone.clone());
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let days = i64::from(local.days_in_month());
        let day = i64::from(local.day());
        let within = |ranges: &[(i64, i64)], value: i64| {
            ranges.is_empty() || ranges.iter().any(|(a, b)| (*a..=*b).contains(&value))
        };
        let from_end = |d: i64| if d < 0 { days + d + 1 } else { d };
        let by_day = self.days_of_month.is_empty()
            || self.days_of_month.iter().any(|(a, b)| {
                // A range reaching past either end of a short month is cut there.
                let (a, b) = (from_end(*a).max(1), from_end(*b).min(days));
                (a..=b).contains(&day)
            });
        (self.times.is_empty() || self.times.iter().any(|(a, b)| (*a..*b).contains(&minute)))
            && within(
                &self.weekdays,
                i64::from(local.weekday().to_sunday_zero_offset()),
            )
            && by_day
            && within(&self.months, i64::from(local.month()))
            && within(&self.years, i64::from(local.year()))
    }

    pub(super) fn check(file: &IntervalFile) -> Result<TimeInterval, String> {
        let zone = match file.location.as_deref() {
            None | Some("" | "UTC") => TimeZone::UTC,
            Some("Local") => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| format!("unknown time zone {name:?}"))?,
        };
        let mut times = Vec::new();
        for range in &file.times {
            let (start, end) = (clock(&range.start_time)?, clock(&range.end_time)?);
            if start >= end {
                return Err(format!(
                    "start_time {} is not before end_time {}",
                    range.start_time, range.end_time
                ));
            }
            times.push((start, end));
        }
        let ranges = |items: &[String], read: &dyn Fn(&str) -> Result<i64, String>| {
            items
                .iter()
                .map(|item| {
                    let (a, b) = item.split_once(':').unwrap_or((item, item));
                    let (a, b) = (read(a)?, read(b)?);
                    let same_side = (a < 0) == (b < 0);
                    if a > b && same_side {
                        return Err(format!("{item:?} ends before it starts"));
                    }
                    Ok((a, b))
                })
                .collect::<Result<Vec<_>, String>>()
        };
        let number = |low: i64, high: i64, what: &'static str| {
            move |text: &str| match text.trim().parse::<i64>() {
                Ok(n) if n != 0 && (low..=high).contains(&n) => Ok(n),
                _ => Err(format!("{text:?} is not a valid {what}")),
            }
        };
        let month_number = number(1, 12, "month");
        Ok(TimeInterval {
            times,
            weekdays: ranges(&file.weekdays, &|t| named(&WEEKDAYS, t, 0, "weekday"))?,
            days_of_month: ranges(&file.days_of_month, &|t| {
                let day = number(-31, 31, "day of the month")(t)?;
                Ok(day)
            })
            .and_then(|days| match days.iter().find(|(a, b)| *a < 0 && *b > 0) {
                Some(_) => Err(
                    "a range may not start from the end of the month and end from its beginning"
                        .to_owned(),
                ),
                None => Ok(days),
            })?,
            months: ranges(&file.months, &|t| {
                named(&MONTHS, t, 1, "month").or_else(|_| month_number(t))
            })?,
            years: ranges(&file.years, &number(1, 9999, "year"))?,
            zone,
        })
    }
}

fn named(names: &[&str], text: &str, first: i64, what: &str) -> Result<i64, String> {
    let lower = text.trim().to_ascii_lowercase();
    names
        .iter()
        .zip(first..)
        .find_map(|(n, i)| (*n == lower).then_some(i))
        .ok_or_else(|| format!("{text:?} is not a valid {what}"))
}

/// `HH:MM` as minutes of the day; `24:00` is the end.
fn clock(text: &str) -> Result<i64, String> {
    let parsed = text.split_once(':').and_then(|(h, m)| {
        let two_digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
        (two_digits(h) && two_digits(m)).then(|| (h.parse::<i64>().ok(), m.parse::<i64>().ok()))
    });
    match parsed {
        Some((Some(24), Some(0))) => Ok(24 * 60),
        Some((Some(h), Some(m))) if h < 24 && m < 60 => Ok(h * 60 + m),
        _ => Err(format!("{text:?} is not a time of day, expected HH:MM")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, at: &str, expect: bool) {
        let file: IntervalFile = serde_saphyr::from_str(yaml).unwrap();
        let interval = TimeInterval::check(&file).unwrap();
        let at: jiff::Timestamp = at.parse().unwrap();
        let at = Timestamp::from_millis(at.as_millisecond());
        assert_eq!(interval.contains(at), expect, "{yaml} at {at}");
    }

    #[test]
    fn each_kind_of_condition_must_hold() {
        let office =
            "{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}]}";
        check(office, "2026-11-20T09:00:00Z", true);
        check(office, "2026-11-20T17:00:00Z", false);
        check(office, "2026-11-21T12:00:00Z", false);
        check("{days_of_month: ['-3:-1']}", "2026-02-26T00:00:00Z", true);
        check("{days_of_month: ['-3:-1']}", "2026-02-25T00:00:00Z", false);
        check(
            "{months: ['november:12'], years: ['2026']}",
            "2026-12-31T00:00:00Z",
            true,
        );
        check(
            "{times: [{start_time: '00:00', end_time: '24:00'}], location: Europe/Berlin, weekdays: [saturday]}",
            "2026-11-20T23:30:00Z",
            true,
        );
    }

    #[test]
    fn impossible_intervals_are_refused() {
        for bad in [
            "{times: [{start_time: '17:00', end_time: '09:00'}]}",
            "{times: [{start_time: '9:00', end_time: '10:00'}]}",
            "{weekdays: [funday]}",
            "{days_of_month: ['0']}",
            "{days_of_month: ['-1:3']}",
            "{months: ['13']}",
            "{location: Moon/Base}",
        ] {
            let file: IntervalFile = serde_saphyr::from_str(bad).unwrap();
            assert!(TimeInterval::check(&file).is_err(), "{bad}");
        }
    }
}
