//! Buckets: their bounds, and lists of them by index.

use model::Histogram;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span, exponential_bound};

/// A bucket and the values it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// May be -∞.
    pub lower: f64,
    /// May be +∞.
    pub upper: f64,
    /// Whether `lower` itself belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether `upper` itself belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations, a fraction after some arithmetic.
    pub count: f64,
}

/// Whether the bounds are listed rather than exponential.
pub(crate) fn is_custom(h: &Histogram) -> bool {
    h.schema == CUSTOM_BUCKETS_SCHEMA
}

/// Index and count of each bucket of one side, ascending.
pub(crate) type Indexed = Vec<(i32, f64)>;

pub(super) fn unpack(spans: &[Span], counts: &[f64]) -> Indexed {
    let mut out = Vec::with_capacity(counts.len());
    let mut index = 0_i32;
    let mut counts = counts.iter();
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else {
                return out;
            };
            out.push((index, *count));
            index = index.saturating_add(1);
        }
    }
    out
}

/// Without empty buckets.
pub(super) fn pack(buckets: &[(i32, f64)]) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0_i32;
    for (index, count) in buckets.iter().filter(|b| b.1 != 0.0) {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index.saturating_sub(next),
                length: 1,
            }),
        }
        next = index.saturating_add(1);
        counts.push(*count);
    }
    (spans, counts)
}

pub(super) fn positive(h: &Histogram, index: i32, count: f64) -> Bucket {
    if is_custom(h) {
        let bound = |i: i32| usize::try_from(i).ok().and_then(|i| h.custom_values.get(i));
        let lower = bound(index.saturating_sub(1)).copied();
        return Bucket {
            lower: lower.unwrap_or(f64::NEG_INFINITY),
            upper: bound(index).copied().unwrap_or(f64::INFINITY),
            lower_inclusive: lower.is_none(),
            upper_inclusive: true,
            count,
        };
    }
    Bucket {
        lower: exponential_bound(index.saturating_sub(1), h.schema),
        upper: exponential_bound(index, h.schema),
        lower_inclusive: false,
        upper_inclusive: true,
        count,
    }
}

pub(super) fn negative(h: &Histogram, index: i32, count: f64) -> Bucket {
    let mirror = positive(h, index, count);
    Bucket {
        lower: -mirror.upper,
        upper: -mirror.lower,
        lower_inclusive: true,
        upper_inclusive: false,
        count,
    }
}

pub(super) fn positives(h: &Histogram) -> Indexed {
    unpack(&h.positive_spans, &h.positive_buckets)
}

pub(super) fn negatives(h: &Histogram) -> Indexed {
    unpack(&h.negative_spans, &h.negative_buckets)
}

fn zero_bucket(h: &Histogram) -> Bucket {
    Bucket {
        lower: -h.zero_threshold,
        upper: h.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: h.zero_count,
    }
}

/// All buckets from the lowest value to the highest, with the bounds of their schema, the zero
/// bucket among them if it counts.
pub(super) fn listed(h: &Histogram) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = negatives(h)
        .into_iter()
        .rev()
        .map(|(i, n)| negative(h, i, n))
        .collect();
    if h.zero_count != 0.0 {
        out.push(zero_bucket(h));
    }
    out.extend(positives(h).into_iter().map(|(i, n)| positive(h, i, n)));
    out
}

/// All buckets of `h` from the lowest value to the highest, empty ones included. A bucket that
/// reaches into the zero bucket ends at the zero threshold; the zero bucket itself is there
/// when its count is above 0.
/// Source: prometheus model/histogram/float_histogram.go, AllBucketIterator.
#[must_use]
pub fn all_buckets(h: &Histogram) -> Vec<Bucket> {
    let zero = h.zero_threshold;
    let clipped = |mut b: Bucket| {
        if b.upper < 0.0 && b.upper > -zero {
            b.upper = -zero;
        } else if b.lower > 0.0 && b.lower < zero {
            b.lower = zero;
        }
        b
    };
    let mut out: Vec<Bucket> = negatives(h)
        .into_iter()
        .rev()
        .map(|(i, n)| clipped(negative(h, i, n)))
        .collect();
    if h.zero_count > 0.0 {
        out.push(zero_bucket(h));
    }
    let above = positives(h).into_iter();
    out.extend(above.map(|(i, n)| clipped(positive(h, i, n))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_the_zero_bucket_ends_at_its_threshold() {
        let side = || {
            vec![Span {
                offset: 0,
                length: 2,
            }]
        };
        let h = Histogram {
            count: 9.0,
            zero_threshold: 0.75,
            zero_count: -1.0,
            positive_spans: side(),
            positive_buckets: vec![2.0, 3.0],
            negative_spans: side(),
            negative_buckets: vec![4.0, 0.0],
            ..Histogram::default()
        };
        let bounds = |h: &Histogram| -> Vec<(f64, f64)> {
            all_buckets(h).iter().map(|b| (b.lower, b.upper)).collect()
        };
        let outer = [(-2.0, -1.0), (-1.0, -0.75), (0.75, 1.0), (1.0, 2.0)];
        assert_eq!(bounds(&h), outer);
        assert_eq!(listed(&h).len(), 5);
        let counting = Histogram {
            zero_count: 1.0,
            ..h
        };
        assert_eq!(bounds(&counting)[2], (-0.75, 0.75));
    }
}
