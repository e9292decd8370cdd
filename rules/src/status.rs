//! What the API and the UI show of groups, rules and alerts.

use std::time::Duration;

use model::{Labels, Timestamp};

/// A group at one moment.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name, unique within the file.
    pub name: String,
    /// The file it was loaded from.
    pub file: String,
    /// Time between evaluations.
    pub interval: Duration,
    /// Most alerts or series per rule; 0 is no limit.
    pub limit: usize,
    /// How far in the past expressions are evaluated.
    pub query_offset: Duration,
    /// When it was last evaluated.
    pub last_evaluation: Option<Timestamp>,
    /// What that took.
    pub evaluation_time: Duration,
    /// Slots that were skipped since the start, because an evaluation came late.
    pub iterations_missed: u64,
    /// Its rules in file order.
    pub rules: Vec<RuleStatus>,
}

/// A rule at one moment.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// Alert name or recorded metric.
    pub name: String,
    /// The expression, normalised.
    pub expr: String,
    /// Labels of rule and group as written, templates unexpanded.
    pub labels: Labels,
    /// Whether the last evaluation worked.
    pub health: Health,
    /// Why not.
    pub last_error: Option<String>,
    /// What the last evaluation took.
    pub evaluation_time: Duration,
    /// When that was.
    pub last_evaluation: Option<Timestamp>,
    /// What only one kind of rule has.
    pub kind: RuleKind,
}

/// What only one kind of rule has.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Writes its result as a series.
    Recording,
    /// Raises alerts.
    Alerting {
        /// How long the expression must hold.
        hold: Duration,
        /// How long an alert stays after it no longer does.
        keep_firing_for: Duration,
        /// Annotations as written.
        annotations: Labels,
        /// Firing if any alert fires, else pending if any is, else inactive.
        state: AlertState,
        /// Pending and firing alerts, by labels.
        alerts: Vec<AlertStatus>,
    },
}

/// Whether a rule works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation worked.
    Ok,
    /// It did not.
    Err,
}

impl Health {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Ok => "ok",
            Health::Err => "err",
        }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// The expression does not hold; once firing, remembered as resolved for 15 minutes.
    #[default]
    Inactive,
    /// It holds, for less than the rule's `for`.
    Pending,
    /// It has held long enough.
    Firing,
}

impl AlertState {
    /// The word in the API and in the label `alertstate`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// A pending or firing alert.
#[derive(Clone, Debug)]
pub struct AlertStatus {
    /// Identity, `alertname` included.
    pub labels: Labels,
    /// Expanded annotations.
    pub annotations: Labels,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when the expression holds.
    pub active_at: Timestamp,
    /// Since when it no longer does and only `keep_firing_for` keeps the alert.
    pub keep_firing_since: Option<Timestamp>,
    /// The last value of the expression.
    pub value: f64,
}
