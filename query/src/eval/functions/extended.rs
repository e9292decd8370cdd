//! `anchored` and `smoothed` ranges. Source: prometheus promql/functions.go, extendedRate.

use model::{FPoint, HPoint};

/// Value on the line between two points; across a counter reset the line starts at zero.
fn interpolate(a: FPoint, b: FPoint, t: i64, counter: bool) -> f64 {
    let start = if counter && b.v < a.v { 0.0 } else { a.v };
    start + (b.v - start) * (t - a.t) as f64 / (b.t - a.t) as f64
}

/// The window's edges: values at both, and the points strictly inside.
pub(super) struct Edges<'a> {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) inside: &'a [FPoint],
}

/// `None` when nothing lies inside the window.
pub(super) fn edges(
    points: &[FPoint],
    start: i64,
    end: i64,
    smoothed: bool,
    counter: bool,
) -> Option<Edges<'_>> {
    let mut last = points.len().checked_sub(1)?;
    let mut first = points[..last]
        .partition_point(|p| p.t <= start)
        .saturating_sub(1);
    if smoothed {
        last = points[..last].partition_point(|p| p.t < end);
    }
    if points[last].t <= start || (smoothed && points[0].t > end) {
        return None;
    }
    let left = match points.get(first + 1) {
        Some(next) if smoothed && points[first].t < start => {
            interpolate(points[first], *next, start, counter)
        }
        _ => points[first].v,
    };
    let right = if smoothed && last > 0 && points[last].t > end {
        interpolate(points[last - 1], points[last], end, counter)
    } else {
        points[last].v
    };
    if points[first].t <= start {
        first += 1;
    }
    let past = if points[last].t >= end {
        last
    } else {
        last + 1
    };
    Some(Edges {
        left,
        right,
        inside: points.get(first..past).unwrap_or_default(),
    })
}

/// The last point at or before `start`, of whichever kind, and all after it; nothing if there
/// is none after it.
pub(super) fn from_anchor<'a>(
    floats: &'a [FPoint],
    histograms: &'a [HPoint],
    start: i64,
) -> (&'a [FPoint], &'a [HPoint]) {
    let f = floats.partition_point(|p| p.t <= start);
    let h = histograms.partition_point(|p| p.t <= start);
    if f == floats.len() && h == histograms.len() {
        return (&[], &[]);
    }
    let float_anchor = f.checked_sub(1).map(|i| floats[i].t);
    let histogram_anchor = h.checked_sub(1).map(|i| histograms[i].t);
    let by_float = float_anchor.is_some() && float_anchor >= histogram_anchor;
    let by_histogram = histogram_anchor.is_some() && !by_float;
    (
        &floats[f - usize::from(by_float)..],
        &histograms[h - usize::from(by_histogram)..],
    )
}

/// The window with a point at each edge.
pub(crate) fn boundary_points(
    points: &[FPoint],
    start: i64,
    end: i64,
    smoothed: bool,
) -> Vec<FPoint> {
    let Some(edges) = edges(points, start, end, smoothed, false) else {
        return Vec::new();
    };
    let mut out = Vec::with_capacity(edges.inside.len() + 2);
    out.push(FPoint {
        t: start,
        v: edges.left,
    });
    out.extend_from_slice(edges.inside);
    out.push(FPoint {
        t: end,
        v: edges.right,
    });
    out
}

/// What a counter lost to resets between the edges.
pub(super) fn lost_to_resets(edges: &Edges<'_>) -> f64 {
    let (mut lost, mut previous) = (0.0, edges.left);
    let values = edges.inside.iter().map(|p| p.v);
    for v in values.chain([edges.right]) {
        if v < previous {
            lost += previous;
        }
        previous = v;
    }
    lost
}
