//! Heartbeats: jobs that say when they ran, in healthchecks.io's URL forms, and that are missed
//! when they do not.
//!
//! A ping is acknowledged once it is in the control store. [`Heartbeats`] is the handle of
//! whoever receives pings; the source that tells of them reads the same state.

mod config;
mod cron;
mod help;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ControlError, ControlStore, ControlWrite, SampleBatch, Timestamp};
use tokio::time::Instant;

pub use config::HeartbeatConfig;
use config::Schedule;
pub(crate) use help::help;
pub use state::PingKind;
use state::State;

use crate::source::Source;
use crate::target::{Pass, Sink, Target};

/// Our table in the control store.
const TABLE: &str = "collector.heartbeats";
/// A ping of the same kind this soon after the last is counted and not written again: a loop
/// that pings must not wear out the disk, and what a crash forgets is less than this.
const REWRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Longest run identifier that is remembered, bytes: a UUID has 36.
const RUN_BYTES_MAX: usize = 64;

/// One ping as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// What it says.
    pub kind: PingKind,
    /// `rid`: tells runs apart that overlap.
    pub run: Option<String>,
    /// Length of its body, which is counted and not kept.
    pub body_bytes: u64,
}

/// What a ping's path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingPath {
    /// A heartbeat we know, and what is said of it.
    Known(String, PingKind),
    /// Nobody we know.
    Unknown,
    /// No path of ours.
    Malformed,
}

/// The heartbeats that are configured and what is known of them. Cloning shares.
#[derive(Clone)]
pub struct Heartbeats {
    control: Arc<dyn ControlStore>,
    rows: Arc<Mutex<BTreeMap<String, Row>>>,
    /// Held while the control store is written, so that what is written last is what came last.
    writing: Arc<Mutex<()>>,
}

struct Row {
    config: HeartbeatConfig,
    schedule: Schedule,
    state: State,
    /// When the control store last heard of it, and of which kind of ping.
    written: Option<(Timestamp, &'static str)>,
}

impl Heartbeats {
    /// Reads what was known and takes the configured heartbeats from `now` on.
    ///
    /// # Errors
    /// When the control store cannot be read or written.
    pub fn open(
        control: Arc<dyn ControlStore>,
        configs: &[HeartbeatConfig],
        now: Timestamp,
    ) -> Result<Heartbeats, ControlError> {
        let heartbeats = Heartbeats {
            control,
            rows: Arc::default(),
            writing: Arc::default(),
        };
        heartbeats.configure(configs, now)?;
        Ok(heartbeats)
    }

    /// Takes another configuration: known heartbeats keep what is known of them, new ones count
    /// from `now`, others are forgotten.
    ///
    /// # Errors
    /// When the control store cannot be read or written; the configuration is in force all the same.
    pub(crate) fn configure(
        &self,
        configs: &[HeartbeatConfig],
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.control.scan(TABLE);
        let mut old = std::mem::take(&mut *self.rows());
        let mut kept: BTreeMap<String, State> = BTreeMap::new();
        for (name, bytes) in stored.as_deref().unwrap_or_default() {
            kept.extend(State::decode(bytes).map(|s| (name.clone(), s)));
        }
        let mut writes = Vec::new();
        let mut rows = BTreeMap::new();
        for config in configs {
            // The configuration was checked with the same call.
            let Ok(schedule) = config.schedule() else {
                continue;
            };
            let name = config.name.clone();
            let running = old.remove(&name).map(|row| row.state);
            let state = running.or_else(|| kept.get(&name).cloned());
            let state = state.unwrap_or_else(|| {
                let state = State::new(now);
                writes.push(put(&name, &state));
                state
            });
            let config = config.clone();
            rows.insert(
                name,
                Row {
                    config,
                    schedule,
                    state,
                    written: None,
                },
            );
        }
        let names = stored.as_deref().unwrap_or_default().iter();
        let gone = names.filter(|(name, _)| !rows.contains_key(name));
        writes.extend(gone.map(|(key, _)| ControlWrite::Delete {
            table: TABLE,
            key: key.clone(),
        }));
        *self.rows() = rows;
        if !writes.is_empty() {
            self.control.commit(writes)?;
        }
        stored.map(|_| ())
    }

    /// What the path of a ping means: `[uuid or slug]`, `[key, slug]`, each with `start`, `fail`,
    /// `log` or an exit status behind it.
    #[must_use]
    pub fn resolve(&self, segments: &[&str]) -> PingPath {
        let rows = self.rows();
        let by = |fits: &dyn Fn(&HeartbeatConfig) -> bool| {
            rows.values()
                .find(|row| fits(&row.config))
                .map(|row| row.config.name.clone())
        };
        let one = |word: &str| by(&|config| config.answers_to(word));
        let two = |key: &str, slug: &str| by(&|config| config.answers_to_key(key, slug));
        let known = |name: Option<String>, kind| match name {
            Some(name) => PingPath::Known(name, kind),
            None => PingPath::Unknown,
        };
        match *segments {
            [word] => known(one(word), PingKind::Success),
            [first, second] => match (one(first), PingKind::of_path(second)) {
                (Some(name), Some(kind)) => PingPath::Known(name, kind),
                (Some(_), None) if second.bytes().all(|b| b.is_ascii_digit()) => {
                    PingPath::Malformed
                }
                _ => known(two(first, second), PingKind::Success),
            },
            [key, slug, action] => match PingKind::of_path(action) {
                Some(kind) => known(two(key, slug), kind),
                None => PingPath::Malformed,
            },
            _ => PingPath::Malformed,
        }
    }

    /// Takes a ping. Done means on disk, or less than a second after one of its kind that is.
    ///
    /// # Errors
    /// When the disk refuses; whoever pings should try again.
    pub fn ping(&self, name: &str, ping: Ping, now: Timestamp) -> Result<(), ControlError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let run = ping.run.filter(|r| r.len() <= RUN_BYTES_MAX);
        let (state, write) = {
            let rows = self.rows();
            let Some(row) = rows.get(name) else {
                return Ok(());
            };
            let mut state = row.state.clone();
            state.ping(ping.kind, run, ping.body_bytes, now);
            let fresh = row.written.is_some_and(|(at, kind)| {
                kind == ping.kind.as_str() && now >= at && now.since(at) < REWRITE_INTERVAL
            });
            (state, !fresh)
        };
        if write {
            self.control.commit(vec![put(name, &state)])?;
        }
        if let Some(row) = self.rows().get_mut(name) {
            row.state = state;
            if write {
                row.written = Some((now, ping.kind.as_str()));
            }
        }
        Ok(())
    }

    /// Whether these are the ones in force.
    pub(crate) fn are(&self, configs: &[HeartbeatConfig]) -> bool {
        let rows = self.rows();
        let known = |c: &HeartbeatConfig| rows.get(&c.name).is_some_and(|row| row.config == *c);
        rows.len() == configs.len() && configs.iter().all(known)
    }

    fn put(&self, pass: &mut Pass<'_>) {
        let now = pass.at();
        for (name, row) in self.rows().iter() {
            let verdict = row.state.verdict(&row.schedule, now);
            row.state.put(&verdict, name, pass);
            let labels = [("name", name.as_str())];
            let grace = row.schedule.grace.as_secs_f64();
            pass.put("stackwatch_heartbeat_grace_seconds", &labels, grace);
            if let Some(period) = row.schedule.period() {
                let period = period.as_secs_f64();
                pass.put("stackwatch_heartbeat_period_seconds", &labels, period);
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        // A row is replaced whole.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(name: &str, state: &State) -> ControlWrite {
    ControlWrite::Put {
        table: TABLE,
        key: name.to_owned(),
        value: state.encode(),
    }
}

/// Tells of all heartbeats at every tick.
pub(crate) struct HeartbeatSource(pub(crate) Heartbeats);

impl Source for HeartbeatSource {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let mut pass = target.pass(at);
        self.0.put(&mut pass);
        let collected = pass.done();
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

#[cfg(test)]
mod tests;
