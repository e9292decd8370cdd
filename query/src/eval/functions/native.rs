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
    for next in &buckets {
        b = *next;
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
    // Infinities of both signs make the sum NaN too, but are all in buckets.
    if has_nan && buckets.iter().map(|b| b.count).sum::<f64>() < h.count {
        note(annotations::quantile_nan_skew(name));
    }
    rank = if forward {
        rank - (count - b.count)
    } else {
        count - rank
    };
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
    let rank_of = |v: f64| {
        let mut rank = 0.0;
        for b in &buckets {
            let mut b = *b;
            let zero = b.lower <= 0.0 && b.upper >= 0.0;
            clip_zero(h, &mut b);
            let custom = histogram::is_custom(h);
            if custom && b.lower == f64::NEG_INFINITY && b.upper > 0.0 {
                b.lower = 0.0;
            }
            if b.lower >= v {
                return rank;
            }
            if b.upper > v {
                return rank + b.count * share_below(v, &b, custom || zero);
            }
            rank += b.count;
        }
        counted
    };
    (rank_of(upper).min(counted) - rank_of(lower).min(counted)) / h.count
}

fn share_below(v: f64, b: &Bucket, linear: bool) -> f64 {
    if b.lower == f64::NEG_INFINITY {
        return 1.0;
    }
    if b.upper == f64::INFINITY {
        return 0.0;
    }
    if linear {
        return (v - b.lower) / (b.upper - b.lower);
    }
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
        let (v, notes) = noted(|note| quantile(0.25, &h, "h", note));
        assert_eq!((v, notes), (1.0, vec![]));
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
}
