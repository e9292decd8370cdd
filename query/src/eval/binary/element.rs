//! One value with one value.

use std::sync::Arc;

use model::Histogram;

use crate::eval::PointValue;
use crate::eval::annotations;
use crate::eval::evaluator::Evaluator;
use crate::eval::series::Point;
use crate::histogram;
use crate::promql::ast::{Binary, BinaryOp, Expr};

/// An operand.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl<'a> Side<'a> {
    pub(super) fn of(point: Point<'a>) -> Side<'a> {
        match point {
            Point::Float(v) => Side::Float(v),
            Point::Histogram(p) => Side::Histogram(&p.h),
        }
    }

    pub(super) fn to_value(self) -> PointValue {
        match self {
            Side::Float(v) => PointValue::Float(v),
            Side::Histogram(h) => PointValue::Histogram(h.clone()),
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Side::Float(_) => "float",
            Side::Histogram(_) => "histogram",
        }
    }
}

/// What an operator makes of two operands.
pub(super) enum Outcome {
    /// They do not go together: no result.
    Nothing,
    /// A new value.
    Value(PointValue),
    /// A comparison's answer.
    Holds(bool),
}

pub(super) fn arithmetic(op: BinaryOp, l: f64, r: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        _ => return None,
    })
}

pub(super) fn compare(op: BinaryOp, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => l == r,
        BinaryOp::NotEqual => l != r,
        BinaryOp::Greater => l > r,
        BinaryOp::Less => l < r,
        BinaryOp::GreaterEqual => l >= r,
        BinaryOp::LessEqual => l <= r,
        _ => return None,
    })
}

/// Whether the operator is defined for two floats.
pub(super) fn takes_floats(op: BinaryOp) -> bool {
    arithmetic(op, 1.0, 1.0).is_some() || compare(op, 1.0, 1.0).is_some()
}

/// The common case of two floats, whose result takes the place of `own`; whether there is one.
/// The operator must [take floats](takes_floats).
pub(super) fn floats(b: &Binary, l: f64, r: f64, own: &mut f64) -> bool {
    if let Some(v) = arithmetic(b.op, l, r) {
        *own = v;
        return true;
    }
    let holds = compare(b.op, l, r).unwrap_or(false);
    if b.return_bool {
        *own = f64::from(u8::from(holds));
        return true;
    }
    holds
}

impl Evaluator<'_> {
    pub(super) fn element(&self, expr: &Expr, op: BinaryOp, l: Side<'_>, r: Side<'_>) -> Outcome {
        match (l, r) {
            (Side::Float(a), Side::Float(b)) => {
                if let Some(v) = arithmetic(op, a, b) {
                    return Outcome::Value(PointValue::Float(v));
                }
                if let Some(holds) = compare(op, a, b) {
                    return Outcome::Holds(holds);
                }
            }
            (Side::Histogram(h), Side::Float(v)) => match op {
                BinaryOp::Mul => return changed(h, |h| histogram::scale(h, v)),
                BinaryOp::Div => return changed(h, |h| histogram::divide(h, v)),
                BinaryOp::TrimUpper => return changed(h, |h| histogram::trim(h, v, true)),
                BinaryOp::TrimLower => return changed(h, |h| histogram::trim(h, v, false)),
                _ => {}
            },
            (Side::Float(v), Side::Histogram(h)) if op == BinaryOp::Mul => {
                return changed(h, |h| histogram::scale(h, v));
            }
            (Side::Histogram(a), Side::Histogram(b)) => match op {
                BinaryOp::Add | BinaryOp::Sub => return self.combined(expr, op, a, b),
                BinaryOp::Equal => return Outcome::Holds(histogram::equals(a, b)),
                BinaryOp::NotEqual => return Outcome::Holds(!histogram::equals(a, b)),
                _ => {}
            },
            _ => {}
        }
        self.q.note(
            annotations::incompatible_types(l.type_name(), op.as_str(), r.type_name()),
            expr,
        );
        Outcome::Nothing
    }

    fn combined(&self, expr: &Expr, op: BinaryOp, a: &Histogram, b: &Histogram) -> Outcome {
        let mut sum = a.clone();
        let (done, word) = if op == BinaryOp::Add {
            (histogram::add(&mut sum, b), "addition")
        } else {
            (histogram::subtract(&mut sum, b), "subtraction")
        };
        let Ok(notes) = done else {
            self.q
                .note(annotations::incompatible_layout(op.as_str()), expr);
            return Outcome::Nothing;
        };
        if notes.reset_collision {
            self.q.note(annotations::reset_collision(word), expr);
        }
        if notes.bounds_reconciled {
            self.q
                .note(annotations::custom_buckets_reconciled(word), expr);
        }
        histogram::compact(&mut sum);
        Outcome::Value(PointValue::Histogram(Arc::new(sum)))
    }
}

fn changed(h: &Arc<Histogram>, change: impl FnOnce(&mut Histogram)) -> Outcome {
    let mut h = (**h).clone();
    change(&mut h);
    histogram::compact(&mut h);
    Outcome::Value(PointValue::Histogram(Arc::new(h)))
}
