//! One series made coarser. Semantics: `docs/formats/block.md`.

use model::{FPoint, HPoint, Labels, Samples, is_stale};

/// A series of a roll-up. `last` are samples as they were; the others are one point for each
/// bucket that had samples, at the instant of the last one that was no staleness marker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rolled {
    pub(crate) last: Samples,
    pub(crate) sum: Vec<FPoint>,
    pub(crate) count: Vec<FPoint>,
    pub(crate) min: Vec<FPoint>,
    pub(crate) max: Vec<FPoint>,
}

/// Whether a decrease means a reset, as far as the name tells.
pub(crate) fn is_counter(labels: &Labels) -> bool {
    let name = labels.metric_name();
    ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// Keeps of each bucket (instants that `resolution_ms` divides alike) the last sample, the
/// last histogram, a staleness marker at its end and, of a counter, the sample before each
/// reset and the first one after a bucket without any: the increase is what it was.
pub(crate) fn roll_up(samples: &Samples, resolution_ms: i64, counter: bool) -> Rolled {
    let mut rolled = Rolled::default();
    let bucket_of = |t: i64| t.div_euclid(resolution_ms);
    // The bucket with which the series went on.
    let mut next = None;
    for bucket in samples
        .floats
        .chunk_by(|a, b| bucket_of(a.t) == bucket_of(b.t))
    {
        let (mut sum, mut count) = (0.0, 0.0);
        let (mut min, mut max) = (f64::NAN, f64::NAN);
        let mut last: Option<FPoint> = None;
        let here = bucket_of(bucket[0].t);
        let is_start = counter && next != Some(here);
        next = bucket
            .last()
            .and_then(|p| (!is_stale(p.v)).then_some(here + 1));
        for p in bucket.iter().filter(|p| !is_stale(p.v)) {
            match last {
                Some(before) if counter && p.v < before.v => {
                    // The first one may be it.
                    let known = rolled.last.floats.last();
                    if known.is_none_or(|k| k.t < before.t) {
                        rolled.last.floats.push(before);
                    }
                }
                None if is_start => rolled.last.floats.push(*p),
                _ => {}
            }
            sum += p.v;
            count += 1.0;
            // NaN only when all are.
            min = if p.v < min || min.is_nan() { p.v } else { min };
            max = if p.v > max || max.is_nan() { p.v } else { max };
            last = Some(*p);
        }
        if let Some(last) = last {
            if rolled.last.floats.last().is_none_or(|k| k.t < last.t) {
                rolled.last.floats.push(last);
            }
            let at = |v| FPoint { t: last.t, v };
            rolled.sum.push(at(sum));
            rolled.count.push(at(count));
            rolled.min.push(at(min));
            rolled.max.push(at(max));
        }
        rolled
            .last
            .floats
            .extend(bucket.last().filter(|p| is_stale(p.v)));
    }
    let histograms = samples
        .histograms
        .chunk_by(|a, b| bucket_of(a.t) == bucket_of(b.t));
    let last = histograms.filter_map(<[HPoint]>::last);
    rolled.last.histograms.extend(last.cloned());
    rolled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(points: &[(i64, f64)]) -> Samples {
        Samples {
            floats: points
                .iter()
                .map(|(t, v)| FPoint { t: *t, v: *v })
                .collect(),
            histograms: Vec::new(),
        }
    }

    fn pairs(points: &[FPoint]) -> Vec<(i64, f64)> {
        points.iter().map(|p| (p.t, p.v)).collect()
    }

    #[test]
    fn a_gauge_keeps_its_last_value_and_its_extremes() {
        let rolled = roll_up(
            &floats(&[(1, 5.0), (4, 9.0), (9, 2.0), (10, 7.0)]),
            10,
            false,
        );
        assert_eq!(pairs(&rolled.last.floats), [(9, 2.0), (10, 7.0)]);
        assert_eq!(pairs(&rolled.sum), [(9, 16.0), (10, 7.0)]);
        assert_eq!(pairs(&rolled.count), [(9, 3.0), (10, 1.0)]);
        assert_eq!(pairs(&rolled.min), [(9, 2.0), (10, 7.0)]);
        assert_eq!(pairs(&rolled.max), [(9, 9.0), (10, 7.0)]);
    }

    #[test]
    fn a_counter_keeps_what_it_had_before_each_reset() {
        let raw = [
            (0, 1.0),
            (2, 8.0),
            (4, 3.0),
            (6, 4.0),
            (8, 0.0),
            (9, 2.0),
            (15, 5.0),
        ];
        let rolled = roll_up(&floats(&raw), 10, true);
        let kept = [(0, 1.0), (2, 8.0), (6, 4.0), (9, 2.0), (15, 5.0)];
        assert_eq!(pairs(&rolled.last.floats), kept);
        let increase = |points: &[(i64, f64)]| -> f64 {
            let step = |w: &[(i64, f64)]| {
                if w[1].1 < w[0].1 {
                    w[1].1
                } else {
                    w[1].1 - w[0].1
                }
            };
            points.windows(2).map(step).sum()
        };
        assert_eq!(increase(&kept), increase(&raw));
    }

    #[test]
    fn a_counter_keeps_its_first_sample_after_a_pause() {
        let raw = [
            (1, 3.0),
            (8, 5.0),
            (12, 6.0),
            (14, 7.0),
            (31, 9.0),
            (37, 1.0),
        ];
        let rolled = roll_up(&floats(&raw), 10, true);
        let kept = [(1, 3.0), (8, 5.0), (14, 7.0), (31, 9.0), (37, 1.0)];
        assert_eq!(pairs(&rolled.last.floats), kept);
        let ended = [(1, 3.0), (8, model::STALE_NAN), (12, 6.0), (14, 7.0)];
        let rolled = roll_up(&floats(&ended), 10, true);
        let times: Vec<i64> = rolled.last.floats.iter().map(|p| p.t).collect();
        assert_eq!(times, [1, 8, 12, 14]);
    }

    #[test]
    fn an_end_stays_an_end() {
        let rolled = roll_up(&floats(&[(1, 5.0), (4, model::STALE_NAN)]), 10, false);
        assert_eq!(rolled.last.floats.len(), 2);
        assert!(is_stale(rolled.last.floats[1].v));
        assert_eq!(pairs(&rolled.max), [(1, 5.0)]);
        let only = roll_up(&floats(&[(4, model::STALE_NAN)]), 10, false);
        assert_eq!((only.last.floats.len(), only.sum.len()), (1, 0));
    }
}
