//! Which histograms mean something, and the same in coarser buckets.
//! Source: Prometheus model/histogram, `Histogram.Validate` and `FloatHistogram.Validate`.

use super::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// Why a histogram is not taken: whoever sent it, it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A schema that nobody knows.
    #[error(
        "histogram has an invalid schema, which must be between {SCHEMA_MIN} and {SCHEMA_SENT_MAX} for exponential buckets, or -53 for custom buckets"
    )]
    Schema,
    /// Spans name more or fewer buckets than there are, or some out of range.
    #[error("histogram spans specify a different number of buckets than provided")]
    SpansMismatch,
    /// A span that begins before the end of the one before.
    #[error("histogram has a span whose offset is negative")]
    SpanNegativeOffset,
    /// Fewer observations than none.
    #[error("histogram has a bucket whose observation count is negative")]
    NegativeBucket,
    /// Whole counts that do not add up.
    #[error(
        "histogram's observation count should equal the number of observations found in the buckets"
    )]
    CountMismatch,
    /// Listed bounds out of order.
    #[error("histogram custom bounds must be finite and strictly increasing")]
    CustomBounds,
    /// Listed bounds beside what only exponential buckets have.
    #[error("custom buckets: must have zero bucket of 0 and no negative buckets")]
    CustomZeroOrNegative,
    /// A zero bucket that cannot be.
    #[error("histogram has a zero threshold or zero count that is negative or not a number")]
    Zero,
}

/// Coarsest exponential buckets.
pub const SCHEMA_MIN: i32 = -4;
/// Finest exponential buckets we keep.
pub const SCHEMA_MAX: i32 = 8;
/// Finest ones that a sender may have; the finer ones are added up, as Prometheus does.
const SCHEMA_SENT_MAX: i32 = 52;
/// Empty buckets written out rather than starting another run.
const GAP_MAX: i64 = 2;

/// Whole counts as they travel: that of each bucket as the difference to the one before.
#[derive(Clone, Copy, Debug)]
pub struct WholeCounts<'a> {
    /// Observations in all.
    pub count: u64,
    /// Observations in the zero bucket.
    pub zero: u64,
    /// Of the positive buckets.
    pub positive: &'a [i64],
    /// Of the negative buckets.
    pub negative: &'a [i64],
}

/// `h` with these counts instead of its own, as [`validated`].
///
/// # Errors
/// [`Invalid`]; whole counts must add up.
pub fn with_whole_counts(mut h: Histogram, whole: &WholeCounts<'_>) -> Result<Histogram, Invalid> {
    let (positive, in_positive) = accumulate(whole.positive)?;
    let (negative, in_negative) = accumulate(whole.negative)?;
    h.positive_buckets = positive;
    h.negative_buckets = negative;
    h.count = whole.count as f64;
    h.zero_count = whole.zero as f64;
    let in_buckets = u128::from(whole.zero) + in_positive + in_negative;
    // Observations of NaN are counted and are in no bucket.
    let fits = match h.sum.is_nan() {
        true => in_buckets <= u128::from(whole.count),
        false => in_buckets == u128::from(whole.count),
    };
    match fits {
        true => validated(h),
        false => Err(Invalid::CountMismatch),
    }
}

/// Absolute counts from differences, and their sum.
fn accumulate(deltas: &[i64]) -> Result<(Vec<f64>, u128), Invalid> {
    let mut counts = Vec::with_capacity(deltas.len());
    let (mut count, mut sum) = (0_i64, 0_u128);
    for delta in deltas {
        count = count.checked_add(*delta).ok_or(Invalid::NegativeBucket)?;
        sum += u128::try_from(count).map_err(|_| Invalid::NegativeBucket)?;
        counts.push(count as f64);
    }
    Ok((counts, sum))
}

/// The histogram, if it means something, no finer than [`SCHEMA_MAX`].
///
/// # Errors
/// [`Invalid`].
pub fn validated(h: Histogram) -> Result<Histogram, Invalid> {
    let custom = h.schema == CUSTOM_BUCKETS_SCHEMA;
    if custom {
        let ascending = h.custom_values.windows(2).all(|w| w[0] < w[1]);
        if !ascending || h.custom_values.iter().any(|v| !v.is_finite()) {
            return Err(Invalid::CustomBounds);
        }
        let none_below = h.negative_spans.is_empty() && h.negative_buckets.is_empty();
        if h.zero_count != 0.0 || h.zero_threshold != 0.0 || !none_below {
            return Err(Invalid::CustomZeroOrNegative);
        }
    } else if !(SCHEMA_MIN..=SCHEMA_SENT_MAX).contains(&h.schema) {
        return Err(Invalid::Schema);
    } else if !h.custom_values.is_empty() {
        return Err(Invalid::CustomBounds);
    }
    // A marker of staleness has zeroes here.
    if h.zero_count < 0.0 || h.zero_threshold < 0.0 || h.zero_threshold.is_nan() {
        return Err(Invalid::Zero);
    }
    for (spans, buckets) in [
        (&h.positive_spans, &h.positive_buckets),
        (&h.negative_spans, &h.negative_buckets),
    ] {
        if spans.iter().skip(1).any(|s| s.offset < 0) {
            return Err(Invalid::SpanNegativeOffset);
        }
        let named: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
        if named != buckets.len() as u64 {
            return Err(Invalid::SpansMismatch);
        }
        // Bucket indices stay within an `i32`, so that nobody who adds them up overflows.
        let last = spans.iter().fold(0_i64, |at, s| {
            at.saturating_add(i64::from(s.offset) + i64::from(s.length))
        });
        if i32::try_from(last).is_err() || custom && last > h.custom_values.len() as i64 + 1 {
            return Err(Invalid::SpansMismatch);
        }
        if custom && spans.first().is_some_and(|s| s.offset < 0) {
            return Err(Invalid::SpanNegativeOffset);
        }
        if buckets.iter().any(|c| *c < 0.0) {
            return Err(Invalid::NegativeBucket);
        }
    }
    if h.count < 0.0 {
        return Err(Invalid::NegativeBucket);
    }
    Ok(coarsened(h, SCHEMA_MAX))
}

/// The same observations in exponential buckets of `schema` at the finest; custom buckets stay.
/// `h` means something.
#[must_use]
pub fn coarsened(mut h: Histogram, schema: i32) -> Histogram {
    if h.schema <= schema {
        return h;
    }
    let halvings = h.schema - schema;
    for (spans, buckets) in [
        (&mut h.positive_spans, &mut h.positive_buckets),
        (&mut h.negative_spans, &mut h.negative_buckets),
    ] {
        let coarse = indices(spans)
            .zip(&*buckets)
            .map(|(i, count)| (coarser(i, halvings), *count));
        (*spans, *buckets) = runs(coarse);
    }
    h.schema = schema;
    h
}

/// The index of each bucket.
fn indices(spans: &[Span]) -> impl Iterator<Item = i64> {
    let runs = spans.iter().scan(0_i64, |next, span| {
        let first = *next + i64::from(span.offset);
        *next = first + i64::from(span.length);
        Some(first..*next)
    });
    runs.flatten()
}

/// The bucket that `index` falls into after so many halvings of the number of buckets.
#[must_use]
pub fn coarser(index: i64, halvings: i32) -> i64 {
    // Sixty-three halvings leave nothing but the sign, and so does every further one.
    ((index - 1) >> halvings.min(63)) + 1
}

/// Runs of buckets from indices in ascending order and counts. Those of the same index are
/// added up; empty ones are left out where a new run costs less.
pub fn runs(indexed: impl Iterator<Item = (i64, f64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    // Index behind the last bucket written.
    let mut next = 0_i64;
    for (index, count) in indexed.filter(|(_, count)| *count != 0.0) {
        let gap = index - next;
        match (spans.last_mut(), counts.last_mut()) {
            (Some(_), Some(last)) if gap == -1 => *last += count,
            (Some(run), Some(_)) if gap <= GAP_MAX => {
                counts.extend(std::iter::repeat_n(0.0, gap as usize));
                counts.push(count);
                run.length += gap as u32 + 1;
                next = index + 1;
            }
            _ => {
                // Offsets and lengths of a message fit; what does not is refused afterwards.
                let offset = i32::try_from(gap).unwrap_or(i32::MAX);
                spans.push(Span { offset, length: 1 });
                counts.push(count);
                next = index + 1;
            }
        }
    }
    (spans, counts)
}
