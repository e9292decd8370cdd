//! `absent` and `absent_over_time`.

use model::labels::METRIC_NAME;
use model::{FPoint, Labels, LabelsBuilder, MatchOp, Matcher};

use crate::eval::EvalError;
use crate::eval::evaluator::{Evaluator, Val};
use crate::eval::series::Series;
use crate::eval::stream::histogram_samples;
use crate::promql::ast::{Call, Expr, ExprKind};

impl Evaluator<'_> {
    pub(super) fn absent(&self, c: &Call) -> Result<Val, EvalError> {
        let mut present = vec![false; self.steps];
        let stream = self.stream(&c.args[0])?;
        self.each(stream, &mut |_, s| {
            for (t, _) in s.points() {
                present[self.index(t)] = true;
            }
            Ok(())
        })?;
        Ok(self.where_absent(&c.args[0], &present))
    }

    pub(super) fn absent_over_time(&self, c: &Call) -> Result<Val, EvalError> {
        let mut present = vec![false; self.steps];
        self.ranges(&c.args[0], "absent_over_time", &mut |mut series| {
            for (i, (t, present)) in self.times().zip(present.iter_mut()).enumerate() {
                let (floats, histograms) = series.slice(t);
                self.count(i, floats.len() + histogram_samples(histograms));
                *present |= !floats.is_empty() || !histograms.is_empty();
            }
            Ok(())
        })?;
        Ok(self.where_absent(&c.args[0], &present))
    }

    fn where_absent(&self, arg: &Expr, present: &[bool]) -> Val {
        let mut series = Series::new(labels_of(arg), false);
        series.floats = self
            .times()
            .zip(present)
            .filter(|(_, present)| !**present)
            .map(|(t, _)| FPoint { t, v: 1.0 })
            .collect();
        Val::Vector(if series.is_empty() {
            Vec::new()
        } else {
            vec![series]
        })
    }
}

/// The labels the missing series would have: those a selector fixes, each named once.
fn labels_of(arg: &Expr) -> Labels {
    let matchers: &[Matcher] = match &arg.unparen().kind {
        ExprKind::Selector(s) => &s.matchers,
        ExprKind::Range(r) => &r.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut b = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for m in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if m.op() == MatchOp::Equal && !seen.contains(&m.name()) {
            b.set(m.name(), m.value());
            seen.push(m.name());
        } else {
            b.remove(m.name());
        }
    }
    b.build()
}
