//! What alerting tells about itself: the shapes behind `/api/v2`, `/health` and the user interface.

use std::collections::BTreeMap;

use model::{Alert, Labels, Timestamp};

/// Alertmanager's three states of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// No group has looked at it yet.
    Unprocessed,
    /// Notifications go out for it.
    Active,
    /// Silenced or inhibited.
    Suppressed,
}

impl AlertState {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Unprocessed => "unprocessed",
            AlertState::Active => "active",
            AlertState::Suppressed => "suppressed",
        }
    }
}

/// An alert that has not ended, and what becomes of it.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// The alert; `ends_at` is always known here.
    pub alert: Alert,
    /// 16 hex digits.
    pub fingerprint: String,
    /// See [`AlertState`].
    pub state: AlertState,
    /// Receivers its routes lead to, in route order, distinct.
    pub receivers: Vec<String>,
    /// Identifiers of the silences that cover it.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
}

/// A group of alerts that are notified together.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Alertmanager's group key: route key, colon, group labels.
    pub key: String,
    /// The labels grouped by.
    pub labels: Labels,
    /// Where it goes.
    pub receiver: String,
    /// When it is looked at next.
    pub next_flush: Timestamp,
    /// Names of the time intervals that mute it now; empty when none does.
    pub muted_by: Vec<String>,
    /// Its alerts that have not ended.
    pub alerts: Vec<AlertView>,
}

/// A receiver as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverView {
    /// Its name.
    pub name: String,
    /// Kinds of its integrations in order, e.g. `["email", "slack"]`.
    pub integrations: Vec<&'static str>,
}

/// A notification that has not been delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxView {
    /// Stable identity; also the `Idempotency-Key` and the left part of the `Message-Id`.
    pub id: String,
    /// Receiver name.
    pub receiver: String,
    /// `email`, `slack` or `webhook`.
    pub integration: String,
    /// Group it is about.
    pub group_key: String,
    /// Since when it waits.
    pub created_at: Timestamp,
    /// Attempts begun.
    pub attempts: u32,
    /// When it is tried next; `None` for a dead letter.
    pub next_attempt: Option<Timestamp>,
    /// Why the last attempt failed; empty when none did.
    pub last_error: String,
}

/// How alerting is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is accepted is on disk: nothing in `problems`.
    pub ok: bool,
    /// What a restart or an operator of this host must mend, one sentence each: state that cannot
    /// be written.
    pub problems: Vec<String>,
    /// Receivers that do not take notifications, one sentence each; no secrets. Nothing about this
    /// process is wrong, so they do not count against `ok`.
    pub warnings: Vec<String>,
    /// Alerts that have not ended.
    pub alerts: usize,
    /// Undelivered notifications.
    pub outbox_rows: usize,
    /// Notifications given up on.
    pub dead_letters: usize,
}

/// What became of alerts handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Alerts taken over.
    pub accepted: usize,
    /// Why others were refused, one sentence each.
    pub refused: Vec<String>,
    /// The disk has them. When `false` they are held in memory, notified all the same, and written
    /// with the next commit that succeeds.
    pub durable: bool,
}

/// Labels of a route in plain order, for views and templates.
pub type RouteLabels = BTreeMap<String, String>;
