//! The configuration: one YAML file, checked as a whole before anything uses it.
//!
//! Each section is the `Config` of the crate it steers or is mapped onto it here. Environment
//! variables and secret files are read in [`expand`] and nowhere else.

mod client;
pub mod diagnostic;
pub mod expand;
mod later;
mod memory;
mod places;
mod scrub_section;
mod storage_section;
pub mod values;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::log_metrics::{LogMetric, LogMetricSection};
pub use client::ClientConfig;
pub use diagnostic::{ConfigError, Diagnostic};
use expand::Surroundings;
pub use memory::MemoryBudget;
use memory::MemorySection;
use scrub_section::ScrubSection;
pub(crate) use storage_section::SIZE_MIN;
use storage_section::StorageSection;
use values::{Bytes, Filled, Span, Switch};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "stackwatch.yml";
/// Where we listen unless told otherwise: reachable from this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9090";
/// The rule packs that are on unless `rules.packs` says otherwise.
const DEFAULT_PACKS: [&str; 4] = ["host", "docker", "uptime", "stackwatch"];
/// Longest `query.timeout`: nobody waits longer for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Largest configuration file accepted, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--external-url`
    pub external_url: Option<String>,
    /// `--enable-remote-write-receiver`
    pub remote_write_receiver: bool,
    /// `--enable-otlp-receiver`
    pub otlp_receiver: bool,
    /// `--enable-admin-api`
    pub admin_api: bool,
}

/// Which doors for what other people collect are open. Those for samples are shut by default:
/// whoever reaches the listener could write series that rules take for ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// `/api/v1/write`.
    pub remote_write: bool,
    /// `/api/v1/otlp/v1/metrics`.
    pub otlp: bool,
    /// `/loki/api/v1/push` and `/otlp/v1/logs`; open by default, as Loki's are.
    pub logs: bool,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; `None` when there is none.
    pub file: Option<PathBuf>,
    /// `host:port` to listen on.
    pub listen: String,
    /// Our address as people reach it, without a slash at its end.
    pub external_url: String,
    /// What others may send.
    pub receivers: ReceiverConfig,
    /// Whether `/api/v1/admin/tsdb` answers: deletion and snapshots, off by default.
    pub admin_api: bool,
    /// The store.
    pub storage: storage::Config,
    /// Bounds of a query.
    pub query: QueryConfig,
    /// Who may hold how much memory.
    pub memory: MemoryBudget,
    /// The collector.
    pub collector: Arc<collector::Config>,
    /// The scrubber.
    pub scrub: scrub::Config,
    /// What is taken from log lines.
    pub log_metrics: Vec<LogMetric>,
    /// Rules.
    pub rules: RulesConfig,
    /// Alerting.
    pub alerting: alerting::Config,
}

/// What one query may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// After this a query is given up. Default 2m.
    pub timeout: Span,
    /// Queries that run at the same time; others wait. Default 4: more only fight over the
    /// cores and hold memory.
    pub concurrency: usize,
    /// Samples one query may hold in memory. Default 5 million; `bytes_max` is usually reached
    /// before.
    pub samples_max: usize,
    /// Memory of one query. Default: three quarters of what the memory budget leaves for queries, which is
    /// 36 MB of 128.
    pub bytes_max: Option<Bytes>,
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            timeout: Span(Duration::from_secs(120)),
            concurrency: 4,
            samples_max: 5_000_000,
            bytes_max: None,
        }
    }
}

/// Which rules are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesConfig {
    /// Names of shipped packs.
    pub packs: Vec<String>,
    /// Rule files, patterns resolved, in order.
    pub files: Vec<PathBuf>,
    /// How often a group without its own interval is evaluated.
    pub interval: Duration,
    /// Added to alerts, and `$externalLabels` of templates.
    pub external_labels: Labels,
}

impl Config {
    /// The configuration of `file`, or the defaults when there is none.
    ///
    /// # Errors
    /// Everything that is found wrong.
    pub fn load(
        file: Option<&Path>,
        overrides: &Overrides,
        surroundings: &dyn Surroundings,
    ) -> Result<Config, ConfigError> {
        let Some(path) = file else {
            return Config::from_text(None, "", overrides, surroundings);
        };
        let name = path.display().to_string();
        let unreadable =
            |e: std::io::Error| ConfigError::whole_file(&name, format!("cannot read: {e}"));
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_BYTES_MAX {
            return Err(ConfigError::whole_file(
                &name,
                format!("larger than {}", Bytes(FILE_BYTES_MAX)),
            ));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Config::from_text(Some(path), &text, overrides, surroundings)
    }

    /// As [`Config::load`], with the text already read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(
        path: Option<&Path>,
        text: &str,
        overrides: &Overrides,
        surroundings: &dyn Surroundings,
    ) -> Result<Config, ConfigError> {
        let name = path.map_or_else(|| "defaults".to_owned(), |p| p.display().to_string());
        let expanded = expand::expand(&name, text, surroundings)?;
        later::refuse(&name, &expanded)?;
        let file: File = yaml::parse(&name, &expanded)?;
        file.check(&name, &expanded, path, overrides, surroundings)
    }
}

impl Config {
    /// Memory one query may hold, in bytes.
    #[must_use]
    pub fn query_bytes_max(&self) -> usize {
        let bytes = self
            .query
            .bytes_max
            .map_or(self.memory.queries / 4 * 3, |b| b.0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The folder relative paths of the configuration start from.
    #[must_use]
    pub fn base_dir(&self) -> PathBuf {
        base_dir(self.file.as_deref()).to_path_buf()
    }
}

fn base_dir(file: Option<&Path>) -> &Path {
    match file.and_then(Path::parent) {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The file as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: ServerSection,
    storage: StorageSection,
    memory: MemorySection,
    query: QueryConfig,
    collect: collector::Config,
    logs: LogsSection,
    rules: RulesSection,
    alerting: Option<alerting::config::File>,
    /// Refused in `later` unless empty.
    #[serde(rename = "remote_write")]
    _remote_write: Filled,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    listen: Option<Spanned<String>>,
    external_url: Option<Spanned<String>>,
    remote_write_receiver: bool,
    otlp_receiver: bool,
    log_receiver: Option<bool>,
    admin_api: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LogsSection {
    docker: Option<Switch<collector::LogsConfig>>,
    files: Vec<collector::LogFilesConfig>,
    syslog: Vec<collector::SyslogConfig>,
    journal: Option<Switch<collector::JournalConfig>>,
    metrics: Vec<LogMetricSection>,
    scrub: Option<Spanned<ScrubSection>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RulesSection {
    packs: Option<Vec<Spanned<String>>>,
    files: Vec<Spanned<String>>,
    interval: Option<Span>,
    external_labels: BTreeMap<String, String>,
}

impl File {
    fn check(
        self,
        name: &str,
        text: &str,
        path: Option<&Path>,
        overrides: &Overrides,
        surroundings: &dyn Surroundings,
    ) -> Result<Config, ConfigError> {
        let mut findings = Findings {
            file: name,
            found: Vec::new(),
        };
        let listen = self.server.listen(overrides, &mut findings);
        let external_url = self.server.external_url(overrides, &listen, &mut findings);
        let rules = self.rules.check(path, self.collect.interval, &mut findings);

        let mut collector = self.collect;
        collector.self_instance.clone_from(&listen);
        collector.begin_files_at(base_dir(path));
        if let Some(docker) = &self.logs.docker {
            collector.logs = docker.on().cloned();
        }
        collector.log_sources = self.logs.sources();
        for problem in collector.check().err().unwrap_or_default() {
            let position = places::find(text, &problem.path, problem.item);
            findings.add(position, problem.text);
        }
        let scrub = self.logs.scrub(&mut findings);
        let log_metrics = LogMetricSection::check_all(&self.logs.metrics, &mut |at, problem| {
            findings.add(yaml::position(at), problem);
        });
        let alerting = match self.alerting {
            Some(file) => alerting::Config::check(name, file).unwrap_or_else(|problems| {
                for problem in problems {
                    let position =
                        (problem.line > 0).then_some((problem.line as u64, problem.column as u64));
                    let hint = problem.hint.map(|h| format!(" ({h})")).unwrap_or_default();
                    findings.add(position, problem.message + &hint);
                }
                alerting::Config::default()
            }),
            None => alerting::Config::default(),
        };
        if self.query.concurrency == 0 {
            let at = places::find(text, &["query", "concurrency"], None);
            findings.add(at, "query.concurrency must be at least 1");
        }
        if self.query.timeout.0.is_zero() || self.query.timeout.0 > TIMEOUT_MAX {
            let at = places::find(text, &["query", "timeout"], None);
            findings.add(at, "query.timeout must be more than 0s and at most 1h");
        }
        let memory = match MemoryBudget::new(self.memory, self.storage.memory, surroundings) {
            Ok(memory) => memory,
            Err(problem) => {
                // The sentence begins with the key.
                let key = problem.split(':').next().unwrap_or_default();
                let path: Vec<&str> = key.split('.').collect();
                findings.add(places::find(text, &path, None), problem);
                return Err(ConfigError(findings.found));
            }
        };
        let storage = self.storage.check(overrides, &memory, &mut findings);
        if !findings.found.is_empty() {
            return Err(ConfigError(findings.found));
        }
        Ok(Config {
            file: path.map(Path::to_path_buf),
            listen,
            external_url,
            receivers: ReceiverConfig {
                remote_write: self.server.remote_write_receiver || overrides.remote_write_receiver,
                otlp: self.server.otlp_receiver || overrides.otlp_receiver,
                logs: self.server.log_receiver.unwrap_or(true),
            },
            admin_api: self.server.admin_api || overrides.admin_api,
            storage,
            query: self.query,
            memory,
            collector: Arc::new(collector),
            scrub,
            log_metrics,
            rules,
            alerting,
        })
    }
}

impl ServerSection {
    fn listen(&self, overrides: &Overrides, findings: &mut Findings<'_>) -> String {
        let listen = match (&overrides.listen, &self.listen) {
            (Some(flag), _) => flag.clone(),
            (None, Some(written)) => written.value.clone(),
            (None, None) => DEFAULT_LISTEN.to_owned(),
        };
        let valid = listen
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !valid {
            let wrong = format!("{listen:?} is not host:port, e.g. {DEFAULT_LISTEN}");
            match (&overrides.listen, &self.listen) {
                (None, Some(l)) => {
                    findings.add(yaml::position(l.referenced), format!("listen: {wrong}"));
                }
                _ => findings.add_flag("--listen (STACKWATCH_LISTEN)", wrong),
            }
        }
        listen
    }

    fn external_url(
        &self,
        overrides: &Overrides,
        listen: &str,
        findings: &mut Findings<'_>,
    ) -> String {
        let url = match (&overrides.external_url, &self.external_url) {
            (Some(flag), _) => flag.clone(),
            (None, Some(written)) => written.value.clone(),
            (None, None) => format!("http://{listen}"),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let wrong = format!("{url:?} must start with http:// or https://");
            match (&overrides.external_url, &self.external_url) {
                (None, Some(u)) => {
                    let at = yaml::position(u.referenced);
                    findings.add(at, format!("external_url: {wrong}"));
                }
                _ => findings.add_flag("--external-url (STACKWATCH_EXTERNAL_URL)", wrong),
            }
        }
        url.trim_end_matches('/').to_owned()
    }
}

impl LogsSection {
    fn sources(&self) -> collector::LogSources {
        collector::LogSources {
            files: self.files.clone(),
            syslog: self.syslog.clone(),
            journal: self.journal.as_ref().and_then(Switch::on).cloned(),
        }
    }

    fn scrub(&self, findings: &mut Findings<'_>) -> scrub::Config {
        let Some(section) = &self.scrub else {
            return scrub::Config::default();
        };
        let config = scrub::Config::from(section.value.clone());
        if let Err(problem) = scrub::Scrubber::check(&config) {
            findings.add(yaml::position(section.referenced), problem.to_string());
        }
        config
    }
}

impl RulesSection {
    fn check(
        self,
        path: Option<&Path>,
        interval: Duration,
        findings: &mut Findings<'_>,
    ) -> RulesConfig {
        let known = rules::packs::names();
        let mut packs = Vec::new();
        match self.packs {
            None => packs.extend(DEFAULT_PACKS.iter().map(|p| (*p).to_owned())),
            Some(written) => {
                for pack in written {
                    if !known.contains(&pack.value.as_str()) {
                        findings.add(
                            yaml::position(pack.referenced),
                            format!(
                                "no rule pack is named {:?}{}; there are: {}",
                                pack.value,
                                diagnostic::did_you_mean(&pack.value, known.iter().copied()),
                                known.join(", ")
                            ),
                        );
                    }
                    packs.push(pack.value);
                }
            }
        }
        let base = base_dir(path);
        let mut files = Vec::new();
        for pattern in &self.files {
            files.extend(collector::glob::expand(base, &pattern.value));
        }
        RulesConfig {
            packs,
            files,
            interval: self.interval.map_or(interval, |i| i.0),
            external_labels: Labels::from_pairs(self.external_labels),
        }
    }
}

struct Findings<'a> {
    file: &'a str,
    found: Vec<Diagnostic>,
}

impl Findings<'_> {
    fn add(&mut self, position: Option<(u64, u64)>, message: impl Into<String>) {
        self.found.push(Diagnostic {
            file: self.file.to_owned(),
            position,
            message: message.into(),
        });
    }

    /// What is wrong is no part of the file but was said on the command line.
    fn add_flag(&mut self, flag: &str, message: impl Into<String>) {
        self.found.push(Diagnostic {
            file: flag.to_owned(),
            position: None,
            message: message.into(),
        });
    }
}

#[cfg(test)]
mod tests;
