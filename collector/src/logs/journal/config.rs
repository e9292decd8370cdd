//! `logs.journal`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::duration;
use crate::logs::labels::check_labels;

/// systemd's journal, read by its own program `journalctl`. Off unless it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// The folder with the journal's files; that of this machine when absent.
    pub path: Option<PathBuf>,
    /// Which entries are read, as `journalctl` takes it: `_SYSTEMD_UNIT=ssh.service`. Those of one
    /// field are alternatives, those of several must all hold. Empty means all.
    pub matches: Vec<String>,
    /// How far back the journal is read when it is seen for the first time.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// The `job` label.
    pub job: String,
    /// Further labels of all these lines.
    pub labels: BTreeMap<String, String>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            path: None,
            matches: Vec::new(),
            max_age: Duration::from_secs(7 * 3600),
            job: "systemd-journal".to_owned(),
            labels: BTreeMap::new(),
        }
    }
}

impl JournalConfig {
    /// Checks matches and the names of labels.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        for wanted in &self.matches {
            let field = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
            let is_match = wanted
                .split_once('=')
                .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(field));
            if !is_match && wanted != "+" {
                return Err(format!("{wanted:?} is not FIELD=value"));
            }
        }
        check_labels(&self.labels)
    }
}
