//! The operators `</` and `>/`: cut a histogram at a value, interpolating in the bucket hit.
//! The sum is estimated anew from the middles of what is left of each bucket.

use model::Histogram;

use super::buckets::{Indexed, is_custom, negative, negatives, pack, positive, positives};

/// How values are spread inside a bucket.
#[derive(Clone, Copy, PartialEq)]
enum Spread {
    Linear,
    Exponential,
}

/// What is left of one bucket.
struct Left {
    count: f64,
    middle: f64,
}

/// Keeps observations up to `bound` (`upper`) or from it on.
pub(super) fn trim(h: &mut Histogram, bound: f64, upper: bool) {
    let unchanged = if upper {
        f64::INFINITY
    } else {
        f64::NEG_INFINITY
    };
    if bound == unchanged {
        return;
    }
    let custom = is_custom(h);
    let spread = if custom {
        Spread::Linear
    } else {
        Spread::Exponential
    };
    let (pos, neg) = (positives(h), negatives(h));
    let (mut count, mut sum) = (0.0, 0.0);
    let mut keep = |lower: f64, upper_bound: f64, n: f64, spread: Spread| {
        let left = cut(lower, upper_bound, n, bound, upper, spread);
        if left.count != 0.0 {
            count += left.count;
            sum += left.count * left.middle;
        }
        left.count
    };
    let new_pos: Indexed = pos
        .iter()
        .map(|(i, n)| {
            let b = positive(h, *i, *n);
            (*i, keep(b.lower, b.upper, *n, spread))
        })
        .collect();
    let new_neg: Indexed = neg
        .iter()
        .map(|(i, n)| {
            let b = negative(h, *i, *n);
            (*i, keep(b.lower, b.upper, *n, spread))
        })
        .collect();
    let zero = h.zero_threshold;
    let counts = |buckets: &Indexed| buckets.iter().any(|(_, n)| *n != 0.0);
    let (zero_lower, zero_upper) = match (counts(&neg), counts(&pos)) {
        (false, true) => (0.0, zero),
        (true, false) => (-zero, 0.0),
        _ => (-zero, zero),
    };
    let zero_count = if h.zero_count > 0.0 {
        keep(zero_lower, zero_upper, h.zero_count, Spread::Linear)
    } else {
        h.zero_count
    };
    // Nothing is known to be on the right side of NaN; a share of the zero bucket would be.
    let unknown = bound.is_nan() && h.zero_count > 0.0;
    if zero_count == h.zero_count && new_pos == pos && new_neg == neg {
        return;
    }
    (h.positive_spans, h.positive_buckets) = pack(&new_pos);
    (h.negative_spans, h.negative_buckets) = pack(&new_neg);
    (h.zero_count, h.count, h.sum) = if unknown {
        (f64::NAN, f64::NAN, f64::NAN)
    } else {
        (zero_count, count, sum)
    };
}

fn cut(lower: f64, upper: f64, count: f64, bound: f64, keep_below: bool, spread: Spread) -> Left {
    let none = Left {
        count: 0.0,
        middle: 0.0,
    };
    let whole = |middle: f64| Left { count, middle };
    if count == 0.0 || bound.is_nan() {
        return none;
    }
    if upper == f64::INFINITY {
        // Nothing is known about how far the values reach.
        if keep_below || bound == f64::INFINITY || lower == f64::NEG_INFINITY {
            return none;
        }
        return whole(lower.max(bound));
    }
    let mut lower = lower;
    if lower == f64::NEG_INFINITY {
        if upper <= 0.0 {
            return if keep_below && bound > f64::NEG_INFINITY {
                whole(upper.min(bound))
            } else {
                none
            };
        }
        // Values may be below a negative bound, nobody knows how many.
        if !keep_below && bound < 0.0 {
            return none;
        }
        lower = 0.0;
    }
    // A bucket of one point is kept by a bound at that point.
    if !keep_below && bound <= lower {
        return whole(middle(lower, upper, spread));
    }
    let outside = if keep_below {
        bound <= lower
    } else {
        bound >= upper
    };
    if outside {
        return none;
    }
    let (from, to) = if keep_below {
        (lower, upper.min(bound))
    } else {
        (lower.max(bound), upper)
    };
    if from == lower && to == upper {
        return whole(middle(lower, upper, spread));
    }
    let place = |v: f64| match spread {
        Spread::Linear => v,
        Spread::Exponential => v.abs().log2(),
    };
    let share = ((place(to) - place(from)) / (place(upper) - place(lower))).abs();
    Left {
        count: count * share,
        middle: middle(from, to, spread),
    }
}

fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    match spread {
        Spread::Linear => (lower + upper) / 2.0,
        Spread::Exponential if upper < 0.0 => -(lower * upper).sqrt(),
        Spread::Exponential => (lower * upper).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    use super::*;

    fn custom(bounds: &[f64], buckets: &[f64]) -> Histogram {
        let count = buckets.iter().sum();
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: 7.0,
            custom_values: bounds.to_vec(),
            positive_spans: vec![Span {
                offset: 0,
                length: buckets.len() as u32,
            }],
            positive_buckets: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    fn trimmed(mut h: Histogram, bound: f64, upper: bool) -> (f64, f64) {
        trim(&mut h, bound, upper);
        (h.count, h.sum)
    }

    #[test]
    fn a_bucket_without_a_lower_bound_goes_when_cut_below_zero() {
        let h = || custom(&[4.0, 8.0], &[2.0, 1.0]);
        assert_eq!(trimmed(h(), -1.0, false), (1.0, 6.0));
        assert_eq!(trimmed(h(), 2.0, false), (2.0, 9.0));
        assert_eq!(trimmed(h(), 2.0, true), (1.0, 1.0));
        assert_eq!(trimmed(h(), -1.0, true), (0.0, 0.0));
    }

    #[test]
    fn one_bucket_for_everything_is_never_cut_in_two() {
        let h = || custom(&[], &[3.0]);
        assert_eq!(trimmed(h(), 1.0, false), (0.0, 0.0));
        assert_eq!(trimmed(h(), 1.0, true), (0.0, 0.0));
        assert_eq!(trimmed(h(), f64::NEG_INFINITY, false), (3.0, 7.0));
    }

    #[test]
    fn nothing_is_known_to_be_beside_nan() {
        let h = || custom(&[4.0, 8.0], &[2.0, 1.0]);
        assert_eq!(trimmed(h(), f64::NAN, false), (0.0, 0.0));
        assert_eq!(trimmed(h(), f64::NAN, true), (0.0, 0.0));
        let zero = Histogram {
            count: 2.0,
            zero_count: 2.0,
            ..Histogram::default()
        };
        assert!(trimmed(zero, f64::NAN, true).0.is_nan());
    }

    #[test]
    fn a_zero_bucket_without_width_is_kept_from_zero_on() {
        let h = || Histogram {
            count: 2.0,
            zero_count: 2.0,
            ..Histogram::default()
        };
        assert_eq!(trimmed(h(), 0.0, false), (2.0, 0.0));
        assert_eq!(trimmed(h(), 0.0, true), (0.0, 0.0));
        assert_eq!(trimmed(h(), 1.0, true), (2.0, 0.0));
    }
}
