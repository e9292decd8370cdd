//! One float as what it is expected to be after the float before it in its series, or how it
//! differs. Bytes: `docs/formats/wal.md`.
//!
//! What is usual is learnt in the course of a run, by writer and reader alike: which series
//! change, by how much, and together with which neighbours.

use super::range_coder::{Coder, Prob};

/// Powers of ten by which decimals are made whole.
const SCALES: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const SCALE_MAX: u8 = 9;
/// Whole numbers below are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Classes of values: those below are the powers of ten.
const XOR: u8 = 10;
const NO_CLASS: u8 = 11;
const CLASSES: usize = 12;
/// From here on a hint says that the series is not decimal, and counts up to the next try.
const NO_SCALE: u8 = 16;
const TRY_AGAIN: u8 = 48;
/// Before a series has a history; after it, the last four decisions.
const NO_HISTORY: u8 = 16;
/// Before there was a number.
const NO_ZEROS: u8 = 64;
/// The mean difference is kept in units of this part, and follows by this part.
const MEAN_UNIT_BITS: u32 = 4;
const MEAN_FOLLOWS: u32 = 2;
/// How sure it can be which prediction is better.
const SCORE_MAX: i8 = 24;

/// What is remembered of a series in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    /// The last difference, in units of its class, and their mean in sixteenths.
    delta: i64,
    mean: i64,
    class: u8,
    /// Whether the last four values changed.
    history: u8,
    /// Whether the last two differences were those before, and the last two those of the
    /// neighbour.
    again: u8,
    near: u8,
    /// Bits of the last number, and its sign and that of the one before.
    bits: u8,
    signs: u8,
    /// So many low bits of all differences are zero: memory comes in pages.
    zeros: u8,
    /// Above 0 the mean difference predicts better than none.
    score: i8,
}

impl Series {
    pub(super) const NEW: Series = Series {
        delta: 0,
        mean: 0,
        class: NO_CLASS,
        history: NO_HISTORY,
        again: 0,
        near: 0,
        bits: 0,
        signs: 0,
        zeros: NO_ZEROS,
        score: 0,
    };

    fn expected(&self) -> i64 {
        match self.score > 0 {
            true => self.mean >> MEAN_UNIT_BITS,
            false => 0,
        }
    }

    fn learn(&mut self, class: u8, delta: i64) {
        if class != self.class {
            (self.mean, self.score, self.class) = (0, 0, class);
        }
        let error = delta.wrapping_sub(self.mean >> MEAN_UNIT_BITS);
        // The mean has to be better by a bit: it costs a sign.
        let gain = bits_of(delta) as i8 - bits_of(error) as i8 - 1;
        self.score = (self.score + gain).clamp(-SCORE_MAX, SCORE_MAX);
        let exact = delta.wrapping_shl(MEAN_UNIT_BITS);
        let step = exact.wrapping_sub(self.mean) >> MEAN_FOLLOWS;
        self.mean = self.mean.wrapping_add(step);
        self.delta = delta;
    }
}

/// What is usual in this run.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// By history of the series and of the two neighbours before it.
    changes: [[Prob; 4]; NO_HISTORY as usize + 1],
    /// The difference is that before; it is that of the neighbour.
    again: [Prob; 4],
    near: [Prob; 8],
    /// The class stays, and which it is else.
    stays: [Prob; CLASSES],
    class: [[Prob; 16]; CLASSES],
    /// As many low bits are zero as in the series so far, and how many else.
    is_multiple: Prob,
    zeros: [Prob; 64],
    /// How many bits the number has, by those of the number before.
    bits: [[Prob; 64]; 64],
    sign: [[Prob; 4]; 2],
    /// The two bits behind the highest one.
    top: [[Prob; 4]; 64],
    /// Bytes left out and taken.
    bytes: [Prob; 128],
    neighbours: u8,
    neighbour_class: u8,
    neighbour_delta: i64,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            changes: [[Prob::EVEN; 4]; NO_HISTORY as usize + 1],
            again: [Prob::EVEN; 4],
            near: [Prob::EVEN; 8],
            stays: [Prob::EVEN; CLASSES],
            class: [[Prob::EVEN; 16]; CLASSES],
            is_multiple: Prob::EVEN,
            zeros: [Prob::EVEN; 64],
            bits: [[Prob::EVEN; 64]; 64],
            sign: [[Prob::EVEN; 4]; 2],
            top: [[Prob::EVEN; 4]; 64],
            bytes: [Prob::EVEN; 128],
            neighbours: 0,
            neighbour_class: NO_CLASS,
            neighbour_delta: 0,
        }
    }
}

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

fn scale_of(class: u8) -> f64 {
    SCALES[usize::from(class.min(SCALE_MAX))]
}

fn bits_of(n: i64) -> u32 {
    u64::BITS - n.unsigned_abs().leading_zeros()
}

fn decimal(hint: &mut u8, v: f64) -> Option<(u8, i64)> {
    if *hint >= NO_SCALE {
        // Only now and then: trying all powers is what encoding costs most.
        *hint = if *hint == TRY_AGAIN { 0 } else { *hint + 1 };
        return None;
    }
    if let Some(n) = whole(v, scale_of(*hint)) {
        return Some((*hint, n));
    }
    for class in *hint + 1..=SCALE_MAX {
        if let Some(n) = whole(v, scale_of(class)) {
            *hint = class;
            return Some((class, n));
        }
    }
    *hint = NO_SCALE;
    None
}

impl Model {
    /// Writes `v` after `before`. `hint` remembers for the series, beyond runs, which power of
    /// ten worked; it starts as 0.
    pub(super) fn put(
        &mut self,
        coder: &mut impl Coder,
        series: &mut Series,
        hint: &mut u8,
        before: f64,
        v: f64,
    ) {
        let is_changed = v.to_bits() != before.to_bits();
        self.changes(coder, series, is_changed);
        if !is_changed {
            return;
        }
        let found = decimal(hint, v);
        let (class, delta) = match found {
            Some((class, n)) => {
                let n_before = whole(before, scale_of(class)).unwrap_or(0);
                (class, n.wrapping_sub(n_before))
            }
            None => (XOR, 0),
        };
        let is = |c: u8, d: i64| c < XOR && c == class && d == delta;
        let is_again = is(series.class, series.delta);
        let is_near = is(self.neighbour_class, self.neighbour_delta);
        if self.repeats(coder, series, is_again, is_near).is_none() {
            self.class(coder, series, class);
            if class == XOR {
                let xor = v.to_bits() ^ before.to_bits();
                let skipped = xor.trailing_zeros() / 8;
                let taken = 8 - xor.leading_zeros() / 8 - skipped;
                let both = skipped << 4 | taken;
                coder.tree(&mut self.bytes, 7, both as usize);
                coder.direct(xor >> (8 * skipped), 8 * taken);
                series.class = XOR;
                return;
            }
            self.number(coder, series, class, delta);
        }
        self.learn(series, class, delta);
    }

    /// Reads the value after `before`.
    pub(super) fn read(&mut self, coder: &mut impl Coder, series: &mut Series, before: f64) -> f64 {
        if !self.changes(coder, series, false) {
            return before;
        }
        let (class, delta) = match self.repeats(coder, series, false, false) {
            Some(found) => found,
            None => {
                let class = self.class(coder, series, 0);
                if class >= XOR {
                    let both = coder.tree(&mut self.bytes, 7, 0) as u32;
                    let (skipped, taken) = (both >> 4, (both & 0xf).min(8));
                    let xor = coder.direct(0, 8 * taken) << (8 * skipped);
                    series.class = XOR;
                    return f64::from_bits(before.to_bits() ^ xor);
                }
                (class, self.number(coder, series, class, 0))
            }
        };
        self.learn(series, class, delta);
        let scale = scale_of(class);
        let n_before = whole(before, scale).unwrap_or(0);
        n_before.wrapping_add(delta) as f64 / scale
    }

    fn changes(&mut self, coder: &mut impl Coder, series: &mut Series, is_changed: bool) -> bool {
        let by_history = &mut self.changes[usize::from(series.history.min(NO_HISTORY))];
        let prob = &mut by_history[usize::from(self.neighbours & 3)];
        let is_changed = coder.decision(prob, is_changed);
        series.history = (series.history << 1 | u8::from(is_changed)) & 0xf;
        self.neighbours = self.neighbours << 1 | u8::from(is_changed);
        is_changed
    }

    /// Class and difference when they are known already.
    fn repeats(
        &mut self,
        coder: &mut impl Coder,
        series: &mut Series,
        is_again: bool,
        is_near: bool,
    ) -> Option<(u8, i64)> {
        if series.class < XOR {
            let prob = &mut self.again[usize::from(series.again & 3)];
            let is_again = coder.decision(prob, is_again);
            series.again = series.again << 1 | u8::from(is_again);
            if is_again {
                return Some((series.class, series.delta));
            }
        }
        if self.neighbour_class < XOR {
            let is_alike = usize::from(self.neighbour_class == series.class);
            let prob = &mut self.near[4 * is_alike + usize::from(series.near & 3)];
            let is_near = coder.decision(prob, is_near);
            series.near = series.near << 1 | u8::from(is_near);
            if is_near {
                return Some((self.neighbour_class, self.neighbour_delta));
            }
        }
        None
    }

    fn class(&mut self, coder: &mut impl Coder, series: &Series, class: u8) -> u8 {
        let before = usize::from(series.class.min(NO_CLASS));
        if coder.decision(&mut self.stays[before], class == series.class) {
            return series.class;
        }
        coder.tree(&mut self.class[before], 4, class.into()) as u8
    }

    fn number(
        &mut self,
        coder: &mut impl Coder,
        series: &mut Series,
        class: u8,
        delta: i64,
    ) -> i64 {
        let mut expected = series.expected();
        if class != series.class {
            (expected, series.zeros) = (0, NO_ZEROS);
        }
        let zeros = delta.trailing_zeros().min(63) as u8;
        let is_multiple =
            series.zeros < NO_ZEROS && coder.decision(&mut self.is_multiple, zeros >= series.zeros);
        if !is_multiple {
            series.zeros = coder.tree(&mut self.zeros, 6, zeros.into()) as u8;
        }
        let zeros = series.zeros;
        let expected = expected >> zeros;
        let n = (delta >> zeros).wrapping_sub(expected);
        let by_bits = &mut self.bits[usize::from(series.bits & 63)];
        // Differences of numbers below 2^53, and of those: less than 64 bits.
        let bits = coder.tree(by_bits, 6, bits_of(n) as usize & 63);
        series.bits = bits as u8;
        if bits == 0 {
            return expected << zeros;
        }
        let by_sign = &mut self.sign[usize::from(series.score > 0)];
        let is_negative = coder.decision(&mut by_sign[usize::from(series.signs & 3)], n < 0);
        series.signs = series.signs << 1 | u8::from(is_negative);
        let low = bits as u32 - 1;
        let magnitude = n.unsigned_abs();
        let modelled = low.min(2);
        let top = (magnitude >> (low - modelled)) as usize & ((1 << modelled) - 1);
        let top = coder.tree(&mut self.top[bits], modelled, top) as u64;
        let rest = low - modelled;
        let direct = coder.direct(magnitude & ((1 << rest) - 1), rest);
        let magnitude = ((1 << modelled | top) << rest | direct) as i64;
        let n = if is_negative { -magnitude } else { magnitude };
        expected.wrapping_add(n) << zeros
    }

    fn learn(&mut self, series: &mut Series, class: u8, delta: i64) {
        series.learn(class, delta);
        (self.neighbour_class, self.neighbour_delta) = (class, delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::arbitrary::sample_runs;
    use crate::metrics::range_coder::{RangeDecoder, RangeEncoder};
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let (mut bytes, mut hint, mut before) = (Vec::new(), 0, 0.0);
        let (mut model, mut series) = (Model::default(), Series::NEW);
        let mut coder = RangeEncoder::new(&mut bytes);
        for v in values {
            model.put(&mut coder, &mut series, &mut hint, before, *v);
            before = *v;
        }
        coder.finish();
        let (mut model, mut series, mut before) = (Model::default(), Series::NEW, 0.0);
        let mut coder = RangeDecoder::new(&bytes);
        for v in values {
            before = model.read(&mut coder, &mut series, before);
            assert_eq!(before.to_bits(), v.to_bits());
        }
        bytes.len()
    }

    #[test]
    fn ordinary_steps_are_short() {
        assert!(round_trip(&[1e6; 99]) <= 8);
        let steady: Vec<f64> = (0..1000)
            .map(|i| f64::from(1234 + i * 15) / 100.0)
            .collect();
        let bytes = round_trip(&steady);
        assert!(bytes <= 24, "{bytes}");
        let pages: Vec<f64> = (0..1000).map(|i| f64::from((i * i % 13) << 12)).collect();
        let bytes = round_trip(&pages);
        assert!(bytes < 800, "{bytes}");
        let near = (0..1000).map(|i| f64::from(123_400 + i * 1500 + i * i % 7) / 100.0);
        let near = round_trip(&near.collect::<Vec<_>>());
        assert!(near < 700, "{near}");
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
            9e15,
            0.000_000_001,
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
            numbers in prop::collection::vec((any::<i32>(), 0_i32..11), 1..100),
        ) {
            let value = |(n, d): &(i32, i32)| f64::from(*n) / 10_f64.powi(*d);
            round_trip(&numbers.iter().map(value).collect::<Vec<_>>());
        }

        #[test]
        fn large_numbers_come_back_bit_by_bit(
            numbers in prop::collection::vec(any::<i64>(), 1..100),
            shift in 0_u32..64,
        ) {
            round_trip(&numbers.iter().map(|n| (n >> shift) as f64).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            v in any::<f64>(),
        ) {
            let (mut model, mut series, mut v) = (Model::default(), Series::NEW, v);
            let mut coder = RangeDecoder::new(&bytes);
            for _ in 0..200 {
                v = model.read(&mut coder, &mut series, v);
            }
        }
    }
}
