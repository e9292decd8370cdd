//! `count_values`: how many series have each value, the value becoming a label.

use super::group_labels;
use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::series::{FastMap, Point, Series};
use crate::promql::ast::{Aggregate, Expr};
use crate::promql::quote::{go_quote_bytes, unquote};
use model::{FPoint, Labels, number};

/// The label must be valid UTF-8, which only the source text can still tell, and not empty.
pub(super) fn check_label(param: &Expr, label: &str) -> Result<(), EvalError> {
    let param = param.unparen();
    let source = &param.text[param.span.start..param.span.end];
    let bytes = unquote(source).unwrap_or_else(|_| label.as_bytes().to_vec());
    if label.is_empty() || std::str::from_utf8(&bytes).is_err() {
        return Err(EvalError::Failed(format!(
            "invalid label name {}",
            go_quote_bytes(&bytes)
        )));
    }
    Ok(())
}

impl Evaluator<'_> {
    pub(super) fn count_values(
        &self,
        a: &Aggregate,
        label: &str,
        input: Vec<Series>,
    ) -> Result<Vec<Series>, EvalError> {
        let mut places: FastMap<Labels, usize> = FastMap::default();
        let mut counts: Vec<(Labels, bool, FastMap<usize, f64>)> = Vec::new();
        for s in input {
            self.q.check_cancel()?;
            let base = group_labels(a, &s.labels);
            for (t, point) in s.points() {
                let value = match point {
                    Point::Float(v) => number::format_fixed(v),
                    Point::Histogram(p) => crate::histogram::describe(&p.h),
                };
                let mut b = base.to_builder();
                b.set(label, value);
                let labels = b.build();
                let next = counts.len();
                let at = *places.entry(labels.clone()).or_insert(next);
                if at == next {
                    counts.push((labels, false, FastMap::default()));
                }
                let (_, drop_name, steps) = &mut counts[at];
                *drop_name |= s.drop_name && label != model::labels::METRIC_NAME;
                *steps.entry(self.index(t)).or_default() += 1.0;
            }
        }
        Ok(counts
            .into_iter()
            .map(|(labels, drop_name, steps)| {
                let mut series = Series::new(labels, drop_name);
                series.floats = self
                    .times()
                    .enumerate()
                    .filter_map(|(i, t)| steps.get(&i).map(|v| FPoint { t, v: *v }))
                    .collect();
                series
            })
            .collect())
    }
}
