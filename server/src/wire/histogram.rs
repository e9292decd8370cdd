//! Native histograms as remote write and remote read send them.
//! Source: prometheus/prompb/types.proto (`Histogram`).

use model::histogram::{Invalid, WholeCounts, validated, with_whole_counts};
use model::{CounterResetHint, Histogram, Span};

use super::protobuf::{
    Fields, Malformed, NUMBERS_MAX, Value, bucket_span, push_bounded, unzigzag, write, zigzag,
};

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
    let decoded = match whole {
        false => validated(h),
        true => with_whole_counts(
            h,
            &WholeCounts {
                count: whole_count,
                zero: whole_zero,
                positive: &positive_deltas,
                negative: &negative_deltas,
            },
        ),
    };
    Ok((at, decoded))
}

fn span(value: Value<'_>) -> Result<Span, Malformed> {
    let (offset, length) = bucket_span(value)?;
    Ok(Span { offset, length })
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
