//! Metrics of log lines: how many each service writes of each level, and what `logs.metrics` takes
//! from them.
//!
//! [`LogMetrics::count`] is handed every batch right after it was stored, by whoever stored it: each
//! line counts once, scrubbed, wherever it came from. The collector tells of the sums at every tick.
//! Counters begin at 0 with the process. One that is told for the first time is told as 0 for the tick
//! before too, as Prometheus does with the start times of OpenMetrics: else `increase` would not see
//! the first error of a service.

mod config;
mod lines;
mod table;
mod taken;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use collector::exposition::Kind;
use collector::{FamilyMetadata, Told};
use model::{Labels, Timestamp};
use scrub::LogBatch;

pub use config::LogMetric;
pub(crate) use config::LogMetricSection;
use config::OWN;
use lines::Lines;
use taken::Taken;

/// Streams whose metrics are remembered; beyond, all are looked at anew, which takes microseconds each.
const STREAMS_MAX: usize = 10_000;

/// Counts lines. One for the process.
pub(crate) struct LogMetrics(Mutex<State>);

struct State {
    lines: Lines,
    taken: Vec<Taken>,
    /// Which of `taken` look at a stream.
    streams: HashMap<Labels, Box<[usize]>>,
    /// When it was told last, at first the start.
    told_at: Timestamp,
}

impl LogMetrics {
    /// Counts from `now` on.
    pub(crate) fn new(metrics: &[LogMetric], now: Timestamp) -> LogMetrics {
        let counts = LogMetrics(Mutex::new(State {
            lines: Lines::new(),
            taken: Vec::new(),
            streams: HashMap::new(),
            told_at: now,
        }));
        counts.configure(metrics);
        counts
    }

    /// Goes on with these metrics. Those that were there keep their sums.
    pub(crate) fn configure(&self, metrics: &[LogMetric]) {
        let mut state = self.lock();
        let mut old = std::mem::take(&mut state.taken);
        for metric in metrics {
            let known = old.iter().position(|taken| taken.metric == *metric);
            let taken = match known {
                Some(i) => old.swap_remove(i),
                None => match Taken::new(metric) {
                    Ok(taken) => taken,
                    Err(error) => {
                        // The configuration was checked by making the same.
                        tracing::error!(metric = metric.name, %error, "metric of log lines left out");
                        continue;
                    }
                },
            };
            state.taken.push(taken);
        }
        let count = state.taken.len();
        state.taken.iter_mut().for_each(|taken| taken.share(count));
        state.streams.clear();
    }

    /// Counts lines that were stored just now.
    pub(crate) fn count(&self, batch: &LogBatch, now: Timestamp) {
        if batch.entries.is_empty() {
            // A position alone is no sign of a service.
            return;
        }
        let mut state = self.lock();
        let State {
            lines,
            taken,
            streams,
            ..
        } = &mut *state;
        let stream = batch.stream.labels();
        lines.count(stream, &batch.entries, now);
        if taken.is_empty() {
            return;
        }
        if streams.len() >= STREAMS_MAX && !streams.contains_key(stream) {
            streams.clear();
        }
        let looking = streams.entry(stream.clone()).or_insert_with(|| {
            let all = taken.iter().enumerate();
            all.filter(|(_, t)| t.looks_at(stream))
                .map(|(i, _)| i)
                .collect()
        });
        for i in looking.iter() {
            for entry in &batch.entries {
                taken[*i].count(stream, entry, now);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl collector::LogSeries for LogMetrics {
    fn families(&self) -> Vec<FamilyMetadata> {
        let family = |name: &str, kind, help: &str| FamilyMetadata {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: String::new(),
        };
        let own = OWN
            .iter()
            .map(|(name, help)| family(name, Kind::Counter, help));
        let state = self.lock();
        let taken = state.taken.iter().map(|taken| {
            let metric = &taken.metric;
            family(&metric.name, metric.family(), &metric.help)
        });
        own.chain(taken).collect()
    }

    fn tell(&self, at: Timestamp, told: &mut dyn FnMut(&Told<'_>)) -> Vec<String> {
        let mut state = self.lock();
        let since = (state.told_at < at).then_some(state.told_at);
        state.told_at = at;
        let mut notes = state.lines.tell(since, told);
        for taken in &mut state.taken {
            notes.extend(taken.tell(since, told));
        }
        notes
    }
}

#[cfg(test)]
mod tests;
