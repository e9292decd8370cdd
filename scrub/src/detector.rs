//! The detectors.

use crate::{Config, ConfigError};

/// One kind of thing that must not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detector {
    Email,
}

impl Detector {
    pub(crate) const ALL: &[Detector] = &[Detector::Email];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Detector::Email => "email",
        }
    }

    pub(crate) fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|detector| detector.name()).collect()
    }

    pub(crate) fn chosen(config: &Config) -> Result<Vec<Detector>, ConfigError> {
        for name in &config.disabled {
            if !Self::names().contains(&name.as_str()) {
                return Err(ConfigError::UnknownDetector { name: name.clone() });
            }
        }
        Ok(Self::ALL
            .iter()
            .copied()
            .filter(|detector| !config.disabled.iter().any(|name| name == detector.name()))
            .collect())
    }
}
