//! Whether a result is what a script expects.

use std::collections::BTreeMap;

use model::{Histogram, Labels, is_stale};

use super::series::Item;
use crate::eval::{PointValue, SeriesPoints, VectorSample};
use crate::histogram;
use crate::promql::quote::go_quote;

/// Relative difference that still counts as equal.
const TOLERANCE: f64 = 1e-6;

pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

fn histograms_equal(found: &Histogram, want: &Histogram, hinted: bool) -> bool {
    let (mut a, mut b) = (found.clone(), want.clone());
    histogram::compact(&mut a);
    histogram::compact(&mut b);
    let lists = |x: &[f64], y: &[f64]| {
        x.len() == y.len() && x.iter().zip(y).all(|(x, y)| almost_equal(*x, *y))
    };
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values == b.custom_values
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && almost_equal(a.zero_count, b.zero_count)
        && lists(&a.positive_buckets, &b.positive_buckets)
        && lists(&a.negative_buckets, &b.negative_buckets)
        && (!hinted || a.counter_reset_hint == b.counter_reset_hint)
}

fn check_value(labels: &Labels, found: &PointValue, want: &Item) -> Result<(), String> {
    let equal = match (found, want) {
        (PointValue::Float(a), Item::Float(b)) => almost_equal(*a, *b),
        (PointValue::Histogram(a), Item::Histogram(b, hinted)) => histograms_equal(a, b, *hinted),
        _ => false,
    };
    if equal {
        Ok(())
    } else {
        Err(format!("{labels}: expected {want:?}, got {found:?}"))
    }
}

pub(super) fn vector(
    found: &[VectorSample],
    want: &[(Labels, Vec<Item>)],
    ordered: bool,
) -> Result<(), String> {
    let mut expected: BTreeMap<&Labels, (usize, &Item)> = BTreeMap::new();
    for (i, (labels, items)) in want.iter().enumerate() {
        let [item] = items.as_slice() else {
            return Err(format!(
                "{labels}: an instant vector has one value per series"
            ));
        };
        expected.insert(labels, (i, item));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, sample) in found.iter().enumerate() {
        let Some((place, item)) = expected.get(&sample.labels) else {
            return Err(format!("unexpected {} = {:?}", sample.labels, sample.value));
        };
        if ordered && *place != i {
            return Err(format!(
                "{} is at place {i}, expected {place}",
                sample.labels
            ));
        }
        if !seen.insert(&sample.labels) {
            return Err(format!("{} occurs twice", sample.labels));
        }
        check_value(&sample.labels, &sample.value, item)?;
    }
    match want.iter().find(|(l, _)| !seen.contains(l)) {
        Some((labels, _)) => Err(format!("missing {}", go_quote(&labels.to_string()))),
        None => Ok(()),
    }
}

pub(super) fn matrix(
    found: &[SeriesPoints],
    want: &[(Labels, Vec<Item>)],
    start: i64,
    step: i64,
) -> Result<(), String> {
    if found.windows(2).any(|w| w[0].labels >= w[1].labels) {
        return Err("the matrix is not sorted by labels".to_owned());
    }
    let mut expected: BTreeMap<&Labels, BTreeMap<i64, &Item>> = BTreeMap::new();
    for (labels, items) in want {
        let points = items
            .iter()
            .enumerate()
            .filter(|(_, item)| **item != Item::Gap)
            .map(|(i, item)| (start.saturating_add(step.saturating_mul(i as i64)), item))
            .collect();
        expected.insert(labels, points);
    }
    for series in found {
        let labels = &series.labels;
        let Some(points) = expected.remove(labels) else {
            return Err(format!("unexpected {labels}: {:?}", series.points));
        };
        if points.len() != series.points.len() {
            return Err(format!(
                "{labels}: expected {} points {points:?}, got {:?}",
                points.len(),
                series.points
            ));
        }
        let floats = series
            .points
            .floats
            .iter()
            .map(|p| (p.t, PointValue::Float(p.v)));
        let histograms = series
            .points
            .histograms
            .iter()
            .map(|p| (p.t, PointValue::Histogram(p.h.clone())));
        for (t, value) in floats.chain(histograms) {
            let Some(item) = points.get(&t) else {
                return Err(format!("{labels}: unexpected point at {t} ms"));
            };
            check_value(labels, &value, item).map_err(|e| format!("at {t} ms, {e}"))?;
        }
    }
    match expected.into_iter().find(|(_, points)| !points.is_empty()) {
        Some((labels, _)) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}
