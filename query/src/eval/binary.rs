//! Binary operators on scalars, vectors and both.

mod element;
mod join;
mod matching;
mod sets;

use std::borrow::Cow;

use super::evaluator::{Evaluator, Val};
use super::series::Series;
use super::stream::{Stage, Stream};
use super::{EvalError, PointValue};
use crate::promql::ast::{Binary, BinaryOp, Expr, ValueType};
use element::{Outcome, Side};
pub(crate) use matching::braced;

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
    /// Scalars with scalars, and sets; the rest streams.
    pub(crate) fn binary(&self, b: &Binary) -> Result<Val, EvalError> {
        let whole = self.for_operands();
        let left = whole.eval(&b.left)?;
        let right = whole.eval(&b.right)?;
        match (left, right) {
            (Val::Scalar(mut l), Val::Scalar(r)) => {
                for (l, r) in l.iter_mut().zip(r) {
                    *l = scalars(b.op, *l, r);
                }
                Ok(Val::Scalar(l))
            }
            (Val::Vector(l), Val::Vector(r)) if b.op.is_set() => {
                let matching = b.matching.as_ref().map_or_else(Cow::default, Cow::Borrowed);
                self.set_operation(b.op, &matching, l, r).map(Val::Vector)
            }
            _ => Err(EvalError::Failed(format!(
                "operator {:?} not allowed on strings",
                b.op.as_str()
            ))),
        }
    }

    /// Comparisons look at whole histograms.
    fn for_operands(&self) -> Self {
        Evaluator {
            stats_only: false,
            ..*self
        }
    }

    /// An operation of a vector with a number or a vector; `None` for others.
    pub(crate) fn binary_stream<'e>(
        &self,
        expr: &'e Expr,
        b: &'e Binary,
    ) -> Result<Option<Stream<'e>>, EvalError> {
        use ValueType::{Scalar, Vector};
        let whole = self.for_operands();
        match (b.left.value_type(), b.right.value_type()) {
            (Vector, Scalar) => {
                let vector = whole.stream(&b.left)?;
                let scalar = whole.scalar(&b.right)?;
                self.with_scalar(expr, b, vector, scalar, false).map(Some)
            }
            (Scalar, Vector) => {
                let scalar = whole.scalar(&b.left)?;
                let vector = whole.stream(&b.right)?;
                self.with_scalar(expr, b, vector, scalar, true).map(Some)
            }
            (Vector, Vector) if !b.op.is_set() => whole.join(expr, b).map(Some),
            _ => Ok(None),
        }
    }

    fn with_scalar<'e>(
        &self,
        expr: &'e Expr,
        b: &'e Binary,
        vector: Stream<'e>,
        scalar: Vec<f64>,
        swapped: bool,
    ) -> Result<Stream<'e>, EvalError> {
        let drops_name = changes_meaning(b.op) || b.return_bool;
        let stage: Stage<'e> = Box::new(move |ev, _, s| {
            let number_at = |t: i64| scalar.get(ev.index(t)).copied().unwrap_or(f64::NAN);
            let sides = |own: f64, t: i64| {
                let number = number_at(t);
                if swapped {
                    (number, own)
                } else {
                    (own, number)
                }
            };
            if s.histograms.is_empty() && element::takes_floats(b.op) {
                s.floats.retain_mut(|p| {
                    let (l, r) = sides(p.v, p.t);
                    element::floats(b, l, r, &mut p.v)
                });
                return Ok(());
            }
            let mut result = Series::default();
            for (t, point) in s.points() {
                let number = Side::Float(number_at(t));
                let own = Side::of(point);
                let (l, r) = if swapped {
                    (number, own)
                } else {
                    (own, number)
                };
                if let Some(v) = ev.outcome(expr, b, l, r, own) {
                    result.push(t, v);
                }
            }
            s.floats = result.floats;
            s.histograms = result.histograms;
            Ok(())
        });
        let stream = vector.then(stage);
        if drops_name {
            self.nameless(stream)
        } else {
            Ok(stream)
        }
    }

    /// What an operation leaves of two values; a comparison that holds leaves `own`.
    fn outcome(
        &self,
        expr: &Expr,
        b: &Binary,
        l: Side<'_>,
        r: Side<'_>,
        own: Side<'_>,
    ) -> Option<PointValue> {
        let outcome = self.element(expr, b.op, l, r);
        self.kept(b, outcome, own)
    }

    /// The value an outcome stands for.
    fn kept(&self, b: &Binary, outcome: Outcome, own: Side<'_>) -> Option<PointValue> {
        match outcome {
            Outcome::Nothing => None,
            Outcome::Value(v) => Some(v),
            Outcome::Holds(holds) if b.return_bool => {
                Some(PointValue::Float(f64::from(u8::from(holds))))
            }
            Outcome::Holds(holds) => holds.then(|| own.to_value()),
        }
    }
}

fn scalars(op: BinaryOp, l: f64, r: f64) -> f64 {
    element::arithmetic(op, l, r)
        .or_else(|| element::compare(op, l, r).map(|b| f64::from(u8::from(b))))
        .unwrap_or(f64::NAN)
}
