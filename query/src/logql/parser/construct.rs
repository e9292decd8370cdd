//! What the grammar lets through and the language does not.

use model::{MatchOp, Matcher, Regex};

use crate::logql::ast::{
    Binary, BinaryOp, Expr, Grouping, LabelReplace, LogRange, Matching, MetricExpr, MetricKind,
    RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};
use crate::logql::error::ParseError;
use crate::logql::units;

pub(super) fn matcher(name: String, op: MatchOp, value: String) -> Result<Matcher, ParseError> {
    Matcher::new(name, op, value).map_err(|e| ParseError::whole(e.to_string()))
}

pub(super) fn binary(
    op: BinaryOp,
    returns_bool: bool,
    matching: Matching,
    left: Expr,
    right: Expr,
) -> Result<MetricKind, ParseError> {
    let word = op.as_str();
    let metric = |expr: Expr, side: &str| match expr {
        Expr::Metric(expr) => Ok(expr),
        Expr::Log(expr) => {
            let kind = if expr.stages.is_empty() {
                "MatchersExpr"
            } else {
                "PipelineExpr"
            };
            Err(ParseError::whole(format!(
                "unexpected type for {side} leg of binary operation ({word}): *syntax.{kind}"
            )))
        }
    };
    let left = metric(left, "left")?;
    let right = metric(right, "right")?;
    let literal = |expr: &MetricExpr| match expr.kind {
        MetricKind::Literal(value) => Some(value),
        _ => None,
    };
    let (left_value, right_value) = (literal(&left), literal(&right));
    if op.is_set() {
        for (value, side) in [(left_value, "left"), (right_value, "right")] {
            if let Some(value) = value {
                return Err(ParseError::whole(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({word}): {value:.6}"
                )));
            }
        }
    }
    if let (Some(left), Some(right)) = (left_value, right_value) {
        return Ok(MetricKind::Literal(on_numbers(op, left, right)));
    }
    Ok(MetricKind::Binary(Binary {
        op,
        returns_bool,
        matching,
        left: Box::new(left),
        right: Box::new(right),
    }))
}

/// An operator on two numbers; comparisons give 0 or 1, division by zero is not a number.
pub(crate) fn on_numbers(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterEqual => truth(left >= right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessEqual => truth(left <= right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}

pub(super) fn vector_aggregation(
    op: VectorOp,
    grouping: Option<Grouping>,
    param: Option<String>,
    expr: MetricExpr,
) -> Result<MetricKind, ParseError> {
    let word = op.as_str();
    let error = |message: String| Err(ParseError::whole(message));
    let mut count = 0;
    match (op, param) {
        (VectorOp::Bottomk | VectorOp::Topk | VectorOp::ApproxTopk, None) => {
            return error(format!("parameter required for operation {word}"));
        }
        (VectorOp::Bottomk | VectorOp::Topk | VectorOp::ApproxTopk, Some(text)) => {
            let Ok(n) = text.parse::<i64>() else {
                return error(format!("invalid parameter {word}({text},"));
            };
            if n <= 0 {
                return error(format!(
                    "invalid parameter (must be greater than 0) {word}({text}"
                ));
            }
            if op == VectorOp::ApproxTopk && grouping.is_some() {
                return error(format!("grouping not allowed for {word} aggregation"));
            }
            count = usize::try_from(n).unwrap_or(usize::MAX);
        }
        (_, Some(text)) => {
            return error(format!(
                "unsupported parameter for operation {word}({text},"
            ));
        }
        (VectorOp::Sort | VectorOp::SortDesc, None)
            if grouping.as_ref().is_some_and(|g| !g.labels.is_empty()) =>
        {
            return error("sort and sort_desc doesn't allow grouping by ".to_owned());
        }
        (_, None) => {}
    }
    Ok(MetricKind::Vector(VectorAggregation {
        op,
        param: count,
        grouping: grouping.unwrap_or_default(),
        expr: Box::new(expr),
    }))
}

pub(super) fn range_aggregation(
    op: RangeOp,
    param: Option<String>,
    range: LogRange,
    grouping: Option<Grouping>,
) -> Result<MetricKind, ParseError> {
    use RangeOp::{
        Absent, Avg, Bytes, BytesRate, Count, First, Last, Max, Min, Quantile, Rate, RateCounter,
        Stddev, Stdvar, Sum,
    };
    let word = op.as_str();
    let error = |message: String| Err(ParseError::whole(message));
    let param = match (op, param) {
        (Quantile, None) => return error(format!("parameter required for operation {word}")),
        (Quantile, Some(text)) => match units::parse_float(&text) {
            Ok(q) => Some(q),
            Err(e) => return error(format!("invalid parameter for operation {word}: {e}")),
        },
        (_, Some(text)) => {
            return error(format!(
                "parameter {text} not supported for operation {word}"
            ));
        }
        (_, None) => None,
    };
    let groups = matches!(
        op,
        Avg | Stddev | Stdvar | Quantile | Max | Min | First | Last
    );
    if grouping.is_some() && !groups {
        return error(format!("grouping not allowed for {word} aggregation"));
    }
    if range.unwrap.is_some() {
        if !(groups || matches!(op, Sum | Rate | RateCounter | Absent)) {
            return error(format!("invalid aggregation {word} with unwrap"));
        }
    } else if !matches!(op, Bytes | BytesRate | Count | Rate | Absent) {
        return error(format!("invalid aggregation {word} without unwrap"));
    }
    Ok(MetricKind::Range(RangeAggregation {
        op,
        param,
        range,
        grouping,
    }))
}

pub(super) fn label_replace(
    expr: MetricExpr,
    texts: Vec<String>,
) -> Result<MetricKind, ParseError> {
    let mut texts = texts.into_iter();
    let mut next = || texts.next().unwrap_or_default();
    let (dst, replacement, src, regex) = (next(), next(), next(), next());
    Regex::anchored(&regex)
        .map_err(|e| ParseError::whole(format!("invalid regex in label_replace: {e}")))?;
    Ok(MetricKind::LabelReplace(LabelReplace {
        expr: Box::new(expr),
        dst,
        replacement,
        src,
        regex,
    }))
}
