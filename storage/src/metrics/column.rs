//! Timestamps and values of a block chunk, each in a column of its own, so that series of
//! one scrape share a timestamp column. Bytes: `docs/formats/block.md`.

use super::bits::{BitReader, BitWriter};
use super::xor::{Times, Values};
use crate::bytes::{Malformed, Reader, put_signed};

/// Samples of a block chunk at most: two hours at 15 seconds.
pub(crate) const COLUMN_SAMPLES: usize = 480;

/// Powers of ten by which decimals are made whole.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Whole numbers up to here are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

const TIMES_REGULAR: u8 = 0;
const TIMES_BITS: u8 = 1;
const VALUES_CONSTANT: u8 = 0;
const VALUES_XOR: u8 = 1;
const VALUES_WHOLE: u8 = 2;

/// Encodes at least one timestamp.
pub(crate) fn encode_times(times: &[i64]) -> Vec<u8> {
    let first = times.first().copied().unwrap_or(0);
    let step = times.get(1).map_or(0, |t| t.wrapping_sub(first));
    if times.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
        let mut out = vec![TIMES_REGULAR];
        put_signed(&mut out, first);
        put_signed(&mut out, step);
        return out;
    }
    let (mut bits, mut state) = (BitWriter::default(), Times::default());
    bits.write(u64::from(TIMES_BITS), 8);
    for t in times {
        state.write(&mut bits, *t);
    }
    bits.into_bytes()
}

/// Appends `count` timestamps to `into`.
pub(crate) fn decode_times(
    bytes: &[u8],
    count: usize,
    into: &mut Vec<i64>,
) -> Result<(), Malformed> {
    let (tag, rest) = bytes.split_first().ok_or(Malformed)?;
    match *tag {
        TIMES_REGULAR => {
            let mut r = Reader::new(rest);
            let (mut t, step) = (r.signed()?, r.signed()?);
            for _ in 0..count {
                into.push(t);
                t = t.wrapping_add(step);
            }
        }
        TIMES_BITS => {
            let (mut bits, mut state) = (BitReader::new(rest), Times::default());
            for _ in 0..count {
                into.push(state.read(&mut bits)?);
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Encodes at least one value, in the shortest of three ways.
pub(crate) fn encode_values(values: &[f64]) -> Vec<u8> {
    let first = values.first().copied().unwrap_or(0.0);
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        let mut out = vec![VALUES_CONSTANT];
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return out;
    }
    let (mut bits, mut state) = (BitWriter::default(), Values::default());
    bits.write(u64::from(VALUES_XOR), 8);
    for v in values {
        state.write(&mut bits, *v);
    }
    let by_xor = bits.into_bytes();
    match encode_whole(values) {
        Some(whole) if whole.len() < by_xor.len() => whole,
        _ => by_xor,
    }
}

/// Appends `count` values to `into`.
pub(crate) fn decode_values(
    bytes: &[u8],
    count: usize,
    into: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let (tag, rest) = bytes.split_first().ok_or(Malformed)?;
    match *tag {
        VALUES_CONSTANT => {
            let v = f64::from_bits(Reader::new(rest).u64()?);
            into.extend(std::iter::repeat_n(v, count));
            Ok(())
        }
        VALUES_XOR => {
            let (mut bits, mut state) = (BitReader::new(rest), Values::default());
            for _ in 0..count {
                into.push(state.read(&mut bits)?);
            }
            Ok(())
        }
        VALUES_WHOLE => decode_whole(rest, count, into),
        _ => Err(Malformed),
    }
}

/// The decimals as whole numbers, differenced 0, 1 or 2 times, less the smallest difference,
/// packed in as many bits as the largest needs. `None` when a value is not such a decimal.
fn encode_whole(values: &[f64]) -> Option<Vec<u8>> {
    let (scale, mut numbers) = whole_numbers(values)?;
    let mut best: Option<(usize, Vec<i64>, u32)> = None;
    for order in 0..=2 {
        let tail = numbers.get(order..)?;
        let (min, max) = (tail.iter().min()?, tail.iter().max()?);
        let width = 64 - (max.wrapping_sub(*min) as u64).leading_zeros();
        if best.as_ref().is_none_or(|(_, _, w)| width < *w) {
            best = Some((order, numbers.clone(), width));
        }
        if numbers.len() < order + 2 {
            break;
        }
        for i in (order + 1..numbers.len()).rev() {
            numbers[i] = numbers[i].wrapping_sub(numbers[i - 1]);
        }
    }
    let (order, numbers, width) = best?;
    let mut out = vec![VALUES_WHOLE, scale, order as u8, width as u8];
    let (heads, tail) = numbers.split_at(order);
    for n in heads {
        put_signed(&mut out, *n);
    }
    let min = tail.iter().copied().min()?;
    put_signed(&mut out, min);
    let mut bits = BitWriter::default();
    for n in tail {
        bits.write(n.wrapping_sub(min) as u64, width);
    }
    out.extend_from_slice(bits.bytes());
    Some(out)
}

fn decode_whole(bytes: &[u8], count: usize, into: &mut Vec<f64>) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    let (scale, order, width) = (usize::from(r.u8()?), usize::from(r.u8()?), r.u8()?);
    let scale = *SCALES.get(scale).ok_or(Malformed)?;
    if order > 2 || width > 64 || order >= count.max(1) {
        return Err(Malformed);
    }
    let mut numbers = Vec::with_capacity(count.min(COLUMN_SAMPLES));
    for _ in 0..order {
        numbers.push(r.signed()?);
    }
    let min = r.signed()?;
    let mut bits = BitReader::new(r.take(r.remaining())?);
    for _ in order..count {
        numbers.push(min.wrapping_add(bits.read(u32::from(width))? as i64));
    }
    for level in (0..order).rev() {
        for i in level + 1..numbers.len() {
            numbers[i] = numbers[i].wrapping_add(numbers[i - 1]);
        }
    }
    into.extend(numbers.iter().map(|n| *n as f64 / scale));
    Ok(())
}

/// The smallest power of ten that makes all values whole, reversibly, and the whole numbers.
fn whole_numbers(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let exact = |v: f64, scale: f64| {
        let n = (v * scale).round();
        let back = (n as i64) as f64 / scale;
        (n.abs() < EXACT_MAX && back.to_bits() == v.to_bits()).then_some(n as i64)
    };
    let mut scale = 0;
    'scale: loop {
        let by = *SCALES.get(scale)?;
        let mut numbers = Vec::with_capacity(values.len());
        for v in values {
            match exact(*v, by) {
                Some(n) => numbers.push(n),
                None => {
                    scale += 1;
                    continue 'scale;
                }
            }
        }
        return Some((scale as u8, numbers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::arbitrary::{bits_of, sample_runs};
    use model::FPoint;
    use proptest::prelude::*;

    fn values_round_trip(values: &[f64]) -> usize {
        let bytes = encode_values(values);
        let mut back = Vec::new();
        decode_values(&bytes, values.len(), &mut back).unwrap();
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        bytes.len()
    }

    #[test]
    fn ordinary_series_become_short() {
        let counter: Vec<f64> = (0..480).map(|i| f64::from(1_000_000 + i * 15)).collect();
        assert!(values_round_trip(&counter) < 16);
        let cpu: Vec<f64> = (0..480)
            .map(|i| f64::from(123_400 + i * 7 + i % 3) / 100.0)
            .collect();
        assert!(values_round_trip(&cpu) < 480);
        assert_eq!(values_round_trip(&[1.5; 480]), 9);
        let times: Vec<i64> = (0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        assert!(encode_times(&times).len() < 12);
    }

    #[test]
    fn odd_values_survive() {
        values_round_trip(&[0.0, -0.0, 1.0]);
        values_round_trip(&[f64::NAN, model::STALE_NAN, f64::INFINITY, -1.0]);
        values_round_trip(&[9e15, -9e15, 9e15, 1.0]);
        values_round_trip(&[0.1, 0.2, 0.3, 1e-7]);
        values_round_trip(&[5.0, 7.0]);
        values_round_trip(&[f64::MIN, f64::MAX, f64::MIN_POSITIVE]);
    }

    proptest! {
        #[test]
        fn columns_come_back_bit_by_bit(run in sample_runs(COLUMN_SAMPLES)) {
            let times: Vec<i64> = run.iter().map(|p| p.t).collect();
            let values: Vec<f64> = run.iter().map(|p| p.v).collect();
            let (mut t, mut v) = (Vec::new(), Vec::new());
            decode_times(&encode_times(&times), run.len(), &mut t).unwrap();
            decode_values(&encode_values(&values), run.len(), &mut v).unwrap();
            let back: Vec<FPoint> = t.into_iter().zip(v).map(|(t, v)| FPoint { t, v }).collect();
            prop_assert_eq!(bits_of(&back), bits_of(&run));
        }

        #[test]
        fn decimals_come_back_bit_by_bit(
            numbers in prop::collection::vec(-1_000_000_i32..1_000_000, 1..100),
            digits in 0_i32..8,
        ) {
            let values: Vec<f64> = numbers.iter().map(|n| f64::from(*n) / 10_f64.powi(digits)).collect();
            values_round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            count in 0_usize..COLUMN_SAMPLES,
        ) {
            let _ = decode_times(&bytes, count, &mut Vec::new());
            let _ = decode_values(&bytes, count, &mut Vec::new());
        }
    }
}
