//! Functions, one file per family.

pub(crate) mod extended;
pub(crate) mod extended_histogram;
pub(crate) mod over_time;
pub(crate) mod slide;

mod absent;
mod calendar;
mod classic;
mod info;
pub(super) mod labels;
mod math;
mod native;
mod range;
mod rate;
mod regression;
mod sort;

use super::EvalError;
use super::evaluator::{Evaluator, Val};
use super::series::Series;
use super::stream::Stream;
use crate::promql::ast::{Call, Expr, ExprKind};

impl Evaluator<'_> {
    pub(crate) fn call(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let name = c.function.name;
        if let Some(f) = calendar::field(name) {
            return self.calendar(c, f);
        }
        if let Some(f) = range::function(name) {
            return self.range_of_subquery(c, f).map(Val::Vector);
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
            "absent" => self.absent(c),
            "absent_over_time" => self.absent_over_time(c),
            "sort" | "sort_desc" => self.sort(expr, c),
            "sort_by_label" | "sort_by_label_desc" => self.sort_by_label(expr, c),
            "info" => self.info(c),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.histogram_shares(c)
            }
            _ => self.native_histogram_function(c),
        }
    }

    /// The stream of a function that treats each series by itself, `None` for others.
    pub(crate) fn call_stream<'e>(&self, c: &'e Call) -> Result<Option<Stream<'e>>, EvalError> {
        let name = c.function.name;
        if let Some(f) = math::unary(name) {
            let stream = self.stream(&c.args[0])?;
            return self.mapped(stream, move |_, _, v| Some(f(v))).map(Some);
        }
        if let Some(f) = range::function(name) {
            return self.range_stream(c, f);
        }
        Ok(Some(match name {
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(c)?,
            "round" => self.round(c)?,
            "timestamp" => match &c.args[0].unparen().kind {
                ExprKind::Selector(s) => self.nameless(self.selector_timestamps(s)?)?,
                _ => return Ok(None),
            },
            "start_timestamp" => match &c.args[0].unparen().kind {
                ExprKind::Selector(s) => self.nameless(self.selector_starts(s)?)?,
                // What was computed has no start.
                _ => {
                    self.vector(&c.args[0])?;
                    Stream::ready(Vec::new())
                }
            },
            "label_replace" => self.label_replace(c)?,
            "label_join" => self.label_join(c)?,
            _ => return Ok(None),
        }))
    }

    fn constant(&self, v: f64) -> Val {
        Val::Scalar(vec![v; self.steps])
    }

    /// A float function point by point; histograms and `None` leave no point. The name goes.
    pub(super) fn mapped<'e>(
        &self,
        stream: Stream<'e>,
        f: impl Fn(&Evaluator<'_>, i64, f64) -> Option<f64> + Send + Sync + 'e,
    ) -> Result<Stream<'e>, EvalError> {
        self.nameless(stream.then(Box::new(move |ev, _, s| {
            s.histograms.clear();
            s.floats.retain_mut(|p| match f(ev, p.t, p.v) {
                Some(v) => {
                    p.v = v;
                    true
                }
                None => false,
            });
            Ok(())
        })))
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
        let stream = self.stream(&c.args[0])?;
        // How many floats each step has seen, and the last; histograms do not count.
        let mut seen = vec![(0_u8, f64::NAN); self.steps];
        self.each(stream, &mut |_, s| {
            for p in &s.floats {
                let (n, v) = &mut seen[self.index(p.t)];
                *n = n.saturating_add(1);
                *v = p.v;
            }
            Ok(())
        })?;
        let value = |(n, v): (u8, f64)| if n == 1 { v } else { f64::NAN };
        Ok(Val::Scalar(seen.into_iter().map(value).collect()))
    }

    /// Of what was computed: the steps themselves.
    fn timestamps(&self, c: &Call) -> Result<Val, EvalError> {
        let mut out = Vec::new();
        for s in self.vector(&c.args[0])? {
            let mut result = Series::new(s.labels.clone(), s.drop_name);
            for (t, _) in s.points() {
                let v = seconds(t);
                result.floats.push(model::FPoint { t, v });
            }
            self.drop_name(&mut result);
            out.push(result);
        }
        Ok(Val::Vector(self.joined(out)?))
    }
}

pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
