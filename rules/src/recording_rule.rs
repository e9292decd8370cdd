//! A recording rule: the result of an expression under a name of its own.
//! Source of the behaviour: prometheus/rules/recording.go.

use foldhash::HashSet;
use model::{HistogramSample, Sample, SampleBatch};
use query::PointValue;

use crate::alert_rule::{RESULTS_MAX, RuleError};
use crate::file::RecordSpec;
use crate::group::Round;

/// A recording rule.
pub(crate) struct RecordingRule {
    pub(crate) spec: RecordSpec,
}

impl RecordingRule {
    /// The samples to write.
    pub(crate) fn eval(&self, round: &Round<'_>) -> Result<SampleBatch, RuleError> {
        let results = round.query(&self.spec.expr, round.data_at())?;
        let mut seen = HashSet::default();
        let mut batch = SampleBatch::default();
        for (labels, value) in results {
            let mut labels = labels.to_builder();
            labels.set(model::labels::METRIC_NAME, self.spec.name.as_str());
            for (name, value) in &self.spec.labels {
                labels.set(name.as_str(), value.as_str());
            }
            let labels = labels.build();
            if !seen.insert(labels.clone()) {
                return Err(RuleError::SameLabels("rule"));
            }
            let at = round.data_at();
            match value {
                PointValue::Float(value) => batch.samples.push(Sample { labels, at, value }),
                PointValue::Histogram(histogram) => batch.histograms.push(HistogramSample {
                    labels,
                    at,
                    histogram,
                }),
            }
        }
        let limit = round.limit_or(RESULTS_MAX);
        let found = seen.len();
        if found > limit {
            let what = "series";
            return Err(RuleError::Limit { limit, found, what });
        }
        Ok(batch)
    }
}
