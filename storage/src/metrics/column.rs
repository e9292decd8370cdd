//! Timestamps and values of a block chunk, each in a column of its own, so that series of
//! one scrape share a timestamp column. Bytes: `docs/formats/block.md`.

use model::FPoint;

use super::bits::{BitReader, BitWriter};
use super::column_integers::{decode_integers, encode_integers};
use super::xor::Values;
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Samples of a block chunk at most: two hours at 15 seconds, and a few that came by the way.
pub(crate) const COLUMN_SAMPLES: usize = 512;

/// Powers of ten by which decimals are made whole.
const SCALES: [f64; 13] = [
    1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];
/// Whole numbers below are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// One value in so many may be no decimal; it is listed. More are better off otherwise.
const LISTED_PART_MAX: usize = 8;
/// From so many bits a value on, other ways than decimals are tried too.
const WIDE_BITS: usize = 20;

const CONSTANT_BITS: u8 = 0;
const CONSTANT_WHOLE: u8 = 1;
const DECIMALS: u8 = 2;
const BITS: u8 = 3;
const XOR: u8 = 4;
/// Flag on the power of ten: values that are no such decimals are listed.
const HAS_LISTED: u8 = 0x80;

/// Appends timestamps, at least one and at most [`COLUMN_SAMPLES`].
pub(crate) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    encode_integers(times, out);
}

/// Reads `count` timestamps.
pub(crate) fn decode_times(
    r: &mut Reader<'_>,
    count: usize,
    into: &mut Vec<i64>,
) -> Result<(), Malformed> {
    let mut numbers = [0; COLUMN_SAMPLES];
    decode_integers(r, count, &mut numbers)?;
    into.extend_from_slice(numbers.get(..count).ok_or(Malformed)?);
    Ok(())
}

/// Appends values, at least one and at most [`COLUMN_SAMPLES`], in the shortest way known.
pub(crate) fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    let first = values.first().copied().unwrap_or(0.0);
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        match whole(first, 1.0) {
            Some(n) => {
                out.push(CONSTANT_WHOLE);
                put_signed(out, n);
            }
            None => {
                out.push(CONSTANT_BITS);
                out.extend_from_slice(&first.to_bits().to_le_bytes());
            }
        }
        return;
    }
    let start = out.len();
    let decimals = encode_decimals(values, out);
    if decimals && (out.len() - start) * 8 < values.len() * WIDE_BITS {
        return;
    }
    let mut other = vec![BITS];
    let bits: Vec<i64> = values.iter().map(|v| v.to_bits() as i64).collect();
    encode_integers(&bits, &mut other);
    if !decimals || other.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&other);
    }
    let (mut bits, mut state) = (BitWriter::default(), Values::default());
    bits.write(u64::from(XOR), 8);
    for v in values {
        state.write(&mut bits, *v);
    }
    let xor = bits.to_bytes();
    if xor.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&xor);
    }
}

/// Appends one point for each of `times`, with the values of the column.
pub(crate) fn decode_values(
    bytes: &[u8],
    times: &[i64],
    into: &mut Vec<FPoint>,
) -> Result<(), Malformed> {
    let point = |i: usize, v| FPoint { t: times[i], v };
    decode_column(&mut Reader::new(bytes), times.len(), point, into)
}

/// Appends what `make` makes of position and value, for `count` values.
pub(super) fn decode_column<T>(
    r: &mut Reader<'_>,
    count: usize,
    make: impl Fn(usize, f64) -> T,
    into: &mut Vec<T>,
) -> Result<(), Malformed> {
    if count > COLUMN_SAMPLES {
        return Err(Malformed);
    }
    let tag = r.u8()?;
    match tag {
        CONSTANT_BITS | CONSTANT_WHOLE => {
            let v = match tag {
                CONSTANT_BITS => f64::from_bits(r.u64()?),
                _ => r.signed()? as f64,
            };
            into.extend((0..count).map(|i| make(i, v)));
        }
        DECIMALS => {
            let scale = r.u8()?;
            let by = *SCALES
                .get(usize::from(scale & !HAS_LISTED))
                .ok_or(Malformed)?;
            let start = into.len();
            let mut numbers = [0; COLUMN_SAMPLES];
            decode_integers(r, count, &mut numbers)?;
            let numbers = &numbers[..count];
            if by == 1.0 {
                into.extend(numbers.iter().enumerate().map(|(i, n)| make(i, *n as f64)));
            } else {
                let value = |(i, n): (usize, &i64)| make(i, *n as f64 / by);
                into.extend(numbers.iter().enumerate().map(value));
            }
            if scale & HAS_LISTED != 0 {
                let mut next = 0_usize;
                for _ in 0..r.count(9)? {
                    let gap = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
                    let at = next.checked_add(gap).ok_or(Malformed)?;
                    let slot = into.get_mut(start..).and_then(|new| new.get_mut(at));
                    // Before `make`, which is only asked for positions that exist.
                    let slot = slot.ok_or(Malformed)?;
                    *slot = make(at, f64::from_bits(r.u64()?));
                    next = at + 1;
                }
            }
        }
        BITS => {
            let mut numbers = [0; COLUMN_SAMPLES];
            decode_integers(r, count, &mut numbers)?;
            let value = |(i, n): (usize, &i64)| make(i, f64::from_bits(*n as u64));
            into.extend(numbers[..count].iter().enumerate().map(value));
        }
        XOR => {
            let rest = r.take(r.remaining())?;
            let (mut bits, mut state) = (BitReader::new(rest), Values::default());
            for i in 0..count {
                into.push(make(i, state.read(&mut bits)?));
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// `v` times `scale` when that is a whole number from which `v` comes back bit by bit.
fn whole(v: f64, scale: f64) -> Option<i64> {
    let n = (v * scale).round();
    let back = (n as i64) as f64 / scale;
    (n.abs() < EXACT_MAX && back.to_bits() == v.to_bits()).then_some(n as i64)
}

/// The values as decimals, those that are none listed. Whether few enough are none.
fn encode_decimals(values: &[f64], out: &mut Vec<u8>) -> bool {
    let listed_max = values.len() / LISTED_PART_MAX;
    let mut scale = 0;
    let mut misses = 0;
    for v in values {
        match (scale..SCALES.len()).find(|s| whole(*v, SCALES[*s]).is_some()) {
            Some(enough) => scale = enough,
            None => {
                misses += 1;
                if misses > listed_max {
                    return false;
                }
            }
        }
    }
    let mut listed: Vec<(usize, u64)> = Vec::new();
    let mut numbers: Vec<i64> = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        match whole(*v, SCALES[scale]) {
            Some(n) => {
                // Values listed before the first decimal repeat it.
                if numbers.len() < i {
                    numbers.resize(i, n);
                }
                numbers.push(n);
            }
            None => {
                listed.push((i, v.to_bits()));
                if let Some(n) = numbers.last() {
                    numbers.push(*n);
                }
            }
        }
    }
    if listed.len() > listed_max || numbers.len() != values.len() {
        return false;
    }
    out.push(DECIMALS);
    let flag = if listed.is_empty() { 0 } else { HAS_LISTED };
    out.push(scale as u8 | flag);
    encode_integers(&numbers, out);
    if !listed.is_empty() {
        put_varint(out, listed.len() as u64);
        let mut next = 0;
        for (i, bits) in listed {
            put_varint(out, (i - next) as u64);
            out.extend_from_slice(&bits.to_le_bytes());
            next = i + 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::arbitrary::{bits_of, sample_runs};
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut bytes = Vec::new();
        encode_values(values, &mut bytes);
        let times: Vec<i64> = (0..values.len() as i64).collect();
        let mut back = Vec::new();
        decode_values(&bytes, &times, &mut back).unwrap();
        let expect = values.iter().zip(&times).map(|(v, t)| (*t, v.to_bits()));
        assert_eq!(bits_of(&back), expect.collect::<Vec<_>>());
        bytes.len()
    }

    #[test]
    fn ordinary_series_become_short() {
        let counter: Vec<f64> = (0..480).map(|i| f64::from(1_000_000 + i * 15)).collect();
        assert!(round_trip(&counter) < 16);
        let cpu: Vec<f64> = (0..480)
            .map(|i| f64::from(123_400 + i * 7 + i % 3) / 100.0)
            .collect();
        assert!(round_trip(&cpu) < 480 * 2 / 8 + 16);
        assert!(round_trip(&[3.0; 480]) < 4);
        assert_eq!(round_trip(&[1.0 / 3.0; 480]), 9);
    }

    #[test]
    fn a_listed_value_beyond_the_end_is_refused() {
        let mut values = [1.5; 40];
        values[3] = 1.0 / 3.0;
        let mut bytes = Vec::new();
        assert!(encode_decimals(&values, &mut bytes));
        let gap_at = bytes.len() - 9;
        assert_eq!(bytes[gap_at], 3);
        bytes[gap_at] = 99;
        let refused = decode_values(&bytes, &[0; 40], &mut Vec::new());
        assert_eq!(refused, Err(Malformed));
    }

    #[test]
    fn one_odd_value_does_not_spoil_the_rest() {
        let mut counter: Vec<f64> = (0..480).map(|i| f64::from(1_000 + i * i % 7)).collect();
        let plain = round_trip(&counter);
        for odd in [model::STALE_NAN, f64::NAN, 1.0 / 3.0, -0.0, 1e15] {
            for at in [0, 200, 479] {
                let good = std::mem::replace(&mut counter[at], odd);
                assert!(round_trip(&counter) < plain + 32, "{odd} at {at}");
                counter[at] = good;
            }
        }
    }

    #[test]
    fn clocks_with_all_their_digits_take_the_bits_as_numbers() {
        let mut random = 1_u64;
        let clock: Vec<f64> = (0..480)
            .map(|i| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1_763_722_500.0 + f64::from(i) * 15.0 + (random >> 40) as f64 * 1e-10
            })
            .collect();
        assert!(round_trip(&clock) < 480 * 2);
    }

    #[test]
    fn odd_values_survive() {
        round_trip(&[0.0, -0.0, 1.0]);
        round_trip(&[f64::NAN, model::STALE_NAN, f64::INFINITY, -1.0]);
        round_trip(&[9e15, -9e15, 9e15, 1.0]);
        round_trip(&[0.1, 0.2, 0.3, 1e-7]);
        round_trip(&[5.0, 7.0]);
        round_trip(&[f64::MIN, f64::MAX, f64::MIN_POSITIVE]);
    }

    proptest! {
        #[test]
        fn columns_come_back_bit_by_bit(run in sample_runs(COLUMN_SAMPLES)) {
            let times: Vec<i64> = run.iter().map(|p| p.t).collect();
            let values: Vec<f64> = run.iter().map(|p| p.v).collect();
            let (mut bytes, mut t) = (Vec::new(), Vec::new());
            encode_times(&times, &mut bytes);
            decode_times(&mut Reader::new(&bytes), run.len(), &mut t).unwrap();
            prop_assert_eq!(&t, &times);
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            encode_values(&values, &mut bytes);
            decode_values(&bytes, &times, &mut back).unwrap();
            prop_assert_eq!(bits_of(&back), bits_of(&run));
        }

        #[test]
        fn decimals_come_back_bit_by_bit(
            numbers in prop::collection::vec(-1_000_000_i32..1_000_000, 1..100),
            digits in 0_i32..14,
        ) {
            let values: Vec<f64> = numbers.iter().map(|n| f64::from(*n) / 10_f64.powi(digits)).collect();
            round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            tag in 0_u8..5,
            mut bytes in prop::collection::vec(any::<u8>(), 0..100),
            count in 0_usize..COLUMN_SAMPLES + 2,
        ) {
            let times = vec![0; count];
            let _ = decode_times(&mut Reader::new(&bytes), count, &mut Vec::new());
            let _ = decode_values(&bytes, &times, &mut Vec::new());
            bytes.insert(0, tag);
            let _ = decode_values(&bytes, &times, &mut Vec::new());
        }
    }
}
