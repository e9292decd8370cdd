//! Which containers' logs are read, and how much of them.

use std::time::Duration;

use model::Regex;
use serde::Deserialize;

use crate::config::{ConfigError, duration};

/// Tailing of a Docker engine's containers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Names of containers to read, as anchored regular expressions; empty means all.
    pub include: Vec<String>,
    /// Names of containers to leave out, likewise.
    pub exclude: Vec<String>,
    /// Whether to read the logs of the container we run in ourselves, if we do.
    pub own: bool,
    /// Bytes kept of a line; the rest is left out and the line marked `truncated`.
    pub line_bytes_max: usize,
    /// How far back a container's log is read when it is seen for the first time.
    #[serde(deserialize_with = "duration")]
    pub backlog: Duration,
}

impl Default for LogsConfig {
    fn default() -> Self {
        LogsConfig {
            include: Vec::new(),
            exclude: Vec::new(),
            own: false,
            line_bytes_max: 256 * 1024,
            backlog: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A line this short cannot be told from its neighbours.
const LINE_BYTES_MIN: usize = 64;
/// Longer lines do not fit a batch, nor the store's records.
const LINE_BYTES_MAX: usize = 1 << 20;

impl LogsConfig {
    /// Checks what the types cannot: expressions and the line length.
    ///
    /// # Errors
    /// Each problem found.
    pub fn check(&self) -> Result<(), Vec<ConfigError>> {
        let mut problems = Vec::new();
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for pattern in patterns {
                if let Err(e) = Regex::anchored(pattern) {
                    problems.push(ConfigError::key(
                        &["logs", "docker", key],
                        format!("logs.docker.{key}: {e}"),
                    ));
                }
            }
        }
        if !(LINE_BYTES_MIN..=LINE_BYTES_MAX).contains(&self.line_bytes_max) {
            problems.push(ConfigError::key(
                &["logs", "docker", "line_bytes_max"],
                format!(
                    "logs.docker.line_bytes_max must be from {LINE_BYTES_MIN} to {LINE_BYTES_MAX}"
                ),
            ));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

/// Decides by name.
#[derive(Debug)]
pub(crate) struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl Filter {
    /// Expressions that do not compile were reported by [`LogsConfig::check`] and match nothing.
    pub(crate) fn new(config: &LogsConfig) -> Self {
        let compile = |patterns: &[String]| {
            patterns
                .iter()
                .filter_map(|p| Regex::anchored(p).ok())
                .collect()
        };
        Filter {
            include: compile(&config.include),
            exclude: compile(&config.exclude),
        }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LogsConfig, String> {
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn containers_are_chosen_by_name() {
        let check = |config: &str, wanted: &[&str], unwanted: &[&str]| {
            let filter = Filter::new(&parse(config).unwrap());
            assert!(wanted.iter().all(|name| filter.wants(name)), "{config}");
            assert!(!unwanted.iter().any(|name| filter.wants(name)), "{config}");
        };
        check("{}", &["web", ""], &[]);
        check("exclude: [web, 'ci-.*']", &["web2"], &["web", "ci-1"]);
        check(
            "{include: ['app-.*'], exclude: ['.*-test']}",
            &["app-1"],
            &["web", "app-test"],
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(LogsConfig::default().check(), Ok(()));
        assert!(parse("excludes: [a]").is_err());
        let problems = parse("{exclude: ['('], line_bytes_max: 1}")
            .unwrap()
            .check()
            .unwrap_err();
        assert!(problems[0].text.starts_with("logs.docker.exclude: "));
        assert_eq!(
            problems[1].text,
            "logs.docker.line_bytes_max must be from 64 to 1048576"
        );
    }
}
