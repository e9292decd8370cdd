//! A query pinned to an instant with `@` must give the same result whenever it is evaluated.

use crate::promql::ast::{At, Expr, ExprKind};

/// Functions whose results depend on the time of evaluation however their arguments are pinned.
const UNPINNABLE: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The expression with every selector and subquery that has no `@` pinned to `at` (milliseconds);
/// `None` when that would change its meaning.
pub(super) fn pinned(expr: &Expr, at: i64) -> Option<Expr> {
    let mut possible = true;
    expr.walk(&mut |e| {
        if let ExprKind::Call(c) = &e.kind {
            possible &= !UNPINNABLE.contains(&c.function.name);
        }
    });
    possible.then(|| {
        let mut expr = expr.clone();
        pin(&mut expr, at);
        expr
    })
}

fn pin(expr: &mut Expr, at: i64) {
    let at_time = Some(At::Time(at));
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(s) => s.at = s.at.or(at_time),
        ExprKind::Range(r) => r.selector.at = r.selector.at.or(at_time),
        // What is inside follows the subquery.
        ExprKind::Subquery(s) => s.at = s.at.or(at_time),
        ExprKind::Call(c) => c.args.iter_mut().for_each(|a| pin(a, at)),
        ExprKind::Aggregate(a) => {
            pin(&mut a.expr, at);
            a.param.iter_mut().for_each(|p| pin(p, at));
        }
        ExprKind::Unary(u) => pin(&mut u.expr, at),
        ExprKind::Binary(b) => {
            pin(&mut b.left, at);
            pin(&mut b.right, at);
        }
        ExprKind::Paren(inner) => pin(inner, at),
    }
}
