//! The `collect` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use model::Labels;
use serde::{Deserialize, Deserializer, de};

use crate::discovery::DiscoveryConfig;
use crate::files::FileConfig;
use crate::heartbeat::HeartbeatConfig;
use crate::host::SystemdConfig;
use crate::kong::HttpSourceConfig;
use crate::logs::{LogSources, LogsConfig};
use crate::postgres::PostgresConfig;
use crate::probe::ProbeConfig;
use crate::redis::RedisConfig;
use crate::scrape::ScrapeConfig;
use crate::statsd::StatsdConfig;

/// What to collect, and how often. `Default` watches this host and its Docker engine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time between two collections of a source, unless it has its own. Shorter costs
    /// proportionally more CPU and disk.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// How long one collection may take; at most `interval`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// The `instance` label of host and containers; the host's name when absent.
    pub instance: Option<String>,
    /// The `instance` label of our own metrics. `server` puts the listen address here.
    #[serde(skip)]
    pub self_instance: String,
    /// Where the host's file systems are mounted.
    pub roots: Roots,
    /// This host's metrics; `false` turns them off.
    #[serde(deserialize_with = "switch")]
    pub host: Option<HostConfig>,
    /// Containers of a Docker engine; `false` turns them off.
    #[serde(deserialize_with = "switch")]
    pub docker: Option<DockerConfig>,
    /// Services among that engine's containers; `false` turns it off, and so does `docker: false`.
    #[serde(deserialize_with = "switch")]
    pub discovery: Option<DiscoveryConfig>,
    /// Logs of that engine's containers; `false` turns them off, and so does `docker: false`.
    #[serde(deserialize_with = "switch")]
    pub logs: Option<LogsConfig>,
    /// Log sources beside containers; `server` puts here what its own section says.
    #[serde(skip)]
    pub log_sources: LogSources,
    /// PostgreSQL servers.
    pub postgres: Vec<PostgresConfig>,
    /// Redis, Valkey and KeyDB servers, and Sentinels.
    pub redis: Vec<RedisConfig>,
    /// Kong nodes, by their admin or status listener.
    pub kong: Vec<HttpSourceConfig>,
    /// nginx servers, by their stub_status page.
    pub nginx: Vec<HttpSourceConfig>,
    /// What is probed from outside: sites, ports, names, hosts.
    pub probes: Vec<ProbeConfig>,
    /// Jobs that say when they ran.
    pub heartbeats: Vec<HeartbeatConfig>,
    /// Whether short jobs may push their metrics to `/metrics/job/…`, as to a Pushgateway.
    pub pushgateway: bool,
    /// Metrics that applications send by StatsD's lines; nobody listens unless it is set.
    #[serde(deserialize_with = "switch")]
    pub statsd: Option<StatsdConfig>,
    /// Files that should be young and large enough: backups.
    pub files: Vec<FileConfig>,
    /// Prometheus targets, in Prometheus' own schema.
    pub scrape_configs: Vec<ScrapeConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            instance: None,
            self_instance: "localhost:9090".to_owned(),
            roots: Roots::default(),
            host: Some(HostConfig::default()),
            docker: Some(DockerConfig::default()),
            discovery: Some(DiscoveryConfig::default()),
            logs: Some(LogsConfig::default()),
            log_sources: LogSources::default(),
            postgres: Vec::new(),
            redis: Vec::new(),
            kong: Vec::new(),
            nginx: Vec::new(),
            probes: Vec::new(),
            heartbeats: Vec::new(),
            pushgateway: false,
            statsd: None,
            files: Vec::new(),
            scrape_configs: Vec::new(),
        }
    }
}

/// Where the host's file systems are mounted: elsewhere than usual when we run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roots {
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// The host's `/sys`.
    pub sys: PathBuf,
    /// The host's `/`.
    pub rootfs: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            proc: "/proc".into(),
            sys: "/sys".into(),
            rootfs: "/".into(),
        }
    }
}

/// The host source. Exclusions default to node_exporter's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Mount points left out (anchored by the expression itself).
    pub mount_points_exclude: String,
    /// File system types left out.
    pub fs_types_exclude: String,
    /// Block devices left out of `node_disk_*`.
    pub diskstats_device_exclude: String,
    /// Network devices left out of `node_network_*`. node_exporter leaves none out; containers'
    /// veth devices come and go, and their traffic is counted per container anyway.
    pub netdev_device_exclude: String,
    /// Folders whose `*.prom` files are told as well, as they are seen from here. When absent the
    /// usual places of the host, where there are any.
    pub textfile_directories: Option<Vec<PathBuf>>,
    /// Units of systemd, where there is one; `false` turns them off.
    #[serde(deserialize_with = "switch")]
    pub systemd: Option<SystemdConfig>,
}

impl Default for HostConfig {
    fn default() -> Self {
        HostConfig {
            mount_points_exclude:
                "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
                    .to_owned(),
            fs_types_exclude: "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$".to_owned(),
            diskstats_device_exclude: r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$".to_owned(),
            netdev_device_exclude: "^veth".to_owned(),
            textfile_directories: None,
            systemd: Some(SystemdConfig::default()),
        }
    }
}

/// The Docker source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DockerConfig {
    /// `unix:///path` or `tcp://host:port` (a socket proxy).
    pub socket: String,
    /// Docker labels that become labels of the container's series, beside Compose's project and
    /// service: `org.label-schema.group` becomes `container_label_org_label_schema_group`. Each
    /// makes every sample of every container longer.
    pub labels: Vec<String>,
    /// Whether the engine is asked from time to time how much each container has written, which
    /// it counts file by file.
    pub sizes: bool,
}

/// Docker labels on the series of containers.
const DOCKER_LABELS_MAX: usize = 32;

/// Where Docker's packages put the socket.
pub(crate) const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

impl Default for DockerConfig {
    fn default() -> Self {
        DockerConfig {
            socket: DEFAULT_SOCKET.to_owned(),
            labels: Vec::new(),
            sizes: true,
        }
    }
}

/// Why a configuration cannot be used; the text names the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    /// What is wrong, and with what.
    pub text: String,
    /// The keys that lead to it from the top of the file, so that whoever read the file can tell
    /// the line.
    pub path: Vec<&'static str>,
    /// Which item, from 0, when a list is there.
    pub item: Option<usize>,
}

impl ConfigError {
    /// About the value of a key.
    pub(crate) fn key(path: &[&'static str], text: impl Into<String>) -> ConfigError {
        ConfigError {
            text: text.into(),
            path: path.to_vec(),
            item: None,
        }
    }

    /// About an item of a list of `collect`.
    pub(crate) fn item(list: &'static str, item: usize, text: String) -> ConfigError {
        ConfigError {
            item: Some(item),
            ..ConfigError::key(&["collect", list], text)
        }
    }

    fn job(item: usize, text: String) -> ConfigError {
        ConfigError::item("scrape_configs", item, text)
    }
}

impl Config {
    /// Checks what the types cannot: positive intervals, expressions that compile, unique job names.
    ///
    /// # Errors
    /// Each problem found, in the order of the file.
    pub fn check(&self) -> Result<(), Vec<ConfigError>> {
        let mut problems = Vec::new();
        if self.interval.is_zero() {
            problems.push(ConfigError::key(
                &["collect", "interval"],
                "collect.interval must be positive",
            ));
        }
        if let Some(docker) = &self.docker
            && let Err(e) = crate::Engine::new(&docker.socket)
        {
            problems.push(ConfigError::key(
                &["collect", "docker", "socket"],
                format!("collect.docker.socket: {e}"),
            ));
        }
        problems.extend(self.discovery.iter().flat_map(DiscoveryConfig::check));
        if let Some(docker) = &self.docker
            && docker.labels.len() > DOCKER_LABELS_MAX
        {
            problems.push(ConfigError::key(
                &["collect", "docker", "labels"],
                format!("collect.docker.labels: more than {DOCKER_LABELS_MAX}"),
            ));
        }
        if let Some(Err(found)) = self.logs.as_ref().map(LogsConfig::check) {
            problems.extend(found);
        }
        problems.extend(self.log_sources.check());
        if let Some(host) = &self.host {
            for (key, pattern) in [
                ("mount_points_exclude", &host.mount_points_exclude),
                ("fs_types_exclude", &host.fs_types_exclude),
                ("diskstats_device_exclude", &host.diskstats_device_exclude),
                ("netdev_device_exclude", &host.netdev_device_exclude),
            ] {
                if let Err(e) = model::Regex::unanchored(pattern) {
                    problems.push(ConfigError::key(
                        &["collect", "host", key],
                        format!("collect.host.{key}: {e}"),
                    ));
                }
            }
            if let Some(Err(e)) = host.systemd.as_ref().map(SystemdConfig::check) {
                problems.push(ConfigError::key(
                    &["collect", "host", "systemd"],
                    format!("collect.host.systemd.{e}"),
                ));
            }
        }
        problems.extend(crate::postgres::check(&self.postgres, self.interval));
        self.check_services(&mut problems);
        problems.extend(self.check_probes());
        problems.extend(self.check_heartbeats());
        if let Some(Err(e)) = self.statsd.as_ref().map(StatsdConfig::check) {
            let text = format!("collect.statsd.{e}");
            problems.push(ConfigError::key(&["collect", "statsd"], text));
        }
        problems.extend(self.check_files());
        let mut jobs = std::collections::BTreeSet::new();
        for (item, scrape) in self.scrape_configs.iter().enumerate() {
            let name = &scrape.job_name;
            if !jobs.insert(name) {
                let text = format!("found multiple scrape configs with job name {name:?}");
                problems.push(ConfigError::job(item, text));
            }
            if let Err(e) = scrape.check(self.interval, self.timeout) {
                let text = format!("scrape_configs, job {name:?}: {e}");
                problems.push(ConfigError::job(item, text));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

impl Config {
    /// Begins relative paths of files with targets or mappings at `base`, the configuration's
    /// folder.
    pub fn begin_files_at(&mut self, base: &std::path::Path) {
        for job in &mut self.scrape_configs {
            job.begin_files_at(base);
        }
        if let Some(statsd) = &mut self.statsd {
            statsd.begin_files_at(base);
        }
    }

    fn check_services(&self, problems: &mut Vec<ConfigError>) {
        let redis = self.redis.iter().enumerate();
        let redis = redis.map(|(i, c)| ("redis", i, c.instance(), c.check()));
        let http = [("kong", &self.kong), ("nginx", &self.nginx)];
        let http = http.into_iter().flat_map(|(key, list)| {
            let each = list.iter().enumerate();
            each.map(move |(i, c)| (key, i, c.instance(), c.check(key)))
        });
        let mut instances = std::collections::BTreeSet::new();
        for (key, item, instance, checked) in redis.chain(http) {
            let mut problem = |text: String| {
                let text = format!("collect.{key}: {text}");
                problems.push(ConfigError::item(key, item, text));
            };
            if let Err(text) = checked {
                problem(text);
            }
            if !instances.insert((key, instance.clone())) {
                problem(format!("instance {instance:?} is there twice"));
            }
        }
    }

    fn check_probes(&self) -> Vec<ConfigError> {
        let scrubber = scrub::Scrubber::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut problems = Vec::new();
        for (item, probe) in self.probes.iter().enumerate() {
            let labels = probe.target_labels(&scrubber);
            let checked = probe
                .check()
                .and_then(|()| match seen.insert(labels.clone()) {
                    true => Ok(()),
                    false => Err(format!(
                        "another probe has the labels {labels} too: give one of them an instance"
                    )),
                });
            if let Err(e) = checked {
                let text = format!("collect.probes: {e}");
                problems.push(ConfigError::item("probes", item, text));
            }
        }
        problems
    }

    fn check_heartbeats(&self) -> Vec<ConfigError> {
        let mut seen = std::collections::BTreeSet::new();
        let mut problems = Vec::new();
        for (item, heartbeat) in self.heartbeats.iter().enumerate() {
            let new = seen.insert(heartbeat.slug()) & seen.insert(format!(" {}", heartbeat.name));
            let checked = heartbeat.check().and(match new {
                true => Ok(()),
                false => Err("name and slug must be its own".to_owned()),
            });
            if let Err(e) = checked {
                let text = format!("collect.heartbeats {:?}: {e}", heartbeat.name);
                problems.push(ConfigError::item("heartbeats", item, text));
            }
        }
        problems
    }

    fn check_files(&self) -> Vec<ConfigError> {
        let mut seen = std::collections::BTreeSet::new();
        let mut problems = Vec::new();
        for (item, file) in self.files.iter().enumerate() {
            let new = seen.insert((file.name(), &file.path));
            let checked = file.check().and(match new {
                true => Ok(()),
                false => Err(format!("{:?} is there twice", file.name())),
            });
            if let Err(e) = checked {
                let text = format!("collect.files: {e}");
                problems.push(ConfigError::item("files", item, text));
            }
        }
        problems
    }
}

/// The target labels `job` and `instance`.
pub(crate) fn target_labels(job: &str, instance: &str) -> Labels {
    Labels::from_pairs([("job", job), ("instance", instance)])
}

/// Reads a Prometheus duration (`15s`, `1m30s`).
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    model::number::parse_duration(&text).map_err(de::Error::custom)
}

/// Reads an optional Prometheus duration.
pub(crate) fn duration_option<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

/// Reads a source that is on by default: `false`, `true`, nothing, or its settings.
fn switch<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    struct Switch<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de> + Default> de::Visitor<'de> for Switch<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true, false or settings")
        }

        fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
            Ok(on.then(T::default))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Some(T::default()))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    from.deserialize_any(Switch(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_source_is_on_off_or_set() {
        assert!(parse("interval: 5s").unwrap().host.is_some());
        assert!(parse("host: false").unwrap().host.is_none());
        assert!(parse("host: true").unwrap().host.is_some());
        assert!(parse("host:\ndocker: {}").unwrap().host.is_some());
        let config = parse("docker: { socket: tcp://proxy:2375 }").unwrap();
        assert_eq!(config.docker.unwrap().socket, "tcp://proxy:2375");
        assert!(parse("docker: { sock: x }").is_err());
        assert!(parse("intervall: 5s").is_err());
    }

    #[test]
    fn services_are_told_apart_by_their_instances() {
        let config = parse(
            "redis: [{url: 'redis://:a@h'}, {url: h, password: b}, {url: h, instance: i}]
kong: [{url: 'http://h:6379'}]
nginx: [{url: 'http://n', basic_auth: {}, authorization: {}}]",
        );
        let found = config.unwrap().check().unwrap_err();
        let shown: Vec<_> = found
            .iter()
            .map(|e| (e.path[1], e.item, e.text.as_str()))
            .collect();
        assert_eq!(
            shown[0],
            (
                "redis",
                Some(1),
                r#"collect.redis: instance "h:6379" is there twice"#
            )
        );
        assert_eq!((shown[1].0, shown.len()), ("nginx", 2), "{shown:?}");
    }

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(Config::default().check(), Ok(()));
        let twice = parse("scrape_configs: [{job_name: a}, {job_name: a}]").unwrap();
        assert_eq!(
            twice.check().unwrap_err(),
            [ConfigError::job(
                1,
                "found multiple scrape configs with job name \"a\"".to_owned()
            )]
        );
    }
}
