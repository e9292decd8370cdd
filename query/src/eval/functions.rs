//! Functions, one file per family.

pub(crate) mod extended;
pub(crate) mod extended_histogram;
pub(crate) mod over_time;

mod absent;
mod calendar;
mod classic;
mod info;
mod labels;
mod math;
mod native;
mod range;
mod rate;
mod regression;
mod sort;

use super::EvalError;
use super::evaluator::{Evaluator, Val};
use super::series::Series;
use crate::promql::ast::{Call, Expr, ExprKind};

impl Evaluator<'_> {
    pub(crate) fn call(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let name = c.function.name;
        if let Some(f) = math::unary(name) {
            return self.map_floats(&c.args[0], |_, v| Some(f(v)));
        }
        if let Some(f) = calendar::field(name) {
            return self.calendar(c, f);
        }
        if let Some(f) = range::function(name) {
            return self.range_call(c, f).map(Val::Vector);
        }
        match name {
            "time" => Ok(Val::Scalar(self.times().map(seconds).collect())),
            "pi" => Ok(self.constant(std::f64::consts::PI)),
            "start" => Ok(self.constant(seconds(self.q.start))),
            "end" => Ok(self.constant(seconds(self.q.end))),
            "step" => Ok(self.constant(seconds(self.q.step))),
            "range" => Ok(self.constant(seconds(self.q.shape().range_ms))),
            "min_of" | "max_of" => self.extreme_of(c),
            "vector" => {
                let values = self.scalar(&c.args[0])?;
                Ok(Val::Vector(vec![self.scalar_series(&values)]))
            }
            "scalar" => self.scalar_of(c),
            "timestamp" => self.timestamps(c),
            "start_timestamp" => self.start_timestamps(c),
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(c),
            "round" => self.round(c),
            "absent" => self.absent(c),
            "absent_over_time" => self.absent_over_time(c),
            "label_replace" => self.label_replace(c),
            "label_join" => self.label_join(c),
            "sort" | "sort_desc" => self.sort(expr, c),
            "sort_by_label" | "sort_by_label_desc" => self.sort_by_label(expr, c),
            "info" => self.info(c),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.histogram_shares(c)
            }
            _ => self.native_histogram_function(c),
        }
    }

    fn constant(&self, v: f64) -> Val {
        Val::Scalar(vec![v; self.steps])
    }

    /// A float function point by point; histograms and `None` leave no point. The name goes.
    pub(super) fn map_floats(
        &self,
        arg: &Expr,
        f: impl Fn(i64, f64) -> Option<f64>,
    ) -> Result<Val, EvalError> {
        let mut series = self.vector(arg)?;
        for s in &mut series {
            s.histograms.clear();
            s.floats.retain_mut(|p| match f(p.t, p.v) {
                Some(v) => {
                    p.v = v;
                    true
                }
                None => false,
            });
            self.drop_name(s);
        }
        series.retain(|s| !s.is_empty());
        Ok(Val::Vector(self.joined(series)?))
    }

    /// The value of a per-step parameter at instant `t`.
    pub(super) fn at(&self, values: &[f64], t: i64) -> f64 {
        values.get(self.index(t)).copied().unwrap_or(f64::NAN)
    }

    fn extreme_of(&self, c: &Call) -> Result<Val, EvalError> {
        let mut left = self.scalar(&c.args[0])?;
        let right = self.scalar(&c.args[1])?;
        let pick = if c.function.name == "min_of" {
            math::go_min
        } else {
            math::go_max
        };
        for (l, r) in left.iter_mut().zip(right) {
            *l = pick(*l, r);
        }
        Ok(Val::Scalar(left))
    }

    fn scalar_of(&self, c: &Call) -> Result<Val, EvalError> {
        let series = self.vector(&c.args[0])?;
        // How many floats each step has seen, and the last; histograms do not count.
        let mut seen = vec![(0_u8, f64::NAN); self.steps];
        for s in &series {
            for p in &s.floats {
                let (n, v) = &mut seen[self.index(p.t)];
                *n = n.saturating_add(1);
                *v = p.v;
            }
        }
        let value = |(n, v): (u8, f64)| if n == 1 { v } else { f64::NAN };
        Ok(Val::Scalar(seen.into_iter().map(value).collect()))
    }

    fn start_timestamps(&self, c: &Call) -> Result<Val, EvalError> {
        let ExprKind::Selector(s) = &c.args[0].unparen().kind else {
            // What was computed has no start.
            self.vector(&c.args[0])?;
            return Ok(Val::Vector(Vec::new()));
        };
        let mut series = self.selector_starts(s)?;
        for s in &mut series {
            self.drop_name(s);
        }
        Ok(Val::Vector(self.joined(series)?))
    }

    fn timestamps(&self, c: &Call) -> Result<Val, EvalError> {
        let arg = c.args[0].unparen();
        let mut series = match &arg.kind {
            ExprKind::Selector(s) => self.selector_timestamps(s)?,
            _ => {
                let mut out = Vec::new();
                for s in self.vector(arg)? {
                    let mut result = Series::new(s.labels.clone(), s.drop_name);
                    for (t, _) in s.points() {
                        let v = seconds(t);
                        result.floats.push(model::FPoint { t, v });
                    }
                    out.push(result);
                }
                out
            }
        };
        for s in &mut series {
            self.drop_name(s);
        }
        Ok(Val::Vector(self.joined(series)?))
    }
}

pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
