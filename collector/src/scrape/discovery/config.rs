//! The entries of `file_sd_configs`, `http_sd_configs` and `docker_sd_configs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::Engine;
use crate::scrape::{Authorization, BasicAuth, HttpHeader, ScrapeConfig, Secret};
use crate::tls::TlsConfig;

/// Files with lists of target groups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSdConfig {
    /// Paths that end with `.json`, `.yml` or `.yaml`; `*` may stand in the last element. Relative
    /// ones begin at the folder of the configuration.
    pub files: Vec<String>,
    /// Time between two readings of files that do not seem to have changed; those that do are read
    /// within two seconds. Default 5m.
    #[serde(deserialize_with = "crate::config::duration")]
    pub refresh_interval: Duration,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        FileSdConfig {
            files: Vec::new(),
            refresh_interval: Duration::from_secs(300),
        }
    }
}

impl FileSdConfig {
    /// Begins relative paths at `base`.
    pub(crate) fn begin_at(&mut self, base: &Path) {
        for file in &mut self.files {
            if !file.starts_with('/') && base != Path::new(".") {
                *file = base.join(&*file).display().to_string();
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() {
            return Err(
                "file service discovery config must contain at least one path name".to_owned(),
            );
        }
        if let Some(path) = self.files.iter().find(|f| !is_valid(f)) {
            return Err(format!(
                "path name {path:?} is not valid for file discovery"
            ));
        }
        positive(self.refresh_interval)
    }
}

/// Whether the name has an ending we read and wildcards in its last element only, as in Prometheus.
fn is_valid(path: &str) -> bool {
    let endings = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let known = endings.iter().any(|e| path.ends_with(e));
    let star = path.find('*').unwrap_or(path.len());
    known && !path[star..].contains('/')
}

/// A server that answers with a list of target groups.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSdConfig {
    /// Where to ask; it may hold a user and a password, which are not shown.
    pub url: Secret,
    /// Time between two questions. Default 1m.
    #[serde(default = "minute", deserialize_with = "crate::config::duration")]
    pub refresh_interval: Duration,
    /// HTTP basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// The Authorization header.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Old spelling of `authorization: {credentials: …}`.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// Old spelling of `authorization: {credentials_file: …}`.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Further headers, by name.
    #[serde(default)]
    pub http_headers: BTreeMap<String, HttpHeader>,
    /// The proxy, as of jobs.
    #[serde(default)]
    pub proxy_url: Option<Secret>,
    /// TLS settings.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Whether to follow redirects.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
}

impl HttpSdConfig {
    /// How to ask, as a job without targets.
    pub(super) fn client(&self) -> ScrapeConfig {
        let mut client = ScrapeConfig::new("http_sd");
        client.basic_auth.clone_from(&self.basic_auth);
        client.authorization.clone_from(&self.authorization);
        client.bearer_token.clone_from(&self.bearer_token);
        client.bearer_token_file.clone_from(&self.bearer_token_file);
        client.http_headers.clone_from(&self.http_headers);
        client.proxy_url.clone_from(&self.proxy_url);
        client.tls_config.clone_from(&self.tls_config);
        client.follow_redirects = self.follow_redirects;
        client.body_size_limit = super::BYTES_MAX;
        client
    }

    fn check(&self) -> Result<(), String> {
        if self.url.0.is_empty() {
            return Err("URL is missing".to_owned());
        }
        // No error shows the URL: it may hold a password.
        let url = reqwest::Url::parse(&self.url.0).map_err(|e| format!("url: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("URL scheme must be 'http' or 'https'".to_owned());
        }
        if !url.has_host() {
            return Err("host is missing in URL".to_owned());
        }
        let second = Duration::from_secs(1);
        self.client().check(second, second)?;
        positive(self.refresh_interval)
    }
}

/// Containers of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DockerSdConfig {
    /// `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// The port of containers that expose none. Default 80.
    pub port: u16,
    /// The address of containers in the host's network. Default `localhost`.
    pub host_networking_host: String,
    /// Whether only the first network, by name, of a container in several counts. Default yes.
    pub match_first_network: bool,
    /// Restricts the list, as the engine's API does.
    pub filters: Vec<DockerFilter>,
    /// Time between two looks at the list. Default 1m.
    #[serde(deserialize_with = "crate::config::duration")]
    pub refresh_interval: Duration,
}

/// One filter of the engine's list: any of its values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerFilter {
    /// `label`, `name`, `network`, `status`, …
    pub name: String,
    /// Values, one of which must fit.
    pub values: Vec<String>,
}

impl Default for DockerSdConfig {
    fn default() -> Self {
        DockerSdConfig {
            host: String::new(),
            port: 80,
            host_networking_host: "localhost".to_owned(),
            match_first_network: true,
            filters: Vec::new(),
            refresh_interval: minute(),
        }
    }
}

impl DockerSdConfig {
    fn check(&self) -> Result<(), String> {
        if self.host.is_empty() {
            return Err("host missing".to_owned());
        }
        Engine::new(&self.host).map_err(|e| format!("host: {e}"))?;
        positive(self.refresh_interval)
    }
}

impl ScrapeConfig {
    /// Checks the job's entries of service discovery.
    pub(in crate::scrape) fn check_discovery(&self) -> Result<(), String> {
        fn each<T>(
            key: &str,
            entries: &[T],
            check: impl Fn(&T) -> Result<(), String>,
        ) -> Result<(), String> {
            let mut all = entries.iter().map(check);
            let problem = all.find_map(Result::err);
            problem.map_or(Ok(()), |e| Err(format!("{key}: {e}")))
        }
        each(
            "file_sd_configs",
            &self.file_sd_configs,
            FileSdConfig::check,
        )?;
        each(
            "http_sd_configs",
            &self.http_sd_configs,
            HttpSdConfig::check,
        )?;
        each(
            "docker_sd_configs",
            &self.docker_sd_configs,
            DockerSdConfig::check,
        )
    }
}

fn positive(interval: Duration) -> Result<(), String> {
    match interval.is_zero() {
        true => Err("refresh_interval must be positive".to_owned()),
        false => Ok(()),
    }
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expect: Result<(), &str>) {
        let job: ScrapeConfig = serde_saphyr::from_str(&format!("job_name: j\n{yaml}")).unwrap();
        let found = job.check(Duration::from_secs(15), Duration::from_secs(10));
        assert_eq!(
            found.as_ref().map_err(String::as_str),
            expect.as_ref().map_err(|e| *e)
        );
    }

    #[test]
    fn entries_of_prometheus_are_taken_as_they_are() {
        check(
            "file_sd_configs: [{files: [a.json, 'd/*.yml', '/x/tg_*.yaml'], refresh_interval: 30s}]
http_sd_configs:
  - url: https://u:p@sd.example.org/targets?x=1
  - { url: 'http://h', refresh_interval: 10s, basic_auth: {username: u, password_file: /p}, tls_config: {insecure_skip_verify: true}, follow_redirects: false }
docker_sd_configs:
  - host: unix:///var/run/docker.sock
  - { host: 'tcp://proxy:2375', port: 8080, host_networking_host: 10.0.0.1, match_first_network: false, filters: [{name: label, values: [a, 'b=c']}] }",
            Ok(()),
        );
    }

    #[test]
    fn what_prometheus_refuses_is_refused_in_its_words() {
        check(
            "file_sd_configs: [{}]",
            Err(
                "file_sd_configs: file service discovery config must contain at least one path name",
            ),
        );
        for path in ["a.txt", "*/a.json", "a"] {
            let expect =
                format!("file_sd_configs: path name {path:?} is not valid for file discovery");
            check(
                &format!("file_sd_configs: [{{files: ['{path}']}}]"),
                Err(&expect),
            );
        }
        check(
            "http_sd_configs: [{url: 'ftp://u:hunter2@h'}]",
            Err("http_sd_configs: URL scheme must be 'http' or 'https'"),
        );
        check(
            "http_sd_configs: [{url: ''}]",
            Err("http_sd_configs: URL is missing"),
        );
        check(
            "docker_sd_configs: [{port: 1}]",
            Err("docker_sd_configs: host missing"),
        );
        check(
            "docker_sd_configs: [{host: 'unix:///s', refresh_interval: 0s}]",
            Err("docker_sd_configs: refresh_interval must be positive"),
        );
    }
}
