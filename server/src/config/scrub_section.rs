//! `logs.scrub`. What it means, and what is wrong with it, the scrubber says.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The section as written.
#[derive(Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScrubSection {
    enabled: Vec<String>,
    disabled: Vec<String>,
    actions: BTreeMap<String, String>,
    private_ips: bool,
    secret_keys: Vec<String>,
    plain_keys: Vec<String>,
    allow_values: Vec<String>,
    allow_patterns: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    regex: String,
    #[serde(default)]
    action: String,
}

impl From<ScrubSection> for scrub::Config {
    fn from(section: ScrubSection) -> Self {
        let rule = |rule: Rule| scrub::RuleConfig {
            name: rule.name,
            regex: rule.regex,
            action: rule.action,
        };
        scrub::Config {
            enabled: section.enabled,
            disabled: section.disabled,
            actions: section.actions,
            private_ips: section.private_ips,
            secret_keys: section.secret_keys,
            plain_keys: section.plain_keys,
            allow_values: section.allow_values,
            allow_patterns: section.allow_patterns,
            rules: section.rules.into_iter().map(rule).collect(),
        }
    }
}
