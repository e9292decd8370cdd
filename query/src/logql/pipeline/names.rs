//! `drop` and `keep`.

use crate::logql::ast::NamedMatcher;
use crate::logql::labels::{Category, ERROR_DETAILS_LABEL, ERROR_LABEL, LineLabels, is_special};

/// Labels by name, or by name and value.
pub(super) struct Names(Vec<NamedMatcher>);

impl Names {
    pub(super) fn new(list: &[NamedMatcher]) -> Self {
        Names(list.to_vec())
    }

    pub(super) fn drop_from(&self, labels: &mut LineLabels) {
        for entry in &self.0 {
            let name = match entry {
                NamedMatcher::Name(name) => name.as_str(),
                NamedMatcher::Matcher(m) => {
                    let value = match m.name() {
                        ERROR_LABEL => labels.error(),
                        ERROR_DETAILS_LABEL => labels.error_details(),
                        name => labels.get(name).unwrap_or(""),
                    };
                    if !m.matches(value) {
                        continue;
                    }
                    m.name()
                }
            };
            match name {
                ERROR_LABEL => labels.reset_error(),
                ERROR_DETAILS_LABEL => labels.reset_error_details(),
                _ => labels.delete(name),
            }
        }
    }

    pub(super) fn keep_in(&self, labels: &mut LineLabels) {
        let kept = |name: &str, value: &str| {
            self.0.iter().any(|entry| match entry {
                NamedMatcher::Name(n) => n == name,
                NamedMatcher::Matcher(m) => m.name() == name && m.matches(value),
            })
        };
        let gone: Vec<String> = labels
            .pairs()
            .filter(|(name, value, _): &(&str, &str, Category)| {
                !is_special(name) && !kept(name, value)
            })
            .map(|(name, ..)| name.to_owned())
            .collect();
        for name in gone {
            labels.delete(&name);
        }
    }
}
