//! Walks the expression; one evaluator per stretch of steps (the query, and each subquery).

use std::collections::HashSet;

use foldhash::fast::RandomState;
use model::{FPoint, HPoint, Labels, Samples, Timestamp};

use super::binary::Operand;
use super::cse::Known;
use super::query::Query;
use super::series::{Series, is_metadata, merge_same_labels, same_labelset, without_metadata};
use super::stream::Stream;
use super::{EvalError, PointValue, SeriesPoints, Value, VectorSample, invariant, window};
use crate::promql::ast::{Expr, ExprKind, Unary, ValueType};

/// An intermediate value, for all steps at once.
#[derive(Clone)]
pub(crate) enum Val {
    /// One number per step.
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    String(String),
}

impl Val {
    fn samples(&self) -> usize {
        match self {
            Val::Scalar(values) => values.len(),
            Val::Vector(series) => series.iter().map(Series::samples).sum(),
            Val::String(_) => 0,
        }
    }

    /// The series of a vector.
    pub(crate) fn into_vector(self) -> Vec<Series> {
        match self {
            Val::Vector(series) => series,
            _ => Vec::new(),
        }
    }

    /// Bytes beside the points.
    fn other_bytes(&self) -> usize {
        match self {
            Val::Scalar(_) => 0,
            Val::Vector(series) => series
                .iter()
                .map(|s| size_of::<Series>() + s.labels.heap_bytes())
                .sum(),
            Val::String(text) => text.len(),
        }
    }
}

/// Evaluates at `start`, `start + step`, … `end`.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'a> {
    pub(crate) q: &'a Query<'a>,
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) steps: usize,
    /// Only count or sum of histograms are wanted, whose readers tell resets as they go.
    pub(crate) stats_only: bool,
    /// Whether samples that are selected count, which those inside a subquery do not.
    pub(crate) counts: bool,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        q: &'a Query<'a>,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Self, EvalError> {
        let step = step.max(1);
        let steps = if end < start {
            0
        } else {
            (i128::from(end) - i128::from(start)) / i128::from(step) + 1
        };
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        // A scalar alone takes one sample per step.
        let held = q.held();
        q.charge(steps)?;
        q.release_to(held);
        Ok(Evaluator {
            q,
            start,
            step,
            steps,
            stats_only: false,
            counts: true,
        })
    }

    /// The instants evaluated at, in milliseconds.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let (start, step) = (self.start, self.step);
        (0..self.steps).map(move |i| start.saturating_add((i as i64).saturating_mul(step)))
    }

    /// The instant of a step, in milliseconds.
    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start.saturating_add(step.saturating_mul(self.step))
    }

    /// The step number of an instant that lies on a step.
    pub(crate) fn index(&self, t: i64) -> usize {
        usize::try_from(t.saturating_sub(self.start) / self.step)
            .unwrap_or(0)
            .min(self.steps.saturating_sub(1))
    }

    pub(crate) fn first_last(&self) -> (i64, i64) {
        let steps = i64::try_from(self.steps.saturating_sub(1)).unwrap_or(i64::MAX);
        let last = self.start.saturating_add(steps.saturating_mul(self.step));
        (self.start, last)
    }

    /// Counts samples that a selector gave to a step.
    pub(crate) fn count(&self, step: usize, samples: usize) {
        if self.counts {
            self.q.count_queried(step, samples);
        }
    }

    pub(crate) fn eval(&self, expr: &Expr) -> Result<Val, EvalError> {
        self.q.check_cancel()?;
        let when = (self.start, self.step, self.steps);
        let key = self.q.repeated.key(expr, when, self.stats_only);
        if let Some(known) = key.as_ref().and_then(|k| self.q.repeated.get(k)) {
            if self.counts {
                self.q.add_queried(&known.queried);
            }
            let (notes, from) = known.notes;
            self.q.add_notes(notes.moved(from, expr));
            // Besides the value that is kept.
            self.hold(&known.value)?;
            return Ok(known.value);
        }
        let before = self.q.take_queried();
        let noted = key.is_some().then(|| self.q.take_notes());
        let held = self.q.held();
        let value = if self.is_the_same_at_every_step(expr) {
            let once = Evaluator { steps: 1, ..*self };
            let value = once.eval_node(expr)?;
            self.q.release_to(held);
            self.q.charge(value.samples().saturating_mul(self.steps))?;
            self.q.spread_queried(self.steps);
            self.spread(value)
        } else {
            self.eval_node(expr)?
        };
        self.q.release_to(held);
        self.hold(&value)?;
        if let Some(key) = key {
            self.q.keep(value.samples())?;
            let known = Known {
                value: value.clone(),
                queried: self.q.queried(),
                notes: (self.q.notes(), expr.span.start),
            };
            self.q.repeated.put(key, known);
        }
        if let Some(noted) = noted {
            self.q.add_notes(noted);
        }
        self.q.add_queried(&before);
        Ok(value)
    }

    /// Counts a value that is now held.
    pub(crate) fn hold(&self, value: &Val) -> Result<(), EvalError> {
        self.q.charge(value.samples())?;
        self.q.charge_bytes(value.other_bytes())
    }

    pub(crate) fn is_the_same_at_every_step(&self, expr: &Expr) -> bool {
        let literal = matches!(expr.kind, ExprKind::Number(_) | ExprKind::String(_));
        self.steps > 1 && !literal && invariant::is_invariant(expr)
    }

    /// The vector of `expr`, its series computed only when taken.
    pub(crate) fn stream<'e>(&self, expr: &'e Expr) -> Result<Stream<'e>, EvalError> {
        self.q.check_cancel()?;
        let when = (self.start, self.step, self.steps);
        let again = self.q.repeated.key(expr, when, self.stats_only).is_some();
        if !again
            && !self.is_the_same_at_every_step(expr)
            && let Some(stream) = self.stream_node(expr)?
        {
            return Ok(stream);
        }
        Ok(Stream::ready(self.vector(expr)?))
    }

    /// The stream of a node that treats each series by itself, `None` for others.
    fn stream_node<'e>(&self, expr: &'e Expr) -> Result<Option<Stream<'e>>, EvalError> {
        Ok(Some(match &expr.kind {
            ExprKind::Paren(inner) if inner.value_type() == ValueType::Vector => {
                self.stream(inner)?
            }
            ExprKind::Selector(s) => return self.selector_stream(expr, s),
            ExprKind::Unary(u) if expr.value_type() == ValueType::Vector => self.unary_stream(u)?,
            ExprKind::Binary(b) if expr.value_type() == ValueType::Vector && !b.op.is_set() => {
                self.operators(expr)?.stream(self)
            }
            ExprKind::Call(c) => return self.call_stream(c),
            _ => return Ok(None),
        }))
    }

    /// One step's value at every step.
    fn spread(&self, value: Val) -> Val {
        match value {
            Val::Scalar(v) => Val::Scalar(vec![v.first().copied().unwrap_or(f64::NAN); self.steps]),
            Val::String(s) => Val::String(s),
            Val::Vector(series) => Val::Vector(
                series
                    .into_iter()
                    .map(|s| Series {
                        floats: s
                            .floats
                            .first()
                            .map(|p| self.times().map(|t| FPoint { t, v: p.v }).collect())
                            .unwrap_or_default(),
                        histograms: s
                            .histograms
                            .first()
                            .map(|p| {
                                let h = &p.h;
                                self.times().map(|t| HPoint { t, h: h.clone() }).collect()
                            })
                            .unwrap_or_default(),
                        ..s
                    })
                    .collect(),
            ),
        }
    }

    fn eval_node(&self, expr: &Expr) -> Result<Val, EvalError> {
        if let Some(stream) = self.stream_node(expr)? {
            return self.collect(stream).map(Val::Vector);
        }
        match &expr.kind {
            ExprKind::Number(n) => Ok(Val::Scalar(vec![n.value; self.steps])),
            ExprKind::String(s) => Ok(Val::String(s.clone())),
            ExprKind::Paren(inner) => self.eval(inner),
            ExprKind::Selector(s) => self.extended_selector(expr, s).map(Val::Vector),
            ExprKind::Unary(u) => self.unary(u),
            ExprKind::Binary(_) => match self.operators(expr)? {
                Operand::Stream(stream) => self.collect(stream).map(Val::Vector),
                Operand::Value(value) => Ok(value),
            },
            ExprKind::Call(c) => self.call(expr, c),
            ExprKind::Aggregate(a) => self.aggregate(expr, a).map(Val::Vector),
            ExprKind::Range(_) | ExprKind::Subquery(_) => Err(EvalError::Failed(
                "a range vector has no value at an instant".to_owned(),
            )),
        }
    }

    pub(crate) fn vector(&self, expr: &Expr) -> Result<Vec<Series>, EvalError> {
        match self.eval(expr)? {
            Val::Vector(v) => Ok(v),
            Val::Scalar(values) => Ok(vec![self.scalar_series(&values)]),
            Val::String(_) => Err(wrong_type(expr, ValueType::Vector)),
        }
    }

    pub(crate) fn scalar(&self, expr: &Expr) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr)? {
            Val::Scalar(v) => Ok(v),
            _ => Err(wrong_type(expr, ValueType::Scalar)),
        }
    }

    pub(crate) fn string(&self, expr: &Expr) -> Result<String, EvalError> {
        match self.eval(expr)? {
            Val::String(s) => Ok(s),
            _ => Err(wrong_type(expr, ValueType::String)),
        }
    }

    pub(crate) fn scalar_series(&self, values: &[f64]) -> Series {
        Series {
            floats: self
                .times()
                .zip(values)
                .map(|(t, v)| FPoint { t, v: *v })
                .collect(),
            ..Series::default()
        }
    }

    fn unary(&self, u: &Unary) -> Result<Val, EvalError> {
        let mut value = self.eval(&u.expr)?;
        if let (true, Val::Scalar(values)) = (u.negative, &mut value) {
            values.iter_mut().for_each(|v| *v = -*v);
        }
        Ok(value)
    }

    fn unary_stream<'e>(&self, u: &'e Unary) -> Result<Stream<'e>, EvalError> {
        let stream = self.stream(&u.expr)?;
        if !u.negative {
            return Ok(stream);
        }
        self.nameless(stream.then(Box::new(|_, _, s| {
            s.floats.iter_mut().for_each(|p| p.v = -p.v);
            for p in &mut s.histograms {
                let mut h = (*p.h).clone();
                crate::histogram::scale(&mut h, -1.0);
                p.h = h.into();
            }
            Ok(())
        })))
    }

    /// Takes the metric name from a series, now or at the end of the query.
    pub(crate) fn drop_name(&self, s: &mut Series) {
        s.drop_name = true;
        if !self.q.options.delayed_name_removal {
            s.labels = without_metadata(&s.labels);
        }
    }

    /// After names were dropped: series that now have equal labels become one.
    pub(crate) fn joined(&self, series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        if self.q.options.delayed_name_removal {
            Ok(series)
        } else {
            merge_same_labels(self.q, series)
        }
    }
}

fn wrong_type(expr: &Expr, want: ValueType) -> EvalError {
    EvalError::Failed(format!(
        "expected type {} but got {}",
        want.documented(),
        expr.value_type().documented()
    ))
}

/// Does what was delayed: drops names, and refuses or joins series that become equal.
fn cleaned(q: &Query<'_>, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    series.retain(|s| !s.is_empty());
    let mut seen: HashSet<&Labels, RandomState> = HashSet::default();
    let mut same = false;
    for (i, s) in series.iter().enumerate() {
        q.check_now_and_then(i)?;
        let changes = s.drop_name && s.labels.iter().any(|(n, _)| is_metadata(n));
        if changes || !seen.insert(&s.labels) {
            same = true;
            break;
        }
    }
    drop(seen);
    if !same {
        return Ok(series);
    }
    for (i, s) in series.iter_mut().enumerate().filter(|(_, s)| s.drop_name) {
        q.check_now_and_then(i)?;
        s.labels = without_metadata(&s.labels);
    }
    merge_same_labels(q, series)
}

/// Evaluates an instant query.
pub(crate) fn instant(q: &Query<'_>, expr: &Expr) -> Result<Value, EvalError> {
    let at = Timestamp::from_millis(q.start);
    let ev = Evaluator::new(q, q.start, q.start, 1)?;
    if expr.value_type() == ValueType::Matrix {
        return Ok(Value::Matrix(sorted(q, window::whole(&ev, expr)?)?));
    }
    Ok(match ev.eval(expr)? {
        Val::Scalar(values) => Value::Scalar {
            at,
            value: values.first().copied().unwrap_or(f64::NAN),
        },
        Val::String(value) => Value::String { at, value },
        Val::Vector(series) => Value::Vector(
            cleaned(q, series)?
                .into_iter()
                .filter_map(|s| {
                    let value = match (s.floats.first(), s.histograms.first()) {
                        (Some(p), _) => PointValue::Float(p.v),
                        (None, Some(p)) => PointValue::Histogram(p.h.clone()),
                        (None, None) => return None,
                    };
                    Some(VectorSample {
                        labels: s.labels,
                        at,
                        value,
                    })
                })
                .collect(),
        ),
    })
}

/// Evaluates a range query.
pub(crate) fn range(q: &Query<'_>, expr: &Expr) -> Result<Value, EvalError> {
    let ev = Evaluator::new(q, q.start, q.end, q.step)?;
    let series = match ev.eval(expr)? {
        Val::Scalar(values) => vec![ev.scalar_series(&values)],
        Val::Vector(series) => series,
        Val::String(_) => return Err(wrong_type(expr, ValueType::Vector)),
    };
    Ok(Value::Matrix(sorted(q, series)?))
}

fn sorted(q: &Query<'_>, series: Vec<Series>) -> Result<Vec<SeriesPoints>, EvalError> {
    let out: Vec<SeriesPoints> = cleaned(q, series)?
        .into_iter()
        .map(|s| SeriesPoints {
            labels: s.labels,
            points: Samples {
                floats: s.floats,
                histograms: s.histograms,
            },
        })
        .collect();
    let out = q.sorted(out, |a, b| a.labels.cmp(&b.labels))?;
    if out.windows(2).any(|w| w[0].labels == w[1].labels) {
        return Err(same_labelset());
    }
    Ok(out)
}
