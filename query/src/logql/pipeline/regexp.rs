//! `| regexp "(?P<name>…)"`

use model::Regex;

use super::sanitize;
use crate::logql::labels::{Category, DUPLICATE_SUFFIX, LineLabels};

/// An expression whose named groups become labels.
pub(super) struct Regexp {
    regex: Regex,
    /// Name of each group.
    names: Vec<Option<String>>,
}

impl Regexp {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let regex = Regex::unanchored(text).map_err(|e| e.to_string())?;
        let names = regex.group_names();
        let mut seen: Vec<&str> = Vec::new();
        for name in names.iter().flatten() {
            if !sanitize::is_name(name) {
                return Err(format!("invalid extracted label name '{name}'"));
            }
            if seen.contains(&name.as_str()) {
                return Err(format!("duplicate extracted label name '{name}'"));
            }
            seen.push(name);
        }
        if seen.is_empty() {
            return Err("at least one named capture must be supplied".to_owned());
        }
        Ok(Regexp { regex, names })
    }

    pub(super) fn parse_into(&self, line: &str, labels: &mut LineLabels) {
        if labels.needs_nothing() {
            return;
        }
        let Some(groups) = self.regex.captures(line) else {
            return;
        };
        for (name, group) in self.names.iter().zip(groups) {
            if let Some(name) = name {
                extract(labels, name, group.unwrap_or(""));
            }
        }
    }
}

/// Sets a parsed label unless it is not needed or found already; a clash gets the longer name.
/// Whether it was set.
pub(super) fn extract(labels: &mut LineLabels, name: &str, value: &str) -> bool {
    // Where the longer name is wanted, the shorter one is too.
    if name.is_empty() || !labels.hints.wants(name) {
        return false;
    }
    if labels.clashes(name) {
        let longer = format!("{name}{DUPLICATE_SUFFIX}");
        return extract_as(labels, &longer, value);
    }
    extract_as(labels, name, value)
}

fn extract_as(labels: &mut LineLabels, name: &str, value: &str) -> bool {
    if !labels.hints.wants(name) || labels.is_extracted(name) {
        return false;
    }
    labels.set(Category::Parsed, name, value);
    true
}
