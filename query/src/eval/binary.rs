//! Binary operators on scalars, vectors and both.

mod element;
mod matching;
mod sets;

use std::borrow::Cow;

use super::EvalError;
use super::evaluator::{Evaluator, Val};
use super::series::{Point, Series};
use crate::promql::ast::{Binary, BinaryOp, Expr};
use element::{Outcome, Side};

/// Whether a result's values no longer mean what the metric name says.
pub(crate) fn changes_meaning(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

impl Evaluator<'_> {
    pub(crate) fn binary(&self, expr: &Expr, b: &Binary) -> Result<Val, EvalError> {
        // Comparisons look at whole histograms.
        let whole = Evaluator {
            stats_only: false,
            ..*self
        };
        let left = whole.eval(&b.left)?;
        let right = whole.eval(&b.right)?;
        match (left, right) {
            (Val::Scalar(mut l), Val::Scalar(r)) => {
                for (l, r) in l.iter_mut().zip(r) {
                    *l = scalars(b.op, *l, r);
                }
                Ok(Val::Scalar(l))
            }
            (Val::Vector(v), Val::Scalar(s)) => self.with_scalar(expr, b, v, &s, false),
            (Val::Scalar(s), Val::Vector(v)) => self.with_scalar(expr, b, v, &s, true),
            (Val::Vector(l), Val::Vector(r)) => {
                let matching = b.matching.as_ref().map_or_else(Cow::default, Cow::Borrowed);
                if b.op.is_set() {
                    self.set_operation(b.op, &matching, l, r).map(Val::Vector)
                } else {
                    self.matched(expr, b, &matching, l, r).map(Val::Vector)
                }
            }
            _ => Err(EvalError::Failed(format!(
                "operator {:?} not allowed on strings",
                b.op.as_str()
            ))),
        }
    }

    fn with_scalar(
        &self,
        expr: &Expr,
        b: &Binary,
        vector: Vec<Series>,
        scalar: &[f64],
        swapped: bool,
    ) -> Result<Val, EvalError> {
        let drops_name = changes_meaning(b.op) || b.return_bool;
        let mut out = Vec::with_capacity(vector.len());
        for s in vector {
            let mut result = Series::new(s.labels.clone(), s.drop_name);
            for (t, point) in s.points() {
                let number = Side::Float(scalar.get(self.index(t)).copied().unwrap_or(f64::NAN));
                let own = match point {
                    Point::Float(v) => Side::Float(v),
                    Point::Histogram(p) => Side::Histogram(&p.h),
                };
                let (l, r) = if swapped {
                    (number, own)
                } else {
                    (own, number)
                };
                let outcome = self.element(expr, b.op, l, r);
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Value(v) => result.push(t, v),
                    Outcome::Holds(holds) if b.return_bool => {
                        result.push(t, super::PointValue::Float(f64::from(u8::from(holds))));
                    }
                    Outcome::Holds(true) => result.push(t, own.to_value()),
                    Outcome::Holds(false) => {}
                }
            }
            if result.is_empty() {
                continue;
            }
            if drops_name {
                self.drop_name(&mut result);
            }
            out.push(result);
        }
        if drops_name {
            out = self.joined(out)?;
        }
        Ok(Val::Vector(out))
    }
}

fn scalars(op: BinaryOp, l: f64, r: f64) -> f64 {
    element::arithmetic(op, l, r)
        .or_else(|| element::compare(op, l, r).map(|b| f64::from(u8::from(b))))
        .unwrap_or(f64::NAN)
}
