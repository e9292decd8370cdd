//! `logs.syslog`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::logs::labels::check_labels;

/// A listener for syslog messages. Nobody listens unless it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// `host:port`. Whoever reaches it can write lines under any name.
    pub listen: String,
    /// Whether datagrams are received.
    #[serde(default = "yes")]
    pub udp: bool,
    /// Whether connections are taken; messages with a length before them or a line end behind.
    #[serde(default = "yes")]
    pub tcp: bool,
    /// The `job` label.
    #[serde(default = "job")]
    pub job: String,
    /// Further labels of all these lines.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether lines have the time that their sender says, where it says year and zone, instead of
    /// that of their reception.
    #[serde(default)]
    pub use_incoming_timestamp: bool,
}

fn yes() -> bool {
    true
}

fn job() -> String {
    "syslog".to_owned()
}

impl SyslogConfig {
    /// Checks the address and the names of labels.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        let port = self
            .listen
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(format!("{:?} is not host:port", self.listen));
        }
        if !self.udp && !self.tcp {
            return Err("neither udp nor tcp".to_owned());
        }
        check_labels(&self.labels)
    }
}
