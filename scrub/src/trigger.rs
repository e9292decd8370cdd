//! Where in a text to look closer: every detector's triggers, found in one pass.
//!
//! A trigger is a short sequence of sets of bytes. Two machines read the text side by side, each a
//! word of bits that is shifted and combined with what a table says of the next byte (the
//! shift-or algorithm of Baeza-Yates and Gonnet, its patterns put into buckets as in Hyperscan's
//! FDR). They ask only for a few bytes of each trigger and mix triggers that share a bucket, so
//! what they tell is compared with the whole trigger before anyone hears of it. Tables of 4 KiB
//! stay in the processor's nearest cache, whatever the text.

mod hits;
mod plan;
mod set;

pub(crate) use set::ByteSet;

use hits::Hits;
use plan::Member;

/// Bytes of a trigger that the wide machine looks at, and its buckets.
const WIDE: usize = 8;
/// The same of the narrow one, which has twice as many buckets.
const NARROW: usize = 4;
const WIDE_BUCKETS: usize = 64 / WIDE;
const NARROW_BUCKETS: usize = 64 / NARROW;
/// Bytes read between two looks at what the machines tell.
const STEP: usize = 8;
/// Bytes read between two times of passing on what was found: bounds the memory a text full of
/// triggers takes.
const BLOCK_BYTES: usize = 16 * 1024;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(STEP));
/// A trigger is known when so many bytes behind its end have been read: most that may be asked
/// to follow it.
const FOLLOW_BYTES_MAX: usize = 4;
/// Longest trigger in bytes: the longest key an operator can name.
pub(crate) const TRIGGER_BYTES_MAX: usize = 64;
/// What stands before a text, as far as triggers are concerned.
const EDGE: u8 = b'\n';

/// What a detector wants to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    sets: Vec<ByteSet>,
    /// How many of the sets stand before it.
    before: usize,
    /// How many follow it.
    after: usize,
}

impl Trigger {
    /// This ASCII text.
    pub(crate) fn literal(text: &str) -> Self {
        let sets: Vec<ByteSet> = text.bytes().map(ByteSet::one).collect();
        Self::shape(0, &sets)
    }

    /// This ASCII text in whatever case.
    pub(crate) fn word(text: &str) -> Self {
        let sets: Vec<ByteSet> = text.bytes().map(ByteSet::either_case).collect();
        Self::shape(0, &sets)
    }

    /// One byte of each set in turn, of which the first `before` are no part of what is found. A
    /// text begins as if a line end stood before it.
    pub(crate) fn shape(before: usize, sets: &[ByteSet]) -> Self {
        Trigger {
            sets: sets.to_vec(),
            before,
            after: 0,
        }
    }

    /// Only where `count` bytes of `set` follow; of more than a few, the first ones.
    pub(crate) fn followed_by(mut self, set: ByteSet, count: usize) -> Self {
        let count = count.min(FOLLOW_BYTES_MAX - self.after);
        self.after += count;
        self.sets.extend(std::iter::repeat_n(set, count));
        self
    }

    /// Its bytes, without what is asked to stand around it.
    pub(crate) fn length(&self) -> usize {
        self.sets.len() - self.before - self.after
    }

    /// Whether it ends before byte `end` of `text`.
    fn is_at(&self, text: &[u8], end: usize) -> bool {
        let upto = end + self.after;
        let fits = |(set, byte): (&ByteSet, &u8)| set.holds(*byte);
        if let Some(start) = upto.checked_sub(self.sets.len()) {
            return (text.get(start..upto))
                .is_some_and(|text| self.sets.iter().zip(text).all(fits));
        }
        // It begins before the text.
        let missing = self.sets.len() - upto;
        let edge = self.sets[..missing].iter().all(|set| set.holds(EDGE));
        edge && missing <= self.before
            && upto <= text.len()
            && self.sets[missing..].iter().zip(text).all(fits)
    }
}

/// Trigger number `trigger` ends before byte `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) end: usize,
    pub(crate) trigger: usize,
}

/// All triggers, ready to be looked for.
pub(crate) struct Sieve {
    /// What to combine the machines' states with, by byte.
    wide: [u64; 256],
    narrow: [u64; 256],
    /// The wide machine's, then the other's.
    buckets: Vec<Vec<Member>>,
    /// The states after [`EDGE`]s.
    start: States,
    triggers: Vec<Trigger>,
    /// For tests: what the sieve is compared with, [`Sieve::each_slowly`], does its work.
    #[cfg(test)]
    pub(crate) slow: bool,
}

/// Of both machines: bit 0 of a lane's bucket says that the bytes read last match the bucket's sets
/// up to that lane. What the last lane says is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct States {
    wide: u64,
    narrow: u64,
}

impl States {
    /// Zero if nothing is told, else a one for each bucket: the wide machine's, then the other's.
    #[inline]
    fn told(self) -> u32 {
        const WIDE_SHIFT: usize = 64 - WIDE_BUCKETS;
        const NARROW_SHIFT: usize = 64 - NARROW_BUCKETS;
        let wide = !self.wide >> WIDE_SHIFT;
        let narrow = !self.narrow >> NARROW_SHIFT;
        (wide | narrow << WIDE_BUCKETS) as u32
    }
}

impl Sieve {
    pub(crate) fn new(triggers: Vec<Trigger>) -> Self {
        plan::plan(triggers)
    }

    /// Calls `hit` for each trigger in `text`, in the order of their ends.
    pub(crate) fn each(&self, text: &[u8], mut hit: impl FnMut(Hit)) {
        #[cfg(test)]
        if self.slow {
            return self.each_slowly(text, hit);
        }
        let mut hits = Hits::new();
        let mut states = self.start;
        let mut from = 0;
        while from < text.len() {
            let to = (from + BLOCK_BYTES).min(text.len());
            states = self.read(text, from, to, states, &mut hits);
            let is_known = |hit: &Hit| to == text.len() || hit.end + FOLLOW_BYTES_MAX <= to;
            hits.pass_on(is_known, &mut hit);
            from = to;
        }
    }

    /// Notes the triggers whose looked-at bytes end behind `from` and not behind `to`.
    fn read(
        &self,
        text: &[u8],
        from: usize,
        to: usize,
        mut states: States,
        hits: &mut Hits,
    ) -> States {
        let (steps, rest) = text[from..to].as_chunks::<STEP>();
        let mut at = from;
        for bytes in steps {
            states = self.step(text, at, bytes, states, hits);
            at += STEP;
        }
        self.step(text, at, rest, states, hits)
    }

    /// Reads `bytes`, at most [`STEP`], which stand at `at`.
    #[inline(always)]
    fn step(
        &self,
        text: &[u8],
        at: usize,
        bytes: &[u8],
        mut states: States,
        hits: &mut Hits,
    ) -> States {
        let before = states;
        // What any of the states tells.
        let mut any = States {
            wide: u64::MAX,
            narrow: u64::MAX,
        };
        for byte in bytes {
            states = self.next(states, *byte);
            any.wide &= states.wide;
            any.narrow &= states.narrow;
        }
        if any.told() != 0 {
            self.look(text, at, bytes, before, hits);
        }
        states
    }

    #[inline]
    fn next(&self, states: States, byte: u8) -> States {
        let byte = usize::from(byte);
        States {
            wide: states.wide << WIDE_BUCKETS | self.wide[byte],
            narrow: states.narrow << NARROW_BUCKETS | self.narrow[byte],
        }
    }

    /// Reads `bytes` once more and notes their triggers.
    #[inline(never)]
    fn look(&self, text: &[u8], at: usize, bytes: &[u8], mut states: States, hits: &mut Hits) {
        for (end, byte) in (at + 1..).zip(bytes) {
            states = self.next(states, *byte);
            let told = states.told();
            if told != 0 {
                self.note(text, end, told, hits);
            }
        }
    }

    /// Notes the triggers of the buckets `told`, whose looked-at bytes end before `end`.
    #[inline(never)]
    fn note(&self, text: &[u8], end: usize, mut told: u32, hits: &mut Hits) {
        let last = last_bytes(text, end);
        while told != 0 {
            let bucket = told.trailing_zeros() as usize;
            told &= told - 1;
            let members = self.buckets.get(bucket).into_iter().flatten();
            for member in members.filter(|member| member.may_end(last)) {
                let trigger = member.trigger;
                let Some(end) = member.trigger_end(end) else {
                    continue;
                };
                if member.is_certain() || self.triggers[trigger].is_at(text, end) {
                    hits.push(Hit { end, trigger });
                }
            }
        }
    }

    /// As [`Sieve::each`], trigger by trigger at every place.
    #[cfg(test)]
    pub(crate) fn each_slowly(&self, text: &[u8], mut hit: impl FnMut(Hit)) {
        for end in 0..=text.len() {
            for (number, trigger) in self.triggers.iter().enumerate() {
                if trigger.is_at(text, end) {
                    hit(Hit {
                        end,
                        trigger: number,
                    });
                }
            }
        }
    }
}

/// The eight bytes before `end`, the last one highest.
#[inline]
fn last_bytes(text: &[u8], end: usize) -> u64 {
    let head = &text[..end];
    match head.last_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => {
            let mut bytes = [EDGE; 8];
            bytes[8 - head.len()..].copy_from_slice(head);
            u64::from_le_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits(sieve: &Sieve, text: &[u8]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        sieve.each(text, |hit| all.push((hit.end, hit.trigger)));
        all
    }

    fn hits_slowly(sieve: &Sieve, text: &[u8]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        sieve.each_slowly(text, |hit| all.push((hit.end, hit.trigger)));
        all
    }

    fn built_in() -> Vec<Trigger> {
        let config = crate::Config {
            enabled: vec!["ssn".to_owned()],
            private_ips: true,
            ..crate::Config::default()
        };
        let detectors = crate::detector::Detector::chosen(&config).unwrap();
        let triggers = detectors.iter().map(crate::detector::Detector::triggers);
        triggers.flatten().collect()
    }

    #[test]
    fn every_trigger_is_told_also_inside_of_others() {
        let digit = ByteSet::DIGIT;
        let number = [digit.not(), ByteSet::one(b'4'), ByteSet::one(b'2')];
        let sieve = Sieve::new(vec![
            Trigger::shape(1, &number),
            Trigger::word("b"),
            Trigger::word("abc"),
            Trigger::literal("Z").followed_by(digit, 2),
        ]);
        let check = |text: &str, expect: &[(usize, usize)]| {
            assert_eq!(hits(&sieve, text.as_bytes()), expect, "{text}");
            assert_eq!(hits_slowly(&sieve, text.as_bytes()), expect, "{text}");
        };
        check("aBc", &[(2, 1), (3, 2)]);
        check("42 42 142", &[(2, 0), (5, 0)]);
        check("ab42abc", &[(2, 1), (4, 0), (6, 1), (7, 2)]);
        check("z12Z12Z1", &[(4, 3)]);
        check("", &[]);
    }

    #[test]
    fn a_long_text_is_read_in_blocks() {
        let sieve = Sieve::new(vec![
            Trigger::literal("abcdefghijklmnopqrstuvwxyz"),
            Trigger::literal("z").followed_by(ByteSet::LOWER, 3),
        ]);
        let alphabet: Vec<u8> = (b'a'..=b'z').collect();
        for length in [
            0,
            BLOCK_BYTES - 30,
            BLOCK_BYTES - 2,
            BLOCK_BYTES,
            2 * BLOCK_BYTES + 7,
        ] {
            let mut text = alphabet.repeat(length / 26);
            text.resize(length, b'-');
            text.extend(alphabet.repeat(2));
            assert_eq!(hits(&sieve, &text), hits_slowly(&sieve, &text), "{length}");
        }
    }

    /// What the triggers consist of, mixed.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let triggers = built_in();
        let piece = (
            0..triggers.len(),
            any::<prop::sample::Index>(),
            any::<bool>(),
        );
        let piece = piece.prop_map(move |(number, index, cut)| {
            let sets = &triggers[number].sets;
            let of = |set: &ByteSet| {
                let all: Vec<u8> = set.bytes().collect();
                all[index.index(all.len())]
            };
            let from = if cut { index.index(sets.len()) } else { 0 };
            sets[from..].iter().map(of).collect()
        });
        let other = prop_oneof![
            "[ -~]{0,9}".prop_map(String::into_bytes),
            any::<[u8; 3]>().prop_map(Vec::from)
        ];
        prop::collection::vec(prop_oneof![3 => piece, 1 => other], 0..40)
            .prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn the_sieve_lets_no_trigger_pass(text in bytes()) {
            thread_local! {
                static SIEVE: Sieve = Sieve::new(built_in());
            }
            let (fast, slow) = SIEVE.with(|sieve| (hits(sieve, &text), hits_slowly(sieve, &text)));
            prop_assert_eq!(fast, slow);
        }
    }

    #[test]
    fn little_of_ordinary_text_is_looked_at_closely() {
        let sieve = Sieve::new(built_in());
        let text = include_bytes!("../tests/corpus/negative.txt");
        let mut states = sieve.start;
        let mut told = 0;
        for byte in text {
            states = sieve.next(states, *byte);
            told += usize::from(states.told() != 0);
        }
        let share = told as f64 / text.len() as f64;
        assert!(share < 0.05, "{share}");
    }
}
