//! Native histograms of one chunk. Bytes: `docs/formats/block.md`.
//!
//! Histograms of one series rarely change their buckets: schema, spans and bounds are stored
//! once per run of histograms that share them, and within a run every count is a column like
//! those of floats, so that a counter's whole numbers become small differences.

use std::sync::Arc;

use model::{HPoint, Histogram, Span};

use super::column::{COLUMN_SAMPLES, decode_column, encode_values};
use super::histogram_bytes::{
    put_float, put_floats, put_kind, put_spans, read_float, read_floats, read_kind, read_spans,
};
use crate::bytes::{Malformed, Reader, put_bytes, put_varint};

/// Values of a run decoded at once at most; bounds what damaged bytes can make a reader reserve.
const RUN_VALUES_MAX: usize = 4 << 20;

/// Encodes at least one histogram and at most [`COLUMN_SAMPLES`]; their times are elsewhere.
pub(crate) fn encode_histograms(points: &[HPoint]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = points;
    while let Some(first) = rest.first() {
        let buckets = columns_of(&first.h);
        let most = (RUN_VALUES_MAX / weight_of(&first.h)).max(1);
        let same = rest
            .iter()
            .take(most)
            .take_while(|p| shares(&first.h, &p.h));
        let (run, after) = rest.split_at(same.count().max(1));
        rest = after;
        put_varint(&mut out, run.len() as u64);
        put_layout(&mut out, &first.h);
        let mut values = Vec::with_capacity(run.len());
        for column in 0..buckets {
            values.clear();
            values.extend(run.iter().map(|p| value(&p.h, column)));
            let mut bytes = Vec::new();
            encode_values(&values, &mut bytes);
            put_bytes(&mut out, &bytes);
        }
    }
    out
}

/// Appends one histogram for each of `times`.
pub(crate) fn decode_histograms(
    bytes: &[u8],
    times: &[i64],
    into: &mut Vec<HPoint>,
) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    let mut times = times;
    while !times.is_empty() {
        let count = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
        if count == 0 || count > COLUMN_SAMPLES {
            return Err(Malformed);
        }
        let (now, later) = times.split_at_checked(count).ok_or(Malformed)?;
        times = later;
        let layout = read_layout(&mut r)?;
        let columns = columns_of(&layout);
        // Every column takes at least two bytes, so this bounds what is reserved.
        let weight = weight_of(&layout);
        if columns > r.remaining() / 2 || (count > 1 && weight * count > RUN_VALUES_MAX) {
            return Err(Malformed);
        }
        let mut run = vec![layout; count];
        let mut values: Vec<f64> = Vec::with_capacity(count);
        for column in 0..columns {
            values.clear();
            let mut bytes = Reader::new(r.bytes()?);
            decode_column(&mut bytes, count, |_, v| v, &mut values)?;
            for (h, v) in run.iter_mut().zip(&values) {
                if let Some(slot) = value_mut(h, column) {
                    *slot = *v;
                }
            }
        }
        into.extend(now.iter().zip(run).map(|(t, h)| HPoint {
            t: *t,
            h: Arc::new(h),
        }));
    }
    if r.is_empty() { Ok(()) } else { Err(Malformed) }
}

/// Whether the two differ in counts only.
fn shares(a: &Histogram, b: &Histogram) -> bool {
    let same_bits = |a: &[f64], b: &[f64]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    a.counter_reset_hint == b.counter_reset_hint
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_buckets.len() == b.positive_buckets.len()
        && a.negative_buckets.len() == b.negative_buckets.len()
        && same_bits(&a.custom_values, &b.custom_values)
}

/// Count, zero count, sum, and one column for each bucket.
fn columns_of(h: &Histogram) -> usize {
    3 + h.positive_buckets.len() + h.negative_buckets.len()
}

/// Memory of one histogram, in values.
fn weight_of(h: &Histogram) -> usize {
    columns_of(h) + h.positive_spans.len() + h.negative_spans.len() + h.custom_values.len()
}

fn value(h: &Histogram, column: usize) -> f64 {
    let positive = h.positive_buckets.len();
    match column {
        0 => h.count,
        1 => h.zero_count,
        2 => h.sum,
        c if c - 3 < positive => h.positive_buckets[c - 3],
        c => h.negative_buckets[c - 3 - positive],
    }
}

fn value_mut(h: &mut Histogram, column: usize) -> Option<&mut f64> {
    let positive = h.positive_buckets.len();
    match column {
        0 => Some(&mut h.count),
        1 => Some(&mut h.zero_count),
        2 => Some(&mut h.sum),
        c if c - 3 < positive => h.positive_buckets.get_mut(c - 3),
        c => h.negative_buckets.get_mut(c - 3 - positive),
    }
}

fn put_layout(out: &mut Vec<u8>, h: &Histogram) {
    put_kind(out, h.counter_reset_hint, h.schema);
    put_float(out, h.zero_threshold);
    for (spans, buckets) in [
        (&h.positive_spans, &h.positive_buckets),
        (&h.negative_spans, &h.negative_buckets),
    ] {
        put_spans(out, spans);
        put_varint(out, buckets.len() as u64);
    }
    put_floats(out, &h.custom_values);
}

fn read_layout(r: &mut Reader<'_>) -> Result<Histogram, Malformed> {
    let (counter_reset_hint, schema) = read_kind(r)?;
    let zero_threshold = read_float(r)?;
    let (positive_spans, positive_buckets) = read_side(r)?;
    let (negative_spans, negative_buckets) = read_side(r)?;
    let custom_values = read_floats(r)?;
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
        ..Histogram::default()
    })
}

fn read_side(r: &mut Reader<'_>) -> Result<(Vec<Span>, Vec<f64>), Malformed> {
    let spans = read_spans(r)?;
    // Each bucket's column follows with two bytes at least.
    let buckets = r.count(2)?;
    Ok((spans, vec![0.0; buckets]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::CounterResetHint;
    use proptest::prelude::*;

    fn bits(h: &Histogram) -> String {
        let all = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let numbers = [h.zero_threshold, h.zero_count, h.count, h.sum];
        let lists = [&h.positive_buckets, &h.negative_buckets, &h.custom_values];
        format!(
            "{:?} {} {:?} {:?} {:?} {:?}",
            h.counter_reset_hint,
            h.schema,
            all(&numbers),
            h.positive_spans,
            h.negative_spans,
            lists.map(|l| all(l))
        )
    }

    fn round_trip(points: &[HPoint]) -> usize {
        let bytes = encode_histograms(points);
        let times: Vec<i64> = points.iter().map(|p| p.t).collect();
        let mut back = Vec::new();
        decode_histograms(&bytes, &times, &mut back).unwrap();
        assert_eq!(back.len(), points.len());
        for (a, b) in back.iter().zip(points) {
            assert_eq!((a.t, bits(&a.h)), (b.t, bits(&b.h)));
        }
        bytes.len()
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let span =
            (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length });
        prop::collection::vec(span, 0..3)
    }

    fn values(max: usize) -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            3 => any::<u16>().prop_map(f64::from),
            1 => any::<u64>().prop_map(f64::from_bits),
        ];
        prop::collection::vec(value, 0..max)
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let hint = prop_oneof![
            Just(CounterResetHint::Unknown),
            Just(CounterResetHint::Reset),
            Just(CounterResetHint::NotReset),
            Just(CounterResetHint::Gauge)
        ];
        let numbers = prop::array::uniform4(any::<u64>().prop_map(f64::from_bits));
        let lists = (spans(), spans(), values(5), values(5), values(4));
        (hint, -53..9_i32, numbers, lists).prop_map(|(hint, schema, n, lists)| Histogram {
            counter_reset_hint: hint,
            schema,
            zero_threshold: n[0],
            zero_count: n[1],
            count: n[2],
            sum: n[3],
            positive_spans: lists.0,
            negative_spans: lists.1,
            positive_buckets: lists.2,
            negative_buckets: lists.3,
            custom_values: lists.4,
        })
    }

    #[test]
    fn a_growing_histogram_takes_bits_per_bucket() {
        let at = |i: i64| HPoint {
            t: i * 15_000,
            h: Arc::new(Histogram {
                schema: 3,
                count: (i * 40) as f64,
                sum: i as f64 * 1.25,
                positive_spans: vec![Span {
                    offset: -3,
                    length: 20,
                }],
                positive_buckets: (0..20).map(|b| (i * 2 + i * b % 3) as f64).collect(),
                ..Histogram::default()
            }),
        };
        let points: Vec<HPoint> = (0..480).map(at).collect();
        assert!(round_trip(&points) < 480 * 10);
    }

    proptest! {
        #[test]
        fn histograms_come_back_bit_by_bit(
            kinds in prop::collection::vec((histogram(), 1_usize..5), 1..6),
        ) {
            let mut points = Vec::new();
            for (h, times) in kinds {
                for i in 0..times {
                    let mut h = h.clone();
                    h.count += i as f64;
                    points.push(HPoint { t: points.len() as i64, h: Arc::new(h) });
                }
            }
            round_trip(&points);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
            h in histogram(),
            count in 0_usize..30,
        ) {
            let times = vec![0; count];
            let _ = decode_histograms(&bytes, &times, &mut Vec::new());
            let point = HPoint { t: 0, h: Arc::new(h) };
            let mut good = encode_histograms(&vec![point; count.max(1)]);
            for (at, bits) in flips {
                let at = at % good.len();
                good[at] ^= bits;
            }
            let _ = decode_histograms(&good, &times, &mut Vec::new());
        }
    }
}
