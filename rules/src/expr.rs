//! What a rule computes: PromQL over metrics, LogQL over lines, or PromQL with terms of LogQL in it.
//!
//! Prometheus' and Loki's rule files look alike. An expression that PromQL can read is PromQL, so that
//! Prometheus' files mean what they meant; what only LogQL can read is LogQL, and so are windows without
//! the name of a metric where PromQL could make nothing of them. `engine` in a group or rule says otherwise.

mod mixed;

use std::fmt;

use model::{Labels, Timestamp};
use query::logql::ast::MetricExpr;
use query::logql::{self, ast};
use query::promql::ast::ExprKind;
use query::{Engine, Expr, PointValue, Value, ValueType};
use serde::Deserialize;

use crate::Environment;
use crate::alert_rule::RuleError;
pub use mixed::Mixed;

/// What a rule computes.
#[derive(Clone, Debug)]
pub enum RuleExpr {
    /// PromQL.
    Metrics(Expr),
    /// LogQL.
    Logs(Box<MetricExpr>),
    /// PromQL that has terms of LogQL.
    Both(Box<Mixed>),
}

/// `engine`: the language of an expression that two could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    Promql,
    Logql,
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExprError {
    pub(crate) message: String,
    /// Where in its text; `None` when all of it is meant.
    pub(crate) offset: Option<usize>,
}

/// When and where it is evaluated.
pub(crate) struct Evaluation<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) env: &'e dyn Environment,
    /// The instant for metrics.
    pub(crate) at: Timestamp,
    /// The instant for lines.
    pub(crate) logs_at: Timestamp,
}

impl fmt::Display for RuleExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleExpr::Metrics(expr) => expr.fmt(f),
            RuleExpr::Logs(expr) => expr.fmt(f),
            RuleExpr::Both(mixed) => mixed.fmt(f),
        }
    }
}

/// Equal ones compute the same; how they are spaced does not count.
impl PartialEq for RuleExpr {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.to_string() == other.to_string()
    }
}

impl RuleExpr {
    pub(crate) fn parse(text: &str, language: Option<Language>) -> Result<RuleExpr, ExprError> {
        match language {
            Some(Language::Promql) => metrics(text),
            Some(Language::Logql) => logs(text),
            None => guessed(text),
        }
    }

    /// Whether LogQL could read it too and no selector has the name of a metric, which a person who
    /// writes about metrics seldom leaves out.
    pub(crate) fn may_be_meant_for_logs(&self, text: &str) -> bool {
        let RuleExpr::Metrics(expr) = self else {
            return false;
        };
        let mut selectors = expr.selectors().peekable();
        selectors.peek().is_some()
            && selectors.all(|(matchers, _)| matchers.iter().all(|m| m.name() != METRIC_NAME))
            && logs(text).is_ok_and(|logs| matches!(logs, RuleExpr::Logs(e) if has_lines(&e)))
    }

    /// Labels and values of an instant vector; a scalar is one value without labels.
    pub(crate) fn eval(
        &self,
        evaluation: &Evaluation<'_>,
    ) -> Result<Vec<(Labels, PointValue)>, RuleError> {
        match self {
            RuleExpr::Metrics(expr) => evaluation.metrics(expr, evaluation.env.reader()),
            RuleExpr::Logs(expr) => {
                let values = evaluation.logs(expr)?;
                let float = |(labels, value)| (labels, PointValue::Float(value));
                Ok(values.into_iter().map(float).collect())
            }
            RuleExpr::Both(mixed) => mixed.eval(evaluation),
        }
    }
}

const METRIC_NAME: &str = model::labels::METRIC_NAME;

impl Evaluation<'_> {
    fn metrics(
        &self,
        expr: &Expr,
        reader: &dyn model::SeriesReader,
    ) -> Result<Vec<(Labels, PointValue)>, RuleError> {
        let done = self
            .engine
            .instant(expr, reader, self.at, &self.env.limits())
            .map_err(|e| RuleError::Query(e.to_string()))?;
        match done.value {
            Value::Scalar { value, .. } => Ok(vec![(Labels::empty(), PointValue::Float(value))]),
            Value::Vector(samples) => {
                Ok(samples.into_iter().map(|s| (s.labels, s.value)).collect())
            }
            _ => Err(RuleError::Query(
                "rule result is not a vector or scalar".to_owned(),
            )),
        }
    }

    /// A part of the lines is no answer: an alert over it could resolve, or fire, for want of the rest.
    fn logs(&self, expr: &MetricExpr) -> Result<Vec<(Labels, f64)>, RuleError> {
        let at_ns = self.logs_at.millis().saturating_mul(1_000_000);
        let limits = self.env.log_limits();
        let done = logql::eval::instant(expr, self.env.logs(), at_ns, &limits)
            .map_err(|e| RuleError::Query(e.to_string()))?;
        if let Some(warning) = done.warnings.first() {
            return Err(RuleError::Query(warning.clone()));
        }
        match done.value {
            logql::Value::Scalar(value) => Ok(vec![(Labels::empty(), value)]),
            // A series has no empty labels; what parsers make of lines may have.
            logql::Value::Vector(values) => Ok(values
                .into_iter()
                .map(|(labels, value)| (labels.to_builder().build(), value))
                .collect()),
            _ => Err(RuleError::Query(
                "rule result is not a vector or scalar".to_owned(),
            )),
        }
    }
}

fn metrics(text: &str) -> Result<RuleExpr, ExprError> {
    let expr = query::parse(text).map_err(|error| ExprError {
        message: format!("could not parse expression: {}", error.message),
        offset: Some(error.span.start),
    })?;
    check_type(&expr)?;
    Ok(RuleExpr::Metrics(expr))
}

fn check_type(expr: &Expr) -> Result<(), ExprError> {
    let kind = expr.value_type();
    if matches!(kind, ValueType::Vector | ValueType::Scalar) {
        return Ok(());
    }
    Err(ExprError {
        message: format!(
            "a rule needs an instant vector or a scalar, this expression is a {}",
            kind.documented()
        ),
        offset: None,
    })
}

fn logs(text: &str) -> Result<RuleExpr, ExprError> {
    match logql::parse(text) {
        Ok(ast::Expr::Metric(expr)) => Ok(RuleExpr::Logs(Box::new(expr))),
        Ok(ast::Expr::Log(_)) => Err(ExprError {
            message: "a rule needs numbers, this expression selects lines; count them: count_over_time(… [5m])".to_owned(),
            offset: None,
        }),
        Err(error) => Err(ExprError {
            message: format!("could not parse expression: {}", error.message),
            offset: (error.line > 0).then_some(error.span.start),
        }),
    }
}

fn guessed(text: &str) -> Result<RuleExpr, ExprError> {
    let no_metrics = match (query::parse(text), metrics(text)) {
        (Ok(expr), readable) if !has_nameless_window(&expr) => return readable,
        (Ok(_), readable) => readable,
        (Err(_), refused) => refused,
    };
    let no_logs = match logs(text) {
        Ok(RuleExpr::Logs(expr)) if has_lines(&expr) => return Ok(RuleExpr::Logs(expr)),
        Ok(_) => return no_metrics,
        Err(error) => error,
    };
    match Mixed::parse(text) {
        Some(Ok(mixed)) => Ok(RuleExpr::Both(Box::new(mixed))),
        Some(Err(_)) if no_metrics.is_ok() => no_metrics,
        Some(Err(error)) => Err(error),
        None if no_metrics.is_err() && looks_like_logs(text) => Err(no_logs),
        None => no_metrics,
    }
}

/// Functions over windows that drop the name of the metric and that both languages have.
const OF_BOTH: [&str; 2] = ["rate", "count_over_time"];

/// Whether one of [`OF_BOTH`] is over a window of no particular metric. PromQL fails there as soon as two
/// metrics have the same labels otherwise, as those of a target have; for LogQL it is the usual form.
fn has_nameless_window(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |e| {
        if let ExprKind::Call(call) = &e.kind
            && OF_BOTH.contains(&call.function.name)
            && let [arg] = call.args.as_slice()
            && let ExprKind::Range(r) = &arg.kind
        {
            found |= r.selector.matchers.iter().all(|m| m.name() != METRIC_NAME);
        }
    });
    found
}

fn has_lines(expr: &MetricExpr) -> bool {
    let mut found = false;
    expr.walk(&mut |e| found |= matches!(e.kind, ast::MetricKind::Range(_)));
    found
}

/// Functions that only LogQL has.
const LOGS_ONLY: [&str; 4] = [
    "bytes_rate",
    "bytes_over_time",
    "rate_counter",
    "approx_topk",
];

/// Whether whoever wrote this was thinking of lines: it has something that PromQL has not.
fn looks_like_logs(text: &str) -> bool {
    // What stands before an operator, and the operator.
    let (mut before, mut operator) = (' ', String::new());
    let mut found = false;
    mixed::scan(text, &mut |_, piece| {
        match piece {
            mixed::Piece::Text => {
                found |= before == '}' && matches!(operator.as_str(), "!=" | "!~");
                (before, operator) = ('"', String::new());
            }
            mixed::Piece::Word(word) => {
                found |= LOGS_ONLY.contains(&word);
                (before, operator) = ('a', String::new());
            }
            mixed::Piece::Other(c @ ('!' | '=' | '~')) => operator.push(c),
            mixed::Piece::Other(c) => {
                found |= c == '|';
                (before, operator) = (c, String::new());
            }
        }
        !found
    });
    found
}

/// Whether an expression is a plain selector of this metric, at the instant of evaluation.
fn is_plain(kind: &ExprKind) -> bool {
    match kind {
        ExprKind::Selector(s) => {
            s.offset.is_none()
                && s.at.is_none()
                && s.extension == query::promql::ast::Extension::None
        }
        _ => false,
    }
}
