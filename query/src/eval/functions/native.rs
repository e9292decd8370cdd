//! Functions of native histograms.

use model::{FPoint, Histogram};

use crate::eval::EvalError;
use crate::eval::annotations;
use crate::eval::evaluator::{Evaluator, Val};
use crate::histogram::{self, Bucket};
use crate::promql::ast::Call;

impl Evaluator<'_> {
    /// `histogram_count _sum _avg _stddev _stdvar`: floats have none.
    pub(super) fn native_histogram_function(&self, c: &Call) -> Result<Val, EvalError> {
        let f: fn(&Histogram) -> f64 = match c.function.name {
            "histogram_count" => |h| h.count,
            "histogram_sum" => |h| h.sum,
            "histogram_avg" => |h| h.sum / h.count,
            "histogram_stdvar" => variance,
            "histogram_stddev" => |h| variance(h).sqrt(),
            other => {
                return Err(EvalError::Failed(format!(
                    "function {other:?} is not implemented"
                )));
            }
        };
        let stats_only = matches!(
            c.function.name,
            "histogram_count" | "histogram_sum" | "histogram_avg"
        );
        let ev = Evaluator {
            stats_only,
            ..*self
        };
        let mut series = ev.vector(&c.args[0])?;
        for s in &mut series {
            s.floats = s
                .histograms
                .iter()
                .map(|p| FPoint { t: p.t, v: f(&p.h) })
                .collect();
            s.histograms.clear();
            self.drop_name(s);
        }
        series.retain(|s| !s.is_empty());
        Ok(Val::Vector(self.joined(series)?))
    }
}

/// With every observation at its bucket's middle: geometric for exponential buckets.
fn variance(h: &Histogram) -> f64 {
    let mean = h.sum / h.count;
    let mut sum = crate::eval::kahan::Kahan::default();
    for b in histogram::all_buckets(h) {
        if b.count == 0.0 {
            continue;
        }
        let value = if histogram::is_custom(h) {
            (b.upper + b.lower) / 2.0
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            let middle = (b.upper * b.lower).sqrt();
            if b.upper < 0.0 { -middle } else { middle }
        };
        let distance = value - mean;
        sum.add(b.count * distance * distance);
    }
    (sum.sum + sum.lost) / h.count
}

/// The zero bucket reaches only to the side where there are observations.
fn clip_zero(h: &Histogram, b: &mut Bucket) {
    if histogram::is_custom(h) || b.lower >= 0.0 || b.upper <= 0.0 {
        return;
    }
    match (h.negative_buckets.is_empty(), h.positive_buckets.is_empty()) {
        (true, false) => b.lower = 0.0,
        (false, true) => b.upper = 0.0,
        _ => {}
    }
}

/// Source: prometheus promql/quantile.go, HistogramQuantile.
pub(super) fn quantile(q: f64, h: &Histogram, name: &str, note: &dyn Fn(String)) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    // Observations of NaN are in the count but in no bucket; they sort highest.
    let has_nan = h.sum.is_nan();
    let forward = has_nan || q < 0.5;
    let mut buckets = histogram::all_buckets(h);
    if !forward {
        buckets.reverse();
    }
    let mut buckets = buckets.into_iter();
    let mut rank = if forward { q } else { 1.0 - q } * h.count;
    let mut count = 0.0;
    // Counts without buckets fall back to this.
    let mut b = Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
    };
    for next in buckets.by_ref() {
        b = next;
        count += b.count;
        if b.count != 0.0 && count >= rank {
            break;
        }
    }
    let custom = histogram::is_custom(h);
    clip_zero(h, &mut b);
    if custom {
        if b.lower == f64::NEG_INFINITY {
            if b.upper <= 0.0 {
                return b.upper;
            }
            b.lower = 0.0;
        } else if b.upper == f64::INFINITY {
            return b.lower;
        }
    }
    count = count.min(h.count);
    if count < rank {
        if has_nan {
            note(annotations::quantile_nan_result(name));
            return f64::NAN;
        }
        return b.upper;
    }
    rank = if forward {
        rank - (count - b.count)
    } else {
        count - rank
    };
    if has_nan {
        // As upstream has it, the answer is then interpolated in the last bucket of all.
        for next in buckets {
            b = next;
            count += b.count;
        }
        // Infinities of both signs make the sum NaN too, but are all in buckets.
        if count < h.count {
            note(annotations::quantile_nan_skew(name));
        }
    }
    let share = rank / b.count;
    if custom || (b.lower <= 0.0 && b.upper >= 0.0) {
        return b.lower + (b.upper - b.lower) * share;
    }
    let (lower, upper) = (b.lower.abs().log2(), b.upper.abs().log2());
    if b.lower > 0.0 {
        (lower + (upper - lower) * share).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - share)).exp2()
    }
}

/// Source: prometheus promql/quantile.go, HistogramFraction.
pub(super) fn fraction(
    lower: f64,
    upper: f64,
    h: &Histogram,
    name: &str,
    note: &dyn Fn(String),
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let buckets = histogram::all_buckets(h);
    let counted: f64 = if h.sum.is_nan() {
        buckets.iter().map(|b| b.count).sum()
    } else {
        h.count
    };
    if counted < h.count {
        note(annotations::fraction_nan(name));
    }
    let custom = histogram::is_custom(h);
    let rank_of = |v: f64| {
        let mut rank = 0.0;
        for b in &buckets {
            let mut b = *b;
            // Custom buckets are positive ones: each that holds 0 is taken to begin there.
            let zero = b.lower <= 0.0 && b.upper >= 0.0;
            if zero {
                match (h.negative_buckets.is_empty(), h.positive_buckets.is_empty()) {
                    (true, false) => b.lower = 0.0,
                    (false, true) => b.upper = 0.0,
                    _ => {}
                }
            }
            if b.lower >= v {
                return Some(rank);
            }
            if b.upper > v {
                return Some(if custom || zero {
                    linear_rank(v, rank, &b)
                } else {
                    rank + b.count * exponential_share(v, &b)
                });
            }
            rank += b.count;
        }
        None
    };
    // A rank that is NaN stays so.
    let bounded = |rank: Option<f64>| match rank {
        Some(rank) if rank > counted => counted,
        Some(rank) => rank,
        None => counted,
    };
    (bounded(rank_of(upper)) - bounded(rank_of(lower))) / h.count
}

fn linear_rank(v: f64, rank: f64, b: &Bucket) -> f64 {
    if b.lower == f64::NEG_INFINITY {
        return b.count;
    }
    rank + b.count * (v - b.lower) / (b.upper - b.lower)
}

fn exponential_share(v: f64, b: &Bucket) -> f64 {
    let (lower, upper, v_log) = (b.lower.abs().log2(), b.upper.abs().log2(), v.abs().log2());
    if v > 0.0 {
        (v_log - lower) / (upper - lower)
    } else {
        1.0 - (v_log - upper) / (lower - upper)
    }
}

#[cfg(test)]
mod tests {
    use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    use super::*;

    fn histogram(count: f64, sum: f64, buckets: &[f64]) -> Histogram {
        Histogram {
            count,
            sum,
            positive_spans: vec![Span {
                offset: 0,
                length: buckets.len() as u32,
            }],
            positive_buckets: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    fn noted(f: impl Fn(&dyn Fn(String)) -> f64) -> (f64, Vec<String>) {
        let notes = std::cell::RefCell::new(Vec::new());
        let v = f(&|text| notes.borrow_mut().push(text));
        (v, notes.into_inner())
    }

    #[test]
    fn infinities_of_both_signs_are_not_taken_for_nan_observations() {
        let h = histogram(4.0, f64::NAN, &[1.0, 2.0, 1.0]);
        let (_, notes) = noted(|note| quantile(0.25, &h, "h", note));
        assert_eq!(notes, Vec::<String>::new());
        let (v, notes) = noted(|note| fraction(0.0, 1.0, &h, "h", note));
        assert_eq!((v, notes), (0.25, vec![]));
        let nan = Histogram { count: 5.0, ..h };
        let (_, notes) = noted(|note| quantile(0.2, &nan, "h", note));
        assert_eq!(notes, vec![annotations::quantile_nan_skew("h")]);
        let (_, notes) = noted(|note| fraction(0.0, 1.0, &nan, "h", note));
        assert_eq!(notes, vec![annotations::fraction_nan("h")]);
        let (v, notes) = noted(|note| fraction(1.0, 1.0, &nan, "h", note));
        assert_eq!((v, notes), (0.0, vec![]));
    }

    #[test]
    fn a_rank_beyond_the_buckets_is_the_last_upper_bound() {
        let few = histogram(10.0, 1.0, &[1.0, 2.0]);
        let (v, _) = noted(|note| quantile(0.4, &few, "h", note));
        assert_eq!(v, 2.0);
        let (v, _) = noted(|note| quantile(0.6, &few, "h", note));
        assert_eq!(v, 1.0);
        let none = histogram(5.0, 1.0, &[]);
        let (v, _) = noted(|note| quantile(0.4, &none, "h", note));
        assert_eq!(v, 0.0);
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![1.0, 2.0],
            ..histogram(5.0, f64::NAN, &[1.0, 1.0, 1.0])
        };
        let (v, notes) = noted(|note| quantile(1.0, &custom, "h", note));
        assert_eq!((v, notes), (2.0, vec![]));
    }

    #[test]
    fn with_nan_in_the_sum_the_last_bucket_is_where_the_quantile_is_looked_for() {
        // (0.5, 1], (1, 2], (2, 4]: rank 1 is all of the first bucket.
        let h = histogram(5.0, f64::NAN, &[1.0, 2.0, 1.0]);
        let (v, _) = noted(|note| quantile(0.2, &h, "h", note));
        assert_eq!(v, 4.0);
        let counted = Histogram { sum: 5.0, ..h };
        let (v, _) = noted(|note| quantile(0.2, &counted, "h", note));
        assert_eq!(v, 1.0);
    }

    #[test]
    fn a_custom_bucket_that_holds_zero_begins_there() {
        let h = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![-4.0, -1.0, 3.0],
            ..histogram(10.0, 1.0, &[1.0, 2.0, 3.0, 4.0])
        };
        let check = |lower: f64, upper: f64, expect: f64| {
            let (v, _) = noted(|note| fraction(lower, upper, &h, "h", note));
            assert_eq!(v, expect, "{lower} {upper}");
        };
        check(-0.5, 1.0, 0.1);
        check(0.0, 3.0, 0.3);
        check(-2.5, 0.0, 0.1);
        check(f64::NEG_INFINITY, -5.0, 0.1);
        check(f64::NEG_INFINITY, f64::INFINITY, 1.0);
    }
}
