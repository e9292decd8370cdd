//! The values of an expression, step by step.

use model::Labels;

use super::extract::SeriesTable;
use super::source::Source;
use super::{EvalError, Series, Steps, Value, aggregate, binary, range as windows};
use crate::logql::ast::{MetricExpr, MetricKind, RangeOp, VectorOp};

/// Series and, for each step, the values of those that have one.
#[derive(Clone, Debug, Default)]
pub(super) struct Vectors {
    pub(super) labels: Vec<Labels>,
    pub(super) steps: Vec<Vec<(u32, f64)>>,
}

impl Vectors {
    pub(super) fn new(labels: Vec<Labels>, steps: usize) -> Self {
        Vectors {
            labels,
            steps: vec![Vec::new(); steps],
        }
    }
}

pub(super) fn instant(
    expr: &MetricExpr,
    source: &Source<'_>,
    steps: Steps,
) -> Result<Value, EvalError> {
    if let MetricKind::Literal(value) = expr.kind {
        return Ok(Value::Scalar(value));
    }
    let mut vectors = evaluate(expr, source, steps)?;
    let values = vectors.steps.pop().unwrap_or_default();
    if values.len() > source.series_max() {
        return Err(EvalError::TooManySeries(source.series_max()));
    }
    let mut vector: Vec<(Labels, f64)> = values
        .into_iter()
        .map(|(series, value)| (vectors.labels[series as usize].clone(), value))
        .collect();
    let mut is_sorted = false;
    expr.walk(&mut |e| {
        if let MetricKind::Vector(v) = &e.kind {
            is_sorted |= matches!(v.op, VectorOp::Sort | VectorOp::SortDesc);
        }
    });
    if !is_sorted {
        vector.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(Value::Vector(vector))
}

pub(super) fn range(
    expr: &MetricExpr,
    source: &Source<'_>,
    steps: Steps,
) -> Result<Value, EvalError> {
    if let MetricKind::Literal(value) | MetricKind::VectorOf(value) = expr.kind {
        let points = (0..steps.count)
            .map(|step| (steps.timestamp(step), value))
            .collect();
        return Ok(Value::Matrix(vec![Series {
            labels: Labels::empty(),
            points,
        }]));
    }
    let vectors = evaluate(expr, source, steps)?;
    // Different series may have got the same labels.
    let mut table = SeriesTable::default();
    let merged: Vec<u32> = vectors.labels.iter().map(|l| table.of(l)).collect();
    let mut points: Vec<Vec<_>> = vec![Vec::new(); table.labels.len()];
    let mut seen = 0;
    for (step, values) in vectors.steps.iter().enumerate() {
        let at = steps.timestamp(step);
        for (series, value) in values {
            let points = &mut points[merged[*series as usize] as usize];
            seen += usize::from(points.is_empty());
            points.push((at, *value));
        }
        if seen > source.series_max() {
            return Err(EvalError::TooManySeries(source.series_max()));
        }
    }
    let mut series: Vec<Series> = table
        .labels
        .into_iter()
        .zip(points)
        .filter(|(_, points)| !points.is_empty())
        .map(|(labels, points)| Series { labels, points })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(series))
}

pub(super) fn evaluate(
    expr: &MetricExpr,
    source: &Source<'_>,
    steps: Steps,
) -> Result<Vectors, EvalError> {
    source.check_cancel()?;
    match &expr.kind {
        MetricKind::Range(r) => windows::evaluate(r, None, source, steps),
        MetricKind::Vector(v) => {
            // A sum's labels are all that its series need.
            let inner = match &v.expr.kind {
                MetricKind::Range(r) if v.op == VectorOp::Sum && adds_up(r.op) && r.grouping.is_none() => {
                    windows::evaluate(r, Some(&v.grouping), source, steps)?
                }
                _ => evaluate(&v.expr, source, steps)?,
            };
            Ok(aggregate::evaluate(v, inner))
        }
        MetricKind::Binary(b) => binary::evaluate(b, source, steps),
        MetricKind::LabelReplace(r) => {
            let inner = evaluate(&r.expr, source, steps)?;
            aggregate::label_replace(r, inner)
        }
        MetricKind::VectorOf(value) => Ok(Vectors {
            labels: vec![Labels::empty()],
            steps: vec![vec![(0, *value)]; steps.count],
        }),
        MetricKind::Literal(_) => Err(EvalError::Failed(
            "unexpected expr type (*syntax.LiteralExpr) for Evaluator type (*logql.DefaultEvaluator) "
                .to_owned(),
        )),
    }
}

/// Whether the function of two sets of lines is the sum of that of each.
fn adds_up(op: RangeOp) -> bool {
    matches!(
        op,
        RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum | RangeOp::Rate | RangeOp::Count
    )
}
