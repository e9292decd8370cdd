//! An adaptive binary range coder: each decision costs as many bits as it was unlikely.
//!
//! Carry handling and the renewal by bytes are those of Martin's range coder (1979) as used in
//! LZMA; each probability is the mean of a quick and a slow estimate. Bytes:
//! `docs/formats/wal.md`.

/// The range is renewed once it is below.
const RANGE_MIN: u32 = 1 << 24;
/// Bits of a probability.
const P_BITS: u32 = 15;
/// How quickly the two estimates follow.
const QUICK: u32 = 4;
const SLOW: u32 = 7;
/// Bits that are written at once without an estimate.
const DIRECT_BITS: u32 = 16;

/// How likely a decision is to be no.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prob {
    quick: u16,
    slow: u16,
}

impl Prob {
    pub(super) const EVEN: Prob = Prob {
        quick: 1 << 15,
        slow: 1 << 15,
    };

    /// Between 35 and 32,732 of 2^15: the updates stop before the ends.
    fn of_no(self) -> u32 {
        (u32::from(self.quick) + u32::from(self.slow)) >> 2
    }

    fn learn(&mut self, is_yes: bool) {
        if is_yes {
            self.quick -= self.quick >> QUICK;
            self.slow -= self.slow >> SLOW;
        } else {
            self.quick += (u16::MAX - self.quick) >> QUICK;
            self.slow += (u16::MAX - self.slow) >> SLOW;
        }
    }
}

/// Writes decisions or reads them: a reader is told anything, and answers with what it found.
pub(super) trait Coder {
    fn decision(&mut self, prob: &mut Prob, is_yes: bool) -> bool;

    /// The low `bits` of `v`, at most 64.
    fn direct(&mut self, v: u64, bits: u32) -> u64;

    /// A number below `2^bits`, bit by bit from the top; there are as many estimates.
    fn tree(&mut self, probs: &mut [Prob], bits: u32, v: usize) -> usize {
        let mut node = 1;
        for bit in (0..bits).rev() {
            let is_one = self.decision(&mut probs[node], v >> bit & 1 == 1);
            node = node << 1 | usize::from(is_one);
        }
        node - (1 << bits)
    }
}

/// Writes.
pub(super) struct RangeEncoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    low: u64,
    range: u32,
    /// The last byte that is not written because of a carry, and how many 255 follow it.
    held: Option<u8>,
    full: usize,
}

impl<'a> RangeEncoder<'a> {
    /// Appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> RangeEncoder<'a> {
        RangeEncoder {
            start: out.len(),
            out,
            low: 0,
            range: u32::MAX,
            held: None,
            full: 0,
        }
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if carry == 0 && self.low >= 0xff00_0000 {
            self.full += 1;
        } else {
            if let Some(held) = self.held {
                self.out.push(held.wrapping_add(carry));
            }
            for _ in 0..std::mem::take(&mut self.full) {
                self.out.push(0xff_u8.wrapping_add(carry));
            }
            self.held = Some((self.low >> 24) as u8);
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn renew(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Zeros at the end are left out: behind the end a reader finds them.
    pub(super) fn finish(mut self) {
        let mask = u64::from(RANGE_MIN) - 1;
        self.low = (self.low + mask) & !mask;
        for _ in 0..5 {
            self.shift();
        }
        while self.out.len() > self.start && self.out.last() == Some(&0) {
            self.out.pop();
        }
    }
}

impl Coder for RangeEncoder<'_> {
    fn decision(&mut self, prob: &mut Prob, is_yes: bool) -> bool {
        let of_no = (self.range >> P_BITS) * prob.of_no();
        if is_yes {
            self.low += u64::from(of_no);
            self.range -= of_no;
        } else {
            self.range = of_no;
        }
        prob.learn(is_yes);
        self.renew();
        is_yes
    }

    fn direct(&mut self, v: u64, mut bits: u32) -> u64 {
        while bits > 0 {
            let here = bits.min(DIRECT_BITS);
            bits -= here;
            self.range >>= here;
            let part = v >> bits & ((1 << here) - 1);
            self.low += part * u64::from(self.range);
            self.renew();
        }
        v
    }
}

/// Reads.
pub(super) struct RangeDecoder<'a> {
    rest: &'a [u8],
    code: u32,
    range: u32,
}

impl<'a> RangeDecoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> RangeDecoder<'a> {
        let mut coder = RangeDecoder {
            rest: bytes,
            code: 0,
            range: u32::MAX,
        };
        for _ in 0..4 {
            coder.take();
        }
        coder
    }

    fn take(&mut self) {
        let (byte, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        self.code = self.code << 8 | u32::from(*byte);
    }

    fn renew(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.take();
        }
    }
}

impl Coder for RangeDecoder<'_> {
    fn decision(&mut self, prob: &mut Prob, _: bool) -> bool {
        let of_no = (self.range >> P_BITS) * prob.of_no();
        let is_yes = self.code >= of_no;
        if is_yes {
            self.code -= of_no;
            self.range -= of_no;
        } else {
            self.range = of_no;
        }
        prob.learn(is_yes);
        self.renew();
        is_yes
    }

    fn direct(&mut self, _: u64, mut bits: u32) -> u64 {
        let mut v = 0;
        while bits > 0 {
            let here = bits.min(DIRECT_BITS);
            bits -= here;
            self.range >>= here;
            // Only bytes that no writer wrote lead beyond.
            let part = (self.code / self.range).min((1 << here) - 1);
            self.code -= part * self.range;
            v = v << here | u64::from(part);
            self.renew();
        }
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(coder: &mut impl Coder, numbers: &[(u64, u32)]) -> Vec<u64> {
        let mut probs = [Prob::EVEN; 256];
        let each = numbers.iter().map(|(v, bits)| {
            let v = v & (u64::MAX >> (64 - bits));
            match bits % 3 {
                0 => coder.direct(v, *bits),
                1 => coder.tree(&mut probs, 8, v as usize & 255) as u64,
                _ => u64::from(coder.decision(&mut probs[0], v.is_multiple_of(9))),
            }
        });
        each.collect()
    }

    #[test]
    fn what_is_expected_costs_nearly_nothing() {
        let mut bytes = Vec::new();
        let mut coder = RangeEncoder::new(&mut bytes);
        let mut prob = Prob::EVEN;
        for _ in 0..100_000 {
            coder.decision(&mut prob, true);
        }
        coder.finish();
        assert!(bytes.len() < 100, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn everything_comes_back(
            numbers in prop::collection::vec((any::<u64>(), 1_u32..=64), 0..300),
            ones in any::<bool>(),
        ) {
            let mut numbers = numbers;
            if ones {
                // Carries.
                numbers.iter_mut().for_each(|(v, _)| *v = u64::MAX);
            }
            let mut bytes = Vec::new();
            let mut coder = RangeEncoder::new(&mut bytes);
            let expect = pass(&mut coder, &numbers);
            coder.finish();
            let found = pass(&mut RangeDecoder::new(&bytes), &numbers);
            prop_assert_eq!(found, expect);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            numbers in prop::collection::vec((any::<u64>(), 1_u32..=64), 0..300),
        ) {
            pass(&mut RangeDecoder::new(&bytes), &numbers);
        }
    }
}
