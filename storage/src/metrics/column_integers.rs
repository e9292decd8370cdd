//! Whole numbers, packed: the work-horse of every column. Bytes: `docs/formats/block.md`.
//!
//! Numbers are taken relative to the first and divided by what divides all their differences;
//! then either they, their differences or the differences of those (whatever is shortest) are
//! packed less a reference in equally many bits each. The few that do not fit (a reset of a
//! counter, a missed scrape) are listed beside, so that one outlier does not widen the rest.
//! After Zukowski et al., "Super-Scalar RAM-CPU Cache Compression" (ICDE 2006), whose
//! PFOR-DELTA this is with a second difference and a common divisor.

use super::column::COLUMN_SAMPLES;
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Flag on the first byte: numbers that do not fit the width are listed.
const HAS_OUTLIERS: u8 = 0x80;
/// Flag on the second byte: a common divisor follows.
const HAS_DIVISOR: u8 = 0x04;
/// Bits an outlier costs beyond its own: position, and what rounding to bytes loses.
const OUTLIER_BITS: u32 = 16;

/// How a run of residuals is packed.
#[derive(Clone, Copy)]
struct Packing {
    reference: i64,
    width: u32,
    /// Bits it takes, estimated.
    bits: usize,
}

/// Appends `numbers` (1 to [`COLUMN_SAMPLES`]) to `out`. Any numbers; sums wrap.
pub(crate) fn encode_integers(numbers: &[i64], out: &mut Vec<u8>) {
    let base = numbers.first().copied().unwrap_or(0);
    let divisor = common_divisor(numbers);
    let mut residuals: Vec<i64> = Vec::with_capacity(numbers.len());
    residuals.extend(numbers.iter().map(|n| n.wrapping_sub(base)));
    if divisor > 1 {
        for r in &mut residuals {
            *r /= divisor;
        }
    }
    let mut head = 0;
    let mut best: Option<(u8, Packing, Vec<i64>, i64)> = None;
    let mut sorted = Vec::with_capacity(numbers.len());
    for order in 0..=2_u8 {
        let at = usize::from(order);
        if at > 0 {
            if numbers.len() <= at {
                break;
            }
            for i in (at..residuals.len()).rev() {
                residuals[i] = residuals[i].wrapping_sub(residuals[i - 1]);
            }
            if order == 2 {
                head = residuals[1];
            }
        }
        let tail = &residuals[at..];
        sorted.clear();
        sorted.extend_from_slice(tail);
        sorted.sort_unstable();
        let packing = best_packing(&sorted);
        if best
            .as_ref()
            .is_none_or(|(_, b, ..)| packing.bits + 8 < b.bits)
        {
            best = Some((order, packing, tail.to_vec(), head));
        }
        if packing.bits == 0 {
            break;
        }
    }
    let Some((order, packing, tail, head)) = best else {
        return;
    };
    let fits = |r: i64| r.wrapping_sub(packing.reference) as u64 & !mask(packing.width) == 0;
    let outliers = tail.iter().filter(|r| !fits(**r)).count();
    let flag = if outliers > 0 { HAS_OUTLIERS } else { 0 };
    out.push(packing.width as u8 | flag);
    out.push(order | if divisor > 1 { HAS_DIVISOR } else { 0 });
    put_signed(out, base);
    if divisor > 1 {
        put_varint(out, divisor as u64);
    }
    if order == 2 {
        put_signed(out, head);
    }
    put_signed(out, packing.reference);
    pack(&tail, packing, out);
    if outliers > 0 {
        put_varint(out, outliers as u64);
        let mut next = 0;
        for (i, r) in tail.iter().enumerate().filter(|(_, r)| !fits(**r)) {
            put_varint(out, (i - next) as u64);
            put_signed(out, r.wrapping_sub(packing.reference));
            next = i + 1;
        }
    }
}

/// Reads `count` numbers into the front of `out`.
pub(crate) fn decode_integers(
    r: &mut Reader<'_>,
    count: usize,
    out: &mut [i64; COLUMN_SAMPLES],
) -> Result<(), Malformed> {
    let out = out.get_mut(..count).ok_or(Malformed)?;
    let (first, second) = (r.u8()?, r.u8()?);
    let (width, order) = (u32::from(first & !HAS_OUTLIERS), usize::from(second & 3));
    if width > 64 || order > 2 || order >= count || second & !(HAS_DIVISOR | 3) != 0 {
        return Err(Malformed);
    }
    let base = r.signed()?;
    let divisor = match second & HAS_DIVISOR {
        0 => 1,
        _ => r.varint()? as i64,
    };
    let head = if order == 2 { r.signed()? } else { 0 };
    let reference = r.signed()?;
    let tail = &mut out[order..];
    unpack(r, width, reference, tail)?;
    if first & HAS_OUTLIERS != 0 {
        let mut next = 0_usize;
        for _ in 0..r.count(2)? {
            let gap = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
            let at = next.checked_add(gap).ok_or(Malformed)?;
            let residual = reference.wrapping_add(r.signed()?);
            *tail.get_mut(at).ok_or(Malformed)? = residual;
            next = at + 1;
        }
    }
    match order {
        0 => {
            for n in out.iter_mut() {
                *n = base.wrapping_add(divisor.wrapping_mul(*n));
            }
        }
        1 => {
            let mut sum = base;
            out[0] = base;
            for n in &mut out[1..] {
                sum = sum.wrapping_add(divisor.wrapping_mul(*n));
                *n = sum;
            }
        }
        _ => {
            let mut step = divisor.wrapping_mul(head);
            let mut sum = base.wrapping_add(step);
            out[0] = base;
            out[1] = sum;
            for n in &mut out[2..] {
                step = step.wrapping_add(divisor.wrapping_mul(*n));
                sum = sum.wrapping_add(step);
                *n = sum;
            }
        }
    }
    Ok(())
}

/// What divides every difference to the first number; 1 when a difference overflows.
fn common_divisor(numbers: &[i64]) -> i64 {
    let Some(first) = numbers.first() else {
        return 1;
    };
    let mut divisor = 0_u64;
    for n in &numbers[1..] {
        let Some(difference) = n.checked_sub(*first) else {
            return 1;
        };
        let (mut a, mut b) = (difference.unsigned_abs(), divisor);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            return 1;
        }
    }
    i64::try_from(divisor).unwrap_or(1).max(1)
}

/// The cheapest packing of residuals, given in ascending order.
fn best_packing(sorted: &[i64]) -> Packing {
    let n = sorted.len();
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
        return Packing {
            reference: 0,
            width: 0,
            bits: 0,
        };
    };
    let full = bits_of(max.wrapping_sub(*min) as u64);
    let outlier = (full + OUTLIER_BITS) as usize;
    let mut best = Packing {
        reference: *min,
        width: full,
        bits: n * full as usize,
    };
    // Width 0: all but the most frequent residual are listed.
    let (mut run, mut longest) = (0, (0, *min));
    for (i, r) in sorted.iter().enumerate() {
        run = if i > 0 && sorted[i - 1] == *r {
            run + 1
        } else {
            1
        };
        longest = longest.max((run, *r));
    }
    let bits = (n - longest.0) * outlier;
    if bits < best.bits {
        best = Packing {
            reference: longest.1,
            width: 0,
            bits,
        };
    }
    // Of all windows that leave `listed` out, the narrowest.
    let mut listed = 1;
    while listed <= n / 4 && listed * outlier < best.bits {
        let span = |at: usize| sorted[at + n - listed - 1].wrapping_sub(sorted[at]) as u64;
        if let Some(at) = (0..=listed).min_by_key(|at| span(*at)) {
            let width = bits_of(span(at));
            let bits = (n - listed) * width as usize + listed * outlier + width as usize;
            if bits < best.bits {
                best = Packing {
                    reference: sorted[at],
                    width,
                    bits,
                };
            }
        }
        listed += (listed / 2).max(1);
    }
    best
}

fn bits_of(span: u64) -> u32 {
    64 - span.leading_zeros()
}

fn mask(width: u32) -> u64 {
    1_u64.checked_shl(width).map_or(u64::MAX, |bit| bit - 1)
}

/// `width` bits each, the least significant first; outliers leave zeros.
fn pack(residuals: &[i64], packing: Packing, out: &mut Vec<u8>) {
    let Packing {
        reference, width, ..
    } = packing;
    if width == 0 {
        return;
    }
    let (mut gathered, mut used) = (0_u128, 0_u32);
    for r in residuals {
        let offset = r.wrapping_sub(reference) as u64;
        let offset = if offset & !mask(width) == 0 {
            offset
        } else {
            0
        };
        gathered |= u128::from(offset) << used;
        used += width;
        while used >= 8 {
            out.push(gathered as u8);
            gathered >>= 8;
            used -= 8;
        }
    }
    if used > 0 {
        out.push(gathered as u8);
    }
}

fn unpack(
    r: &mut Reader<'_>,
    width: u32,
    reference: i64,
    into: &mut [i64],
) -> Result<(), Malformed> {
    let bytes = r.take((into.len() * width as usize).div_ceil(8))?;
    match width {
        0 => into.fill(reference),
        8 => {
            for (slot, b) in into.iter_mut().zip(bytes) {
                *slot = reference.wrapping_add(i64::from(*b));
            }
        }
        _ => {
            let mask = mask(width);
            // Eight bytes from any bit hold 57 bits; what reaches further reads a ninth.
            let plain = match width {
                ..=57 => (bytes.len().saturating_sub(8) * 8) / width as usize,
                _ => 0,
            }
            .min(into.len());
            let (fast, slow) = into.split_at_mut(plain);
            let mut bit = 0_usize;
            for slot in fast {
                let word = bytes.get(bit / 8..bit / 8 + 8).ok_or(Malformed)?;
                let word = u64::from_le_bytes(word.try_into().map_err(|_| Malformed)?);
                *slot = reference.wrapping_add(((word >> (bit % 8)) & mask) as i64);
                bit += width as usize;
            }
            for slot in slow {
                let mut word = [0_u8; 16];
                let rest = &bytes[bit / 8..];
                let taken = rest.len().min(9);
                word[..taken].copy_from_slice(&rest[..taken]);
                let value = (u128::from_le_bytes(word) >> (bit % 8)) as u64 & mask;
                *slot = reference.wrapping_add(value as i64);
                bit += width as usize;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(numbers: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode_integers(numbers, &mut bytes);
        let mut out = [0; COLUMN_SAMPLES];
        let mut r = Reader::new(&bytes);
        decode_integers(&mut r, numbers.len(), &mut out).unwrap();
        assert!(r.is_empty());
        assert_eq!(&out[..numbers.len()], numbers);
        bytes.len()
    }

    #[test]
    fn lines_take_no_room_and_outliers_little() {
        let line: Vec<i64> = (0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        assert!(round_trip(&line) < 16);
        let mut reset = line.clone();
        for n in &mut reset[300..] {
            *n -= 1_700_000_000_000;
        }
        assert!(round_trip(&reset) < 32);
        let jitter: Vec<i64> = (0..480).map(|i| i * 15_000 + i * i * 7919 % 8).collect();
        assert!(round_trip(&jitter) < 480 * 5 / 8);
        let pages: Vec<i64> = (0..480).map(|i| (i * i * 7919 % 16) * 4096).collect();
        assert!(round_trip(&pages) <= 480 / 2 + 8);
    }

    #[test]
    fn extremes_come_back() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MIN]);
        round_trip(&[i64::MAX]);
        round_trip(&[5, 7]);
        round_trip(&[i64::MIN, i64::MIN + 2, i64::MIN + 4]);
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in prop::collection::vec(any::<i64>(), 1..COLUMN_SAMPLES),
            shift in 0_u32..64,
            sum in any::<bool>(),
        ) {
            let mut at = 0_i64;
            let numbers: Vec<i64> = numbers.iter().map(|n| {
                at = at.wrapping_add(n >> shift);
                if sum { at } else { n >> shift }
            }).collect();
            round_trip(&numbers);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            count in 0_usize..COLUMN_SAMPLES + 2,
        ) {
            let _ = decode_integers(&mut Reader::new(&bytes), count, &mut [0; COLUMN_SAMPLES]);
        }
    }
}
