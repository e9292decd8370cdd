//! What a sub-command that asks a running stackwatch needs of the configuration: where it
//! listens and how it scrubs. Secrets of receivers are often set for the service alone, so a
//! variable that is not set counts as empty here, and everything else in the file is passed over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::diagnostic::ConfigError;
use super::expand::{self, Surroundings};
use super::scrub_section::ScrubSection;
use super::values::{Filled, Span};
use super::{DEFAULT_LISTEN, yaml};

/// The part of a configuration that a client uses; the process that runs checks the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `host:port` where stackwatch listens.
    pub listen: String,
    /// The scrubber.
    pub scrub: scrub::Config,
    /// Where data are stored.
    pub data_dir: PathBuf,
    /// Samples older than this go.
    pub retention_metrics: Duration,
    /// Whether coarser copies are made of samples before they go.
    pub has_rollups: bool,
}

impl ClientConfig {
    /// Reads `file`, or gives the defaults when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not YAML of the right shape in these places.
    pub fn load(
        file: Option<&Path>,
        surroundings: &dyn Surroundings,
    ) -> Result<ClientConfig, ConfigError> {
        let Some(path) = file else {
            return Ok(File::default().into());
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::whole_file(&name, format!("cannot read: {e}")))?;
        let expanded = expand::expand(&name, &text, &EmptyIfUnset(surroundings))?;
        yaml::parse::<File>(&name, &expanded).map(ClientConfig::from)
    }
}

/// Unset variables and unreadable secret files are empty.
struct EmptyIfUnset<'a>(&'a dyn Surroundings);

impl Surroundings for EmptyIfUnset<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        Some(self.0.variable(name).unwrap_or_default())
    }

    fn file(&self, path: &str) -> std::io::Result<String> {
        Ok(self.0.file(path).unwrap_or_default())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    server: Server,
    logs: Logs,
    storage: Storage,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Storage {
    dir: Option<PathBuf>,
    retention: Retention,
    rollups: Filled,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Retention {
    metrics: Option<Span>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Server {
    listen: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Logs {
    scrub: Option<ScrubSection>,
}

impl From<File> for ClientConfig {
    fn from(file: File) -> Self {
        let listen = file.server.listen.filter(|l| !l.is_empty());
        let default = storage::Config::default();
        ClientConfig {
            listen: listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
            scrub: file.logs.scrub.map(scrub::Config::from).unwrap_or_default(),
            data_dir: file.storage.dir.unwrap_or(default.dir),
            has_rollups: file.storage.rollups.0,
            retention_metrics: file
                .storage
                .retention
                .metrics
                .map_or(default.retention_metrics, |Span(age)| age),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Surroundings for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, path: &str) -> std::io::Result<String> {
            Err(std::io::Error::other(path.to_owned()))
        }
    }

    #[test]
    fn a_client_needs_none_of_the_servers_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stackwatch.yml");
        let text = "server: { listen: '127.0.0.1:9191' }\n\
                    logs: { scrub: { disabled: [email] } }\n\
                    alerting: { receivers: [{ name: x, slack_configs: [{ api_url: \"${HOOK}\" }] }] }\n\
                    other: ${file:/run/secrets/none}\n";
        std::fs::write(&path, text).unwrap();
        let config = ClientConfig::load(Some(&path), &Nothing).unwrap();
        assert_eq!(config.listen, "127.0.0.1:9191");
        assert_eq!(config.scrub.disabled, ["email"]);
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let config = ClientConfig::load(None, &Nothing).unwrap();
        assert_eq!(config.data_dir, Path::new("data"));
        assert_eq!(config.listen, DEFAULT_LISTEN);
    }
}
