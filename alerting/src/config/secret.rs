//! Values that must never be printed.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A secret written in the configuration. It prints as `<secret>` and has no serialiser.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, for the wire only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration.
    Inline(Secret),
    /// The content of this file, read at each use so that it can be rotated; surrounding
    /// whitespace is not part of it.
    File(PathBuf),
}

/// A secret's file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading secret file {path}: {source}")]
pub struct SecretError {
    /// The file.
    pub path: String,
    /// The cause.
    pub source: std::io::Error,
}

impl SecretSource {
    /// The value now. Reads the disk for [`SecretSource::File`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim()))
                .map_err(|source| SecretError {
                    path: path.display().to_string(),
                    source,
                }),
        }
    }

    /// From a value and a file of which at most one may be set.
    ///
    /// # Errors
    /// When both are set.
    pub(super) fn one_of(
        inline: Option<Secret>,
        file: Option<String>,
    ) -> Result<Option<SecretSource>, BothSet> {
        let inline = inline.filter(|s| !s.is_empty());
        let file = file.filter(|f| !f.is_empty());
        match (inline, file) {
            (Some(_), Some(_)) => Err(BothSet),
            (Some(secret), None) => Ok(Some(SecretSource::Inline(secret))),
            (None, Some(path)) => Ok(Some(SecretSource::File(PathBuf::from(path)))),
            (None, None) => Ok(None),
        }
    }
}

/// A value and its `_file` twin were both given.
#[derive(Debug)]
pub(super) struct BothSet;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let source = SecretSource::Inline(Secret::new("hunter2"));
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
