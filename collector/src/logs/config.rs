//! Which containers' logs are read, and how much of them.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Regex;
use serde::Deserialize;

use super::Container;
use super::group::Joining;
use super::reader::Options;
use crate::config::{ConfigError, duration};

pub(super) use crate::scrape::parse_bytes;

/// Tailing of a Docker engine's containers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Names of containers to read, as anchored regular expressions; empty means all.
    pub include: Vec<String>,
    /// Names of containers to leave out, likewise.
    pub exclude: Vec<String>,
    /// Labels of which a container must have one, each with an anchored regular expression of its
    /// value; empty means all.
    pub include_labels: BTreeMap<String, String>,
    /// Labels of which a container must have none, likewise.
    pub exclude_labels: BTreeMap<String, String>,
    /// Whether to read the logs of the container we run in ourselves, if we do.
    pub own: bool,
    /// Bytes kept of a line; the rest is left out and the line marked `truncated`.
    pub line_bytes_max: usize,
    /// How far back a container's log is read when it is seen for the first time.
    #[serde(deserialize_with = "duration")]
    pub backlog: Duration,
    /// Where from.
    pub read: ReadFrom,
    /// Whether the lines of a stack trace are one entry.
    pub multiline: bool,
    /// What the first line of each entry looks like; the first that fits the container is used, and
    /// no stack traces are looked for there.
    pub first_lines: Vec<FirstLine>,
    /// Bytes a day kept of each container, and a sample of what comes beyond; without it, all.
    #[serde(deserialize_with = "crate::scrape::bytes_option")]
    pub quota: Option<u64>,
    /// Which time entries carry.
    pub timestamps: Timestamps,
    /// Whether a container's start, end, health and want of memory are entries too.
    pub events: bool,
}

/// Where containers' logs are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// In the engine's files where they can be read, else by its API.
    #[default]
    Auto,
    /// By the API.
    Api,
}

/// Which time entries carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// When the engine received the line.
    #[default]
    Engine,
    /// What the line says, if it says so with a zone and is within a day of the engine's.
    Line,
}

/// How entries of several lines begin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstLine {
    /// Names of containers, as an anchored regular expression.
    pub container: String,
    /// Found in the first line of each entry and in no other; not anchored.
    pub matches: String,
}

impl Default for LogsConfig {
    fn default() -> Self {
        LogsConfig {
            include: Vec::new(),
            exclude: Vec::new(),
            include_labels: BTreeMap::new(),
            exclude_labels: BTreeMap::new(),
            own: false,
            line_bytes_max: 256 * 1024,
            backlog: Duration::from_secs(24 * 60 * 60),
            read: ReadFrom::Auto,
            multiline: true,
            first_lines: Vec::new(),
            quota: None,
            timestamps: Timestamps::Engine,
            events: true,
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
        let mut expression = |key: &'static str, pattern: &str| {
            if let Err(e) = Regex::anchored(pattern) {
                problems.push(ConfigError::key(
                    &["logs", "docker", key],
                    format!("logs.docker.{key}: {e}"),
                ));
            }
        };
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            patterns.iter().for_each(|p| expression(key, p));
        }
        for (key, labels) in [
            ("include_labels", &self.include_labels),
            ("exclude_labels", &self.exclude_labels),
        ] {
            labels.values().for_each(|p| expression(key, p));
        }
        for first in &self.first_lines {
            expression("first_lines", &first.container);
            expression("first_lines", &first.matches);
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

    /// How one container is read; its own labels come first.
    pub(super) fn options(&self, container: &Container) -> Options {
        let settings = &container.settings;
        Options {
            line_bytes_max: self.line_bytes_max,
            joining: self.joining(container),
            quota: settings.quota.or(self.quota),
            line_times: self.timestamps == Timestamps::Line,
        }
    }

    fn joining(&self, container: &Container) -> Joining {
        let fits = |first: &&FirstLine| {
            Regex::anchored(&first.container).is_ok_and(|r| r.is_match(&container.name))
        };
        let configured = self.first_lines.iter().find(fits).map(|f| &f.matches);
        match container.settings.first_line.as_ref().or(configured) {
            Some(off) if off == "off" => Joining::Off,
            Some(first) => match Regex::unanchored(first) {
                Ok(first) => Joining::FirstLine(Box::new(first)),
                Err(_) => Joining::Off,
            },
            None if self.multiline => Joining::Traces,
            None => Joining::Off,
        }
    }
}

/// Decides by name and labels.
#[derive(Debug)]
pub(crate) struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    include_labels: Vec<(String, Regex)>,
    exclude_labels: Vec<(String, Regex)>,
}

impl Filter {
    /// Expressions that do not compile were reported by [`LogsConfig::check`] and match nothing.
    pub(crate) fn new(config: &LogsConfig) -> Self {
        let names = |patterns: &[String]| {
            patterns
                .iter()
                .filter_map(|p| Regex::anchored(p).ok())
                .collect()
        };
        let labels = |labels: &BTreeMap<String, String>| {
            labels
                .iter()
                .filter_map(|(name, p)| Some((name.clone(), Regex::anchored(p).ok()?)))
                .collect()
        };
        Filter {
            include: names(&config.include),
            exclude: names(&config.exclude),
            include_labels: labels(&config.include_labels),
            exclude_labels: labels(&config.exclude_labels),
        }
    }

    /// Whether the configuration wants a container of that name with those labels.
    pub(crate) fn wants(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let named = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(name));
        let labelled = |wanted: &[(String, Regex)]| {
            wanted.iter().any(|(name, pattern)| {
                labels
                    .get(name)
                    .is_some_and(|value| pattern.is_match(value))
            })
        };
        (self.include.is_empty() || named(&self.include))
            && (self.include_labels.is_empty() || labelled(&self.include_labels))
            && !named(&self.exclude)
            && !labelled(&self.exclude_labels)
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
            let wants = |name: &&str| filter.wants(name, &BTreeMap::new());
            assert!(wanted.iter().all(wants), "{config}");
            assert!(!unwanted.iter().any(wants), "{config}");
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
    fn containers_are_chosen_by_label() {
        let check = |config: &str, labels: &[(&str, &str)], expect: bool| {
            let labels = labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            let filter = Filter::new(&parse(config).unwrap());
            assert_eq!(filter.wants("web", &labels.collect()), expect, "{config}");
        };
        check(
            "{include_labels: {tier: 'front|back'}}",
            &[("tier", "front")],
            true,
        );
        check(
            "{include_labels: {tier: front}}",
            &[("tier", "front2")],
            false,
        );
        check("{include_labels: {tier: front}}", &[], false);
        check(
            "{exclude_labels: {job: '.+'}}",
            &[("job", "nightly")],
            false,
        );
        check("{exclude_labels: {job: '.+'}}", &[], true);
        check(
            "{exclude: [web], include_labels: {a: b}}",
            &[("a", "b")],
            false,
        );
    }

    #[test]
    fn a_container_s_own_labels_come_first() {
        let config = "{quota: 1MB, first_lines: [{container: 'web.*', matches: '^[0-9]'}]}";
        let config = parse(config).unwrap();
        let options = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            config.options(&Container::new("id", "web-1", &labels.collect()))
        };
        let plain = options(&[]);
        assert_eq!(plain.quota, Some(1 << 20));
        assert!(matches!(plain.joining, Joining::FirstLine(_)));
        let own = options(&[
            ("stackwatch.logs.quota", "2MB"),
            ("stackwatch.logs.first_line", "off"),
        ]);
        assert_eq!(own.quota, Some(2 << 20));
        assert!(matches!(own.joining, Joining::Off));
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
