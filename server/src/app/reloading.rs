//! Reading the configuration again while everything runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use rules::{Groups, RuleFile};
use tokio::sync::{mpsc, watch};

use super::{LastError, Settings};
use crate::api::Api;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::log_metrics::LogMetrics;
use crate::reload::{ReloadRequest, Reloaded};
use crate::rules_loop::{self, RuleEnvironment, SharedEnvironment};
use crate::telemetry::AppMetrics;

/// What a reload touches.
pub(super) struct Reloading {
    pub(super) settings: Settings,
    pub(super) config: Arc<Config>,
    pub(super) api: Api,
    pub(super) alerting: alerting::Handle,
    pub(super) groups: Arc<Groups>,
    pub(super) collector: watch::Sender<Arc<collector::Config>>,
    pub(super) environment: SharedEnvironment,
    pub(super) log_metrics: Arc<LogMetrics>,
    pub(super) metrics: AppMetrics,
    pub(super) clock: Clock,
    pub(super) last_error: LastError,
}

impl Reloading {
    /// Serves requests one after the other until nobody can ask any more.
    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        self.note(&Ok(Reloaded::new()));
        while let Some(answer) = requests.recv().await {
            // Reading files and committing to disk block for a few milliseconds.
            let done = tokio::task::block_in_place(|| {
                catch_unwind(AssertUnwindSafe(|| self.reload())).unwrap_or_else(|_| {
                    Err(ConfigError::whole_file(
                        "stackwatch",
                        "reloading failed inside; the log says more",
                    ))
                })
            });
            self.note(&done);
            // Whoever asked may have gone.
            let _ = answer.send(done);
        }
    }

    fn note(&self, outcome: &Result<Reloaded, ConfigError>) {
        self.metrics
            .reload_successful
            .set(i64::from(outcome.is_ok()));
        self.api.reloaded(outcome.is_ok());
        if outcome.is_ok() {
            self.metrics
                .reload_seconds
                .set((self.clock)().millis() / 1000);
        }
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().err().map(ConfigError::to_string);
    }

    /// All or nothing: what can be refused comes first, and is undone when a later part fails.
    fn reload(&mut self) -> Result<Reloaded, ConfigError> {
        let loaded = self.settings.load().and_then(|(config, rules)| {
            self.apply(&config, rules)?;
            Ok(config)
        });
        match loaded {
            Ok(config) => {
                let waiting = self.needs_a_restart(&config);
                for key in &waiting {
                    tracing::warn!(key, "takes effect after a restart");
                }
                tracing::info!("configuration reloaded");
                self.config = Arc::new(config);
                self.api.set_config(Arc::clone(&self.config));
                Ok(waiting)
            }
            Err(error) => {
                for finding in &error.0 {
                    tracing::error!(problem = %finding, "configuration not reloaded, the old one stays");
                }
                Err(error)
            }
        }
    }

    fn apply(&self, config: &Config, rules: Vec<RuleFile>) -> Result<(), ConfigError> {
        let now = (self.clock)();
        let name = config
            .file
            .as_ref()
            .map_or_else(|| "defaults".to_owned(), |f| f.display().to_string());
        self.alerting
            .reload(config.alerting.clone(), now)
            .map_err(|e| ConfigError::whole_file(&name, e.to_string()))?;
        if let Err(e) = self.groups.reload(rules) {
            if let Err(undo) = self.alerting.reload(self.config.alerting.clone(), now) {
                tracing::error!(error = %undo, "alerting cannot go back to the old configuration");
            }
            return Err(ConfigError::whole_file(&name, e.to_string()));
        }
        let mut environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let late = Arc::default();
        *environment = Arc::new(RuleEnvironment {
            reader: rules_loop::bounded(&environment.storage, config.query_bytes_max(), &late),
            storage: environment.storage.clone(),
            alerting: environment.alerting.clone(),
            external_url: config.external_url.clone(),
            external_labels: config.rules.external_labels.clone(),
            clock: environment.clock,
            started: environment.started,
            samples_max: config.query.samples_max,
            bytes_max: config.query_bytes_max(),
            status: environment.status.clone(),
            collected: Arc::clone(&environment.collected),
            late,
        });
        drop(environment);
        self.log_metrics.configure(&config.log_metrics);
        self.collector.send_if_modified(|current| {
            let changed = **current != *config.collector;
            if changed {
                *current = Arc::clone(&config.collector);
            }
            changed
        });
        Ok(())
    }

    /// What has changed and is not in force yet.
    fn needs_a_restart(&self, new: &Config) -> Reloaded {
        let old = &self.config;
        let keys = [
            ("server.listen", old.listen != new.listen),
            // Rules link with the new one at once, notifications after a restart.
            ("server.external_url", old.external_url != new.external_url),
            ("storage", old.storage != new.storage),
            (
                "query.concurrency",
                old.query.concurrency != new.query.concurrency,
            ),
            ("logs.scrub", old.scrub != new.scrub),
            ("rules.interval", old.rules.interval != new.rules.interval),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}
