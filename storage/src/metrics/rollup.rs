//! One series made coarser. Semantics: `docs/formats/block.md`.

use std::collections::BTreeMap;

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

/// What two roll-ups have of one bucket.
#[derive(Default)]
struct Bucket {
    floats: Vec<FPoint>,
    /// Sum, number, smallest and largest; none where there is no float.
    numbers: Option<[FPoint; 4]>,
    histogram: Option<HPoint>,
}

impl Bucket {
    fn count(&self) -> f64 {
        self.numbers.map_or(0.0, |[_, count, ..]| count.v)
    }
}

/// Of each bucket what was made of more samples, `after` of as many: raw samples that came late
/// make a bucket fuller, and where they have gone, for their age, the roll-up before has more.
pub(crate) fn combine(before: Rolled, after: Rolled, resolution_ms: i64) -> Rolled {
    let mut all = buckets(before, resolution_ms);
    for (at, bucket) in buckets(after, resolution_ms) {
        let known = all.entry(at).or_default();
        if bucket.count() >= known.count() {
            known.floats = bucket.floats;
            known.numbers = bucket.numbers;
        }
        let last = known.histogram.as_ref().map(|h| h.t);
        if bucket.histogram.as_ref().map(|h| h.t) >= last {
            known.histogram = bucket.histogram;
        }
    }
    let mut rolled = Rolled::default();
    for bucket in all.into_values() {
        rolled.last.floats.extend(bucket.floats);
        rolled.last.histograms.extend(bucket.histogram);
        if let Some([sum, count, min, max]) = bucket.numbers {
            rolled.sum.push(sum);
            rolled.count.push(count);
            rolled.min.push(min);
            rolled.max.push(max);
        }
    }
    rolled
}

fn buckets(rolled: Rolled, resolution_ms: i64) -> BTreeMap<i64, Bucket> {
    let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
    let bucket_of = |t: i64| t.div_euclid(resolution_ms);
    for p in rolled.last.floats {
        buckets.entry(bucket_of(p.t)).or_default().floats.push(p);
    }
    for p in rolled.last.histograms {
        let bucket = buckets.entry(bucket_of(p.t)).or_default();
        bucket.histogram = Some(p);
    }
    let numbers = rolled.sum.iter().zip(&rolled.count);
    let numbers = numbers.zip(rolled.min.iter().zip(&rolled.max));
    for ((sum, count), (min, max)) in numbers {
        let bucket = buckets.entry(bucket_of(sum.t)).or_default();
        bucket.numbers = Some([*sum, *count, *min, *max]);
    }
    buckets
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
    fn of_two_rollups_the_one_of_more_samples_counts_bucket_by_bucket() {
        let roll = |points: &[(i64, f64)]| roll_up(&floats(points), 10, false);
        let before = roll(&[(1, 5.0), (9, 6.0), (12, 7.0), (13, 8.0)]);
        let after = roll(&[(1, 5.0), (4, 9.0), (9, 6.0), (12, 1.0), (21, 2.0)]);
        let expect = roll(&[
            (1, 5.0),
            (4, 9.0),
            (9, 6.0),
            (12, 7.0),
            (13, 8.0),
            (21, 2.0),
        ]);
        assert_eq!(combine(before.clone(), after, 10), expect);
        assert_eq!(combine(before.clone(), Rolled::default(), 10), before);
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
