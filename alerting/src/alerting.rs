//! The shell: opens the durable state, owns timers and senders.

use std::path::PathBuf;
use std::sync::Arc;

use model::{Alert, ControlError, ControlStore, Timestamp};
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::silence::{Silence, SilenceError, SilenceSpec};
use crate::view::{AlertView, GroupView, Health, OutboxView, Received, ReceiverView};

/// What alerting needs besides its configuration.
pub struct Options {
    /// Our address as people reach it, for links; without a trailing slash.
    pub external_url: String,
    /// Where alerts, silences, the notification log and the outbox are kept.
    pub control: Arc<dyn ControlStore>,
    /// Folder that relative `templates` patterns start from: that of the configuration file.
    pub base_dir: PathBuf,
}

/// Why alerting could not start or take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored state could not be read.
    #[error("reading stored alerting state: {0}")]
    Store(#[from] ControlError),
    /// A template file is missing or wrong.
    #[error("loading notification templates: {0}")]
    Template(String),
}

/// The part that runs: timers and senders.
pub struct Alerting {}

/// The part that is called: cheap to clone, usable from any thread. Calls that change something
/// return once the change is on disk, so call them where a few milliseconds of blocking are fine.
#[derive(Clone)]
pub struct Handle {}

impl Alerting {
    /// Reads the stored state. Alerts that were firing get a grace of five minutes to be sent again
    /// before they count as ended.
    ///
    /// # Errors
    /// When the store or a template file cannot be read.
    pub fn open(
        config: Config,
        options: Options,
        now: Timestamp,
        registry: &mut Registry,
    ) -> Result<(Alerting, Handle), OpenError> {
        let _ = (config, options, now, registry);
        Ok((Alerting {}, Handle {}))
    }

    /// Flushes groups when they are due and sends what the outbox holds. Runs until dropped;
    /// whatever was accepted by then is on disk and continues after the next start.
    pub async fn run(self) {
        std::future::pending::<()>().await;
    }
}

impl Handle {
    /// Takes alerts as `POST /api/v2/alerts` does: a `starts_at` of zero means now (or `ends_at`
    /// when set), no `ends_at` means now plus `resolve_timeout`, valid alerts are kept even if
    /// others are refused.
    pub fn receive(&self, alerts: Vec<Alert>, now: Timestamp) -> Received {
        let _ = (alerts, now);
        Received::default()
    }

    /// Alerts that have not ended, by labels.
    pub fn alerts(&self, now: Timestamp) -> Vec<AlertView> {
        let _ = now;
        Vec::new()
    }

    /// Groups with at least one alert that has not ended, by key.
    pub fn groups(&self, now: Timestamp) -> Vec<GroupView> {
        let _ = now;
        Vec::new()
    }

    /// Receivers as configured.
    pub fn receivers(&self) -> Vec<ReceiverView> {
        Vec::new()
    }

    /// The configuration text as it was read, for `/api/v2/status`. Inline secrets are masked.
    pub fn config_text(&self) -> String {
        String::new()
    }

    /// All silences that are kept, expired ones for five days.
    pub fn silences(&self) -> Vec<Silence> {
        Vec::new()
    }

    /// Creates a silence, or changes one; returns its identifier.
    ///
    /// # Errors
    /// When the request is invalid, names an unknown silence, or the disk refuses.
    pub fn set_silence(&self, spec: SilenceSpec, now: Timestamp) -> Result<String, SilenceError> {
        let _ = (spec, now);
        Ok(String::new())
    }

    /// Ends a silence now; ending it twice is fine.
    ///
    /// # Errors
    /// When there is none with this identifier, or the disk refuses.
    pub fn expire_silence(&self, id: &str, now: Timestamp) -> Result<(), SilenceError> {
        let _ = (id, now);
        Ok(())
    }

    /// Undelivered notifications, oldest first, then dead letters.
    pub fn outbox(&self) -> Vec<OutboxView> {
        Vec::new()
    }

    /// How alerting is doing.
    pub fn health(&self, now: Timestamp) -> Health {
        let _ = now;
        Health::default()
    }

    /// Takes a new configuration; alerts, silences, the notification log and the outbox stay.
    ///
    /// # Errors
    /// When a template file cannot be read; the old configuration stays in force then.
    pub fn reload(&self, config: Config, now: Timestamp) -> Result<(), OpenError> {
        let _ = (config, now);
        Ok(())
    }
}
