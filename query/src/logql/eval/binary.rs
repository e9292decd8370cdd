//! Operators between two expressions.
//! Source of the rules: loki pkg/logql/evaluator.go.

use std::collections::{HashMap, HashSet};

use model::Labels;

use super::extract::SeriesTable;
use super::source::Source;
use super::vectors::{self, Vectors};
use super::{EvalError, Steps};
use crate::logql::ast::{Binary, BinaryOp, Cardinality, Matching, MetricKind};
use crate::logql::parser::on_numbers;

pub(super) fn evaluate(
    binary: &Binary,
    source: &Source<'_>,
    steps: Steps,
) -> Result<Vectors, EvalError> {
    match (&binary.left.kind, &binary.right.kind) {
        (MetricKind::Literal(value), _) => {
            let right = vectors::evaluate(&binary.right, source, steps)?;
            Ok(with_literal(binary, right, |v| (*value, v)))
        }
        (_, MetricKind::Literal(value)) => {
            let left = vectors::evaluate(&binary.left, source, steps)?;
            Ok(with_literal(binary, left, |v| (v, *value)))
        }
        _ => {
            // Loki steps the right side first, so that its error is the one shown.
            let right = vectors::evaluate(&binary.right, source, steps)?;
            let left = vectors::evaluate(&binary.left, source, steps)?;
            if binary.op.is_set() {
                Ok(set_operation(binary, left, right))
            } else {
                joined(binary, &left, &right)
            }
        }
    }
}

fn with_literal(
    binary: &Binary,
    mut vectors: Vectors,
    sides: impl Fn(f64) -> (f64, f64),
) -> Vectors {
    let filters = binary.op.is_comparison() && !binary.returns_bool;
    for step in &mut vectors.steps {
        step.retain_mut(|(_, value)| {
            let (left, right) = sides(*value);
            let result = on_numbers(binary.op, left, right);
            if filters {
                return result != 0.0;
            }
            *value = result;
            true
        });
    }
    vectors
}

/// Numbers of the signatures of both sides' series: equal ones go together.
fn signatures(matching: &Matching, left: &Vectors, right: &Vectors) -> (Vec<u32>, Vec<u32>) {
    let mut table = SeriesTable::default();
    let names = matching.labels.as_deref().unwrap_or(&[]);
    let named = |name: &str| names.iter().any(|n| n == name);
    let mut number = |labels: &Labels| {
        // An empty value is an absent one.
        let kept = labels
            .iter()
            .filter(|(n, v)| named(n) == matching.on && !v.is_empty());
        table.of(&Labels::from_sorted(kept))
    };
    let left = left.labels.iter().map(&mut number).collect();
    let right = right.labels.iter().map(&mut number).collect();
    (left, right)
}

fn set_operation(binary: &Binary, left: Vectors, right: Vectors) -> Vectors {
    let (left_signs, right_signs) = signatures(&binary.matching, &left, &right);
    let offset = left.labels.len() as u32;
    let mut labels = left.labels;
    labels.extend(right.labels);
    let steps = left.steps.into_iter().zip(right.steps).map(|(l, r)| {
        let signs = |values: &[(u32, f64)], signs: &[u32]| -> HashSet<u32> {
            values.iter().map(|(s, _)| signs[*s as usize]).collect()
        };
        match binary.op {
            BinaryOp::Or => {
                let known = signs(&l, &left_signs);
                let more = r
                    .into_iter()
                    .filter(|(s, _)| !known.contains(&right_signs[*s as usize]))
                    .map(|(s, v)| (s + offset, v));
                l.into_iter().chain(more).collect()
            }
            op => {
                let known = signs(&r, &right_signs);
                let wanted = op == BinaryOp::And;
                l.into_iter()
                    .filter(|(s, _)| known.contains(&left_signs[*s as usize]) == wanted)
                    .collect()
            }
        }
    });
    Vectors {
        steps: steps.collect(),
        labels,
    }
}

fn joined(binary: &Binary, left: &Vectors, right: &Vectors) -> Result<Vectors, EvalError> {
    let matching = &binary.matching;
    let (left_signs, right_signs) = signatures(matching, left, right);
    // The side of which one series goes with many of the other.
    let swapped = matching.card == Cardinality::OneToMany;
    let (many, many_signs, one, one_signs) = if swapped {
        (right, right_signs, left, left_signs)
    } else {
        (left, left_signs, right, right_signs)
    };
    let filters = binary.op.is_comparison() && !binary.returns_bool;
    let mut results = SeriesTable::default();
    let mut known: HashMap<(u32, u32), u32> = HashMap::new();
    let mut steps = Vec::with_capacity(many.steps.len());
    for (many_values, one_values) in many.steps.iter().zip(&one.steps) {
        let mut by_sign: HashMap<u32, (u32, f64)> = HashMap::with_capacity(one_values.len());
        for (series, value) in one_values {
            let sign = one_signs[*series as usize];
            if by_sign.insert(sign, (*series, *value)).is_some() {
                let side = if swapped { "left" } else { "right" };
                return Err(EvalError::Failed(format!(
                    "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
                )));
            }
        }
        let mut matched: HashSet<(u32, Option<u32>)> = HashSet::new();
        let mut out = Vec::new();
        for (series, value) in many_values {
            let sign = many_signs[*series as usize];
            let Some((partner, partner_value)) = by_sign.get(&sign).copied() else {
                continue;
            };
            let result = *known.entry((*series, partner)).or_insert_with(|| {
                let (many, one) = (
                    &many.labels[*series as usize],
                    &one.labels[partner as usize],
                );
                results.of(&result_labels(matching, many, one))
            });
            if matching.card == Cardinality::OneToOne {
                if !matched.insert((sign, None)) {
                    return Err(EvalError::Failed(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .to_owned(),
                    ));
                }
            } else if !matched.insert((sign, Some(result))) {
                return Err(EvalError::Failed(
                    "multiple matches for labels: grouping labels must ensure unique matches"
                        .to_owned(),
                ));
            }
            let (l, r) = if swapped {
                (partner_value, *value)
            } else {
                (*value, partner_value)
            };
            let computed = on_numbers(binary.op, l, r);
            if !filters {
                out.push((result, computed));
            } else if computed != 0.0 {
                out.push((result, l));
            }
        }
        steps.push(out);
    }
    Ok(Vectors {
        labels: results.labels,
        steps,
    })
}

fn result_labels(matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    let names = matching.labels.as_deref().unwrap_or(&[]);
    let mut labels = many.to_builder();
    if matching.card == Cardinality::OneToOne {
        labels.retain(|name, _| names.iter().any(|n| n == name) == matching.on);
    }
    for name in matching.include.as_deref().unwrap_or(&[]) {
        match one.get(name).filter(|value| !value.is_empty()) {
            Some(value) => {
                labels.set(name.as_str(), value);
            }
            None => {
                labels.remove(name);
            }
        }
    }
    labels.build()
}
