//! One automaton over every detector's triggers: where in a text to look closer.
//!
//! A trigger is a short pattern of known length, so that the place where it ends is all there is
//! to know. That allows the simplest machine there is, a table with one look-up per byte. A chain
//! of such look-ups waits for memory at each step; [`LANES`] chains over as many parts of the text
//! wait together.

mod build;

use std::ops::Range;

/// Parts of a text that are read at the same time. Two are slower; more do not fit into the
/// registers.
const LANES: usize = 4;
/// Texts shorter than this are read in one part, as the parts overlap.
const LANES_BYTES_MIN: usize = 64;
/// Longest trigger in bytes: the longest key an operator can name.
pub(crate) const TRIGGER_BYTES_MAX: usize = 64;
/// Bytes of a literal, from its end, that the automaton looks for.
const TAIL_BYTES: usize = 8;
/// Longest match of a pattern, in bytes, whether they count or not.
pub(crate) const PATTERN_BYTES_MAX: usize = 14;
/// How far parts of a text overlap, so that no trigger is cut.
const OVERLAP: usize = if TAIL_BYTES > PATTERN_BYTES_MAX {
    TAIL_BYTES
} else {
    PATTERN_BYTES_MAX
};
/// Most classes of bytes that are told apart.
const CLASSES: usize = 128;
/// Marks states in which triggers are told.
const TELLS: u16 = 1 << 15;
/// Bytes read between looking at what was triggered: bounds the memory a text full of triggers
/// takes.
const BLOCK_BYTES: usize = 16 * 1024;
/// More states than this only come of hundreds of configured keys. The table takes 256 bytes per
/// state.
const STATES_MAX: usize = 30_000;
/// What stands before and after a text, as far as triggers are concerned.
const EDGE: u8 = b'\n';

/// What a detector wants to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// This ASCII text.
    Literal(String),
    /// This ASCII text, lower case, in whatever case.
    Word(String),
    /// A regular expression over bytes, a short one: each more, and each counted repetition, makes
    /// the automaton larger for all. Of its matches so many bytes count, from the end.
    Pattern(&'static str, usize),
}

impl Trigger {
    pub(crate) fn literal(text: &str) -> Self {
        Trigger::Literal(text.to_owned())
    }

    pub(crate) fn word(text: &str) -> Self {
        Trigger::Word(text.to_ascii_lowercase())
    }

    /// How many bytes before its end it begins.
    pub(crate) fn length(&self) -> usize {
        match self {
            Trigger::Literal(text) | Trigger::Word(text) => text.len(),
            Trigger::Pattern(_, length) => *length,
        }
    }

    /// Whether it stands at the end of `head`, where the automaton saw its last bytes in whatever
    /// case.
    fn ends(&self, head: &[u8]) -> bool {
        match self {
            Trigger::Literal(text) => head.ends_with(text.as_bytes()),
            Trigger::Word(text) => {
                let start = head.len().checked_sub(text.len());
                start.is_some_and(|start| head[start..].eq_ignore_ascii_case(text.as_bytes()))
            }
            Trigger::Pattern(..) => true,
        }
    }

    /// What the automaton looks for of a literal: with more of it, parts of a text would overlap
    /// more.
    fn tail(&self) -> Option<&str> {
        match self {
            Trigger::Literal(text) | Trigger::Word(text) => {
                Some(&text[text.len().saturating_sub(TAIL_BYTES)..])
            }
            Trigger::Pattern(..) => None,
        }
    }
}

/// Trigger number `trigger` ends before byte `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) end: usize,
    pub(crate) trigger: u16,
}

/// A trigger in a state of the automaton.
#[derive(Clone, Copy, Debug)]
struct Told {
    trigger: u16,
    /// Whether it ended before the byte that led to the state and not with it.
    late: bool,
}

/// The triggers do not make an automaton: too many.
#[derive(Debug, thiserror::Error)]
#[error("the triggers make no automaton of at most {STATES_MAX} states: {reason}")]
pub struct TriggerError {
    reason: String,
}

/// `table` of a state and the class of a byte is the next state.
pub(crate) struct Automaton {
    classes: [u8; 256],
    /// Per state, per class, the next state; with [`TELLS`] where there is something to note.
    table: Vec<[u16; CLASSES]>,
    /// The state after [`EDGE`].
    start: u16,
    /// Of each state, what triggers ended with the byte read last, or before it.
    hits: Vec<Box<[Told]>>,
    triggers: Vec<Trigger>,
}

impl Automaton {
    pub(crate) fn new(triggers: Vec<Trigger>) -> Result<Self, TriggerError> {
        build::build(triggers).map_err(|reason| TriggerError { reason })
    }

    /// Calls `hit` for each trigger in `text`, in the order of their ends.
    pub(crate) fn each(&self, text: &[u8], mut hit: impl FnMut(Hit)) {
        if text.len() < LANES_BYTES_MIN {
            let mut hits = Vec::new();
            self.one_lane(text, 0..text.len(), &mut hits);
            hits.into_iter().for_each(hit);
            return;
        }
        let mut hits = Vec::new();
        let mut from = 0;
        while from < text.len() {
            let mut to = (from + BLOCK_BYTES).min(text.len());
            if text.len() - to < LANES_BYTES_MIN {
                to = text.len();
            }
            self.lanes(text, from..to, &mut hits);
            hits.sort_unstable();
            hits.drain(..).for_each(&mut hit);
            from = to;
        }
    }

    /// The triggers that end in `range`, without its start and with its end.
    fn one_lane(&self, text: &[u8], range: Range<usize>, hits: &mut Vec<Hit>) {
        let lead = range.start.saturating_sub(OVERLAP);
        self.read_on(text, self.start, lead, &range, hits);
    }

    /// Reads from `at` up to one byte behind `range`, where patterns that end with it are told.
    fn read_on(
        &self,
        text: &[u8],
        mut state: u16,
        at: usize,
        range: &Range<usize>,
        hits: &mut Vec<Hit>,
    ) {
        for at in at..=range.end {
            state = self.next(state, text.get(at).copied().unwrap_or(EDGE));
            if state & TELLS != 0 {
                state ^= TELLS;
                self.note(text, state, at, range, hits);
            }
        }
    }

    /// The same, the range in [`LANES`] parts.
    #[inline(never)]
    fn lanes(&self, text: &[u8], range: Range<usize>, hits: &mut Vec<Hit>) {
        let length = range.len() / LANES;
        let mut parts = [const { 0..0 }; LANES];
        for (lane, part) in parts.iter_mut().enumerate() {
            let start = range.start + lane * length;
            let last = lane + 1 == LANES;
            *part = start..if last { range.end } else { start + length };
        }
        // Each part is read from a little before it, so that no trigger is cut.
        let leads: [usize; LANES] =
            std::array::from_fn(|lane| parts[lane].start.saturating_sub(OVERLAP));
        let common = (0..LANES).map(|lane| parts[lane].end - leads[lane]).min();
        let common = common.unwrap_or(0);
        let [a, b, c, d] = leads.map(|lead| &text[lead..lead + common]);
        let mut states = [self.start; LANES];
        let bytes = a.iter().zip(b).zip(c).zip(d);
        for (at, (((a, b), c), d)) in bytes.enumerate() {
            let [s, t, u, v] = states;
            states = [
                self.next(s, *a),
                self.next(t, *b),
                self.next(u, *c),
                self.next(v, *d),
            ];
            if (states[0] | states[1] | states[2] | states[3]) & TELLS != 0 {
                for lane in 0..LANES {
                    if states[lane] & TELLS != 0 {
                        states[lane] ^= TELLS;
                        self.note(text, states[lane], leads[lane] + at, &parts[lane], hits);
                    }
                }
            }
        }
        for lane in 0..LANES {
            self.read_on(text, states[lane], leads[lane] + common, &parts[lane], hits);
        }
    }

    #[inline]
    fn next(&self, state: u16, byte: u8) -> u16 {
        // The classes are fewer anyway; saying so spares a comparison.
        let class = usize::from(self.classes[usize::from(byte)]) % CLASSES;
        self.table[usize::from(state)][class]
    }

    /// Writes down the triggers of `state`, which byte `at` led to, if they end in `range`.
    #[cold]
    fn note(&self, text: &[u8], state: u16, at: usize, range: &Range<usize>, hits: &mut Vec<Hit>) {
        for Told { trigger, late } in &self.hits[usize::from(state)] {
            let end = if *late { at } else { at + 1 };
            let here = end > range.start && end <= range.end;
            if here && self.triggers[usize::from(*trigger)].ends(&text[..end]) {
                let trigger = *trigger;
                hits.push(Hit { end, trigger });
            }
        }
    }

    /// States of the table.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automaton(patterns: &[&'static str], words: &[&str]) -> Automaton {
        let patterns = patterns.iter().map(|p| Trigger::Pattern(p, 8));
        let words = words.iter().map(|word| Trigger::word(word));
        Automaton::new(patterns.chain(words).collect()).unwrap()
    }

    fn hits(automaton: &Automaton, text: &str) -> Vec<(usize, u16)> {
        let mut all = Vec::new();
        automaton.each(text.as_bytes(), |hit| all.push((hit.end, hit.trigger)));
        all
    }

    #[test]
    fn every_trigger_is_told_also_inside_of_others() {
        let machine = automaton(&["[^0-9]42"], &["b", "abc"]);
        assert_eq!(hits(&machine, "aBc"), [(2, 1), (3, 2)]);
        assert_eq!(hits(&machine, "42 42 142"), [(2, 0), (5, 0)]);
        assert_eq!(hits(&machine, "ab42abc"), [(2, 1), (4, 0), (6, 1), (7, 2)]);
        let exact = Automaton::new(vec![Trigger::literal("AKIA"), Trigger::word("a")]).unwrap();
        assert_eq!(hits(&exact, "akiA"), [(1, 1), (4, 1)]);
        assert_eq!(hits(&exact, "AKIA"), [(1, 1), (4, 0), (4, 1)]);
        assert_eq!(hits(&machine, ""), []);
    }

    #[test]
    fn parts_and_blocks_find_what_one_pass_finds() {
        let machine = automaton(&["h[a-z]l", "[^a]a{3}"], &["abcdefgh", "hello"]);
        for length in [
            63,
            64,
            65,
            71,
            100,
            1000,
            BLOCK_BYTES - 1,
            BLOCK_BYTES + 70,
            40_000,
        ] {
            let mut text: Vec<u8> = Vec::new();
            let mut seed = length as u32;
            while text.len() < length {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let words = [&b"abcdefgh"[..], b"hello", b" ", b"aaa", b"h", b"zz"];
                text.extend(words[(seed >> 16) as usize % words.len()]);
            }
            text.truncate(length);
            let mut expect = Vec::new();
            machine.one_lane(&text, 0..text.len(), &mut expect);
            expect.sort_unstable();
            let mut found = Vec::new();
            machine.each(&text, |hit| found.push(hit));
            assert_eq!(found, expect, "{length}");
        }
    }

    #[test]
    fn the_built_in_triggers_make_a_small_table() {
        let detectors = crate::detector::Detector::chosen(&crate::Config {
            enabled: vec!["ssn".to_owned()],
            ..crate::Config::default()
        })
        .unwrap();
        let triggers: Vec<Trigger> = detectors
            .iter()
            .flat_map(crate::detector::Detector::triggers)
            .collect();
        let machine = Automaton::new(triggers).unwrap();
        assert!(machine.len() < 6_000, "{}", machine.len());
    }
}
