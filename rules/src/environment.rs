//! What an evaluation needs from outside.

use std::time::Duration;

use model::{Alert, Labels, LogReader, SampleBatch, SeriesReader, Timestamp};
use query::{Limits, logql};

/// The store, the alerting half and our own address, as one evaluation sees them.
pub trait Environment: Send + Sync {
    /// Where expressions read from. A batch appended is visible to the next read.
    fn reader(&self) -> &dyn SeriesReader;

    /// Where LogQL reads lines from.
    fn logs(&self) -> &dyn LogReader;

    /// Stores the results of one rule.
    ///
    /// # Errors
    /// When the store refuses; the text is shown as the rule's last error.
    fn append(&self, batch: SampleBatch) -> Result<(), String>;

    /// Hands alerts to alerting. They are sent again until they are resolved and, once resolved,
    /// for 15 minutes, so a receiver may lose one.
    fn send(&self, alerts: Vec<Alert>);

    /// Since when every source has been read at least once after the start; `None` while one is
    /// still to come, or when nobody knows.
    fn collected_at(&self) -> Option<Timestamp> {
        None
    }

    /// Our address as others reach it, without a trailing slash.
    fn external_url(&self) -> &str;

    /// Labels that name this installation, for templates.
    fn external_labels(&self) -> &Labels;

    /// A monotonic reading for evaluation times; zero when nobody measures.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    /// What each expression may use; its `cancel` is how an evaluation is ended from outside.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// As [`Environment::limits`], of each expression, or part of one, that is LogQL. One that exceeds
    /// them fails.
    fn log_limits(&self) -> logql::Limits {
        logql::Limits::default()
    }
}
