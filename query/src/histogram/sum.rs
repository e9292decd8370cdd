//! Sums and means of many histograms, compensated like those of floats.

use std::collections::BTreeMap;

use model::Histogram;

use super::arithmetic::{
    Incompatible, Notes, Sides, add, combine_hints, common_bounds, compact, divide, rebound,
    same_zero_bucket, scale, set_negative, set_positive, to_schema, widen_zero,
};
use super::buckets::{Indexed, is_custom, negatives, positives};
use crate::eval::Kahan;

/// A running sum. `lost` has the layout of `sum` and holds the low-order parts.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    sum: Histogram,
    lost: Histogram,
    count: f64,
    mean: bool,
    incremental: bool,
    notes: Notes,
}

impl HistogramSum {
    /// Starts a sum, or a mean, which must not overflow where the sum would.
    pub(crate) fn new(first: &Histogram, mean: bool) -> Self {
        let mut lost = first.clone();
        scale(&mut lost, 0.0);
        zero_out(&mut lost);
        HistogramSum {
            sum: first.clone(),
            lost,
            count: 1.0,
            mean,
            incremental: false,
            notes: Notes::first(first),
        }
    }

    pub(crate) fn add(&mut self, h: &Histogram) -> Result<(), Incompatible> {
        self.count += 1.0;
        let mut h = h.clone();
        if self.mean && !self.incremental {
            let before = (self.sum.clone(), self.lost.clone(), self.notes);
            self.add_compensated(&h)?;
            if !overflows(&self.sum) || overflows(&before.0) {
                return Ok(());
            }
            self.incremental = true;
            (self.sum, self.lost, self.notes) = before;
            divide(&mut self.sum, self.count - 1.0);
            divide(&mut self.lost, self.count - 1.0);
        }
        if self.incremental {
            let q = (self.count - 1.0) / self.count;
            scale(&mut self.sum, q);
            scale(&mut self.lost, q);
            divide(&mut h, self.count);
        }
        self.add_compensated(&h)
    }

    /// The result, compact, and what was noticed.
    pub(crate) fn finish(mut self) -> (Histogram, Notes) {
        if self.mean && !self.incremental {
            divide(&mut self.sum, self.count);
            divide(&mut self.lost, self.count);
        }
        let hint = self.sum.counter_reset_hint;
        let mut total = self.sum.clone();
        self.lost.counter_reset_hint = hint;
        // Same layout: this adds field by field. An infinite sum has lost nothing.
        let _ = add(&mut total, &self.lost);
        compact(&mut total);
        (total, self.notes)
    }

    fn add_compensated(&mut self, h: &Histogram) -> Result<(), Incompatible> {
        if is_custom(&self.sum) != is_custom(h) {
            return Err(Incompatible);
        }
        let mut new = Notes {
            reset_collision: combine_hints(&mut self.sum, h),
            ..Notes::default()
        };
        let mut other = h.clone();
        if is_custom(h) {
            if self.sum.custom_values != h.custom_values {
                new.bounds_reconciled = true;
                let common = common_bounds(&self.sum.custom_values, &h.custom_values);
                for part in [&mut self.sum, &mut self.lost, &mut other] {
                    let buckets = rebound(&positives(part), &part.custom_values, &common);
                    set_positive(part, &buckets);
                    part.custom_values.clone_from(&common);
                }
            }
        } else {
            self.same_layout(&mut other);
        }
        self.notes.merge(&new, h);
        let (s, l) = (&mut self.sum, &mut self.lost);
        for (sum, lost, inc) in [
            (&mut s.count, &mut l.count, other.count),
            (&mut s.sum, &mut l.sum, other.sum),
            (&mut s.zero_count, &mut l.zero_count, other.zero_count),
        ] {
            add_to(sum, lost, inc);
        }
        let (sum, lost) = merged(&positives(s), &positives(l), &positives(&other));
        set_positive(s, &sum);
        set_positive(l, &lost);
        let (sum, lost) = merged(&negatives(s), &negatives(l), &negatives(&other));
        set_negative(s, &sum);
        set_negative(l, &lost);
        Ok(())
    }

    /// Gives sum, rest and `other` the same zero bucket and schema.
    fn same_layout(&mut self, other: &mut Histogram) {
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        other.zero_count = same_zero_bucket(sum, other);
        if lost.zero_threshold < sum.zero_threshold {
            widen_zero(lost, sum.zero_threshold);
            lost.zero_threshold = sum.zero_threshold;
        }
        let schema = sum.schema.min(other.schema);
        let theirs = Sides::beyond_zero(other, schema, sum.zero_threshold);
        set_positive(other, &theirs.positive);
        set_negative(other, &theirs.negative);
        other.schema = schema;
        for part in [sum, lost] {
            *part = to_schema(part, schema);
        }
    }
}

fn zero_out(h: &mut Histogram) {
    // Zero times infinity is NaN.
    (h.count, h.sum, h.zero_count) = (0.0, 0.0, 0.0);
    set_positive(h, &Vec::new());
    set_negative(h, &Vec::new());
}

fn add_to(sum: &mut f64, lost: &mut f64, inc: f64) {
    let mut k = Kahan {
        sum: *sum,
        lost: *lost,
    };
    k.add(inc);
    (*sum, *lost) = (k.sum, k.lost);
}

fn merged(sum: &Indexed, lost: &Indexed, other: &Indexed) -> (Indexed, Indexed) {
    let mut all: BTreeMap<i32, (f64, f64)> = BTreeMap::new();
    for (i, v) in sum {
        all.entry(*i).or_default().0 = *v;
    }
    for (i, v) in lost {
        all.entry(*i).or_default().1 = *v;
    }
    for (i, v) in other {
        let (sum, lost) = all.entry(*i).or_default();
        add_to(sum, lost, *v);
    }
    let sum = all.iter().map(|(i, v)| (*i, v.0)).collect();
    let lost = all.iter().map(|(i, v)| (*i, v.1)).collect();
    (sum, lost)
}

fn overflows(h: &Histogram) -> bool {
    let mut all = h.positive_buckets.iter().chain(&h.negative_buckets);
    h.count.is_infinite()
        || h.sum.is_infinite()
        || h.zero_count.is_infinite()
        || all.any(|v| v.is_infinite())
}
