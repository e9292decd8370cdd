//! The dispatcher: alerts in, rows of the outbox out. Pure; whoever calls it commits the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Alert, AlertStatus, ControlError, ControlStore, Labels, Timestamp};

use crate::alerts::{Alerts, Known, Taken};
use crate::changes::Changes;
use crate::config::{Config, Integration};
use crate::group::{Group, GroupId, Groups};
use crate::inhibit::Sources;
use crate::notification::{Notification, Told, sort_as_told};
use crate::notify_log::{Facts, NotifyLog, NotifyReason, decide};
use crate::outbox::{Draft, Outbox, Row};
use crate::receivers;
use crate::silence::Silences;
use crate::templates::Renderer;
use crate::view::{AlertState, AlertView, GroupView, Received};

/// How often expired log entries and silences are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Everything alerting knows.
pub(crate) struct Dispatcher {
    pub(crate) config: Arc<Config>,
    renderer: Renderer,
    external_url: String,
    alerts: Alerts,
    groups: Groups,
    pub(crate) silences: Silences,
    log: NotifyLog,
    pub(crate) outbox: Outbox,
    pub(crate) changes: Changes,
    swept_at: Timestamp,
    /// Template failures so far.
    pub(crate) template_failures: u64,
}

/// A row to be sent, by what the configuration says now.
pub(crate) struct Job {
    pub(crate) ordinal: u64,
    pub(crate) row: Row,
    /// `None` when the integration is no longer configured.
    pub(crate) integration: Option<Integration>,
}

/// Who mutes an alert.
#[derive(Default)]
struct Muting {
    silenced_by: Vec<String>,
    inhibited_by: Vec<u64>,
}

impl Muting {
    fn is_muted(&self) -> bool {
        !self.silenced_by.is_empty() || !self.inhibited_by.is_empty()
    }
}

impl Dispatcher {
    pub(crate) fn restore(
        config: Config,
        renderer: Renderer,
        external_url: String,
        control: &dyn ControlStore,
        now: Timestamp,
    ) -> Result<Dispatcher, ControlError> {
        let mut dispatcher = Dispatcher {
            config: Arc::new(config),
            renderer,
            external_url,
            alerts: Alerts::restore(control, now)?,
            groups: Groups::restore(control)?,
            silences: Silences::restore(control)?,
            log: NotifyLog::restore(control)?,
            outbox: Outbox::restore(control)?,
            changes: Changes::default(),
            swept_at: now,
            template_failures: 0,
        };
        dispatcher.regroup(now);
        Ok(dispatcher)
    }

    /// Takes a new configuration; groups that exist under it keep their ticks.
    pub(crate) fn reconfigure(&mut self, config: Config, renderer: Renderer, now: Timestamp) {
        self.config = Arc::new(config);
        self.renderer = renderer;
        self.groups.reset();
        self.regroup(now);
    }

    fn regroup(&mut self, now: Timestamp) {
        for (fingerprint, known) in self.alerts.iter() {
            let alert = &known.alert;
            for route in self.config.route.matching(&alert.labels) {
                let starts_at = alert.starts_at;
                self.groups
                    .insert(route, &alert.labels, fingerprint, starts_at, now);
            }
        }
        self.groups.forget_ticks(&mut self.changes);
    }

    pub(crate) fn receive(&mut self, alerts: Vec<Alert>, now: Timestamp) -> Received {
        let mut received = Received::default();
        for alert in alerts {
            let labels = alert.labels.clone();
            let timeout = self.config.resolve_timeout;
            let owed = |fingerprint| self.log.owes(fingerprint);
            let taken = self
                .alerts
                .take(alert, now, timeout, owed, &mut self.changes);
            match taken {
                Err(reason) => {
                    received.refused.push(reason);
                    continue;
                }
                Ok(Taken::Irrelevant) => {}
                Ok(Taken::Stored) => {
                    let fingerprint = labels.fingerprint();
                    let starts_at = self.alerts.get(fingerprint).map(|k| k.alert.starts_at);
                    for route in self.config.route.matching(&labels) {
                        let starts_at = starts_at.unwrap_or(now);
                        self.groups
                            .insert(route, &labels, fingerprint, starts_at, now);
                    }
                }
            }
            received.accepted += 1;
        }
        received
    }

    /// When [`Dispatcher::flush_due`] or [`Dispatcher::begin_due`] has something to do next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let sweep = self.swept_at.plus(SWEEP_INTERVAL);
        [self.groups.next_due(), self.outbox.next_due(), Some(sweep)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks at every group whose tick has come. All it decides goes to disk in one commit.
    pub(crate) fn flush_due(&mut self, now: Timestamp) {
        let due = self.groups.due(now);
        if !due.is_empty() {
            let muted = self.muted_members(&due, now);
            for (id, group) in due {
                self.flush(&id, &group, &muted, now);
            }
            let needed = self.groups.needed();
            self.alerts.forget_ended(now, &needed, &mut self.changes);
        }
        if now.since(self.swept_at) >= SWEEP_INTERVAL {
            self.swept_at = now;
            let groups = &self.groups;
            let lives = |key: &str, receiver: &str| groups.contains(key, receiver);
            self.log.forget_expired(now, lives, &mut self.changes);
            self.silences.forget_expired(now, &mut self.changes);
            self.outbox.forget_dead(now, &mut self.changes);
        }
    }

    /// Begins an attempt for every lane that is free and has something due. Commit, then send.
    pub(crate) fn begin_due(&mut self, now: Timestamp) -> Vec<Job> {
        let mut jobs = Vec::new();
        for ordinal in self.outbox.choose(now) {
            let Some(row) = self.outbox.begin(ordinal, &mut self.changes) else {
                continue;
            };
            let integration = self
                .config
                .receiver(&row.receiver)
                .and_then(|r| r.integrations.iter().find(|i| i.key() == row.integration));
            jobs.push(Job {
                ordinal,
                integration: integration.cloned(),
                row,
            });
        }
        jobs
    }

    fn flush(&mut self, id: &GroupId, group: &Group, muted: &BTreeSet<u64>, now: Timestamp) {
        let (key, receiver) = (id.0.as_str(), id.1.as_str());
        let interval_muted = !self.muted_intervals(group, now).is_empty();
        let mut told: BTreeMap<u64, (Told, bool)> = BTreeMap::new();
        for fingerprint in &group.members {
            if let Some(known) = self.alerts.get(*fingerprint) {
                let alert = tell(*fingerprint, known, now);
                told.insert(*fingerprint, (alert, muted.contains(fingerprint)));
            }
        }
        if !interval_muted {
            let config = self.config.clone();
            let integrations = config.receiver(receiver).map(|r| r.integrations.as_slice());
            for integration in integrations.unwrap_or_default() {
                self.notify(id, group, integration, &told, now);
            }
        }
        // What has ended has been told, or was never known; in a muted hour it waits for its end.
        let mut members = BTreeSet::new();
        for (fingerprint, (alert, _)) in &told {
            let firing = alert.status == AlertStatus::Firing;
            if firing || (interval_muted && self.log.group_owes(key, receiver, *fingerprint)) {
                members.insert(*fingerprint);
            }
        }
        self.groups.flushed(id, members, now, &mut self.changes);
    }

    /// Tells one integration about a group, if there is something to tell.
    fn notify(
        &mut self,
        (key, receiver): &GroupId,
        group: &Group,
        integration: &Integration,
        told: &BTreeMap<u64, (Told, bool)>,
        now: Timestamp,
    ) {
        let name = integration.key();
        let entry = self.log.get(key, receiver, &name);
        let mut facts = Facts::default();
        for (fingerprint, (alert, muted)) in told {
            let set = match (alert.status, muted) {
                (AlertStatus::Firing, false) => &mut facts.firing,
                (AlertStatus::Firing, true) => &mut facts.muted,
                (AlertStatus::Resolved, false) => &mut facts.resolved,
                // Whoever was told that it fires is told that it ended, silence or not: else an
                // incident stays open for ever on the other side.
                (AlertStatus::Resolved, true) if entry.is_some_and(|e| e.owes(*fingerprint)) => {
                    &mut facts.resolved
                }
                (AlertStatus::Resolved, true) => continue,
            };
            set.insert(*fingerprint);
        }
        if facts.firing.is_empty() && facts.resolved.is_empty() {
            return;
        }
        let repeat = group.repeat_interval;
        let Some(reason) = decide(entry, &facts, integration.send_resolved, repeat, now) else {
            return;
        };
        let place = (key.as_str(), receiver.as_str(), name.as_str());
        let seq = self
            .log
            .record(place, &facts, repeat, now, &mut self.changes);
        let mut alerts: Vec<Told> = facts.firing.iter().map(|f| told[f].0.clone()).collect();
        if integration.send_resolved {
            alerts.extend(facts.resolved.iter().map(|f| told[f].0.clone()));
        }
        if alerts.is_empty() {
            return;
        }
        if reason == NotifyReason::RepeatInterval && self.outbox.has_waiting(key, receiver, &name) {
            self.outbox.counts.superseded += 1;
            return;
        }
        sort_as_told(&mut alerts);
        let id = Outbox::row_id(place, seq, now);
        let mut notification = Notification {
            id: id.clone(),
            at: now,
            receiver: receiver.clone(),
            group_key: key.clone(),
            group_labels: group.labels.clone(),
            route_labels: group.route_labels.clone(),
            reason,
            external_url: self.external_url.clone(),
            alerts,
        };
        let mut expansion = self.renderer.expand(&notification);
        for value in notification.route_labels.values_mut() {
            *value = expansion.text(value);
        }
        self.template_failures += expansion.failures.len() as u64;
        let mut expansion = self.renderer.expand(&notification);
        let payload = receivers::render(integration, &notification, &mut expansion);
        for error in &expansion.failures {
            tracing::error!(
                receiver,
                integration = name,
                error,
                "notification template failed"
            );
        }
        self.template_failures += expansion.failures.len() as u64;
        let draft = Draft {
            group_key: key,
            receiver,
            integration: &name,
            reason,
            critical: notification.is_critical(),
            payload,
        };
        self.outbox.add(id, draft, now, &mut self.changes);
    }

    fn sources(&self, now: Timestamp) -> Sources<'_> {
        Sources::new(&self.config.inhibit_rules, self.alerts.firing(now))
    }

    fn muting(&self, labels: &Labels, sources: &Sources<'_>, now: Timestamp) -> Muting {
        Muting {
            silenced_by: self.silences.covering(labels, now),
            inhibited_by: sources.muting(labels),
        }
    }

    /// Members of these groups that are silenced or inhibited.
    fn muted_members(&self, groups: &[(GroupId, Group)], now: Timestamp) -> BTreeSet<u64> {
        let sources = self.sources(now);
        let members = groups.iter().flat_map(|(_, g)| g.members.iter());
        let is_muted = |fingerprint: &&u64| {
            let known = self.alerts.get(**fingerprint);
            known.is_some_and(|k| self.muting(&k.alert.labels, &sources, now).is_muted())
        };
        members.filter(is_muted).copied().collect()
    }

    /// Names of the intervals by which a group is muted now.
    fn muted_intervals(&self, group: &Group, now: Timestamp) -> Vec<String> {
        let inside = |name: &&String| {
            let parts = self.config.time_intervals.get(*name);
            parts.is_some_and(|parts| parts.iter().any(|p| p.contains(now)))
        };
        let muting = group.mute_time_intervals.iter().filter(inside);
        let mut names: Vec<String> = muting.cloned().collect();
        let active = &group.active_time_intervals;
        if !active.is_empty() && !active.iter().any(|name| inside(&name)) {
            names.extend(active.iter().cloned());
        }
        names
    }

    pub(crate) fn alert_count(&self, now: Timestamp) -> usize {
        self.alerts.firing(now).count()
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn alert_views(&self, now: Timestamp) -> Vec<AlertView> {
        let sources = self.sources(now);
        let firing = self.alerts.iter().filter(|(_, k)| k.is_firing(now));
        let view = |(f, k)| self.alert_view(f, k, &sources, now);
        let mut views: Vec<AlertView> = firing.map(view).collect();
        views.sort_by(|a, b| a.alert.labels.cmp(&b.alert.labels));
        views
    }

    fn alert_view(
        &self,
        fingerprint: u64,
        known: &Known,
        sources: &Sources<'_>,
        now: Timestamp,
    ) -> AlertView {
        let mut alert = known.alert.clone();
        alert.ends_at = Some(known.ends_at);
        let muting = self.muting(&alert.labels, sources, now);
        let mut receivers: Vec<String> = Vec::new();
        for route in self.config.route.matching(&alert.labels) {
            if !receivers.contains(&route.receiver) {
                receivers.push(route.receiver.clone());
            }
        }
        AlertView {
            fingerprint: format!("{fingerprint:016x}"),
            state: if muting.is_muted() {
                AlertState::Suppressed
            } else {
                AlertState::Active
            },
            receivers,
            silenced_by: muting.silenced_by,
            inhibited_by: muting
                .inhibited_by
                .iter()
                .map(|f| format!("{f:016x}"))
                .collect(),
            alert,
        }
    }

    pub(crate) fn group_views(&self, now: Timestamp) -> Vec<GroupView> {
        let sources = self.sources(now);
        let mut views = Vec::new();
        for ((key, receiver), group) in self.groups.iter() {
            let alerts: Vec<AlertView> = group
                .members
                .iter()
                .filter_map(|f| Some((*f, self.alerts.get(*f)?)))
                .filter(|(_, k)| k.is_firing(now))
                .map(|(f, k)| self.alert_view(f, k, &sources, now))
                .collect();
            if !alerts.is_empty() {
                views.push(GroupView {
                    key: key.clone(),
                    labels: group.labels.clone(),
                    receiver: receiver.clone(),
                    next_flush: group.next_flush,
                    muted_by: self.muted_intervals(group, now),
                    alerts,
                });
            }
        }
        views
    }
}

fn tell(fingerprint: u64, known: &Known, now: Timestamp) -> Told {
    let alert = &known.alert;
    let status = known.status(now);
    Told {
        status,
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        ends_at: (status == AlertStatus::Resolved).then_some(known.ends_at),
        generator_url: alert.generator_url.clone(),
        fingerprint,
    }
}

#[cfg(test)]
mod tests;
