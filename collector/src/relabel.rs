//! Relabelling as Prometheus does it: rules that rewrite, keep or drop label sets.
//! Source: prometheus model/relabel.

mod md5;

use model::{Labels, LabelsBuilder, Regex};
use serde::Deserialize;

/// One rule as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values, joined by `separator`, are matched.
    pub source_labels: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// The label written; may refer to groups in a `replace`.
    pub target_label: String,
    /// Must match the whole joined value.
    pub regex: String,
    /// Of `hashmod`.
    pub modulus: u64,
    /// What is written, with `$1` or `${name}` for groups.
    pub replacement: String,
    /// What to do on a match.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Writes `replacement` into `target_label`.
    #[default]
    Replace,
    /// Drops the set unless the value matches.
    Keep,
    /// Drops the set if the value matches.
    Drop,
    /// Drops the set unless the value equals that of `target_label`.
    KeepEqual,
    /// Drops the set if the value equals that of `target_label`.
    DropEqual,
    /// Writes a hash of the value, modulo `modulus`.
    HashMod,
    /// Copies labels whose name matches to the name `replacement`.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Writes the value in lower case.
    Lowercase,
    /// Writes the value in upper case.
    Uppercase,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// The action needs a setting that is not there.
    #[error("relabel configuration for {0} action requires '{1}' value")]
    Missing(&'static str, &'static str),
    /// The action takes none of the settings that would be ignored.
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(&'static str),
    /// A label name can not be one.
    #[error("{0:?} is invalid 'target_label' for {1} action")]
    Target(String, &'static str),
    /// The expression does not compile.
    #[error(transparent)]
    Regex(#[from] model::RegexError),
}

/// A rule ready to be applied.
#[derive(Clone, Debug)]
pub struct Relabel {
    config: RelabelConfig,
    regex: Regex,
}

impl Relabel {
    /// Checks and compiles a rule.
    ///
    /// # Errors
    /// What Prometheus refuses too.
    pub fn new(config: &RelabelConfig) -> Result<Relabel, RelabelError> {
        use RelabelAction as A;
        let name = config.action.name();
        if config.action == A::HashMod && config.modulus == 0 {
            return Err(RelabelError::Missing(name, "modulus"));
        }
        let writes = matches!(
            config.action,
            A::Replace | A::KeepEqual | A::DropEqual | A::HashMod | A::Lowercase | A::Uppercase
        );
        if writes && config.target_label.is_empty() {
            return Err(RelabelError::Missing(name, "target_label"));
        }
        // Prometheus 3: any non-empty UTF-8 name, in a template too.
        if config.action == A::LabelMap && config.replacement.is_empty() {
            return Err(RelabelError::Target(config.replacement.clone(), name));
        }
        let plain = RelabelConfig {
            regex: config.regex.clone(),
            action: config.action,
            ..RelabelConfig::default()
        };
        if matches!(config.action, A::LabelDrop | A::LabelKeep) && *config != plain {
            return Err(RelabelError::OnlyRegex(name));
        }
        Ok(Relabel {
            regex: Regex::anchored(&config.regex)?,
            config: config.clone(),
        })
    }

    /// Compiles a list of rules.
    ///
    /// # Errors
    /// The first rule that cannot be used.
    pub fn list(configs: &[RelabelConfig]) -> Result<Vec<Relabel>, RelabelError> {
        configs.iter().map(Relabel::new).collect()
    }

    /// Applies the rule; `false` when the set is to be dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        use RelabelAction as A;
        let config = &self.config;
        let value = self.joined(labels);
        match config.action {
            A::Keep => return self.regex.is_match(&value),
            A::Drop => return !self.regex.is_match(&value),
            A::KeepEqual => return labels.get(&config.target_label).unwrap_or("") == value,
            A::DropEqual => return labels.get(&config.target_label).unwrap_or("") != value,
            A::Replace => self.replace(&value, labels),
            A::Lowercase => {
                labels.set(config.target_label.as_str(), value.to_lowercase());
            }
            A::Uppercase => {
                labels.set(config.target_label.as_str(), value.to_uppercase());
            }
            A::HashMod => {
                let digest = md5::digest(value.as_bytes());
                let last = digest[8..].iter().fold(0, |n, b| n << 8 | u64::from(*b));
                labels.set(
                    config.target_label.as_str(),
                    (last % config.modulus).to_string(),
                );
            }
            A::LabelMap => {
                let mut copies = Vec::new();
                labels.retain(|name, value| {
                    if let Some(to) = self.regex.expand(name, &config.replacement) {
                        copies.push((to, value.to_owned()));
                    }
                    true
                });
                for (name, value) in copies {
                    labels.set(name, value);
                }
            }
            A::LabelDrop => {
                labels.retain(|name, _| !self.regex.is_match(name));
            }
            A::LabelKeep => {
                labels.retain(|name, _| self.regex.is_match(name));
            }
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut LabelsBuilder) {
        let config = &self.config;
        let Some(target) = self.regex.expand(value, &config.target_label) else {
            return;
        };
        if target.is_empty() {
            return;
        }
        let written = self
            .regex
            .expand(value, &config.replacement)
            .unwrap_or_default();
        if written.is_empty() {
            labels.remove(&target);
        } else {
            labels.set(target, written);
        }
    }

    fn joined(&self, labels: &LabelsBuilder) -> String {
        let mut out = String::new();
        for (i, name) in self.config.source_labels.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.config.separator);
            }
            out.push_str(labels.get(name).unwrap_or(""));
        }
        out
    }
}

/// Applies rules in order; `false` when one of them drops the set.
#[must_use]
pub fn apply(rules: &[Relabel], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// Applies rules in order; what each one left and whether it kept the set. Ends with the one
/// that drops it.
#[must_use]
pub fn steps(rules: &[Relabel], labels: &mut LabelsBuilder) -> Vec<(Labels, bool)> {
    let mut out = Vec::with_capacity(rules.len());
    for rule in rules {
        let kept = rule.apply(labels);
        out.push((labels.clone().build(), kept));
        if !kept {
            break;
        }
    }
    out
}

impl RelabelAction {
    /// As written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RelabelAction::Replace => "replace",
            RelabelAction::Keep => "keep",
            RelabelAction::Drop => "drop",
            RelabelAction::KeepEqual => "keepequal",
            RelabelAction::DropEqual => "dropequal",
            RelabelAction::HashMod => "hashmod",
            RelabelAction::LabelMap => "labelmap",
            RelabelAction::LabelDrop => "labeldrop",
            RelabelAction::LabelKeep => "labelkeep",
            RelabelAction::Lowercase => "lowercase",
            RelabelAction::Uppercase => "uppercase",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies the rules in `yaml` to a fixed set and compares with `expect`; `-` means dropped.
    #[track_caller]
    fn check(yaml: &str, expect: &str) {
        let configs: Vec<RelabelConfig> = serde_saphyr::from_str(yaml).unwrap();
        let rules = Relabel::list(&configs).unwrap();
        let mut labels =
            Labels::from_pairs([("a", "foo"), ("b", "bar"), ("c", "baz")]).to_builder();
        let kept = apply(&rules, &mut labels);
        let got = if kept {
            labels.build().to_string()
        } else {
            "-".to_owned()
        };
        assert_eq!(got, expect, "{yaml}");
    }

    #[test]
    fn replace_writes_the_expanded_replacement() {
        check(
            "[{source_labels: [a], regex: f(.*), target_label: d, replacement: 'ch${1}-ch${1}'}]",
            r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#,
        );
        check(
            "[{source_labels: [a, b], target_label: d}]",
            r#"{a="foo", b="bar", c="baz", d="foo;bar"}"#,
        );
        check(
            "[{source_labels: [a], regex: nope, target_label: d, replacement: x}]",
            r#"{a="foo", b="bar", c="baz"}"#,
        );
        check(
            "[{source_labels: [a], target_label: a, replacement: ''}]",
            r#"{b="bar", c="baz"}"#,
        );
        check(
            "[{target_label: a, replacement: static}]",
            r#"{a="static", b="bar", c="baz"}"#,
        );
        check(
            "[{source_labels: [a], regex: '(f).*', target_label: '${1}x', replacement: y}]",
            r#"{a="foo", b="bar", c="baz", fx="y"}"#,
        );
    }

    #[test]
    fn keep_and_drop_look_at_the_whole_value() {
        check("[{source_labels: [a], regex: fo, action: keep}]", "-");
        check("[{source_labels: [a], regex: foo, action: drop}]", "-");
        check(
            "[{source_labels: [a], target_label: b, action: keepequal}]",
            "-",
        );
        check(
            "[{source_labels: [a], target_label: b, action: dropequal}]",
            r#"{a="foo", b="bar", c="baz"}"#,
        );
    }

    #[test]
    fn label_actions_look_at_names() {
        check("[{regex: '[ab]', action: labeldrop}]", r#"{c="baz"}"#);
        check(
            "[{regex: '[ab]', action: labelkeep}]",
            r#"{a="foo", b="bar"}"#,
        );
        check(
            "[{regex: '(a)', replacement: 'x_$1', action: labelmap}]",
            r#"{a="foo", b="bar", c="baz", x_a="foo"}"#,
        );
    }

    #[test]
    fn hashmod_is_prometheus_hash() {
        // Go: md5("foo") = acbd18db4cc2f85cedef654fccc4a4d8; 0xedef654fccc4a4d8 % 1000 = 696.
        check(
            "[{source_labels: [a], target_label: d, modulus: 1000, action: hashmod}]",
            r#"{a="foo", b="bar", c="baz", d="696"}"#,
        );
        check(
            "[{source_labels: [a], target_label: d, action: uppercase}]",
            r#"{a="foo", b="bar", c="baz", d="FOO"}"#,
        );
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let check = |yaml: &str, expect: &str| {
            let configs: Vec<RelabelConfig> = serde_saphyr::from_str(yaml).unwrap();
            let error = Relabel::list(&configs).unwrap_err().to_string();
            assert_eq!(error, expect);
        };
        check(
            "[{source_labels: [a]}]",
            "relabel configuration for replace action requires 'target_label' value",
        );
        check(
            "[{source_labels: [a], target_label: b, action: hashmod}]",
            "relabel configuration for hashmod action requires 'modulus' value",
        );
        check(
            "[{regex: a, source_labels: [b], action: labeldrop}]",
            "labeldrop action requires only 'regex', and no other fields",
        );
    }
}
