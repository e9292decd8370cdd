//! What alerting measures.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One integration of one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Destination {
    pub(crate) integration: String,
    pub(crate) receiver: String,
}

pub(crate) struct Telemetry {
    pub(crate) alerts_received: Counter,
    pub(crate) alerts_refused: Counter,
    pub(crate) notifications: Family<Destination, Counter>,
    pub(crate) notifications_failed: Family<Destination, Counter>,
    pub(crate) notification_latency_seconds: Family<Destination, Histogram>,
    pub(crate) outbox_rows: Gauge,
    pub(crate) outbox_oldest_age_seconds: Gauge<f64, AtomicU64>,
    pub(crate) outbox_dead_letters: Gauge,
    pub(crate) outbox_given_up: Counter,
    pub(crate) outbox_ambiguous: Counter,
    pub(crate) outbox_superseded: Counter,
    pub(crate) alerts: Gauge,
    pub(crate) groups: Gauge,
    pub(crate) silences: Gauge,
    pub(crate) template_failures: Counter,
    pub(crate) commit_failures: Counter,
}

impl Telemetry {
    pub(crate) fn new(registry: &mut Registry) -> Telemetry {
        let latency = || Histogram::new(exponential_buckets(0.01, 2.0, 16));
        let t = Telemetry {
            alerts_received: Counter::default(),
            alerts_refused: Counter::default(),
            notifications: Family::default(),
            notifications_failed: Family::default(),
            notification_latency_seconds: Family::new_with_constructor(latency),
            outbox_rows: Gauge::default(),
            outbox_oldest_age_seconds: Gauge::default(),
            outbox_dead_letters: Gauge::default(),
            outbox_given_up: Counter::default(),
            outbox_ambiguous: Counter::default(),
            outbox_superseded: Counter::default(),
            alerts: Gauge::default(),
            groups: Gauge::default(),
            silences: Gauge::default(),
            template_failures: Counter::default(),
            commit_failures: Counter::default(),
        };
        let r = registry.sub_registry_with_prefix("stackwatch");
        r.register(
            "alerts_received",
            "Alerts taken over from rules and the API",
            t.alerts_received.clone(),
        );
        r.register(
            "alerts_refused",
            "Alerts refused as invalid or beyond the limit",
            t.alerts_refused.clone(),
        );
        r.register(
            "notifications",
            "Attempts to deliver a notification",
            t.notifications.clone(),
        );
        r.register(
            "notifications_failed",
            "Attempts that failed",
            t.notifications_failed.clone(),
        );
        r.register(
            "notification_latency_seconds",
            "From the decision to notify to its delivery",
            t.notification_latency_seconds.clone(),
        );
        r.register(
            "outbox_rows",
            "Notifications not yet delivered",
            t.outbox_rows.clone(),
        );
        r.register(
            "outbox_oldest_age_seconds",
            "Age of the oldest notification not yet delivered",
            t.outbox_oldest_age_seconds.clone(),
        );
        r.register(
            "outbox_dead_letters",
            "Notifications given up and kept to be looked at",
            t.outbox_dead_letters.clone(),
        );
        r.register(
            "outbox_given_up",
            "Notifications given up",
            t.outbox_given_up.clone(),
        );
        r.register(
            "outbox_ambiguous",
            "Attempts a crash left undecided, made again",
            t.outbox_ambiguous.clone(),
        );
        r.register(
            "outbox_superseded",
            "Repeats not queued because an earlier message about the group still waits",
            t.outbox_superseded.clone(),
        );
        r.register("alerts_firing", "Alerts that fire", t.alerts.clone());
        r.register("alert_groups", "Groups with alerts", t.groups.clone());
        r.register("silences", "Silences in force", t.silences.clone());
        r.register(
            "notification_template_failures",
            "Texts that could not be expanded",
            t.template_failures.clone(),
        );
        r.register(
            "alerting_commit_failures",
            "Commits of alerting state the disk refused",
            t.commit_failures.clone(),
        );
        t
    }
}

/// Raises a counter to a total that is counted elsewhere.
pub(crate) fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
