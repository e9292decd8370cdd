//! A recording rule: the result of an expression under a name of its own.
//! Source of the behaviour: prometheus/rules/recording.go.

use foldhash::HashSet;
use model::Sample;

use crate::alert_rule::{RESULTS_MAX, RuleError};
use crate::file::RecordSpec;
use crate::group::Round;

/// A recording rule.
pub(crate) struct RecordingRule {
    pub(crate) spec: RecordSpec,
}

impl RecordingRule {
    /// The samples to write.
    pub(crate) fn eval(&self, round: &Round<'_>) -> Result<Vec<Sample>, RuleError> {
        let results = round.query(&self.spec.expr, round.data_at())?;
        let mut seen = HashSet::default();
        let mut samples = Vec::with_capacity(results.len());
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
            samples.push(Sample {
                labels,
                at: round.data_at(),
                value,
            });
        }
        let limit = round.limit_or(RESULTS_MAX);
        if samples.len() > limit {
            return Err(RuleError::Limit {
                limit,
                found: samples.len(),
                what: "series",
            });
        }
        Ok(samples)
    }
}
