//! `rate increase delta irate idelta resets changes`.

use std::sync::Arc;

use model::{FPoint, HPoint, Histogram};

use super::extended;
use super::range::Window;
use crate::eval::series::{Point, Points, Series};
use crate::eval::{PointValue, annotations};
use crate::histogram;
use crate::promql::ast::Extension;

pub(super) fn rate(w: &Window<'_>) -> Option<PointValue> {
    extrapolated(w, true, true)
}

pub(super) fn increase(w: &Window<'_>) -> Option<PointValue> {
    extrapolated(w, true, false)
}

pub(super) fn delta(w: &Window<'_>) -> Option<PointValue> {
    extrapolated(w, false, false)
}

/// The change over the window, as if the series reached its edges where the spacing of its
/// points suggests so. Source: prometheus promql/functions.go, extrapolatedRate.
fn extrapolated(w: &Window<'_>, counter: bool, per_second: bool) -> Option<PointValue> {
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        w.note(annotations::mixed_floats_histograms(w.metric));
        return None;
    }
    let range_seconds = w.range as f64 / 1000.0;
    if w.extension != Extension::None && w.floats.is_empty() {
        return super::extended_histogram::change(w, counter, per_second);
    }
    if w.extension != Extension::None {
        let smoothed = w.extension == Extension::Smoothed;
        let edges = extended::edges(w.floats, w.start, w.end, smoothed, counter)?;
        let mut change = edges.right - edges.left;
        if counter {
            change += extended::lost_to_resets(&edges);
        }
        if per_second {
            change /= range_seconds;
        }
        return Some(PointValue::Float(change));
    }
    let (first_t, last_t, intervals) = match (w.floats, w.histograms) {
        ([first, ..], _) => (first.t, w.floats[w.floats.len() - 1].t, w.floats.len() - 1),
        (_, [first, .., last]) => (first.t, last.t, w.histograms.len() - 1),
        (_, [only]) => (only.t, only.t, 0),
        _ => return None,
    };
    let first_start = w.start_of(first_t);
    let starts_inside =
        counter && first_start != 0 && first_start > w.start && first_start < first_t;
    if intervals == 0 && !starts_inside {
        return None;
    }
    let mut change_histogram = None;
    let mut change = 0.0;
    if w.floats.is_empty() {
        if intervals > 0 {
            change_histogram = Some(histogram_change(w, counter)?);
        }
    } else {
        if counter {
            w.note_overlaps();
        }
        change = w.floats[intervals].v - w.floats[0].v;
        match w.known.places {
            _ if !counter => {}
            Some(falls) => falls.iter().for_each(|i| change += w.floats[i - 1].v),
            None => {
                for pair in w.floats.windows(2) {
                    if pair[1].v < pair[0].v || w.start_resets(pair[0].t, pair[1].t) {
                        change += pair[0].v;
                    }
                }
            }
        }
    }
    let mut to_start = (first_t - w.start) as f64 / 1000.0;
    let mut to_end = (w.end - last_t) as f64 / 1000.0;
    let mut sampled = (last_t - first_t) as f64 / 1000.0;
    let spacing = if intervals > 0 {
        sampled / intervals as f64
    } else {
        0.0
    };
    // A gap of up to 1.1 spacings is taken for a sample just missed.
    let threshold = spacing * 1.1;
    if starts_inside {
        // The counter was zero at its start: no need to guess what lies to the left.
        to_start = 0.0;
        sampled = (last_t - first_start) as f64 / 1000.0;
        if let Some(first) = w.floats.first() {
            change += first.v;
        } else {
            let first = &w.histograms[0].h;
            match &mut change_histogram {
                None => change_histogram = Some((**first).clone()),
                Some(h) => match histogram::add(h, first) {
                    Ok(notes) if notes.bounds_reconciled => {
                        w.note(annotations::custom_buckets_reconciled("addition"));
                    }
                    Ok(_) => {}
                    Err(_) => {
                        w.note(annotations::mixed_exponential_custom(w.metric));
                        return None;
                    }
                },
            }
        }
    } else {
        if to_start >= threshold {
            to_start = spacing / 2.0;
        }
        if counter {
            to_start = to_start.min(to_zero(w, sampled, change, change_histogram.as_ref()));
        }
    }
    if to_end >= threshold {
        to_end = spacing / 2.0;
    }
    let mut factor = if sampled == 0.0 {
        1.0
    } else {
        (sampled + to_start + to_end) / sampled
    };
    if per_second {
        factor /= range_seconds;
    }
    Some(match change_histogram {
        None => PointValue::Float(change * factor),
        Some(mut h) => {
            histogram::scale(&mut h, factor);
            PointValue::Histogram(Arc::new(h))
        }
    })
}

/// How long before its first sample the counter would have been zero: it cannot have been below.
fn to_zero(w: &Window<'_>, sampled: f64, change: f64, histogram: Option<&Histogram>) -> f64 {
    match (histogram, w.floats.first(), w.histograms.first()) {
        (None, Some(first), _) if change > 0.0 && first.v >= 0.0 => sampled * (first.v / change),
        (Some(h), _, Some(first)) if h.count > 0.0 && first.h.count >= 0.0 => {
            sampled * (first.h.count / h.count)
        }
        _ => f64::INFINITY,
    }
}

/// Source: prometheus promql/functions.go, histogramRate.
fn histogram_change(w: &Window<'_>, counter: bool) -> Option<Histogram> {
    use model::CounterResetHint::Gauge;
    let points = w.histograms;
    let (first, last) = (&points[0].h, &points[points.len() - 1].h);
    let mixed = || {
        w.note(annotations::mixed_exponential_custom(w.metric));
        None
    };
    let gauge = |h: &Histogram| h.counter_reset_hint == Gauge;
    if counter && (gauge(first) || gauge(last)) {
        w.note(annotations::not_a_counter(w.metric));
    }
    let mut previous: Arc<Histogram> = first.clone();
    let mut custom = histogram::is_custom(first);
    if counter {
        let second = &points[1].h;
        if w.start_resets(points[0].t, points[1].t) || histogram::detects_reset(second, first) {
            // The first point no longer matters, nor does its layout.
            previous = Arc::new(Histogram {
                schema: second.schema,
                custom_values: second.custom_values.clone(),
                ..Histogram::default()
            });
            custom = histogram::is_custom(second);
        }
    }
    if histogram::is_custom(last) != custom {
        return mixed();
    }
    let mut schema = last.schema.min(previous.schema);
    if counter {
        for p in &points[1..points.len() - 1] {
            schema = schema.min(p.h.schema);
            if histogram::is_custom(&p.h) != custom {
                return mixed();
            }
        }
        if points.iter().any(|p| gauge(&p.h)) {
            w.note(annotations::not_a_counter(w.metric));
        }
    }
    let mut change = histogram::to_schema(last, schema);
    let reconciled = |word: &str| w.note(annotations::custom_buckets_reconciled(word));
    match histogram::subtract(&mut change, &previous) {
        Ok(notes) if notes.bounds_reconciled => reconciled("subtraction"),
        Ok(_) => {}
        Err(_) => return mixed(),
    }
    if counter {
        w.note_overlaps();
        for pair in points.windows(2) {
            let p = &pair[1];
            if w.start_resets(pair[0].t, p.t) || histogram::detects_reset(&p.h, &previous) {
                match histogram::add(&mut change, &previous) {
                    Ok(notes) if notes.bounds_reconciled => reconciled("addition"),
                    Ok(_) => {}
                    Err(_) => return mixed(),
                }
            }
            previous = p.h.clone();
        }
    } else if !gauge(first) || !gauge(last) {
        w.note(annotations::not_a_gauge(w.metric));
    }
    change.counter_reset_hint = Gauge;
    histogram::compact(&mut change);
    Some(change)
}

pub(super) fn irate(w: &Window<'_>) -> Option<PointValue> {
    last_two(w, true)
}

pub(super) fn idelta(w: &Window<'_>) -> Option<PointValue> {
    last_two(w, false)
}

fn merged<'a>(w: &Window<'a>) -> Vec<(i64, Point<'a>)> {
    points_of(w.floats, w.histograms).collect()
}

fn points_of<'a>(floats: &'a [FPoint], histograms: &'a [HPoint]) -> Points<'a> {
    Series::points_of(floats, histograms)
}

fn last_two(w: &Window<'_>, is_rate: bool) -> Option<PointValue> {
    let floats = &w.floats[w.floats.len().saturating_sub(2)..];
    let histograms = &w.histograms[w.histograms.len().saturating_sub(2)..];
    let tail: Vec<_> = points_of(floats, histograms).collect();
    let [.., (t1, a), (t2, b)] = tail.as_slice() else {
        return None;
    };
    let seconds = (t2 - t1) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => {
            let reset = is_rate && (b < a || w.start_resets(*t1, *t2));
            let mut change = if reset { *b } else { b - a };
            if is_rate {
                change /= seconds;
            }
            Some(PointValue::Float(change))
        }
        (Point::Histogram(a), Point::Histogram(b)) => {
            last_two_histograms(w, a, b, is_rate, seconds)
        }
        _ => {
            w.note(annotations::mixed_floats_histograms(w.metric));
            None
        }
    }
}

fn last_two_histograms(
    w: &Window<'_>,
    before: &HPoint,
    last: &HPoint,
    is_rate: bool,
    seconds: f64,
) -> Option<PointValue> {
    let (a, b) = (&*before.h, &*last.h);
    use model::CounterResetHint::Gauge;
    let mut change = b.clone();
    let gauges = (a.counter_reset_hint == Gauge, b.counter_reset_hint == Gauge);
    if is_rate {
        if gauges.0 || gauges.1 {
            w.note(annotations::not_a_counter(w.metric));
        }
    } else if !(gauges.0 && gauges.1) {
        w.note(annotations::not_a_gauge(w.metric));
    }
    let reset = w.start_resets(before.t, last.t) || histogram::detects_reset(b, a);
    if !is_rate || !reset {
        match histogram::subtract(&mut change, a) {
            Ok(notes) => {
                if notes.bounds_reconciled {
                    w.note(annotations::custom_buckets_reconciled("subtraction"));
                }
            }
            Err(_) => {
                w.note(annotations::mixed_exponential_custom(w.metric));
                return None;
            }
        }
    }
    change.counter_reset_hint = Gauge;
    histogram::compact(&mut change);
    if is_rate {
        histogram::divide(&mut change, seconds);
    }
    Some(PointValue::Histogram(Arc::new(change)))
}

pub(super) fn resets(w: &Window<'_>) -> Option<PointValue> {
    count_pairs(w, |(before, a), (t, b)| {
        w.start_resets(before, t)
            || match (a, b) {
                (Point::Float(a), Point::Float(b)) => b < a,
                (Point::Histogram(a), Point::Histogram(b)) => histogram::detects_reset(&b.h, &a.h),
                _ => true,
            }
    })
}

pub(super) fn changes(w: &Window<'_>) -> Option<PointValue> {
    count_pairs(w, |(_, a), (_, b)| match (a, b) {
        (Point::Float(a), Point::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Point::Histogram(a), Point::Histogram(b)) => !histogram::equals(&a.h, &b.h),
        _ => true,
    })
}

fn count_pairs(
    w: &Window<'_>,
    counts: impl Fn((i64, Point<'_>), (i64, Point<'_>)) -> bool,
) -> Option<PointValue> {
    if let Some(places) = w.known.places {
        return Some(PointValue::Float(places.len() as f64));
    }
    if w.histograms.is_empty() {
        // The common case, without a merged copy.
        let point = |p: &FPoint| (p.t, Point::Float(p.v));
        let floats = w.floats.windows(2);
        let n = floats.filter(|p| counts(point(&p[0]), point(&p[1])));
        return Some(PointValue::Float(n.count() as f64));
    }
    let points = merged(w);
    let n = points.windows(2).filter(|p| counts(p[0], p[1])).count();
    Some(PointValue::Float(n as f64))
}
