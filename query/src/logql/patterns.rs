//! Templates of lines: what lines that look alike share, and `<_>` where they differ, so that each
//! is the text of a line filter `|>`.
//!
//! After Drain (He, Zhu, Zheng, Lyu: "Drain: An Online Log Parsing Approach with Fixed Depth Tree",
//! ICWS 2017), without its tree: lines are compared when they have the same separators, and so as
//! many words.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// Most templates. Lines that fit none of them are not counted then.
pub const PATTERNS_MAX: usize = 300;
/// Words of a line looked at; what follows is `<_>`.
const WORDS_MAX: usize = 100;
/// Bytes of a line looked at.
const LINE_BYTES_MAX: usize = 3000;
/// A line belongs to a template with so much of its constant words: Drain's own threshold.
const SIMILAR: f64 = 0.4;
const ANYTHING: &str = "<_>";

/// Counts lines by template and time.
pub struct Patterns {
    step_ns: i64,
    clusters: Vec<Cluster>,
    /// Numbers of the clusters by the hash of their separators.
    by_shape: HashMap<u64, Vec<u32>, FixedState>,
}

struct Cluster {
    /// Before the first word, between two words, after the last.
    separators: Vec<Box<str>>,
    /// `None` where lines differ.
    words: Vec<Option<Box<str>>>,
    total: u64,
    /// Lines by the start of their step.
    counts: BTreeMap<i64, u64>,
}

/// A template and how often it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Text of a line filter `|>`.
    pub text: String,
    /// Start of a step in nanoseconds and lines from there on, oldest first.
    pub samples: Vec<(i64, u64)>,
}

impl Patterns {
    /// Counts in steps of `step_ns` nanoseconds, at least one.
    #[must_use]
    pub fn new(step_ns: i64) -> Self {
        Patterns {
            step_ns: step_ns.max(1),
            clusters: Vec::new(),
            by_shape: HashMap::default(),
        }
    }

    /// Adds a line.
    pub fn add(&mut self, at_ns: i64, line: &str) {
        let (separators, words) = split(line);
        let shape = FixedState::default().hash_one(&separators);
        let known = self.by_shape.entry(shape).or_default();
        let same_shape = known
            .iter()
            .map(|i| (*i, &self.clusters[*i as usize]))
            .filter(|(_, c)| {
                c.separators
                    .iter()
                    .map(|s| &**s)
                    .eq(separators.iter().copied())
            });
        // The first of those that are as similar.
        let best = same_shape.map(|(i, c)| (i, c.similarity(&words))).fold(
            None,
            |best: Option<(u32, f64)>, next| match best {
                Some(best) if best.1 >= next.1 => Some(best),
                _ => Some(next),
            },
        );
        let number = match best {
            Some((i, similarity)) if similarity >= SIMILAR => {
                self.clusters[i as usize].generalize(&words);
                i
            }
            _ if self.clusters.len() >= PATTERNS_MAX => return,
            _ => {
                let number = self.clusters.len() as u32;
                known.push(number);
                self.clusters.push(Cluster {
                    separators: separators.into_iter().map(Into::into).collect(),
                    words: words.into_iter().map(|w| w.map(Into::into)).collect(),
                    total: 0,
                    counts: BTreeMap::new(),
                });
                number
            }
        };
        let cluster = &mut self.clusters[number as usize];
        cluster.total += 1;
        let step = at_ns.div_euclid(self.step_ns).saturating_mul(self.step_ns);
        *cluster.counts.entry(step).or_default() += 1;
    }

    /// The templates, the most frequent first. Those without a word say nothing and are left out.
    #[must_use]
    pub fn finish(self) -> Vec<Pattern> {
        // What was made general on the way may have become the same.
        let mut by_text: HashMap<String, (u64, BTreeMap<i64, u64>), FixedState> =
            HashMap::default();
        for cluster in self.clusters {
            if cluster.words.iter().all(Option::is_none) {
                continue;
            }
            let (total, counts) = by_text.entry(cluster.text()).or_default();
            *total += cluster.total;
            for (step, lines) in cluster.counts {
                *counts.entry(step).or_default() += lines;
            }
        }
        let mut found: Vec<_> = by_text.into_iter().collect();
        found.sort_by(|(a, (of_a, _)), (b, (of_b, _))| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        let pattern = |(text, (_, counts)): (_, (_, BTreeMap<_, _>))| Pattern {
            text,
            samples: counts.into_iter().collect(),
        };
        found.into_iter().map(pattern).collect()
    }
}

impl Cluster {
    /// How much of the line's constant words the template has.
    fn similarity(&self, words: &[Option<&str>]) -> f64 {
        let constant = words.iter().flatten().count();
        if constant == 0 {
            return f64::from(self.words.iter().all(Option::is_none));
        }
        let same = self.words.iter().zip(words);
        let same = same.filter(|(own, word)| word.is_some() && own.as_deref() == **word);
        same.count() as f64 / constant as f64
    }

    fn generalize(&mut self, words: &[Option<&str>]) {
        for (own, word) in self.words.iter_mut().zip(words) {
            if own.as_deref() != *word {
                *own = None;
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (i, separator) in self.separators.iter().enumerate() {
            text.push_str(separator);
            if let Some(word) = self.words.get(i) {
                text.push_str(word.as_deref().unwrap_or(ANYTHING));
            }
        }
        text
    }
}

/// The separators of a line and its words, which lie between; `None` for one with a digit, which
/// is no constant.
fn split(line: &str) -> (Vec<&str>, Vec<Option<&str>>) {
    let (mut separators, mut words) = (Vec::new(), Vec::new());
    let text = &line[..line.floor_char_boundary(LINE_BYTES_MAX)];
    let is_cut = text.len() < line.len();
    let constant = |word| Some(word).filter(|w: &&str| !w.bytes().any(|b| b.is_ascii_digit()));
    let (mut start, mut in_word, mut before) = (0, false, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|(_, c)| *c);
        // A word and a separator take turns.
        if is_separator(before, c, after) == in_word {
            let piece = &text[start..at];
            if !in_word {
                separators.push(piece);
            } else if words.len() + 1 == WORDS_MAX {
                words.push(None);
                return (separators, words);
            } else {
                words.push(constant(piece));
            }
            (start, in_word) = (at, !in_word);
        }
        before = Some(c);
    }
    let piece = &text[start..];
    match in_word {
        true => words.push(constant(piece).filter(|_| !is_cut)),
        false => {
            separators.push(piece);
            if is_cut {
                words.push(None);
            }
        }
    }
    (separators, words)
}

/// What stands between words: spaces, brackets, quotes and the like; a colon unless it is one of
/// a time.
fn is_separator(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    c.is_whitespace()
        || "=\"'()[]{},;|&?<>".contains(c)
        || c == ':' && !(is_digit(before) && is_digit(after))
}

#[cfg(test)]
mod tests {
    use super::super::{Expr, Follower, parse};
    use super::*;
    use model::{Labels, LogEntry, Timestamp};

    fn found(lines: &[&str]) -> Vec<Pattern> {
        let mut patterns = Patterns::new(10);
        for (at_ns, line) in (0..).zip(lines) {
            patterns.add(at_ns * 5, line);
        }
        patterns.finish()
    }

    #[test]
    fn lines_that_look_alike_share_a_template() {
        let lines = [
            "user alice logged in from 10.0.0.1",
            "user bob logged in from 10.0.0.2",
            r#"{"level":"info","n":5}"#,
            "user carol logged out from 10.0.0.9",
            "at 10:15:20: done",
            r#"{"level":"warn","n":17}"#,
            "12 34",
        ];
        let patterns = found(&lines);
        let texts: Vec<&str> = patterns.iter().map(|p| p.text.as_str()).collect();
        let expect = [
            "user <_> logged <_> from <_>",
            r#"{"level":"<_>","n":<_>}"#,
            "at <_>: done",
        ];
        assert_eq!(texts, expect);
        assert_eq!(patterns[0].samples, [(0, 2), (10, 1)]);
    }

    #[test]
    fn a_template_is_a_filter_that_lets_its_lines_pass() {
        let long = format!("head {} {}", "word ".repeat(150), "x".repeat(5000));
        let cases: [&[&str]; 4] = [
            &["GET /a/1?b=2 200 \"curl\"", "GET /a/7?b=9 404 \"wget\""],
            &[" a=b  c=d ", " a=x  c=d "],
            &[&long],
            &["tïme: wörld (1)", "tïme: wörld (2)"],
        ];
        for lines in cases {
            let patterns = found(lines);
            assert_eq!(patterns.len(), 1, "{patterns:?}");
            let query = format!("{{a=\"b\"}} |> `{}`", patterns[0].text);
            let Ok(Expr::Log(expr)) = parse(&query) else {
                panic!("{query}: {:?}", parse(&query));
            };
            let filter = Follower::new(&expr, Timestamp::from_millis(0)).unwrap();
            for line in lines {
                let entry = LogEntry {
                    at_ns: 0,
                    line: (*line).to_owned(),
                    metadata: Labels::empty(),
                };
                let shown = filter.show(&Labels::empty(), &entry, false);
                assert!(shown.is_some(), "{query}: {line}");
            }
        }
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let mut patterns = Patterns::new(1);
        for i in 0..1000_u32 {
            let word = |n: u32| char::from(b'a' + (n % 26) as u8);
            let line: String = [i, i / 26, i / 676].iter().map(|n| word(*n)).collect();
            patterns.add(0, &line);
        }
        assert_eq!(patterns.finish().len(), PATTERNS_MAX);
    }
}
