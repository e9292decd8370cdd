//! Aggregation operators: groups are formed once, then each group is reduced step by step.

mod choose;
mod count_values;
mod reduce;

use model::Labels;
use model::labels::METRIC_NAME;

use super::EvalError;
use super::evaluator::Evaluator;
use super::series::{FastMap, Series};
use crate::promql::ast::{Aggregate, AggregateOp};

/// A group's labels and the input series in it, by index.
pub(super) struct Group {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) members: Vec<usize>,
}

impl Evaluator<'_> {
    pub(crate) fn aggregate(&self, a: &Aggregate) -> Result<Vec<Series>, EvalError> {
        match a.op {
            AggregateOp::CountValues => {
                let param = a.param.as_ref();
                let label = param.map(|p| self.string(p)).transpose()?;
                let label = label.unwrap_or_default();
                if let Some(p) = param {
                    count_values::check_label(p, &label)?;
                }
                let input = self.vector(&a.expr)?;
                self.count_values(a, &label, input)
            }
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => {
                let param = self.parameter(a)?;
                let input = self.vector(&a.expr)?;
                self.choose(a, &param, &input)
            }
            AggregateOp::Quantile => {
                let param = self.parameter(a)?;
                let input = self.vector(&a.expr)?;
                self.quantile(a, &param, &input)
            }
            _ => {
                let input = self.vector(&a.expr)?;
                self.reduce(a, &input)
            }
        }
    }

    fn parameter(&self, a: &Aggregate) -> Result<Vec<f64>, EvalError> {
        match &a.param {
            Some(p) => self.scalar(p),
            None => Ok(vec![f64::NAN; self.steps]),
        }
    }

    /// Sorts input series into groups, in order of first appearance.
    fn groups(&self, a: &Aggregate, input: &[Series]) -> Vec<Group> {
        let mut places: FastMap<Labels, usize> = FastMap::default();
        let mut groups: Vec<Group> = Vec::new();
        for (i, s) in input.iter().enumerate() {
            let labels = group_labels(a, &s.labels);
            let next = groups.len();
            let at = *places.entry(labels.clone()).or_insert(next);
            if at == next {
                groups.push(Group {
                    labels,
                    drop_name: false,
                    members: Vec::new(),
                });
            }
            groups[at].members.push(i);
            groups[at].drop_name |= s.drop_name;
        }
        groups
    }
}

/// The labels an aggregation leaves of a series.
fn group_labels(a: &Aggregate, labels: &Labels) -> Labels {
    let listed = |n: &str| a.grouping.iter().any(|g| g == n);
    if a.without {
        let mut b = labels.to_builder();
        b.retain(|n, _| n != METRIC_NAME && !listed(n));
        b.build()
    } else if a.grouping.is_empty() {
        Labels::empty()
    } else {
        let mut b = labels.to_builder();
        b.retain(|n, _| listed(n));
        b.build()
    }
}
