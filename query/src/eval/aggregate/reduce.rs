//! `sum avg count min max group stddev stdvar quantile`: many values, one result.

use std::sync::Arc;

use crate::eval::evaluator::Evaluator;
use crate::eval::functions::over_time::quantile_of;
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::series::{Point, Series};
use crate::eval::{EvalError, PointValue, annotations};
use crate::histogram::HistogramSum;
use crate::promql::ast::{Aggregate, AggregateOp};

/// What a group has gathered at one step.
#[derive(Clone)]
enum Gathered {
    Sum(Kahan),
    Avg(Mean),
    Count(f64),
    Extreme(f64),
    Group,
    /// Welford: count, mean, aggregate.
    Spread(f64, Kahan, Kahan),
    Histogram(Box<HistogramSum>),
    /// Floats and histograms, or layouts that do not go together: no result.
    Mixed,
}

impl Evaluator<'_> {
    pub(super) fn reduce(&self, a: &Aggregate, input: &[Series]) -> Result<Vec<Series>, EvalError> {
        let mut out = Vec::new();
        let mut steps: Vec<Option<Gathered>> = vec![None; self.steps];
        for group in self.groups(a, input) {
            self.q.check_cancel()?;
            steps.fill(None);
            for member in &group.members {
                for (t, point) in input[*member].points() {
                    let slot = &mut steps[self.index(t)];
                    match slot {
                        None => *slot = self.first(a, point),
                        Some(gathered) => self.gather(a, gathered, point),
                    }
                }
            }
            let mut series = Series::new(group.labels, group.drop_name);
            for (t, gathered) in self.times().zip(steps.iter_mut()) {
                if let Some(value) = gathered.take().and_then(|g| self.finish(a, g)) {
                    series.push(t, value);
                }
            }
            if !series.is_empty() {
                out.push(series);
            }
        }
        Ok(out)
    }

    fn ignored(&self, a: &Aggregate) {
        let text = annotations::histogram_ignored_in_aggregation(a.op.as_str());
        self.q.note(text, &a.expr);
    }

    fn first(&self, a: &Aggregate, point: Point<'_>) -> Option<Gathered> {
        Some(match (a.op, point) {
            (AggregateOp::Count, _) => Gathered::Count(1.0),
            (AggregateOp::Group, _) => Gathered::Group,
            (AggregateOp::Sum | AggregateOp::Avg, Point::Histogram(p)) => {
                let mean = a.op == AggregateOp::Avg;
                Gathered::Histogram(Box::new(HistogramSum::new(&p.h, mean)))
            }
            (_, Point::Histogram(_)) => {
                self.ignored(a);
                return None;
            }
            (AggregateOp::Sum, Point::Float(v)) => Gathered::Sum(Kahan::new(v)),
            (AggregateOp::Avg, Point::Float(v)) => Gathered::Avg(Mean::new(v)),
            (AggregateOp::Stddev | AggregateOp::Stdvar, Point::Float(v)) => {
                // An infinity or NaN has no spread.
                let start = if v.is_finite() { 0.0 } else { f64::NAN };
                Gathered::Spread(1.0, Kahan::new(v), Kahan::new(start))
            }
            (_, Point::Float(v)) => Gathered::Extreme(v),
        })
    }

    fn gather(&self, a: &Aggregate, gathered: &mut Gathered, point: Point<'_>) {
        match (&mut *gathered, point) {
            (Gathered::Count(n), _) => *n += 1.0,
            (Gathered::Group | Gathered::Mixed, _) => {}
            (Gathered::Histogram(sum), Point::Histogram(p)) => {
                if sum.add(&p.h).is_err() {
                    self.q
                        .note(annotations::mixed_exponential_custom(""), &a.expr);
                    *gathered = Gathered::Mixed;
                }
            }
            (Gathered::Sum(_) | Gathered::Avg(_), Point::Histogram(_))
            | (Gathered::Histogram(_), Point::Float(_)) => {
                self.q
                    .note(annotations::mixed_floats_histograms_aggregation(), &a.expr);
                *gathered = Gathered::Mixed;
            }
            (_, Point::Histogram(_)) => self.ignored(a),
            (Gathered::Sum(sum), Point::Float(v)) => sum.add(v),
            (Gathered::Avg(mean), Point::Float(v)) => mean.add(v),
            (Gathered::Extreme(best), Point::Float(v)) => {
                let better = if a.op == AggregateOp::Max {
                    v > *best
                } else {
                    v < *best
                };
                if better || best.is_nan() {
                    *best = v;
                }
            }
            (Gathered::Spread(n, mean, aggregate), Point::Float(v)) => {
                *n += 1.0;
                let delta = v - mean.value();
                mean.add(delta / *n);
                aggregate.add(delta * (v - mean.value()));
            }
        }
    }

    fn finish(&self, a: &Aggregate, gathered: Gathered) -> Option<PointValue> {
        Some(PointValue::Float(match gathered {
            Gathered::Sum(sum) => sum.value(),
            Gathered::Avg(mean) => mean.value(),
            Gathered::Count(n) => n,
            Gathered::Extreme(v) => v,
            Gathered::Group => 1.0,
            Gathered::Spread(n, _, aggregate) if a.op == AggregateOp::Stddev => {
                (aggregate.value() / n).sqrt()
            }
            Gathered::Spread(n, _, aggregate) => aggregate.value() / n,
            Gathered::Histogram(sum) => {
                let (sum, notes) = sum.finish();
                if notes.reset_collision {
                    self.q
                        .note(annotations::reset_collision("aggregation"), &a.expr);
                }
                if notes.bounds_reconciled {
                    self.q.note(
                        annotations::custom_buckets_reconciled("aggregation"),
                        &a.expr,
                    );
                }
                return Some(PointValue::Histogram(Arc::new(sum)));
            }
            Gathered::Mixed => return None,
        }))
    }

    pub(super) fn quantile(
        &self,
        a: &Aggregate,
        param: &[f64],
        input: &[Series],
    ) -> Result<Vec<Series>, EvalError> {
        for q in param {
            if q.is_nan() || *q < 0.0 || *q > 1.0 {
                let at = a.param.as_ref().unwrap_or(&a.expr);
                self.q.note(annotations::invalid_quantile(*q), at);
            }
        }
        let mut out = Vec::new();
        let mut steps: Vec<Vec<f64>> = vec![Vec::new(); self.steps];
        for group in self.groups(a, input) {
            self.q.check_cancel()?;
            for member in &group.members {
                for (t, point) in input[*member].points() {
                    match point {
                        Point::Float(v) => steps[self.index(t)].push(v),
                        Point::Histogram(_) => self.ignored(a),
                    }
                }
            }
            let mut series = Series::new(group.labels, group.drop_name);
            for ((t, values), q) in self.times().zip(steps.iter_mut()).zip(param) {
                if !values.is_empty() {
                    series.push(t, PointValue::Float(quantile_of(*q, values)));
                    values.clear();
                }
            }
            if !series.is_empty() {
                out.push(series);
            }
        }
        Ok(out)
    }
}
