//! The pass over a line.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, LabelsBuilder};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::detector::Detector;
use crate::json::Json;
use crate::{Config, ConfigError, ScrubbedLabels, ScrubbedLine};

/// How often a line is gone over. A replacement can uncover another find (its neighbours
/// change), so a line with finds is read again until nothing is found: twice in practice.
const PASSES_MAX: usize = 8;

/// Stands for a line that still has finds after [`PASSES_MAX`] passes. Only a line made for
/// the purpose gets here; it is given up rather than stored.
const GIVEN_UP: &str = "<scrubbed>";

/// Replaces what must not be stored. Cheap to share: one per process behind an `Arc`.
pub struct Scrubber {
    /// One pattern per detector, in the same order.
    anchors: Regex,
    detectors: Vec<Detector>,
    counts: Vec<AtomicU64>,
}

/// A range to replace and the index of the detector that asks for it.
struct Find {
    range: Range<usize>,
    detector: usize,
}

impl Scrubber {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// When a name in `config` is unknown or no key.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let detectors = Detector::chosen(config)?;
        let patterns: Vec<String> = detectors.iter().map(Detector::pattern).collect();
        // Bytes, not characters: `\b` and classes are ASCII, and the engine never falls back
        // to the slow automaton on lines that are not.
        let anchors = Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .build_many(&patterns)
            .map_err(|source| ConfigError::Patterns(Box::new(source)))?;
        let counts = detectors.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Scrubber {
            anchors,
            detectors,
            counts,
        })
    }

    /// The line without line ends at its end, without what the detectors find, and with U+FFFD in
    /// place of bytes that are not UTF-8.
    ///
    /// What comes out goes through unchanged a second time.
    #[must_use]
    pub fn line(&self, raw: &[u8]) -> ScrubbedLine {
        let end = raw.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
        let text = text(&raw[..end.map_or(0, |last| last + 1)]);
        ScrubbedLine(
            self.scrub(&text)
                .map_or_else(|| text.into_owned(), Cow::into_owned),
        )
    }

    /// The labels with each value scrubbed like a line of its own; the value of a label whose
    /// name is that of a secret goes as a whole.
    #[must_use]
    pub fn labels(&self, raw: &Labels) -> ScrubbedLabels {
        let mut changed: Option<LabelsBuilder> = None;
        for (name, value) in raw {
            let clean = self.scrub(value);
            let secret = self.is_secret(name, clean.as_deref().unwrap_or(value));
            let clean = if secret {
                Some(Cow::Borrowed("<secret>"))
            } else {
                clean
            };
            if let Some(clean) = clean {
                changed
                    .get_or_insert_with(|| raw.to_builder())
                    .set(name, clean.into_owned());
            }
        }
        ScrubbedLabels(changed.map_or_else(|| raw.clone(), LabelsBuilder::build))
    }

    /// Replacements so far, per detector that is on.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.detectors
            .iter()
            .zip(&self.counts)
            .map(|(detector, count)| (detector.name(), count.load(Ordering::Relaxed)))
            .collect()
    }

    /// `None` when there is nothing to replace.
    fn scrub(&self, text: &str) -> Option<Cow<'static, str>> {
        let mut finds = self.finds(text);
        if finds.is_empty() {
            return None;
        }
        let mut clean = self.replace(text, &finds);
        for _ in 1..PASSES_MAX {
            finds = self.finds(&clean);
            if finds.is_empty() {
                return Some(Cow::Owned(clean));
            }
            clean = self.replace(&clean, &finds);
        }
        Some(Cow::Borrowed(GIVEN_UP))
    }

    /// What to replace, in order, without overlaps. Empty only if no detector finds anything
    /// anywhere: after a false alarm the search goes on with the very next byte.
    fn finds(&self, text: &str) -> Vec<Find> {
        let mut finds = Vec::new();
        let (mut from, mut done) = (0, 0);
        while from <= text.len() {
            let Some(anchor) = self.anchors.find(Input::new(text).range(from..)) else {
                break;
            };
            let first = anchor.pattern();
            let found = self.detectors[first.as_usize()]
                .locate(text, anchor.range())
                .map(|range| Find {
                    range,
                    detector: first.as_usize(),
                })
                .or_else(|| self.find_other(text, anchor.start(), first.as_usize()));
            from = anchor.start() + 1;
            if let Some(mut find) = found {
                find.range.start = find.range.start.max(done);
                if find.range.start < find.range.end {
                    done = find.range.end;
                    from = from.max(done);
                    finds.push(find);
                }
            }
        }
        finds
    }

    /// What another detector than `not` finds at an anchor at `at`.
    fn find_other(&self, text: &str, at: usize, not: usize) -> Option<Find> {
        let others = self.anchors.pattern_len();
        (0..others)
            .filter(|detector| *detector != not)
            .find_map(|detector| {
                let pattern = regex_automata::PatternID::must(detector);
                let input = Input::new(text)
                    .range(at..)
                    .anchored(Anchored::Pattern(pattern));
                let anchor = self.anchors.find(input)?;
                let range = self.detectors[detector].locate(text, anchor.range())?;
                Some(Find { range, detector })
            })
    }

    fn replace(&self, text: &str, finds: &[Find]) -> String {
        let mut json = Json::new(text);
        let mut clean = String::with_capacity(text.len());
        let mut copied = 0;
        for Find { range, detector } in finds {
            clean.push_str(&text[copied..range.start]);
            let mask = self.detectors[*detector].mask();
            if json.is_bare_value(range) {
                clean.push('"');
                clean.push_str(mask);
                clean.push('"');
            } else {
                clean.push_str(mask);
            }
            copied = range.end;
            self.counts[*detector].fetch_add(1, Ordering::Relaxed);
        }
        clean.push_str(&text[copied..]);
        clean
    }

    /// Whether a label of this name and value holds a secret: asked as `"name":"value"`, the
    /// value without what could end it early.
    fn is_secret(&self, name: &str, value: &str) -> bool {
        let Some(secret) = (self.detectors.iter()).position(|d| matches!(d, Detector::Secret(_)))
        else {
            return false;
        };
        let pair = format!("\"{name}\":\"{}\"", value.replace(['"', '\\'], " "));
        let value_at = name.len() + 4;
        let found = (self.finds(&pair).iter())
            .any(|find| find.detector == secret && find.range.start == value_at);
        if found {
            self.counts[secret].fetch_add(1, Ordering::Relaxed);
        }
        found
    }
}

/// As `String::from_utf8_lossy`, whose search for foreign bytes costs as much as the whole pass:
/// almost every line is well-formed, which the plain check tells ten times faster.
fn text(raw: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed)
}

impl Default for Scrubber {
    #[expect(
        clippy::expect_used,
        reason = "the built-in patterns compile; a test builds them"
    )]
    fn default() -> Self {
        Scrubber::new(&Config::default()).expect("built-in patterns compile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_scrubbed_by_value_and_by_name() {
        let scrubber = Scrubber::default();
        let raw = Labels::from_pairs([
            ("service_name", "api"),
            ("owner", "bob@example.com"),
            ("api_token", ",a\"b"),
            ("token_type", "bearer"),
        ]);
        let clean = scrubber.labels(&raw);
        let expect = Labels::from_pairs([
            ("service_name", "api"),
            ("owner", "<email>"),
            ("api_token", "<secret>"),
            ("token_type", "bearer"),
        ]);
        assert_eq!(clean.labels(), &expect);
        assert_eq!(scrubber.labels(&expect).labels(), &expect);
    }

    #[test]
    fn line_ends_go_and_foreign_bytes_are_replaced() {
        let scrubber = Scrubber::default();
        assert_eq!(scrubber.line(b"a b \r\n").as_str(), "a b ");
        assert_eq!(scrubber.line(b"\xffa\0b").as_str(), "\u{fffd}a\0b");
        assert_eq!(scrubber.line(b"\n").as_str(), "");
    }

    #[test]
    fn finds_are_counted_per_detector() {
        let scrubber = Scrubber::default();
        let _ = scrubber.line(b"a@b.org c@d.org token=x1");
        let of = |name: &str| scrubber.counts().into_iter().find(|(n, _)| *n == name);
        assert_eq!(of("email"), Some(("email", 2)));
        assert_eq!(of("secret"), Some(("secret", 1)));
        assert_eq!(of("card"), Some(("card", 0)));
    }

    #[test]
    fn the_configuration_is_checked_and_obeyed() {
        let config = |disabled: &[&str], secret: &[&str], plain: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Scrubber::new(&Config {
                disabled: own(disabled),
                secret_keys: own(secret),
                plain_keys: own(plain),
            })
        };
        let check = |scrubber: Result<Scrubber, ConfigError>, raw: &str, expect: &str| {
            assert_eq!(scrubber.unwrap().line(raw.as_bytes()).as_str(), expect);
        };
        check(config(&["email"], &[], &[]), "a@b.org", "a@b.org");
        check(
            config(&[], &["ssn.id"], &[]),
            "SSN.id=12",
            "SSN.id=<secret>",
        );
        check(
            config(&[], &[], &["Token_Bucket2"]),
            "token_bucket2=x1",
            "token_bucket2=x1",
        );
        assert!(config(&["mail"], &[], &[]).is_err());
        assert!(config(&[], &["a b"], &[]).is_err());
        assert!(config(&[], &["ab"], &[]).is_err());
    }

    #[test]
    fn a_find_inside_another_goes_with_it() {
        let check = |raw: &str, expect: &str| {
            assert_eq!(Scrubber::default().line(raw.as_bytes()).as_str(), expect);
        };
        check("token=a@b.org", "token=<secret>");
        check(
            "postgres://a@b.org:4111111111111111@db/x",
            "postgres://<email>:<card>@db/x",
        );
        check(
            "mailto:a@b.org?bearer abc123def456",
            "mailto:<email>?bearer <secret>",
        );
    }
}
