//! Functions over the samples of one window, oldest first and never none.
//!
//! Sums and means are computed in the order in which Loki computes them, so that they agree to
//! the last digit. Source: loki pkg/logql/range_vector.go.

use crate::logql::ast::{RangeAggregation, RangeOp};

/// Instant in nanoseconds and value.
pub(super) type Sample = (i64, f64);

/// A function and what it needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    op: RangeOp,
    quantile: f64,
    interval_ns: i64,
}

impl Function {
    pub(super) fn of(aggregation: &RangeAggregation) -> Self {
        Function {
            op: aggregation.op,
            quantile: aggregation.param.unwrap_or(f64::NAN),
            interval_ns: aggregation.range.interval_ns,
        }
    }

    fn seconds(&self) -> f64 {
        // As Go's Duration.Seconds: whole seconds and the rest apart.
        let whole = self.interval_ns / 1_000_000_000;
        let rest = self.interval_ns % 1_000_000_000;
        whole as f64 + rest as f64 / 1e9
    }

    /// What so many lines, or bytes, in the window amount to.
    pub(super) fn of_total(&self, total: i64) -> f64 {
        match self.op {
            RangeOp::Rate | RangeOp::BytesRate => total as f64 / self.seconds(),
            RangeOp::Absent => 1.0,
            _ => total as f64,
        }
    }

    /// The value of a window.
    pub(super) fn apply(&self, samples: &[Sample]) -> f64 {
        let values = || samples.iter().map(|(_, v)| *v);
        match self.op {
            RangeOp::Rate => values().sum::<f64>() / self.seconds(),
            RangeOp::RateCounter => rate_counter(samples, self),
            RangeOp::Sum => values().sum(),
            RangeOp::Avg => mean(values()),
            RangeOp::Max => values().fold(
                f64::NAN,
                |max, v| if v > max || max.is_nan() { v } else { max },
            ),
            RangeOp::Min => values().fold(
                f64::NAN,
                |min, v| if v < min || min.is_nan() { v } else { min },
            ),
            RangeOp::Stdvar => variance(values()),
            RangeOp::Stddev => variance(values()).sqrt(),
            RangeOp::Quantile => quantile(self.quantile, values().collect()),
            RangeOp::First => samples.first().map_or(f64::NAN, |(_, v)| *v),
            RangeOp::Last => samples.last().map_or(f64::NAN, |(_, v)| *v),
            RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent => {
                self.of_total(samples.len() as i64)
            }
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for v in values {
        count += 1.0;
        if mean.is_infinite() {
            if v.is_infinite() && (mean > 0.0) == (v > 0.0) {
                continue;
            }
            // Taking an infinite mean from itself would make it no number.
            if v.is_finite() {
                continue;
            }
        }
        mean += v / count - mean / count;
    }
    mean
}

/// Welford's algorithm, population variance.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count, mut mean) = (0.0, 0.0, 0.0);
    for v in values {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        sum += delta * (v - mean);
    }
    sum / count
}

pub(super) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a_nan, b_nan) => b_nan.cmp(&a_nan),
    });
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// Loki takes Prometheus' extrapolation for milliseconds and hands it nanoseconds: the time
/// between samples weighs a million times more than that to the window's ends.
fn rate_counter(samples: &[Sample], function: &Function) -> f64 {
    let [(first_at, first), .., (last_at, last)] = *samples else {
        return 0.0;
    };
    let mut result = last - first;
    let mut before = 0.0;
    for (_, v) in samples {
        if *v < before {
            result += before;
        }
        before = *v;
    }
    let mut to_start = (function.interval_ns / 1_000_000) as f64 / 1000.0;
    let to_end = 0.0;
    let sampled = last_at.saturating_sub(first_at) as f64 / 1000.0;
    let between = sampled / (samples.len() - 1) as f64;
    if result > 0.0 && first >= 0.0 {
        let to_zero = sampled * (first / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let threshold = between * 1.1;
    let mut extrapolated = sampled;
    for distance in [to_start, to_end] {
        extrapolated += if distance < threshold {
            distance
        } else {
            between / 2.0
        };
    }
    result * (extrapolated / sampled) / function.seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: RangeOp, values: &[f64], expect: f64) {
        let function = Function {
            op,
            quantile: 0.5,
            interval_ns: 10_000_000_000,
        };
        let samples: Vec<Sample> = (0..)
            .map(|i| i * 1_000_000_000)
            .zip(values.iter().copied())
            .collect();
        let value = function.apply(&samples);
        assert!(
            value == expect || value.is_nan() && expect.is_nan(),
            "{op:?} of {values:?}: {value}, not {expect}"
        );
    }

    #[test]
    fn functions_of_a_window() {
        check(RangeOp::Rate, &[5.0, 15.0], 2.0);
        check(RangeOp::Sum, &[0.5, 1.5], 2.0);
        check(RangeOp::Avg, &[1.0, 2.0, 6.0], 3.0);
        check(RangeOp::Avg, &[f64::INFINITY, 1.0], f64::INFINITY);
        check(RangeOp::Max, &[f64::NAN, 1.0, 3.0, 2.0], 3.0);
        check(RangeOp::Min, &[3.0, 1.0, 2.0], 1.0);
        check(RangeOp::Stdvar, &[1.0, 3.0], 1.0);
        check(RangeOp::Stddev, &[2.0, 6.0], 2.0);
        check(RangeOp::Quantile, &[4.0, 1.0, 3.0, 2.0], 2.5);
        check(RangeOp::First, &[7.0, 8.0], 7.0);
        check(RangeOp::Last, &[7.0, 8.0], 8.0);
        check(RangeOp::RateCounter, &[5.0], 0.0);
    }

    #[test]
    fn a_counter_that_starts_again_counts_on() {
        let function = Function {
            op: RangeOp::RateCounter,
            quantile: 0.0,
            interval_ns: 10_000_000_000,
        };
        let samples = [(0, 1.0), (1_000_000_000, 4.0), (2_000_000_000, 2.0)];
        let value = function.apply(&samples);
        assert!((value - 0.5).abs() < 1e-5, "{value}");
    }
}
