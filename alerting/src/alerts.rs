//! The alerts we know of: those that fire, and those that ended and whose end has not been told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Alert, AlertStatus, ControlError, ControlStore, Labels, Timestamp};
use serde::{Deserialize, Serialize};

use crate::changes::{Changes, read_table};

/// Alerts held at once; further ones are refused and counted.
pub const ALERTS_MAX: usize = 20_000;
/// Largest alert, labels, annotations and link together, in bytes.
pub const ALERT_BYTES_MAX: usize = 16 << 10;
/// Time that alerts which were firing get after a restart to be sent again.
pub const RESTART_GRACE: Duration = Duration::from_secs(5 * 60);

const TABLE: &str = "alerting.alerts";

/// An alert with a known end.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) alert: Alert,
    /// When it ended or will be taken as ended.
    pub(crate) ends_at: Timestamp,
    /// The end is our guess (`resolve_timeout`), not the sender's word.
    pub(crate) timeout: bool,
}

impl Known {
    pub(crate) fn status(&self, now: Timestamp) -> AlertStatus {
        if self.ends_at <= now {
            AlertStatus::Resolved
        } else {
            AlertStatus::Firing
        }
    }

    pub(crate) fn is_firing(&self, now: Timestamp) -> bool {
        self.status(now) == AlertStatus::Firing
    }
}

/// What the store keeps of an alert.
#[derive(Serialize, Deserialize)]
struct Stored {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: i64,
    ends_at: i64,
    timeout: bool,
    generator_url: String,
    updated_at: i64,
}

/// What became of one alert.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// New or changed.
    Stored,
    /// It is over and we never knew it.
    Irrelevant,
}

#[derive(Default)]
pub(crate) struct Alerts {
    by_fingerprint: BTreeMap<u64, Known>,
}

impl Alerts {
    pub(crate) fn restore(
        control: &dyn ControlStore,
        now: Timestamp,
    ) -> Result<Self, ControlError> {
        let mut alerts = Alerts::default();
        for (_, stored) in read_table::<Stored>(control, TABLE)? {
            let mut known = stored.into_known();
            // The end of an alert that was firing when we stopped is a guess about senders that
            // could not reach us since; one that was told to us as ended stays ended.
            let was_firing = known.ends_at > known.alert.updated_at;
            if was_firing {
                known.ends_at = known.ends_at.max(now.plus(RESTART_GRACE));
                known.alert.ends_at = Some(known.ends_at);
            }
            alerts
                .by_fingerprint
                .insert(known.alert.labels.fingerprint(), known);
        }
        Ok(alerts)
    }

    pub(crate) fn get(&self, fingerprint: u64) -> Option<&Known> {
        self.by_fingerprint.get(&fingerprint)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Known)> {
        self.by_fingerprint.iter().map(|(f, k)| (*f, k))
    }

    pub(crate) fn firing(&self, now: Timestamp) -> impl Iterator<Item = (u64, &Labels)> {
        self.iter()
            .filter(move |(_, k)| k.is_firing(now))
            .map(|(f, k)| (f, &k.alert.labels))
    }

    /// Takes one alert by the rules of `POST /api/v2/alerts` and merges it with what is known.
    /// `owed` says whether somebody was told that it fires.
    pub(crate) fn take(
        &mut self,
        mut alert: Alert,
        now: Timestamp,
        resolve_timeout: Duration,
        owed: impl Fn(u64) -> bool,
        changes: &mut Changes,
    ) -> Result<Taken, String> {
        let zero = Timestamp::default();
        let given_end = alert.ends_at.filter(|end| *end > zero);
        if alert.starts_at <= zero {
            alert.starts_at = given_end.map_or(now, |end| end.min(now));
        }
        let timeout = given_end.is_none();
        let ends_at = given_end.unwrap_or_else(|| now.plus(resolve_timeout));
        alert.updated_at = now;
        if alert.labels.is_empty() {
            return Err("alert without labels".to_owned());
        }
        if ends_at < alert.starts_at {
            return Err(format!("alert {}: it ends before it starts", alert.labels));
        }
        let bytes = alert.labels.heap_bytes() + alert.annotations.heap_bytes();
        if bytes + alert.generator_url.len() > ALERT_BYTES_MAX {
            return Err(format!(
                "alert {}: larger than {ALERT_BYTES_MAX} bytes",
                alert.name()
            ));
        }
        let fingerprint = alert.labels.fingerprint();
        let new = Known {
            alert,
            ends_at,
            timeout,
        };
        let merged = match self.by_fingerprint.get(&fingerprint) {
            Some(old) => merge(old, new, now),
            None if !new.is_firing(now) && !owed(fingerprint) => return Ok(Taken::Irrelevant),
            None if self.by_fingerprint.len() >= ALERTS_MAX => {
                return Err(format!(
                    "alert {}: {ALERTS_MAX} alerts are held already",
                    new.alert.labels
                ));
            }
            None => new,
        };
        changes.put(TABLE, key(fingerprint), &Stored::of(&merged));
        self.by_fingerprint.insert(fingerprint, merged);
        Ok(Taken::Stored)
    }

    /// Forgets alerts that have ended and that no group still has to tell about.
    pub(crate) fn forget_ended(
        &mut self,
        now: Timestamp,
        needed: &BTreeSet<u64>,
        changes: &mut Changes,
    ) {
        self.by_fingerprint.retain(|fingerprint, known| {
            let keep = known.is_firing(now) || needed.contains(fingerprint);
            if !keep {
                changes.delete(TABLE, key(*fingerprint));
            }
            keep
        });
    }
}

/// Joins two reports of one alert. Source: alertmanager/types `Alert.Merge`.
fn merge(old: &Known, new: Known, now: Timestamp) -> Known {
    let overlap = new.alert.starts_at < old.ends_at && old.alert.starts_at < new.ends_at;
    if !overlap {
        return new;
    }
    let mut merged = new;
    merged.alert.starts_at = merged.alert.starts_at.min(old.alert.starts_at);
    let later_end = |merged: &mut Known| {
        if old.ends_at > merged.ends_at {
            merged.ends_at = old.ends_at;
            merged.timeout = old.timeout;
        }
    };
    if merged.is_firing(now) {
        // A guessed end must not outlive what a sender says now.
        if old.is_firing(now) && !old.timeout {
            later_end(&mut merged);
        }
    } else if !old.is_firing(now) {
        later_end(&mut merged);
    }
    merged.alert.ends_at = Some(merged.ends_at);
    merged
}

fn key(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

impl Stored {
    fn of(known: &Known) -> Stored {
        let alert = &known.alert;
        Stored {
            labels: pairs(&alert.labels),
            annotations: pairs(&alert.annotations),
            starts_at: alert.starts_at.millis(),
            ends_at: known.ends_at.millis(),
            timeout: known.timeout,
            generator_url: alert.generator_url.clone(),
            updated_at: alert.updated_at.millis(),
        }
    }

    fn into_known(self) -> Known {
        let ends_at = Timestamp::from_millis(self.ends_at);
        Known {
            alert: Alert {
                labels: Labels::from_pairs(self.labels),
                annotations: Labels::from_pairs(self.annotations),
                starts_at: Timestamp::from_millis(self.starts_at),
                ends_at: Some(ends_at),
                generator_url: self.generator_url,
                updated_at: Timestamp::from_millis(self.updated_at),
            },
            ends_at,
            timeout: self.timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn alert(starts: i64, ends: Option<i64>) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "A")]),
            annotations: Labels::empty(),
            starts_at: Timestamp::from_millis(starts),
            ends_at: ends.map(Timestamp::from_millis),
            generator_url: String::new(),
            updated_at: Timestamp::default(),
        }
    }

    /// Takes each (now, starts, ends) and compares start and end of what is known then.
    #[track_caller]
    fn check(reports: &[(i64, i64, Option<i64>)], expect: Option<(i64, i64)>) {
        let mut alerts = Alerts::default();
        let mut changes = Changes::default();
        for (now, starts, ends) in reports {
            alerts
                .take(
                    alert(*starts, *ends),
                    Timestamp::from_millis(*now),
                    Duration::from_secs(300),
                    |_| false,
                    &mut changes,
                )
                .unwrap();
        }
        let known = alerts.iter().next().map(|(_, k)| k);
        assert_eq!(
            known.map(|k| (k.alert.starts_at.millis(), k.ends_at.millis())),
            expect
        );
    }

    #[test]
    fn missing_times_are_filled_in_as_the_api_says() {
        check(&[(10, 0, None)], Some((10, 10 + 5 * MINUTE)));
        check(&[(10, 0, Some(100))], Some((10, 100)));
        check(&[(10, 0, Some(5))], None);
    }

    #[test]
    fn overlapping_reports_become_one_incident() {
        // The earlier start and the later told end win while firing.
        check(&[(10, 5, Some(900)), (20, 15, Some(800))], Some((5, 900)));
        // A guessed end does not outlive a told one.
        check(&[(10, 5, None), (20, 5, Some(800))], Some((5, 800)));
        // An end that is told ends it.
        check(&[(10, 5, None), (20, 5, Some(20))], Some((5, 20)));
        // Of two told ends the later one is kept.
        check(
            &[(10, 5, None), (30, 5, Some(30)), (40, 5, Some(20))],
            Some((5, 30)),
        );
        // After the end a new start is a new incident, at the very instant of the end, too.
        check(
            &[(10, 5, None), (20, 5, Some(20)), (25, 20, Some(900))],
            Some((20, 900)),
        );
        check(
            &[(10, 5, None), (20, 5, Some(20)), (50, 45, Some(900))],
            Some((45, 900)),
        );
    }

    #[test]
    fn after_a_restart_firing_alerts_get_time_to_be_sent_again_and_ended_ones_stay_ended() {
        let control = model::control::MemoryControlStore::default();
        let (mut alerts, mut changes) = (Alerts::default(), Changes::default());
        let now = Timestamp::from_millis(1000);
        let timeout = Duration::from_secs(300);
        alerts
            .take(alert(5, Some(2000)), now, timeout, |_| false, &mut changes)
            .unwrap();
        let mut ended = alert(5, Some(1000));
        ended.labels = Labels::from_pairs([("alertname", "B")]);
        alerts
            .take(ended, now, timeout, |_| true, &mut changes)
            .unwrap();
        changes.commit(&control).unwrap();
        let later = Timestamp::from_millis(10 * MINUTE);
        let back = Alerts::restore(&control, later).unwrap();
        let firing: Vec<&str> = back
            .firing(later)
            .filter_map(|(_, l)| l.get("alertname"))
            .collect();
        assert_eq!(firing, ["A"]);
        assert_eq!(back.iter().count(), 2);
    }
}
