//! An alert on its way from a rule to a receiver.

use crate::{Labels, Timestamp};

/// An alert as rules hand it to alerting, and as the Alertmanager API speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Identity, `alertname` included.
    pub labels: Labels,
    /// Rendered texts.
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it ended or will be taken as ended unless it is sent again; `None` means "not known":
    /// the receiver of the alert adds its resolve timeout.
    pub ends_at: Option<Timestamp>,
    /// Where the expression can be seen; may be empty.
    pub generator_url: String,
    /// When the sender last said so.
    pub updated_at: Timestamp,
}

/// Whether an alert holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertStatus {
    /// It holds.
    Firing,
    /// It has ended.
    Resolved,
}

impl AlertStatus {
    /// The word used in payloads.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertStatus::Firing => "firing",
            AlertStatus::Resolved => "resolved",
        }
    }
}

impl Alert {
    /// The status at `now`: resolved from `ends_at` on.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> AlertStatus {
        match self.ends_at {
            Some(end) if end <= now => AlertStatus::Resolved,
            _ => AlertStatus::Firing,
        }
    }

    /// The `alertname` label, empty when absent.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }
}
