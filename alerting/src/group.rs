//! Groups: which alerts are told together, and when a group is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ControlError, ControlStore, Labels, Timestamp};
use serde::{Deserialize, Serialize};

use crate::changes::{Changes, read_table};
use crate::notify_log::hash_id;
use crate::route::{Route, group_key};

const TABLE: &str = "alerting.groups";

/// Group key and receiver. Two routes that agree on both share their groups, as they share the
/// notification log.
pub(crate) type GroupId = (String, String);

/// Alerts that are told together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) labels: Labels,
    group_interval: Duration,
    /// The longest that `next_flush` can be off; farther means that the clock was set back.
    wait_max: Duration,
    pub(crate) repeat_interval: Duration,
    pub(crate) mute_time_intervals: Vec<String>,
    pub(crate) active_time_intervals: Vec<String>,
    pub(crate) route_labels: BTreeMap<String, String>,
    pub(crate) members: BTreeSet<u64>,
    pub(crate) next_flush: Timestamp,
    flushed: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    key: String,
    receiver: String,
    next_flush: i64,
}

#[derive(Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<GroupId, Group>,
    /// Ticks of groups that existed before a restart or a reload.
    ticks: BTreeMap<GroupId, Timestamp>,
}

impl Groups {
    pub(crate) fn restore(control: &dyn ControlStore) -> Result<Self, ControlError> {
        let ticks = read_table::<Stored>(control, TABLE)?
            .into_iter()
            .map(|(_, s)| ((s.key, s.receiver), Timestamp::from_millis(s.next_flush)))
            .collect();
        Ok(Groups {
            by_id: BTreeMap::new(),
            ticks,
        })
    }

    /// Empties the groups and keeps their ticks, for the routes of a new configuration.
    pub(crate) fn reset(&mut self) {
        let flushed = std::mem::take(&mut self.by_id)
            .into_iter()
            .filter(|(_, g)| g.flushed);
        self.ticks = flushed.map(|(id, g)| (id, g.next_flush)).collect();
    }

    /// Forgets ticks that no group took up.
    pub(crate) fn forget_ticks(&mut self, changes: &mut Changes) {
        for id in std::mem::take(&mut self.ticks).into_keys() {
            if !self.by_id.contains_key(&id) {
                changes.delete(TABLE, storage_key(&id));
            }
        }
    }

    /// Puts an alert into its group of this route. A new group waits `group_wait`, or not at all
    /// when the alert is older than that; so does one that has not been looked at yet.
    pub(crate) fn insert(
        &mut self,
        route: &Route,
        labels: &Labels,
        fingerprint: u64,
        starts_at: Timestamp,
        now: Timestamp,
    ) {
        let group_labels = route.group_by.group_labels(labels);
        let id = (group_key(&route.key, &group_labels), route.receiver.clone());
        let tick = self.ticks.get(&id).copied();
        let overdue = starts_at.plus(route.group_wait) < now;
        let group = self.by_id.entry(id).or_insert_with(|| Group {
            labels: group_labels,
            group_interval: route.group_interval,
            wait_max: route.group_wait.max(route.group_interval),
            repeat_interval: route.repeat_interval,
            mute_time_intervals: route.mute_time_intervals.clone(),
            active_time_intervals: route.active_time_intervals.clone(),
            route_labels: route.labels.clone(),
            members: BTreeSet::new(),
            next_flush: tick.unwrap_or_else(|| now.plus(route.group_wait)),
            flushed: tick.is_some(),
        });
        group.members.insert(fingerprint);
        if !group.flushed && overdue {
            group.next_flush = now;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.by_id.iter()
    }

    pub(crate) fn contains(&self, key: &str, receiver: &str) -> bool {
        self.by_id
            .contains_key(&(key.to_owned(), receiver.to_owned()))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Groups whose tick has come, in key order.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(GroupId, Group)> {
        let is_due = |(_, g): &(&GroupId, &Group)| {
            g.next_flush <= now || g.next_flush > now.plus(g.wait_max)
        };
        self.by_id
            .iter()
            .filter(is_due)
            .map(|(id, g)| (id.clone(), g.clone()))
            .collect()
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_id.values().map(|g| g.next_flush).min()
    }

    /// Ends a flush: keeps `members`, sets the next tick; a group without members is gone.
    pub(crate) fn flushed(
        &mut self,
        id: &GroupId,
        members: BTreeSet<u64>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(group) = self.by_id.get_mut(id) else {
            return;
        };
        if members.is_empty() {
            self.by_id.remove(id);
            changes.delete(TABLE, storage_key(id));
            return;
        }
        group.members = members;
        group.flushed = true;
        group.next_flush = now.plus(group.group_interval);
        let stored = Stored {
            key: id.0.clone(),
            receiver: id.1.clone(),
            next_flush: group.next_flush.millis(),
        };
        changes.put(TABLE, storage_key(id), &stored);
    }

    /// Fingerprints of all members.
    pub(crate) fn needed(&self) -> BTreeSet<u64> {
        self.by_id
            .values()
            .flat_map(|g| g.members.iter().copied())
            .collect()
    }
}

fn storage_key(id: &GroupId) -> String {
    hash_id(&[id.0.as_bytes(), id.1.as_bytes()])
}
