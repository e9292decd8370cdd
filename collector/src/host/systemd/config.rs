//! `collect.host.systemd`.

use std::path::PathBuf;

use model::Regex;
use serde::Deserialize;

/// Which units of systemd are told, and what of them. Defaults are node_exporter's but for restarts,
/// which it tells on request only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemdConfig {
    /// Names of units to tell, as an anchored regular expression.
    pub unit_include: String,
    /// Names of units to leave out of these, likewise.
    pub unit_exclude: String,
    /// Whether to tell how often services were started again: a question more for each service.
    pub restarts: bool,
    /// Whether to tell when units became active: a question more for each.
    pub start_times: bool,
    /// Whether to tell how many tasks services have: two questions more for each, and systemd reads
    /// a file to answer.
    pub tasks: bool,
    /// Where the message bus listens, as seen from here; in the usual places below `roots.rootfs`
    /// when absent.
    pub socket: Option<PathBuf>,
}

impl Default for SystemdConfig {
    fn default() -> Self {
        SystemdConfig {
            unit_include: ".+".to_owned(),
            unit_exclude: r".+\.(automount|device|mount|scope|slice)".to_owned(),
            restarts: true,
            start_times: false,
            tasks: false,
            socket: None,
        }
    }
}

impl SystemdConfig {
    /// Checks the expressions.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (key, pattern) in [
            ("unit_include", &self.unit_include),
            ("unit_exclude", &self.unit_exclude),
        ] {
            Regex::anchored(pattern).map_err(|e| format!("{key}: {e}"))?;
        }
        Ok(())
    }
}
