//! What the engine answers, reduced to the fields we read. Unknown fields are ignored,
//! missing ones take their default: engines from 1.41 to 1.53 differ in both.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Answer to `GET /version`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Engine version, e.g. `20.10.24`.
    pub version: String,
    /// Newest API version it speaks, e.g. `1.41`.
    pub api_version: String,
}

/// One row of `GET /containers/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    /// 64 hex digits.
    pub id: String,
    /// With a leading slash; links add further ones.
    #[serde(deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    /// As given at creation.
    pub image: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub state: String,
    /// For people: `Up 3 hours (healthy)`.
    pub status: String,
    /// Labels of container and image.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// Ports it exposes, published or not.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<Port>,
    /// Its network mode; nothing else of it is in the list.
    pub host_config: HostConfig,
    /// The networks it is in.
    pub network_settings: NetworkSettings,
    /// Bytes in its own layer; only where sizes were asked for.
    #[serde(rename = "SizeRw")]
    pub size_rw: Option<i64>,
}

/// One port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The address on the engine's host it is published at; empty when it is not.
    #[serde(rename = "IP")]
    pub ip: String,
    /// In the container.
    #[serde(rename = "PrivatePort")]
    pub private: u16,
    /// On the engine's host; `None` when it is not published.
    #[serde(rename = "PublicPort")]
    pub public: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// `NetworkSettings` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// By the network's name.
    #[serde(deserialize_with = "null_as_default")]
    pub networks: BTreeMap<String, Option<Attachment>>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Its address; empty while it does not run, and in the host's network.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// The engine's host, as seen from there.
    #[serde(rename = "Gateway")]
    pub gateway: String,
    /// Names it answers to in that network, where the engine tells.
    #[serde(rename = "Aliases", deserialize_with = "null_as_default")]
    pub aliases: Vec<String>,
}

/// One row of `GET /networks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// As given.
    pub name: String,
    /// `local` or `swarm`.
    pub scope: String,
    /// `bridge`, `host`, `macvlan`, …
    pub driver: String,
    /// Whether it leads nowhere else.
    pub internal: bool,
    /// Whether it is the mesh of a swarm.
    pub ingress: bool,
    /// As given.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
}

/// `host:port`, an IPv6 address in brackets.
#[must_use]
pub fn join_host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Answer to `GET /images/{id}/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDetail {
    /// When it was built; RFC 3339.
    pub created: String,
}

/// Answer to `GET /info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Where the engine keeps images and containers, on its host.
    pub docker_root_dir: String,
}

/// Answer to `GET /containers/{id}/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerDetail {
    /// 64 hex digits.
    pub id: String,
    /// With a leading slash.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `sha256:…` of its image.
    pub image: String,
    /// Automatic restarts since creation (by restart policy, not by people).
    pub restart_count: u64,
    /// Path of the log file on the engine's host; empty for drivers without one.
    pub log_path: String,
    /// Run state.
    pub state: ContainerState,
    /// What was asked for at creation.
    pub config: ContainerConfig,
    /// Resources and drivers.
    pub host_config: HostConfig,
}

impl ContainerDetail {
    /// The name without the slash that the engine puts before it.
    #[must_use]
    pub fn plain_name(&self) -> &str {
        self.name.trim_start_matches('/')
    }
}

/// `State` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// As [`ContainerSummary::state`].
    pub status: String,
    /// Main process is alive (true while paused too).
    pub running: bool,
    /// Frozen.
    pub paused: bool,
    /// Between two runs under a restart policy.
    pub restarting: bool,
    /// The last run was ended by the kernel's out-of-memory killer.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Process id on the engine's host; 0 when not running.
    pub pid: u32,
    /// Of the last run; 0 before the first exit as well.
    pub exit_code: i64,
    /// Why the last start failed.
    pub error: String,
    /// RFC 3339; year 1 when never.
    pub started_at: String,
    /// RFC 3339; year 1 when never.
    pub finished_at: String,
    /// `None` without a health check.
    pub health: Option<Health>,
}

/// `State.Health` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// Result so far.
    pub status: HealthStatus,
    /// Consecutive failures.
    pub failing_streak: u64,
}

/// Result of a container's health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// In its start period or before its first result.
    Starting,
    /// Last check passed.
    Healthy,
    /// Failed as often in a row as allowed.
    Unhealthy,
    /// No health check, or a status we do not know.
    #[default]
    #[serde(other)]
    None,
}

/// `Config` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// As given at creation.
    pub image: String,
    /// Labels of container and image.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// Whether output comes raw instead of framed by stream.
    pub tty: bool,
}

/// `HostConfig` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// Where its output goes.
    pub log_config: LogConfig,
    /// Name of the network mode: `host`, `bridge`, `container:<id>`, …
    pub network_mode: String,
    /// Bytes; 0 without a bound, as all that follow.
    pub memory: i64,
    /// Bytes of memory and swap; -1 without a bound.
    pub memory_swap: i64,
    /// Bytes.
    pub memory_reservation: i64,
    /// Billionths of a core.
    pub nano_cpus: i64,
    /// Microseconds per period.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Weight.
    pub cpu_shares: i64,
}

/// `HostConfig.LogConfig` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// `json-file`, `local`, `journald`, `none`, …
    #[serde(rename = "Type")]
    pub driver: String,
    /// The driver's options.
    #[serde(deserialize_with = "null_as_default")]
    pub config: BTreeMap<String, String>,
}

/// What a container was started with; secrets are in it.
#[derive(Clone, Default)]
pub struct Environment {
    /// `NAME=value` each.
    pub variables: Vec<String>,
    /// Entrypoint and command.
    pub command: Vec<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment(<secret>)")
    }
}

/// The part of `GET /containers/{id}/json` with secrets in it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct EnvironmentDetail {
    config: EnvironmentConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EnvironmentConfig {
    #[serde(deserialize_with = "null_as_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    cmd: Vec<String>,
}

impl From<EnvironmentDetail> for Environment {
    fn from(detail: EnvironmentDetail) -> Environment {
        let config = detail.config;
        Environment {
            variables: config.env,
            command: [config.entrypoint, config.cmd].concat(),
        }
    }
}

/// One line of `GET /events`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `container`, `network`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `start`, `die`, `oom`, `health_status: unhealthy`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// Whom it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Nanoseconds since the epoch.
    #[serde(rename = "timeNano")]
    pub time_ns: i64,
}

/// Whom an event happened to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Container id for container events.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels of the container, with `name`, `image` and, for `die`, `exitCode`.
    #[serde(rename = "Attributes", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
}

/// The engine writes `null` for empty lists and maps.
pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspect_answer_is_read_with_its_odd_spellings() {
        let text = r#"{"Id":"ab","Name":"/web","RestartCount":3,"Config":{"Labels":null,"Tty":true},
            "State":{"Status":"exited","OOMKilled":true,"ExitCode":137,"Health":{"Status":"unhealthy","FailingStreak":4}},
            "HostConfig":{"LogConfig":{"Type":"json-file"}}}"#;
        let detail: ContainerDetail = serde_json::from_str(text).unwrap();
        assert_eq!(detail.plain_name(), "web");
        assert!(detail.state.oom_killed && detail.config.tty);
        assert_eq!(
            detail.state.health.map(|h| h.status),
            Some(HealthStatus::Unhealthy)
        );
        assert_eq!(detail.host_config.log_config.driver, "json-file");
    }

    #[test]
    fn an_unknown_health_status_reads_as_none() {
        let health: Health = serde_json::from_str(r#"{"Status":"dreaming"}"#).unwrap();
        assert_eq!(health.status, HealthStatus::None);
    }
}
