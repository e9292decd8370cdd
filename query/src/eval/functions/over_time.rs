//! `*_over_time`: a window's values to one.

use std::sync::Arc;

use super::range::Window;
use super::slide;
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::{PointValue, annotations};
use crate::histogram::HistogramSum;

fn float(v: f64) -> Option<PointValue> {
    Some(PointValue::Float(v))
}

fn seconds(t: i64) -> Option<PointValue> {
    float(t as f64 / 1000.0)
}

/// The floats, if any; histograms beside them are ignored, with a note.
fn floats_only(w: &Window<'_>) -> Option<impl Iterator<Item = f64> + Clone> {
    if w.floats.is_empty() {
        return None;
    }
    if !w.histograms.is_empty() {
        w.note(annotations::histogram_ignored_in_range(w.metric));
    }
    Some(w.floats.iter().map(|p| p.v))
}

pub(super) fn count(w: &Window<'_>) -> Option<PointValue> {
    float((w.floats.len() + w.histograms.len()) as f64)
}

pub(super) fn present(_: &Window<'_>) -> Option<PointValue> {
    float(1.0)
}

pub(super) fn sum(w: &Window<'_>) -> Option<PointValue> {
    match (w.floats, w.histograms) {
        ([], _) => histogram_sum(w, false),
        (floats, []) => {
            let mut k = Kahan::default();
            floats.iter().for_each(|p| k.add(p.v));
            float(k.value())
        }
        _ => mixed(w),
    }
}

pub(super) fn avg(w: &Window<'_>) -> Option<PointValue> {
    match (w.floats, w.histograms) {
        ([], _) => histogram_sum(w, true),
        ([first, rest @ ..], []) => {
            let mut mean = Mean::new(first.v);
            rest.iter().for_each(|p| mean.add(p.v));
            float(mean.value())
        }
        _ => mixed(w),
    }
}

fn mixed(w: &Window<'_>) -> Option<PointValue> {
    w.note(annotations::mixed_floats_histograms(w.metric));
    None
}

fn histogram_sum(w: &Window<'_>, mean: bool) -> Option<PointValue> {
    let (first, rest) = w.histograms.split_first()?;
    let mut sum = HistogramSum::new(&first.h, mean);
    for p in rest {
        if sum.add(&p.h).is_err() {
            w.note(annotations::mixed_exponential_custom(w.metric));
            return None;
        }
    }
    let (sum, notes) = sum.finish();
    if notes.reset_collision {
        w.note(annotations::reset_collision("aggregation"));
    }
    if notes.bounds_reconciled {
        w.note(annotations::custom_buckets_reconciled("aggregation"));
    }
    Some(PointValue::Histogram(Arc::new(sum)))
}

pub(super) fn min(w: &Window<'_>) -> Option<PointValue> {
    if let Some(lowest) = w.known.extreme {
        return float(lowest);
    }
    floats_only(w)?
        .reduce(|best, v| if v < best || best.is_nan() { v } else { best })
        .and_then(float)
}

pub(super) fn max(w: &Window<'_>) -> Option<PointValue> {
    if let Some(highest) = w.known.extreme {
        return float(highest);
    }
    floats_only(w)?
        .reduce(|best, v| if v > best || best.is_nan() { v } else { best })
        .and_then(float)
}

fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut n, mut mean, mut aggregate) = (0.0, Kahan::default(), Kahan::default());
    for v in values {
        n += 1.0;
        let delta = v - (mean.sum + mean.lost);
        mean.add(delta / n);
        aggregate.add(delta * (v - (mean.sum + mean.lost)));
    }
    (aggregate.sum + aggregate.lost) / n
}

pub(super) fn stdvar(w: &Window<'_>) -> Option<PointValue> {
    float(variance(floats_only(w)?))
}

pub(super) fn stddev(w: &Window<'_>) -> Option<PointValue> {
    float(variance(floats_only(w)?).sqrt())
}

pub(super) fn quantile(w: &Window<'_>) -> Option<PointValue> {
    if let Some(sorted) = w.known.sorted {
        return float(quantile_of_sorted(w.param(0), sorted));
    }
    let mut values: Vec<f64> = floats_only(w)?.collect();
    float(quantile_of(w.param(0), &mut values))
}

/// The median distance from the median.
pub(super) fn mad(w: &Window<'_>) -> Option<PointValue> {
    let mut values: Vec<f64> = floats_only(w)?.collect();
    if values.iter().any(|v| v.is_nan()) {
        return float(f64::NAN);
    }
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    float(quantile_of(0.5, &mut values))
}

/// The `q`-quantile, linear between ranks; NaN sorts lowest. Reorders `values`.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(slide::order);
    quantile_of_sorted(q, values)
}

/// As [`quantile_of`], of values in the order of [`slide::order`].
fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

pub(super) fn last(w: &Window<'_>) -> Option<PointValue> {
    match (w.floats.last(), w.histograms.last()) {
        (Some(f), Some(h)) if h.t > f.t => Some(PointValue::Histogram(h.h.clone())),
        (Some(f), _) => float(f.v),
        (None, Some(h)) => Some(PointValue::Histogram(h.h.clone())),
        (None, None) => None,
    }
}

pub(super) fn first(w: &Window<'_>) -> Option<PointValue> {
    match (w.floats.first(), w.histograms.first()) {
        (Some(f), Some(h)) if h.t < f.t => Some(PointValue::Histogram(h.h.clone())),
        (Some(f), _) => float(f.v),
        (None, Some(h)) => Some(PointValue::Histogram(h.h.clone())),
        (None, None) => None,
    }
}

pub(super) fn ts_of_first(w: &Window<'_>) -> Option<PointValue> {
    let times = [
        w.floats.first().map(|p| p.t),
        w.histograms.first().map(|p| p.t),
    ];
    seconds(times.into_iter().flatten().min()?)
}

pub(super) fn ts_of_last(w: &Window<'_>) -> Option<PointValue> {
    let times = [
        w.floats.last().map(|p| p.t),
        w.histograms.last().map(|p| p.t),
    ];
    seconds(times.into_iter().flatten().max()?)
}

pub(super) fn ts_of_min(w: &Window<'_>) -> Option<PointValue> {
    ts_of_extreme(w, |v, best| v <= best)
}

pub(super) fn ts_of_max(w: &Window<'_>) -> Option<PointValue> {
    ts_of_extreme(w, |v, best| v >= best)
}

/// When the last of the extreme values was.
fn ts_of_extreme(w: &Window<'_>, better: fn(f64, f64) -> bool) -> Option<PointValue> {
    let _ = floats_only(w)?;
    let best = w.floats.iter().copied().reduce(|best, p| {
        if better(p.v, best.v) || best.v.is_nan() {
            p
        } else {
            best
        }
    })?;
    seconds(best.t)
}
