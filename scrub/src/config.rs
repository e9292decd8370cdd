//! What an operator can set.

use crate::detector::Detector;

/// How a [`crate::Scrubber`] is built. The default turns every detector on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Names of detectors that stay off (see [`crate::detector_names`]).
    pub disabled: Vec<String>,
    /// Further key names whose values are secret: matched without regard to case, also as a
    /// part of a longer key. Letters, digits, `_`, `-` and `.` only.
    pub secret_keys: Vec<String>,
    /// Keys whose values are never secret, though a built-in name is part of them
    /// (`token_bucket`). Whole keys, without regard to case.
    pub plain_keys: Vec<String>,
}

/// Why a scrubber cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `disabled` holds a name that no detector has.
    #[error("scrub: no detector is named {name:?}; known are {}", Detector::names().join(", "))]
    UnknownDetector {
        /// The name as given.
        name: String,
    },
    /// A key cannot occur as a key in a log line.
    #[error("scrub: {key:?} is not a key name: 3 to 64 letters, digits, '_', '-' or '.'")]
    BadKey {
        /// The key as given.
        key: String,
    },
    /// The patterns together do not compile, which only happens with very many keys.
    #[error("scrub: compile the patterns")]
    Patterns(#[source] Box<regex_automata::meta::BuildError>),
}
