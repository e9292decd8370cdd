//! `/format_query` and `/parse_query`: an expression printed anew, and as a tree.

use model::{Matcher, number};
use query::promql::ast::{At, DurationExpr, DurationKind, Extension, Matching, Number, Selector};
use query::{Expr, ExprKind};
use serde_json::{Value, json};

use super::envelope::{Answer, Failure, Success};
use super::query::expression;
use crate::api::params::Params;

pub(super) async fn format(params: Params) -> Answer {
    let expr = expression(&params)?;
    let mut data = String::new();
    crate::api::json::html_safe(&mut data, &query::pretty(&expr));
    Ok(Success::new(data))
}

pub(super) async fn parse(params: Params) -> Answer {
    let expr = expression(&params)?;
    let mut longest = 0;
    expr.walk(&mut |e| {
        if let ExprKind::Binary(b) = &e.kind {
            longest = longest.max(b.chain().0.len());
        }
    });
    if longest > ROW_MAX {
        return Err(Failure::bad_data(format!(
            "expression has more than {ROW_MAX} operators in a row, too many for a tree"
        )));
    }
    Ok(Success::from_value(&tree(&expr)))
}

/// Operators in a row, each of which is a level of the tree: writing one recurses.
const ROW_MAX: usize = 128;

/// A node as Prometheus' own page gets it. The parser bounds the depth, but for operators in a row.
fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(Number { value, .. }) => {
            json!({ "type": "numberLiteral", "val": number::format_fixed(*value) })
        }
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": tree(inner) }),
        ExprKind::Unary(u) => json!({
            "type": "unaryExpr",
            "op": if u.negative { "-" } else { "+" },
            "expr": tree(&u.expr),
        }),
        ExprKind::Selector(s) => selector("vectorSelector", s, None),
        ExprKind::Range(r) => selector("matrixSelector", &r.selector, Some(&r.range)),
        ExprKind::Subquery(s) => json!({
            "type": "subquery",
            "expr": tree(&s.expr),
            "range": millis(Some(&s.range)),
            "offset": millis(s.offset.as_ref()),
            "step": millis(s.step.as_ref()),
            "timestamp": timestamp(s.at),
            "startOrEnd": start_or_end(s.at),
        }),
        ExprKind::Call(c) => json!({
            "type": "call",
            "func": {
                "name": c.function.name,
                "argTypes": c.function.args.iter().map(|t| t.api()).collect::<Vec<_>>(),
                "variadic": c.function.variadic.api(),
                "returnType": c.function.returns.api(),
            },
            "args": c.args.iter().map(tree).collect::<Vec<_>>(),
        }),
        ExprKind::Aggregate(a) => json!({
            "type": "aggregation",
            "op": a.op.as_str(),
            "expr": tree(&a.expr),
            "param": a.param.as_ref().map(tree),
            "grouping": a.grouping,
            "without": a.without,
        }),
        ExprKind::Binary(b) => json!({
            "type": "binaryExpr",
            "op": b.op.as_str(),
            "lhs": tree(&b.left),
            "rhs": tree(&b.right),
            "matching": b.matching.as_ref().map(matching),
            "bool": b.return_bool,
        }),
    }
}

fn selector(kind: &str, s: &Selector, range: Option<&DurationExpr>) -> Value {
    let matchers: Vec<Value> = s.matchers.iter().map(matcher).collect();
    let mut shown = json!({
        "type": kind,
        "name": s.name.as_deref().unwrap_or_default(),
        "offset": millis(s.offset.as_ref()),
        "matchers": matchers,
        "timestamp": timestamp(s.at),
        "startOrEnd": start_or_end(s.at),
        "anchored": s.extension == Extension::Anchored,
        "smoothed": s.extension == Extension::Smoothed,
    });
    if let Some(range) = range {
        shown["range"] = json!(millis(Some(range)));
    }
    shown
}

fn matcher(m: &Matcher) -> Value {
    json!({ "name": m.name(), "value": m.value(), "type": m.op().as_str() })
}

fn matching(m: &Matching) -> Value {
    json!({
        "card": m.cardinality.api(),
        "labels": m.labels,
        "on": m.on,
        "include": m.include,
        "fillValues": { "lhs": m.fill_left, "rhs": m.fill_right },
    })
}

/// Milliseconds of a plain duration; what depends on the query counts as 0, as in Prometheus.
fn millis(d: Option<&DurationExpr>) -> i64 {
    match d.map(|d| &d.kind) {
        Some(DurationKind::Literal(n)) => (n.value * 1000.0).round() as i64,
        Some(DurationKind::Negate(inner)) => -millis(Some(inner)),
        Some(DurationKind::Plus(inner) | DurationKind::Paren(inner)) => millis(Some(inner)),
        _ => 0,
    }
}

fn timestamp(at: Option<At>) -> Value {
    match at {
        Some(At::Time(ms)) => json!(ms),
        _ => Value::Null,
    }
}

fn start_or_end(at: Option<At>) -> Value {
    match at {
        Some(At::Start) => json!("start"),
        Some(At::End) => json!("end"),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &Value) {
        assert_eq!(tree(&query::parse(text).unwrap()), *expect, "{text}");
    }

    #[test]
    fn selectors_show_their_matchers_and_modifiers() {
        check(
            "rate(up{job!=\"a\"}[5m] offset 1m)",
            &json!({
                "type": "call",
                "func": { "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector" },
                "args": [{
                    "type": "matrixSelector", "name": "up", "range": 300_000, "offset": 60_000,
                    "matchers": [
                        { "name": "job", "value": "a", "type": "!=" },
                        { "name": "__name__", "value": "up", "type": "=" },
                    ],
                    "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
                }],
            }),
        );
    }

    #[test]
    fn operators_show_how_they_match() {
        let up = |at: Value| {
            json!({
                "type": "vectorSelector", "name": "up", "offset": 0,
                "matchers": [{ "name": "__name__", "value": "up", "type": "=" }],
                "timestamp": null, "startOrEnd": at, "anchored": false, "smoothed": false,
            })
        };
        check(
            "up * on (job) group_left (x) up @ end()",
            &json!({
                "type": "binaryExpr", "op": "*", "lhs": up(Value::Null), "rhs": up(json!("end")),
                "matching": {
                    "card": "many-to-one", "labels": ["job"], "on": true, "include": ["x"],
                    "fillValues": { "lhs": null, "rhs": null },
                },
                "bool": false,
            }),
        );
        check(
            "(1e21)",
            &json!({ "type": "parenExpr", "expr": { "type": "numberLiteral", "val": "1000000000000000000000" } }),
        );
    }
}
