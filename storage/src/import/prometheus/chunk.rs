//! Decodes one chunk of floats or native histograms. Source of the layout: Prometheus' format
//! description tsdb/docs/format/chunks.md; of what it leaves open (reset hints, staleness inside
//! histogram chunks), the behaviour of Prometheus' reader.

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{CounterResetHint, FPoint, HPoint, Histogram, Samples, Span, is_stale};

use super::bits::{Bits, XorFloat};
use crate::bytes::Malformed;

/// Chunk encodings.
const XOR: u8 = 1;
const HISTOGRAM: u8 = 2;
const FLOAT_HISTOGRAM: u8 = 3;
/// Spans and custom bounds a reader believes; Prometheus refuses more than some hundred buckets.
const PARTS_MAX: u64 = 65_536;
/// Buckets of one side a reader believes.
const BUCKETS_MAX: u64 = 65_536;

/// Appends the samples of a chunk to `into`.
pub(super) fn decode(encoding: u8, data: &[u8], into: &mut Samples) -> Result<(), Malformed> {
    let (count, rest) = data.split_first_chunk::<2>().ok_or(Malformed)?;
    let count = u16::from_be_bytes(*count);
    match encoding {
        XOR => floats(count, rest, &mut into.floats),
        HISTOGRAM => histograms::<Whole>(count, rest, &mut into.histograms),
        FLOAT_HISTOGRAM => histograms::<Fraction>(count, rest, &mut into.histograms),
        _ => Err(Malformed),
    }
}

/// Whether there is a decoder.
pub(super) fn is_known(encoding: u8) -> bool {
    matches!(encoding, XOR | HISTOGRAM | FLOAT_HISTOGRAM)
}

fn floats(count: u16, data: &[u8], into: &mut Vec<FPoint>) -> Result<(), Malformed> {
    let mut bits = Bits::new(data);
    let (mut t, mut delta) = (0_i64, 0_i64);
    let mut value = XorFloat::default();
    for i in 0..count {
        match i {
            0 => {
                t = bits.varint()?;
                value = XorFloat::from(bits.float()?);
            }
            1 => {
                delta = bits.uvarint()? as i64;
                t = t.wrapping_add(delta);
                value.next(&mut bits)?;
            }
            _ => {
                delta = delta.wrapping_add(bits.time_delta()?);
                t = t.wrapping_add(delta);
                value.next(&mut bits)?;
            }
        }
        into.push(FPoint {
            t,
            v: value.value(),
        });
    }
    Ok(())
}

/// How counts are stored: as integers with deltas, or as floats.
trait Count: Copy + Default {
    /// Reads count `nth` of the chunk: 0 is stored whole.
    fn next(&mut self, nth: u16, bits: &mut Bits<'_>, is_bucket: bool) -> Result<(), Malformed>;
    /// Absolute counts of buckets.
    fn absolute(buckets: &[Self]) -> Vec<f64>;
    fn value(self) -> f64;
}

/// Integers; buckets are differences from the bucket before.
#[derive(Clone, Copy, Default)]
struct Whole {
    value: i64,
    delta: i64,
}

impl Count for Whole {
    fn next(&mut self, nth: u16, bits: &mut Bits<'_>, is_bucket: bool) -> Result<(), Malformed> {
        match nth {
            0 if is_bucket => self.value = bits.integer()?,
            0 => self.value = bits.unsigned()? as i64,
            1 => {
                self.delta = bits.integer()?;
                self.value = self.value.wrapping_add(self.delta);
            }
            _ => {
                self.delta = self.delta.wrapping_add(bits.integer()?);
                self.value = self.value.wrapping_add(self.delta);
            }
        }
        Ok(())
    }

    fn absolute(buckets: &[Self]) -> Vec<f64> {
        let mut sum = 0_i64;
        let sums = buckets.iter().map(|b| {
            sum = sum.wrapping_add(b.value);
            sum as f64
        });
        sums.collect()
    }

    fn value(self) -> f64 {
        // Stored unsigned.
        self.value as u64 as f64
    }
}

/// Floats; buckets are absolute.
#[derive(Clone, Copy, Default)]
struct Fraction(XorFloat);

impl Count for Fraction {
    fn next(&mut self, nth: u16, bits: &mut Bits<'_>, _: bool) -> Result<(), Malformed> {
        match nth {
            0 => self.0 = XorFloat::from(bits.float()?),
            _ => {
                self.0.next(bits)?;
            }
        }
        Ok(())
    }

    fn absolute(buckets: &[Self]) -> Vec<f64> {
        buckets.iter().map(|b| b.value()).collect()
    }

    fn value(self) -> f64 {
        self.0.value()
    }
}

/// What all histograms of a chunk share.
struct Layout {
    zero_threshold: f64,
    schema: i32,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
}

fn histograms<C: Count>(count: u16, data: &[u8], into: &mut Vec<HPoint>) -> Result<(), Malformed> {
    let (flags, data) = data.split_first().ok_or(Malformed)?;
    let mut bits = Bits::new(data);
    if count == 0 {
        return Ok(());
    }
    let layout = Layout::read(&mut bits)?;
    let mut positive = vec![C::default(); buckets_of(&layout.positive_spans)?];
    let mut negative = vec![C::default(); buckets_of(&layout.negative_spans)?];
    let (mut total, mut zero, mut sum) = (C::default(), C::default(), XorFloat::default());
    let (mut t, mut delta) = (0_i64, 0_i64);
    for i in 0..count {
        let read = bits.integer()?;
        match i {
            0 => t = read,
            1 => delta = read,
            _ => delta = delta.wrapping_add(read),
        }
        t = t.wrapping_add(if i == 0 { 0 } else { delta });
        total.next(i, &mut bits, false)?;
        zero.next(i, &mut bits, false)?;
        match i {
            0 => sum = XorFloat::from(bits.float()?),
            _ => {
                sum.next(&mut bits)?;
            }
        }
        if i > 0 && is_stale(sum.value()) {
            // A staleness marker has no buckets, whatever the layout says.
            let h = Histogram {
                sum: sum.value(),
                ..Histogram::default()
            };
            into.push(HPoint { t, h: Arc::new(h) });
            continue;
        }
        for bucket in positive.iter_mut().chain(&mut negative) {
            bucket.next(i, &mut bits, true)?;
        }
        let h = Histogram {
            counter_reset_hint: hint(*flags, i),
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: zero.value(),
            count: total.value(),
            sum: sum.value(),
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            positive_buckets: C::absolute(&positive),
            negative_buckets: C::absolute(&negative),
            custom_values: layout.custom_values.clone(),
        };
        into.push(HPoint { t, h: Arc::new(h) });
    }
    Ok(())
}

/// The first histogram of a chunk may follow anything; within a chunk there are no resets.
fn hint(flags: u8, nth: u16) -> CounterResetHint {
    match flags >> 6 {
        0b11 => CounterResetHint::Gauge,
        _ if nth > 0 => CounterResetHint::NotReset,
        0b10 => CounterResetHint::Reset,
        _ => CounterResetHint::Unknown,
    }
}

impl Layout {
    fn read(bits: &mut Bits<'_>) -> Result<Layout, Malformed> {
        let zero_threshold = match bits.take(8)? as u8 {
            0 => 0.0,
            255 => bits.float()?,
            // A power of two: the exponent of 0.5 · 2^e, offset by 243.
            n => 2_f64.powi(i32::from(n) - 244),
        };
        let schema = i32::try_from(bits.integer()?).map_err(|_| Malformed)?;
        let positive_spans = spans(bits)?;
        let negative_spans = spans(bits)?;
        let mut custom_values = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            for _ in 0..bounded(bits.unsigned()?)? {
                custom_values.push(bound(bits)?);
            }
        }
        Ok(Layout {
            zero_threshold,
            schema,
            positive_spans,
            negative_spans,
            custom_values,
        })
    }
}

/// A bucket bound: thousandths where that is exact, else the float behind a zero.
fn bound(bits: &mut Bits<'_>) -> Result<f64, Malformed> {
    match bits.unsigned()? {
        0 => bits.float(),
        thousandths => Ok((thousandths - 1) as f64 / 1000.0),
    }
}

fn spans(bits: &mut Bits<'_>) -> Result<Vec<Span>, Malformed> {
    let count = bounded(bits.unsigned()?)?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let length = u32::try_from(bits.unsigned()?).map_err(|_| Malformed)?;
        let offset = i32::try_from(bits.integer()?).map_err(|_| Malformed)?;
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

fn bounded(count: u64) -> Result<u64, Malformed> {
    (count <= PARTS_MAX).then_some(count).ok_or(Malformed)
}

fn buckets_of(spans: &[Span]) -> Result<usize, Malformed> {
    let sum: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    (sum <= BUCKETS_MAX)
        .then_some(sum as usize)
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_of_floats_decodes() {
        // Three samples a second apart: 1, 1, 2. Written down from the format's description.
        let mut data = vec![0, 3];
        data.extend([0xd0, 0x0f]); // varint 1000
        data.extend(1.0_f64.to_bits().to_be_bytes());
        data.extend([0xe8, 0x07]); // uvarint 1000
        // Value: 0 (same). Delta of deltas: 0. Value: 1, 1, leading 1, significant 11 at bit 52:
        // 1.0 ^ 2.0 = 0x7ff0 << 48.
        //      0 0 11 00001 001011 11111111111
        data.extend([0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000]);
        let mut into = Samples::default();
        decode(XOR, &data, &mut into).unwrap();
        let got: Vec<(i64, f64)> = into.floats.iter().map(|p| (p.t, p.v)).collect();
        assert_eq!(got, [(1000, 1.0), (2000, 1.0), (3000, 2.0)]);
    }

    #[test]
    fn zero_thresholds_are_powers_of_two_or_whole() {
        let read = |bytes: &[u8]| Layout::read(&mut Bits::new(bytes)).unwrap().zero_threshold;
        assert_eq!(read(&[116, 0]), 2_f64.powi(-128));
        assert_eq!(read(&[0, 0]), 0.0);
        let mut whole = vec![255];
        whole.extend(0.3_f64.to_bits().to_be_bytes());
        whole.push(0);
        assert_eq!(read(&whole), 0.3);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_run_away(
            encoding in 0_u8..5,
            data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut into = Samples::default();
            let _ = decode(encoding, &data, &mut into);
            prop_assert!(into.len() <= usize::from(u16::MAX));
        }
    }
}
