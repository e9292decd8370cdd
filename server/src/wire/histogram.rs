//! Native histograms as remote write and remote read send them.
//! Source: prometheus/prompb/types.proto (`Histogram`); what is valid: model/histogram,
//! `Histogram.Validate` and `FloatHistogram.Validate`.

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{CounterResetHint, Histogram, Span};

use super::protobuf::{
    Fields, Malformed, NUMBERS_MAX, Value, push_bounded, unzigzag, write, zigzag,
};

/// Why a histogram is not taken. It is well-formed protobuf, but means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error(
        "histogram has an invalid schema, which must be between -4 and {SCHEMA_SENT_MAX} for exponential buckets, or -53 for custom buckets"
    )]
    Schema,
    #[error("histogram spans specify a different number of buckets than provided")]
    SpansMismatch,
    #[error("histogram has a span whose offset is negative")]
    SpanNegativeOffset,
    #[error("histogram has a bucket whose observation count is negative")]
    NegativeBucket,
    #[error(
        "histogram's observation count should equal the number of observations found in the buckets"
    )]
    CountMismatch,
    #[error("histogram custom bounds must be finite and strictly increasing")]
    CustomBounds,
    #[error("custom buckets: must have zero bucket of 0 and no negative buckets")]
    CustomZeroOrNegative,
    #[error("histogram has a zero threshold or zero count that is negative or not a number")]
    Zero,
}

/// Finest exponential buckets we keep.
const SCHEMA_MAX: i32 = 8;
/// Finest ones that a sender may have; the finer ones are added up, as Prometheus does.
const SCHEMA_SENT_MAX: i32 = 52;
/// Empty buckets written out rather than starting another run.
const GAP_MAX: i64 = 2;

/// A histogram and its time in milliseconds.
pub(crate) type Decoded = (i64, Result<Histogram, Invalid>);

/// The field numbers are the same in remote write 1.0 and 2.0.
pub(crate) fn decode(message: &[u8]) -> Result<Decoded, Malformed> {
    let mut h = Histogram::default();
    let mut at = 0;
    // Whole counts come as differences; a histogram has them or absolute floats.
    let mut whole = false;
    let (mut positive_deltas, mut negative_deltas) = (Vec::new(), Vec::new());
    let mut whole_count = 0_u64;
    let mut whole_zero = 0_u64;
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                whole = true;
                whole_count = value.varint()?;
                h.count = whole_count as f64;
            }
            2 => {
                whole = false;
                h.count = value.double()?;
            }
            3 => h.sum = value.double()?,
            4 => h.schema = value.sint32()?,
            5 => h.zero_threshold = value.double()?,
            6 => {
                whole_zero = value.varint()?;
                h.zero_count = whole_zero as f64;
            }
            7 => h.zero_count = value.double()?,
            8 => push_bounded(&mut h.negative_spans, span(value)?, NUMBERS_MAX)?,
            9 => value.varints_into(&mut negative_deltas, unzigzag)?,
            10 => value.fixed64s_into(&mut h.negative_buckets, f64::from_bits)?,
            11 => push_bounded(&mut h.positive_spans, span(value)?, NUMBERS_MAX)?,
            12 => value.varints_into(&mut positive_deltas, unzigzag)?,
            13 => value.fixed64s_into(&mut h.positive_buckets, f64::from_bits)?,
            14 => {
                h.counter_reset_hint = match value.varint()? {
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                }
            }
            15 => at = value.int64()?,
            16 => value.fixed64s_into(&mut h.custom_values, f64::from_bits)?,
            _ => {}
        }
    }
    if !whole {
        return Ok((at, validated(h)));
    }
    let absolute = || {
        let (positive, in_positive) = accumulate(&positive_deltas)?;
        let (negative, in_negative) = accumulate(&negative_deltas)?;
        h.positive_buckets = positive;
        h.negative_buckets = negative;
        let in_buckets = u128::from(whole_zero) + in_positive + in_negative;
        // Observations of NaN are counted and are in no bucket.
        let fits = match h.sum.is_nan() {
            true => in_buckets <= u128::from(whole_count),
            false => in_buckets == u128::from(whole_count),
        };
        match fits {
            true => validated(h),
            false => Err(Invalid::CountMismatch),
        }
    };
    Ok((at, absolute()))
}

fn span(value: Value<'_>) -> Result<Span, Malformed> {
    let mut span = Span {
        offset: 0,
        length: 0,
    };
    let mut fields = Fields::of(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = value.sint32()?,
            2 => span.length = value.varint()? as u32,
            _ => {}
        }
    }
    Ok(span)
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

/// The histogram, if it means something, no finer than we keep.
pub(crate) fn validated(mut h: Histogram) -> Result<Histogram, Invalid> {
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
    } else if !(-4..=SCHEMA_SENT_MAX).contains(&h.schema) {
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
    if h.schema > SCHEMA_MAX {
        let halvings = h.schema - SCHEMA_MAX;
        for (spans, buckets) in [
            (&mut h.positive_spans, &mut h.positive_buckets),
            (&mut h.negative_spans, &mut h.negative_buckets),
        ] {
            let coarse = indices(spans)
                .zip(&*buckets)
                .map(|(i, count)| (coarser(i, halvings), *count));
            (*spans, *buckets) = runs(coarse);
        }
        h.schema = SCHEMA_MAX;
    }
    Ok(h)
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
pub(crate) fn coarser(index: i64, halvings: i32) -> i64 {
    // Sixty-three halvings leave nothing but the sign, and so does every further one.
    ((index - 1) >> halvings.min(63)) + 1
}

/// Runs of buckets from indices in ascending order and counts. Those of the same index are
/// added up; empty ones are left out where a new run costs less.
pub(crate) fn runs(indexed: impl Iterator<Item = (i64, f64)>) -> (Vec<Span>, Vec<f64>) {
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

/// Appends the message's fields; counts are sent as floats, which every reader takes.
pub(crate) fn encode(out: &mut Vec<u8>, at: i64, h: &Histogram) {
    write::double(out, 2, h.count);
    write::double(out, 3, h.sum);
    write::varint(out, 4, zigzag(i64::from(h.schema)));
    write::double(out, 5, h.zero_threshold);
    write::double(out, 7, h.zero_count);
    for (number, spans) in [(8, &h.negative_spans), (11, &h.positive_spans)] {
        for s in spans {
            write::message(out, number, |out| {
                write::varint(out, 1, zigzag(i64::from(s.offset)));
                write::varint(out, 2, u64::from(s.length));
            });
        }
    }
    write::doubles(out, 10, &h.negative_buckets);
    write::doubles(out, 13, &h.positive_buckets);
    let hint = match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    write::varint(out, 14, hint);
    write::varint(out, 15, at as u64);
    write::doubles(out, 16, &h.custom_values);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(message: &mut Vec<u8>, number: u32, offset: i64, length: u64) {
        write::message(message, number, |out| {
            write::varint(out, 1, zigzag(offset));
            write::varint(out, 2, length);
        });
    }

    fn whole(count: u64, deltas: &[i64]) -> Vec<u8> {
        let mut m = Vec::new();
        write::varint(&mut m, 1, count);
        write::double(&mut m, 3, 18.4);
        write::varint(&mut m, 4, zigzag(1));
        write::double(&mut m, 5, 0.001);
        write::varint(&mut m, 6, 2);
        spans(&mut m, 11, -3, deltas.len() as u64);
        write::message(&mut m, 12, |out| {
            for d in deltas {
                write::raw_varint(out, zigzag(*d));
            }
        });
        write::varint(&mut m, 15, 1234);
        m
    }

    #[test]
    fn whole_counts_become_absolute_floats() {
        let (at, h) = decode(&whole(8, &[1, 1, -1, 1])).unwrap();
        let h = h.unwrap();
        assert_eq!(at, 1234);
        assert_eq!(h.positive_buckets, [1.0, 2.0, 1.0, 2.0]);
        assert_eq!((h.count, h.zero_count, h.schema), (8.0, 2.0, 1));
        let mut again = Vec::new();
        encode(&mut again, at, &h);
        assert_eq!(decode(&again), Ok((at, Ok(h))));
    }

    #[test]
    fn finer_buckets_than_we_keep_are_added_up() {
        // Buckets -3 to 0 with 1, 2, 1 and 2.
        let with_schema = |schema: i64| {
            let mut m = whole(8, &[1, 1, -1, 1]);
            write::varint(&mut m, 4, zigzag(schema));
            let h = decode(&m).unwrap().1.unwrap();
            let spans: Vec<_> = h
                .positive_spans
                .iter()
                .map(|s| (s.offset, s.length))
                .collect();
            (h.schema, h.count, spans, h.positive_buckets)
        };
        assert_eq!(with_schema(9), (8, 8.0, vec![(-1, 2)], vec![3.0, 3.0]));
        assert_eq!(with_schema(10), (8, 8.0, vec![(0, 1)], vec![6.0]));
        assert_eq!(with_schema(52), (8, 8.0, vec![(0, 1)], vec![6.0]));
    }

    #[test]
    fn absurd_spans_are_refused_and_cost_nothing() {
        let with_spans = |spans_: &[(i64, u64)], buckets: &[f64]| {
            let mut m = Vec::new();
            write::double(&mut m, 2, 1.0);
            for (offset, length) in spans_ {
                spans(&mut m, 11, *offset, *length);
            }
            write::doubles(&mut m, 13, buckets);
            decode(&m).unwrap().1.map(drop)
        };
        let (max, min) = (i64::from(i32::MAX), i64::from(i32::MIN));
        for (spans, buckets) in [
            (&[(0, u64::from(u32::MAX))][..], &[][..]),
            (&[(0, u64::from(u32::MAX)), (0, u64::from(u32::MAX))], &[]),
            (&[(max, 1)], &[1.0]),
            (&[(max, 0), (max, 1)], &[1.0]),
            (&[(max - 1, 1), (max, 1)], &[1.0, 1.0]),
        ] {
            assert_eq!(with_spans(spans, buckets), Err(Invalid::SpansMismatch));
        }
        assert_eq!(with_spans(&[(min, 1)], &[1.0]), Ok(()));
        assert_eq!(with_spans(&[(0, 1)], &[f64::NAN]), Ok(()));
    }

    #[test]
    fn histograms_that_mean_nothing_are_named() {
        let refused = |m: &[u8]| decode(m).unwrap().1.unwrap_err();
        assert_eq!(refused(&whole(9, &[1, 1, -1, 1])), Invalid::CountMismatch);
        assert_eq!(refused(&whole(3, &[1, -2])), Invalid::NegativeBucket);
        assert_eq!(refused(&whole(3, &[i64::MAX, 1])), Invalid::NegativeBucket);
        let mut more = whole(8, &[1, 1, -1, 1]);
        spans(&mut more, 11, 1, 1);
        assert_eq!(refused(&more), Invalid::SpansMismatch);
        let mut negative = Vec::new();
        write::double(&mut negative, 2, 1.0);
        spans(&mut negative, 11, 0, 0);
        spans(&mut negative, 11, -1, 1);
        write::doubles(&mut negative, 13, &[1.0]);
        assert_eq!(refused(&negative), Invalid::SpanNegativeOffset);
        for schema in [-5, 53, -54, i64::from(i32::MIN)] {
            let mut bad = whole(8, &[1, 1, -1, 1]);
            write::varint(&mut bad, 4, zigzag(schema));
            assert_eq!(refused(&bad), Invalid::Schema, "{schema}");
        }
        let mut custom = Vec::new();
        write::double(&mut custom, 2, 1.0);
        write::varint(&mut custom, 4, zigzag(-53));
        spans(&mut custom, 11, 0, 1);
        write::doubles(&mut custom, 13, &[1.0]);
        assert!(decode(&custom).unwrap().1.is_ok());
        write::doubles(&mut custom, 16, &[2.0, 1.0]);
        assert_eq!(refused(&custom), Invalid::CustomBounds);
    }
}
