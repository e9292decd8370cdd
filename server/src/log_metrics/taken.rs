//! One metric of `logs.metrics`: what it takes from lines.

use collector::Told;
use model::{Labels, Timestamp};
use query::logql::{ParseError, Sampler};
use scrub::ScrubbedEntry;

use super::config::{ERRORS, LogMetric, MetricType};
use super::table::{OTHER, Table};

/// Label sets of one metric; further ones are `other`.
const LABEL_SETS_MAX: usize = 500;
/// Samples of all metrics of lines together: with many, or large histograms, each has fewer label sets.
const SAMPLES_MAX: usize = 20_000;

/// A metric and its sums.
pub(super) struct Taken {
    pub(super) metric: LogMetric,
    sampler: Sampler,
    sums: Table<Sum>,
    /// Lines that fit and could not be read as asked.
    errors: u64,
    errors_told: bool,
    label_sets_max: usize,
}

/// What lines with the same labels come to.
#[derive(Default)]
struct Sum {
    /// Of a counter, or what a histogram has observed; the last value of a gauge.
    value: f64,
    /// Observations up to each bound and above the one before, those above all bounds last.
    buckets: Box<[u64]>,
    told: bool,
}

impl Taken {
    /// # Errors
    /// When a stage cannot be built.
    pub(super) fn new(metric: &LogMetric) -> Result<Taken, ParseError> {
        Ok(Taken {
            sampler: metric.sampler()?,
            sums: Table::new(LABEL_SETS_MAX),
            metric: metric.clone(),
            errors: 0,
            errors_told: false,
            label_sets_max: LABEL_SETS_MAX,
        })
    }

    /// Takes its share of the samples where there are so many metrics.
    pub(super) fn share(&mut self, metrics: usize) {
        let samples = match self.metric.kind {
            MetricType::Histogram => self.metric.buckets.len() + 3,
            MetricType::Counter | MetricType::Gauge => 1,
        };
        let share = SAMPLES_MAX / metrics.max(1) / samples;
        self.label_sets_max = share.clamp(1, LABEL_SETS_MAX);
        self.sums.set_max(self.label_sets_max);
    }

    pub(super) fn looks_at(&self, stream: &Labels) -> bool {
        let matchers = self.sampler.matchers();
        matchers.iter().all(|m| m.matches_labels(stream))
    }

    pub(super) fn count(&mut self, stream: &Labels, entry: &ScrubbedEntry, now: Timestamp) {
        let metadata = entry.metadata.labels();
        let line = entry.line.as_str();
        let sampled = self.sampler.sample(stream, metadata, entry.at_ns, line);
        let kind = self.metric.kind;
        let value = match sampled {
            None => return,
            Some(Ok(value)) if kind.takes(value) => value,
            Some(_) => {
                self.errors += 1;
                return;
            }
        };
        let (labels, sampler) = (&self.metric.labels, &self.sampler);
        let values = labels.iter().map(|name| sampler.label(name).unwrap_or(""));
        let bounds = &self.metric.buckets;
        let sum = self.sums.find(values, now, || Sum {
            buckets: match kind {
                MetricType::Histogram => vec![0; bounds.len() + 1].into(),
                MetricType::Counter | MetricType::Gauge => Box::default(),
            },
            ..Sum::default()
        });
        match kind {
            MetricType::Gauge => sum.value = value,
            MetricType::Counter => sum.value += value,
            MetricType::Histogram => {
                sum.value += value;
                sum.buckets[bounds.partition_point(|bound| *bound < value)] += 1;
            }
        }
    }

    /// As [`collector::LogSeries::tell`]; new counters were 0 at `since`.
    pub(super) fn tell(
        &mut self,
        since: Option<Timestamp>,
        told: &mut dyn FnMut(&Told<'_>),
    ) -> Option<String> {
        let LogMetric {
            name,
            kind,
            labels,
            buckets,
            ..
        } = &self.metric;
        for (values, sum) in self.sums.iter_mut() {
            let labels = labels.iter().zip(values);
            let labels = labels.map(|(name, value)| (name.as_str(), &**value));
            let labels: Vec<(&str, &str)> = labels.filter(|(_, v)| !v.is_empty()).collect();
            let is_new = !std::mem::replace(&mut sum.told, true) && *kind != MetricType::Gauge;
            let mut put = |suffix, bound, value| {
                told(&Told {
                    name,
                    suffix,
                    labels: &labels,
                    bound,
                    value,
                    since: since.filter(|_| is_new),
                });
            };
            if *kind != MetricType::Histogram {
                put("", None, sum.value);
                continue;
            }
            let mut count = 0;
            let bounds = buckets.iter().copied().chain([f64::INFINITY]);
            for (bound, observed) in bounds.zip(&sum.buckets) {
                count += observed;
                put("_bucket", Some(bound), count as f64);
            }
            put("_sum", None, sum.value);
            put("_count", None, count as f64);
        }
        told(&Told {
            name: ERRORS,
            suffix: "",
            labels: &[("metric", name)],
            bound: None,
            value: self.errors as f64,
            since: since.filter(|_| !self.errors_told),
        });
        self.errors_told = true;
        let note = || {
            let max = self.label_sets_max;
            format!("{name} has {max} label sets; further ones are \"{OTHER}\"")
        };
        self.sums.is_full().then(note)
    }
}
