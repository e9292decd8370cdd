//! `topk bottomk limitk limit_ratio`: some of the input series, as they are.

use std::cmp::Ordering;

use crate::eval::evaluator::Evaluator;
use crate::eval::hash::labels_hash;
use crate::eval::series::{Point, Points, Series};
use crate::eval::{EvalError, annotations};
use crate::promql::ast::{Aggregate, AggregateOp};

impl Evaluator<'_> {
    pub(super) fn choose(
        &self,
        a: &Aggregate,
        param: &[f64],
        input: &[Series],
    ) -> Result<Vec<Series>, EvalError> {
        self.check_parameter(a, param)?;
        let groups = self.groups(a, input);
        let hashes: Vec<u64> = if a.op == AggregateOp::LimitRatio {
            input.iter().map(|s| labels_hash(&s.labels)).collect()
        } else {
            Vec::new()
        };
        let mut chosen: Vec<Series> = input
            .iter()
            .map(|s| Series::new(s.labels.clone(), s.drop_name))
            .collect();
        // With one step the order of the result is the order of choice.
        let mut order: Vec<usize> = Vec::new();
        let mut candidates: Vec<(usize, Point<'_>)> = Vec::new();
        for group in &groups {
            self.q.check_cancel()?;
            let mut points: Vec<(usize, Points<'_>)> = group
                .members
                .iter()
                .map(|i| (*i, input[*i].points()))
                .collect();
            for (t, k) in self.times().zip(param) {
                candidates.clear();
                for (i, points) in &mut points {
                    if let Some(p) = points.at(t) {
                        candidates.push((*i, p));
                    }
                }
                self.pick(a, *k, &hashes, &mut candidates);
                for (i, point) in &candidates {
                    match point {
                        Point::Float(v) => {
                            chosen[*i].floats.push(model::FPoint { t, v: *v });
                        }
                        Point::Histogram(p) => chosen[*i]
                            .histograms
                            .push(model::HPoint { t, h: p.h.clone() }),
                    }
                    if self.steps == 1 {
                        order.push(*i);
                    }
                }
            }
        }
        if self.steps == 1 {
            return Ok(order
                .into_iter()
                .map(|i| std::mem::take(&mut chosen[i]))
                .collect());
        }
        chosen.retain(|s| !s.is_empty());
        Ok(chosen)
    }

    fn check_parameter(&self, a: &Aggregate, param: &[f64]) -> Result<(), EvalError> {
        let at = a.param.as_ref().unwrap_or(&a.expr);
        for v in param {
            if v.is_nan() {
                let what = if a.op == AggregateOp::LimitRatio {
                    "Ratio value is NaN"
                } else {
                    "Parameter value is NaN"
                };
                return Err(EvalError::Failed(what.to_owned()));
            }
            if a.op == AggregateOp::LimitRatio {
                if v.abs() > 1.0 {
                    let capped = v.clamp(-1.0, 1.0);
                    self.q.note(annotations::invalid_ratio(*v, capped), at);
                }
            } else if *v >= i64::MAX as f64 || *v <= i64::MIN as f64 {
                let direction = if *v > 0.0 { "overflows" } else { "underflows" };
                return Err(EvalError::Failed(format!(
                    "Scalar value {} {direction} int64",
                    model::number::format_sprint(*v)
                )));
            }
        }
        Ok(())
    }

    /// Leaves the chosen candidates, in order.
    fn pick(
        &self,
        a: &Aggregate,
        k: f64,
        hashes: &[u64],
        candidates: &mut Vec<(usize, Point<'_>)>,
    ) {
        let count = k.max(0.0) as usize;
        match a.op {
            AggregateOp::LimitRatio => {
                let ratio = k.clamp(-1.0, 1.0);
                candidates.retain(|(i, _)| in_ratio(ratio, hashes[*i]));
            }
            AggregateOp::Limitk => candidates.truncate(count),
            _ => {
                if count < 1 {
                    candidates.clear();
                    return;
                }
                let before = candidates.len();
                candidates.retain(|(_, p)| matches!(p, Point::Float(_)));
                if candidates.len() < before {
                    let text = annotations::histogram_ignored_in_aggregation(a.op.as_str());
                    self.q.note(text, &a.expr);
                }
                candidates.sort_by(|(_, x), (_, y)| rank(a.op, *x, *y));
                candidates.truncate(count);
            }
        }
    }
}

/// Best first; NaN last. Equal values keep their order.
fn rank(op: AggregateOp, x: Point<'_>, y: Point<'_>) -> Ordering {
    let (Point::Float(x), Point::Float(y)) = (x, y) else {
        return Ordering::Equal;
    };
    match (x.is_nan(), y.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if op == AggregateOp::Topk => y.total_cmp(&x),
        _ => x.total_cmp(&y),
    }
}

/// Whether a series belongs to the share `ratio`; a negative ratio is the complement, so that
/// `limit_ratio(r, v) or limit_ratio(-(1-r), v)` is all of `v`.
fn in_ratio(ratio: f64, hash: u64) -> bool {
    let place = hash as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        place < ratio
    } else {
        place >= 1.0 + ratio
    }
}
