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
    if bound == unchanged || bound.is_nan() {
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
    let new_neg: Indexed = neg
        .iter()
        .map(|(i, n)| {
            let b = negative(h, *i, *n);
            (*i, keep(b.lower, b.upper, *n, spread))
        })
        .collect();
    let zero = h.zero_threshold;
    let (zero_lower, zero_upper) = match (neg.is_empty(), pos.is_empty()) {
        (true, false) => (0.0, zero),
        (false, true) => (-zero, 0.0),
        _ => (-zero, zero),
    };
    let zero_count = keep(zero_lower, zero_upper, h.zero_count, Spread::Linear);
    let new_pos: Indexed = pos
        .iter()
        .map(|(i, n)| {
            let b = positive(h, *i, *n);
            (*i, keep(b.lower, b.upper, *n, spread))
        })
        .collect();
    if zero_count == h.zero_count && new_pos == pos && new_neg == neg {
        return;
    }
    (h.positive_spans, h.positive_buckets) = pack(&new_pos);
    (h.negative_spans, h.negative_buckets) = pack(&new_neg);
    (h.zero_count, h.count, h.sum) = (zero_count, count, sum);
}

fn cut(lower: f64, upper: f64, count: f64, bound: f64, keep_below: bool, spread: Spread) -> Left {
    let none = Left {
        count: 0.0,
        middle: 0.0,
    };
    let whole = |middle: f64| Left { count, middle };
    if count == 0.0 {
        return none;
    }
    if upper == f64::INFINITY {
        // Nothing is known about how far the values reach.
        if keep_below || bound == f64::INFINITY {
            return none;
        }
        return whole(if lower == f64::NEG_INFINITY {
            bound
        } else {
            lower.max(bound)
        });
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
        lower = 0.0;
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
