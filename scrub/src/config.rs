//! What an operator can set.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::detector::Detector;
use crate::detector::KEYS_MAX;
use crate::rule::RULES_MAX;

/// How a [`crate::Scrubber`] is built. By default every detector but `ssn` is on; finds are
/// masked, and public addresses are truncated to their network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Names of detectors that are off by default and shall be on.
    pub enabled: Vec<String>,
    /// Names of detectors that stay off (see [`crate::detector_names`]).
    pub disabled: Vec<String>,
    /// What is done with finds, by detector: names of [`Action`]s.
    pub actions: BTreeMap<String, String>,
    /// Whether addresses of private networks, of this host and of links are scrubbed too.
    pub private_ips: bool,
    /// Further key names whose values are secret: matched without regard to case, also as a
    /// part of a longer key. Letters, digits, `_`, `-` and `.` only.
    pub secret_keys: Vec<String>,
    /// Keys whose values are never secret, though a built-in name is part of them
    /// (`token_bucket`). Whole keys, without regard to case.
    pub plain_keys: Vec<String>,
    /// Values that are never touched, without regard to ASCII case. A find must equal one.
    pub allow_values: Vec<String>,
    /// Regular expressions of values that are never touched. One must match a find as a whole.
    pub allow_patterns: Vec<String>,
    /// Detectors of the operator's own.
    pub rules: Vec<RuleConfig>,
}

/// A detector of the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleConfig {
    /// Its name in counters and marks: lower-case letters, digits and `-`, at most 32.
    pub name: String,
    /// What it finds, over bytes: `\w`, `\d` and `\b` mean ASCII unless `(?u)` says otherwise.
    /// With a group, the (first) group is what goes; else all that matches.
    pub regex: String,
    /// Name of an [`Action`]; `mask` when empty.
    pub action: String,
}

/// Why a scrubber cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A list of detectors or the actions hold a name that no detector has.
    #[error("scrub: no detector is named {name:?}; known are {}", Detector::names().join(", "))]
    UnknownDetector {
        /// The name as given.
        name: String,
    },
    /// An action has a name that none has, or one that does not fit its detector.
    #[error("scrub: {of}: {action:?} is no action; known are {}", known_actions(.truncates))]
    UnknownAction {
        /// The detector or rule it is for.
        of: String,
        /// The name as given.
        action: String,
        /// Whether the detector finds addresses.
        truncates: bool,
    },
    /// An action for a detector that is off.
    #[error(
        "scrub: actions: {name} is off; turn it on with `enabled: [{name}]` or take it out of `disabled`"
    )]
    ActionOfDisabled {
        /// The detector.
        name: String,
    },
    /// A key cannot occur as a key in a log line.
    #[error("scrub: {key:?} is not a key name: 3 to 64 letters, digits, '_', '-' or '.'")]
    BadKey {
        /// The key as given.
        key: String,
    },
    /// A rule's name is taken or cannot stand in a mark.
    #[error("scrub: rules: {name:?} is no name for a rule: {reason}")]
    BadRuleName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A regular expression is none, or too large.
    #[error("scrub: {of}: {reason}")]
    BadPattern {
        /// Where it stands.
        of: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More rules than one pass can bear.
    #[error("scrub: {count} rules are more than {RULES_MAX}")]
    TooManyRules {
        /// How many there are.
        count: usize,
    },
    /// More keys than one pass can bear.
    #[error("scrub: secret_keys: {count} keys are more than {KEYS_MAX}")]
    TooManyKeys {
        /// How many there are.
        count: usize,
    },
}

fn known_actions(truncates: &bool) -> String {
    let fits = |action: &Action| *truncates || *action != Action::Truncate;
    let names = Action::ALL.into_iter().filter(fits).map(Action::name);
    names.collect::<Vec<_>>().join(", ")
}
