//! Crontab schedules: five fields, lists, ranges, steps and names, as Vixie cron reads them.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant};
use model::Timestamp;

/// Days looked ahead: a 29 February is eight years from another around 2100.
const DAYS_MAX: i64 = 366 * 9;

/// A parsed schedule: a bit for each value that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether day and weekday are both restricted: then either will do.
    either_day: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads `minute hour day month weekday`, or `@hourly` and the like.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub(super) fn parse(text: &str) -> Result<Cron, String> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("{text:?} has not five fields"));
        };
        let weekdays = field(weekday, (0, 7), &WEEKDAYS, "weekday")?;
        let cron = Cron {
            minutes: field(minute, (0, 59), &[], "minute")?,
            hours: field(hour, (0, 23), &[], "hour")?,
            days: field(day, (1, 31), &[], "day")?,
            months: field(month, (1, 12), &MONTHS, "month")?,
            // 7 is Sunday as well.
            weekdays: weekdays | weekdays >> 7 & 1,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        let epoch = Timestamp::from_millis(0);
        match cron.next(epoch, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => Err(format!("{text:?} never comes")),
        }
    }

    /// The first minute after `after` that fits. In the hour that a clock leaves out, the next
    /// minute there is; in the hour it repeats, the first time.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = Instant::from_millisecond(after.millis()).ok()?;
        let mut date = zone.to_datetime(start).date();
        for _ in 0..DAYS_MAX {
            if self.fits(date) {
                for (hour, minute) in self.minutes_of_day() {
                    let at = date.to_datetime(Time::new(hour, minute, 0, 0).ok()?);
                    let at = zone.to_ambiguous_timestamp(at).compatible().ok()?;
                    if at > start {
                        return Some(Timestamp::from_millis(at.as_millisecond()));
                    }
                }
            }
            date = date.checked_add(Span::new().days(1)).ok()?;
        }
        None
    }

    fn fits(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }

    fn minutes_of_day(&self) -> impl Iterator<Item = (i8, i8)> {
        let set = |bits: u64, values: i8| (0..values).filter(move |v| bits >> v & 1 == 1);
        let (hours, minutes) = (self.hours, self.minutes);
        set(hours, 24).flat_map(move |h| set(minutes, 60).map(move |m| (h, m)))
    }
}

/// `*`, `a`, `a-b`, each with `/step`, separated by commas.
fn field(text: &str, (low, high): (u64, u64), names: &[&str], what: &str) -> Result<u64, String> {
    let refuse = || format!("{what} {text:?} is none");
    let value = |word: &str| -> Option<u64> {
        let named = names.iter().position(|n| word.eq_ignore_ascii_case(n));
        // Months count from 1, weekdays from 0.
        let named = named.map(|at| at as u64 + low);
        named
            .or_else(|| word.parse().ok())
            .filter(|v| (low..=high).contains(v))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u64>().map_err(|_| refuse())?)),
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((from, to))) => (
                value(from).ok_or_else(refuse)?,
                value(to).ok_or_else(refuse)?,
            ),
            (one, None) => {
                let one = value(one).ok_or_else(refuse)?;
                (one, if step.is_some() { high } else { one })
            }
        };
        if from > to || step == Some(0) {
            return Err(refuse());
        }
        let steps = (from..=to).step_by(step.unwrap_or(1) as usize);
        bits |= steps.fold(0, |bits, v| bits | 1 << v);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next `count` times after `after`, in `zone`.
    fn times(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(schedule).unwrap(), TimeZone::get(zone).unwrap());
        let after: Instant = after.parse().unwrap();
        let mut at = Timestamp::from_millis(after.as_millisecond());
        (0..count)
            .map(|_| {
                at = cron.next(at, &zone).unwrap();
                Instant::from_millisecond(at.millis()).unwrap().to_string()
            })
            .collect()
    }

    #[track_caller]
    fn check(schedule: &str, after: &str, expect: &[&str]) {
        assert_eq!(
            times(schedule, "UTC", after, expect.len()),
            expect,
            "{schedule}"
        );
    }

    #[test]
    fn fields_are_lists_ranges_steps_and_names() {
        let after = "2026-11-21T10:00:00Z"; // a Saturday
        check(
            "0 3 * * *",
            after,
            &["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"],
        );
        check(
            "*/25 10-11 * * *",
            after,
            &[
                "2026-11-21T10:25:00Z",
                "2026-11-21T10:50:00Z",
                "2026-11-21T11:00:00Z",
            ],
        );
        check(
            "5,10 10 * * *",
            after,
            &["2026-11-21T10:05:00Z", "2026-11-21T10:10:00Z"],
        );
        check("0 0 * * mon-fri", after, &["2026-11-23T00:00:00Z"]);
        check("0 0 * jan,mar sun", after, &["2027-01-03T00:00:00Z"]);
        check("0 0 * * 7", after, &["2026-11-22T00:00:00Z"]);
        check(
            "30/15 * * * *",
            after,
            &[
                "2026-11-21T10:30:00Z",
                "2026-11-21T10:45:00Z",
                "2026-11-21T11:30:00Z",
            ],
        );
        check("@monthly", after, &["2026-12-01T00:00:00Z"]);
    }

    #[test]
    fn day_and_weekday_together_mean_either() {
        let after = "2026-11-21T10:00:00Z";
        check(
            "0 0 25 * mon",
            after,
            &[
                "2026-11-23T00:00:00Z",
                "2026-11-25T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ],
        );
    }

    #[test]
    fn rare_days_come_and_impossible_ones_are_refused() {
        check(
            "0 0 29 2 *",
            "2026-11-21T10:00:00Z",
            &["2028-02-29T00:00:00Z"],
        );
        assert_eq!(
            Cron::parse("0 0 30 2 *"),
            Err("\"0 0 30 2 *\" never comes".to_owned())
        );
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "x * * * *",
            "* * * foo *",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn clocks_that_are_changed_skip_and_repeat_no_run() {
        // Berlin leaves out 02:00 to 03:00 on 29 March and repeats it on 25 October.
        let spring = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring, ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]);
        let autumn = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }
}
