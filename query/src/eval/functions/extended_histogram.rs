//! `anchored` and `smoothed` ranges of native histograms.
//! Source: prometheus promql/functions.go, extendedHistogramRate.

use std::sync::Arc;

use model::{CounterResetHint, HPoint, Histogram};

use super::range::Window;
use crate::eval::{PointValue, annotations};
use crate::histogram::{self, Incompatible};
use crate::promql::ast::Extension;

/// The histogram on the line between two points; across a counter reset the line starts at zero.
/// `note` is told what had to be reconciled.
pub(crate) fn interpolate(
    a: &HPoint,
    b: &HPoint,
    t: i64,
    counter: bool,
    note: &dyn Fn(String),
) -> Result<Histogram, Incompatible> {
    if t == a.t {
        return Ok((*a.h).clone());
    }
    let mut h = (*b.h).clone();
    if t == b.t {
        return Ok(h);
    }
    let share = (t - a.t) as f64 / (b.t - a.t) as f64;
    if counter && histogram::detects_reset(&b.h, &a.h) {
        histogram::scale(&mut h, share);
        return Ok(h);
    }
    if histogram::difference(&mut h, &a.h)?.bounds_reconciled {
        note(annotations::custom_buckets_reconciled("subtraction"));
    }
    histogram::scale(&mut h, share);
    if histogram::add(&mut h, &a.h)?.bounds_reconciled {
        note(annotations::custom_buckets_reconciled("addition"));
    }
    Ok(h)
}

/// The change between the window's edges.
pub(super) fn change(w: &Window<'_>, counter: bool, per_second: bool) -> Option<PointValue> {
    let points = w.histograms;
    let smoothed = w.extension == Extension::Smoothed;
    let mut last = points.len().checked_sub(1)?;
    let first = points[..last]
        .partition_point(|p| p.t <= w.start)
        .saturating_sub(1);
    if smoothed {
        last = points[..last].partition_point(|p| p.t < w.end);
    }
    if points[last].t <= w.start || (smoothed && points[first].t > w.end) {
        return None;
    }
    let used = &points[first..=last];
    let custom = histogram::is_custom(&used[0].h);
    if used.iter().any(|p| histogram::is_custom(&p.h) != custom) {
        w.note(annotations::mixed_exponential_custom(w.metric));
        return None;
    }
    let gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
    if counter && used.iter().any(|p| gauge(&p.h)) {
        w.note(annotations::not_a_counter(w.metric));
    }
    change_of(w, first, last, smoothed, counter).map_or_else(
        |Incompatible| {
            w.note(annotations::mixed_exponential_custom(w.metric));
            None
        },
        |mut h| {
            if per_second {
                histogram::divide(&mut h, w.range as f64 / 1000.0);
            }
            h.counter_reset_hint = CounterResetHint::Gauge;
            histogram::compact(&mut h);
            Some(PointValue::Histogram(Arc::new(h)))
        },
    )
}

fn change_of(
    w: &Window<'_>,
    first: usize,
    last: usize,
    smoothed: bool,
    counter: bool,
) -> Result<Histogram, Incompatible> {
    let points = w.histograms;
    let note = |text: String| w.note(text);
    let left_between = smoothed && points[first].t < w.start && first + 1 < points.len();
    let left = if left_between {
        interpolate(&points[first], &points[first + 1], w.start, counter, &note)?
    } else {
        (*points[first].h).clone()
    };
    let right = if smoothed && last > 0 && points[last].t > w.end {
        interpolate(&points[last - 1], &points[last], w.end, counter, &note)?
    } else {
        (*points[last].h).clone()
    };
    let gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
    if !counter && (!gauge(&left) || !gauge(&right)) {
        w.note(annotations::not_a_gauge(w.metric));
    }
    let mut change = right.clone();
    if histogram::subtract(&mut change, &left)?.bounds_reconciled {
        w.note(annotations::custom_buckets_reconciled("subtraction"));
    }
    if !counter {
        return Ok(change);
    }
    // What was lost to resets between the edges. The left edge stands for the first point; if it
    // was interpolated across a reset, that one is accounted for already.
    let (mut previous, mut next) = (&left, first + 1);
    if left_between && histogram::detects_reset(&points[first + 1].h, &points[first].h) {
        previous = &points[first + 1].h;
        next += 1;
    }
    if next > last {
        return Ok(change);
    }
    let inside = points[next..last].iter().map(|p| &*p.h);
    for h in inside.chain([&right]) {
        if histogram::detects_reset(h, previous)
            && histogram::add(&mut change, previous)?.bounds_reconciled
        {
            w.note(annotations::custom_buckets_reconciled("addition"));
        }
        previous = h;
    }
    Ok(change)
}
