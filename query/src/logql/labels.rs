//! The labels of a line on its way through a pipeline.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use model::Labels;

use super::ast::Grouping;
use super::hints::Hints;

/// Name of the label that says that a stage failed.
pub(crate) const ERROR_LABEL: &str = "__error__";
/// Name of the label that says why.
pub(crate) const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// Name of the label that lets an error into a metric, because the query asks for it.
pub(crate) const PRESERVE_ERROR_LABEL: &str = "__preserve_error__";
/// Appended to the name of a parsed label that the stream has already.
pub(crate) const DUPLICATE_SUFFIX: &str = "_extracted";

/// Where a label comes from; later ones hide earlier ones of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Stream,
    Metadata,
    Parsed,
}

/// Whether a label tells of an error.
pub(crate) fn is_special(name: &str) -> bool {
    matches!(
        name,
        ERROR_LABEL | ERROR_DETAILS_LABEL | PRESERVE_ERROR_LABEL
    )
}

/// The labels of one line: those of its stream and what stages changed.
/// Source of the rules: loki pkg/logql/log/labels.go.
#[derive(Debug)]
pub(crate) struct LineLabels {
    base: Labels,
    added: [Vec<(String, String)>; 3],
    deleted: Vec<String>,
    error: Cow<'static, str>,
    error_details: String,
    /// Hashes of the names parsers have set: the first one to find a name keeps it.
    extracted: Vec<u64>,
    pub(crate) hints: Hints,
    /// Texts of lines before, for their memory.
    spare: Vec<String>,
}

/// Labels by where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Categorized {
    pub(crate) stream: Labels,
    pub(crate) metadata: Labels,
    pub(crate) parsed: Labels,
}

impl LineLabels {
    pub(crate) fn new(hints: Hints) -> Self {
        LineLabels {
            base: Labels::empty(),
            added: Default::default(),
            deleted: Vec::new(),
            error: Cow::Borrowed(""),
            error_details: String::new(),
            extracted: Vec::new(),
            hints,
            spare: Vec::new(),
        }
    }

    /// Begins a line.
    pub(crate) fn begin(&mut self, stream: &Labels, metadata: &Labels) {
        self.base = stream.clone();
        for list in &mut self.added {
            for (name, value) in list.drain(..) {
                self.spare.push(name);
                self.spare.push(value);
            }
        }
        self.deleted.clear();
        self.error = Cow::Borrowed("");
        self.error_details.clear();
        self.extracted.clear();
        for (name, value) in metadata {
            if self.base.get(name).is_some() {
                let name = format!("{name}{DUPLICATE_SUFFIX}");
                self.set(Category::Metadata, &name, value);
                continue;
            }
            match name {
                ERROR_LABEL => self.error = Cow::Owned(value.to_owned()),
                ERROR_DETAILS_LABEL => value.clone_into(&mut self.error_details),
                _ => self.set(Category::Metadata, name, value),
            }
        }
    }

    fn owned(&mut self, text: &str) -> String {
        let mut own = self.spare.pop().unwrap_or_default();
        text.clone_into(&mut own);
        own
    }

    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    pub(crate) fn has_error(&self) -> bool {
        !self.error.is_empty()
    }

    pub(crate) fn error_details(&self) -> &str {
        &self.error_details
    }

    pub(crate) fn reset_error(&mut self) {
        self.error = Cow::Borrowed("");
    }

    pub(crate) fn reset_error_details(&mut self) {
        self.error_details.clear();
    }

    pub(crate) fn set_error(&mut self, error: &'static str, details: &str) {
        self.error = Cow::Borrowed(error);
        details.clone_into(&mut self.error_details);
    }

    /// As [`LineLabels::set_error`], by a parser: a query that asks for errors is to see them.
    pub(crate) fn parse_error(&mut self, error: &'static str, details: &str) {
        self.error = Cow::Borrowed(error);
        if !details.is_empty() {
            details.clone_into(&mut self.error_details);
        }
        if self.hints.preserves_errors() {
            self.set(Category::Parsed, PRESERVE_ERROR_LABEL, "true");
        }
    }

    /// Whether a parsed label of this name needs another one.
    pub(crate) fn clashes(&self, name: &str) -> bool {
        self.base.get(name).is_some() || self.position(Category::Metadata, name).is_some()
    }

    fn position(&self, category: Category, name: &str) -> Option<usize> {
        self.added[category as usize]
            .iter()
            .position(|(n, _)| n == name)
    }

    /// The value of a label and where it comes from.
    pub(crate) fn find(&self, name: &str) -> Option<(&str, Category)> {
        for category in [Category::Stream, Category::Metadata, Category::Parsed] {
            if let Some(i) = self.position(category, name) {
                return Some((&self.added[category as usize][i].1, category));
            }
        }
        if self.deleted.iter().any(|d| d == name) {
            return None;
        }
        self.base.get(name).map(|v| (v, Category::Stream))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|(value, _)| value)
    }

    /// The value a string filter compares: the error for its label, nothing for an absent one.
    pub(crate) fn value_to_match(&self, name: &str) -> &str {
        match name {
            ERROR_LABEL => self.error(),
            _ => self.get(name).unwrap_or(""),
        }
    }

    fn forget(&mut self, category: Category, name: &str) {
        self.added[category as usize].retain(|(n, _)| n != name);
    }

    pub(crate) fn delete(&mut self, name: &str) {
        for category in [Category::Stream, Category::Metadata, Category::Parsed] {
            self.forget(category, name);
        }
        if self.base.get(name).is_some() && !self.deleted.iter().any(|d| d == name) {
            self.deleted.push(name.to_owned());
        }
    }

    /// Sets a label, unless one of a later category has its name.
    pub(crate) fn set(&mut self, category: Category, name: &str, value: &str) {
        match category {
            Category::Parsed => {
                self.forget(Category::Metadata, name);
                self.forget(Category::Stream, name);
            }
            Category::Metadata => {
                self.forget(Category::Stream, name);
                if self.position(Category::Parsed, name).is_some() {
                    return;
                }
            }
            Category::Stream => {
                let hidden = [Category::Metadata, Category::Parsed];
                if hidden.iter().any(|c| self.position(*c, name).is_some()) {
                    return;
                }
            }
        }
        match self.position(category, name) {
            Some(i) => value.clone_into(&mut self.added[category as usize][i].1),
            None => {
                let pair = (self.owned(name), self.owned(value));
                self.added[category as usize].push(pair);
            }
        }
        if category == Category::Parsed {
            let hash = hash_of(name);
            if !self.extracted.contains(&hash) {
                self.extracted.push(hash);
            }
        }
    }

    /// Whether a parser has set this name already.
    pub(crate) fn is_extracted(&self, name: &str) -> bool {
        self.extracted.contains(&hash_of(name))
    }

    /// Whether parsers have found all that the query needs.
    pub(crate) fn found_all_required(&self) -> bool {
        let required = self.hints.required();
        !required.is_empty() && required.iter().all(|name| self.is_extracted(name))
    }

    /// Whether a parser has nothing to do.
    pub(crate) fn needs_nothing(&self) -> bool {
        self.hints.needs_no_labels() || self.found_all_required()
    }

    /// Whether stages left the stream's labels as they are.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.deleted.is_empty()
            && self.error.is_empty()
            && self.error_details.is_empty()
            && self.added.iter().all(Vec::is_empty)
    }

    pub(crate) fn base(&self) -> &Labels {
        &self.base
    }

    /// All labels, those of errors included, in no order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str, Category)> {
        let base = self.base.iter().filter(|(name, _)| {
            !self.deleted.iter().any(|d| d == name)
                && !self.added.iter().flatten().any(|(n, _)| n == name)
        });
        let added = [Category::Stream, Category::Metadata, Category::Parsed]
            .into_iter()
            .flat_map(|c| {
                self.added[c as usize]
                    .iter()
                    .map(move |(n, v)| (n.as_str(), v.as_str(), c))
            });
        let errors = [
            (ERROR_LABEL, self.error()),
            (ERROR_DETAILS_LABEL, self.error_details()),
        ];
        base.map(|(n, v)| (n, v, Category::Stream))
            .chain(added)
            .chain(
                errors
                    .into_iter()
                    .filter(|(_, v)| !v.is_empty())
                    .map(|(n, v)| (n, v, Category::Parsed)),
            )
    }

    /// The labels by where they come from.
    pub(crate) fn categorized(&self) -> Categorized {
        let of = |wanted: Category| {
            let mut pairs: Vec<(&str, &str)> = self
                .pairs()
                .filter(|(_, _, c)| *c == wanted)
                .map(|(n, v, _)| (n, v))
                .collect();
            pack(&mut pairs)
        };
        Categorized {
            stream: of(Category::Stream),
            metadata: of(Category::Metadata),
            parsed: of(Category::Parsed),
        }
    }

    /// The labels of the series a sample belongs to, sorted by name into `out`. An error is kept
    /// whatever the grouping, so that it is not lost.
    pub(crate) fn grouped<'a>(
        &'a self,
        grouping: Option<&Grouping>,
        out: &mut Vec<(&'a str, &'a str)>,
    ) {
        out.clear();
        let pairs = self.pairs().map(|(n, v, _)| (n, v));
        match grouping {
            Some(g) if !self.has_error() => {
                let named = |n: &str| g.labels.iter().any(|l| l == n);
                out.extend(pairs.filter(|(n, _)| named(n) != g.without));
            }
            _ => out.extend(pairs),
        }
        out.sort_unstable();
    }
}

/// Label sets keep empty values, as Loki's do.
pub(crate) fn pack(pairs: &mut [(&str, &str)]) -> Labels {
    pairs.sort_unstable();
    Labels::from_sorted(pairs.iter().copied())
}

fn hash_of(name: &str) -> u64 {
    FixedState::default().hash_one(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(stream: &[(&str, &str)], metadata: &[(&str, &str)]) -> LineLabels {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(
            &Labels::from_pairs(stream.iter().copied()),
            &Labels::from_pairs(metadata.iter().copied()),
        );
        labels
    }

    #[test]
    fn later_categories_hide_earlier_ones() {
        let mut labels = begun(&[("a", "1"), ("b", "2")], &[("b", "3"), ("c", "4")]);
        assert_eq!(labels.get("b_extracted"), Some("3"));
        labels.set(Category::Parsed, "c", "5");
        labels.set(Category::Metadata, "c", "6");
        labels.set(Category::Parsed, "a", "7");
        labels.delete("b");
        let all = labels.categorized();
        assert_eq!(all.stream.to_string(), "{}");
        assert_eq!(all.metadata.to_string(), r#"{b_extracted="3"}"#);
        assert_eq!(all.parsed.to_string(), r#"{a="7", c="5"}"#);
    }

    #[test]
    fn errors_survive_any_grouping() {
        let mut labels = begun(&[("a", "1"), ("b", "2")], &[]);
        let by = Grouping {
            without: false,
            labels: vec!["a".to_owned()],
        };
        let mut out = Vec::new();
        labels.grouped(Some(&by), &mut out);
        assert_eq!(out, [("a", "1")]);
        labels.set_error("JSONParser", "why");
        let mut out = Vec::new();
        labels.grouped(Some(&by), &mut out);
        assert_eq!(out.len(), 4);
    }
}
