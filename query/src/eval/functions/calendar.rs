//! Fields of instants, in UTC: `hour`, `day_of_week` and the like.

use super::seconds;
use crate::eval::EvalError;
use crate::eval::evaluator::{Evaluator, Val};
use crate::promql::ast::Call;

/// A UTC instant taken apart.
pub(super) struct Civil {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    weekday: i64,
    second_of_day: i64,
}

const DAY: i64 = 86_400;

impl Civil {
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    fn of(unix_seconds: f64) -> Civil {
        // What is no 64-bit integer becomes the lowest, as on amd64, and from there Go's count of
        // seconds since its own beginning of time wraps around to the second after the last.
        let fits = (-(2_f64.powi(63))..2_f64.powi(63)).contains(&unix_seconds);
        let unix = if fits { unix_seconds as i64 } else { i64::MIN };
        let unix = match unix {
            i64::MIN => i128::from(i64::MAX) + 1,
            unix => i128::from(unix),
        };
        let days = unix.div_euclid(i128::from(DAY)) as i64;
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let mut civil = Civil {
            year,
            month,
            day: day_from_march - (153 * month_from_march + 2) / 5 + 1,
            day_of_year: 0,
            weekday: (days + 4).rem_euclid(7),
            second_of_day: unix.rem_euclid(i128::from(DAY)) as i64,
        };
        civil.day_of_year = (1..month).map(|m| civil.days_in(m)).sum::<i64>() + civil.day;
        civil
    }

    fn days_in(&self, month: i64) -> i64 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

/// The field a function of this name reads.
pub(super) fn field(name: &str) -> Option<fn(&Civil) -> i64> {
    Some(match name {
        "days_in_month" => |c| c.days_in(c.month),
        "day_of_month" => |c| c.day,
        "day_of_week" => |c| c.weekday,
        "day_of_year" => |c| c.day_of_year,
        "hour" => |c| c.second_of_day / 3600,
        "minute" => |c| c.second_of_day / 60 % 60,
        "month" => |c| c.month,
        "year" => |c| c.year,
        _ => return None,
    })
}

impl Evaluator<'_> {
    pub(super) fn calendar(&self, c: &Call, field: fn(&Civil) -> i64) -> Result<Val, EvalError> {
        let read = move |v: f64| field(&Civil::of(v)) as f64;
        match c.args.first() {
            Some(arg) => {
                let stream = self.stream(arg)?;
                let fields = self.mapped(stream, move |_, _, v| Some(read(v)))?;
                self.collect(fields).map(Val::Vector)
            }
            None => {
                let values: Vec<f64> = self.times().map(|t| read(seconds(t))).collect();
                Ok(Val::Vector(vec![self.scalar_series(&values)]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_days_before_the_epoch_are_right() {
        let c = Civil::of(1_456_790_399.0); // 2016-02-29T23:59:59Z
        assert_eq!((c.year, c.month, c.day, c.day_of_year), (2016, 2, 29, 60));
        assert_eq!(c.days_in(2), 29);
        let c = Civil::of(-1.0);
        assert_eq!((c.year, c.month, c.day, c.weekday), (1969, 12, 31, 3));
    }

    #[test]
    fn what_is_no_instant_reads_as_in_go() {
        for v in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300] {
            let c = Civil::of(v);
            assert_eq!((c.year, c.month, c.day), (292_277_026_596, 12, 4));
            assert_eq!((c.weekday, c.second_of_day), (0, 15 * 3600 + 30 * 60 + 8));
        }
        assert_eq!(Civil::of(1e18).year, 31_688_740_476);
    }
}
