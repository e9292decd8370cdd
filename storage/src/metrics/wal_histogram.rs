//! Native histograms as bytes, for the write-ahead log and closed chunks of the head.
//! Bytes: `docs/formats/wal.md`.

use std::sync::Arc;

use model::HPoint;
use model::histogram::{CounterResetHint, Histogram, Span};

use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Largest run of histograms after decompression that a reader believes.
const RUN_BYTES_MAX: usize = 64 << 20;

/// Appends one histogram; every float keeps its bits.
pub(crate) fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    out.push(match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_signed(out, h.schema.into());
    for v in [h.zero_threshold, h.zero_count, h.count, h.sum] {
        out.extend_from_slice(&v.to_bits().to_le_bytes());
    }
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_signed(out, span.offset.into());
            put_varint(out, span.length.into());
        }
    }
    for values in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        put_varint(out, values.len() as u64);
        for v in values {
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
    }
}

/// Reads what [`put_histogram`] wrote.
pub(crate) fn read_histogram(r: &mut Reader<'_>) -> Result<Histogram, Malformed> {
    let counter_reset_hint = match r.u8()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return Err(Malformed),
    };
    let schema = i32::try_from(r.signed()?).map_err(|_| Malformed)?;
    let [zero_threshold, zero_count, count, sum] = [float(r)?, float(r)?, float(r)?, float(r)?];
    let (positive_spans, negative_spans) = (spans(r)?, spans(r)?);
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets: floats(r)?,
        negative_buckets: floats(r)?,
        custom_values: floats(r)?,
    })
}

fn float(r: &mut Reader<'_>) -> Result<f64, Malformed> {
    Ok(f64::from_bits(r.u64()?))
}

fn floats(r: &mut Reader<'_>) -> Result<Vec<f64>, Malformed> {
    let count = r.count(8)?;
    (0..count).map(|_| float(r)).collect()
}

fn spans(r: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = r.count(2)?;
    let span = |r: &mut Reader<'_>| {
        Ok(Span {
            offset: i32::try_from(r.signed()?).map_err(|_| Malformed)?,
            length: u32::try_from(r.varint()?).map_err(|_| Malformed)?,
        })
    };
    (0..count).map(|_| span(r)).collect()
}

/// A run of histograms: varint bytes before compression, then zstd of instants and
/// histograms one after the other. Neighbours are much alike.
pub(crate) fn pack(points: &[HPoint]) -> Arc<[u8]> {
    let mut raw = Vec::new();
    for p in points {
        put_signed(&mut raw, p.t);
        put_histogram(&mut raw, &p.h);
    }
    let mut out = Vec::new();
    put_varint(&mut out, raw.len() as u64);
    // Compressing into memory fails only when there is none left.
    out.extend_from_slice(&zstd::bulk::compress(&raw, 1).unwrap_or_default());
    Arc::from(out)
}

/// Appends what [`pack`] was given.
pub(crate) fn unpack(bytes: &[u8], into: &mut Vec<HPoint>) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    let raw_bytes = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
    if raw_bytes > RUN_BYTES_MAX {
        return Err(Malformed);
    }
    let packed = r.take(r.remaining())?;
    let raw = zstd::bulk::decompress(packed, raw_bytes).map_err(|_| Malformed)?;
    let mut r = Reader::new(&raw);
    while !r.is_empty() {
        let t = r.signed()?;
        let h = Arc::new(read_histogram(&mut r)?);
        into.push(HPoint { t, h });
    }
    Ok(())
}

/// Bytes of a histogram in memory.
pub(crate) fn heap_bytes(h: &Histogram) -> usize {
    let floats = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    size_of::<Histogram>() + 16 + 8 * (floats + spans) + size_of::<HPoint>()
}

/// Whether two histograms have the same bits: NaN differs from itself, and -0 is not 0.
pub(crate) fn same_bits(a: &Histogram, b: &Histogram) -> bool {
    let bytes = |h| {
        let mut out = Vec::new();
        put_histogram(&mut out, h);
        out
    };
    bytes(a) == bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floats() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..9)
    }

    fn histograms() -> impl Strategy<Value = Histogram> {
        let spans = || {
            let span = (any::<i32>(), any::<u32>());
            let span = span.prop_map(|(offset, length)| Span { offset, length });
            prop::collection::vec(span, 0..4)
        };
        let scalars = (0..4_u8, any::<i32>(), any::<[u64; 4]>());
        (scalars, spans(), spans(), floats(), floats(), floats()).prop_map(
            |((hint, schema, bits), p, n, positive, negative, custom)| Histogram {
                counter_reset_hint: match hint {
                    0 => CounterResetHint::Unknown,
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    _ => CounterResetHint::Gauge,
                },
                schema,
                zero_threshold: f64::from_bits(bits[0]),
                zero_count: f64::from_bits(bits[1]),
                count: f64::from_bits(bits[2]),
                sum: f64::from_bits(bits[3]),
                positive_spans: p,
                negative_spans: n,
                positive_buckets: positive,
                negative_buckets: negative,
                custom_values: custom,
            },
        )
    }

    proptest! {
        #[test]
        fn histograms_come_back_bit_by_bit(
            run in prop::collection::vec((any::<i64>(), histograms()), 1..5),
        ) {
            let points: Vec<HPoint> =
                run.into_iter().map(|(t, h)| HPoint { t, h: Arc::new(h) }).collect();
            let mut back = Vec::new();
            unpack(&pack(&points), &mut back).unwrap();
            prop_assert_eq!(back.len(), points.len());
            for (a, b) in points.iter().zip(&back) {
                prop_assert!(a.t == b.t && same_bits(&a.h, &b.h));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = read_histogram(&mut Reader::new(&bytes));
            let _ = unpack(&bytes, &mut Vec::new());
        }
    }
}
