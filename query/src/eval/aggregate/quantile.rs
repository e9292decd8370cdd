//! `quantile`: needs all values of a step at once.

use super::Grouping;
use crate::eval::evaluator::Evaluator;
use crate::eval::functions::over_time::quantile_of;
use crate::eval::series::Series;
use crate::eval::{EvalError, PointValue, annotations};
use crate::promql::ast::Aggregate;

impl Evaluator<'_> {
    pub(super) fn quantile(&self, a: &Aggregate, param: &[f64]) -> Result<Vec<Series>, EvalError> {
        let at = a.param.as_ref().unwrap_or(&a.expr);
        // The extremes are Go's: beside NaN only infinities count.
        let (mut wrong, mut numbers): (Vec<f64>, Vec<f64>) = param.iter().partition(|q| q.is_nan());
        if !wrong.is_empty() {
            numbers.retain(|q| q.is_infinite());
        }
        if !numbers.is_empty()
            && let Some((least, most)) = super::least_and_most(&numbers)
        {
            wrong.extend([least, most]);
        }
        for q in wrong.into_iter().filter(|q| !(0.0..=1.0).contains(q)) {
            self.q.note(annotations::invalid_quantile(q), at);
        }
        let stream = self.stream(&a.expr)?;
        let mut grouping = Grouping::new(a);
        let mut groups: Vec<(bool, Vec<Vec<f64>>)> = Vec::new();
        let mut ignored = false;
        self.each(stream, &mut |_, s| {
            let at = grouping.of(&s.labels);
            if at == groups.len() {
                let steps = self.steps.saturating_mul(size_of::<Vec<f64>>());
                let more = size_of::<Series>() + grouping.bytes();
                self.q.charge_bytes(steps.saturating_add(more))?;
                groups.push((false, vec![Vec::new(); self.steps]));
            }
            let (drop_name, steps) = &mut groups[at];
            *drop_name |= s.drop_name;
            ignored |= !s.histograms.is_empty();
            // Eight bytes each, at most as many unused.
            self.q.charge(s.floats.len())?;
            for p in &s.floats {
                steps[self.index(p.t)].push(p.v);
            }
            Ok(())
        })?;
        if ignored {
            let text = annotations::histogram_ignored_in_aggregation(a.op.as_str());
            self.q.note(text, &a.expr);
        }
        let mut out = Vec::with_capacity(groups.len());
        for (labels, (drop_name, steps)) in grouping.into_labels().into_iter().zip(groups) {
            let mut series = Series::new(labels, drop_name);
            for ((t, mut values), q) in self.times().zip(steps).zip(param) {
                self.q.check_cancel()?;
                if !values.is_empty() {
                    series.push(t, PointValue::Float(quantile_of(*q, &mut values)));
                }
            }
            if !series.is_empty() {
                out.push(series);
            }
        }
        Ok(out)
    }
}
