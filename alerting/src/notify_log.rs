//! What each integration was last told about each group, and whether it must be told again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ControlError, ControlStore, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::changes::{Changes, read_table};

/// An entry of a group that no longer exists is kept at most this long.
pub const RETENTION: Duration = Duration::from_secs(120 * 60 * 60);

const TABLE: &str = "alerting.nflog";

/// Why a notification goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotifyReason {
    /// Nothing was known to fire.
    First,
    /// Alerts joined the group.
    NewAlerts,
    /// Some ended, others still fire.
    SomeResolved,
    /// All ended.
    AllResolved,
    /// Nothing changed for `repeat_interval`.
    RepeatInterval,
}

impl NotifyReason {
    /// The words of the webhook's `notification_reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NotifyReason::First => "first notification",
            NotifyReason::NewAlerts => "new alerts added",
            NotifyReason::SomeResolved => "some alerts resolved",
            NotifyReason::AllResolved => "all alerts resolved",
            NotifyReason::RepeatInterval => "repeat interval elapsed",
        }
    }
}

/// What an integration knows about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    group_key: String,
    receiver: String,
    integration: String,
    /// Fingerprints told as firing in the last notification.
    firing: BTreeSet<u64>,
    /// Fingerprints told as ended in the last notification.
    resolved: BTreeSet<u64>,
    /// Fingerprints once told as firing and muted since: their end is still owed.
    owed: BTreeSet<u64>,
    at: i64,
    expires_at: i64,
    /// Notifications about this group so far.
    pub(crate) seq: u64,
}

impl Entry {
    /// Whether the integration was told that this alert fires, and not that it ended.
    pub(crate) fn owes(&self, fingerprint: u64) -> bool {
        self.firing.contains(&fingerprint) || self.owed.contains(&fingerprint)
    }
}

/// The alerts of one flush, as one integration is shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Firing and not muted.
    pub(crate) firing: BTreeSet<u64>,
    /// Ended, and not muted or owed.
    pub(crate) resolved: BTreeSet<u64>,
    /// Firing and muted.
    pub(crate) muted: BTreeSet<u64>,
}

/// Whether the integration must be told, and why. Source: alertmanager/notify `DedupStage`.
pub(crate) fn decide(
    entry: Option<&Entry>,
    facts: &Facts,
    send_resolved: bool,
    repeat_interval: Duration,
    now: Timestamp,
) -> Option<NotifyReason> {
    let Some(entry) = entry else {
        return (!facts.firing.is_empty()).then_some(NotifyReason::First);
    };
    if !facts.firing.is_subset(&entry.firing) {
        return Some(if entry.firing.is_empty() {
            NotifyReason::First
        } else {
            NotifyReason::NewAlerts
        });
    }
    let owed_ended = facts.resolved.iter().any(|f| entry.owed.contains(f));
    if facts.firing.is_empty() {
        // With everything that fires muted there is nothing to tell but owed ends.
        let ended = facts.resolved.iter().any(|f| entry.owes(*f));
        return ended.then_some(NotifyReason::AllResolved);
    }
    if send_resolved && (owed_ended || !facts.resolved.is_subset(&entry.resolved)) {
        return Some(NotifyReason::SomeResolved);
    }
    let repeat_due = Timestamp::from_millis(entry.at) < now.minus(repeat_interval);
    repeat_due.then_some(NotifyReason::RepeatInterval)
}

/// Group key, receiver, integration.
type Key = (String, String, String);

#[derive(Default)]
pub(crate) struct NotifyLog {
    entries: BTreeMap<Key, Entry>,
}

impl NotifyLog {
    pub(crate) fn restore(control: &dyn ControlStore) -> Result<Self, ControlError> {
        let entries = read_table::<Entry>(control, TABLE)?
            .into_iter()
            .map(|(_, e)| {
                (
                    (
                        e.group_key.clone(),
                        e.receiver.clone(),
                        e.integration.clone(),
                    ),
                    e,
                )
            })
            .collect();
        Ok(NotifyLog { entries })
    }

    pub(crate) fn get(&self, group_key: &str, receiver: &str, integration: &str) -> Option<&Entry> {
        let key = (
            group_key.to_owned(),
            receiver.to_owned(),
            integration.to_owned(),
        );
        self.entries.get(&key)
    }

    /// Whether any integration was told that this alert fires, and not that it ended.
    pub(crate) fn owes(&self, fingerprint: u64) -> bool {
        self.entries.values().any(|e| e.owes(fingerprint))
    }

    /// Whether an integration of this group owes the end of this alert.
    pub(crate) fn group_owes(&self, group_key: &str, receiver: &str, fingerprint: u64) -> bool {
        self.entries
            .range((group_key.to_owned(), receiver.to_owned(), String::new())..)
            .take_while(|((g, r, _), _)| g == group_key && r == receiver)
            .any(|(_, e)| e.owes(fingerprint))
    }

    /// Notes that the integration has been told `facts`; returns the notification's number.
    pub(crate) fn record(
        &mut self,
        (group_key, receiver, integration): (&str, &str, &str),
        facts: &Facts,
        repeat_interval: Duration,
        now: Timestamp,
        changes: &mut Changes,
    ) -> u64 {
        let key = (
            group_key.to_owned(),
            receiver.to_owned(),
            integration.to_owned(),
        );
        let old = self.entries.remove(&key).unwrap_or_default();
        let owed = facts
            .muted
            .iter()
            .copied()
            .filter(|f| old.owes(*f))
            .collect();
        let entry = Entry {
            group_key: key.0.clone(),
            receiver: key.1.clone(),
            integration: key.2.clone(),
            firing: facts.firing.clone(),
            resolved: facts.resolved.clone(),
            owed,
            at: now.millis(),
            expires_at: now.plus(RETENTION.min(repeat_interval * 2)).millis(),
            seq: old.seq + 1,
        };
        let seq = entry.seq;
        changes.put(TABLE, storage_key(&key), &entry);
        self.entries.insert(key, entry);
        seq
    }

    /// Forgets expired entries of groups that are gone.
    pub(crate) fn forget_expired(
        &mut self,
        now: Timestamp,
        group_lives: impl Fn(&str, &str) -> bool,
        changes: &mut Changes,
    ) {
        self.entries.retain(|key, entry| {
            let keep = entry.expires_at > now.millis() || group_lives(&key.0, &key.1);
            if !keep {
                changes.delete(TABLE, storage_key(key));
            }
            keep
        });
    }
}

/// Keys of the table are hashes: group keys have no bound of their own.
fn storage_key(key: &Key) -> String {
    hash_id(&[key.0.as_bytes(), key.1.as_bytes(), key.2.as_bytes()])
}

/// The first 128 bits of SHA-256 over the parts, each preceded by its length, in hex.
pub(crate) fn hash_id(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..16]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(items: &[u64]) -> BTreeSet<u64> {
        items.iter().copied().collect()
    }

    /// `before` is (firing, resolved, owed) as told an hour and a half ago.
    #[track_caller]
    fn check(
        before: Option<(&[u64], &[u64], &[u64])>,
        (firing, resolved): (&[u64], &[u64]),
        send_resolved: bool,
        repeat: Duration,
        expect: Option<NotifyReason>,
    ) {
        let now = Timestamp::from_millis(10_000_000);
        let entry = before.map(|(f, r, o)| Entry {
            firing: set(f),
            resolved: set(r),
            owed: set(o),
            at: now.minus(HOUR + HOUR / 2).millis(),
            ..Entry::default()
        });
        let facts = Facts {
            firing: set(firing),
            resolved: set(resolved),
            muted: BTreeSet::new(),
        };
        assert_eq!(
            decide(entry.as_ref(), &facts, send_resolved, repeat, now),
            expect
        );
    }

    #[test]
    fn a_group_is_told_when_something_fires_that_was_not_told() {
        check(None, (&[1], &[]), true, HOUR, Some(NotifyReason::First));
        check(None, (&[], &[1]), true, HOUR, None);
        check(
            Some((&[], &[1], &[])),
            (&[1], &[]),
            true,
            HOUR,
            Some(NotifyReason::First),
        );
        check(
            Some((&[1], &[], &[])),
            (&[1, 2], &[]),
            true,
            HOUR,
            Some(NotifyReason::NewAlerts),
        );
    }

    #[test]
    fn an_unchanged_group_is_told_again_after_the_repeat_interval() {
        check(Some((&[1], &[], &[])), (&[1], &[]), true, HOUR * 2, None);
        check(
            Some((&[1], &[], &[])),
            (&[1], &[]),
            true,
            HOUR,
            Some(NotifyReason::RepeatInterval),
        );
    }

    #[test]
    fn ends_are_told_once_and_clear_the_log_even_where_they_are_not_sent() {
        check(
            Some((&[1], &[], &[])),
            (&[], &[1]),
            true,
            HOUR,
            Some(NotifyReason::AllResolved),
        );
        check(
            Some((&[1], &[], &[])),
            (&[], &[1]),
            false,
            HOUR,
            Some(NotifyReason::AllResolved),
        );
        check(Some((&[], &[1], &[])), (&[], &[1]), true, HOUR, None);
        check(
            Some((&[1, 2], &[], &[])),
            (&[1], &[2]),
            true,
            HOUR * 2,
            Some(NotifyReason::SomeResolved),
        );
        check(
            Some((&[1, 2], &[], &[])),
            (&[1], &[2]),
            false,
            HOUR * 2,
            None,
        );
        check(Some((&[1], &[2], &[])), (&[1], &[2]), true, HOUR * 2, None);
    }

    #[test]
    fn the_end_of_an_alert_that_was_muted_meanwhile_is_still_told() {
        check(
            Some((&[], &[], &[2])),
            (&[], &[2]),
            true,
            HOUR,
            Some(NotifyReason::AllResolved),
        );
        check(
            Some((&[1], &[], &[2])),
            (&[1], &[2]),
            true,
            HOUR * 2,
            Some(NotifyReason::SomeResolved),
        );
    }
}
