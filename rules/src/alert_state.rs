//! The state of one alert, and how it is kept on disk.

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

use crate::AlertState;

/// Owner's table in the control store.
pub(crate) const TABLE: &str = "rules.alerts";

/// Version of the encoding; a row of another version is left out.
const VERSION: u8 = 1;

/// An alert that is pending, firing or lately resolved.
#[derive(Clone, Debug)]
pub(crate) struct ActiveAlert {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) state: AlertState,
    pub(crate) value: f64,
    pub(crate) active_at: Timestamp,
    pub(crate) fired_at: Option<Timestamp>,
    pub(crate) resolved_at: Option<Timestamp>,
    pub(crate) last_sent: Option<Timestamp>,
    pub(crate) keep_firing_since: Option<Timestamp>,
    /// The last evaluation that saw it pending: time nobody watched does not count towards `for`.
    pub(crate) seen_at: Timestamp,
    /// Read from disk and not seen since. Not stored.
    pub(crate) restored: bool,
}

impl ActiveAlert {
    /// A fresh alert, pending since `at`.
    pub(crate) fn pending(labels: Labels, annotations: Labels, value: f64, at: Timestamp) -> Self {
        ActiveAlert {
            labels,
            annotations,
            state: AlertState::Pending,
            value,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            last_sent: None,
            keep_firing_since: None,
            seen_at: at,
            restored: false,
        }
    }

    /// The bytes of a row.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let pairs = |labels: &Labels| {
            labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect()
        };
        let row = Row {
            version: VERSION,
            labels: pairs(&self.labels),
            annotations: pairs(&self.annotations),
            state: match self.state {
                AlertState::Inactive => 0,
                AlertState::Pending => 1,
                AlertState::Firing => 2,
            },
            value_bits: self.value.to_bits(),
            active_at: self.active_at.millis(),
            fired_at: self.fired_at.map(Timestamp::millis),
            resolved_at: self.resolved_at.map(Timestamp::millis),
            last_sent: self.last_sent.map(Timestamp::millis),
            keep_firing_since: self.keep_firing_since.map(Timestamp::millis),
            seen_at: self.seen_at.millis(),
        };
        // Strings and integers only: nothing that JSON cannot say.
        serde_json::to_vec(&row).unwrap_or_default()
    }

    /// The alert of a row; `None` when this version cannot read it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<ActiveAlert> {
        let row: Row = serde_json::from_slice(bytes).ok()?;
        if row.version != VERSION {
            return None;
        }
        Some(ActiveAlert {
            labels: Labels::from_pairs(row.labels),
            annotations: Labels::from_pairs(row.annotations),
            state: match row.state {
                0 => AlertState::Inactive,
                1 => AlertState::Pending,
                2 => AlertState::Firing,
                _ => return None,
            },
            value: f64::from_bits(row.value_bits),
            active_at: Timestamp::from_millis(row.active_at),
            fired_at: row.fired_at.map(Timestamp::from_millis),
            resolved_at: row.resolved_at.map(Timestamp::from_millis),
            last_sent: row.last_sent.map(Timestamp::from_millis),
            keep_firing_since: row.keep_firing_since.map(Timestamp::from_millis),
            seen_at: Timestamp::from_millis(row.seen_at),
            restored: true,
        })
    }
}

/// Milliseconds everywhere; the value as bits, so that NaN and the infinities survive.
#[derive(Serialize, Deserialize)]
struct Row {
    version: u8,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    state: u8,
    value_bits: u64,
    active_at: i64,
    fired_at: Option<i64>,
    resolved_at: Option<i64>,
    last_sent: Option<i64>,
    keep_firing_since: Option<i64>,
    seen_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let mut alert = ActiveAlert::pending(
            Labels::from_pairs([("alertname", "A"), ("x", "ü\n")]),
            Labels::from_pairs([("summary", "s")]),
            f64::INFINITY,
            Timestamp::from_millis(5),
        );
        alert.state = AlertState::Firing;
        alert.fired_at = Some(Timestamp::from_millis(7));
        alert.last_sent = Some(Timestamp::from_millis(8));
        let back = ActiveAlert::decode(&alert.encode()).unwrap();
        assert_eq!(back.encode(), alert.encode());
        assert!(back.restored);
        assert!(ActiveAlert::decode(b"{}").is_none());
        let newer = String::from_utf8(alert.encode())
            .unwrap()
            .replace("\"version\":1", "\"version\":9");
        assert!(ActiveAlert::decode(newer.as_bytes()).is_none());
    }
}
