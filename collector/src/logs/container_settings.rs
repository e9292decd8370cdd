//! What a container's own labels say about its logs.

use std::collections::BTreeMap;

/// `false` leaves the container out, `true` reads it whatever the configuration says.
const READ: &str = "stackwatch.logs";
/// An expression that the first line of each entry matches, or `off`.
const FIRST_LINE: &str = "stackwatch.logs.first_line";
/// Bytes a day, as `50MB`.
const QUOTA: &str = "stackwatch.logs.quota";

/// Of the labels `stackwatch.logs…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerSettings {
    pub(super) read: Option<bool>,
    pub(super) first_line: Option<String>,
    pub(super) quota: Option<u64>,
    /// Labels that are not understood.
    pub(super) problems: Vec<String>,
}

impl ContainerSettings {
    pub(super) fn new(labels: &BTreeMap<String, String>) -> Self {
        let mut settings = ContainerSettings::default();
        let mut wrong = |label: &str, value: &str, expected: &str| {
            settings
                .problems
                .push(format!("label {label}={value:?} is no {expected}"));
        };
        if let Some(value) = labels.get(READ) {
            match value.as_str() {
                "true" => settings.read = Some(true),
                "false" => settings.read = Some(false),
                other => wrong(READ, other, "true or false"),
            }
        }
        if let Some(value) = labels.get(FIRST_LINE) {
            match value == "off" || model::Regex::unanchored(value).is_ok() {
                true => settings.first_line = Some(value.clone()),
                false => wrong(FIRST_LINE, value, "regular expression"),
            }
        }
        if let Some(value) = labels.get(QUOTA) {
            match super::config::parse_bytes(value) {
                Some(bytes) => settings.quota = Some(bytes),
                None => wrong(QUOTA, value, "number of bytes, as 50MB"),
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_to_do() {
        let check = |label: (&str, &str), expect: ContainerSettings| {
            let labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
            assert_eq!(ContainerSettings::new(&labels), expect, "{label:?}");
        };
        let plain = ContainerSettings::default;
        check(("other", "x"), plain());
        check(
            (READ, "false"),
            ContainerSettings {
                read: Some(false),
                ..plain()
            },
        );
        check(
            (QUOTA, "50MB"),
            ContainerSettings {
                quota: Some(50 << 20),
                ..plain()
            },
        );
        check(
            (FIRST_LINE, r"^\d"),
            ContainerSettings {
                first_line: Some(r"^\d".to_owned()),
                ..plain()
            },
        );
        for (label, value) in [(READ, "no"), (QUOTA, "many"), (FIRST_LINE, "(")] {
            let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
            let settings = ContainerSettings::new(&labels);
            assert!(settings.problems[0].contains(label), "{settings:?}");
        }
    }
}
