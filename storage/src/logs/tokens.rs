//! Which words a frame has: a Bloom filter, which may say yes wrongly and never says no wrongly.
//! Bytes: `docs/formats/frames.md`.
//!
//! A word is a run of letters, digits, `_` and bytes beyond ASCII that no other such byte
//! precedes or follows. Who looks for a text knows of its words only those that have something
//! else on both sides within the text: the others may go on in the line.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// Of the filter for each different word. 10 bits and 7 probes say yes wrongly once in 120 times;
/// fewer bits are read sooner and help less.
/// Source: Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 1970.
const BITS_PER_WORD: usize = 10;
const PROBES: u32 = 7;

/// Collects the words of lines.
#[derive(Default)]
pub(super) struct Words(HashSet<u64, RandomState>);

impl Words {
    pub(super) fn add(&mut self, line: &[u8]) {
        for word in line.split(|b| !is_word(*b)).filter(|w| !w.is_empty()) {
            self.0.insert(hash(word));
        }
    }

    /// The filter of what was added; begins anew.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut bits = vec![0; (self.0.len() * BITS_PER_WORD).div_ceil(64).max(1) * 8];
        for hash in self.0.drain() {
            for bit in probes(hash, bits.len()) {
                bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        bits
    }
}

/// Whether a line of those that `filter` was made of may have `text`.
pub(super) fn may_have(filter: &[u8], text: &str) -> bool {
    let has = |word: &[u8]| {
        let mut probes = probes(hash(word), filter.len());
        probes.all(|bit| {
            filter
                .get(bit / 8)
                .is_none_or(|b| b & (1 << (bit % 8)) != 0)
        })
    };
    whole_words(text.as_bytes()).all(has)
}

/// The words in `text` that are words in every line that has it.
fn whole_words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let begin = text.iter().position(|b| !is_word(*b));
    let end = text.iter().rposition(|b| !is_word(*b));
    let inner = begin.zip(end).and_then(|(begin, end)| text.get(begin..end));
    let words = inner.unwrap_or_default().split(|b| !is_word(*b));
    words.filter(|w| !w.is_empty())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// FNV-1a with 64 bits, then the finalizer of MurmurHash3, so that all bits depend on all bytes.
fn hash(word: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in word {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Bits of a filter of so many bytes that belong to a hash.
/// Source: Kirsch and Mitzenmacher, "Less hashing, same performance", ESA 2006.
fn probes(hash: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let (a, b) = (hash as u32, (hash >> 32) as u32 | 1);
    let bits = bytes as u64 * 8;
    (0..PROBES).map(move |i| {
        let at = u64::from(a.wrapping_add(i.wrapping_mul(b)));
        ((at * bits) >> 32) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(lines: &[&str]) -> Vec<u8> {
        let mut words = Words::default();
        lines.iter().for_each(|l| words.add(l.as_bytes()));
        words.finish()
    }

    #[test]
    fn only_words_with_both_ends_count() {
        let words = |text: &'static str| -> Vec<&str> {
            let words = whole_words(text.as_bytes());
            words.map(|w| std::str::from_utf8(w).unwrap()).collect()
        };
        assert_eq!(words("word"), [""; 0]);
        assert_eq!(words("user=4711 failed"), ["4711"]);
        assert_eq!(words(" whole "), ["whole"]);
        assert_eq!(words("é-ß-ü"), ["ß"]);
        assert_eq!(words("a-b"), [""; 0]);
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("- -"), [""; 0]);
    }

    #[test]
    fn most_absent_words_are_known_to_be_absent() {
        let lines: Vec<String> = (0..3000).map(|i| format!("request {i} done")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let filter = filter(&lines);
        let wrong = (3000..23_000).filter(|i| may_have(&filter, &format!(" {i} ")));
        assert!(wrong.count() < 300, "one in 66");
        assert_eq!(filter.len(), (3002_usize * 10).div_ceil(64) * 8);
    }

    #[test]
    fn bits_are_where_the_format_says() {
        // Written down once: files have them.
        assert_eq!(hash(b"error"), 0xfc80_d452_13e4_b6c6);
    }

    proptest! {
        #[test]
        fn a_text_that_is_there_is_never_denied(
            lines in prop::collection::vec("[ab_ .é0]{0,12}", 1..20),
            which in any::<prop::sample::Index>(),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
            let filter = filter(&texts);
            let line: Vec<char> = which.get(&lines).chars().collect();
            let (a, b) = (from.index(line.len() + 1), to.index(line.len() + 1));
            let part: String = line[a.min(b)..a.max(b)].iter().collect();
            prop_assert!(may_have(&filter, &part), "{part:?}");
        }
    }
}
