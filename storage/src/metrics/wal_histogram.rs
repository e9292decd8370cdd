//! Native histograms as bytes, for the write-ahead log and closed chunks of the head.
//! Bytes: `docs/formats/wal.md`.

use std::sync::Arc;

use model::HPoint;
use model::histogram::Histogram;

use super::histogram_bytes::{
    put_float, put_floats, put_kind, put_spans, read_float, read_floats, read_kind, read_spans,
};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Largest run of histograms after decompression that a reader believes.
const RUN_BYTES_MAX: usize = 64 << 20;

/// Appends one histogram; every float keeps its bits.
pub(crate) fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    put_kind(out, h.counter_reset_hint, h.schema);
    for v in [h.zero_threshold, h.zero_count, h.count, h.sum] {
        put_float(out, v);
    }
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_spans(out, spans);
    }
    for values in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        put_floats(out, values);
    }
}

/// Reads what [`put_histogram`] wrote.
pub(crate) fn read_histogram(r: &mut Reader<'_>) -> Result<Histogram, Malformed> {
    let (counter_reset_hint, schema) = read_kind(r)?;
    let [zero_threshold, zero_count, count, sum] = [
        read_float(r)?,
        read_float(r)?,
        read_float(r)?,
        read_float(r)?,
    ];
    let (positive_spans, negative_spans) = (read_spans(r)?, read_spans(r)?);
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets: read_floats(r)?,
        negative_buckets: read_floats(r)?,
        custom_values: read_floats(r)?,
    })
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
    use model::histogram::{CounterResetHint, Span};
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
