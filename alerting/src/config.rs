//! Alertmanager's configuration schema: read strictly, checked once, and resolved to what the
//! dispatcher uses.

mod diagnostic;
mod matchers;
mod secret;

pub use diagnostic::Diagnostic;
pub use matchers::{MatcherError, parse_matchers};
pub use secret::{Secret, SecretError, SecretSource};

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// The configuration as written: what a larger file embeds under its `alerting` key.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {}

impl Config {
    /// Reads and checks a configuration file's text.
    ///
    /// # Errors
    /// Every finding that makes the file unusable.
    pub fn parse(file_name: &str, text: &str) -> Result<Config, Vec<Diagnostic>> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| {
            let mut findings = diagnostic::Findings::new(file_name);
            findings.add_yaml(&e);
            findings.found
        })?;
        Config::check(file_name, file)
    }

    /// Checks a configuration that is part of a larger file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn check(file_name: &str, file: File) -> Result<Config, Vec<Diagnostic>> {
        let _ = (file_name, file);
        Ok(Config {})
    }
}
