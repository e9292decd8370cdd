//! What is wrong now, and what was wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::Health;
use crate::error::WriteError;
use crate::telemetry::{FileKind, KindLabels, Telemetry};

/// Notices kept; older ones are only in the log and the metrics.
const NOTICES_MAX: usize = 20;

/// Telemetry and health, shared by all parts of the store.
pub(crate) struct Watch {
    pub(crate) telemetry: Telemetry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    problems: BTreeMap<&'static str, String>,
    notices: VecDeque<String>,
}

impl Watch {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Watch {
            telemetry,
            state: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> std::sync::Arc<Self> {
        let mut registry = prometheus_client::registry::Registry::default();
        std::sync::Arc::new(Watch::new(Telemetry::new(&mut registry)))
    }

    /// A write to `kind` of files failed: `topic` is in trouble until [`Watch::solved`].
    pub(crate) fn write_failed(&self, topic: &'static str, kind: FileKind, error: &WriteError) {
        let labels = KindLabels { kind };
        self.telemetry.write_errors.get_or_create(&labels).inc();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.problems.insert(topic, error.to_string()).is_none() {
            tracing::error!(topic, %error, "storage cannot write");
        }
    }

    /// `topic` works (again).
    pub(crate) fn solved(&self, topic: &'static str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.problems.remove(topic).is_some() {
            tracing::info!(topic, "storage writes again");
        }
    }

    /// Bytes of an unfinished write were found at the end of a file and ignored.
    pub(crate) fn torn(&self, kind: FileKind, path: &Path, bytes: u64) {
        let labels = KindLabels { kind };
        let counter = self.telemetry.torn_bytes.get_or_create(&labels);
        counter.inc_by(bytes);
        drop(counter);
        tracing::warn!(path = %path.display(), bytes, "cut an unfinished write from the end of a file");
        self.notice(format!(
            "cut {bytes} bytes of an unfinished write from {}",
            path.display()
        ));
    }

    /// A damaged piece was found and set aside or skipped. Every query may meet it again:
    /// it is logged and counted once, as long as its notice is kept.
    pub(crate) fn corrupt(&self, kind: FileKind, path: &Path, what: impl Display) {
        if self.notice(format!("damaged data in {}: {what}", path.display())) {
            let labels = KindLabels { kind };
            self.telemetry.corruptions.get_or_create(&labels).inc();
            tracing::error!(path = %path.display(), %what, "found damaged data");
        }
    }

    /// Whether `text` was not among the notices yet.
    fn notice(&self, text: String) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.notices.contains(&text) {
            return false;
        }
        if state.notices.len() == NOTICES_MAX {
            state.notices.pop_front();
        }
        state.notices.push_back(text);
        true
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            ok: state.problems.is_empty(),
            problems: state
                .problems
                .iter()
                .map(|(topic, text)| format!("{topic}: {text}"))
                .collect(),
            notices: state.notices.iter().cloned().collect(),
        }
    }
}
