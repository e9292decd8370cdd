//! Sums, differences, multiples and comparisons.

use std::collections::BTreeMap;

use model::Histogram;
use model::histogram::{CounterResetHint, exponential_bound};

use super::buckets::{Indexed, is_custom, negative, negatives, pack, positive, positives};

/// Exponential and custom buckets do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What a combination had to overlook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) reset_collision: bool,
    pub(crate) bounds_reconciled: bool,
    pub(super) seen_reset: bool,
    pub(super) seen_no_reset: bool,
}

impl Notes {
    /// The start of a longer sum.
    pub(crate) fn first(h: &Histogram) -> Self {
        let mut notes = Notes::default();
        notes.see(h);
        notes
    }

    fn see(&mut self, h: &Histogram) {
        self.seen_reset |= h.counter_reset_hint == CounterResetHint::Reset;
        self.seen_no_reset |= h.counter_reset_hint == CounterResetHint::NotReset;
    }

    /// Takes in the notes of adding `h`. Over a sum, hints collide whatever came between.
    pub(crate) fn merge(&mut self, new: &Notes, h: &Histogram) {
        self.see(h);
        self.bounds_reconciled |= new.bounds_reconciled;
        self.reset_collision |= new.reset_collision || (self.seen_reset && self.seen_no_reset);
    }
}

pub(crate) fn add(h: &mut Histogram, other: &Histogram) -> Result<Notes, Incompatible> {
    combine(h, other, 1.0)
}

/// The result is a gauge.
pub(crate) fn subtract(h: &mut Histogram, other: &Histogram) -> Result<Notes, Incompatible> {
    let notes = difference(h, other)?;
    h.counter_reset_hint = CounterResetHint::Gauge;
    Ok(notes)
}

/// As [`subtract`], for a difference that will be added to something again.
pub(crate) fn difference(h: &mut Histogram, other: &Histogram) -> Result<Notes, Incompatible> {
    combine(h, other, -1.0)
}

fn combine(h: &mut Histogram, other: &Histogram, sign: f64) -> Result<Notes, Incompatible> {
    if is_custom(h) != is_custom(other) {
        return Err(Incompatible);
    }
    let mut notes = Notes {
        reset_collision: combine_hints(h, other),
        ..Notes::default()
    };
    h.count += sign * other.count;
    h.sum += sign * other.sum;
    if is_custom(h) {
        let (mut own, mut theirs) = (positives(h), positives(other));
        if h.custom_values != other.custom_values {
            notes.bounds_reconciled = true;
            let common = common_bounds(&h.custom_values, &other.custom_values);
            own = rebound(&own, &h.custom_values, &common);
            theirs = rebound(&theirs, &other.custom_values, &common);
            h.custom_values = common;
        }
        set_positive(h, &merged(&own, &theirs, sign));
        return Ok(notes);
    }
    h.zero_count += sign * same_zero_bucket(h, other);
    let schema = h.schema.min(other.schema);
    let own = to_schema(h, schema);
    let theirs = Sides::beyond_zero(other, schema, h.zero_threshold);
    h.schema = schema;
    set_positive(h, &merged(&positives(&own), &theirs.positive, sign));
    set_negative(h, &merged(&negatives(&own), &theirs.negative, sign));
    Ok(notes)
}

/// The buckets of a histogram as another one sees them, empty ones included.
pub(super) struct Sides {
    pub(super) positive: Indexed,
    pub(super) negative: Indexed,
}

impl Sides {
    /// Those of `h` at `schema`, which is not finer than its own, from the first one on that
    /// reaches further than the zero threshold `zero`.
    pub(super) fn beyond_zero(h: &Histogram, schema: i32, zero: f64) -> Sides {
        let seen = |buckets: Indexed| {
            let mut buckets = coarse(buckets, h.schema, schema);
            let inside = buckets.partition_point(|(i, _)| exponential_bound(*i, schema) <= zero);
            buckets.drain(..inside);
            buckets
        };
        Sides {
            positive: seen(positives(h)),
            negative: seen(negatives(h)),
        }
    }
}

/// `true` when one side says that the counter was reset and the other that it was not.
pub(super) fn combine_hints(h: &mut Histogram, other: &Histogram) -> bool {
    use CounterResetHint::{Gauge, Unknown};
    let (own, theirs) = (h.counter_reset_hint, other.counter_reset_hint);
    if own == theirs || own == Gauge {
        return false;
    }
    h.counter_reset_hint = if theirs == Gauge { Gauge } else { Unknown };
    theirs != Gauge && own != Unknown && theirs != Unknown
}

pub(super) fn set_positive(h: &mut Histogram, buckets: &Indexed) {
    (h.positive_spans, h.positive_buckets) = pack(buckets);
}

pub(super) fn set_negative(h: &mut Histogram, buckets: &Indexed) {
    (h.negative_spans, h.negative_buckets) = pack(buckets);
}

fn merged(own: &Indexed, theirs: &Indexed, sign: f64) -> Indexed {
    let mut sum: BTreeMap<i32, f64> = own.iter().copied().collect();
    for (index, count) in theirs {
        *sum.entry(*index).or_default() += sign * count;
    }
    sum.into_iter().collect()
}

pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|v| b.contains(v)).collect()
}

/// Buckets of finer bounds, summed into those of `to`, a subset.
pub(super) fn rebound(buckets: &Indexed, from: &[f64], to: &[f64]) -> Indexed {
    let mut sum: BTreeMap<i32, f64> = BTreeMap::new();
    for (index, count) in buckets {
        let upper = usize::try_from(*index).ok().and_then(|i| from.get(i));
        let target = upper.map_or(to.len(), |upper| to.partition_point(|b| b < upper));
        *sum.entry(i32::try_from(target).unwrap_or(i32::MAX))
            .or_default() += count;
    }
    sum.into_iter().collect()
}

/// The histogram at a coarser exponential schema.
pub(crate) fn to_schema(h: &Histogram, schema: i32) -> Histogram {
    let mut out = h.clone();
    if is_custom(h) || schema >= h.schema {
        return out;
    }
    set_positive(&mut out, &coarse(positives(h), h.schema, schema));
    set_negative(&mut out, &coarse(negatives(h), h.schema, schema));
    out.schema = schema;
    out
}

fn coarse(buckets: Indexed, from: i32, to: i32) -> Indexed {
    let shift = from.saturating_sub(to).clamp(0, 31);
    if shift == 0 {
        return buckets;
    }
    let mut sum: BTreeMap<i32, f64> = BTreeMap::new();
    for (index, count) in buckets {
        *sum.entry(((index.saturating_sub(1)) >> shift) + 1)
            .or_default() += count;
    }
    sum.into_iter().collect()
}

/// What the zero bucket counts when widened to at least `threshold`, and how wide it must be
/// to end between buckets.
fn widened_zero(h: &Histogram, mut threshold: f64) -> (f64, f64) {
    let (pos, neg) = (positives(h), negatives(h));
    'again: loop {
        let mut count = h.zero_count;
        for (index, n) in &pos {
            let b = positive(h, *index, *n);
            if b.lower >= threshold {
                break;
            }
            count += b.count;
            if b.upper > threshold {
                if b.count != 0.0 {
                    threshold = b.upper;
                }
                break;
            }
        }
        for (index, n) in &neg {
            let b = negative(h, *index, *n);
            if b.upper <= -threshold {
                break;
            }
            count += b.count;
            if b.lower < -threshold {
                if b.count != 0.0 {
                    threshold = -b.lower;
                    continue 'again;
                }
                break;
            }
        }
        return (count, threshold);
    }
}

pub(super) fn widen_zero(h: &mut Histogram, threshold: f64) {
    let (count, threshold) = widened_zero(h, threshold);
    let mut pos = positives(h);
    pos.retain(|(i, n)| positive(h, *i, *n).lower >= threshold);
    let mut neg = negatives(h);
    neg.retain(|(i, n)| negative(h, *i, *n).upper <= -threshold);
    set_positive(h, &pos);
    set_negative(h, &neg);
    (h.zero_count, h.zero_threshold) = (count, threshold);
}

/// Widens the zero bucket of `h` to one that also suits `other`; tells what `other` counts in it.
pub(super) fn same_zero_bucket(h: &mut Histogram, other: &Histogram) -> f64 {
    let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
    // Each round widens one of them to a bucket's bound; NaN thresholds end it too.
    while h.zero_threshold < threshold || threshold < h.zero_threshold {
        if h.zero_threshold < threshold {
            widen_zero(h, threshold);
        } else {
            (count, threshold) = widened_zero(other, h.zero_threshold);
        }
    }
    count
}

fn map_counts(h: &mut Histogram, f: impl Fn(f64) -> f64) {
    let buckets = h.positive_buckets.iter_mut().chain(&mut h.negative_buckets);
    for v in buckets.chain([&mut h.zero_count, &mut h.count, &mut h.sum]) {
        *v = f(*v);
    }
}

/// Every count and the sum times `factor`; a negative factor makes a gauge.
pub(crate) fn scale(h: &mut Histogram, factor: f64) {
    map_counts(h, |v| v * factor);
    if factor < 0.0 {
        h.counter_reset_hint = CounterResetHint::Gauge;
    }
}

/// Every count and the sum divided by `divisor`; dividing by zero leaves no buckets.
pub(crate) fn divide(h: &mut Histogram, divisor: f64) {
    map_counts(h, |v| v / divisor);
    if divisor < 0.0 {
        h.counter_reset_hint = CounterResetHint::Gauge;
    }
    if divisor == 0.0 {
        set_positive(h, &Vec::new());
        set_negative(h, &Vec::new());
    }
}

/// Removes empty buckets.
pub(crate) fn compact(h: &mut Histogram) {
    let (pos, neg) = (positives(h), negatives(h));
    set_positive(h, &pos);
    set_negative(h, &neg);
}

/// Same values in the same layout; hints do not count.
pub(crate) fn equals(a: &Histogram, b: &Histogram) -> bool {
    let bits = |x: f64, y: f64| x.to_bits() == y.to_bits();
    let same = |x: &Indexed, y: &Indexed| {
        x.len() == y.len() && x.iter().zip(y).all(|(p, q)| p.0 == q.0 && bits(p.1, q.1))
    };
    a.schema == b.schema
        && bits(a.count, b.count)
        && bits(a.sum, b.sum)
        && bits(a.zero_threshold, b.zero_threshold)
        && bits(a.zero_count, b.zero_count)
        && a.custom_values == b.custom_values
        && same(&positives(a), &positives(b))
        && same(&negatives(a), &negatives(b))
}

/// Whether `h`, read after `previous`, shows that the counter was reset in between.
pub(crate) fn detects_reset(h: &Histogram, previous: &Histogram) -> bool {
    match h.counter_reset_hint {
        CounterResetHint::Reset => return true,
        CounterResetHint::NotReset => return false,
        CounterResetHint::Unknown | CounterResetHint::Gauge => {}
    }
    if h.count < previous.count || is_custom(h) != is_custom(previous) {
        return true;
    }
    if is_custom(h) {
        if h.custom_values == previous.custom_values {
            return shrank(&positives(h), &positives(previous));
        }
        let common = common_bounds(&h.custom_values, &previous.custom_values);
        let now = rebound(&positives(h), &h.custom_values, &common);
        let before = rebound(&positives(previous), &previous.custom_values, &common);
        return merged(&now, &before, -1.0).iter().any(|(_, n)| *n < 0.0);
    }
    if h.schema > previous.schema || h.zero_threshold < previous.zero_threshold {
        return true;
    }
    let (zero_before, threshold) = widened_zero(previous, h.zero_threshold);
    if threshold != h.zero_threshold || h.zero_count < zero_before {
        return true;
    }
    let now = Sides::beyond_zero(h, h.schema, h.zero_threshold);
    let before = Sides::beyond_zero(previous, h.schema, h.zero_threshold);
    shrank(&now.positive, &before.positive) || shrank(&now.negative, &before.negative)
}

/// Whether a bucket counts less than before, or one that counted is gone. Behind the last
/// bucket of `now` upstream looks at one more of those before, whatever follows.
fn shrank(now: &Indexed, before: &Indexed) -> bool {
    let mut rest = now.iter().peekable();
    for (index, n) in before {
        while rest.next_if(|(i, _)| i < index).is_some() {}
        match rest.peek() {
            None => return *n != 0.0,
            Some((i, count)) if i == index => {
                if count < n {
                    return true;
                }
            }
            Some(_) => {
                if *n != 0.0 {
                    return true;
                }
            }
        }
    }
    false
}

/// Keeps observations up to `bound` (`upper`) or from it on.
pub(crate) fn trim(h: &mut Histogram, bound: f64, upper: bool) {
    super::trim::trim(h, bound, upper);
}

#[cfg(test)]
mod tests {
    use model::histogram::Span;

    use super::*;

    fn exponential(schema: i32, zero: (f64, f64), offset: i32, buckets: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: zero.1 + buckets.iter().sum::<f64>(),
            zero_threshold: zero.0,
            zero_count: zero.1,
            positive_spans: vec![Span {
                offset,
                length: buckets.len() as u32,
            }],
            positive_buckets: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_of_the_other_inside_the_zero_bucket_are_not_added() {
        // (0.25, 0.5] and (0.5, 1] of both, the zero bucket reaches to 0.5.
        let mut h = exponential(0, (0.5, 1.0), -1, &[2.0, 3.0]);
        let other = h.clone();
        assert!(add(&mut h, &other).is_ok());
        assert_eq!((h.zero_count, h.positive_buckets), (2.0, vec![2.0, 6.0]));
    }

    #[test]
    fn a_wider_zero_bucket_takes_the_fine_buckets_but_leaves_the_coarse_one_whole() {
        // Zero reaches to 2^-0.5; at schema 0 the bucket (0.5, 1] holds both of the other's.
        let mut h = exponential(0, (exponential_bound(-1, 1), 1.0), 1, &[1.0]);
        let other = exponential(1, (0.0, 0.0), -1, &[4.0, 8.0]);
        assert!(add(&mut h, &other).is_ok());
        assert_eq!((h.zero_count, h.positive_buckets), (5.0, vec![12.0, 1.0]));
    }

    #[test]
    fn a_bucket_that_counted_and_is_gone_is_a_reset() {
        let check = |now: &[f64], before: &[f64], reset: bool| {
            let mut h = exponential(0, (0.0, 0.0), 0, now);
            h.count = 100.0;
            let before = exponential(0, (0.0, 0.0), 0, before);
            assert_eq!(detects_reset(&h, &before), reset, "{now:?} {before:?}");
        };
        check(&[1.0, 2.0], &[1.0, 2.0], false);
        check(&[1.0, 2.0], &[1.0, 3.0], true);
        check(&[1.0], &[1.0, 1.0], true);
        check(&[1.0], &[1.0, 0.0], false);
        check(&[], &[0.0, 5.0], false);
        check(&[], &[5.0], true);
        check(&[1.0], &[], false);
    }
}
