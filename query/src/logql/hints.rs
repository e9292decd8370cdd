//! Which labels a metric query needs, so that parsers extract no more.
//!
//! This shows: a parser that has found all that is needed stops, and does not see that the rest
//! of the line is malformed; one that need not find anything sees nothing.
//! Source of the rules: loki pkg/logql/log/parser_hints.go.

use super::ast::Grouping;
use super::labels::{DUPLICATE_SUFFIX, ERROR_LABEL};

/// What parsers need to extract.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    no_labels: bool,
    /// Empty when everything may be needed.
    required: Vec<String>,
    preserves_errors: bool,
}

impl Hints {
    /// Everything may be needed.
    pub(crate) fn none() -> Self {
        Hints::default()
    }

    /// For samples that are grouped so (`None` is not at all) after stages that read `names`.
    pub(crate) fn of(names: &[String], grouping: Option<&Grouping>, unwrapped: &str) -> Self {
        let no_labels = grouping.is_some_and(Grouping::is_singleton);
        let known = grouping.is_some_and(|g| !g.without);
        if !no_labels && !known {
            return Hints::none();
        }
        let groups = grouping.map_or(&[][..], |g| g.labels.as_slice());
        let mut required: Vec<String> = Vec::new();
        let unwrapped = unwrapped.to_owned();
        for name in names.iter().chain(groups).chain([&unwrapped]) {
            // A label that clashes is known by its longer name only once it has been found.
            let stripped = name.strip_suffix(DUPLICATE_SUFFIX);
            for name in [Some(name.as_str()), stripped].into_iter().flatten() {
                if !name.is_empty() && !required.iter().any(|r| r == name) {
                    required.push(name.to_owned());
                }
            }
        }
        Hints {
            no_labels: no_labels && required.is_empty(),
            preserves_errors: required.iter().any(|r| r == ERROR_LABEL),
            required,
        }
    }

    pub(crate) fn needs_no_labels(&self) -> bool {
        self.no_labels
    }

    pub(crate) fn required(&self) -> &[String] {
        &self.required
    }

    pub(crate) fn preserves_errors(&self) -> bool {
        self.preserves_errors
    }

    /// Whether a label of this name is needed.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.required.is_empty() || self.required.iter().any(|r| r == name)
    }

    /// Whether a label whose name begins so is needed.
    pub(crate) fn wants_prefix(&self, prefix: &str) -> bool {
        self.required.is_empty() || self.required.iter().any(|r| r.starts_with(prefix))
    }
}
