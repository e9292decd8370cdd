//! Which metrics and labels take how much: cardinality, churn, bytes, and what dropping one would
//! save.

mod distinct;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use model::labels::METRIC_NAME;
use model::{Labels, ReadBounds, ReadError, TimeRange, time::duration_millis};

use crate::metrics::{MetricStore, Usage};
use distinct::Distinct;

/// Series that are told apart, at some 50 bytes each; those beyond are in the sums only.
pub const SERIES_MAX: usize = 500_000;
/// Pairs of label and value that are counted, likewise.
pub const PAIRS_MAX: usize = 500_000;
/// A series that begins this long after the start of the window was created in it, and one whose
/// last sample is this long before its end has ended: longer than any usual interval.
pub const EDGE: Duration = Duration::from_secs(600);

/// The answer; lists are sorted, largest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Instants of the first and last sample of the window, in milliseconds.
    pub range: Option<(i64, i64)>,
    /// Series with samples in the window, at most [`SERIES_MAX`].
    pub series: u64,
    /// Whether there were more series or pairs than are told apart.
    pub is_partial: bool,
    /// Samples in the window.
    pub samples: u64,
    /// Those of them that are on disk, in blocks.
    pub samples_on_disk: u64,
    /// Bytes of the blocks that touch the window: values, timestamps and index.
    pub block_bytes: u64,
    /// Bytes of the roll-ups that touch it.
    pub rollup_bytes: u64,
    /// Pairs of label and value.
    pub pairs: u64,
    /// Metrics by series.
    pub metrics_by_series: Vec<MetricUsage>,
    /// Metrics by bytes of values.
    pub metrics_by_bytes: Vec<MetricUsage>,
    /// Metrics by series created and ended.
    pub metrics_by_churn: Vec<MetricUsage>,
    /// Labels by values.
    pub labels_by_values: Vec<LabelUsage>,
    /// Pairs of label and value by series.
    pub pairs_by_series: Vec<PairUsage>,
}

/// What a metric name takes. Dropping it saves just that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricUsage {
    /// The name; empty for series without one.
    pub name: String,
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Those on disk.
    pub samples_on_disk: u64,
    /// Compressed bytes of their values; timestamps and index are shared and not counted.
    pub bytes: u64,
    /// Series that began within the window.
    pub created: u64,
    /// Series that ended within the window.
    pub ended: u64,
}

/// What a label takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelUsage {
    /// The label.
    pub name: String,
    /// Different values.
    pub values: u64,
    /// Bytes of these values.
    pub value_bytes: u64,
    /// Series that have it.
    pub series: u64,
    /// Series that these would be if the label were dropped and what is then equal were one
    /// series; estimated, 3 % off or less mostly.
    pub series_without: u64,
}

/// A pair of label and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairUsage {
    /// The label.
    pub name: String,
    /// The value.
    pub value: String,
    /// Series that have the pair.
    pub series: u64,
}

/// Gathers what is said of each series.
#[derive(Default)]
struct Gathering {
    hasher: FixedState,
    analysis: Analysis,
    /// By hash of the labels.
    series: HashMap<u64, Seen>,
    metrics: Vec<MetricUsage>,
    metric_numbers: HashMap<String, u32>,
    labels: BTreeMap<String, LabelSeen>,
    pairs: usize,
}

struct Seen {
    first_t: i64,
    last_t: i64,
    metric: u32,
}

#[derive(Default)]
struct LabelSeen {
    series: u64,
    values: HashMap<Box<str>, u32>,
    without: Distinct,
}

/// See [`crate::Storage::analyze`].
pub(crate) fn analyze(
    store: &MetricStore,
    range: TimeRange,
    limit: usize,
    bounds: &ReadBounds,
) -> Result<Analysis, ReadError> {
    let mut gathering = Gathering::default();
    let shared = store.usage(range, bounds, &mut |usage| gathering.take(&usage, range))?;
    let mut analysis = gathering.finish(limit);
    analysis.block_bytes = shared.blocks;
    analysis.rollup_bytes = shared.rollups;
    Ok(analysis)
}

impl Gathering {
    fn take(&mut self, usage: &Usage, range: TimeRange) {
        let first_t = usage.first_t.max(range.start.millis());
        let last_t = usage.last_t.min(range.end.millis());
        let known = self.analysis.range;
        self.analysis.range = Some(known.map_or((first_t, last_t), |(first, last)| {
            (first.min(first_t), last.max(last_t))
        }));
        let metric = self.metric(usage.labels.metric_name());
        let on_disk = if usage.on_disk { usage.samples } else { 0 };
        self.analysis.samples += usage.samples;
        self.analysis.samples_on_disk += on_disk;
        let sums = &mut self.metrics[metric as usize];
        sums.samples += usage.samples;
        sums.samples_on_disk += on_disk;
        sums.bytes += usage.bytes;
        let (sum, hashes) = self.hashes(&usage.labels);
        if let Some(seen) = self.series.get_mut(&sum) {
            seen.first_t = seen.first_t.min(first_t);
            seen.last_t = seen.last_t.max(last_t);
            return;
        }
        if self.series.len() >= SERIES_MAX {
            self.analysis.is_partial = true;
            return;
        }
        let seen = Seen {
            first_t,
            last_t,
            metric,
        };
        self.series.insert(sum, seen);
        self.metrics[metric as usize].series += 1;
        for ((name, value), hash) in usage.labels.iter().zip(hashes) {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.to_owned(), LabelSeen::default());
            }
            let Some(label) = self.labels.get_mut(name) else {
                continue;
            };
            label.series += 1;
            label
                .without
                .add(self.hasher.hash_one(sum.wrapping_sub(hash)));
            match label.values.get_mut(value) {
                Some(count) => *count += 1,
                None if self.pairs < PAIRS_MAX => {
                    label.values.insert(value.into(), 1);
                    self.pairs += 1;
                }
                None => self.analysis.is_partial = true,
            }
        }
    }

    /// The hash of each pair, and their sum as the hash of the whole.
    fn hashes(&self, labels: &Labels) -> (u64, Vec<u64>) {
        let hashes: Vec<u64> = labels.iter().map(|p| self.hasher.hash_one(p)).collect();
        let sum = hashes.iter().fold(0_u64, |sum, h| sum.wrapping_add(*h));
        (sum, hashes)
    }

    fn metric(&mut self, name: &str) -> u32 {
        if let Some(number) = self.metric_numbers.get(name) {
            return *number;
        }
        let number = self.metrics.len() as u32;
        self.metrics.push(MetricUsage {
            name: name.to_owned(),
            ..MetricUsage::default()
        });
        self.metric_numbers.insert(name.to_owned(), number);
        number
    }

    fn finish(mut self, limit: usize) -> Analysis {
        let mut analysis = self.analysis;
        analysis.series = self.series.len() as u64;
        analysis.pairs = self.pairs as u64;
        let edge = duration_millis(EDGE);
        if let Some((start, end)) = analysis.range {
            for seen in self.series.values() {
                let metric = &mut self.metrics[seen.metric as usize];
                metric.created += u64::from(seen.first_t > start.saturating_add(edge));
                metric.ended += u64::from(seen.last_t < end.saturating_sub(edge));
            }
        }
        analysis.metrics_by_series = top(self.metrics.clone(), limit, |m| m.series);
        analysis.metrics_by_bytes = top(self.metrics.clone(), limit, |m| m.bytes);
        analysis.metrics_by_churn = top(self.metrics, limit, |m| m.created + m.ended);
        let mut pairs = Vec::new();
        let mut labels = Vec::new();
        for (name, seen) in self.labels {
            let mut value_bytes = 0;
            for (value, series) in &seen.values {
                value_bytes += value.len() as u64;
                pairs.push(PairUsage {
                    name: name.clone(),
                    value: value.to_string(),
                    series: u64::from(*series),
                });
            }
            // Only the largest can be among the largest of all.
            pairs = top(pairs, limit, |p| p.series);
            labels.push(LabelUsage {
                values: seen.values.len() as u64,
                value_bytes,
                series: seen.series,
                series_without: seen.without.estimate().min(seen.series),
                name,
            });
        }
        labels.retain(|l| l.name != METRIC_NAME);
        analysis.labels_by_values = top(labels, limit, |l| l.values);
        analysis.pairs_by_series = pairs;
        analysis
    }
}

/// The first `limit` by `key`, largest first, without those that have none.
fn top<T>(mut all: Vec<T>, limit: usize, key: impl Fn(&T) -> u64) -> Vec<T> {
    all.retain(|one| key(one) > 0);
    all.sort_by_key(|one| std::cmp::Reverse(key(one)));
    all.truncate(limit);
    all
}

#[cfg(test)]
mod tests;
