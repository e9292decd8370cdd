//! Buckets: their bounds, and lists of them by index.

use model::Histogram;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span, exponential_bound};

/// A bucket and the values it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) lower_inclusive: bool,
    pub(crate) upper_inclusive: bool,
    pub(crate) count: f64,
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

/// All buckets from the lowest value to the highest, the zero bucket among them if it counts.
pub(crate) fn all_buckets(h: &Histogram) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = negatives(h)
        .into_iter()
        .rev()
        .map(|(i, n)| negative(h, i, n))
        .collect();
    if h.zero_count != 0.0 {
        out.push(Bucket {
            lower: -h.zero_threshold,
            upper: h.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: h.zero_count,
        });
    }
    out.extend(positives(h).into_iter().map(|(i, n)| positive(h, i, n)));
    out
}
