//! `label_replace` and `label_join`.

use model::Regex;
use model::labels::METRIC_NAME;

use crate::eval::EvalError;
use crate::eval::evaluator::{Evaluator, Val};
use crate::eval::series::merge_same_labels;
use crate::promql::ast::Call;

impl Evaluator<'_> {
    pub(super) fn label_replace(&self, c: &Call) -> Result<Val, EvalError> {
        let mut series = self.vector(&c.args[0])?;
        let destination = self.string(&c.args[1])?;
        let replacement = self.string(&c.args[2])?;
        let source = self.string(&c.args[3])?;
        let pattern = self.string(&c.args[4])?;
        let regex = Regex::anchored(&pattern).map_err(|_| {
            EvalError::Failed(format!(
                "invalid regular expression in label_replace(): {pattern}"
            ))
        })?;
        if destination.is_empty() {
            return Err(EvalError::Failed(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        for s in &mut series {
            let value = s.labels.get(&source).unwrap_or("");
            let Some(new) = regex.expand(value, &replacement) else {
                continue;
            };
            let mut b = s.labels.to_builder();
            b.set(destination.as_str(), new);
            s.labels = b.build();
            if destination == METRIC_NAME {
                s.drop_name = false;
            }
        }
        Ok(Val::Vector(merge_same_labels(series)?))
    }

    pub(super) fn label_join(&self, c: &Call) -> Result<Val, EvalError> {
        let mut series = self.vector(&c.args[0])?;
        let destination = self.string(&c.args[1])?;
        let separator = self.string(&c.args[2])?;
        let mut sources = Vec::new();
        for arg in &c.args[3..] {
            let source = self.string(arg)?;
            if source.is_empty() {
                return Err(EvalError::Failed(format!(
                    "invalid source label name in label_join(): {source}"
                )));
            }
            sources.push(source);
        }
        if destination.is_empty() {
            return Err(EvalError::Failed(format!(
                "invalid destination label name in label_join(): {destination}"
            )));
        }
        for s in &mut series {
            let values: Vec<&str> = sources
                .iter()
                .map(|l| s.labels.get(l).unwrap_or(""))
                .collect();
            let joined = values.join(&separator);
            let mut b = s.labels.to_builder();
            b.set(destination.as_str(), joined);
            s.labels = b.build();
            if destination == METRIC_NAME {
                s.drop_name = false;
            }
        }
        Ok(Val::Vector(merge_same_labels(series)?))
    }
}
