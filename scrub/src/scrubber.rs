//! The pass over a line.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, LabelsBuilder};

use crate::action::{self, Action, Marks};
use crate::detector::Detector;
use crate::json::Json;
use crate::rule::{Allowed, Rules};
use crate::trigger::{Sieve, Trigger};
use crate::{Config, ConfigError, PseudonymKey, ScrubbedLabels, ScrubbedLine};

/// How often a line is gone over. A replacement can uncover another find (its neighbours
/// change), so a line with finds is read again until nothing is found: twice in practice.
const PASSES_MAX: usize = 8;

/// Stands for a line that still has finds after [`PASSES_MAX`] passes. Only a line made for
/// the purpose gets here; it is given up rather than stored.
const GIVEN_UP: &str = "<scrubbed>";
pub(crate) const GIVEN_UP_LABEL: &str = "scrubbed";

/// Stands for a line that is dropped where a line must be: see [`Scrubber::line`].
const DROPPED: &str = "<dropped>";
const DROPPED_LABEL: &str = "dropped";

/// Characters of a line shown to each side of a find in [`Found::excerpt`].
const EXCERPT_CHARS: usize = 40;

/// Replaces what must not be stored. Cheap to share: one per process behind an `Arc`.
pub struct Scrubber {
    triggers: Sieve,
    /// Of each trigger: its detector, its number there, its length.
    origins: Vec<(usize, usize, usize)>,
    detectors: Vec<Detector>,
    /// Of the detectors, the one that looks at a text as a whole.
    reads_whole: Option<usize>,
    rules: Rules,
    /// Of the detectors, then of the rules.
    actions: Vec<Action>,
    counts: Vec<AtomicU64>,
    marks: Marks,
    allowed: Allowed,
    key: PseudonymKey,
}

/// How often something was found, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<'a> {
    /// The detector's name, or the rule's.
    pub detector: &'a str,
    /// What is done with its finds.
    pub action: Action,
    /// Finds so far. Of a dropped line, one.
    pub count: u64,
}

/// One find, as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The detector's name, or the rule's.
    pub detector: &'a str,
    /// What is done with its finds.
    pub action: Action,
    /// What stands around it, with all finds replaced by masks, whatever their action.
    pub excerpt: String,
}

/// A range to replace and who asks for it: a detector, or after these a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Find {
    range: Range<usize>,
    finder: usize,
}

/// What to do with a text.
enum Outcome {
    /// It stays as it is.
    Clean,
    /// This stands for it.
    Scrubbed(String),
    /// It must not be stored.
    Dropped,
}

impl Scrubber {
    /// Compiles the patterns. Pseudonyms are made with `key`.
    ///
    /// # Errors
    /// When a name in `config` is unknown or a pattern is none.
    pub fn new(config: &Config, key: &PseudonymKey) -> Result<Self, ConfigError> {
        let detectors = Detector::chosen(config)?;
        let rules = Rules::new(config)?;
        let mut triggers: Vec<Trigger> = Vec::new();
        let mut origins = Vec::new();
        for (finder, detector) in detectors.iter().enumerate() {
            for (number, trigger) in detector.triggers().into_iter().enumerate() {
                origins.push((finder, number, trigger.length()));
                triggers.push(trigger);
            }
        }
        let mut actions = Vec::new();
        for detector in &detectors {
            actions.push(detector.action(config)?);
        }
        actions.extend(rules.rules.iter().map(|rule| rule.action));
        // Of all detectors, also those that are off: what was scrubbed under another
        // configuration stays as it is.
        let mut labels = Detector::labels();
        labels.extend(rules.rules.iter().map(|rule| rule.name.clone()));
        labels.extend([GIVEN_UP_LABEL, DROPPED_LABEL].map(str::to_owned));
        labels.sort_unstable();
        labels.dedup();
        Ok(Scrubber {
            triggers: Sieve::new(triggers),
            origins,
            counts: actions.iter().map(|_| AtomicU64::new(0)).collect(),
            reads_whole: detectors.iter().position(Detector::reads_whole),
            detectors,
            rules,
            actions,
            marks: Marks::new(labels),
            allowed: Allowed::new(config)?,
            key: key.clone(),
        })
    }

    /// Whether a scrubber can be built from `config`.
    ///
    /// # Errors
    /// As [`Scrubber::new`].
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        Scrubber::new(config, &PseudonymKey::new([0; PseudonymKey::BYTES])).map(|_| ())
    }

    /// The line without line ends at its end, without what the detectors find, and with U+FFFD in
    /// place of bytes that are not UTF-8. `None` if it must not be stored at all.
    ///
    /// What comes out goes through unchanged a second time.
    #[must_use]
    pub fn keep(&self, raw: &[u8]) -> Option<ScrubbedLine> {
        let text = text(raw);
        match self.scrub(&text) {
            Outcome::Clean => Some(ScrubbedLine(text.into_owned())),
            Outcome::Scrubbed(clean) => Some(ScrubbedLine(clean)),
            Outcome::Dropped => None,
        }
    }

    /// As [`Scrubber::keep`], where a line must be: `<dropped>` stands for one that must not be
    /// stored.
    #[must_use]
    pub fn line(&self, raw: &[u8]) -> ScrubbedLine {
        self.keep(raw)
            .unwrap_or_else(|| ScrubbedLine(DROPPED.to_owned()))
    }

    /// The labels with each value scrubbed like a line of its own; the value of a label whose
    /// name is that of a secret goes as a whole. Where a line would be dropped, the value is
    /// masked.
    #[must_use]
    pub fn labels(&self, raw: &Labels) -> ScrubbedLabels {
        let mut changed: Option<LabelsBuilder> = None;
        for (name, value) in raw {
            let clean = match self.scrub_as(value, |action| match action {
                Action::Drop => Action::Mask,
                other => other,
            }) {
                Outcome::Clean | Outcome::Dropped => None,
                Outcome::Scrubbed(clean) => Some(clean),
            };
            let seen = clean.as_deref().unwrap_or(value);
            let clean = self.as_secret(name, seen).or(clean);
            if let Some(clean) = clean {
                changed
                    .get_or_insert_with(|| raw.to_builder())
                    .set(name, clean);
            }
        }
        ScrubbedLabels(changed.map_or_else(|| raw.clone(), LabelsBuilder::build))
    }

    /// What was found so far, per detector that is on and per rule.
    #[must_use]
    pub fn counts(&self) -> Vec<Count<'_>> {
        self.counts
            .iter()
            .enumerate()
            .map(|(finder, count)| Count {
                detector: self.name(finder),
                action: self.actions[finder],
                count: count.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// What would be found in a line, for a report. Counts nothing.
    #[must_use]
    pub fn examine(&self, raw: &[u8]) -> Vec<Found<'_>> {
        let text = text(raw);
        let (mut finds, counted) = self.finds(&text, |_| Action::Mask);
        finds.extend(counted);
        finds.sort_by_key(|find| find.range.start);
        if finds.is_empty() {
            return Vec::new();
        }
        let mut places = Vec::new();
        let clean = self.replace(&text, &finds, |_| Action::Mask, &mut places);
        places
            .into_iter()
            .zip(finds)
            .map(|(place, find)| Found {
                detector: self.name(find.finder),
                action: self.actions[find.finder],
                excerpt: self.excerpt(&clean, place),
            })
            .collect()
    }

    /// As [`Scrubber::examine`], of labels or metadata: what is in their values, and values whose
    /// names are those of secrets.
    #[must_use]
    pub fn examine_labels(&self, raw: &Labels) -> Vec<Found<'_>> {
        let mut all = Vec::new();
        for (name, value) in raw {
            let found = self.examine(value.as_bytes());
            if found.is_empty()
                && let Some(secret) = self.names_secret(name, value)
            {
                all.push(Found {
                    detector: self.name(secret),
                    action: self.actions[secret],
                    excerpt: format!("{name}=<{}>", self.label(secret)),
                });
            }
            all.extend(found.into_iter().map(|found| Found {
                excerpt: format!("{name}={}", found.excerpt),
                ..found
            }));
        }
        all
    }

    /// The same, asking every trigger at every place.
    #[cfg(test)]
    pub(crate) fn slow(mut self) -> Self {
        self.triggers.slow = true;
        self
    }

    fn name(&self, finder: usize) -> &str {
        match self.detectors.get(finder) {
            Some(detector) => detector.name(),
            None => &self.rules.rules[finder - self.detectors.len()].name,
        }
    }

    fn label(&self, finder: usize) -> &str {
        match self.detectors.get(finder) {
            Some(detector) => detector.label(),
            None => self.name(finder),
        }
    }

    fn excerpt(&self, clean: &str, place: Range<usize>) -> String {
        let before = clean[..place.start].char_indices().rev();
        let start = before
            .take(EXCERPT_CHARS)
            .last()
            .map_or(place.start, |(at, _)| at);
        let after = clean[place.end..].char_indices();
        let end = after
            .take(EXCERPT_CHARS)
            .last()
            .map_or(place.end, |(at, c)| place.end + at + c.len_utf8());
        // What the first replacements uncovered goes too.
        match self.scrub_as(&clean[start..end], |_| Action::Mask) {
            Outcome::Clean => clean[start..end].to_owned(),
            Outcome::Scrubbed(clean) => clean,
            Outcome::Dropped => DROPPED.to_owned(),
        }
    }

    fn scrub(&self, text: &str) -> Outcome {
        self.scrub_as(text, |action| action)
    }

    /// Scrubs with other actions than the configured ones.
    fn scrub_as(&self, text: &str, turned: impl Fn(Action) -> Action + Copy) -> Outcome {
        let (mut finds, counted) = self.finds(text, turned);
        for find in &counted {
            self.counts[find.finder].fetch_add(1, Ordering::Relaxed);
        }
        if finds.is_empty() {
            return Outcome::Clean;
        }
        let drops = |find: &&Find| turned(self.actions[find.finder]) == Action::Drop;
        // The host part of an IPv4 address becomes zero and nothing around it changes, so nothing
        // is uncovered: every line of an access log would be read twice.
        let truncates = |find: &Find| turned(self.actions[find.finder]) == Action::Truncate;
        let plain = |find: &Find| !text[find.range.clone()].contains(':');
        let once = finds.iter().all(|find| truncates(find) && plain(find));
        let mut clean = Cow::Borrowed(text);
        for _ in 0..PASSES_MAX {
            if let Some(find) = finds.iter().find(drops) {
                self.counts[find.finder].fetch_add(1, Ordering::Relaxed);
                return Outcome::Dropped;
            }
            for find in &finds {
                self.counts[find.finder].fetch_add(1, Ordering::Relaxed);
            }
            clean = Cow::Owned(self.replace(&clean, &finds, turned, &mut Vec::new()));
            if once {
                return Outcome::Scrubbed(clean.into_owned());
            }
            finds = self.finds(&clean, turned).0;
            if finds.is_empty() {
                return Outcome::Scrubbed(clean.into_owned());
            }
        }
        Outcome::Scrubbed(GIVEN_UP.to_owned())
    }

    /// What to replace, in order and without overlaps, and what to count only.
    fn finds(&self, text: &str, turned: impl Fn(Action) -> Action) -> (Vec<Find>, Vec<Find>) {
        let (mut finds, mut counted): (Vec<Find>, Vec<Find>) = (Vec::new(), Vec::new());
        // Up to here the text goes anyway.
        let mut done = 0;
        let mut add = |finder: usize, range: Range<usize>, done: &mut usize| {
            if range.is_empty() || self.allowed.holds(&text[range.clone()]) {
                return;
            }
            if turned(self.actions[finder]) == Action::Count {
                // An anchor inside of what was counted last is the same find.
                let last = counted.iter().rev().find(|known| known.finder == finder);
                if last.is_none_or(|last| last.range.end <= range.start) {
                    counted.push(Find { range, finder });
                }
                return;
            }
            *done = range.end.max(*done);
            finds.push(Find { range, finder });
        };
        self.triggers.each(text.as_bytes(), |hit| {
            if hit.end <= done {
                return;
            }
            let (finder, number, length) = self.origins[hit.trigger];
            let trigger = hit.end - length..hit.end;
            self.detectors[finder].locate(
                text,
                trigger.clone(),
                number,
                &self.marks,
                &mut |range| {
                    if self.marks.around(text.as_bytes(), trigger.start).is_none() {
                        add(finder, range, &mut done);
                    }
                },
            );
        });
        if let Some(finder) = self.reads_whole
            && let Some(range) = self.detectors[finder].locate_whole(text)
        {
            add(finder, range, &mut done);
        }
        let first_rule = self.detectors.len();
        self.rules.each(text, &self.marks, |rule, range| {
            add(first_rule + rule, range, &mut done);
        });
        if finds.len() > 1 {
            finds.sort_by_key(|find| (find.range.start, find.finder));
            let mut done = 0;
            finds.retain_mut(|find| {
                find.range.start = find.range.start.max(done);
                done = done.max(find.range.end);
                !find.range.is_empty()
            });
        }
        (finds, counted)
    }

    /// The text with marks in place of the finds; `places` are those of the marks.
    fn replace(
        &self,
        text: &str,
        finds: &[Find],
        turned: impl Fn(Action) -> Action,
        places: &mut Vec<Range<usize>>,
    ) -> String {
        let mut json = Json::new(text);
        let mut clean = String::with_capacity(text.len());
        let mut copied = 0;
        for Find { range, finder } in finds {
            clean.push_str(&text[copied..range.start]);
            let start = clean.len();
            let action = turned(self.actions[*finder]);
            let mark = self.mark(*finder, &text[range.clone()], action);
            if json.is_bare_value(range) {
                clean.push('"');
                clean.push_str(&mark);
                clean.push('"');
            } else {
                clean.push_str(&mark);
            }
            places.push(start..clean.len());
            copied = range.end;
        }
        clean.push_str(&text[copied..]);
        clean
    }

    /// What stands for `find`.
    fn mark(&self, finder: usize, find: &str, action: Action) -> String {
        let label = self.label(finder);
        let detector = self.detectors.get(finder);
        match action {
            Action::Partial => action::partial(label, find),
            Action::Pseudonym => {
                let value = detector.map_or_else(|| find.to_owned(), |d| d.canonical(find));
                let code = self.key.pseudonym(label, value.as_bytes());
                format!("<{label}:{code}>")
            }
            Action::Truncate => detector
                .and_then(|detector| detector.truncated(find))
                .unwrap_or_else(|| format!("<{label}>")),
            Action::Mask | Action::Drop | Action::Count => format!("<{label}>"),
        }
    }

    /// The detector that says that a label of this name and value holds a secret: asked as
    /// `"name":"value"`, the value without what could end it early.
    fn names_secret(&self, name: &str, value: &str) -> Option<usize> {
        let secret = (self.detectors.iter()).position(|d| matches!(d, Detector::Secret(_)))?;
        let pair = format!("\"{name}\":\"{}\"", value.replace(['"', '\\'], " "));
        let value_at = name.len() + 4;
        let found = (self.finds(&pair, |_| Action::Mask).0.iter())
            .any(|find| find.finder == secret && find.range.start == value_at);
        (found && !self.allowed.holds(value)).then_some(secret)
    }

    /// What stands for the value of a label if one of this name holds a secret.
    fn as_secret(&self, name: &str, value: &str) -> Option<String> {
        let secret = self.names_secret(name, value)?;
        self.counts[secret].fetch_add(1, Ordering::Relaxed);
        match self.actions[secret] {
            Action::Count => None,
            action => Some(self.mark(secret, value, action)),
        }
    }
}

/// The line without line ends at its end. As `String::from_utf8_lossy`, whose search for foreign
/// bytes costs as much as the whole pass: almost every line is well-formed, which the plain check
/// tells ten times faster.
fn text(raw: &[u8]) -> Cow<'_, str> {
    let last = raw.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    let line = &raw[..last.map_or(0, |last| last + 1)];
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

/// With the built-in detectors. They make no pseudonyms unless told to, so there is no key.
impl Default for Scrubber {
    #[expect(
        clippy::expect_used,
        reason = "the built-in patterns compile; a test builds them"
    )]
    fn default() -> Self {
        let key = PseudonymKey::new([0; PseudonymKey::BYTES]);
        Scrubber::new(&Config::default(), &key).expect("built-in patterns compile")
    }
}

#[cfg(test)]
mod tests;
