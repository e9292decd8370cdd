//! Aggregations of series, and `label_replace`.
//! Source of the rules: loki pkg/logql/evaluator.go.

use std::cmp::Ordering;

use model::{Labels, Regex};

use super::EvalError;
use super::extract::SeriesTable;
use super::vectors::Vectors;
use crate::logql::ast::{Grouping, LabelReplace, VectorAggregation, VectorOp};

/// The labels of the group a series belongs to.
fn group_of(labels: &Labels, grouping: &Grouping) -> Labels {
    let named = |name: &str| grouping.labels.iter().any(|l| l == name);
    if grouping.without {
        // Empty values do not survive this in Loki either.
        return Labels::from_sorted(labels.iter().filter(|(n, v)| !named(n) && !v.is_empty()));
    }
    Labels::from_sorted(labels.iter().filter(|(n, _)| named(n)))
}

pub(super) fn evaluate(aggregation: &VectorAggregation, inner: Vectors) -> Vectors {
    let mut groups = SeriesTable::default();
    let of_series: Vec<u32> = inner
        .labels
        .iter()
        .map(|labels| groups.of(&group_of(labels, &aggregation.grouping)))
        .collect();
    let chooses = matches!(
        aggregation.op,
        VectorOp::Topk
            | VectorOp::ApproxTopk
            | VectorOp::Bottomk
            | VectorOp::Sort
            | VectorOp::SortDesc
    );
    let steps = inner.steps.iter().map(|values| {
        let mut members: Vec<Vec<(u32, f64)>> = vec![Vec::new(); groups.labels.len()];
        let mut order = Vec::new();
        for (series, value) in values {
            let group = of_series[*series as usize];
            if members[group as usize].is_empty() {
                order.push(group);
            }
            members[group as usize].push((*series, *value));
        }
        let mut out = Vec::new();
        for group in order {
            let members = std::mem::take(&mut members[group as usize]);
            if chooses {
                out.extend(choose(aggregation, members));
            } else {
                out.push((group, reduce(aggregation.op, &members)));
            }
        }
        out
    });
    let steps = steps.collect();
    let labels = if chooses { inner.labels } else { groups.labels };
    Vectors { labels, steps }
}

fn reduce(op: VectorOp, members: &[(u32, f64)]) -> f64 {
    let values = || members.iter().map(|(_, v)| *v);
    let count = members.len() as f64;
    match op {
        VectorOp::Sum => values().skip(1).fold(members[0].1, |sum, v| sum + v),
        VectorOp::Avg => {
            let (mut mean, mut n) = (members[0].1, 1.0);
            for v in values().skip(1) {
                n += 1.0;
                mean += (v - mean) / n;
            }
            mean
        }
        VectorOp::Max => values().fold(
            f64::NAN,
            |max, v| if max < v || max.is_nan() { v } else { max },
        ),
        VectorOp::Min => values().fold(
            f64::NAN,
            |min, v| if min > v || min.is_nan() { v } else { min },
        ),
        VectorOp::Stddev => deviation(members).sqrt(),
        VectorOp::Stdvar => deviation(members),
        _ => count,
    }
}

/// Population variance by Welford's algorithm.
fn deviation(members: &[(u32, f64)]) -> f64 {
    let (mut mean, mut n, mut sum) = (members[0].1, 1.0, 0.0);
    for (_, v) in &members[1..] {
        n += 1.0;
        let delta = v - mean;
        mean += delta / n;
        sum += delta * (v - mean);
    }
    sum / n
}

/// The members that stay, in their order; what is no number comes last.
fn choose(aggregation: &VectorAggregation, mut members: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    let ascending = matches!(aggregation.op, VectorOp::Sort | VectorOp::Bottomk);
    members.sort_by(|(_, a), (_, b)| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if ascending => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (false, false) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
    });
    if !matches!(aggregation.op, VectorOp::Sort | VectorOp::SortDesc) {
        members.truncate(aggregation.param);
    }
    members
}

pub(super) fn label_replace(
    replace: &LabelReplace,
    mut inner: Vectors,
) -> Result<Vectors, EvalError> {
    let regex = Regex::anchored(&replace.regex).map_err(|e| EvalError::Failed(e.to_string()))?;
    for labels in &mut inner.labels {
        let source = labels.get(&replace.src).unwrap_or("");
        if let Some(value) = regex.expand(source, &replace.replacement) {
            let mut builder = labels.to_builder();
            builder.set(replace.dst.as_str(), value);
            *labels = builder.build();
        }
    }
    Ok(inner)
}
