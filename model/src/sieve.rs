//! What a line must have to be wanted: a reader looks for it in many lines at once and passes over
//! those that have it not.
//!
//! A sieve lets a line through too many rather than one too few: who asked looks again.

use std::ops::Range;

use memchr::memmem::Finder;
use regex_automata::{Input, meta};

use crate::Regex;

/// Conditions of one sieve; more are left out, which lets more lines through.
const TESTS_MAX: usize = 32;
/// Shorter texts of an expression are not looked for apart from it: nearly every frame has them.
const TEXT_BYTES_MIN: usize = 3;
/// Matches that begin in one line and end in another, after which lines of the same text are
/// looked at one by one: an expression such as `[^x]*y` finds its end far away, time and again.
const SPILLS_MAX: u32 = 2;

/// Which conditions of a [`Sieve`] say something of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(u32);

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Sieve {
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
struct Test {
    search: Search,
    /// It says nothing of lines that have this label from their stream or their metadata.
    unless_label: Option<String>,
    /// A line that passes has one of these; empty when that is not known.
    texts: Vec<String>,
}

#[derive(Clone, Debug)]
enum Search {
    Text(Box<Finder<'static>>),
    Regex(meta::Regex),
}

impl Search {
    fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        match self {
            Search::Text(finder) => {
                let at = from + finder.find(text.get(from..)?)?;
                Some(at..at + finder.needle().len())
            }
            Search::Regex(regex) => {
                let found = regex.find(Input::new(text).range(from..text.len()))?;
                Some(found.range())
            }
        }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Search::Text(finder) => finder.find(text).is_some(),
            Search::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Sieve {
    /// Lets everything through.
    #[must_use]
    pub fn new() -> Sieve {
        Sieve::default()
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Lines must have one of these texts.
    pub fn require_any(&mut self, texts: &[&str]) {
        self.require(texts, None);
    }

    /// Lines must have one of these texts, unless the label `name` comes from elsewhere.
    pub fn require_any_unless(&mut self, texts: &[&str], name: &str) {
        self.require(texts, Some(name.to_owned()));
    }

    fn require(&mut self, texts: &[&str], unless_label: Option<String>) {
        if texts.iter().any(|t| t.is_empty()) {
            return;
        }
        let search = match texts {
            [] => return,
            [text] => Search::Text(Box::new(Finder::new(text.as_bytes()).into_owned())),
            _ => {
                let escaped: Vec<String> = texts.iter().map(|t| regex_syntax::escape(t)).collect();
                let Ok(regex) = meta::Regex::new(&escaped.join("|")) else {
                    return;
                };
                Search::Regex(regex)
            }
        };
        self.add(Test {
            search,
            unless_label,
            texts: texts.iter().map(|t| (*t).to_owned()).collect(),
        });
    }

    /// Lines must match, anywhere.
    pub fn require_match(&mut self, regex: &Regex) {
        let Some((loose, required)) = regex.loosened() else {
            return;
        };
        for texts in required {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if texts.iter().all(|t| t.len() >= TEXT_BYTES_MIN) {
                self.require(&texts, None);
            }
        }
        self.add(Test {
            search: Search::Regex(loose),
            unless_label: None,
            texts: Vec::new(),
        });
    }

    /// Texts come before expressions: they are found faster.
    fn add(&mut self, test: Test) {
        if self.tests.len() >= TESTS_MAX {
            return;
        }
        let is_text = matches!(test.search, Search::Text(_));
        let texts = self.tests.iter();
        let texts = texts
            .filter(|t| matches!(t.search, Search::Text(_)))
            .count();
        let place = if is_text { texts } else { self.tests.len() };
        self.tests.insert(place, test);
    }

    /// Whether a condition depends on which labels lines have.
    #[must_use]
    pub fn asks_for_labels(&self) -> bool {
        self.tests.iter().any(|t| t.unless_label.is_some())
    }

    /// The conditions that hold for lines, of whose labels `has` tells the names.
    pub fn mask(&self, has: &dyn Fn(&str) -> bool) -> Mask {
        let says = |t: &Test| t.unless_label.as_deref().is_none_or(|name| !has(name));
        let bits = self.tests.iter().enumerate().filter(|(_, t)| says(t));
        Mask(bits.fold(0, |mask, (i, _)| mask | 1 << i))
    }

    fn masked(&self, mask: Mask) -> impl Iterator<Item = &Test> {
        let tests = self.tests.iter().enumerate();
        tests.filter_map(move |(i, t)| (mask.0 & (1 << i) != 0).then_some(t))
    }

    /// Whether a line may pass, when `might_have` tells of texts whether a line may have them.
    pub fn may_pass(&self, mask: Mask, might_have: &dyn Fn(&str) -> bool) -> bool {
        self.masked(mask)
            .all(|t| t.texts.is_empty() || t.texts.iter().any(|text| might_have(text)))
    }

    /// Whether `line` passes.
    #[must_use]
    pub fn passes(&self, mask: Mask, line: &[u8]) -> bool {
        self.masked(mask).all(|t| t.search.is_in(line))
    }

    /// Whether a line within `text`, which is lines one after the other, may pass.
    #[must_use]
    pub fn may_be_in(&self, mask: Mask, text: &[u8]) -> bool {
        self.passes(mask, text)
    }

    /// Keeps those of `rows` whose lines pass. `line` tells where in `text` the line of a row is:
    /// each begins where the one before ends.
    pub fn retain<R: Copy>(
        &self,
        mask: Mask,
        text: &[u8],
        rows: &mut Vec<R>,
        line: impl Fn(&R) -> Range<usize>,
    ) {
        let Some(first) = self.masked(mask).next() else {
            return;
        };
        let passes = |range: Range<usize>| {
            let line = text.get(range).unwrap_or_default();
            self.passes(mask, line)
        };
        let (mut next, mut kept, mut spills) = (0, 0, 0);
        let mut at = rows.first().map_or(0, |r| line(r).start);
        while spills < SPILLS_MAX
            && let Some(found) = first.search.find(text, at)
        {
            while next < rows.len() && line(&rows[next]).end <= found.start {
                next += 1;
            }
            let Some(row) = rows.get(next).copied() else {
                break;
            };
            let range = line(&row);
            at = range.end;
            next += 1;
            spills += u32::from(found.end > range.end);
            if passes(range) {
                rows[kept] = row;
                kept += 1;
            }
            if next >= rows.len() {
                break;
            }
        }
        if spills >= SPILLS_MAX {
            for i in next..rows.len() {
                let row = rows[i];
                if passes(line(&row)) {
                    rows[kept] = row;
                    kept += 1;
                }
            }
        }
        rows.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn everything(sieve: &Sieve) -> Mask {
        sieve.mask(&|_| false)
    }

    /// The lines that a sieve lets through when they stand one after the other.
    fn kept<'l>(sieve: &Sieve, lines: &[&'l str]) -> Vec<&'l str> {
        let text = lines.concat();
        let mut rows = Vec::new();
        let mut end = 0;
        for (i, line) in lines.iter().enumerate() {
            rows.push((i, end, end + line.len()));
            end += line.len();
        }
        let mask = everything(sieve);
        if !sieve.may_be_in(mask, text.as_bytes()) {
            return Vec::new();
        }
        sieve.retain(mask, text.as_bytes(), &mut rows, |r| r.1..r.2);
        rows.iter().map(|r| lines[r.0]).collect()
    }

    #[test]
    fn texts_across_the_border_of_two_lines_are_in_neither() {
        let mut sieve = Sieve::new();
        sieve.require_any(&["error"]);
        let lines = [
            "an er",
            "ror",
            "",
            "the error",
            "error",
            "no",
            "errorerror",
            "",
        ];
        assert_eq!(kept(&sieve, &lines), ["the error", "error", "errorerror"]);
        sieve.require_any(&["the", "orer"]);
        assert_eq!(kept(&sieve, &lines), ["the error", "errorerror"]);
    }

    #[test]
    fn an_expression_that_runs_on_and_on_keeps_the_same_lines() {
        for pattern in ["[^x]*b", ".*b.*", "(?s).*b", "^b", "b$", r"\bb\b", "(?i)B"] {
            let regex = Regex::unanchored(pattern).unwrap();
            let mut sieve = Sieve::new();
            sieve.require_match(&regex);
            let lines = ["a", "ab", "c", "b", "xb", "c", "b b", "a\nb", "c"];
            let seen = kept(&sieve, &lines);
            for line in lines {
                assert!(
                    !regex.is_match(line) || seen.contains(&line),
                    "{pattern}: {line:?}"
                );
            }
        }
    }

    #[test]
    fn what_an_expression_must_have_is_known() {
        for (pattern, texts) in [
            ("foo.*barbaz", &[&["foo"][..], &["barbaz"]][..]),
            ("a(foo|bar)+z", &[&["foo", "bar"]]),
            ("(?:foobar)?x{2}", &[]),
            ("(?i)foobar", &[]),
            ("foo|", &[]),
            ("status=(4|5)..", &[&["status="]]),
        ] {
            let mut sieve = Sieve::new();
            sieve.require_match(&Regex::unanchored(pattern).unwrap());
            let known = sieve.tests.iter().filter(|t| !t.texts.is_empty());
            let known: Vec<_> = known.map(|t| t.texts.clone()).collect();
            assert_eq!(known, texts, "{pattern}");
        }
    }

    #[test]
    fn what_every_line_passes_is_no_condition() {
        let mut sieve = Sieve::new();
        sieve.require_any(&[""]);
        sieve.require_any(&["x", ""]);
        for pattern in ["", "a*", "^", "(x|)"] {
            sieve.require_match(&Regex::unanchored(pattern).unwrap());
        }
        assert!(sieve.is_empty());
    }

    #[test]
    fn a_condition_says_nothing_of_lines_that_have_its_label() {
        let mut sieve = Sieve::new();
        sieve.require_any_unless(&["x"], "level");
        assert!(sieve.asks_for_labels());
        let with = sieve.mask(&|name| name == "level");
        assert!(sieve.passes(with, b"y") && !sieve.passes(everything(&sieve), b"y"));
    }

    proptest! {
        #[test]
        fn no_line_that_matches_is_lost(
            lines in prop::collection::vec("[abx\n]{0,6}", 0..12),
            pattern in prop::sample::select(vec![
                "a", "ab", "a+b", "[^x]+b", "a.b", "^a", "b$", "a|xx", "(?i)A", "x[ab]*x", r"\Ba", "ab?x",
            ]),
            text in "[abx]{0,2}",
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let regex = Regex::unanchored(pattern).unwrap();
            let mut sieve = Sieve::new();
            sieve.require_match(&regex);
            sieve.require_any(&[&text]);
            let mut wanted = lines.clone();
            wanted.retain(|l| regex.is_match(l) && l.contains(&text));
            let mut seen = kept(&sieve, &lines);
            seen.retain(|l| regex.is_match(l) && l.contains(&text));
            if !sieve.is_empty() {
                prop_assert_eq!(seen, wanted);
            }
        }
    }
}
