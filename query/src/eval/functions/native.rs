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
    let mut hit: Option<Bucket> = None;
    for b in buckets.into_iter().filter(|b| b.count != 0.0) {
        count += b.count;
        hit = Some(b);
        if count >= rank {
            break;
        }
    }
    let Some(mut b) = hit else {
        if has_nan {
            note(annotations::quantile_nan_result(name));
        }
        return f64::NAN;
    };
    let custom = histogram::is_custom(h);
    clip_zero(h, &mut b);
    if has_nan && count < rank {
        note(annotations::quantile_nan_result(name));
        return f64::NAN;
    }
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
        return if forward { b.upper } else { b.lower };
    }
    if has_nan {
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
    if h.sum.is_nan() {
        note(annotations::fraction_nan(name));
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
