//! `deriv`, `predict_linear`, `double_exponential_smoothing`.

use model::FPoint;

use super::range::Window;
use crate::eval::kahan::Kahan;
use crate::eval::{PointValue, annotations};

/// Least squares: slope per second, and the value at `origin` (milliseconds).
fn line(points: &[FPoint], origin: i64) -> (f64, f64) {
    let constant = points.iter().all(|p| p.v == points[0].v);
    if constant {
        return if points[0].v.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, points[0].v)
        };
    }
    let [mut x, mut y, mut xy, mut xx] = [Kahan::default(); 4];
    for p in points {
        let dx = p.t.saturating_sub(origin) as f64 / 1000.0;
        x.add(dx);
        y.add(p.v);
        xy.add(dx * p.v);
        xx.add(dx * dx);
    }
    let n = points.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(|k| k.sum + k.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

fn two_floats(w: &Window<'_>) -> bool {
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        w.note(annotations::histogram_ignored_in_range(w.metric));
    }
    w.floats.len() >= 2
}

pub(super) fn deriv(w: &Window<'_>) -> Option<PointValue> {
    // Times relative to the first point keep the sums small.
    two_floats(w).then(|| PointValue::Float(line(w.floats, w.floats[0].t).0))
}

pub(super) fn predict_linear(w: &Window<'_>) -> Option<PointValue> {
    two_floats(w).then(|| {
        let (slope, now) = line(w.floats, w.at);
        PointValue::Float(slope * w.param(0) + now)
    })
}

/// Holt-Winters without seasons.
pub(super) fn double_exponential_smoothing(w: &Window<'_>) -> Option<PointValue> {
    if !two_floats(w) {
        return None;
    }
    let (sf, tf) = (w.param(0), w.param(1));
    let (mut before, mut smooth) = (0.0, w.floats[0].v);
    let mut trend = w.floats[1].v - w.floats[0].v;
    for (i, p) in w.floats.iter().enumerate().skip(1) {
        if i > 1 {
            trend = tf * (smooth - before) + (1.0 - tf) * trend;
        }
        let next = sf * p.v + (1.0 - sf) * (smooth + trend);
        (before, smooth) = (smooth, next);
    }
    Some(PointValue::Float(smooth))
}
