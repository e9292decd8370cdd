//! One float as the difference to the float before it in its series.
//! Bytes: `docs/formats/wal.md`.
//!
//! Tags and bytes go to separate streams: a batch has the same tags in the same places every
//! time, which the compression behind this finds.

use crate::bytes::{Malformed, Reader, put_signed};

/// The bits of the value before.
const SAME: u8 = 0;
/// `1 + d`: both are whole once multiplied by `10^d`; their difference follows.
const WHOLE: u8 = 1;
/// `16 * skipped + taken`, plus this: as many low bytes of the XOR are zero, and as many
/// follow (1 to 8).
const XOR: u8 = 0x80;

/// Powers of ten by which decimals are made whole.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Whole numbers below are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// From here on a hint says that the series is not decimal, and counts up to the next try.
const NO_SCALE: u8 = 8;
const TRY_AGAIN: u8 = 40;

/// `v` as a whole number of `10^-d`, when that gives back its bits.
fn whole(v: f64, scale: f64) -> Option<i64> {
    // Most are whole as they are, and those need neither rounding nor division.
    let n = match scale == 1.0 {
        true => v as i64,
        false => (v * scale).round_ties_even() as i64,
    };
    let back = match scale == 1.0 {
        true => n as f64,
        false => n as f64 / scale,
    };
    (back.to_bits() == v.to_bits() && back.abs() * scale < EXACT_MAX).then_some(n)
}

/// Encodes `v` after `before`. `hint` remembers for the series which power of ten worked; it
/// starts as 0.
pub(crate) fn put_value(tags: &mut Vec<u8>, out: &mut Vec<u8>, hint: &mut u8, before: f64, v: f64) {
    if v.to_bits() == before.to_bits() {
        tags.push(SAME);
        return;
    }
    if let Some((d, n)) = decimal(hint, v) {
        let n_before = whole(before, SCALES[usize::from(d)]).unwrap_or(0);
        tags.push(WHOLE + d);
        put_signed(out, n.wrapping_sub(n_before));
        return;
    }
    let xor = v.to_bits() ^ before.to_bits();
    let skipped = (xor.trailing_zeros() / 8) as u8;
    let taken = 8 - (xor.leading_zeros() / 8) as u8 - skipped;
    // Skipped is 0 to 7, taken 1 to 8: together seven bits.
    tags.push(XOR | skipped << 4 | (taken & 0xf));
    out.extend_from_slice(&(xor >> (8 * skipped)).to_le_bytes()[..usize::from(taken)]);
}

fn decimal(hint: &mut u8, v: f64) -> Option<(u8, i64)> {
    if *hint >= NO_SCALE {
        // Only now and then: trying all powers is what encoding costs most.
        *hint = if *hint == TRY_AGAIN { 0 } else { *hint + 1 };
        return None;
    }
    if let Some(n) = whole(v, SCALES[usize::from(*hint).min(6)]) {
        return Some(((*hint).min(6), n));
    }
    for (d, scale) in SCALES.iter().enumerate().skip(usize::from(*hint) + 1) {
        if let Some(n) = whole(v, *scale) {
            *hint = d as u8;
            return Some((d as u8, n));
        }
    }
    *hint = NO_SCALE;
    None
}

/// Decodes the value after `before`.
pub(crate) fn read_value(tag: u8, r: &mut Reader<'_>, before: f64) -> Result<f64, Malformed> {
    if tag == SAME {
        return Ok(before);
    }
    if tag & XOR == 0 {
        let scale = *SCALES.get(usize::from(tag - WHOLE)).ok_or(Malformed)?;
        let n_before = whole(before, scale).unwrap_or(0);
        return Ok(n_before.wrapping_add(r.signed()?) as f64 / scale);
    }
    let (skipped, taken) = (tag >> 4 & 7, usize::from(tag & 0xf));
    if taken == 0 || usize::from(skipped) + taken > 8 {
        return Err(Malformed);
    }
    let mut bytes = [0; 8];
    bytes[..taken].copy_from_slice(r.take(taken)?);
    let xor = u64::from_le_bytes(bytes) << (8 * skipped);
    Ok(f64::from_bits(before.to_bits() ^ xor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::arbitrary::sample_runs;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let (mut tags, mut bytes, mut hint, mut before) = (Vec::new(), Vec::new(), 0, 0.0);
        for v in values {
            put_value(&mut tags, &mut bytes, &mut hint, before, *v);
            before = *v;
        }
        let (mut r, mut before) = (Reader::new(&bytes), 0.0);
        for (tag, v) in tags.iter().zip(values) {
            before = read_value(*tag, &mut r, before).unwrap();
            assert_eq!(before.to_bits(), v.to_bits());
        }
        assert!(r.is_empty());
        bytes.len()
    }

    #[test]
    fn ordinary_steps_are_short() {
        assert_eq!(round_trip(&[1e6; 9]), 3);
        let cpu: Vec<f64> = (0..100)
            .map(|i| f64::from(123_400 + i * 7) / 100.0)
            .collect();
        assert_eq!(round_trip(&cpu), 101);
        round_trip(&[
            0.1,
            0.2,
            0.3,
            1e-7,
            -0.0,
            0.0,
            f64::NAN,
            model::STALE_NAN,
            9e15,
            -9e15,
        ]);
        round_trip(&[f64::INFINITY, f64::MIN_POSITIVE, f64::MAX, f64::MIN]);
    }

    proptest! {
        #[test]
        fn values_come_back_bit_by_bit(run in sample_runs(200)) {
            round_trip(&run.iter().map(|p| p.v).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_come_back_bit_by_bit(
            numbers in prop::collection::vec((any::<i32>(), 0_i32..8), 1..100),
        ) {
            let value = |(n, d): &(i32, i32)| f64::from(*n) / 10_f64.powi(*d);
            round_trip(&numbers.iter().map(value).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(tag in any::<u8>(), bytes in any::<[u8; 12]>(), v in any::<f64>()) {
            let _ = read_value(tag, &mut Reader::new(&bytes), v);
        }
    }
}
