//! What the collector is doing, for the API and for `/health`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Labels, Timestamp};
use prometheus_client::registry::Registry;

use crate::metadata::{Descriptions, FamilyMetadata, TargetMetadata};
use crate::telemetry::Telemetry;

/// Shared by the collector, which writes it, and the API, which reads it. Cloning shares.
#[derive(Clone, Default)]
pub struct Status {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    descriptions: Descriptions,
    telemetry: Telemetry,
}

#[derive(Default)]
struct State {
    targets: BTreeMap<TargetKey, TargetStatus>,
    metadata: BTreeMap<TargetKey, TargetMetadata>,
    dropped: BTreeMap<String, Dropped>,
    sources: BTreeMap<String, SourceStatus>,
}

/// Targets of a pool that relabelling dropped.
#[derive(Default)]
struct Dropped {
    /// The first of them.
    shown: Vec<Labels>,
    count: usize,
}

/// Pool, then target.
type TargetKey = (String, String);

/// One target, real or (host, containers, ourselves) logical.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// The scrape pool: the job's name as configured.
    pub pool: String,
    /// The target's labels after relabelling.
    pub labels: Labels,
    /// Before relabelling.
    pub discovered_labels: Labels,
    /// What is fetched; `host:`, `docker:` and `self:` are ours.
    pub url: String,
    /// Result of the last scrape.
    pub health: TargetHealth,
    /// Why it failed; empty when it did not. Of a probe, which is up all the same: why what it
    /// probes failed.
    pub last_error: String,
    /// When it started.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Time between two scrapes.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// It was found and not written down, and has never answered: no concern.
    pub optional: bool,
    /// What a target of ours leaves out although it answers, each with the line that would change
    /// it: missing rights, extensions, bounds reached.
    pub notes: Vec<String>,
}

/// Result of a target's last scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// It succeeded.
    Up,
    /// It failed.
    Down,
    /// There was none yet.
    #[default]
    Unknown,
}

impl TargetHealth {
    /// As Prometheus' API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TargetHealth::Up => "up",
            TargetHealth::Down => "down",
            TargetHealth::Unknown => "unknown",
        }
    }
}

/// One of the sources that are not scraped, `host`, `docker`, `logs`, or an entry of service
/// discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Whether it works.
    pub ok: bool,
    /// What is wrong and what to do about it; empty when it works.
    pub problem: String,
}

impl Status {
    /// A status whose telemetry is registered.
    pub fn new(registry: &mut Registry) -> Status {
        Status {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                descriptions: Descriptions::default(),
                telemetry: Telemetry::new(registry),
            }),
        }
    }

    /// All targets, ordered by pool.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.lock().targets.values().cloned().collect()
    }

    /// What each target says about its metric families, by target, in the order of
    /// [`Status::targets`].
    #[must_use]
    pub fn metadata(&self) -> Vec<(Labels, Vec<Arc<FamilyMetadata>>)> {
        let tables: Vec<(Labels, TargetMetadata)> = {
            let state = self.lock();
            let labels = |key| state.targets.get(key).map(|t| t.labels.clone());
            let each = state.metadata.iter();
            each.filter_map(|(key, table)| Some((labels(key)?, table.clone())))
                .collect()
        };
        tables
            .into_iter()
            .map(|(labels, table)| (labels, table.families()))
            .collect()
    }

    /// Whether every target has been read, none is down, and every source works: what is not
    /// there now is really gone. Those found that never answered do not count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let state = self.lock();
        !state.targets.is_empty()
            && state
                .targets
                .values()
                .all(|t| t.health == TargetHealth::Up || t.optional)
            && state.sources.values().all(|s| s.ok)
    }

    /// Discovered labels of targets that relabelling dropped, with their pool; of a pool with very
    /// many the first ones.
    #[must_use]
    pub fn dropped_targets(&self) -> Vec<(String, Labels)> {
        let state = self.lock();
        let each = state.dropped.iter();
        each.flat_map(|(pool, all)| all.shown.iter().map(|l| (pool.clone(), l.clone())))
            .collect()
    }

    /// How many targets of each pool relabelling dropped, shown or not.
    #[must_use]
    pub fn dropped_counts(&self) -> Vec<(String, usize)> {
        let state = self.lock();
        let each = state.dropped.iter();
        each.map(|(pool, all)| (pool.clone(), all.count)).collect()
    }

    /// The sources that run, by name.
    #[must_use]
    pub fn sources(&self) -> Vec<(String, SourceStatus)> {
        let state = self.lock();
        let each = state.sources.iter();
        each.map(|(n, s)| (n.clone(), s.clone())).collect()
    }

    /// Each container's log, by name.
    #[must_use]
    pub fn log_streams(&self) -> Vec<crate::logs::LogStreamStatus> {
        self.shared.telemetry.logs.proof.streams()
    }

    /// Records that a source works, or what is wrong with it. True when that is news.
    pub fn set_source(&self, name: &str, result: Result<(), String>) -> bool {
        let status = SourceStatus {
            ok: result.is_ok(),
            problem: result.err().unwrap_or_default(),
        };
        let before = self.lock().sources.insert(name.to_owned(), status.clone());
        before != Some(status)
    }

    /// Forgets a source that was turned off.
    pub fn remove_source(&self, name: &str) {
        self.lock().sources.remove(name);
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    pub(crate) fn descriptions(&self) -> &Descriptions {
        &self.shared.descriptions
    }

    pub(crate) fn set_target(&self, status: TargetStatus, metadata: TargetMetadata) {
        let key = (status.pool.clone(), target_key(&status.labels, &status.url));
        let mut state = self.lock();
        state.metadata.insert(key.clone(), metadata);
        state.targets.insert(key, status);
    }

    /// Records a scrape: a remark when it worked, the error when it did not.
    pub(crate) fn record_scrape(
        &self,
        pool: &str,
        labels: &Labels,
        url: &str,
        at: Timestamp,
        duration: Duration,
        outcome: Result<&str, &str>,
    ) {
        let key = (pool.to_owned(), target_key(labels, url));
        if let Some(target) = self.lock().targets.get_mut(&key) {
            target.last_scrape = Some(at);
            target.last_duration = duration;
            let shown;
            (target.health, shown) = match outcome {
                Ok(remark) => (TargetHealth::Up, remark),
                Err(error) => (TargetHealth::Down, error),
            };
            if target.last_error != shown {
                target.last_error = shown.to_owned();
            }
        }
    }

    pub(crate) fn set_optional(&self, pool: &str, labels: &Labels, url: &str, optional: bool) {
        let key = (pool.to_owned(), target_key(labels, url));
        if let Some(target) = self.lock().targets.get_mut(&key) {
            target.optional = optional;
        }
    }

    /// Notes that there is nothing that could be scraped, which is no failure.
    pub(crate) fn record_absence(
        &self,
        pool: &str,
        labels: &Labels,
        url: &str,
        at: Timestamp,
        duration: Duration,
        why: &str,
    ) {
        let key = (pool.to_owned(), target_key(labels, url));
        if let Some(target) = self.lock().targets.get_mut(&key) {
            target.last_scrape = Some(at);
            target.last_duration = duration;
            target.health = TargetHealth::Unknown;
            why.clone_into(&mut target.last_error);
        }
    }

    pub(crate) fn set_notes(&self, pool: &str, labels: &Labels, url: &str, notes: Vec<String>) {
        let key = (pool.to_owned(), target_key(labels, url));
        if let Some(target) = self.lock().targets.get_mut(&key) {
            target.notes = notes;
        }
    }

    pub(crate) fn remove_target(&self, pool: &str, labels: &Labels, url: &str) {
        let key = (pool.to_owned(), target_key(labels, url));
        let mut state = self.lock();
        state.metadata.remove(&key);
        state.targets.remove(&key);
    }

    /// Of those dropped, `shown_max` are kept.
    pub(crate) fn set_dropped(&self, pool: &str, mut dropped: Vec<Labels>, shown_max: usize) {
        let count = dropped.len();
        dropped.truncate(shown_max);
        let mut state = self.lock();
        match count {
            0 => {
                state.dropped.remove(pool);
            }
            count => {
                let shown = dropped;
                state
                    .dropped
                    .insert(pool.to_owned(), Dropped { shown, count });
            }
        }
    }

    /// Forgets what was dropped of pools that are not among `pools` any more.
    pub(crate) fn keep_dropped_of(&self, pools: impl Fn(&str) -> bool) {
        self.lock().dropped.retain(|pool, _| pools(pool));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A writer that panicked left whole values: each update is one insert.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn target_key(labels: &Labels, url: &str) -> String {
    format!("{url} {labels}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_metrics_are_good_open_metrics() {
        let mut registry = Registry::default();
        let status = Status::new(&mut registry);
        status.telemetry().scrape_failed("timeout");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let format = crate::exposition::Format::OpenMetrics;
        assert_eq!(
            crate::exposition::strict::check(text.as_bytes(), format),
            Ok(())
        );
        let line = "stackwatch_collector_scrape_failures_total{reason=\"timeout\"} 1";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_same_problem_twice_is_no_news() {
        let status = Status::default();
        assert!(status.set_source("docker", Err("no socket".to_owned())));
        assert!(!status.set_source("docker", Err("no socket".to_owned())));
        assert!(status.set_source("docker", Ok(())));
        assert!(status.sources()[0].1.ok);
    }
}
